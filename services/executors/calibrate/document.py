"""The calibration file: one JSON object, described in docs/calibration.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.executors.calibrate.priority import Priority
from services.executors.calibrate.run import Measured, Plan
from services.executors.llm.engine import EngineInfo
from services.profiler.core.calibration import Calibration, DecodeSteps, Report

FORMAT = "llmsched-calibration/1"


def document(
    *,
    plan: Plan,
    measured: Measured,
    priority: Priority | str,
    info: EngineInfo,
    kind: str,
    machine: Mapping[str, Any],
    now: datetime | None = None,
) -> dict[str, Any]:
    """All that was measured, and what follows from it. `priority` is what happened, or why it was not tried."""
    calibration = measured.calibration()
    return {
        "format": FORMAT,
        "created_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "llmsched": version("llmsched"),
        "machine": dict(machine),
        "engine": {"kind": kind, "model": info.model, "version": info.version, "slots": info.max_running},
        "settings": asdict(plan),
        "decode": [_steps(each, calibration) for each in measured.learned.decode if each.batch in plan.batches],
        "check": None if measured.check is None else _steps(measured.check, calibration),
        "prefill": [
            asdict(each) | {"predicted_seconds": calibration.work(each.tokens, 1)} for each in measured.prompts
        ],
        "requests": [
            asdict(each)
            | {
                "predicted_seconds": calibration.seconds(
                    round(each.prompt_tokens), round(each.output_tokens), each.batch
                )
            }
            for each in measured.answered
        ],
        "priority": asdict(priority) if isinstance(priority, Priority) else {"not_tried": priority},
        "report": measured.learned.plain(),
        "calibration": calibration.plain() | {"slowdowns": list(calibration.slowdowns)},
    }


def read_document(path: Path) -> dict[str, Any]:
    """A calibration file. Raises ValueError if it is none, OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}")
        calibration_of(found)
        report_of(found)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no calibration file ({FORMAT}): {error}") from error
    return dict(found)


def calibration_of(found: Mapping[str, Any]) -> Calibration:
    """What the file says of the engine."""
    return Calibration.of_plain(found["calibration"])


def report_of(found: Mapping[str, Any]) -> Report:
    """What was measured, for `Calibrator.observe`: how a calibration run becomes part of what the profiler knows."""
    return Report.of_plain(found["report"])


def _steps(steps: DecodeSteps, calibration: Calibration) -> dict[str, float]:
    mean = steps.seconds / steps.steps
    return {
        "batch": steps.batch,
        "steps": steps.steps,
        "seconds": mean,
        "deviation": max(0.0, steps.squares / steps.steps - mean * mean) ** 0.5,
        "predicted_seconds": calibration.step(steps.batch),
    }
