"""A small supply chain of coffee, after the example of OptiGuide (Li et al., 2023), with numbers of our own.

Suppliers deliver beans to roasteries, which roast them light or dark and deliver them to cafes. Quantities are whole
tonnes a week, costs are euros a tonne. What is sought are the cheapest quantities that meet every cafe's demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from types import MappingProxyType
from typing import TypeVar

SUPPLIERS = ("andes", "highland", "island")
ROASTERIES = ("north", "south")
CAFES = ("airport", "bridge", "castle")
KINDS = ("light", "dark")
SITES = SUPPLIERS + ROASTERIES + CAFES

Route = tuple[str, str]
_MOST_PERCENT = 1000
_Key = TypeVar("_Key")


def _frozen(values: dict[Route, int]) -> MappingProxyType[Route, int]:
    return MappingProxyType(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyChain:
    """The numbers of the model; the defaults are the chain as it is today."""

    #: Most that a supplier delivers, or a roastery roasts.
    capacity: MappingProxyType[str, int] = field(
        default_factory=lambda: MappingProxyType(
            {"andes": 150, "highland": 60, "island": 100, "north": 160, "south": 140}
        )
    )
    #: Of beans, by supplier.
    price: MappingProxyType[str, int] = field(
        default_factory=lambda: MappingProxyType({"andes": 300, "highland": 260, "island": 340})
    )
    #: By roastery and kind.
    roasting: MappingProxyType[Route, int] = field(
        default_factory=lambda: _frozen(
            {("north", "light"): 30, ("north", "dark"): 50, ("south", "light"): 50, ("south", "dark"): 60}
        )
    )
    #: By both ends of a route.
    shipping: MappingProxyType[Route, int] = field(
        default_factory=lambda: _frozen(
            {
                ("andes", "north"): 50,
                ("andes", "south"): 40,
                ("highland", "north"): 60,
                ("highland", "south"): 30,
                ("island", "north"): 20,
                ("island", "south"): 70,
                ("north", "airport"): 50,
                ("north", "bridge"): 30,
                ("north", "castle"): 60,
                ("south", "airport"): 40,
                ("south", "bridge"): 60,
                ("south", "castle"): 20,
            }
        )
    )
    #: By cafe and kind.
    demand: MappingProxyType[Route, int] = field(
        default_factory=lambda: _frozen(
            {
                ("airport", "light"): 30,
                ("airport", "dark"): 40,
                ("bridge", "light"): 40,
                ("bridge", "dark"): 30,
                ("castle", "light"): 50,
                ("castle", "dark"): 40,
            }
        )
    )
    #: Sites that neither get nor give anything.
    closed: frozenset[str] = frozenset()
    #: Routes that must not be used.
    forbidden: frozenset[Route] = frozenset()


class InvalidChange(ValueError):
    """A change that the model has no place for; the message says what would be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the model: what is changed, where, and to how many percent of what it is today."""

    kind: str  #: capacity, cost, demand, close or forbid_route
    of: str
    to: str = "none"  #: the other end of a route
    percent: int = 100

    def told(self) -> str:
        """The change in words."""
        # Only costs and routes have two ends; what else is said of another end means nothing.
        route = self.kind == "cost" and self.to != "none"
        where = f"the route from {self.of} to {self.to}" if route else self.of
        match self.kind:
            case "close":
                return f"{self.of} is closed"
            case "forbid_route":
                return f"the route from {self.of} to {self.to} is not used"
            case _:
                return f"the {self.kind} of {where} is {self.percent} % of today's"


def apply(chain: SupplyChain, change: Change) -> SupplyChain:
    """The chain after a change. Raises InvalidChange."""
    match change.kind:
        case "capacity":
            _one_of(change.of, SUPPLIERS + ROASTERIES, "only suppliers and roasteries have a capacity")
            return replace(chain, capacity=_scaled(chain.capacity, [change.of], change.percent))
        case "demand":
            _one_of(change.of, CAFES, "only cafes have a demand")
            return replace(chain, demand=_scaled(chain.demand, product([change.of], KINDS), change.percent))
        case "cost":
            return _cost(chain, change)
        case "close":
            _one_of(change.of, SUPPLIERS + ROASTERIES, "only suppliers and roasteries can be closed")
            return replace(chain, closed=chain.closed | {change.of})
        case "forbid_route":
            return replace(chain, forbidden=chain.forbidden | {_route(chain, change)})
        case _:
            raise InvalidChange(f"there is no change {change.kind!r}")


def _cost(chain: SupplyChain, change: Change) -> SupplyChain:
    if change.to != "none":
        return replace(chain, shipping=_scaled(chain.shipping, [_route(chain, change)], change.percent))
    if change.of in SUPPLIERS:
        return replace(chain, price=_scaled(chain.price, [change.of], change.percent))
    _one_of(change.of, ROASTERIES, "only suppliers, roasteries and routes have a cost")
    return replace(chain, roasting=_scaled(chain.roasting, product([change.of], KINDS), change.percent))


def _scaled(values: Mapping[_Key, int], keys: Iterable[_Key], percent: int) -> MappingProxyType[_Key, int]:
    """The numbers with those of some keys changed."""
    if not 0 <= percent <= _MOST_PERCENT:
        raise InvalidChange(f"percent must be from 0 to {_MOST_PERCENT}")
    return MappingProxyType({**values, **{key: round(values[key] * percent / 100) for key in keys}})


def _one_of(name: str, names: tuple[str, ...], rule: str) -> None:
    if name not in names:
        raise InvalidChange(f"{rule}, which {name!r} is not; name one of {', '.join(names)}")


def _route(chain: SupplyChain, change: Change) -> Route:
    route = change.of, change.to
    if route not in chain.shipping:
        raise InvalidChange(
            f"there is no route from {change.of!r} to {change.to!r}: routes lead from a supplier to a roastery "
            "and from a roastery to a cafe"
        )
    return route
