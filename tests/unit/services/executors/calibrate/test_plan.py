"""What a calibration run measures, and the file it writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.executors.calibrate.cli import powers_of_two
from services.executors.calibrate.document import FORMAT, document, read_document
from services.executors.calibrate.run import Answered, Measured, Plan, Prompt
from services.executors.llm.engine import EngineInfo
from services.profiler.core.calibration import DecodeSteps, Prefills, Report

INFO = EngineInfo(model="m", version="v", max_running=2, can_count_tokens=True, can_prioritise=True)


@pytest.mark.parametrize(
    ("batches", "check"), [((1, 2, 4, 8), 6), ((1, 2, 4, 8, 16), 12), ((4,), None), ((1, 2, 3), None), ((1, 3), 2)]
)
def test_one_size_is_kept_to_check_what_was_learned(batches: tuple[int, ...], check: int | None) -> None:
    assert Plan(batches=batches).check == check


def test_sizes_are_powers_of_two_and_the_slots() -> None:
    assert [powers_of_two(slots) for slots in (1, 8, 12)] == [(1,), (1, 2, 4, 8), (1, 2, 4, 8, 12)]


def measured() -> Measured:
    return Measured(
        learned=Report(
            decode=(
                DecodeSteps(1, 60.0, 0.6, 0.0061),
                DecodeSteps(3, 2.0, 0.05, 0.00125),
                DecodeSteps(2, 50.0, 0.6, 0.0072),
            ),
            prefill=(Prefills(1, 1, 100, 0.06, 10_000, 6.0, 0.0036),),
        ),
        answered=[Answered(batch=size, prompt_tokens=32, output_tokens=64, seconds=0.7) for size in (1, 2)],
        prompts=[Prompt(tokens=100, seconds=0.06)],
    )


def test_the_file_has_the_raw_points_and_what_follows(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    plan = Plan(batches=(1, 2))
    found = document(
        plan=plan,
        measured=measured(),
        priority="not asked for",
        info=INFO,
        kind="sglang",
        machine={"cores": 2},
        now=now,
    )
    assert (found["format"], found["created_at"]) == (FORMAT, "2026-01-02T00:00:00+00:00")
    assert [(row["batch"], row["seconds"]) for row in found["decode"]] == [(1, 0.01), (2, 0.012)]
    assert found["decode"][0]["deviation"] == pytest.approx((0.0061 / 60 - 0.0001) ** 0.5)
    assert (found["check"], found["priority"]) == (None, {"not_tried": "not asked for"})
    assert found["calibration"]["slowdowns"][1] == pytest.approx(1.2, rel=0.02)
    path = tmp_path / "file.json"
    path.write_text(json.dumps(found))
    assert read_document(path) == json.loads(json.dumps(found))


@pytest.mark.parametrize("text", ["nothing", "[]", "{}", '{"format": "other"}', f'{{"format": "{FORMAT}"}}'])
def test_what_is_no_calibration_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is no calibration file"):
        read_document(path)
