"""Which jobs arrive when: equal for all policies, by weights, with names for equal inputs."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from experiment.config import Config
from experiment.plan import phase_jobs, shares, warm_up_jobs
from services.profiler.core.trace import write_jobs
from simulator.generate import Recipe, make_workload, parametric_population
from simulator.generate.applications import PARAMETRIC


def config(**changes: object) -> Config:
    return Config.model_validate(
        {
            "name": "plan",
            "applications": {"sorting": {"weight": 1}, "task-automation": {"weight": 3}},
            "jobs": 40,
            "arrivals": {"rate": 2.0, "seed": 5},
            "policies": ["fcfs"],
            "warm_up": {"jobs": 8},
            **changes,
        }
    )


def test_a_repeat_has_the_same_jobs_whenever_it_is_asked_for_and_another_one_has_others() -> None:
    first, again, other = (phase_jobs(config(), repeat, 2.0) for repeat in (0, 0, 1))
    assert first == again
    assert [job.input for job in first] != [job.input for job in other]
    assert [job.at for job in first] != [job.at for job in other]
    assert [job.index for job in first] == list(range(40))
    assert [job.at for job in first] == sorted(job.at for job in first)
    assert Counter(job.application for job in first) == {"sorting": 10, "task-automation": 30}
    assert fmean(later.at - job.at for job, later in pairwise(first)) == pytest.approx(0.5, rel=0.5)


def test_another_rate_scales_the_times_and_changes_nothing_else() -> None:
    slow, fast = phase_jobs(config(), 0, 1.0), phase_jobs(config(), 0, 4.0)
    assert [job.input for job in slow] == [job.input for job in fast]
    assert [job.at for job in slow] == pytest.approx([4 * job.at for job in fast], abs=1e-5)


def test_what_cannot_be_divided_goes_to_the_largest_remainders() -> None:
    assert shares(10, {"a": 1, "b": 1, "c": 1}) == {"a": 4, "b": 3, "c": 3}
    assert shares(3, {"a": 1, "b": 8}) == {"a": 0, "b": 3}
    assert sum(shares(7, dict.fromkeys("abcde", 1 / 3).copy()).values()) == 7


def test_a_warm_up_without_a_rate_arrives_at_once() -> None:
    jobs = warm_up_jobs(config())
    assert [job.at for job in jobs] == [0.0] * 8
    assert [job.input for job in jobs] != [job.input for job in phase_jobs(config(), 0, 2.0)[:8]]


def test_inputs_of_a_file_are_all_used_before_one_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"numbers": [number]}) + "\n" for number in range(8)), encoding="utf-8")
    jobs = phase_jobs(config(applications={"sorting": {"inputs": str(path)}}, jobs=16), 0, 1.0)
    counts = Counter(job.group for job in jobs)
    assert len(counts) == 8
    assert set(counts.values()) == {2}
    assert len({job.group for job in jobs[:8]}) == 8


def test_arrivals_of_a_trace_are_its_own(tmp_path: Path) -> None:
    population = parametric_population({name: make() for name, make in PARAMETRIC.items()}, jobs=5)
    trace = make_workload(Recipe(mix="mixed", jobs=50, rate=3.0), population, seed=1)
    path = tmp_path / "w.jsonl"
    path.write_text("".join(write_jobs(trace)), encoding="utf-8")
    jobs = phase_jobs(config(arrivals={"kind": "trace", "file": str(path)}), 0, None)
    assert [job.at for job in jobs] == [job.arrival_seconds for job in trace[:40]]
