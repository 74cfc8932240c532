"""Where tasks go: by load, or by the speed of engines where a policy minds it and it is known."""

from __future__ import annotations

import math

import pytest

from services.profiler.core.statistics import WorkModel
from services.scheduler.core.effects import Dispatch
from services.scheduler.core.events import ProfileChanged
from tests.support import scheduling as make

FAST, SLOW = (0.01, 0.011, 0.012, 0.013), (0.03, 0.04, 0.05, 0.06)


def placed(bench: make.Bench, tasks: int) -> list[str]:
    bench.feed(make.admitted(make.job("j", make.llm("a"))))
    effects = bench.feed(make.unfolded("j", "a", tasks=tasks))
    return [dispatch.executor_id for dispatch in make.of(Dispatch, effects)]


def cluster(policy: str, *calibrations: object, **settings: object) -> make.Bench:
    bench = make.Bench(policy, **settings)
    bench.feed(make.attached("slow", slots=4), make.attached("fast", slots=4))
    bench.feed(*calibrations)
    return bench


def test_a_policy_that_minds_speed_fills_the_fast_engine_first() -> None:
    bench = cluster("gittins", make.calibrated("slow", *SLOW), make.calibrated("fast", *FAST))
    assert placed(bench, 6) == ["fast"] * 4 + ["slow"] * 2


def test_equal_engines_share_the_load() -> None:
    bench = cluster("gittins", make.calibrated("slow", *FAST), make.calibrated("fast", *FAST))
    assert placed(bench, 4) == ["slow", "fast", "slow", "fast"]


@pytest.mark.parametrize(("policy", "settings"), [("fcfs", {}), ("gittins", {"without": ("placement",)})])
def test_others_go_by_load(policy: str, settings: dict[str, object]) -> None:
    bench = cluster(policy, make.calibrated("slow", *SLOW), make.calibrated("fast", *FAST), **settings)
    assert placed(bench, 4) == ["slow", "fast", "slow", "fast"]
    bench.feed(make.policy_changed(name="gittins"))
    assert placed_more(bench) == ["fast"] * 2


def placed_more(bench: make.Bench) -> list[str]:
    bench.feed(make.admitted(make.job("k", make.llm("a"))))
    return [one.executor_id for one in make.of(Dispatch, bench.feed(make.unfolded("k", "a", tasks=2)))]


def test_seconds_are_not_held_against_load() -> None:
    # Of one of the two nothing is known.
    bench = cluster("gittins", make.calibrated("fast", *FAST))
    assert placed(bench, 4) == ["slow", "fast", "slow", "fast"]


def test_a_calibration_may_come_before_its_executor() -> None:
    bench = make.Bench("gittins")
    bench.feed(make.calibrated("slow", *SLOW), make.calibrated("fast", *FAST))
    assert bench.machine.knowledge.slowdown == math.inf
    bench.feed(make.attached("slow", slots=4), make.attached("fast", slots=4))
    assert placed(bench, 2) == ["fast"] * 2


def test_beliefs_go_by_the_mean_cost_of_tokens_and_the_worst_batch() -> None:
    bench = make.Bench("gittins")
    bench.feed(ProfileChanged(at=0.0, cause="test", profile=make.profile_changed(make.jobs_of("app", 3)).profile))
    bench.feed(make.attached("slow", slots=1), make.attached("fast", slots=3))
    bench.feed(make.calibrated("slow", *SLOW, prefill=4e-4), make.calibrated("fast", *FAST, prefill=0.0))
    knowledge = bench.machine.knowledge
    assert knowledge.beliefs.work == WorkModel(prefill=1e-4, decode=pytest.approx(0.015))
    assert knowledge.slowdown == pytest.approx(1.2)
    assert set(knowledge.beliefs.profiles) == {"app"}
