"""`llmsched calibrate` on the engine simulator, whose speed is known."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from services.executors.calibrate.document import calibration_of, read_document, report_of
from services.executors.calibrate.machine import gpus
from services.executors.engine_sim.cli import serving
from services.executors.engine_sim.core import BatchSettings, StepTimes
from services.executors.engine_sim.server import SimSettings
from services.profiler.core.calibrator import Calibrator

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.2
STEPS = StepTimes(decode=0.03, slowdown=0.2)
ENGINE = SimSettings(batch=BatchSettings(slots=4, steps=STEPS, prefill=0.001), time_scale=SCALE)
QUICK = ["--tokens=48", "--prompts=20,200", "--repeats=1"]


async def calibrate(*arguments: str, engine: SimSettings = ENGINE) -> Result:
    async with serving(engine) as url:
        return await run(["calibrate", url, *arguments])


async def run(arguments: Sequence[str]) -> Result:
    # A thread of its own: the command makes its own event loop.
    return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments))


async def test_the_file_says_how_fast_the_engine_is(tmp_path: Path) -> None:
    out = tmp_path / "engine.json"
    result = await calibrate(*QUICK, f"--out={out}")
    assert result.exit_code == 0, result.output
    assert f"written to {out}" in result.stderr

    found = read_document(out)
    engine = calibration_of(found)
    assert [row["batch"] for row in found["decode"]] == [1, 2, 4]
    assert engine.slowdowns == pytest.approx([STEPS.at(batch) / STEPS.at(1) for batch in (1, 2, 3, 4)], rel=0.06)
    assert engine.step(1) == pytest.approx(SCALE * STEPS.at(1), rel=0.06)
    assert engine.prefill == pytest.approx(SCALE * 0.001, rel=0.15)
    assert (found["check"]["batch"], found["check"]["predicted_seconds"]) == (3, engine.step(3))
    for row in found["requests"]:
        assert row["predicted_seconds"] == pytest.approx(row["seconds"], rel=0.15)
    assert (found["engine"]["kind"], found["engine"]["model"], found["engine"]["slots"]) == ("sglang", "engine-sim", 4)


async def test_what_was_measured_can_become_part_of_what_the_profiler_knows(tmp_path: Path) -> None:
    out = tmp_path / "engine.json"
    await calibrate(*QUICK, "--batch=1,2", f"--out={out}")
    found = read_document(out)
    calibrator = Calibrator()
    calibrator.observe(report_of(found))
    assert calibrator.calibration(2) == calibration_of(found)


async def test_the_queue_lets_high_priorities_overtake_but_interrupts_nobody(tmp_path: Path) -> None:
    out = tmp_path / "engine.json"
    result = await calibrate(*QUICK, "--batch=1", f"--out={out}")
    behaviour = json.loads(out.read_text())["priority"]
    assert (behaviour["overtakes"], behaviour["preempts"], behaviour["slots"]) == (True, False, 4)
    assert behaviour["high_seconds"] < behaviour["low_seconds"]
    assert "A request of high priority overtakes those that wait: " in result.output


async def test_an_engine_behind_openai_s_interface() -> None:
    result = await calibrate("--kind=openai", *QUICK, "--batch=2,1")
    assert result.exit_code == 0, result.output
    assert "Priorities were not tried: the engine takes no priorities" in result.output


@pytest.mark.parametrize(("slots", "arguments"), [(2, ["--no-priority"]), (300, [])])
async def test_priorities_are_not_tried_without_need(slots: int, arguments: list[str]) -> None:
    engine = SimSettings(batch=BatchSettings(slots=slots), time_scale=0.05)
    result = await calibrate(*QUICK, "--batch=1", *arguments, engine=engine)
    assert "Priorities were not tried" in result.output


async def test_an_engine_that_is_not_there() -> None:
    result = await run(["calibrate", "http://127.0.0.1:9"])
    assert result.exit_code == 5
    assert "no engine to calibrate: cannot connect to the engine at http://127.0.0.1:9" in result.output


async def test_an_engine_that_refuses() -> None:
    engine = SimSettings(context_length=100, time_scale=0.01)
    result = await calibrate("--prompts=5000", "--batch=1", engine=engine)
    assert result.exit_code == 4
    assert "the engine cannot be calibrated" in result.output


@pytest.mark.parametrize(
    ("option", "said"), [("--batch=1,two", "not a list of whole numbers"), ("--batch=0,1", "at least 1")]
)
async def test_sizes_that_are_none(option: str, said: str) -> None:
    result = await run(["calibrate", "http://127.0.0.1:9", option])
    assert (result.exit_code, said in result.output) == (2, True)


class TestGpu:
    """`python -m benchmarks.gpu`, where it cannot run."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    def test_a_machine_without_a_gpu_says_so(self) -> None:
        if gpus():
            pytest.skip("this machine has a GPU")
        result = self.run()
        assert (result.returncode, "no NVIDIA GPU here" in result.stderr) == (3, True)

    def test_an_interpreter_without_sglang_is_refused(self) -> None:
        result = self.run("--device=cpu", f"--sglang={sys.executable}")
        assert (result.returncode, "has no SGLang" in result.stderr) == (4, True)
