"""How many events a second the scheduling machine handles, alone: no network, no store, no planner.

A closed system: every job that ends is replaced by a new one, so the number of active jobs stays the same. A job is
a chain of three stages (LLM, tool, LLM with four tasks). Times are processor seconds of the whole loop, which includes
making the events. Of ten events four end attempts, and with every slot taken each of those leads to a decision.

    python -m benchmarks.machine [--policy fair] [--jobs 1000 100000] [--seconds 3]
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections import deque
from typing import NamedTuple

from services.profiler.core.statistics import ApplicationStatistics, StageStatistics, Statistics
from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch, Effect, JobChanged, Unfold
from services.scheduler.core.events import AttemptSucceeded, Event, ExecutorAttached, JobAdmitted, StageUnfolded
from services.scheduler.core.model import JobSnapshot, Measurement, StageKind, StageSnapshot, StageSpec, TaskSpec
from services.scheduler.core.policies.base import Knowledge

LLM_EXECUTORS, LLM_SLOTS, TOOL_EXECUTORS, TOOL_SLOTS = 16, 16, 4, 32
WIDTHS = {"draft": 1, "search": 1, "merge": 4}
STAGES = (
    StageSpec(stage_id="draft", name="draft", kind=StageKind.LLM, requirement="llm", position=0),
    StageSpec(
        stage_id="search", name="search", kind=StageKind.TOOL, requirement="tool:search", parents=("draft",), position=1
    ),
    StageSpec(stage_id="merge", name="merge", kind=StageKind.LLM, requirement="llm", parents=("search",), position=2),
)
_ALIKE = ApplicationStatistics(
    totals=tuple(float(seconds) for seconds in range(1, 101)),
    stages={
        name: StageStatistics(per_job=1.0, seconds=float(width), span=1.0, is_llm=name != "search")
        for name, width in WIDTHS.items()
    },
)
#: For policies that learn from a history, and for the one that knows the future.
KNOWLEDGE = Knowledge(
    statistics=Statistics(applications={f"app-{number}": _ALIKE for number in range(5)}, pooled=_ALIKE),
    oracle=lambda job_id: {name: (1.0,) * width for name, width in WIDTHS.items()},
)


class Cost(NamedTuple):
    """Processor time of the machine and of making its events."""

    events: float  #: a second
    decisions: float  #: a second


class ClosedSystem:
    """The machine, and a world that answers every effect with an event."""

    def __init__(self, settings: PolicySettings, jobs: int) -> None:
        self.machine = SchedulerMachine(settings, knowledge=KNOWLEDGE)
        self.random = random.Random(1)
        self.pending: deque[Event] = deque()
        self.now = 0.0
        self.submitted = 0
        self.events = 0
        for index in range(LLM_EXECUTORS):
            self.attach(f"llm-{index}", "llm", LLM_SLOTS, frozenset({"llm", "llm:small"}))
        for index in range(TOOL_EXECUTORS):
            self.attach(f"tool-{index}", "tool", TOOL_SLOTS, frozenset({"tool:search", "tool:run"}))
        for _ in range(jobs):
            self.submit()

    def attach(self, executor_id: str, kind: str, slots: int, offers: frozenset[str]) -> None:
        self.feed(
            ExecutorAttached(
                at=0.0, cause="attach", executor_id=executor_id, incarnation="1", kind=kind, slots=slots, offers=offers
            )
        )

    def submit(self) -> None:
        self.submitted += 1
        job = JobSnapshot(
            job_id=f"job-{self.submitted}",
            application=f"app-{self.submitted % 5}",
            version=1,
            arrival=self.now,
            order=self.submitted,
            stages=tuple(StageSnapshot(spec=spec) for spec in STAGES),
        )
        self.pending.append(JobAdmitted(at=self.now, cause="submit", job=job))

    def feed(self, event: Event) -> None:
        self.events += 1
        for effect in self.machine.handle(event):
            self.answer(effect)

    def answer(self, effect: Effect) -> None:
        if isinstance(effect, Unfold):
            tasks = tuple(TaskSpec(prompt_tokens=100) for _ in range(WIDTHS[effect.stage_id]))
            self.pending.append(
                StageUnfolded(
                    at=self.now,
                    cause="unfold",
                    job_id=effect.job_id,
                    stage_id=effect.stage_id,
                    unfolding=effect.unfolding,
                    tasks=tasks,
                )
            )
        elif isinstance(effect, Dispatch):
            done = AttemptSucceeded(
                at=self.now, cause="done", attempt=effect.attempt, measurement=Measurement(total_seconds=1.0)
            )
            # Mostly in order, as slots free up in about the order in which they were taken.
            self.pending.insert(self.random.randint(max(0, len(self.pending) - 8), len(self.pending)), done)
        elif isinstance(effect, JobChanged) and effect.state.is_final:
            self.submit()

    def run(self, seconds: float) -> Cost:
        """What happens in about `seconds` of processor time."""
        events, decisions = self.events, self.machine.decisions
        begin = time.process_time()
        while time.process_time() - begin < seconds:
            for _ in range(200):
                self.now += 0.001
                self.feed(self.pending.popleft())
        spent = time.process_time() - begin
        return Cost((self.events - events) / spent, (self.machine.decisions - decisions) / spent)


def measure(policy: str, jobs: int, seconds: float, ageing_seconds: float | None = None) -> Cost:
    """The cost under a policy with so many active jobs, once they have spread over their stages."""
    order = ("app-3", "app-1") if policy == "ps-tcs" else ()
    settings = PolicySettings(name=policy, application_order=order, ageing_seconds=ageing_seconds)
    system = ClosedSystem(settings, jobs)
    # Until all jobs are in and have spread over their stages: then what is pending is what the slots hold.
    while len(system.pending) > 2 * (LLM_EXECUTORS * LLM_SLOTS + TOOL_EXECUTORS * TOOL_SLOTS):
        system.run(0.1)
    system.run(1.0)
    gc.collect()
    return system.run(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=sorted(POLICIES), action="append")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--ageing-seconds", type=float)
    arguments = parser.parse_args()
    for name in arguments.policy or sorted(POLICIES):
        for jobs in arguments.jobs:
            cost = measure(name, jobs, arguments.seconds, arguments.ageing_seconds)
            print(
                f"{name:>16}  {jobs:>7} active jobs  {cost.events:>8,.0f} events/s  "
                f"{1e6 / cost.decisions:>6.1f} us a decision and the events that lead to it"
            )


if __name__ == "__main__":
    main()
