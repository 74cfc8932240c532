"""The simulator against a naive second implementation of its contract: when every job ends, to the last digit."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import read_workload
from services.scheduler.core import PolicySettings
from simulator.cluster import ClusterShape
from simulator.run import RunResult, RunSettings, run
from tests.simulation import naive, recordings

POLICIES = ["fcfs", "clairvoyant-srpt"]
#: s(1), s(2), ... of the tables among them; the last value holds for all larger batches.
TABLES = [(1.0,), (1.0, 1.0, 3.0), (1.2, 1.3, 1.35), (1.5, 1.0, 1.0, 2.0)]


def shapes(rng: random.Random) -> ClusterShape:
    return ClusterShape(
        llm_executors=rng.randint(1, 3),
        max_batch=rng.choice([1, 2, 8]),
        tool_slots=rng.randint(0, 3),
        batch_slowdown=rng.choice([0.0, 0.05, 0.5]),
        slowdowns=rng.choice([(), *TABLES]),
    )


def both(lines: list[str], policy: str, shape: ClusterShape, work: WorkModel) -> tuple[RunResult, naive.Outcome]:
    chosen = RunSettings(policy=PolicySettings(name=policy), cluster=shape, work=work)
    result = run(read_workload(lines, "workload"), chosen)
    table = [*shape.slowdowns, *shape.slowdowns[-1:] * shape.max_batch]
    outcome = naive.simulate(
        lines,
        policy,
        llm_executors=shape.llm_executors,
        max_batch=shape.max_batch,
        tool_slots=shape.tool_slots,
        slowdown=table or [1.0 + shape.batch_slowdown * (batch - 1) for batch in range(1, shape.max_batch + 1)],
        prefill=work.prefill,
        decode=work.decode,
    )
    return result, outcome


def differences(result: RunResult, outcome: naive.Outcome) -> list[str]:
    """What is not equal within 1e-9, be it absolute or relative."""
    jcts = {order + 1: jct for order, _, jct in result.jcts}
    pairs = [(f"job {line}", jcts.get(line, math.nan), jct) for line, jct in outcome.jcts.items()]
    pairs.append(("jobs", len(jcts), len(outcome.jcts)))
    for name in ("makespan", "llm_utilisation", "tool_utilisation"):
        pairs.append((name, getattr(result, name), getattr(outcome, name)))
    return [
        f"{name}: {found!r}, naively {expected!r}"
        for name, found, expected in pairs
        if not math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    ]


def disagreement(rng: random.Random, policy: str, most: int = 12) -> list[str]:
    """Draws a workload and a cluster, and compares."""
    shape = shapes(rng)
    prefill, decode = rng.choice(recordings.WORK_MODELS)
    lines = recordings.lines(rng, rng.randint(1, most), tools=shape.tool_slots > 0, gap=rng.choice([0.1, 1.0, 10.0]))
    return differences(*both(lines, policy, shape, WorkModel(prefill=prefill, decode=decode)))


@pytest.mark.parametrize("policy", POLICIES)
@given(rng=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_agrees_on_workloads_that_hypothesis_draws(policy, rng):
    assert disagreement(rng, policy, most=4) == []


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(40))
def test_agrees_on_random_workloads(policy, seed):
    assert disagreement(random.Random(seed), policy) == []


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("batch", [1, 8])
def test_agrees_on_recorded_jobs(policy, batch, traces: Path):
    """Jobs of every application that wait for each other; tools whose seconds nobody recorded take 0.7 s."""
    rng = random.Random(5)
    files = sorted((traces / "dev").glob("*.jsonl"))
    jobs = [json.loads(line) for path in files for line in rng.sample(path.read_text().splitlines(), 5)]
    rng.shuffle(jobs)
    for arrival, job in zip(itertools.accumulate(rng.expovariate(0.1) for _ in jobs), jobs, strict=True):
        job["arrival_seconds"] = arrival
        for task in (task for stage in job["stages"] if stage["kind"] == "tool" for task in stage["tasks"]):
            task["seconds"] = 0.7 if task["seconds"] is None else task["seconds"]
    lines = [json.dumps(job) for job in jobs]
    result, outcome = both(lines, policy, ClusterShape(llm_executors=2, max_batch=batch, tool_slots=4), WorkModel())
    assert differences(result, outcome) == []
    assert result.summary.jobs == len(jobs)


def test_agrees_over_a_million_seconds_in_which_an_engine_never_idles():
    """One task takes all that time; every 4000 s, jobs that arrive together share the engine with it."""
    rng = random.Random(2)
    long = {"app": "long", "stages": [recordings.stage(rng, "a", tools=False, kind="llm")], "arrival_seconds": 0.0}
    long["stages"][0]["tasks"] = [{"prompt_tokens": 0, "output_tokens": 64_000_000}]
    lines = [json.dumps(long)]
    for start in range(0, 1_000_000, 4_000):
        arrival = start + rng.random()
        jobs = [recordings.job(rng, f"{start}/{number}") for number in range(2)]
        lines += [json.dumps({**job, "arrival_seconds": arrival}) for job in jobs]
    shape = ClusterShape(llm_executors=1, max_batch=4, tool_slots=2)
    result, outcome = both(lines, "fcfs", shape, WorkModel())
    assert differences(result, outcome) == []
    assert outcome.makespan > 990_000
