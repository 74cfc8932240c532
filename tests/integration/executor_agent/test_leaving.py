"""An agent whose stream breaks, or that is to end: nothing that ran is lost."""

from __future__ import annotations

import asyncio

import pytest

from llmsched.api.executor.v1 import executor_pb2
from services.common.errors import DomainError
from services.executors import agent as module
from services.up.stack import free_port
from tests.integration.executor_agent.running import UNREACHABLE, Agents, Running, begin
from tests.unit.services.executors.gateway import ScriptedGateway
from tests.unit.services.executors.scripted import assign, llm_result, ref
from tests.unit.services.executors.tool.waiting import until

pytestmark = pytest.mark.timeout(30)


class TestReconnecting:
    async def test_what_runs_goes_on(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        incarnation = session.register.incarnation
        session.assign(assign(stream_output=True))
        call = await running.call()
        session.end(UNREACHABLE)
        session = await gateway.session()

        assert session.register.incarnation == incarnation
        assert list(session.register.running) == [ref()]
        call.write("meanwhile", 1)  # nobody is there yet to hear it
        session.registered()
        assert (await session.heard("progress")).text == "meanwhile"
        call.succeed("text")
        assert (await session.heard("finished")).result == llm_result("text")
        assert running.worker.rids == ["job/stage/0/1"]

    @pytest.mark.parametrize("error", [None, UNREACHABLE], ids=["ended", "broken"])
    async def test_results_are_sent_until_they_are_stored(
        self, running: Running, gateway: ScriptedGateway, error: DomainError | None
    ) -> None:
        session = await begin(running, gateway)
        for job in ("stored", "lost"):
            session.assign(assign(job))
            (await running.call()).succeed(job)
            await session.heard("finished")
        session.stored(ref("stored"))
        while len((await session.heard("heartbeat")).running) != 1:
            pass
        for _ in range(2):
            session.end(error)
            session = await gateway.attached()
            assert list(session.register.running) == [ref("lost")]
            assert (await session.heard("finished")).result == llm_result("lost")

        session.stored(ref("lost"))
        while (await session.heard("heartbeat")).running:
            pass
        session.end(error)
        assert list((await gateway.session()).register.running) == []

    async def test_what_ends_while_nobody_is_there(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        call = await running.call()
        gateway.refuse_all(UNREACHABLE)
        session.end(UNREACHABLE)
        await until(lambda: not running.agent.attached.is_set())
        call.succeed()
        gateway.refuse_all(None)

        session = await gateway.attached()
        assert list(session.register.running) == [ref()]
        assert (await session.heard("finished")).HasField("result")

    async def test_what_ends_between_registration_and_answer(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        call = await running.call()
        session.end(UNREACHABLE)
        session = await gateway.session()
        call.succeed()
        await asyncio.gather(*(each for each in asyncio.all_tasks() if each.get_name().startswith("attempt")))
        session.registered()

        await session.heard("finished")
        await session.heartbeat(healthy=True)
        assert session.kinds.count("finished") == 1

    async def test_stale_attempts_are_aborted_and_nothing_waits_for_it(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        session.assign(assign("runs"))
        session.assign(assign("ended"))
        runs, ended = await running.call(), await running.call()
        runs.freed.clear()
        ended.succeed()
        await session.heard("finished")
        session.end(UNREACHABLE)
        session = await gateway.attached(stale=[ref("runs"), ref("ended")])
        await runs.cancelled.wait()
        session.assign(assign("new"))
        (await running.call()).succeed()

        assert (await session.heard("finished")).attempt == ref("new")
        runs.freed.set()
        session.stored(ref("new"))
        while (await session.heard("heartbeat")).running:
            pass
        assert session.silent("finished")

    async def test_a_dead_stream_leaves_nothing_behind(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        await session.heard("heartbeat")
        await running.agent.attached.wait()
        before = len(asyncio.all_tasks())
        for _ in range(5):
            session.end(UNREACHABLE)
            session = await gateway.attached()
            await session.heard("heartbeat")
            await running.agent.attached.wait()
        await session.heard("heartbeat")

        assert len(asyncio.all_tasks()) <= before + 1  # a gRPC task or so comes and goes


class TestLeaving:
    async def test_an_idle_executor_says_so_and_ends_its_stream(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        await running.agent.attached.wait()
        running.stop.set()

        await running.ended()
        assert session.kinds.count("leaving") == 1
        assert gateway.attempts == 1

    async def test_what_runs_may_end_and_is_handed_over(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        call = await running.call()
        running.stop.set()
        await session.heard("leaving")
        call.succeed()
        assert (await session.heard("finished")).HasField("result")
        session.stored(ref())

        await running.ended()

    async def test_what_does_not_end_in_time_is_cancelled_and_told(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        running.start(drain_seconds=0.02)
        session = await gateway.attached()
        session.assign(assign())
        call = await running.call()
        running.stop.set()

        assert (await session.heard("finished")).HasField("cancelled")
        assert call.cancelled.is_set()
        session.stored(ref())
        await running.ended()

    async def test_a_result_that_nobody_has_stored_is_handed_to_the_next_leader(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        (await running.call()).succeed()
        await session.heard("finished")
        session.end(UNREACHABLE)
        running.stop.set()
        session = await gateway.attached()
        assert (await session.heard("finished")).HasField("result")
        await session.heard("leaving")
        session.stored(ref())

        await running.ended()

    async def test_a_scheduler_that_does_not_end_the_stream_is_not_waited_for(
        self, running: Running, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_FAREWELL_SECONDS", 0.05)
        gateway.ends_with_executor = False
        await begin(running, gateway)
        await running.agent.attached.wait()
        running.stop.set()

        await running.ended()

    async def test_without_a_scheduler(self, agents: Agents) -> None:
        running = agents(f"127.0.0.1:{free_port()}")
        running.start()
        await running.worker.looked.get()
        running.stop.set()

        await running.ended()

    async def test_while_the_engine_still_loads(self, running: Running, gateway: ScriptedGateway) -> None:
        running.worker.started.clear()
        running.start()
        running.stop.set()

        await running.ended()
        assert gateway.attempts == 0


class TestDrain:
    async def test_it_finishes_what_runs_and_leaves(self, running: Running, gateway: ScriptedGateway) -> None:
        running.start(drain_seconds=0.0)  # that is for a stop: a drain waits as long as it takes
        session = await gateway.attached()
        session.assign(assign())
        call = await running.call()
        session.send(drain=executor_pb2.Drain())
        await session.heard("leaving")
        for _ in range(10):  # time enough to be impatient
            await session.heard("heartbeat")
        call.succeed()
        assert (await session.heard("finished")).HasField("result")
        session.stored(ref())

        await running.ended()
        assert session.finished_reading.is_set()

    async def test_a_new_leader_is_told(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        await running.call()
        session.send(drain=executor_pb2.Drain())
        await session.heard("leaving")
        session.end(UNREACHABLE)

        await (await gateway.attached()).heard("leaving")

    async def test_a_stop_ends_the_patience(self, running: Running, gateway: ScriptedGateway) -> None:
        running.start(drain_seconds=0.02)
        session = await gateway.attached()
        session.assign(assign())
        await running.call()
        session.send(drain=executor_pb2.Drain())
        await session.heard("leaving")
        running.stop.set()

        assert (await session.heard("finished")).HasField("cancelled")
        session.stored(ref())
        await running.ended()
        assert session.kinds.count("leaving") == 1
