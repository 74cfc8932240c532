"""One look for each policy, in every chart: a colour for light and dark pages, and dashes by what the policy knows."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.policies import POLICIES
from simulator.compare.study import Knows, knows

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

#: Style of charts. The page's style sheet has it as well, so that charts in a page and in files look the same.
CHART_STYLE = """
.chart{font:12px system-ui,-apple-system,"Segoe UI",sans-serif}.paper{fill:var(--paper)}
.chart text{fill:var(--muted)}.chart text.name,.chart text.title{fill:var(--ink)}.chart text.title{font-weight:600}
.chart text.best{fill:var(--ink);font-weight:700}.chart text.end{text-anchor:end}.chart text.mid{text-anchor:middle}
.chart text.name{text-anchor:end}.chart text.best{text-anchor:end}
.grid{stroke:var(--line)}.axis{stroke:var(--muted)}.whisker{stroke:var(--ink);stroke-width:1.3}
.series rect{fill:var(--c);fill-opacity:.6}.series circle{fill:var(--c)}
.series path{fill:none;stroke:var(--c);stroke-width:1.5;stroke-dasharray:var(--d)}
.series line.leader{stroke:var(--c);stroke-width:.6;opacity:.6}
.chart .series text{fill:var(--c)}.quiet path{stroke-width:1;opacity:.55}.loud path{stroke-width:2.6}
"""

_LIGHT = "--ink:#22262b;--muted:#5f6670;--line:#e3e1dc;--paper:#fff;"
_DARK = "--ink:#e8e6e1;--muted:#a0a6ae;--line:#363b42;--paper:#16191d;"


def css_class(policy: str) -> str:
    """The class of everything that is drawn of a policy."""
    return f"p-{policy}"


def style(policies: Sequence[str]) -> str:
    """CSS for charts of these policies, for light and dark pages."""
    light, dark = (
        "".join(f".{css_class(name)}{{--c:{_pair(name)[shade]};--d:{_DASHES[knows(name)]}}}" for name in policies)
        for shade in (0, 1)
    )
    return (
        f":root{{color-scheme:light dark;{_LIGHT}}}{light}"
        f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}{dark}}}{CHART_STYLE}"
    )


def _pair(policy: str) -> tuple[str, str]:
    if knows(policy) is Knows.FUTURE:
        return _INK
    # By the place among all policies, so that a policy looks the same in every report.
    others = sorted(name for name in POLICIES if knows(name) is not Knows.FUTURE)
    return _COLOURS[others.index(policy) % len(_COLOURS)]
