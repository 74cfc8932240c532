"""`llmsched apps …`."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsched.application import load_yaml
from tests.unit.llmsched.cli.conftest import Run, documents
from tests.unit.llmsched.fake_servers import FakePlanner

GOOD = "application: hello\nversion: 2\ndescription: Says hello.\nstages:\n  - {llm: a, prompt: x, max_tokens: 4}\n"
BAD = "application: hello\nstages:\n  - {llm: a, promt: x}\n"


@pytest.fixture
def good(tmp_path: Path) -> str:
    (tmp_path / "good.yaml").write_text(GOOD)
    return str(tmp_path / "good.yaml")


@pytest.fixture
def bad(tmp_path: Path) -> str:
    (tmp_path / "bad.yaml").write_text(BAD)
    return str(tmp_path / "bad.yaml")


def test_validate_needs_no_server(run: Run, planner: FakePlanner, good: str) -> None:
    result = run("apps", "validate", good)
    assert result.exit_code == 0
    assert "hello@2 is valid" in result.stdout
    assert planner.calls == []


def test_validate_names_what_is_wrong_in_every_file(run: Run, good: str, bad: str) -> None:
    result = run("apps", "validate", bad, good)
    assert result.exit_code == 4
    assert "line 3" in result.stderr
    assert "prompt" in result.stderr
    assert "hello@2 is valid" in result.stdout


def test_validate_as_json(run: Run, good: str, bad: str) -> None:
    wrong, right = documents(run("apps", "validate", bad, good, "-o", "json"))
    assert (right["valid"], right["application"], right["violations"]) == (True, "hello@2", [])
    assert wrong["valid"] is False
    assert wrong["violations"][0].keys() == {"path", "message", "line"}


def test_apply_list_show_delete(run: Run, good: str, tmp_path: Path) -> None:
    assert run("apps", "apply", good).stdout == "hello@2 is registered\n"
    listing = run("apps", "list").stdout
    assert "hello" in listing
    assert "Says hello." in listing
    shown = tmp_path / "shown.yaml"
    shown.write_text(run("apps", "show", "hello").stdout)
    assert load_yaml(shown) == load_yaml(good)
    assert run("apps", "delete", "hello").stdout == "hello: deleted version 2\n"
    assert run("apps", "show", "hello").exit_code == 3


def test_applications_as_json(run: Run, good: str) -> None:
    (applied,) = documents(run("apps", "apply", good, "--output", "json"))
    assert documents(run("apps", "list", "-o", "json")) == [applied]
    assert documents(run("apps", "show", "hello", "-o", "json")) == applied
    assert applied["name"] == "applications/hello/versions/2"
    assert applied["spec"]["stages"][0]["name"] == "a"
    assert documents(run("apps", "delete", "hello@2", "-o", "json")) == {"hello@2": [2]}


def test_apply_refuses_a_bad_file(run: Run, planner: FakePlanner, bad: str) -> None:
    result = run("apps", "apply", bad)
    assert result.exit_code == 4
    assert "the application is not valid" in result.stderr
    assert planner.applications == {}


def test_a_missing_file_is_a_usage_error(run: Run) -> None:
    assert run("apps", "validate", "nowhere.yaml").exit_code == 2
