"""The poster's policy: a fixed order of applications."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import Part

#: What an application can do, those first whose first stages reveal most of what is to come.
STRUCTURES = ("generated", "chain+width", "chain", "width", "static")


_PLACES = (Part("place", "place of its application in the order"), Part("structure", "place of its structure"))


class PsTcs:
    """Jobs of applications that come first in a configured order go first; inside an application, by arrival.

    Source: PS-TCS of the LLMSched poster (task automation, then code generation, then sorting). Faithful: a fixed
    order of applications. Adapted: the order is a setting; without one the structure of an application stands in for
    its place (ours): with generated stages, a chain that unrolls and has parallel parts, a chain, parallel parts, all
    known at arrival. Applications missing from a configured order come after all that are named in it, by structure.
    Left out: nothing that the poster tells. Starvation: possible, for applications late in the order; run it under
    the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "ps-tcs"
    rekey_on: frozenset[Moment] = frozenset()

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        self._places = {application: place for place, application in enumerate(settings.application_order)}
        self._structures = {structure: place for place, structure in enumerate(STRUCTURES)}

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return _PLACES

    def key(self, job: JobView, stage: StageView) -> Key:
        place = self._places.get(job.application, len(self._places))
        structure = 0 if job.application in self._places else self._structures.get(job.structure, len(STRUCTURES))
        return place, structure, job.arrival, job.order, stage.position
