"""How fast an engine was: by the fitted model where it explains the calls, else by measured steps."""

from __future__ import annotations

import pytest

from experiment.agreement import measured
from experiment.store import Phase

CLUSTER = {"llm_executors": 1, "max_batch": 4, "tool_slots": 2, "batch_slowdown": 0.1, "prefill": 0.002, "decode": 0.07}
STEPS = {
    "executor_id": "llm-0",
    "prefill_seconds": 0.003,
    "step_seconds": [0.1, 0.2, 0.3, 0.4],
    "step_counts": [9, 0, 0, 1],
}


def phase(r_squared: float | None, slowdown: float = 0.1, calibrations: list[dict[str, object]] | None = None) -> Phase:
    return Phase(
        policy="fcfs",
        repeat=0,
        began=0.0,
        seconds=1.0,
        rate=None,
        load=None,
        jobs=(),
        cluster={**CLUSTER, "batch_slowdown": slowdown},
        about={"fit": {"r_squared": r_squared}},
        calibrations=[STEPS] if calibrations is None else calibrations,
    )


@pytest.mark.parametrize("told", [phase(0.9), phase(None), phase(0.1, calibrations=[])])
def test_the_fit_counts_where_it_explains_the_calls_or_there_is_nothing_else(told: Phase) -> None:
    shape, work = measured(told)
    assert (work.prefill, work.decode) == (0.002, 0.07)
    assert shape.slowdown(4) == pytest.approx(1.3)


@pytest.mark.parametrize("told", [phase(0.7), phase(0.95, slowdown=4.0)])
def test_measured_steps_count_where_the_fit_makes_no_sense(told: Phase) -> None:
    shape, work = measured(told)
    assert (work.prefill, work.decode) == (0.003, 0.1)
    assert [shape.slowdown(batch) for batch in (1, 2, 4, 9)] == pytest.approx([1.0, 2.0, 4.0, 4.0])
