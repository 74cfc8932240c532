"""Policies that prefer what is short, by what the history says, by what is done, or by what will be."""

from __future__ import annotations

import pytest

from services.profiler.core.statistics import WorkModel
from services.scheduler.core import PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.policies.base import Knowledge
from tests.support.scheduling import Bench, admitted, attached, job, learned, llm, ref, succeeded, tool, unfolded
from tests.unit.services.scheduler.core.policies.candidates import history, of, ranked, ready, shown

HISTORY = history(learned(1.0, 5.0, 9.0), short=learned(1.0, 3.0), long=learned(10.0, 20.0))


def test_sjf_goes_by_the_mean_of_the_application_whatever_is_done():
    candidates = [
        ready("long", application="long", arrival=0.0, attained_tool_seconds=14.0),
        ready("unheard-of", application="?", arrival=1.0),  # the mean of all: 5
        ready("short", application="short", arrival=3.0),
        ready("short, earlier", application="short", arrival=2.0),
    ]
    assert ranked(candidates, HISTORY, name="sjf") == ["short, earlier", "short", "unheard-of", "long"]


def test_srtf_takes_off_the_work_that_is_done_not_the_seconds_that_it_took():
    work = WorkModel()
    done = {"done_prompt_tokens": 1000, "done_output_tokens": 500, "attained_llm_seconds": 99.0}
    candidates = [
        ready("untouched", application="long"),  # 15
        ready("half", application="long", **done),  # 15 - 0.161 - 7.75 = 7.089
        ready("tools too", application="long", attained_tool_seconds=6.0, **done),  # 1.089
        ready("outlived", application="short", attained_tool_seconds=2.5),  # -0.5
        ready("outlived by more", application="short", attained_tool_seconds=4.0),  # -2
        ready("unheard-of", application="?"),  # 5
    ]
    assert ranked(candidates, HISTORY, name="srtf") == [
        "outlived by more",
        "outlived",
        "tools too",
        "unheard-of",
        "half",
        "untouched",
    ]
    policy = make_policy(PolicySettings(name="srtf"), HISTORY)
    assert policy.key(*candidates[2])[0] == pytest.approx(15.0 - work.work(1000, 500) - 6.0) == pytest.approx(1.089)


def test_plas_goes_by_attained_service_of_both_kinds():
    candidates = [
        ready("both", attained_llm_seconds=2.0, attained_tool_seconds=2.0),
        ready("llm", attained_llm_seconds=3.0),
        ready("tool", attained_tool_seconds=1.0),
        ready("new", arrival=9.0),
    ]
    assert ranked(candidates, name="plas") == ["new", "tool", "llm", "both"]


WORKS = {
    "one stage left": {"a": (1.0,), "b": (6.5,)},
    "the same, later": {"a": (1.0,), "b": (6.5,)},
    "two stages left": {"a": (9.0,), "b": (1.0, 2.0), "hidden": (3.0,)},
}
ORACLE = Knowledge(oracle=lambda job_id: WORKS[job_id])


def test_clairvoyant_srpt_counts_all_that_is_not_done_shown_or_not():
    candidates = [
        of(shown(name, llm("a"), llm("b", "a"), done="a", arrival=float(number)), "b")
        for number, name in enumerate(WORKS)
    ]
    # 1 + 2 + 3 = 6 is less than 6.5; then by arrival.
    ranks = ranked(candidates, ORACLE, name="clairvoyant-srpt")
    assert ranks == ["two stages left", "one stage left", "the same, later"]


def test_a_running_stage_counts_whole_until_it_ends():
    future = Knowledge(oracle=lambda job_id: {"a": (4.0, 5.0), "b": (2.0,)})
    policy = make_policy(PolicySettings(name="clairvoyant-srpt"), future)
    bench = Bench(policies=lambda settings, knowledge: policy)
    bench.feed(attached("e1", slots=2), admitted(job("j", llm("a"), tool("b"))))
    bench.feed(unfolded("j", "a", tasks=2), unfolded("j", "b", tasks=1), succeeded(ref("j", "a", 0)))
    assert [one.key[0] for one in bench.machine.queue()] == [11.0]
    bench.feed(succeeded(ref("j", "a", 1)))
    assert [one.key[0] for one in bench.machine.queue()] == [2.0]


@pytest.mark.parametrize("name", ["carbyne", "hermes", "sjf", "srtf"])
def test_what_needs_a_history_says_so(name):
    with pytest.raises(UnknownPolicy, match=f"policy '{name}' needs a history to learn from, and none was given"):
        make_policy(PolicySettings(name=name), ORACLE)


def test_only_a_simulation_knows_the_future():
    with pytest.raises(
        UnknownPolicy, match="'clairvoyant-srpt' needs to know the future, which only a simulation does"
    ):
        make_policy(PolicySettings(name="clairvoyant-srpt"), HISTORY)
