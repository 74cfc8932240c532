"""Jobs of every shape, run by real services: in the history their stages are called what they were called live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.tools import ToolRegistry, tool
from services.profiler.core.trace import TraceJob, canonicals, generators, read_history
from services.profiler.core.variables import completed
from services.scheduler.core.model import StageKind
from services.scheduler.export.recording import read_recording
from services.scheduler.export.workload import Selection, make_export
from tests.support.planner import Workshop, broken
from tests.support.profiler import RunningProfiler

LOOPS = """
application: loops
input: {n: integer}
stages:
  - {llm: first, prompt: "{{ input.n }}"}
  - loop: outer
    max_rounds: 2
    until: "{{ outer.round >= 2 }}"
    body:
      - {tool: begin, call: test.any, args: {}, foreach: "{{ [1, 2] }}"}
      - loop: inner
        max_rounds: 3
        until: "{{ inner.round >= 2 }}"
        body:
          - {llm: draft, prompt: "again"}
          - {tool: check, call: test.any, args: {seen: "{{ draft.text }}"}}
  - {tool: never, call: test.any, args: {}, when: "{{ input.n > 5 }}"}
"""
FALLBACK = """
application: fallback
input: {n: integer}
stages:
  - tool: risky
    call: test.any
    args: {}
    retry: {max_attempts: 1}
    on_error: {tool: safe, call: test.other, args: {}}
  - {llm: after, prompt: "{{ risky }}"}
"""
PLANNED = """
application: planned
input: {n: integer}
stages:
  - {plan: plan, prompt: "Plan with {{ tools }}", tools: [test.any]}
  - {dynamic: execute, plan: plan}
  - {tool: after, call: test.other, args: {seen: "{{ execute.results }}"}}
"""
STEPS = [("a", ["c"]), ("b", []), ("c", [])]
PLAN = {"steps": [{"id": name, "tool": "test.any", "args": {"text": name}, "after": after} for name, after in STEPS]}


@tool(name="test.any")
def use(text: str) -> str:
    """Does something with a text."""
    return text


def answer(stage_id: str, index: int, payload: task_pb2.TaskPayload) -> Any:
    if stage_id == "risky":
        return broken()
    if stage_id == "plan":
        return json.dumps(PLAN)
    return "text" if payload.HasField("llm") else {"done": index}


async def run(yaml: str, event_log: str = "") -> tuple[TraceJob, dict[str, tuple[str, int]]]:
    """The job in the history, and what its stages were called while it ran."""
    async with (
        Workshop.open(answer, event_log=event_log, tools=ToolRegistry([use])) as workshop,
        RunningProfiler.start(workshop.planner.state) as profiler,
    ):
        application = await workshop.planner.register(yaml)
        job = await workshop.run(application, {"n": 1})
        await profiler.handled()
        lines = (await profiler.exported(application)).splitlines()
        (found,) = read_history(lines, "history")
        stored = await workshop.planner.state.get_job(job.name.removeprefix("jobs/"))
        assert stored is not None
        real = [stage.spec for stage in stored.stages.values() if stage.spec.kind is not StageKind.DYNAMIC]
        return found, {spec.stage_id: (spec.name, spec.occurrence) for spec in real}


@pytest.mark.parametrize("yaml", [LOOPS, FALLBACK, PLANNED], ids=["loops", "fallback", "planned"])
async def test_stages_are_called_what_they_were_called_live(yaml: str, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    found, shown = await run(yaml, str(log))
    assert canonicals(found) == shown
    assert completed(found).stages
    # It is the job that an export of the event log gives, which has seen every step of its way.
    (exported,) = make_export(read_recording(log), Selection(applications=(), since=None, until=None)).history
    assert facts(found) == facts(exported)


def facts(job: TraceJob) -> list[object]:
    """All but the times: in the log they are of other moments, by microseconds."""
    return [
        (
            (stage.id, stage.name, stage.kind, stage.parents, stage.generated_by, stage.width_by),
            [(task.prompt_tokens, task.output_tokens) for task in stage.tasks],
        )
        for stage in job.stages
    ]


async def test_rounds_follow_each_other() -> None:
    found, _ = await run(LOOPS)
    parents = {stage.id: stage.parents for stage in found.stages}
    assert parents["outer/1/inner/2/draft"] == ("outer/1/inner/1/check",)
    assert parents["outer/2/begin"] == ("outer/1/begin", "outer/1/inner/2/check")
    print([(x.id, x.parents, x.generated_by) for x in found.stages])
    made_by = generators(found)
    assert made_by["outer/1/inner/2/draft"] == "outer/1/inner/1/check"
    assert made_by["outer/2/begin"] == "outer/1/inner/2/check"
    assert {len(stage.tasks) for stage in found.stages if stage.name == "outer.begin"} == {2}
    assert [stage.tasks for stage in found.stages if stage.name == "never"] == [()]


async def test_steps_of_a_plan_are_generated_by_it() -> None:
    found, _ = await run(PLANNED)
    kinds = {stage.id: stage.kind for stage in found.stages}
    assert (kinds["plan"], kinds["after"]) == ("plan", "tool")
    assert {generators(found)[f"execute/{name}"] for name, _ in STEPS} == {"plan"}
    assert {stage.id: stage.parents for stage in found.stages}["execute/a"] == ("execute/c",)


async def test_a_fallback_stands_behind_what_failed() -> None:
    found, _ = await run(FALLBACK)
    assert [(stage.id, stage.parents, len(stage.tasks)) for stage in found.stages] == [
        ("risky", (), 0),
        ("risky!", ("risky",), 1),
        ("after", ("risky!",), 1),
    ]
