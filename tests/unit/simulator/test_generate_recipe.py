import pickle
from collections import Counter
from dataclasses import replace

import pytest

from services.profiler.core.statistics import WorkModel
from simulator.cluster import ClusterShape
from simulator.generate import Arrivals, Recipe, RecipeError, arrival_rate, make_workload
from tests.unit.simulator.generate_jobs import recorded

POPULATION = {
    "small": [recorded("small", str(index), output=10 + index) for index in range(50)],
    "large": [recorded("large", str(index), output=1000, structure="chain") for index in range(3)],
}


def drawn(jobs):
    return [(job.app, job.job_id) for job in jobs]


def test_equal_seeds_give_equal_jobs():
    recipe = Recipe(jobs=40, load=0.7)
    assert make_workload(recipe, POPULATION, 1) == make_workload(recipe, POPULATION, 1)
    assert drawn(make_workload(recipe, POPULATION, 1)) != drawn(make_workload(recipe, POPULATION, 2))


def test_applications_come_in_equal_parts_and_jobs_uniformly():
    jobs = make_workload(Recipe(jobs=4000, rate=1.0), POPULATION, 3)
    counts = Counter(drawn(jobs))
    assert sum(count for (app, _), count in counts.items() if app == "small") == pytest.approx(2000, rel=0.06)
    assert [counts["large", str(index)] for index in range(3)] == pytest.approx([667] * 3, rel=0.12)
    assert len([one for one in counts if one[0] == "small"]) == 50


def test_a_load_changes_arrivals_only_and_by_a_factor():
    light, heavy = (make_workload(Recipe(jobs=30, load=load), POPULATION, 5) for load in (0.5, 1.5))
    assert drawn(light) == drawn(heavy)
    expected = [3 * (job.arrival_seconds or 0) for job in heavy]
    assert [job.arrival_seconds for job in light] == pytest.approx(expected, abs=1e-5)


def test_the_arrival_process_changes_no_job():
    poisson = make_workload(Recipe(jobs=30, load=0.5), POPULATION, 5)
    bursty = make_workload(Recipe(jobs=30, load=0.5, arrivals=Arrivals(cv=3)), POPULATION, 5)
    assert drawn(poisson) == drawn(bursty)
    assert [job.arrival_seconds for job in poisson] != [job.arrival_seconds for job in bursty]


def test_a_longer_workload_begins_with_the_shorter_one():
    short, long = (make_workload(Recipe(jobs=count, load=0.5), POPULATION, 5) for count in (10, 30))
    assert long[:10] == short


def test_jobs_say_their_line():
    assert [job.line for job in make_workload(Recipe(jobs=3, load=1.0), POPULATION, 0)] == [1, 2, 3]


def test_the_rate_of_a_load_is_that_of_the_population():
    recipe = Recipe(jobs=1, load=0.5, applications=("large",), work=WorkModel(decode=0.1))
    capacity = 2 * 8 / 1.35
    assert arrival_rate(recipe, POPULATION) == pytest.approx(0.5 * capacity / 100)
    halved = replace(recipe, cluster=ClusterShape(llm_executors=1))
    assert arrival_rate(halved, POPULATION) == pytest.approx(0.25 * capacity / 100)


def test_a_mix_brings_its_applications_and_its_cluster():
    recipe = Recipe(jobs=20, mix="chain", load=0.5)
    assert {job.app for job in make_workload(recipe, POPULATION, 0)} == {"large"}
    assert recipe.shape.tool_slots == 12


def test_everything_that_makes_no_sense_is_named():
    with pytest.raises(RecipeError) as caught:
        Recipe(jobs=0, mix="chain", applications=("large",), load=-1.0, rate=float("inf"))
    assert len(caught.value.problems) == 5
    with pytest.raises(RecipeError, match="a load or a rate"):
        Recipe(jobs=1)


def test_a_recipe_for_another_population():
    with pytest.raises(RecipeError, match="planning"):
        make_workload(Recipe(jobs=1, mix="planning", rate=1.0), POPULATION, 0)


def test_the_problems_survive_the_way_from_another_process():
    error = pickle.loads(pickle.dumps(RecipeError(["one", "two"])))
    assert error.problems == ["one", "two"]
    assert str(error) == "one\ntwo"
