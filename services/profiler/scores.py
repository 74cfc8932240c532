"""How applications agree with their profiles, as the durable state keeps it."""

from __future__ import annotations

import json

import msgspec

from services.profiler.core.conduct import Conduct
from services.profiler.core.drift import Expected
from services.profiler.core.statistics import WorkModel


class _Expected(msgspec.Struct):
    likelihood: tuple[float, ...]
    work: tuple[float, ...]
    prefill: float
    decode: float


def write_expected(expected: Expected, work: WorkModel) -> bytes:
    """Scores to expect of jobs, and what tokens cost in them."""
    return msgspec.json.encode(
        _Expected(likelihood=expected.likelihood, work=expected.work, prefill=work.prefill, decode=work.decode)
    )


def read_expected(data: bytes) -> tuple[Expected, WorkModel] | None:
    """None if none are known, as of a profile of an older version. Raises msgspec.DecodeError."""
    if not data:
        return None
    found = msgspec.json.decode(data, type=_Expected)
    work = WorkModel(prefill=found.prefill, decode=found.decode)
    return Expected(likelihood=found.likelihood, work=found.work), work


def write_conduct(conduct: Conduct) -> bytes:
    return json.dumps(conduct.plain(), allow_nan=False, separators=(",", ":")).encode()


def read_conduct(data: bytes | None, expected: bytes) -> Conduct:
    """`expected`: the scores to expect under the profile in force."""
    known = read_expected(expected)
    scores = Expected() if known is None else known[0]
    return Conduct().renewed(scores, 0) if data is None else Conduct.of_plain(json.loads(data), scores)
