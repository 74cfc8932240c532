"""The virtual-time driver: instants, zero-length work, cancellation, backoffs, and what it shares with a live one."""

from __future__ import annotations

import pytest

from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch, JobChanged, Unfold
from services.scheduler.core.events import StageUnfolded
from services.scheduler.core.model import JobState, Measurement
from services.scheduler.core.replay import first_divergence
from simulator.attempts import FixedTimes, Service
from simulator.engine import Simulation
from tests.simulation.world import World, decisions, ends
from tests.support.scheduling import (
    BROKEN,
    FLAKY,
    admitted,
    attached,
    cancel,
    job,
    llm,
    make_policy_for_tests,
    of,
    ref,
    succeeded,
    tool,
    unfolded,
)


class Script:
    """One task for every stage; seconds and outcomes by stage, one second and success by default."""

    def __init__(self, **services: object) -> None:
        self.services = services

    def unfold(self, request: Unfold, at: float) -> StageUnfolded:
        tasks = 0 if self.services.get(request.stage_id) == "nothing" else 1
        more = {"at": at, "cause": request.cause, "unfolding": request.unfolding}
        return unfolded(request.job_id, request.stage_id, tasks=tasks, **more)

    def serve(self, dispatch: Dispatch, at: float) -> Service:
        planned = self.services.get(dispatch.attempt.stage_id, 1.0)
        if isinstance(planned, list):
            planned = planned.pop(0)
        return planned if isinstance(planned, Service) else Service(planned, Measurement(total_seconds=planned))


def simulate(script: Script, *events, policy: str = "fcfs", until: float = float("inf")) -> Simulation:
    simulation = Simulation(SchedulerMachine(PolicySettings(name=policy)), script, FixedTimes(script))
    simulation.schedule(events)
    simulation.run(until)
    return simulation


def starts(simulation: Simulation) -> list[tuple[float, str, str]]:
    return [
        (at, effect.attempt.job_id, effect.attempt.stage_id)
        for at, effect in simulation.trace
        if isinstance(effect, Dispatch)
    ]


def test_time_passes_from_event_to_event():
    simulation = simulate(
        Script(a=2.0, b=3.0), attached("e1"), admitted(job("j", llm("a"), llm("b", "a"), arrival=1.0), at=1.0)
    )
    assert starts(simulation) == [(1.0, "j", "a"), (3.0, "j", "b")]
    assert ends(simulation.trace) == {"j": (6.0, JobState.SUCCEEDED)}


def test_a_stage_that_becomes_ready_in_an_instant_takes_part_in_its_decision():
    # "j" ends "a" at 2, and in the same instant its "b" is ready: by arrival it goes before "k", which has waited.
    simulation = simulate(
        Script(a=2.0),
        attached("e1"),
        admitted(job("j", llm("a"), llm("b", "a"), order=0)),
        admitted(job("k", llm("c"), order=1)),
    )
    assert starts(simulation) == [(0.0, "j", "a"), (2.0, "j", "b"), (3.0, "k", "c")]


def test_a_stage_without_tasks_completes_at_once_and_so_on_down():
    simulation = simulate(
        Script(a="nothing", b="nothing"),
        attached("e1"),
        admitted(job("late", llm("x"), arrival=0.0, order=1)),
        admitted(job("j", llm("a"), llm("b", "a"), llm("c", "b"), arrival=0.0, order=0)),
    )
    assert starts(simulation)[0] == (0.0, "j", "c")


def test_times_that_nearly_agree_are_one_instant():
    # "k" arrives before "j", but 5e-10 s before is at the same time; "l" is 2e-9 s later.
    simulation = simulate(
        Script(),
        attached("e1"),
        admitted(job("k", llm("a"), order=1), at=1.0),
        admitted(job("j", llm("a"), order=0), at=1.0 + 5e-10),
        admitted(job("l", llm("a"), order=-1), at=1.0 + 2e-9),
    )
    assert starts(simulation) == [(1.0, "j", "a"), (2.0, "l", "a"), (3.0, "k", "a")]


def test_work_of_no_length_ends_in_a_further_round_of_its_instant():
    simulation = simulate(
        Script(a=0.0, b=0.0), attached("e1"), admitted(job("j", llm("a"), llm("b", "a"))), admitted(job("k", llm("c")))
    )
    assert ends(simulation.trace)["j"] == (0.0, JobState.SUCCEEDED)


def test_a_failed_attempt_is_tried_again_after_its_backoff():
    script = Script(a=[Service(1.0, FLAKY), Service(1.0, FLAKY), 5.0])
    simulation = simulate(script, attached("e1"), admitted(job("j", llm("a", backoff_seconds=10.0))))
    assert [at for at, *_ in starts(simulation)] == [0.0, 11.0, 32.0]
    assert ends(simulation.trace) == {"j": (37.0, JobState.SUCCEEDED)}


def test_cancelling_is_answered_at_once_and_what_was_cancelled_never_ends():
    simulation = simulate(
        Script(a=100.0),
        attached("e1"),
        admitted(job("j", llm("a"))),
        admitted(job("k", llm("b"), order=1)),
        cancel("j", at=3.0),
    )
    assert ends(simulation.trace) == {"j": (3.0, JobState.CANCELLED), "k": (4.0, JobState.SUCCEEDED)}
    assert starts(simulation)[-1] == (3.0, "k", "b")
    # The end of the cancelled attempt, planned for second 100, did not hold up the run.
    assert simulation.trace[-1].at == 4.0


def test_a_job_that_fails_ends_as_failed():
    simulation = simulate(Script(a=Service(1.0, BROKEN)), attached("e1"), admitted(job("j", llm("a"))))
    assert ends(simulation.trace) == {"j": (1.0, JobState.FAILED)}


def test_strays_of_scripted_executors_are_cancelled():
    simulation = simulate(Script(), attached("e1", running=[ref("gone", "a")]), admitted(job("j", llm("a"))))
    assert ends(simulation.trace) == {"j": (1.0, JobState.SUCCEEDED)}


def test_ends_that_nobody_dispatched_are_dropped():
    simulation = simulate(Script(), attached("e1"), succeeded(ref("ghost", "a"), at=1.0))
    assert simulation.trace == []


def test_a_run_may_stop_early_and_go_on():
    script = Script(a=2.0)
    simulation = simulate(script, attached("e1"), admitted(job("j", llm("a"), tool("b"))), until=1.0)
    assert ends(simulation.trace) == {}
    simulation.schedule([attached("t1", "tool:any", at=5.0)])
    assert ends(simulation.run()) == {"j": (6.0, JobState.SUCCEEDED)}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_equal_seeds_give_equal_runs_and_a_recorded_run_replays(policy):
    settings = PolicySettings(name=policy, ageing_seconds=20.0)

    def run() -> Simulation:
        world = World(seed=3, trouble=True)
        machine = SchedulerMachine(settings, policies=make_policy_for_tests)
        simulation = Simulation(machine, world, FixedTimes(world), record=True)
        simulation.schedule(world.events(30))
        simulation.run()
        return simulation

    first, second = run(), run()
    assert first.trace == second.trace
    # The record is all that is needed to take the same decisions again, without planner and executors.
    fresh = SchedulerMachine(settings, policies=make_policy_for_tests)
    assert first_divergence(fresh, first.records) is None
    # Another seed is another world.
    other = World(seed=4)
    simulation = Simulation(SchedulerMachine(settings, policies=make_policy_for_tests), other, FixedTimes(other))
    simulation.schedule(other.events(30))
    assert decisions(simulation.run()) != decisions(first.trace)


def test_a_job_without_executors_waits_for_ever_and_the_run_ends():
    simulation = simulate(Script(), admitted(job("j", llm("a"))))
    assert [one.state for one in of(JobChanged, [entry.effect for entry in simulation.trace])] == [JobState.RUNNING]
    assert simulation.machine.counts().waiting_tasks == 1


def test_arrivals_are_taken_as_the_run_gets_there():
    """A workload need not fit into memory: one job is read ahead, and an observer keeps what it wants."""
    taken: list[int] = []
    heard: list[tuple[int, int]] = []

    def arrivals():
        for index in range(5):
            taken.append(index)
            yield admitted(job(f"j{index}", llm("a"), arrival=10.0 * index, order=index), at=10.0 * index)

    def observe(at: float, effect: object) -> None:
        if isinstance(effect, Dispatch):
            heard.append((round(at), len(taken)))

    script = Script()
    machine = SchedulerMachine(PolicySettings())
    simulation = Simulation(machine, script, FixedTimes(script), arrivals=arrivals(), observe=observe)
    simulation.schedule([attached("e1")])
    assert simulation.run() == []
    assert heard == [(0, 2), (10, 3), (20, 4), (30, 5), (40, 5)]
