"""`llmsched profiles` and both clients against a profiler: what people and programs do with what was learned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import llmsched
from llmsched.cli.main import cli
from llmsched.cli.profiles import _drift_words
from llmsched.types import DriftState
from services.executors.engine_sim.cli import serving
from services.executors.engine_sim.core import BatchSettings, StepTimes
from services.executors.engine_sim.server import SimSettings
from tests.support.profiler import RunningProfiler, finished_job
from tests.support.state import make_record, submit
from tests.unit.services.profiler.traces import line, stage

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def profiler() -> AsyncIterator[RunningProfiler]:
    async with RunningProfiler.start() as running:
        await running.observe(*(finished_job() for _ in range(12)))
        await running.learned()
        yield running


@pytest.fixture
def run(profiler: RunningProfiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `llmsched profiles ARGS…`; unexpected exceptions fail the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def invoke(arguments: tuple[str, ...]) -> Result:
        words = ["profiles", *arguments, "--profiler", profiler.address]
        return CliRunner().invoke(cli, words, prog_name="llmsched", catch_exceptions=False)

    return lambda *arguments: asyncio.to_thread(invoke, arguments)


def history(count: int, application: str = "imported") -> str:
    lines = [stage("a", tasks=[{"prompt_tokens": 3, "output_tokens": number}]) for number in range(count)]
    return "\n".join(line(one, app=application, arrival_seconds=...) for one in lines)


async def test_list_show_and_train(run: Run) -> None:
    listed = (await run("list")).stdout.splitlines()
    assert listed[0].split()[:4] == ["APPLICATION", "VERSION", "JOBS", "VARIABLES"]
    assert listed[1].split()[:3] == ["app", "1", "12"]
    assert listed[1].split()[-2:] == ["0/12", "UNWATCHED"]
    trained = await run("train", "app")
    # Other lines may be what the profiler, which is in this process too, has logged meanwhile.
    last = trained.stdout.splitlines()[-1]
    assert last.startswith("applications/app/profiles/2: learned ")
    assert "from 12 jobs" in last
    shown = (await run("show", "app")).stdout
    assert "history: 12 jobs, 0 of them new" in shown
    assert "units     draft" in shown
    assert "IN JOBS" in shown
    assert "100%" in shown
    assert [row.split()[:2] for row in shown.splitlines()[-2:]] == [["draft", "LLM"], ["check", "tool"]]
    (summary,) = json.loads((await run("list", "-o", "json")).stdout)
    assert (summary["name"], summary["trigger"]) == ("applications/app/profiles/2", "REQUEST")
    whole = json.loads((await run("show", "app@1", "-o", "json")).stdout)
    assert (whole["version"], whole["content"]["application"]) == (1, "app")


async def test_import_and_export(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(history(3))
    bad.write_text('{"app": "x"}\n' + history(1, "x"))
    imported = await run("import", str(good))
    assert (imported.exit_code, imported.stdout) == (0, f"{good}: 3 jobs\n")
    exported = await run("export", "--application", "imported")
    assert [json.loads(each)["app"] for each in exported.stdout.splitlines()] == ["imported"] * 3
    refused = await run("import", str(bad))
    assert refused.exit_code == 4
    assert f"{bad}: lines[1].stages: missing" in refused.stderr
    assert (await run("export", "--application", "x")).stdout == ""


async def test_drift_and_reliability_are_shown(run: Run, profiler: RunningProfiler) -> None:
    assert "drift: not watched yet" in (await run("show", "app")).stdout
    await profiler.observe(*(finished_job() for _ in range(12)))
    await profiler.learned(version=2)
    shown = (await run("show", "app")).stdout
    assert "drift: none, jobs are as it says (a false alarm is due every 100000 jobs)" in shown
    assert "beliefs: 50% intervals held " in shown
    assert "(of the newest 12 jobs)" in shown
    whole = json.loads((await run("show", "app", "-o", "json")).stdout)
    assert whole["drift"]["state"] == "STEADY"
    assert set(whole["reliability"]["coverage"]) == {"0.5", "0.8", "0.95"}
    assert json.loads((await run("show", "app@1", "-o", "json")).stdout)["drift"] is None


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (DriftState.SUSPICIOUS, "perhaps, 40% of the way to an alarm; changes were noticed 2 times, last "),
        (DriftState.CHANGED, "jobs have changed: 7 since the change are being learned from; changes were noticed 2"),
    ],
)
def test_drift_in_words(state: DriftState, words: str) -> None:
    drift = llmsched.Drift(
        state=state,
        notice_time=datetime.now(UTC),
        change_count=2,
        changed_job_count=7,
        false_alarm_job_count=100_000,
        level=0.4,
    )
    assert _drift_words(drift).startswith(words)


async def test_calibrations(run: Run, profiler: RunningProfiler, tmp_path: Path) -> None:
    assert "No engine was measured" in (await run("calibrations")).stderr
    engine = SimSettings(batch=BatchSettings(slots=2, steps=StepTimes(decode=0.03, slowdown=0.2)), time_scale=0.2)
    quick = ["--tokens=24", "--prompts=20", "--repeats=1", "--batch=1,2", "--no-priority", "--executor=llm-0"]
    async with serving(engine) as url:
        looked = await run("calibrate", url, *quick)
        assert looked.exit_code == 0, looked.output
        assert "not stored" in looked.stderr
        assert (await run("calibrations")).stdout == ""
        stored = await run("calibrate", url, *quick, "--store", f"--out={tmp_path / 'engine.json'}")
    assert "stored as version 1 of the calibration of llm-0" in stored.stderr
    report = json.loads((tmp_path / "engine.json").read_text())["report"]
    async with llmsched.Client(options=llmsched.Options(profiler=(profiler.address,))) as client:
        assert (await client.import_calibration("llm-0", report)).version == 1  # a repeat
        with pytest.raises(llmsched.InvalidRequestError, match="not the report"):
            await client.import_calibration("llm-0", {"decode": 3})
        with pytest.raises(llmsched.InvalidRequestError, match="measures nothing"):
            await client.import_calibration("llm-0", {"decode": [], "prefill": []})
    listed = (await run("calibrations")).stdout.splitlines()
    assert listed[0].split()[:3] == ["EXECUTOR", "VERSION", "PROMPT,"]
    assert listed[1].split()[:2] == ["llm-0", "1"]
    (found,) = json.loads((await run("calibrations", "-o", "json")).stdout)
    assert found["step_seconds"][0] == pytest.approx(0.006, rel=0.5)


async def test_what_is_not_there(run: Run) -> None:
    assert (await run("show", "nothing")).exit_code == 3
    assert (await run("train", "nothing")).exit_code == 7
    assert (await run("predict", "nobody")).exit_code == 3
    assert (await run("show", "a b")).exit_code == 4


async def test_predict(run: Run, profiler: RunningProfiler) -> None:
    known = await submit(profiler.state, make_record(application="app"))
    unknown = await submit(profiler.state, make_record(application="unknown"))
    told = (await run("predict", known.job_id)).stdout.splitlines()
    assert [each.split()[0] for each in told] == ["LEFT", "LLM", "tool", "together"]
    assert "Nothing was learned" in (await run("predict", unknown.job_id)).stderr
    prediction = json.loads((await run("predict", known.job_id, "-o", "json")).stdout)
    assert prediction["total"]["expected"] > 0
    assert prediction["profile"] == "applications/app/profiles/1"


async def test_the_blocking_client(profiler: RunningProfiler) -> None:
    def session() -> None:
        options = llmsched.Options(profiler=(profiler.address,))
        with llmsched.SyncClient(options=options) as client:
            assert client.import_history(history(20).encode().splitlines()) == 20
            assert client.train("imported").job_count == 20
            assert {profile.application for profile in client.profiles()} == {"app", "imported"}
            assert client.profile("app").content is not None
            assert list(client.calibrations()) == []
            report = {"decode": [{"batch": 1, "steps": 50, "seconds": 1.0, "squares": 0.02}], "prefill": []}
            assert client.import_calibration("llm-0", report).step_seconds[0] == pytest.approx(0.02, rel=0.05)
            assert b"".join(client.export_history("imported")).count(b"\n") == 20
            with pytest.raises(llmsched.NotFoundError):
                client.predict("nobody")

    await asyncio.to_thread(session)


async def test_a_client_finds_the_profiler_that_leads(profiler: RunningProfiler) -> None:
    async with RunningProfiler.start(profiler.state, leads=False) as standby:
        options = llmsched.Options(profiler=(standby.address,))
        async with llmsched.Client(options=options) as client:
            assert (await client.train("app", request_id="r")).version == 2
            assert (await client.train("app", request_id="r")).version == 2


async def test_plot(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert (await run("plot", "app@1", "--out", str(page))).exit_code == 0
    assert "applications/app/profiles/1" in page.read_text()
    assert (await run("plot", "nothing")).exit_code == 3
