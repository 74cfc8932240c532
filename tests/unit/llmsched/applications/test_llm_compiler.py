"""Facts, the joiner, and plans of several shapes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.llm_compiler import facts
from llmsched.applications.llm_compiler.tools import combine, find, join
from services.planner.core.model import LlmCall
from tests.support.applications import calls, try_out

QUESTION = {"question": "How much greater is the height of Mount Everest than that of K2?"}
ENOUGH = '{"action": "finish", "answer": "238 metres"}'
NOT_ENOUGH = '{"action": "replan", "answer": "?"}'


def plan(*steps: tuple[str, dict[str, Any]]) -> str:
    return json.dumps(
        {"steps": [{"id": f"s{n}", "tool": tool, "args": args} for n, (tool, args) in enumerate(steps, 1)]}
    )


EVEREST = ("facts.find", {"name": "Mount Everest"})
K2 = ("facts.find", {"name": "k2"})
DIFFERENCE = ("number.combine", {"operation": "difference", "a": "<s1>", "b": "<s2>"})


def test_facts_are_found_by_name_and_by_words() -> None:
    assert find(" mount everest") == 8849
    assert [fact.name for fact in facts.search("How deep is Lake Baikal?")] == ["Lake Baikal", "Lake Superior"]
    assert facts.search("zzz the of") == []
    assert facts.search("height of Denali", 1)[0].sentence == "The height of Denali is 6190 metres."
    names = [fact.name.lower() for fact in facts.all_facts()]
    assert len(set(names)) == len(names)


def test_what_is_not_known_is_told() -> None:
    with pytest.raises(LookupError, match="'Mont Blanco'; like it are Mont Blanc"):
        find("Mont Blanco")
    with pytest.raises(LookupError, match=r"nothing is known of 'xxxxxxxx'$"):
        find("xxxxxxxx")


def test_numbers_are_combined() -> None:
    operations = ("sum", "difference", "ratio", "larger", "smaller")
    assert [combine(each, 6, 4) for each in operations] == [10, 2, 1.5, 6, 4]  # type: ignore[arg-type]
    assert combine("sum", 1, 0) == 1
    with pytest.raises(ValueError, match="ratio to 0"):
        combine("ratio", 1, 0)


@given(st.text())
def test_the_joiner_may_say_anything(text: str) -> None:
    joined = join(text, [])
    assert joined["problems"]
    assert not joined["done"] or joined["answer"]


def test_only_an_answer_and_a_clear_word_end_it() -> None:
    step = {"id": "s1", "tool": "facts.find", "output": 1, "error": None}
    assert join(ENOUGH, [step]) == {"answer": "238 metres", "done": True, "problems": []}
    raised = "TOOL_RAISED: facts.find: LookupError: nothing is known of 'x' (facts.py:48, in find: raise LookupError())"
    assert join(ENOUGH, [{**step, "error": raised}])["problems"] == ["s1 facts.find: nothing is known of 'x'"]
    assert join('{"answer": "238", "action": "fin', [step])["done"] is False
    assert join('{"action": "finish", "answer": ""}', [step])["done"] is False


def test_facts_are_looked_up_side_by_side_and_then_combined() -> None:
    run = try_out("llm-compiler", QUESTION, {"plan": plan(EVEREST, K2, DIFFERENCE), "join": ENOUGH})
    assert run.failure is None
    assert [step["output"] for step in run.output["steps"]] == [8849, 8611, 238]
    assert (run.output["answer"], run.output["plans"], run.output["problems"]) == ("238 metres", 1, [])
    (loop,) = run.stages
    parents = {stage.spec.stage_id: stage.spec.parents for each in loop.stages for stage in each.stages}
    first, second, both = (f"attempt/1/execute/s{number}" for number in (1, 2, 3))
    assert first not in parents[second]  # the two look-ups do not wait for each other
    assert {first, second} <= set(parents[both])


def test_it_plans_again_once_and_is_told_what_went_wrong() -> None:
    prompts: list[str] = []

    def planner(call: LlmCall) -> str:
        prompts.append("\n".join(message.content for message in call.messages))
        return plan(("facts.find", {"name": "Everest"})) if len(prompts) == 1 else plan(EVEREST, K2)

    run = try_out("llm-compiler", QUESTION, {"plan": planner, "join": [NOT_ENOUGH, ENOUGH]})
    assert run.output["plans"] == 2
    assert run.output["finished"] is True
    assert "nothing is known of 'Everest'" in prompts[1]
    run = try_out("llm-compiler", QUESTION, {"plan": plan(EVEREST), "join": NOT_ENOUGH})
    assert (run.output["plans"], run.output["finished"]) == (2, False)
    assert calls(run)["attempt.join"] == 2


def test_a_plan_that_cannot_be_run_is_a_problem_in_the_result() -> None:
    run = try_out("llm-compiler", QUESTION, {"plan": "Let me think.", "join": ENOUGH})
    assert run.failure is None
    assert run.output["problems"] == ["the plan had no step, or could not be run"]
