"""What a belief says of the next stage's end, of states and spans; and how beliefs change as profiles do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profiler.core import gittins
from services.profiler.core.belief import Belief, Beliefs
from services.profiler.core.evidence import evidence
from services.profiler.core.network import Array
from services.profiler.core.profile import Profile, learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import Aspect, JobSeen, StageSeen
from tests.support.beliefs import COPY, FREE, HALF, beliefs, done, linked, pair, ready, seen, waiting
from tests.unit.services.profiler.networks import enumerated, marginal
from tests.unit.services.profiler.test_profile import history, learned, llm, rounds
from tests.unit.services.profiler.traces import tool

SIZES = (10, 30)
WORK = WorkModel(prefill=0.01, decode=1.0)


def believed(profile: Profile, job: JobSeen, work: WorkModel | None = None) -> Belief:
    found = beliefs(profile, work=work or WorkModel(prefill=0.0, decode=1.0)).of(job)
    assert found is not None
    return found


def uniforms(belief: Belief, count: int = 2000, seed: int = 1) -> Array:
    return np.random.default_rng(seed).random((count, belief.draws))


ARRIVED = seen("a", ready("x"), waiting("y"))


# Posteriors


def test_a_posterior_is_bayes_rule_with_evidence_before_and_after():
    """By hand: P(x long) = 1/4; y is long with 0.4 after a short x, with 0.8 after a long one."""
    profile = pair("a", SIZES, ((0.6, 0.4), (0.2, 0.8)), prior=(0.75, 0.25))
    assert believed(profile, ARRIVED).marginal(1)[1] == pytest.approx(0.75 * 0.4 + 0.25 * 0.8)
    assert believed(profile, seen("a", done("x", 30.0), waiting("y"))).marginal(1)[1] == pytest.approx(0.8)
    # From a descendant back: 0.25 * 0.8 / (0.25 * 0.8 + 0.75 * 0.4).
    after = believed(profile, seen("a", ready("x"), done("y", 30.0)))
    assert after.marginal(0)[1] == pytest.approx(0.4)
    assert after.expected.llm == pytest.approx(0.6 * 10.0 + 0.4 * 30.0)
    # Elapsed time: a task that has run for 20 is not one of 10.
    running = replace(ready("x"), running_units=20.0, running=(20.0,))
    assert believed(profile, seen("a", running, waiting("y"))).marginal(1)[1] == pytest.approx(0.8)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Profile, JobSeen]:
    """Three stages that depend on each other in any way, each of which waits, is ready, runs, or has ended."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parents = [(), draw(st.sampled_from([(), (0,)])), draw(st.sampled_from([(), (0,), (1,), (0, 1)]))]
    tables = [random.dirichlet(np.ones(2), size=(2,) * len(above)) for above in parents]
    profile = linked("a", (SIZES, SIZES, SIZES), *zip(parents, tables, strict=True))
    states: dict[str, StageSeen] = {}
    for name in "xyz":
        running = replace(ready(name), running_units=12.0, running=(12.0,))
        states[name] = draw(st.sampled_from([waiting(name), ready(name), running, done(name, 10.0), done(name, 30.0)]))
    return profile, seen("a", *states.values())


@given(chains())
@settings(deadline=None, max_examples=50)
def test_posteriors_and_means_are_those_of_enumeration(case: tuple[Profile, JobSeen]):
    profile, job = case
    belief = believed(profile, job)
    joint = enumerated(profile.network, evidence(profile, job))
    joint = joint / joint.sum()
    for variable in range(3):
        assert belief.marginal(variable) == pytest.approx(marginal(joint, [variable]))
    sizes = np.array(SIZES, dtype=float)
    left = [sizes @ marginal(joint, [place]) for place, stage in enumerate(job.stages) if not stage.done]
    assert belief.expected == pytest.approx((sum(left), 0.0))
    # The support is of all stages that have not ended, and holds every state that can be.
    low = [sizes[marginal(joint, [place]) >= 0.01].min() for place, one in enumerate(job.stages) if not one.done]
    high = [sizes[marginal(joint, [place]) >= 0.01].max() for place, one in enumerate(job.stages) if not one.done]
    assert belief.interval == pytest.approx((sum(low), sum(high)))


def test_the_interval_is_the_support_over_all_stages_that_have_not_ended():
    """Half of the jobs have a y of 100 s: what is left is between nothing and 100, not 50."""
    jobs = [
        [
            tool("x"),
            tool("z", "x", seconds=4.0),
            *([tool("y", "z", seconds=100.0, generated_by="z")] if one % 2 else []),
        ]
        for one in range(40)
    ]
    (profile,) = learn(history(*jobs)).values()
    all_of_it = believed(profile, seen("a", ready("x", is_llm=False), waiting("z", is_llm=False)))
    assert all_of_it.interval == pytest.approx((1.0 + 4.0, 1.0 + 4.0 + 100.0))
    z_made = replace(done("z", 4.0, is_llm=False), growing=True)
    last = believed(profile, seen("a", done("x", 1.0, is_llm=False), z_made))
    assert last.marginal(profile.index[Aspect.UNITS, ("y", 0)])[0] == pytest.approx(0.5, abs=0.02)
    assert last.interval == pytest.approx((0.0, 100.0))
    assert last.expected.tool == pytest.approx(50.0, abs=2.0)


# The end of the next stage


def test_an_outlook_cuts_what_is_left_at_the_end_of_a_stage():
    belief = believed(pair("a", SIZES, COPY), ARRIVED)
    outlook = belief.outlook(("x", 0), uniforms(belief))
    assert set(outlook.first.tolist()) == {10.0, 30.0}
    assert outlook.rest[:, 0].tolist() == outlook.first.tolist()  # y is as long as x
    assert not outlook.rest[:, 1].any()
    assert (outlook.first == 10.0).mean() == pytest.approx(0.5, abs=0.05)
    # What x shows is how long it was: two things that can be told apart, with one length each.
    assert len(set(zip(outlook.news.tolist(), outlook.first.tolist(), strict=True))) == 2
    assert len(set(outlook.news.tolist())) == 2


def test_an_outlook_and_samples_are_of_the_same_draws():
    belief = believed(pair("a", SIZES, ((0.7, 0.3), (0.1, 0.9))), ARRIVED)
    drawn = uniforms(belief)
    samples = belief.samples(drawn)
    for stage in (("x", 0), ("y", 0)):
        outlook = belief.outlook(stage, drawn)
        assert (outlook.first + outlook.rest.sum(axis=1)).tolist() == samples.sum(axis=1).tolist()
    other = belief.samples(uniforms(belief, seed=2))
    assert other.tolist() != samples.tolist()
    assert other.mean() == pytest.approx(samples.mean(), rel=0.1)


def test_tools_stand_in_their_own_column():
    jobs = [[llm("x", outputs=[10 + 20 * (one % 2)]), tool("t", "x", seconds=7.0)] for one in range(40)]
    belief = believed(learned(*jobs), seen("a", ready("x"), waiting("t", is_llm=False)))
    outlook = belief.outlook(("x", 0), uniforms(belief, 50))
    assert set(map(tuple, outlook.rest.tolist())) == {(0.0, 7.0)}
    outlook = belief.outlook(("t", 0), uniforms(belief, 50))
    assert set(outlook.first.tolist()) == {7.0}
    assert set(outlook.rest[:, 0].tolist()) == {10.0, 30.0}


def test_the_end_of_a_stage_shows_which_stages_it_has_made():
    """x always takes a second; whether there is a y shows only when it has ended."""
    jobs = [[tool("x"), *([tool("y", "x", seconds=100.0, generated_by="x")] if one % 2 else [])] for one in range(40)]
    belief = believed(learned(*jobs), seen("a", ready("x", is_llm=False)))
    outlook = belief.outlook(("x", 0), uniforms(belief))
    by_news = {news: set(outlook.rest[outlook.news == news, 1].tolist()) for news in set(outlook.news.tolist())}
    assert sorted(by_news.values(), key=max) == [{0.0}, {100.0}]


def test_a_stage_without_variables_shows_nothing():
    belief = believed(pair("a", SIZES, COPY), seen("a", ready("new"), waiting("x"), waiting("y")))
    outlook = belief.outlook(("new", 0), uniforms(belief))
    assert set(outlook.news.tolist()) == {0}
    assert outlook.first.mean() == pytest.approx(20.0, rel=0.1)  # as LLM stages are


def test_the_index_of_a_job_that_may_stop_after_bad_news():
    """A second, then one more or a hundred, and the tokens of the first second tell which.

    Stopping there is worth it: (1.05 + ½ · 1) / ½ and not 4; with a second that tells nothing it is 4.1.
    """
    sizes = ((100, 110), (100, 10_000))
    told = linked("a", sizes, ((), HALF), ((0,), COPY))
    untold = linked("a", sizes, ((), HALF), ((0,), FREE))
    found = []
    for profile in (told, untold):
        belief = believed(profile, ARRIVED, WorkModel(prefill=0.0, decode=0.01))
        outlook = belief.outlook(("x", 0), gittins.uniforms(4096, belief.draws, 0))
        found.append(gittins.index(outlook.first, outlook.rest[:, 0], outlook.news))
    assert found == pytest.approx([3.1, 4.1], rel=0.05)


# Seconds of states, spans


def test_the_states_of_a_stage_mean_the_work_of_all_its_tasks():
    jobs = [[llm("x", outputs=[10 + 20 * (one % 2)] * 3, prompt=100)] for one in range(40)]
    belief = believed(learned(*jobs), seen("a", waiting("x")), WORK)
    assert belief.state_seconds(belief.profile.index[Aspect.UNITS, ("x", 0)]) == pytest.approx([33.0, 93.0])
    # Widths that are not known yet count as expected.
    jobs = [[llm("x", outputs=[10 + 20 * (one % 2)] * (1 + one // 2 % 2))] for one in range(40)]
    belief = believed(learned(*jobs), seen("a", waiting("x")), WORK)
    assert belief.state_seconds(belief.profile.index[Aspect.UNITS, ("x", 0)]) == pytest.approx([15.0, 45.0])


def test_the_state_of_an_absent_stage_means_no_work():
    jobs = [[tool("x"), *([tool("y", "x", seconds=100.0, generated_by="x")] if one % 2 else [])] for one in range(40)]
    belief = believed(learned(*jobs), seen("a", ready("x", is_llm=False)))
    assert belief.state_seconds(belief.profile.index[Aspect.UNITS, ("y", 0)]) == pytest.approx([0.0, 100.0])


def test_the_states_of_a_count_mean_rounds():
    """Rounds beyond the first two: none, or two of one LLM call of 13.5 tokens, on average, and a tool of a second."""
    profile = learned(*[rounds(4 if one % 2 else 2) for one in range(40)])
    belief = believed(profile, seen("a", ready("code")))
    pool = profile.pools["code"].llm.units
    found = belief.state_seconds(profile.index[Aspect.COUNT, ("code", 0)])
    assert found[0] == 0.0
    assert found[-1] == pytest.approx(2 * (pool + 1.0), rel=0.01)
    assert 12.0 < pool < 13.5


def test_a_span_is_what_one_task_takes_alone():
    jobs = [[llm("x", outputs=[10 + 20 * (one % 2)] * 3, prompt=100), tool("t", "x", seconds=7.0)] for one in range(40)]
    belief = believed(learned(*jobs), seen("a", ready("x", 3), waiting("t", is_llm=False)), WORK)
    assert belief.span(waiting("x")) == pytest.approx(1.0 + 20.0)
    assert belief.span(waiting("t", is_llm=False)) == pytest.approx(7.0)


# Tasks of one stage


def test_tasks_that_have_ended_tell_of_those_that_run():
    """Stages of four tasks that are about alike: of 10 tokens, or of 100."""
    random = np.random.default_rng(4)
    jobs = [
        [llm("x", outputs=[round(size * one) for one in random.uniform(0.7, 1.3, 4)])]
        for size in (10, 100)
        for _ in range(30)
    ]
    profile = learned(*jobs)

    def expected(*ended: float, running: tuple[float, ...] = ()) -> float:
        stage = replace(
            ready("x", 4),
            units=sum(ended),
            ended=ended,
            running=running,
            running_units=sum(running),
            left=4 - len(ended),
        )
        belief = believed(profile, seen("a", stage))
        return belief.expected.llm / stage.left

    assert 40.0 < expected() < 70.0
    assert expected(9.0) < 25.0
    assert expected(110.0) > 80.0
    # One that has ended early beside three that have run for long by now was the exception.
    assert expected(9.0, running=(60.0, 60.0, 60.0)) > 50.0
    # And what nobody's stage ever needed is a stage at its longest.
    assert expected(9.0, running=(900.0, 900.0, 900.0)) > 80.0


def test_tasks_without_a_known_spread_are_a_lower_bound_only():
    jobs = [[llm("x", outputs=[10 + 20 * (one % 2)])] for one in range(40)]  # of one task: how tasks differ is unknown
    profile = learned(*jobs)
    two = replace(ready("x", 2), units=10.0, ended=(10.0,), left=1)
    assert believed(profile, seen("a", two)).marginal(0) == pytest.approx([0.5, 0.5])
    two = replace(ready("x", 2), units=30.0, ended=(30.0,), left=1)  # 15 on average at least
    assert believed(profile, seen("a", two)).marginal(0) == pytest.approx([0.0, 1.0])


# Beliefs as a whole


def test_without_dependence_every_variable_keeps_its_prior():
    known = beliefs(pair("a", SIZES, COPY, prior=(0.75, 0.25)))
    apart = known.independent()
    x_done = seen("a", done("x", 30.0), waiting("y"))
    together, alone = known.of(x_done), apart.of(x_done)
    assert together is not None
    assert alone is not None
    assert together.expected.llm == pytest.approx(30.0)
    assert alone.expected.llm == pytest.approx(0.75 * 10.0 + 0.25 * 30.0)
    assert alone.profile.network.parents == ((), ())
    assert apart.work == known.work


def test_a_profile_takes_the_place_of_the_one_before():
    first, other, second = pair("a", SIZES, COPY), pair("b", SIZES, FREE), pair("a", (20, 60), COPY)
    known = beliefs(first, other)
    changed = known.with_profile(second)
    assert known.profiles == {"a": first, "b": other}
    assert changed.profiles == {"a": second, "b": other}
    before, after = known.of(ARRIVED), changed.of(ARRIVED)
    assert before is not None
    assert after is not None
    assert (before.expected.llm, after.expected.llm) == (pytest.approx(40.0), pytest.approx(80.0))
    assert changed.of(seen("c", ready("x"))) is None
    assert changed.with_profile(replace(first, application="c")).of(seen("c", ready("x"))) is not None
    assert Beliefs().profiles == {}
    # Beliefs are equal if what they know is, tokens' costs included.
    assert changed.with_profile(first) == known != changed
    assert known != beliefs(first, other, work=WORK)
