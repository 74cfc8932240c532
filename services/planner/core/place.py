"""Where a stage of a job is in its application: the meaning of stage ids.

draft               a stage of the top
refine/2/draft      a stage of the second round of the loop `refine`
plan~2              the second try of a plan stage
execute/s1          step `s1` of the plan that the dynamic stage `execute` runs
draft!              the fallback of `draft`; `draft!!` is the fallback of that
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from llmsched.application import ApplicationSpec, DynamicStage, LoopStage, PlanStage, Stage
from llmsched.application.graph import dependencies, extent, in_order, sinks
from services.planner.core.model import StageOutput

_SEGMENT = re.compile(r"(?P<name>[A-Za-z]\w*)(?:~(?P<attempt>\d+))?(?P<fallback>!*)")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The stages of a job that were written side by side: those of the top, or of one round of a loop."""

    stages: tuple[Stage, ...]
    start: int = 0  #: position of the first of them
    loop: Place | None = None  #: the loop around them
    round: int = 0  #: of the loop, from 1

    @property
    def prefix(self) -> str:
        """What the ids of the stages start with."""
        return "" if self.loop is None else f"{self.loop.stage_id}/{self.round}/"

    @cached_property
    def places(self) -> dict[str, Place]:
        """All stages by name, parents first."""
        places = {}
        position = self.start
        for stage in in_order(self.stages):
            places[stage.name] = Place(scope=self, declared=stage, position=position)
            position += extent(stage, self.stages)
        return places

    @cached_property
    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """Names of the stages of the scope that each one waits for."""
        return dependencies(self.stages)

    @cached_property
    def previous(self) -> Scope | None:
        """The round before."""
        return None if self.loop is None or self.round == 1 else self.loop.round(self.round - 1)

    @property
    def entry(self) -> tuple[str, ...]:
        """Ids of the stages that those without parents of their own come after."""
        if self.previous is not None:
            return tuple(self.previous.prefix + stage.name for stage in sinks(self.stages))
        return () if self.loop is None else self.loop.parents

    @property
    def generated_by(self) -> str | None:
        """Id of the stage whose completion made these exist: the last one of the round before.

        The first round of a loop is certain as soon as the loop is.
        """
        if self.previous is not None:
            return self.previous.prefix + list(self.places)[-1]
        return None if self.loop is None else self.loop.scope.generated_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One stage of a job."""

    scope: Scope
    declared: Stage  #: as written; of a fallback: the stage that it stands in for
    position: int  #: in the job with all rounds and steps it could have
    attempt: int = 1  #: of a plan
    fallback: int = 0  #: 1 for a fallback, 2 for the fallback of a fallback, …
    step: str | None = None  #: of a plan

    @property
    def stage(self) -> Stage:
        """What to run: the declared stage or its fallback."""
        stage = self.declared
        for _ in range(self.fallback):
            if stage.on_error is None:
                raise LookupError(self.stage_id)
            stage = stage.on_error
        return stage

    @property
    def stage_id(self) -> str:
        attempt = f"~{self.attempt}" if self.attempt > 1 else ""
        step = "" if self.step is None else f"/{self.step}"
        return f"{self.scope.prefix}{self.declared.name}{attempt}{'!' * self.fallback}{step}"

    @property
    def name(self) -> str:
        """Without rounds and attempts; the same for all occurrences."""
        around = "" if self.scope.loop is None else f"{self.scope.loop.name}."
        return f"{around}{self.declared.name}{'!' * self.fallback}"

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the stages that must be done first."""
        own = self.scope.dependencies[self.declared.name]
        return tuple(self.scope.prefix + name for name in own) or self.scope.entry

    def round(self, number: int) -> Scope:
        """A round of this loop, from 1. Raises LookupError if it is no loop, or not of so many rounds."""
        loop = self.stage
        if not isinstance(loop, LoopStage) or not 1 <= number <= loop.max_rounds:
            raise LookupError(f"{self.stage_id}/{number}")
        size = sum(extent(stage, loop.body) for stage in loop.body)
        return Scope(stages=loop.body, start=self.position + 1 + (number - 1) * size, loop=self, round=number)


def top(app: ApplicationSpec) -> Scope:
    """The stages that are in no loop."""
    return Scope(stages=app.stages)


def locate(app: ApplicationSpec, stage_id: str) -> Place:
    """The place of a stage id. Raises LookupError if no job of the application can have it."""
    place = _locate(top(app), stage_id.split("/"))
    # There is one way to write an id: no "draft~1", no "refine/01/draft".
    if place.stage_id != stage_id or (place.attempt > 1 and not isinstance(place.stage, PlanStage)):
        raise LookupError(stage_id)
    return place


def _locate(scope: Scope, segments: list[str]) -> Place:
    match = _SEGMENT.fullmatch(segments[0])
    if match is None:
        raise LookupError(segments[0])
    place = scope.places[match["name"]]
    if len(segments) == 1:
        return _variant(place, attempt=int(match["attempt"] or 1), fallback=len(match["fallback"]))
    if isinstance(place.stage, DynamicStage) and len(segments) == 2:
        return _variant(place, step=segments[1])
    if len(segments) < 3 or not segments[1].isdecimal():
        raise LookupError("/".join(segments))
    return _locate(place.round(int(segments[1])), segments[2:])


def _variant(place: Place, attempt: int = 1, fallback: int = 0, step: str | None = None) -> Place:
    return Place(
        scope=place.scope,
        declared=place.declared,
        position=place.position + attempt - 1 + fallback,
        attempt=attempt,
        fallback=fallback,
        step=step,
    )


def retry_of(place: Place) -> Place:
    """The next try of a plan."""
    return _variant(place.scope.places[place.declared.name], attempt=place.attempt + 1)


def fallback_of(place: Place) -> Place:
    """The fallback of a stage."""
    return _variant(place.scope.places[place.declared.name], fallback=place.fallback + 1)


def occurrence(name: str, stage_id: str, outputs: Mapping[str, StageOutput]) -> int:
    """How many stages of this name the job had before this one.

    Counts by what the ids say and not by what has ended, so that asking again later gives the same number.
    """
    mine = _numbers(stage_id)
    return sum(output.name == name and _numbers(other) < mine for other, output in outputs.items())


def _numbers(stage_id: str) -> tuple[int, ...]:
    """The rounds and the attempt in an id."""
    rounds = [int(segment) for segment in stage_id.split("/") if segment.isdecimal()]
    attempt = re.search(r"~(\d+)", stage_id)
    return (*rounds, int(attempt[1]) if attempt else 1)
