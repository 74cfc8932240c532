"""Whole workloads: everything ends, nothing starves, and a few runs are known by heart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch
from services.scheduler.core.invariants import validate
from services.scheduler.core.model import JobState
from simulator.attempts import FixedTimes
from simulator.engine import Simulation
from tests.simulation.world import World, decisions, ends
from tests.support.scheduling import make_policy_for_tests

GOLDEN = Path(__file__).parent / "golden"


def simulate(world: World, count: int, gap: float = 2.0, **settings: object) -> Simulation:
    machine = SchedulerMachine(PolicySettings(**settings), policies=make_policy_for_tests)
    simulation = Simulation(machine, world, FixedTimes(world))
    simulation.schedule(world.events(count, gap))
    simulation.run()
    validate(simulation.machine)
    return simulation


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("seed", range(6))
def test_every_job_succeeds_in_a_world_without_trouble(policy, seed):
    simulation = simulate(World(seed), 60, name=policy)
    assert {state for _, state in ends(simulation.trace).values()} == {JobState.SUCCEEDED}
    assert len(ends(simulation.trace)) == 60
    counts = simulation.machine.counts()
    assert (counts.active_jobs, counts.waiting_tasks, counts.running_attempts, counts.free_slots) == (0, 0, 0, 7)


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("seed", range(6))
def test_every_job_ends_in_a_world_full_of_trouble(policy, seed):
    simulation = simulate(World(seed, trouble=True), 60, name=policy, ageing_seconds=30.0)
    found = ends(simulation.trace)
    assert len(found) == 60
    assert {state for _, state in found.values()} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    assert simulation.machine.counts().running_attempts == 0


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_guard_bounds_how_long_a_stage_is_overtaken(policy):
    """No stage runs before one that needs the same and has waited longer than the guard's limit."""
    limit = 10.0
    simulation = simulate(World(seed=1), 80, name=policy, ageing_seconds=limit)
    ready = {}  # stage -> since when it waits, of stages that have tasks waiting
    aged = 0
    for at, effect in simulation.trace:
        if not isinstance(effect, Dispatch):
            continue
        stage = (effect.attempt.job_id, effect.attempt.stage_id)
        ready.setdefault(stage, at - effect.waited_seconds)
        aged += effect.rule == "ageing"
    assert aged > 0, "the world is too idle for the guard to matter"
    started: dict[tuple[str, str], float] = {}
    for at, effect in simulation.trace:
        if isinstance(effect, Dispatch) and effect.executor_id.startswith("llm"):
            started.setdefault((effect.attempt.job_id, effect.attempt.stage_id), at)
    for stage, at in started.items():
        for other, later in started.items():
            if later > at and at - ready[other] > limit:
                assert ready[stage] <= ready[other] + 1e-6, f"{stage} overtook {other}"


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_decisions_are_those_known_by_heart(policy):
    """The diff of a golden file is the review of a changed policy; LLMSCHED_TEST_GOLDEN=write writes them anew."""
    simulation = simulate(World(seed=7), 10, gap=0.5, name=policy)
    lines = decisions(simulation.trace)
    path = GOLDEN / f"{policy}.txt"
    if os.environ.get("LLMSCHED_TEST_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    assert lines == path.read_text().splitlines()
