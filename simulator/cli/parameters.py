"""Options for what policies can be set to, given to every policy of a command that takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import click

from services.scheduler.core import PolicySettings
from services.scheduler.core.policies import PARAMETERS
from services.scheduler.core.policies.believing import Ingredient
from simulator.cli.common import Finite

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--epsilon", type=Finite(min=0, max=1), metavar="P", help="llmsched: how often it explores.  [0.2]"),
    click.option(
        "--sample-ratio",
        type=Finite(min=0, max=1),
        metavar="R",
        help="llmsched: share of a stage's tasks that it explores with.  [0.3]",
    ),
    click.option(
        "--without",
        multiple=True,
        type=click.Choice([str(one) for one in Ingredient]),
        metavar="NAME",
        help=f"gittins, llmsched: leave out an ingredient; repeatable: {', '.join(Ingredient)}.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the options say; None or nothing: not said."""

    epsilon: float | None = None
    sample_ratio: float | None = None
    without: tuple[str, ...] = ()

    def given_to(self, policies: Sequence[PolicySettings]) -> list[PolicySettings]:
        """The policies, those that take what was said with it.

        Raises:
            click.UsageError: none of them takes it.
        """
        found = list(policies)
        for field in fields(self):
            value = getattr(self, field.name)
            if value in (None, ()):
                continue
            takers = PARAMETERS[field.name]
            if not any(settings.name in takers for settings in found):
                raise click.UsageError(f"--{field.name.replace('_', '-')} is for --policy {' or '.join(takers)}")
            found = [
                replace(settings, **{field.name: value}) if settings.name in takers else settings for settings in found
            ]
        return found


def parameter_options(command: _F) -> _F:
    """Adds the options; the command gets them as one argument `parameters: Parameters`."""

    @functools.wraps(command)
    def gathered(*args: Any, epsilon: float | None, sample_ratio: float | None, without: Any, **options: Any) -> Any:
        said = Parameters(epsilon=epsilon, sample_ratio=sample_ratio, without=tuple(dict.fromkeys(without)))
        return command(*args, parameters=said, **options)

    found: Any = gathered
    for option in reversed(_OPTIONS):
        found = option(found)
    return found
