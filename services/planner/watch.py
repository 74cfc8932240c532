"""WatchJob: a snapshot, then every change in order without gaps, then the end; deltas in between on request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc

from llmsched.api.planner.v1 import planner_pb2
from services.common.errors import DomainError
from services.common.lifecycle import cancel_and_wait
from services.planner.convert import event_to_proto, job_to_proto
from services.planner.refusals import Reason, job_not_found, shutting_down
from services.state.port import HistoryCompacted, State, StateUnavailable
from services.state.records import JobEvent, JobUpdate, StoredJob

_Response = planner_pb2.WatchJobResponse
_MAX_DELTAS = 256  #: that wait for the reader; older ones are dropped
_PAGE = 500


class Watcher:
    """One watch of one job. Changes are pulled from the store as fast as the reader takes them, so a slow reader
    costs no memory; deltas, which nobody stores, are dropped for it."""

    def __init__(
        self, state: State, job: StoredJob, *, after: int, deltas: bool, progress: float, tracing: bool
    ) -> None:
        """`job` as it is now; `progress` in seconds of silence."""
        self._state = state
        self._job = job
        self._job_id = job.record.job_id
        self._after = after  #: the last change that the reader has, or is about to get
        self._with_deltas = deltas
        self._progress = progress
        self._tracing = tracing
        self._woken = asyncio.Event()
        self._changed = False  #: there may be changes to read
        self._kept_up = after == 0  #: the reader once had all changes
        self._stopping = False
        self._deltas: deque[_Response.OutputDelta] = deque(maxlen=_MAX_DELTAS)

    async def messages(self) -> AsyncGenerator[_Response, None]:
        """Raises as documented at WatchJob."""
        if self._after == 0:
            self._after = self._job.sequence
            yield _Response(sequence=self._after, snapshot=job_to_proto(self._job, tracing=self._tracing))
        if self._job.status.state.is_final and self._after == self._job.sequence:
            return
        changes = asyncio.create_task(self._feed_changes(), name="watch-changes")
        deltas = asyncio.create_task(self._feed_deltas(), name="watch-deltas") if self._with_deltas else None
        try:
            async with aclosing(self._follow(changes)) as messages:
                async for message in messages:
                    yield message
        finally:
            await cancel_and_wait(changes, deltas)

    def stop(self) -> None:
        """The planner goes down: lets the reader turn to another one."""
        self._stopping = True
        self._woken.set()

    async def _follow(self, changes: asyncio.Task[None]) -> AsyncGenerator[_Response, None]:
        clock = asyncio.get_running_loop().time
        spoke_at = clock()
        ended = False
        while not ended:
            await self._wake(within=spoke_at + self._progress - clock())
            for message in self._take_deltas():
                yield message
                spoke_at = clock()
            for event in await self._take_changes(changes):
                self._after = event.sequence
                ended = isinstance(event.update, JobUpdate) and event.update.state.is_final
                yield event_to_proto(event)
                spoke_at = clock()
            if not ended and clock() >= spoke_at + self._progress:
                yield await self._sign_of_life()
                spoke_at = clock()

    async def _wake(self, *, within: float) -> None:
        """Returns when there may be something to say, or the time is over."""
        try:
            async with asyncio.timeout(max(0.0, within)):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()
        if self._stopping:
            raise shutting_down("watch")

    def _take_deltas(self) -> list[_Response]:
        deltas = [_Response(sequence=self._after, output_delta=delta) for delta in self._deltas]
        self._deltas.clear()
        return deltas

    async def _take_changes(self, changes: asyncio.Task[None]) -> list[JobEvent]:
        """The next changes; what is left over of them wakes us again at once."""
        if changes.done():
            changes.result()
            raise StateUnavailable("the durable state was closed")
        if not self._changed:
            return []
        self._changed = False
        try:
            events = await self._state.read_events(self._job_id, after=self._after, limit=_PAGE)
        except HistoryCompacted as error:
            raise await self._compacted() from error
        if len(events) == _PAGE:
            self._mark_changed()
        else:
            self._kept_up = True
        return events

    async def _compacted(self) -> DomainError:
        job = await self._state.get_job(self._job_id, stages=False)
        metadata = {"after_sequence": str(self._after)}
        if self._kept_up and job is not None and job.sequence > self._after:
            message = f"the reader is too slow: changes after {self._after} are not kept any more"
            return DomainError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.SLOW_READER, message, metadata=metadata, retry_after=0.1
            )
        message = f"changes after {self._after} are not kept any more: watch again with after_sequence 0"
        return DomainError(grpc.StatusCode.OUT_OF_RANGE, Reason.HISTORY_COMPACTED, message, metadata=metadata)

    async def _sign_of_life(self) -> _Response:
        if await self._state.get_job(self._job_id, stages=False) is None:
            raise job_not_found(self._job_id)  # it has ended, and the reader took too long to hear of it
        return _Response(sequence=self._after, progress=_Response.Progress())

    async def _feed_changes(self) -> None:
        try:
            async with aclosing(self._state.watch_changes(self._job_id)) as changes:
                async for _ in changes:
                    self._mark_changed()
        finally:
            self._woken.set()

    def _mark_changed(self) -> None:
        self._changed = True
        self._woken.set()

    async def _feed_deltas(self) -> None:
        async with aclosing(self._state.watch_deltas(self._job_id)) as deltas:
            async for delta in deltas:
                self._deltas.append(_Response.OutputDelta.FromString(delta))
                self._woken.set()
