"""Renders a run as one HTML file that needs nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader

from llmsched.types import Job
from services.up.report.layout import executor_lanes, job_lanes

#: Distinguishable for people with the common kinds of colour blindness (Okabe and Ito, 2008).
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a report is about."""

    title: str
    policy: str
    jobs: Sequence[Job]  #: ended, with their stages
    facts: Mapping[str, str]  #: shown as they are: engine, machine, versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Job completion times of one application, in seconds."""

    application: str
    jobs: int
    succeeded: int
    mean: float
    median: float
    largest: float
    completion_tokens: int


def rows(jobs: Sequence[Job]) -> list[Row]:
    """One row for each application, and one for all of them."""
    names = sorted({job.application for job in jobs})
    groups = {name: [job for job in jobs if job.application == name] for name in names} | {"all": list(jobs)}
    return [_row(name, group) for name, group in groups.items() if group]


def render(run: Run) -> str:
    """The page."""
    start = min((job.create_time for job in run.jobs if job.create_time), default=datetime.now(UTC))
    applications = sorted({job.application for job in run.jobs})
    environment = Environment(
        loader=PackageLoader("services.up.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    values: dict[str, Any] = {
        "run": run,
        "rows": rows(run.jobs),
        "executors": executor_lanes(run.jobs, start),
        "jobs": job_lanes(run.jobs, start),
        "colours": {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(applications)},
        "start": start,
    }
    return environment.get_template("report.html.j2").render(values)


def _row(name: str, jobs: Sequence[Job]) -> Row:
    times = [job.completion_time.total_seconds() for job in jobs if job.completion_time] or [0.0]
    return Row(
        application=name,
        jobs=len(jobs),
        succeeded=sum(job.state == "SUCCEEDED" for job in jobs),
        mean=statistics.fmean(times),
        median=statistics.median(times),
        largest=max(times),
        completion_tokens=sum(job.usage.completion_tokens for job in jobs),
    )
