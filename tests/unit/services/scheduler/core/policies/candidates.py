"""Ready stages for policies to choose from: a test writes only what it is about."""

from __future__ import annotations

from services.profiler.core.statistics import ApplicationStatistics, Statistics
from services.scheduler.core import PolicySettings, make_policy
from services.scheduler.core.jobs import Job
from services.scheduler.core.model import StageKind, StageSnapshot, StageSpec, StageState
from services.scheduler.core.policies import NOTHING
from services.scheduler.core.policies.base import JobView, Knowledge, StageView, order
from tests.support.scheduling import job

Candidate = tuple[JobView, StageView]


def ready(job_id: str, **more: object) -> Candidate:
    """The only stage of a job; `more` are fields of either view."""
    of_stage = {name: more.pop(name) for name in ("position", "ready_at") if name in more}
    of_job = {"application": "app", "structure": "static", "arrival": 0.0, "order": 0, **more}
    stage = {"position": 0, "ready_at": 0.0, "width": 1, "prompt_tokens": 0, **of_stage}
    return (
        JobView(job_id=job_id, **of_job),
        StageView(stage_id="s", name="s", occurrence=0, kind=StageKind.LLM, **stage),
    )


def shown(job_id: str, *specs: StageSpec, done: str = "", **more: object) -> JobView:
    """A job that has shown these stages; of those named in `done`, in letters, it has finished all."""
    stages = [
        StageSnapshot(spec=spec, state=StageState.SUCCEEDED if spec.stage_id in done else StageState.WAITING)
        for spec in specs
    ]
    view = Job(job(job_id, *stages)).view
    for name, value in more.items():
        setattr(view, name, value)
    return view


def of(view: JobView, stage_id: str) -> Candidate:
    """One stage of a job, as if it were ready."""
    spec = view.stages[stage_id].spec
    stage = StageView(
        stage_id=stage_id,
        name=spec.name,
        occurrence=spec.occurrence,
        kind=spec.kind,
        position=spec.position,
        ready_at=0.0,
        width=1,
        prompt_tokens=0,
    )
    return view, stage


def history(pooled: ApplicationStatistics, **applications: ApplicationStatistics) -> Knowledge:
    return Knowledge(statistics=Statistics(applications=applications, pooled=pooled))


def ranked(candidates: list[Candidate], knowledge: Knowledge = NOTHING, **settings: object) -> list[str]:
    """The ids of the candidates' jobs, first to go first."""
    return [view.job_id for view, _ in order(make_policy(PolicySettings(**settings), knowledge), candidates)]


def ranked_stages(policy: str, knowledge: Knowledge, *candidates: Candidate) -> list[str]:
    """As `ranked`, for candidates of which several are of the same job: "job/stage"."""
    ordered = order(make_policy(PolicySettings(name=policy), knowledge), candidates)
    return [f"{view.job_id}/{stage.stage_id}" for view, stage in ordered]
