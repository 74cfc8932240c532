"""Which stage goes first, the ageing guard, changes of policy, and what a decision says of itself."""

from __future__ import annotations

from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch
from services.scheduler.core.policies.base import JobView, Key, Moment, StageView
from tests.support.scheduling import (
    FLAKY,
    Bench,
    admitted,
    attached,
    cancel,
    counted,
    dispatched,
    failed,
    job,
    llm,
    of,
    policy_changed,
    ref,
    succeeded,
    timer,
    tool,
    unfolded,
)


def jobs_of(effects) -> list[str]:
    return [job_id for job_id, *_ in dispatched(effects)]


def test_everything_that_happened_at_once_is_applied_before_anything_is_dispatched():
    arrivals = [admitted(job("late", llm("a"), order=2)), admitted(job("early", llm("a"), order=1))]
    answers = [unfolded("late", "a", tasks=1), unfolded("early", "a", tasks=1)]
    bench = Bench()
    bench.feed(attached("e1"))
    assert jobs_of(bench.feed_at_once(*arrivals, *answers)) == ["early"]
    # One after the other, the slot is gone before "early" is there.
    bench = Bench()
    bench.feed(attached("e1"))
    assert jobs_of(bench.feed(*arrivals, *answers)) == ["late"]


def test_a_batch_may_leave_the_dispatch_to_a_later_one():
    machine = SchedulerMachine(PolicySettings())
    batch = [attached("e1"), admitted(job("j", llm("a"))), unfolded("j", "a", tasks=1)]
    assert dispatched(machine.handle_batch(batch, dispatch=False)) == []
    assert jobs_of(machine.handle(timer(0.0))) == ["j"]


def test_effects_of_a_batch_carry_their_own_causes_and_the_dispatch_the_last_one():
    bench = Bench()
    effects = bench.feed_at_once(
        attached("e1", cause="stream"),
        admitted(job("j", llm("a")), cause="rpc"),
        unfolded("j", "a", tasks=1, at=3.0, cause="planner"),
    )
    assert [one.cause for one in effects] == ["rpc"] * 3 + ["planner"] * 4
    assert bench.machine.task_snapshot("j", "a", 0).started_at == 3.0


def test_an_empty_batch_changes_nothing():
    assert Bench().feed_at_once() == []


def test_a_decision_explains_itself():
    bench = Bench(decisions=41)
    bench.start(
        job("j", llm("a", position=3, timeout_seconds=60.0), arrival=2.0, order=7), job("k", llm("a"), arrival=3.0)
    )
    assert of(Dispatch, bench.feed(attached("e1", at=10.0, cause="stream"))) == [
        Dispatch(
            cause="stream",
            attempt=ref("j", "a"),
            executor_id="e1",
            priority=-42,
            timeout_seconds=60.0,
            number=42,
            policy="fcfs",
            key=(2.0, 7, 3),
            rule="policy",
            waited_seconds=8.0,
            waiting_stages=2,
        )
    ]
    assert bench.machine.decisions == 42
    assert bench.machine.settings == PolicySettings()


def test_a_full_kind_of_executor_does_not_hold_up_another():
    bench = Bench()
    bench.feed(attached("e1"), attached("t1", "tool:any"))
    effects = bench.start(job("j", llm("a"), tool("b")), job("k", llm("a"), tool("b"), order=1))
    assert dispatched(effects) == [("j", "a", 0, 1, "e1"), ("j", "b", 0, 1, "t1")]
    # "j" is first for both kinds; "k" gets what "j" leaves.
    assert dispatched(bench.feed(succeeded(ref("j", "b")))) == [("k", "b", 0, 1, "t1")]


def test_a_slot_that_takes_everything_goes_by_the_key_whatever_is_needed():
    bench = Bench()
    bench.start(job("k", tool("b"), order=1), job("j", llm("a"), order=0), job("l", llm("a"), tool("b"), order=2))
    effects = bench.feed(attached("e1", "llm", "tool:any", slots=4))
    assert [(job_id, stage_id) for job_id, stage_id, *_ in dispatched(effects)] == [
        ("j", "a"),
        ("k", "b"),
        ("l", "a"),
        ("l", "b"),
    ]


def test_the_tasks_of_a_stage_go_in_their_order_retries_included():
    bench = Bench()
    bench.feed(attached("e1"))
    bench.start(job("j", llm("a")), tasks=4)
    assert dispatched(bench.feed(failed(ref("j", "a", 0), FLAKY, at=1.0))) == [("j", "a", 1, 1, "e1")]
    # Task 0 may go again while task 1 runs: it is before 2 and 3.
    bench.feed(timer(2.0))
    assert dispatched(bench.feed(succeeded(ref("j", "a", 1), at=3.0))) == [("j", "a", 0, 2, "e1")]


def test_the_queue_is_shown_in_the_order_of_dispatch():
    bench = Bench("fair")
    bench.feed(attached("e1", slots=2))
    bench.start(job("j", llm("a"), arrival=1.0), job("k", llm("a"), tool("t", position=1), arrival=2.0), tasks=3)
    shown = bench.machine.queue()
    assert [(one.job.job_id, one.stage.stage_id, one.requirement, one.waiting_tasks) for one in shown] == [
        ("k", "a", "llm", 3),
        ("k", "t", "tool:any", 3),
        ("j", "a", "llm", 1),
    ]
    assert [one.key for one in shown] == [(0, 2.0, 0, 0), (0, 2.0, 0, 1), (2, 1.0, 0, 0)]
    assert {one.rule for one in shown} == {"policy"}


# ---- ageing --------------------------------------------------------------------------------------------------------


def starving(ageing_seconds: float | None) -> Bench:
    """A policy that always prefers newcomers, and an old job that they keep waiting."""
    bench = Bench("ps-tcs", application_order=("favourite",), ageing_seconds=ageing_seconds)
    bench.start(job("old", llm("a"), arrival=0.0))
    bench.start(job("older", tool("a"), arrival=0.0))
    bench.start(job("new-1", llm("a"), arrival=5.0, application="favourite"))
    bench.start(job("new-2", llm("a"), arrival=6.0, application="favourite"))
    return bench


def test_a_stage_that_has_waited_too_long_goes_first():
    bench = starving(ageing_seconds=10.0)
    assert jobs_of(bench.feed(attached("e1", at=10.0))) == ["new-1"]
    effects = bench.feed(succeeded(ref("new-1", "a"), at=10.5))
    assert jobs_of(effects) == ["old"]
    decision = of(Dispatch, effects)[0]
    # The key is the policy's all the same: it shows what the guard overruled.
    assert (decision.rule, decision.key[0]) == ("ageing", 1)


def test_without_the_guard_it_waits_on():
    bench = starving(ageing_seconds=None)
    bench.feed(attached("e1", at=10.0))
    assert jobs_of(bench.feed(succeeded(ref("new-1", "a"), at=1e9))) == ["new-2"]


def test_the_oldest_of_the_aged_goes_first_whatever_it_needs():
    bench = starving(ageing_seconds=1.0)
    bench.start(job("oldest", tool("a", position=1), arrival=-5.0))
    attach = attached("e1", "llm", "tool:any", at=20.0, slots=5)
    assert jobs_of(bench.feed(attach)) == ["oldest", "old", "older", "new-1", "new-2"]


def test_the_oldest_of_the_aged_does_not_wait_for_those_that_no_slot_is_free_for():
    bench = starving(ageing_seconds=1.0)
    bench.start(job("oldest", tool("a"), arrival=-5.0))
    assert jobs_of(bench.feed(attached("e1", at=20.0, slots=9))) == ["old", "new-1", "new-2"]
    bench.start(job("newest", llm("a"), tool("b"), arrival=20.5))
    assert jobs_of(bench.feed(attached("t1", "tool:any", at=21.0, slots=9))) == ["oldest", "older", "newest"]


def test_the_queue_shows_who_is_aged():
    bench = starving(ageing_seconds=10.0)
    shown = [(one.job.job_id, one.rule) for one in bench.machine.queue(at=10.5)]
    assert shown == [("old", "ageing"), ("older", "ageing"), ("new-1", "policy"), ("new-2", "policy")]
    assert [one.job.job_id for one in bench.machine.queue()] == ["new-1", "new-2", "old", "older"]


# ---- policies ------------------------------------------------------------------------------------------------------


def test_a_change_of_policy_sorts_what_waits_anew():
    bench = Bench("fcfs")
    bench.start(job("j", llm("a"), arrival=1.0), job("k", llm("a"), arrival=2.0, application="favourite"))
    assert bench.feed(policy_changed(name="ps-tcs", application_order=("favourite",), ageing_seconds=9.0)) == []
    assert bench.machine.settings.name == "ps-tcs"
    assert [one.job.job_id for one in bench.machine.queue()] == ["k", "j"]
    decision = of(Dispatch, bench.feed(attached("e1", at=2.0)))[0]
    assert (decision.attempt.job_id, decision.policy) == ("k", "ps-tcs")


def test_an_unknown_policy_leaves_the_one_in_force():
    bench = Bench("fair")
    bench.start(job("j", llm("a")))
    assert bench.feed(policy_changed(name="magic")) == []
    assert bench.machine.settings == PolicySettings(name="fair")


class Watching:
    """Counts how often it is asked."""

    name = "watching"

    def __init__(self, *moments: Moment) -> None:
        self.rekey_on = frozenset(moments)
        self.asked = 0

    def key(self, job: JobView, stage: StageView) -> Key:
        self.asked += 1
        return stage.prompt_tokens, job.order, stage.position


def test_keys_are_computed_only_at_the_moments_that_the_policy_names():
    policy = Watching(Moment.TOKENS_COUNTED)
    bench = Bench(policies=lambda settings, knowledge: policy)
    for number in range(5):
        bench.start(job(f"j{number}", llm("a"), order=number), tasks=3)
    bench.feed(attached("e1"))
    # validate() asks for every key too, so the machine alone is fed from here on.
    policy.asked = 0
    bench.machine.handle(succeeded(ref("j0", "a", 0)))
    bench.machine.handle(cancel("j4"))
    assert policy.asked == 0
    bench.machine.handle(counted("j1", "a", 1, 1, 1))
    assert policy.asked == 1
    # Counted twice in a batch, computed once.
    bench.machine.handle_batch([counted("j1", "a", 2, 2, 2), counted("j1", "a", 3, 3, 3)])
    assert policy.asked == 2


def test_every_moment_is_told():
    for moment, happens in {
        Moment.TASK_STARTED: [attached("e1")],
        Moment.TASK_ENDED: [attached("e1"), succeeded(ref("j", "a", 0))],
        Moment.STAGE_ENDED: [unfolded("j", "b", skipped=True)],
        Moment.STAGES_ADDED: [unfolded("j", "b", stages=[llm("b/1")])],
        Moment.TOKENS_COUNTED: [counted("j", "a", 1, None)],
    }.items():
        policy = Watching(moment)
        bench = Bench(policies=lambda settings, knowledge, policy=policy: policy)
        bench.feed(admitted(job("j", llm("a"), llm("b"))), unfolded("j", "a", tasks=2))
        for event in happens[:-1]:
            bench.machine.handle(event)
        policy.asked = 0
        bench.machine.handle(happens[-1])
        assert policy.asked >= 1, moment
