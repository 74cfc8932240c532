"""Splitting and grouping, and the application around them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.map_reduce import inputs
from llmsched.applications.map_reduce.inputs import make_input
from llmsched.applications.map_reduce.tools import finish, group, split
from services.planner.core.model import LlmCall
from tests.unit.llmsched.applications.in_memory import GARBAGE, run

WORDS = st.text("ab .!?\n", max_size=400)


def text_of(words: int) -> str:
    return " ".join(f"Word {number} is here." for number in range(words // 4))


@given(WORDS, st.integers(1, 30))
def test_parts_are_the_text_and_short_enough(text: str, words: int) -> None:
    parts = split(text, words)
    assert " ".join(parts).split() == text.split()
    assert all(1 <= len(part.split()) <= words for part in parts)


def test_parts_end_with_sentences_and_are_about_equal() -> None:
    parts = split(text_of(164), 80)
    assert [len(part.split()) for part in parts] == [56, 56, 52]
    assert all(part.endswith(".") for part in parts)
    with pytest.raises(ValueError, match="at least one word"):
        split("a", 0)


@given(st.lists(WORDS, max_size=30), st.integers(1, 30))
def test_groups_keep_the_order_and_halve_the_number(answers: list[str], words: int) -> None:
    found = group(answers, ["x y"] * len(answers), words)
    assert sum(map(len, found["groups"])) == len(answers)
    assert len(found["groups"]) <= (len(answers) + 1) // 2
    assert found["fits"] == (len(found["groups"]) <= 1)
    assert all(each.strip() for one in found["groups"] for each in one)


def test_groups_are_as_long_as_a_prompt_may_be() -> None:
    found = group(["a b c"] * 5, [""] * 5, 9)
    assert [len(one) for one in found["groups"]] == [3, 2]


def test_bad_summaries_are_mended_and_told() -> None:
    found = group(["Whole. Half of", "no end", " \n"], ["", "", "the first words"], 50)
    assert found["groups"] == [["Whole.", "no end", "the first words"]]
    assert found["problems"] == ["summary 3 of 3 is empty: the start of its text stands in for it"]


def test_the_last_summary_is_mended_too() -> None:
    assert finish(" Good. ", ["a"]) == {"text": "Good.", "problems": []}
    assert finish("Good. And then", ["a"], "length")["text"] == "Good."
    assert finish("", ["a", "b"])["text"] == "a b"
    assert finish("", [])["problems"] == ["there was nothing to summarise"]


def summary_of(words: int) -> str:
    return " ".join(["word"] * (words - 1)) + " end."


@pytest.mark.parametrize(
    ("words", "length", "calls"),
    [
        (40, 10, {"summarise": 1}),
        (160, 10, {"summarise": 2, "reduce": 1}),
        (640, 10, {"summarise": 8, "shorten": 2, "reduce": 1}),  # 5 of them fit a prompt
        (640, 20, {"summarise": 8, "shorten": 4 + 2, "reduce": 1}),  # only 2
        (640, 90, {"summarise": 8, "shorten": 4 + 2, "reduce": 1}),  # 2 whatever their length
    ],
)
def test_width_and_rounds_follow_from_the_text_and_from_what_is_written(
    words: int, length: int, calls: dict[str, int]
) -> None:
    output, job = run("map-reduce", {"text": text_of(words)}, lambda stage, call: summary_of(length))
    assert {stage: len(job.asked(stage)) for stage in ("summarise", "shorten", "reduce") if job.asked(stage)} == calls
    assert output["parts"] == calls["summarise"]
    assert output["rounds"] == {0: 0, 2: 1, 6: 2}[calls.get("shorten", 0)]
    assert output["summary"] == summary_of(length)
    assert output["problems"] == []


def test_summaries_reach_the_next_prompt_in_order() -> None:
    def write(stage: str, call: LlmCall) -> str:
        first = call.messages[-1].content.removeprefix("Summarise: ").split()[1]
        return f"About {first}." if stage == "summarise" else f"About {first} and on."

    output, job = run("map-reduce", {"text": text_of(160)}, write)
    assert job.asked("reduce")[0].messages[-1].content == "Summarise: About 0. About 20."
    assert output["summary"] == "About 0. and on."


def test_an_empty_text_makes_no_call() -> None:
    output, job = run("map-reduce", {"text": " "}, lambda stage, call: pytest.fail("called"))
    assert output == {"summary": "", "parts": 0, "rounds": 0, "problems": ["there was nothing to summarise"]}
    assert job.calls == []


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda text: repr(text[:20]))
def test_garbage_ends_in_a_result(garbage: str) -> None:
    output, _ = run("map-reduce", {"text": text_of(640)}, lambda stage, call: garbage, finish_reason="length")
    assert output["summary"].strip()
    assert "the summary was cut off at the token limit" in output["problems"] or any(
        "is empty" in problem for problem in output["problems"]
    )


def test_texts_vary_in_length() -> None:
    random = Random(1)
    parts = [len(split(make_input(random)["text"])) for _ in range(100)]
    assert min(parts) == 1
    assert 6 <= max(parts) <= 9
    assert make_input(Random(5)) == make_input(Random(5))


@pytest.mark.parametrize("module", inputs._MODULES)
def test_every_module_has_enough_to_say(module: str) -> None:
    assert len(inputs._help_text(module).split()) >= 180
