"""Structure search and parameters by pgmpy: the textbook way, to use instead of the core's own and to compare it with.

    profiles = learn(history, search, estimate)

The only module that imports pgmpy (`pip install llmsched[profiler]`). Columns stand in causal order, so the score of a
network is a sum over its variables, each of which may choose its parents among the earlier ones by itself: that is
pgmpy's `HillClimbSearch` under a temporal order, without its moves through the whole graph, and with the limit of
cliques, which it does not know. Nothing is drawn and no set is walked through: equal columns give equal networks,
whatever PYTHONHASHSEED says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from pgmpy.factors.discrete import TabularCPD
from pgmpy.models import DiscreteBayesianNetwork
from pgmpy.parameter_estimator import DiscreteBayesianEstimator
from pgmpy.structure_score import BIC, BaseStructureScore, BDeu

from services.profiler.core.network import Array
from services.profiler.core.structure import MAX_PARENTS, MAX_TABLE_CELLS, Column, cells, fits

#: Of the uniform (BDeu) prior of a variable's table: how many jobs it counts for, spread over all cells of the table.
EQUIVALENT_SAMPLE_SIZE = 5.0

#: A parent must raise the score by this much: rounding does not count.
LEAST_GAIN = 1e-6


def search(columns: Sequence[Column]) -> tuple[tuple[int, ...], ...]:
    """The parents of each variable by BIC (Schwarz 1978; Koller and Friedman 2009, section 18.3.5)."""
    return _climbed(columns, BIC(_frame(columns), state_names=_state_names(columns)))


def search_bdeu(columns: Sequence[Column]) -> tuple[tuple[int, ...], ...]:
    """The parents of each variable by BDeu (Heckerman, Geiger and Chickering 1995)."""
    score = BDeu(_frame(columns), state_names=_state_names(columns), equivalent_sample_size=EQUIVALENT_SAMPLE_SIZE)
    return _climbed(columns, score)


def estimate(columns: Sequence[Column], parents: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """Bayesian estimates of the tables: counts, and the uniform prior."""
    model = DiscreteBayesianNetwork()
    names = _names(columns)
    model.add_nodes_from(names)
    model.add_edges_from((names[parent], names[index]) for index, chosen in enumerate(parents) for parent in chosen)
    estimator = DiscreteBayesianEstimator(
        prior_type="BDeu", equivalent_sample_size=EQUIVALENT_SAMPLE_SIZE, state_names=_state_names(columns)
    )
    found = {table.variable: table for table in estimator.fit(model, _frame(columns)).parameters_}
    return tuple(
        _table(found[name], [names[one] for one in chosen]) for name, chosen in zip(names, parents, strict=True)
    )


def _table(found: TabularCPD, parents: Sequence[str]) -> Array:
    """Axes in the order of `parents`, then the variable; pgmpy has the variable first, and parents by name."""
    table: Array = np.array(found.values, dtype=np.float64)
    return table.transpose([*(found.variables.index(one) for one in parents), 0])


def _climbed(columns: Sequence[Column], score: BaseStructureScore) -> tuple[tuple[int, ...], ...]:
    names = _names(columns)
    parents: list[tuple[int, ...]] = []
    for index in range(len(columns)):
        chosen: tuple[int, ...] = ()
        best = score.local_score(names[index], ())
        while len(chosen) < MAX_PARENTS:
            offers = [tuple(sorted({*chosen, parent})) for parent in range(index) if parent not in chosen]
            offers = [offer for offer in offers if cells(columns, (*offer, index)) <= MAX_TABLE_CELLS]
            of = partial(_local, score, names, index)
            better = sorted((-of(offer), offer) for offer in offers if of(offer) > best + LEAST_GAIN)
            fitting = next((pair for pair in better if fits(columns, [*parents, pair[1]])), None)
            if fitting is None:
                break
            best, chosen = -fitting[0], fitting[1]
        parents.append(chosen)
    return tuple(parents)


def _local(score: BaseStructureScore, names: Sequence[str], index: int, parents: tuple[int, ...]) -> float:
    return float(score.local_score(names[index], tuple(names[parent] for parent in parents)))


def _names(columns: Sequence[Column]) -> list[str]:
    return [f"v{index:02d}" for index in range(len(columns))]


def _frame(columns: Sequence[Column]) -> pd.DataFrame:
    return pd.DataFrame({name: column.states for name, column in zip(_names(columns), columns, strict=True)})


def _state_names(columns: Sequence[Column]) -> dict[str, list[int]]:
    return {name: list(range(column.card)) for name, column in zip(_names(columns), columns, strict=True)}
