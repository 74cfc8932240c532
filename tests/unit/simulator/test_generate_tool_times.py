import math
from pathlib import Path
from statistics import fmean, median

import pytest

from services.profiler.core.trace import write_jobs
from simulator.generate import RecipeError, parse_tool_times
from tests.unit.simulator.generate_jobs import recorded


def test_constant():
    model = parse_tool_times("constant:2.5")
    assert {model.seconds("a", "1"), model.seconds("b", "2")} == {2.5}


def test_lognormal_has_a_median_for_each_tool_and_draws_tasks_around_it():
    model = parse_tool_times("lognormal:2,0.5")
    medians = [median(model.seconds(f"tool-{tool}", str(task)) for task in range(200)) for tool in range(200)]
    assert median(medians) == pytest.approx(2.0, rel=0.15)
    assert fmean(math.log(one / 2) ** 2 for one in medians) == pytest.approx(0.5**2, rel=0.2)
    one = [model.seconds("tool-7", str(task)) for task in range(2000)]
    assert median(one) == pytest.approx(medians[7], rel=0.1)
    assert fmean(math.log(task / median(one)) ** 2 for task in one) == pytest.approx(0.5**2, rel=0.1)


def test_a_task_takes_the_same_whenever_one_asks():
    model, again = parse_tool_times("lognormal:2,0.5"), parse_tool_times("lognormal:2,0.5")
    first = model.seconds("a", "1")
    model.seconds("b", "1")
    assert first == model.seconds("a", "1") == again.seconds("a", "1")
    assert first != model.seconds("a", "2")
    assert first != model.seconds("b", "1")


def test_recorded_draws_from_the_same_tool_or_from_all(tmp_path: Path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text("".join(write_jobs([recorded(name="a", tool=1.0), recorded(name="a", tool=2.0)])))
    other.write_text("".join(write_jobs([recorded(name="b", tool=5.0), recorded(name="b", tool=None)])))
    for text in (f"recorded:{one},{other}", f"recorded:{tmp_path}"):
        model = parse_tool_times(text)
        assert {model.seconds("a", str(task)) for task in range(50)} == {1.0, 2.0}
        assert {model.seconds("b", str(task)) for task in range(50)} == {5.0}
        assert {model.seconds("c", str(task)) for task in range(50)} == {1.0, 2.0, 5.0}


def test_recordings_without_seconds_are_refused(tmp_path: Path):
    file = tmp_path / "one.jsonl"
    file.write_text("".join(write_jobs([recorded(tool=None)])))
    with pytest.raises(RecipeError, match="no tool task"):
        parse_tool_times(f"recorded:{file}")


@pytest.mark.parametrize(
    "text",
    ["", "constant", "constant:", "constant:-1", "constant:1,2", "lognormal:1", "lognormal:1,inf", "recorded:", "x:1"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(RecipeError, match="tool times"):
        parse_tool_times(text)
