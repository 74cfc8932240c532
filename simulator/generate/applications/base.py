"""Applications made of parameters instead of recordings."""

from __future__ import annotations

from random import Random
from typing import Protocol

from services.profiler.core.trace import Structure, TraceJob


class ParametricApplication(Protocol):
    """A frozen dataclass whose fields are its parameters, each documented with its source."""

    @property
    def name(self) -> str: ...

    @property
    def structure(self) -> Structure: ...

    def job(self, random: Random, job_id: str) -> TraceJob:
        """A job, without arrival. Depends on nothing but the parameters, the generator and the id."""
        ...
