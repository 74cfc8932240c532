"""Questions that need two or three facts, which can be looked up in parallel."""

from __future__ import annotations

from random import Random
from typing import Any

from llmsched.applications.llm_compiler.facts import all_facts


def make_input(random: Random) -> dict[str, Any]:
    """A question over facts of the same kind."""
    chosen = random.choice(all_facts())
    alike = [fact for fact in all_facts() if (fact.kind, fact.field) == (chosen.kind, chosen.field)]
    first, second, third = random.sample(alike, 3)
    field = first.field
    return {
        "question": random.choice(
            [
                f"How much greater is the {field} of {first.name} than that of {second.name}?",
                f"What is the {field} of {first.name} and {second.name} together?",
                f"How many times the {field} of {second.name} is that of {first.name}?",
                f"Which has the largest {field}: {first.name}, {second.name} or {third.name}?",
                f"What is the {field} of {first.name}?",
            ]
        )
    }
