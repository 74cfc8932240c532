"""What is believed of a job, against numbers computed by hand and against what recorded jobs turned out to need."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.profiler.core.belief import Belief, Beliefs
from services.profiler.core.evidence import evidence
from services.profiler.core.network import Array, Network
from services.profiler.core.profile import learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, read_history
from services.profiler.core.variables import Aspect, JobSeen, StageSeen, completed, course
from tests.unit.services.profiler.test_profile import history, llm, rounds
from tests.unit.services.profiler.traces import tool

WORK = WorkModel(prefill=0.01, decode=1.0)


def beliefs(*jobs: Sequence[dict[str, Any]]) -> Beliefs:
    return Beliefs(learn(history(*jobs)), WORK)


def believed(known: Beliefs, job: JobSeen) -> Belief:
    found = known.of(job)
    assert found is not None
    return found


def seen(*stages: StageSeen) -> JobSeen:
    return JobSeen(application="a", stages=stages)


def one(*stages: dict[str, Any]) -> TraceJob:
    (job,) = history(stages)
    return job


def uniforms(belief: Belief, count: int) -> Array:
    generator = random.Random(1)
    return np.array([[generator.random() for _ in range(belief.draws)] for _ in range(count)])


#: x needs 10 or 30 tokens, and y is as long as x was.
LINKED = beliefs(*[[llm("x", outputs=[size], prompt=100), llm("y", "x", outputs=[size])] for size in [10, 30] * 20])

#: Half of the jobs have a y of 100 after x, half have none.
MAYBE = beliefs(
    *[
        [tool("x", seconds=1.0), *([tool("y", "x", seconds=100.0, generated_by="x")] if job % 2 else [])]
        for job in range(40)
    ]
)

X_READY = StageSeen(name="x", occurrence=0, is_llm=True, width=1, prompt_tokens=100, left=1, left_prompt_tokens=100)
Y_WAITING = StageSeen(name="y", occurrence=0, is_llm=True)
TOOL_READY = StageSeen(name="x", occurrence=0, is_llm=False, width=1, left=1)
TOOL_DONE = replace(TOOL_READY, done=True, left=0, units=1.0)


def test_an_unknown_application_is_unknown():
    assert LINKED.of(JobSeen(application="b", stages=())) is None


def test_at_arrival_all_is_as_in_the_history():
    remaining = believed(LINKED, seen(X_READY, Y_WAITING)).expected
    assert remaining.llm == pytest.approx(1.0 + 20.0 + 20.0, abs=0.05)  # prompt, x, y
    assert (remaining.tool, remaining.total) == (0.0, remaining.llm)


def test_what_a_stage_needed_tells_of_the_next():
    for size, least, most in ((10.0, 10.0, 14.0), (30.0, 26.0, 30.0)):
        x = replace(X_READY, done=True, left=0, left_prompt_tokens=0, units=size)
        assert least <= believed(LINKED, seen(x, Y_WAITING)).expected.llm <= most


def test_a_later_stage_tells_of_an_earlier_one():
    """Evidence flows back: y is done (30), x still runs."""
    y = replace(Y_WAITING, done=True, width=1, units=30.0)
    assert believed(LINKED, seen(X_READY, y)).expected.llm > 1.0 + 26.0


def test_a_task_that_has_run_for_long_is_not_a_short_one():
    running = replace(X_READY, running_units=15.0)
    belief = believed(LINKED, seen(running, Y_WAITING))
    assert belief.marginal(belief.profile.index[Aspect.UNITS, ("x", 0)]) == pytest.approx([0.0, 1.0])
    assert belief.expected.llm > 1.0 + 30.0 + 26.0


def test_tasks_that_have_ended_no_longer_count():
    wide = beliefs(*[[llm("x", outputs=[5] * 4, prompt=100)] for _ in range(8)])
    running = replace(X_READY, width=4, prompt_tokens=400, units=10.0, left=2, left_prompt_tokens=200)
    assert believed(wide, seen(running)).expected.llm == pytest.approx(2 * (1.0 + 5.0))


def test_a_stage_that_may_not_come_counts_by_its_probability():
    belief = believed(MAYBE, seen(TOOL_READY))
    assert belief.expected.tool == pytest.approx(1.0 + 50.0)
    assert belief.interval == pytest.approx((1.0, 101.0))
    assert belief.interval.spread == pytest.approx(100.0)


def test_what_is_most_unlikely_does_not_belong_to_the_support():
    """Jobs with a long x have a y, and of 400 jobs with a short one none has."""
    jobs = [
        [
            tool("x", seconds=long),
            tool("z", "x"),
            *([tool("y", "z", seconds=50.0, generated_by="z")] if long > 1 else []),
        ]
        for long in [1.0, 9.0] * 400
    ]
    known = beliefs(*jobs)
    z = StageSeen(name="z", occurrence=0, is_llm=False)
    assert believed(known, seen(TOOL_DONE, z)).interval == pytest.approx((1.0, 1.0))
    assert believed(known, seen(replace(TOOL_DONE, units=9.0), z)).interval == pytest.approx((51.0, 51.0))


def test_a_stage_that_is_shown_is_not_absent():
    shown = StageSeen(name="y", occurrence=0, is_llm=False)
    belief = believed(MAYBE, seen(TOOL_DONE, shown))
    assert belief.expected.tool == pytest.approx(100.0)
    assert belief.interval == pytest.approx((100.0, 100.0))
    assert belief.marginal(belief.profile.index[Aspect.UNITS, ("y", 0)])[0] == 0.0


def test_a_stage_that_had_its_chance_will_not_come():
    assert believed(MAYBE, seen(TOOL_DONE)).expected.total == 0.0
    assert believed(MAYBE, seen(TOOL_DONE)).interval == (0.0, 0.0)
    # It is done, but what it makes has not been shown yet.
    assert believed(MAYBE, seen(replace(TOOL_DONE, growing=True))).expected.tool == pytest.approx(50.0)


def test_a_finished_job_has_nothing_left():
    job = one(*rounds(5))
    known = beliefs(*[rounds(2 + job % 5) for job in range(20)])
    assert believed(known, completed(job)).expected.total == 0.0


def test_a_loop_has_the_rounds_left_that_jobs_had_which_came_as_far():
    """Jobs have 3 or 6 rounds: after the third, it is three more or none."""
    known = beliefs(*[rounds(3 + 3 * (job % 2)) for job in range(40)])
    states = [believed(known, now) for now in course(one(*rounds(6)))]
    tools = [belief.expected.tool for belief in states]
    assert tools[0] == pytest.approx(4.5, abs=0.1)
    assert tools[6] == pytest.approx(2 + 1, abs=0.1)  # in round 4: three tools are done, three more are sure
    assert all(later <= sooner + 1e-6 for sooner, later in pairwise(tools[6:]))


def test_prompts_of_later_rounds_grow():
    known = beliefs(*[rounds(6) for _ in range(20)])
    arrival, *_ = course(one(*rounds(6)))
    whole = sum(WORK.work(100 * place, 10 + place) for place in range(6))
    assert believed(known, arrival).expected.llm == pytest.approx(whole, rel=0.1)


def test_stages_of_a_pool_come_on_average():
    """One job in eight has an odd tool of 8 s; there is no variable for it."""
    jobs = [
        [tool("x"), *([tool(f"odd{job}", "x", seconds=8.0, generated_by="x")] if job % 8 == 0 else [])]
        for job in range(40)
    ]
    known = beliefs(*jobs)
    odd_seconds = (5 * 8.0 + 2 * 80.0 / 45) / (5 + 2)  # drawn towards the mean of all tools
    assert believed(known, seen(TOOL_READY)).expected.tool == pytest.approx(1.0 + odd_seconds / 8, abs=0.05)
    assert believed(known, seen(TOOL_DONE)).expected.tool == 0.0
    odd = StageSeen(name="odd8", occurrence=0, is_llm=False)
    assert believed(known, seen(TOOL_DONE, odd)).expected.tool == pytest.approx((8.0 + 2 * 80.0 / 45) / 3)


def test_a_stage_nobody_knows_is_like_others_of_its_kind():
    new = StageSeen(name="new", occurrence=0, is_llm=False)
    assert believed(MAYBE, seen(TOOL_DONE, new)).expected.tool == pytest.approx((40 * 1.0 + 20 * 100.0) / 60)


def test_samples_agree_with_the_mean_and_the_support():
    belief = believed(MAYBE, seen(TOOL_READY))
    left = belief.samples(uniforms(belief, 2000))
    assert set(left[:, 1].tolist()) == {1.0, 101.0}
    assert left.mean(axis=0) == pytest.approx([0.0, belief.expected.tool], rel=0.05)
    assert belief.quantiles([0.1, 0.9], uniforms(belief, 2000)).tolist() == [1.0, 101.0]


def test_samples_are_joint():
    belief = believed(LINKED, seen(X_READY, Y_WAITING))
    total = belief.samples(uniforms(belief, 1000))[:, 0]
    assert (np.abs(total - 41.0) > 15.0).mean() > 0.8  # both short or both long


def test_samples_count_rounds_too():
    known = beliefs(*[rounds(3 + 3 * (job % 2)) for job in range(40)])
    belief = believed(known, next(course(one(*rounds(6)))))
    left = belief.samples(uniforms(belief, 2000))
    assert left.mean(axis=0) == pytest.approx(belief.expected, rel=0.1)


def test_a_stage_that_jobs_show_at_arrival_is_absent_if_this_one_did_not():
    jobs = [[llm("x"), *([tool("early")] if job % 2 else []), llm("y", "x", generated_by="x")] for job in range(20)]
    assert believed(beliefs(*jobs), seen(replace(X_READY, prompt_tokens=0, left_prompt_tokens=0))).expected == (
        2.0,
        0.0,
    )


def test_what_a_network_holds_impossible_is_believed_without_evidence():
    jobs = history(*[[llm("x", outputs=[size]), llm("y", "x", outputs=[size])] for size in [10, 30] * 20])
    profile = learn(jobs)["a"]
    sure = Network(profile.network.names, ((), (0,)), (np.array([1.0, 0.0]), np.eye(2)))
    known = Beliefs({"a": replace(profile, network=sure, linear=None)}, WORK)
    x = replace(X_READY, done=True, left=0, units=30.0)
    assert believed(known, seen(x, Y_WAITING)).expected.llm == 10.0


def test_what_no_job_had_before_leaves_a_belief():
    x = replace(X_READY, done=True, left=0, units=1e9)
    assert believed(LINKED, seen(x, Y_WAITING)).expected.llm > 20.0


def test_evidence_says_nothing_of_what_has_not_been_shown():
    profile = learn(
        history(*[[llm("x", outputs=[1 + job % 2]), llm("y", "x", outputs=[1 + job % 3])] for job in range(30)])
    )["a"]
    assert set(evidence(profile, seen(X_READY, Y_WAITING))) <= {profile.index.get((Aspect.PROMPT, ("x", 0)), -1)}


@pytest.mark.parametrize(
    ("name", "share"),
    [("factool_kbqa", 0.5), ("got_docmerge", 0.5), ("langchain_mapreduce", 0.5), ("factool_math", 0.5)],
)
def test_beliefs_of_recorded_jobs_beat_the_mean_less_what_is_done(traces: Path, name: str, share: float):
    """Squared error of LLM work, on jobs that nothing was learned from, whenever a stage has ended."""
    work = WorkModel()
    past = _jobs(traces / "history" / f"{name}.jsonl")
    known = Beliefs(learn(past), work)
    mean = np.mean([_work_of(job, 0) for job in past])
    ours, others = [], []
    for job in _jobs(traces / "dev" / f"{name}.jsonl"):
        for place, now in enumerate(course(job)):
            left = _work_of(job, place)
            ours.append((believed(known, now).expected.llm - left) ** 2)
            others.append((max(0.0, mean - (_work_of(job, 0) - left)) - left) ** 2)
    assert sum(ours) < share * sum(others)


def _work_of(job: TraceJob, start: int) -> float:
    """LLM work from this stage on."""
    tasks = [task for stage in job.stages[start:] if stage.is_llm for task in stage.tasks]
    return sum(WorkModel().work(task.prompt_tokens or 0, task.output_tokens or 0) for task in tasks)


def _jobs(file: Path) -> list[TraceJob]:
    with file.open() as lines:
        return list(read_history(lines, file.name))
