"""What the policies that believe have in common: evidence end to end, profiles that come late, and going without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core.profile import Profile
from services.profiler.core.statistics import WorkModel
from services.scheduler.core import UnknownPolicy, make_policy
from services.scheduler.core.effects import Dispatch, Effect
from services.scheduler.core.events import ProfileChanged
from services.scheduler.core.model import PolicySettings, TaskSpec
from services.scheduler.core.policies.base import Knowledge
from tests.support.beliefs import COPY, SECOND, beliefs, pair
from tests.support.scheduling import Bench, admitted, attached, counted, job, llm, of, ref, succeeded, unfolded
from tests.unit.services.profiler.test_profile import learned
from tests.unit.services.profiler.test_profile import llm as recorded

X_Y = (llm("x"), llm("y", "x", position=1))
BELIEVING = pytest.mark.parametrize("name", ["gittins", "llmsched"])
#: A coin would only disturb.
QUIET = {"llmsched": {"epsilon": 0.0}}
#: So that the first number of a key is the mean of what is left.
MEANS = {"gittins": ("index",), "llmsched": ()}


def bench(name: str, *profiles: Profile, work: WorkModel = SECOND, slowdown: float = 1.0, **more: object) -> Bench:
    knowledge = Knowledge(beliefs=beliefs(*profiles, work=work), slowdown=slowdown)
    return Bench(name, knowledge=knowledge, **QUIET.get(name, {}), **more)


def went(effects: list[Effect]) -> list[str]:
    return [f"{one.attempt.job_id}/{one.attempt.stage_id}" for one in of(Dispatch, effects)]


def changed(profile: Profile, at: float = 0.0) -> ProfileChanged:
    return ProfileChanged(at=at, cause="test", profile=profile)


TIED = pair("tied", (1000, 3000), COPY)
SURE = pair("sure", (999, 1001), ((0.5, 0.5), (0.5, 0.5)))


@BELIEVING
@pytest.mark.parametrize(("tokens", "next_one"), [(1000, "j/y"), (3000, "k/x")])
def test_an_observed_duration_flips_the_next_dispatch(name: str, tokens: int, next_one: str):
    """y takes as long as x did: after a short one 1000 are left, after a long one 3000; k has 2000 in all.

    The profiles reach the machine as events, and nothing but the tokens of x differs.
    """
    found = Bench(name, **QUIET.get(name, {}))
    found.feed(changed(TIED), changed(SURE), attached("e"))
    found.start(job("j", *X_Y, application="tied", order=0))
    found.start(job("k", *X_Y, application="sure", order=1))
    batch = [succeeded(ref("j", "x"), at=20.0, tokens=tokens, seconds=20.0), unfolded("j", "y", tasks=1, at=20.0)]
    assert went(found.machine.handle_batch(batch)) == [next_one]


@BELIEVING
@pytest.mark.parametrize(
    ("without", "left"), [((), {1000: 1000.0, 3000: 3000.0}), (("network",), {1000: 2000.0, 3000: 2000.0})]
)
def test_without_the_network_a_duration_tells_of_no_other(name: str, without: tuple[str, ...], left: dict[int, float]):
    for tokens, expected in left.items():
        found = bench(name, TIED, without=(*without, *MEANS[name]))
        found.feed(attached("e"))
        found.start(job("j", *X_Y, application="tied"))
        batch = [succeeded(ref("j", "x"), tokens=tokens), unfolded("j", "y", tasks=1)]
        found.machine.handle_batch(batch, dispatch=False)
        assert [one.key[0] for one in found.machine.queue()] == [pytest.approx(expected)]


@BELIEVING
def test_an_unknown_application_grows_into_beliefs_mid_run(name: str):
    """Attained service until its profile comes, then what is left; keys are computed anew, of waiting stages too."""
    found = bench(name)
    found.feed(attached("e"))
    found.start(*[job(one, *X_Y, application="tied", order=order) for order, one in enumerate(("a", "b", "c"))])
    # c has no tasks of y yet; a has had 500 s.
    found.machine.handle_batch([succeeded(ref("a", "x"), seconds=500.0, tokens=1000), unfolded("a", "y", tasks=1)])
    assert [(one.job.job_id, one.key[0]) for one in found.machine.queue()] == [("c", 0.0), ("a", 500.0)]
    found.feed(changed(TIED))
    assert found.machine.knowledge.beliefs.profiles == {"tied": TIED}
    a, c = ("a", pytest.approx(1000.0)), ("c", pytest.approx(4000.0, rel=0.5))
    assert [(one.job.job_id, one.key[0]) for one in found.machine.queue()] == [a, c]
    assert went(found.feed(succeeded(ref("b", "x"), tokens=1000))) == ["a/y"]
    # A second profile takes the place of the first: what was short is long by now.
    found.feed(changed(pair("tied", (1000, 3000), ((0.0, 1.0), (1.0, 0.0)))), unfolded("b", "y", tasks=1))
    b = ("b", pytest.approx(3000.0))
    assert b in [(one.job.job_id, one.key[0]) for one in found.machine.queue()]


@BELIEVING
def test_a_profile_of_another_application_changes_no_key(name: str):
    found = bench(name, TIED)
    found.start(job("j", *X_Y, application="tied"))
    before = [one.key for one in found.machine.queue()]
    found.feed(changed(SURE))
    assert [one.key for one in found.machine.queue()] == before
    assert set(found.machine.knowledge.beliefs.profiles) == {"tied", "sure"}


@pytest.mark.parametrize("name", ["fcfs", "plas", "random"])
def test_profiles_are_no_news_to_other_policies_but_are_kept_for_later(name: str):
    found = Bench(name)
    found.start(job("j", *X_Y, application="tied"))
    before = [one.key for one in found.machine.queue()]
    assert found.feed(changed(TIED)) == []
    assert [one.key for one in found.machine.queue()] == before
    assert found.machine.knowledge.beliefs.profiles == {"tied": TIED}


# What a job has shown of a part of a stage


@BELIEVING
@pytest.mark.parametrize(
    ("without", "tokens", "each"),
    [((), 10, 10.0), ((), 100, 100.0), (("part",), 10, 55.0), (("part",), 100, 55.0)],
)
def test_tasks_that_have_ended_tell_of_the_others(name: str, without: tuple[str, ...], tokens: int, each: float):
    """Stages of four tasks that are nearly alike, of 10 tokens or of 100; one has ended, two run, one waits."""
    jobs = [[recorded("x", outputs=[size, size - 1, size + 1, size])] for size in (10, 100) for _ in range(30)]
    found = bench(name, replace(learned(*jobs), application="wide"), without=(*without, *MEANS[name]))
    found.feed(attached("e", slots=3))
    found.start(job("j", llm("x"), application="wide"), tasks=4)
    found.machine.handle_batch([succeeded(ref("j", "x", 0), at=9.0, tokens=tokens)], dispatch=False)
    assert [one.key[0] for one in found.machine.queue()] == [pytest.approx(3 * each, rel=0.12)]


@BELIEVING
@pytest.mark.parametrize(("without", "left"), [((), 2 * 55.0), (("calibration",), 2 * 100.0), (("part",), 2 * 55.0)])
def test_elapsed_time_counts_as_work_at_the_speed_of_a_full_batch(name: str, without: tuple[str, ...], left: float):
    """Of 10 tokens or 100, a second each alone. After 40 s a task that was alone is not the short one; but in a batch
    everything may take five times as long, and then it has had 8 tokens for certain."""
    jobs = [[recorded("x", outputs=[size])] for size in (10, 100) * 30]
    profile = replace(learned(*jobs), application="wide")
    found = bench(name, profile, slowdown=5.0, without=(*without, *MEANS[name]))
    found.feed(attached("e"))
    found.start(job("j", llm("x"), application="wide"), tasks=2)
    # Something of the job shows itself at that time: elapsed time counts as of then.
    found.machine.handle_batch([counted("j", "x", 0, 0, at=40.0)], dispatch=False)
    assert [one.key[0] for one in found.machine.queue()] == [pytest.approx(left, rel=0.15)]


@BELIEVING
@pytest.mark.parametrize(
    ("width", "prompt", "without", "left"),
    [
        (2, 100, (), 2 * 11.0),
        (10, 300, (), 10 * 13.0),
        (2, 100, ("arrival",), 6 * 11.0),
        (10, 300, ("arrival",), 6 * 11.0),
    ],
)
def test_widths_and_prompts_of_ready_stages_are_evidence(
    name: str, width: int, prompt: int, without: tuple[str, ...], left: float
):
    """Two tasks or ten; without that evidence six on average, with a prompt of 100 tokens, which take a second."""
    jobs = [[recorded("x", outputs=[10] * (2 + 8 * (one % 2)), prompt=100)] for one in range(40)]
    work = WorkModel(prefill=0.01, decode=1.0)
    found = bench(name, replace(learned(*jobs), application="wide"), work=work, without=(*without, *MEANS[name]))
    found.feed(
        admitted(job("j", llm("x"), application="wide")),
        unfolded("j", "x", tasks=[TaskSpec(prompt_tokens=prompt)] * width),
    )
    assert [one.key[0] for one in found.machine.queue()] == [pytest.approx(left, rel=0.05)]


@BELIEVING
def test_all_ingredients_can_be_left_out_at_once(name: str):
    own = {"gittins": ("resource", "path", "index"), "llmsched": ("information",)}[name]
    found = bench(name, TIED, without=("network", "arrival", "part", "calibration", *own))
    found.feed(attached("e"))
    found.start(job("j", *X_Y, application="tied"), job("k", *X_Y, application="unknown", order=1))
    found.machine.handle_batch([succeeded(ref("j", "x"), tokens=1000), unfolded("j", "y", tasks=1)], dispatch=False)
    # Of j half of its 4000 s are left, as on average; k is unknown and has had nothing.
    assert [(one.job.job_id, one.key[0]) for one in found.machine.queue()] == [("k", 0.0), ("j", pytest.approx(2000.0))]
    with pytest.raises(UnknownPolicy, match="cannot do without 'luck'"):
        make_policy(PolicySettings(name=name, without=("luck",)))
