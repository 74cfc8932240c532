"""A calibration by hand: a table of steps, and what it makes of work and time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.profiler.core.calibration import Calibration, DecodeSteps, Prefills, Report
from services.profiler.core.statistics import WorkModel

TABLE = Calibration(prefill=0.001, steps=(0.01, 0.012, 0.016), weights=(5.0, 0.0, 2.0), prompts=3.0)


def test_work_becomes_time_by_the_slowdown_of_the_batch():
    assert TABLE.work_model() == WorkModel(prefill=0.001, decode=0.01)
    assert TABLE.work(100, 50) == pytest.approx(0.6)
    assert TABLE.slowdowns == pytest.approx((1.0, 1.2, 1.6))
    assert TABLE.seconds(100, 50, 3) == pytest.approx(0.6 * 1.6)


def test_time_becomes_work_again_also_when_the_batch_changed():
    assert TABLE.work_of([(3, TABLE.time_of(0.25, 3)), (1, TABLE.time_of(0.5, 1))]) == pytest.approx(0.75)


def test_past_the_table_steps_grow_as_they_do_in_it_on_average():
    assert TABLE.step(5) == pytest.approx(0.016 + 2 * 0.003)
    assert TABLE.step(0) == TABLE.step(1)
    assert Calibration(prefill=0.0, steps=(0.01,), weights=(1.0,)).step(7) == 0.01


def test_an_engine_that_nobody_measured_is_the_contracts():
    default = Calibration.default(3)
    assert (default.work_model(), default.weights, default.prompts) == (WorkModel(), (0.0, 0.0, 0.0), 0.0)
    assert default.slowdowns == pytest.approx((1.0, 1.05, 1.1))
    assert Calibration.default(2, WorkModel(decode=1.0), slowdown=1.0).steps == (1.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ()}, "steps must"),
        ({"steps": (0.0, 1.0, 1.0)}, "steps must"),
        ({"steps": (2.0, 1.0, 3.0)}, "steps must"),
        ({"steps": (1.0, 1.0, float("inf"))}, "steps must"),
        ({"prefill": -1.0}, "prefill must"),
        ({"prefill": float("nan")}, "prefill must"),
        ({"weights": (1.0,)}, "every step needs a weight"),
    ],
)
def test_what_cannot_be_an_engine_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Calibration.of_plain(TABLE.plain() | changes)


def test_reports_of_the_same_engine_add_up_by_batch_size():
    one = Report(decode=(DecodeSteps(2, 10.0, 0.2, 0.005), DecodeSteps(1, 1.0, 0.01, 0.0001)))
    other = Report(decode=(DecodeSteps(2, 5.0, 0.1, 0.002),), prefill=(Prefills(1, 2, 100, 0.1, 5000.0, 5.0, 0.005),))
    assert one.plus(other) == Report(
        decode=(DecodeSteps(1, 1.0, 0.01, 0.0001), DecodeSteps(2, 15.0, pytest.approx(0.3), 0.007)),
        prefill=other.prefill,
    )
    assert other.plus(other).prefill == (Prefills(1, 4, 200, 0.2, 10_000.0, 10.0, 0.01),)


def test_plain_values_survive_json():
    report = Report(
        decode=(DecodeSteps(2, 10.0, 0.2, 0.005),), prefill=(Prefills(1, 2.0, 100.0, 0.1, 5000.0, 5.0, 0.005),)
    )
    assert Calibration.of_plain(json.loads(json.dumps(TABLE.plain()))) == TABLE
    assert Report.of_plain(json.loads(json.dumps({"type": "steps"} | report.plain()))) == report


def test_what_has_moved_noticeably():
    known = Calibration(prefill=1e-4, steps=(0.01, 0.02), weights=(1.0, 1.0))
    assert not known.moved_from(known)
    assert not replace(known, weights=(9.0, 9.0), prompts=4.0).moved_from(known)
    assert not replace(known, prefill=1.02e-4, steps=(0.0102, 0.0198)).moved_from(known)
    assert replace(known, prefill=1.04e-4).moved_from(known)
    assert replace(known, steps=(0.01, 0.0207)).moved_from(known)
    assert replace(known, steps=(0.0096, 0.02)).moved_from(known)
    assert not replace(known, steps=(0.01, 0.02, 0.03), weights=(1.0,) * 3).moved_from(known)  # it went on like this
    assert replace(known, steps=(0.01, 0.02, 0.04), weights=(1.0,) * 3).moved_from(known)
    assert replace(known, prefill=1e-9).moved_from(replace(known, prefill=0.0))
