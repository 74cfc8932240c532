"""Solves the supply chain with HiGHS, and says in words what stands against a solution where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from llmsched.applications.optiguide.model import CAFES, KINDS, ROASTERIES, SUPPLIERS, Route, SupplyChain


class SolverNotInstalledError(Exception):
    """The solver HiGHS is not installed: pip install 'llmsched[applications]'."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The cheapest plan; if not all demands can be met, the cheapest of those that meet the most."""

    cost: int
    #: Tonnes by route, without empty routes.
    flows: dict[Route, int]
    #: Tonnes by cafe and kind that no plan can deliver; empty: everything is met.
    unmet: dict[Route, int]


def solve(chain: SupplyChain) -> Solution:
    """Solve the model exactly. Raises SolverNotInstalledError."""
    try:
        import highspy
    except ModuleNotFoundError:
        raise SolverNotInstalledError from None
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    # The plan is to be the cheapest and not only nearly so.
    highs.setOptionValue("mip_rel_gap", 0.0)
    # To deliver one more tonne, at worst a tonne moves on as many routes as there are sites, twelve to be safe: a
    # missing tonne costs more than that, so demands are only missed if they have to be.
    penalty = 12 * (1 + max([*chain.price.values(), *chain.shipping.values(), *chain.roasting.values()]))
    model = _variables(highs, highspy.HighsVarType.kInteger, chain, penalty)
    _constrain(highs, chain, model)
    highs.minimize()
    values = {key: round(highs.val(variable)) for key, variable in model.items()}
    missing = {(cafe, kind): values["unmet", cafe, kind] for cafe, kind in product(CAFES, KINDS)}
    cost = round(highs.getObjectiveValue()) - penalty * sum(missing.values())
    flows: dict[Route, int] = {}
    for (start, end, *_), tonnes in values.items():
        if start != "unmet" and tonnes:
            flows[start, end] = flows.get((start, end), 0) + tonnes
    return Solution(cost=cost, flows=flows, unmet={key: tonnes for key, tonnes in missing.items() if tonnes})


def _variables(highs: Any, integer: Any, chain: SupplyChain, penalty: int) -> dict[tuple[str, ...], Any]:
    """Tonnes: (supplier, roastery), (roastery, cafe, kind), and what is not delivered, ("unmet", cafe, kind)."""
    model: dict[tuple[str, ...], Any] = {}
    for supplier, roastery in product(SUPPLIERS, ROASTERIES):
        cost = chain.price[supplier] + chain.shipping[supplier, roastery]
        most = 0 if _barred(chain, supplier, roastery) else highs.inf
        model[supplier, roastery] = highs.addVariable(lb=0, ub=most, obj=cost, type=integer)
    for roastery, cafe, kind in product(ROASTERIES, CAFES, KINDS):
        cost = chain.roasting[roastery, kind] + chain.shipping[roastery, cafe]
        most = 0 if _barred(chain, roastery, cafe) else highs.inf
        model[roastery, cafe, kind] = highs.addVariable(lb=0, ub=most, obj=cost, type=integer)
    for cafe, kind in product(CAFES, KINDS):
        model["unmet", cafe, kind] = highs.addVariable(lb=0, obj=penalty, type=integer)
    return model


def _constrain(highs: Any, chain: SupplyChain, model: dict[tuple[str, ...], Any]) -> None:
    for supplier in SUPPLIERS:
        highs.addConstr(sum(model[supplier, roastery] for roastery in ROASTERIES) <= chain.capacity[supplier])
    for roastery in ROASTERIES:
        roasted = sum(model[roastery, cafe, kind] for cafe, kind in product(CAFES, KINDS))
        highs.addConstr(roasted <= chain.capacity[roastery])
        highs.addConstr(sum(model[supplier, roastery] for supplier in SUPPLIERS) == roasted)
    for cafe, kind in product(CAFES, KINDS):
        delivered = sum(model[roastery, cafe, kind] for roastery in ROASTERIES)
        highs.addConstr(delivered + model["unmet", cafe, kind] == chain.demand[cafe, kind])


def _barred(chain: SupplyChain, start: str, end: str) -> bool:
    return bool({start, end} & chain.closed) or (start, end) in chain.forbidden


def obstacles(chain: SupplyChain) -> list[str]:
    """In words, which limits make it impossible to meet all demands."""
    wanted = sum(chain.demand.values())
    found = []
    for cafe in CAFES:
        if all(_barred(chain, roastery, cafe) for roastery in ROASTERIES):
            found.append(f"no roastery may deliver to {cafe}")
    for sites, verb in ((SUPPLIERS, "suppliers can deliver"), (ROASTERIES, "roasteries can roast")):
        most = sum(chain.capacity[site] for site in sites if site not in chain.closed)
        if most < wanted:
            found.append(f"open {verb} at most {most} t, but the cafes need {wanted} t")
    supplied = {
        roastery: sum(chain.capacity[supplier] for supplier in SUPPLIERS if not _barred(chain, supplier, roastery))
        for roastery in ROASTERIES
    }
    for roastery, most in supplied.items():
        if not most and roastery not in chain.closed:
            found.append(f"no supplier may deliver to {roastery}")
    for cafe in CAFES:
        open_to = [roastery for roastery in ROASTERIES if not _barred(chain, roastery, cafe)]
        most = sum(min(chain.capacity[roastery], supplied[roastery]) for roastery in open_to)
        need = sum(chain.demand[cafe, kind] for kind in KINDS)
        if open_to and most < need:
            found.append(f"{' and '.join(open_to)} can deliver at most {most} t to {cafe}, which needs {need} t")
    return found or ["the routes and capacities that are left cannot bring enough to every cafe at the same time"]
