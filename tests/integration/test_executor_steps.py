"""From an engine's true speed, through worker, heartbeat and observation line, to the profiler's calibration."""

from __future__ import annotations

import asyncio
import json

import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common.clock import ManualClock
from services.executors.engine_sim.cli import serving
from services.executors.engine_sim.core import BatchSettings, StepTimes
from services.executors.engine_sim.server import SimSettings
from services.executors.llm.engine import Engine
from services.executors.llm.openai import OpenAIEngine, OpenAISettings
from services.executors.llm.sglang import SGLangEngine, SGLangSettings
from services.executors.llm_worker import LlmWorker
from services.profiler.core.calibration import Calibration, Report
from services.profiler.core.calibrator import Calibrator
from services.scheduler.registration import Registration
from services.scheduler.step_reports import StepReports
from tests.support.virtual_time import VirtualTimeLoop

STEPS = StepTimes(decode=0.0155, table={1: 0.0155, 2: 0.0186, 4: 0.0217, 8: 0.0403})
PREFILL = 0.0005
SCALE = 0.5
LLM = Registration(
    executor_id="llm-0",
    incarnation="one",
    kind="llm",
    slots=8,
    offers=frozenset({"llm"}),
    labels={},
    running=(),
    counts_tokens=True,
)


async def run_batch(worker: LlmWorker, batch: int, tokens: int) -> None:
    """That many equal calls at once; their prompts take several steps each."""

    async def call(number: int) -> None:
        payload = task_pb2.TaskPayload(llm=task_pb2.LlmCall(prompt=f"{batch}/{number} " + "word " * 100 * batch))
        payload.llm.sampling.MergeFrom(task_pb2.SamplingParameters(max_tokens=tokens, ignore_eos=True))
        await worker.run(payload, rid=f"{batch}/{number}", priority=0, traceparent="", on_text=None)

    await asyncio.gather(*(call(number) for number in range(batch)))


@pytest.mark.parametrize("adapter", ["sglang", "openai"])
def test_the_calibration_is_the_engine_s_own(adapter: str) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        found = runner.run(calibrated(adapter))
    for batch in (1, 2, 4, 8):
        assert found.slowdown(batch) == pytest.approx(STEPS.at(batch) / STEPS.at(1), rel=0.01)
        assert found.step(batch) == pytest.approx(SCALE * STEPS.at(batch), rel=0.01)
    assert found.prefill == pytest.approx(SCALE * PREFILL, rel=0.1)


async def calibrated(adapter: str) -> Calibration:
    """What batches of different sizes tell, all the way to the profiler."""
    settings = SimSettings(batch=BatchSettings(slots=8, steps=STEPS, prefill=PREFILL), time_scale=SCALE)
    async with serving(settings) as url:
        engine: Engine = (
            OpenAIEngine(OpenAISettings(url=url)) if adapter == "openai" else SGLangEngine(SGLangSettings(url=url))
        )
        worker = LlmWorker(engine, slots=8, model=None, start_timeout=10.0)
        await worker.start()
        clock, calibrator = ManualClock(), Calibrator()
        reports = StepReports(clock=clock, write=lambda line: calibrator.observe(Report.of_plain(json.loads(line))))
        for batch in (1, 2, 4, 8, 1, 1):
            await run_batch(worker, batch, tokens=48)
            reports.heard(LLM, executor_pb2.Heartbeat(steps=worker.steps()))
            clock.advance(5.0)
        await worker.aclose()

    return calibrator.calibration(8)
