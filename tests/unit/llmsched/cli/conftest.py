"""The command line against a fake cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from tests.unit.llmsched.fake_servers import FakeServer

Run = Callable[..., Result]


@pytest.fixture
def run(server: FakeServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `llmsched ARGS…` against the fakes; unexpected exceptions fail the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("LLMSCHED_ADDRESS", server.address)
    monkeypatch.setenv("LLMSCHED_SCHEDULER", server.address)
    monkeypatch.setenv("LLMSCHED_PROFILER", server.address)

    def invoke(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, args, prog_name="llmsched", input=input, catch_exceptions=False)

    return invoke


def documents(result: Result) -> Any:
    """The JSON document on standard output."""
    return json.loads(result.stdout)


def lines(result: Result) -> list[Any]:
    """The JSON lines on standard output."""
    return [json.loads(line) for line in result.stdout.splitlines()]
