"""Follows what profilers learn, for as long as the process lives; each term of leadership listens while it lasts.

Nothing waits for a profiler: while none answers, beliefs go by the profiles that have come so far, or there are none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc

from llmsched.api.profiler.v1 import profiler_pb2, profiler_pb2_grpc
from services.common.clock import Clock
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.logs import get_logger
from services.profiler.core.calibration import Calibration
from services.profiler.core.packing import UnknownEncoding, unpack
from services.profiler.core.profile import Profile
from services.scheduler.core.events import CalibrationChanged, ProfileChanged
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.inbox import Arrival

_log = get_logger(__name__)

_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 2.0
#: A profiler sends something every few seconds; one that does not is taken for gone.
SILENCE_SECONDS = 30.0


class ProfilesClient:
    def __init__(self, addresses: Sequence[str], *, clock: Clock, silence: float = SILENCE_SECONDS) -> None:
        """`addresses` of profilers, of which any will do; none: nothing is followed."""
        self._addresses = list(addresses)
        self._clock = clock
        self._silence = silence
        self._newest: dict[str, Profile] = {}
        self._calibrations: dict[str, tuple[int, Calibration]] = {}  #: by executor, with their versions
        self._all_heard = asyncio.Event()  #: a profiler has sent all that there was
        self._put: Callable[[Arrival], None] | None = None

    async def run(self) -> NoReturn:
        """Watches one profiler after the other for ever."""
        backoff, told = _FIRST_BACKOFF, False
        while True:
            address = self._addresses[0]
            heard = False
            try:
                async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
                    stub = profiler_pb2_grpc.ProfilerServiceStub(channel)
                    heard = await self._follow(stub.WatchProfiles(profiler_pb2.WatchProfilesRequest()))
                    why = "it has ended the stream"
            except grpc.aio.AioRpcError as error:
                why = error.details() or error.code().name
            if heard or not told:
                _log.warning("the profiler does not answer", action="profiler_lost", address=address, why=why)
            backoff, told = (_FIRST_BACKOFF if heard else min(_LAST_BACKOFF, 2 * backoff)), True
            self._addresses.append(self._addresses.pop(0))
            await asyncio.sleep(backoff)

    def added_to(self, knowledge: Knowledge) -> Knowledge:
        """With the profiles that have come so far."""
        for profile in self._newest.values():
            knowledge = knowledge.with_profile(profile)
        return knowledge

    async def heard(self, seconds: float) -> None:
        """Waits until a profiler has sent all that there was, but not longer than this."""
        if self._addresses:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._all_heard.wait()

    @contextmanager
    def told_to(self, put: Callable[[Arrival], None]) -> Iterator[None]:
        """Puts what is known at once, and all that comes while the context lasts, as events. One context at a time."""
        self._put = put
        try:
            for profile in self._newest.values():
                put(self._arrival(profile))
            for executor_id in self._calibrations:
                put(self._calibrated(executor_id))
            yield
        finally:
            self._put = None

    async def _follow(self, stream: Any) -> bool:
        """Takes what a profiler sends until it falls silent. Whether it has sent anything."""
        heard = False
        try:
            while True:
                async with asyncio.timeout(self._silence):
                    message = await stream.read()
                if message is grpc.aio.EOF:
                    return heard
                if not heard:
                    _log.info("profiles are followed", action="profiler_found", address=self._addresses[0])
                heard = True
                if message.HasField("profile"):
                    self._take(message.profile)
                elif message.HasField("calibration"):
                    self._take_calibration(message.calibration)
                else:
                    self._all_heard.set()
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            if not heard and isinstance(error, grpc.aio.AioRpcError):
                raise
            return heard
        finally:
            stream.cancel()

    def _take(self, message: profiler_pb2.Profile) -> None:
        try:
            profile = unpack(message.compiled, message.encoding)
        except UnknownEncoding as error:
            _log.error("a profile cannot be used", action="profile_unreadable", name=message.name, error=str(error))
            return
        known = self._newest.get(profile.application)
        if known is not None and known.version == profile.version and known == profile:
            return  # it is sent again after each break
        self._newest[profile.application] = profile
        _log.info("new profile", action="profile_received", name=message.name, jobs=profile.jobs)
        if self._put is not None:
            self._put(self._arrival(profile))

    def _arrival(self, profile: Profile) -> Arrival:
        cause = f"profile:{profile.application}:{profile.version}"
        return Arrival(event=ProfileChanged(at=self._clock.now(), cause=cause, profile=profile))

    def _take_calibration(self, message: profiler_pb2.Calibration) -> None:
        name = message.executor_id
        try:
            calibration = Calibration(
                prefill=message.prefill_seconds,
                steps=tuple(message.step_seconds),
                weights=tuple(message.step_counts),
                prompts=message.prompt_count,
            )
        except ValueError as error:
            _log.error("a calibration cannot be used", action="calibration_unreadable", executor=name, error=str(error))
            return
        if self._calibrations.get(name) == (message.version, calibration):
            return
        self._calibrations[name] = message.version, calibration
        _log.info("new calibration", action="calibration_received", executor=name, version=message.version)
        if self._put is not None:
            self._put(self._calibrated(name))

    def _calibrated(self, executor_id: str) -> Arrival:
        version, calibration = self._calibrations[executor_id]
        cause = f"calibration:{executor_id}:{version}"
        event = CalibrationChanged(at=self._clock.now(), cause=cause, executor_id=executor_id, calibration=calibration)
        return Arrival(event=event)
