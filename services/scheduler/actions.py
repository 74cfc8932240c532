"""Carries out what the machine wants of other processes: executors, planners, watchers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import tenacity

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common.clock import Clock
from services.common.logs import get_logger
from services.common.telemetry import Telemetry
from services.scheduler.convert import duration, ref_to_proto
from services.scheduler.core.effects import CancelAttempt, Dispatch, Effect, Unfold
from services.scheduler.core.events import AttemptFailed
from services.scheduler.core.model import Failure, StageKind, TaskState
from services.scheduler.executor_pool import ExecutorPool
from services.scheduler.inbox import Arrival
from services.scheduler.ledger import Entry, Ledger
from services.scheduler.payloads import PayloadCache
from services.scheduler.planner_client import PlannerClient
from services.scheduler.spans import attempt_place
from services.state.port import SchedulerStore, StateError, StateUnavailable
from services.state.records import JobCommit

_log = get_logger(__name__)


class Outward:
    """`Actions` of a driver: nothing here waits, what takes time is spawned."""

    def __init__(
        self,
        *,
        pool: ExecutorPool,
        planner: PlannerClient,
        store: SchedulerStore,
        ledger: Ledger,
        payloads: PayloadCache,
        clock: Clock,
        telemetry: Telemetry,
        put: Callable[[Arrival], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`put` takes what comes of it; `spawn` runs a coroutine for as long as the term lasts."""
        self._pool = pool
        self._planner = planner
        self._store = store
        self._ledger = ledger
        self._payloads = payloads
        self._clock = clock
        self._telemetry = telemetry
        self._put = put
        self._spawn = spawn

    def carry_out(self, entry: Entry, effects: Sequence[Effect]) -> None:
        commits = entry.commit.jobs if entry.commit else ()
        for job in commits:
            if job.payloads:
                self._payloads.put(job.job_id, job.payloads)
        unfolds = []
        for effect in effects:
            match effect:
                case Dispatch():
                    self._dispatch(effect)
                case CancelAttempt(executor_id=executor_id, attempt=ref):
                    self._pool.cancel(executor_id, ref)
                case Unfold():
                    unfolds.append(effect)
        if unfolds:
            self._spawn(self._planner.unfold(unfolds, self._put))
        for job in commits:
            if job.finished:
                self._payloads.drop(job.job_id)
            elif job.payloads:
                self._count_tokens(job)
        self._pool.flush()

    def _dispatch(self, dispatch: Dispatch) -> None:
        ref = dispatch.attempt
        self._pool.reserve(dispatch.executor_id, ref)
        payload = self._payloads.take(ref.job_id, (ref.stage_id, ref.task_index))
        if payload is not None:
            self._assign(dispatch, payload)
        else:
            self._spawn(self._assign_stored(dispatch))

    def _assign(self, dispatch: Dispatch, payload: bytes) -> None:
        message = task_pb2.TaskPayload.FromString(payload)
        assign = executor_pb2.Assign(
            attempt=ref_to_proto(dispatch.attempt),
            payload=message,
            priority=_priority(dispatch.priority),
            traceparent=self._traceparent(dispatch),
            stream_output=message.HasField("llm"),
        )
        if dispatch.timeout_seconds is not None:
            assign.timeout.CopyFrom(duration(dispatch.timeout_seconds))
        self._pool.assign(dispatch.executor_id, assign)

    async def _assign_stored(self, dispatch: Dispatch) -> None:
        """For a payload that is not in memory: after a recovery, a retry, or under memory pressure."""
        ref = dispatch.attempt
        payload: bytes | None = None
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(StateUnavailable), wait=tenacity.wait_exponential(0.02, max=0.5)
        ):
            with attempt:
                payload = await self._store.get_payload(ref.job_id, (ref.stage_id, ref.task_index))
        if payload is not None:
            self._assign(dispatch, payload)
        elif self._ledger.record(ref.job_id) is not None:
            _log.error("payload missing", action="payload_missing", job=ref.job_id, stage=ref.stage_id)
            failure = Failure(reason="PAYLOAD_LOST", message="the durable state does not have the task's payload")
            self._pool.withdraw(dispatch.executor_id, ref)
            self._put(Arrival(event=AttemptFailed(at=self._clock.now(), cause="payload", attempt=ref, failure=failure)))

    def _traceparent(self, dispatch: Dispatch) -> str:
        record = self._ledger.record(dispatch.attempt.job_id) if self._telemetry.enabled else None
        return attempt_place(record, dispatch.attempt).traceparent if record else ""

    def _count_tokens(self, job: JobCommit) -> None:
        """Has prompts counted that will wait: for those that were dispatched at once it would come too late."""
        for stage_id in dict.fromkeys(stage_id for stage_id, _ in job.payloads):
            stage = job.stages[stage_id]
            waits = any(task.state is TaskState.READY and not task.spec.counted for task in stage.tasks)
            if stage.spec.kind is StageKind.LLM and waits:
                payloads = [job.payloads[stage_id, index] for index in range(len(stage.tasks))]
                calls = [task_pb2.TaskPayload.FromString(payload).llm for payload in payloads]
                self._pool.count_tokens(job.job_id, stage_id, stage.spec.requirement, calls)


class DeltaPublisher:
    """Hands text that is being written to whoever watches the job. Best effort: what comes too fast is dropped."""

    def __init__(self, store: SchedulerStore, *, limit: int = 1000) -> None:
        self._store = store
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(maxsize=limit)

    def publish(self, job_id: str, delta: bytes) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait((job_id, delta))

    async def run(self) -> None:
        while True:
            job_id, delta = await self._waiting.get()
            try:
                await self._store.publish_delta(job_id, delta)
            except StateError as error:
                _log.debug("text dropped", action="delta_dropped", job=job_id, error=str(error))


def _priority(priority: int) -> int:
    """The machine counts without end, the wire has 32 bits: the order wraps around after two billion decisions."""
    return (priority + 2**31) % 2**32 - 2**31
