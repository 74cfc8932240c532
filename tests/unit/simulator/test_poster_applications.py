"""The poster's three applications have the shapes that their sources say."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random
from statistics import fmean

import pytest

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, read_history, write_jobs
from simulator.generate.applications.base import ParametricApplication
from simulator.generate.applications.code_generation import CodeGeneration, failure_probability
from simulator.generate.applications.sorting import Sorting
from simulator.generate.applications.task_automation import TASKBENCH, TaskAutomation
from simulator.workload import task_work

ALL = (Sorting(), Sorting(folded=True, scoring=1.0), CodeGeneration(), TaskAutomation())


def make(application: ParametricApplication, count: int, seed: int = 1) -> list[TraceJob]:
    random = Random(seed)
    return [application.job(random, f"job-{place}") for place in range(count)]


def seconds(stage: TraceStage) -> float:
    """The stage's longest task."""
    return max(task_work(stage, task, WorkModel()) for task in stage.tasks)


@pytest.mark.parametrize("application", ALL, ids=lambda one: f"{one.name}")
def test_jobs_depend_on_the_generator_only_and_pass_the_reader(application):
    made = make(application, 20)
    assert made == make(application, 20)
    assert made != make(application, 20, seed=2)
    assert {(job.app, job.structure) for job in made} == {(application.name, application.structure)}
    assert [job.stages for job in read_history(write_jobs(made), "made")] == [job.stages for job in made]


# ---- sorting -------------------------------------------------------------------------------------------------------


def test_sorting_is_the_recorded_graph():
    (job,) = make(Sorting(), 1)
    assert Counter(stage.name for stage in job.stages) == {"split": 1, "sort": 8, "merge": 7, "improve": 7}
    widths = {stage.id: (len(stage.parents), len(stage.tasks)) for stage in job.stages}
    assert widths["split-0-0"] == (0, 1)
    assert widths["sort-1-7"] == (1, 5)
    assert widths["merge-2-3"] == (2, 10)
    assert widths["improve-7-0"] == (1, 10)
    parents = {stage.id: stage.parents for stage in job.stages}
    assert parents["merge-2-3"] == ("sort-1-6", "sort-1-7")
    assert parents["merge-4-1"] == ("improve-3-2", "improve-3-3")


def test_folded_sorting_does_one_operation_after_the_other():
    graph, folded = make(Sorting(), 1)[0], make(Sorting(folded=True), 1)[0]
    assert [stage.name for stage in folded.stages] == ["split", "sort", "merge", "improve"]
    assert all(later.parents == (earlier.id,) for earlier, later in pairwise(folded.stages))
    levels: dict[str, dict[str, float]] = {}
    for stage in graph.stages:
        slowest = levels.setdefault(stage.name, {})
        level = stage.id.split("-")[1]
        slowest[level] = max(slowest.get(level, 0.0), seconds(stage))
    for stage in folded.stages:
        assert seconds(stage) == pytest.approx(sum(levels[stage.name].values()))


def test_scores_take_a_multiple_of_what_they_score():
    (job,) = make(Sorting(folded=True, scoring=0.5), 1)
    by_id = {stage.id: stage for stage in job.stages}
    scores = [stage for stage in job.stages if stage.name == "score"]
    assert [by_id[score.parents[0]].name for score in scores] == ["sort", "merge", "improve"]
    for score in scores:
        assert seconds(score) == pytest.approx(seconds(by_id[score.parents[0]]) / 2, abs=1e-6)
    assert by_id["improve-3-0"].parents == ("score-merge-2-0",)


# ---- code generation -----------------------------------------------------------------------------------------------


def test_code_generation_is_a_chain_of_2_to_20_stages():
    made = make(CodeGeneration(mean_rounds=3.0), 4000)
    lengths = Counter(len(job.stages) for job in made)
    assert set(lengths) == set(range(2, 21, 2))
    assert fmean(len(job.stages) / 2 for job in made) == pytest.approx(3.0, rel=0.03)
    fails = failure_probability(3.0, 10)
    for length in (2, 4, 6):
        assert lengths[length + 2] / lengths[length] == pytest.approx(fails, rel=0.1)
    job = max(made, key=lambda one: len(one.stages))
    assert [stage.name for stage in job.stages] == ["draft", "test"] * 10
    assert all(later.parents == (earlier.id,) for earlier, later in pairwise(job.stages))
    assert [stage.generated_by for stage in job.stages[:5]] == [None, None, "test-0", "test-0", "test-1"]


def test_more_rounds_continue_a_job():
    few, many = (CodeGeneration(mean_rounds=mean).job(Random(3), "j").stages for mean in (1.5, 5.0))
    assert len(few) < len(many)
    assert many[: len(few)] == few


@pytest.mark.parametrize("mean", [1.0, 2.3, 5.4])
def test_rounds_have_the_mean_asked_for(mean):
    fails = failure_probability(mean, 10)
    weights = [fails**turn for turn in range(10)]
    assert sum(turn * weight for turn, weight in enumerate(weights, 1)) / sum(weights) == pytest.approx(mean)


@pytest.mark.parametrize("mean", [0.9, 5.5])
def test_a_mean_that_ten_rounds_cannot_have_is_refused(mean):
    with pytest.raises(ValueError, match=f"mean_rounds must be from 1 to below 5.5, not {mean}"):
        CodeGeneration(mean_rounds=mean)


# ---- task automation -----------------------------------------------------------------------------------------------


def test_task_automation_plans_as_many_steps_as_recorded():
    made = make(TaskAutomation(), 5000)
    counts = Counter(sum(stage.generated_by == "plan" for stage in job.stages) for job in made)
    total = sum(weight for _, weight in TASKBENCH)
    for steps, weight in TASKBENCH:
        assert counts[steps] / 5000 == pytest.approx(weight / total, abs=0.02)
    assert set(counts) <= {steps for steps, _ in TASKBENCH}
    several = [job for job in made if len(job.stages[-1].parents) > 1]
    assert len(several) / 5000 == pytest.approx(72 / 511, abs=0.02)


def test_the_answer_waits_for_all_steps():
    (job,) = make(TaskAutomation(steps=((3, 1),), beside=1.0), 1)
    parents = {stage.id: stage.parents for stage in job.stages}
    assert parents == {
        "plan": (),
        "step-0": ("plan",),
        "step-1": ("plan",),
        "step-2": ("plan",),
        "answer": ("step-0", "step-1", "step-2"),
    }
    assert [stage.generated_by for stage in job.stages] == [None, "plan", "plan", "plan", None]
