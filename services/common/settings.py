"""Settings come from the environment; everything that is wrong with them is said at once, before anything starts."""

from __future__ import annotations

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
        lines = [f"  {_variable(prefix, each['loc'])}: {each['msg']}" for each in error.errors()]
        raise SystemExit("invalid settings:\n" + "\n".join(lines)) from error


def _variable(prefix: str, location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "?"
    return name if name.startswith("LLMSCHED_") else f"{prefix}{name}".upper()
