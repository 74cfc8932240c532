"""Runs the benchmarks that docs/benchmarks.md quotes, and writes it.

    python -m benchmarks.report [--quick]

Nothing else should run on the machine meanwhile. It takes about a quarter of an hour; `--quick` a minute, for trying
it out: its numbers are not for quoting.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import failover, machine, simulator
from services.scheduler.core import POLICIES

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Written by `python -m benchmarks.report`; run it to get the numbers of your machine. One Python process each, nothing
else running. {machine}

"""

MACHINE = """## The scheduling machine

Events a second that the machine handles, alone: no network, no store, no planner (`benchmarks/machine.py`). A closed
system of compound jobs; with 100,000 active jobs all but some hundred of them wait. The cost of a decision is
processor time, and includes the events that lead to it (1.7 each) and the making of these events. The aim is 30,000
events a second at 1,000 active jobs, and a decision that costs at most twice as much at 100,000.

"""

SIMULATOR = """
## The simulator beside simpy

M/M/{slots} at load {load}, {jobs:,} jobs of one task, the same arrival and service times for both
(`benchmarks/simulator.py`); both find the same mean time in the system, {mean:.6f} s. simpy moves customers through a
resource. Ours is the scheduling machine of the live system, with admission, stages, unfolding, a policy and effects
for all of it, so this is what that costs where none of it is needed.

"""

FAILOVER = """
## Losing the leader's host

Measured by `python -m benchmarks.failover`, and quoted here: six hosts of a lab ([multi-node](multi-node.md)) on one
machine with {machine}. Under a load of {at_once} jobs at a time the host of the leading scheduler is cut off and
everything on it killed at once. The time is that until the standby's first dispatch. Leadership ends 2 s after its last
renewal (`leader_ttl_seconds`), which comes every 0.5 s. A token is wasted if an engine made it and no job has it.

"""

STREAM = """
## A workload that need not fit into memory

Jobs of eight tasks (a plan, three searches, three readings, an answer), made as they arrive, under fcfs. Only active
jobs are in memory; what grows are the results, by some 160 bytes a job.

"""


def page(quick: bool) -> Iterator[str]:
    """The parts of the page."""
    seconds, counts, size, streams = (
        (0.2, (100, 1_000), 2_000, (1_000,)) if quick else (3.0, (1_000, 100_000), 100_000, (100_000, 1_000_000))
    )
    yield HEAD.format(machine=_machine())
    yield MACHINE + table(
        [
            "policy",
            *(f"events/s, {count:,} jobs" for count in counts),
            *(f"µs a decision, {count:,} jobs" for count in counts),
            "ratio",
        ],
        _machine_rows(counts, seconds),
    )
    theirs, ours = simulator.compare(size)
    yield SIMULATOR.format(slots=simulator.SLOTS, load=simulator.LOAD, jobs=size, mean=ours.mean) + table(
        ["simulator", "jobs/s", "beside simpy"],
        [
            (f"simpy {importlib.metadata.version('simpy')}", f"{theirs.jobs:,.0f}", "1.00"),
            ("LLMSched", f"{ours.jobs:,.0f}", f"{ours.jobs / theirs.jobs:.2f}"),
        ],
    )
    yield STREAM + table(
        ["jobs", "tasks", "wall time", "tasks/s", "peak memory of the process", "mean JCT"], map(_stream_row, streams)
    )
    yield failover_part()


def failover_part() -> str:
    """What was measured last: it takes minutes, and a network of its own."""
    result = failover.load_result()
    return FAILOVER.format(machine=result.machine, at_once=failover.JOBS_AT_ONCE) + table(*failover.table(result))


def _machine_rows(counts: Sequence[int], seconds: float) -> Iterator[Sequence[str]]:
    for policy in sorted(POLICIES):
        costs = [machine.measure(policy, count, seconds) for count in counts]
        micros = [1e6 / cost.decisions for cost in costs]
        yield (
            policy,
            *(f"{cost.events:,.0f}" for cost in costs),
            *(f"{one:.1f}" for one in micros),
            f"{micros[-1] / micros[0]:.2f}",
        )


def _stream_row(count: int) -> Sequence[str]:
    # A process of its own: the peak is that of the whole process.
    command = "import sys; from benchmarks.simulator import stream; print(*stream(int(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", command, str(count)], check=True, capture_output=True, text=True)
    jobs, tasks, wall, peak, mean = (float(number) for number in done.stdout.split())
    return (
        f"{jobs:,.0f}", f"{tasks:,.0f}", f"{wall:,.0f} s", f"{tasks / wall:,.0f}", f"{peak:,.0f} MiB", f"{mean:.2f} s",
    )  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _machine() -> str:
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return f"Last run on {os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}."


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="print a rough version instead of writing the page")
    quick = parser.parse_args().quick
    text = "".join(page(quick))
    if quick:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
