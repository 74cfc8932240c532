from __future__ import annotations

from dataclasses import fields

import pytest

from services.planner.core.compile import compile_job
from services.planner.core.model import OUTPUT_STAGE, StageKind, StageSpec, Structure
from services.scheduler.core import model as scheduler
from tests.unit.services.planner.core.jobs import application

LLM = "- {llm: a, prompt: hi}"


def compiled(stages: str) -> dict[str, StageSpec]:
    specs, _ = compile_job(application(stages))
    return {spec.stage_id: spec for spec in specs}


def test_every_field_of_a_stage_is_carried_over() -> None:
    specs = compiled("""
        - {llm: a, prompt: hi, model: tiny, timeout: 1500ms, retry: {max_attempts: 7, backoff: 250ms}}
        - {tool: b, call: web.search, args: {q: "{{ a.text }}"}, on_error: {llm: c, prompt: sorry}}
    """)
    assert specs["a"] == StageSpec(
        stage_id="a",
        name="a",
        kind=StageKind.LLM,
        requirement="llm:tiny",
        max_attempts=7,
        timeout_seconds=1.5,
        backoff_seconds=0.25,
    )
    assert specs["b"] == StageSpec(
        stage_id="b",
        name="b",
        kind=StageKind.TOOL,
        parents=("a",),
        requirement="tool:web.search",
        position=1,
        recoverable=True,
    )


def test_the_output_waits_for_every_stage_and_comes_last() -> None:
    specs, _ = compile_job(application("- {llm: a, prompt: hi}\n- {llm: b, prompt: hi}"))
    assert specs[-1] == StageSpec(
        stage_id=OUTPUT_STAGE, name=OUTPUT_STAGE, kind=StageKind.DYNAMIC, parents=("a", "b"), position=2
    )


def test_parents_come_from_templates_and_from_after_whatever_the_order_of_the_text() -> None:
    specs = compiled("""
        - {llm: c, prompt: "{{ b }}", after: [a]}
        - {llm: b, messages: [{user: "{{ a.text }}"}]}
        - {llm: a, prompt: hi}
    """)
    assert list(specs) == ["a", "b", "c", OUTPUT_STAGE]
    assert specs["b"].parents == ("a",)
    assert specs["c"].parents == ("b", "a")  # in the order of the text


def test_a_loop_depends_on_what_its_body_its_condition_and_its_fallbacks_use_from_outside() -> None:
    specs = compiled("""
        - {llm: a, prompt: hi}
        - {llm: b, prompt: hi}
        - {llm: c, prompt: hi}
        - loop: refine
          max_rounds: 2
          until: "{{ test == b.text }}"
          body:
            - {llm: draft, prompt: "{{ a }}"}
            - tool: test
              call: web.search
              args: {deep: [{q: "{{ draft }}"}]}
              on_error: {llm: sorry, prompt: "{{ c }}"}
    """)
    assert specs["refine"].parents == ("a", "b", "c")
    assert specs["refine"].kind is StageKind.DYNAMIC
    assert specs["refine"].requirement == ""


def test_positions_leave_room_for_everything_a_stage_could_become() -> None:
    specs = compiled("""
        - {llm: a, prompt: hi, on_error: {llm: a2, prompt: hi, on_error: {llm: a3, prompt: hi}}}
        - loop: l
          max_rounds: 4
          until: "{{ x }}"
          after: [a]
          body: [{llm: x, prompt: hi}, {llm: y, prompt: hi}]
        - {plan: p, prompt: hi, tools: [web.search], max_retries: 3, after: [l]}
        - {dynamic: e, plan: p}
        - {llm: z, prompt: "{{ e.steps }}"}
    """)
    assert [spec.position for spec in specs.values()] == [0, 3, 3 + 1 + 8, 12 + 1 + 3, 16 + 1 + 20, 38]


def test_the_width_is_fixed_by_the_last_stage_that_the_list_comes_from() -> None:
    specs = compiled("""
        - {tool: a, call: web.search}
        - {tool: b, call: web.search, args: {q: "{{ a }}"}}
        - {llm: c, prompt: "{{ item }}", foreach: "{{ a + b }}"}
        - {llm: d, prompt: "{{ a }}", foreach: "{{ [1, 2] }}"}
        - {llm: e, prompt: "{{ a }}"}
    """)
    assert {name: spec.width_by for name, spec in specs.items() if spec.width_by} == {"c": "b"}


LOOP = '- {loop: l, max_rounds: 2, until: "{{ x }}", body: [{llm: x, prompt: hi}]}'
WIDE = '- {llm: w, prompt: hi, foreach: "{{ [1] }}"}'
WIDE_LOOP = '- {loop: l, max_rounds: 2, until: "{{ x }}", body: [{llm: x, prompt: hi, foreach: "{{ [1] }}"}]}'
PLAN = "- {plan: p, prompt: hi, tools: [web.search]}\n- {dynamic: e, plan: p}"


@pytest.mark.parametrize(
    ("stages", "structure"),
    [
        (LLM, Structure.STATIC),
        (WIDE, Structure.WIDTH),
        (LOOP, Structure.CHAIN),
        (f"{LOOP}\n{WIDE}", Structure.CHAIN_WIDTH),
        (WIDE_LOOP, Structure.CHAIN_WIDTH),
        (PLAN, Structure.GENERATED),
        (f"{LOOP}\n{PLAN}\n{WIDE}", Structure.GENERATED),
    ],
)
def test_the_structure_says_what_is_unknown(stages: str, structure: Structure) -> None:
    assert compile_job(application(stages))[1] is structure


def test_the_spec_of_a_stage_is_the_one_that_the_scheduler_knows() -> None:
    assert [field.name for field in fields(StageSpec)] == [field.name for field in fields(scheduler.StageSpec)]
    assert [kind.value for kind in StageKind] == [kind.value for kind in scheduler.StageKind]
    assert StageSpec(stage_id="a", name="a", kind=StageKind.LLM).max_attempts == (
        scheduler.StageSpec(stage_id="a", name="a", kind=scheduler.StageKind.LLM).max_attempts
    )
