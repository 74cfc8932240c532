"""Policies of a running scheduler: which can be set, what that does to jobs that wait, which are refused and why."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import grpc
import pytest

from llmsched.api.scheduler.v1 import scheduler_pb2
from services.common.errors import error_info
from services.scheduler.core.effects import Dispatch
from services.scheduler.event_log import read_log, replay
from services.state.memory import MemoryState
from services.state.port import CommitGap
from tests.support.cluster import Cluster, ScriptedExecutor
from tests.support.scheduling import tool

LEARNING = ["carbyne", "hermes", "sjf", "srtf"]
NONE_GIVEN = "and none was given (start the scheduler with --history FILE, or wait until the profiler has learned "
NONE_GIVEN += "of an application)"


@pytest.fixture
def history(tmp_path: Path) -> str:
    """Jobs of "long" have taken 60 seconds, those of "short" one."""
    path = tmp_path / "history.jsonl"
    with path.open("w") as file:
        for application, seconds in (("long", 60.0), ("short", 1.0)):
            stage = {"id": "work", "name": "work", "kind": "tool", "parents": [], "tasks": [{"seconds": seconds}]}
            file.write(json.dumps({"app": application, "stages": [stage]}) + "\n")
    return str(path)


async def submit(cluster: Cluster, *applications: str) -> list[str]:
    """One job of each, which waits for a slot; returns their ids."""
    names = [f"{number}-{application}" for number, application in enumerate(applications)]
    for name, application in zip(names, applications, strict=True):
        await cluster.submit(name, tool("work"), application=application)
        await cluster.until(name, lambda job: bool(job.stages["work"].tasks))
    return names


async def set_policy(cluster: Cluster, name: str, **parameters: int) -> None:
    policy = scheduler_pb2.Policy(name=name, **parameters)  # type: ignore[arg-type]
    answer = await cluster.leader.stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=policy))
    assert answer.policy.name == name


async def queue(cluster: Cluster) -> list[str]:
    page = await cluster.leader.stub.ListQueue(scheduler_pb2.ListQueueRequest())
    return [stage.job_id for stage in page.stages]


async def dispatched_next(executor: ScriptedExecutor) -> str:
    """Ends what runs on the executor's only slot, and returns the job that gets it next."""
    (attempt,) = executor.running.values()
    await executor.succeed(attempt)
    return (await executor.assigned()).attempt.job_id


async def available(cluster: Cluster) -> list[str]:
    return list((await cluster.leader.stub.GetPolicy(scheduler_pb2.GetPolicyRequest())).available)


async def test_jobs_that_wait_follow_every_change_of_the_policy(history: str, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with Cluster.start(history=(history,), event_log=str(log)) as cluster:
        executor = await cluster.attach()
        names = await submit(cluster, "long", "long", "short", "long", "short", "long")
        first, *waiting = names
        assert (await executor.assigned()).attempt.job_id == first
        assert await queue(cluster) == waiting
        await set_policy(cluster, "srtf")
        by_srtf = [*waiting[1::2], *waiting[0::2]]
        assert await queue(cluster) == by_srtf
        assert await dispatched_next(executor) == by_srtf[0]
        await set_policy(cluster, "random", seed=3)
        drawn = await dispatched_next(executor)
        await set_policy(cluster, "fcfs")
        left = [name for name in waiting if name not in (by_srtf[0], drawn)]
        assert await queue(cluster) == left
        assert [await dispatched_next(executor) for _ in left] == left
        await executor.succeed(*executor.running.values())
        for name in names:
            await cluster.ended(name)
    (term,) = read_log(log)
    dispatches = [effect for record in term.records for effect in record.effects if isinstance(effect, Dispatch)]
    assert [dispatch.policy for dispatch in dispatches] == ["fcfs", "srtf", "random", "fcfs", "fcfs", "fcfs"]
    assert replay(log) is None


async def test_a_log_of_random_decisions_replays_exactly(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with Cluster.start(policy="random", seed=11, event_log=str(log)) as cluster:
        names = await submit(cluster, *["app"] * 12)
        executor = await cluster.attach()
        executor.automatic = True
        for name in names:
            await cluster.ended(name)
    (term,) = read_log(log)
    dispatches = [effect for record in term.records for effect in record.effects if isinstance(effect, Dispatch)]
    order = [dispatch.attempt.job_id for dispatch in dispatches]
    assert sorted(order) == sorted(names)
    assert order != names
    assert replay(log) is None
    # Another seed draws otherwise, so a replay that agrees is no accident.
    log.write_text(log.read_text().replace('"seed":11', '"seed":12', 1))
    assert replay(log) is not None


async def test_policies_that_learn_can_be_set_where_there_is_a_history(history: str) -> None:
    async with Cluster.start() as without, Cluster.start(history=(history,)) as having:
        simple = await available(without)
        assert {"argus", "fcfs", "plas", "random"} <= set(simple)
        assert await available(having) == sorted([*simple, *LEARNING])
        for name in await available(having):
            await set_policy(having, name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, f"policy '{name}' needs a history to learn from, {NONE_GIVEN}") for name in LEARNING),
        ("clairvoyant-srpt", "policy 'clairvoyant-srpt' needs to know the future, which only a simulation does"),
    ],
)
async def test_a_policy_that_lacks_what_it_must_know_is_refused_with_the_reason(name: str, why: str) -> None:
    async with Cluster.start() as cluster:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await set_policy(cluster, name)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(refused.value)[0] == "INVALID_POLICY_PARAMETERS"
        assert refused.value.details() == f"policy: {why}"
        policy = await cluster.leader.stub.GetPolicy(scheduler_pb2.GetPolicyRequest())
        assert policy.policy.name == "fcfs"


async def test_the_seed_is_the_clusters_unless_it_is_given() -> None:
    async with Cluster.start(seed=5) as cluster:
        for wanted, seed in (
            (scheduler_pb2.Policy(name="random"), 5),
            (scheduler_pb2.Policy(name="random", seed=0), 0),
        ):
            answer = await cluster.leader.stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=wanted))
            assert answer.policy.seed == seed


async def test_only_what_draws_takes_another_seed_than_the_clusters() -> None:
    async with Cluster.start(seed=5) as cluster:
        for seed in (0, 5):
            await set_policy(cluster, "fcfs", seed=seed)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await set_policy(cluster, "fcfs", seed=3)
        assert refused.value.details() == "policy: policy 'fcfs' takes no seed; it is for: random, llmsched, gittins"


async def test_the_order_is_the_clusters_unless_it_is_given() -> None:
    async with Cluster.start(policy="ps-tcs", application_order=("b", "a")) as cluster:
        for given, order in (([], ["b", "a"]), (["a", "b"], ["a", "b"])):
            wanted = scheduler_pb2.Policy(name="ps-tcs", application_order=given)
            answer = await cluster.leader.stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=wanted))
            assert list(answer.policy.application_order) == order
        await set_policy(cluster, "fcfs")


async def test_an_unknown_policy_is_answered_with_those_that_can_be_set() -> None:
    async with Cluster.start() as cluster:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await set_policy(cluster, "nope")
        there_are = ", ".join(await available(cluster))
        assert refused.value.details() == f"policy.name: no policy 'nope'; there are: {there_are}"


async def test_a_leader_goes_on_from_the_decisions_before_it(tmp_path: Path) -> None:
    state, log = MemoryState(), tmp_path / "events.jsonl"
    async with Cluster.start(state) as earlier:
        executor = await earlier.attach()
        executor.automatic = True
        await earlier.submit("a", tool("one"), tool("two", "one", position=1))
        await earlier.ended("a")
    async with Cluster.start(state, event_log=str(log)) as later:
        executor = await later.attach()
        executor.automatic = True
        watch = later.leader.stub.WatchDecisions(scheduler_pb2.WatchDecisionsRequest())
        await watch.read()  # says that the watch is on
        await later.submit("b", tool("one"))
        (decision,) = (await watch.read()).decisions
        assert (decision.job_id, decision.number) == ("b", 3)
        await later.ended("b")
        watch.cancel()
    (term,) = read_log(log)
    assert term.decisions == 2
    assert replay(log) is None


async def test_a_number_whose_decision_never_became_durable_is_not_given_again() -> None:
    async with Cluster.start() as cluster:
        leader = cluster.leader
        (name,) = await submit(cluster, "app")
        leader.state.errors_before = [CommitGap("the store has lost commits")]
        with contextlib.suppress(grpc.aio.AioRpcError):
            await cluster.attach()  # the decision that this leads to is refused, and the lead with it
        await leader.app.leads.wait()
        executor = await cluster.attach()
        await executor.assigned()
        answer = await leader.stub.ExplainJob(scheduler_pb2.ExplainJobRequest(job_id=name))
        assert [decision.number for decision in answer.decisions] == [2]
