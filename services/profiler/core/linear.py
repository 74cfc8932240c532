"""A linear model beside the network: means of what is not known yet from the values that are, without bins.

Bins cost precision: where a job's stages are all long or all short, the exact lengths of those that have ended say more
of the others than the bins they fall into. So the correlations of all pairs of variables are learned too, drawn towards
none (a ridge, as if `ridge` more jobs had none), and the mean of an unknown variable given the known ones is that of a
normal distribution: in standard units, C_uk (C_kk + ridge / jobs)^-1 z_k. Presence, counts and everything but means is
the network's. The ridge is the one that predicts each variable best from the earlier ones, jobs left out in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from services.profiler.core.network import Array

#: What is tried, in jobs.
RIDGES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

#: With fewer jobs there is no model.
LEAST_JOBS = 20

#: Patterns of known variables that are kept.
PATTERNS = 1024

#: A value counts as no further from the mean than this, in deviations.
MOST = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Of variables in an order in which causes come first."""

    means: Array  #: shape (variables,)
    deviations: Array  #: shape (variables,); none is 0
    correlations: Array  #: shape (variables, variables); positive semidefinite
    ridge: float  #: in units of the correlations: over the number of jobs

    def gain(self, known: Sequence[int], unknown: Sequence[int]) -> Array:
        """What the standard values of known variables are multiplied with; shape (unknown, known)."""
        inner = self.correlations[np.ix_(known, known)] + self.ridge * np.eye(len(known))
        return np.asarray(np.linalg.solve(inner, self.correlations[np.ix_(known, unknown)]).T)

    def standard(self, known: Sequence[int], values: Sequence[float]) -> Array:
        chosen = list(known)
        return np.clip((np.array(values) - self.means[chosen]) / self.deviations[chosen], -MOST, MOST)

    def plain(self) -> dict[str, Any]:
        """As numbers and lists."""
        return {
            "means": self.means.tolist(),
            "deviations": self.deviations.tolist(),
            "correlations": self.correlations.tolist(),
            "ridge": self.ridge,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Linear:
        return cls(
            np.array(plain["means"], dtype=float),
            np.array(plain["deviations"], dtype=float),
            np.array(plain["correlations"], dtype=float).reshape(len(plain["means"]), -1),
            plain["ridge"],
        )


class Gains:
    """Of one model: kept by which variables are known, as an application's jobs show few patterns."""

    def __init__(self, model: Linear, variables: Sequence[int]) -> None:
        """Args: `variables` that means are wanted of."""
        self.model = model
        self._variables = variables
        self._found: dict[tuple[int, ...], tuple[list[int], Array]] = {}

    def of(self, known: tuple[int, ...]) -> tuple[list[int], Array]:
        """The other variables, and the gain from the known ones to them."""
        found = self._found.get(known)
        if found is None:
            unknown = [one for one in self._variables if one not in known]
            if len(self._found) >= PATTERNS:
                self._found.clear()
            found = self._found[known] = unknown, self.model.gain(known, unknown)
        return found


def learn(columns: Sequence[Sequence[float | None]]) -> Linear | None:
    """Of the values of each variable in each job; None: the job has no such stage. Too few jobs: no model."""
    if not columns or len(columns[0]) < LEAST_JOBS:
        return None
    values = np.array([[np.nan if one is None else one for one in column] for column in columns], dtype=float)
    present = ~np.isnan(values)
    counts = np.maximum(present.sum(axis=1), 1)
    means = np.where(present, values, 0.0).sum(axis=1) / counts
    away = np.where(present, values - means[:, None], 0.0)
    deviations = np.sqrt((away**2).sum(axis=1) / counts)
    deviations = np.where(deviations > 0.0, deviations, 1.0)
    standard = np.clip(away / deviations[:, None], -MOST, MOST)
    both = present.astype(float) @ present.T.astype(float)
    correlations = (standard @ standard.T) / np.maximum(both, 1.0)
    levels, vectors = np.linalg.eigh(correlations)  # of different jobs for each pair: not always semidefinite
    correlations = (vectors * np.maximum(levels, 0.0)) @ vectors.T
    ridge = min(RIDGES, key=lambda one: _error(standard, present, one))
    return Linear(means, deviations, correlations, ridge / values.shape[1])


def _error(standard: Array, present: Array, ridge: float) -> float:
    """Of each variable from the earlier ones, squared, each job left out in turn."""
    total = 0.0
    for index in range(1, len(standard)):
        here = present[index].astype(bool)
        design, target = standard[:index, here].T, standard[index, here]
        inverse = np.linalg.inv(design.T @ design + ridge * np.eye(index))
        hat = np.einsum("ij,jk,ik->i", design, inverse, design)
        error = (target - design @ (inverse @ (design.T @ target))) / np.maximum(1.0 - hat, 1e-6)
        total += float((error**2).sum())
    return total if np.isfinite(total) else inf
