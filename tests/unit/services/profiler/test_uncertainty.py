"""R(X|E) of a job's ready stages, in seconds of work: what LLMSched's Eq. 6 demands of a real profile's network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import pytest

from services.profiler.core.belief import Belief
from services.profiler.core.information import Information, Reduction
from services.profiler.core.profile import Profile, learn
from services.profiler.core.uncertainty import information, reductions
from services.profiler.core.variables import Aspect, Canonical, JobSeen
from tests.support.beliefs import COPY, FREE, HALF, beliefs, done, linked, pair, ready, seen, waiting
from tests.unit.services.profiler.test_profile import history, rounds
from tests.unit.services.profiler.traces import tool

X, Y, Z = ("x", 0), ("y", 0), ("z", 0)
SIZES = (10, 30)
QUARTERS = (0.25, 0.25, 0.25, 0.25)


def believed(profile: Profile, job: JobSeen) -> Belief:
    found = beliefs(profile).of(job)
    assert found is not None
    return found


def of(profile: Profile, job: JobSeen, stages: Collection[Canonical] = (X,)) -> Mapping[Canonical, Reduction]:
    return reductions(believed(profile, job), information(profile), stages)


ARRIVED = seen("a", ready("x"), waiting("y"))


def test_information_and_range_are_multiplied():
    found = of(pair("a", SIZES, COPY), ARRIVED)[X]
    assert (found.information.value, found.ranges) == (pytest.approx(1.0), pytest.approx(20.0))
    assert found.value == pytest.approx(20.0)


def test_the_same_marginals_with_another_joint_distribution_have_another_reduction():
    tied, free = pair("a", SIZES, COPY), pair("a", SIZES, FREE)
    for profile in (tied, free):
        belief = believed(profile, ARRIVED)
        assert [belief.marginal(one).tolist() for one in (0, 1)] == [pytest.approx([0.5, 0.5])] * 2
    assert of(tied, ARRIVED)[X].value == pytest.approx(20.0)
    assert of(free, ARRIVED)[X].value == pytest.approx(0.0)


def test_equal_entropy_is_ranked_by_information():
    clear, blurred = pair("a", SIZES, ((0.9, 0.1), (0.1, 0.9))), pair("a", SIZES, ((0.6, 0.4), (0.4, 0.6)))
    entropies = [information(profile).entropy([0], {}) for profile in (clear, blurred)]
    assert entropies == pytest.approx([1.0, 1.0])
    assert of(clear, ARRIVED)[X].value == pytest.approx(20 * 0.531, abs=0.02)  # 1 - H(0.9)
    assert of(blurred, ARRIVED)[X].value == pytest.approx(20 * 0.029, abs=0.02)  # 1 - H(0.6)


def test_more_entropy_may_be_less_information():
    """A stage of four lengths that say next to nothing, beside one of two that say all."""
    many = linked("a", ((10, 20, 30, 40), SIZES), ((), QUARTERS), ((0,), ((0.6, 0.4), HALF, HALF, (0.4, 0.6))))
    few = pair("a", SIZES, COPY)
    assert information(many).entropy([0], {}) > information(few).entropy([0], {})
    assert of(many, ARRIVED)[X].value < of(few, ARRIVED)[X].value


def test_stages_that_are_alike_count_once_in_the_information_and_each_in_the_ranges():
    """Y = Z: together they say one bit of X, not two; what each of them ranges over is summed."""
    profile = linked("a", (SIZES, SIZES, (5, 95)), ((), HALF), ((0,), COPY), ((1,), COPY))
    found = of(profile, seen("a", ready("x"), waiting("y"), waiting("z")))[X]
    alone = [information(profile).mutual_information(0, [one], {}).value for one in (1, 2)]
    assert alone == pytest.approx([1.0, 1.0])
    assert found.information.value == pytest.approx(1.0)
    assert found.ranges == pytest.approx(20.0 + 90.0)


def test_what_only_two_stages_together_say_is_information_too():
    """Z is long if X and Y differ: neither Y nor Z alone says anything of X. The sum of pairs would be 0."""
    parity = (((1, 0), (0, 1)), ((0, 1), (1, 0)))
    # Y follows X in the graph, but does not depend on it.
    profile = linked("a", (SIZES, SIZES, SIZES), ((), HALF), ((0,), FREE), ((0, 1), parity))
    found = of(profile, seen("a", ready("x"), waiting("y"), waiting("z")))[X]
    alone = [information(profile).mutual_information(0, [one], {}).value for one in (1, 2)]
    assert alone == pytest.approx([0.0, 0.0])
    assert found.information.value == pytest.approx(1.0)


def test_both_factors_are_about_the_same_stages():
    """Y copies X, Z has nothing to do with it: once one of them has ended, it counts in neither factor."""
    profile = linked("a", (SIZES, SIZES, (5, 95)), ((), HALF), ((0,), COPY), ((0,), FREE))
    both = of(profile, seen("a", ready("x"), waiting("y"), waiting("z")))[X]
    assert (both.information.value, both.ranges) == (pytest.approx(1.0), pytest.approx(110.0))
    without_z = of(profile, seen("a", ready("x"), waiting("y"), done("z", 5.0)))[X]
    assert (without_z.information.value, without_z.ranges) == (pytest.approx(1.0), pytest.approx(20.0))
    without_y = of(profile, seen("a", ready("x"), done("y", 10.0), waiting("z")))[X]
    assert (without_y.information.value, without_y.ranges) == (pytest.approx(0.0), pytest.approx(90.0))


def test_stages_that_no_path_leads_to_do_not_count():
    """Z depends on Y alone, and Y on nothing: the end of X says nothing of them, however much they range."""
    profile = linked("a", (SIZES, SIZES, (5, 95)), ((), HALF), ((), HALF), ((1,), COPY))
    found = of(profile, seen("a", ready("x"), ready("y"), waiting("z")), (X, Y))
    assert (found[X].information.value, found[X].ranges) == (0.0, 0.0)
    assert (found[Y].information.value, found[Y].ranges) == (pytest.approx(1.0), pytest.approx(90.0))


def test_a_ready_stage_is_never_taken_for_absent():
    """Half of the jobs have no x; a job that shows it has one, and only its length is uncertain."""
    jobs = [
        [tool("w"), *([tool("x", "w", seconds=10.0 + 20 * (job % 4 // 2))] if job % 2 else [])] for job in range(80)
    ]
    (profile,) = learn(history(*jobs)).values()
    job = seen("a", done("w", 1.0, is_llm=False), ready("x", is_llm=False))
    belief = believed(profile, job)
    index = profile.index[Aspect.UNITS, X]
    assert profile.variables[index].optional
    assert belief.marginal(index) == pytest.approx([0.0, 0.5, 0.5], abs=0.02)
    assert belief.interval == pytest.approx((10.0, 30.0))
    assert belief.samples(np.random.default_rng(1).random((200, belief.draws)))[:, 1].min() >= 10.0
    # Nor does the certainty that it is there count as something to learn: with it, this would be 1.5 bits.
    assert information(profile).entropy([index], belief.likelihoods) == pytest.approx(1.0, abs=0.01)


def test_what_may_be_absent_ranges_from_nothing():
    """After x there is a y of 100 s, or none: R is 1 bit times 100 s, and not times 0."""
    jobs = [
        [tool("x", seconds=1.0 + job % 2), *([tool("y", "x", seconds=100.0, generated_by="x")] if job % 2 else [])]
        for job in range(80)
    ]
    (profile,) = learn(history(*jobs)).values()
    found = of(profile, seen("a", ready("x", is_llm=False)))[X]
    assert found.ranges == pytest.approx(100.0)
    assert found.information.value > 0.7


def test_the_number_of_rounds_is_uncertain_too_while_more_may_come():
    """The first stage's length says how many rounds there will be: 3 or 9 more of about 10 tokens and a second."""
    (profile,) = learn(
        history(*[[tool("size", seconds=1.0 + job % 2), *rounds(5 + 6 * (job % 2))] for job in range(60)])
    ).values()
    assert (Aspect.COUNT, ("code", 0)) in profile.index
    growing = seen("a", ready("size", is_llm=False), ready("code"))
    found = of(profile, growing, (("size", 0),))["size", 0]
    assert found.information.value > 0.7
    assert found.ranges > 6 * 10.0
    # As soon as all has been shown, it is no longer.
    over = seen("a", ready("size", is_llm=False), done("code", 10.0))
    assert of(profile, over, (("size", 0),))["size", 0].ranges < 60.0


def test_a_stage_without_a_variable_of_its_own_reduces_nothing():
    profile = pair("a", SIZES, COPY)
    job = seen("a", ready("x"), ready("new"), waiting("y"))
    assert set(of(profile, job, [X, ("new", 0)])) == {X}
    assert of(profile, job, [("new", 0)]) == {}
    assert of(profile, job, []) == {}


def test_a_job_that_the_network_holds_impossible_reduces_nothing():
    profile = linked("a", (SIZES, SIZES, SIZES), ((), (1.0, 0.0)), ((0,), COPY), ((1,), COPY))
    assert of(profile, seen("a", done("x", 30.0), ready("y"), waiting("z")), [Y]) == {}


def test_what_is_compiled_answers_for_every_job_of_the_application():
    profile = pair("a", SIZES, ((0.9, 0.1), (0.3, 0.7)))
    compiled = information(profile)
    assert isinstance(compiled, Information)
    for job in (ARRIVED, replace(ARRIVED, stages=(ready("x", 3), waiting("y")))):
        assert reductions(believed(profile, job), compiled, [X]) == of(profile, job)
