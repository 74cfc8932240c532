"""Attempts on a scripted worker, without any stream: what is run, what is said and when, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmsched.api.executor.v1 import executor_pb2
from services.common.telemetry import Place, Telemetry
from services.executors import attempts as module
from services.executors.attempts import Attempts
from services.executors.instruments import Instruments
from services.executors.work import AttemptError
from tests.unit.services.executors.scripted import Call, ScriptedWorker, assign, llm_result, ref

NEVER = 3600.0


class Bench:
    """Attempts between a scripted worker and a list of what they say."""

    def __init__(self) -> None:
        self.worker = ScriptedWorker()
        self.attached = True
        self.said: asyncio.Queue[executor_pb2.AttachRequest] = asyncio.Queue()
        self.attempts = Attempts(
            self.worker,
            instruments=Instruments(Telemetry("test"), "llm-0"),
            send=self._send,
            on_suspect=lambda: self._send("suspect"),
        )

    def _send(self, message: Any) -> bool:
        if self.attached:
            self.said.put_nowait(message)
        return self.attached

    async def started(self, **fields: Any) -> Call:
        self.attempts.start(assign(**fields))
        return await self.worker.calls.get()

    async def finished(self) -> executor_pb2.Finished:
        message = await self.said.get()
        assert message.HasField("finished"), message
        return message.finished

    async def failure(self) -> tuple[str, bool]:
        failure = (await self.finished()).failure
        return failure.reason, failure.retryable

    async def progress(self) -> tuple[int, str, int]:
        progress = (await self.said.get()).progress
        return progress.offset, progress.text, progress.completion_tokens


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.worker.aclose()
    await bench.attempts.aclose()


class TestOutcomes:
    async def test_a_result_is_kept_until_it_is_acknowledged(self, bench: Bench) -> None:
        call = await bench.started()
        call.succeed("text")

        finished = await bench.finished()

        assert finished.result == llm_result("text")
        assert finished.attempt == ref()
        assert 0 < finished.start_time.ToMicroseconds() <= finished.end_time.ToMicroseconds()
        assert bench.attempts.unacknowledged == [finished]
        assert bench.attempts.held == [ref()]
        bench.attempts.forget(ref())
        assert bench.attempts.held == []

    async def test_a_failure_goes_out_as_it_is(self, bench: Bench) -> None:
        call = await bench.started()
        call.end.set_exception(AttemptError("TOOL_RAISED", "it broke", retryable=False))

        failure = (await bench.finished()).failure

        assert (failure.reason, failure.message, failure.retryable) == ("TOOL_RAISED", "it broke", False)

    @pytest.mark.parametrize("bug", [KeyError("x"), TimeoutError(), ValueError("\ud800"), asyncio.CancelledError()])
    async def test_a_bug_costs_one_attempt(self, bench: Bench, bug: BaseException) -> None:
        broken, sound = await bench.started(job="broken"), await bench.started(job="sound")
        broken.end.set_exception(bug)

        assert await bench.failure() == ("EXECUTOR_ERROR", True)
        sound.succeed()
        assert (await bench.finished()).result == llm_result("done")

    async def test_a_result_that_cannot_be_sent_is_a_failure(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_MAX_RESULT_BYTES", 100)
        call = await bench.started()
        call.succeed("x" * 101)

        assert await bench.failure() == ("RESULT_TOO_LARGE", False)

    async def test_suspicion_is_told_before_the_outcome(self, bench: Bench) -> None:
        call = await bench.started()
        call.end.set_exception(AttemptError("ENGINE_UNAVAILABLE", "gone", retryable=True, suspect=True))

        assert await bench.said.get() == "suspect"
        assert await bench.failure() == ("ENGINE_UNAVAILABLE", True)

    async def test_the_worker_gets_a_span_below_the_attempt(self, bench: Bench) -> None:
        outer = Place(trace_id=7, span_id=8)
        call = await bench.started(traceparent=outer.traceparent)

        inner = Place.parse(call.traceparent)
        assert inner is not None
        assert inner.trace_id == outer.trace_id
        assert inner.span_id != outer.span_id


class TestDuplicates:
    async def test_an_attempt_that_runs_is_not_run_again(self, bench: Bench) -> None:
        call = await bench.started()
        bench.attempts.start(assign())
        call.succeed()

        await bench.finished()
        assert bench.worker.rids == ["job/stage/0/1"]

    async def test_an_attempt_that_ended_is_answered_with_its_outcome(self, bench: Bench) -> None:
        call = await bench.started()
        call.succeed()
        first = await bench.finished()

        bench.attempts.start(assign())

        assert await bench.finished() == first
        assert bench.worker.rids == ["job/stage/0/1"]

    async def test_the_next_attempt_is_another_one(self, bench: Bench) -> None:
        await bench.started(attempt=1)
        await bench.started(attempt=2)

        assert bench.worker.rids == ["job/stage/0/1", "job/stage/0/2"]


class TestCancel:
    async def test_the_answer_comes_when_the_slot_is_free(self, bench: Bench) -> None:
        call = await bench.started()
        call.freed.clear()
        bench.attempts.cancel(ref())
        await call.cancelled.wait()

        assert bench.said.empty()
        assert bench.attempts.held == [ref()]
        call.freed.set()
        assert (await bench.finished()).HasField("cancelled")

    async def test_a_second_cancel_does_not_cut_the_abort_short(self, bench: Bench) -> None:
        call = await bench.started(timeout=NEVER)
        call.freed.clear()
        bench.attempts.cancel(ref())
        await call.cancelled.wait()
        bench.attempts.cancel(ref())
        await asyncio.sleep(0)  # what the second one does, it does in the next turn of the loop

        call.freed.set()
        assert (await bench.finished()).HasField("cancelled")
        assert not call.cut_short

    async def test_an_attempt_that_has_not_begun_is_answered_too(self, bench: Bench) -> None:
        bench.attempts.start(assign())
        bench.attempts.cancel(ref())

        assert (await bench.finished()).HasField("cancelled")
        assert bench.worker.rids == []
        bench.attempts.forget(ref())
        await bench.attempts.wait_settled()

    async def test_an_unknown_attempt_is_answered_and_not_kept(self, bench: Bench) -> None:
        bench.attempts.cancel(ref("unknown"))

        finished = await bench.finished()
        assert (finished.attempt, finished.WhichOneof("outcome")) == (ref("unknown"), "cancelled")
        assert bench.attempts.held == []

    async def test_an_attempt_that_ended_stays_as_it_ended(self, bench: Bench) -> None:
        call = await bench.started()
        call.succeed()
        finished = await bench.finished()

        bench.attempts.cancel(ref())

        assert bench.said.empty()
        assert bench.attempts.unacknowledged == [finished]


class TestAbandon:
    async def test_it_ends_and_nobody_is_told(self, bench: Bench) -> None:
        call = await bench.started()
        call.freed.clear()

        bench.attempts.abandon(ref())  # returns although the abort takes a while
        await call.cancelled.wait()
        call.freed.set()

        await bench.attempts.wait_settled()
        assert bench.said.empty()
        assert bench.attempts.held == []

    async def test_an_outcome_is_dropped(self, bench: Bench) -> None:
        call = await bench.started()
        call.succeed()
        await bench.finished()

        bench.attempts.abandon(ref())

        assert bench.attempts.unacknowledged == []


class TestTimeout:
    async def test_an_attempt_ends_at_its_timeout(self, bench: Bench) -> None:
        call = await bench.started(timeout=0.001)

        assert await bench.failure() == ("TIMEOUT", True)
        assert call.cancelled.is_set()

    async def test_a_timeout_does_not_cut_the_abort_of_a_cancel_short(self, bench: Bench) -> None:
        call = await bench.started(timeout=0.01)
        call.freed.clear()
        bench.attempts.cancel(ref())
        await call.cancelled.wait()
        await asyncio.sleep(0.02)  # the timeout passes

        call.freed.set()
        assert (await bench.finished()).HasField("cancelled")
        assert not call.cut_short

    async def test_an_attempt_in_time_is_not_touched(self, bench: Bench) -> None:
        call = await bench.started(timeout=NEVER)
        call.succeed()

        assert (await bench.finished()).HasField("result")


class TestSettled:
    async def test_it_means_that_all_outcomes_are_acknowledged(self, bench: Bench) -> None:
        await bench.attempts.wait_settled()
        call = await bench.started()
        settled = asyncio.create_task(bench.attempts.wait_settled())
        call.succeed()
        await bench.finished()
        assert not settled.done()

        bench.attempts.forget(ref())
        await settled

    async def test_closing_ends_what_runs_and_keeps_the_outcomes(self, bench: Bench) -> None:
        await bench.started()

        await bench.attempts.aclose()

        assert [each.WhichOneof("outcome") for each in bench.attempts.unacknowledged] == ["cancelled"]


class TestText:
    @pytest.fixture(autouse=True)
    def _rare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PROGRESS_SECONDS", NEVER)

    async def test_the_first_text_goes_out_at_once_and_the_rest_before_the_outcome(self, bench: Bench) -> None:
        call = await bench.started(stream_output=True)
        call.write("Hällo", 1)
        call.write(" wor", 2)
        call.write("ld", 3)
        assert bench.said.qsize() == 1
        call.succeed()

        assert await bench.progress() == (0, "Hällo", 1)
        assert await bench.progress() == (5, " world", 3)
        assert (await bench.finished()).HasField("result")

    async def test_more_text_follows_after_a_pause(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PROGRESS_SECONDS", 0.001)
        call = await bench.started(stream_output=True)
        call.write("a", 1)
        call.write("b", 2)

        assert await bench.progress() == (0, "a", 1)
        assert await bench.progress() == (1, "b", 2)

    async def test_text_without_a_stream_waits_for_one(self, bench: Bench) -> None:
        call = await bench.started(stream_output=True)
        bench.attached = False
        call.write("a", 1)
        call.write("b", 2)
        bench.attached = True
        call.succeed()

        assert await bench.progress() == (0, "ab", 2)

    async def test_a_new_attempt_starts_at_its_beginning(self, bench: Bench) -> None:
        for attempt in (1, 2):
            call = await bench.started(attempt=attempt, stream_output=True)
            call.write("text", 1)
            assert await bench.progress() == (0, "text", 1)

    async def test_text_that_cannot_be_sent_costs_the_attempt(self, bench: Bench) -> None:
        call = await bench.started(stream_output=True)
        with pytest.raises(UnicodeEncodeError) as caught:
            call.write("\ud800", 1)
        call.end.set_exception(caught.value)

        assert await bench.failure() == ("EXECUTOR_ERROR", True)

    async def test_nobody_asked_for_text(self, bench: Bench) -> None:
        assert (await bench.started()).on_text is None
