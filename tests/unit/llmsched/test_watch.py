"""A watch goes on over broken connections, without gaps and repetitions."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest

import llmsched
from llmsched import Client, JobChanged, Options, OutputDelta, Snapshot, StageChanged, TaskChanged, UnavailableError
from tests.unit.llmsched.fake_servers import UNAVAILABLE, Cut, FakePlanner, FakeServer, State, stage, status


@pytest.fixture
def job(planner: FakePlanner) -> str:
    """A job with a history of four messages, the last of which ends it."""
    planner.add_job("j", State.STATE_RUNNING)
    planner.tell("j", stage_changed={"stage": stage("idea", 4)})
    planner.tell("j", task_changed={"stage_id": "idea", "task": {"index": 0, "state": 4, "attempt": 1}})
    planner.tell("j", job_changed={"state": State.STATE_SUCCEEDED})
    return "j"


async def _all(client: Client, name: str, **options: object) -> list[llmsched.Event]:
    return [event async for event in client.watch(name, **options)]  # type: ignore[arg-type]


async def test_all_events_in_order(client: Client, job: str) -> None:
    events = await _all(client, job)
    assert [type(event) for event in events] == [Snapshot, StageChanged, TaskChanged, JobChanged]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert events[1].time is not None
    assert events[1].time.tzinfo is not None


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "error",
    [
        UNAVAILABLE,
        status(grpc.StatusCode.CANCELLED),
        status(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER"),
        None,
    ],
    ids=["unavailable", "cancelled", "slow reader", "ended in peace"],
)
async def test_a_cut_connection_is_resumed(
    client: Client, planner: FakePlanner, job: str, after: int, error: object
) -> None:
    planner.cuts = [Cut(after, error)]  # type: ignore[arg-type]
    assert [event.sequence for event in await _all(client, job)] == [1, 2, 3, 4]
    assert [request.after_sequence for request in planner.requests("WatchJob")] == [0, after]


async def test_many_cuts_in_a_row(client: Client, planner: FakePlanner, job: str) -> None:
    planner.cuts = [Cut(1, UNAVAILABLE), Cut(1, UNAVAILABLE), Cut(1, UNAVAILABLE)]
    assert [event.sequence for event in await _all(client, job)] == [1, 2, 3, 4]


async def test_a_restarted_server_is_found_again(client: Client, planner: FakePlanner, server: FakeServer) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    planner.let_watches_end.clear()
    async with aclosing(client.watch("j")) as events:
        assert isinstance(await anext(events), Snapshot)
        server.stop()
        planner.tell("j", job_changed={"state": State.STATE_SUCCEEDED})
        planner.let_watches_end.set()
        server.start()
        assert [event.sequence async for event in events] == [2]


async def test_compacted_history_starts_again_with_a_snapshot(client: Client, planner: FakePlanner, job: str) -> None:
    compacted = status(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")
    planner.cuts = [Cut(2, UNAVAILABLE)]
    planner.refuse("WatchJob")
    async with aclosing(client.watch(job)) as events:
        assert [(await anext(events)).sequence for _ in range(2)] == [1, 2]
        planner.refuse("WatchJob", compacted)
        assert [event.sequence async for event in events] == [1, 2, 3, 4]
    assert [request.after_sequence for request in planner.requests("WatchJob")] == [0, 2, 0]


async def test_what_was_seen_is_not_told_again(client: Client, planner: FakePlanner, job: str) -> None:
    planner.cuts = [Cut(3, UNAVAILABLE)]
    planner.overlap = 2
    assert [event.sequence for event in await _all(client, job)] == [1, 2, 3, 4]


async def test_deltas_and_signs_of_life(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    history = planner.history["jobs/j"]
    history.append(type(history[0])(sequence=1, progress={}))
    for offset, text in ((0, "Ri"), (2, "vers")):
        delta = {"stage_id": "idea", "attempt": 1, "offset": offset, "text": text}
        history.append(type(history[0])(sequence=1, output_delta=delta))
    planner.tell("j", job_changed={"state": State.STATE_SUCCEEDED})
    events = await _all(client, "j", deltas=True)
    assert "".join(event.text for event in events if isinstance(event, OutputDelta)) == "Rivers"
    assert len(events) == 4
    assert planner.requests("WatchJob")[0].include_output_deltas


async def test_resuming_after_the_last_change_ends_at_once(client: Client, planner: FakePlanner, job: str) -> None:
    assert await _all(client, job, after_sequence=4) == []
    assert [event.sequence for event in await _all(client, job, after_sequence=2)] == [3, 4]


async def test_a_connection_that_breaks_after_the_end_does_no_harm(
    client: Client, planner: FakePlanner, job: str
) -> None:
    planner.cuts = [Cut(4, UNAVAILABLE)]
    assert [event.sequence for event in await _all(client, job)] == [1, 2, 3, 4]
    assert len(planner.requests("WatchJob")) == 1


async def test_an_unknown_job_is_an_error_at_once(client: Client, planner: FakePlanner) -> None:
    with pytest.raises(llmsched.NotFoundError):
        await _all(client, "nobody")
    assert len(planner.calls) == 1


async def test_a_silent_connection_is_replaced(
    client: Client, planner: FakePlanner, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsched.watch.IDLE_TIMEOUT", 0.3)
    end = planner.history["jobs/j"].pop()
    planner.let_watches_end.clear()
    sequences = []
    async for event in client.watch(job):
        sequences.append(event.sequence)
        if event.sequence == 3:
            # The first connection has sent all it had; only a second one can tell the end.
            planner.history["jobs/j"].append(end)
    assert sequences == [1, 2, 3, 4]
    assert len(planner.requests("WatchJob")) == 2


async def test_patience_with_a_server_that_never_comes_back(planner: FakePlanner, server: FakeServer) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    planner.let_watches_end.clear()
    options = Options(address=server.address, reconnect_timeout=0.5)
    async with Client(options=options) as client, aclosing(client.watch("j")) as events:
        await anext(events)
        planner.let_watches_end.set()
        server.stop()
        with pytest.raises(UnavailableError, match="cannot reach the planner"):
            await anext(events)


async def test_leaving_a_watch_ends_its_call(client: Client, planner: FakePlanner) -> None:
    planner.let_watches_end.clear()
    planner.add_job("j", State.STATE_RUNNING)
    async with aclosing(client.watch("j")) as events:
        await anext(events)
        assert not planner.a_watch_ended.is_set()
    assert await asyncio.to_thread(planner.a_watch_ended.wait, 5)
