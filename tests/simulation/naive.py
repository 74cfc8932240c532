"""The simulation contract (docs/simulation-contract.md) once more, as plainly as it can be said.

It shares no code with the product and is fast at nothing: what every task has left, who is ready and who goes first
are found anew at every step. Where it and the simulator differ, one of them breaks the contract.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

INSTANT = 1e-9
PREFILL, DECODE = 0.000161, 0.0155


@dataclass(eq=False)
class Task:
    place: tuple[float, int, int, int]  # arrival and line of the job, position of the stage, position in it
    work: float
    left: float
    executor: int | None = None
    done: bool = False


@dataclass(eq=False)
class Stage:
    llm: bool
    parents: list[str]
    tasks: list[Task]
    done: bool = False


@dataclass(eq=False)
class Job:
    arrival: float
    stages: dict[str, Stage]

    def may_run(self, stage: Stage) -> bool:
        return all(self.stages[parent].done for parent in stage.parents)


@dataclass
class Outcome:
    jcts: dict[int, float] = field(default_factory=dict)  # by line
    makespan: float = 0.0
    llm_utilisation: float = 0.0
    tool_utilisation: float = 0.0


def read(lines: Iterable[str], prefill: float, decode: float) -> dict[int, Job]:
    jobs = {}
    for line, text in enumerate(lines, start=1):
        record = json.loads(text)
        stages: dict[str, Stage] = {}
        for position, one in enumerate(record["stages"]):
            llm = one["kind"] != "tool"
            tasks = []
            for index, task in enumerate(one["tasks"]):
                work = task["prompt_tokens"] * prefill + task["output_tokens"] * decode if llm else task["seconds"]
                tasks.append(Task((record["arrival_seconds"], line, position, index), work, work))
            stages[one["id"]] = Stage(llm, one["parents"], tasks)
        jobs[line] = Job(record["arrival_seconds"], stages)
    return jobs


class Cluster:
    """All that there is at `now`; `slowdown[b - 1]` is s(b)."""

    def __init__(
        self, coming: dict[int, Job], llm_executors: int, max_batch: int, tool_slots: int, slowdown: Sequence[float]
    ) -> None:
        self.coming = coming
        self.active: dict[int, Job] = {}
        self.running: list[Task] = []  # in LLM executors
        self.tools: list[Task] = []
        self.llm_executors, self.max_batch, self.tool_slots = llm_executors, max_batch, tool_slots
        self.slowdown = slowdown
        self.now, self.llm_busy, self.tool_busy = 0.0, 0.0, 0.0

    def slow(self, task: Task) -> float:
        """How many seconds one second of its work takes."""
        if task in self.tools:
            return 1.0
        return self.slowdown[sum(other.executor == task.executor for other in self.running) - 1]

    def apply(self, outcome: Outcome) -> None:
        """Completions and arrivals of this instant, then all that follows from them."""
        # An end may bring others nearer, as speeds rise.
        while ended := [one for one in self.at_work() if min(one.left, one.left * self.slow(one)) <= INSTANT]:
            for task in ended:
                task.done = True
                (self.tools if task in self.tools else self.running).remove(task)
        for line in [line for line, job in self.coming.items() if job.arrival <= self.now + INSTANT]:
            self.active[line] = self.coming.pop(line)
        for line, job in list(self.active.items()):
            for stage in job.stages.values():  # parents come first, so one pass is enough
                if job.may_run(stage) and all(task.done for task in stage.tasks):
                    stage.done = True
            if all(stage.done for stage in job.stages.values()):
                outcome.jcts[line] = self.now - job.arrival
                outcome.makespan = self.now
                del self.active[line]

    def dispatch(self, policy: str) -> bool:
        """Gives ready tasks to free slots in the order of the policy. Returns whether there was anything to do."""
        ready = []
        for job in self.active.values():
            remaining = math.fsum(task.work for stage in job.stages.values() if not stage.done for task in stage.tasks)
            first = {"fcfs": 0.0, "clairvoyant-srpt": remaining}[policy]
            for stage in job.stages.values():
                if not stage.done and job.may_run(stage):
                    waiting = [task for task in stage.tasks if not task.done and task not in self.at_work()]
                    ready += [(first, task.place, stage.llm, task) for task in waiting]
        before = len(self.at_work())
        for _, _, llm, task in sorted(ready, key=lambda one: one[:2]):
            loads = [sum(other.executor == index for other in self.running) for index in range(self.llm_executors)]
            if llm and loads and min(loads) < self.max_batch:
                task.executor = loads.index(min(loads))
                self.running.append(task)
            elif not llm and len(self.tools) < self.tool_slots:
                self.tools.append(task)
        return len(self.at_work()) > before

    def wait(self) -> bool:
        """Lets time pass up to the next completion or arrival. Returns whether there is one."""
        slow = [(task, self.slow(task)) for task in self.at_work()]
        steps = [task.left * factor for task, factor in slow] + [job.arrival - self.now for job in self.coming.values()]
        if not steps:
            return False
        for task, factor in slow:
            task.left -= min(steps) / factor
        self.llm_busy += min(steps) * len(self.running)
        self.tool_busy += min(steps) * len(self.tools)
        self.now += min(steps)
        return True

    def at_work(self) -> list[Task]:
        return self.running + self.tools


def simulate(
    lines: Iterable[str],
    policy: str,
    *,
    llm_executors: int,
    max_batch: int,
    tool_slots: int,
    slowdown: Sequence[float],
    prefill: float = PREFILL,
    decode: float = DECODE,
) -> Outcome:
    """Runs a workload to the end of its last job; `slowdown[b - 1]` is s(b)."""
    cluster = Cluster(read(lines, prefill, decode), llm_executors, max_batch, tool_slots, slowdown)
    outcome = Outcome()
    while True:
        cluster.apply(outcome)
        # What is started and has no length ends in a further round of this instant.
        if not cluster.dispatch(policy) and not cluster.wait():
            break
    if outcome.makespan > 0.0:
        outcome.llm_utilisation = cluster.llm_busy / (llm_executors * max_batch * outcome.makespan)
        outcome.tool_utilisation = cluster.tool_busy / (tool_slots * outcome.makespan) if tool_slots else 0.0
    return outcome
