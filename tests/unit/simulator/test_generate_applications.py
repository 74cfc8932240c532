"""Built-in applications make jobs that the reader accepts and the simulator runs to the end."""

from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean, pstdev

import pytest

from services.profiler.core.trace import read_history, write_jobs
from services.scheduler.core import PolicySettings
from simulator.cluster import ClusterShape
from simulator.generate import Recipe, make_workload, parametric_population
from simulator.generate.applications import PARAMETRIC
from simulator.generate.applications.document_merging import DocumentMerging
from simulator.generate.applications.draws import Size
from simulator.generate.applications.llm_compiler import LlmCompiler
from simulator.generate.applications.web_search import WebSearch
from simulator.generate.mixes import structure_of
from simulator.run import RunSettings, run


def jobs(application, count=300, seed=1):
    random = Random(seed)
    return [application.job(random, f"job-{index}") for index in range(count)]


@pytest.mark.parametrize("name", sorted(PARAMETRIC))
def test_every_application(name):
    application = PARAMETRIC[name]()
    made = jobs(application, 50)
    assert application.name == name == made[0].app
    assert structure_of(made) == application.structure
    assert made == jobs(application, 50)
    assert made != jobs(application, 50, seed=2)
    assert [one.stages for one in read_history(write_jobs(made), name)] == [one.stages for one in made]


def test_the_documentation_lists_every_application():
    text = (Path(__file__).parents[3] / "docs" / "workloads.md").read_text()
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "`" in line]
    assert set(PARAMETRIC) <= set(listed)


@pytest.mark.parametrize("name", sorted(PARAMETRIC))
def test_every_job_ends_in_the_simulator(name):
    population = parametric_population({name: PARAMETRIC[name]()}, jobs=20)
    workload = make_workload(Recipe(jobs=20, load=0.9), population, 1)
    result = run(workload, RunSettings(policy=PolicySettings(name="fcfs"), cluster=ClusterShape()))
    assert (result.summary.jobs, result.failed) == (20, 0)


def test_a_history_holds_other_jobs_than_the_workload():
    made = {"web_search": WebSearch()}
    assert parametric_population(made, jobs=5) == parametric_population(made, jobs=5)
    first, other = (parametric_population(made, jobs=5, purpose=each) for each in ("workload", "history"))
    assert [job.stages for job in first["web_search"]] != [job.stages for job in other["web_search"]]


def test_sizes_have_the_moments_asked_for():
    random = Random(1)
    drawn = [Size(100, 0.5).draw(random) for _ in range(20_000)]
    assert fmean(drawn) == pytest.approx(100, rel=0.02)
    assert pstdev(drawn) / fmean(drawn) == pytest.approx(0.5, rel=0.05)
    assert Size(7.0).draw(random) == pytest.approx(7.0)
    assert max(Size(100, 0.5).tokens(random, 120) for _ in range(100)) == 120


def test_document_merging_is_the_graph_of_thoughts():
    job = DocumentMerging().job(Random(1), "j")
    assert [len(stage.tasks) for stage in job.stages] == [5, 15, 5, 15, 10, 30]
    assert all(stage.parents == (before.id,) for before, stage in pairwise(job.stages))
    merge, scores, aggregate = (stage.tasks for stage in job.stages[:3])
    known = merge[0].prompt_tokens
    assert scores[0].prompt_tokens == known - 230 + 350 + merge[0].output_tokens
    assert aggregate[0].prompt_tokens - known <= sum(sorted(task.output_tokens for task in merge)[-3:])


def test_web_search_goes_on_until_a_thought_answers():
    made = jobs(WebSearch(), 2000)
    searches = [sum(stage.kind == "tool" for stage in job.stages) for job in made]
    assert (min(searches), max(searches)) == (1, 6)
    assert fmean(searches) == pytest.approx((1 - 0.6**6) / 0.4, rel=0.05)
    assert searches.count(1) / len(searches) == pytest.approx(0.4, rel=0.08)
    longest = max(made, key=lambda job: len(job.stages))
    thoughts = [stage for stage in longest.stages if stage.kind == "llm"]
    assert len(thoughts) == 7
    assert [stage.generated_by for stage in thoughts] == [None, *(stage.id for stage in thoughts[:-1])]
    prompts = [stage.tasks[0].prompt_tokens for stage in thoughts]
    assert all(later > earlier for earlier, later in pairwise(prompts))


def test_llm_compiler_creates_what_its_plan_says():
    made = jobs(LlmCompiler(), 2000)
    firsts = [{stage.id: stage for stage in job.stages} for job in made]
    widths = [len(stages["search0"].tasks) for stages in firsts]
    assert [widths.count(width) / 2000 for width in (2, 3, 4, 5)] == pytest.approx(
        [21 / 113, 31 / 113, 31 / 113, 30 / 113], rel=0.12
    )
    assert fmean("combine0" in stages for stages in firsts) == pytest.approx(0.6, rel=0.06)
    assert fmean("plan1" in stages for stages in firsts) == pytest.approx(0.1, rel=0.25)
    again = next(stages for stages in firsts if "plan1" in stages)
    assert again["join0"].generated_by is None
    assert again["plan1"].kind == "plan"
    assert {again[name].generated_by for name in ("plan1", "join1")} == {"join0"}
    assert again["search1"].generated_by == "plan1"
    assert len(again["math0"].tasks) == len(again["search0"].tasks)
    assert again["plan1"].tasks[0].prompt_tokens > again["plan0"].tasks[0].prompt_tokens
