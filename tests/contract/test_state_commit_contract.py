"""What every store promises about commits, the lead, and those who watch."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest

from services.scheduler.core.model import Failure, JobState, TaskSnapshot, TaskSpec
from services.state.port import CommitGap, HistoryCompacted, LeadershipLost, State
from services.state.records import Commit, JobCommit, JobStatus, JobUpdate, Leader, StageUpdate, TaskKey, TaskUpdate
from tests.contract.state_backends import OpenState
from tests.support.state import (
    commit_of,
    eventually,
    finished,
    lead,
    make_record,
    make_stage,
    progressed,
    running,
    submit,
)

MEBIBYTE = bytes(range(256)) * 4096


class TestCommit:
    async def test_all_of_a_commit_is_applied(self, state: State) -> None:
        record = await submit(state)
        status = JobStatus(
            state=JobState.RUNNING, started_at=3.5, prompt_tokens=10, failure=Failure(reason="A", message="ü")
        )
        stages = {"draft": make_stage(ready_at=3.5), "new/1": make_stage("new/1", position=1)}
        updates = (
            JobUpdate(state=JobState.RUNNING),
            StageUpdate(stage=make_stage()),
            TaskUpdate(stage_id="draft", task_index=3, task=TaskSnapshot(spec=TaskSpec())),
        )
        change = JobCommit(
            job_id=record.job_id,
            at=9.25,
            status=status,
            stages=stages,
            payloads={("draft", 0): b"payload", ("draft", 1): MEBIBYTE},
            results={("new/1", 0): MEBIBYTE},
            output=b"",
            updates=updates,
            observations=(b"seen",),
        )
        await state.commit(await lead(state), 1, commit_of(change))
        outputs = await state.get_outputs(record.job_id)
        assert outputs is not None
        assert (outputs.job.status, outputs.job.stages, outputs.job.sequence) == (status, stages, 4)
        assert outputs.results == {("new/1", 0): MEBIBYTE}
        assert await state.get_payload(record.job_id, ("draft", 0)) == b"payload"
        assert await state.get_payload(record.job_id, ("draft", 1)) == MEBIBYTE
        assert await state.get_payload(record.job_id, ("draft", 2)) is None
        assert await state.get_output(record.job_id) == b""
        events = await state.read_events(record.job_id, after=1)
        assert [(event.sequence, event.at, event.update) for event in events] == [
            (2, 9.25, updates[0]),
            (3, 9.25, updates[1]),
            (4, 9.25, updates[2]),
        ]

    async def test_what_a_commit_does_not_name_stays(self, state: State) -> None:
        stages = (make_stage("a"), make_stage("b", position=1))
        record = await submit(state, stages=stages)
        leader = await lead(state)
        await state.commit(leader, 1, commit_of(running(record.job_id, output=b"out", results={("a", 0): b"1"})))
        changed = make_stage("b", position=1, ready_at=5.0)
        change = JobCommit(job_id=record.job_id, at=2.0, stages={"b": changed}, results={("b", 0): b"2"})
        await state.commit(leader, 2, commit_of(change))
        outputs = await state.get_outputs(record.job_id)
        assert outputs is not None
        assert outputs.job.status.state is JobState.RUNNING
        assert outputs.job.stages == {"a": stages[0], "b": changed}
        assert outputs.results == {("a", 0): b"1", ("b", 0): b"2"}
        assert await state.get_output(record.job_id) == b"out"

    async def test_a_first_commit_takes_the_job_off_the_pending_admissions(self, state: State) -> None:
        first, second = await submit(state), await submit(state)
        await state.commit(await lead(state), 1, commit_of(running(first.job_id)))
        assert await state.pending_admissions() == [second.job_id]

    async def test_an_ended_job_drops_its_payloads_and_is_not_active(self, state: State) -> None:
        record = await submit(state)
        leader = await lead(state)
        await state.commit(leader, 1, commit_of(running(record.job_id, payloads={("draft", 0): b"p"})))
        await state.commit(leader, 2, commit_of(finished(record.job_id, output=b"out")))
        assert await state.get_payload(record.job_id, ("draft", 0)) is None
        assert await state.get_output(record.job_id) == b"out"
        assert [job async for job in state.load_active_jobs()] == []
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.status.state is JobState.SUCCEEDED

    async def test_hundreds_of_jobs_and_thousands_of_tasks_fit_in_a_commit(self, state: State) -> None:
        records = await asyncio.gather(*(submit(state) for _ in range(300)))
        payloads: dict[TaskKey, bytes] = {("wide", index): b"%d" % index for index in range(5000)}
        changes = [running(record.job_id) for record in records[:-1]]
        changes.append(running(records[-1].job_id, payloads=payloads, results=payloads))
        await state.commit(await lead(state), 1, commit_of(*changes))
        jobs = await state.load_jobs(record.job_id for record in records)
        assert {(job.status.state, job.sequence) for job in jobs} == {(JobState.RUNNING, 2)}
        assert await state.get_payload(records[-1].job_id, ("wide", 4999)) == b"4999"
        outputs = await state.get_outputs(records[-1].job_id)
        assert outputs is not None
        assert outputs.results == payloads

    async def test_observations_are_read_in_order_from_any_position(self, state: State) -> None:
        first, second = await submit(state), await submit(state)
        leader = await lead(state)
        for number, change in enumerate(
            [running(first.job_id, observations=(b"1", b"2")), running(second.job_id, observations=(b"3",))], start=1
        ):
            await state.commit(leader, number, commit_of(change))
        page = await state.read_observations(limit=2)
        assert [seen.data for seen in page] == [b"1", b"2"]
        rest = await state.read_observations(after=page[-1].position)
        assert [seen.data for seen in rest] == [b"3"]
        assert await state.read_observations(after=rest[-1].position) == []

    async def test_observations_are_capped(self, open_state: OpenState) -> None:
        state = open_state(max_observations=100)
        record = await submit(state)
        seen = tuple(b"%d" % number for number in range(1000))
        await state.commit(await lead(state), 1, commit_of(running(record.job_id, observations=seen)))
        kept = [observation.data for observation in await state.read_observations(limit=1000)]
        assert 100 <= len(kept) < 500  # Redis drops whole blocks
        assert kept == list(seen[-len(kept) :])


class TestNumbers:
    async def test_a_repeat_of_the_last_commit_is_applied_once(self, state: State) -> None:
        record = await submit(state)
        leader = await lead(state)
        for _ in range(3):
            await state.commit(leader, 1, commit_of(running(record.job_id)))
        await state.commit(leader, 2, commit_of(progressed(record.job_id)))
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.sequence == 3

    async def test_a_skipped_number_is_a_gap_and_changes_nothing(self, state: State) -> None:
        record = await submit(state)
        leader = await lead(state)
        with pytest.raises(CommitGap):
            await state.commit(leader, 2, commit_of(running(record.job_id)))
        job = await state.get_job(record.job_id)
        assert job is not None
        assert (job.sequence, job.status.state) == (1, JobState.PENDING)
        await state.commit(leader, 1, commit_of(running(record.job_id)))

    async def test_a_job_that_the_store_does_not_have_is_a_gap_and_changes_nothing(self, state: State) -> None:
        record = await submit(state)
        leader = await lead(state)
        with pytest.raises(CommitGap):
            await state.commit(leader, 1, commit_of(running(record.job_id), running("lost")))
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.sequence == 1
        assert await state.get_job("lost") is None

    async def test_an_epoch_that_the_store_does_not_know_is_a_gap(self, state: State) -> None:
        leader = Leader(epoch=10**15, instance="scheduler-1", address="a:1")
        with pytest.raises(CommitGap):
            await state.commit(leader, 1, Commit())

    async def test_each_epoch_counts_from_one(self, state: State) -> None:
        record = await submit(state)
        leader = await lead(state)
        await state.commit(leader, 1, commit_of(running(record.job_id)))
        await state.commit(leader, 2, commit_of(progressed(record.job_id)))
        leader = await lead(state)
        await state.commit(leader, 1, commit_of(progressed(record.job_id)))
        job = await state.get_job(record.job_id)
        assert job is not None
        assert job.sequence == 4


class TestDecisions:
    async def test_there_are_none_at_first(self, state: State) -> None:
        assert await state.get_decisions() == 0

    async def test_the_number_of_the_last_one_outlives_its_leader(self, state: State) -> None:
        record = await submit(state)
        first = await lead(state, "s1")
        await state.commit(first, 1, Commit(jobs=(running(record.job_id),), decisions=3))
        await state.commit(first, 2, commit_of(progressed(record.job_id)))  # decides nothing
        await state.release_leadership(first)
        second = await lead(state, "s2")
        assert await state.get_decisions() == 3
        await state.commit(second, 1, Commit(jobs=(progressed(record.job_id),), decisions=2**40))
        assert await state.get_decisions() == 2**40

    async def test_decisions_of_a_refused_commit_do_not_count(self, state: State) -> None:
        record = await submit(state)
        first = await lead(state, "s1")
        await state.release_leadership(first)
        second = await lead(state, "s2")
        for leader, number, refusal in ((first, 1, LeadershipLost), (second, 2, CommitGap)):
            with pytest.raises(refusal):
                await state.commit(leader, number, Commit(jobs=(running(record.job_id),), decisions=9))
        assert await state.get_decisions() == 0


class TestLeadership:
    async def test_one_of_many_contenders_leads(self, open_state: OpenState) -> None:
        stores = [open_state(), open_state()]
        answers = await asyncio.gather(
            *(
                stores[number % 2].acquire_leadership(instance=f"s{number}", address=f"a:{number}", ttl=60.0)
                for number in range(10)
            )
        )
        (leader,) = [answer for answer in answers if answer is not None]
        assert await stores[0].leader() == leader
        assert await stores[1].leader() == leader

    async def test_nobody_leads_at_first(self, state: State) -> None:
        assert await state.leader() is None

    async def test_epochs_grow(self, state: State) -> None:
        epochs = []
        for number in range(5):
            leader = await lead(state, f"s{number}")
            epochs.append(leader.epoch)
            await state.release_leadership(leader)
        assert len(set(epochs)) == len(epochs)

    async def test_a_lead_that_is_not_renewed_runs_out(self, state: State) -> None:
        await lead(state, "s1", ttl=0.05)

        async def free() -> bool:
            return await state.leader() is None

        await eventually(free)
        assert (await lead(state, "s2")).instance == "s2"

    async def test_a_renewed_lead_outlasts_its_first_ttl(self, state: State) -> None:
        leader = await lead(state, "s1", ttl=0.2)
        assert await state.renew_leadership(leader, ttl=60.0)
        await asyncio.sleep(0.25)  # that nothing happens can only be seen by waiting
        assert await state.leader() == leader
        assert await state.acquire_leadership(instance="s2", address="a:2", ttl=1.0) is None

    async def test_a_lead_that_ran_out_is_renewed_if_nobody_took_it(self, state: State) -> None:
        leader = await lead(state, "s1", ttl=0.05)

        async def free() -> bool:
            return await state.leader() is None

        await eventually(free)
        assert await state.renew_leadership(leader, ttl=60.0)
        assert await state.leader() == leader

    async def test_a_lead_that_another_took_is_not_renewed(self, state: State) -> None:
        first = await lead(state, "s1", ttl=0.05)

        async def free() -> bool:
            return await state.leader() is None

        await eventually(free)
        second = await lead(state, "s2")
        assert not await state.renew_leadership(first, ttl=60.0)
        assert await state.leader() == second

    async def test_a_released_lead_is_free_at_once_and_cannot_write(self, state: State) -> None:
        first = await lead(state, "s1")
        await state.release_leadership(first)
        assert await state.leader() is None
        with pytest.raises(LeadershipLost):
            await state.commit(first, 1, Commit())
        assert not await state.renew_leadership(first, ttl=1.0)

    async def test_releasing_a_lead_that_was_lost_leaves_the_new_one(self, state: State) -> None:
        first = await lead(state, "s1")
        await state.release_leadership(first)
        second = await lead(state, "s2")
        await state.release_leadership(first)
        assert await state.leader() == second

    async def test_an_old_epoch_is_refused_and_changes_nothing(self, open_state: OpenState) -> None:
        old, new = open_state(), open_state()
        record = await submit(old)
        first = await lead(old, "s1")
        await old.commit(first, 1, commit_of(running(record.job_id)))
        second = await lead(new, "s1")  # the same instance again starts a new epoch
        assert second.epoch > first.epoch
        for number in (1, 2, 3):  # whether it is a repeat, the next one or a gap
            with pytest.raises(LeadershipLost):
                await old.commit(first, number, commit_of(progressed(record.job_id)))
        job = await new.get_job(record.job_id)
        assert job is not None
        assert job.sequence == 2

    async def test_two_schedulers_never_both_write(self, open_state: OpenState) -> None:
        """Both write as long as they may; what the store keeps is one leader's work after the other's."""
        stores = [open_state(), open_state()]
        record = await submit(stores[0])
        epochs: list[int] = []
        acknowledged = 0

        async def schedule(name: str, store: State) -> None:
            nonlocal acknowledged
            while len(epochs) < 10:
                leader = await store.acquire_leadership(instance=name, address="a:1", ttl=0.005)
                if leader is None:
                    await asyncio.sleep(0.001)
                    continue
                epochs.append(leader.epoch)
                change = replace(progressed(record.job_id), at=float(leader.epoch))
                with suppress(LeadershipLost):
                    for number in itertools.count(1):
                        if len(epochs) >= 10:
                            break
                        await store.commit(leader, number, commit_of(change))
                        acknowledged += 1
                        await asyncio.sleep(0)

        await asyncio.gather(schedule("s1", stores[0]), schedule("s2", stores[1]))
        assert len(set(epochs)) == len(epochs)
        _, *written = await stores[0].read_events(record.job_id, after=0, limit=100_000)
        assert len(written) == acknowledged > 0
        assert [event.at for event in written] == sorted(event.at for event in written)


class TestEvents:
    async def test_they_are_read_in_pages(self, state: State) -> None:
        record = await submit(state)
        await state.commit(await lead(state), 1, commit_of(progressed(record.job_id, updates=10)))
        page = await state.read_events(record.job_id, after=3, limit=4)
        assert [event.sequence for event in page] == [4, 5, 6, 7]
        assert await state.read_events(record.job_id, after=11) == []

    async def test_compacted_history_is_refused_and_the_rest_is_kept(self, open_state: OpenState) -> None:
        state = open_state(max_events=100)
        record = await submit(state)
        leader = await lead(state)
        for number in range(1, 11):
            await state.commit(leader, number, commit_of(progressed(record.job_id, updates=100)))
        with pytest.raises(HistoryCompacted):
            await state.read_events(record.job_id, after=0)
        events = await state.read_events(record.job_id, after=901)
        assert [event.sequence for event in events] == list(range(902, 1002))

    async def test_a_reader_ahead_of_the_job_is_told(self, state: State) -> None:
        record = await submit(state)
        with pytest.raises(HistoryCompacted):
            await state.read_events(record.job_id, after=2)

    async def test_concurrent_watchers_see_every_change_once_and_in_order(self, open_state: OpenState) -> None:
        writer, readers = open_state(), [open_state(), open_state()]
        record = await submit(writer)
        leader = await lead(writer)

        async def follow(store: State) -> list[int]:
            seen: list[int] = []
            async with aclosing(store.watch_changes(record.job_id)) as changes:
                async for _ in changes:
                    while events := await store.read_events(record.job_id, after=len(seen), limit=7):
                        seen += [event.sequence for event in events]
                    if len(seen) == 202:
                        break
            return seen

        async def write() -> None:
            for number in range(1, 101):
                await writer.commit(leader, number, commit_of(progressed(record.job_id, updates=2)))
            await writer.commit(leader, 101, commit_of(finished(record.job_id)))

        *seen, _ = await asyncio.gather(*(follow(readers[number % 2]) for number in range(4)), write())
        assert seen == [list(range(1, 203))] * 4


class TestWatching:
    async def test_changes_yield_at_once_and_on_a_commit(self, open_state: OpenState) -> None:
        writer, reader = open_state(), open_state()
        record, other = await submit(writer), await submit(writer)
        leader = await lead(writer)
        async with aclosing(reader.watch_changes(record.job_id)) as changes:
            await anext(changes)
            for number in range(1, 4):
                waiting = asyncio.ensure_future(anext(changes))
                await writer.commit(leader, number, commit_of(progressed(record.job_id), progressed(other.job_id)))
                async with asyncio.timeout(5.0):
                    await waiting
            job = await reader.get_job(record.job_id)
            assert job is not None
            assert job.sequence == 4

    async def test_changes_yield_every_second_without_any(self, state: State) -> None:
        async with aclosing(state.watch_changes("nobody")) as changes, asyncio.timeout(5.0):
            await anext(changes)
            await anext(changes)
            await anext(changes)

    async def test_iterators_end_when_the_state_is_closed(self, open_state: OpenState) -> None:
        state = open_state()

        async def drain() -> None:
            async with aclosing(state.watch_deltas("job-1")) as deltas:
                async for _ in deltas:
                    pass

        async def drain_changes() -> None:
            async with aclosing(state.watch_changes("job-1")) as changes:
                async for _ in changes:
                    pass

        watching = [asyncio.ensure_future(drain()), asyncio.ensure_future(drain_changes())]
        await asyncio.sleep(0)
        await state.aclose()
        async with asyncio.timeout(5.0):
            await asyncio.gather(*watching)

    async def test_deltas_reach_those_who_watch_the_job(self, open_state: OpenState) -> None:
        writer, reader = open_state(), open_state()
        heard: dict[str, list[bytes]] = {"job-a": [], "job-b": []}

        async def listen(job_id: str) -> None:
            async with aclosing(reader.watch_deltas(job_id)) as deltas:
                async for delta in deltas:
                    heard[job_id].append(delta)

        listeners = [asyncio.ensure_future(listen(job_id)) for job_id in heard]

        async def both_heard() -> bool:
            for job_id in heard:
                await writer.publish_delta(job_id, job_id.encode() + b" \x00\xff")
            return all(heard.values())

        await eventually(both_heard)
        assert {job_id: set(deltas) for job_id, deltas in heard.items()} == {
            "job-a": {b"job-a \x00\xff"},
            "job-b": {b"job-b \x00\xff"},
        }
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)

    async def test_a_slow_reader_of_deltas_loses_some_and_stops_nobody(self, state: State) -> None:
        async with aclosing(state.watch_deltas("job-a")) as deltas:
            first = asyncio.ensure_future(anext(deltas))

            async def heard() -> bool:
                await state.publish_delta("job-a", b"first")
                return first.done()

            await eventually(heard)
            for number in range(2000):
                await state.publish_delta("job-a", b"%d" % number)
            async with asyncio.timeout(5.0):
                assert await anext(deltas)

    async def test_a_delta_without_a_watcher_is_dropped(self, state: State) -> None:
        await state.publish_delta((await submit(state, make_record())).job_id, b"delta")
