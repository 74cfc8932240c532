"""The blocking client: the same answers, without an event loop of the caller's."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator

import pytest

from llmsched import (
    Client,
    JobHandle,
    JobState,
    NotFoundError,
    OpenJob,
    OpenStage,
    Options,
    Snapshot,
    SyncClient,
    SyncJobHandle,
    SyncOpenJob,
    SyncOpenStage,
)
from tests.unit.llmsched.fake_servers import FakePlanner, State
from tests.unit.llmsched.test_client import hello


@pytest.fixture
def blocking(options: Options) -> Iterator[SyncClient]:
    with SyncClient(options=options) as client:
        yield client


def test_the_first_program(blocking: SyncClient) -> None:
    registered = blocking.register(hello())
    assert list(blocking.applications()) == [blocking.application("hello")] == [registered]
    job = blocking.submit("hello", {"topic": "rivers"}, labels={"a": "b"})
    assert job.result(timeout=10) == blocking.result(job.name) == {"topic": "rivers"}
    assert job.wait().state is JobState.SUCCEEDED
    assert job.status() == blocking.job(job.id)
    assert blocking.delete_application("hello@1") == (1,)


def test_watching_and_listing(blocking: SyncClient, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    planner.tell("j", job_changed={"state": State.STATE_SUCCEEDED})
    assert [event.sequence for event in blocking.watch("j")] == [1, 2]
    assert [event.sequence for event in blocking.handle("j").events(after_sequence=1)] == [2]
    assert [job.id for job in blocking.jobs(states=[JobState.SUCCEEDED], limit=5)] == ["j"]
    assert blocking.handle("j").outputs() == blocking.outputs("j") == ()


def test_a_watch_that_is_left_early_is_closed(blocking: SyncClient, planner: FakePlanner) -> None:
    planner.let_watches_end.clear()
    planner.add_job("j", State.STATE_RUNNING)
    events = blocking.watch("j")
    assert isinstance(next(events), Snapshot)
    assert not planner.a_watch_ended.is_set()
    events.close()
    assert planner.a_watch_ended.wait(5)


def test_cancel_and_rerun(blocking: SyncClient, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    planner.add_job("k", State.STATE_RUNNING)
    assert blocking.handle("j").cancel(reason="x").state is JobState.CANCELLED
    assert blocking.cancel("k").state is JobState.CANCELLED
    assert blocking.handle("j").rerun().name == blocking.rerun("k").name == "jobs/again"


def test_operators(blocking: SyncClient) -> None:
    assert blocking.cluster().epoch == 7
    assert len(list(blocking.queue(limit=2))) == 2
    assert blocking.explain("j").policy == blocking.policy()
    assert "llmsched" in blocking.policies()
    assert blocking.set_policy("llmsched").name == "llmsched"


def test_errors_come_through(blocking: SyncClient) -> None:
    with pytest.raises(NotFoundError):
        blocking.job("nobody")
    with pytest.raises(NotFoundError):
        list(blocking.watch("nobody"))


def test_several_threads_share_a_client(blocking: SyncClient, planner: FakePlanner) -> None:
    threads = [threading.Thread(target=blocking.submit, args=("hello",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(planner.jobs) == 8


def test_close_ends_the_thread_and_may_be_repeated(options: Options) -> None:
    client = SyncClient(options=options)
    assert any(thread.name == "llmsched-client" for thread in threading.enumerate())
    client.close()
    client.close()
    assert not any(thread.name == "llmsched-client" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="closed"):
        client.job("j")


@pytest.mark.parametrize(
    ("asynchronous", "blocking"),
    [(Client, SyncClient), (JobHandle, SyncJobHandle), (OpenJob, SyncOpenJob), (OpenStage, SyncOpenStage)],
)
def test_the_blocking_face_has_every_method_with_the_same_arguments(asynchronous: type, blocking: type) -> None:
    def arguments(method: Callable[..., object]) -> list[str]:
        return [str(each.replace(annotation=each.empty)) for each in inspect.signature(method).parameters.values()]

    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: arguments(value)
            for name, value in vars(kind).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }

    assert methods(blocking) == methods(asynchronous)
