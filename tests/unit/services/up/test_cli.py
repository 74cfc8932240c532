"""What `llmsched up` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.up.cli import up


def run(directory: Path, *arguments: str) -> Result:
    """Runs it in a directory that stays empty if it is refused."""
    result = CliRunner().invoke(up, ["--directory", str(directory / "data"), *arguments])
    assert not (directory / "data").exists()
    return result


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--policy", "nonsense"], ["no policy 'nonsense'"]),
        (["--policy", "srtf"], ["'srtf' needs a history"]),
        (["--policy", "clairvoyant-srpt"], ["only a simulation"]),
        (["--set", "lease_seconds=0", "--set", "leese_seconds=5"], ["lease_seconds: Input", "leese_seconds: the sch"]),
    ],
)
def test_settings_that_no_scheduler_would_start_with(arguments: list[str], told: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, *arguments)
    assert result.exit_code == 4
    for each in told:
        assert each in result.stderr


def test_a_history_with_bad_lines(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_text('{"app": "a", "stages": 1}\n')
    result = run(tmp_path, "--policy", "srtf", "--history", str(tmp_path / "x"), "--history", str(tmp_path / "y"))
    assert result.exit_code == 4
    for name in ("x", "y"):
        assert f"{tmp_path / name}:1: stages: " in result.stderr


def test_a_history_that_is_not_there(tmp_path: Path) -> None:
    assert run(tmp_path, "--history", str(tmp_path / "nowhere")).exit_code == 2
