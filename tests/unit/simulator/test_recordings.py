"""Simulations without data: the recording that ships, split so that no input is on both sides."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmsched.cli.main import cli
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import read_workload, write_jobs
from simulator.compare.source import Source
from simulator.generate import Arrivals, load_population
from simulator.generate.recording import read_recorded
from simulator.recordings import FOLDER, halves, mixes_of
from tests.unit.simulator.generate_jobs import recorded


def test_it_is_small_and_complete() -> None:
    files = [path for path in FOLDER.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz"))]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    population = load_population([FOLDER])  # refuses tasks of unknown length
    assert "mixed" in mixes_of(population)
    assert all(job.group for jobs in population.values() for job in jobs)


def test_what_policies_learn_from_has_no_input_of_what_they_run() -> None:
    known, left = halves(load_population([FOLDER]))
    assert {job.app for job in known} == set(left)
    assert not {job.group for job in known} & {job.group for jobs in left.values() for job in jobs}


def test_a_comparison_learns_from_the_half_that_it_does_not_run() -> None:
    source = Source(traces=(FOLDER,), histories=(), tool_times=None, arrivals=Arrivals(), jobs=5)
    population, history = source.read(WorkModel())
    assert history is not None
    assert not {job.group for job in history.jobs} & {job.group for jobs in population.values() for job in jobs}


def test_packed_files_are_read(tmp_path: Path) -> None:
    jobs = [recorded("check", f"job-{number}") for number in range(3)]
    data = "".join(write_jobs(jobs)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
    assert len(read_recorded([tmp_path]).jobs["check"]) == 3


@pytest.mark.parametrize("options", [[], ["--traces", "builtin"]])
def test_commands_need_no_data(options: list[str], tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    workload = tmp_path / "w.jsonl"
    run("workload", "make", *options, "--jobs", "20", "--load", "0.9", "--out", str(workload))
    with workload.open("rb") as lines:
        jobs = list(read_workload(lines, "w"))
    assert len(jobs) == 20
    assert {job.recorded_policy for job in jobs} == {None}  # they never ran at these times
    out = tmp_path / "out"
    small = ["--mix", "mixed", "--load", "0.9", "--seeds", "1", "--jobs", "10", "--policy", "sjf", "--processes", "1"]
    run("compare", *options, *small, "--out", str(out))
    assert "the recording that ships" in json.loads((out / "results.json").read_text())["config"]["jobs"]
    if not options:
        assert "sjf" in run("simulate", "--policy", "sjf", "--processes", "1")
