"""validate() must notice when something is wrong; else all tests that rely on it prove nothing."""

from __future__ import annotations

import pytest

from services.scheduler.core.executors import Executor
from services.scheduler.core.invariants import InvariantViolated, validate
from services.scheduler.core.jobs import Job, Stage
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import JobState, StageState, TaskState
from tests.support.scheduling import FLAKY, Bench, admitted, attached, cancel, dynamic, failed, job, llm, ref, unfolded


class Parts:
    """A machine in the middle of things, taken apart."""

    def __init__(self) -> None:
        bench = Bench()
        bench.feed(attached("e1", slots=2), attached("e2", "other"))
        bench.start(job("j", llm("a"), dynamic("p"), llm("z", "a", "p")), tasks=4)
        bench.feed(unfolded("j", "p", stages=[llm("p/1")]), failed(ref("j", "a", 0), FLAKY))
        bench.start(job("k", llm("a"), order=1))
        self.machine: SchedulerMachine = bench.machine
        self.life = bench.machine._lifecycle
        self.fleet = bench.machine._fleet
        self.job: Job = self.life.jobs["j"]
        self.a: Stage = self.job.stages["a"]
        self.z: Stage = self.job.stages["z"]
        self.p: Stage = self.job.stages["p"]
        self.e1: Executor = self.fleet.executors["e1"]
        self.e2: Executor = self.fleet.executors["e2"]


def hang(parts: Parts) -> None:
    other = Bench()
    other.feed(admitted(job("h", llm("a"), llm("b", "a"))))
    hanging = other.machine._lifecycle.jobs["h"]
    hanging.stages["a"].state = StageState.WAITING
    parts.life.jobs["h"] = hanging


def stop_for_no_reason(parts: Parts) -> None:
    parts.machine.handle(cancel("j"))
    parts.job.failure = None


def go_on_though_stopping(parts: Parts) -> None:
    parts.machine.handle(cancel("j"))
    parts.z.state = StageState.WAITING


def count_wrong(parts: Parts, name: str) -> None:
    setattr(parts.a, name, getattr(parts.a, name) + 1)


def free_a_slot(parts: Parts) -> None:
    parts.e1.slots += 1
    parts.fleet.file(parts.e1)


def steal_slot(parts: Parts) -> None:
    for held in list(parts.e1.running):
        parts.fleet.release(held)
    parts.e1.slots = 0
    parts.fleet.file(parts.e1)


def wake_nobody(parts: Parts) -> None:
    parts.life.alarms.discard(parts.a.tasks[0])


def alarm_of_a_ghost(parts: Parts) -> None:
    parts.life.alarms.put(object(), (1.0, "ghost", "a", 0))


def misplace(parts: Parts) -> None:
    parts.life.queue.lines["llm"].by_key.put(parts.a, ((-1.0,), "j", "a"))


def forget_queued(parts: Parts) -> None:
    parts.life.queue.lines["llm"].by_key.discard(parts.a)


def wait_for_nothing(parts: Parts) -> None:
    parts.z.state, parts.z.blockers = StageState.EXPANDED, 0


def deaf(parts: Parts) -> None:
    parts.a.dependents.clear()


BREAKAGES = {
    "counts its running tasks wrongly": [
        lambda parts: setattr(parts.job.view, "running_tasks", 7),
        lambda parts: count_wrong(parts, "running"),
    ],
    "counts its stages wrongly": [lambda parts: setattr(parts.job, "unfinished", 9)],
    "lost track of its ready stages": [lambda parts: parts.job.queued.clear()],
    "hangs": [hang],
    "is SUCCEEDED and active": [lambda parts: setattr(parts.job, "state", JobState.SUCCEEDED)],
    "stops for no reason": [stop_for_no_reason],
    "goes on in a job that stops": [go_on_though_stopping],
    "counts its blockers wrongly": [lambda parts: count_wrong(parts, "blockers")],
    "will not hear of 'a'": [deaf],
    "counts its unfinished tasks wrongly": [lambda parts: count_wrong(parts, "unfinished")],
    "shows itself wrongly": [lambda parts: setattr(parts.a, "view", None)],
    "goes on with a failed task": [lambda parts: setattr(parts.a.tasks[0], "state", TaskState.FAILED)],
    "is EXPANDED and has tasks to run": [lambda parts: setattr(parts.a, "state", StageState.EXPANDED)],
    "is SKIPPED and runs": [
        lambda parts: (
            parts.life.queue.discard(parts.a),
            parts.a.ready.clear(),
            setattr(parts.a, "state", StageState.SKIPPED),
            setattr(parts.job, "unfinished", parts.job.unfinished - 1),
        )
    ],
    "waits for nothing": [wait_for_nothing],
    "lost track of its ready tasks": [lambda parts: parts.a.ready.append(99)],
    "will not be woken": [wake_nobody],
    "an alarm is set for a job that has ended": [alarm_of_a_ghost],
    "has no slot": [steal_slot],
    "the queue holds other stages": [forget_queued],
    "stands in the wrong place": [misplace, lambda parts: setattr(parts.e2, "entry", (5, 2, parts.e2))],
    "does not know of": [lambda parts: parts.e2.running.setdefault(ref("j", "a", 1))],
    "is in a pool, or not, wrongly": [lambda parts: setattr(parts.e2, "healthy", False)],
    "a slot is free": [free_a_slot],
    "effects were kept back": [lambda parts: parts.life.effects.append(None)],
}


def test_a_machine_in_order_is_valid():
    validate(Parts().machine)


@pytest.mark.parametrize(
    ("words", "number"), [(words, n) for words, all_of in BREAKAGES.items() for n in range(len(all_of))]
)
def test_every_breakage_is_noticed(words, number):
    parts = Parts()
    BREAKAGES[words][number](parts)
    with pytest.raises(InvariantViolated, match=words):
        validate(parts.machine)
