"""The catalogue of functions, retrieval from it, calls, and the application around them."""

import json
import re
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmsched.applications.taskmatrix.calls import run_call
from llmsched.applications.taskmatrix.catalogue import CATALOGUE, EXAMPLES
from llmsched.applications.taskmatrix.inputs import make_input
from llmsched.applications.taskmatrix.tools import outline, retrieve
from llmsched.applications.taskmatrix.tools import run as run_calls
from llmsched.tools import ToolRegistry
from services.planner.core.model import LlmCall
from tests.unit.llmsched.applications.in_memory import GARBAGE, HALF_A_CHARACTER, run

GOAL = {"goal": "Convert 5 miles to kilometres, then round it to 1 digits."}


def call(function: int, *arguments: Any) -> str:
    return json.dumps({"function": function, "arguments": list(arguments)})


def test_every_function_is_described_and_does_what_its_example_says() -> None:
    assert len(CATALOGUE) >= 100
    assert {spec.name for spec in CATALOGUE} == EXAMPLES.keys()
    assert len({spec.description for spec in CATALOGUE}) == len(CATALOGUE)
    for spec in CATALOGUE:
        example = EXAMPLES[spec.name]
        result = json.loads(json.dumps(spec.call(json.loads(json.dumps(example.args))), allow_nan=False))
        assert result == example.gives, spec.name
        Draft202012Validator(dict(spec.returns_schema)).validate(result)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_function_is_called_with_texts_and_found_by_its_description(spec: Any) -> None:
    example = EXAMPLES[spec.name]
    named = [example.args[name] for name in spec.args_schema["properties"] if name in example.args]
    found = run_call(call(1, *(each if isinstance(each, str) else json.dumps(each) for each in named)), [spec.name], {})
    assert found["error"] is None
    assert found["result"] == example.gives
    assert spec.name in [offer["name"] for offer in retrieve(spec.description)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("text.replace", ("a", "", "b")),
        ("text.repeat", ("a", "-1")),
        ("text.edit_distance", ("a" * 2000, "b" * 2000)),
        ("numbers.factorial", ("101",)),
        ("numbers.is_prime", ("0",)),
        ("numbers.fibonacci", ("81",)),
        ("numbers.to_roman", ("4000",)),
        ("numbers.from_roman", ("IIII",)),
        ("numbers.in_words", ("-1",)),
        ("numbers.divide", ("1", "0")),
        ("numbers.multiply", ("1e308", "10")),
        ("statistics.mean", ("[]",)),
        ("dates.weekday", ("2024-02-30",)),
        ("dates.workdays_between", ("2024-02-02", "2024-02-01")),
        ("dates.add_days", ("2024-02-02", "99999999")),
        ("lists.groups_of", ("a,b", "0")),
        ("lists.count_up", ("1", "5000")),
        ("geometry.triangle_area", ("1", "1", "9")),
        ("encoding.rgb_to_hex", ("1", "2", "300")),
        ("encoding.hex_to_rgb", ("#fff",)),
        ("encoding.from_base64", ("?",)),
        ("tables.row", ("a\n1", "2")),
        ("tables.sum_column", ("a\n1", "b")),
    ],
)
def test_what_a_function_cannot_do_is_an_error_in_words(name: str, arguments: tuple[str, ...]) -> None:
    found = run_call(call(1, *arguments), [name], {})
    assert found["function"] == name
    assert found["result"] is None
    assert len(found["error"]) > 8


def test_some_functions_at_their_edges() -> None:
    for name, arguments, result in (
        ("numbers.in_words", ["12"], "twelve"),
        ("numbers.in_words", ["40"], "forty"),
        ("numbers.in_words", ["2000"], "two thousand"),
        ("numbers.power", ["2", "0.5"], 2**0.5),
        ("numbers.factorial", ["25"], "15511210043330985984000000"),
        ("text.shorten", ["abc", "5"], "abc"),
        ("lists.last_items", ["a,b", "0"], []),
        ("money.loan_payment", ["1200", "0", "1"], 100.0),
        ("tables.filter_rows", ["a\n1", "a", "2"], ""),
        ("tables.sort_rows", ["a\ny\nx", "a"], "a\nx\ny"),
        ("tables.column_names", [""], []),
        ("text.lowercase", [7], "7"),
        ("lists.frequencies", ["a, b, a"], {"a": 2, "b": 1}),
    ):
        assert run_call(call(1, *arguments), [name], {})["result"] == result, name


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (call(3, "a"), "there is no function 3, only 1 to 2"),
        (call(1, "a", "b"), "takes 1 arguments, not 2"),
        (call(2, "a"), "a: Input should be a valid number"),
        (call(2, "1"), "b: Field required"),
        (call(1, "<4>"), "no result of step 4"),
        ('{"function": 1, "arguments": ["a', "cut off"),
        ('{"function": "1", "arguments": []}', "must have"),
        ("[]", "must have"),
    ],
)
def test_a_bad_call_is_explained(answer: str, why: str) -> None:
    found = run_call(answer, ["text.reverse", "numbers.add"], {})
    assert why in found["error"]
    assert found["result"] is None


def test_results_of_steps_keep_their_type_or_become_text() -> None:
    assert run_call(call(1, "<1>", "2"), ["numbers.add"], {1: 5})["result"] == 7
    assert run_call(call(1, "<1>"), ["statistics.total"], {1: [1, 2]})["result"] == 3
    assert run_call(call(1, "<1>"), ["text.reverse"], {1: [1, 2]})["result"] == "]2 ,1["


def test_a_result_cannot_grow_without_bounds() -> None:
    found = run_call(call(1, "<1>", "1000"), ["text.repeat"], {1: "x" * 1000})
    assert "too long" in found["error"]


def test_functions_are_no_tools_of_the_system() -> None:
    assert not EXAMPLES.keys() & set(ToolRegistry.from_entry_points().names()) - {"text.replace"}


def test_retrieval_fills_up_with_the_goal_and_bears_any_words() -> None:
    offers = retrieve("qqq", goal="Write a number in Roman numerals")
    assert offers[0]["name"] == "numbers.to_roman"
    assert offers[0]["signature"] == "numbers.to_roman(number: integer)"
    assert retrieve("") == retrieve("?!") == []
    assert len(retrieve('AND "NEAR( OR the a of')) <= 3


def test_only_open_steps_are_run_again() -> None:
    offers = [retrieve("add two numbers", count=1)] * 2
    first = run_calls(["a", "b"], offers, [0, 1], [call(1, "1", "2"), "garbage"], [])
    assert first["open"] == [1]
    assert first["problems"][0].startswith("step 2: the answer is no complete JSON")
    again = run_calls(["a", "b"], offers, [1], [call(1, "<1>", "4")], first["results"])
    assert [each["result"] for each in again["results"]] == [3, 7]
    assert again["open"] == again["problems"] == []


def test_an_outline_is_read_or_replaced_by_the_goal() -> None:
    assert outline('{"steps": ["a", "a", " ", "b", "c", "d"]}', "g")["steps"] == ["a", "b", "c"]
    for bad in GARBAGE:
        found = outline(bad, "g")
        assert (found["steps"], found["open"]) == (["g"], [0])
        assert "the goal was taken as one step" in found["problems"][0]


def write_well(stage: str, asked: LlmCall) -> str:
    text = asked.messages[-1].content
    if stage == "outline":
        return json.dumps({"steps": ["Convert 5 miles to kilometres", "Round the number to digits"]})
    if stage == "answer":
        return "Five miles are 8.0 kilometres."
    wanted = "miles_to_kilometres" if "Step: Convert" in text else "round_to"
    number = int(re.search(rf"(\d)\. \w+\.{wanted}", text)[1])  # type: ignore[index]
    return call(number, "5") if "Step: Convert" in text else call(number, "<1>", "1")


def test_a_goal_is_reached() -> None:
    output, job = run("taskmatrix", GOAL, write_well)
    assert [name for name, _ in job.calls] == ["outline", "choose", "choose", "answer"]
    assert [each["result"] for each in output["calls"]] == [8.04672, 8.0]
    assert output["rounds"] == 1
    assert output["problems"] == []
    assert "units.miles_to_kilometres: 8.04672" in job.asked("answer")[0].messages[-1].content


def test_a_failed_call_is_asked_for_again_with_its_error() -> None:
    def write(stage: str, asked: LlmCall) -> str:
        text = asked.messages[-1].content
        if stage == "choose" and "Step: Round" in text and "Wrong" not in text:
            return call(9, "<1>")
        return write_well(stage, asked)

    output, job = run("taskmatrix", GOAL, write)
    assert output["rounds"] == 2
    assert len(job.asked("choose")) == 3
    assert "Wrong before: there is no function 9" in job.asked("choose")[-1].messages[-1].content
    assert output["calls"][1]["result"] == 8.0


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda text: repr(text[:20]))
def test_garbage_ends_in_a_result_that_says_so(garbage: str) -> None:
    output, job = run("taskmatrix", GOAL, lambda stage, asked: garbage, finish_reason="length")
    assert output["rounds"] == 2
    assert len(job.calls) == 4
    assert output["answer"] == garbage
    assert [each["result"] for each in output["calls"]] == [None]
    assert output["problems"][0].endswith("the goal was taken as one step")
    assert output["problems"][-1] == "the answer was cut off at the token limit"


def test_goals_vary_in_parts_and_their_functions_are_found() -> None:
    random = Random(3)
    goals = [make_input(random)["goal"] for _ in range(200)]
    assert len(set(goals)) > 190
    assert all(len(retrieve(goal)) == 3 for goal in goals)


def test_half_a_character_is_replaced() -> None:
    output, _ = run("taskmatrix", GOAL, lambda stage, asked: HALF_A_CHARACTER)
    assert output["calls"][0]["step"] == "? a"
    assert "?" in output["calls"][0]["arguments"]
