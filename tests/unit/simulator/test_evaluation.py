"""Figures, targets and pages of the evaluation, on runs whose numbers are known."""

from __future__ import annotations

import pytest

from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import learn
from services.scheduler.core import make_policy
from services.scheduler.core.policies.base import Knowledge
from simulator.compare.study import Condition, StudyRun
from simulator.evaluation.beliefs import remaining, score, spaced
from simulator.evaluation.figures import Cell, always, at_loads, figures, of_mix, ratio, reduction
from simulator.evaluation.markdown import NoSuchPart, marks, part, replaced
from simulator.evaluation.plan import (
    FAITHFUL,
    FLAGSHIP,
    ORACLE,
    Scale,
    ablations,
    ablations_study,
    baselines,
    policies_study,
    sweep,
)
from simulator.evaluation.sheets import Sheet, ablation_sheets, policies_sheets
from simulator.evaluation.targets import targets
from simulator.variants import label
from tests.unit.simulator.recorded import LONG, SHORT, WORK, job, llm, telling, told, tool
from tests.unit.simulator.test_compare_summary import run

MIXES = ("predefined", "chain", "planning", "mixed")
OTHERS = ("fair", "fcfs", "sjf")


def one_run(policy: str, jct: float, mix: str, load: float, seed: int) -> StudyRun:
    """All its three jobs take that long, the last one twice."""
    found = run(policy, {0: jct, 1: jct, 2: 2 * jct}, seed=seed, load=load)
    return StudyRun(Condition(mix, load, seed), found.result)


def cells(**jct: float) -> list[Cell]:
    """Two seeds of all mixes and loads, where jobs take as long as it says, by policy; seed 1 takes twice as long."""
    times = {FLAGSHIP: 9.0, FAITHFUL: 9.0, ORACLE: 10.0, "fcfs": 20.0, "fair": 15.0, "sjf": 10.0}
    times.update({name.replace("_", "-"): seconds for name, seconds in jct.items()})
    runs = [
        one_run(policy, seconds * (seed + 1), mix, load, seed)
        for mix in MIXES
        for load in (0.7, 0.95, 1.5)
        for seed in (0, 1)
        for policy, seconds in times.items()
    ]
    return figures(runs, 200)


def test_cells_pool_the_jobs_of_their_seeds():
    found = cells()
    assert len(found) == 12
    cell = found[0]
    assert (cell.name, cell.seeds, cell.mean["fcfs"], cell.p95["fcfs"]) == ("predefined 0.7", 2, 40.0, 40.0)
    assert cell.estimate("fcfs").low < 40.0 < cell.estimate("fcfs").high
    assert cell.best(OTHERS) == "sjf"


def test_ratios_are_paired_by_job_and_averaged_over_cells():
    found = cells()
    assert ratio(found, "fair", always("fcfs")) == pytest.approx((0.75, 0.75, 0.75))
    assert reduction(of_mix(found, "chain"), FAITHFUL, "sjf") == pytest.approx((0.1, 0.1, 0.1))
    assert [cell.load for cell in at_loads(of_mix(found, "chain"), (0.95, 1.5))] == [0.95, 1.5]


def test_intervals_tell_of_differences_between_seeds():
    runs = [
        one_run(policy, jct, "chain", 0.7, seed)
        for seed in range(4)
        for policy, jct in (("fcfs", 10.0), ("fair", 8.0 + seed))
    ]
    found = ratio(figures(runs, 500), "fair", always("fcfs"))
    assert found.value == pytest.approx(0.95)
    assert found.low < 0.9 < 1.0 < found.high


def test_targets_that_are_met():
    found = targets(cells(), OTHERS)
    assert all(goal.met for goal in found)
    assert [goal.name for goal in found] == ["T1", "T1", "T1", "T2", "T2", "T3", "T3", "T3"]
    assert found[0].value == pytest.approx(0.9)
    assert found[0].missed_by == pytest.approx(-0.05)
    assert found[0].interval == pytest.approx((0.9, 0.9))


def test_targets_that_are_missed_say_by_how_much_and_where():
    runs = [
        one_run(policy, seconds, mix, load, 0)
        for mix in MIXES
        for load in (0.95, 1.5)
        for policy, seconds in {
            FLAGSHIP: 12.0 if (mix, load) == ("chain", 1.5) else 9.9,
            FAITHFUL: 10.5 if mix == "mixed" else 9.0,
            ORACLE: 9.0,
            "fcfs": 20.0,
            "fair": 15.0,
            "sjf": 10.0,
        }.items()
    ]
    average, worst, tail, to_oracle, hoped, _, _, sjf = targets(figures(runs, 100), OTHERS)
    assert (average.met, average.value) == (False, pytest.approx((7 * 0.99 + 1.2) / 8))
    assert (worst.met, worst.where, worst.value) == (False, "chain 1.5", pytest.approx(1.2))
    assert (tail.met, tail.where, tail.value) == (False, "chain 1.5", pytest.approx(1.2))
    assert (to_oracle.met, hoped.met, hoped.wish) == (False, False, True)
    assert to_oracle.missed_by == pytest.approx((7 * 1.1 + 12 / 9) / 8 - 1.05)
    assert (sjf.met, sjf.where, sjf.missed_by) == (False, "mixed 1.5", pytest.approx(0.05))


def test_a_long_tail_of_the_oracle_excuses_ours():
    found = targets(cells(clairvoyant_srpt=30.0, gittins=25.0), OTHERS)
    assert (found[2].met, found[2].value) == (True, pytest.approx(25 / 30))
    assert not found[0].met


def test_tables_say_what_was_found():
    found = cells()
    tables = policies_sheets(found, OTHERS, targets(found, OTHERS))
    goals, to_oracle, faithful, flagship, *mixes = tables
    assert [row[-1] for row in goals.rows] == ["met"] * 8
    assert to_oracle.rows[0][0] == FLAGSHIP
    assert to_oracle.rows[0][1:] == ["0.90"] * 12 + ["0.900 (0.900 to 0.900)"]
    assert faithful.rows[0] == ["fcfs", *["55.0 % (55 to 55)"] * 4]
    assert [row[0] for row in flagship.rows] == ["fcfs", "fair", "sjf"]
    assert [sheet.title for sheet in mixes] == [f"Mix {mix}" for mix in MIXES]
    assert mixes[0].rows[0][2:4] == ["18.0", "1.00"]
    assert all(len(row) == len(sheet.columns) for sheet in tables for row in sheet.rows)


def test_ablations_are_ratios_to_the_whole_policy():
    names = [FLAGSHIP, FAITHFUL, *ablations(FLAGSHIP), *ablations(FAITHFUL), *sweep().values()]
    runs = [
        one_run(name, 12.0 if name == "gittins:without=network" else 10.0, mix, 1.5, 0)
        for mix in MIXES
        for name in dict.fromkeys(names)
    ]
    ours, theirs, numbers = ablation_sheets(figures(runs, 100))
    assert ours.rows[0] == ["without=network", *["1.200 (1.200 to 1.200)"] * 5]
    assert [row[0] for row in theirs.rows] == ["without=network", "without=information", "epsilon=0"]
    assert [row[0] for row in numbers.rows] == ["ε = 0.1", "ε = 0.2", "ε = 0.5"]


def test_what_is_run_can_run():
    ours = policies_study(Scale(), 0, (), WORK)
    assert {label(one) for one in ours.policies} == {FLAGSHIP, FAITHFUL, ORACLE, *baselines()}
    assert ours.seeds == (0, 1, 2, 3, 4)
    variants = ablations_study(Scale(ablation_seeds=2), 3, WORK)
    assert variants.seeds == (3, 4)
    labels = [label(one) for one in variants.policies]
    assert len(set(labels)) == len(labels)
    assert {"gittins:without=index", "llmsched:epsilon=0", "llmsched:without=information"} < set(labels)
    for one in variants.policies:
        make_policy(one, Knowledge())


def test_a_part_of_a_page_is_replaced_and_nothing_else():
    begin, end = marks("x policies")
    page = f"# Mine\n\n{begin}\nold\n{end}\n\nmore\n"
    sheet = Sheet(title="T", note="N.", columns=["", "a|b"], rows=[["x", "1"]])
    text = part("llmsched reproduce llmsched", {"seeds": "0 to 4"}, [sheet])
    found = replaced(page, "x policies", text)
    assert found.startswith(
        f"# Mine\n\n{begin}\n\n```sh\nllmsched reproduce llmsched\n```\n\nseeds: 0 to 4\n\n**T.** N."
    )
    assert "| --- | --: |\n| x | 1 |" in found
    assert "a\\|b" in found
    assert found.endswith(f"{end}\n\nmore\n")
    assert replaced(found, "x policies", text) == found
    with pytest.raises(NoSuchPart, match="x beliefs"):
        replaced(page, "x beliefs", text)


def test_what_is_left_of_a_job_counts_whole_stages():
    one = job(llm("a", tokens=(2,)), tool("b", "a", seconds=(1.0, 3.0)), llm("c", "b", tokens=(5,)))
    assert remaining(one, WORK) == [11.0, 9.0, 5.0]


def test_beliefs_that_see_the_first_stage_are_better_with_the_network():
    known = Beliefs(learn(told()), WORK)
    told_of: list[None] = []
    held_out = {"telling": [telling(SHORT), telling(LONG)], "unknown": [job(llm("a"), app="unknown")]}
    learnt = score(known, held_out, lambda: told_of.append(None))
    independent = score(known.independent(), held_out)
    assert (learnt["telling"].count, learnt["unknown"].count, len(told_of)) == (4, 0, 3)
    assert learnt["telling"].crps < 0.8 * independent["telling"].crps


def test_held_out_jobs_come_from_all_along_the_row():
    jobs = [job(llm("a"), job_id=str(number)) for number in range(10)]
    assert [one.job_id for one in spaced(jobs, 4)] == ["0", "2", "5", "7"]
    assert spaced(jobs, 20) == jobs
