"""`llmsched workload`, as a person types it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from services.profiler.core.trace import read_history, read_workload, write_jobs
from tests.unit.simulator.generate_jobs import recorded, tool_seconds

Llmsched = Callable[..., Result]


@pytest.fixture
def llmsched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Llmsched:
    """Runs `llmsched workload …` in a folder with recordings of three applications, one without tool seconds."""
    (tmp_path / "traces").mkdir()
    for name, structure, tool in (("check", "static", 1.0), ("react", "chain", 2.0), ("plan", "generated", None)):
        made = [recorded(name, str(index), structure=structure, tool=tool, output=100 + index) for index in range(20)]
        (tmp_path / "traces" / f"{name}.jsonl").write_text("".join(write_jobs(made)))
    monkeypatch.chdir(tmp_path)

    def invoke(*args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["workload", *args], prog_name="llmsched", catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke


def workload(name: str = "w.jsonl"):
    with Path(name).open("rb") as lines:
        return list(read_workload(lines, name))


def history(name: str = "h.jsonl"):
    with Path(name).open("rb") as lines:
        return list(read_history(lines, name))


MAKE = ("make", "--traces", "traces", "--mix", "chain", "--jobs", "30", "--load", "0.7", "--out", "w.jsonl")
EVERYTHING = ("make", "--traces", "traces", "--jobs", "30", "--load", "0.7", "--out", "w.jsonl")


def test_a_workload_can_be_made_again_from_its_recipe(llmsched):
    result = llmsched(*MAKE, "--seed", "7", "--arrivals", "bursty:2")
    assert "w.jsonl: a workload of 30 jobs, " in result.stderr
    assert "load factor 0.7" in result.stderr
    content, recipe = Path("w.jsonl").read_bytes(), json.loads(Path("w.jsonl.recipe.json").read_text())
    assert {job.app for job in workload()} == {"react"}
    assert recipe["sha256"] == hashlib.sha256(content).hexdigest()
    assert recipe["cluster"]["tool_slots"] == 12
    assert recipe["population"] == {"react": {"structure": "chain", "jobs": 20}}
    assert recipe["inputs"] == {
        "traces/react.jsonl": hashlib.sha256(Path("traces/react.jsonl").read_bytes()).hexdigest()
    }
    said = recipe["options"]
    again = [f"--{name}={said[name]}" for name in ("mix", "jobs", "load", "arrivals", "seed", "out")]
    Path("w.jsonl").unlink()
    llmsched("make", *again, *(f"--traces={path}" for path in said["traces"]))
    assert Path("w.jsonl").read_bytes() == content


def test_unknown_tool_seconds_name_application_file_and_option(llmsched):
    result = llmsched(*EVERYTHING, code=4)
    assert result.stderr == (
        "Error: plan: tool tasks without seconds in traces/plan.jsonl: 20; --tool-times says what they take\n"
    )
    assert not Path("w.jsonl").exists()


def test_a_mix_without_the_unknown_ones_needs_no_model(llmsched):
    llmsched(*MAKE)
    llmsched(*EVERYTHING, "--app", "check", "--app", "react")
    assert {job.app for job in workload()} == {"check", "react"}


def test_history_and_workload_share_jobs_of_the_world_but_no_input(llmsched):
    llmsched(*EVERYTHING, "--tool-times", "lognormal:2,0.5", "--history-out", "h.jsonl", "--history-jobs", "12")
    learnt, run = history(), workload()
    assert sorted(job.app for job in learnt) == ["check"] * 4 + ["plan"] * 4 + ["react"] * 4
    assert not {(job.app, job.job_id) for job in learnt} & {(job.app, job.job_id) for job in run}
    assert json.loads(Path("h.jsonl.recipe.json").read_text())["population"]["plan"]["jobs"] == 16
    llmsched("make", "--traces", "traces", "--tool-times", "lognormal:2,0.5", "--history-out", "all.jsonl")
    world = {(job.app, job.job_id): tool_seconds(job) for job in history("all.jsonl")}
    assert len(world) == 60
    assert all(tool_seconds(job) == world[job.app, job.job_id] for job in [*learnt, *run])


def test_recorded_tool_times_are_inputs_too(llmsched):
    llmsched(*EVERYTHING, "--tool-times", "recorded:traces/check.jsonl,traces/react.jsonl")
    assert {seconds for job in workload() if job.app == "plan" for seconds in tool_seconds(job)} == {1.0, 2.0}
    inputs = json.loads(Path("w.jsonl.recipe.json").read_text())["inputs"]
    assert list(inputs) == ["traces/check.jsonl", "traces/plan.jsonl", "traces/react.jsonl"]


def test_built_in_applications(llmsched):
    llmsched("make", "--parametric", "--app", "web_search", "--app", "llm_compiler", "--jobs", "20", "--rate", "2",
             "--out", "w.jsonl", "--history-out", "h.jsonl", "--history-jobs", "7")  # fmt: skip
    assert {job.app for job in workload()} == {"web_search", "llm_compiler"}
    assert [job.app for job in history()] == ["llm_compiler"] * 4 + ["web_search"] * 3
    recipe = json.loads(Path("w.jsonl.recipe.json").read_text())
    assert recipe["rate"] == 2.0
    assert recipe["load"] > 0


def test_a_rate_for_a_cluster_that_cannot_serve(llmsched):
    args = ("make", "--traces", "traces", "--mix", "chain", "--jobs", "5", "--out", "w.jsonl", "--tool-slots", "0")
    llmsched(*args, "--rate", "1")
    assert json.loads(Path("w.jsonl.recipe.json").read_text())["load"] is None
    assert "no tool slot" in llmsched(*args, "--load", "1", code=4).stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("make", "--parametric", "--traces", "builtin"), 2, ("--traces or --parametric", "nothing to make")),
        (("make", "--parametric", "--out", "w.jsonl"), 2, ("--out needs --jobs", "--load or --rate")),
        (("make", "--parametric", "--history-out", "h.jsonl"), 2, ("needs --history-jobs",)),
        ((*MAKE, "--rate", "1", "--app", "check"), 2, ("--mix and --app", "--load or --rate")),
        ((*MAKE, "--history-out", "w.jsonl"), 2, ("same file", "--history-jobs")),
        ((*MAKE, "--history-out", "traces/react.jsonl", "--history-jobs", "3"), 2, ("would overwrite",)),
        ((*MAKE, "--history-jobs", "3"), 2, ("is for --history-out",)),
        ((*MAKE, "--arrivals", "uniform"), 2, ("arrivals must be",)),
        (
            ("make", "--parametric", "--tool-times", "constant:1", "--out", "w.jsonl"),
            2,
            ("know what their tools take",),
        ),
        ((*EVERYTHING, "--tool-times", "x"), 4, ("tool times must be",)),
        ((*EVERYTHING, "--tool-times", "recorded:nowhere"), 4, ("Error: nowhere: No such file or directory",)),
        ((*EVERYTHING, "--app", "sort"), 4, ("'sort'", "check (static)")),
        (("describe",), 2, ("Missing argument",)),
    ],
)
def test_what_makes_no_sense_is_refused(llmsched, args, code, words):
    errors = llmsched(*args, code=code).stderr
    assert all(each in errors for each in words), errors
    assert not Path("w.jsonl").exists()


def test_broken_traces_are_refused_by_line(llmsched):
    Path("traces/bad.jsonl").write_text('{"app": "x"}\n')
    assert "traces/bad.jsonl:1: stages" in llmsched(*MAKE, code=4).stderr
    Path("worse.jsonl").write_text("{\n")
    errors = llmsched("describe", "worse.jsonl", "traces/bad.jsonl", code=4).stderr
    assert "worse.jsonl:1: " in errors
    assert "traces/bad.jsonl:1: " in errors


def test_describe_for_programs(llmsched):
    made = [recorded("a", str(index), output=100, tool=4.0, tools=2) for index in range(3)]
    other = recorded("b", output=400, tool=None, structure="generated")
    Path("h.jsonl").write_text("".join(write_jobs([*made, other])))
    report = json.loads(llmsched("describe", "h.jsonl", "--json", "-", "--decode", "1").stdout)
    [found] = report["files"]
    assert (found["kind"], found["arrivals"], list(found["applications"])) == ("history", None, ["a", "b"])
    everything = found["all"]
    assert (everything["jobs"], everything["structure"], everything["unknown_tool_tasks"]) == (4, "generated", 1)
    assert everything["llm_work"] == pytest.approx({"mean": 175.0, "cv": 129.9038 / 175, "p95": 100.0}, rel=1e-4)
    assert everything["tasks"]["mean"] == pytest.approx(2.75)
    assert found["applications"]["a"]["tool_seconds"] == {"mean": 8.0, "cv": 0.0, "p95": 8.0}
    assert found["applications"]["a"]["width"]["mean"] == 2.0


def test_describe_measures_the_load_that_was_asked_for(llmsched):
    llmsched("make", "--traces", "traces", "--mix", "chain", "--jobs", "4000", "--load", "0.7", "--out", "w.jsonl")
    report = json.loads(llmsched("describe", "w.jsonl", "--mix", "chain", "--json", "-").stdout)
    arrivals = report["files"][0]["arrivals"]
    assert arrivals["load"] == pytest.approx(0.7, rel=0.05)
    assert arrivals["cv"] == pytest.approx(1.0, rel=0.05)
    assert arrivals["rate"] == pytest.approx(4000 / arrivals["last"])


def test_describe_for_people(llmsched):
    llmsched("make", "--parametric", "--app", "web_search", "--jobs", "9", "--rate", "1", "--out", "w.jsonl")
    shown = llmsched("describe", "w.jsonl", "traces/plan.jsonl", "traces/check.jsonl").stdout
    assert "w.jsonl: workload of 9 jobs" in shown
    assert "load factor" in shown
    assert "traces/plan.jsonl: history of 20 jobs\n20 tool tasks have no seconds" in shown
    row, seconds = [line for line in shown.splitlines() if line.startswith("check")]
    assert row.split()[:3] == ["check", "static", "20"]
    assert len(seconds.split("·")) == 5


def test_recorded_jobs_make_all_four_mixes(traces, llmsched):
    """The real thing: every mix of recorded applications can be made and has the load asked for."""
    for mix, applications in {
        "predefined": {"got_docmerge", "factool_code", "factool_kbqa", "factool_math"},
        "chain": {"langchain_mapreduce", "react_alfw"},
        "planning": {"hugginggpt", "taskbench_plan"},
    }.items():
        llmsched("make", "--traces", str(traces / "dev"), "--mix", mix, "--tool-times", "lognormal:2,0.5", "--jobs",
                 "300", "--load", "0.95", "--out", "w.jsonl")  # fmt: skip
        assert {job.app for job in workload()} == applications
        assert json.loads(Path("w.jsonl.recipe.json").read_text())["load"] == 0.95


def test_describe_jobs_that_all_arrive_at_once(llmsched):
    at_once = [replace(recorded(job_id=str(index)), arrival_seconds=0.0) for index in range(3)]
    Path("w.jsonl").write_text("\n" + "".join(write_jobs(at_once)))
    report = json.loads(llmsched("describe", "w.jsonl", "--json", "-").stdout)
    assert report["files"][0]["arrivals"] == {"rate": 0.0, "cv": 0.0, "last": 0.0, "load": 0.0}
    assert "no load factor" in llmsched("describe", "w.jsonl", "--tool-slots", "0").stdout


def test_describe_refuses_an_empty_file(llmsched):
    Path("w.jsonl").write_text("\n")
    assert "w.jsonl: no jobs" in llmsched("describe", "w.jsonl", code=4).stderr


def test_nothing_is_written_over_what_is_read(llmsched):
    Path("link.jsonl").symlink_to("traces/check.jsonl")
    for out in ("traces/check.jsonl", "traces/../traces/check.jsonl", "link.jsonl"):
        before = Path("traces/check.jsonl").read_bytes()
        for options in (("--traces", "traces"), ("--traces", "traces/check.jsonl")):
            errors = llmsched("make", *options, "--app", "check", "--jobs=3", "--load=1", "--out", out, code=2).stderr
            assert f"--out {out} would overwrite what the command reads" in errors
        assert Path("traces/check.jsonl").read_bytes() == before
    recorded_times = ("--tool-times", "recorded:traces/check.jsonl", "--out", "traces/check.jsonl")
    llmsched("make", "--traces", "traces/plan.jsonl", "--jobs=3", "--load=1", *recorded_times, code=2)


def test_describe_fits_a_terminal_of_eighty_columns(llmsched):
    llmsched("make", "--parametric", "--jobs", "60", "--load", "1", "--out", "w.jsonl", "--llm-executors", "1")
    shown = llmsched("describe", "w.jsonl", "--llm-executors", "1").stdout.split("\n\n")[0].splitlines()
    table = [line.rstrip() for line in shown if line.split()[0] in ("APPLICATION", "document_merging", "(all)")]
    assert len(table) == 6
    assert max(map(len, table)) <= 80
    assert next(line.split()[1] for line in table if line.startswith("(all)")) == "–"
    assert "on 1 LLM executor × 8 slots" in " ".join(shown)
