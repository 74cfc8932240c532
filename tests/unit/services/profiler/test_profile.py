"""What is learned of an application: which stages become variables, which are pooled, and that a profile is a value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.profiler.core.profile import MAX_VARIABLES, REST, Level, Profile, learn
from services.profiler.core.structure import Column
from services.profiler.core.trace import TraceJob, read_history
from services.profiler.core.variables import Aspect
from tests.unit.services.profiler.traces import line, stage, tool


def llm(stage_id: str, *parents: str, outputs: Sequence[int] = (1,), prompt: int = 0, **more: Any) -> dict[str, Any]:
    tasks = [{"prompt_tokens": prompt, "output_tokens": output} for output in outputs]
    return stage(stage_id, *parents, tasks=tasks, **more)


def history(*jobs: Sequence[dict[str, Any]]) -> list[TraceJob]:
    return list(read_history([line(*stages, app="a", arrival_seconds=...) for stages in jobs], "h.jsonl"))


def learned(*jobs: Sequence[dict[str, Any]]) -> Profile:
    return learn(history(*jobs))["a"]


def labels(profile: Profile) -> list[str]:
    return [variable.label for variable in profile.variables]


def rounds(count: int) -> list[dict[str, Any]]:
    """A loop: each round's LLM stage makes the next round exist."""
    found = []
    for place in range(count):
        before = [f"test{place - 1}"] if place else []
        made_by = f"code{place - 1}" if place else None
        found.append(
            llm(f"code{place}", *before, name="code", outputs=[10 + place], prompt=100 * place, generated_by=made_by)
        )
        found.append(tool(f"test{place}", f"code{place}", name="test", generated_by=f"code{place}"))
    return found


def test_what_varies_is_a_variable_and_what_does_not_only_has_units():
    profile = learned(
        *[[llm("x", outputs=[5] * (1 + job % 3), prompt=10 * (job % 2)), tool("t", "x")] for job in range(12)]
    )
    assert labels(profile) == ["prompt of x", "width of x", "units of x", "units of t"]
    assert [variable.card for variable in profile.variables] == [2, 2, 1, 1]


def test_a_stage_that_some_jobs_lack_can_be_absent():
    profile = learned(*[[llm("x"), *([llm("y", "x", generated_by="x")] if job % 2 else [])] for job in range(12)])
    y = profile.variables[profile.index[Aspect.UNITS, ("y", 0)]]
    assert (y.optional, y.card) == (True, 2)
    assert profile.generators == {("x", 0): None, ("y", 0): ("x", 0)}
    assert profile.generating == {"x"}


def test_rare_stages_are_pooled():
    profile = learned(*[[llm("x"), *([tool("odd", "x", seconds=8.0)] if job == 0 else [])] for job in range(12)])
    assert labels(profile) == ["units of x", "count of "]
    assert (profile.pool_of(("odd", 0)), profile.pool_of(("x", 0)), profile.pool_of(("new", 3))) == (REST, None, REST)
    pool = profile.pools[REST]
    assert (pool.llm_share, pool.tool.units) == (0.0, 8.0)


def test_the_rounds_of_a_loop_are_counted_after_the_first_two():
    profile = learned(*[rounds(2 + job % 5) for job in range(20)])
    assert {name for name, _ in profile.index} == {Aspect.UNITS, Aspect.COUNT}
    assert profile.pool_of(("code", 1)) is None
    assert (profile.pool_of(("code", 2)), profile.pool_of(("test", 7))) == ("code", "test")
    # Both stages of the loop have equally many rounds: one variable counts them.
    assert [label for label in labels(profile) if label.startswith("count")] == ["count of code"]
    assert (profile.pools["code"].count, profile.pools["test"].count) == ("code", "code")
    count = profile.variables[profile.index[Aspect.COUNT, ("code", 0)]]
    assert np.concatenate(count.bins.values).tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4 + [3.0] * 4 + [4.0] * 4
    assert profile.pools["code"].llm.growth == pytest.approx(100.0)


def test_there_are_never_more_variables_than_a_network_may_have():
    jobs = [[llm(f"s{place}", outputs=[1 + (place + job) % 7]) for place in range(60)] for job in range(9)]
    profile = learned(*jobs)
    assert len(profile.variables) == MAX_VARIABLES
    assert profile.pools[REST].llm_share == 1.0


def test_many_loops_leave_room():
    jobs = [
        [llm(f"s{place}-{n}", name=f"s{place}") for place in range(40) for n in range(4 + job % 2)] for job in range(8)
    ]
    assert len(learned(*jobs).variables) <= MAX_VARIABLES


def test_a_single_job_is_enough_to_learn_from():
    profile = learned([llm("x", outputs=[7]), tool("t", "x", seconds=3.0)])
    assert [variable.card for variable in profile.variables] == [1, 1]
    assert profile.network.parents == ((), ())
    assert profile.jobs == 1


def test_levels_of_rare_names_are_drawn_towards_their_kind():
    profile = learned(
        *[[llm("x", outputs=[10])] for _ in range(9)], [llm("x", outputs=[10]), llm("y", "x", outputs=[109])]
    )
    kind = (10 * 10 + 109) / 11
    assert profile.levels["y"].units == pytest.approx((109 + 2 * kind) / 3)
    assert profile.level("new", is_llm=True).units == pytest.approx(kind)


def test_the_level_of_a_job_is_between_its_own_and_that_of_all():
    level = Level(units=10.0, between=4.0, within=4.0)
    assert level.of_job([]) == 10.0
    assert level.of_job([20.0]) == 15.0
    assert level.of_job([20.0] * 9) == 19.0
    assert Level(units=10.0, between=4.0, within=0.0).of_job([20.0]) == 20.0  # a job's stages are all alike


def test_unknown_tool_seconds_are_the_mean_of_the_known():
    profile = learned([tool("t", seconds=4.0)], [tool("t", seconds=None)], [tool("t", seconds=2.0)])
    assert profile.levels["t"].units == pytest.approx(3.0)


def test_the_search_for_dependence_can_be_another():
    def none(columns: Sequence[Column]) -> tuple[tuple[int, ...], ...]:
        return tuple(() for _ in columns)

    jobs = history(*[[llm("x", outputs=[1 + job % 4]), llm("y", "x", outputs=[1 + job % 4])] for job in range(40)])
    assert learn(jobs)["a"].network.parents == ((), (0,))
    assert learn(jobs, none)["a"].network.parents == ((), ())


def test_nothing_is_learned_from_nothing():
    assert learn([]) == {}


def test_a_profile_comes_back_from_plain_values():
    profile = learned(*[rounds(2 + job % 5) for job in range(20)])
    plain = profile.plain()
    again = Profile.of_plain(json.loads(json.dumps(plain)))
    assert again.plain() == plain
    assert again.index == profile.index
    for one, other in zip(again.network.tables, profile.network.tables, strict=True):
        assert np.array_equal(one, other)


def test_recorded_applications_stay_within_the_limits(traces: Path):
    for file in sorted((traces / "history").glob("*.jsonl")):
        with file.open() as lines:
            jobs = list(read_history(lines, file.name))
        for profile in learn(jobs).values():
            assert len(profile.variables) <= MAX_VARIABLES
            assert max(len(parents) for parents in profile.network.parents) <= 3
