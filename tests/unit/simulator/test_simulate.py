"""`llmsched simulate`: results against numbers computed by hand, options, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from simulator.cli.simulate import simulate as simulate_command
from tests.unit.services.profiler.traces import line, stage, tool

ROOT = Path(__file__).parents[3]
Simulate = Callable[..., Result]

#: Two batch slots, work counted in output tokens, and a batch of two takes twice as long as one alone.
WORLD = [
    "--llm-executors=1",
    "--max-batch=2",
    "--tool-slots=1",
    "--batch-slowdown=1",
    "--prefill=0",
    "--decode=1",
    "--processes=1",
]


def ask(stage_id: str, tokens: int, *parents: str) -> dict[str, Any]:
    return stage(stage_id, *parents, tasks=[{"prompt_tokens": 7, "output_tokens": tokens}])


@pytest.fixture
def simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Writes the lines to w.jsonl and runs `llmsched simulate` on it; the folder is the current one."""
    monkeypatch.chdir(tmp_path)

    def invoke(lines: list[str], *args: str) -> Result:
        Path("w.jsonl").write_text("".join(f"{one}\n" for one in lines))
        return CliRunner().invoke(cli, ["simulate", "w.jsonl", *WORLD, *args], catch_exceptions=False)

    return invoke


def report(result: Result) -> Any:
    """The JSON on standard output of `--json -`."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def means(result: Result) -> list[float]:
    return [run["mean_jct"] for run in report(result)["runs"]]


#: Both ask for two tokens at 0: together until 4; then one tool after the other, until 5 and 6.
TWO = [line(ask("a", 2), tool("t", "a"), app=app) for app in ("x", "y")]
#: Of what waits for the only slot while the first job holds it until 2, the second takes 5 and the third 1.
THREE = [
    line(ask("a", 2), app="x"),
    line(ask("a", 5), app="long", arrival_seconds=0.5),
    line(ask("a", 1), app="short", arrival_seconds=1),
]
SERIAL = ("--max-batch", "1")
HISTORY = [line(ask("a", tokens), app=app, arrival_seconds=...) for app, tokens in (("long", 5), ("short", 1))]


@pytest.fixture
def history(tmp_path: Path) -> str:
    path = tmp_path / "h.jsonl"
    path.write_text("\n".join(HISTORY))
    return str(path)


def test_results_are_those_computed_by_hand(simulate):
    found = report(simulate(TWO, "--policy", "fcfs", "--json", "-"))
    (run,) = found["runs"]
    assert run.pop("wall_seconds") > 0
    assert run.pop("per_application") == {
        app: {"jobs": 1, **dict.fromkeys(("mean_jct", "p50_jct", "p95_jct", "p99_jct", "max_jct"), jct)}
        for app, jct in (("x", 5.0), ("y", 6.0))
    }
    assert run == {
        "policy": "fcfs",
        "jobs": 2,
        "mean_jct": 5.5,
        "p50_jct": 5.0,
        "p95_jct": 5.0,
        "p99_jct": 5.0,
        "max_jct": 6.0,
        "failed": 0,
        "makespan": 6.0,
        "llm_utilisation": pytest.approx(8 / 12),
        "tool_utilisation": pytest.approx(2 / 6),
        "decisions": 4,
    }


def test_the_configuration_is_part_of_the_results(simulate, history):
    args = ("--policy=ps-tcs", "--application-order=y,x", "--ageing=9", "--failures=0.25", "--stragglers=0.5:3")
    assert report(simulate(TWO, *args, "--seed=7", "--history", history, "--json=-"))["config"] == {
        "workload": "w.jsonl",
        "policies": ["ps-tcs"],
        "history": [history],
        "llm_executors": 1,
        "max_batch": 2,
        "tool_slots": 1,
        "batch_slowdown": 1.0,
        "slowdowns": [],
        "prefill": 0.0,
        "decode": 1.0,
        "application_order": ["y", "x"],
        "ageing": 9.0,
        "failures": 0.25,
        "stragglers": 0.5,
        "straggler_factor": 3.0,
        "seed": 7,
    }


def test_the_defaults_are_the_reference_cluster_and_nothing_goes_wrong(tmp_path):
    path = tmp_path / "w.jsonl"
    path.write_text(TWO[0])
    result = CliRunner().invoke(cli, ["simulate", str(path), "--policy", "fcfs", "--json", "-"])
    config = report(result)["config"]
    assert (config["llm_executors"], config["max_batch"], config["tool_slots"]) == (2, 8, 8)
    assert (config["batch_slowdown"], config["prefill"], config["decode"]) == (0.05, 0.000161, 0.0155)
    assert (config["ageing"], config["failures"], config["stragglers"], config["seed"]) == (None, 0.0, 0.0, 0)


def test_every_option_is_documented():
    section = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split("### simulate")[1].split("\n## ")[0]
    options = [option for parameter in simulate_command.params for option in parameter.opts if option[0] == "-"]
    assert len(options) > 10
    assert [option for option in options if f"`{option}" not in section] == []


def test_people_get_a_table(simulate):
    result = simulate(TWO, "--policy", "fcfs", "--policy", "fair")
    rows = [row.split() for row in result.stdout.splitlines()]
    assert " ".join(rows[0]) == "POLICY MEAN JCT P50 P95 P99 MAX LLM TOOLS DECISIONS WALL"
    assert rows[1][:9] == ["fcfs", "5.50", "5.00", "5.00", "5.00", "6.00", "66.7%", "33.3%", "4"]
    assert [row[0] for row in rows[1:]] == ["fcfs", "fair"]
    assert result.stderr == ""


def test_json_goes_to_a_file_or_to_standard_output_alone(simulate):
    piped = simulate(TWO, "--policy", "fcfs", "--json", "-")
    assert "MEAN JCT" in piped.stderr
    filed = simulate(TWO, "--policy", "fcfs", "--json", "out.json")
    assert "MEAN JCT" in filed.stdout
    written = json.loads(Path("out.json").read_text())
    for one in (written, found := report(piped)):
        del one["runs"][0]["wall_seconds"]
    assert written == found


def test_each_policy_is_run_once_in_the_order_of_the_options(simulate, history):
    policies = ["--policy=sjf", "--policy=fcfs", "--policy=sjf", "--policy=clairvoyant-srpt"]
    found = report(simulate(THREE, *SERIAL, *policies, "--history", history, "--json=-"))
    # By arrival: until 2, 7, 8. The short one before the long one: until 2, 8, 3.
    assert [(run["policy"], run["mean_jct"]) for run in found["runs"]] == [
        ("sjf", pytest.approx((2 + 7.5 + 2) / 3)),
        ("fcfs", pytest.approx((2 + 6.5 + 7) / 3)),
        ("clairvoyant-srpt", pytest.approx((2 + 7.5 + 2) / 3)),
    ]


def test_several_histories_are_one(simulate, tmp_path):
    for name, text in zip(("h1.jsonl", "h2.jsonl"), HISTORY, strict=True):
        (tmp_path / name).write_text(text)
    both = ("--history", "h1.jsonl", "--history", "h2.jsonl")
    assert means(simulate(THREE, *SERIAL, "--policy=sjf", *both, "--json=-")) == [pytest.approx(11.5 / 3)]


def test_ps_tcs_takes_an_order(simulate):
    ordered = ("--policy=ps-tcs", "--policy=fcfs", "--application-order")
    run = simulate(THREE, *SERIAL, *ordered, "short,long", "--json=-")
    assert means(run) == [pytest.approx(11.5 / 3), pytest.approx(15.5 / 3)]
    assert means(simulate(THREE, *SERIAL, *ordered, "long", "--json=-"))[0] == pytest.approx(15.5 / 3)


def test_the_ageing_guard_puts_old_stages_first(simulate):
    args = (*SERIAL, "--policy=ps-tcs", "--application-order=short", "--json=-")
    assert means(simulate(THREE, *args, "--ageing", "1.2")) == [pytest.approx(15.5 / 3)]
    assert means(simulate(THREE, *args, "--ageing", "0")) == [pytest.approx(11.5 / 3)]


def test_stragglers_have_more_work(simulate):
    alone = [line(ask("a", 2))]
    assert means(simulate(alone, "--policy=fcfs", "--stragglers=1:3", "--json=-")) == [6.0]
    assert means(simulate(alone, "--policy=fcfs", "--stragglers=1", "--json=-")) == [8.0]


def test_jobs_that_fail_are_counted(simulate):
    result = simulate(TWO, "--policy", "fcfs", "--failures", "1", "--json", "-")
    (run,) = report(result)["runs"]
    assert (run["jobs"], run["failed"], run["mean_jct"]) == (0, 2, 0.0)
    assert result.stderr.splitlines()[0].split()[-1] == "FAILED"
    row = result.stderr.splitlines()[1].split()
    assert (row[1:6], row[-1]) == (["–"] * 5, "2")


@pytest.mark.parametrize("file", ["1 1", "[1.0, 1.0]\n", "1\n1\n1\n"])
def test_a_table_of_slowdowns_may_replace_the_formula(simulate, file):
    world = [option for option in WORLD if "slowdown" not in option]
    Path("table").write_text(file)
    for table in ("table", "1,1"):
        args = ["simulate", "w.jsonl", *world, "--policy=fcfs", "--slowdown-table", table, "--json=-"]
        simulate(TWO, "--policy=fcfs")
        assert means(CliRunner().invoke(cli, args)) == [3.5]


def test_a_cluster_file_says_what_options_do_not(simulate):
    file = {"max_batch": 1, "policy": "ps-tcs", "application_order": ["short"], "ageing": 1.2, "about": {"r2": 1}}
    Path("c.json").write_text(json.dumps({**file, "slowdowns": [9, 9], "tool_slots": None}))
    args = ["simulate", "w.jsonl", "--cluster", "c.json", "--llm-executors=1", "--prefill=0", "--decode=1", "--json=-"]
    simulate(THREE, "--policy=fcfs")
    found = report(CliRunner().invoke(cli, args))
    assert (found["config"]["policies"], found["config"]["ageing"]) == (["ps-tcs"], 1.2)
    assert "Policy ps-tcs, chosen by the --cluster file" in CliRunner().invoke(cli, args).stderr
    assert (found["config"]["slowdowns"], found["config"]["tool_slots"]) == ([9.0, 9.0], 8)
    # Options win, and a formula given as an option wins over a table in the file.
    found = report(CliRunner().invoke(cli, [*args, "--max-batch=3", "--batch-slowdown=1", "--policy=fair"]))
    assert (found["config"]["policies"], found["config"]["max_batch"]) == (["fair"], 3)
    assert (found["config"]["slowdowns"], found["config"]["batch_slowdown"]) == ([], 1.0)


def test_a_calibration_file_says_how_fast_engines_are(simulate):
    engine = {"prefill": 0.0, "steps": [1.0, 1.5], "weights": [9.0, 9.0], "prompts": 3.0}
    Path("measured.json").write_text(json.dumps({"format": "llmsched-calibration/1", "calibration": engine}))
    args = ["simulate", "w.jsonl", "--policy=fcfs", "--json=-"]
    simulate(TWO, "--policy=fcfs")
    found = report(CliRunner().invoke(cli, [*args, "--slowdown-table", "measured.json"]))
    assert (found["config"]["slowdowns"], found["config"]["decode"]) == ([1.0, 1.5], 0.0155)
    found = report(CliRunner().invoke(cli, [*args, "--cluster", "measured.json"]))
    assert (found["config"]["slowdowns"], found["config"]["decode"], found["config"]["prefill"]) == (
        [1.0, 1.5],
        1.0,
        0.0,
    )


def test_a_calibration_file_without_a_calibration_is_no_table(simulate):
    Path("measured.json").write_text(json.dumps({"format": "llmsched-calibration/1"}))
    simulate(TWO, "--policy=fcfs")
    result = CliRunner().invoke(cli, ["simulate", "w.jsonl", "--policy=fcfs", "--slowdown-table", "measured.json"])
    assert "measured.json: holds something other than numbers" in result.stderr


def test_what_really_happened_stands_beside_what_is_simulated(simulate):
    ran = {"recorded_policy": "fcfs"}
    jobs = [
        line(ask("a", 2), recorded_jct_seconds=3, **ran),
        line(ask("a", 2), recorded_jct_seconds=5, **ran),
        line(ask("a", 2)),
    ]
    result = simulate(jobs, "--policy=fcfs", "--policy=fair", "--json=-")
    found = report(result)
    assert found["recorded"] == {"fcfs": {"jobs": 2, "mean_jct": 4.0}}
    assert found["runs"][0]["recorded"] == {"jobs": 2, "mean_jct": 4.0, "simulated_mean_jct": 4.0}
    assert found["runs"][0]["mean_jct"] == pytest.approx(14 / 3)
    assert "recorded" not in found["runs"][1]
    table = result.stderr.splitlines()
    assert "RECORDED" not in table[0]  # a mean of two jobs is no match for one of three
    assert table[-1] == "Recorded: 2 jobs under fcfs, mean JCT 4.00 s; the same jobs simulated: 4.00 s"
    whole = simulate(jobs[:2], "--policy=fcfs", "--policy=fair").stdout.splitlines()
    assert (whole[0].split()[-1], whole[1].split()[-1]) == ("RECORDED", "4.00")
    assert whole[2].split()[-1] != "4.00"
    other = simulate(jobs, "--policy", "fair")
    assert other.stdout.splitlines()[-1] == "Recorded: 2 jobs under fcfs, mean JCT 4.00 s"


def test_a_workload_may_come_through_a_pipe(simulate):
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=("\n".join(TWO),))
    writer.start()
    result = CliRunner().invoke(cli, ["simulate", "pipe", *WORLD, "--policy=fcfs", "--policy=fair", "--json=-"])
    writer.join()
    assert means(result) == [5.5, 5.5]


def test_a_history_may_be_a_folder(simulate, history):
    Path("past").mkdir()
    Path(history).rename("past/h.jsonl")
    assert means(simulate(THREE, *SERIAL, "--policy=sjf", "--history=past", "--json=-")) == [pytest.approx(11.5 / 3)]
    Path("past/h.jsonl").unlink()
    assert refusal(simulate(THREE, "--policy=sjf", "--history=past")) == ["past: no *.jsonl in this folder"]


def test_a_history_that_does_not_know_the_workload_is_no_silent_matter(simulate, history):
    said = "the history knows 2 of 3 applications of the workload; it does not know: x"
    result = simulate(THREE, "--policy=fcfs", "--policy=sjf", "--history", history, "--json=-")
    assert report(result)["warnings"] == [said]
    assert result.stderr.startswith(f"Warning: {said}\n")
    assert report(simulate(THREE, "--policy=fcfs", "--history", history, "--json=-"))["warnings"] == []
    assert report(simulate(THREE[1:], "--policy=sjf", "--history", history, "--json=-"))["warnings"] == []


def test_the_cluster_that_a_workload_was_made_for_is_named_and_can_be_used(simulate):
    simulate(TWO, "--policy=fcfs")
    made = ["workload", "make", "--parametric", "--app=web_search", "--jobs=3", "--load=1", "--tool-slots=3"]
    assert CliRunner().invoke(cli, [*made, "--decode=0.01", "--out=m.jsonl"]).exit_code == 0
    run = ["simulate", "m.jsonl", "--policy=fcfs", "--processes=1", "--json=-"]
    plain = report(CliRunner().invoke(cli, run))
    assert plain["config"]["tool_slots"] == 8
    assert plain["warnings"] == [
        "m.jsonl was made for a cluster with tool_slots 3, not 8; for that one: --cluster m.jsonl.recipe.json"
    ]
    same = report(CliRunner().invoke(cli, [*run, "--cluster=m.jsonl.recipe.json"]))
    assert (same["config"]["tool_slots"], same["config"]["decode"], same["warnings"]) == (3, 0.01, [])
    assert report(CliRunner().invoke(cli, [*run, "--tool-slots=8"]))["warnings"] == []
    Path("m.jsonl.recipe.json").write_text("{")
    assert report(CliRunner().invoke(cli, run))["warnings"] == []


def test_a_reader_that_has_enough_ends_the_command_as_it_ends_others(simulate):
    simulate(TWO, "--policy=fcfs")
    command = [sys.executable, "-c", "from llmsched.cli.main import main; main()", "simulate", "w.jsonl"]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([*command, "--policy=fcfs"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


# ---- refusals ------------------------------------------------------------------------------------------------------


def refusal(result: Result) -> list[str]:
    assert result.exit_code == 4
    assert result.stdout == ""
    return result.stderr.removeprefix("Error: ").splitlines()


def test_a_bad_workload_is_refused_with_everything_that_is_wrong(simulate):
    found = refusal(simulate([line(app=""), line(tool("a", seconds=None))], "--policy", "fcfs", "--json", "o.json"))
    assert [one.split(": ")[:2] for one in found] == [["w.jsonl:1", "app"], ["w.jsonl:2", "stages[0].tasks[0].seconds"]]
    assert not Path("o.json").exists()


def test_a_policy_without_the_history_that_it_needs_says_so_before_anything_runs(simulate):
    found = refusal(simulate(TWO, "--policy=fcfs", "--policy=sjf", "--policy=srtf", "--events=e.jsonl"))
    assert [("'sjf'" in one, "'srtf'" in one, "--history" in one) for one in found] == [
        (True, False, True),
        (False, True, True),
    ]
    assert not Path("e.jsonl").exists()


def test_unknown_policies_are_refused_together(simulate):
    found = refusal(simulate(TWO, "--policy=nope", "--policy=fcfs", "--policy=none"))
    assert [one.partition(";")[0] for one in found] == ["no policy 'nope'", "no policy 'none'"]
    assert "--history" not in "".join(found)


def test_a_bad_history_is_refused_whichever_file_it_is_in(simulate, history):
    Path("bad.jsonl").write_text(TWO[0])
    Path("none.jsonl").touch()
    args = ("--history", history, "--history=bad.jsonl", "--history=none.jsonl")
    assert [one.split(": ")[0] for one in refusal(simulate(TWO, "--policy=sjf", *args))] == [
        "bad.jsonl:1",
        "none.jsonl",
    ]


def test_jobs_that_nothing_could_run_are_refused(simulate):
    assert refusal(simulate([line(ask("a", 1)), *TWO], "--policy=fcfs", "--tool-slots=0", "--llm-executors=0")) == [
        "w.jsonl:1: stages[0]: needs an LLM executor, and there is none: --llm-executors",
        "w.jsonl:2: stages[1]: needs a tool slot, and there is none: --tool-slots",
    ]
    # What has no tasks needs no slots.
    idle = [line(ask("a", 1), tool("t", "a") | {"tasks": []})]
    assert means(simulate(idle, "--policy=fcfs", "--tool-slots=0", "--json=-")) == [1.0]


def test_jobs_that_never_end_are_no_result(simulate):
    endless = [line(tool("a", seconds=1.7e308), tool("b", "a", seconds=1.7e308)), line()]
    result = simulate(endless, "--policy=fcfs", "--json=-")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: 1 jobs never end")


def test_a_bad_cluster_file_is_refused_with_everything_that_is_wrong(simulate):
    Path("c.json").write_text(json.dumps({"max_batch": 0, "decode": True, "slowdowns": [], "speed": 3}))
    found = refusal(simulate(TWO, "--policy=fcfs", "--cluster=c.json"))
    assert sorted(one.rsplit(": ", 1)[0] for one in found) == [
        "c.json: decode",
        "c.json: max_batch",
        "c.json: slowdowns",
        "c.json: speed",
    ]
    Path("c.json").write_text("{")
    assert refusal(simulate(TWO, "--policy=fcfs", "--cluster=c.json"))[0].startswith("c.json: the file: Invalid JSON")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "name at least one policy: --policy "),
        (["--policy=fcfs", "--application-order=x"], "--application-order is for --policy ps-tcs"),
        (["--policy=fcfs", "--decode=nan"], "nan is not a finite number"),
        (["--policy=fcfs", "--decode=inf"], "inf is not a finite number"),
        (["--policy=fcfs", "--prefill=-1"], "-1.0 is not in the range x>=0"),
        (["--policy=fcfs", "--max-batch=0"], "0 is not in the range x>=1"),
        (["--policy=fcfs", "--failures=1.5"], "1.5 is not in the range 0<=x<=1"),
        (["--policy=fcfs", "--stragglers=0.1:fast"], "'fast' is not a valid number."),
        (["--policy=fcfs", "--slowdown-table=1,2"], "--batch-slowdown and --slowdown-table say the same thing"),
        (["--policy=fcfs", "--stragglers=0.1:0"], "0.0 is not in the range x>=1"),
        (["--policy=fcfs", "--max-batch=two"], "'two' is not a valid integer."),
        (["--policy=fcfs", "--slowdown-table=missing.txt"], "missing.txt: neither a file nor numbers"),
        (["--policy=fcfs", "--slowdown-table=w.jsonl"], "w.jsonl: holds something other than numbers"),
        (["--policy=fcfs", "--slowdown-table=1,0.5"], "one or more numbers from 1 up are needed"),
        (["--policy=fcfs", "--slowdown-table=,"], "one or more numbers from 1 up are needed"),
        (["--policy=fcfs", "--json=w.jsonl"], "--json w.jsonl would overwrite what the command reads"),
        (["--policy=fcfs", "--json=o", "--events=./o"], "--json and --events are the same file"),
        (["--policy=fcfs", "--events=-"], "not to standard output: name a file."),
        (["--policy=fcfs", "--history=missing.jsonl"], "'missing.jsonl' does not exist"),
        (["--policy=fcfs", "--json=missing/o.json"], "there is no folder 'missing'"),
    ],
)
def test_bad_options_are_usage_errors(simulate, args, said):
    result = simulate(TWO, *args)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", "").split())
