"""The whole system on a real SGLang with small weights."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmsched import Application
from llmsched.api.common.v1 import task_pb2
from llmsched.events import OutputDelta
from llmsched.types import JobState
from services.executors.llm.engine import GenerateRequest
from services.executors.llm.sglang import SGLangEngine, SGLangSettings
from services.executors.llm_worker import LlmWorker
from tests.support.live import live_cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.sglang, pytest.mark.timeout(400)]

#: What may pass between CancelJob and the end of the request in the engine.
ABORTED_WITHIN = 1.0


def writer(name: str, tokens: int) -> Application:
    app = Application(name, input={"topic": "string"})
    app.llm("text", prompt="Write about {{ input.topic }}.", max_tokens=tokens, ignore_eos=True)
    app.output = "{{ text.text }}"
    return app


async def test_cancel_reaches_the_engine_and_frees_the_slot(sglang_url: str, tmp_path: Path) -> None:
    """Promise 5: the request is aborted in SGLang and its slot is free at once."""
    engine = SGLangEngine(SGLangSettings(url=sglang_url))
    loop = asyncio.get_running_loop()

    async def running() -> int:
        return (await engine.load()).running

    try:
        # One slot: the second job can only run once the first has left it.
        async with live_cluster(tmp_path, engines=(sglang_url,), slots=1) as cluster, cluster.client() as client:
            await client.register(writer("long", 3000))
            await client.register(writer("short", 4))
            long = await client.submit("long", {"topic": "rivers"})

            async def is_running() -> bool:
                return await running() == 1

            await until(is_running, limit=120, what="the request in the engine")
            waiting = await client.submit("short", {"topic": "lakes"})
            cancelled_at = loop.time()
            await long.cancel(reason="not wanted any more")

            # The executor reports the end of an attempt only when SGLang has ended the request.
            job = await long.wait(timeout=ABORTED_WITHIN)
            assert loop.time() - cancelled_at <= ABORTED_WITHIN
            assert job.state is JobState.CANCELLED
            assert isinstance(await waiting.result(timeout=60), str)
            assert await running() == 0
    finally:
        await engine.aclose()


async def test_text_is_seen_while_it_is_written_and_prompts_are_counted(sglang_url: str, tmp_path: Path) -> None:
    async with live_cluster(tmp_path, engines=(sglang_url,), slots=4) as cluster, cluster.client() as client:
        await client.register(writer("story", 24))
        handle = await client.submit("story", {"topic": "the sea"})
        written = ""
        async for event in handle.events(deltas=True):
            if isinstance(event, OutputDelta):
                assert event.offset == len(written)
                written += event.text
        text = await handle.result()
        assert written
        assert text.startswith(written)
        job = await handle.status()
        (task,) = job.stages[0].tasks
        assert task.usage.completion_tokens == 24
        # SGLang's own count of the rendered prompt.
        engine = SGLangEngine(SGLangSettings(url=sglang_url))
        try:
            request = GenerateRequest(rid="count", prompt="Write about the sea.")
            assert task.usage.prompt_tokens == await engine.count_tokens(request)
        finally:
            await engine.aclose()


async def test_an_executor_learns_how_fast_the_engine_is(sglang_url: str) -> None:
    worker = LlmWorker(SGLangEngine(SGLangSettings(url=sglang_url)), slots=4, model=None, start_timeout=60.0)
    try:
        await worker.start()
        for batch in (1, 3):
            calls = []
            for number in range(batch):
                payload = task_pb2.TaskPayload(llm=task_pb2.LlmCall(prompt=f"{number} rivers of {batch}"))
                payload.llm.sampling.MergeFrom(task_pb2.SamplingParameters(max_tokens=40, ignore_eos=True))
                rid = f"steps/{batch}/{number}"
                calls.append(worker.run(payload, rid=rid, priority=0, traceparent="", on_text=None))
            await asyncio.gather(*calls)
        seen = worker.steps()
        assert seen is not None
        steps = {each.batch: each for each in seen.decode}
        assert {1, 3} <= set(steps)
        assert all(each.steps >= 8 and each.duration.ToMilliseconds() > 0 for each in (steps[1], steps[3]))
        assert seen.prefill[0].batch == 1
        assert seen.prefill[0].duration.ToMilliseconds() > 0
    finally:
        await worker.aclose()
