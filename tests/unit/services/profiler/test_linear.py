"""The linear model beside the network, against least squares and in beliefs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from services.profiler.core import linear
from services.profiler.core.belief import Belief, Beliefs
from services.profiler.core.linear import Linear
from services.profiler.core.network import Array
from services.profiler.core.profile import learn
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import Aspect, JobSeen, course
from tests.unit.services.profiler.test_profile import history, llm


def model(*columns: Array) -> Linear:
    found = linear.learn([column.tolist() for column in columns])
    assert found is not None
    return found


def factors(count: int) -> tuple[Array, Array, Array]:
    """Three noisy values of one thing."""
    random = np.random.default_rng(1)
    level = random.normal(size=count)
    first, second, third = (10.0 + level + 0.5 * random.normal(size=count) for _ in range(3))
    return first, second, third


def test_with_many_jobs_it_is_least_squares():
    first, second, third = factors(5000)
    found = model(first, second, third)
    design = np.stack([np.ones(5000), first, second], axis=1)
    exact = np.linalg.lstsq(design, third, rcond=None)[0] @ [1.0, 11.0, 12.0]
    moved = found.gain((0, 1), (2,)) @ found.standard((0, 1), (11.0, 12.0))
    assert found.means[2] + found.deviations[2] * moved[0] == pytest.approx(exact, abs=0.02)


def test_noise_tells_nothing():
    random = np.random.default_rng(1)
    found = model(*random.normal(size=(8, 30)))
    assert found.ridge * 30 >= 100.0  # jobs
    assert np.abs(found.gain(range(7), (7,))).max() < 0.1


def test_a_value_far_out_counts_as_one_at_the_border():
    found = model(*factors(50))
    assert found.standard((0,), (1e9,)) == pytest.approx([linear.MOST])


def test_what_only_some_jobs_have_is_learned_from_these():
    first, second, _ = factors(2000)
    half: list[float | None] = [value if job % 2 else None for job, value in enumerate(second.tolist())]
    found = linear.learn([first.tolist(), half, [None] * 2000, [7.0] * 2000])
    assert found is not None
    assert found.correlations[0, 1] == pytest.approx(np.corrcoef(first[1::2], second[1::2])[0, 1], abs=0.03)
    assert np.abs(found.gain((0,), (2, 3))).max() < 1e-6
    assert found.deviations.min() > 0.0


def test_few_jobs_or_no_variables_have_no_model():
    assert linear.learn([]) is None
    assert linear.learn([[1.0] * (linear.LEAST_JOBS - 1)]) is None


def test_it_travels():
    found = model(*factors(30))
    again = Linear.of_plain(json.loads(json.dumps(found.plain())))
    assert again.plain() == found.plain()
    assert learn(history([llm("x")]))["a"].linear is None


def like(count: int) -> list[TraceJob]:
    """x, y and z are about equally long in a job; some jobs have no z, and w is not linked."""
    random = np.random.default_rng(1)
    jobs = []
    for number in range(count):
        level = random.normal()
        x, y, z = (round(1000 + 300 * (level + 0.2 * random.normal())) for _ in range(3))
        more = [llm("z", "y", outputs=[max(1, z)], generated_by="y")] if number % 3 else []
        jobs.append([llm("x", outputs=[max(1, x)]), llm("y", "x", outputs=[max(1, y)]), *more])
    return history(*jobs)


KNOWN = Beliefs(learn(like(200)))


def believed(job: JobSeen) -> Belief:
    found = KNOWN.of(job)
    assert found is not None
    return found


def after_x(length: int) -> Belief:
    (job,) = history([llm("x", outputs=[length]), llm("y", "x"), llm("z", "y", generated_by="y")])
    return believed(list(course(job))[1])


def test_within_a_bin_of_the_network_a_longer_stage_is_followed_by_longer_ones():
    bins = KNOWN.of(after_x(1000).job).profile.variables[0].bins  # type: ignore[union-attr]
    low, high = np.ceil(bins.edges[2]) + 1, np.floor(bins.edges[3]) - 1
    shorter, longer = after_x(int(low)), after_x(int(high))
    assert bins.place(low) == bins.place(high)
    assert longer.expected.llm > shorter.expected.llm + 0.5 * 0.0155 * (high - low)


def test_samples_follow_the_mean():
    belief = after_x(1500)
    left = belief.samples(np.random.default_rng(1).random((4000, belief.draws)))
    assert left[:, 0].mean() == pytest.approx(belief.expected.llm, rel=0.03)


def test_what_is_far_out_stays_in_the_range_of_the_history():
    belief = after_x(10**6)
    y = belief.profile.variables[belief.profile.index[Aspect.UNITS, ("y", 0)]]
    assert belief.expected.llm <= 2 * 0.0155 * float(y.bins.values[-1][-1]) * 1.2


def test_of_a_stage_that_runs_the_network_knows_better():
    """y has run for longer than any that ended: that is in the network's evidence, and not in the linear model."""
    (job,) = history([llm("x", outputs=[700]), llm("y", "x"), llm("z", "y", generated_by="y")])
    now = list(course(job))[1]
    x, y = now.stages
    waiting, running = believed(now), believed(replace(now, stages=(x, replace(y, running_units=1500.0))))
    index = waiting.profile.index[Aspect.UNITS, ("y", 0)]
    bins = waiting.profile.variables[index].bins
    left = 0.0155 * float(running.marginal(index) @ bins.means)
    assert left > 0.0155 * 1500.0
    z = running.profile.index[Aspect.UNITS, ("z", 0)]
    assert running.expected.llm - left < 0.0155 * float(running.profile.variables[z].bins.values[-1][-1])
    assert running.expected.llm > left > waiting.expected.llm / 2


def test_patterns_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.profiler.core.linear.PATTERNS", 1)
    (job,) = history([llm("x", outputs=[900]), llm("y", "x", outputs=[900]), llm("z", "y", generated_by="y")])
    _, one, other, *_ = course(job)
    first = believed(one).expected
    assert believed(other).expected != first
    assert believed(one).expected == first
