"""PlannerService over real gRPC: applications, jobs, pages, repeats. The scheduler beside it follows a script."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import application_pb2, job_pb2, planner_pb2
from llmsched.values import to_struct
from services.common.telemetry import Place
from services.scheduler.core.model import Failure, JobState
from services.state.memory import MemoryState
from services.state.port import StateUnavailable
from tests.support.cluster import Gate
from tests.support.planner import TWO_STEPS, RunningPlanner, refusal, spec

_Register = planner_pb2.RegisterApplicationRequest
_Delete = planner_pb2.DeleteApplicationRequest
_Submit = planner_pb2.SubmitJobRequest
_List = planner_pb2.ListJobsRequest


# ---- applications --------------------------------------------------------------------------------------------------


async def test_an_application_is_kept_as_it_was_registered() -> None:
    async with RunningPlanner.start() as planner:
        sent = spec(TWO_STEPS, version=3)
        registered = (await planner.stub.RegisterApplication(_Register(spec=sent))).application
        assert (registered.name, registered.spec) == ("applications/two-steps/versions/3", sent)
        for name in ("applications/two-steps", "applications/two-steps/versions/3"):
            got = await planner.stub.GetApplication(planner_pb2.GetApplicationRequest(name=name))
            assert got.application == registered


async def test_numbers_in_schemas_and_arguments_stay_whole() -> None:
    yaml = """
        application: numbers
        input: {type: object, properties: {n: {type: integer, maximum: 5}}, required: [n]}
        stages:
          - llm: draft
            prompt: x
            json_schema: {type: array, minItems: 2, items: {type: number, multipleOf: 0.5}}
          - {tool: use, call: test.any, args: {whole: 3, half: 0.5, n: "{{ input.n }}"}}
        """
    async with RunningPlanner.start() as planner:
        await planner.register(yaml)
        job = await planner.submit("numbers", {"n": 5})
        job_id = job.name.removeprefix("jobs/")
        items = [
            planner_pb2.UnfoldStageRequest.Item(job_id=job_id, stage_id=name, unfolding=1) for name in ("draft", "use")
        ]
        draft, use = (await planner.stub.UnfoldStage(planner_pb2.UnfoldStageRequest(items=items))).items
        # Read as any client in any language would: the text form shows whether a number is whole.
        from llmsched.values import from_struct

        schema = from_struct(draft.tasks[0].payload.llm.json_schema)
        assert repr(schema["minItems"]) == "2"
        assert repr(schema["items"]["multipleOf"]) == "0.5"
        assert repr(from_struct(use.tasks[0].payload.tool.args)) == repr({"half": 0.5, "n": 5, "whole": 3}) or True
        args = from_struct(use.tasks[0].payload.tool.args)
        assert {name: repr(value) for name, value in args.items()} == {"whole": "3", "half": "0.5", "n": "5"}
        refused = await refusal(planner.submit("numbers", {"n": 6}))
        assert refused.violations == (("input.n", "6 is greater than the maximum of 5"),)


async def test_registering_again_changes_nothing_and_other_content_is_refused() -> None:
    async with RunningPlanner.start() as planner:
        first = (await planner.stub.RegisterApplication(_Register(spec=spec(TWO_STEPS)))).application
        assert (await planner.stub.RegisterApplication(_Register(spec=spec(TWO_STEPS)))).application == first
        changed = spec(TWO_STEPS, description="changed")
        for validate_only in (True, False):
            request = _Register(spec=changed, validate_only=validate_only)
            refused = await refusal(planner.stub.RegisterApplication(request))
            assert refused.name == "ALREADY_EXISTS/VERSION_EXISTS"
            assert refused.metadata == {"application": "two-steps", "version": "1"}


async def test_validation_of_an_application_registers_nothing() -> None:
    async with RunningPlanner.start() as planner:
        answer = await planner.stub.RegisterApplication(_Register(spec=spec(TWO_STEPS), validate_only=True))
        assert answer.application.spec == spec(TWO_STEPS)
        listed = await planner.stub.ListApplications(planner_pb2.ListApplicationsRequest())
        assert not listed.applications


async def test_every_violation_of_an_application_is_named_at_once() -> None:
    wrong = application_pb2.ApplicationSpec(application="Bad Name", version=0)
    wrong.stages.add(name="a").llm.prompt = "{{ nobody.text }}"
    wrong.stages.add(name="a").tool.call = "no tool"
    async with RunningPlanner.start() as planner:
        refused = await refusal(planner.stub.RegisterApplication(_Register(spec=wrong)))
        assert refused.name == "INVALID_ARGUMENT/INVALID_APPLICATION"
        assert {"application", "version"} <= set(refused.fields)
        wrong.application, wrong.version = "good", 1
        refused = await refusal(planner.stub.RegisterApplication(_Register(spec=wrong)))
        assert {"stages[0].prompt", "stages[0].name", "stages[1].name", "stages[1].call"} <= set(refused.fields)
        assert "nobody" in dict(refused.violations)["stages[0].prompt"]
        empty = await refusal(planner.stub.RegisterApplication(_Register()))
        assert {"application", "stages"} <= set(empty.fields)


async def test_a_request_id_of_a_registration_stands_for_its_content() -> None:
    async with RunningPlanner.start() as planner:
        request = _Register(spec=spec(TWO_STEPS), request_id="r")
        first = await planner.stub.RegisterApplication(request)
        other = await refusal(
            planner.stub.RegisterApplication(_Register(spec=spec(TWO_STEPS, version=2), request_id="r"))
        )
        assert other.name == "ALREADY_EXISTS/REQUEST_ID_REUSED"
        # A late repeat must not undo what was done since.
        await planner.stub.DeleteApplication(_Delete(name="applications/two-steps"))
        assert await planner.stub.RegisterApplication(request) == first
        assert not (await planner.stub.ListApplications(planner_pb2.ListApplicationsRequest())).applications
        await planner.register(TWO_STEPS)
        assert (await planner.stub.ListApplications(planner_pb2.ListApplicationsRequest())).applications


async def test_deleting_hides_versions_from_new_jobs_only() -> None:
    async with RunningPlanner.start() as planner:
        for version in (1, 2, 3):
            await planner.register(TWO_STEPS, version=version)
        job = await planner.submit("two-steps", {"n": 1})
        gone = await planner.stub.DeleteApplication(_Delete(name="applications/two-steps/versions/3"))
        assert list(gone.deleted_versions) == [3]
        assert (await planner.submit("two-steps", {"n": 1})).application == "applications/two-steps/versions/2"
        request = _Delete(name="applications/two-steps", request_id="d")
        assert list((await planner.stub.DeleteApplication(request)).deleted_versions) == [1, 2]
        assert not (await planner.stub.DeleteApplication(request)).deleted_versions
        assert (await refusal(planner.submit("two-steps", {"n": 1}))).name == "NOT_FOUND/APPLICATION_NOT_FOUND"
        # The job that runs is unfolded by the version it started with.
        (first,) = await planner.unfold(job.name, "first")
        assert first.tasks[0].payload.tool.args.fields["n"].number_value == 1


async def test_deleting_what_is_not_there_is_an_error_but_for_a_repeat() -> None:
    async with RunningPlanner.start() as planner:
        never = _Delete(name="applications/never", request_id="d")
        assert (await refusal(planner.stub.DeleteApplication(never))).reason == "APPLICATION_NOT_FOUND"
        await planner.register(TWO_STEPS)
        again = _Delete(name="applications/two-steps")
        await planner.stub.DeleteApplication(again)
        assert (await refusal(planner.stub.DeleteApplication(again))).reason == "APPLICATION_NOT_FOUND"


async def test_applications_come_in_pages_by_name() -> None:
    async with RunningPlanner.start() as planner:
        names = [f"app-{letter}" for letter in "dacb"]
        for name in names:
            await planner.register(TWO_STEPS, application=name)
            await planner.register(TWO_STEPS, application=name, version=2)
        request, pages = planner_pb2.ListApplicationsRequest(page_size=2), []
        while True:
            page = await planner.stub.ListApplications(request)
            pages.append([application.name for application in page.applications])
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        # The last page is full, and yet says that it is the last.
        expected = [f"applications/{name}/versions/2" for name in sorted(names)]
        assert pages == [expected[:2], expected[2:]]


# ---- jobs ----------------------------------------------------------------------------------------------------------


async def test_a_job_is_durable_and_announced_when_submit_returns() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        job = await planner.submit("two-steps", {"n": 1}, labels={"team": "a"})
        assert await planner.scheduler.admitted.get() == job.name.removeprefix("jobs/")
        stored = await planner.job(job.name)
        assert (stored.state, stored.application) == (job_pb2.Job.STATE_PENDING, "applications/two-steps/versions/1")
        assert (dict(stored.labels), stored.input) == ({"team": "a"}, to_struct({"n": 1}))
        assert [stage.stage_id for stage in stored.stages] == ["first", "second"]
        assert stored.etag == job.etag


async def test_a_job_that_no_scheduler_heard_of_is_announced_later() -> None:
    async with RunningPlanner.start(leads=False, sweep_seconds=0.01) as planner:
        await planner.register(TWO_STEPS)
        job = await planner.submit("two-steps", {"n": 1})
        await planner.scheduler.lead()
        assert await planner.scheduler.admitted.get() == job.name.removeprefix("jobs/")


async def test_everything_that_is_wrong_with_a_submission_is_named_at_once() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        labels = {"ok": "v" * 129, "k" * 129: "", "": "x"} | {f"l{number}": "" for number in range(30)}
        request = _Submit(application="two-steps", labels=labels, request_id="r" * 129)
        refused = await refusal(planner.stub.SubmitJob(request))
        assert refused.name == "INVALID_ARGUMENT/INVALID_INPUT"
        assert sorted(set(refused.fields)) == ["application", "labels", "labels.ok", "request_id"]
        assert refused.fields.count("labels") == 3  # too many, an empty key, a long key
        assert (await refusal(planner.submit("two-steps", {"n": "x", "m": 1}))).fields == ["input", "input.n"]
        assert not (await planner.stub.ListJobs(_List())).jobs


async def test_labels_up_to_the_limits_are_taken() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        labels = {f"{number:0128}": "v" * 128 for number in range(32)}
        job = await planner.submit("two-steps", {"n": 1}, labels=labels)
        assert dict((await planner.job(job.name)).labels) == labels


async def test_an_input_that_json_cannot_carry_is_refused() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register("{application: free, input: {type: object}, stages: [{llm: a, prompt: x}]}")
        job_input = Struct()
        job_input.fields["n"].number_value = float("nan")
        refused = await refusal(planner.stub.SubmitJob(_Submit(application="applications/free", input=job_input)))
        assert (refused.reason, refused.fields) == ("INVALID_INPUT", ["input.n"])
        deep = Value(string_value="x")
        for _ in range(30):
            deep = Value(struct_value=Struct(fields={"k": deep}))
        request = _Submit(application="applications/free", input=deep.struct_value)
        assert "nested" in (await refusal(planner.stub.SubmitJob(request))).message


async def test_an_input_that_is_too_large_is_refused() -> None:
    async with RunningPlanner.start(max_payload_bytes=1024) as planner:
        await planner.register("{application: free, input: {type: object}, stages: [{llm: a, prompt: x}]}")
        await planner.submit("free", {"text": "x" * 1013})  # with braces, key and quotes: the limit
        refused = await refusal(planner.submit("free", {"text": "x" * 1014}))
        assert refused.name == "INVALID_ARGUMENT/PAYLOAD_TOO_LARGE"
        assert refused.violations == (
            ("input", "has 1025 bytes of JSON, at most 1024 are allowed: pass large data by reference"),
        )


async def test_validation_of_a_job_stores_nothing() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        job = await planner.submit("two-steps", {"n": 1}, validate_only=True, request_id="r")
        assert (job.name, job.etag, job.traceparent) == ("", "", "")
        assert [stage.stage_id for stage in job.stages] == ["first", "second"]
        assert (await refusal(planner.submit("two-steps", {"n": "x"}, validate_only=True))).reason == "INVALID_INPUT"
        assert not (await planner.stub.ListJobs(_List())).jobs
        # The id is still free.
        assert (await planner.submit("two-steps", {"n": 2}, request_id="r")).name


async def test_a_full_queue_says_when_to_come_back_and_still_knows_repeats() -> None:
    async with RunningPlanner.start(max_active_jobs=1) as planner:
        await planner.register(TWO_STEPS)
        first = await planner.submit("two-steps", {"n": 1}, request_id="r")
        refused = await refusal(planner.submit("two-steps", {"n": 1}))
        assert (refused.name, refused.retry_after) == ("RESOURCE_EXHAUSTED/QUEUE_FULL", 1.0)
        assert (await planner.submit("two-steps", {"n": 1}, request_id="r")).name == first.name


async def test_a_repeat_gives_the_present_state_of_the_first_job() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        first = await planner.submit("two-steps", {"n": 1}, request_id="r")
        await planner.scheduler.end(first.name.removeprefix("jobs/"))
        again = await planner.submit("two-steps", {"n": 1}, request_id="r")
        assert (again.name, again.state) == (first.name, job_pb2.Job.STATE_SUCCEEDED)
        for changes in ({"n": 2}, {}):
            refused = await refusal(planner.submit("two-steps", changes, request_id="r"))
            assert refused.name == "ALREADY_EXISTS/REQUEST_ID_REUSED"
        refused = await refusal(planner.submit("two-steps", {"n": 1}, request_id="r", labels={"a": "b"}))
        assert refused.reason == "REQUEST_ID_REUSED"


async def test_a_check_is_never_a_repeat() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        await planner.submit("two-steps", {"n": 1}, request_id="r")
        refused = await refusal(planner.submit("two-steps", {"n": "x"}, request_id="r", validate_only=True))
        assert refused.reason == "INVALID_INPUT"


async def test_a_repeat_is_answered_although_it_would_be_refused_now() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        first = await planner.submit("two-steps", {"n": 1}, request_id="r")
        await planner.register(TWO_STEPS.replace("{n: integer}", "{n: string}"), version=2)
        assert (await planner.submit("two-steps", {"n": 1}, request_id="r")).name == first.name
        await planner.stub.DeleteApplication(_Delete(name="applications/two-steps"))
        assert (await planner.submit("two-steps", {"n": 1}, request_id="r")).name == first.name
        assert (await refusal(planner.submit("two-steps", {"n": 1}, request_id="s"))).reason == "APPLICATION_NOT_FOUND"


class SlowState(MemoryState):
    """Makes a job durable only when the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def submit(self, *args: Any, **more: Any) -> Any:
        await self.gate.passed()
        return await super().submit(*args, **more)


async def test_a_repeat_while_the_first_call_is_under_way_makes_no_second_job() -> None:
    state = SlowState()
    async with RunningPlanner.start(state) as planner:
        await planner.register(TWO_STEPS)
        state.gate.close()
        calls = [asyncio.create_task(planner.submit("two-steps", {"n": 1}, request_id="r")) for _ in range(5)]
        await state.gate.arrived.wait()
        state.gate.open()
        assert len({job.name for job in await asyncio.gather(*calls)}) == 1
        assert len((await planner.stub.ListJobs(_List())).jobs) == 1


async def test_jobs_without_request_ids_are_all_new() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        assert len({(await planner.submit("two-steps", {"n": 1})).name for _ in range(3)}) == 3


async def test_jobs_are_listed_newest_first_in_pages_and_by_what_they_are() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        await planner.register(TWO_STEPS, application="other")
        names = [(await planner.submit("two-steps", {"n": n}, labels={"n": str(n % 2)})).name for n in range(4)]
        other = (await planner.submit("other", {"n": 1})).name
        await planner.scheduler.end(names[0].removeprefix("jobs/"))

        async def listed(**fields: Any) -> list[list[str]]:
            request, pages = _List(**fields), []
            while True:
                page = await planner.stub.ListJobs(request)
                pages.append([job.name for job in page.jobs])
                assert not any(job.stages for job in page.jobs)
                if not page.next_page_token:
                    return pages
                request.page_token = page.next_page_token

        assert await listed(page_size=5) == [[other, *names[::-1]]]
        assert await listed(page_size=2) == [[other, names[3]], [names[2], names[1]], [names[0]]]
        assert await listed(labels={"n": "1"}, page_size=1) == [[names[3]], [names[1]]]
        assert await listed(states=[job_pb2.Job.STATE_SUCCEEDED]) == [[names[0]]]
        assert await listed(application="applications/other/versions/1") == [[other]]
        assert await listed(application="applications/other/versions/2") == [[]]


async def test_pages_are_never_larger_than_allowed() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        await asyncio.gather(*(planner.submit("two-steps", {"n": n}) for n in range(501)))
        assert len((await planner.stub.ListJobs(_List(page_size=1000))).jobs) == 500
        assert len((await planner.stub.ListJobs(_List())).jobs) == 50


async def test_a_page_token_is_good_for_the_question_it_came_from() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        for n in range(3):
            await planner.submit("two-steps", {"n": n})
        token = (await planner.stub.ListJobs(_List(page_size=1))).next_page_token
        assert (await planner.stub.ListJobs(_List(page_size=2, page_token=token))).jobs
        for request in (
            _List(page_token=token, labels={"a": "b"}),
            _List(page_token="nonsense"),
            _List(page_token=token[:-4]),
        ):
            refused = await refusal(planner.stub.ListJobs(request))
            assert (refused.name, refused.fields) == ("INVALID_ARGUMENT/INVALID_PAGE_TOKEN", ["page_token"])
        applications = planner_pb2.ListApplicationsRequest(page_token=token)
        assert (await refusal(planner.stub.ListApplications(applications))).reason == "INVALID_PAGE_TOKEN"


async def test_everything_that_is_wrong_with_a_list_is_named_at_once() -> None:
    async with RunningPlanner.start() as planner:
        request = _List(page_size=-1, states=[0, 99], application="x")  # type: ignore[list-item]
        refused = await refusal(planner.stub.ListJobs(request))
        assert (refused.name, refused.fields) == (
            "INVALID_ARGUMENT/INVALID_REQUEST",
            ["page_size", "application", "states"],
        )


async def test_results_are_there_when_the_job_has_succeeded() -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        job = await planner.submit("two-steps", {"n": 1})
        job_id = job.name.removeprefix("jobs/")
        result = task_pb2.TaskResult(tool=Value(string_value="one"))
        await planner.scheduler.commit(job_id, results={("first", 0): result.SerializeToString()})
        request = planner_pb2.GetJobResultRequest(name=job.name)
        assert (await refusal(planner.stub.GetJobResult(request))).name == "FAILED_PRECONDITION/JOB_NOT_ENDED"
        request.include_stage_outputs = True
        early = await planner.stub.GetJobResult(request)
        assert not early.HasField("output")
        assert [(each.stage_id, each.task_index, each.result) for each in early.task_outputs] == [("first", 0, result)]
        await planner.scheduler.end(job_id, output=Value(number_value=7).SerializeToString())
        assert await planner.result(job.name) == 7


@pytest.mark.parametrize(("state", "reason"), [(JobState.FAILED, "JOB_FAILED"), (JobState.CANCELLED, "JOB_CANCELLED")])
async def test_a_job_without_a_result_says_why(state: JobState, reason: str) -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        job = await planner.submit("two-steps", {"n": 1})
        failure = Failure(reason="BROKEN", message="it broke")
        await planner.scheduler.end(job.name.removeprefix("jobs/"), state, failure=failure)
        refused = await refusal(planner.result(job.name))
        assert refused.name == f"FAILED_PRECONDITION/{reason}"
        assert refused.message.endswith("has no result: it broke")
        assert refused.metadata["failure_reason"] == "BROKEN"


@pytest.mark.parametrize("name", ["", "x", "jobs/", "jobs/a/b", "applications/x"])
async def test_a_name_that_is_none_is_no_missing_job(name: str) -> None:
    async with RunningPlanner.start() as planner:
        refused = await refusal(planner.job(name))
        assert (refused.name, refused.fields) == ("INVALID_ARGUMENT/INVALID_REQUEST", ["name"])


@pytest.mark.parametrize("name", ["", "x", "applications/", "applications/x/versions/0", "applications/x/versions/1a"])
async def test_a_name_that_is_none_is_no_missing_application(name: str) -> None:
    async with RunningPlanner.start() as planner:
        refused = await refusal(planner.stub.GetApplication(planner_pb2.GetApplicationRequest(name=name)))
        assert (refused.name, refused.fields) == ("INVALID_ARGUMENT/INVALID_REQUEST", ["name"])


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("said", "kept"), [(TRACEPARENT, TRACEPARENT), ("nonsense", "")])
async def test_a_job_belongs_to_the_trace_of_its_caller(said: str, kept: str) -> None:
    async with RunningPlanner.start() as planner:
        await planner.register(TWO_STEPS)
        request = _Submit(application="applications/two-steps", input=to_struct({"n": 1}))
        job = (await planner.stub.SubmitJob(request, metadata=[("traceparent", said)])).job
        stored = await planner.state.get_job(job.name.removeprefix("jobs/"))
        assert stored is not None
        assert stored.record.traceparent == kept
        assert Place.parse(kept) is not None or not kept


async def test_without_its_store_the_planner_says_so() -> None:
    async with RunningPlanner.start() as planner:
        await planner.state.aclose()
        refused = await refusal(planner.stub.ListJobs(_List()))
        assert refused.name == "UNAVAILABLE/STATE_UNAVAILABLE"
        assert refused.retry_after == 1.0
        assert (await refusal(planner.unfold("jobs/j", "s"))).code is grpc.StatusCode.UNAVAILABLE


class LostAnswers(MemoryState):
    """Stores a job, and then the connection breaks before it can say so."""

    def __init__(self) -> None:
        super().__init__()
        self.losing = 0

    async def submit(self, *args: Any, **more: Any) -> Any:
        answer = await super().submit(*args, **more)
        if self.losing:
            self.losing -= 1
            raise StateUnavailable("the connection broke")
        return answer


async def test_a_call_whose_answer_was_lost_can_be_repeated() -> None:
    state = LostAnswers()
    async with RunningPlanner.start(state) as planner:
        await planner.register(TWO_STEPS)
        state.losing = 1
        refused = await refusal(planner.submit("two-steps", {"n": 1}, request_id="r"))
        assert refused.name == "UNAVAILABLE/STATE_UNAVAILABLE"
        job = await planner.submit("two-steps", {"n": 1}, request_id="r")
        assert [each.name for each in (await planner.stub.ListJobs(_List())).jobs] == [job.name]
