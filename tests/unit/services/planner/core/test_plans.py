from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmsched.application import JsonValue, PlanStage
from services.planner.core.dryrun import DryTask
from services.planner.core.model import (
    Failure,
    LlmCall,
    LlmOutput,
    StageKind,
    StageSpec,
    StageState,
    ToolInfo,
    ToolOutput,
    Unfolding,
)
from services.planner.core.plan import BadReference, fill_in, plan_schema, tools_text
from tests.unit.services.planner.core.jobs import (
    all_args,
    application,
    ask,
    flatten,
    llm,
    message,
    only_prompt,
    play,
    reason,
    skipped,
    specs,
    tool,
)

STAGES = """
    - {plan: plan, prompt: "Plan: {{ tools }}", tools: [web.search, math.add], max_stages: 3, max_retries: 1}
    - dynamic: execute
      plan: plan
      timeout: 9s
      retry: {max_attempts: 2, backoff: 0s}
    - {tool: end, call: web.say, args: {steps: "{{ execute.steps }}", first: "{{ execute.results.s1 }}"}}
"""
APP = application(STAGES)
CATALOGUE = {
    "web.search": ToolInfo(
        description="Searches the web.",
        args_schema={
            "type": "object",
            "properties": {"q": {"type": "string"}, "n": {"type": "integer"}, "opt": {"$ref": "#/$defs/Opt"}},
            "required": ["q"],
            "additionalProperties": False,
            "$defs": {"Opt": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Opt"}}}},
        },
    )
}


def plan(*steps: dict[str, Any], extra: Any = None) -> str:
    return json.dumps({"steps": list(steps)} if extra is None else {"steps": list(steps), "extra": extra})


def search(step: str, q: str = "x", **more: Any) -> dict[str, Any]:
    return {"id": step, "tool": "web.search", "args": {"q": q}, **more}


def test_a_planning_call_carries_the_tools_in_words_and_as_a_schema() -> None:
    (task,) = ask(APP, "plan", catalogue=CATALOGUE).tasks
    assert isinstance(task.payload, LlmCall)
    assert task.payload.prompt is not None
    assert task.payload.prompt.startswith("Plan: - web.search: Searches the web.\n  arguments: {")
    assert task.payload.prompt.endswith('- math.add\n  arguments: {"type": "object"}')
    assert task.payload.json_schema == plan_schema(_plan_stage(), CATALOGUE)


def _plan_stage() -> PlanStage:
    stage = APP.stages[0]
    assert isinstance(stage, PlanStage)
    return stage


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        ([search("s1", after=[])], True),
        ([search("s1", after=[]), {"id": "s2", "tool": "math.add", "args": {"any": 1}, "after": ["s1"]}], True),
        ([{"id": "s1", "tool": "web.search", "args": {"q": "x", "n": "<s0.n>"}, "after": []}], True),
        ([{"id": "s1", "tool": "web.search", "args": {"q": "x", "n": "five"}, "after": []}], False),
        ([{"id": "s1", "tool": "web.search", "args": {"q": "x", "opt": {"next": {"next": 3}}}, "after": []}], False),
        ([{"id": "s1", "tool": "web.search", "args": {"q": "x", "opt": {"next": {}}}, "after": []}], True),
        ([{"id": "s1", "tool": "web.serch", "args": {"q": "x"}, "after": []}], False),
        ([search("1", after=[])], False),
        ([search(f"s{n}", after=[]) for n in range(4)], False),
    ],
)
def test_the_schema_lets_exactly_good_plans_through(answer: list[Any], fits: bool) -> None:
    schema = plan_schema(_plan_stage(), CATALOGUE)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid({"steps": answer}) is fits


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        ([search("s1", after=[]), search("s2", after=["s1"])], True),
        ([search("s1", after=["s1"])], False),
        ([search("s1", after=["s2"]), search("s2", after=[])], False),
        ([search("s1", after=[]), search("s1", after=[])], False),
    ],
)
def test_a_short_plan_cannot_wait_for_itself(answer: list[Any], fits: bool) -> None:
    schema = plan_schema(_plan_stage(), CATALOGUE)
    assert Draft202012Validator(schema).is_valid({"steps": answer}) is fits


def test_a_long_plan_is_free_in_its_ids() -> None:
    schema = plan_schema(_plan_stage().model_copy(update={"max_stages": 20}), CATALOGUE)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"steps": [search("any_id", after=["other"])] * 20})
    assert not validator.is_valid({"steps": [search("any_id", after=[])] * 21})
    assert not validator.is_valid({"steps": [search("1", after=[])]})


def test_an_unknown_tool_is_described_by_its_name() -> None:
    assert tools_text(["a.b"], {}) == '- a.b\n  arguments: {"type": "object"}'


def test_a_plan_becomes_stages_with_parents_first() -> None:
    text = plan(search("s2", "<s1.title> and <b>", after=["s3"]), search("s3"), {"id": "s1", "tool": "math.add"})
    unfolding = ask(APP, "execute", {"plan": llm(text)}, catalogue=CATALOGUE)
    shared: dict[str, Any] = {
        "kind": StageKind.TOOL,
        "max_attempts": 2,
        "timeout_seconds": 9.0,
        "backoff_seconds": 0.0,
        "generated_by": "plan",
    }
    assert unfolding == Unfolding(
        stages=(
            StageSpec(
                stage_id="execute/s3",
                name="execute.web.search",
                parents=("plan",),
                requirement="tool:web.search",
                position=3,
                **shared,
            ),
            StageSpec(
                stage_id="execute/s1",
                name="execute.math.add",
                parents=("plan",),
                requirement="tool:math.add",
                position=4,
                **shared,
            ),
            StageSpec(
                stage_id="execute/s2",
                name="execute.web.search",
                occurrence=1,
                parents=("execute/s3", "execute/s1"),
                requirement="tool:web.search",
                position=5,
                **shared,
            ),
        )
    )


def test_an_empty_plan_is_done_at_once() -> None:
    outputs = {"plan": llm(plan()), "execute": llm()}
    assert ask(APP, "execute", outputs) == Unfolding()
    app = application(STAGES.replace('first: "{{ execute.results.s1 }}"', 'first: "{{ execute.results }}"'))
    assert all_args(ask(app, "end", outputs)) == [{"steps": [], "first": {}}]


def test_steps_take_values_from_each_other_and_keep_their_type() -> None:
    args = {"q": "about <s1.0.title>: <s1> <i>", "n": "<s1.0.year>", "opt": {"next": {"next": "<s1>"}}}
    text = plan(search("s1"), {"id": "s2", "tool": "web.search", "args": args})
    found: JsonValue = [{"title": "T", "year": 1999}]
    assert len(ask(APP, "execute", {"plan": llm(text)}, catalogue=CATALOGUE).stages) == 2
    outputs = {"plan": llm(text), "execute/s1": tool(found)}
    assert all_args(ask(APP, "execute/s2", outputs)) == [
        {
            "q": 'about T: [{"title": "T", "year": 1999}] <i>',
            "n": 1999,
            "opt": {"next": {"next": [{"title": "T", "year": 1999}]}},
        }
    ]


def test_what_the_planner_wrote_is_never_a_template() -> None:
    text = plan(search("s1", "{{ input.secret }} {% for x in y %}"), search("s2", "<s1>"))
    outputs = {"plan": llm(text), "execute/s1": tool("<s2> {{ 7 * 7 }}")}
    assert all_args(ask(APP, "execute/s1", outputs)) == [{"q": "{{ input.secret }} {% for x in y %}"}]
    assert all_args(ask(APP, "execute/s2", outputs)) == [{"q": "<s2> {{ 7 * 7 }}"}]


@pytest.mark.parametrize("mark", ["<s1.year>", "<s1.3>", "<s1.title.x>", "<s1.0.nope>"])
def test_a_part_that_an_output_does_not_have_fails_the_step(mark: str) -> None:
    outputs = {"plan": llm(plan(search("s1"), search("s2", mark))), "execute/s1": tool([{"title": "T"}])}
    failure = ask(APP, "execute/s2", outputs)
    assert reason(failure) == "INVALID_PLAN"
    assert message(failure).startswith(f"stage execute/s2: {mark}: the output has no ")


def test_numbers_that_the_wire_cannot_carry_fail_the_step() -> None:
    outputs = {"plan": llm(plan({"id": "s1", "tool": "math.add", "args": {"a": 2**60}}))}
    assert "2^53" in message(ask(APP, "execute/s1", outputs))


def test_marks_are_filled_in_at_any_depth() -> None:
    assert fill_in({"a": ["<x>", {"b": "<x.k>"}], "n": 1}, {"x": {"k": True}}) == {
        "a": [{"k": True}, {"b": True}],
        "n": 1,
    }
    assert fill_in("<y> <x>", {"x": 1}) == "<y> 1"
    assert fill_in("<y>", {"x": 1}) == "<y>"
    with pytest.raises(BadReference, match="has no 'q'"):
        fill_in("<x.q>", {"x": {}})


BAD_PLANS = [
    ("I think we should search.", "the answer is no JSON"),
    ('{"steps": [{"id": "s1", "tool": "math.add", "args": {"a": NaN}}]}', "NaN is not JSON"),
    ("[" * 100_000, "the answer is no JSON"),
    ("[]", "the plan: [] is not of type 'object'"),
    ("{}", "the plan: 'steps' is a required property"),
    (plan(search("s-1")), "steps[0].id: 's-1' does not match"),
    (plan({"id": "s1"}), "steps[0]: 'tool' is a required property"),
    (plan({"id": "s1", "tool": "math.add", "args": [], "extra": 1}), "steps[0].args: [] is not of type 'object'"),
    (plan(*[search(f"s{n}") for n in range(4)]), "steps: "),
    (plan(search("s1"), search("s1")), "2 steps have the id 's1'"),
    (plan({"id": "s1", "tool": "os.exec"}), "step s1: there is no tool 'os.exec'; there are web.search, math.add"),
    (plan(search("s1", after=["s9"])), "step s1: after names 's9', which is no step"),
    (plan(search("s1", after=["s1"])), "steps wait for each other: s1 → s1"),
    (plan(search("s1", "<s1>")), "steps wait for each other: s1 → s1"),
    (plan(search("s1", "<s2>"), search("s2", after=["s1"])), "steps wait for each other: s"),
    (
        plan({"id": "s1", "tool": "web.search", "args": {}}),
        "step s1, tool web.search: args: 'q' is a required property",
    ),
    (plan({"id": "s1", "tool": "web.search", "args": {"q": "x", "n": "5"}}), "args.n: '5' is not of type 'integer'"),
]


@pytest.mark.parametrize(("text", "problem"), BAD_PLANS)
def test_a_bad_plan_is_sent_back_with_what_is_wrong(text: str, problem: str) -> None:
    outputs = {"plan": llm(text, name="plan")}
    unfolding = ask(APP, "execute", outputs, catalogue=CATALOGUE)
    assert unfolding == Unfolding(
        stages=(
            StageSpec(
                stage_id="plan~2",
                name="plan",
                kind=StageKind.LLM,
                occurrence=1,
                parents=("plan",),
                requirement="llm",
                position=1,
                generated_by="plan",
            ),
        ),
        again=True,
    )
    prompt = only_prompt(ask(APP, "plan~2", outputs, catalogue=CATALOGUE))
    assert prompt is not None
    assert text in prompt
    assert problem in prompt
    assert prompt.endswith("Answer with a corrected plan, and nothing else.\n")


def test_everything_wrong_with_a_plan_is_named_at_once() -> None:
    text = plan(search("s1", n=1), {"id": "s1", "tool": "x"})
    prompt = only_prompt(ask(APP, "plan~2", {"plan": llm(text)}, catalogue=CATALOGUE)) or ""
    assert "Additional properties are not allowed ('n' was unexpected)" in prompt
    text = plan(search("s1", after=["s9"]), {"id": "s1", "tool": "os.exec"}, {"id": "s2", "tool": "web.search"})
    prompt = only_prompt(ask(APP, "plan~2", {"plan": llm(text)}, catalogue=CATALOGUE)) or ""
    assert all(part in prompt for part in ("2 steps have the id", "'s9'", "'os.exec'", "'q' is a required"))


def test_a_chat_is_corrected_in_the_chat() -> None:
    app = application("""
        - {plan: plan, messages: [{user: go}], tools: [web.search]}
        - {dynamic: execute, plan: plan}
    """)
    for answer, roles in (("nonsense", ["user", "assistant", "user"]), ("", ["user", "user"])):
        (task,) = ask(app, "plan~2", {"plan": llm(answer)}).tasks
        assert isinstance(task.payload, LlmCall)
        assert [each.role for each in task.payload.messages] == roles
        assert "the answer is no JSON" in task.payload.messages[-1].content


def test_a_plan_that_was_cut_off_says_so() -> None:
    prompt = only_prompt(ask(APP, "plan~2", {"plan": llm('{"steps": [', finish_reason="length")})) or ""
    assert "cut off at max_tokens" in prompt


def test_a_plan_that_became_good_while_it_was_corrected_is_corrected_without_reasons() -> None:
    assert "This plan cannot be run:\n\n" in (only_prompt(ask(APP, "plan~2", {"plan": llm(plan())})) or "")


def test_a_plan_that_stays_bad_fails_with_everything_that_is_wrong() -> None:
    outputs = {"plan": llm("nonsense"), "plan~2": llm(plan(search("s1", after=["s9"]), {"id": "s1", "tool": "x.y"}))}
    unfolding = ask(APP, "execute", outputs, unfolding=1)
    assert reason(unfolding) == "INVALID_PLAN"
    for part in ("plan~2", "2 steps have the id 's1'", "'s9'", "'x.y'"):
        assert part in message(unfolding)


def test_a_corrected_plan_is_run() -> None:
    good = plan(search("s1"), search("s2", "<s1>"))
    run = play(APP, {"plan": LlmOutput(text="hm"), "plan~2": LlmOutput(text=good), "execute/s1": ToolOutput(value=5)})
    assert run.failure is None
    assert specs(run)["execute/s1"].generated_by == "plan~2"
    assert specs(run)["execute/s1"].parents == ("plan~2",)
    (args,) = [stage.tasks[0].payload.args for stage in flatten(run) if stage.spec.stage_id == "end"]  # type: ignore[union-attr]
    assert args["steps"] == [
        {"id": "s1", "tool": "web.search", "args": {"q": "x"}, "output": 5},
        {"id": "s2", "tool": "web.search", "args": {"q": 5}, "output": "execute/s2"},
    ]
    assert args["first"] == 5


def test_a_plan_stays_valid_when_its_tools_change_while_it_runs() -> None:
    stricter = {"web.search": ToolInfo(args_schema={"type": "object", "required": ["new"]})}
    assert ask(APP, "execute/s1", {"plan": llm(plan(search("s1")))}, catalogue=stricter).tasks


def test_no_retries_means_none() -> None:
    app = application(STAGES.replace("max_retries: 1", "max_retries: 0"))
    assert reason(ask(app, "execute", {"plan": llm("nonsense")})) == "INVALID_PLAN"


def test_without_a_plan_there_is_nothing_to_run() -> None:
    app = application(STAGES.replace("{plan: plan,", '{plan: plan, when: "{{ false }}",'))
    assert ask(app, "plan").skipped
    assert ask(app, "execute", {"plan": skipped()}) == Unfolding(skipped=True)
    run = play(application(STAGES.replace("{plan: plan,", '{plan: plan, when: "{{ false }}",')), {})
    assert {stage.spec.stage_id: stage.state for stage in run.stages}["execute"] is StageState.SKIPPED


def test_a_condition_is_asked_once_and_not_for_each_step_or_try() -> None:
    app = application("""
        - {tool: a, call: web.search}
        - {plan: plan, prompt: hi, tools: [web.search], when: "{{ a.on }}"}
        - {dynamic: execute, plan: plan, when: "{{ a.on }}"}
    """)
    outputs = {"a": tool({"on": False}), "plan": llm(plan(search("s1")))}
    assert ask(app, "execute", outputs).skipped
    assert ask(app, "execute/s1", outputs).tasks
    assert ask(app, "plan~2", outputs).tasks


def test_an_unknown_step_and_an_answer_of_the_wrong_kind_are_errors_of_the_caller() -> None:
    with pytest.raises(LookupError):
        ask(APP, "execute/s9", {"plan": llm(plan(search("s1")))})
    with pytest.raises(LookupError):
        ask(APP, "execute", {"plan": tool("x")})


def test_plans_in_loops_are_counted_over_all_rounds() -> None:
    app = application("""
        - loop: l
          max_rounds: 2
          until: "{{ check.ok }}"
          body:
            - {plan: plan, prompt: "{{ l.round }}", tools: [web.search]}
            - {dynamic: execute, plan: plan}
            - {tool: check, call: web.check, args: {all: "{{ execute.results }}"}}
    """)

    def answer(task: DryTask) -> LlmOutput:
        return LlmOutput(text="hm" if task.stage.stage_id == "l/1/plan" else plan(search("s1"), search("s2")))

    run = play(app, {"l.plan": answer, "l.check": ToolOutput(value={"ok": False})})
    assert run.failure is None
    occurrences = {
        key: spec.occurrence for key, spec in specs(run).items() if spec.name in ("l.plan", "l.execute.web.search")
    }
    assert occurrences == {
        "l/1/plan": 0,
        "l/1/plan~2": 1,
        "l/1/execute/s1": 0,
        "l/1/execute/s2": 1,
        "l/2/plan": 2,
        "l/2/execute/s1": 2,
        "l/2/execute/s2": 3,
    }


def test_a_step_that_fails_fails_the_job_and_is_shown() -> None:
    run = play(
        APP, {"plan": LlmOutput(text=plan(search("s1"))), "execute/s1": Failure(reason="TOOL_RAISED", message="no")}
    )
    assert run.failure == Failure(reason="TOOL_RAISED", message="no")
    states = {stage.spec.stage_id: stage.state for stage in flatten(run)}
    assert states == {"plan": "SUCCEEDED", "execute": "FAILED", "execute/s1": "FAILED"}
