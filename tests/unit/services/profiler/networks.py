"""Networks to infer in, and the answer that enumeration gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from services.profiler.core.network import Array, Network


def network(*variables: tuple[Sequence[int], object]) -> Network:
    """Of (parents, table) for each variable."""
    return Network(
        names=tuple(f"v{index}" for index in range(len(variables))),
        parents=tuple(tuple(parents) for parents, _ in variables),
        tables=tuple(np.array(table, dtype=np.float64) for _, table in variables),
    )


def random_network(random: np.random.Generator, size: int, most_states: int = 3, most_parents: int = 3) -> Network:
    """A tenth of its probabilities are 0."""
    cards: list[int] = []
    variables = []
    for index in range(size):
        cards.append(int(random.integers(1, most_states + 1)))
        count = int(random.integers(0, min(index, most_parents) + 1))
        parents = sorted(random.choice(index, size=count, replace=False).tolist()) if count else []
        table = random.random([*(cards[parent] for parent in parents), cards[index]])
        table *= random.random(table.shape) > 0.1
        table[..., 0] += 0.01
        variables.append((parents, table / table.sum(axis=-1, keepdims=True)))
    return network(*variables)


@st.composite
def networks_with_evidence(draw: st.DrawFn, size: int = 6) -> tuple[Network, dict[int, Array]]:
    """Evidence is hard, soft or none for each variable; it may be impossible."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = random_network(random, draw(st.integers(1, size)))
    seen = draw(st.lists(st.sampled_from(range(len(found.names))), unique=True))
    likelihoods = {}
    for variable in seen:
        likelihood = random.random(found.cards[variable]) * (random.random(found.cards[variable]) > 0.4)
        likelihood[random.integers(len(likelihood))] = 1.0
        likelihoods[variable] = likelihood
    return found, likelihoods


def enumerated(found: Network, likelihoods: Mapping[int, Array]) -> Array:
    """P(all variables, evidence), an axis for each variable."""
    size = len(found.names)
    joint = np.ones(found.cards)
    for factor in found.factors():
        joint = joint * factor.over(range(size))
    for variable, likelihood in likelihoods.items():
        joint = joint * likelihood.reshape([-1 if one == variable else 1 for one in range(size)])
    return joint


def marginal(joint: Array, variables: Sequence[int]) -> Array:
    """Axes of `variables`, ascending."""
    return np.asarray(joint.sum(axis=tuple(one for one in range(joint.ndim) if one not in variables)))


def entropy(distribution: Array) -> float:
    """In bits."""
    possible = distribution[distribution > 0]
    return float(-(possible * np.log2(possible)).sum())


def hard(state: int, states: int = 2) -> Array:
    return np.eye(states)[state]
