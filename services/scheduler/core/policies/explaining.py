"""What the numbers of a policy stand for, so that a decision can be explained with those that were used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from services.scheduler.core.policies.base import JobView, Key, Policy, StageView


class Part(NamedTuple):
    """What a number stands for."""

    name: str  #: for programs; does not change
    label: str  #: for people
    unit: str = ""  #: "s", "bit·s", "time" (seconds on the driver's clock); empty: it has none


class Figure(NamedTuple):
    """A number that something goes by."""

    part: Part
    value: float


#: What every key ends in.
ENDING = (
    Part("arrival", "arrival of its job", "time"),
    Part("order", "order of its job among those that arrived together"),
    Part("position", "position in its job"),
)

ATTAINED = Part("attained", "service that its job has received", "s")
RUNNING = Part("running_tasks", "running tasks of its job")
LEFT_OF_MEAN = Part("mean_left", "mean of its application minus what is done", "s")


@runtime_checkable
class ExplainingPolicy(Policy, Protocol):
    """A policy that says what its keys are made of."""

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        """The parts of the stage's key, but for the three that every key ends in."""
        ...


@runtime_checkable
class BelievingPolicy(ExplainingPolicy, Protocol):
    """A policy that goes by beliefs and shows them."""

    def job_figures(self, job: JobView) -> Sequence[Figure]:
        """What is believed of the job; nothing if nothing is known of its application."""
        ...

    def stage_figures(self, job: JobView, stage: StageView) -> Sequence[Figure]:
        """What the policy goes by besides keys."""
        ...


def parts(policy: Policy, job: JobView, stage: StageView) -> tuple[Part, ...]:
    """The parts of the stage's key, as far as the policy names them, without the three that every key ends in."""
    return tuple(policy.parts(job, stage)) if isinstance(policy, ExplainingPolicy) else ()


def figures(key: Key, named: Sequence[Part]) -> tuple[Figure, ...]:
    """The numbers of a key; parts that the policy has no name for are numbered."""
    own = key[: max(0, len(key) - len(ENDING))]
    unnamed = [Part(f"part_{place}", f"part {place} of the key") for place in range(len(named) + 1, len(own) + 1)]
    meant = (*named[: len(own)], *unnamed, *ENDING[len(ENDING) - (len(key) - len(own)) :])
    pairs = zip(meant, key, strict=True)
    return tuple(Figure(part, float(value)) for part, value in pairs if isinstance(value, int | float))


def told(figure: Figure, at: float) -> str:
    """A number with its unit; of a time, how long ago it was."""
    if figure.part.unit == "time":
        return f"{_number(max(0.0, at - figure.value))} s ago"
    return f"{_number(figure.value)} {figure.part.unit}".rstrip()


def _number(value: float) -> str:
    size = abs(value)
    return f"{value:g}" if value == int(value) else f"{value:.{2 if size < 10.0 else 1 if size < 100.0 else 0}f}"
