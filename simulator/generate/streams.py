"""Randomness with names: streams that do not disturb each other, and draws that depend on a name only."""

from __future__ import annotations

import hashlib
from random import Random
from statistics import NormalDist

_NORMAL = NormalDist()
_BITS = 52  # so that (2**52 - 1 + 0.5) / 2**52 is still below 1


def stream(seed: int, name: str) -> Random:
    """A generator of its own for each use of a seed: how much one draws changes nothing for the others."""
    return Random(f"{seed}/{name}")


def uniform(name: str) -> float:
    """A number from (0, 1) that depends on `name` only."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> (64 - _BITS)) + 0.5) / 2.0**_BITS


def normal(name: str) -> float:
    """A standard normal number that depends on `name` only."""
    return _NORMAL.inv_cdf(uniform(name))
