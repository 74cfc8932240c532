"""What is special to the store in Redis: its keys, its round trips, and how it bears a server that comes and goes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from services.scheduler.core.model import PolicySettings
from services.state import keys
from services.state.port import StateUnavailable
from services.state.records import Commit
from services.state.redis_store import RedisState
from services.state.settings import Limits, RedisSettings
from tests.support.redis import make_server
from tests.support.state import (
    commit_of,
    eventually,
    finished,
    lead,
    make_application,
    make_record,
    progressed,
    running,
    submit,
)


@asynccontextmanager
async def opened(url: str, shard: str, **limits: float) -> AsyncIterator[RedisState]:
    state = RedisState(RedisSettings(url=url, shard=shard, limits=Limits(**limits), answer_timeout=2.0, retries=1))
    try:
        yield state
    finally:
        await state.aclose()


@pytest.fixture
def shard(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", request.node.name)


@pytest.fixture
async def redis_state(valkey_url: str, shard: str) -> AsyncIterator[RedisState]:
    async with opened(valkey_url, shard, retention_seconds=0.05) as state:
        yield state


@pytest.fixture
def admin(valkey_url: str) -> Iterator[Redis]:
    """A client that looks at the server from the side."""
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        yield client


def documented_keys() -> list[re.Pattern[str]]:
    """The first column of the table of keys, as patterns."""
    names = re.findall(r"^\| `([^`]+)` \|", keys.__doc__ or "", re.MULTILINE)
    return [re.compile(re.sub(r"<[a-z ]+>", "[^:]+", name)) for name in names]


async def use_everything(state: RedisState) -> str:
    """Writes each kind of key; returns the id of a job that has ended."""
    await state.put_application(make_application())
    first, second = await submit(state, make_record(request_id="r")), await submit(state)
    leader = await lead(state)
    taken_up = running(first.job_id, payloads={("a", 0): b"p"}, results={("a", 0): b"r"}, observations=(b"o",))
    await state.commit(leader, 1, Commit(jobs=(taken_up, running(second.job_id)), policy=PolicySettings()))
    await submit(state)
    await state.commit(leader, 2, commit_of(finished(first.job_id, output=b"out")))
    return first.job_id


async def test_every_key_is_documented_and_in_the_slot_of_its_shard(
    redis_state: RedisState, shard: str, admin: Redis
) -> None:
    await use_everything(redis_state)
    prefix = f"llmsched:{{{shard}}}:"
    found = [key.removeprefix(prefix) for key in admin.scan_iter("*" + shard + "*")]
    assert len(found) > 15
    assert [key for key in found if not any(pattern.fullmatch(key) for pattern in documented_keys())] == []


async def test_an_expired_job_leaves_nothing_behind(redis_state: RedisState, shard: str, admin: Redis) -> None:
    job_id = await use_everything(redis_state)

    async def gone() -> bool:
        return await redis_state.get_job(job_id) is None

    await eventually(gone)
    assert await redis_state.sweep() == 1
    assert await redis_state.sweep() == 0
    assert [key for key in admin.scan_iter(f"*{shard}*") if job_id in key] == []
    indexes = [f"llmsched:{{{shard}}}:{name}" for name in ("jobs", "jobs:chat", "active", "pending", "ended")]
    assert [member for index in indexes for member in admin.zrange(index, 0, -1) if job_id in member] == []
    assert admin.hlen(f"llmsched:{{{shard}}}:requests") == 0


async def test_the_leaders_renewal_sweeps(redis_state: RedisState, shard: str, admin: Redis) -> None:
    job_id = await use_everything(redis_state)

    async def gone() -> bool:
        return await redis_state.get_job(job_id) is None

    await eventually(gone)
    leader = await redis_state.leader()
    assert leader is not None
    assert await redis_state.renew_leadership(leader, ttl=60.0)
    assert job_id not in admin.zrange(f"llmsched:{{{shard}}}:jobs", 0, -1)


async def test_a_sweep_takes_more_jobs_than_fit_in_a_step(redis_state: RedisState, shard: str, admin: Redis) -> None:
    records = await asyncio.gather(*(submit(redis_state, make_record(application=f"a{n % 3}")) for n in range(700)))
    await redis_state.commit(await lead(redis_state), 1, commit_of(*(finished(record.job_id) for record in records)))

    async def gone() -> bool:
        return await redis_state.load_jobs([records[0].job_id]) == []

    await eventually(gone)
    assert await redis_state.sweep() == 700
    assert [admin.zcard(f"llmsched:{{{shard}}}:{name}") for name in ("ended", "jobs", "jobs:a0", "jobs:a2")] == [0] * 4


async def test_a_sweep_leaves_a_request_id_to_its_next_owner(redis_state: RedisState) -> None:
    job_id = await use_everything(redis_state)

    async def gone() -> bool:
        return await redis_state.get_job(job_id) is None

    await eventually(gone)
    second = await submit(redis_state, make_record(request_id="r", digest="other"))
    assert await redis_state.sweep() == 1
    assert await submit(redis_state, make_record(request_id="r", digest="other")) == second


async def test_a_commit_is_one_round_trip(redis_state: RedisState, admin: Redis) -> None:
    records = [await submit(redis_state) for _ in range(50)]
    leader = await lead(redis_state)
    await redis_state.commit(leader, 1, Commit())  # the script is known from here on
    before = admin.info("commandstats")["cmdstat_evalsha"]["calls"]
    await redis_state.commit(leader, 2, commit_of(*(running(record.job_id) for record in records)))
    stats = admin.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == before + 1


async def test_scripts_that_the_server_forgot_are_sent_again(redis_state: RedisState, admin: Redis) -> None:
    record = await submit(redis_state)
    leader = await lead(redis_state)
    admin.script_flush()
    await redis_state.commit(leader, 1, commit_of(running(record.job_id)))
    job = await redis_state.get_job(record.job_id)
    assert job is not None
    assert job.sequence == 2


async def test_one_subscription_serves_all_watchers(redis_state: RedisState, admin: Redis, shard: str) -> None:
    channel = f"llmsched:{{{shard}}}:changes"
    watches = [redis_state.watch_changes(f"job-{number}") for number in range(5)]
    for watch in watches:
        await anext(watch)

    async def subscribed() -> bool:
        return bool(admin.pubsub_numsub(channel)[0][1])

    await eventually(subscribed)
    assert admin.pubsub_numsub(channel)[0][1] == 1
    for watch in watches:
        await watch.aclose()


async def test_channels_of_deltas_are_left_when_nobody_watches(
    redis_state: RedisState, admin: Redis, shard: str
) -> None:
    channels = f"llmsched:{{{shard}}}:job:*"
    watch = redis_state.watch_deltas("job-1")
    heard = asyncio.ensure_future(anext(watch))

    async def arrived() -> bool:
        await redis_state.publish_delta("job-1", b"delta")
        return heard.done()

    await eventually(arrived)
    assert len(admin.pubsub_channels(channels)) == 1
    await watch.aclose()

    async def left() -> bool:
        return admin.pubsub_channels(channels) == []

    await eventually(left)


async def test_watchers_hear_again_after_the_subscription_was_cut(
    redis_state: RedisState, admin: Redis, shard: str
) -> None:
    record = await submit(redis_state)
    leader = await lead(redis_state)
    channel = f"llmsched:{{{shard}}}:changes"

    async def subscribed() -> bool:
        return bool(admin.pubsub_numsub(channel)[0][1])

    async with aclosing(redis_state.watch_changes(record.job_id)) as changes:
        await anext(changes)
        await eventually(subscribed)
        admin.client_kill_filter(_type="pubsub")
        await redis_state.commit(leader, 1, commit_of(progressed(record.job_id)))  # nobody hears this one
        async with asyncio.timeout(5.0):
            await anext(changes)  # and yet the watcher wakes
        await eventually(subscribed)


async def test_a_busy_server_is_unavailable_and_then_serves_again(tmp_path: Path) -> None:
    with (
        make_server(tmp_path, directives={"busy-reply-threshold": "20"}) as server,
        Redis.from_url(server.url, socket_timeout=None) as admin,
        Redis.from_url(server.url) as stuck,
    ):
        async with opened(server.url, "busy") as state:
            await state.ping()
            endless = asyncio.create_task(asyncio.to_thread(stuck.eval, "while true do end", 0))

            async def refused() -> bool:
                try:
                    await state.ping()
                except StateUnavailable as error:
                    return "busy with a script" in str(error)
                return False

            await eventually(refused)
            admin.script_kill()
            await asyncio.gather(endless, return_exceptions=True)
            await state.ping()


async def test_a_hung_server_is_unavailable_in_time_and_then_serves_again(tmp_path: Path) -> None:
    with make_server(tmp_path) as server:
        settings = RedisSettings(url=server.url, answer_timeout=0.1, retries=1)
        state = RedisState(settings)
        record = await submit(state)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(5.0):
                with pytest.raises(StateUnavailable, match="did not answer in time"):
                    await state.get_job(record.job_id)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await state.get_job(record.job_id) is not None
        await state.aclose()


async def test_more_calls_at_once_than_connections_wait_for_their_turn(valkey_url: str, shard: str) -> None:
    state = RedisState(RedisSettings(url=valkey_url, shard=shard, max_connections=3))
    await asyncio.gather(*(submit(state) for _ in range(200)))
    assert len(await state.pending_admissions()) == 200
    await state.aclose()


async def test_a_full_server_refuses_a_commit_whole(tmp_path: Path) -> None:
    with make_server(tmp_path) as server, Redis.from_url(server.url) as admin:
        async with opened(server.url, "full") as state:
            first, second = await submit(state), await submit(state)
            leader = await lead(state)
            admin.config_set("maxmemory", "1")
            with pytest.raises(StateUnavailable, match="out of memory"):
                await state.commit(leader, 1, commit_of(running(first.job_id), running(second.job_id)))
            assert [job.sequence for job in await state.load_jobs([first.job_id, second.job_id])] == [1, 1]
            admin.config_set("maxmemory", "0")
            await state.commit(leader, 1, commit_of(running(first.job_id), running(second.job_id)))
            assert [job.sequence for job in await state.load_jobs([first.job_id, second.job_id])] == [2, 2]
