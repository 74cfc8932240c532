"""What a profile believes of a job before it has shown anything, from the profile's content alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: Jobs that are drawn: probabilities are exact to about one in a hundred.
_DRAWS = 2000


class Prior(NamedTuple):
    presence: float  #: probability that a job has the stage at all
    mean: float  #: of jobs that have it


def priors(content: Mapping[str, Any]) -> list[Prior]:
    """Of each variable. The same for the same content: what is drawn is drawn with a fixed seed."""
    generator = random.Random(0)
    variables, parents, tables = content["variables"], content["parents"], content["tables"]
    sums = [[0.0] * _states(variable) for variable in variables]
    for _ in range(_DRAWS):
        states: list[int] = []
        for place, table in enumerate(tables):
            row = table
            for parent in parents[place]:
                row = row[states[parent]]
            for state, probability in enumerate(row):
                sums[place][state] += probability
            states.append(generator.choices(range(len(row)), row)[0])
    return [_prior(one, [total / _DRAWS for total in found]) for one, found in zip(variables, sums, strict=True)]


def _states(variable: Mapping[str, Any]) -> int:
    return len(variable["bins"]["values"]) + bool(variable["optional"])


def _prior(variable: Mapping[str, Any], shares: Sequence[float]) -> Prior:
    present = shares[1:] if variable["optional"] else shares
    presence = sum(present)
    means = [sum(values) / len(values) for values in variable["bins"]["values"]]
    weighted = sum(share * mean for share, mean in zip(present, means, strict=True))
    return Prior(presence, weighted / presence if presence else 0.0)
