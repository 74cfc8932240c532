from __future__ import annotations

from llmsched.application import JsonValue
from services.planner.core.dryrun import DryTask
from services.planner.core.model import Failure, LlmOutput, StageKind, StageSpec, StageState, ToolOutput, Unfolding
from tests.unit.services.planner.core.jobs import (
    application,
    ask,
    done,
    flatten,
    llm,
    message,
    only_prompt,
    play,
    skipped,
    specs,
    tool,
)

REFINE = application(
    """
    - {llm: idea, prompt: hi}
    - loop: refine
      max_rounds: 3
      until: "{{ test.passed }}"
      when: "{{ input.on }}"
      body:
        - llm: draft
          prompt: "{{ idea }}/{{ refine.round }}/{{ refine.previous.draft.text }}/{{ refine.previous.test.report }}"
          retry: {max_attempts: 1}
        - {tool: test, call: python.run_tests, args: {code: "{{ draft }}"}}
    - llm: end
      prompt: "{{ refine.count }} {{ refine.last.draft.text }} {{ refine.rounds|map(attribute='draft')|join(',') }}"
    """,
    input="{on: boolean}",
)
ON: dict[str, JsonValue] = {"on": True}


def passes(task: DryTask, *, at: int) -> ToolOutput:
    number = int(task.stage.stage_id.split("/")[1])
    return ToolOutput(value={"passed": number >= at, "report": f"r{number}"})


def test_the_first_round_comes_when_the_loop_is_ready_and_needs_no_decision() -> None:
    draft = StageSpec(
        stage_id="refine/1/draft",
        name="refine.draft",
        kind=StageKind.LLM,
        parents=("idea",),
        requirement="llm",
        position=2,
        max_attempts=1,
    )
    test = StageSpec(
        stage_id="refine/1/test",
        name="refine.test",
        kind=StageKind.TOOL,
        parents=("refine/1/draft",),
        requirement="tool:python.run_tests",
        position=3,
    )
    assert ask(REFINE, "refine", {"idea": llm()}, job_input=ON) == Unfolding(stages=(draft, test), again=True)


def test_a_further_round_is_an_occurrence_decided_by_the_end_of_the_last_one() -> None:
    outputs = {
        "idea": llm(),
        "refine/1/draft": llm(name="refine.draft"),
        "refine/1/test": tool({"passed": False}, name="refine.test"),
    }
    unfolding = ask(REFINE, "refine", outputs, job_input=ON, unfolding=1)
    assert unfolding.again
    draft, test = unfolding.stages
    assert (draft.stage_id, draft.occurrence, draft.position) == ("refine/2/draft", 1, 4)
    assert (draft.parents, draft.generated_by) == (("refine/1/test",), "refine/1/test")
    assert (test.parents, test.generated_by, test.occurrence) == (("refine/2/draft",), "refine/1/test", 1)


def test_a_loop_ends_when_its_condition_holds() -> None:
    outputs = {"refine/1/draft": llm(), "refine/1/test": tool({"passed": True})}
    assert ask(REFINE, "refine", outputs, job_input=ON, unfolding=1) == Unfolding()


def test_the_last_round_is_not_followed_by_a_question() -> None:
    outputs = {f"refine/{n}/test": tool({"passed": False}) for n in (1, 2)}
    outputs |= {f"refine/{n}/draft": llm() for n in (1, 2)}
    unfolding = ask(REFINE, "refine", outputs, job_input=ON, unfolding=2)
    assert unfolding.stages[0].stage_id == "refine/3/draft"
    assert not unfolding.again


def test_a_loop_can_be_skipped() -> None:
    assert ask(REFINE, "refine", {"idea": llm()}, job_input={"on": False}) == Unfolding(skipped=True)
    app = application("""
        - {loop: l, max_rounds: 2, until: "{{ x }}", body: [{llm: x, prompt: hi}], when: "{{ false }}"}
        - {llm: a, prompt: "<{{ l.last.x.text }}{{ l.count }}>"}
    """)
    assert only_prompt(ask(app, "a", {"l": skipped()})) == "<>"


def test_rounds_see_the_round_before_and_the_rest_sees_all() -> None:
    run = play(REFINE, {"refine.test": lambda task: passes(task, at=2)}, ON)
    prompts = {stage.spec.stage_id: stage.tasks[0].payload.prompt for stage in flatten(run) if stage.spec.kind == "LLM"}  # type: ignore[union-attr]
    assert prompts["refine/1/draft"] == "idea/1//"
    assert prompts["refine/2/draft"] == "idea/2/refine/1/draft/r1"
    assert "refine/3/draft" not in prompts
    assert prompts["end"] == "2 refine/2/draft refine/1/draft,refine/2/draft"


def test_a_loop_that_never_succeeds_ends_after_its_rounds() -> None:
    run = play(REFINE, {"refine.test": lambda task: passes(task, at=9)}, ON)
    assert run.failure is None
    assert max(stage_id for stage_id in specs(run) if stage_id.startswith("refine/")) == "refine/3/test"


def test_unfolding_again_later_gives_the_same_answer() -> None:
    run = play(REFINE, {"refine.test": lambda task: passes(task, at=3)}, ON)
    assert run.failure is None
    outputs = {"idea": llm("idea", name="idea"), "refine": done("refine"), "end": llm(name="end")}
    for stage in flatten(run):
        if stage.spec.kind is not StageKind.DYNAMIC:
            outputs[stage.spec.stage_id] = llm() if stage.spec.kind is StageKind.LLM else tool({"passed": False})
    outputs = {key: type(value)(name=specs(run)[key].name, tasks=value.tasks) for key, value in outputs.items()}
    again = ask(REFINE, "refine", outputs, job_input=ON, unfolding=1)
    assert again.stages == (specs(run)["refine/2/draft"], specs(run)["refine/2/test"])


def test_a_skipped_stage_of_a_round_is_nothing() -> None:
    app = application("""
        - loop: l
          max_rounds: 2
          until: "{{ fix.text == 'x' }}"
          body:
            - {llm: draft, prompt: "{{ l.previous.fix.text or 'none' }}"}
            - {llm: fix, prompt: "{{ draft }}", when: "{{ l.round > 1 }}"}
        - {tool: a, call: web.search, args: {fixes: "{{ l.rounds|map(attribute='fix')|list }}", last: "{{ l.last }}"}}
    """)
    run = play(app, {})
    assert {stage.spec.stage_id: stage.state for stage in flatten(run)}["l/1/fix"] is StageState.SKIPPED
    (args,) = [stage.tasks[0].payload.args for stage in run.stages if stage.spec.stage_id == "a"]  # type: ignore[union-attr]
    assert args == {"fixes": [None, "l/2/fix"], "last": {"draft": "l/2/draft", "fix": "l/2/fix"}}


NESTED = application("""
    - loop: outer
      max_rounds: 2
      until: "{{ check.ok }}"
      body:
        - loop: inner
          max_rounds: 3
          until: "{{ x.stop }}"
          body:
            - tool: x
              call: web.search
              args:
                rounds: "{{ outer.round }}.{{ inner.round }}"
                before: "{{ outer.previous.inner.last.x.value }}"
                inner: "{{ inner.rounds|length }}"
        - tool: check
          call: web.search
          args: {count: "{{ inner.count }}", values: "{{ inner.rounds|map(attribute='x.value')|list }}"}
    - {tool: sum, call: web.search, args: {values: "{{ outer.rounds|map(attribute='inner.count')|list }}"}}
""")


def test_loops_nest() -> None:
    def x(task: DryTask) -> ToolOutput:
        return ToolOutput(value={"stop": task.stage.stage_id == "outer/1/inner/2/x", "value": task.stage.stage_id})

    run = play(NESTED, {"outer.inner.x": x, "outer.check": ToolOutput(value={"ok": False})})
    args = {stage.spec.stage_id: stage.tasks[0].payload.args for stage in flatten(run) if stage.tasks}  # type: ignore[union-attr]
    assert args["outer/1/inner/1/x"] == {"rounds": "1.1", "before": None, "inner": 0}
    assert args["outer/2/inner/3/x"] == {"rounds": "2.3", "before": "outer/1/inner/2/x", "inner": 2}
    assert args["outer/1/check"] == {"count": 2, "values": ["outer/1/inner/1/x", "outer/1/inner/2/x"]}
    assert args["sum"] == {"values": [2, 3]}
    occurrences = {key: spec.occurrence for key, spec in specs(run).items() if spec.name == "outer.inner.x"}
    assert occurrences == {
        "outer/1/inner/1/x": 0,
        "outer/1/inner/2/x": 1,
        "outer/2/inner/1/x": 2,
        "outer/2/inner/2/x": 3,
        "outer/2/inner/3/x": 4,
    }
    assert specs(run)["outer/2/inner"].occurrence == 1


def test_positions_are_unique_and_rise_with_the_order_of_running() -> None:
    run = play(
        NESTED,
        {"outer.inner.x": ToolOutput(value={"stop": False, "value": 1}), "outer.check": ToolOutput(value={"ok": 0})},
    )
    positions = [spec.position for spec in specs(run).values()]
    assert positions == sorted(set(positions))


def test_a_fan_out_inside_a_loop_has_the_width_of_its_round() -> None:
    app = application("""
        - loop: l
          max_rounds: 2
          until: "{{ merge.done }}"
          body:
            - {llm: split, prompt: hi, json_schema: {type: array}}
            - {tool: work, call: web.search, foreach: "{{ split }}", args: {q: "{{ item }}", r: "{{ l.round }}"}}
            - {tool: merge, call: web.merge, args: {all: "{{ work }}"}}
    """)
    split = {"l/1/split": LlmOutput(text="[1]"), "l/2/split": LlmOutput(text="[1, 2, 3]")}
    run = play(app, {**split, "l.merge": ToolOutput(value={"done": False})})
    widths = {stage.spec.stage_id: len(stage.tasks) for stage in flatten(run)}
    assert (widths["l/1/work"], widths["l/2/work"]) == (1, 3)
    assert specs(run)["l/2/work"].width_by == "l/2/split"


def test_a_list_from_outside_the_loop_is_known_when_the_round_is() -> None:
    app = application("""
        - {llm: split, prompt: hi, json_schema: {type: array}}
        - loop: l
          max_rounds: 2
          until: "{{ work[0] }}"
          body: [{tool: work, call: web.search, foreach: "{{ split }}"}]
    """)
    (work,) = ask(app, "l", {"split": llm("[1]")}).stages
    assert work.width_by is None


def test_an_error_in_the_condition_of_a_loop_names_it() -> None:
    outputs = {"refine/1/draft": llm(), "refine/1/test": tool({})}
    failure = ask(REFINE, "refine", outputs, job_input=ON, unfolding=1)
    assert message(failure).startswith("stage refine, until: there is no 'passed'")


def test_a_fallback_in_a_loop_belongs_to_its_round() -> None:
    app = application("""
        - loop: l
          max_rounds: 2
          until: "{{ x == 'stop' }}"
          body: [{llm: x, prompt: "after {{ l.previous.x }}", on_error: {llm: y, prompt: "{{ error.reason }}"}}]
    """)
    run = play(app, {"l/1/x": Failure(reason="TIMEOUT", message="late"), "l/2/x": LlmOutput(text="stop")})
    assert run.failure is None
    prompts = {stage.spec.stage_id: stage.tasks[0].payload.prompt for stage in flatten(run) if stage.tasks}  # type: ignore[union-attr]
    assert prompts["l/1/x!"] == "TIMEOUT"
    assert prompts["l/2/x"] == "after l/1/x!"
