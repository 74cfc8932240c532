"""What is believed of a running job: the scheduler's own code, on what the durable state has of the job."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from services.common.clock import Clock
from services.profiler.core.belief import Belief, Beliefs, Interval, Remaining
from services.profiler.core.packing import unpack
from services.profiler.core.statistics import WorkModel
from services.profiler.refusals import job_not_found
from services.scheduler.core.jobs import Job
from services.scheduler.core.seen import job_seen
from services.state.port import State
from services.state.records import StoredJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of what a job still needs."""

    application: str
    version: int  #: of the profile
    expected: Remaining
    llm: Interval
    tool: Interval


class Predictor:
    def __init__(self, state: State, *, work: WorkModel, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._beliefs = Beliefs(work=work)
        self._versions: dict[str, int] = {}  #: that the beliefs go by

    async def predict(self, job_id: str) -> Prediction | None:
        """None: there is no profile of the job's application. Raises NOT_FOUND/JOB_NOT_FOUND."""
        job = await self._state.get_job(job_id)
        if job is None:
            raise job_not_found(job_id)
        application = job.record.application
        await self._refresh(application)
        belief = self._believed(job)
        if belief is None:
            return None
        over = job.status.state.is_final
        llm, tool = (Interval(0.0, 0.0), Interval(0.0, 0.0)) if over else belief.intervals
        return Prediction(
            application=application,
            version=self._versions[application],
            expected=Remaining(0.0, 0.0) if over else belief.expected,
            llm=llm,
            tool=tool,
        )

    async def _refresh(self, application: str) -> None:
        """Takes over the newest profile, if there is another one since the last question."""
        profiles = self._state.profiles
        version = (await profiles.newest_profiles()).get(application)
        if version is None or version == self._versions.get(application):
            return
        record = await profiles.get_profile(application, version)
        if record is not None:
            self._beliefs = self._beliefs.with_profile(unpack(record.compiled, record.encoding))
            self._versions[application] = version

    def _believed(self, job: StoredJob) -> Belief | None:
        view = Job(job.snapshot()).view
        view.shown_at = self._clock.now()
        # How much slower engines are in a batch is not known here: the time that a call has run so far shows nothing.
        return self._beliefs.of(job_seen(view, self._beliefs.work, inf))
