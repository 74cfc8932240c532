"""Texts of one to four claims, some of which are wrong."""

from __future__ import annotations

from random import Random
from typing import Any

from llmsched.applications.llm_compiler.facts import Fact, all_facts


def make_input(random: Random) -> dict[str, Any]:
    """A text; about every third of its numbers is wrong."""
    chosen = random.sample(all_facts(), random.randint(1, 4))
    return {"text": " ".join(_claim(fact, random) for fact in chosen)}


def _claim(fact: Fact, random: Random) -> str:
    number = fact.value
    if random.random() < 1 / 3:
        number = round(fact.value * random.choice([0.4, 0.7, 1.5, 2.2]))
    article = "an" if fact.field[0] in "aeiou" else "a"
    return random.choice(
        [
            f"The {fact.field} of {fact.name} is {number} {fact.unit}.",
            f"{fact.name} is a {fact.kind} with {article} {fact.field} of {number} {fact.unit}.",
            f"With {article} {fact.field} of {number} {fact.unit}, {fact.name} is a well-known {fact.kind}.",
        ]
    )
