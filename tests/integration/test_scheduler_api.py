"""What planners and operators ask a scheduler, and what it answers."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.common.errors import error_info
from tests.support.cluster import Cluster, tool_tasks
from tests.support.scheduling import tool

SCHEDULER = "llmsched.api.scheduler.v1.SchedulerService"


async def test_a_standby_refers_everybody_to_the_leader() -> None:
    async with Cluster.start() as cluster:
        leader, standby = cluster.leader, await cluster.add_scheduler()
        calls = [
            standby.stub.AdmitJob(scheduler_pb2.AdmitJobRequest(job_ids=["job-1"])),
            standby.stub.CancelJob(scheduler_pb2.CancelJobRequest(job_id="job-1")),
            standby.stub.GetCluster(scheduler_pb2.GetClusterRequest()),
            standby.stub.ListQueue(scheduler_pb2.ListQueueRequest()),
            standby.stub.ExplainJob(scheduler_pb2.ExplainJobRequest(job_id="job-1")),
            standby.stub.GetPolicy(scheduler_pb2.GetPolicyRequest()),
            standby.stub.SetPolicy(scheduler_pb2.SetPolicyRequest()),
            standby.stub.WatchDecisions(scheduler_pb2.WatchDecisionsRequest()).read(),
            cluster.attach(scheduler=standby),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(refused.value) == ("NOT_LEADER", {"leader": leader.address})


async def test_health_tells_who_leads_and_who_lives() -> None:
    async with Cluster.start() as cluster:
        standby = await cluster.add_scheduler()
        answers = {}
        for name, scheduler in (("leader", cluster.leader), ("standby", standby)):
            async with grpc.aio.insecure_channel(scheduler.address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                for service in ("", SCHEDULER):
                    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                    answers[name, service] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        assert answers == {
            ("leader", ""): "SERVING",
            ("leader", SCHEDULER): "SERVING",
            ("standby", ""): "SERVING",
            ("standby", SCHEDULER): "NOT_SERVING",
        }


async def test_the_cluster_is_shown_with_its_slots_and_load() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach(
            "llm-0", kind=executor_pb2.Register.KIND_LLM, models=["m"], slots=4, labels={"zone": "a"}
        )
        load = executor_pb2.EngineLoad(running=1, waiting=3)
        await executor.send(heartbeat=executor_pb2.Heartbeat(healthy=True, load=load))
        tools = await cluster.attach("tool-0")
        await cluster.submit("job-1", tool("work"))
        await tools.assigned()
        executor.beating = False
        view = await cluster.leader.stub.GetCluster(scheduler_pb2.GetClusterRequest())
        engine, worker = view.executors
        assert (engine.executor_id, engine.kind, engine.slots) == ("llm-0", "llm", 4)
        assert list(engine.offers) == ["llm", "llm:m"]
        assert engine.labels == {"zone": "a"}
        assert (worker.executor_id, worker.used_slots) == ("tool-0", 1)
        assert (view.active_jobs, view.running_attempts, view.ready_stages) == (1, 1, 0)
        assert view.epoch == executor.registered.epoch
        assert view.policy.name == "fcfs"


async def test_the_queue_is_listed_in_pages() -> None:
    async with Cluster.start() as cluster:
        for number in range(5):
            await cluster.submit(f"job-{number}", tool("work"))
            await cluster.until(f"job-{number}", lambda job: bool(job.stages["work"].tasks))
        listed, token = [], ""
        while True:
            request = scheduler_pb2.ListQueueRequest(page_size=2, page_token=token)
            page = await cluster.leader.stub.ListQueue(request)
            listed += [(stage.rank, stage.job_id, stage.requirement) for stage in page.stages]
            token = page.next_page_token
            if not token:
                break
            assert len(page.stages) == 2
        assert listed == [(number, f"job-{number}", "tool:any") for number in range(5)]


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [({"page_size": -1}, "INVALID_REQUEST"), ({"page_token": "nonsense"}, "INVALID_PAGE_TOKEN")],
)
async def test_a_page_that_makes_no_sense_is_refused(request_fields: dict[str, object], reason: str) -> None:
    async with Cluster.start() as cluster:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await cluster.leader.stub.ListQueue(scheduler_pb2.ListQueueRequest(**request_fields))  # type: ignore[arg-type]
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(refused.value)[0] == reason


async def test_it_is_explained_why_a_job_waits_and_why_it_ran() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        cluster.planner.script["work"] = tool_tasks(2)
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        await cluster.submit("job-2", tool("work"))
        await cluster.until("job-2", lambda job: bool(job.stages["work"].tasks))
        explain = cluster.leader.stub.ExplainJob
        first = await explain(scheduler_pb2.ExplainJobRequest(job_id="job-1"))
        assert [(decision.stage_id, decision.executor_id, decision.rule) for decision in first.decisions] == [
            ("work", "tool-0", "policy")
        ]
        assert any("task 0 of stage work has been running on tool-0" in line for line in first.reasons)
        second = await explain(scheduler_pb2.ExplainJobRequest(job_id="job-2"))
        assert [(stage.rank, stage.waiting_tasks) for stage in second.queued] == [(1, 2)]
        assert any("2 slots of tool:any: 0 of 1 free, 1 stage before it" in line for line in second.reasons)
        assert "1 stage waits for stages before it" in second.reasons
        assert not second.decisions
        await executor.succeed(assign.attempt)


async def test_a_job_that_is_not_active_cannot_be_explained_or_cancelled() -> None:
    async with Cluster.start() as cluster:
        stub = cluster.leader.stub
        for call in (
            stub.ExplainJob(scheduler_pb2.ExplainJobRequest(job_id="nobody")),
            stub.CancelJob(scheduler_pb2.CancelJobRequest(job_id="nobody")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert error_info(refused.value) == ("JOB_NOT_FOUND", {"job_id": "nobody"})


async def test_decisions_can_be_watched_of_all_jobs_or_of_one() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        executor.automatic = True
        stub = cluster.leader.stub
        everything = stub.WatchDecisions(scheduler_pb2.WatchDecisionsRequest())
        one = stub.WatchDecisions(scheduler_pb2.WatchDecisionsRequest(job_id="job-2"))
        # The first message says that the watch is on.
        await asyncio.gather(everything.read(), one.read())
        for job_id in ("job-1", "job-2"):
            await cluster.submit(job_id, tool("work"))
            await cluster.ended(job_id)
        seen = []
        while len(seen) < 2:
            seen += [(decision.number, decision.job_id) for decision in (await everything.read()).decisions]
        assert seen == [(1, "job-1"), (2, "job-2")]
        (decision,) = (await one.read()).decisions
        assert (decision.job_id, decision.executor_id, decision.policy) == ("job-2", "tool-0", "fcfs")
        everything.cancel()
        one.cancel()


async def test_the_policy_can_be_changed_while_jobs_wait() -> None:
    async with Cluster.start() as cluster:
        for number in range(2):
            await cluster.submit(f"job-{number}", tool("work"))
            await cluster.until(f"job-{number}", lambda job: bool(job.stages["work"].tasks))
        stub = cluster.leader.stub
        policy = scheduler_pb2.Policy(name="fair")
        answer = await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=policy))
        # Where the request is silent the cluster's default holds.
        assert answer.policy.ageing.seconds == 300
        current = await stub.GetPolicy(scheduler_pb2.GetPolicyRequest())
        assert current.policy == answer.policy
        assert "fcfs" in current.available
        assert (await cluster.state.get_policy()) is not None


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (scheduler_pb2.Policy(name="nonsense"), "UNKNOWN_POLICY"),
        (scheduler_pb2.Policy(), "UNKNOWN_POLICY"),
        (scheduler_pb2.Policy(name="fcfs", application_order=["a"]), "INVALID_POLICY_PARAMETERS"),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused(policy: scheduler_pb2.Policy, reason: str) -> None:
    async with Cluster.start() as cluster:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await cluster.leader.stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=policy))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(refused.value)[0] == reason
        assert (await cluster.state.get_policy()) is None
