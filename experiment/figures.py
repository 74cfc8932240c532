"""How the jobs of each application differ: rounds of loops, stages that plans made, widths, tokens, durations.

The figures of recorded jobs that say why scheduling them is hard. A file or a folder of the trace format, or that of an
experiment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from experiment.charts import histogram
from services.common.drawing import Drawing
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from simulator.metrics import quantile

_DURATION_BINS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFigures:
    """Of one job."""

    rounds: int  #: of its longest loop; 0: it has none
    generated: int  #: stages that were not known at arrival
    width: int  #: tasks of its widest stage
    prompt_tokens: int
    output_tokens: int
    alone: float  #: seconds it takes with nobody beside it: its longest path
    jct: float | None  #: seconds, as recorded


def job_figures(job: TraceJob, work: WorkModel) -> JobFigures:
    """Counts in the job's graph; `work` says what tokens cost."""
    # Each round of a loop is made by the round before it, so a stage of a loop has as many generators as rounds; the
    # steps of a plan, which may have equal names, all have the same one.
    generators: dict[str, set[str | None]] = defaultdict(set)
    for stage in job.stages:
        if stage.tasks:
            generators[stage.name].add(stage.generated_by)
    rounds = max(map(len, generators.values()), default=0)
    is_loop = rounds > 1 or job.structure in ("chain", "chain+width")
    llm = [task for stage in job.stages if stage.is_llm for task in stage.tasks]
    return JobFigures(
        rounds=rounds if is_loop else 0,
        generated=sum(stage.generated_by is not None and bool(stage.tasks) for stage in job.stages),
        width=max(len(stage.tasks) for stage in job.stages),
        prompt_tokens=sum(task.prompt_tokens or 0 for task in llm),
        output_tokens=sum(task.output_tokens or 0 for task in llm),
        alone=_longest_path(job, work),
        jct=job.recorded_jct_seconds,
    )


def by_application(jobs: Sequence[TraceJob], work: WorkModel) -> dict[str, list[JobFigures]]:
    """Sorted by name."""
    found: dict[str, list[JobFigures]] = defaultdict(list)
    for job in jobs:
        found[job.app].append(job_figures(job, work))
    return dict(sorted(found.items()))


def markdown(figures: Mapping[str, Sequence[JobFigures]]) -> list[str]:
    """A row for each application; of each number mean, smallest, 95th percentile and largest."""
    columns = ("rounds", "generated", "width", "prompt_tokens", "output_tokens", "alone", "jct")
    names = ("rounds of loops", "generated stages", "width", "prompt tokens", "output tokens", "alone (s)", "JCT (s)")
    lines = [
        "Of each number: mean, and in brackets smallest – 95th percentile – largest.",
        "",
        "| application | jobs | " + " | ".join(names) + " |",
        "|---|" + "--:|" * (len(names) + 1),
    ]
    for name, jobs in figures.items():
        cells = [_spread([value for job in jobs if (value := getattr(job, column)) is not None]) for column in columns]
        lines.append(f"| {name} | {len(jobs)} | " + " | ".join(cells) + " |")
    return lines


def counts_markdown(figures: Mapping[str, Sequence[JobFigures]]) -> list[str]:
    """How many jobs have how many rounds and generated stages, of the applications in which that differs."""
    lines = [
        "Numbers, and after × how many jobs have them.",
        "",
        "| application | rounds of loops | generated stages |",
        "|---|---|---|",
    ]
    for name, jobs in figures.items():
        counted = [Counter(job.rounds for job in jobs), Counter(job.generated for job in jobs)]
        if any(len(each) > 1 for each in counted):
            cells = [", ".join(f"{value} ×{count}" for value, count in sorted(each.items())) for each in counted]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def drawings(figures: Mapping[str, Sequence[JobFigures]]) -> dict[str, Drawing]:
    """By file name without the ending; applications in which all jobs have the same number are left out."""
    asked = {
        "rounds": ("Rounds of the longest loop", "rounds"),
        "generated": ("Stages that are not known at arrival", "stages"),
        "width": ("Tasks of the widest stage", "tasks"),
    }
    found = {}
    for column, (title, unit) in asked.items():
        counts = {name: Counter(getattr(job, column) for job in jobs) for name, jobs in figures.items()}
        varied = {name: each for name, each in counts.items() if len(each) > 1}
        if varied:
            found[column] = histogram(title, varied, unit)
    longest = max((job.alone for jobs in figures.values() for job in jobs), default=0.0)
    if longest > 0:
        step = _round_step(longest / _DURATION_BINS)
        counts = {name: Counter(int(job.alone / step) for job in jobs) for name, jobs in figures.items()}
        found["durations"] = histogram("Duration of a job alone", counts, f"in {step:g} s")
    return found


def _longest_path(job: TraceJob, work: WorkModel) -> float:
    ends: dict[str, float] = {}
    for stage in job.stages:
        if stage.is_llm:
            seconds = [work.work(task.prompt_tokens or 0, task.output_tokens or 0) for task in stage.tasks]
        else:
            seconds = [task.seconds or 0.0 for task in stage.tasks]
        begin = max((ends[parent] for parent in stage.parents), default=0.0)
        ends[stage.id] = begin + max(seconds, default=0.0)
    return max(ends.values())


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    ascending = sorted(values)
    if ascending[0] == ascending[-1]:
        return _number(ascending[0])
    ends = (ascending[0], quantile(ascending, 0.95), ascending[-1])
    return f"{_number(fsum(values) / len(values))} ({' – '.join(map(_number, ends))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def _round_step(about: float) -> float:
    unit = 10.0 ** (len(f"{about:.0f}") - 1) if about >= 1 else 0.1
    return next(unit * factor for factor in (1, 2, 5, 10, 20, 50, 100) if unit * factor >= about)
