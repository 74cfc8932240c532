"""Programs that add stages to their jobs while they go: what they ask of the leader, and whether they are still there.

When a program gave its last sign of life is in memory only: after a change of leaders each has its whole time again.
"""

from __future__ import annotations

import asyncio
import itertools
from weakref import WeakValueDictionary

from services.common.clock import Clock
from services.common.errors import Violation
from services.common.logs import get_logger
from services.scheduler.admission import Admission
from services.scheduler.core.events import JobClosed, StageAdded
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import OPEN, Failure, StageSpec, TaskSpec
from services.scheduler.core.programs import MAX_STAGES, Problem
from services.scheduler.driver import Driver
from services.scheduler.inbox import Arrival
from services.scheduler.ledger import Ledger
from services.scheduler.refusals import (
    Reason,
    invalid,
    job_not_found,
    job_not_open,
    stage_id_reused,
    too_many_stages,
)
from services.state.port import SchedulerStore
from services.state.records import JobRecord

_log = get_logger(__name__)


class Programs:
    def __init__(
        self,
        *,
        machine: SchedulerMachine,
        ledger: Ledger,
        driver: Driver,
        store: SchedulerStore,
        admission: Admission,
        clock: Clock,
    ) -> None:
        """`machine` and `ledger` are only read."""
        self._machine = machine
        self._ledger = ledger
        self._driver = driver
        self._store = store
        self._admission = admission
        self._clock = clock
        self._heard: dict[str, float] = {}  #: open jobs: when they gave the last sign of life
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._numbers = itertools.count(1)

    async def add(self, job_id: str, stage: StageSpec, task: TaskSpec, payload: bytes) -> None:
        """Returns when the stage is durable. Raises as documented at SchedulerService.AddStage."""
        # One after the other, so that of two stages with one id the second finds the first.
        turn = self._turns.setdefault((job_id, stage.stage_id), asyncio.Lock())
        async with turn:
            await self._take_up(job_id)
            problem = await self._driver.read(lambda: self._machine.addition_problem(job_id, stage))
            if problem is Problem.KNOWN:
                # Behind `read` its first commit is durable, and with it the payload.
                kept = await self._store.get_payload(job_id, (stage.stage_id, 0))
                if kept is not None and kept != payload:
                    raise stage_id_reused(job_id, stage.stage_id)
            elif problem is not None:
                raise self._refusal(problem, job_id, stage)
            else:
                await self._add(StageAdded(at=0.0, cause="", job_id=job_id, stage=stage, task=task), payload)
        self._heard[job_id] = self._clock.now()

    async def _add(self, event: StageAdded, payload: bytes) -> None:
        # Causes must not repeat: by them the ledger knows which of the events in a batch were accepted.
        cause = f"add:{event.job_id}:{event.stage.stage_id}:{next(self._numbers)}"
        event = StageAdded(at=self._clock.now(), cause=cause, job_id=event.job_id, stage=event.stage, task=event.task)
        found = await self._driver.submit(
            event, payloads=(payload,), look=lambda: self._machine.addition_problem(event.job_id, event.stage)
        )
        # Anything else has come up since the caller looked: the job was closed, has ended, or others filled it.
        if found is not Problem.KNOWN:
            raise self._refusal(found or Problem.NOT_ACTIVE, event.job_id, event.stage)

    def _has(self, job_id: str, stage_id: str) -> bool:
        try:
            self._machine.stage_snapshot(job_id, stage_id)
        except KeyError:
            return False
        return True

    def _refusal(self, problem: Problem, job_id: str, stage: StageSpec) -> Exception:
        match problem:
            case Problem.NOT_ACTIVE:
                return job_not_found(job_id)
            case Problem.TAKEN:
                return stage_id_reused(job_id, stage.stage_id)
            case Problem.UNKNOWN_PARENTS:
                violations = [
                    Violation(f"after[{place}]", f"the job has no stage {parent!r}")
                    for place, parent in enumerate(stage.parents)
                    if not self._has(job_id, parent)
                ]
                return invalid(Reason.INVALID_STAGE, *violations)
            case Problem.TOO_MANY:
                return too_many_stages(job_id, MAX_STAGES)
            case _:
                return job_not_open(job_id)

    async def close(self, job_id: str, output: bytes | None, failure: Failure | None) -> None:
        """Returns when it is durable that the job takes no more stages. Repeating it changes nothing.

        Raises JOB_NOT_FOUND; JOB_NOT_OPEN for a job that is no program's.
        """
        record = await self._take_up(job_id)
        if record.structure != OPEN:
            raise job_not_open(job_id)
        event = JobClosed(
            at=self._clock.now(), cause=f"close:{job_id}:{next(self._numbers)}", job_id=job_id, failure=failure
        )
        await self._driver.submit(event, output=output)
        self._heard.pop(job_id, None)

    async def keep(self, job_id: str) -> None:
        """A sign of life. Raises JOB_NOT_FOUND, JOB_NOT_OPEN."""
        await self._take_up(job_id)
        if not await self._driver.read(lambda: self._machine.is_open(job_id)):
            raise job_not_open(job_id)
        self._heard[job_id] = self._clock.now()

    async def _take_up(self, job_id: str) -> JobRecord:
        """The job may be durable and not yet here. Raises JOB_NOT_FOUND for one that is not active."""
        if self._ledger.record(job_id) is None:
            await self._admission.admit([job_id])
        record = self._ledger.record(job_id)
        if record is None:
            raise job_not_found(job_id)
        return record

    def expire(self) -> None:
        """Fails the open jobs that have nothing to do and whose programs were not heard of for too long."""
        now = self._clock.now()
        # The time of one that has something to do begins when that is over.
        self._heard = {job_id: self._heard.get(job_id, now) for job_id in self._machine.idle_programs()}
        for job_id, since in self._heard.items():
            record = self._ledger.record(job_id)
            if record is None or now - since < record.idle_seconds:
                continue
            _log.info(
                "open job abandoned", action="open_job_abandoned", job=job_id, silent_seconds=round(now - since, 3)
            )
            self._driver.put(Arrival(event=self._abandonment(job_id, record.idle_seconds)))

    def _abandonment(self, job_id: str, idle_seconds: float) -> JobClosed:
        message = (
            f"its program gave no sign of life for {idle_seconds:g} s and had nothing running: "
            "it has probably ended without closing the job"
        )
        failure = Failure(reason="ABANDONED", message=message)
        cause = f"abandon:{job_id}:{next(self._numbers)}"
        return JobClosed(at=self._clock.now(), cause=cause, job_id=job_id, failure=failure, if_idle=True)
