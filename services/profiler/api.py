"""ProfilerService: names and pages checked here, everything else in the modules it calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from llmsched.api.profiler.v1 import profiler_pb2, profiler_pb2_grpc
from services.common.errors import Violation
from services.common.pages import page_of
from services.profiler.conducts import kept
from services.profiler.consumer import history_jobs
from services.profiler.convert import (
    calibration_to_proto,
    drift_to_proto,
    prediction_to_proto,
    profile_to_proto,
    reliability_to_proto,
    report_to_core,
)
from services.profiler.core.schedule import next_at
from services.profiler.history import pages, read_import
from services.profiler.predict import Predictor
from services.profiler.refusals import empty_report, import_too_large, invalid_request, profile_not_found
from services.profiler.resource_names import application_in, job_in, profile_in, profile_name
from services.profiler.term import Term
from services.profiler.watch import Watcher
from services.state.port import ProfileStore
from services.state.records import EngineRecord, ProfileRecord

_Context = grpc.aio.ServicerContext[Any, Any]


class ProfilerServicer(profiler_pb2_grpc.ProfilerServiceServicer):
    """See the comments of profiler.proto for errors and promises."""

    def __init__(
        self,
        store: ProfileStore,
        *,
        leading: Callable[[], Term],
        predictor: Predictor,
        progress_seconds: float,
        max_import_bytes: int,
    ) -> None:
        """`leading` gives the term of a profiler that leads, and raises FAILED_PRECONDITION/NOT_LEADER otherwise."""
        self._store = store
        self._leading = leading
        self._predictor = predictor
        self._progress_seconds = progress_seconds
        self._max_import_bytes = max_import_bytes
        self._watchers: set[Watcher] = set()

    def stop_watches(self) -> None:
        """Sends those who watch to another profiler, since a watch lasts for ever."""
        for watcher in self._watchers:
            watcher.stop()

    async def ListProfiles(
        self, request: profiler_pb2.ListProfilesRequest, context: _Context
    ) -> profiler_pb2.ListProfilesResponse:
        page = page_of(request)
        newest = sorted((await self._store.newest_profiles()).items())
        behind = [item for item in newest if item[0] > page.after][: page.size + 1]
        shown, token = page.cut(behind, lambda item: item[0])
        found = [await self._store.get_profile(*item) for item in shown]
        profiles = [await self._described(profile, compiled=False, newest=True) for profile in found if profile]
        return profiler_pb2.ListProfilesResponse(profiles=profiles, next_page_token=token)

    async def GetProfile(
        self, request: profiler_pb2.GetProfileRequest, context: _Context
    ) -> profiler_pb2.GetProfileResponse:
        application, wanted = profile_in(request.name)
        newest = (await self._store.newest_profiles()).get(application, 0)
        version = newest if wanted is None else wanted
        profile = await self._store.get_profile(application, version)
        if profile is None:
            raise profile_not_found(request.name, await self._hint(application, newest))
        described = await self._described(profile, compiled=True, newest=version == newest)
        return profiler_pb2.GetProfileResponse(profile=described)

    async def TrainProfile(
        self, request: profiler_pb2.TrainProfileRequest, context: _Context
    ) -> profiler_pb2.TrainProfileResponse:
        application = application_in(request.application)
        profile = await self._leading().learning.train(application, request.request_id)
        return profiler_pb2.TrainProfileResponse(profile=profile_to_proto(profile, compiled=False))

    async def Predict(self, request: profiler_pb2.PredictRequest, context: _Context) -> profiler_pb2.PredictResponse:
        prediction = await self._predictor.predict(job_in(request.job))
        return profiler_pb2.PredictResponse() if prediction is None else prediction_to_proto(prediction)

    async def WatchProfiles(
        self, request: profiler_pb2.WatchProfilesRequest, context: _Context
    ) -> AsyncIterator[profiler_pb2.WatchProfilesResponse]:
        watcher = Watcher(self._store, progress=self._progress_seconds)
        self._watchers.add(watcher)
        try:
            async with aclosing(watcher.news()) as news:
                async for found in news:
                    yield _news(found)
        finally:
            self._watchers.discard(watcher)

    async def ImportHistory(
        self, requests: AsyncIterator[profiler_pb2.ImportHistoryRequest], context: _Context
    ) -> profiler_pb2.ImportHistoryResponse:
        term = self._leading()  # before anything is sent in vain
        data = bytearray()
        async for request in requests:
            data += request.lines
            if request.lines and not request.lines.endswith(b"\n"):
                data += b"\n"
            if len(data) > self._max_import_bytes:
                raise import_too_large(self._max_import_bytes)
        jobs = await asyncio.to_thread(lambda: history_jobs(read_import(bytes(data))))
        await term.add_history(jobs)
        return profiler_pb2.ImportHistoryResponse(job_count=len(jobs))

    async def ExportHistory(
        self, request: profiler_pb2.ExportHistoryRequest, context: _Context
    ) -> AsyncIterator[profiler_pb2.ExportHistoryResponse]:
        if request.application:
            applications = [application_in(request.application)]
        else:
            applications = sorted(await self._store.histories())
        for application in applications:
            async for page in pages(self._store, application):
                yield profiler_pb2.ExportHistoryResponse(lines=b"".join(page))

    async def ListCalibrations(
        self, request: profiler_pb2.ListCalibrationsRequest, context: _Context
    ) -> profiler_pb2.ListCalibrationsResponse:
        page = page_of(request)
        engines = sorted((await self._store.engines()).items())
        behind = [item for item in engines if item[0] > page.after][: page.size + 1]
        shown, token = page.cut(behind, lambda item: item[0])
        found = [calibration_to_proto(engine) for _, engine in shown]
        return profiler_pb2.ListCalibrationsResponse(calibrations=found, next_page_token=token)

    async def ImportCalibration(
        self, request: profiler_pb2.ImportCalibrationRequest, context: _Context
    ) -> profiler_pb2.ImportCalibrationResponse:
        if not request.executor_id:
            raise invalid_request(Violation("executor_id", "is required"))
        engine = await self._leading().import_calibration(request.executor_id, report_to_core(request.report))
        if engine is None:
            raise empty_report()
        return profiler_pb2.ImportCalibrationResponse(calibration=calibration_to_proto(engine))

    async def _described(self, profile: ProfileRecord, *, compiled: bool, newest: bool) -> profiler_pb2.Profile:
        """With what has become of the history since."""
        message = profile_to_proto(profile, compiled=compiled)
        count = await self._store.count_history(profile.application)
        added = (await self._store.histories()).get(profile.application, 0)
        message.history_job_count = count
        message.new_job_count = max(0, added - profile.added)
        if newest:
            conduct = kept(await self._store.conduct(), profile)
            message.next_new_job_count = conduct.next_in(added, profile.added, count)
            message.drift.CopyFrom(drift_to_proto(conduct))
            reliability = reliability_to_proto(conduct)
            if reliability is not None:
                message.reliability.CopyFrom(reliability)
        return message

    async def _hint(self, application: str, newest: int) -> str:
        if newest:
            return f"the newest is {profile_name(application, newest)}; old versions are forgotten"
        added = (await self._store.histories()).get(application, 0)
        kept = await self._store.count_history(application)
        return f"the history has {kept} jobs; a profile is learned after {next_at(0, kept)}" if added else "no history"


def _news(found: ProfileRecord | EngineRecord | None) -> profiler_pb2.WatchProfilesResponse:
    if isinstance(found, EngineRecord):
        return profiler_pb2.WatchProfilesResponse(calibration=calibration_to_proto(found))
    profile = None if found is None else profile_to_proto(found, compiled=True)
    return profiler_pb2.WatchProfilesResponse(profile=profile)
