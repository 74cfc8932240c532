"""What a new leader does first: take up every job that has not ended."""

from __future__ import annotations

import asyncio
import time

from services.common.clock import Clock
from services.common.logs import get_logger
from services.scheduler.core.events import JobAdmitted
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import UnknownPolicy, make_policy
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.driver import Driver
from services.scheduler.executor_pool import ExecutorPool
from services.state.port import SchedulerStore
from services.state.records import StoredJob

_log = get_logger(__name__)
_CHUNK = 500  #: jobs admitted at once, which bounds the size of a commit


async def choose_policy(store: SchedulerStore, default: PolicySettings, knowledge: Knowledge) -> PolicySettings:
    """The policy that was last set, else `default`. One that cannot be made here is left aside, for example because
    this version does not know it, or because it needs a history that this scheduler was not given."""
    stored = await store.get_policy()
    if stored is None:
        return default
    try:
        make_policy(stored, knowledge)
    except UnknownPolicy as error:
        _log.error("the stored policy cannot be used", action="policy_unusable", error=str(error), instead=default.name)
        return default
    return stored


async def recover(
    *, store: SchedulerStore, driver: Driver, machine: SchedulerMachine, pool: ExecutorPool, clock: Clock
) -> None:
    """Admits all active jobs, and awaits the executors that they were running on. The driver must be running.

    Returns when everything that followed is durable; raises StateUnavailable.
    """
    began = time.perf_counter()
    chunk: list[StoredJob] = []
    async for job in store.load_active_jobs():
        chunk.append(job)
        if len(chunk) == _CHUNK:
            await _admit(driver, clock, chunk)
            chunk = []
    await _admit(driver, clock, chunk)
    counts, executors = await driver.read(lambda: (machine.counts(), machine.executors()))
    awaited = [executor.executor_id for executor in executors if executor.incarnation is None]
    pool.expect(awaited)
    _log.info(
        "jobs taken up",
        action="recovered",
        jobs=counts.active_jobs,
        attempts=counts.running_attempts,
        executors=awaited,
        seconds=round(time.perf_counter() - began, 3),
    )


async def _admit(driver: Driver, clock: Clock, jobs: list[StoredJob]) -> None:
    now = clock.now()
    async with asyncio.TaskGroup() as admissions:
        for job in jobs:
            event = JobAdmitted(at=now, cause=f"recovery:{job.record.job_id}", job=job.snapshot())
            admissions.create_task(driver.submit(event, job=job))
