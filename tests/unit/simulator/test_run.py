"""A run from jobs to figures: deterministic, in little memory, and nothing goes missing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import fields

import pytest

from services.profiler.core.trace import TraceJob
from services.scheduler.core import POLICIES
from services.scheduler.core.policies import UnknownPolicy
from simulator.cluster import ClusterShape
from simulator.run import RunResult, run
from simulator.trouble import Trouble
from tests.support.scheduling import KNOWLEDGE
from tests.unit.simulator.recorded import job, llm, settings, tool


def workload(count: int = 60) -> Iterator[TraceJob]:
    """Jobs of two applications: a fixed one, and one whose plan makes between none and four stages."""
    rng, at = random.Random(9), 0.0
    for index in range(count):
        at += rng.choice([0.0, 1.0, rng.random()])
        if index % 2:
            yield job(llm("a", tokens=(1, 3)), tool("b", "a", seconds=(rng.random(),)), at=at, app="app-0")
        else:
            made = [tool(f"t{number}", "plan", generated_by="plan") for number in range(rng.randrange(5))]
            parents = [one.id for one in made] or ["plan"]
            yield job(llm("plan", kind="plan"), *made, llm("end", *parents), at=at, app="app-1", structure="generated")


def simulate(policy: str) -> RunResult:
    chosen = settings(policy, trouble=Trouble(failures=0.1, stragglers=0.1))
    return run(workload(), chosen, statistics=KNOWLEDGE.statistics)


def figures(result: RunResult) -> dict[str, object]:
    """All that equal runs have in common."""
    return {one.name: getattr(result, one.name) for one in fields(result) if one.name != "wall_seconds"}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_equal_inputs_give_equal_results(policy):
    first = figures(simulate(policy))
    assert first == figures(simulate(policy))
    assert first["policy"] == policy


def test_another_process_gives_the_same_results():
    """Whatever Python makes of the hashes of strings there."""
    code = "from tests.unit.simulator.test_run import *\nfor one in sorted(POLICIES): print(figures(simulate(one)))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == [str(figures(simulate(policy))) for policy in sorted(POLICIES)]


# Two slots of one engine: "a" is done at 2, the tool at 3.5, and "b", which arrived at 1, at 4.
def test_figures_by_hand():
    jobs = [
        job(llm("a", tokens=(2, 1)), tool("t", "a", seconds=(1.5,)), app="x"),
        job(llm("b", tokens=(3,)), at=1.0, app="y"),
    ]
    shape = ClusterShape(llm_executors=1, max_batch=2, tool_slots=3, batch_slowdown=0.0)
    result = run(jobs, settings(cluster=shape))
    assert result.jcts == ((0, "x", 3.5), (1, "y", 3.0))
    assert (result.makespan, result.decisions, result.failed) == (4.0, 4, 0)
    assert (result.llm_utilisation, result.tool_utilisation) == (6.0 / (2 * 4.0), 1.5 / (3 * 4.0))
    assert result.summary.mean_jct == 3.25
    assert {name: one.max_jct for name, one in result.per_application.items()} == {"x": 3.5, "y": 3.0}


def test_no_jobs_and_jobs_of_no_length():
    empty = run([], settings())
    assert (empty.summary.jobs, empty.makespan, empty.llm_utilisation, empty.jcts) == (0, 0.0, 0.0, ())
    at_once = run([job(llm("a", tokens=()))], settings())
    assert (at_once.jcts, at_once.makespan, at_once.tool_utilisation) == (((0, "app", 0.0),), 0.0, 0.0)


def test_jobs_that_nothing_can_run_are_not_left_out_silently():
    jobs = [job(llm("a")), job(llm("a"), tool("b", "a")), job(tool("b"), at=1.0)]
    without = ClusterShape(llm_executors=1, max_batch=1, tool_slots=0)
    with pytest.raises(ValueError, match="2 jobs never end, for want of executors for their tasks: 2:job first"):
        run(jobs, settings(cluster=without))


def test_a_policy_that_needs_a_history_says_so():
    with pytest.raises(UnknownPolicy, match="history"):
        run(workload(), settings("srtf"))
    with pytest.raises(UnknownPolicy, match="no policy 'best'"):
        run(workload(), settings("best"))


class Traced(TraceJob):
    """A job that can be referred to weakly."""


@pytest.mark.parametrize(("count", "trouble"), [(20_000, Trouble()), (2_000, Trouble(failures=0.05))])
def test_only_active_jobs_are_kept(count, trouble):
    """Of all jobs that come by, no more are alive at any time than the cluster has at work."""
    alive: weakref.WeakSet[Traced] = weakref.WeakSet()
    most = 0

    def stream() -> Iterator[TraceJob]:
        nonlocal most
        for index in range(count):
            one = Traced(app="app", stages=(llm("a", kind="plan"),), arrival_seconds=float(index))
            alive.add(one)
            yield one
            del one
            most = max(most, len(alive))

    result = run(stream(), settings(trouble=trouble))
    assert result.summary.jobs == count
    assert most < 20
