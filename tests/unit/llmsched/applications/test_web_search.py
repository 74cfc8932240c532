"""The tools of the ReAct application, and chains of several lengths."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.web_search import corpus
from llmsched.applications.web_search.tools import excuse, outcome, search, step
from llmsched.tools import ToolRegistry
from services.planner.core.model import LlmCall
from tests.support.applications import calls, try_out


def wants(action: str, given: str) -> str:
    return json.dumps({"thought": "", "action": action, "input": given})


def test_the_library_is_bounded_and_has_no_document_twice() -> None:
    found = corpus.documents()
    assert 200 < len(found) < 2000
    assert all(0 < len(each.text) <= 300 for each in found)
    titles = [(each.title, each.kind) for each in found]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("heap queue algorithm", "heapq"),
        ("read and write CSV files", "csv"),
        ("heapq.nlargest", "heapq.nlargest"),
        ("serving of compound LLM applications", "llmsched"),
    ],
)
def test_documents_are_found(query: str, title: str) -> None:
    assert title in search(query, 3)["titles"]


def test_a_search_takes_anything() -> None:
    assert search("?!")["text"] == "Nothing was found."
    assert search("zzzzqq")["titles"] == []
    assert len(search("AND NOT ( python", 99)["titles"]) == 5


@pytest.mark.parametrize(
    ("text", "action", "said"),
    [
        (wants("search", " bees "), "search", None),
        ('{"action": "finish", "input": "It is 4', "finish", "cut off"),
        (wants("search", " "), "none", "nothing was given to search"),
        (wants("fly", "x"), "none", "no action 'fly'"),
        ("hello", "none", "no JSON"),
    ],
)
def test_a_step_is_read(text: str, action: str, said: str | None) -> None:
    found = step(text)
    assert found["action"] == action
    assert (found["problem"] is None) if said is None else said in str(found["problem"])


@given(st.text())
def test_any_answer_is_a_step(text: str) -> None:
    assert step(text)["action"] in ("search", "calculate", "finish", "none")


def test_the_outcome_names_sources_once_and_all_problems() -> None:
    found = {"text": "…", "titles": ["heapq", "csv"]}
    asked = step(wants("search", "x"))
    end = outcome([asked, asked, step("?")], [found, found, None], [None, dict(excuse("bad")), None])
    assert (end["finished"], end["sources"]) == (False, ["heapq", "csv"])
    assert end["problems"] == [
        "round 2: bad",
        "round 3: the model's answer is no JSON: '?'",
        "the model did not finish within 3 rounds",
    ]
    assert outcome([], [], [])["finished"] is False


def test_an_excuse_leaves_out_where_in_a_program_it_comes_from() -> None:
    told = "math.evaluate: ValueError: 'x y' is no sum: bad (calculation.py:156, in _read: raise ValueError(f'…')"
    assert excuse(told)["problem"] == "'x y' is no sum: bad"
    assert excuse("math.evaluate did not finish within 10 s")["problem"] == "math.evaluate did not finish within 10 s"


def test_a_chain_is_as_long_as_the_model_makes_it() -> None:
    question = {"question": "Which module has heaps, and what is 6 * 7?"}
    run = try_out("web-search", question, {"think": wants("finish", "heapq")})
    assert run.output == {"answer": "heapq", "finished": True, "rounds": 1, "sources": [], "problems": []}
    assert calls(run) == {"react.think": 1, "react.step": 1, "outcome": 1}

    seen = []

    def think(call: LlmCall) -> str:
        seen.append(call.messages[-1].content)
        rounds = [wants("search", "heap queue"), wants("calculate", "6 * 7"), wants("finish", "heapq, 42")]
        return rounds[len(seen) - 1]

    run = try_out("web-search", question, {"think": think})
    assert run.output["rounds"] == 3
    assert run.output["answer"] == "heapq, 42"
    assert "heapq" in run.output["sources"]
    assert run.output["problems"] == []
    # The model was shown what came of each step.
    assert "search heap queue: heapq" in seen[1]
    assert "calculate 6 * 7: 42" in seen[2]


def test_what_cannot_be_calculated_is_told_to_the_model_and_in_the_result() -> None:
    answers = [wants("calculate", "six times seven"), wants("finish", "42")]
    run = try_out("web-search", {"question": "?"}, {"think": answers})
    assert run.failure is None
    assert run.output["answer"] == "42"
    (problem,) = run.output["problems"]
    assert problem.startswith("round 1: 'six times seven' is no arithmetic expression")


def test_its_tools_are_offered() -> None:
    assert {"docs.search", "react.step", "react.excuse", "react.outcome"} <= set(
        ToolRegistry.from_entry_points().names()
    )
