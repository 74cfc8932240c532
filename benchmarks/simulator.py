"""How fast the simulator is: beside simpy on the same queue, and on a workload that does not fit into memory.

    python -m benchmarks.simulator [--jobs 50000] [--stream 1000000]

The queue is M/M/k: jobs of one task each arrive at random and wait, first come, first served, for one of k slots. Both
simulators get the same arrival and service times and must find the same mean time in the system. simpy runs processes
that wait for a resource; ours runs the whole scheduling machine, with jobs, stages, unfolding and policy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import simpy

from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from services.scheduler.core import PolicySettings
from simulator.cluster import ClusterShape
from simulator.run import RunSettings, run

SLOTS = 16
LOAD = 0.9


class Rate(NamedTuple):
    """Jobs a second of wall time, and what the simulator found."""

    jobs: float
    mean: float  #: seconds in the system, virtual


class Footprint(NamedTuple):
    jobs: int
    tasks: int
    wall_seconds: float
    peak_mebibytes: float  #: of the whole process
    mean_jct: float


def customers(count: int, seed: int = 1) -> Iterator[tuple[float, float]]:
    """Arrival and service time (seconds) of each customer."""
    random, at = Random(seed), 0.0
    for _ in range(count):
        at += random.expovariate(SLOTS * LOAD)
        yield at, random.expovariate(1.0)


def with_simpy(count: int) -> Rate:
    """The queue as simpy's documentation models one."""
    environment = simpy.Environment()
    slots = simpy.Resource(environment, capacity=SLOTS)
    total = 0.0

    def job(arrival: float, service: float) -> Iterator[simpy.Event]:
        nonlocal total
        with slots.request() as request:
            yield request
            yield environment.timeout(service)
        total += environment.now - arrival

    def source() -> Iterator[simpy.Event]:
        for arrival, service in customers(count):
            yield environment.timeout(arrival - environment.now)
            environment.process(job(arrival, service))

    begin = time.perf_counter()
    environment.process(source())
    environment.run()
    return Rate(count / (time.perf_counter() - begin), total / count)


def with_ours(count: int) -> Rate:
    """The same as a workload of jobs with one tool task."""

    def jobs() -> Iterator[TraceJob]:
        for arrival, service in customers(count):
            stage = TraceStage(id="s", name="s", kind="tool", parents=(), tasks=(TraceTask(seconds=service),))
            yield TraceJob(app="queue", stages=(stage,), arrival_seconds=arrival)

    settings = RunSettings(policy=PolicySettings(name="fcfs"), cluster=ClusterShape(llm_executors=0, tool_slots=SLOTS))
    begin = time.perf_counter()
    result = run(jobs(), settings)
    return Rate(count / (time.perf_counter() - begin), result.summary.mean_jct)


def stream(count: int, policy: str = "fcfs") -> Footprint:
    """Jobs of eight tasks, made as they arrive: plan, three searches at once, three readings, answer."""
    settings = RunSettings(policy=PolicySettings(name=policy), cluster=ClusterShape(max_batch=16, tool_slots=16))
    begin = time.perf_counter()
    result = run(islice(_compound_jobs(), count), settings)
    return Footprint(
        jobs=result.summary.jobs,
        tasks=result.decisions,
        wall_seconds=time.perf_counter() - begin,
        peak_mebibytes=_peak_mebibytes(),
        mean_jct=result.summary.mean_jct,
    )


def _peak_mebibytes() -> float:
    """Of this program. Not by getrusage, which begins with what the parent process had when it forked."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def _compound_jobs() -> Iterator[TraceJob]:
    random, at = Random(2), 0.0
    while True:
        at += random.expovariate(2.3)

        def calls(count: int) -> tuple[TraceTask, ...]:
            return tuple(
                TraceTask(prompt_tokens=random.randint(100, 900), output_tokens=random.randint(10, 150))
                for _ in range(count)
            )

        searches = tuple(TraceTask(seconds=random.expovariate(1.0)) for _ in range(3))
        yield TraceJob(
            app="research",
            arrival_seconds=at,
            stages=(
                TraceStage(id="plan", name="plan", kind="llm", parents=(), tasks=calls(1)),
                TraceStage(id="search", name="search", kind="tool", parents=("plan",), tasks=searches),
                TraceStage(id="read", name="read", kind="llm", parents=("search",), tasks=calls(3)),
                TraceStage(id="answer", name="answer", kind="llm", parents=("read",), tasks=calls(1)),
            ),
        )


def compare(count: int, repeats: int = 3) -> tuple[Rate, Rate]:
    """The best of some runs in turn: simpy's rate, and ours."""
    theirs, ours = [], []
    for _ in range(repeats):
        theirs.append(with_simpy(count))
        ours.append(with_ours(count))
    _agree([*theirs, *ours])
    return max(theirs), max(ours)


def _agree(rates: Iterable[Rate]) -> None:
    means = [rate.mean for rate in rates]
    if max(means) - min(means) > 1e-6:
        raise AssertionError(f"the simulators do not agree on the mean time in the system: {means}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--stream", type=int, default=0)
    arguments = parser.parse_args()
    theirs, ours = compare(arguments.jobs)
    print(f"M/M/{SLOTS} at load {LOAD}, {arguments.jobs:,} jobs; mean time in the system {ours.mean:.6f} s by both")
    print(f"simpy {theirs.jobs:>9,.0f} jobs/s")
    print(f"ours  {ours.jobs:>9,.0f} jobs/s, {ours.jobs / theirs.jobs:.2f} of simpy's")
    if arguments.stream:
        found = stream(arguments.stream)
        rate = found.tasks / found.wall_seconds
        print(
            f"{found.jobs:,} jobs, {found.tasks:,} tasks: {found.wall_seconds:.0f} s, {rate:,.0f} tasks/s, "
            f"peak {found.peak_mebibytes:.0f} MiB, mean JCT {found.mean_jct:.2f} s"
        )


if __name__ == "__main__":
    main()
