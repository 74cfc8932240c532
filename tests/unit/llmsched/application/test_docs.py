"""The examples of docs/applications.md are valid, and its three forms of one application are one value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llmsched.application import ApplicationError, parse_yaml
from llmsched.application.template_filters import FILTERS

PAGE = (Path(__file__).parents[4] / "docs" / "applications.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda source: source.split()[1])
def test_every_example_is_a_valid_application(source: str) -> None:
    assert parse_yaml(source).stages


def test_the_examples_in_python_are_the_one_in_yaml() -> None:
    builder, functions, _ = map(run, PROGRAMS)
    assert builder["spec"] == functions["hello"].spec() == parse_yaml(EXAMPLES[0])


def test_the_example_of_functions_is_a_valid_application() -> None:
    spec = run(PROGRAMS[2])["check_claims"].spec()
    assert [stage.name for stage in spec.stages] == ["split", "check"]


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(source, "applications.md", "exec", dont_inherit=True), names)
    return names


def test_the_message_shown_is_the_real_one() -> None:
    with pytest.raises(ApplicationError) as caught:
        parse_yaml(EXAMPLES[0].replace("idea.text", "ideas.text"))
    assert f"`{caught.value.violations[0]}`" in PAGE.replace("\n", " ")


def test_every_filter_is_listed() -> None:
    (listed,) = re.findall(r"Filters: `(.*?)`", PAGE, re.DOTALL)
    assert set(listed.split()) | {"d"} == set(FILTERS)
