"""What phases say together: jobs paired by their place, failures in no mean, unfinished repeats left out."""

from __future__ import annotations

import pytest

from experiment.config import Config
from experiment.results import compared
from experiment.store import JobRecord, NoResults, Phase
from simulator.compare.summary import NothingToCompare

CONFIG = Config.model_validate(
    {
        "name": "small",
        "applications": {"sorting": {}, "code-generation": {}},
        "jobs": 4,
        "arrivals": {"rate": 0.5},
        "policies": ["fcfs", "fair"],
        "repeats": 2,
    }
)


def phase(policy: str, repeat: int, *jcts: float | None) -> Phase:
    return Phase(
        policy=policy,
        repeat=repeat,
        began=0.0,
        seconds=40.0,
        rate=0.5,
        load=0.9,
        jobs=tuple(
            JobRecord(
                index=index,
                application=("sorting", "code-generation")[index % 2],
                group=f"g{index}",
                job_id=f"{policy}{repeat}{index}",
                state="TIMED_OUT" if jct is None else "SUCCEEDED",
                at=2.0 * index,
                jct=jct,
            )
            for index, jct in enumerate(jcts)
        ),
        cluster={},
        about={},
        dispatches=9,
    )


def test_a_job_that_failed_under_one_policy_counts_under_none() -> None:
    cell, runs = compared(CONFIG, [phase("fcfs", 0, 1.0, 2.0, 3.0, 4.0), phase("fair", 0, 2.0, None, 3.0, 7.0)])
    fcfs, fair = cell.rows["fcfs"], cell.rows["fair"]
    assert (fcfs.mean.value, fair.mean.value) == (pytest.approx(8 / 3), pytest.approx(4.0))
    assert fair.to_reference is not None
    assert fair.to_reference.value == pytest.approx(1.5)
    assert fair.to_reference.low <= 1.5 <= fair.to_reference.high
    assert (fcfs.failed, fair.failed, cell.left_out) == (0, 1, 1)
    assert (cell.mix, cell.load, cell.seeds, cell.best) == ("small", 0.9, 1, "fcfs")
    assert fair.applications["code-generation"].mean.value == 7.0
    assert [run.result.decisions for run in runs] == [9, 9]


def test_a_repeat_that_not_every_policy_has_run_is_left_out() -> None:
    phases = [phase("fcfs", 0, 1.0, 1.0), phase("fair", 0, 2.0, 2.0), phase("fcfs", 1, 50.0, 50.0)]
    cell, runs = compared(CONFIG, phases)
    assert cell.rows["fcfs"].mean.value == 1.0
    assert len(runs) == 2
    both, _ = compared(CONFIG, [*phases, phase("fair", 1, 25.0, 25.0)])
    assert (both.seeds, both.rows["fcfs"].mean.value) == (2, 25.5)


def test_of_one_policy_there_is_something_to_say_and_of_none_there_is_not() -> None:
    cell, _ = compared(CONFIG, [phase("fcfs", 0, 1.0, 3.0)])
    assert cell.rows["fcfs"].mean.value == 2.0
    with pytest.raises(NoResults):
        compared(CONFIG, [])
    with pytest.raises(NothingToCompare):
        compared(CONFIG, [phase("fcfs", 0, None, 1.0), phase("fair", 0, 1.0, None)])
