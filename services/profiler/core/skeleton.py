"""A job's graph without its placeholders: what waited for one of them waits for what it stood for.

A placeholder (a loop, the steps of a plan, the output) runs nothing. It is done when its parents are, and the stages
that its unfoldings added; what it adds can start only when all is done that it waited for until then. A stage
that failed and has a fallback is such a placeholder too, besides what it ran itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

from services.profiler.core.trace import Canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A stage as the scheduler has it."""

    canonical: Canonical
    place: tuple[int, int]  #: in the application, and in the job: which of two stages that could come next does
    placeholder: bool = False
    needs: tuple[str, ...] = ()  #: stages that must be done, with all that they stand for, before it can start
    behind: tuple[str, ...] = ()  #: stages that must have ended before: what it is the fallback of
    adds: tuple[str, ...] = ()  #: stages that its unfoldings have added, the latest ones at least


class Skeleton:
    """The stages that ran or could have run."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        """Args: `nodes` by stage id.

        Raises LookupError if they name others, ValueError or RecursionError if stages wait for each other.
        """
        self._nodes = nodes
        self._done: dict[str, frozenset[str]] = {}
        for stage_id in sorted(nodes, key=lambda one: nodes[one].place):  # parents first: recursion stays shallow
            self._is_done(stage_id)
        needs = {stage_id: self._must(stage_id) for stage_id, node in nodes.items() if not node.placeholder}
        #: Ids in a topological order, and stages of one name by their occurrence; else by place.
        self.order = self._ordered(needs)
        self._bits = {stage_id: 1 << index for index, stage_id in enumerate(self.order)}
        self._ancestors: dict[str, int] = {}  #: as bits, since a chain of thousands has millions of ancestors
        #: By id: the stages that it waits for, without those that another of them implies.
        self.parents: dict[str, tuple[str, ...]] = {}
        for stage_id in self.order:
            self.parents[stage_id] = self._add(stage_id, needs[stage_id])

    def before(self, named: str | None, stage_id: str) -> str | None:
        """The stage that stands for `named` among those before a stage: the last of what a placeholder stood for."""
        if named is None or named not in self._nodes:
            return None
        candidates = {named} if named in self._bits else self._is_done(named)
        earlier = [one for one in candidates if self._bits[one] & self._ancestors[stage_id]]
        return max(earlier, key=self._bits.__getitem__, default=None)

    def _must(self, stage_id: str) -> frozenset[str]:
        """The stages, no placeholders, that must be done before this one can start."""
        node = self._nodes[stage_id]
        return frozenset(node.behind).union(*map(self._is_done, node.needs))

    def _is_done(self, stage_id: str) -> frozenset[str]:
        """The stages, no placeholders, that must be done for this one to be done."""
        if stage_id not in self._done:
            node = self._nodes[stage_id]
            found = set(self._must(stage_id)) if node.placeholder else {stage_id}
            for added in node.adds:
                found |= self._is_done(added)
            self._done[stage_id] = frozenset(found)
        return self._done[stage_id]

    def _ordered(self, needs: Mapping[str, frozenset[str]]) -> list[str]:
        by_name = sorted(needs, key=lambda one: self._nodes[one].canonical)
        after: dict[str, str] = {}
        for earlier, later in pairwise(by_name):
            if self._nodes[earlier].canonical[0] == self._nodes[later].canonical[0]:
                after[later] = earlier
        wanted = {
            stage_id: found | {after[stage_id]} if stage_id in after else found for stage_id, found in needs.items()
        }
        order = self._topological(wanted)
        if len(order) < len(needs):  # a plan may number its steps against their dependencies; then these count
            order = self._topological(needs)
        if len(order) < len(needs):
            raise ValueError("stages wait for each other in a cycle")
        return order

    def _topological(self, needs: Mapping[str, Collection[str]]) -> list[str]:
        """Each stage after its needs; of those that could come next, the one with the smallest place."""
        children: dict[str, list[str]] = {stage_id: [] for stage_id in needs}
        for stage_id, before in needs.items():
            for need in before:
                children[need].append(stage_id)
        missing = {stage_id: len(before) for stage_id, before in needs.items()}
        ready = [(self._nodes[stage_id].place, stage_id) for stage_id, count in missing.items() if count == 0]
        heapq.heapify(ready)
        order: list[str] = []
        while ready:
            stage_id = heapq.heappop(ready)[1]
            order.append(stage_id)
            for child in children[stage_id]:
                missing[child] -= 1
                if missing[child] == 0:
                    heapq.heappush(ready, (self._nodes[child].place, child))
        return order

    def _add(self, stage_id: str, needs: Collection[str]) -> tuple[str, ...]:
        """Takes in a stage after all before it. Returns those of its needs that no other need implies."""
        implied = 0
        for need in needs:
            implied |= self._ancestors[need]
        parents = sorted((need for need in needs if not self._bits[need] & implied), key=self._bits.__getitem__)
        for need in needs:
            implied |= self._bits[need]
        self._ancestors[stage_id] = implied
        return tuple(parents)
