"""From phases to what a comparison says: live runs in the words of `simulator.compare`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isfinite

from experiment.config import Config
from experiment.store import NoResults, Phase
from simulator.compare.bootstrap import Estimate
from simulator.compare.study import Condition, StudyRun
from simulator.compare.summary import Cell, cells
from simulator.metrics import summarise
from simulator.run import RunResult


def compared(config: Config, phases: Sequence[Phase]) -> tuple[Cell, list[StudyRun]]:
    """The policies side by side, jobs paired by their place in the order of arrival, and the runs behind it.

    Of an experiment that has not ended: the policies that have run, in the repeats that all of them have.

    Raises:
        NoResults: no phase has ended.
        NothingToCompare: no job succeeded under all policies.
    """
    if not phases:
        raise NoResults("no phase has ended yet")
    ran = [policy for policy in config.policies if any(phase.policy == policy for phase in phases)]
    by_repeat: dict[int, set[str]] = defaultdict(set)
    for phase in phases:
        by_repeat[phase.repeat].add(phase.policy)
    whole = {repeat for repeat, policies in by_repeat.items() if policies >= set(ran)}
    load = next((phase.load or phase.rate for phase in phases), None) or 0.0
    runs = [
        StudyRun(Condition(config.name, round(load, 3), phase.repeat), result(phase))
        for phase in phases
        if phase.repeat in whole
    ]
    (cell,) = cells(runs, reference=config.divided_by)
    return cell, runs


def result(phase: Phase) -> RunResult:
    """A live phase, as if it had been a simulated run."""
    jcts = tuple((job.index, job.application, job.jct) for job in phase.jobs if job.jct is not None)
    by_application: dict[str, list[float]] = defaultdict(list)
    for _, application, jct in jcts:
        by_application[application].append(jct)
    return RunResult(
        policy=phase.policy,
        summary=summarise([jct for _, _, jct in jcts]),
        per_application={name: summarise(by_application[name]) for name in sorted(by_application)},
        failed=phase.failed,
        makespan=phase.seconds,
        llm_utilisation=phase.llm_utilisation,
        tool_utilisation=phase.tool_utilisation,
        decisions=phase.dispatches,
        wall_seconds=phase.seconds,
        jcts=jcts,
    )


def tokens(phases: Sequence[Phase], policy: str) -> tuple[int, int]:
    """Prompt and output tokens of all jobs under a policy."""
    jobs = [job for phase in phases if phase.policy == policy for job in phase.jobs]
    return sum(job.prompt_tokens for job in jobs), sum(job.output_tokens for job in jobs)


def interval(estimate: Estimate, digits: int) -> str:
    """A value with its interval, for people."""
    if not isfinite(estimate.value):
        return "–"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
