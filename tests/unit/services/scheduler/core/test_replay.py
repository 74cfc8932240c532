"""Replaying a record: the same decisions, or where they part."""

from __future__ import annotations

from dataclasses import replace

from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.replay import Divergence, Record, first_divergence
from tests.support.scheduling import admitted, attached, job, llm, ref, succeeded, unfolded


def recorded() -> list[Record]:
    machine = SchedulerMachine(PolicySettings())
    records = []
    for events, dispatch in [
        ((attached("e1"), admitted(job("j", llm("a"), arrival=2.0)), admitted(job("k", llm("a"), arrival=1.0))), True),
        ((unfolded("j", "a", tasks=1), unfolded("k", "a", tasks=1)), False),
        ((succeeded(ref("ghost", "a")),), True),
        ((), True),
    ]:
        effects = machine.handle_batch(events, dispatch=dispatch)
        records.append(Record(events=events, effects=tuple(effects), dispatch=dispatch))
    return records


def fresh(**settings: object) -> SchedulerMachine:
    return SchedulerMachine(PolicySettings(**settings))


def test_the_same_machine_takes_the_same_decisions():
    assert first_divergence(fresh(), recorded()) is None


def test_another_policy_parts_at_its_first_other_decision():
    records = recorded()
    divergence = first_divergence(fresh(name="ps-tcs"), records)
    # The dispatch itself carries the policy's name; it comes third, after the changes of stage and task.
    assert (divergence.record, divergence.effect) == (2, 2)
    assert divergence.expected == records[2].effects[2]
    assert divergence.actual == replace(divergence.expected, policy="ps-tcs", key=divergence.actual.key)
    assert divergence.cause == records[2].events[-1]


def test_an_effect_too_few_or_too_many_is_a_divergence():
    records = recorded()
    last = records[0].effects[-1]
    longer = replace(records[0], effects=(*records[0].effects, last))
    assert first_divergence(fresh(), [longer]) == Divergence(
        record=0, effect=len(records[0].effects), expected=last, actual=None, cause=records[0].events[-1]
    )
    shorter = replace(records[0], effects=records[0].effects[:-1])
    assert first_divergence(fresh(), [shorter]) == Divergence(
        record=0, effect=len(shorter.effects), expected=None, actual=last, cause=records[0].events[-1]
    )


def test_a_record_without_events_has_no_cause():
    invented = Record(events=(), effects=recorded()[0].effects)
    assert first_divergence(fresh(), [invented]).cause is None
