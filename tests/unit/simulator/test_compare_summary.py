"""From runs to cells, and from cells to words."""

from __future__ import annotations

import pytest

from services.common.drawing import Drawing, Scale, seconds, spread
from services.scheduler.core import POLICIES
from simulator.compare.palette import style
from simulator.compare.study import Condition, Knows, StudyRun, knows
from simulator.compare.summary import NothingToCompare, cells
from simulator.compare.words import headline, verdict
from simulator.metrics import summarise
from simulator.run import RunResult


def run(policy: str, jcts: dict[int, float], *, seed: int = 0, load: float = 0.7, failed: int = 0) -> StudyRun:
    """A run whose odd jobs are of application b."""
    applications = {order: "ab"[order % 2] for order in jcts}
    result = RunResult(
        policy=policy,
        summary=summarise(list(jcts.values())),
        per_application={},
        failed=failed,
        makespan=1.0,
        llm_utilisation=0.5,
        tool_utilisation=0.25,
        decisions=1,
        wall_seconds=0.1,
        jcts=tuple((order, applications[order], jct) for order, jct in jcts.items()),
    )
    return StudyRun(Condition("mix", load, seed), result)


def test_a_cell_pools_the_jobs_of_its_seeds():
    [cell] = cells(
        [
            run("fcfs", {0: 2.0, 1: 4.0}),
            run("fair", {0: 1.0, 1: 2.0}),
            run("fcfs", {0: 6.0, 1: 8.0}, seed=1),
            run("fair", {0: 3.0, 1: 4.0}, seed=1),
        ]
    )
    assert (cell.seeds, cell.best, cell.left_out) == (2, "fair", 0)
    fcfs = cell.rows["fcfs"]
    assert (fcfs.summary.jobs, fcfs.summary.mean_jct, fcfs.mean.value, fcfs.summary.max_jct) == (4, 5.0, 5.0, 8.0)
    assert fcfs.mean.low == pytest.approx(2.0)
    assert fcfs.mean.high == pytest.approx(8.0)
    assert fcfs.to_best == pytest.approx((2.0, 2.0, 2.0))  # paired by job: always twice as long
    assert fcfs.to_reference is None
    assert fcfs.applications["b"].summary.mean_jct == fcfs.applications["b"].mean.value == 6.0


def test_who_knows_the_future_is_a_reference_and_never_the_best():
    [cell] = cells([run("clairvoyant-srpt", {0: 1.0}), run("fair", {0: 4.0}), run("fcfs", {0: 2.0})])
    assert cell.best == "fcfs"
    assert cell.rows["clairvoyant-srpt"].to_best.value == 0.5
    assert cell.rows["fair"].to_reference is not None
    assert cell.rows["fair"].to_reference.value == 4.0


def test_jobs_that_failed_under_one_policy_count_under_none():
    [cell] = cells([run("fcfs", {0: 2.0, 2: 9.0}, failed=1), run("fair", {0: 1.0, 1: 50.0}, failed=1)])
    assert [row.summary.jobs for row in cell.rows.values()] == [1, 1]
    assert (cell.rows["fair"].mean.value, cell.rows["fair"].failed, cell.left_out) == (1.0, 1, 2)


def test_without_common_jobs_there_is_nothing_to_compare():
    with pytest.raises(NothingToCompare, match=r"mix mix, load 0\.7"):
        cells([run("fcfs", {}, failed=2), run("fair", {0: 1.0}, failed=1)])


def test_a_cell_does_not_depend_on_which_others_there_are():
    jcts = {order: float(order**2) for order in range(30)}
    alone = cells([run("fcfs", jcts)])
    beside = cells([run("fcfs", {0: 1.0}, load=0.5), run("fcfs", jcts)])
    assert alone[0] == beside[1]


def test_verdicts_say_what_is_clear_and_what_is_not():
    slow = {order: 10.0 + order % 5 for order in range(50)}
    fast = {order: jct / 2 for order, jct in slow.items()}
    mixed = {order: jct * (0.4 if order % 2 else 0.62) for order, jct in slow.items()}
    [cell] = cells(
        [run("fcfs", slow), run("fair", fast), run("plas", mixed), run("clairvoyant-srpt", dict.fromkeys(slow, 1.0))]
    )
    said = verdict(cell)
    assert (said.best, said.against, said.ties) == ("fair", "50\N{NO-BREAK SPACE}% (50 to 50) below fcfs", "plas")
    assert said.oracle.endswith("lower with clairvoyant-srpt")
    assert headline([cell])[0] == "Here, the lowest mean JCT without knowing the future is that of fair."


def test_equal_policies_give_way_to_order_of_arrival():
    [cell] = cells([run("fair", {0: 3.0}), run("fcfs", {0: 3.0})])
    assert cell.best == "fcfs"
    assert verdict(cell).against == "not clearly below fair"


def test_what_policies_know_is_what_they_refuse_to_do_without():
    found = {name: knows(name) for name in POLICIES}
    assert found["fcfs"] is Knows.JOBS
    assert found["sjf"] is Knows.HISTORY
    assert [name for name, known in found.items() if known is Knows.FUTURE] == ["clairvoyant-srpt"]


def test_no_two_policies_look_the_same():
    looks = [rule.partition("{")[2] for rule in style(list(POLICIES)).split("@media")[0].split("}") if ".p-" in rule]
    assert len(looks) == len(POLICIES)
    assert len(set(looks)) == len(looks)


def test_labels_move_apart_and_stay_inside():
    assert spread([5.0, 50.0], 10.0, 0.0, 100.0) == [5.0, 50.0]
    moved = spread([98.0, 97.0, 99.0, 20.0], 10.0, 0.0, 100.0)
    assert moved == [85.0, 75.0, 95.0, 20.0]


@pytest.mark.parametrize(("low", "high"), [(0.5, 900.0), (7.1, 7.6), (20.0, 60.0)])
def test_logarithmic_scales_have_ticks(low, high):
    scale = Scale(low, high, 0.0, 100.0, log=True)
    assert len(scale.ticks()) >= 2
    assert [scale(low), scale(high), scale(high * 2)] == pytest.approx([0.0, 100.0, 100.0])


def test_times_have_three_digits_that_count():
    assert [seconds(value) for value in (0, 0.01234, 1.0, 23.45, 1234.5)] == ["0", "0.0123", "1.00", "23.4", "1,234"]


def test_names_cannot_break_out_of_a_picture():
    picture = Drawing(10, 10, '"><script>')
    picture.text("name", 0, 0, "<b>&")
    assert "<script>" not in picture.markup()
    assert "&lt;b&gt;&amp;" in picture.markup()
