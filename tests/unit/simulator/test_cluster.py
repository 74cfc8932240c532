"""The engine model, by examples worked out by hand."""

from __future__ import annotations

import math

import pytest

from services.scheduler.core.effects import Dispatch
from services.scheduler.core.events import AttemptFailed, AttemptSucceeded
from services.scheduler.core.model import Failure, Measurement
from simulator.cluster import Cluster, ClusterShape, Load
from tests.support.scheduling import FLAKY, ref


def dispatch(name: str, executor_id: str = "llm-0") -> Dispatch:
    return Dispatch(
        cause="test",
        attempt=ref("j", name),
        executor_id=executor_id,
        priority=-1,
        timeout_seconds=None,
        number=1,
        policy="fcfs",
        key=(),
        rule="policy",
        waited_seconds=0.0,
        waiting_stages=1,
    )


class Bench:
    """A cluster whose attempts have the work that they are started with."""

    def __init__(self, **shape: object) -> None:
        self.works: dict[str, float | Load] = {}
        self.cluster = Cluster(ClusterShape(**shape), self._load)

    def _load(self, of: Dispatch) -> Load:
        work = self.works[of.attempt.stage_id]
        return work if isinstance(work, Load) else Load(work, Measurement(prompt_tokens=7, output_tokens=3))

    def start(self, at: float, executor_id: str = "llm-0", **works: float | Load) -> None:
        self.works |= works
        for name in works:
            self.cluster.start(dispatch(name, executor_id), at)

    def ends(self) -> list[tuple[float, str]]:
        """Lets everything end. Returns when each stage's attempt did, in that order."""
        found = []
        while (at := self.cluster.next_end()) < math.inf:
            ended = self.cluster.ended(at)
            assert ended, "the cluster said that something would end"
            found += [(at, one.attempt.stage_id) for one in ended]
        return found


# s(2) = 1.5: "a" needs 1.5 s for its one; by then "b" has one left, which it does alone.
def test_tasks_of_an_engine_share_its_speed():
    bench = Bench(batch_slowdown=0.5)
    bench.start(0.0, a=1.0, b=2.0)
    assert bench.ends() == [(1.5, "a"), (2.5, "b")]
    assert bench.cluster.llm_seconds == 1.5 + 2.5


# Alone until 1, "a" has 1 left; at s(2) = 2 that takes until 3, when "b" has 2 of its 3 left.
def test_a_task_that_joins_slows_the_others_from_then_on():
    bench = Bench(batch_slowdown=1.0)
    bench.start(0.0, a=2.0)
    bench.start(1.0, b=3.0)
    assert bench.ends() == [(3.0, "a"), (5.0, "b")]


def test_other_engines_do_not_matter():
    bench = Bench(batch_slowdown=1.0)
    bench.start(0.0, "llm-0", a=1.0)
    bench.start(0.0, "llm-1", b=1.0)
    assert bench.ends() == [(1.0, "a"), (1.0, "b")]


# s(3) = 4, as the table ends at s(2): all end at 4.
def test_a_table_replaces_beta_and_its_last_value_holds_for_larger_batches():
    bench = Bench(batch_slowdown=9.0, slowdowns=(1.0, 4.0))
    bench.start(0.0, a=1.0, b=1.0, c=1.0)
    assert [at for at, _ in bench.ends()] == [4.0, 4.0, 4.0]


def test_tools_take_their_own_seconds_whatever_runs_beside_them():
    bench = Bench(tool_slots=3)
    bench.start(0.0, "tools", a=1.0, b=2.0, c=0.5)
    assert bench.ends() == [(0.5, "c"), (1.0, "a"), (2.0, "b")]
    assert (bench.cluster.tool_seconds, bench.cluster.llm_seconds) == (3.5, 0.0)


# At 1, each has 0.5 left of 1. Without "a", "b" is alone and ends at 1.5.
def test_a_stopped_attempt_never_ends_and_the_others_speed_up():
    bench = Bench(batch_slowdown=1.0)
    bench.start(0.0, a=1.0, b=1.0)
    bench.cluster.stop(ref("j", "a"), 1.0)
    assert bench.ends() == [(1.5, "b")]
    assert bench.cluster.llm_seconds == 1.0 + 1.5, "what was stopped was busy too"


def test_stopping_the_only_attempt_leaves_nothing_to_wait_for():
    bench = Bench()
    bench.start(0.0, "tools", a=1.0)
    bench.cluster.stop(ref("j", "a"), 0.25)
    assert bench.ends() == []
    assert bench.cluster.tool_seconds == 0.25


@pytest.mark.parametrize("executor_id", ["llm-0", "tools"])
def test_an_instant_of_work_is_none(executor_id):
    bench = Bench()
    bench.start(5.0, executor_id, nothing=0.0, little=1e-9)
    assert bench.ends() == [(5.0, "nothing"), (5.0, "little")]


@pytest.mark.parametrize("executor_id", ["llm-0", "tools"])
def test_ends_within_an_instant_are_one(executor_id):
    bench = Bench(batch_slowdown=0.0)
    bench.start(0.0, executor_id, a=1.0, b=1.0 + 5e-10, c=1.0 + 2e-9)
    first, second, third = bench.ends()
    assert (first, second) == ((1.0, "a"), (1.0, "b"))
    assert third == (pytest.approx(1.0 + 2e-9, abs=1e-12), "c")


# At 1, when the tool ends, the two of the engine have 0.9e-9 left each: by themselves they would end at 1 + 1.8e-9.
def test_what_has_an_instant_of_work_left_ends_with_whatever_ends_now():
    bench = Bench(batch_slowdown=1.0)
    bench.start(0.0, "tools", tool=1.0)
    bench.start(0.0, a=0.5 + 0.9e-9, b=0.5 + 0.9e-9)
    assert bench.ends() == [(1.0, "tool"), (1.0, "a"), (1.0, "b")]


def test_an_engine_that_never_idles_keeps_its_precision():
    """A task of a million seconds, and beside it one of 1 s every 1000 s."""
    bench = Bench(batch_slowdown=0.1)
    bench.start(0.0, long=1e6)
    for start in range(0, 1_000_000, 1000):
        bench.start(float(start), **{f"{start}": 1.0})
        at = bench.cluster.next_end()
        assert at == pytest.approx(start + 1.1, abs=1e-9)
        assert [one.attempt.stage_id for one in bench.cluster.ended(at)] == [f"{start}"]
    # For a thousand times 1.1 s it did 1 s of work.
    assert bench.ends() == [(pytest.approx(1e6 + 100.0, rel=1e-12), "long")]


def test_late_in_a_long_run_little_work_still_ends():
    """At 1e9 s, adding 1e-8 s changes nothing."""
    bench = Bench()
    bench.start(1e9, a=1e-8)
    assert bench.ends() == [(1e9, "a")]


def test_an_end_says_what_the_attempt_has_shown():
    bench = Bench(batch_slowdown=1.0)
    bench.start(0.0, good=1.0, bad=Load(0.5, FLAKY))
    failed, succeeded = [one for at in (1.0, 1.5) for one in bench.cluster.ended(at)]
    assert failed == AttemptFailed(at=1.0, cause="dispatch 1", attempt=ref("j", "bad"), failure=FLAKY)
    shown = Measurement(prompt_tokens=7, output_tokens=3, total_seconds=1.5)
    assert succeeded == AttemptSucceeded(at=1.5, cause="dispatch 1", attempt=ref("j", "good"), measurement=shown)
    assert isinstance(failed.failure, Failure)


def test_executors_attach_in_the_order_of_their_indices():
    attached = Cluster(
        ClusterShape(llm_executors=11, max_batch=3, tool_slots=5), lambda of: Load(0.0, FLAKY)
    ).executors()
    assert [(one.executor_id, one.slots, set(one.offers)) for one in attached[:2]] == [
        ("llm-0", 3, {"llm"}),
        ("llm-1", 3, {"llm"}),
    ]
    assert [one.executor_id for one in attached[9:]] == ["llm-9", "llm-10", "tools"]
    assert (attached[-1].slots, set(attached[-1].offers)) == (5, {"tool"})


def test_without_tool_slots_there_is_no_tool_executor():
    bench = Bench(tool_slots=0)
    assert {one.kind for one in bench.cluster.executors()} == {"llm"}
    assert bench.cluster.tool_seconds == 0.0


def test_a_senseless_shape_is_refused_with_all_that_is_wrong():
    with pytest.raises(ValueError, match="needed") as caught:
        ClusterShape(llm_executors=-1, max_batch=0, tool_slots=-2, batch_slowdown=math.nan, slowdowns=(1.0, 0.0))
    assert str(caught.value).split("; ") == [
        "llm_executors is -1, at least 0 is needed",
        "max_batch is 0, at least 1 is needed",
        "tool_slots is -2, at least 0 is needed",
        "batch_slowdown is nan, a number from 0 up is needed",
        "slowdowns: s(2) is 0.0, a number from 1 up is needed",
    ]
