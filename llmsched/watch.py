"""A watch of one job that outlives its connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmsched import conversion
from llmsched.api.planner.v1 import planner_pb2
from llmsched.errors import InvalidRequestError, LLMSchedError, OverloadedError, UnavailableError
from llmsched.events import Event, JobChanged, OutputDelta, Snapshot
from llmsched.options import Options
from llmsched.rpc import Backoff, Service
from llmsched.types import JobState

IDLE_TIMEOUT = 60.0
"""Seconds without any message, not even a sign of life, after which a connection is taken for broken."""


class Watch:
    """The changes of one job, in order and without gaps, over as many connections as it takes."""

    def __init__(self, planner: Service, name: str, *, after_sequence: int, deltas: bool, options: Options) -> None:
        self._planner = planner
        self._options = options
        self._request = planner_pb2.WatchJobRequest(
            name=name, after_sequence=after_sequence, include_output_deltas=deltas
        )
        self._state: JobState | None = None
        self._backoff = Backoff(random.Random())
        #: Seconds without success after which a broken connection is reported; longer once there was one.
        self._patience = options.connect_timeout

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield events until the job's last one. Raises LLMSchedError when going on is no use."""
        clock = asyncio.get_running_loop().time
        last_success = clock()
        while True:
            try:
                async with aclosing(self._one_connection()) as events:
                    async for event in events:
                        last_success, self._patience = clock(), self._options.reconnect_timeout
                        if event is not None:
                            yield event
                if await self._ended():
                    return
                raise UnavailableError("the planner ended the watch before the job ended")
            except LLMSchedError as error:
                if self._state and self._state.ended:
                    return
                pause = self._pause_after(error)
                if pause is None or clock() + pause > last_success + self._patience:
                    raise
            await asyncio.sleep(pause)

    async def _one_connection(self) -> AsyncGenerator[Event | None, None]:
        """Events of one call; None is a sign of life."""
        stream = self._planner.stream("WatchJob", self._request, planner_pb2.WatchJobResponse, IDLE_TIMEOUT)
        async with aclosing(stream) as messages:
            async for message in messages:
                self._backoff.reset()
                yield self._accept(message)

    def _accept(self, message: planner_pb2.WatchJobResponse) -> Event | None:
        """The message's event, unless it was seen on an earlier connection."""
        seen = self._request.after_sequence
        event = conversion.event(message)
        self._request.after_sequence = max(seen, message.sequence)
        match event:
            case Snapshot():
                # After HISTORY_COMPACTED, or the first of all: it replaces whatever was known.
                self._request.after_sequence = event.sequence
                self._state = event.job.state
            case OutputDelta() | None:
                pass
            case _ if event.sequence <= seen:
                return None
            case JobChanged():
                self._state = event.state
        return event

    async def _ended(self) -> bool:
        """Whether a stream that ended in peace was the job's end and not a server going down."""
        if self._state is None and self._request.after_sequence:
            # Resumed behind the last change of the state, so no event told of it.
            request = planner_pb2.GetJobRequest(name=self._request.name)
            reply = await self._planner.call("GetJob", request, planner_pb2.GetJobResponse)
            return conversion.job(reply.job).state.ended
        return self._state is not None and self._state.ended

    def _pause_after(self, error: LLMSchedError) -> float | None:
        if isinstance(error, InvalidRequestError) and error.reason == "HISTORY_COMPACTED":
            self._request.after_sequence = 0
            return self._backoff.next()
        if isinstance(error, OverloadedError) and error.reason == "SLOW_READER":
            return self._backoff.next()
        return self._planner.pause_after(error, self._backoff)
