"""What is known of an application: variables, the network that links them, levels of what has no variable."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from services.profiler.core import linear, structure
from services.profiler.core.discretise import MAX_BINS, Bins, bins
from services.profiler.core.history import UnknownSeconds
from services.profiler.core.linear import Linear
from services.profiler.core.network import Network
from services.profiler.core.statistics import Statistics
from services.profiler.core.structure import Column, Estimate, Search
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import (
    Aspect,
    Canonical,
    StageSeen,
    Variable,
    canonicals,
    completed,
    generators,
    measure,
)

#: Variables of a network at most.
MAX_VARIABLES = 32

#: A stage has variables of its own if this share of the jobs has it, and this many jobs (or all).
LEAST_SHARE = 0.04
LEAST_JOBS = 6

#: A name that one job in ten has this often, and not all jobs equally often, is a loop: after the first rounds, which
#: are often unlike the others, they are counted instead of told apart. Loops beyond the most, those with least units,
#: belong to REST.
LOOP_ROUNDS = 4
FIRST_ROUNDS = 2
MAX_LOOPS = 8

#: The pool of all stages that are neither modelled one by one nor rounds of a loop. No stage has this name.
REST = ""

#: Levels of names count for this many stages more of the kind's level.
LEVEL_WEIGHT = 2.0

#: Jobs for each bin of a variable.
JOBS_PER_BIN = 8

#: How the units of a stage vary from job to job: quantiles at 10, 30, 50, 70 and 90 % of the units over their mean, the
#: mean of 14 applications (8 recorded, 6 built-in), scaled to a mean of 1. With fewer than `JOBS_PER_BIN` jobs a
#: stage's units are believed to vary like that, the less the more jobs there are. Means are not drawn towards those of
#: other applications: the application explains 84 % of the variance of (log) work, so these would say little.
POOLED = (0.70, 0.83, 0.95, 1.08, 1.44)

Row = Mapping[Canonical, StageSeen]  #: of one job


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a stage of some group is like on average. Units and prompt tokens are means over all their tasks."""

    units: float = 0.0
    prompt_tokens: float = 0.0
    width: float = 1.0
    between: float = 0.0  #: variance of the units of different jobs
    within: float = 0.0  #: variance of the units of one job's stages
    growth: float = 0.0  #: prompt tokens that a stage has more than the one of its name before it
    spread: float = 0.0  #: coefficient of variation of the units of one stage's tasks; 0: not known

    def of_job(self, seen: Sequence[float]) -> float:
        """The units of a job's next stage after these (empirical Bayes: between the job's mean and all jobs')."""
        if not seen or self.within <= 0.0:
            return sum(seen) / len(seen) if seen else self.units
        weight = self.within / max(self.between, 0.02 * self.within)
        return (weight * self.units + sum(seen)) / (weight + len(seen))

    def left(self, seen: int) -> float:
        """Variance of the mean units of a job's stages when so many have ended."""
        return self.between * self.within / (self.within + seen * self.between) if self.within > 0.0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Stages that are counted instead of told apart."""

    count: str  #: pool whose COUNT variable counts these too: two stages of one loop have equally many rounds
    llm_share: float  #: how many of them are LLM stages
    llm: Level
    tool: Level


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """Of one application. A value: `plain` and `of_plain` turn it into lists, numbers and strings and back."""

    application: str
    version: int = 1
    jobs: int  #: that it was learned from
    variables: tuple[Variable, ...]
    network: Network  #: over these
    levels: Mapping[str, Level]  #: by stage name
    llm_names: Mapping[str, bool]  #: by stage name: whether it is of LLM stages
    stages: Mapping[Canonical, Level]  #: of stages of a common name that are told apart; drawn towards the name's
    kinds: tuple[Level, Level]  #: of tools and of LLM stages: for names that no job had
    pools: Mapping[str, Pool]  #: by the name of a loop, or REST
    generators: Mapping[Canonical, Canonical | None]  #: of every stage known: what usually makes it exist
    linear: Linear | None = None  #: over the same variables, for means; None: too few jobs
    statistics: Statistics | None = None  #: of the same jobs, for policies without beliefs; None: not told

    @cached_property
    def index(self) -> Mapping[tuple[Aspect, Canonical], int]:
        """Of each variable."""
        return {(variable.aspect, variable.stage): index for index, variable in enumerate(self.variables)}

    @cached_property
    def generating(self) -> frozenset[str]:
        """Names of stages that make others exist."""
        return frozenset(one[0] for one in self.generators.values() if one is not None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self.plain() == other.plain()

    def __hash__(self) -> int:
        return hash((self.application, self.version, self.jobs))

    def pool_of(self, stage: Canonical) -> str | None:
        """None for a stage with variables of its own."""
        if (Aspect.UNITS, stage) in self.index:
            return None
        return stage[0] if stage[0] in self.pools else REST

    def level(self, stage: Canonical, *, is_llm: bool) -> Level:
        """Of a stage, for what of it is no variable."""
        if stage in self.stages:
            return self.stages[stage]
        name, _ = stage
        if name in self.pools:
            return self.pools[name].llm if is_llm else self.pools[name].tool
        return self.levels.get(name, self.kinds[is_llm])

    def plain(self) -> dict[str, Any]:
        return {
            "application": self.application,
            "version": self.version,
            "jobs": self.jobs,
            "variables": [variable.plain() for variable in self.variables],
            "parents": [list(parents) for parents in self.network.parents],
            "tables": [table.tolist() for table in self.network.tables],
            "levels": {name: _level_plain(level) for name, level in self.levels.items()},
            "llm_names": dict(self.llm_names),
            "stages": [[list(stage), _level_plain(level)] for stage, level in self.stages.items()],
            "kinds": [_level_plain(level) for level in self.kinds],
            "pools": {
                name: {
                    "count": pool.count,
                    "llm_share": pool.llm_share,
                    "llm": _level_plain(pool.llm),
                    "tool": _level_plain(pool.tool),
                }
                for name, pool in self.pools.items()
            },
            "linear": self.linear and self.linear.plain(),
            "statistics": self.statistics and self.statistics.plain(),
            "generators": [[list(stage), made_by and list(made_by)] for stage, made_by in self.generators.items()],
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Profile:
        variables = tuple(Variable.of_plain(one) for one in plain["variables"])
        tool, llm = (Level(**one) for one in plain["kinds"])
        return cls(
            application=plain["application"],
            version=plain["version"],
            jobs=plain["jobs"],
            variables=variables,
            network=Network(
                tuple(variable.label for variable in variables),
                tuple(tuple(parents) for parents in plain["parents"]),
                tuple(np.array(table, dtype=float) for table in plain["tables"]),
            ),
            levels={name: Level(**one) for name, one in plain["levels"].items()},
            llm_names=dict(plain["llm_names"]),
            stages={(stage[0], stage[1]): Level(**one) for stage, one in plain.get("stages", ())},
            kinds=(tool, llm),
            pools={
                name: Pool(
                    count=one["count"], llm_share=one["llm_share"], llm=Level(**one["llm"]), tool=Level(**one["tool"])
                )
                for name, one in plain["pools"].items()
            },
            generators={
                (stage[0], stage[1]): None if made_by is None else (made_by[0], made_by[1])
                for stage, made_by in plain["generators"]
            },
            linear=None if plain.get("linear") is None else Linear.of_plain(plain["linear"]),
            statistics=Statistics.of_plain(plain["statistics"]) if plain.get("statistics") else None,
        )


def _level_plain(level: Level) -> dict[str, float]:
    return {name: getattr(level, name) for name in Level.__dataclass_fields__}


def learn(
    jobs: Iterable[TraceJob], search: Search = structure.search, estimate: Estimate = structure.tables
) -> dict[str, Profile]:
    """The profile of each application in a history. No jobs, no profiles.

    Args: `search` finds the parents of each variable, `estimate` the tables of these: `services.profiler.models` has
    others of both.

    Tool seconds that are null take means, as in `history.learn`; tokens that are null count as 0.
    """
    by_application: dict[str, list[TraceJob]] = defaultdict(list)
    for job in filled(list(jobs)):
        by_application[job.app].append(job)
    return {name: _learn(name, group, search, estimate) for name, group in by_application.items()}


def filled(jobs: Sequence[TraceJob]) -> list[TraceJob]:
    """The jobs, with means (see `history.learn`) for tool seconds that are null."""
    unknown = UnknownSeconds(jobs)
    return [_filled(job, unknown) for job in jobs]


def _filled(job: TraceJob, unknown: UnknownSeconds) -> TraceJob:
    stages = [
        stage
        if stage.is_llm
        else replace(
            stage,
            tasks=tuple(
                replace(task, seconds=unknown.seconds(job.app, stage.name)) if task.seconds is None else task
                for task in stage.tasks
            ),
        )
        for stage in job.stages
    ]
    return replace(job, stages=tuple(stages))


def _learn(application: str, jobs: Sequence[TraceJob], search: Search, estimate: Estimate) -> Profile:
    seen = [completed(job) for job in jobs]
    rows: list[Row] = [{stage.canonical: stage for stage in job.stages} for job in seen]
    kinds = (_level(rows, None, is_llm=False), _level(rows, None, is_llm=True))
    llm_names = {stage.name: stage.is_llm for row in rows for stage in row.values()}
    levels = {name: _level(rows, kinds[is_llm], name=name, is_llm=is_llm) for name, is_llm in llm_names.items()}
    loops = _loops(rows)
    made_by = _generators(jobs)
    values = _values(rows, loops)
    often = Counter(name for name, _ in made_by)
    variables = tuple(_variable(aspect, stage, found) for (aspect, stage), found in values.items())
    columns = [
        Column(
            np.array([variable.state(value) for value in found], dtype=np.int64),
            variable.card,
            optional=variable.optional,
        )
        for variable, found in zip(variables, values.values(), strict=True)
    ]
    parents = search(columns)
    network = Network(tuple(variable.label for variable in variables), parents, estimate(columns, parents))
    return Profile(
        application=application,
        jobs=len(jobs),
        variables=variables,
        network=network,
        levels=levels,
        llm_names=llm_names,
        stages={
            stage: _level(rows, levels[stage[0]], stage=stage, is_llm=llm_names[stage[0]])
            for stage in made_by
            if ((Aspect.UNITS, stage) in values or stage[0] not in loops) and often[stage[0]] > 1
        },
        kinds=kinds,
        pools=_pools(rows, values, loops, levels, kinds),
        generators=made_by,
        linear=linear.learn(list(values.values())),
    )


def _level(
    rows: Sequence[Row], prior: Level | None, *, is_llm: bool, name: str | None = None, stage: Canonical | None = None
) -> Level:
    """Of all stages of a kind, or of a name, or of one stage; drawn towards `prior`."""
    by_job = [
        [
            one
            for one in row.values()
            if one.is_llm is is_llm and name in (None, one.name) and stage in (None, one.canonical)
        ]
        for row in rows
    ]
    stages = [one for found in by_job for one in found]
    if not stages:
        return prior or Level()
    units = [[measure(Aspect.UNITS, one) or 0.0 for one in found] for found in by_job if found]
    widths = [one.width or 0 for one in stages]
    centre = prior or Level()
    weight = 0.0 if prior is None else LEVEL_WEIGHT

    def mean(values: Sequence[float], towards: float) -> float:
        return (sum(values) + weight * towards) / (len(values) + weight)

    def per_task(sums: Sequence[float], towards: float) -> float:
        # Wide stages count more: so the mean width times this is the mean of a stage's sum.
        return (sum(sums) / max(1, sum(widths)) * len(sums) + weight * towards) / (len(sums) + weight)

    every = [one for found in units for one in found]
    within = float(np.mean([np.var(found) for found in units if len(found) > 1] or [np.var(every)]))
    rounds = len(every) / len(units)
    return Level(
        units=per_task([one.units for one in stages], centre.units),
        prompt_tokens=per_task([one.prompt_tokens for one in stages], centre.prompt_tokens),
        width=mean(widths, centre.width),
        between=max(0.0, float(np.var([np.mean(found) for found in units])) - within / rounds),
        within=within,
        growth=0.0 if name is None else _growth(by_job),
        spread=_spread(stages, centre.spread, weight),
    )


def _spread(stages: Sequence[StageSeen], towards: float, weight: float) -> float:
    """From the stages of several tasks; each counts for its degrees of freedom."""
    several = [np.array(stage.ended) for stage in stages if len(stage.ended) > 1 and stage.units > 0.0]
    squares = sum(float(((units / units.mean() - 1.0) ** 2).sum()) for units in several)
    freedom = sum(len(units) - 1 for units in several)
    if not freedom:
        return towards
    return math.sqrt((squares + weight * towards**2) / (freedom + weight))


def _growth(by_job: Sequence[Sequence[StageSeen]]) -> float:
    prompts = [[measure(Aspect.PROMPT, stage) or 0.0 for stage in found] for found in by_job]
    more = [found[-1] - found[0] for found in prompts if found]
    return sum(more) / max(1, sum(len(found) - 1 for found in prompts if found))


def _loops(rows: Sequence[Row]) -> frozenset[str]:
    rounds: dict[str, list[int]] = defaultdict(list)
    units: Counter[str] = Counter()
    for row in rows:
        for name, count in Counter(name for name, _ in row).items():
            rounds[name].append(count)
        for stage in row.values():
            units[stage.name] += math.ceil(stage.units)
    found = [
        name for name, counts in rounds.items() if np.quantile(counts, 0.9) >= LOOP_ROUNDS and _varies(counts, rows)
    ]
    return frozenset(sorted(found, key=lambda name: (-units[name], name))[:MAX_LOOPS])


def _varies(rounds: Sequence[int], rows: Sequence[Row]) -> bool:
    """Whether jobs have it unequally often. If not, all is known of its rounds but how long they take: no loop."""
    return len(rounds) < len(rows) or min(rounds) < max(rounds)


def _generators(jobs: Sequence[TraceJob]) -> dict[Canonical, Canonical | None]:
    counts: dict[Canonical, Counter[Canonical | None]] = defaultdict(Counter)
    for job in jobs:
        names, made_by = canonicals(job), generators(job)
        for stage_id, generator in made_by.items():
            counts[names[stage_id]][None if generator is None else names[generator]] += 1
    return {stage: count.most_common(1)[0][0] for stage, count in counts.items()}


_Values = dict[tuple[Aspect, Canonical], list[float | None]]


def _values(rows: Sequence[Row], loops: frozenset[str]) -> _Values:
    """The values of each variable in each job, in the order in which the variables become known."""
    places: dict[Canonical, list[float]] = defaultdict(list)
    for row in rows:
        for place, stage in enumerate(row):
            places[stage].append(place / len(row))
    least = max(LEAST_SHARE * len(rows), min(LEAST_JOBS, len(rows)))
    single = [
        stage
        for stage, found in places.items()
        if len(found) >= least and (stage[0] not in loops or stage[1] < FIRST_ROUNDS)
    ]
    budget = MAX_VARIABLES - len(loops) - 1
    chosen: _Values = {}
    for stage in sorted(single, key=lambda stage: (-_weight(rows, stage), stage)):
        own = _of_stage(rows, stage)
        if len(chosen) + len(own) <= budget:
            chosen |= own
    for pool in (*sorted(loops), REST):
        counts = _pool_counts(rows, pool, loops, chosen)
        if any(counts) and _same_count(chosen, counts) is None:
            chosen[Aspect.COUNT, (pool, 0)] = counts
    order = list(Aspect)

    def known(variable: tuple[Aspect, Canonical]) -> tuple[float, Canonical, int]:
        aspect, stage = variable
        return 2.0 if aspect is Aspect.COUNT else float(np.mean(places[stage])), stage, order.index(aspect)

    return {variable: chosen[variable] for variable in sorted(chosen, key=known)}


def _pool(stage: Canonical, loops: frozenset[str], values: _Values) -> str | None:
    if (Aspect.UNITS, stage) in values:
        return None
    return stage[0] if stage[0] in loops else REST


def _pool_counts(rows: Sequence[Row], pool: str, loops: frozenset[str], values: _Values) -> list[float | None]:
    """How many of the pool's stages each job has."""
    return [float(sum(_pool(stage, loops, values) == pool for stage in row)) for row in rows]


def _same_count(values: _Values, counts: Sequence[float | None]) -> str | None:
    """The pool whose COUNT variable has the same values."""
    return next(
        (stage[0] for (aspect, stage), found in values.items() if aspect is Aspect.COUNT and found == counts), None
    )


def _weight(rows: Sequence[Row], stage: Canonical) -> float:
    """How much of the jobs' units is this stage's."""
    return sum(row[stage].units for row in rows if stage in row)


def _of_stage(rows: Sequence[Row], stage: Canonical) -> _Values:
    """The variables of a stage; those that are (nearly) always the same are none."""
    found: _Values = {}
    for aspect in (Aspect.PROMPT, Aspect.WIDTH, Aspect.UNITS):
        values = [measure(aspect, row[stage]) if stage in row else None for row in rows]
        here = [value for value in values if value is not None]
        varies = float(np.std(here)) > 0.03 * float(np.mean(here))
        if aspect is Aspect.UNITS or varies:
            found[aspect, stage] = values
    return found


def _variable(aspect: Aspect, stage: Canonical, values: Sequence[float | None]) -> Variable:
    here = [value for value in values if value is not None]
    most = min(MAX_BINS, max(2, len(here) // JOBS_PER_BIN))
    found = bins(here, most)
    if aspect is Aspect.UNITS and len(here) < JOBS_PER_BIN:
        found = _pooled(found, 1.0 - len(here) / JOBS_PER_BIN)
    return Variable(aspect, stage, found, optional=len(here) < len(values))


def _pooled(few: Bins, weight: float) -> Bins:
    """With the spread that stages have on average; `weight`: how much of it."""
    factors = 1.0 + weight * (np.array(POOLED) - 1.0)
    return Bins(few.edges, tuple(np.sort(np.outer(values, factors), axis=None) for values in few.values))


def _pools(
    rows: Sequence[Row],
    values: _Values,
    loops: frozenset[str],
    levels: Mapping[str, Level],
    kinds: tuple[Level, Level],
) -> dict[str, Pool]:
    pools = {}
    for pool in (*sorted(loops), REST):
        members: list[Row] = [
            {key: stage for key, stage in row.items() if _pool(key, loops, values) == pool} for row in rows
        ]
        kind_counts = Counter(stage.is_llm for row in members for stage in row.values())
        name = pool or None
        tool, llm = (
            _level(members, levels.get(pool, kinds[is_llm]), is_llm=is_llm, name=name) for is_llm in (False, True)
        )
        count = _same_count(values, _pool_counts(rows, pool, loops, values))
        share = kind_counts[True] / max(1, kind_counts.total())
        pools[pool] = Pool(count=pool if count is None else count, llm_share=share, llm=llm, tool=tool)
    return pools
