"""What every store promises the profiler: observations count once, histories are bounded, versions follow on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from services.state.port import CommitGap, LeadershipLost, State
from services.state.records import HistoryJob, Leader
from tests.contract.state_backends import OpenState
from tests.support.state import eventually, lead, lead_profiler, make_engine, make_history, make_profile, observe


async def history(state: State, application: str = "chat", **page: int) -> list[tuple[int, str]]:
    return [(job.number, job.job_id) for job in await state.profiles.read_history(application, **page)]


class TestObservations:
    async def test_they_have_their_effect_once(self, state: State) -> None:
        await observe(state, b"1", b"2", b"3")
        leader = await lead_profiler(state)
        assert await state.profiles.handled() == ""
        _, second, third = await state.profiles.read_observations()
        jobs = [make_history("a", line=b"A"), make_history("b", application="other")]
        for _ in range(2):  # as after a lost answer
            await state.profiles.absorb(leader, jobs, after="", upto=second.position)
        assert await state.profiles.handled() == second.position
        assert await history(state) == [(1, "a")]
        assert await history(state, "other") == [(1, "b")]
        assert await state.profiles.histories() == {"chat": 1, "other": 1}
        assert await state.profiles.read_observations(after=second.position) == [third]
        await state.profiles.absorb(leader, [], after=second.position, upto=third.position)
        assert await state.profiles.handled() == third.position

    async def test_what_does_not_follow_what_was_handled_is_refused(self, state: State) -> None:
        await observe(state, b"1", b"2")
        leader = await lead_profiler(state)
        first, second = await state.profiles.read_observations()
        with pytest.raises(CommitGap):
            await state.profiles.absorb(leader, [make_history("a")], after=first.position, upto=second.position)
        assert await state.profiles.handled() == ""
        assert await history(state) == []

    async def test_handled_ones_are_forgotten_and_new_ones_are_not(self, state: State) -> None:
        await observe(state, *(b"x" * 100 for _ in range(500)))
        leader = await lead_profiler(state)
        found = await state.profiles.read_observations()
        await state.profiles.absorb(leader, [], after="", upto=found[-2].position)
        kept = await state.profiles.read_observations()
        assert kept[-1] == found[-1]
        assert len(kept) < 250
        await observe(state, b"new")
        assert [one.data for one in await state.profiles.read_observations(after=found[-1].position)] == [b"new"]

    async def test_an_old_epoch_is_refused_and_changes_nothing(self, open_state: OpenState) -> None:
        old, new = open_state(), open_state()
        await observe(old, b"1")
        first = await lead_profiler(old)
        second = await lead_profiler(new)
        assert second.epoch > first.epoch
        (seen,) = await old.profiles.read_observations()
        with pytest.raises(LeadershipLost):
            await old.profiles.absorb(first, [make_history("a")], after="", upto=seen.position)
        with pytest.raises(LeadershipLost):
            await old.profiles.add_history(first, [make_history("a")])
        with pytest.raises(LeadershipLost):
            await old.profiles.publish(first, make_profile())
        assert await new.profiles.handled() == ""
        assert await new.profiles.histories() == {}
        assert await new.profiles.newest_profiles() == {}

    async def test_an_epoch_that_the_store_does_not_know_is_a_gap(self, state: State) -> None:
        unknown = Leader(epoch=1, instance="p", address="")
        with pytest.raises(CommitGap):
            await state.profiles.absorb(unknown, [], after="", upto="1-0")
        with pytest.raises(CommitGap):
            await state.profiles.publish(unknown, make_profile())


class TestWhatFollowsFromThem:
    async def test_it_is_kept_with_the_position(self, state: State) -> None:
        await observe(state, b"1", b"2")
        leader = await lead_profiler(state)
        first, second = await state.profiles.read_observations()
        assert await state.profiles.engines() == await state.profiles.conduct() == {}
        engines = [make_engine("a"), make_engine("ä b:c", models=("m",), slots=4)]
        for _ in range(2):  # as after a lost answer
            await state.profiles.absorb(
                leader,
                [make_history("j")],
                after="",
                upto=first.position,
                engines=engines,
                conduct={"chat": b"{}", "x y": b"\x00"},
            )
        assert await state.profiles.engines() == {engine.executor: engine for engine in engines}
        assert await state.profiles.conduct() == {"chat": b"{}", "x y": b"\x00"}
        assert await history(state) == [(1, "j")]
        with pytest.raises(CommitGap):
            await state.profiles.absorb(
                leader, [], after="", upto=second.position, engines=[make_engine("b")], conduct={"other": b"{}"}
            )
        assert set(await state.profiles.engines()) == {"a", "ä b:c"}
        assert set(await state.profiles.conduct()) == {"chat", "x y"}

    async def test_an_engine_is_replaced(self, state: State) -> None:
        leader = await lead_profiler(state)
        await state.profiles.put_engine(leader, make_engine())
        await state.profiles.put_engine(leader, make_engine(version=2))
        assert await state.profiles.engines() == {"llm-0": make_engine(version=2)}
        with pytest.raises(LeadershipLost):
            await state.profiles.put_engine(replace(leader, instance="other"), make_engine(version=3))
        assert await state.profiles.engines() == {"llm-0": make_engine(version=2)}

    async def test_a_profile_comes_with_how_jobs_agree_with_it(self, state: State) -> None:
        leader = await lead_profiler(state)
        await state.profiles.publish(leader, make_profile(1), conduct=b"1")
        await state.profiles.publish(leader, make_profile(2))
        assert await state.profiles.conduct() == {"chat": b"1"}
        with pytest.raises(CommitGap):
            await state.profiles.publish(leader, make_profile(4), conduct=b"4")
        await state.profiles.publish(leader, make_profile(3, expected=b"e"), conduct=b"3")
        assert await state.profiles.conduct() == {"chat": b"3"}
        assert await state.profiles.get_profile("chat", 3) == make_profile(3, expected=b"e")


class TestLead:
    async def test_it_is_not_the_scheduler_s(self, state: State) -> None:
        scheduler = await lead(state)
        profiler = await lead_profiler(state)
        assert await state.leader() == scheduler
        assert await state.profiles.leader() == profiler
        assert await state.profiles.acquire_leadership(instance="other", address="", ttl=1.0) is None
        assert await state.profiles.renew_leadership(profiler, ttl=60.0)
        await state.profiles.release_leadership(profiler)
        assert await state.profiles.leader() is None
        assert await state.leader() == scheduler
        with pytest.raises(LeadershipLost):
            await state.profiles.publish(profiler, make_profile())
        assert not await state.profiles.renew_leadership(profiler, ttl=60.0)


class TestHistory:
    async def test_a_job_keeps_its_place_when_it_comes_again(self, state: State) -> None:
        leader = await lead_profiler(state)
        assert await state.profiles.add_history(leader, [make_history("a"), make_history("b")]) == 2
        assert await state.profiles.add_history(leader, [make_history("a", line=b"new"), make_history("c")]) == 1
        assert await state.profiles.histories() == {"chat": 3}
        assert (await state.profiles.read_history("chat"))[0] == HistoryJob(
            application="chat", job_id="a", line=b"new", number=1
        )
        assert await history(state) == [(1, "a"), (2, "b"), (3, "c")]

    async def test_the_newest_are_kept(self, open_state: OpenState) -> None:
        state = open_state(max_history=3)
        leader = await lead_profiler(state)
        await state.profiles.add_history(leader, [make_history(str(number)) for number in range(5)])
        assert await history(state) == [(3, "2"), (4, "3"), (5, "4")]
        assert await state.profiles.count_history("chat") == 3
        assert await state.profiles.histories() == {"chat": 5}
        assert await state.profiles.add_history(leader, [make_history("0")]) == 1  # it was forgotten
        assert await history(state) == [(4, "3"), (5, "4"), (6, "0")]

    async def test_it_is_read_in_pages(self, state: State) -> None:
        leader = await lead_profiler(state)
        await state.profiles.add_history(leader, [make_history(str(number)) for number in range(450)])
        assert await history(state, limit=2) == [(1, "0"), (2, "1")]
        assert await history(state, after=448) == [(449, "448"), (450, "449")]
        assert await history(state, after=450) == []
        assert await history(state, "unknown") == []
        assert await state.profiles.count_history("unknown") == 0

    async def test_names_may_be_anything(self, state: State) -> None:
        leader = await lead_profiler(state)
        await state.profiles.add_history(
            leader, [make_history("ä b:c", name, b"\xc3\xa4") for name in ("x", "x:order")]
        )
        assert await history(state, "x:order") == await history(state, "x") == [(1, "ä b:c")]


class TestProfiles:
    async def test_it_is_kept_as_it_was_published(self, state: State) -> None:
        leader = await lead_profiler(state)
        for _ in range(2):  # as after a lost answer
            await state.profiles.publish(leader, make_profile())
        assert await state.profiles.get_profile("chat", 1) == make_profile()
        assert await state.profiles.get_profile("chat", 2) is None
        assert await state.profiles.get_profile("other", 1) is None
        assert await state.profiles.newest_profiles() == {"chat": 1}

    async def test_versions_follow_each_other(self, state: State) -> None:
        leader = await lead_profiler(state)
        await state.profiles.publish(leader, make_profile(1))
        for wrong in (make_profile(1, jobs=11), make_profile(3)):
            with pytest.raises(CommitGap):
                await state.profiles.publish(leader, wrong)
        await state.profiles.publish(leader, make_profile(2))
        assert await state.profiles.get_profile("chat", 1) == make_profile(1)
        assert await state.profiles.newest_profiles() == {"chat": 2}

    async def test_the_newest_are_kept(self, open_state: OpenState) -> None:
        state = open_state(max_profiles=2)
        leader = await lead_profiler(state)
        for version in range(1, 12):
            await state.profiles.publish(leader, make_profile(version))
        found = [await state.profiles.get_profile("chat", version) for version in range(1, 12)]
        assert found == [*[None] * 9, make_profile(10), make_profile(11)]

    async def test_what_a_request_has_led_to_is_remembered_for_a_time(self, open_state: OpenState) -> None:
        state = open_state(retention_seconds=0.2)
        leader = await lead_profiler(state)
        assert await state.profiles.trained("r") is None
        await state.profiles.publish(leader, make_profile(), request_id="r")
        assert await state.profiles.trained("r") in (("chat", 1), None)

        async def forgotten() -> bool:
            return await state.profiles.trained("r") is None

        await eventually(forgotten)

    async def test_those_who_watch_hear_of_a_new_one(self, open_state: OpenState) -> None:
        watching, publishing = open_state(), open_state()
        leader = await lead_profiler(publishing)
        async with asyncio.timeout(10), aclosing(watching.profiles.watch_profiles()) as changes:
            await anext(changes)
            await publishing.profiles.publish(leader, make_profile())
            while await watching.profiles.newest_profiles() != {"chat": 1}:
                await anext(changes)
