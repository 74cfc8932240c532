"""Draws: uniform, repeatable, and shown before they happen."""

from __future__ import annotations

from collections import Counter

from services.scheduler.core import PolicySettings, make_policy
from services.scheduler.core.effects import Dispatch
from tests.support.scheduling import Bench, attached, dispatched, job, llm, of, succeeded, tool


def draws(seed: int, waiting: int, count: int = 6_000) -> list[int]:
    policy = make_policy(PolicySettings(name="random", seed=seed))
    return [policy.draw(decision, waiting) for decision in range(1, count + 1)]


def test_the_same_seed_draws_the_same_in_every_process():
    # Known by heart: a hash that differs between processes or versions would not repeat a run.
    assert draws(0, 10, count=8) == [4, 7, 8, 0, 4, 0, 4, 2]
    assert draws(1, 10) != draws(0, 10)


def test_every_candidate_has_the_same_chance_whatever_went_before():
    # 6,000 draws from 3: 2,000 each, give or take four standard deviations of 37.
    singles = Counter(draws(7, 3))
    assert all(abs(singles[one] - 2_000) < 150 for one in range(3))
    # And 3,000 pairs from 9: 333 each, give or take four of 17.
    drawn = draws(7, 3)
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert len(pairs) == 9
    assert all(abs(count - 333) < 70 for count in pairs.values())


def started(seed: int, *, slots: int = 1) -> list[tuple[str, str]]:
    """Five LLM stages of a task each and three of a tool wait; who goes first on an executor that takes both."""
    bench = Bench("random", seed=seed)
    bench.start(*[job(f"j{number}", llm("a"), order=number) for number in range(5)])
    bench.start(*[job(f"k{number}", tool("b"), order=number) for number in range(3)])
    effects = bench.feed(attached("e1", "llm", "tool:any", slots=slots))
    return [(job_id, stage_id) for job_id, stage_id, *_ in dispatched(effects)]


def test_stages_of_all_requirements_have_the_same_chance_of_a_slot_that_takes_them_all():
    firsts = Counter(started(seed)[0] for seed in range(800))
    # Of 800, 100 each, give or take four standard deviations of 9.4.
    assert len(firsts) == 8
    assert all(abs(count - 100) < 38 for count in firsts.values())


def test_all_of_them_go_once():
    assert sorted(started(seed=3, slots=8)) == sorted(
        [(f"j{n}", "a") for n in range(5)] + [(f"k{n}", "b") for n in range(3)]
    )


def test_the_queue_shows_the_order_of_the_draws():
    bench = Bench("random", seed=5)
    bench.feed(attached("e1"))
    bench.start(*[job(f"j{number}", llm("a"), tool("b", position=1), order=number) for number in range(9)])
    promised = [one.job.job_id for one in bench.machine.queue() if one.requirement == "llm"]
    went, effects = [], of(Dispatch, bench.feed(attached("e2")))
    while effects:
        went.append(effects[0].attempt.job_id)
        effects = of(Dispatch, bench.feed(succeeded(effects[0].attempt)))
    assert went == promised
    assert went != sorted(went)


def test_the_guard_goes_before_the_draw():
    bench = Bench("random", seed=5, ageing_seconds=10.0)
    for number in range(9):
        bench.start(job(f"j{number}", llm("a"), arrival=float(number), order=number))
    shown = [(one.job.job_id, one.rule) for one in bench.machine.queue(at=12.5)]
    assert shown[:3] == [("j0", "ageing"), ("j1", "ageing"), ("j2", "ageing")]
    assert {rule for _, rule in shown[3:]} == {"policy"}
    effects = bench.feed(attached("e1", at=12.5, slots=4))
    assert [job_id for job_id, *_ in dispatched(effects)][:3] == ["j0", "j1", "j2"]
