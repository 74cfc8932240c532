"""Lists of numbers to sort."""

from __future__ import annotations

from random import Random
from typing import Any


def make_input(random: Random) -> dict[str, Any]:
    """Sixteen numbers below 100."""
    return {"numbers": [random.randrange(100) for _ in range(16)]}
