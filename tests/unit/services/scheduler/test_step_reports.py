"""What executors say of their engines becomes few lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmsched.api.executor.v1 import executor_pb2
from services.common.clock import ManualClock
from services.profiler.core.calibration import DecodeSteps, Report
from services.scheduler.registration import Registration
from services.scheduler.step_reports import StepReports

LLM = Registration(
    executor_id="llm-0",
    incarnation="one",
    kind="llm",
    slots=4,
    offers=frozenset({"llm", "llm:small", "llm:alias"}),
    labels={},
    running=(),
    counts_tokens=True,
)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lines: list[dict[str, Any]] = []
        self.reports = StepReports(clock=self.clock, write=lambda line: self.lines.append(json.loads(line)))

    def beat(self, steps: executor_pb2.EngineSteps | None = None) -> None:
        self.reports.heard(LLM, executor_pb2.Heartbeat(steps=steps))


def steps(batch: int = 2, count: float = 10.0, milliseconds: int = 200) -> executor_pb2.EngineSteps:
    message = executor_pb2.EngineSteps()
    message.decode.add(batch=batch, steps=count, square_seconds=0.5).duration.FromMilliseconds(milliseconds)
    line = message.prefill.add(batch=1, prompts=1, tokens=30, square_tokens=900, token_seconds=3, square_seconds=0.01)
    line.duration.FromMilliseconds(100)
    return message


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_line_says_whose_engine_it_is_and_how_fast(bench: Bench) -> None:
    bench.beat(steps())
    (line,) = bench.lines
    assert {name: line[name] for name in ("type", "executor", "models", "slots", "at")} == {
        "type": "steps",
        "executor": "llm-0",
        "models": ["alias", "small"],
        "slots": 4,
        "at": bench.clock.now(),
    }
    assert line["decode"] == [{"batch": 2, "steps": 10.0, "seconds": 0.2, "squares": 0.5}]
    assert line["prefill"] == [
        {
            "batch": 1,
            "prompts": 1,
            "tokens": 30,
            "seconds": 0.1,
            "token_squares": 900.0,
            "token_seconds": 3.0,
            "squares": 0.01,
        }
    ]
    assert Report.of_plain(line).decode == (DecodeSteps(2, 10.0, 0.2, 0.5),)


def test_heartbeats_without_news_make_no_lines(bench: Bench) -> None:
    bench.beat()
    assert bench.lines == []


def test_what_comes_too_early_is_gathered_and_nothing_is_told_twice(bench: Bench) -> None:
    bench.beat(steps())
    bench.clock.advance(1.0)
    bench.beat(steps(count=5.0))
    bench.beat(steps(batch=3))
    assert len(bench.lines) == 1
    bench.clock.advance(4.0)
    bench.beat()
    bench.clock.advance(10.0)
    bench.beat()
    assert [(each["batch"], each["steps"]) for each in bench.lines[1]["decode"]] == [(2, 5.0), (3, 10.0)]
    assert [each["prompts"] for each in bench.lines[1]["prefill"]] == [2]
    assert len(bench.lines) == 2


def test_a_batch_that_the_slots_cannot_hold_is_left_out(bench: Bench) -> None:
    bench.beat(steps(batch=5))
    assert bench.lines[0]["decode"] == []
