"""RerunJob, to the end: what was done is not done again, and the rest finishes with a real scheduler."""

from __future__ import annotations

import json
import re
from typing import Any

import grpc
import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import job_pb2, planner_pb2
from llmsched.tools import ToolRegistry, tool
from tests.support.planner import Workshop, broken, refusal

_State = job_pb2.Job.State
MIDDLE = """
application: test
input: {n: integer}
stages:
  - {llm: draft, prompt: "Write {{ input.n }}"}
  - {tool: check, call: test.any, args: {text: "{{ draft.text }}"}}
  - {llm: polish, prompt: "Polish {{ draft.text }} after {{ check }}"}
  - {tool: beside, call: test.other, args: {n: "{{ input.n }}"}}
output: {text: "{{ polish.text }}", beside: "{{ beside }}"}
"""


class Moody:
    """Answers with stage and number of the asking, and fails where it was told to."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)  #: "stage" or "stage[index]"
        self.answers: dict[str, list[Any]] = {}  #: by stage, used up one by one
        self.count = 0

    def __call__(self, stage_id: str, index: int, payload: task_pb2.TaskPayload) -> Any:
        self.count += 1
        if {stage_id, f"{stage_id}[{index}]"} & self.failing:
            return broken()
        if self.answers.get(stage_id):
            return self.answers[stage_id].pop(0)
        return f"{stage_id} {self.count}"


def states(job: job_pb2.Job) -> dict[str, str]:
    return {stage.stage_id: job_pb2.JobStage.State.Name(stage.state).removeprefix("STATE_") for stage in job.stages}


async def test_a_tool_that_failed_in_the_middle_is_all_that_runs_again_with_what_follows() -> None:
    moody = Moody("check")
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(MIDDLE)
        failed = await workshop.run("test", {"n": 7})
        assert failed.state == _State.STATE_FAILED
        assert states(failed)["draft"] == "SUCCEEDED"
        moody.failing.clear()
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert (again.rerun_of, again.labels, again.application) == (failed.name, failed.labels, failed.application)
        assert again.input == failed.input
        assert set(workshop.asked) - {("beside", 0)} == {("check", 0), ("polish", 0)}
        # The draft is the first job's, which was asked for before anything failed.
        assert re.fullmatch(r"Polish draft [12] after check \d", workshop.prompts["polish"])
        assert (await workshop.planner.result(again.name))["text"].startswith("polish")


LOOP = """
application: test
stages:
  - {llm: topic, prompt: "Choose"}
  - loop: refine
    max_rounds: 5
    until: "{{ test == 'good' }}"
    body:
      - {llm: draft, prompt: "{{ topic.text }} {{ refine.previous.draft.text if refine.round > 1 else '' }}"}
      - {tool: test, call: test.any, args: {text: "{{ draft.text }}"}}
output: {rounds: "{{ refine.count }}", text: "{{ refine.last.draft.text }}"}
"""


async def test_a_loop_goes_on_in_the_round_in_which_it_failed() -> None:
    moody = Moody("refine/3/test")
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(LOOP)
        failed = await workshop.run("test")
        assert states(failed)["refine/3/draft"] == "SUCCEEDED"
        moody.failing.clear()
        moody.answers["refine/4/test"] = ["good"]
        again = await workshop.rerun(failed.name)
        assert workshop.asked == [("refine/3/test", 0), ("refine/4/draft", 0), ("refine/4/test", 0)]
        result = await workshop.planner.result(again.name)
        assert result["rounds"] == 4
        # Round 4 was told what round 3 of the first job had written.
        assert workshop.prompts["refine/4/draft"].endswith("refine/3/draft 6")


async def test_a_loop_whose_condition_failed_begins_anew() -> None:
    moody = Moody()
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(LOOP.replace("test == 'good'", "test.verdict == 'good'"))
        failed = await workshop.run("test")
        assert failed.failure.reason == "TEMPLATE_ERROR"
        moody.answers["refine/1/test"] = [{"verdict": "good"}]
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert workshop.asked == [("refine/1/draft", 0), ("refine/1/test", 0)]


@tool(name="test.any")
def use(text: str) -> str:
    """Does something with a text."""
    return text


PLAN = """
application: test
stages:
  - {llm: topic, prompt: "Choose"}
  - {plan: plan, prompt: "Plan {{ topic.text }} with {{ tools }}", tools: [test.any], max_retries: 1}
  - {dynamic: execute, plan: plan}
output: "{{ execute.results }}"
"""


def plan(*steps: dict[str, Any]) -> str:
    return json.dumps({"steps": [{"tool": "test.any", "after": [], **step} for step in steps]})


BAD_PLAN = plan({"id": "s1", "tool": "test.unknown", "args": {}})
GOOD_PLAN = plan({"id": "s1", "args": {"text": "a"}}, {"id": "s2", "args": {"text": "<s1>"}})


async def test_a_model_whose_plans_stayed_bad_is_asked_again() -> None:
    moody = Moody()
    moody.answers = {"plan": [BAD_PLAN, GOOD_PLAN], "plan~2": [BAD_PLAN]}
    async with Workshop.open(moody, tools=ToolRegistry([use])) as workshop:
        await workshop.planner.register(PLAN)
        failed = await workshop.run("test")
        assert failed.failure.reason == "INVALID_PLAN"
        # The second try was told what was wrong with the first.
        assert "there is no tool 'test.unknown'; there are test.any" in workshop.prompts["plan~2"]
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert [stage for stage, _ in workshop.asked] == ["plan", "execute/s1", "execute/s2"]
        assert await workshop.planner.result(again.name) == {"s1": "execute/s1 5", "s2": "execute/s2 6"}


async def test_steps_of_a_plan_that_were_done_stay_done() -> None:
    moody = Moody("execute/s2")
    moody.answers = {"plan": [GOOD_PLAN]}
    async with Workshop.open(moody, tools=ToolRegistry([use])) as workshop:
        await workshop.planner.register(PLAN)
        failed = await workshop.run("test")
        moody.failing.clear()
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert workshop.asked == [("execute/s2", 0)]


async def test_a_plan_that_takes_what_a_step_does_not_give_is_made_anew() -> None:
    taking = plan({"id": "s1", "args": {"text": "a"}}, {"id": "s2", "args": {"text": "<s1.title>"}})
    moody = Moody()
    moody.answers = {"plan": [BAD_PLAN, GOOD_PLAN], "plan~2": [taking]}
    async with Workshop.open(moody, tools=ToolRegistry([use])) as workshop:
        await workshop.planner.register(PLAN)
        failed = await workshop.run("test")
        assert states(failed)["execute/s1"] == "SUCCEEDED"
        assert failed.failure.reason == "INVALID_PLAN"
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert [stage for stage, _ in workshop.asked] == ["plan", "execute/s1", "execute/s2"]


FAN_OUT = """
application: test
stages:
  - {tool: split, call: test.any, args: {}}
  - {llm: part, foreach: "{{ split }}", prompt: "Part {{ item }}"}
  - {tool: join, call: test.other, args: {parts: "{{ part }}"}}
output: "{{ join }}"
"""


async def test_a_fan_out_that_failed_runs_again_as_a_whole() -> None:
    moody = Moody("part[1]")
    moody.answers = {"split": [["a", "b", "c"]]}
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(FAN_OUT)
        failed = await workshop.run("test")
        assert states(failed)["part"] == "FAILED"
        moody.failing.clear()
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert sorted(workshop.asked) == [("join", 0), ("part", 0), ("part", 1), ("part", 2)]


JSON = """
application: test
stages:
  - {llm: facts, prompt: "As JSON", json_schema: {type: object}}
  - {tool: use, call: test.any, args: {title: "{{ facts.json.title }}"}}
  - {tool: beside, call: test.other, args: {facts: "{{ facts.text }}"}}
output: "{{ use }}"
"""


async def test_a_model_whose_answer_could_not_be_used_is_asked_again_and_all_that_used_it() -> None:
    moody = Moody()
    moody.answers = {"facts": ["{}", '{"title": "T"}']}
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(JSON)
        failed = await workshop.run("test")
        assert failed.failure.reason == "TEMPLATE_ERROR"
        again = await workshop.rerun(failed.name)
        assert again.state == _State.STATE_SUCCEEDED
        assert sorted(stage for stage, _ in workshop.asked) == ["beside", "facts", "use"]


async def test_a_fallback_that_failed_gives_way_to_the_stage_it_stood_in_for() -> None:
    moody = Moody("draft", "draft!")
    yaml = """
        application: test
        stages:
          - llm: draft
            prompt: "Write"
            on_error: {llm: draft, prompt: "{{ error.reason }}: {{ error.message }}"}
        output: "{{ draft.text }}"
        """
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(yaml)
        failed = await workshop.run("test")
        # The fallback was told what had happened.
        assert workshop.prompts["draft!"] == "BROKEN: it broke"
        moody.failing = {"draft"}
        again = await workshop.rerun(failed.name)
        assert workshop.asked == [("draft", 0), ("draft!", 0)]
        assert await workshop.planner.result(again.name) == "draft! 4"


async def test_a_cancelled_job_goes_on_where_it_was() -> None:
    moody = Moody()
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(LOOP)
        moody.answers = {"refine/2/test": [None]}  # runs for as long as the job
        job = await workshop.planner.submit("test")
        async for message in workshop.planner.watch(job.name):
            if message.task_changed.stage_id == "refine/2/test":
                break
        cancel = planner_pb2.CancelJobRequest(name=job.name, reason="enough")
        await workshop.planner.stub.CancelJob(cancel)
        cancelled = await workshop.ended(job.name)
        assert (cancelled.state, cancelled.failure.message) == (_State.STATE_CANCELLED, "enough")
        moody.answers = {"refine/2/test": ["good"]}
        again = await workshop.rerun(job.name)
        assert workshop.asked == [("refine/2/test", 0)]
        assert (await workshop.planner.result(again.name))["rounds"] == 2


async def test_a_rerun_can_be_rerun() -> None:
    moody = Moody("check")
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(MIDDLE)
        first = await workshop.run("test", {"n": 1})
        second = await workshop.rerun(first.name)
        assert second.state == _State.STATE_FAILED
        moody.failing.clear()
        third = await workshop.rerun(second.name)
        assert (third.state, third.rerun_of) == (_State.STATE_SUCCEEDED, second.name)
        assert set(workshop.asked) - {("beside", 0)} == {("check", 0), ("polish", 0)}


async def test_a_rerun_uses_the_version_of_its_job_although_it_was_deleted() -> None:
    moody = Moody("check")
    async with Workshop.open(moody) as workshop:
        stub = workshop.planner.stub
        await workshop.planner.register(MIDDLE)
        failed = await workshop.run("test", {"n": 1})
        await workshop.planner.register(LOOP, version=2)
        await stub.DeleteApplication(planner_pb2.DeleteApplicationRequest(name="applications/test"))
        moody.failing.clear()
        again = await workshop.rerun(failed.name)
        assert (again.state, again.application) == (_State.STATE_SUCCEEDED, "applications/test/versions/1")


async def test_a_repeated_rerun_gives_the_first_ones_job() -> None:
    moody = Moody("check")
    async with Workshop.open(moody) as workshop:
        stub = workshop.planner.stub
        await workshop.planner.register(MIDDLE)
        failed = await workshop.run("test", {"n": 1})
        other = await workshop.run("test", {"n": 2})
        request = planner_pb2.RerunJobRequest(name=failed.name, request_id="r")
        first = (await stub.RerunJob(request)).job
        assert (await stub.RerunJob(request)).job.name == first.name
        used = await refusal(stub.RerunJob(planner_pb2.RerunJobRequest(name=other.name, request_id="r")))
        assert used.name == "ALREADY_EXISTS/REQUEST_ID_REUSED"


@pytest.mark.parametrize("state", ["running", "succeeded"])
async def test_what_cannot_be_rerun(state: str) -> None:
    moody = Moody()
    if state == "running":
        moody.answers = {"check": [None]}
    async with Workshop.open(moody) as workshop:
        await workshop.planner.register(MIDDLE)
        job = await workshop.planner.submit("test", {"n": 1})
        if state == "succeeded":
            await workshop.ended(job.name)
        refused = await refusal(workshop.planner.stub.RerunJob(planner_pb2.RerunJobRequest(name=job.name)))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert refused.reason == {"running": "JOB_NOT_ENDED", "succeeded": "NOTHING_TO_RERUN"}[state]
