"""Which processes a test has started."""

from __future__ import annotations

from typing import Protocol

import psutil


class Offspring(Protocol):
    """Asks for the processes below this one that came since the test began; servers shared by all tests are older."""

    def __call__(self, *, recursive: bool = True) -> list[psutil.Process]: ...


def watch_offspring() -> Offspring:
    """Begins now."""
    before = set(psutil.Process().children(recursive=True))

    def offspring(*, recursive: bool = True) -> list[psutil.Process]:
        return [each for each in psutil.Process().children(recursive=recursive) if each not in before]

    return offspring
