"""The tools of document merging, and what it does with good answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.document_merging.tools import Score, compare, keep_best, score
from tests.support.applications import calls, try_out

SOURCES = ["Acme keeps drawings secret.", "A breach costs 5000 euros. Acme keeps drawings secret."]
GOOD = "Acme keeps drawings secret. A breach costs 5000 euros."
MARKS = "[9, 9]"


def test_a_good_merger_keeps_everything_once() -> None:
    best = score(SOURCES, GOOD, MARKS)
    assert (best["score"], best["missing"], best["problem"]) == (1.0, [], None)
    twice = score(SOURCES, f"{GOOD} {GOOD}")
    assert twice["kept"] == 1
    assert twice["terse"] < 0.7
    half = score(SOURCES, SOURCES[0])
    assert half["missing"] == ["breach", "costs", "5000", "euros"]
    assert half["kept"] == 0.5


def test_the_judge_has_half_of_the_say_if_it_can_be_read() -> None:
    assert score(SOURCES, GOOD, "[0, 9]")["kept"] == 0.5
    for marks in ("[12, true]", "[3]", "[1, ", "fine!"):
        found = score(SOURCES, GOOD, marks)
        assert found["score"] == 1
        assert found["problem"]


@given(st.lists(st.text()), st.text(), st.text())
def test_any_texts_can_be_scored(sources: list[str], draft: str, marks: str) -> None:
    assert 0 <= score(sources, draft, marks)["score"] <= 1


def test_the_best_are_kept_and_problems_told() -> None:
    scores: list[Score] = [score(SOURCES, ""), score(SOURCES, SOURCES[0], "?"), score(SOURCES, GOOD)]
    kept = keep_best(scores, 2)
    assert [each["text"] for each in kept["best"]] == [GOOD, SOURCES[0]]
    assert kept["problems"] == ["draft 2: the model's answer is no JSON: '?'", "draft 1 is empty"]
    assert compare(SOURCES, ["", GOOD, GOOD])["text"] == GOOD
    with pytest.raises(ValueError, match="no draft"):
        keep_best([])


def test_it_is_improved_only_if_something_is_missing() -> None:
    script = {"draft": ["x", GOOD, SOURCES[0]], "judge": MARKS, "aggregate": GOOD, "improve": "never"}
    run = try_out("document-merging", {"documents": SOURCES}, script)
    assert run.output == {"merged": GOOD, "score": 1.0, "missing": [], "problems": []}
    assert "improve" not in calls(run)
    run = try_out("document-merging", {"documents": SOURCES}, {**script, "aggregate": "x", "improve": GOOD})
    assert calls(run)["improve"] == 1
    # The best of all texts is handed out, wherever it was made.
    run = try_out("document-merging", {"documents": SOURCES}, {**script, "aggregate": "x", "improve": "y"})
    assert run.output["merged"] == GOOD
