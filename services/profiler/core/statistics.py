"""What a history says of each application without any model of dependence: totals, and means by stage name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import fsum


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
