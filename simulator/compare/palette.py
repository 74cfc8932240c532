"""One look for each policy, in every chart: a colour for light and dark pages, and dashes by what the policy knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

from services.common.drawing import CHART_STYLE, DARK, LIGHT
from services.scheduler.core.policies import POLICIES
from simulator.compare.study import Knows, knows
from simulator.variants import name_of

#: For light and for dark paper. Neighbours differ in lightness too, for eyes that tell few hues apart; after Okabe and
#: Ito (2008) and Tol's muted scheme, with lightness adjusted to at least 3:1 against the paper.
_COLOURS = (
    ("#0072b2", "#4ba6e3"),
    ("#b86e00", "#f0ac3c"),
    ("#007a59", "#38c79b"),
    ("#bc4f8a", "#e79cc6"),
    ("#c24a00", "#ff8a4c"),
    ("#4a3aa7", "#a99bf5"),
    ("#6b7a00", "#c5d14e"),
    ("#882255", "#d983ac"),
    ("#1f8a99", "#63cbd8"),
    ("#7a5230", "#c9a07a"),
    ("#2e6b1f", "#8fcf6f"),
    ("#8e44ad", "#cf94ea"),
)
_INK = ("#22262b", "#e8e6e1")

_DASHES = {Knows.JOBS: "none", Knows.HISTORY: "7 2.5", Knows.FUTURE: "1.5 2.5"}


def css_class(policy: str) -> str:
    """The class of everything that is drawn of a policy."""
    return f"p-{re.sub('[^a-z0-9-]', '_', policy)}"


def style(policies: Sequence[str]) -> str:
    """CSS for charts of these policies, for light and dark pages."""
    light, dark = (
        "".join(f".{css_class(name)}{{--c:{_pair(name)[shade]};--d:{_DASHES[knows(name)]}}}" for name in policies)
        for shade in (0, 1)
    )
    return (
        f":root{{color-scheme:light dark;{LIGHT}}}{light}"
        f"@media (prefers-color-scheme:dark){{:root{{{DARK}}}{dark}}}{CHART_STYLE}"
    )


def _pair(policy: str) -> tuple[str, str]:
    if knows(policy) is Knows.FUTURE:
        return _INK
    # By the place among all policies, so that a policy looks the same in every report.
    others = sorted(name for name in POLICIES if knows(name) is not Knows.FUTURE)
    place = others.index(name_of(policy))
    if policy not in POLICIES:  # a variant: beside its policy it must look different
        digest = blake2b(policy.encode(), digest_size=2).digest()
        place += 1 + int.from_bytes(digest, "big") % (len(_COLOURS) - 1)
    return _COLOURS[place % len(_COLOURS)]
