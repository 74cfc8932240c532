"""An attached agent against a scripted gateway over real gRPC: registration, attempts, health, counting of tokens."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common.errors import DomainError
from services.executors import agent as module
from services.executors import health as health_module
from services.executors.work import AttemptError, Condition, ExecutorError
from services.up.stack import free_port
from tests.integration.executor_agent.running import UNREACHABLE, Agents, Gateways, Running, begin
from tests.unit.services.executors.gateway import ScriptedGateway, not_leader
from tests.unit.services.executors.scripted import assign, llm_result, ref

pytestmark = pytest.mark.timeout(30)


class TestAttaching:
    async def test_it_says_who_it_is(self, running: Running, gateway: ScriptedGateway) -> None:
        running.start()
        session = await gateway.session()

        said = session.register
        assert (said.executor_id, said.kind, said.slots) == ("llm-0", executor_pb2.Register.KIND_LLM, 4)
        assert (list(said.models), dict(said.labels), said.counts_tokens) == (["model"], {"gpu": "x"}, True)
        assert said.incarnation
        assert not running.agent.attached.is_set()
        session.registered()
        await running.agent.attached.wait()

    async def test_each_process_is_another_incarnation(self, agents: Agents, gateway: ScriptedGateway) -> None:
        said = []
        for _ in range(2):
            agents(gateway.address).start()
            said.append((await gateway.session()).register.incarnation)
        assert said[0] != said[1]

    async def test_the_leaders_address_is_followed(
        self, agents: Agents, gateways: Gateways, gateway: ScriptedGateway
    ) -> None:
        standby = await gateways()
        standby.refuse_all(not_leader(gateway.address))
        running = agents(standby.address)
        running.start()

        await gateway.attached()
        await running.agent.attached.wait()

    async def test_a_scheduler_that_is_down_is_passed_over(self, agents: Agents, gateway: ScriptedGateway) -> None:
        agents(f"127.0.0.1:{free_port()}", gateway.address).start()

        await gateway.attached()

    async def test_a_host_that_says_nothing_is_passed_over(self, agents: Agents, gateway: ScriptedGateway) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
            agents(f"127.0.0.1:{silent.getsockname()[1]}", gateway.address).start()
            await gateway.attached()

    async def test_after_a_break_another_scheduler_is_asked(
        self, agents: Agents, gateways: Gateways, gateway: ScriptedGateway
    ) -> None:
        successor = await gateways()
        agents(gateway.address, successor.address).start()
        (await gateway.attached()).end()

        await successor.attached()
        assert gateway.attempts == 1

    async def test_one_that_still_leads_is_come_back_to(
        self, agents: Agents, gateways: Gateways, gateway: ScriptedGateway
    ) -> None:
        standby = await gateways()
        standby.refuse_all(not_leader(gateway.address))
        agents(gateway.address, standby.address).start()
        (await gateway.attached()).end(UNREACHABLE)

        await gateway.attached()
        assert standby.attempts == 1

    async def test_standbys_that_name_each_other_do_not_hold_it_up(
        self, agents: Agents, gateways: Gateways, gateway: ScriptedGateway
    ) -> None:
        first, second = await gateways(), await gateways()
        first.refuse_all(not_leader(second.address))
        second.refuse_all(not_leader(first.address))
        agents(first.address, gateway.address).start()

        await gateway.attached()
        assert (first.attempts, second.attempts) == (1, 1)

    async def test_a_scheduler_that_does_not_answer_is_given_up(
        self, agents: Agents, gateways: Gateways, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.05)
        silent = await gateways()
        agents(silent.address, gateway.address).start()
        ignored = await silent.session()

        session = await gateway.attached()

        await ignored.finished_reading.wait()
        for _ in range(10):  # the patience is for the answer alone
            await session.heartbeat(healthy=True)

    async def test_a_registration_that_is_wrong_ends_the_executor(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        gateway.refuse_all(DomainError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REGISTRATION", "no slots"))
        running.start()

        with pytest.raises(ExecutorError, match="no slots"):
            await running.ended()

    async def test_any_other_refusal_does_not(self, running: Running, gateway: ScriptedGateway) -> None:
        in_use = DomainError(grpc.StatusCode.ALREADY_EXISTS, "EXECUTOR_ID_IN_USE", "another one")
        gateway.refusals = [in_use, UNREACHABLE, not_leader()]
        running.start()

        await gateway.attached()
        assert gateway.attempts == 4

    async def test_a_stream_with_nonsense_in_it_costs_the_stream(
        self, running: Running, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        call = await running.call()
        with monkeypatch.context() as patch:
            patch.setattr(running.agent._attempts, "cancel", lambda ref: 1 / 0)
            session.cancel(ref())
            session = await gateway.attached()

        call.succeed()
        assert (await session.heard("finished")).attempt == ref()


class TestAttempts:
    async def test_an_assignment_is_run_and_its_result_kept_until_it_is_stored(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        session.assign(assign(prompt="hi"))
        call = await running.call()
        assert call.prompt == "hi"
        call.succeed("text")

        assert (await session.heard("finished")).result == llm_result("text")
        while not (await session.heard("heartbeat")).running:
            pass
        session.stored(ref())
        while (await session.heard("heartbeat")).running:
            pass

    async def test_a_duplicate_is_not_run_twice(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        session.assign(assign())
        (await running.call()).succeed()
        first = await session.heard("finished")
        session.assign(assign())

        assert await session.heard("finished") == first
        assert running.worker.rids == ["job/stage/0/1"]

    async def test_cancelling_ends_what_runs(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign())
        call = await running.call()
        call.freed.clear()
        session.cancel(ref())
        await call.cancelled.wait()
        assert session.silent("finished")
        call.freed.set()

        assert (await session.heard("finished")).HasField("cancelled")

    async def test_cancelling_what_ended_or_never_was(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign("ended"))
        (await running.call()).succeed()
        await session.heard("finished")
        session.cancel(ref("ended"))
        session.cancel(ref("unknown"))

        finished = await session.heard("finished")
        assert (finished.attempt, finished.WhichOneof("outcome")) == (ref("unknown"), "cancelled")

    async def test_a_timeout(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign(timeout=0.01))

        failure = (await session.heard("finished")).failure
        assert (failure.reason, failure.retryable) == ("TIMEOUT", True)
        assert "0.01 s" in failure.message

    async def test_text_comes_in_order_and_before_the_result(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.assign(assign(stream_output=True))
        call = await running.call()
        for number, word in enumerate(["Ein ", "schöner ", "Tag"], start=1):
            call.write(word, number)
        call.succeed()

        await session.heard("finished")
        text, tokens = "", 0
        while not session.silent("progress"):
            progress = await session.heard("progress")
            assert (progress.attempt, progress.offset) == (ref(), len(text))
            text, tokens = text + progress.text, progress.completion_tokens
        assert (text, tokens) == ("Ein schöner Tag", 3)
        assert "progress" not in session.kinds[session.kinds.index("finished") :]

    async def test_heartbeats_tell_once_how_fast_the_engine_was(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        seen = executor_pb2.EngineSteps(decode=[executor_pb2.DecodeSteps(batch=2, steps=3.0)])
        running.worker.seen.append(seen)
        while not (beat := await session.heard("heartbeat")).HasField("steps"):
            pass
        assert beat.steps == seen
        assert not (await session.heard("heartbeat")).HasField("steps")

    async def test_heartbeats_tell_which_assignments_have_arrived(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        assert (await session.heard("heartbeat")).last_assignment == 0
        session.assign(assign("a"))
        session.assign(assign("b"))
        while (beat := await session.heard("heartbeat")).last_assignment < 2:
            pass

        assert list(beat.running) == [ref("a"), ref("b")]


class TestHealth:
    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health_module, "_INTERVAL_SECONDS", 0.005)

    async def test_load_and_health_are_told(self, running: Running, gateway: ScriptedGateway) -> None:
        load = executor_pb2.EngineLoad(running=2, waiting=1, token_usage=0.5)
        running.worker.now = Condition(healthy=True, load=load)
        session = await begin(running, gateway)
        while not (beat := await session.heartbeat(healthy=True)).HasField("load"):
            pass
        assert beat.load == load

        running.worker.now = Condition(healthy=False)
        assert not (await session.heartbeat(healthy=False)).HasField("load")
        running.worker.now = Condition(healthy=True)
        await session.heartbeat(healthy=True)

    async def test_a_change_is_told_at_once(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway, heartbeat=3600.0)
        await session.heartbeat(healthy=True)

        running.worker.now = Condition(healthy=False)

        await session.heartbeat(healthy=False)

    async def test_heartbeats_go_on_while_the_engine_does_not_answer(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway)
        running.worker.look = asyncio.Event().wait
        running.worker.looked = asyncio.Queue()
        await running.worker.looked.get()

        for _ in range(10):
            assert (await session.heard("heartbeat")).healthy

    async def test_an_engine_that_fails_an_attempt_gets_nothing_new_first(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        session = await begin(running, gateway, heartbeat=3600.0)
        session.assign(assign())
        call = await running.call()
        running.worker.now = Condition(healthy=False)
        running.worker.look = asyncio.Event().wait  # the suspicion stands: no look ends
        call.end.set_exception(AttemptError("ENGINE_UNAVAILABLE", "gone", retryable=True, suspect=True))

        assert (await session.heard("finished")).failure.retryable
        assert session.kinds[-2:] == ["heartbeat", "finished"]
        beat = await session.heartbeat(healthy=False)
        assert list(beat.running) == [ref()]

    async def test_a_new_leader_hears_of_an_ill_engine_before_it_assigns(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        running.worker.now = Condition(healthy=False)
        session = await begin(running, gateway)
        await session.heartbeat(healthy=False)
        session.end(UNREACHABLE)
        session = await gateway.session()  # its registration is not answered

        assert not (await session.heard("heartbeat")).healthy


class TestCounting:
    @staticmethod
    def question(count_id: int, *prompts: str) -> executor_pb2.CountTokens:
        calls = [task_pb2.LlmCall(prompt=prompt) for prompt in prompts]
        return executor_pb2.CountTokens(count_id=count_id, calls=calls)

    async def test_counts_come_in_the_order_of_the_prompts(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        session.send(count_tokens=self.question(7, "a", "bbb", ""))

        answer = await session.heard("tokens_counted")
        assert (answer.count_id, list(answer.prompt_tokens)) == (7, [1, 3, 0])

    async def test_a_slow_count_holds_nothing_up(self, running: Running, gateway: ScriptedGateway) -> None:
        session = await begin(running, gateway)
        gate = asyncio.Event()
        running.worker.count = lambda calls: gate.wait()
        session.send(count_tokens=self.question(1, "a"))
        session.assign(assign())
        (await running.call()).succeed()
        await session.heard("finished")
        assert session.silent("tokens_counted")

        gate.set()
        assert (await session.heard("tokens_counted")).count_id == 1

    async def test_a_count_that_breaks_is_answered_all_the_same(
        self, running: Running, gateway: ScriptedGateway
    ) -> None:
        async def broken(calls: Any) -> None:
            raise RuntimeError("a bug")

        session = await begin(running, gateway)
        running.worker.count = broken
        session.send(count_tokens=self.question(1, "a", "b"))

        assert list((await session.heard("tokens_counted")).prompt_tokens) == [-1, -1]
