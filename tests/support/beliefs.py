"""Applications of LLM stages one after the other, whose dependence a test decides: what is believed of them.

Prompts are empty, and with `SECOND` an output token is a second of work: tokens are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from services.profiler.core.belief import Beliefs
from services.profiler.core.network import Network
from services.profiler.core.profile import JOBS_PER_BIN, Profile, learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from services.profiler.core.variables import JobSeen, StageSeen

SECOND = WorkModel(prefill=0.0, decode=1.0)
HALF = (0.5, 0.5)
#: The second is as the first, or has nothing to do with it.
COPY, FREE = ((1.0, 0.0), (0.0, 1.0)), (HALF, HALF)

Table = Sequence[object]  #: of probabilities, nested


def chain(application: str, *jobs: Sequence[int]) -> list[TraceJob]:
    """Recorded jobs of LLM stages x, y, z of one task each: output tokens of each stage."""
    return [
        TraceJob(
            app=application,
            job_id=f"{application}-{number}",
            stages=tuple(
                TraceStage(
                    id=name,
                    name=name,
                    kind="llm",
                    parents=("xyz"[place - 1],) if place else (),
                    tasks=(TraceTask(prompt_tokens=0, output_tokens=tokens),),
                )
                for place, (name, tokens) in enumerate(zip("xyz", sizes, strict=False))
            ),
        )
        for number, sizes in enumerate(jobs)
    ]


def linked(application: str, sizes: Sequence[Sequence[int]], *variables: tuple[Sequence[int], Table]) -> Profile:
    """A profile of a chain: the tokens that each stage may have, and parents and table of each."""
    jobs = chain(application, *list(product(*sizes)) * JOBS_PER_BIN)  # enough for a bin of each size
    (profile,) = learn(jobs, search=lambda columns: ((),) * len(columns)).values()
    parents = tuple(tuple(above) for above, _ in variables)
    tables = tuple(np.array(table, dtype=float) for _, table in variables)
    return replace(profile, network=Network(profile.network.names, parents, tables), linear=None)


def pair(application: str, sizes: Sequence[int], table: Table, prior: Sequence[float] = HALF) -> Profile:
    """A profile of x and y, both of these sizes, and y by x as the table has it."""
    return linked(application, (sizes, sizes), ((), prior), ((0,), table))


def beliefs(*profiles: Profile, work: WorkModel = SECOND) -> Beliefs:
    return Beliefs({one.application: one for one in profiles}, work)


def waiting(name: str, *, is_llm: bool = True) -> StageSeen:
    """A stage that is not ready."""
    return StageSeen(name=name, occurrence=0, is_llm=is_llm)


def ready(name: str, width: int = 1, *, is_llm: bool = True) -> StageSeen:
    return StageSeen(name=name, occurrence=0, is_llm=is_llm, width=width, left=width)


def done(name: str, *units: float, is_llm: bool = True) -> StageSeen:
    """A stage whose tasks had these units."""
    return StageSeen(
        name=name, occurrence=0, is_llm=is_llm, done=True, width=len(units), units=sum(units), ended=tuple(units)
    )


def seen(application: str, *stages: StageSeen) -> JobSeen:
    return JobSeen(application=application, stages=stages)
