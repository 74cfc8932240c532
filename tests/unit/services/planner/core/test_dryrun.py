from __future__ import annotations

from services.planner.core.dryrun import DryRun
from services.planner.core.model import Failure, Limits, LlmOutput, StageState, ToolOutput
from tests.unit.services.planner.core.jobs import application, flatten, play

HELLO = application(
    """
    - {llm: idea, prompt: "One idea about {{ input.topic }}"}
    - {llm: poem, prompt: "A poem about {{ idea.text }}", on_error: {llm: sorry, prompt: "Sorry: {{ error.message }}"}}
    """,
    input="{topic: string}",
    output='{poem: "{{ poem.text }}"}',
)
INPUT = {"topic": "rivers"}
NO = Failure(reason="TIMEOUT", message="late")


def test_a_dry_run_shows_what_would_be_sent_and_gives_the_output() -> None:
    run = play(HELLO, {"idea": LlmOutput(text="the Nile"), "poem": LlmOutput(text="O Nile")}, INPUT)
    assert run.output == {"poem": "O Nile"}
    assert [task.payload.prompt for stage in run.stages for task in stage.tasks] == [  # type: ignore[union-attr]
        "One idea about rivers",
        "A poem about the Nile",
    ]


def test_a_fallback_is_run_inside_the_stage_that_failed() -> None:
    run = play(HELLO, {"poem": NO, "poem!": LlmOutput(text="no poem")}, INPUT)
    assert run.output == {"poem": "no poem"}
    poem = run.stages[1]
    assert (poem.state, poem.failure, poem.answers) == (StageState.SUCCEEDED, NO, (NO,))
    assert [stage.spec.stage_id for stage in poem.stages] == ["poem!"]


def test_a_job_whose_fallback_fails_has_failed() -> None:
    worse = Failure(reason="TOOL_RAISED", message="worse")
    run = play(HELLO, {"poem": NO, "poem!": worse}, INPUT)
    assert run == DryRun(stages=run.stages, failure=worse)
    assert {stage.spec.stage_id: stage.state for stage in flatten(run)} == {
        "idea": StageState.SUCCEEDED,
        "poem": StageState.FAILED,
        "poem!": StageState.FAILED,
    }


def test_a_failure_stops_the_job_where_it_happened() -> None:
    run = play(HELLO, {"idea": NO}, INPUT)
    assert run.failure == NO
    assert [stage.spec.stage_id for stage in run.stages] == ["idea"]


def test_a_fan_out_stops_at_its_first_failure() -> None:
    app = application('- {tool: a, call: web.search, foreach: "{{ [1, 2, 3] }}"}')
    run = play(app, {"a": lambda task: NO if task.index == 1 else ToolOutput(value=task.index)})
    assert run.stages[0].answers == (ToolOutput(value=0), NO)


def test_an_output_that_cannot_be_rendered_fails_the_job() -> None:
    app = application("- {tool: a, call: web.search}", output='"{{ a.x }}"')
    run = play(app, {})
    assert run.failure is not None
    assert run.failure.reason == "TEMPLATE_ERROR"
    assert run.stages[0].state is StageState.SUCCEEDED


def test_limits_hold_in_a_dry_run() -> None:
    run = play(HELLO, {}, INPUT, limits=Limits(max_payload_bytes=10))
    assert run.failure is not None
    assert run.failure.reason == "PAYLOAD_TOO_LARGE"
