"""Reading recorded jobs of one or more trace files."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from services.profiler.core.trace import TraceError, TraceJob, read_history
from simulator.generate.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What trace files hold. Tool seconds may be unknown."""

    jobs: dict[str, list[TraceJob]] = field(default_factory=dict)  #: by application
    files: dict[str, list[Path]] = field(default_factory=dict)  #: where the jobs of an application come from


def read_recorded(paths: Iterable[Path]) -> Recording:
    """Reads trace files (histories), and all `*.jsonl` and `*.jsonl.gz` of folders, in the order of the names.

    Raises:
        RecipeError: there are no files in a folder.
        TraceError: files break the format, with the problems of all of them.
        OSError: a file cannot be read.
    """
    found = Recording()
    problems: list[str] = []
    for path in trace_files(paths):
        try:
            with open_trace(path) as lines:
                for job in read_history(lines, str(path)):
                    found.jobs.setdefault(job.app, []).append(job)
                    files = found.files.setdefault(job.app, [])
                    if not files or files[-1] != path:
                        files.append(path)
        except TraceError as error:
            problems += error.problems
    if problems:
        raise TraceError(problems)
    return found


def trace_files(paths: Iterable[Path]) -> list[Path]:
    """The files, and those of the folders. Raises RecipeError if a folder has none."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])
        if not inside:
            raise RecipeError([f"{path}: no *.jsonl in this folder"])
        files += inside
    return files


def open_trace(path: Path) -> BinaryIO:
    """The lines of a trace file, unpacked if its name says that it is packed. Raises OSError."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
