"""The tools of claim checking, and jobs of several widths."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.claim_checking.tools import MAX_CLAIMS, evidence, read, report
from tests.support.applications import calls, try_out

TEXT = "The height of K2 is 8611 metres. The length of Rhine is 99 kilometres."
CLAIMS = TEXT.split(". ")
KNOWN = ["The height of K2 is 8611 metres."]


def verdict(word: str) -> str:
    return json.dumps({"verdict": word})


def test_claims_are_read_or_else_the_sentences_taken() -> None:
    assert read('["a", " a ", "b", 3, ""]', TEXT) == {"claims": ["a", "b"], "problem": None}
    cut = read('["The height of K2 is 8611 metres", "The len', TEXT)
    assert len(cut["claims"]) == 2
    assert "cut off" in str(cut["problem"])
    none = read("[]", TEXT)
    assert none["claims"] == [f"{CLAIMS[0]}.", CLAIMS[1]]
    assert none["problem"] == "the model found no claim; the sentences of the text are checked instead"
    assert read("", "")["claims"] == []


@given(st.text(), st.text())
def test_there_are_never_too_many_claims(answer: str, text: str) -> None:
    found = read(answer, text)
    assert len(found["claims"]) <= MAX_CLAIMS
    assert found["claims"] or found["problem"]


def test_evidence_is_looked_for_by_query_and_else_by_claim() -> None:
    assert evidence("height of K2", "?", 1) == KNOWN
    assert evidence("zzz", "K2 is high", 1) == KNOWN
    assert evidence("zzz", "qqq") == []
    assert len(evidence("height metres", "", 99)) == 5


def test_a_text_is_factual_if_every_claim_is_supported() -> None:
    good = report(["a", "b"], [KNOWN, []], [verdict("supported")] * 2)
    assert (good["factual"], good["supported"], good["problems"]) == (True, 2, [])
    mixed = report(["a", "b", "c"], [[], [], []], [verdict("refuted"), "?", verdict("maybe")], "cut off")
    assert (mixed["factual"], mixed["refuted"], mixed["unknown"]) == (False, 1, 2)
    assert mixed["problems"] == [
        "cut off",
        "no verdict on 'b': the model's answer is no JSON: '?'",
        "no verdict on 'c': there is no verdict 'maybe'",
    ]
    assert report([], [], [])["factual"] is False


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_job_is_as_wide_as_there_are_claims(width: int) -> None:
    claims = [f"The height of K2 is {number} metres." for number in range(width)]
    script = {"extract": json.dumps(claims), "query": "K2 height", "verify": verdict("refuted")}
    run = try_out("claim-checking", {"text": TEXT}, script)
    assert run.failure is None
    assert calls(run) == {"extract": 1, "claims": 1, "query": width, "evidence": width, "verify": width, "report": 1}
    assert run.output["refuted"] == width
    assert [each["claim"] for each in run.output["claims"]] == claims
    assert all(KNOWN[0] in each["evidence"] for each in run.output["claims"])


def test_an_empty_text_has_nothing_to_check() -> None:
    run = try_out("claim-checking", {"text": ""}, {"extract": "[]"})
    assert run.failure is None
    assert run.output["claims"] == []
    assert run.output["problems"]
