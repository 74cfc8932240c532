"""A made-up world for simulations: jobs, a planner and service times, all drawn from one seed.

What is drawn for a stage or an attempt depends on its name and the seed alone, not on when it is asked for: two
policies meet the same world.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from services.scheduler.core.effects import Dispatch, JobChanged, StageChanged, Unfold
from services.scheduler.core.events import Event, StageUnfolded, UnfoldFailed
from services.scheduler.core.model import (
    Failure,
    JobSnapshot,
    JobState,
    Measurement,
    StageKind,
    StageSpec,
    TaskSpec,
)
from simulator.attempts import Service
from simulator.engine import TraceEntry
from tests.support.scheduling import admitted, attached, cancel, dynamic, job, llm, lost, tool, unfold_failed, unfolded

MAX_ROUNDS = 4


class World:
    """Planner and service time at once."""

    def __init__(self, seed: int, *, trouble: bool = False) -> None:
        """Args: `trouble` adds failures, senseless answers, cancellations and executors that die."""
        self.seed = seed
        self.trouble = trouble
        self.kinds: dict[tuple[str, str], StageKind] = {}

    def draw(self, *name: object) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def jobs(self, count: int, gap: float = 2.0) -> Iterator[JobSnapshot]:
        """Jobs that arrive at random, on average `gap` seconds apart, of three applications."""
        generator, at = self.draw("arrivals"), 0.0
        for order in range(count):
            at += generator.expovariate(1 / gap)
            application = generator.choice(["chain", "plan", "fan"])
            stages = self.stages(application)
            self.kinds.update({(f"{application}-{order}", one.stage_id): one.kind for one in stages})
            structure = {"chain": "chain", "plan": "generated", "fan": "width"}[application]
            more = {"application": application, "structure": structure}
            yield job(f"{application}-{order}", *stages, arrival=at, order=order, **more)

    def stages(self, application: str) -> list[StageSpec]:
        if application == "chain":
            return [dynamic("loop"), llm("sum", "loop", position=1)]
        if application == "plan":
            plan = llm("plan", recoverable=True)
            return [plan, dynamic("do", "plan", position=1), llm("say", "do", position=2)]
        return [llm("split"), llm("each", "split", position=1, max_attempts=2), tool("join", "each", position=2)]

    def events(self, count: int, gap: float = 2.0) -> list[Event]:
        """Executors, arrivals and, with `trouble`, what users and executors do to them."""
        events: list[Event] = [attached(f"llm-{index}", slots=2) for index in range(2)]
        events.append(attached("tools", "tool:any", slots=3))
        for snapshot in self.jobs(count, gap):
            events.append(admitted(snapshot, at=snapshot.arrival, cause=f"submit {snapshot.job_id}"))
            generator = self.draw("user", snapshot.job_id)
            if self.trouble and generator.random() < 0.1:
                events.append(cancel(snapshot.job_id, at=snapshot.arrival + generator.uniform(0, 30)))
        for round_ in range(3 if self.trouble else 0):
            at = 20.0 + 15.0 * round_
            events.append(lost("llm-0", at=at))
            events.append(attached("llm-0", slots=2, incarnation=f"life {round_}", at=at + 5.0))
        return events

    def unfold(self, request: Unfold, at: float) -> StageUnfolded | UnfoldFailed:
        """Loops go for a few rounds, plans have a few steps, the rest has a few tasks."""
        job_id, stage_id, unfolding = request.job_id, request.stage_id, request.unfolding
        generator = self.draw("unfold", job_id, stage_id, unfolding)
        answer = {"at": at, "cause": request.cause, "unfolding": unfolding}
        if self.trouble and generator.random() < 0.03:
            return unfold_failed(job_id, stage_id, **answer)
        if request.failure is not None:
            return unfolded(
                job_id, stage_id, stages=self.added(job_id, [llm(f"{stage_id}/else", position=9)]), **answer
            )
        if self.kinds[job_id, stage_id] is not StageKind.DYNAMIC:
            width = generator.randint(2, 6) if stage_id == "each" else 1
            specs = [TaskSpec(prompt_tokens=generator.randint(1, 500)) for _ in range(width)]
            return unfolded(job_id, stage_id, tasks=specs, skipped=generator.random() < 0.05, **answer)
        if stage_id == "loop":
            name, place = f"loop/{unfolding}", 10 * unfolding
            body = [llm(f"{name}/try", position=place), tool(f"{name}/test", f"{name}/try", position=place + 1)]
            return unfolded(job_id, stage_id, stages=self.added(job_id, body), again=unfolding < MAX_ROUNDS, **answer)
        steps = [tool(f"do/{index}", position=10 + index) for index in range(generator.randint(0, 3))]
        steps += [llm("do/last", *(one.stage_id for one in steps), position=20)]
        return unfolded(job_id, stage_id, stages=self.added(job_id, steps), **answer)

    def added(self, job_id: str, specs: list[StageSpec]) -> list[StageSpec]:
        self.kinds.update({(job_id, one.stage_id): one.kind for one in specs})
        return specs

    def serve(self, dispatch: Dispatch, at: float) -> Service:
        attempt = dispatch.attempt
        generator = self.draw("serve", attempt)
        seconds = round(generator.expovariate(1 / 3), 3)
        if self.trouble and generator.random() < 0.15:
            broken = Failure(reason="FLAKY", message="at times it fails", retryable=generator.random() < 0.9)
            return Service(seconds, broken)
        return Service(seconds, Measurement(total_seconds=seconds))


def ends(trace: list[TraceEntry]) -> dict[str, tuple[float, JobState]]:
    """When and how each job ended; no job may end twice."""
    found: dict[str, tuple[float, JobState]] = {}
    for at, effect in trace:
        if isinstance(effect, JobChanged) and effect.state.is_final:
            assert effect.job_id not in found
            found[effect.job_id] = (at, effect.state)
        if isinstance(effect, StageChanged):
            assert effect.job_id not in found
    return found


def decisions(trace: list[TraceEntry]) -> list[str]:
    """One line for each dispatch."""
    lines = []
    for at, effect in trace:
        if isinstance(effect, Dispatch):
            one = effect.attempt
            task = f"{one.job_id}/{one.stage_id}#{one.task_index}.{one.attempt}"
            lines.append(f"{at:9.3f} {effect.executor_id:6} {task:26} {effect.rule} of {effect.waiting_stages}")
    return lines
