"""LLMSched: its two lists, its coin, and that information counts, not entropy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core.profile import Profile
from services.profiler.core.uncertainty import information
from services.scheduler.core import PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.effects import Dispatch, Effect
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.core.policies.llmsched import Llmsched
from tests.support.beliefs import COPY, FREE, HALF, beliefs, linked, pair
from tests.support.scheduling import Bench, attached, job, llm, of, ref, succeeded, tool, unfolded
from tests.unit.services.profiler.test_profile import learned
from tests.unit.services.profiler.traces import tool as recorded

X_Y = (llm("x"), llm("y", "x", position=1))


def bench(*profiles: Profile, epsilon: float = 1.0, **more: object) -> Bench:
    return Bench("llmsched", knowledge=Knowledge(beliefs=beliefs(*profiles)), epsilon=epsilon, **more)


def went(effects: list[Effect]) -> list[tuple[str, str]]:
    """Job and rule of every dispatch."""
    return [(one.attempt.job_id, one.rule) for one in of(Dispatch, effects)]


def first(*profiles: Profile, names: str, **settings: object) -> tuple[str, str]:
    """Which job goes first on the only slot, of one of each application named by a letter, in the order of arrival."""
    found = bench(*profiles, **settings)
    found.start(*[job(name, *X_Y, application=name, order=order) for order, name in enumerate(names)])
    return went(found.feed(attached("e")))[0]


# The list by information


def test_equal_entropy_goes_by_information():
    """Lengths of both first stages are as uncertain, but only the second job's say something of what follows.

    A score of entropy ties, and takes the job that stands first in the other list, as all ties do.
    """
    blurred = pair("b", (10, 30), ((0.6, 0.4), (0.4, 0.6)))
    clear = pair("c", (10, 31), ((0.9, 0.1), (0.1, 0.9)))
    entropies = {one.application: information(one).entropy([0], {}) for one in (blurred, clear)}
    assert entropies["b"] == entropies["c"] == pytest.approx(1.0)
    assert min("bc", key=lambda name: (-entropies[name], name)) == "b"
    assert first(blurred, clear, names="bc") == ("c", "explore")
    # Without information they do tie, and b is the shorter one.
    assert first(blurred, clear, names="bc", without=("information",)) == ("b", "explore")


def test_more_entropy_does_not_help():
    """Four lengths that say nothing, beside two that say all: an entropy score ranks them the other way round."""
    many = linked("m", ((5, 10, 20, 30), (10, 30)), ((), (0.25,) * 4), ((0,), (HALF,) * 4))
    few = pair("f", (10, 31), COPY)
    assert information(many).entropy([0], {}) > information(few).entropy([0], {})
    assert first(many, few, names="mf") == ("f", "explore")


def test_another_joint_distribution_of_the_same_marginals_is_another_choice():
    """u and v differ in nothing but whether y depends on x."""
    for tied, free in ("uv", "vu"):
        profiles = pair(tied, (10, 30), COPY), pair(free, (10, 30), FREE)
        assert first(*profiles, names=free + tied) == (tied, "explore")


def test_information_counts_by_what_it_is_about():
    """A bit about seconds from 10 to 30, or from 10 to 90: ranges are summed, and multiply."""
    narrow = linked("n", ((10, 20), (10, 30)), ((), HALF), ((0,), COPY))
    wide = linked("w", ((10, 20), (10, 90)), ((), HALF), ((0,), COPY))
    assert first(narrow, wide, names="nw") == ("w", "explore")


# Sets of jobs


LOW = pair("l", (1, 3), FREE)  # 2 to 6
MID = pair("m", (2, 6), FREE)  # 4 to 12
HIGH = pair("h", (5, 15), COPY)  # 10 to 30
FAR = pair("f", (20, 60), COPY)  # 40 to 120


def test_jobs_whose_intervals_overlap_by_way_of_others_are_one_set():
    """l and h do not meet, but m meets both: of all three, h has the most to tell. f has more, in a later set."""
    assert first(LOW, MID, HIGH, FAR, names="lmhf") == ("h", "explore")
    assert first(LOW, MID, HIGH, FAR, names="fhml") == ("h", "explore")
    # Without m there are three sets, and the first has only l.
    assert first(LOW, HIGH, FAR, names="fhl") == ("l", "explore")
    assert first(HIGH, FAR, names="fh") == ("h", "explore")


def test_a_set_that_has_its_samples_gives_way_to_the_next():
    found = bench(LOW, HIGH)
    found.start(job("l", *X_Y, application="l", order=1), job("h", *X_Y, application="h", order=0), tasks=10)
    assert went(found.feed(attached("e", slots=4))) == [("l", "explore")] * 3 + [("h", "explore")]


def test_sets_are_ordered_by_their_lower_bounds_not_by_expectation():
    """b is at least 2 and on average 25; a is 12 to 14: b's set is not after a's, they are one, and b tells more."""
    b = linked("b", ((1, 2), (1, 47)), ((), HALF), ((0,), COPY))
    a = linked("a", ((6, 7), (6, 7)), ((), HALF), ((0,), FREE))
    assert first(a, b, names="ab") == ("b", "explore")
    assert first(a, b, names="ab", epsilon=0.0) == ("a", "policy")  # 13 before 25.5


def test_intervals_that_touch_overlap():
    touching = pair("t", (3, 9), COPY)  # 6 to 18
    apart = pair("t", (4, 9), COPY)  # 8 to 18
    assert first(LOW, touching, names="lt") == ("t", "explore")
    assert first(LOW, apart, names="lt") == ("l", "explore")


def test_an_interval_reaches_from_without_to_with_all_that_may_come():
    """After a second there are 100 more, or none: 1 to 101, which meets a job of 60; 51 in the middle would not."""
    jobs = [
        [recorded("x", seconds=1.0), *([recorded("y", "x", seconds=100.0, generated_by="x")] if one % 2 else [])]
        for one in range(40)
    ]
    maybe = replace(learned(*jobs), application="maybe")
    tells = linked("tells", ((29, 31), (29, 31)), ((), HALF), ((0,), COPY))  # 58 to 62
    found = bench(maybe, tells)
    found.start(job("m", tool("x"), application="maybe", order=0), job("t", *X_Y, application="tells", order=1))
    effects = found.feed(attached("both", "llm", "tool:any"))
    # One set. The length of x says little of whether there is a y: it is always a second.
    assert went(effects) == [("t", "explore")]


# What goes, and how much of it


def test_a_sample_of_the_one_list_and_all_of_the_other():
    """Of ten tasks ⌈0.3 · 10⌉ are enough to learn from; then the stage is in the second list no more."""
    found = bench(pair("a", (10, 30), COPY))
    found.start(job("j", *X_Y, application="a"), tasks=10)
    assert went(found.feed(attached("e", slots=4))) == [("j", "explore")] * 3 + [("j", "policy")]


@pytest.mark.parametrize(
    ("width", "ratio", "sample"), [(1, 0.3, 1), (4, 0.3, 2), (10, 0.3, 3), (10, 0.31, 4), (3, 1.0, 3)]
)
def test_the_sample_is_rounded_up(width: int, ratio: float, sample: int):
    found = bench(pair("a", (10, 30), COPY), pair("b", (10, 30), FREE), sample_ratio=ratio)
    found.start(job("j", *X_Y, application="a", order=1), tasks=width)
    found.start(job("k", *X_Y, application="b", order=0), tasks=width)
    effects = went(found.feed(attached("e", slots=2 * width)))
    assert effects[:sample] == [("j", "explore")] * sample
    assert effects[sample] != ("j", "explore")
    assert effects.count(("j", "explore")) == effects.count(("k", "explore")) == sample


def test_what_found_no_slot_of_a_sample_goes_later_and_no_more_than_that():
    found = bench(pair("a", (10, 30), COPY), pair("b", (10, 30), FREE))
    found.start(job("j", *X_Y, application="a", order=1), job("k", *X_Y, application="b", order=0), tasks=10)
    assert went(found.feed(attached("e1", slots=2))) == [("j", "explore")] * 2
    assert went(found.feed(attached("e2", slots=3))) == [("j", "explore")] + [("k", "explore")] * 2


def flips(pattern: str, epsilon: float = 0.5) -> int:
    """A seed whose coins fall like this at the first decisions; "x": explore, ".": not, "?": either."""
    return next(
        seed
        for seed in range(10_000)
        if all(
            mark
            in ("?", ".x"[make_policy(PolicySettings(name="llmsched", seed=seed, epsilon=epsilon)).explores(number)])
            for number, mark in enumerate(pattern, start=1)
        )
    )


def test_the_head_of_the_first_list_goes_with_all_its_tasks():
    """One coin decides for all of them: the coins of numbers 2 and 3, which would explore, are not asked."""
    found = bench(pair("a", (10, 30), FREE), pair("b", (11, 31), COPY), epsilon=0.5, seed=flips(".xx."))
    found.start(job("j", *X_Y, application="a", order=0), job("k", *X_Y, application="b", order=1), tasks=3)
    assert went(found.feed(attached("e", slots=4)))[:3] == [("j", "policy")] * 3


def test_each_decision_asks_one_coin():
    asked: list[int] = []

    class Counting(Llmsched):
        def explores(self, decision: int) -> bool:
            asked.append(decision)
            return super().explores(decision)

    found = bench(pair("a", (10, 30), COPY), epsilon=0.5, policies=Counting)
    found.start(*[job(f"j{number}", *X_Y, application="a", order=number) for number in range(12)], tasks=2)
    effects = found.feed(attached("e", slots=15))
    went_at = {one.number: one.rule for one in of(Dispatch, effects)}
    assert len(went_at) == 15
    # A decision has the number of the first task that goes by it; the next one's is that of the next task.
    assert asked == sorted(set(asked))
    assert len(asked) < 15
    explored = [number for number in asked if make_policy(found.machine.settings).explores(number)]
    assert [number for number in asked if went_at[number] == "explore"] == explored
    assert 0 < len(explored) < len(asked)


def test_the_coin_is_a_hash_of_seed_and_number_alone():
    def coins(seed: int, epsilon: float | None = None, count: int = 4000) -> list[int]:
        policy = make_policy(PolicySettings(name="llmsched", seed=seed, epsilon=epsilon))
        return [number for number in range(1, count + 1) if policy.explores(number)]

    # Known by heart: another hash would not repeat a run.
    assert coins(0, count=40) == [14, 15, 17, 26, 34, 35]
    assert coins(1) != coins(0)
    assert len(coins(0)) == pytest.approx(800, abs=100)  # ε = 0.2, give or take four standard deviations of 25
    assert len(coins(0, 0.5)) == pytest.approx(2000, abs=126)
    assert (coins(0, 0.0), len(coins(0, 1.0))) == ([], 4000)


@pytest.mark.parametrize("count", [30, 90])
def test_the_coin_is_the_same_whatever_waits(count: int):
    """Under any load, exactly the decisions of the same numbers explore."""
    found = bench(pair("a", (10, 30), COPY), pair("b", (11, 35), FREE), epsilon=0.3, seed=5)
    jobs = [job(f"j{number}", *X_Y, application="ab"[number % 2], order=number) for number in range(count)]
    found.start(*jobs)
    effects = of(Dispatch, found.feed(attached("e", slots=25)))
    policy = make_policy(found.machine.settings)
    assert [one.rule == "explore" for one in effects] == [policy.explores(number) for number in range(1, 26)]


def test_both_lists_hold_only_stages_that_have_a_slot():
    """The tool stage has most to tell, but only an LLM slot is free."""
    jobs = [
        [recorded("x", seconds=10.0 + 20 * (one % 2)), recorded("y", "x", seconds=10.0 + 80 * (one % 2))]
        for one in range(40)
    ]
    tools = replace(learned(*jobs), application="t")
    found = bench(tools, pair("b", (10, 30), FREE))
    found.start(job("t", tool("x"), tool("y", "x", position=1), application="t", order=0))
    found.start(job("b", *X_Y, application="b", order=1))
    assert went(found.feed(attached("e"))) == [("b", "explore")]
    assert went(found.feed(attached("tools", "tool:any"))) == [("t", "explore")]


def test_an_unknown_application_is_in_the_first_list_only():
    """By what it has received: new ones first. There is nothing to know of it that could be learned."""
    known = pair("a", (10, 30), COPY)
    assert first(known, names="au") == ("a", "explore")
    assert first(known, names="au", epsilon=0.0) == ("u", "policy")
    assert first(known, names="u") == ("u", "policy")
    # Once u has had 50 s, a goes first, of which 40 are expected.
    found = bench(known, epsilon=0.0)
    found.feed(attached("e"))
    found.start(job("u", *X_Y, application="u", order=0))
    found.start(job("a", *X_Y, application="a", order=1))
    effects = found.machine.handle_batch([succeeded(ref("u", "x"), seconds=50.0), unfolded("u", "y", tasks=1, at=50.0)])
    assert went(effects) == [("a", "policy")]


def test_the_guard_goes_before_the_coin():
    found = bench(pair("a", (10, 30), COPY), pair("b", (50, 70), FREE), ageing_seconds=10.0)
    found.start(job("b", *X_Y, application="b", order=0))
    found.start(job("a", *X_Y, application="a", order=1, arrival=12.0))
    assert went(found.feed(attached("e", at=13.0))) == [("b", "ageing")]


# Ingredients


def test_an_ingredient_that_it_does_not_have_cannot_be_left_out():
    with pytest.raises(UnknownPolicy, match="policy 'llmsched' cannot do without 'index', 'salt'; what it can do"):
        make_policy(PolicySettings(name="llmsched", without=("salt", "index", "network")))
