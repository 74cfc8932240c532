"""Short agreements on confidentiality that overlap in part."""

from __future__ import annotations

from random import Random
from typing import Any

_PARTIES = ("Acme", "Borealis", "Cobalt", "Delta Foods", "Elm Bank", "Fjord Energy")
_TOPICS = ("price lists", "source code", "customer names", "drawings", "recipes", "test results", "contracts")
_PURPOSES = ("a joint product", "an audit", "a possible purchase", "a trial")


def make_input(random: Random) -> dict[str, Any]:
    """Two to four documents, each with two or three of the clauses that the parties have agreed on."""
    first, second = random.sample(_PARTIES, 2)
    topics = random.sample(_TOPICS, 2)
    clauses = [
        f"{first} keeps {topics[0]} of {second} secret for {random.randint(2, 9)} years.",
        f"{second} uses {topics[1]} only for {random.choice(_PURPOSES)}.",
        f"Copies are destroyed within {random.choice([10, 14, 30, 60])} days.",
        f"A breach costs {random.randint(2, 20) * 5000} euros.",
        f"Courts of {random.choice(['Oslo', 'Vienna', 'Lyon', 'Turin'])} decide disputes.",
    ]
    documents = []
    for _ in range(random.randint(2, 4)):
        chosen = set(random.sample(range(len(clauses)), random.randint(2, 3)))
        documents.append(" ".join(clause for number, clause in enumerate(clauses) if number in chosen))
    return {"documents": documents}
