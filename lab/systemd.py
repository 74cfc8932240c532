"""The units of deploy/systemd as processes of a lab: what people install on hosts is what runs here.

`hosts.yaml` says which unit runs where. A unit's command, environment files, stop timeout and state directory count;
who starts it anew after a failure, and what hardens it, are systemd's.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.processes import Service
from services.state.embedded import find_binary

FOLDER = Path(__file__).parents[1] / "deploy" / "systemd"
CONFIGURATION = "/etc/llmsched/"  #: where the environment files of a host lie
_CLI = [sys.executable, "-m", "llmsched.cli"]
#: How to ask each unit whether it is well. Redis answers a command line that may not be installed.
_HEALTH = {
    "llmsched-redis": [sys.executable, "-c", "import redis; redis.Redis().ping()"],
    "llmsched-planner": [*_CLI, "health", "planner"],
    "llmsched-profiler": [*_CLI, "health", "profiler"],
    "llmsched-scheduler": [*_CLI, "health", "scheduler"],
    "llmsched-llm-executor": [*_CLI, "health", "executor"],
    "llmsched-tool-executor": [*_CLI, "health", "executor"],
    "llmsched-engine-sim": [*_CLI, "health", "engine"],
}
_SECONDS = {"": 1, "s": 1, "sec": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit file, for one instance if it is a template."""

    template: str  #: without instance and suffix
    instance: str
    directives: tuple[tuple[str, str, str], ...]  #: section, key, value, as they stand in the file

    @property
    def name(self) -> str:
        return f"{self.template}@{self.instance}" if self.instance else self.template

    def all(self, key: str, section: str = "Service") -> list[str]:
        return [value for each, name, value in self.directives if (each, name) == (section, key)]

    def one(self, key: str) -> str:
        values = self.all(key)
        if len(values) != 1:
            raise ValueError(f"{self.name} should have one {key}=, not {len(values)}")
        return values[0]


def load_unit(name: str) -> Unit:
    """The unit of that name, as `llmsched-llm-executor@llm-a`."""
    template, at, instance = name.partition("@")
    text = (FOLDER / f"{template}{at}.service").read_text(encoding="utf-8")
    return Unit(template, instance, tuple(_directives(text)))


def load_hosts() -> dict[str, list[str]]:
    """The hosts and their units."""
    hosts: dict[str, list[str]] = yaml.safe_load((FOLDER / "hosts.yaml").read_text(encoding="utf-8"))
    return hosts


def services(folder: Path, *, settings: Mapping[str, Mapping[str, str]] | None = None) -> list[Service]:
    """What the hosts run, with what they keep below `folder`.

    `settings` are more variables: for all under "", by host, by service as `sched-0.llmsched-scheduler`.
    """
    told = settings or {}
    found = []
    for host, names in load_hosts().items():
        for unit in map(load_unit, names):
            more = {**told.get("", {}), **told.get(host, {}), **told.get(f"{host}.{unit.name}", {})}
            found.append(_service(unit, host, folder, more))
    return found


def environment(unit: Unit, host: str) -> dict[str, str]:
    """Its variables on that host: the unit's own, then what its files say."""
    variables: dict[str, str] = {}
    for line in unit.all("Environment"):
        variables.update(_assignments(shlex.split(_specified(line, unit, host))))
    for path in unit.all("EnvironmentFile"):
        file = environment_file(_specified(path.removeprefix("-"), unit, host), host)
        if file is not None:
            variables.update(read_variables(file))
        elif not path.startswith("-"):
            raise FileNotFoundError(f"{unit.name} needs {path} on {host}")
    return variables


def environment_file(path: str, host: str) -> Path | None:
    """The file that deploy/systemd/etc has for this one of that host."""
    name = path.removeprefix(CONFIGURATION)
    found = [file for file in (FOLDER / "etc" / host / name, FOLDER / "etc" / name) if file.is_file()]
    return found[0] if found else None


def read_variables(file: Path) -> dict[str, str]:
    """An environment file: assignments, comments, empty lines."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return _assignments([line for line in lines if line and line[0] not in "#;"])


def command(unit: Unit, host: str, variables: Mapping[str, str], state: Path) -> list[str]:
    """The words of ExecStart with programs of this machine, and what the unit keeps in `state`."""
    words: list[str] = []
    for word in shlex.split(_specified(unit.one("ExecStart"), unit, host, state)):
        if re.fullmatch(r"\$\w+", word):  # alone and without braces it becomes as many words as it has
            words += shlex.split(variables.get(word[1:], ""))
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda found: variables.get(found[1], ""), word))
    match words[0]:
        case "/opt/llmsched/bin/llmsched":
            return [*_CLI, *words[1:]]
        case "/usr/bin/valkey-server":
            return [str(find_binary()), *words[1:]]
        case program:
            raise ValueError(f"{unit.name} runs {program}, which this machine has no stand-in for")


def _service(unit: Unit, host: str, folder: Path, more: Mapping[str, str]) -> Service:
    state = folder / host
    for name in unit.all("StateDirectory"):
        (state / name).mkdir(parents=True, exist_ok=True)
    variables = {**environment(unit, host), **more}
    return Service(
        name=f"{host}.{unit.name}",
        host=host,
        command=command(unit, host, variables, state),
        environment=variables,
        health=_HEALTH[unit.template],
        stop_seconds=_seconds(unit.one("TimeoutStopSec")),
    )


def _directives(text: str) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"no directive: {line!r}")
            yield section, key.strip(), value.strip()


def _specified(text: str, unit: Unit, host: str, state: Path | None = None) -> str:
    """The text with systemd's specifiers resolved."""
    meanings = {"i": unit.instance, "H": host, "S": str(state or "/var/lib"), "%": "%"}
    return re.sub(r"%(.)", lambda found: meanings[found[1]], text)


def _assignments(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    return {name: value for name, _, value in pairs}


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text)
    if found is None:
        raise ValueError(f"no time span: {text!r}")
    return float(found[1]) * _SECONDS[found[2]]
