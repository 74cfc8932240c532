"""The engine without a model over HTTP: timing, order, refusals, scripts, and the command."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner

from services.executors.engine_sim import server
from services.executors.engine_sim.cli import engine_sim, read_step_table, serving
from services.executors.engine_sim.core import Batch, BatchSettings, StepTimes
from services.executors.engine_sim.live import LiveBatch, LiveRequest
from services.executors.engine_sim.server import SimSettings

FAST = 0.01


class Client:
    """Calls one server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        async with self.session.post(path, json=body) as response:
            assert response.status == status, await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def get(self, path: str) -> Any:
        async with self.session.get(path) as response:
            return await response.json()

    async def generate(self, text: str, *, status: int = 200, **body: Any) -> Any:
        params = body.pop("params", {"max_new_tokens": 8, "ignore_eos": True})
        return await self.post("/generate", status, text=text, sampling_params=params, **body)

    async def events(self, path: str, **body: Any) -> list[Any]:
        async with self.session.post(path, json=body | {"stream": True}) as response:
            assert response.status == 200
            lines = (await response.text()).splitlines()
        data = [line.removeprefix("data: ") for line in lines if line]
        assert data[-1] == "[DONE]"
        return [json.loads(message) for message in data[:-1]]

    async def load(self) -> tuple[int, int]:
        load = (await self.get("/v1/loads"))["loads"][0]
        return load["num_running_reqs"], load["num_waiting_reqs"]

    async def load_becomes(self, running: int, waiting: int) -> None:
        async with asyncio.timeout(5):
            while True:
                if await self.load() == (running, waiting):
                    return


def settings(*, slots: int = 4, max_queued: int | None = None, time_scale: float = FAST) -> SimSettings:
    batch = BatchSettings(slots=slots, max_queued=max_queued, prefill=0.001, steps=StepTimes(decode=0.1, slowdown=0.5))
    return SimSettings(batch=batch, time_scale=time_scale, seed=3, context_length=1000)


@pytest.fixture
def sim() -> SimSettings:
    return settings()


@pytest.fixture
async def client(sim: SimSettings) -> AsyncIterator[Client]:
    async with serving(sim) as url, aiohttp.ClientSession(url) as session:
        yield Client(session)


one_slot = pytest.mark.parametrize("sim", [settings(slots=1, max_queued=3)])
slow = pytest.mark.parametrize("sim", [settings(slots=1, max_queued=1, time_scale=1.0)])
ENDLESS = {"max_new_tokens": 100_000, "ignore_eos": True}


async def begin(client: Client, **body: Any) -> aiohttp.ClientResponse:
    """Starts an endless stream and waits for its first token."""
    response = await client.session.post(
        "/generate", json={"text": "x", "stream": True, "sampling_params": ENDLESS} | body
    )
    assert (await response.content.readline()).startswith(b"data:")
    return response


class TestTiming:
    async def test_times_are_those_of_the_model(self, client: Client) -> None:
        # 100 prompt tokens are one step's work; the times do not depend on how busy this machine is.
        meta = (await client.generate("x" * 400))["meta_info"]

        assert meta["e2e_latency"] == pytest.approx((1 + 8) * 0.1 * FAST)
        assert meta["first_token_latency"] == pytest.approx((1 + 1) * 0.1 * FAST)
        assert meta["queue_time"] == 0
        assert (meta["prompt_tokens"], meta["completion_tokens"]) == (100, 8)

    async def test_a_batch_is_slower_a_request_and_faster_in_all(self, client: Client) -> None:
        params = {"max_new_tokens": 200, "ignore_eos": True}
        alone = (await client.generate("x", params=params))["meta_info"]["e2e_latency"]
        together = [
            reply["meta_info"]["e2e_latency"]
            for reply in await asyncio.gather(*(client.generate(f"x{n}", params=params) for n in range(4)))
        ]

        assert all(1.5 * alone < seconds < 4 * alone for seconds in together)

    async def test_hundreds_at_once(self, client: Client) -> None:
        replies = await asyncio.gather(
            *(client.events("/generate", text=f"p{n}", sampling_params={"max_new_tokens": 4}) for n in range(300))
        )

        assert all(reply[-1]["meta_info"]["finish_reason"] for reply in replies)
        assert await client.load() == (0, 0)

    async def test_an_answer_that_is_over_before_its_stream_is_open_is_whole(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        over = asyncio.Event()
        end, open_stream = LiveBatch._end, server._open_stream

        def told(self: LiveBatch, request: LiveRequest, at: float, outcome: Any) -> None:
            end(self, request, at, outcome)
            over.set()

        async def opened_late(http: web.Request) -> web.StreamResponse:
            await over.wait()
            return await open_stream(http)

        monkeypatch.setattr(LiveBatch, "_end", told)
        monkeypatch.setattr(server, "_open_stream", opened_late)
        (only,) = await client.events("/generate", text='[[reply: "yes"]]', sampling_params={"max_new_tokens": 8})

        assert (only["text"], only["meta_info"]["finish_reason"]["type"]) == ("yes", "stop")

    async def test_it_sleeps_between_milestones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looks = 0
        advance = Batch.advance

        def counted(self: Batch, now: float) -> Any:
            nonlocal looks
            looks += 1
            return advance(self, now)

        monkeypatch.setattr(Batch, "advance", counted)
        live = LiveBatch(BatchSettings(slots=1), time_scale=0.001)
        request = live.submit("a", prompt_tokens=1, output_tokens=5000, priority=0, watched_every=None)
        await request.news()

        assert request.tokens == 5000
        assert looks < 20


class TestOrder:
    @one_slot
    async def test_higher_priority_is_sooner(self, client: Client) -> None:
        running = await begin(client)
        ended: list[str] = []

        async def one(name: str, priority: int) -> None:
            await client.generate(name, priority=priority)
            ended.append(name)

        async with asyncio.TaskGroup() as group:
            for waiting, (name, priority) in enumerate([("low", 0), ("middle", 1), ("high", 2)], start=1):
                group.create_task(one(name, priority))
                await client.load_becomes(1, waiting)
            running.close()
        assert ended == ["high", "middle", "low"]

    @slow
    async def test_a_full_queue_refuses_with_503(self, client: Client) -> None:
        running = await begin(client)
        waiting = asyncio.create_task(client.generate("next"))
        await client.load_becomes(1, 1)

        refused = await client.generate("too many", status=503)
        assert "queue is full" in refused["error"]["message"]
        await client.post("/v1/completions", 503, prompt="too many")
        # As in SGLang: in a stream the refusal comes after the HTTP status.
        (event,) = await client.events("/generate", text="too many")
        assert event["meta_info"]["finish_reason"]["status_code"] == 503
        running.close()
        await waiting


class TestEnding:
    @slow
    async def test_a_client_that_hangs_up_frees_its_slot(self, client: Client) -> None:
        (await begin(client)).close()

        async with asyncio.timeout(5):
            await client.generate("next", params={"max_new_tokens": 1})

    @slow
    async def test_abort_answers_what_there_is_and_frees_the_slot(self, client: Client) -> None:
        running = await begin(client, rid="a")
        await client.post("/abort_request", rid="a")

        assert await client.load() == (0, 0)
        last = (await running.text()).split("data: ")[-2]
        assert json.loads(last)["meta_info"]["finish_reason"]["type"] == "abort"

    async def test_abort_takes_all_ids_that_begin_alike_as_sglang_does(self, client: Client) -> None:
        streams = [await begin(client, rid=rid) for rid in ("job-1", "job-10", "job-2")]
        await client.post("/abort_request", rid="job-1")

        assert (await client.load())[0] == 1
        await client.post("/abort_request", rid="job")  # no request has exactly this id
        assert (await client.load())[0] == 1
        await client.post("/abort_request", abort_all=True)
        assert (await client.load())[0] == 0
        for stream in streams:
            await stream.text()

    async def test_an_id_in_use_is_refused(self, client: Client) -> None:
        running = await begin(client, rid="a")
        assert "duplicate" in (await client.generate("x", rid="a", status=400))["error"]["message"]
        running.close()


class TestAnswers:
    async def test_the_same_prompt_has_the_same_answer_in_every_api(self, client: Client) -> None:
        params = {"max_new_tokens": 40}
        native = await client.generate("tell me", params=params)
        stream = await client.events("/generate", text="tell me", sampling_params=params)
        openai = await client.post("/v1/completions", prompt="tell me", max_tokens=40)
        chunks = await client.events(
            "/v1/completions", prompt="tell me", max_tokens=40, stream_options={"include_usage": True}
        )

        text = native["text"]
        assert text
        assert stream[-1]["text"] == text
        assert openai["choices"][0]["text"] == text
        assert "".join(c["text"] for chunk in chunks for c in chunk["choices"]) == text
        assert chunks[-1]["usage"] == openai["usage"]
        assert openai["usage"]["completion_tokens"] == native["meta_info"]["completion_tokens"]

    async def test_a_chat_is_tokenised_as_it_is_answered(self, client: Client) -> None:
        messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
        tokens = await client.post("/tokenize", messages=messages)
        chat = await client.post("/v1/chat/completions", messages=messages, max_tokens=30)
        native = await client.post("/generate", input_ids=tokens["tokens"], sampling_params={"max_new_tokens": 30})

        assert chat["choices"][0]["message"]["content"] == native["text"]
        assert chat["usage"]["prompt_tokens"] == tokens["count"] == len(tokens["tokens"])

    async def test_a_schema_is_kept(self, client: Client) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        messages = [{"role": "user", "content": "hello"}]
        chat = await client.post("/v1/chat/completions", messages=messages, response_format=form)
        native = await client.generate("hello", params={"json_schema": json.dumps(schema)})

        for text in (chat["choices"][0]["message"]["content"], native["text"]):
            assert isinstance(json.loads(text)["n"], int)

    async def test_a_prompt_can_fail_for_a_while(self, client: Client) -> None:
        prompt = '[[fail: 502 x2]]\n[[reply: "at last"]]'
        for status in (502, 502):
            await client.generate(prompt, status=status)
        assert (await client.generate(prompt))["text"] == "at last"
        for _ in range(3):
            await client.generate("[[fail: 500]]", status=500)

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({}, "either text or input_ids"),
            ({"text": "x", "input_ids": [1]}, "either text or input_ids"),
            ({"text": "x", "sampling_params": {"max_tokens": 3}}, "unknown field `max_tokens`"),
            ({"text": "x", "sampling_params": {"max_new_tokens": 0}}, "at least 1"),
            ({"text": "x", "sampling_params": {"json_schema": "{"}}, "truncated"),
            ({"text": "word " * 1000}, "longer than"),
            ({"input_ids": [3, 4]}, "tokenizer"),
        ],
    )
    async def test_nonsense_is_refused_with_a_reason(self, client: Client, body: dict[str, Any], told: str) -> None:
        assert told in (await client.post("/generate", 400, **body))["error"]["message"]

    async def test_it_says_what_it_is(self, client: Client) -> None:
        info = await client.get("/server_info")
        assert info["max_running_requests"] == 4
        assert info["engine_sim"]["step_seconds"]["3"] == pytest.approx(0.2)
        assert (await client.get("/v1/models"))["data"][0]["id"] == "engine-sim"
        for path in ("/ready", "/health"):
            async with client.session.get(path) as response:
                assert response.status == 200
        await client.generate("abcd")
        async with client.session.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        assert 'sglang:generation_tokens_total{model_name="engine-sim"} 8' in lines


class TestCommand:
    async def test_prints_its_address_and_ends_on_sigterm_after_what_runs(self) -> None:
        command = "from services.executors.engine_sim.cli import engine_sim; engine_sim()"
        arguments = ["--slots", "3", "--model", "tiny", "--decode", "0.01"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", command, *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession(url) as session:
            client = Client(session)
            assert (await client.get("/server_info"))["max_running_requests"] == 3
            stream = await begin(client, sampling_params={"max_new_tokens": 40, "ignore_eos": True})
            process.send_signal(signal.SIGTERM)
            last = (await stream.text()).split("data: ")[-2]

        assert json.loads(last)["meta_info"]["completion_tokens"] == 40
        assert await process.wait() == 0
        assert await process.stdout.read() == b""

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--slots", "0"], "at least one slot"),
            (["--decode", "-1"], "positive"),
            (["--host", "203.0.113.1", "--port", "1"], "cannot listen on 203.0.113.1:1"),
            (["--time-scale", "0"], "time scale"),
        ],
    )
    def test_bad_options_are_explained(self, arguments: list[str], told: str) -> None:
        result = CliRunner().invoke(engine_sim, arguments)

        assert result.exit_code != 0
        assert told in result.output

    def test_a_step_table_is_read(self, tmp_path: Path) -> None:
        table = tmp_path / "steps.csv"
        table.write_text("batch,seconds\n1,0.01\n8,0.02\n")
        assert read_step_table(table) == {1: 0.01, 8: 0.02}

    @pytest.mark.parametrize(
        ("content", "told"), [("batch,seconds\n1,x\n", "line 2"), ("a,b\n1,2\n", "batch"), ("", "no step")]
    )
    def test_a_bad_step_table_is_explained(self, tmp_path: Path, content: str, told: str) -> None:
        table = tmp_path / "steps.csv"
        table.write_text(content)
        with pytest.raises(ValueError, match=told):
            read_step_table(table)
