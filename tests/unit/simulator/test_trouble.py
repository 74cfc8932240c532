"""Failures and stragglers: the same ones for every policy, and what becomes of them."""

from __future__ import annotations

import pytest

from services.scheduler.core.effects import Dispatch, TaskChanged
from services.scheduler.core.model import AttemptRef, TaskState
from simulator.run import RunResult, run
from simulator.trouble import Trouble
from simulator.workload import MAX_ATTEMPTS
from tests.unit.simulator.recorded import job, llm, settings, tool


def simulate(trouble: Trouble, policy: str = "fcfs", jobs: int = 40) -> tuple[RunResult, dict[AttemptRef, str]]:
    """Two applications that compete. Returns how each attempt ended besides."""
    ends: dict[AttemptRef, str] = {}
    dispatched: set[AttemptRef] = set()

    def observe(at: float, effect: object) -> None:
        if isinstance(effect, Dispatch):
            dispatched.add(effect.attempt)
        elif isinstance(effect, TaskChanged) and effect.state is not TaskState.RUNNING:
            ref = AttemptRef(
                job_id=effect.job_id, stage_id=effect.stage_id, task_index=effect.task_index, attempt=effect.attempt
            )
            if ref in dispatched:
                ends.setdefault(ref, effect.state)

    workload = [
        job(llm("a", tokens=(2, 1)), tool("b", "a"), at=0.7 * index, app=f"app-{index % 2}") for index in range(jobs)
    ]
    return run(workload, settings(policy, trouble=trouble), observe=observe), ends


@pytest.mark.parametrize("policy", ["request-fcfs", "fair", "random"])
def test_every_policy_meets_the_same_failures(policy):
    _, by_arrival = simulate(Trouble(failures=0.3, seed=1))
    _, otherwise = simulate(Trouble(failures=0.3, seed=1), policy)
    assert by_arrival == otherwise
    assert TaskState.BACKOFF in by_arrival.values()


def test_another_seed_is_other_trouble():
    assert simulate(Trouble(failures=0.3, seed=1))[1] != simulate(Trouble(failures=0.3, seed=2))[1]


def test_what_failed_is_tried_again_and_costs_time():
    quiet, _ = simulate(Trouble())
    troubled, ends = simulate(Trouble(failures=0.3))
    assert (quiet.failed, quiet.summary.jobs) == (troubled.failed, troubled.summary.jobs) == (0, 40)
    assert troubled.summary.mean_jct > quiet.summary.mean_jct
    failed = sum(state == TaskState.BACKOFF for state in ends.values())
    assert 0.2 < failed / len(ends) < 0.4
    assert troubled.decisions == quiet.decisions + failed


def test_a_job_whose_task_fails_too_often_is_counted_as_failed():
    result, ends = simulate(Trouble(failures=1.0), jobs=3)
    assert (result.failed, result.summary.jobs, result.jcts) == (3, 0, ())
    assert {ref.attempt for ref, state in ends.items() if state == TaskState.FAILED} == {MAX_ATTEMPTS}
    assert result.makespan > sum(2.0**tries for tries in range(MAX_ATTEMPTS - 1)), "it waits longer every time"


def test_stragglers_have_more_work():
    one = [job(llm("a"), tool("b", "a"))]
    assert run(one, settings(trouble=Trouble(stragglers=1.0, straggler_factor=3.0))).jcts == ((0, "app", 6.0),)
    several, _ = simulate(Trouble(stragglers=0.2))
    assert several.summary.max_jct > simulate(Trouble())[0].summary.max_jct


def test_trouble_that_makes_no_sense_is_refused_with_all_that_is_wrong():
    with pytest.raises(ValueError, match="probability") as caught:
        Trouble(failures=1.5, stragglers=float("nan"), straggler_factor=-1.0)
    assert str(caught.value).split("; ") == [
        "failures is 1.5, no probability",
        "stragglers is nan, no probability",
        "straggler_factor is -1.0, a number from 0 up is needed",
    ]
