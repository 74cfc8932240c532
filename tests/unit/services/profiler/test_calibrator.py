"""The calibrator on engines whose true speed is known, and on vLLM's recorded steps."""

from __future__ import annotations

import csv
import json
import math
import random
from collections import defaultdict
from pathlib import Path
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler.core.calibration import Calibration, DecodeSteps, Prefills, Report
from services.profiler.core.calibrator import Calibrator
from services.profiler.core.statistics import WorkModel


def decode(batch: int, *seconds: float) -> Report:
    squares = math.fsum(each * each for each in seconds)
    return Report(decode=(DecodeSteps(batch, len(seconds), math.fsum(seconds), squares),))


def prompts(*pairs: tuple[int, float], batch: int = 1) -> Report:
    """Prompts of so many tokens that took so long."""
    tokens, seconds = zip(*pairs, strict=True)
    return Report(
        prefill=(
            Prefills(
                batch,
                len(pairs),
                sum(tokens),
                sum(seconds),
                sum(t * t for t in tokens),
                sum(t * s for t, s in pairs),
                sum(s * s for s in seconds),
            ),
        )
    )


def measured(engine: Calibration, sizes: list[int], steps: int, noise: float, seed: int) -> Calibrator:
    """A calibrator that saw `steps` steps of each size in a random order, ten a report, a few of them hiccups."""
    rng = random.Random(seed)
    calibrator = Calibrator()
    order = sizes * (steps // 10)
    rng.shuffle(order)
    for batch in order:
        one = [engine.step(batch) * rng.lognormvariate(0.0, noise) for _ in range(10)]
        if rng.random() < 0.02:
            one[0] *= 20.0
        calibrator.observe(decode(batch, *one))
    return calibrator


class TestDecode:
    def test_nothing_seen_is_the_default(self):
        assert Calibrator().calibration(4) == Calibration.default(4)

    @given(
        alone=st.floats(1e-4, 1.0), slowdown=st.floats(0.0, 0.6), noise=st.floats(0.0, 0.15), seed=st.integers(0, 999)
    )
    def test_a_line_is_found_through_noise_and_hiccups(self, alone, slowdown, noise, seed):
        engine = Calibration.default(16, WorkModel(decode=alone), slowdown)
        found = measured(engine, [1, 2, 5, 8, 16], 200, noise, seed).calibration(16)
        errors = [found.step(batch) / engine.step(batch) - 1.0 for batch in range(1, 17)]
        assert max(map(abs, errors)) < 0.12
        assert math.fsum(map(abs, errors)) / 16 < 0.06

    def test_a_curve_with_a_jump_is_found_where_it_was_measured(self):
        steps = tuple(0.01 + 0.0002 * batch + (0.01 if batch > 8 else 0.0) for batch in range(1, 17))
        engine = Calibration(prefill=0.0, steps=steps, weights=(0.0,) * 16)
        found = measured(engine, list(range(1, 17)), 300, 0.05, 1).calibration(16)
        assert found.steps == pytest.approx(engine.steps, rel=0.06)

    def test_one_size_alone_goes_by_the_default_slope(self):
        found = Calibrator()
        found.observe(decode(4, *[0.115] * 500))
        assert found.calibration(8).slowdowns == pytest.approx(Calibration.default(8).slowdowns, rel=0.01)
        assert found.calibration(8).step(4) == pytest.approx(0.115, rel=0.01)
        assert found.calibration(8).weights == (0, 0, 0, 500.0, 0, 0, 0, 0)

    def test_batches_that_look_faster_than_a_request_alone_are_noise(self):
        found = Calibrator()
        found.observe(decode(1, *[0.02] * 100))
        found.observe(decode(8, *[0.01] * 100))
        assert found.calibration().steps[0] == found.calibration().steps[-1]

    def test_no_line_is_steeper_than_one_request_after_the_other(self):
        found = Calibrator()
        found.observe(decode(1, 0.01))
        found.observe(decode(2, *[0.5] * 500))
        assert 0.0 < found.calibration().step(1) < found.calibration().step(2)

    def test_sizes_past_those_asked_for_are_in_the_table(self):
        found = Calibrator()
        found.observe(decode(12, 0.02))
        assert len(found.calibration(4).steps) == 12

    def test_an_engine_that_changed_is_followed_and_sizes_not_seen_move_along(self):
        engine = Calibration.default(8, slowdown=0.2)
        found = measured(engine, [1, 4, 8], 600, 0.05, 3)
        for _ in range(300):
            found.observe(decode(8, *[2.0 * engine.step(8)] * 10))
        after = found.calibration(8)
        assert after.step(8) == pytest.approx(2.0 * engine.step(8), rel=0.03)
        assert after.slowdowns == pytest.approx(engine.slowdowns, rel=0.1)

    def test_a_hiccup_moves_little(self):
        engine = Calibration.default(4)
        found = measured(engine, [1, 2, 4], 500, 0.02, 4)
        before = found.calibration(4)
        found.observe(decode(4, *[engine.step(4)] * 99, 30.0))
        assert found.calibration(4).step(4) < 1.06 * before.step(4)

    def test_more_steps_at_once_than_are_remembered(self):
        found = Calibrator(memory=10.0)
        found.observe(decode(1, *[0.01] * 50))
        found.observe(decode(1, *[0.005] * 50_000))
        assert found.calibration().weights[0] == 10.0
        assert found.calibration().step(1) == pytest.approx(0.005, rel=0.01)


class TestPrefill:
    ALONE = decode(1, *[0.01] * 100)
    FULL = decode(8, *[0.02] * 100)

    def test_a_price_in_proportion_until_prompts_were_seen(self):
        found = Calibrator()
        found.observe(self.ALONE)
        assert found.calibration().prefill == pytest.approx(0.000161 * 0.01 / 0.0155, rel=0.01)

    def test_prompts_without_steps_say_nothing_yet(self):
        found = Calibrator()
        found.observe(prompts((100, 0.1)))
        assert found.calibration(2) == Calibration.default(2)

    @pytest.mark.parametrize("slower", [1.0, 2.0])
    def test_the_price_alone_is_found_whether_or_not_a_batch_slows_prompts_down(self, slower):
        found = Calibrator()
        found.observe(self.ALONE)
        found.observe(self.FULL)
        found.observe(prompts(*[(tokens, 0.01 + 0.0004 * tokens) for tokens in (50, 200, 800)] * 5))
        slow = [(tokens, slower * (0.01 + 0.0004 * tokens)) for tokens in (50, 200, 800)] * 5
        found.observe(prompts(*slow, batch=8))
        calibration = found.calibration()
        assert calibration.prefill == pytest.approx(0.0004, rel=0.03)
        assert calibration.prompts == pytest.approx(30.0, rel=0.1)

    def test_a_hiccup_moves_little_and_a_longer_prompt_is_none(self):
        found = Calibrator()
        found.observe(self.ALONE)
        found.observe(prompts(*[(100, 0.05)] * 30))
        found.observe(prompts((1000, 0.41)))
        assert found.calibration().prefill == pytest.approx(0.0004, rel=0.02)
        found.observe(prompts((100, 50.0)))
        assert found.calibration().prefill == pytest.approx(0.0004, rel=0.05)

    def test_a_price_below_nothing_is_nothing(self):
        found = Calibrator()
        found.observe(self.ALONE)
        found.observe(prompts(*[(100, 0.5), (1000, 0.05)] * 20))
        assert found.calibration().prefill == 0.0


NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, 1e-300, 1e-18, 1.0, 1e18, math.inf, math.nan]))


class TestAnything:
    def test_a_calibrator_without_memory_is_refused(self):
        with pytest.raises(ValueError, match="at least one step"):
            Calibrator(memory=0.0)

    @given(
        st.lists(st.tuples(st.integers(-1, 5000), NUMBERS, NUMBERS, NUMBERS), max_size=8),
        st.lists(st.tuples(st.integers(-1, 9), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=5),
    )
    def test_whatever_is_reported_gives_a_calibration(self, steps, prefills):
        """Calibration refuses what is not finite, positive and rising."""
        found = Calibrator()
        for each in steps:
            found.observe(Report(decode=(DecodeSteps(*each),)))
        found.observe(Report(prefill=tuple(Prefills(*each) for each in prefills)))
        again = Calibrator.of_plain(json.loads(json.dumps(found.plain())))
        assert again.calibration(8) == found.calibration(8)
        assert again.plain() == found.plain()

    def test_the_same_reports_give_the_same_calibration(self):
        engine = Calibration.default(8)
        one, other = (measured(engine, [1, 8], 100, 0.1, 7) for _ in range(2))
        assert one.calibration() == other.calibration()


class TestRecorded:
    """1,381 iterations of a real vLLM; learned from a part, held against the rest."""

    @pytest.fixture
    def steps(self, traces: Path) -> list[dict[str, float]]:
        path = traces / "calib_vllm_steps.csv"
        if not path.is_file():
            pytest.skip(f"no recorded steps at {path}")
        with path.open(newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    @pytest.mark.parametrize(("every", "error"), [(2, 0.025), (8, 0.05), (32, 0.08)])
    def test_steps_not_seen_are_as_long_as_the_curve_says(self, steps, every, error):
        found = learned(steps[::every])
        seconds = defaultdict(list)
        for index, row in enumerate(steps):
            if row["num_decode"] and index % every:
                seconds[int(row["num_decode"])].append(row["execute_ms"] / 1e3)
        errors = [abs(found.step(size) / median(each) - 1.0) for size, each in seconds.items() for _ in each]
        assert fmean(errors) < error

    def test_prompts_not_seen_cost_what_the_price_says(self, steps):
        found = learned(steps[::2])
        alone = [(row["num_tokens"], row["execute_ms"] / 1e3) for row in steps[1::2] if row["num_prefill"] == 1]
        assert median(abs(found.prefill * t + found.step(1) - s) / s for t, s in alone) < 0.03


def learned(steps: list[dict[str, float]]) -> Calibration:
    calibrator = Calibrator()
    for row in steps:
        if row["num_decode"]:
            calibrator.observe(decode(int(row["num_decode"]), row["execute_ms"] / 1e3))
        elif row["num_prefill"] == 1:
            calibrator.observe(prompts((int(row["num_tokens"]), row["execute_ms"] / 1e3)))
    return calibrator.calibration(65)
