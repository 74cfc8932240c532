"""Executors come, break off, come back, restart, drain and die; the machine knows whom to give work."""

from __future__ import annotations

import pytest

from services.scheduler.core.effects import CancelAttempt, Effect
from services.scheduler.core.model import TaskState
from services.scheduler.core.views import Counts
from tests.support.scheduling import (
    Bench,
    attached,
    detached,
    dispatched,
    draining,
    health,
    job,
    llm,
    lost,
    of,
    ref,
    succeeded,
    tool,
)


def waiting(tasks: int = 1) -> Bench:
    """A job whose only stage waits for executors."""
    bench = Bench()
    bench.start(job("j", llm("a")), tasks=tasks)
    return bench


def places(effects: list[Effect]) -> list[str]:
    return [executor_id for *_, executor_id in dispatched(effects)]


def test_work_waits_for_an_executor_that_offers_what_it_needs():
    bench = Bench()
    bench.start(job("j", llm("a", requirement="llm:large"), tool("b", requirement="tool:search")))
    assert bench.feed(attached("e1", "llm", "llm:small"), attached("t1", "tool:run")) == []
    assert places(bench.feed(attached("e2", "llm", "llm:large"))) == ["e2"]
    assert places(bench.feed(attached("t2", "tool:run", "tool:search"))) == ["t2"]


def test_each_task_goes_to_the_executor_that_runs_least():
    bench = Bench()
    for name, slots in (("e1", 2), ("e2", 4), ("e3", 3)):
        bench.feed(attached(name, slots=slots))
    # In turn, in the order of attachment, until the smaller ones are full.
    effects = bench.start(job("j", llm("a")), tasks=9)
    assert places(effects) == ["e1", "e2", "e3", "e1", "e2", "e3", "e2", "e3", "e2"]
    bench.start(job("k", llm("b"), order=1), tasks=2)
    # e2 ends two: it runs as many as e1 then, but e1 has no slot.
    bench.feed(succeeded(ref("j", "a", 1)))
    assert bench.machine.counts().free_slots == 0


def test_executors_with_different_offers_are_compared_too():
    bench = Bench()
    bench.feed(attached("e1", "llm", "llm:small", slots=2), attached("e2", "llm", "llm:large", slots=2))
    assert places(bench.start(job("j", llm("a")), tasks=4)) == ["e1", "e2", "e1", "e2"]


def test_an_executor_that_broke_off_gets_nothing_new_and_keeps_what_it_runs():
    bench = waiting(tasks=2)
    bench.feed(attached("e1", slots=1), detached("e1"))
    assert bench.feed(attached("e2", slots=0)) == []
    # Its result counts all the same, and its slot is no use while it is away.
    assert places(bench.feed(succeeded(ref("j", "a", 0)))) == []
    assert places(bench.feed(attached("e1"))) == ["e1"]


def test_an_executor_that_comes_back_goes_on_with_what_it_runs():
    bench = waiting()
    bench.feed(attached("e1"), detached("e1"))
    assert bench.feed(attached("e1", running=[ref("j", "a")])) == []
    assert bench.machine.task_snapshot("j", "a", 0).state is TaskState.RUNNING


@pytest.mark.parametrize("incarnation", ["first", "second"])
def test_what_an_executor_no_longer_runs_is_lost(incarnation):
    bench = waiting(tasks=2)
    bench.feed(attached("e1", slots=2))
    effects = bench.feed(attached("e1", slots=2, incarnation=incarnation, running=[ref("j", "a", 1)]))
    assert dispatched(effects) == [("j", "a", 0, 2, "e1")]
    assert bench.machine.task_snapshot("j", "a", 1).attempt == 1


def test_an_attempt_is_left_alone_where_it_is_believed_to_run():
    bench = waiting()
    bench.feed(attached("e1"))
    # Attempts are known by name only: to cancel this claim would be to lose the attempt on e1.
    assert bench.feed(attached("e2", running=[ref("j", "a")])) == []
    assert bench.machine.executors()[0].running == (ref("j", "a"),)
    assert bench.machine.executors()[1].running == ()


def test_an_executor_may_come_back_with_other_slots_and_offers():
    bench = waiting(tasks=3)
    bench.feed(attached("e1", slots=2))
    assert places(bench.feed(attached("e1", slots=3, running=[ref("j", "a", 0), ref("j", "a", 1)]))) == ["e1"]
    bench.feed(attached("e1", "llm:other", slots=1, running=[ref("j", "a", index) for index in range(3)]))
    executor = bench.machine.executors()[0]
    assert (executor.slots, len(executor.running), executor.free_slots) == (1, 3, 0)
    bench.feed(*(succeeded(ref("j", "a", index)) for index in range(3)))
    assert bench.start(job("k", llm("b"))) != []
    assert bench.machine.counts().running_attempts == 0


def test_the_end_of_an_old_stream_says_nothing_of_the_new_one():
    bench = waiting()
    bench.feed(attached("e1", slots=0), attached("e1", slots=0, incarnation="second"))
    assert bench.feed(detached("e1", incarnation="first")) == []
    assert bench.machine.executors()[0].attached
    bench.feed(detached("e1", incarnation="second"))
    assert not bench.machine.executors()[0].attached


@pytest.mark.parametrize(
    "event",
    [detached("ghost"), lost("ghost"), draining("ghost"), health("ghost", False), detached("e1", incarnation="?")],
)
def test_news_of_an_executor_that_is_unknown_changes_nothing(event):
    bench = waiting()
    bench.feed(attached("e1"))
    before = bench.machine.executors()
    assert bench.feed(event) == []
    assert bench.machine.executors() == before


def test_an_executor_that_drains_finishes_and_takes_nothing_new():
    bench = waiting(tasks=3)
    bench.feed(attached("e1", slots=1), draining("e1"))
    assert bench.feed(succeeded(ref("j", "a", 0)))[-1] != []
    assert bench.machine.counts().running_attempts == 0
    # It still drains when it merely broke off and came back; a restart is a new beginning.
    bench.feed(detached("e1"), attached("e1"))
    assert bench.machine.counts().free_slots == 0
    assert places(bench.feed(attached("e1", incarnation="second"))) == ["e1"]


def test_an_idle_executor_that_drains_takes_nothing_new_either():
    bench = Bench()
    bench.feed(attached("e1"), draining("e1"))
    assert places(bench.start(job("j", llm("a")))) == []


def test_an_unhealthy_executor_is_given_nothing_until_it_is_healthy():
    bench = Bench()
    bench.feed(attached("e1"), health("e1", False))
    assert places(bench.start(job("j", llm("a")))) == []
    bench.feed(detached("e1"), attached("e1"))
    assert bench.machine.counts().free_slots == 0
    assert places(bench.feed(health("e1", True))) == ["e1"]


def test_losing_an_executor_loses_all_its_attempts():
    bench = waiting(tasks=2)
    bench.feed(attached("e1", slots=2), attached("e2", slots=1))
    # e2 has a slot for one of the two.
    assert dispatched(bench.feed(lost("e1"))) == [("j", "a", 0, 2, "e2")]
    assert [str(task.state) for task in bench.machine.stage_snapshot("j", "a").tasks] == ["RUNNING", "READY"]
    assert [one.executor_id for one in bench.machine.executors()] == ["e2"]


def test_a_job_that_fails_with_its_executor_does_not_stop_the_others():
    bench = Bench()
    bench.feed(attached("e1", slots=3))
    bench.start(job("j", llm("a", max_attempts=1)), tasks=2)
    bench.start(job("k", llm("b"), order=1))
    effects = bench.feed(lost("e1"), attached("e2"))
    assert of(CancelAttempt, effects) == [CancelAttempt(cause="test", attempt=ref("j", "a", 1), executor_id="e1")]
    assert dispatched(effects) == [("k", "b", 0, 2, "e2")]
    assert bench.machine.job_ids() == ["k"]


def test_totals():
    bench = Bench()
    bench.feed(attached("e1", slots=3), attached("e2", slots=2), attached("t1", "tool:any"))
    bench.feed(detached("e2"), health("t1", False))
    bench.start(job("j", llm("a"), tool("b"), tool("c")), tasks=2)
    assert bench.machine.counts() == Counts(
        active_jobs=1,
        waiting_stages=2,
        waiting_tasks=4,
        running_attempts=2,
        executors=2,
        slots=4,
        free_slots=1,
    )
