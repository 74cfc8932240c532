"""Commands for operators."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest

from llmsched.cli.cluster import describe
from llmsched.types import Policy
from tests.unit.llmsched.cli.conftest import Run, documents
from tests.unit.llmsched.fake_servers import FakeScheduler, status


def test_executors(run: Run) -> None:
    result = run("executors")
    assert result.stdout.splitlines()[1].split() == ["llm-1", "llm", "ATTACHED", "3/4", "llm,", "llm:tiny"]
    assert "active jobs: 2 · waiting stages: 1 · running attempts: 3 · policy: fcfs · epoch: 7" in result.stderr
    cluster = documents(run("executors", "-o", "json"))
    assert cluster["executors"][0]["offers"] == ["llm", "llm:tiny"]
    assert cluster["epoch"] == 7


def test_queue(run: Run, scheduler: FakeScheduler) -> None:
    assert [line.split()[:4] for line in run("queue", "--limit", "2").stdout.splitlines()[1:]] == [
        ["0", "j0", "draft", "hello"],
        ["1", "j1", "draft", "hello"],
    ]
    assert [stage["rank"] for stage in documents(run("queue", "-o", "json"))] == [0, 1, 2]
    scheduler.queue.clear()
    assert run("queue").stderr == "Nothing waits.\n"


def test_explain(run: Run, scheduler: FakeScheduler) -> None:
    out = run("explain", "jobs/j0").stdout
    assert "draft waits for a slot" in out
    assert "draft[0]" in out
    assert "1.5s" in out
    assert scheduler.requests("ExplainJob")[0].job_id == "j0"
    explanation = documents(run("explain", "j0", "-o", "json"))
    assert explanation["decisions"][0]["waited"] == 1.5
    assert explanation["policy"]["name"] == "fcfs"


def test_policy(run: Run, scheduler: FakeScheduler) -> None:
    assert run("policy", "show").stdout == "fcfs\navailable: fcfs, llmsched, ps-tcs\n"
    result = run("policy", "set", "ps-tcs", "--order", "b,a", "--ageing", "90")
    assert result.stdout == "ps-tcs, order b,a, ageing 1m30s\n"
    sent = scheduler.requests("SetPolicy")[0].policy
    assert (list(sent.application_order), sent.ageing.seconds) == (["b", "a"], 90)
    shown = documents(run("policy", "show", "-o", "json"))
    expected = {"name": "ps-tcs", "application_order": ["b", "a"], "ageing": 90, "seed": None}
    assert shown["policy"] == expected | {"epsilon": None, "sample_ratio": None, "without": []}
    assert "not registered (yet): b, a\n" in result.stderr
    assert run("policy", "set", "random", "--seed", "7").stdout == "random, seed 7\n"
    assert run("policy", "set", "random", "--seed", "0").stdout == "random, seed 0\n"
    assert documents(run("policy", "set", "fcfs", "-o", "json"))["name"] == "fcfs"
    more = ("--seed", "3", "--epsilon", "0.5", "--sample-ratio", "0.25", "--without", "network", "--without", "part")
    result = run("policy", "set", "llmsched", *more)
    assert result.stdout == "llmsched, seed 3, epsilon 0.5, sample ratio 0.25, without network,part\n"


def test_an_order_is_set_without_a_planner_to_ask_about_it(run: Run, scheduler: FakeScheduler) -> None:
    result = run("policy", "set", "ps-tcs", "--order", "b,a", "--address", "nowhere.invalid:1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "ps-tcs, order b,a\n", "")


def test_an_unknown_policy(run: Run, scheduler: FakeScheduler) -> None:
    scheduler.refuse("SetPolicy", status(grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_POLICY", "there is no policy x"))
    assert run("policy", "set", "x").exit_code == 4


@pytest.mark.parametrize(
    ("ageing", "text"),
    [(None, "fcfs"), (timedelta(), "fcfs, no ageing guard"), (timedelta(seconds=5), "fcfs, ageing 5.0s")],
)
def test_ageing_in_words(ageing: timedelta | None, text: str) -> None:
    assert describe(Policy(name="fcfs", ageing=ageing)) == text
