"""The live and the simulated driver take the same decisions, and a live log replays to the same effects."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from llmsched import Application
from services.scheduler.core import SchedulerMachine
from services.scheduler.core.effects import Dispatch, Unfold
from services.scheduler.core.events import (
    AttemptSucceeded,
    Event,
    ExecutorAttached,
    JobAdmitted,
    StageUnfolded,
    UnfoldFailed,
)
from services.scheduler.core.model import AttemptRef
from services.scheduler.event_log import LoggedTerm, read_log, replay
from simulator.engine import Service, Simulation
from tests.support.live import live_cluster

pytestmark = [pytest.mark.slow]

#: Jobs arrive at these seconds and queue for two engines with one slot each. Lengths in tokens (15.5 ms each) of the
#: stages `first` and `second`, searched for so that arrivals and completions lie at least 120 ms apart by each policy.
ARRIVALS = [0.0, 0.3, 0.6, 0.9, 1.2, 1.5]
LENGTHS = [(48, 38), (94, 44), (90, 32), (81, 28), (76, 35), (75, 59)]
#: What must lie between two events from outside for their order not to be a matter of luck.
APART = 0.05


class Recorded:
    """Planner and service time of a simulation, as they were in a live run."""

    def __init__(self, term: LoggedTerm) -> None:
        self._unfolded: dict[tuple[str, str, int], StageUnfolded] = {}
        self._services: dict[AttemptRef, Service] = {}
        started: dict[AttemptRef, float] = {}
        for record in term.records:
            for event in record.events:
                if isinstance(event, StageUnfolded):
                    self._unfolded[event.job_id, event.stage_id, event.unfolding] = event
                elif isinstance(event, AttemptSucceeded):
                    seconds = event.at - started[event.attempt]
                    self._services[event.attempt] = Service(seconds, event.measurement)
            for effect in record.effects:
                if isinstance(effect, Dispatch):
                    started[effect.attempt] = record.events[-1].at

    def unfold(self, request: Unfold, at: float) -> StageUnfolded | UnfoldFailed:
        live = self._unfolded[request.job_id, request.stage_id, request.unfolding]
        return StageUnfolded(
            at=at,
            cause=request.cause,
            job_id=live.job_id,
            stage_id=live.stage_id,
            unfolding=live.unfolding,
            tasks=live.tasks,
            stages=live.stages,
            again=live.again,
            skipped=live.skipped,
        )

    def serve(self, dispatch: Dispatch, at: float) -> Service:
        return self._services[dispatch.attempt]


def application() -> Application:
    app = Application("two-steps", input={"first": "integer", "second": "integer"})
    app.llm("first", prompt="[[tokens: {{ input.first }}]] go", max_tokens=100)
    app.llm("second", prompt="[[tokens: {{ input.second }}]] {{ first.text[:5] }}", max_tokens=100)
    return app


def dispatches(effects: Iterable[object]) -> list[tuple[AttemptRef, str]]:
    return [(effect.attempt, effect.executor_id) for effect in effects if isinstance(effect, Dispatch)]


def from_outside(term: LoggedTerm) -> list[Event]:
    kinds = JobAdmitted | AttemptSucceeded
    return [event for record in term.records for event in record.events if isinstance(event, kinds)]


@pytest.mark.parametrize("policy", ["fcfs", "request-fcfs", "fair"])
async def test_live_and_simulated_drivers_dispatch_in_the_same_order(policy: str, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with (
        live_cluster(
            tmp_path / "cluster",
            engines=("sim", "sim"),
            engine_arguments=("--slots", "1"),
            slots=1,
            settings={"policy": policy, "event_log": str(log), "ageing_seconds": "0"},
        ) as cluster,
        cluster.client() as client,
    ):
        await client.register(application())
        loop, handles = asyncio.get_running_loop(), []
        began = loop.time()
        for arrival, (first, second) in zip(ARRIVALS, LENGTHS, strict=True):
            await asyncio.sleep(began + arrival - loop.time())
            handles.append(await client.submit("two-steps", {"first": first, "second": second}))
        for handle in handles:
            await handle.result(timeout=60)

    (term,) = read_log(log)
    times = sorted(event.at for event in from_outside(term))
    gap = min(later - earlier for earlier, later in itertools.pairwise(times))
    if gap < APART:
        pytest.skip(f"two events came {gap:.3f} s apart, so their order is a matter of luck on this busy machine")

    world = Recorded(term)
    simulation = Simulation(SchedulerMachine(term.policy), world, world)
    arrivals = (ExecutorAttached, JobAdmitted)
    simulation.schedule(event for record in term.records for event in record.events if isinstance(event, arrivals))
    simulated = dispatches(entry.effect for entry in simulation.run())
    live = dispatches(effect for record in term.records for effect in record.effects)
    assert len(live) == 2 * len(LENGTHS)
    assert simulated == live

    assert replay(log) is None
