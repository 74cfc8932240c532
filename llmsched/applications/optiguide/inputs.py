"""What-if questions about the supply chain."""

from __future__ import annotations

from random import Random
from typing import Any

from llmsched.applications.optiguide.model import CAFES, ROASTERIES, SUPPLIERS

_ASKING = ("What if {}?", "What happens when {}?", "How would the cost change if {}?", "Can we still deliver if {}?")


def make_input(random: Random) -> dict[str, Any]:
    """A question with one change, or now and then with two; some of them cannot be met."""
    events = [_event(random) for _ in range(random.choice((1, 1, 1, 2)))]
    return {"question": random.choice(_ASKING).format(" and ".join(dict.fromkeys(events)))}


def _event(random: Random) -> str:
    supplier, roastery, cafe = random.choice(SUPPLIERS), random.choice(ROASTERIES), random.choice(CAFES)
    less, more = random.randrange(10, 95, 5), random.randrange(5, 80, 5)
    return random.choice(
        (
            f"the demand of {cafe} rises by {more} %",
            f"the demand of {cafe} falls by {less} %",
            f"the capacity of supplier {supplier} falls by {less} %",
            f"roastery {roastery} can roast {more} % more",
            f"beans of {supplier} cost {more} % more",
            f"roasting in {roastery} becomes {less} % cheaper",
            f"shipping from {supplier} to {roastery} costs {more} % more",
            f"supplier {supplier} closes",
            f"roastery {roastery} is closed",
            f"we stop shipping from {supplier} to {roastery}",
            f"the route from {roastery} to {cafe} is blocked",
        )
    )
