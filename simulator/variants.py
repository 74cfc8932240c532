"""A policy with its settings as one word, and back: `gittins:without=network+part`, `llmsched:epsilon=0.1`.

The word is what runs are told apart by, in options, tables, files and charts. It says what makes a policy another one:
neither seed nor ageing guard, which are of the run, nor the order of applications.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.scheduler.core import PolicySettings, UnknownPolicy

#: Parameters in words, and the fields of the settings.
_PARAMETERS = {"without": "without", "epsilon": "epsilon", "sample-ratio": "sample_ratio"}

#: Between several ingredients that are left out.
_AND = "+"


def label(settings: PolicySettings) -> str:
    """The word for these settings: the name of the policy alone if nothing is unusual."""
    said = []
    for word, field in _PARAMETERS.items():
        value = getattr(settings, field)
        if value not in (None, ()):
            said.append(f"{word}={_AND.join(value) if isinstance(value, tuple) else format(value, 'g')}")
    return f"{settings.name}:{','.join(said)}" if said else settings.name


def name_of(policy: str) -> str:
    """The policy that the word is a variant of."""
    return policy.partition(":")[0]


def parse(word: str) -> PolicySettings:
    """The settings that the word stands for; whether the policy takes them is for `make_policy` to say.

    Raises:
        UnknownPolicy: a parameter that there is not, twice the same, or a value that is no number.
    """
    name, colon, rest = word.partition(":")
    settings = PolicySettings(name=name)
    seen: set[str] = set()
    for part in rest.split(",") if colon else ():
        parameter, _, value = part.partition("=")
        if parameter not in _PARAMETERS or not value:
            known = ", ".join(f"{each}=…" for each in _PARAMETERS)
            raise UnknownPolicy(f"policy {word!r}: {part!r} says nothing; what can follow the colon: {known}")
        if parameter in seen:
            raise UnknownPolicy(f"policy {word!r} says {parameter} twice")
        seen.add(parameter)
        values: dict[str, Any] = {_PARAMETERS[parameter]: _value(word, parameter, value)}
        settings = replace(settings, **values)
    return settings


def _value(word: str, parameter: str, text: str) -> float | tuple[str, ...]:
    if parameter == "without":
        return tuple(text.split(_AND))
    try:
        return float(text)
    except ValueError:
        raise UnknownPolicy(f"policy {word!r}: {parameter} must be a number, not {text!r}") from None
