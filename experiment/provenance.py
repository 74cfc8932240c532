"""What results were made with: versions, commit, machine, model, when."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simulator.cli.provenance import commit, machine, versions


def describe(folder: Path, phase: str, model: str, began: float, command: str) -> dict[str, Any]:
    """For provenance.json: what it says already, and the phase that has just ended."""
    path = folder / "provenance.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    made = {
        "command": command,
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "model": model,
        "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
    }
    return {**known, "phases": {**known.get("phases", {}), phase: made}}


def facts(folder: Path) -> dict[str, str]:
    """For people: each thing once, however many phases it holds for."""
    path = folder / "provenance.json"
    phases = json.loads(path.read_text(encoding="utf-8"))["phases"].values() if path.is_file() else ()
    names = ("model", "versions", "commit", "machine")
    return {name: "; ".join(dict.fromkeys(one[name] for one in phases if one[name])) for name in names}
