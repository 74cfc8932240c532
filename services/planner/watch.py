"""WatchJob: a snapshot, then every change in order without gaps, then the end; deltas in between on request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from llmsched.api.planner.v1 import planner_pb2
from services.common.errors import DomainError
from services.common.lifecycle import cancel_and_wait
from services.planner.convert import event_to_proto, job_to_proto
from services.state.port import HistoryCompacted, State
from services.state.records import JobEvent, JobUpdate, StoredJob

_Response = planner_pb2.WatchJobResponse
_MAX_WAITING_DELTAS = 1_000
_PAGE = 500


class Watcher:
    """One watch of one job. Changes are pulled from the store as fast as the reader takes them, so a slow reader
    costs no memory; deltas, which nobody stores, are dropped for it."""

    def __init__(
        self, state: State, job: StoredJob, *, after: int, deltas: bool, progress: float, tracing: bool
    ) -> None:
        self._state = state
        self._job = job
        self._after = after
        self._with_deltas = deltas
        self._progress = progress  #: seconds of silence
        self._tracing = tracing
        self._wakes: asyncio.Queue[_Response | None] = asyncio.Queue(maxsize=_MAX_WAITING_DELTAS)

    async def messages(self) -> AsyncIterator[_Response]:
        if self._after == 0:
            self._after = self._job.sequence
            yield _Response(sequence=self._after, snapshot=job_to_proto(self._job, tracing=self._tracing))
            if self._job.status.state.is_final:
                return
        feeds = [asyncio.create_task(self._feed_changes(), name="watch-changes")]
        if self._with_deltas:
            feeds.append(asyncio.create_task(self._feed_deltas(), name="watch-deltas"))
        try:
            async for message in self._follow(feeds[0]):
                yield message
        finally:
            await cancel_and_wait(*feeds)

    async def _follow(self, changes: asyncio.Task[None]) -> AsyncIterator[_Response]:
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        while True:
            delta = await self._wakes.get()
            if delta is not None:
                delta.sequence = self._after
                spoke_at = loop.time()
                yield delta
                continue
            if changes.done():
                changes.result()
            events = await self._read()
            for event in events:
                self._after = event.sequence
                spoke_at = loop.time()
                yield event_to_proto(event)
            if _is_last(events) or (not events and await self._has_ended()):
                return
            if loop.time() - spoke_at >= self._progress:
                spoke_at = loop.time()
                yield _Response(sequence=self._after, progress=_Response.Progress())

    async def _read(self) -> list[JobEvent]:
        try:
            return await self._state.read_events(self._job.record.job_id, after=self._after, limit=_PAGE)
        except HistoryCompacted as error:
            raise DomainError(
                grpc.StatusCode.OUT_OF_RANGE,
                "HISTORY_COMPACTED",
                f"changes after {self._after} are not kept any more: watch again with after_sequence 0",
                metadata={"after_sequence": str(self._after)},
            ) from error

    async def _has_ended(self) -> bool:
        """Whether no change can come any more; asked only when the store said that something may have changed."""
        job = await self._state.get_job(self._job.record.job_id, stages=False)
        return job is None or (job.status.state.is_final and job.sequence <= self._after)

    async def _feed_changes(self) -> None:
        try:
            async for _ in self._state.watch_changes(self._job.record.job_id):
                self._wake()
        finally:
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # a full queue wakes the reader anyway
            self._wakes.put_nowait(None)

    async def _feed_deltas(self) -> None:
        async for delta in self._state.watch_deltas(self._job.record.job_id):
            with contextlib.suppress(asyncio.QueueFull):
                self._wakes.put_nowait(_Response(output_delta=_Response.OutputDelta.FromString(delta)))


def _is_last(events: list[JobEvent]) -> bool:
    return bool(events) and isinstance(update := events[-1].update, JobUpdate) and update.state.is_final
