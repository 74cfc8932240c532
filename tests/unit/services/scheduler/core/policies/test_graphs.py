"""Policies that look at the graph that a job has shown."""

from __future__ import annotations

import pytest

from services.profiler.core.statistics import ApplicationStatistics
from services.scheduler.core import PolicySettings, make_policy
from services.scheduler.core.policies import NOTHING
from services.scheduler.core.policies.base import Knowledge
from tests.support.scheduling import (
    Bench,
    admitted,
    attached,
    dynamic,
    job,
    learned,
    llm,
    make_policy_for_tests,
    tool,
    unfolded,
)
from tests.unit.services.scheduler.core.policies.candidates import history, of, ranked_stages, shown


def influences(*specs, done: str = "") -> dict[str, int]:
    view = shown("j", *specs, done=done)
    policy = make_policy(PolicySettings(name="argus"))
    return {one: -policy.key(*of(view, one))[0] for one in view.stages if one not in done and not one.startswith("?")}


# ---- argus ---------------------------------------------------------------------------------------------------------


def test_argus_counts_successors_and_adds_the_best_of_them():
    fan = [llm("a"), llm("b", "a"), llm("c", "a"), llm("d", "a"), llm("e", "b", "c", "d")]
    # e: 1; b, c, d: 1 + 1; a: 2 + 3.
    assert influences(*fan) == {"a": 5, "b": 2, "c": 2, "d": 2, "e": 1}
    assert influences(*fan, done="ab") == {"c": 2, "d": 2, "e": 1}


def test_argus_puts_deep_before_shallow_and_broad_before_narrow():
    chain = shown("chain", llm("a"), llm("b", "a"), llm("c", "b"), llm("x"), order=1)
    fan = shown("fan", llm("a"), llm("b", "a"), llm("c", "a"), llm("d", "a"), order=2)
    # chain: a 3, x 1; fan: a 4. Ties go by arrival, order and position.
    ranks = ranked_stages("argus", NOTHING, of(chain, "x"), of(chain, "a"), of(fan, "b"), of(fan, "a"))
    assert ranks == ["fan/a", "chain/a", "chain/x", "fan/b"]


def test_argus_looks_through_placeholders():
    # What "?" will add is not known; "c" comes after it, and so after "a" and "b".
    assert influences(llm("a"), llm("b"), dynamic("?", "a", "b"), llm("c", "?", "a")) == {"a": 2, "b": 2, "c": 1}


def test_argus_counts_what_was_generated_as_what_its_placeholder_waits_for():
    bench = Bench("argus")
    bench.feed(admitted(job("j", dynamic("loop"), llm("sum", "loop", position=9), tool("alone", position=8))))
    bench.feed(unfolded("j", "alone", tasks=1))
    bench.feed(
        unfolded("j", "loop", stages=[llm("try"), tool("test", "try", position=1)]), unfolded("j", "try", tasks=1)
    )
    # sum: 1; test: 1 + 1; try: 2 + 2, as the loop waits for it, too.
    assert [(one.stage.stage_id, one.key[0]) for one in bench.machine.queue()] == [("try", -4), ("alone", -1)]


# ---- carbyne -------------------------------------------------------------------------------------------------------

SPANS = history(learned(10.0), app=learned(20.0, a=1.0, b=4.0, c=2.0, d=1.0))


def test_carbyne_gives_up_what_does_not_delay_the_job():
    # b is followed by d: 5 s; c by d: 3 s. So c can wait.
    view = shown("j", llm("a"), llm("b", "a"), llm("c", "a"), llm("d", "b", "c"), done="a", running_tasks=3)
    other = shown("k", llm("c"), running_tasks=9)
    ranks = ranked_stages("carbyne", SPANS, of(view, "c"), of(view, "b"), of(other, "c"))
    # All that "k" has is critical; it has more running, and still goes before what "j" has given up.
    assert ranks == ["j/b", "k/c", "j/c"]


def test_carbyne_shares_fairly_what_is_claimed():
    views = [shown(f"j{running}", llm("a"), running_tasks=running) for running in (2, 0, 1)]
    assert ranked_stages("carbyne", SPANS, *[of(view, "a") for view in views]) == ["j0/a", "j1/a", "j2/a"]


def test_carbyne_gives_the_leftover_to_the_job_with_least_remaining_work():
    def idle(job_id: str, done: float) -> tuple:
        view = shown(job_id, llm("b"), llm("c"), attained_tool_seconds=done)
        return of(view, "c")

    candidates = [idle("j", 1.0), idle("k", 15.0), idle("l", 7.0)]
    assert ranked_stages("carbyne", SPANS, *candidates) == ["k/c", "l/c", "j/c"]
    policy = make_policy(PolicySettings(name="carbyne"), SPANS)
    assert policy.key(*candidates[1]) == (1, 5.0, 0.0, 0, 0)


def test_carbyne_claims_again_when_the_longer_path_is_done():
    policy = make_policy(PolicySettings(name="carbyne"), SPANS)
    specs = [llm("a"), llm("b"), llm("c"), llm("d", "b", "c")]
    before, after = [shown("j", *specs, done=done) for done in ("a", "ab")]
    assert policy.key(*of(before, "c"))[0] == 1
    assert policy.key(*of(after, "c"))[0] == 0


def test_carbyne_gives_up_when_a_longer_path_shows():
    bench = Bench("carbyne", policies=lambda settings, knowledge: make_policy(settings, SPANS))
    bench.feed(admitted(job("j", llm("a"), dynamic("p"))), unfolded("j", "a", tasks=1))
    assert [one.key[0] for one in bench.machine.queue()] == [0]
    bench.feed(unfolded("j", "p", stages=[llm("b")]))
    assert [one.key[0] for one in bench.machine.queue()] == [1]


def test_carbyne_takes_stages_it_has_never_seen_for_average_ones_and_placeholders_for_nothing():
    # The mean span is (1 + 4 + 2 + 1) / 4 = 2, as long as c.
    view = shown("j", llm("new"), llm("c"), llm("d"), dynamic("?"))
    policy = make_policy(PolicySettings(name="carbyne"), SPANS)
    assert [policy.key(*of(view, one))[0] for one in ("new", "c", "d")] == [0, 0, 1]


@pytest.mark.parametrize("knowledge", [SPANS, history(ApplicationStatistics(totals=(0.0,), stages={}))])
def test_carbyne_knows_what_to_do_with_an_application_that_it_does_not_know(knowledge: Knowledge):
    policy = make_policy(PolicySettings(name="carbyne"), knowledge)
    view = shown("j", llm("x"), llm("y"), application="?", running_tasks=2)
    assert policy.key(*of(view, "x")) == (0, 2, 0.0, 0, 0)


# ---- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["argus", "carbyne"])
def test_long_chains_do_not_exhaust_the_stack(name):
    chain = [llm("0"), *[llm(str(number), str(number - 1)) for number in range(1, 3_000)]]
    bench = Bench(name, policies=make_policy_for_tests)
    bench.machine.handle_batch([attached("e1"), admitted(job("j", *chain)), unfolded("j", "0", tasks=2)])
    assert [one.stage.stage_id for one in bench.machine.queue()] == ["0"]
