"""Whether an application still behaves as its profile says: charts of its finished jobs.

Each finished job gets two scores (`score`): the logarithm of its likelihood under the profile that was in force, and
how much work it was. What scores to expect was found out when the profile was learned, of jobs of its history under
profiles that were learned from the others (`expected_scores`). The place of a score among these, on a normal scale,
goes into one-sided CUSUM charts (Page 1954, Biometrika 41): one raises the alarm when jobs have been too unlikely for
too long, two when they have been too much or too little work. Places need no assumption on how scores are distributed.

The height of a chart follows from the rate of false alarms that is allowed, one in `RUN_LENGTH` jobs, by Siegmund's
formula (1985, Sequential Analysis, equation 2.57). That holds if the expected scores are known exactly. They are a
sample, and one that happens to be high makes usual jobs look low, so the charts' allowance is wider by a guard that
shrinks with the sample's size (Albers and Kallenberg 2004, Metrika 59). `benchmarks/drift.py` measures both rates.

While the alarm is on, beliefs should be wide (`widened`), and a new profile should be learned from jobs since the
change (`recent`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple, TypeVar

import numpy as np

from services.profiler.core.belief import Belief, Beliefs
from services.profiler.core.discretise import Bins
from services.profiler.core.network import Network
from services.profiler.core.profile import Level, Pool, Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import Aspect, JobSeen, StageSeen, Variable, completed, measure

Job = TypeVar("Job")

#: Learns profiles, by application: `profile.learn` or another.
Learn = Callable[[Sequence[TraceJob]], Mapping[str, Profile]]

#: Jobs between false alarms, on average.
RUN_LENGTH = 100_000.0

#: A job's score may be off by so much (in deviations) without moving a chart; and by how much more, over the root of
#: the number of expected scores, because these are a sample.
ALLOWANCE = 0.5
GUARD = 1.0

#: From this share of its height on, a chart is suspicious.
SUSPICION = 1.0 / 3.0

#: With fewer expected scores there is no alarm.
LEAST_SCORES = 20

#: Folds of the cross-validation.
FOLDS = 5

#: How unlikely one thing of a job may be at most: one odd job must not raise the alarm alone.
MOST = 12.0

#: Jobs after a change that a new profile should be learned from; before there are so many, older ones help out.
ENOUGH = 12


# -- how likely a job was --------------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Of a finished job."""

    likelihood: float  #: logarithm, up to a constant: how much like the profile's jobs it was
    work: float  #: seconds: LLM calls as if alone in an engine, and tools


def score(belief: Belief) -> Scores:
    """How a finished job looks to the profile.

    Its likelihood is that of the states of its variables, by the network; less the distance of values beyond all that
    the profile's jobs had (in deviations: an exponential tail); and of what has no variable, by its level (Student's t
    with 3 degrees of freedom). What no job had, or lacked, before counts as half a job of all. The entropy of each
    variable is added: so that with fewer jobs, which have fewer bins, jobs do not look more likely.

    Args: `belief` of the job when all is done (`variables.completed`).
    """
    profile, job = belief.profile, belief.job
    shown = {stage.canonical: stage for stage in job.stages}
    never = log(2.0 * (profile.jobs + 1.0))
    found = max(belief.log_likelihood, -MOST * max(1, len(profile.variables)))
    for variable in profile.variables:
        stage = shown.get(variable.stage)
        found += _entropy(variable, profile.jobs)
        if variable.aspect is Aspect.COUNT:
            found -= _beyond(variable, float(_count(profile, variable.stage[0], job)))
        elif stage is not None:
            found -= _beyond(variable, measure(variable.aspect, stage) or 0.0)
        elif not variable.optional:
            found -= never
    found -= never * sum(name not in profile.llm_names for name in {stage.name for stage in job.stages})
    return Scores(found - _of_levels(profile, job), belief.spent)


def _entropy(variable: Variable, jobs: int) -> float:
    """Of its states in the history, in nats."""
    counts = [len(values) for values in variable.bins.values]
    counts.append(max(0, jobs - sum(counts)))
    return -sum(count / sum(counts) * log(count / sum(counts)) for count in counts if count)


def _count(profile: Profile, name: str, job: JobSeen) -> int:
    """How many stages the job has of the pools that the COUNT variable of this name counts."""
    pools = [profile.pool_of(stage.canonical) for stage in job.stages]
    return max(pools.count(one) for one, pool in profile.pools.items() if pool.count == name)


def _beyond(variable: Variable, value: float) -> float:
    """How far it is out of the range of the history, in the deviations of the history; `MOST` at most."""
    low, high = float(variable.bins.values[0][0]), float(variable.bins.values[-1][-1])
    outside = max(low - value, value - high, 0.0)
    every = np.concatenate(variable.bins.values)
    return min(MOST, outside / max(float(every.std()), 0.1 * float(np.abs(every).mean()), 1e-9)) if outside else 0.0


def _of_levels(profile: Profile, job: JobSeen) -> float:
    """How unlikely the mean units of stages without variables are, one name after the other."""
    by_name: dict[str, list[StageSeen]] = defaultdict(list)
    for stage in job.stages:
        if profile.pool_of(stage.canonical) is not None:
            by_name[stage.name].append(stage)
    found = 0.0
    for stages in by_name.values():
        levels = [profile.level(stage.canonical, is_llm=stage.is_llm) for stage in stages]
        away = sum((measure(Aspect.UNITS, one) or 0.0) - level.units for one, level in zip(stages, levels, strict=True))
        variance = levels[0].between + levels[0].within / len(stages) + (0.1 * levels[0].units) ** 2 + 1e-9
        found += min(MOST, 2.0 * log(1.0 + (away / len(stages)) ** 2 / variance / 3.0))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Scores of jobs like those that a profile was learned from, each ascending."""

    likelihood: tuple[float, ...] = ()
    work: tuple[float, ...] = ()


def expected_scores(
    jobs: Sequence[TraceJob], learn: Learn, work: WorkModel | None = None, folds: int = FOLDS
) -> Expected:
    """Scores of an application's jobs under profiles that were learned from the others.

    Args:
        jobs: in any order; those of one group stay together. With fewer than two groups there are no scores.
        work: that of the beliefs whose scores will be compared with these.
    """
    groups: dict[str, list[TraceJob]] = defaultdict(list)
    for index, job in enumerate(jobs):
        groups[f"group {job.group}" if job.group else f"job {index}"].append(job)
    parts = [list(groups.values())[fold::folds] for fold in range(min(folds, len(groups)))]
    found: list[Scores] = []
    for held in parts if len(parts) > 1 else ():
        beliefs = Beliefs(learn([job for part in parts if part is not held for group in part for job in group]), work)
        for job in (job for group in held for job in group):
            belief = beliefs.of(completed(job))
            assert belief is not None  # others of its application were learned from
            found.append(score(belief))
    return Expected(
        likelihood=tuple(sorted(one.likelihood for one in found)), work=tuple(sorted(one.work for one in found))
    )


# -- the charts ------------------------------------------------------------------------------------------------------


def threshold(run_length: float = RUN_LENGTH, allowance: float = ALLOWANCE) -> float:
    """The height at which a chart of standard normal values raises a false alarm every `run_length` values on average.

    Siegmund's approximation is ARL = (exp(2kb) - 2kb - 1) / 2k², with b = h + 1.166 and k the allowance.
    """
    low, high = 0.0, 1000.0
    while high - low > 1e-9:
        middle = (low + high) / 2.0
        way = 2.0 * allowance * (middle + 1.166)
        length = inf if way > 700.0 else (exp(way) - way - 1.0) / (2.0 * allowance**2)
        low, high = (middle, high) if length < run_length else (low, middle)
    return high


#: Of each of the three charts, any of which may cry wolf.
HEIGHT = threshold(3.0 * RUN_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Adds up how much too high or too low values are. A value: `after` gives the next."""

    sum: float = 0.0
    length: int = 0  #: values since the sum was last 0: those since the change, if there is one

    def after(self, excess: float) -> Chart:
        total = max(0.0, self.sum + excess)
        return Chart(sum=total, length=self.length + 1 if total > 0.0 else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """The charts of one application under one profile. A value: `after` gives the next."""

    expected: Expected
    charts: tuple[Chart, ...] = (Chart(), Chart(), Chart())  #: too unlikely, too much work, too little work
    changed: int | None = None  #: if there is an alarm: how many jobs there have been since the change

    @property
    def alarm(self) -> bool:
        """Stays until there is a new monitor, with a new profile."""
        return self.changed is not None

    @property
    def suspicious(self) -> bool:
        """There may be an alarm soon. The latest jobs had better not be learned from as if nothing had changed."""
        return self.alarm or any(chart.sum >= SUSPICION * HEIGHT for chart in self.charts)

    def after(self, found: Scores) -> Monitor:
        """With one more job."""
        if self.changed is not None:
            return replace(self, changed=self.changed + 1)
        size = len(self.expected.likelihood)
        if size < LEAST_SCORES:
            return self
        allowance = ALLOWANCE + GUARD / sqrt(size)
        likely, work = _place(self.expected.likelihood, found.likelihood), _place(self.expected.work, found.work)
        moves = (-likely, work, -work)
        charts = tuple(chart.after(move - allowance) for chart, move in zip(self.charts, moves, strict=True))
        high = [chart.length for chart in charts if chart.sum >= HEIGHT]
        return replace(self, charts=charts, changed=max(high) if high else None)

    def plain(self) -> dict[str, Any]:
        """As numbers and lists."""
        return {
            "likelihood": list(self.expected.likelihood),
            "work": list(self.expected.work),
            "charts": [[chart.sum, chart.length] for chart in self.charts],
            "changed": self.changed,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Monitor:
        return cls(
            expected=Expected(likelihood=tuple(plain["likelihood"]), work=tuple(plain["work"])),
            charts=tuple(Chart(sum=total, length=length) for total, length in plain["charts"]),
            changed=plain["changed"],
        )


def _place(expected: Sequence[float], found: float) -> float:
    """Where a score is among those expected, on a normal scale; of equal ones in the middle."""
    rank = (bisect_left(expected, found) + bisect_right(expected, found)) / 2.0
    return NormalDist().inv_cdf((rank + 0.5) / (len(expected) + 1.0))


# -- what to do about it ---------------------------------------------------------------------------------------------


def widened(profile: Profile, share: float) -> Profile:
    """A profile that trusts its history less: for the time of an alarm.

    Each table is mixed with the uniform distribution. In the outermost bins of each variable this share of the values
    is half, or twice, what the history had, because what is new may lie beyond all of it. The levels of jobs vary by
    the square root of this share more, so that the next round of a loop is believed to be like the job's own so far.

    Args: `share` of what is not from the history; from 0 (nothing changes) to below 1.
    """
    tables = [(1.0 - share) * table + share / table.shape[-1] for table in profile.network.tables]
    return replace(
        profile,
        variables=tuple(replace(one, bins=_wide_bins(one.bins, share)) for one in profile.variables),
        network=Network(profile.network.names, profile.network.parents, tuple(tables)),
        levels={name: _wide_level(level, share) for name, level in profile.levels.items()},
        stages={stage: _wide_level(level, share) for stage, level in profile.stages.items()},
        kinds=(_wide_level(profile.kinds[0], share), _wide_level(profile.kinds[1], share)),
        pools={name: _wide_pool(pool, share) for name, pool in profile.pools.items()},
    )


def _wide_bins(bins: Bins, share: float) -> Bins:
    values = list(bins.values)
    for place, factor in ((0, 0.5), (-1, 2.0)):
        more = round(len(values[place]) * share / (1.0 - share))
        drawn = np.quantile(values[place], (np.arange(more) + 0.5) / max(1, more)) * factor
        values[place] = np.sort(np.concatenate([values[place], drawn]))
    return Bins(bins.edges, tuple(values))


def _wide_level(level: Level, share: float) -> Level:
    return replace(level, between=level.between + share * level.units**2)


def _wide_pool(pool: Pool, share: float) -> Pool:
    return replace(pool, llm=_wide_level(pool.llm, share), tool=_wide_level(pool.tool, share))


def recent(jobs: Sequence[Job], changed: int) -> list[Job]:
    """The jobs to learn from after an alarm: those since the change, and some older ones while these are few.

    Half as many older ones, the latest, as there are too few new ones: enough to know the stages of the application by,
    not enough to outvote what is new.

    Args: `jobs` in the order in which they ended; `changed`: how many of them ended since the change (`Monitor`).
    """
    start = max(0, len(jobs) - changed)
    rest = max(0, ENOUGH - changed) // 2
    return list(jobs[max(0, start - rest) :])
