"""A whole experiment on engine simulators: ended after its first phase, gone on with, reported, exported, compared."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from experiment.conduct import Conductor, ExperimentFailed, Watcher
from experiment.config import Config, load
from experiment.plan import phase_jobs
from experiment.store import WARM_UP, Phase, Store
from llmsched.cli.main import cli
from services.profiler.core.trace import read_history

SIM = Path(__file__).parents[2] / "experiments" / "sim"

CONFIG = f"""
name: small
applications:
  {SIM}/question.yaml: {{inputs: {SIM}/question.jsonl}}
  {SIM}/refining.yaml: {{inputs: {SIM}/refining.jsonl, weight: 2}}
jobs: 10
arrivals: {{load: 0.9, seed: 3}}
policies: [fcfs, gittins]
warm_up: {{jobs: 10}}
engine: {{kind: sim, slots: 2, time_scale: 0.05}}
sample_seconds: 0.1
"""

# Services start once for each policy and once more to warm up: with the long checks.
pytestmark = [pytest.mark.slow, pytest.mark.full]


class Ended(BaseException):
    """As Ctrl-C is no Exception."""


def command(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["experiment", *map(str, args)], prog_name="llmsched", catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def out(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment that was ended after its first phase, and then gone on with."""
    folder = tmp_path_factory.mktemp("experiment") / "out"
    config, store = load(config_file), Store(folder)
    store.open(config)

    def end(phase: Phase) -> None:
        if phase.name != WARM_UP:
            raise Ended

    with pytest.raises(Ended):
        Conductor(config, store, watcher=Watcher(ended=end)).run()
    assert store.read("fcfs-0") is not None
    assert store.read("gittins-0") is None
    before = {path: path.stat().st_mtime_ns for path in (folder / "phases").iterdir()}
    command("run", config_file, "--out", folder, "--processes", 1)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items()), "what was there was run again"
    return folder


@pytest.fixture(scope="module")
def phases(out: Path) -> dict[str, Phase]:
    store = Store(out)
    return {phase.name: phase for phase in store.phases(store.config())}


def test_every_policy_ran_the_same_jobs(out: Path, phases: dict[str, Phase]) -> None:
    one, other = phases["fcfs-0"], phases["gittins-0"]
    planned = phase_jobs(Store(out).config(), 0, one.rate)
    for phase in (one, other):
        assert [(job.index, job.application, job.group) for job in phase.jobs] == [
            (job.index, job.application, job.group) for job in planned
        ]
        assert [job.state for job in phase.jobs] == ["SUCCEEDED"] * 10
        assert all(job.jct and job.output_tokens for job in phase.jobs)
        assert phase.model == "engine-sim"
    # What the simulated engine answers is in the prompt, so a job's tokens are the same under both.
    assert [job.output_tokens for job in one.jobs] == [job.output_tokens for job in other.jobs]
    assert one.load == other.load == 0.9
    assert not (out / "running").exists()


def test_each_policy_began_with_the_jobs_of_the_warm_up_and_nothing_else(out: Path) -> None:
    store = Store(out)
    assert len(store.history()) == 10
    assert {job.recorded_policy for job in store.history()} == {None}
    settings = store.read(WARM_UP)
    assert settings is not None
    assert settings.about["fit"]["calls"] > 0


def test_another_config_is_refused(out: Path, config_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.replace("jobs: 10\n", "jobs: 11\n", 1), encoding="utf-8")
    assert "is of another config: jobs changed" in command("run", other, "--out", out, code=4).output


def test_the_report_says_what_the_phases_say(out: Path, phases: dict[str, Phase]) -> None:
    means = {phase.policy: sum(job.jct or 0.0 for job in phase.jobs) / 10 for phase in phases.values()}
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    for policy, mean in means.items():
        assert float(rows[policy]["mean_jct"]) == pytest.approx(mean)
        assert float(rows[policy]["ratio_to_reference"]) == pytest.approx(mean / means["fcfs"])
        low, high = (float(rows[policy][f"ratio_to_reference_{end}"]) for end in ("low", "high"))
        assert low <= mean / means["fcfs"] <= high
    table = (out / "table.md").read_text(encoding="utf-8")
    assert re.search(rf"\| gittins \| {means['gittins']:.2f} \(", table)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("Live and simulated", "Engines over time", "Output tokens a second", "fcfs"))
    assert not re.search(r"(src|href)=\"https?:", page)
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["tokens"]["fcfs"]["output"] == sum(job.output_tokens for job in phases["fcfs-0"].jobs)


def test_engines_were_watched(out: Path) -> None:
    with (out / "phases" / "fcfs-0.samples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert max(int(row["engine_running"]) for row in rows) >= 1
    assert max(int(row["llm_used"]) for row in rows) <= int(rows[0]["llm_slots"]) == 2
    assert [int(row["done"]) for row in rows] == sorted(int(row["done"]) for row in rows)


def test_the_simulator_tells_what_happened_live(out: Path, phases: dict[str, Phase]) -> None:
    said = command("simulate", out, "--processes", 1).output
    found: list[dict[str, Any]] = json.loads((out / "agreement.json").read_text(encoding="utf-8"))["policies"]
    assert [one["policy"] for one in found] == ["fcfs", "gittins"]
    for one in found:
        live = sum(job.jct or 0.0 for job in phases[f"{one['policy']}-0"].jobs) / 10
        assert one["live_mean_jct"] == pytest.approx(live, abs=1e-4)
        assert one["difference"] == pytest.approx(one["simulated_mean_jct"] / live - 1, abs=1e-4)
        assert f"{one['difference']:+.1%}" in said
        # Loose, for a busy machine: the commits of a job take as long as its tokens at this time scale.
        assert 0.2 < one["simulated_mean_jct"] / live < 1.5


def test_the_export_is_something_to_compare_with(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "recorded" / "jobs.jsonl"
    target.parent.mkdir()
    command("export", out, "-o", target)
    with target.open("rb") as lines:
        jobs = list(read_history(lines, str(target)))
    assert len(jobs) == 30
    assert len({job.job_id for job in jobs}) == 30
    by_phase = [{job.group for job in jobs if job.job_id.startswith(name)} for name in ("fcfs-0/", "gittins-0/")]
    assert by_phase[0] == by_phase[1]
    arguments = ["compare", "--traces", str(target), "--mix", "chain", "--load", "0.9", "--seeds", "1", "--jobs", "5"]
    arguments += ["--policy", "fcfs", "--processes", "1", "--out", str(tmp_path / "compared")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_figures_are_of_all_phases(out: Path) -> None:
    assert re.search(r"\| refining \| 2\d \|", command("figures", out).output)


def test_too_many_failures_end_it(tmp_path: Path) -> None:
    text = CONFIG.replace("jobs: 10", "jobs: 4").replace("[fcfs, gittins]", "[fcfs]").replace("load: 0.9", "rate: 9")
    path = tmp_path / "failing.yaml"
    path.write_text(text.replace("warm_up: {jobs: 4}", "limits: {job_seconds: 0.001}"), encoding="utf-8")
    config: Config = load(path)
    store = Store(tmp_path / "out")
    store.open(config)
    with pytest.raises(ExperimentFailed, match=r"fcfs-0: [34] of 4 jobs failed.*TIMED_OUT"):
        Conductor(config, store).run()
    assert store.read("fcfs-0") is None
