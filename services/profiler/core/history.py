"""From recorded jobs to statistics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import fsum

from services.profiler.core.statistics import ApplicationStatistics, StageStatistics, Statistics, WorkModel
from services.profiler.core.trace import TraceJob, TraceStage


def learn(history: Iterable[TraceJob], work: WorkModel | None = None) -> Statistics:
    """Statistics of a history.

    Tool seconds that are null take the mean of the known ones of the same stage name in the application, else of the
    application, else of the history, else 0; tokens that are null count as 0.

    Raises:
        ValueError: the history is empty.
    """
    jobs = list(history)
    if not jobs:
        raise ValueError("the history has no jobs: there is nothing to learn from")
    model = work or WorkModel()
    unknown = UnknownSeconds(jobs)
    by_application: dict[str, list[TraceJob]] = defaultdict(list)
    for job in jobs:
        by_application[job.app].append(job)
    found = {name: _application(group, model, unknown) for name, group in by_application.items()}
    return Statistics(applications=found, pooled=_application(jobs, model, unknown), work=model)


class UnknownSeconds:
    """Stand-ins for tool seconds that are null."""

    def __init__(self, jobs: Iterable[TraceJob]) -> None:
        known: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for job in jobs:
            for stage in job.stages:
                seconds = [] if stage.is_llm else [task.seconds for task in stage.tasks if task.seconds is not None]
                for scope in ((job.app, stage.name), (job.app,), ()):
                    known[scope] += seconds
        self._means = {scope: fsum(values) / len(values) for scope, values in known.items() if values}

    def seconds(self, application: str, stage: str) -> float:
        for scope in ((application, stage), (application,), ()):
            if scope in self._means:
                return self._means[scope]
        return 0.0


def _application(jobs: list[TraceJob], model: WorkModel, unknown: UnknownSeconds) -> ApplicationStatistics:
    totals: list[float] = []
    sums: dict[str, list[float]] = defaultdict(list)
    spans: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, bool] = {}
    for job in jobs:
        total: list[float] = []
        for stage in job.stages:
            tasks = _task_seconds(job.app, stage, model, unknown)
            total += tasks
            sums[stage.name].append(fsum(tasks))
            spans[stage.name].append(max(tasks, default=0.0))
            kinds[stage.name] = stage.is_llm
        totals.append(fsum(total))
    stages = {
        name: StageStatistics(
            per_job=len(values) / len(jobs),
            seconds=fsum(values) / len(values),
            span=fsum(spans[name]) / len(values),
            is_llm=kinds[name],
        )
        for name, values in sums.items()
    }
    return ApplicationStatistics(totals=tuple(sorted(totals)), stages=stages)


def _task_seconds(application: str, stage: TraceStage, model: WorkModel, unknown: UnknownSeconds) -> list[float]:
    if stage.is_llm:
        return [model.work(task.prompt_tokens or 0, task.output_tokens or 0) for task in stage.tasks]
    return [unknown.seconds(application, stage.name) if task.seconds is None else task.seconds for task in stage.tasks]
