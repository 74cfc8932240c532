"""`llmsched compare`, as a person types it: its numbers are those of single runs, and its page needs nothing else."""

from __future__ import annotations

import csv
import json
import re
from math import fsum
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from services.profiler.core.trace import write_jobs
from services.scheduler.core import PolicySettings
from simulator.generate import Recipe, make_workload, parametric_population, reference_cluster
from simulator.generate.applications import PARAMETRIC
from simulator.run import RunResult, RunSettings, run
from tests.unit.simulator.generate_jobs import recorded

SMALL = ("--mix", "planning", "--load", "0.7", "--load", "1.5", "--seeds", "2", "--jobs", "15", "--processes", "1")
TWO = ("--policy", "fcfs", "--policy", "srtf")


def llmsched(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["compare", *map(str, args)], prog_name="llmsched", catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_wall_seconds(path: Path) -> list[list[str]]:
    return [[value for name, value in row.items() if name != "wall_seconds"] for row in rows(path)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    llmsched("--parametric", *SMALL, *TWO, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def alone() -> dict[tuple[float, int], RunResult]:
    """The runs of fcfs, each by itself."""
    population = parametric_population({name: make() for name, make in PARAMETRIC.items()})
    cluster = reference_cluster("planning")
    found = {}
    for load in (0.7, 1.5):
        for seed in (0, 1):
            jobs = make_workload(Recipe(mix="planning", jobs=15, load=load), population, seed)
            found[load, seed] = run(jobs, RunSettings(policy=PolicySettings(name="fcfs"), cluster=cluster))
    return found


def test_each_row_of_the_results_is_what_the_run_says(out, alone):
    found = [row for row in rows(out / "results.csv") if row["policy"] == "fcfs"]
    assert {(float(row["load"]), int(row["seed"])) for row in found} == set(alone)
    for row in found:
        result = alone[float(row["load"]), int(row["seed"])]
        whole = row["application"] == "(all)"
        summary = result.summary if whole else result.per_application[row["application"]]
        for metric in ("jobs", "mean_jct", "p50_jct", "p95_jct", "p99_jct", "max_jct"):
            assert float(row[metric]) == getattr(summary, metric)
        if whole:
            assert float(row["makespan"]) == result.makespan
            assert int(row["decisions"]) == result.decisions
    assert len(found) == sum(1 + len(result.per_application) for result in alone.values())


def test_the_table_pools_the_seeds(out, alone):
    [row] = [row for row in rows(out / "table.csv") if row["policy"] == "fcfs" and row["load"] == "1.5"]
    jcts = [jct for seed in (0, 1) for _, _, jct in alone[1.5, seed].jcts]
    assert float(row["mean_jct"]) == pytest.approx(fsum(jcts) / 30)
    assert float(row["max_jct"]) == max(jcts)
    assert float(row["mean_jct_low"]) < float(row["mean_jct"]) < float(row["mean_jct_high"])
    assert row["reference"] == ""  # the one by default was not compared


def test_json_says_the_same_as_the_tables(out):
    found = json.loads((out / "results.json").read_text())
    table = rows(out / "table.csv")
    listed = [(cell, policy) for cell in found["cells"] for policy in cell["policies"]]
    assert len(listed) == len(table) == 4
    for (cell, policy), row in zip(listed, table, strict=True):
        assert (cell["mix"], cell["load"], policy["policy"]) == (row["mix"], float(row["load"]), row["policy"])
        for metric in ("mean_jct", "mean_jct_low", "p95_jct", "ratio_to_best", "ratio_to_best_high"):
            assert policy[metric] == float(row[metric])
    assert [one["mean_jct"] for one in found["runs"]] == [
        float(row["mean_jct"]) for row in rows(out / "results.csv") if row["application"] == "(all)"
    ]


def test_the_page_names_every_policy_and_needs_nothing_from_elsewhere(out):
    page = (out / "report.html").read_text()
    assert all(f"<th>{policy}</th>" in page for policy in ("fcfs", "srtf"))
    assert "what jobs have shown, and a history" in page
    references = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)|url\(([^)]*)\)|@import""", page)
    assert all(link.startswith("#") for link, _ in references)
    assert "://" not in page


def test_charts_are_pictures_by_themselves(out):
    charts = sorted(path.stem for path in (out / "charts").iterdir())
    kinds = ["cdf-planning-0.7", "cdf-planning-1.5", "jct-planning-0.7", "jct-planning-1.5", "load-planning"]
    assert charts == kinds
    for chart in (out / "charts").iterdir():
        words = " ".join(ElementTree.fromstring(chart.read_text()).itertext())
        assert "planning" in words
        assert "srtf" in words


def test_equal_options_give_equal_tables_and_processes_change_nothing(out, tmp_path):
    llmsched("--parametric", *SMALL[:-1], "2", *TWO, "--out", tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == (out / "table.csv").read_bytes()
    assert without_wall_seconds(tmp_path / "results.csv") == without_wall_seconds(out / "results.csv")
    assert (tmp_path / "charts" / "load-planning.svg").read_bytes() == (
        out / "charts" / "load-planning.svg"
    ).read_bytes()


def test_recorded_jobs_run_with_all_policies_that_can(tmp_path):
    (tmp_path / "traces").mkdir()
    jobs = [recorded("check", str(index), structure="static", tool=1.0, output=50 + index) for index in range(10)]
    (tmp_path / "traces" / "check.jsonl").write_text("".join(write_jobs(jobs)))
    small = ("--mix", "predefined", "--load", "1", "--seeds", "1", "--jobs", "8", "--processes", "1")
    llmsched("--traces", tmp_path / "traces", *small, "--out", tmp_path / "out")
    compared = {row["policy"] for row in rows(tmp_path / "out" / "table.csv")}
    assert {"fcfs", "clairvoyant-srpt"} < compared
    assert "srtf" not in compared
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(r"Not compared: srtf; .*needs a history", page)


def test_everything_that_makes_no_sense_is_named_before_anything_runs(tmp_path):
    jobs = [recorded("check", str(index), structure="static", tool=1.0, output=50) for index in range(3)]
    (tmp_path / "t.jsonl").write_text("".join(write_jobs(jobs)))
    options = ("--policy", "srtf", "--policy", "nice", "--mix", "chain", "--mix", "predefined", "--reference", "fair")
    result = llmsched("--traces", tmp_path / "t.jsonl", *options, "--tool-slots", "0", "--out", tmp_path / "o", code=4)
    for problem in (
        "no policy 'nice'",
        "'srtf' needs a history",
        "--reference fair is not among",
        "no application belongs to the mix 'chain'",
        "mix predefined: has tool stages, and there is no tool slot (--tool-slots)",
    ):
        assert problem in result.stderr
    assert not (tmp_path / "o").exists()


def test_files_that_break_the_format_are_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    result = llmsched("--traces", tmp_path, "--out", tmp_path / "o", code=4)
    assert "a.jsonl:1" in result.stderr
    assert "b.jsonl:1" in result.stderr


def test_it_must_be_said_what_to_simulate(tmp_path):
    assert "--parametric" in llmsched("--parametric", "--traces", "builtin", "--out", tmp_path, code=2).stderr
    assert "finite" in llmsched("--parametric", "--load", "inf", "--out", tmp_path, code=2).stderr


def test_a_history_of_other_applications_is_named(tmp_path):
    past = tmp_path / "past.jsonl"
    past.write_text("".join(write_jobs([recorded("other")])))
    result = llmsched("--parametric", *SMALL, "--policy=sjf", "--policy=fcfs", "--history", past, "--out", tmp_path)
    [said] = json.loads((tmp_path / "results.json").read_text())["warnings"]
    assert said.startswith("the history knows 0 of 2 applications of the workload; it does not know: llm_compiler, ")
    assert f"Warning: {said}\n" in result.stderr
    assert said in (tmp_path / "report.html").read_text()


def test_results_are_not_written_over_what_is_read(tmp_path):
    past = tmp_path / "results.json"
    past.write_text("".join(write_jobs([recorded("other")])))
    args = ("--parametric", *SMALL, "--policy=sjf", "--history", past, "--out", tmp_path)
    assert "results.json would overwrite what the command reads" in llmsched(*args, code=2).stderr.replace("\n", " ")
