"""`explain`, `decisions` and the reasons in `queue`: why things stand as they stand."""

from __future__ import annotations

import pytest

from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.cli import output
from tests.unit.llmsched.cli.conftest import Run, documents, lines
from tests.unit.llmsched.fake_servers import FakeScheduler

Figure = scheduler_pb2.Figure
Reasons = scheduler_pb2.StageReasons


def decision(number: int, rule: str = "policy", **fields: object) -> scheduler_pb2.Decision:
    figures = [
        Figure(name="index", label="index", value=number + 0.25, unit="s"),
        Figure(name="x", label="more", value=2),
    ]
    made = scheduler_pb2.Decision(
        number=number, job_id="j", stage_id="draft", attempt=1, executor_id="llm-1", rule=rule, waiting_stages=3
    )
    made.figures.extend(figures)
    made.decide_time.FromSeconds(1_700_000_000)
    made.waited.FromMilliseconds(1500)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def believed(scheduler: FakeScheduler) -> None:
    """j0 waits behind j1, under a policy that goes by beliefs."""
    numbers = {"expected_total": 12.0, "low_80": 4.0, "high_80": 30.0, "profile_version": 3, "profile_jobs": 40}
    scheduler.figures = [
        Figure(name=name, label=name, value=value, unit="" if name.startswith("profile") else "s")
        for name, value in {**numbers, "news": 7.0}.items()
    ]
    ahead = Figure(name="index", label="index", value=1.2, unit="s")
    change = Reasons.Change(text="goes first if its index falls below 3.00 s", figures=[ahead])
    scheduler.stages = [
        Reasons(
            stage_id="draft",
            place=1,
            rank=1,
            figures=[
                Figure(name="index", label="index", value=4.2, unit="s"),
                Figure(name="path", label="minus the path", value=-2.0, unit="s"),
                Figure(name="arrival", label="arrival of its job", value=1_700_000_000.0, unit="time"),
            ],
            before=[
                Reasons.Before(job_id="j1", application="hello", stage_id="plan", by=ahead),
                Reasons.Before(
                    job_id="j2", application="hello", stage_id="plan", by=Figure(label="arrival", value=3, unit="time")
                ),
                Reasons.Before(job_id="j3", application="hello", stage_id="plan", by=Figure(label="arrival")),
            ],
            jobs_before=2,
            changes=[change],
        ),
        Reasons(stage_id="other", place=0),
        Reasons(stage_id="third", place=1, jobs_before=1),
    ]


@pytest.mark.usefixtures("believed")
def test_explain_in_words(run: Run) -> None:
    out = run("explain", "j0").stdout
    assert "work left: 12.0s expected, 4.0s to 30.0s with 80 %" in out
    assert "by profile 3, learned from 40 jobs" in out
    assert "news: 7.0s" in out
    assert "draft  is number 2, with 2 other jobs before it  index: 0.5 s" in out
    assert "other  is next" in out
    assert "with 1 other job before it" in out
    assert "      4.2s  index\n" in out
    assert "     -2.0s  minus the path\n" in out
    assert "    j1 plan (hello)  index smaller by 1.2s\n" in out
    assert "    j2 plan (hello)  arrival smaller by 3.0s\n" in out
    assert "    j3 plan (hello)\n" in out
    assert "    goes first if its index falls below 3.00 s\n" in out


@pytest.mark.usefixtures("believed")
def test_explain_for_programs(run: Run) -> None:
    found = documents(run("explain", "j0", "-o", "json"))
    assert found["figures"][0] == {"name": "expected_total", "label": "expected_total", "value": 12.0, "unit": "s"}
    stage = found["stages"][0]
    assert (stage["place"], stage["jobs_before"], stage["before"][0]["by"]["value"]) == (1, 2, 1.2)
    assert stage["changes"][0]["figures"][0]["name"] == "index"


def test_the_queue_says_why(run: Run) -> None:
    header, first, *_ = run("queue").stdout.splitlines()
    assert header.rstrip().endswith("BY")
    assert first.rstrip().endswith("index: 0.5 s")


def test_decisions_are_followed(run: Run, scheduler: FakeScheduler) -> None:
    # The connection ends in between, and is made again.
    scheduler.decisions = [[decision(7)], [decision(8, "explore"), decision(9, "ageing", attempt=2)]]
    shown = run("decisions", "j", "--limit", "3").stdout.splitlines()
    assert shown == [
        "22:13:20 #7 j draft[0] → llm-1  index: 7.2s · waited 1.5s · 2 waited on",
        "22:13:20 #8 j draft[0] → llm-1  more: 2 · waited 1.5s · 2 waited on",
        "22:13:20 #9 j draft[0] attempt 2 → llm-1  ageing · waited 1.5s · 2 waited on",
    ]
    assert [request.job_id for request in scheduler.requests("WatchDecisions")] == ["j", "j"]
    scheduler.decisions = [[decision(10)]]
    (told,) = lines(run("decisions", "--limit", "1", "-o", "json"))
    assert (told["number"], told["figures"][0]["name"]) == (10, "index")


def test_a_decision_without_named_numbers_shows_its_key(run: Run, scheduler: FakeScheduler) -> None:
    plain = decision(1, key="3.5, 0")
    del plain.figures[:]
    scheduler.decisions = [[plain]]
    assert "  policy 3.5, 0 · waited" in run("decisions", "--limit", "1").stdout


def test_numbers() -> None:
    assert output.number(0.12345, "bit·s") == "0.123 bit·s"
    assert output.number(3.0, "") == "3"
