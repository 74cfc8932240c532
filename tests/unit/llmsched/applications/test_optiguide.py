"""The supply chain, its solver, and the application around it."""

import json
from random import Random
from typing import Any

import pytest

from llmsched.applications.catalogue import REFERENCE_APPLICATIONS
from llmsched.applications.optiguide.inputs import make_input
from llmsched.applications.optiguide.model import (
    CAFES,
    KINDS,
    ROASTERIES,
    SITES,
    SUPPLIERS,
    Change,
    SupplyChain,
    apply,
)
from llmsched.applications.optiguide.solver import Solution, obstacles, solve
from llmsched.applications.optiguide.tools import check, review, solve_changed
from services.planner.core.model import LlmCall
from tests.unit.llmsched.applications.in_memory import GARBAGE, HALF_A_CHARACTER, run

QUESTION = {"question": "What if the castle cafe needs half as much again?"}


def changes(*made: dict[str, Any]) -> str:
    return json.dumps({"changes": list(made)})


def solved(*made: Change) -> Solution:
    chain = SupplyChain()
    for change in made:
        chain = apply(chain, change)
    return solve(chain)


def test_the_plan_keeps_every_limit_and_meets_every_demand() -> None:
    chain, plan = SupplyChain(), solve(SupplyChain())
    assert not plan.unmet
    for supplier in SUPPLIERS:
        assert sum(plan.flows.get((supplier, r), 0) for r in ROASTERIES) <= chain.capacity[supplier]
    for roastery in ROASTERIES:
        beans = sum(plan.flows.get((s, roastery), 0) for s in SUPPLIERS)
        assert beans == sum(plan.flows.get((roastery, c), 0) for c in CAFES) <= chain.capacity[roastery]
    for cafe in CAFES:
        wanted = sum(chain.demand[cafe, kind] for kind in KINDS)
        assert sum(plan.flows.get((r, cafe), 0) for r in ROASTERIES) == wanted


def test_the_plan_is_the_cheapest() -> None:
    """With one supplier, one roastery and no limits the cost can be said without a solver."""
    chain = apply(SupplyChain(), Change(kind="close", of="south"))
    for supplier in ("andes", "island"):
        chain = apply(chain, Change(kind="close", of=supplier))
    for site in ("highland", "north"):
        chain = apply(chain, Change(kind="capacity", of=site, percent=1000))
    per_tonne = {cafe: 260 + 60 + chain.shipping["north", cafe] for cafe in CAFES}
    expected = sum(
        tonnes * (per_tonne[cafe] + chain.roasting["north", kind]) for (cafe, kind), tonnes in chain.demand.items()
    )
    assert solve(chain).cost == expected


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        (Change(kind="demand", of="castle", percent=150), 1),
        (Change(kind="demand", of="castle", percent=50), -1),
        (Change(kind="capacity", of="highland", percent=50), 1),
        (Change(kind="cost", of="andes", percent=110), 1),
        (Change(kind="cost", of="south", percent=50), -1),
        (Change(kind="cost", of="north", to="bridge", percent=200), 1),
        (Change(kind="close", of="highland"), 1),
        (Change(kind="forbid_route", of="south", to="castle"), 1),
        (Change(kind="forbid_route", of="highland", to="north"), 0),
    ],
)
def test_a_change_moves_the_cost_as_it_should(change: Change, effect: int) -> None:
    difference = solved(change).cost - solve(SupplyChain()).cost
    assert (difference > 0) - (difference < 0) == effect
    assert change.of in change.told()


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([Change(kind="close", of="south")], "open roasteries can roast at most 160 t, but the cafes need 230 t"),
        ([Change(kind="capacity", of="andes", percent=10)], "open suppliers can deliver at most 175 t"),
        ([Change(kind="forbid_route", of=r, to="castle") for r in ROASTERIES], "no roastery may deliver to castle"),
        ([Change(kind="forbid_route", of=s, to="north") for s in SUPPLIERS], "no supplier may deliver to north"),
        (
            [Change(kind="forbid_route", of="south", to="castle"), Change(kind="capacity", of="north", percent=50)],
            "north can deliver at most 80 t to castle, which needs 90 t",
        ),
        (
            [Change(kind="forbid_route", of="andes", to=r) for r in ROASTERIES],
            "cannot bring enough to every cafe at the same time",
        ),
    ],
)
def test_what_cannot_be_met_is_explained_with_what_is_lacking(made: list[Change], why: str) -> None:
    found = solve_changed([{"kind": c.kind, "of": c.of, "to": c.to, "percent": c.percent} for c in made])
    assert not found["feasible"]
    assert found["cost_after"] is None
    assert any(why in each for each in found["obstacles"]), found["obstacles"]
    assert found["unmet"]
    assert any(each.startswith(found["unmet"][0]["cafe"] + " lacks") for each in found["facts"])


def test_nothing_stands_against_the_chain_of_today_but_the_general_answer() -> None:
    assert len(obstacles(SupplyChain())) == 1
    assert solve_changed([])["facts"] == ["Cost today 94300 euros, then 94300 euros: no difference"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "demand", "of": "north"}, "only cafes have a demand"),
        ({"kind": "capacity", "of": "castle"}, "only suppliers and roasteries have a capacity"),
        ({"kind": "cost", "of": "castle"}, "only suppliers, roasteries and routes"),
        ({"kind": "close", "of": "bridge"}, "can be closed"),
        ({"kind": "forbid_route", "of": "andes", "to": "castle"}, "there is no route from 'andes' to 'castle'"),
        ({"kind": "paint", "of": "andes"}, "there is no change 'paint'"),
        ({"kind": "close", "of": "moon"}, "must name sites"),
        ({"kind": "close", "of": ["andes"]}, "must name sites"),
        ({"kind": "close"}, "a change has kind and of"),
        ({"kind": "cost", "of": "andes", "percent": "much"}, "whole number"),
        ({"kind": "cost", "of": "andes", "percent": -5}, "from 0 to 1000"),
        ({"kind": "cost", "of": "andes", "percent": 10**400}, "from 0 to 1000"),
        ("andes", "a change has kind and of"),
    ],
)
def test_an_invalid_change_is_a_problem_in_words(change: Any, why: str) -> None:
    found = check(changes(change))
    assert not found["valid"]
    assert why in found["problems"][0]
    assert found["changes"] == []


def test_valid_changes_are_kept_beside_invalid_ones() -> None:
    good = {"kind": "close", "of": "andes"}
    found = check(changes(good, good, {"kind": "close", "of": "castle"}))
    assert [each["of"] for each in found["changes"]] == ["andes"]
    assert found["told"] == ["andes is closed"]
    assert check(changes({"kind": "demand", "of": "castle", "to": "north", "percent": 50}))["told"] == [
        "the demand of castle is 50 % of today's"
    ]
    assert found["problems"][0].startswith("change 3")


def test_numbers_of_a_report_are_compared_with_the_facts() -> None:
    facts = ["Cost today 94300 euros, then 97900 euros: 3600 euros or 3.8 % more"]
    assert review("It costs 97,900 euros, 3.80 % more.", facts)["problems"] == []
    assert "5000" in review("It costs 5000 euros.", facts, finish_reason="length")["problems"][0]
    assert review("We asked for 75 %.", facts, ["What if it costs 75 % more?"])["problems"] == []
    assert review("Short", facts, finish_reason="length")["problems"] == ["the report was cut off at the token limit"]
    assert review(" ", facts)["text"] == facts[0] + "."


def test_every_answer_that_the_schema_allows_is_told_apart() -> None:
    """Whatever a constrained model writes is either applied and solved or explained."""
    schema = REFERENCE_APPLICATIONS[[each.name for each in REFERENCE_APPLICATIONS].index("optiguide")].load()
    body: Any = schema.stages[0]
    parts = body.body[0].json_schema["properties"]["changes"]["items"]["properties"]
    assert set(parts["of"]["enum"]) == set(SITES)
    applied = 0
    for kind in parts["kind"]["enum"]:
        for of in parts["of"]["enum"]:
            for to in parts["to"]["enum"]:
                found = check(changes({"kind": kind, "of": of, "to": to, "percent": 120}))
                assert bool(found["changes"]) != bool(found["problems"])
                applied += found["valid"]
    assert applied > 40


def test_a_question_is_answered_in_one_round() -> None:
    def write(stage: str, call: LlmCall) -> str:
        assert QUESTION["question"] in call.messages[-1].content
        good = changes({"kind": "demand", "of": "castle", "to": "none", "percent": 150})
        return good if stage == "change" else "It costs 113750 euros, 20.6 % more."

    output, job = run("optiguide", QUESTION, write)
    assert [name for name, _ in job.calls] == ["change", "report"]
    assert output["rounds"] == 1
    assert (output["feasible"], output["cost_before"], output["cost_after"]) == (True, 94300, 113750)
    assert output["problems"] == []
    assert "island to north: 45 t more" in job.asked("report")[0].messages[-1].content


def test_an_impossible_change_is_sent_back_with_the_reason() -> None:
    def write(stage: str, call: LlmCall) -> str:
        if stage == "report":
            return "Castle lacks coffee."
        told = "only cafes have a demand" in call.messages[-1].content
        return changes({"kind": "close", "of": "south"} if told else {"kind": "demand", "of": "north"})

    output, job = run("optiguide", QUESTION, write)
    assert output["rounds"] == len(job.asked("change")) == 2
    assert output["feasible"] is False
    assert output["facts"][0] == "It is not possible to meet all demands"


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda text: repr(text[:20]))
def test_garbage_ends_in_a_result_that_says_so(garbage: str) -> None:
    output, job = run("optiguide", QUESTION, lambda stage, call: garbage, finish_reason="length")
    assert output["rounds"] == len(job.calls) == 3
    assert output["report"] == "The question could not be turned into a change of the model."
    assert output["problems"]
    assert output["cost_after"] is None


def test_a_bad_report_is_replaced_or_reported() -> None:
    def write(stage: str, call: LlmCall) -> str:
        return changes({"kind": "close", "of": "highland"}) if stage == "change" else ""

    output, _ = run("optiguide", QUESTION, write)
    assert output["report"].startswith("Cost today 94300 euros, then 97900 euros")
    assert output["problems"] == ["the model wrote no report; the facts stand in for it"]


def test_questions_vary_and_name_sites() -> None:
    random = Random(1)
    asked = [make_input(random)["question"] for _ in range(200)]
    assert len(set(asked)) > 150
    assert all(any(site in each for site in SITES) for each in asked)
    assert any(" and " in each for each in asked)


def test_half_a_character_is_refused() -> None:
    output, _ = run("optiguide", QUESTION, lambda stage, call: HALF_A_CHARACTER)
    assert "there is no change" in output["problems"][0]
