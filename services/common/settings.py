"""Settings come from the environment; everything that is wrong with them is said at once, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

_Settings = TypeVar("_Settings", bound=BaseSettings)


def load_settings(kind: type[_Settings]) -> _Settings:
    """Reads settings of the given class. Ends the process with one line per mistake."""
    try:
        return kind()
    except SettingsError as error:
        raise SystemExit(f"invalid settings: {error}") from error
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        lines = mistakes(error, lambda name: _variable(prefix, name))
        raise SystemExit("invalid settings:\n" + "\n".join(f"  {line}" for line in lines)) from error


def mistakes(error: ValidationError, call: Callable[[str], str]) -> list[str]:
    """One line per mistake; `call` says how the user knows a setting. What concerns several of them names none."""
    lines: list[str] = []
    for each in error.errors():
        told = each["msg"].removeprefix("Value error, ")
        lines += [f"{call(str(each['loc'][0]))}: {told}"] if each["loc"] else told.splitlines()
    return lines


def _variable(prefix: str, name: str) -> str:
    return name if name.startswith("LLMSCHED_") else f"{prefix}{name}".upper()
