"""What every store promises about applications, submission and reading. Commits: test_state_commit_contract.py."""

from __future__ import annotations

import asyncio

import pytest

from services.scheduler.core.model import (
    JobState,
    Measurement,
    PolicySettings,
    StageState,
    TaskSnapshot,
    TaskSpec,
    TaskState,
)
from services.state.port import JobFilter, QueueFull, RequestIdReused, State, StateUnavailable, VersionExists
from services.state.records import Commit, JobUpdate
from tests.contract.state_backends import OpenState
from tests.support.state import (
    commit_of,
    eventually,
    finished,
    lead,
    make_application,
    make_record,
    make_stage,
    running,
    submit,
)

MEBIBYTE = bytes(range(256)) * 4096
UNICODE = "größe/ствол/舞台 🎭\n\x7f"


class TestApplications:
    async def test_a_version_is_kept_as_it_was_registered(self, state: State) -> None:
        record = make_application("chat", 3, spec=MEBIBYTE, etag="e", created_at=1234.5)
        assert await state.put_application(record) == record
        assert await state.get_application("chat", 3) == record

    async def test_a_version_is_immutable(self, state: State) -> None:
        first = await state.put_application(make_application(etag="one"))
        with pytest.raises(VersionExists):
            await state.put_application(make_application(etag="two", spec=b"other"))
        assert await state.get_application("chat", 1) == first

    async def test_the_same_content_again_returns_what_is_there(self, state: State) -> None:
        first = await state.put_application(make_application(created_at=1.0))
        assert await state.put_application(make_application(created_at=2.0)) == first

    async def test_without_a_version_the_highest_one_is_returned(self, state: State) -> None:
        for version in (9, 10, 2):
            await state.put_application(make_application(version=version))
        found = await state.get_application("chat")
        assert found is not None
        assert found.version == 10

    async def test_what_is_unknown_is_none(self, state: State) -> None:
        assert await state.get_application("chat") is None
        await state.put_application(make_application())
        assert await state.get_application("chat", 2) is None
        assert await state.get_application("chat", 2, include_deleted=True) is None
        assert await state.get_application("other", include_deleted=True) is None

    async def test_deleting_hides_a_version_and_registering_it_again_shows_it(self, state: State) -> None:
        record = await state.put_application(make_application(version=1))
        await state.put_application(make_application(version=2))
        assert await state.delete_application("chat", 2) == [2]
        assert await state.get_application("chat", 2) is None
        assert await state.get_application("chat") == record
        hidden = await state.get_application("chat", include_deleted=True)
        assert hidden is not None
        assert (hidden.version, hidden.deleted) == (2, True)
        assert not (await state.put_application(make_application(version=2))).deleted
        found = await state.get_application("chat")
        assert found is not None
        assert (found.version, found.deleted) == (2, False)

    async def test_deleting_returns_what_was_hidden_now(self, state: State) -> None:
        for version in (1, 2, 10):
            await state.put_application(make_application(version=version))
        assert await state.delete_application("chat", 2) == [2]
        assert await state.delete_application("chat", 7) == []
        assert await state.delete_application("chat") == [1, 10]
        assert await state.delete_application("chat") == []
        assert await state.get_application("chat") is None

    async def test_a_deleted_version_stays_immutable(self, state: State) -> None:
        await state.put_application(make_application(etag="one"))
        await state.delete_application("chat", 1)
        with pytest.raises(VersionExists):
            await state.put_application(make_application(etag="two"))
        assert await state.get_application("chat", 1) is None

    async def test_listing_gives_the_highest_version_of_each_by_name_in_pages(self, state: State) -> None:
        for name in ("b", "a", "d", "c"):
            await state.put_application(make_application(name, 1))
            await state.put_application(make_application(name, 2))
        await state.delete_application("a", 2)
        await state.delete_application("c")
        first = await state.list_applications(limit=2)
        assert [(record.application, record.version) for record in first] == [("a", 1), ("b", 2)]
        rest = await state.list_applications(after="b", limit=2)
        assert [record.application for record in rest] == ["d"]
        assert await state.list_applications(after="d") == []


class TestSubmit:
    async def test_a_job_is_kept_as_it_was_submitted(self, state: State) -> None:
        record = make_record(
            labels={"team": UNICODE}, structure="generated", traceparent="00-1-2-3", rerun_of="job-0", digest="d"
        )
        stages = (make_stage("b", position=1), make_stage(UNICODE, position=0))
        kept = await submit(state, record, input=MEBIBYTE, stages=stages)
        assert kept.order > 0
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.record == kept
        assert job.status.state is JobState.PENDING
        assert job.stages == {stage.spec.stage_id: stage for stage in stages}
        assert job.snapshot().stages == (stages[1], stages[0])
        assert await state.get_input(record.job_id) == MEBIBYTE

    async def test_it_has_a_first_event(self, state: State) -> None:
        record = await submit(state, make_record(created_at=55.5))
        (event,) = await state.read_events(record.job_id, after=0)
        assert (event.sequence, event.at, event.update) == (1, 55.5, JobUpdate(state=JobState.PENDING))
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.sequence == 1

    async def test_it_is_marked_for_admission_in_order(self, state: State) -> None:
        records = [await submit(state) for _ in range(12)]
        assert [record.order for record in records] == sorted({record.order for record in records})
        assert await state.pending_admissions() == [record.job_id for record in records]
        assert await state.pending_admissions(limit=3) == [record.job_id for record in records[:3]]

    async def test_a_repeat_gives_the_first_job(self, state: State) -> None:
        first, new = await state.submit(
            make_record(request_id="r", digest="d"), input=b"1", stages=[make_stage()], max_active=1
        )
        assert new
        again, new = await state.submit(
            make_record(request_id="r", digest="d"), input=b"1", stages=[make_stage()], max_active=1
        )
        assert (again, new) == (first, False)
        assert await state.pending_admissions() == [first.job_id]

    async def test_the_same_job_id_again_is_a_repeat(self, state: State) -> None:
        first = await submit(state, make_record("job-x"), input=b"1")
        again, new = await state.submit(make_record("job-x"), input=b"2", stages=[], max_active=10)
        assert (again, new) == (first, False)
        assert await state.get_input("job-x") == b"1"

    async def test_a_request_id_for_something_else_is_refused(self, state: State) -> None:
        first = await submit(state, make_record(request_id="r", digest="one"))
        with pytest.raises(RequestIdReused):
            await submit(state, make_record(request_id="r", digest="two"))
        assert await state.pending_admissions() == [first.job_id]

    async def test_jobs_without_request_id_are_never_repeats(self, state: State) -> None:
        assert (await submit(state)).job_id != (await submit(state)).job_id

    async def test_a_job_over_the_limit_is_refused_and_leaves_nothing(self, state: State) -> None:
        await submit(state, max_active=1)
        refused = make_record(request_id="r")
        with pytest.raises(QueueFull):
            await submit(state, refused, max_active=1)
        assert await state.get_job(refused.job_id) is None
        assert len(await state.list_jobs(JobFilter())) == 1
        assert (await submit(state, refused, max_active=2)).job_id == refused.job_id

    async def test_an_ended_job_makes_room(self, state: State) -> None:
        job_id = (await submit(state, max_active=1)).job_id
        await state.commit(await lead(state), 1, commit_of(finished(job_id)))
        assert await submit(state, max_active=1)

    async def test_concurrent_submissions_keep_the_limit_and_get_different_orders(self, open_state: OpenState) -> None:
        stores = [open_state(), open_state()]
        submissions = [submit(stores[number % 2], max_active=20) for number in range(50)]
        answers = await asyncio.gather(*submissions, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert [type(answer) for answer in refused] == [QueueFull] * 30
        orders = {answer.order for answer in answers if not isinstance(answer, BaseException)}
        assert len(orders) == 20

    async def test_concurrent_repeats_make_one_job(self, open_state: OpenState) -> None:
        stores = [open_state(), open_state()]
        records = [make_record(request_id="r", digest="d") for _ in range(10)]
        kept = await asyncio.gather(*(submit(stores[n % 2], record) for n, record in enumerate(records)))
        assert len({record.job_id for record in kept}) == 1
        assert len(await state_jobs(stores[0])) == 1

    async def test_a_rerun_starts_with_results(self, state: State) -> None:
        results = {("draft", 0): b"text", (UNICODE, 12): MEBIBYTE}
        record = await submit(state, make_record(rerun_of="job-0"), input=b'{"a": 1}', results=results)
        outputs = await state.get_outputs(record.job_id)
        assert outputs is not None
        assert outputs.results == results
        assert outputs.input == b'{"a": 1}'
        assert outputs.job == await state.get_job(record.job_id)


async def state_jobs(state: State) -> list[str]:
    return [job.record.job_id for job in await state.list_jobs(JobFilter())]


class TestReading:
    async def test_an_unknown_job_is_none(self, state: State) -> None:
        assert await state.get_job("nobody") is None
        assert await state.get_input("nobody") is None
        assert await state.get_output("nobody") is None
        assert await state.get_outputs("nobody") is None
        assert await state.get_payload("nobody", ("draft", 0)) is None
        assert await state.read_events("nobody", after=0) == []
        assert await state.load_jobs(["nobody"]) == []

    async def test_one_stage_comes_with_its_results(self, state: State) -> None:
        tasks = tuple(TaskSnapshot(spec=TaskSpec(), state=TaskState.SUCCEEDED) for _ in range(3))
        stages = [make_stage(UNICODE, tasks=tasks), make_stage("one", tasks=tasks[:1]), make_stage("none")]
        results = {(UNICODE, 0): b"a", (UNICODE, 2): MEBIBYTE, ("one", 0): b"1", ("other", 0): b"x"}
        record = await submit(state, stages=stages, results=results)
        job = await state.get_job(record.job_id)
        assert job is not None
        for stage, found in zip(stages, ({0: b"a", 2: MEBIBYTE}, {0: b"1"}, {}), strict=True):
            stored = await state.get_stage(record.job_id, stage.spec.stage_id)
            assert stored is not None
            assert (stored.record, stored.status, stored.stage) == (record, job.status, stage)
            assert stored.results == found
        missing = await state.get_stage(record.job_id, "nothing")
        assert missing is not None
        assert (missing.stage, missing.results) == (None, {})
        assert await state.get_stage("nobody", "one") is None

    async def test_stages_can_be_left_out(self, state: State) -> None:
        record = await submit(state)
        job = await state.get_job(record.job_id, stages=False)
        assert job is not None
        assert job.stages == {}
        assert job.record == record

    async def test_every_field_of_a_stage_comes_back(self, state: State) -> None:
        task = TaskSnapshot(
            spec=TaskSpec(prompt_tokens=12, counted=True),
            state=TaskState.SUCCEEDED,
            attempt=2,
            executor_id="gpu-1",
            started_at=1.25,
            ended_at=2.5,
            measurement=Measurement(output_tokens=7, total_seconds=1.25),
        )
        stage = make_stage(state=StageState.EXPANDED, waits_on=("a", "b"), tasks=(task,) * 3, again=True)
        record = await submit(state, stages=(stage,))
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.stages == {"draft": stage}

    async def test_jobs_are_listed_newest_first_in_pages(self, state: State) -> None:
        records = [await submit(state) for _ in range(5)]
        first = await state.list_jobs(JobFilter(), limit=2)
        assert [job.record for job in first] == [records[4], records[3]]
        assert first[0].stages == {}
        rest = await state.list_jobs(JobFilter(), before=first[-1].record.order, limit=10)
        assert [job.record for job in rest] == [records[2], records[1], records[0]]
        assert await state.list_jobs(JobFilter(), before=records[0].order) == []

    async def test_a_filter_looks_past_any_number_of_others(self, state: State) -> None:
        wanted = await submit(state, make_record(labels={"team": "blue"}))
        await asyncio.gather(*(submit(state, make_record(labels={"team": "red"})) for _ in range(250)))
        found = await state.list_jobs(JobFilter(labels=(("team", "blue"),)), limit=3)
        assert [job.record for job in found] == [wanted]

    @pytest.mark.parametrize(
        ("where", "wanted"),
        [
            (JobFilter(), {"a1", "a2", "b1", "done"}),
            (JobFilter(application="a"), {"a1", "a2", "done"}),
            (JobFilter(application="a", version=2), {"a2"}),
            (JobFilter(labels=(("team", "x"),)), {"a1", "b1"}),
            (JobFilter(labels=(("team", "x"), ("tier", "gold"))), {"b1"}),
            (JobFilter(states=frozenset({JobState.RUNNING})), {"b1"}),
            (JobFilter(states=frozenset({JobState.PENDING, JobState.RUNNING}), application="a"), {"a1", "a2"}),
            (JobFilter(states=frozenset({JobState.PENDING, JobState.SUCCEEDED})), {"a1", "a2", "done"}),
            (JobFilter(states=frozenset({JobState.SUCCEEDED}), application="b"), set()),
        ],
    )
    async def test_jobs_are_filtered(self, state: State, where: JobFilter, wanted: set[str]) -> None:
        await submit(state, make_record("a1", application="a", labels={"team": "x"}))
        await submit(state, make_record("a2", application="a", version=2))
        await submit(state, make_record("b1", application="b", labels={"team": "x", "tier": "gold"}))
        await submit(state, make_record("done", application="a"))
        await state.commit(await lead(state), 1, commit_of(running("b1"), finished("done")))
        assert {job.record.job_id for job in await state.list_jobs(where)} == wanted

    async def test_active_jobs_are_loaded_in_order_with_pending_ones(self, state: State) -> None:
        records = [await submit(state) for _ in range(4)]
        ids = [record.job_id for record in records]
        await state.commit(await lead(state), 1, commit_of(finished(ids[1]), running(ids[2])))
        loaded = [job async for job in state.load_active_jobs()]
        assert [job.record.job_id for job in loaded] == [ids[0], ids[2], ids[3]]
        assert loaded[0].stages == {"draft": make_stage()}

    async def test_many_active_jobs_are_loaded(self, state: State) -> None:
        records = await asyncio.gather(*(submit(state) for _ in range(230)))
        loaded = [job.record.order async for job in state.load_active_jobs()]
        assert loaded == sorted(record.order for record in records)

    async def test_given_jobs_are_loaded_and_unknown_ones_left_out(self, state: State) -> None:
        first, second = await submit(state), await submit(state)
        loaded = await state.load_jobs([second.job_id, "nobody", first.job_id])
        assert [job.record for job in loaded] == [second, first]
        assert loaded[0].stages

    async def test_the_policy_is_the_last_one_committed(self, state: State) -> None:
        assert await state.get_policy() is None
        leader = await lead(state)
        policy = PolicySettings(name="ps-tcs", application_order=("b", "a"), ageing_seconds=30.0, seed=7)
        await state.commit(leader, 1, Commit(policy=PolicySettings(name="fcfs")))
        await state.commit(leader, 2, Commit(policy=policy))
        await state.commit(leader, 3, Commit())
        assert await state.get_policy() == policy


class TestRetention:
    async def test_a_job_and_its_request_id_are_forgotten_together_after_the_retention_time(
        self, open_state: OpenState
    ) -> None:
        state = open_state(retention_seconds=0.2)
        record = await submit(state, make_record(request_id="r", digest="one"))
        kept = await submit(state)
        leader = await lead(state)
        await state.commit(leader, 1, commit_of(finished(record.job_id, results={("draft", 0): b"x"}, output=b"out")))
        assert await state.get_output(record.job_id) == b"out"

        async def gone() -> bool:
            return await state.get_job(record.job_id) is None

        await eventually(gone)
        assert await state.get_output(record.job_id) is None
        assert await state.get_outputs(record.job_id) is None
        assert await state.read_events(record.job_id, after=0) == []
        assert await state_jobs(state) == [kept.job_id]
        again = await submit(state, make_record(request_id="r", digest="two"))
        assert again.job_id != record.job_id

    async def test_a_job_that_runs_is_kept(self, open_state: OpenState) -> None:
        state = open_state(retention_seconds=0.05)
        short, long = await submit(state), await submit(state)
        await state.commit(await lead(state), 1, commit_of(finished(short.job_id), running(long.job_id)))

        async def gone() -> bool:
            return await state.get_job(short.job_id) is None

        await eventually(gone)
        assert await state.get_job(long.job_id) is not None


class TestConnection:
    async def test_it_answers_until_it_is_closed(self, open_state: OpenState) -> None:
        state = open_state()
        await state.ping()
        await state.aclose()
        with pytest.raises(StateUnavailable):
            await state.ping()
        await state.aclose()
