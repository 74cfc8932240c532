"""The names that are promised in docs/telemetry.md are those in names.py, and each of them is really used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.common import names
from tests.support.telemetry_page import quoted, table

SERVICES = Path(names.__file__).parents[1]
NAMES = {constant: value for constant, value in vars(names).items() if constant.isupper()}
SPANS = {value for constant, value in NAMES.items() if constant.startswith("SPAN_")}
METRICS = {value for constant, value in NAMES.items() if constant.startswith("METRIC_")}
ATTRIBUTES = set(NAMES.values()) - SPANS - METRICS


def used_constants() -> set[str]:
    """What services take from names.py."""
    modules = [path.read_text() for path in SERVICES.rglob("*.py") if path != Path(names.__file__)]
    return {constant for text in modules for constant in re.findall(r"\bnames\.([A-Z_]*[A-Z])\b", text)}


@pytest.mark.parametrize(
    ("first_column", "expected"), [("span", SPANS), ("metric", METRICS), ("attribute", ATTRIBUTES)]
)
def test_the_page_lists_every_name_once(first_column: str, expected: set[str]) -> None:
    listed = [name for row in table(first_column) for name in quoted(row[first_column])]
    assert sorted(listed) == sorted(expected)


def test_no_name_has_two_meanings() -> None:
    assert len(set(NAMES.values())) == len(NAMES)


def test_every_name_is_used() -> None:
    assert used_constants() == set(NAMES)


def test_spans_carry_only_listed_attributes() -> None:
    mentioned = {name for row in table("span") for name in quoted(row["attributes"])} - SPANS
    assert mentioned <= ATTRIBUTES
    # The two of OpenInference are on all spans, and on what all spans belong to.
    assert ATTRIBUTES - mentioned == {names.OPENINFERENCE_KIND, names.OPENINFERENCE_PROJECT}


def test_labels_are_attributes_or_explained() -> None:
    for row in table("metric"):
        explained = set(quoted(row["what"]))
        assert set(quoted(row["labels"])) <= ATTRIBUTES | explained, row["metric"]
