"""Jobs whose stages a program adds while it goes: open until the program closes them.

Nothing is unfolded: a stage comes with its only task, and what that is to run is known outside of the machine. A stage
that fails does not stop its job, since what a failure means is for the program to decide; so what comes after it waits
for its end only, however it ended.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from services.scheduler.core.events import JobClosed, StageAdded
from services.scheduler.core.jobs import Job, Stage
from services.scheduler.core.lifecycle import Lifecycle
from services.scheduler.core.model import StageSnapshot, StageSpec, TaskSnapshot
from services.scheduler.core.policies.base import Moment

MAX_STAGES = 10_000  #: of one job: its program should have ended long ago


class Problem(StrEnum):
    """Why a stage cannot be added."""

    NOT_ACTIVE = "NOT_ACTIVE"  #: no such job, or it has ended
    NOT_OPEN = "NOT_OPEN"  #: it is no program's, closed, or about to end
    TAKEN = "TAKEN"  #: the stage id, by another stage
    KNOWN = "KNOWN"  #: this very stage was added before
    UNKNOWN_PARENTS = "UNKNOWN_PARENTS"
    TOO_MANY = "TOO_MANY"


def problem(job: Job | None, stage: StageSpec) -> Problem | None:
    """What is in the way of adding the stage to the job."""
    if job is None:
        return Problem.NOT_ACTIVE
    known = job.stages.get(stage.stage_id)
    if known is not None and job.is_program:
        return Problem.KNOWN if _asked(known.spec) == _asked(stage) else Problem.TAKEN
    if not job.open or job.stopping:
        return Problem.NOT_OPEN
    if any(parent not in job.stages for parent in stage.parents):
        return Problem.UNKNOWN_PARENTS
    return Problem.TOO_MANY if len(job.stages) >= MAX_STAGES else None


def _asked(spec: StageSpec) -> StageSpec:
    """Without what the machine has said of it."""
    return replace(spec, occurrence=0, position=0, generated_by=None)


class ProgramLifecycle(Lifecycle):
    """As `Lifecycle`, with what programs do."""

    def add_stage(self, event: StageAdded) -> None:
        job = self.jobs.get(event.job_id)
        if job is None or problem(job, event.stage) is not None:
            return
        spec = replace(
            event.stage,
            occurrence=job.names[event.stage.name],
            position=len(job.stages),
            generated_by=_generator(job, event.stage),
        )
        stage = job.add(StageSnapshot(spec=spec, tasks=(TaskSnapshot(spec=event.task),)))
        self._emit_stage(stage)
        job.block(stage, stage.needs)
        self._touch(job, Moment.STAGES_ADDED)
        if stage.blockers == 0:
            self._unblock(stage)

    def close(self, event: JobClosed) -> None:
        job = self.programs.get(event.job_id)
        if job is None or job.stopping or (event.if_idle and job.unfinished):
            return
        del self.programs[event.job_id]
        job.open = job.view.open = False
        if event.failure is not None:
            self._stop_job(job, event.failure)
        elif job.unfinished:
            self._emit_job(event.job_id, job.state, None)
        else:
            self._end_if_done(job)


def _generator(job: Job, stage: StageSpec) -> str | None:
    """The stage whose end made the program add this one: the latest of its parents, else the job's latest."""
    ended = [job.stages[one] for one in stage.parents if job.stages[one].ended_at is not None]
    latest: Stage | None = max(ended, key=lambda one: one.end, default=job.latest)
    return None if latest is None else latest.spec.stage_id
