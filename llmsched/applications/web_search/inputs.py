"""Questions on Python's standard library, and little sums: some take a search, some a calculation, some both."""

from __future__ import annotations

from random import Random
from typing import Any

from llmsched.applications.web_search.corpus import documents


def make_input(random: Random) -> dict[str, Any]:
    """A question."""
    # Modules only: their documents are the same wherever the same Python is.
    modules = [each for each in documents() if each.kind == "module"]
    functions = [each for each in documents() if each.kind == "function"]
    module, function = random.choice(modules), random.choice(functions)
    a, b, c = random.randint(12, 99), random.randint(12, 99), random.randint(2, 9)
    return {
        "question": random.choice(
            [
                f"What is the Python module {module.title} for?",
                f"What does the Python function {function.title} do?",
                f"In which Python module is the function {function.title.partition('.')[2]}?",
                f"Which Python module helps with this: {' '.join(module.text.split()[:8])}?",
                f"What is {a} * {b} + {c}?",
                f"How many seconds are {c} days and {a} minutes?",
                f"What does {function.title} do, and what is {a} * {c}?",
            ]
        )
    }
