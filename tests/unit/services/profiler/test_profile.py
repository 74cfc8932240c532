"""What is learned of an application: which stages become variables, which are pooled, and that a profile is a value."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import MAX_VARIABLES, REST, Level, Profile, learn
from services.profiler.core.scoring import Calibration
from services.profiler.core.structure import Column
from services.profiler.core.trace import TraceJob, read_history
from services.profiler.core.variables import Aspect, completed, course
from simulator.generate.applications.code_generation import CodeGeneration
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
    assert profile.level(("new", 0), is_llm=True).units == pytest.approx(kind)


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


def test_profiles_are_equal_if_all_that_they_say_is():
    jobs = [rounds(2 + job % 5) for job in range(20)]
    profile = learned(*jobs)
    again = Profile.of_plain(json.loads(json.dumps(profile.plain())))
    assert profile == again
    assert len({profile, again}) == 1
    assert profile != learned(*jobs[:-1])
    assert profile != replace(profile, version=2)
    assert profile != "a profile"


def test_the_spread_of_a_stage_is_that_of_its_tasks_beside_each_other():
    """Tasks of 1 and 3 are half of their mean off: √(0.5 / 1). How long stages are does not matter, nor single ones."""
    spread = math.sqrt(2 * 0.5**2 / 1)
    assert learned([llm("x", outputs=[1, 3])]).levels["x"].spread == pytest.approx(spread)
    far = [[llm("x", outputs=[10, 30])], [llm("x", outputs=[1000, 3000])], [llm("x", outputs=[7])]]
    assert learned(*far).levels["x"].spread == pytest.approx(spread)
    # Of n tasks each stage counts for n - 1: (0.5 + 2 · 0) / (1 + 2), of all LLM stages.
    mixed = learned([llm("x", outputs=[1, 3]), llm("y", outputs=[5, 5, 5])])
    everything = math.sqrt(0.5 / 3)
    assert mixed.kinds[True].spread == pytest.approx(everything)
    # A name's own is drawn towards that, which counts as two tasks more.
    assert mixed.levels["x"].spread == pytest.approx(math.sqrt((0.5 + 2 * everything**2) / (1 + 2)))
    assert mixed.levels["y"].spread == pytest.approx(math.sqrt((0.0 + 2 * everything**2) / (2 + 2)))
    # Where nothing ever ran beside another, it is not known.
    assert learned([llm("x", outputs=[1])], [llm("x", outputs=[9])]).levels["x"].spread == 0.0
    # Nor do tasks that all took nothing tell anything.
    assert learned([llm("x", outputs=[0, 0])]).levels["x"].spread == 0.0


def test_few_jobs_are_believed_to_vary_as_jobs_do_on_average():
    def units(jobs: int) -> Any:
        return learned(*[[llm("x", outputs=[100])] for _ in range(jobs)]).variables[0].bins.values[0]

    assert units(1).min() < 80.0 < 120.0 < units(1).max()
    assert units(1).mean() == pytest.approx(100.0)
    assert units(1).std() > units(4).std() > units(7).std() > 0.0
    assert units(8).std() == 0.0


def test_more_jobs_to_learn_from_make_better_beliefs():
    """On average over histories: the CRPS of a job's work at arrival falls with 1, 2, 5, 10 and 40 jobs."""
    scores = {size: Calibration() for size in (1, 2, 5, 10, 40)}
    for seed in range(12):
        random = Random(seed)
        jobs = [CodeGeneration().job(random, "") for _ in range(60)]
        for size, score in scores.items():
            known = Beliefs(learn(jobs[:size]))
            for job in jobs[40:]:
                belief = known.of(next(course(job)))
                assert belief is not None
                uniforms = np.random.default_rng(1).random((100, belief.draws))
                work = known.of(completed(job))
                assert work is not None
                score.add(belief.samples(uniforms).sum(axis=1), work.spent)
    errors = [score.crps for score in scores.values()]
    assert all(more < 1.03 * fewer for fewer, more in pairwise(errors))
    assert errors[-1] < 0.8 * errors[0]


def test_a_name_that_all_jobs_have_equally_often_is_no_loop():
    jobs = [[llm(f"s{place}", name="s", outputs=[10 * place + job]) for place in range(6)] for job in range(12)]
    profile = learned(*jobs)
    assert labels(profile) == ["units of s", *(f"units of s#{place}" for place in range(1, 6))]
    # What of them is no variable is their own too.
    wide = [[llm(f"s{place}", name="s", outputs=[10 + job] * (1 + place)) for place in range(6)] for job in range(12)]
    assert learned(*wide).stages["s", 5].width > 5.0


def test_wide_stages_count_more_for_the_units_of_their_name():
    """So that the mean of the width times this is the mean of the sum."""
    profile = learned(*[[llm("x", outputs=[10]), llm("y", name="x", outputs=[40] * 9)] for _ in range(12)])
    assert profile.levels["x"].units * profile.levels["x"].width == pytest.approx((10 + 360) / 2, rel=0.05)
