"""Where the client finds its servers, and how patient it is."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsched.errors import OptionsError, Violation

_PREFIX = "LLMSCHED_"
_FILE_VARIABLE = "LLMSCHED_CLIENT_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a client. `Options.load()` fills them from the environment and a file."""

    #: The planner, as host:port.
    address: str = "127.0.0.1:7411"
    #: Schedulers, as host:port; any of them leads the way to the one that decides.
    scheduler: tuple[str, ...] = ("127.0.0.1:7412",)
    #: Profilers, as host:port; any of them leads the way to the one that learns.
    profiler: tuple[str, ...] = ("127.0.0.1:7413",)
    #: Encrypt connections.
    tls: bool = False
    #: PEM file with the authorities to trust; None: the system's.
    ca_file: Path | None = None
    #: PEM files of the client's own certificate and key, where servers ask for one.
    cert_file: Path | None = None
    key_file: Path | None = None
    #: Seconds one call may take in all, waiting for a full queue included.
    timeout: float = 30.0
    #: Seconds a call keeps trying a server that cannot be reached.
    connect_timeout: float = 5.0
    #: Seconds a watch, and a call of an open job, keeps trying to go on after its connection broke.
    reconnect_timeout: float = 60.0

    def __post_init__(self) -> None:
        problems = [
            Violation(path=name, message=f"must be more than 0 seconds, not {getattr(self, name)}")
            for name in ("timeout", "connect_timeout", "reconnect_timeout")
            if not getattr(self, name) > 0
        ]
        if not self.address:
            problems.append(Violation(path="address", message="must not be empty"))
        for name in ("scheduler", "profiler"):
            addresses = getattr(self, name)
            if not addresses or not all(addresses):
                problems.append(Violation(path=name, message="needs at least one address"))
        if (self.cert_file is None) != (self.key_file is None):
            problems.append(Violation(path="cert_file", message="cert_file and key_file belong together"))
        if not self.tls and (self.ca_file or self.cert_file):
            problems.append(Violation(path="tls", message="must be on when certificates are given"))
        if problems:
            raise OptionsError("the client's settings are wrong", violations=problems)

    @classmethod
    def load(cls, *, environ: Mapping[str, str] | None = None, file: Path | None = None, **overrides: Any) -> Options:
        """Settings from, in falling order: `overrides`, LLMSCHED_* variables, the file, the defaults.

        The file is `file`, else the one LLMSCHED_CLIENT_CONFIG names, else `llmsched/config.toml` in
        $XDG_CONFIG_HOME or ~/.config; only a file that was named must exist. Overrides that are None do not
        count. Raises OptionsError with everything that is wrong.
        """
        environ = os.environ if environ is None else environ
        problems: list[Violation] = []
        settings: dict[str, Any] = {}
        sources = [
            _from_file(environ, file, problems),
            {f"{_PREFIX}{name.upper()}": environ.get(f"{_PREFIX}{name.upper()}") for name in _PARSERS},
            overrides,
        ]
        for source in sources:
            for key, given in source.items():
                name = key.removeprefix(_PREFIX).lower()
                if given is None or given == "":
                    continue
                try:
                    settings[name] = _PARSERS[name](given)
                except KeyError:
                    known = ", ".join(_PARSERS)
                    problems.append(Violation(path=key, message=f"is no setting; there are: {known}"))
                except (ValueError, TypeError) as error:
                    problems.append(Violation(path=key, message=str(error)))
        if problems:
            raise OptionsError("the client's settings are wrong", violations=problems)
        return cls(**settings)

    def replace(self, **changes: Any) -> Options:
        """These settings with some changed."""
        return dataclasses.replace(self, **changes)


def _from_file(environ: Mapping[str, str], file: Path | None, problems: list[Violation]) -> dict[str, Any]:
    named = file or environ.get(_FILE_VARIABLE)
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/") / ".config"
    path = Path(named or Path(home) / "llmsched" / "config.toml").expanduser()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, PermissionError) as error:
        # The default place may lie in a home that is not there or not ours.
        if named:
            problems.append(Violation(path=str(path), message=error.strerror or str(error)))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Violation(path=str(path), message=str(error)))
    return {}


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"must be text, not {given!r}")
    return given.strip()


def _addresses(given: Any) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(_text(part) for part in parts)


def _switch(given: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[str(given).strip().lower()]
    except KeyError:
        raise ValueError(f"must be true or false, not {given!r}") from None


def _seconds(given: Any) -> float:
    if isinstance(given, bool):
        raise TypeError(f"must be a number of seconds, not {given!r}")
    try:
        return float(given)
    except (ValueError, TypeError):
        raise ValueError(f"must be a number of seconds, not {given!r}") from None


def _path(given: Any) -> Path:
    return Path(given).expanduser()


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "address": _text,
    "scheduler": _addresses,
    "profiler": _addresses,
    "tls": _switch,
    "ca_file": _path,
    "cert_file": _path,
    "key_file": _path,
    "timeout": _seconds,
    "connect_timeout": _seconds,
    "reconnect_timeout": _seconds,
}
