"""What programs ask of the leader, where it depends on what else happens at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.common.clock import SystemClock
from services.common.errors import DomainError
from services.common.lifecycle import cancel_and_wait
from services.scheduler.admission import Admission
from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core import programs as core
from services.scheduler.core.model import OPEN, TaskSpec
from services.scheduler.driver import Driver
from services.scheduler.ledger import Ledger
from services.scheduler.programs import Programs
from services.state.memory import MemoryState
from tests.support import scheduling as make
from tests.support import state as stored
from tests.unit.services.scheduler.test_driver import Recorder


@pytest.fixture
async def state() -> MemoryState:
    state = MemoryState()
    await stored.submit(state, stored.make_record("open", structure=OPEN, version=0), stages=())
    await stored.submit(state, stored.make_record("declared"))
    return state


@pytest.fixture
async def driver(state: MemoryState) -> AsyncIterator[Driver]:
    machine = SchedulerMachine(PolicySettings())
    driver = Driver(
        machine=machine,
        ledger=Ledger(machine),
        store=state,
        leader=await stored.lead(state),
        clock=SystemClock(),
        actions=Recorder(),
    )
    running = asyncio.create_task(driver.run())
    yield driver
    await cancel_and_wait(running)


@pytest.fixture
def programs(state: MemoryState, driver: Driver) -> Programs:
    clock, machine, ledger = SystemClock(), driver._machine, driver._ledger
    admission = Admission(store=state, driver=driver, ledger=ledger, clock=clock)
    return Programs(machine=machine, ledger=ledger, driver=driver, store=state, admission=admission, clock=clock)


async def test_of_two_stages_that_race_for_the_last_place_one_hears_that_there_is_none(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "MAX_STAGES", 1)
    await programs.keep("open")  # from now on both look at it at once
    added = [programs.add("open", make.tool(name), TaskSpec(), b"") for name in ("a", "b")]
    first, second = await asyncio.gather(*added, return_exceptions=True)
    assert first is None
    assert isinstance(second, DomainError)
    assert second.reason == "TOO_MANY_STAGES"


async def test_a_stage_hears_what_has_come_before_it_since_it_was_looked_at(
    programs: Programs, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await programs.add("open", make.tool("a"), TaskSpec(), b"")
    read = driver.read

    async def read_and_close(look: Callable[[], Any]) -> Any:
        found = await read(look)
        await programs.close("open", b"", None)
        return found

    monkeypatch.setattr(driver, "read", read_and_close)
    with pytest.raises(DomainError) as caught:
        await programs.add("open", make.tool("b"), TaskSpec(), b"")
    assert caught.value.reason == "JOB_NOT_OPEN"


async def test_only_a_programs_job_can_be_closed(programs: Programs) -> None:
    with pytest.raises(DomainError) as caught:
        await programs.close("declared", b"", None)
    assert caught.value.reason == "JOB_NOT_OPEN"
    await programs.add("open", make.tool("a"), TaskSpec(), b"")
    await programs.close("open", b"", None)
    await programs.close("open", b"", None)  # changes nothing
    with pytest.raises(DomainError) as caught:
        await programs.keep("open")
    assert caught.value.reason == "JOB_NOT_OPEN"
