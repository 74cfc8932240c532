"""What a recorded job shows, and when."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
from hypothesis import given

from services.profiler.core.discretise import Bins
from services.profiler.core.trace import TraceJob, canonicals, generators, read_history
from services.profiler.core.variables import (
    Aspect,
    JobSeen,
    StageSeen,
    Variable,
    completed,
    course,
    least_units,
    measure,
)
from tests.unit.services.profiler.traces import jobs, line, stage, tool


def job(*stages: dict[str, object]) -> TraceJob:
    (found,) = read_history([line(*stages, arrival_seconds=...)], "h.jsonl")
    return found


def llm(*tokens: tuple[int, int]) -> list[dict[str, object]]:
    return [{"prompt_tokens": prompt, "output_tokens": output} for prompt, output in tokens]


PLANNED = job(
    stage("plan", kind="plan", tasks=llm((100, 7))),
    tool("n0", "plan", name="search", seconds=2.0, generated_by="plan"),
    tool("n1", "n0", name="search", seconds=4.0, generated_by="plan"),
    stage("answer", "n1", tasks=llm((30, 5), (10, 3))),
)


def names(seen: JobSeen) -> list[tuple[str, int]]:
    return [one.canonical for one in seen.stages]


def test_stages_are_told_apart_by_name_and_occurrence():
    assert canonicals(PLANNED) == {
        "plan": ("plan", 0),
        "n0": ("search", 0),
        "n1": ("search", 1),
        "answer": ("answer", 0),
    }


def test_a_generator_that_does_not_come_before_a_stage_makes_nothing_exist():
    odd = job(
        stage("a"), stage("b", "a", generated_by="a"), stage("c", "b", generated_by="a"), stage("d", generated_by="b")
    )
    assert generators(odd) == {"a": None, "b": "a", "c": "a", "d": None}


def test_a_stage_comes_after_all_that_its_parents_come_after():
    """d's parents share a parent, and neither comes after e."""
    diamond = job(stage("e"), stage("a"), stage("b", "a"), stage("c", "a"), stage("d", "b", "c", generated_by="e"))
    assert generators(diamond)["d"] is None


def test_a_job_shows_stages_when_they_exist_and_sizes_when_they_are_ready():
    arrival, planned, searched, last = course(PLANNED)
    assert names(arrival) == [("plan", 0), ("answer", 0)]
    plan, answer = arrival.stages
    assert (plan.width, plan.prompt_tokens, plan.left, plan.units, plan.done) == (1, 100, 1, 0.0, False)
    assert answer == StageSeen(name="answer", occurrence=0, is_llm=True)

    assert names(planned) == [("plan", 0), ("search", 0), ("search", 1), ("answer", 0)]
    assert [one.done for one in planned.stages] == [True, False, False, False]
    assert planned.stages[0].units == 7.0
    assert [one.width for one in planned.stages] == [1, 1, None, None]

    assert [one.units for one in searched.stages] == [7.0, 2.0, 0.0, 0.0]
    assert (last.stages[3].width, last.stages[3].left_prompt_tokens) == (2, 40)


def test_what_has_not_been_shown_changes_nothing_that_was():
    other = job(
        stage("plan", kind="plan", tasks=llm((100, 99))),
        stage("n0", "plan", name="write", tasks=llm((1, 1)), generated_by="plan"),
        stage("answer", "n0", tasks=llm((9, 9))),
    )
    assert next(course(other)) == next(course(PLANNED))


def test_measures_are_means_over_tasks_and_known_only_in_time():
    done = completed(PLANNED).stages[3]
    assert [measure(aspect, done) for aspect in (Aspect.PROMPT, Aspect.WIDTH, Aspect.UNITS)] == [20.0, 2.0, 4.0]
    ready = list(course(PLANNED))[-1].stages[3]
    assert [measure(aspect, ready) for aspect in (Aspect.PROMPT, Aspect.WIDTH, Aspect.UNITS)] == [20.0, 2.0, None]
    waiting = next(course(PLANNED)).stages[1]
    assert measure(Aspect.WIDTH, waiting) is None


def test_a_stage_without_tasks_measures_0():
    (empty,) = completed(job(stage("a", tasks=[]))).stages
    assert [measure(aspect, empty) for aspect in (Aspect.PROMPT, Aspect.WIDTH, Aspect.UNITS)] == [0.0, 0.0, 0.0]
    assert least_units(empty) == 0.0


def test_what_tasks_have_used_bounds_their_mean():
    running = StageSeen(name="a", occurrence=0, is_llm=True, width=4, units=10.0, running_units=6.0, left=3)
    assert least_units(running) == 4.0


def test_unknown_tokens_and_seconds_count_as_0():
    unknown = job(stage("a", tasks=[{"prompt_tokens": None, "output_tokens": None}]), tool("t", seconds=None))
    assert [(one.prompt_tokens, one.units) for one in completed(unknown).stages] == [(0, 0.0), (0, 0.0)]


def test_an_optional_variable_has_a_state_for_absent():
    bins = Bins(np.array([2.0]), (np.array([1.0]), np.array([3.0])))
    always, sometimes = (Variable(Aspect.UNITS, ("a", 1), bins, optional) for optional in (False, True))
    assert (always.card, always.state(3.0), always.numbers(bins.means).tolist()) == (2, 1, [1.0, 3.0])
    assert (sometimes.card, sometimes.state(3.0), sometimes.state(None)) == (3, 2, 0)
    assert sometimes.numbers(bins.means).tolist() == [0.0, 1.0, 3.0]
    assert (sometimes.label, Variable(Aspect.WIDTH, ("a", 0), bins).label) == ("units of a#1", "width of a")
    again = Variable.of_plain(json.loads(json.dumps(sometimes.plain())))
    assert (again.aspect, again.stage, again.card, again.optional) == (Aspect.UNITS, ("a", 1), 3, True)


@given(jobs())
def test_every_job_shows_more_and_more_and_in_the_end_all(job: TraceJob):
    shown = [set(names(seen)) for seen in course(job)]
    assert len(shown) == len(job.stages)
    assert all(before <= after for before, after in pairwise(shown))
    assert shown[-1] == set(names(completed(job)))
    assert [sum(one.done for one in seen.stages) for seen in course(job)] == list(range(len(job.stages)))
