"""What the export learns of engines and executors."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from services.profiler.core.statistics import WorkModel
from services.scheduler.core.model import AttemptRef
from services.scheduler.export.fit import DEFAULT_SLOWDOWN, Call, fit
from services.scheduler.export.fleet import RecordedFleet, Shape
from tests.support import scheduling as make

WORK = WorkModel(prefill=0.0004, decode=0.02)


def calls(count: int = 300, *, slowdown: float = 0.1, noise: float = 0.0, batches: int = 8) -> Iterator[Call]:
    """Calls of an engine that works as the model says; each spends its time in batches of two sizes."""
    random = Random(7)
    for _ in range(count):
        prompt, output = random.randrange(10, 2000), random.randrange(5, 200)
        share, sizes = random.uniform(0.1, 0.9), sorted(random.sample(range(1, batches + 1), 2))
        work = WORK.work(prompt, output) * random.uniform(1 - noise, 1 + noise)
        parts = zip(sizes, (share, 1 - share), strict=True)
        yield Call(prompt, output, tuple((size, work * part * (1 + slowdown * (size - 1))) for size, part in parts))


@pytest.mark.parametrize("slowdown", [0.0, 0.1, 1.3])
def test_an_engine_that_works_as_the_model_says_is_recognised(slowdown: float) -> None:
    found = fit(list(calls(slowdown=slowdown)))
    assert found.work.prefill == pytest.approx(WORK.prefill, rel=1e-3)
    assert found.work.decode == pytest.approx(WORK.decode, rel=1e-3)
    assert found.batch_slowdown == pytest.approx(slowdown, abs=1e-4)
    assert found.r_squared == pytest.approx(1.0)
    assert found.median_error == pytest.approx(0.0, abs=1e-4)
    assert (found.calls, found.largest_batch) == (300, 8)


def test_noise_shows_in_how_well_it_fits() -> None:
    found = fit(list(calls(noise=0.3)))
    assert found.work.decode == pytest.approx(WORK.decode, rel=0.1)
    assert found.r_squared is not None
    assert 0.7 < found.r_squared < 0.99
    assert found.median_error == pytest.approx(0.15, abs=0.05)


def test_many_calls_are_thinned_out() -> None:
    assert fit(list(calls(1000)) * 25).calls <= 10_000


def test_without_calls_everything_is_the_default() -> None:
    found = fit([])
    assert (found.work, found.batch_slowdown, found.calls, found.r_squared) == (WorkModel(), DEFAULT_SLOWDOWN, 0, None)


def test_calls_that_were_always_alone_say_nothing_of_batches() -> None:
    found = fit([Call(100, output, ((1, output * 0.02),)) for output in (10, 20, 50)])
    assert found.batch_slowdown == DEFAULT_SLOWDOWN
    assert found.work.decode == pytest.approx(0.02)
    assert found.largest_batch == 1


def test_calls_that_are_all_alike_are_explained_by_their_outputs() -> None:
    found = fit([Call(100, 50, ((1, 2.0),))] * 3)
    assert found.work == WorkModel(prefill=0.0, decode=pytest.approx(0.04))
    assert found.r_squared is None


def test_calls_without_outputs_are_explained_by_their_prompts() -> None:
    found = fit([Call(100, 0, ((1, 2.0),)), Call(200, 0, ((1, 4.0),))])
    assert found.work == WorkModel(prefill=pytest.approx(0.02), decode=0.0)


def test_no_price_is_negative() -> None:
    # Long prompts that were fast: the cache of an engine.
    found = fit([Call(1000, 10, ((1, 0.2),)), Call(10, 20, ((1, 0.5),)), Call(2000, 30, ((1, 0.6),))])
    assert found.work.prefill == 0.0
    assert found.work.decode > 0


# ---- executors -----------------------------------------------------------------------------------------------------


def ref(number: int) -> AttemptRef:
    return make.ref(f"job-{number}", "a")


def test_an_attempt_is_told_how_long_it_shared_its_engine_with_how_many() -> None:
    fleet = RecordedFleet()
    fleet.attach(make.attached("llm-0", slots=8, at=0.0))
    fleet.attach(make.attached("llm-1", slots=8, at=0.0))
    fleet.start(ref(1), "llm-0", 1.0)
    fleet.start(ref(2), "llm-0", 3.0)
    fleet.start(ref(3), "llm-1", 3.0)
    first = fleet.end(ref(1), 7.0)
    second = fleet.end(ref(2), 8.0)
    assert first is not None
    assert second is not None
    assert (first.started_at, first.ended_at, first.batches) == (1.0, 7.0, {1: 2.0, 2: 4.0})
    assert second.batches == {2: 4.0, 1: 1.0}
    assert fleet.busy == {"job-1": 6.0, "job-2": 5.0}
    assert fleet.end(ref(1), 9.0) is None


def test_a_lost_or_restarted_executor_gives_up_its_attempts() -> None:
    fleet = RecordedFleet()
    fleet.attach(make.attached("llm-0", at=0.0))
    fleet.start(ref(1), "llm-0", 0.0)
    fleet.start(ref(2), "llm-0", 0.0)
    fleet.attach(make.attached("llm-0", running=[ref(2)], at=2.0))  # it has come back, without the first one
    assert fleet.busy == {"job-1": 2.0}
    fleet.attach(make.attached("llm-0", incarnation="second", at=3.0))
    fleet.start(ref(3), "llm-0", 4.0)
    fleet.lost("llm-0", 6.0)
    assert fleet.busy == {"job-1": 2.0, "job-2": 3.0, "job-3": 2.0}


def test_an_attempt_of_an_earlier_leader_counts_in_the_batch_and_has_no_start() -> None:
    fleet = RecordedFleet()
    fleet.attach(make.attached("llm-0", running=[ref(1)], at=5.0))
    fleet.start(ref(2), "llm-0", 5.0)
    older, newer = fleet.end(ref(1), 6.0), fleet.end(ref(2), 6.0)
    assert older is not None
    assert newer is not None
    assert (older.started_at, newer.batches) == (None, {2: 1.0})


def test_the_shape_is_the_one_that_held_longest() -> None:
    fleet = RecordedFleet()
    assert fleet.shape_between(0.0, 1.0) == (Shape(), 0)
    fleet.attach(make.attached("llm-0", slots=4, at=10.0))
    fleet.attach(make.attached("tool-0", "tool:any", slots=3, at=10.0))
    fleet.attach(make.attached("llm-1", slots=2, at=20.0))
    fleet.hinder("llm-1", "unhealthy", 90.0)
    fleet.hinder("nobody", "detached", 95.0)
    assert fleet.shape_between(10.0, 100.0) == (Shape((2, 4), 3), 2)
    assert fleet.shape_between(10.0, 25.0) == (Shape((4,), 3), 2)
    assert fleet.shape_between(30.0, 40.0) == (Shape((2, 4), 3), 1)


def test_an_executor_takes_work_when_nothing_hinders_it() -> None:
    fleet = RecordedFleet()
    fleet.attach(make.attached("llm-0", slots=4, at=0.0))
    fleet.hinder("llm-0", "unhealthy", 1.0)
    fleet.hinder("llm-0", "detached", 2.0)
    fleet.attach(make.attached("llm-0", slots=4, at=3.0))  # back, and as unhealthy as before
    assert fleet.shape_between(1.0, 10.0) == (Shape(), 0)
    fleet.hinder("llm-0", "unhealthy", 4.0, over=True)
    assert fleet.shape_between(1.0, 10.0) == (Shape((4,)), 1)


def test_a_new_leader_knows_no_executors() -> None:
    fleet = RecordedFleet()
    fleet.attach(make.attached("llm-0", at=0.0))
    fleet.start(ref(1), "llm-0", 0.0)
    fleet.begin_term()
    assert fleet.end(ref(1), 1.0) is None
