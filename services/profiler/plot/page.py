"""Renders a profile as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from services.profiler.core.profile import Level, Profile
from services.profiler.core.variables import Aspect
from services.profiler.plot import charts
from services.profiler.plot.picture import Picture, number, picture

#: Links that are listed: the strongest.
_LINKS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How good beliefs were, as far as it was measured."""

    coverage: Mapping[float, float]  #: share that an interval of this level held
    pit: Sequence[float] = ()
    note: str = ""  #: what it is of


def render(profile: Profile, facts: Mapping[str, str], reliability: Reliability | None) -> str:
    """The page. `facts` are shown as they are."""
    found = picture(profile)
    drawn = charts.network(found)
    environment = Environment(
        loader=PackageLoader("services.profiler.plot", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "label": charts.label}
    return environment.get_template("page.html.j2").render(
        profile=profile,
        facts=facts,
        style=Markup(charts.style()),
        network=drawn.markup(),
        width=round(drawn.width),
        nodes=found.nodes,
        links=_strongest(found),
        histograms={node.index: charts.histogram(node).markup() for node in found.nodes},
        levels=_levels(profile),
        pools=_pools(profile),
        reliability=reliability,
        coverage=charts.coverage(reliability.coverage).markup() if reliability else "",
        pit=charts.pit(reliability.pit).markup() if reliability and reliability.pit else "",
    )


def render_network(profile: Profile) -> str:
    """The network alone, as an SVG file."""
    return str(charts.network(picture(profile)).markup(charts.style()))


def _strongest(found: Picture) -> list[tuple[str, str, float]]:
    links = sorted(found.links, key=lambda link: -link.bits)[:_LINKS]
    return [
        (charts.label(found.nodes[link.parent]), charts.label(found.nodes[link.child]), link.bits) for link in links
    ]


def _levels(profile: Profile) -> list[tuple[str, str, Level]]:
    """Names in the order of what a stage of them takes, each with its kind."""
    rows = [(name, "LLM" if profile.llm_names[name] else "tool", level) for name, level in profile.levels.items()]
    return sorted(rows, key=lambda row: (row[1], -row[2].units * row[2].width, row[0]))


def _pools(profile: Profile) -> list[tuple[str, str, str, Level]]:
    """Loops and the rest: name, what counts it, kind, level."""
    rows = []
    for name, pool in profile.pools.items():
        if (Aspect.COUNT, (pool.count, 0)) not in profile.index:
            continue  # no job had any
        for kind, level, share in (("LLM", pool.llm, pool.llm_share), ("tool", pool.tool, 1.0 - pool.llm_share)):
            if share > 0.0:
                counted = "with " + pool.count if pool.count not in ("", name) else "by itself"
                rows.append((name or "all other stages", counted, f"{kind}, {share:.0%}", level))
    return rows
