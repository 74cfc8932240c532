"""A worker that does what the test says, and short ways to write messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.executors.work import Condition, Offer, OnText

OFFER = Offer(kind=executor_pb2.Register.KIND_LLM, slots=4, models=("model",), counts_tokens=True)


class Call:
    """One call of `ScriptedWorker.run`, which goes on when the test says how it ends."""

    def __init__(self, rid: str, prompt: str, traceparent: str, on_text: OnText | None) -> None:
        self.rid = rid
        self.prompt = prompt
        self.traceparent = traceparent
        self.on_text = on_text
        self.end: asyncio.Future[task_pb2.TaskResult] = asyncio.get_running_loop().create_future()
        self.cancelled = asyncio.Event()  #: set when the cancellation has arrived
        self.freed = asyncio.Event()  #: cleared by tests for which the abort takes a while
        self.freed.set()
        self.cut_short = False  #: it was cancelled again while it was being aborted

    def write(self, text: str, tokens: int) -> None:
        assert self.on_text is not None
        self.on_text(text, tokens)

    def succeed(self, text: str = "done") -> None:
        self.end.set_result(llm_result(text))

    async def outcome(self) -> task_pb2.TaskResult:
        try:
            return await self.end
        except asyncio.CancelledError:
            self.cancelled.set()
            try:
                await self.freed.wait()
            except asyncio.CancelledError:
                self.cut_short = True
            raise


class ScriptedWorker:
    """A `Worker` by a script."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.rids: list[str] = []  #: everything that was ever run
        self._made: list[Call] = []
        self.started = asyncio.Event()  #: cleared by tests in which it takes a while to start
        self.started.set()
        self.now = Condition(healthy=True)
        self.seen: list[executor_pb2.EngineSteps] = []  #: to be told, one at a time
        self.looked: asyncio.Queue[None] = asyncio.Queue()
        self.look: Callable[[], Any] | None = None  #: in place of looking at `now`
        self.count: Callable[[Sequence[task_pb2.LlmCall]], Any] | None = None

    async def start(self) -> Offer:
        await self.started.wait()
        return OFFER

    async def run(
        self, payload: task_pb2.TaskPayload, *, rid: str, priority: int, traceparent: str, on_text: OnText | None
    ) -> task_pb2.TaskResult:
        call = Call(rid, payload.llm.prompt, traceparent, on_text)
        self.rids.append(rid)
        self._made.append(call)
        self.calls.put_nowait(call)
        return await call.outcome()

    def steps(self) -> executor_pb2.EngineSteps | None:
        return self.seen.pop(0) if self.seen else None

    async def condition(self) -> Condition:
        self.looked.put_nowait(None)
        if self.look is not None:
            await self.look()
        return self.now

    async def count_tokens(self, calls: Sequence[task_pb2.LlmCall]) -> list[int]:
        if self.count is not None:
            await self.count(calls)
        return [len(call.prompt) for call in calls]

    async def aclose(self) -> None:
        """Lets every abort end."""
        for call in self._made:
            call.freed.set()


def ref(job: str = "job", *, attempt: int = 1) -> executor_pb2.AttemptRef:
    return executor_pb2.AttemptRef(job_id=job, stage_id="stage", task_index=0, attempt=attempt)


def assign(
    job: str = "job", *, attempt: int = 1, prompt: str = "prompt", timeout: float | None = None, **fields: Any
) -> executor_pb2.Assign:
    message = executor_pb2.Assign(attempt=ref(job, attempt=attempt), **fields)
    message.payload.llm.prompt = prompt
    if timeout is not None:
        message.timeout.FromMicroseconds(round(timeout * 1e6))
    return message


def llm_result(text: str) -> task_pb2.TaskResult:
    return task_pb2.TaskResult(llm=task_pb2.LlmOutput(text=text, finish_reason="stop"))
