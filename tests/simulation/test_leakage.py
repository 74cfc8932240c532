"""No policy may know the future: if only what a job has not shown yet is changed, nothing may be decided otherwise.

A run is stopped at some decision. Then everything that is hidden at that moment is drawn anew: how long tasks are that
have not ended (those that run are only made longer, as they must not end sooner), widths and prompts of stages that are
not ready, stages that have not been generated, jobs that have not arrived. A second run must take the same decisions
up to that one, at the same times and for the same reasons. That this can fail is shown with policies that cheat.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profiler.core.belief import Beliefs
from services.profiler.core.history import learn as learn_statistics
from services.profiler.core.profile import learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask, generators, read_history, read_workload
from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine, make_policy
from services.scheduler.core.effects import Dispatch, Effect
from services.scheduler.core.model import JobSnapshot, StageState, TaskState
from services.scheduler.core.model import PolicySettings as Settings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, Policy, StageView
from simulator.cluster import Cluster, ClusterShape
from simulator.engine import Simulation
from simulator.generate.applications import PARAMETRIC
from simulator.generate.population import parametric_population
from simulator.generate.recipe import Recipe, make_workload
from simulator.workload import Workload
from tests.simulation import recordings

WORK = WorkModel()
SHAPE = ClusterShape(llm_executors=2, max_batch=2, tool_slots=2, batch_slowdown=0.2)
#: All but the one that knows the future by profession.
HONEST = sorted(set(POLICIES) - {"clairvoyant-srpt"})
#: Parameters that make a policy do more.
MORE: Mapping[str, dict[str, object]] = {
    "ps-tcs": {"application_order": ("app-2", "app-0", "sorting")},
    "llmsched": {"epsilon": 0.5},
}

MakePolicy = Callable[[Settings, Knowledge], Policy]


@cache
def knowledge() -> Knowledge:
    """Learned from other jobs of the same kinds."""
    recorded = [line.replace(', "arrival_seconds"', ', "ignored"') for line in recordings.lines(random.Random(99), 60)]
    built_in = [job for jobs in population("history", 12).values() for job in jobs]
    history = [*read_history(recorded, "history"), *built_in]
    beliefs = Beliefs(learn(history), WORK)
    return Knowledge(
        statistics=learn_statistics(history, WORK), beliefs=beliefs, slowdown=SHAPE.slowdown(SHAPE.max_batch)
    )


def population(purpose: str, jobs: int) -> Mapping[str, Sequence[TraceJob]]:
    return parametric_population({name: make() for name, make in PARAMETRIC.items()}, jobs=jobs, purpose=purpose)


# ---- a run, up to some decision ---------------------------------------------------------------------------------


class Enough(Exception):
    """The run has come to the decision."""


class Run:
    """Up to a decision by its number, or to the end."""

    def __init__(self, jobs: Sequence[TraceJob], policy: Settings, *, make: MakePolicy = make_policy, until: int = 0):
        self.decisions: list[tuple[object, ...]] = []
        self.until = until
        workload = Workload(jobs, WORK)
        cluster = Cluster(SHAPE, workload.load)
        known = replace(knowledge(), oracle=workload.oracle)
        self.machine = SchedulerMachine(policy, knowledge=known, policies=make)
        simulation = Simulation(self.machine, workload, cluster, arrivals=workload.arrivals(), observe=self.hear)
        simulation.schedule(cluster.executors())
        with suppress(Enough):
            simulation.run()

    def hear(self, at: float, effect: Effect) -> None:
        if not isinstance(effect, Dispatch):
            return
        # The last part of a key is the place of a stage in its line, which moves if hidden stages before it go.
        self.decisions.append(
            (at, effect.attempt, effect.executor_id, effect.rule, effect.key[:-1], effect.waited_seconds)
        )
        if effect.number == self.until:
            raise Enough


# ---- another future ---------------------------------------------------------------------------------------------


def other_future(random: random.Random, jobs: Sequence[TraceJob], at: Run) -> list[TraceJob]:
    """The jobs with all drawn anew that they have not shown by the end of this run."""
    latest = at.decisions[-1][0]
    active = {job_id: at.machine.snapshot(job_id) for job_id in at.machine.job_ids()}
    found = []
    for index, job in enumerate(jobs):
        shown = active.get(f"{index + 1}:{job.job_id}")
        if shown is not None:
            found.append(_going_on(random, job, shown))
        elif job.arrival_seconds > latest + 1e-6:
            found.append(_somebody_else(random, job))
        else:  # it has ended: all is known
            found.append(job)
    return found


def _somebody_else(random: random.Random, job: TraceJob) -> TraceJob:
    (other,) = read_history([json.dumps(recordings.job(random, job.job_id))], "other")
    return replace(other, arrival_seconds=job.arrival_seconds)


def _going_on(random: random.Random, job: TraceJob, shown: JobSnapshot) -> TraceJob:
    states = {one.spec.stage_id: one for one in shown.stages}
    stages = []
    for stage in job.stages:
        state = states.get(stage.id)
        if state is None:
            stages.append(_hidden(random, stage))
        elif state.state in (StageState.WAITING, StageState.UNFOLDING):
            stages.append(replace(stage, tasks=_tasks(random, stage, random.randint(0, 4))))
        else:
            tasks = zip(stage.tasks, state.tasks, strict=True)
            stages.append(replace(stage, tasks=tuple([_task(random, stage, *one) for one in tasks])))
    return replace(job, stages=tuple(_dropped(random, job, stages, states)))


def _hidden(random: random.Random, stage: TraceStage) -> TraceStage:
    """Its generator has not ended: nothing is known of it but that it may come."""
    kind = random.choice(["llm", "tool"]) if stage.kind != "plan" else "plan"
    other = replace(stage, name=random.choice([stage.name, "other", "round"]), kind=kind)
    return replace(other, tasks=_tasks(random, other, random.randint(0, 5)))


def _tasks(random: random.Random, stage: TraceStage, count: int) -> tuple[TraceTask, ...]:
    return tuple([_any_task(random, stage) for _ in range(count)])


def _any_task(random: random.Random, stage: TraceStage, prompt: int | None = None) -> TraceTask:
    if not stage.is_llm:
        return TraceTask(seconds=random.choice([0.0, 0.3, 4.0, 40.0]))
    tokens = random.randint(0, 3000) if prompt is None else prompt
    return TraceTask(prompt_tokens=tokens, output_tokens=random.choice([0, 3, 80, 900]))


def _task(random: random.Random, stage: TraceStage, task: TraceTask, state: object) -> TraceTask:
    """Of a stage that is ready: the prompt is known, the length not before the end."""
    if state.state is TaskState.SUCCEEDED:
        return task
    if state.state is TaskState.READY:
        return _any_task(random, stage, task.prompt_tokens)
    more = random.choice([0.4, 7.0, 70.0])
    if stage.is_llm:
        return replace(task, output_tokens=task.output_tokens + round(more / WORK.decode))
    return replace(task, seconds=task.seconds + more)


def _dropped(
    random: random.Random, job: TraceJob, stages: Sequence[TraceStage], states: Mapping[str, object]
) -> list[TraceStage]:
    """Loses the last of the hidden stages where this cannot show: where any stage may be followed by more or none."""
    left = list(stages)
    if job.structure not in ("chain", "chain+width"):
        return left
    while left and left[-1].id not in states and generators(job)[left[-1].id] is not None and random.random() < 0.7:
        left.pop()
    return left or list(stages)


# ---- what is checked --------------------------------------------------------------------------------------------


def workloads(random: random.Random) -> list[TraceJob]:
    """Half of them from the built-in applications, as they are; half of everything that the trace format allows."""
    if random.random() < 0.5:
        recipe = Recipe(jobs=random.randint(3, 8), rate=random.choice([0.2, 2.0, 1000.0]))
        return make_workload(recipe, population("workload", 10), random.randrange(10**6))
    lines = recordings.lines(random, random.randint(2, 10), gap=random.choice([0.1, 1.0, 10.0]))
    return list(read_workload(lines, "workload"))


def same_until_then(random: random.Random, policy: Settings, make: MakePolicy = make_policy) -> bool:
    """Whether another future changes no decision up to a random one."""
    jobs = workloads(random)
    tasks = sum(len(stage.tasks) for job in jobs for stage in job.stages)
    if not tasks:
        return True
    until = random.randint(1, min(tasks, 60))
    first = Run(jobs, policy, make=make, until=until)
    second = Run(other_future(random, jobs, first), policy, make=make, until=until)
    return first.decisions == second.decisions


def settings_of(name: str, seed: int = 0) -> Settings:
    return PolicySettings(name=name, seed=seed, **MORE.get(name, {}))


@pytest.mark.parametrize("name", HONEST)
@given(rng=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_what_has_not_been_shown_decides_nothing(name: str, rng: random.Random):
    assert same_until_then(rng, settings_of(name, rng.randrange(5)))


@pytest.mark.parametrize("name", HONEST)
def test_what_has_not_been_shown_decides_nothing_in_runs_that_catch_cheats(name: str):
    for seed in range(SEEDS):
        assert same_until_then(random.Random(seed), settings_of(name)), seed


#: How many runs every cheat must be caught within.
SEEDS = 16


class Cheat:
    """First come, first served, but for a glance at the future."""

    name = "cheat"
    rekey_on = frozenset(Moment)

    def __init__(self, settings: Settings, knowledge: Knowledge) -> None:
        self.oracle = knowledge.oracle_for("cheat")

    def key(self, job: JobView, stage: StageView) -> Key:
        return self.glance(job, stage), job.arrival, job.order, stage.position

    def glance(self, job: JobView, stage: StageView) -> float:
        raise NotImplementedError

    def hidden(self, job: JobView) -> Iterator[float]:
        """The lengths of the tasks of stages that have not been shown."""
        return (one for name, tasks in self.oracle(job.job_id).items() if name not in job.stages for one in tasks)


class KnowsLengths(Cheat):
    """How long the tasks are that wait."""

    def glance(self, job: JobView, stage: StageView) -> float:
        return sum(self.oracle(job.job_id)[stage.stage_id])


class KnowsRunningTasks(Cheat):
    """How long the tasks are that run."""

    def glance(self, job: JobView, stage: StageView) -> float:
        works = self.oracle(job.job_id)
        running = [
            (name, place)
            for name, one in job.stages.items()
            for place, task in enumerate(one.tasks)
            if task.state is TaskState.RUNNING
        ]
        return -sum(works[name][place] for name, place in running)


class KnowsWidths(Cheat):
    """How many tasks stages will have that wait for others."""

    def glance(self, job: JobView, stage: StageView) -> float:
        works = self.oracle(job.job_id)
        waiting = [name for name, one in job.stages.items() if one.state is StageState.WAITING and name in works]
        return sum(len(works[name]) for name in waiting)


class KnowsPlans(Cheat):
    """How much there is in stages that nobody has planned yet."""

    def glance(self, job: JobView, stage: StageView) -> float:
        return sum(self.hidden(job))


class KnowsRounds(Cheat):
    """How many stages will come."""

    def glance(self, job: JobView, stage: StageView) -> float:
        return float(len(self.oracle(job.job_id).keys() - job.stages.keys()))


@pytest.mark.parametrize("cheat", [KnowsLengths, KnowsRunningTasks, KnowsWidths, KnowsPlans, KnowsRounds])
def test_a_policy_that_cheats_is_caught(cheat: type[Cheat]):
    caught = [not same_until_then(random.Random(seed), PolicySettings(name="cheat"), cheat) for seed in range(SEEDS)]
    assert any(caught)


def test_the_policy_that_knows_the_future_is_caught():
    policy = PolicySettings(name="clairvoyant-srpt")
    assert not all(same_until_then(random.Random(seed), policy) for seed in range(SEEDS))


def test_the_other_future_is_another():
    """In most runs it changes what is decided later."""
    others = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        jobs = workloads(rng)
        tasks = sum(len(stage.tasks) for job in jobs for stage in job.stages)
        at = Run(jobs, PolicySettings(name="fcfs"), until=max(1, tasks // 2))
        if at.decisions:
            changed = other_future(rng, jobs, at)
            others += (
                Run(jobs, PolicySettings(name="fcfs")).decisions != Run(changed, PolicySettings(name="fcfs")).decisions
            )
    assert others > 0.7 * SEEDS
