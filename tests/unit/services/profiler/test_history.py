"""What is learned of a history, against numbers computed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from services.profiler.core.history import learn
from services.profiler.core.statistics import Statistics, WorkModel
from services.profiler.core.trace import read_history
from tests.unit.services.profiler.test_drift import code
from tests.unit.services.profiler.traces import line, stage, tool

WORK = WorkModel(prefill=0.01, decode=1.0)


def llm(stage_id: str, *tokens: tuple[int | None, int | None], **more: Any) -> dict[str, Any]:
    return stage(
        stage_id, tasks=[{"prompt_tokens": prompt, "output_tokens": output} for prompt, output in tokens], **more
    )


def learned(*lines: str, work: WorkModel | None = WORK) -> Statistics:
    return learn(read_history(lines, "h.jsonl"), work)


def job(app: str, *stages: dict[str, Any]) -> str:
    return line(*stages, app=app, arrival_seconds=...)


def test_totals_are_the_work_of_all_tasks_and_ascend():
    found = learned(job("a", llm("x", (100, 2), (0, 3)), tool("t", seconds=4.0)), job("a", llm("x", (0, 1))))
    assert found.of("a").totals == (1.0, 10.0)
    assert (found.of("a").jobs, found.of("a").mean) == (2, 5.5)
    assert found.work == WORK


def test_stages_of_a_name_are_one_kind_of_stage():
    twice = job("a", llm("1", (0, 2), (0, 4), name="x"), llm("2", (0, 6), name="x"))
    one = learned(twice, job("a", llm("1", name="x"), tool("t"))).of("a").stages
    x, t = one["x"], one["t"]
    assert (x.per_job, x.seconds, x.span, x.is_llm) == (1.5, 4.0, 10 / 3, True)
    assert (t.per_job, t.seconds, t.span, t.is_llm) == (0.5, 1.0, 1.0, False)


def test_unknown_tool_seconds_are_those_of_the_name_then_of_the_application_then_of_all():
    known = job("a", tool("s", seconds=1.0), tool("u", seconds=5.0))
    found = learned(
        known,
        job("a", tool("s", seconds=None)),  # as "s" in "a"
        job("a", tool("new", seconds=None)),  # as all tools of "a"
        job("b", tool("s", seconds=None)),  # as all tools
        job("c", tool("v", seconds=9.0)),
    )
    assert found.of("a").totals == (1.0, 3.0, 6.0)
    assert found.of("b").totals == (5.0,)


def test_what_nobody_knows_counts_as_nothing():
    assert learned(job("a", tool("t", seconds=None), llm("x", (None, None)))).of("a").totals == (0.0,)


def test_an_unknown_application_is_like_all_jobs_together():
    found = learned(job("a", llm("x", (0, 1))), job("b", llm("x", (0, 3))))
    assert found.of("c") is found.pooled
    assert (found.pooled.totals, found.pooled.stages["x"].seconds) == ((1.0, 3.0), 2.0)


def test_the_work_model_is_the_contract_s_by_default():
    assert learned(job("a", llm("x", (1000, 100))), work=None).of("a").mean == pytest.approx(0.161 + 1.55)


def test_nothing_can_be_learned_from_nothing():
    with pytest.raises(ValueError, match="the history has no jobs"):
        learn([])


def test_applications_learned_one_by_one_are_as_if_learned_together():
    jobs = [*code(20), *(replace(job, app="other") for job in code(30, seed=1))]
    together = learn(jobs)
    first, second = (learn([job for job in jobs if job.app == app]) for app in ("code_generation", "other"))
    found = first.updated(second)
    assert found.applications == together.applications
    assert found.pooled.totals == together.pooled.totals
    for name, one in together.pooled.stages.items():
        other = found.pooled.stages[name]
        assert (other.per_job, other.seconds, other.span) == pytest.approx((one.per_job, one.seconds, one.span))
        assert other.is_llm is one.is_llm
    assert found.updated(second) == found


def test_statistics_come_back_from_json():
    known = learn(code(20), WorkModel(decode=0.02))
    assert Statistics.of_plain(json.loads(json.dumps(known.plain()))).plain() == known.plain()
