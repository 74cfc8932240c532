"""What a history says of each application without any model of dependence: totals, and means by stage name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkModel:
    """An LLM call's work: its seconds when it has the engine to itself. Defaults: docs/simulation-contract.md."""

    prefill: float = 0.000161  #: seconds a prompt token
    decode: float = 0.0155  #: seconds an output token

    def work(self, prompt_tokens: int, output_tokens: int) -> float:
        return prompt_tokens * self.prefill + output_tokens * self.decode


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatistics:
    """All occurrences of a stage name in an application's jobs."""

    per_job: float  #: how often it occurs in a job, on average
    seconds: float  #: mean of the sum over the tasks of one occurrence: LLM work or tool seconds
    span: float  #: mean of the longest task of one occurrence
    is_llm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationStatistics:
    """The jobs of one application. A job's total is its LLM work plus its tool seconds, over all tasks."""

    totals: tuple[float, ...]  #: one for each job, ascending
    stages: Mapping[str, StageStatistics]  #: by stage name

    @property
    def jobs(self) -> int:
        return len(self.totals)

    @property
    def mean(self) -> float:
        return fsum(self.totals) / len(self.totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of a whole history."""

    applications: Mapping[str, ApplicationStatistics]
    pooled: ApplicationStatistics  #: all jobs as one application: for those that the history does not know
    work: WorkModel = field(default_factory=WorkModel)

    def of(self, application: str) -> ApplicationStatistics:
        return self.applications.get(application, self.pooled)

    def updated(self, newer: Statistics) -> Statistics:
        """With what is newer in place of what was known of the same applications."""
        applications = {**self.applications, **newer.applications}
        return Statistics(applications=applications, pooled=pooled(applications.values()), work=newer.work)

    def plain(self) -> dict[str, Any]:
        """As lists, numbers and strings, without `pooled`, which follows."""
        return {
            "applications": {
                name: {
                    "totals": list(one.totals),
                    "stages": {stage: asdict(found) for stage, found in one.stages.items()},
                }
                for name, one in self.applications.items()
            },
            "work": asdict(self.work),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Statistics:
        """The inverse of `plain`, of one application at least."""
        applications = {
            name: ApplicationStatistics(
                totals=tuple(one["totals"]),
                stages={stage: StageStatistics(**found) for stage, found in one["stages"].items()},
            )
            for name, one in plain["applications"].items()
        }
        return cls(applications=applications, pooled=pooled(applications.values()), work=WorkModel(**plain["work"]))


def pooled(applications: Iterable[ApplicationStatistics]) -> ApplicationStatistics:
    """Several applications, one at least, as one: each counts by its jobs, each stage name by its occurrences."""
    found = list(applications)
    jobs = sum(one.jobs for one in found)
    stages = {}
    for name in dict.fromkeys(name for one in found for name in one.stages):
        parts = [(one.jobs * one.stages[name].per_job, one.stages[name]) for one in found if name in one.stages]
        count = fsum(times for times, _ in parts)
        stages[name] = StageStatistics(
            per_job=count / jobs,
            seconds=fsum(times * part.seconds for times, part in parts) / count,
            span=fsum(times * part.span for times, part in parts) / count,
            is_llm=parts[-1][1].is_llm,
        )
    return ApplicationStatistics(totals=tuple(sorted(total for one in found for total in one.totals)), stages=stages)
