"""What is wrong with an application or with an input: always all of it, never just the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ApplicationError", "Violation", "path_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong."""

    path: str  #: where, for example `stages[0].prompt`; empty for the whole
    message: str
    line: int | None = None  #: in the YAML text, from 1

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}: "
        return f"{line}{self.path}: {self.message}" if self.path else f"{line}{self.message}"


class ApplicationError(ValueError):
    """The application is not valid; `violations` lists everything that is wrong."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(["the application is not valid", *(f"  {each}" for each in self.violations)]))


def path_text(path: Iterable[str | int]) -> str:
    """`("stages", 0, "prompt")` as `stages[0].prompt`."""
    written = ""
    for step in path:
        written += f"[{step}]" if isinstance(step, int) else f".{step}" if written else step
    return written
