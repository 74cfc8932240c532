"""How long a belief update takes: exact inference here beside pgmpy's VariableElimination on the same queries.

    python -m benchmarks.inference [--updates 200] [--beside 5]

Each update is what a decision needs after one stage has ended: the posterior of every variable that is not known yet,
given the states of the variables up to some point and likelihoods of the next three, which are under way. Networks are
random and as dense as networks may be: edges come from the six variables before, as long as no clique grows beyond
10,000 cells. Times are processor time. The comparison needs pgmpy (`pip install --target DIR pgmpy==1.1.2`, then
PYTHONPATH=DIR); without it only ours is measured.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from services.profiler.core.information import Information
from services.profiler.core.junction_tree import Calibrated, JunctionTree
from services.profiler.core.network import Array, Network

Evidence = Mapping[int, Array]
Query = Callable[[Evidence, Sequence[int]], list[Array]]
#: Agreement with pgmpy.
TOLERANCE = 1e-6
SAMPLES = 256
MOST_CELLS = 10_000


class Percentiles(NamedTuple):
    """Milliseconds."""

    p50: float
    p99: float


class Comparison(NamedTuple):
    ours: Percentiles
    theirs: Percentiles
    largest_difference: float  #: of any probability


def random_network(variables: int, states: int, parents: int, seed: int = 1) -> Network:
    random = np.random.default_rng(seed)
    chosen: list[tuple[int, ...]] = []
    for index in range(variables):
        chosen.append(())
        for parent in random.permutation(range(max(0, index - 6), index))[:parents].tolist():
            scopes = [(*above, one) for one, above in enumerate((*chosen[:-1], (*chosen[-1], parent)))]
            if _largest_clique(scopes, states) <= MOST_CELLS:
                chosen[-1] = (*chosen[-1], parent)
    tables = [random.dirichlet(np.full(states, 0.5), size=(states,) * len(above)) for above in chosen]
    return Network(tuple(f"v{index}" for index in range(variables)), tuple(chosen), tuple(tables))


def _largest_clique(scopes: Sequence[tuple[int, ...]], states: int) -> int:
    tree = JunctionTree(scopes, (states,) * len(scopes))
    return int(max(states ** len(clique.scope) for clique in tree.cliques))


def updates(network: Network, count: int, seed: int = 2) -> Iterator[tuple[Evidence, list[int]]]:
    """Evidence of jobs somewhere on their way, and the variables that are not known yet."""
    random = np.random.default_rng(seed)
    size = len(network.names)
    for _ in range(count):
        # A run of the network is evidence that can happen.
        states: list[int] = []
        for index, table in enumerate(network.tables):
            row = table[tuple(states[parent] for parent in network.parents[index])]
            states.append(int(random.choice(len(row), p=row)))
        known = int(random.integers(1, size))
        evidence = {index: np.eye(network.cards[index])[states[index]] for index in range(known)}
        for index in range(known, min(known + 3, size)):
            evidence[index] = np.where(np.arange(network.cards[index]) == states[index], 1.0, 0.5)
        yield evidence, list(range(known, size))


def ours(network: Network) -> Query:
    tree, prior = _compiled(network)

    def query(evidence: Evidence, variables: Sequence[int]) -> list[Array]:
        posterior = tree.calibrate(prior, evidence)
        return [posterior.marginal(variable) for variable in variables]

    return query


def with_pgmpy(network: Network) -> Query:
    """One query for each variable; likelihoods of what is under way are virtual evidence."""
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.inference import VariableElimination
    from pgmpy.models import DiscreteBayesianNetwork

    names, cards = network.names, network.cards
    model = DiscreteBayesianNetwork()
    model.add_nodes_from(names)
    for index, (parents, table) in enumerate(zip(network.parents, network.tables, strict=True)):
        model.add_edges_from((names[parent], names[index]) for parent in parents)
        above = [names[parent] for parent in parents]
        sizes = [cards[parent] for parent in parents]
        columns = table.reshape(-1, cards[index]).T
        model.add_cpds(TabularCPD(names[index], cards[index], columns, evidence=above, evidence_card=sizes))
    inference = VariableElimination(model)

    def query(evidence: Evidence, variables: Sequence[int]) -> list[Array]:
        known = {names[one]: int(value.argmax()) for one, value in evidence.items() if np.count_nonzero(value) == 1}
        soft = [
            TabularCPD(names[one], cards[one], (value / value.sum()).reshape(-1, 1))
            for one, value in evidence.items()
            if np.count_nonzero(value) > 1
        ]
        return [
            inference.query([names[one]], evidence=known, virtual_evidence=soft, show_progress=False).values
            for one in variables
        ]

    return query


def timed(action: Callable[..., object], *arguments: object) -> float:
    """Milliseconds of processor time."""
    begin = time.process_time_ns()
    action(*arguments)
    return (time.process_time_ns() - begin) / 1e6


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    ordered = sorted(milliseconds)
    return Percentiles(*(ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99)))


def measure(network: Network, count: int) -> dict[str, Percentiles]:
    """What a decision may ask for, one after the other."""
    tree, prior = _compiled(network)
    uniforms = np.random.default_rng(3).random((SAMPLES, len(network.names)))
    information = Information(network, uniforms)
    values = {index: np.arange(states, dtype=np.float64) for index, states in enumerate(network.cards)}
    query = ours(network)
    marginals: list[float] = []
    samples: list[float] = []
    first: list[float] = []
    again: list[float] = []
    for evidence, unknown in updates(network, count):
        marginals.append(timed(query, evidence, unknown))
        samples.append(timed(tree.calibrate(prior, evidence).sample, uniforms[:, : len(tree.cliques)]))
        for times in (first, again):
            times.append(timed(information.reductions, unknown[:1], unknown, evidence, values, {}))
    return {
        "marginals of all that is unknown": percentiles(marginals),
        f"{SAMPLES} joint samples": percentiles(samples),
        "R(X|E) of a stage, new pattern": percentiles(first),
        "R(X|E) of a stage, known pattern": percentiles(again),
    }


def compare(network: Network, count: int) -> Comparison:
    """The same updates by both. Raises AssertionError if they do not agree."""
    mine, others = ours(network), with_pgmpy(network)
    times: tuple[list[float], list[float]] = ([], [])
    difference = 0.0
    for evidence, unknown in updates(network, count):
        answers = []
        for query, spent in zip((mine, others), times, strict=True):
            begin = time.process_time_ns()
            answers.append(query(evidence, unknown))
            spent.append((time.process_time_ns() - begin) / 1e6)
        difference = max(difference, *(float(np.abs(a - b).max()) for a, b in zip(*answers, strict=True)))
    if difference > TOLERANCE:
        raise AssertionError(f"pgmpy's answers differ from ours by {difference:g}")
    return Comparison(percentiles(times[0]), percentiles(times[1]), difference)


def _compiled(network: Network) -> tuple[JunctionTree, Calibrated]:
    factors = network.factors()
    tree = JunctionTree([factor.scope for factor in factors], network.cards)
    return tree, tree.potentials(factors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variables", type=int, nargs="+", default=[12, 32])
    parser.add_argument("--states", type=int, default=7)
    parser.add_argument("--parents", type=int, default=2)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--beside", type=int, default=20, help="updates that pgmpy does too")
    arguments = parser.parse_args()
    gc.freeze()
    for variables in arguments.variables:
        network = random_network(variables, arguments.states, arguments.parents)
        tree, _ = _compiled(network)
        print(f"{variables} variables, {arguments.states} states, {arguments.parents} parents: {tree.cells:,} cells")
        for name, found in measure(network, arguments.updates).items():
            print(f"  {name:<34} p50 {found.p50:8.3f} ms  p99 {found.p99:8.3f} ms")
        if find_spec("pgmpy") is None:
            print("  pgmpy is not installed: nothing to compare with")
        elif arguments.beside:
            both = compare(network, arguments.beside)
            print(
                f"  pgmpy's VariableElimination        p50 {both.theirs.p50:8.1f} ms  p99 {both.theirs.p99:8.1f} ms; "
                f"ours {both.theirs.p50 / both.ours.p50:,.0f} times faster, "
                f"largest difference {both.largest_difference:.1g}"
            )


if __name__ == "__main__":
    main()
