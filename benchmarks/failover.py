"""How long nothing is dispatched when the leader's host is lost, on the cluster of deploy/systemd/hosts.yaml.

Six hosts of a lab (docs/multi-node.md), all on this machine and so with one clock. Under load the leader's host is cut
off and all that runs there killed at once: nobody is told. Measured is the time until the standby's first dispatch, by
its event log. The leases are the product's own: leadership ends 2 s after its last renewal.

    python -m benchmarks.failover [--runs 10] [--out benchmarks/results/failover.json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import llmsched
from lab import enter
from lab.hosts import SCHEDULERS, Hosts, client_options, running
from llmsched import Application
from llmsched.types import ExecutorState, Job, JobState
from services.scheduler.core.effects import Dispatch
from services.scheduler.event_log import read_log

OUT = Path(__file__).parent / "results" / "failover.json"
JOBS_AT_ONCE = 24
_EXECUTORS = 4
_WAIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Run:
    """One loss of the leader's host."""

    leader: str
    seconds: float  #: from the loss to the standby's first dispatch


@dataclass(slots=True)
class Result:
    machine: str
    runs: list[Run] = field(default_factory=list)
    jobs: int = 0  #: that were submitted meanwhile, all of which ended
    jobs_lost: int = 0  #: that did not succeed
    attempts_repeated: int = 0  #: second attempts of any task
    tokens_wasted: int = 0  #: that engines made more than the jobs' answers have

    def summary(self) -> list[str]:
        """Minimum, median and maximum, in seconds."""
        seconds = [run.seconds for run in self.runs]
        return [f"{each:.2f}" for each in (min(seconds), statistics.median(seconds), max(seconds))]


class Load:
    """So many jobs at a time, for as long as the block lasts."""

    def __init__(self, client: llmsched.Client) -> None:
        self._client = client
        self._over = asyncio.Event()
        self._users: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self.ended: list[Job] = []

    def start(self) -> None:
        self._users = [asyncio.create_task(self._use()) for _ in range(JOBS_AT_ONCE)]

    async def stop(self) -> None:
        """Returns when all jobs have ended."""
        self._over.set()
        await asyncio.gather(*self._users)

    async def more(self, count: int) -> None:
        """Returns when so many more jobs have ended."""
        wanted = len(self.ended) + count
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.ended) >= wanted)

    async def _use(self) -> None:
        while not self._over.is_set():
            handle = await self._client.submit("steps", {"topic": f"topic {len(self.ended)}"})
            self.ended.append(await handle.wait())
            async with self._changed:
                self._changed.notify_all()


def steps() -> Application:
    """Two answers of some seconds, with a tool between them."""
    app = Application("steps", input={"topic": "string"})
    app.llm("plan", prompt="[[tokens: 120]] {{ input.topic }}", max_tokens=120)
    app.tool("count", call="text.statistics", args={"text": "{{ plan.text }}"})
    app.llm("write", prompt="[[tokens: 120]] {{ count.words }} {{ plan.text }}", max_tokens=120)
    app.output = {"text": "{{ write.text }}"}
    return app


async def measure(runs: int, folder: Path) -> Result:
    logs = {host: folder / f"{host}.jsonl" for host in SCHEDULERS}
    settings = {host: {"LLMSCHED_SCHEDULER_EVENT_LOG": str(log)} for host, log in logs.items()}
    result = Result(machine="")
    async with running(folder, settings=settings) as hosts, llmsched.Client(options=client_options()) as client:
        await client.register(steps())
        load = Load(client)
        load.start()
        for number in range(runs):
            run = await _lose_leader(hosts, client, load, logs)
            print(f"{number + 1}: {run.leader} lost, {run.seconds:.2f} s", flush=True)
            result.runs.append(run)
        result.machine = _machine()
        await load.stop()
        result.jobs = len(load.ended)
        result.jobs_lost = sum(job.state is not JobState.SUCCEEDED for job in load.ended)
        tasks = [task for job in load.ended for stage in job.stages for task in stage.tasks]
        result.attempts_repeated = sum(task.attempt - 1 for task in tasks)
        used = sum(job.usage.completion_tokens for job in load.ended)
        result.tokens_wasted = await hosts.generated_tokens() - used
    return result


async def _lose_leader(hosts: Hosts, client: llmsched.Client, load: Load, logs: dict[str, Path]) -> Run:
    async with asyncio.timeout(_WAIT_SECONDS):
        await _busy(client, load)
        leader = await hosts.leader()
        standby = next(host for host in SCHEDULERS if host != leader)
        epoch = (await client.cluster()).epoch
        lost = time.time()
        await hosts.processes.lose(leader)
        await load.more(2 * JOBS_AT_ONCE)  # that were dispatched by the standby, most of them
        first = _first_dispatch(logs[standby], epoch)
        await hosts.processes.restore(leader)
        await hosts.processes.ready(f"{leader}.llmsched-scheduler")
    return Run(leader, first - lost)


async def _busy(client: llmsched.Client, load: Load) -> None:
    """Waits until every executor is there and jobs have ended since."""
    there = 0
    while there < _EXECUTORS:
        await load.more(JOBS_AT_ONCE)
        executors = (await client.cluster()).executors
        there = sum(each.state is ExecutorState.ATTACHED for each in executors)


def _first_dispatch(log: Path, epoch: int) -> float:
    """When the first attempt was given out in a term after this epoch."""
    for term in read_log(log):
        if term.epoch <= epoch:
            continue
        for record in term.records:
            if any(isinstance(effect, Dispatch) for effect in record.effects):
                return max(event.at for event in record.events)
    raise LookupError(f"{log} has no dispatch of a later term than {epoch}")


def _machine() -> str:
    load = os.getloadavg()[2]
    told = f"load average {load:.0f}" + (": it did other work too" if load > 2 * (os.cpu_count() or 1) else "")
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()} ({told})"


def table(result: Result) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows for the page."""
    head = ["lost", "runs", "min", "median", "max", "jobs meanwhile", "jobs lost", "attempts repeated", "tokens wasted"]
    row = ["the leader's host", str(len(result.runs)), *(f"{each} s" for each in result.summary())]
    counts = (result.jobs, result.jobs_lost, result.attempts_repeated, result.tokens_wasted)
    return head, [[*row, *(f"{each:,}" for each in counts)]]


def load_result(path: Path = OUT) -> Result:
    found = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**found, "runs": [Run(**run) for run in found["runs"]]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if enter.INSIDE not in os.environ:
        if problem := enter.missing():
            sys.exit(problem)
        words = [sys.executable, "-m", "benchmarks.failover", *sys.argv[1:]]
        sys.exit(subprocess.run(enter.command(words)).returncode)
    with tempfile.TemporaryDirectory(prefix="llmsched-failover-") as folder:
        result = asyncio.run(measure(arguments.runs, Path(folder)))
    arguments.out.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    print(" / ".join(result.summary()), f"s; written to {arguments.out}")


if __name__ == "__main__":
    main()
