"""How long calls are tried, by a clock that runs only when somebody waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from llmsched import Options, rpc
from llmsched.api.planner.v1 import planner_pb2
from llmsched.errors import DeadlineExceededError, InvalidRequestError, LLMSchedError, UnavailableError

REQUEST, REPLY = planner_pb2.WaitStageRequest(), planner_pb2.WaitStageResponse
LIMIT, PATIENCE = 30.0, 60.0


class Clock:
    """Stands for `asyncio` in `llmsched.rpc`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        stand_in = SimpleNamespace(get_running_loop=lambda: SimpleNamespace(time=lambda: self.now), sleep=self.sleep)
        monkeypatch.setattr(rpc, "asyncio", stand_in)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Scripted(rpc.Service):
    """A service whose server takes time and then answers, or raises an error; the last entry goes on for ever."""

    def __init__(self, clock: Clock, *script: tuple[float, Callable[[], LLMSchedError] | None]) -> None:
        options = Options(timeout=LIMIT, connect_timeout=5.0)
        super().__init__("test.Service", role="planner", addresses=("a:1", "b:2"), options=options)
        self._rng = random.Random(0)
        self._clock = clock
        self._script = list(script)
        self.tries: list[tuple[str, float]] = []  #: the address and the time allowed

    async def _call_once(self, method: str, request: Message, reply: type[Any], timeout: float) -> Any:
        self.tries.append((self._current, timeout))
        seconds, error = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if seconds > timeout:
            await self._clock.sleep(timeout)
            raise DeadlineExceededError
        await self._clock.sleep(seconds)
        if error is not None:
            raise error()
        return reply()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_time_that_a_server_was_well_is_not_patience(clock: Clock) -> None:
    # It has waited for 25 s before the server goes; the server is back after almost a minute, and takes 15 s.
    down = [(1.0, UnavailableError)] * 20
    service = Scripted(clock, (25.0, UnavailableError), *down, (15.0, None))
    await service.call("WaitStage", REQUEST, REPLY, patience=PATIENCE)
    assert clock.now > 1000.0 + PATIENCE
    assert {limit for _, limit in service.tries} == {LIMIT}, "each try may take the whole limit"


async def test_a_server_that_says_nothing_is_tried_again_elsewhere(clock: Clock) -> None:
    service = Scripted(clock, (1e9, None), (3.0, None))
    await service.call("WaitStage", REQUEST, REPLY, patience=PATIENCE)
    assert service.tries == [("a:1", LIMIT), ("b:2", LIMIT)]


async def test_patience_ends(clock: Clock) -> None:
    service = Scripted(clock, (10.0, UnavailableError), (0.0, UnavailableError))
    with pytest.raises(UnavailableError):
        await service.call("WaitStage", REQUEST, REPLY, patience=PATIENCE)
    # The longest pause is 2 s.
    assert 10.0 + PATIENCE - 2.0 < clock.now - 1000.0 < 10.0 + PATIENCE
    silent = Scripted(clock, (1e9, None))
    with pytest.raises(DeadlineExceededError):
        await silent.call("WaitStage", REQUEST, REPLY, patience=PATIENCE)
    assert len(silent.tries) == 3


async def test_a_refusal_is_no_break(clock: Clock) -> None:
    service = Scripted(clock, (0.0, InvalidRequestError))
    with pytest.raises(InvalidRequestError):
        await service.call("AddStage", REQUEST, REPLY, patience=PATIENCE)
    assert len(service.tries) == 1


async def test_without_patience_all_tries_share_the_limit(clock: Clock) -> None:
    service = Scripted(clock, (2.0, UnavailableError))
    with pytest.raises(UnavailableError):
        await service.call("GetJob", REQUEST, REPLY)
    assert clock.now - 1000.0 < 5.0 + 2.0
    limits = [limit for _, limit in service.tries]
    assert limits == sorted(limits, reverse=True)
    silent = Scripted(clock, (1e9, None))
    with pytest.raises(DeadlineExceededError):
        await silent.call("GetJob", REQUEST, REPLY)
    assert len(silent.tries) == 1
