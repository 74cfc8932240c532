"""Which applications belong to a mix, and what its load means."""

import pytest

from services.profiler.core.statistics import WorkModel
from simulator.cluster import ClusterShape
from simulator.generate import RecipeError, choose, reference_cluster
from simulator.generate.load import Demand, load_of_rate, mean_demand, rate_of_load
from tests.unit.simulator.generate_jobs import recorded

ONE_OF_EACH = {
    "merge": [recorded("merge")],
    "check": [recorded("check", structure="width")],
    "react": [recorded("react", structure="chain")],
    "reduce": [recorded("reduce", structure="chain+width")],
    "plan": [recorded("plan", structure="generated")],
}


@pytest.mark.parametrize(
    ("mix", "applications"),
    [
        ("predefined", ["check", "merge"]),
        ("chain", ["react", "reduce"]),
        ("planning", ["plan"]),
        ("mixed", ["check", "merge", "plan", "react", "reduce"]),
    ],
)
def test_structure_decides(mix, applications):
    assert list(choose(ONE_OF_EACH, mix=mix)) == applications


def test_the_most_uncertain_job_decides_for_its_application():
    jobs = {"new": [recorded("new"), recorded("new", structure="chain"), recorded("new", structure="width")]}
    assert list(choose(jobs, mix="chain")) == ["new"]
    with pytest.raises(
        RecipeError, match=r"no application belongs to the mix 'predefined'; applications: new \(chain\)"
    ):
        choose(jobs, mix="predefined")


def test_named_applications_and_everything():
    assert list(choose(ONE_OF_EACH, applications=["react", "check"])) == ["check", "react"]
    assert list(choose(ONE_OF_EACH)) == sorted(ONE_OF_EACH)


def test_every_application_that_is_not_there_is_named():
    with pytest.raises(RecipeError) as caught:
        choose(ONE_OF_EACH, applications=["reactt", "plan", "sort"])
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        "no jobs of application 'reactt'",
        "no jobs of application 'sort'",
    ]


def test_other_choices_that_make_no_sense():
    for choice in ({"mix": "chain", "applications": ["react"]}, {"mix": "all"}):
        with pytest.raises(RecipeError, match="mix"):
            choose(ONE_OF_EACH, **choice)
    with pytest.raises(RecipeError, match="no jobs"):
        choose({})


def test_the_reference_clusters():
    slots = {"predefined": 8, "chain": 12, "planning": 16, "mixed": 12}
    for mix, tool_slots in slots.items():
        assert reference_cluster(mix) == ClusterShape(
            llm_executors=2, max_batch=8, batch_slowdown=0.05, tool_slots=tool_slots
        )


def test_every_application_counts_the_same_in_the_mean():
    small = [recorded("small", output=10, tool=1.0)] * 3
    population = {"small": small, "large": [recorded("large", output=30, tool=5.0, tools=2)]}
    assert mean_demand(population, WorkModel(decode=1.0)) == Demand(llm_work=20.0, tool_seconds=5.5)


@pytest.mark.parametrize(
    ("demand", "seconds"),
    [
        (Demand(llm_work=54.0, tool_seconds=1.0), 54.0 / (2 * 8 / 1.35)),
        (Demand(llm_work=1.0, tool_seconds=40.0), 40.0 / 8),
        (Demand(llm_work=0.0, tool_seconds=4.0), 4.0 / 8),
    ],
)
def test_the_scarcer_half_of_the_cluster_sets_the_rate(demand, seconds):
    cluster = ClusterShape()
    assert rate_of_load(0.7, demand, cluster) == pytest.approx(0.7 / seconds)
    assert load_of_rate(rate_of_load(0.7, demand, cluster), demand, cluster) == pytest.approx(0.7)


def test_a_slowdown_table_counts_at_the_full_batch():
    cluster = ClusterShape(llm_executors=1, max_batch=4, slowdowns=(1.0, 2.0))
    assert rate_of_load(1.0, Demand(llm_work=6.0, tool_seconds=0.0), cluster) == pytest.approx(4 / 2.0 / 6.0)


def test_loads_that_no_cluster_has():
    nothing = ClusterShape(llm_executors=0, tool_slots=0)
    with pytest.raises(RecipeError) as caught:
        rate_of_load(1.0, Demand(llm_work=1.0, tool_seconds=1.0), nothing)
    assert len(caught.value.problems) == 2
    with pytest.raises(RecipeError, match="no work"):
        rate_of_load(1.0, Demand(llm_work=0.0, tool_seconds=0.0), ClusterShape())
