"""How many events a second the scheduling machine handles, alone: no network, no store, no planner.

A closed system: every job that ends is replaced by a new one, so the number of active jobs stays the same. A job is
a chain of three stages (LLM, tool, LLM with four tasks). Times are processor seconds of the whole loop, which includes
making the events.

    python benchmarks/machine.py [--policy fair] [--jobs 1000 20000] [--seconds 3]
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque

from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch, Effect, JobChanged, Unfold
from services.scheduler.core.events import AttemptSucceeded, Event, ExecutorAttached, JobAdmitted, StageUnfolded
from services.scheduler.core.model import JobSnapshot, Measurement, StageKind, StageSnapshot, StageSpec, TaskSpec

LLM_EXECUTORS, LLM_SLOTS, TOOL_EXECUTORS, TOOL_SLOTS = 16, 16, 4, 32
WIDTHS = {"draft": 1, "search": 1, "merge": 4}
STAGES = (
    StageSpec(stage_id="draft", name="draft", kind=StageKind.LLM, requirement="llm", position=0),
    StageSpec(
        stage_id="search", name="search", kind=StageKind.TOOL, requirement="tool:search", parents=("draft",), position=1
    ),
    StageSpec(stage_id="merge", name="merge", kind=StageKind.LLM, requirement="llm", parents=("search",), position=2),
)


class ClosedSystem:
    """The machine, and a world that answers every effect with an event."""

    def __init__(self, settings: PolicySettings, jobs: int) -> None:
        self.machine = SchedulerMachine(settings)
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

    def run(self, seconds: float) -> float:
        """Events a second over about `seconds` of processor time."""
        self.events = 0
        begin = time.process_time()
        while time.process_time() - begin < seconds:
            for _ in range(200):
                self.now += 0.001
                self.feed(self.pending.popleft())
        return self.events / (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=sorted(POLICIES), action="append")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--ageing-seconds", type=float)
    arguments = parser.parse_args()
    for name in arguments.policy or sorted(POLICIES):
        for jobs in arguments.jobs:
            system = ClosedSystem(PolicySettings(name=name, ageing_seconds=arguments.ageing_seconds), jobs)
            system.run(jobs / 5_000)  # until the first jobs have spread over their stages
            rate = system.run(arguments.seconds)
            print(f"{name:>14}  {jobs:>6} active jobs  {rate:>8,.0f} events/s  {1e6 / rate:>5.1f} us an event")


if __name__ == "__main__":
    main()
