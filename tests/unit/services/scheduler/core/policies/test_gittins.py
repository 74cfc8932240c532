"""The posterior Gittins index of a job's stages, on one slot and on two resources, by beliefs and without any."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest

from services.profiler.core.profile import Profile, learn
from services.profiler.core.statistics import WorkModel
from services.scheduler.core import PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.effects import Dispatch, Effect
from services.scheduler.core.policies.base import Knowledge
from tests.support.beliefs import COPY, FREE, HALF, SECOND, beliefs, chain, linked
from tests.support.scheduling import Bench, attached, job, llm, of, ref, succeeded, tool, unfolded
from tests.unit.services.profiler.test_profile import learned
from tests.unit.services.profiler.test_profile import llm as recorded_llm
from tests.unit.services.profiler.traces import tool as recorded

X_Y = (llm("x"), llm("y", "x", position=1))


def bench(*profiles: Profile, work: WorkModel = SECOND, **settings: object) -> Bench:
    return Bench("gittins", knowledge=Knowledge(beliefs=beliefs(*profiles, work=work)), **settings)


def went(effects: list[Effect]) -> list[str]:
    return [f"{one.attempt.job_id}/{one.attempt.stage_id}" for one in of(Dispatch, effects)]


def indices(found: Bench) -> dict[str, float]:
    """The index of every waiting stage, by job and stage."""
    return {f"{one.job.job_id}/{one.stage.stage_id}": one.key[0] for one in found.machine.queue()}


#: A second, then one or a hundred; the first second's tokens tell which. 100 tokens are a second.
RISKY = linked("risky", ((100, 101), (100, 10_000)), ((), HALF), ((0,), COPY))
BLIND = linked("blind", ((100, 101), (100, 10_000)), ((), HALF), ((0,), FREE))
(SURE,) = learn(chain("sure", *[(350,)] * 20)).values()
HUNDREDTH = WorkModel(prefill=0.0, decode=0.01)


def risky_beside_sure(application: str, **settings: object) -> Bench:
    found = bench(RISKY, BLIND, SURE, work=HUNDREDTH, **settings)
    found.start(job("sure", llm("x"), application="sure", order=0))
    found.start(job("risky", *X_Y, application=application, order=1))
    return found


def test_a_job_that_may_be_stopped_after_bad_news_goes_before_a_sure_one():
    """1 s and then 1 s or 100 s has (1 + ½ · 1) / ½ = 3, before 3.5; by limits on the total it would have 4."""
    found = risky_beside_sure("risky")
    assert indices(found) == {"risky/x": pytest.approx(3.0, abs=0.25), "sure/x": pytest.approx(3.5)}
    assert went(found.feed(attached("e"))) == ["risky/x"]
    # Where the tokens tell nothing, nobody can stop in time.
    found = risky_beside_sure("blind")
    assert indices(found)["risky/x"] == pytest.approx(4.0, abs=0.35)
    assert went(found.feed(attached("e"))) == ["sure/x"]
    # And 51.5 s are expected.
    found = risky_beside_sure("risky", without=("index",))
    assert indices(found) == {"risky/x": pytest.approx(51.5, abs=0.01), "sure/x": pytest.approx(3.5)}


@pytest.mark.parametrize(("tokens", "next_one"), [(100, "risky/y"), (101, "sure/x")])
def test_it_is_stopped_after_bad_news_and_only_then(tokens: int, next_one: str):
    found = risky_beside_sure("risky")
    found.feed(attached("e"))
    effects = found.machine.handle_batch(
        [succeeded(ref("risky", "x"), at=1.0, tokens=tokens), unfolded("risky", "y", tasks=1, at=1.0)]
    )
    assert went(effects) == [next_one]


#: Exponential, of mean 1.04; a token is a millisecond.
EXPONENTIAL = [round(-1040 * log(1 - (number + 0.5) / 400)) for number in range(400)]
(LONG,) = learn(chain("long", *[(size,) for size in EXPONENTIAL])).values()
MILLISECOND = WorkModel(prefill=0.0, decode=0.001)


def test_time_spent_on_jobs_that_do_not_end_counts():
    """Of an exponential no limit is better than any other: 1.04 (samples find one that is a little), after a sure 0.8.

    With E[S | S <= D] in place of E[min(S, D)], as the rank of Hermes' code has it, it would have about half of that,
    and go first.
    """
    (short,) = learn(chain("short", *[(800,)] * 20)).values()
    found = bench(LONG, short, work=MILLISECOND)
    found.start(
        job("long", llm("x"), application="long", order=0), job("short", llm("x"), application="short", order=1)
    )
    assert indices(found) == {"short/x": pytest.approx(0.8), "long/x": pytest.approx(1.0, abs=0.1)}
    assert went(found.feed(attached("e"))) == ["short/x"]
    ordered = np.sort(np.array(EXPONENTIAL) / 1000)
    assert min(ordered[:count].mean() / (count / 400) for count in range(40, 401)) < 0.6


def test_the_index_is_in_seconds_whatever_the_draws():
    """Samples give the shape, and the exact mean gives the scale: what is sure has exactly its length."""
    (sure,) = learn(chain("sure", *[(7, 5)] * 20)).values()
    found = bench(sure)
    found.start(job("j", *X_Y, application="sure"))
    assert indices(found) == {"j/x": pytest.approx(12.0, rel=1e-12)}


def test_the_same_seed_draws_the_same():
    keys = []
    for seed in (0, 0, 1):
        found = bench(LONG, work=MILLISECOND, seed=seed)
        found.start(job("j", llm("x"), application="long"))
        keys.append(indices(found)["j/x"])
    assert keys[0] == keys[1] != keys[2]
    assert keys[0] == pytest.approx(keys[2], rel=0.4)


# Two resources


def mixed(llm_tokens: int, tool_seconds: float) -> Profile:
    """An LLM stage and then a tool, of lengths that are sure."""
    jobs = [[recorded_llm("x", outputs=[llm_tokens]), recorded("t", "x", seconds=tool_seconds)] for _ in range(20)]
    return replace(learned(*jobs), application=f"m{llm_tokens}")


def test_service_is_that_of_the_resource_that_the_stage_waits_for():
    """A job whose rest is tool time does not wait behind LLM load, nor the other way round."""
    slow_tool, slow_llm = mixed(5, 100.0), mixed(10, 1.0)
    jobs = [job(f"j{one}", llm("x"), tool("t", "x", position=1), application=f"m{one}", order=-one) for one in (5, 10)]
    found = bench(slow_tool, slow_llm)
    found.start(*jobs)
    assert indices(found) == {"j5/x": pytest.approx(5.0), "j10/x": pytest.approx(10.0)}
    assert went(found.feed(attached("e"))) == ["j5/x"]
    # All in one: 105 beside 11.
    found = bench(slow_tool, slow_llm, without=("resource",))
    found.start(*jobs)
    assert indices(found) == {"j5/x": pytest.approx(105.0), "j10/x": pytest.approx(11.0)}
    assert went(found.feed(attached("e"))) == ["j10/x"]


@pytest.mark.parametrize(("without", "expected"), [((), [3.0, 8.0]), (("resource",), [8.0 + 3.0] * 2)])
def test_without_a_profile_it_is_attained_service_of_that_resource(without: tuple[str, ...], expected: list[float]):
    found = bench(without=without)
    found.feed(attached("e"), attached("t", "tool:any"))
    found.start(job("j", llm("a"), tool("b", position=1), llm("c", "a", "b", position=2), tool("d", "a", position=3)))
    found.feed(succeeded(ref("j", "a"), seconds=3.0), succeeded(ref("j", "b"), seconds=8.0))
    # Nobody is left to take them: both slots are taken.
    found.start(job("busy", llm("a"), tool("b", position=1), arrival=0.0, order=-1))
    found.feed(unfolded("j", "c", tasks=1), unfolded("j", "d", tasks=1))
    assert indices(found) == {"j/c": expected[0], "j/d": expected[1]}


def test_known_and_unknown_applications_are_ranked_in_the_same_seconds():
    (sure,) = learn(chain("sure", *[(20, 20)] * 20)).values()
    for seconds, winner in ((39.0, "u"), (41.0, "s")):
        again = bench(sure)
        again.feed(attached("e"))
        again.start(job("u", *X_Y, application="unknown", order=0), job("s", *X_Y, application="sure", order=1))
        batch = [succeeded(ref("u", "x"), seconds=seconds), unfolded("u", "y", tasks=1)]
        assert went(again.machine.handle_batch(batch)) == [f"{winner}/{'y' if winner == 'u' else 'x'}"]


# Inside a job


def test_of_a_job_s_stages_the_one_with_the_longest_path_after_it_goes_first():
    """Both stages lead to stages of a job with one index; after b there are 50 s, after a only 2."""
    jobs = [
        [
            recorded_llm("a", outputs=[5]),
            recorded_llm("b", outputs=[5]),
            recorded_llm("c", "a", outputs=[2]),
            recorded_llm("d", "b", outputs=[50]),
        ]
        for _ in range(20)
    ]
    fork = replace(learned(*jobs), application="fork")
    stages = llm("a"), llm("b", position=1), llm("c", "a", position=2), llm("d", "b", position=3)
    for without, winner in ((), "j/b"), (("path",), "j/a"):
        found = bench(fork, without=without)
        found.start(job("j", *stages, application="fork"))
        assert indices(found) == {"j/a": pytest.approx(62.0), "j/b": pytest.approx(62.0)}
        assert went(found.feed(attached("e"))) == [winner]


# Nothing left, or next to nothing


def test_a_stage_that_needs_nothing_has_index_0():
    (empty,) = learn(chain("empty", *[(0, 0)] * 20)).values()
    found = bench(empty)
    found.start(job("j", *X_Y, application="empty"))
    assert indices(found) == {"j/x": 0.0}


def test_what_no_sample_has_counts_by_its_mean():
    """An LLM stage that nobody's calls needed a token of, but one job's in 2,000: no sample is likely to show it."""
    rare = linked("rare", ((0, 1000),), ((), (0.9995, 0.0005)))
    found = bench(rare)
    found.start(job("j", llm("x"), application="rare"))
    assert indices(found) == {"j/x": pytest.approx(0.5)}


# Ingredients


def test_an_ingredient_that_it_does_not_have_cannot_be_left_out():
    with pytest.raises(
        UnknownPolicy, match="policy 'gittins' cannot do without 'information'; what it can do without: "
    ):
        make_policy(PolicySettings(name="gittins", without=("information",)))
