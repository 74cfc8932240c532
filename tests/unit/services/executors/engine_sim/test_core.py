"""The batch model, on exact times: all durations are chosen so that floats add up without rounding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executors.engine_sim.core import Batch, BatchSettings, Milestone, QueueFull, StepTimes


def batch(
    *, slots: int = 2, max_queued: int | None = None, prefill: float = 0.0, decode: float = 1.0, slowdown: float = 0.5
) -> Batch:
    steps = StepTimes(decode=decode, slowdown=slowdown)
    return Batch(BatchSettings(slots=slots, max_queued=max_queued, prefill=prefill, steps=steps))


def submit(
    engine: Batch, at: float, rid: str, *, tokens: int = 1, prompt: int = 0, priority: int = 0
) -> list[Milestone]:
    happened = engine.advance(at)
    engine.submit(at, rid, prompt_tokens=prompt, output_tokens=tokens, priority=priority)
    return happened


def story(milestones: list[Milestone]) -> list[tuple[float, str, str]]:
    return [(m.at, m.rid, m.kind) for m in milestones]


def finishes(milestones: list[Milestone]) -> dict[str, float]:
    return {m.rid: m.at for m in milestones if m.kind == "finished"}


class TestOneRequest:
    def test_takes_its_prompt_and_then_one_step_a_token(self) -> None:
        engine = batch(prefill=0.25)
        submit(engine, 10, "a", prompt=8, tokens=3)  # 2 steps of prompt, 3 of decoding

        assert story(engine.advance(100)) == [(10, "a", "started"), (13, "a", "first_token"), (15, "a", "finished")]

    @pytest.mark.parametrize(("prompt", "prefill_steps"), [(0, 0), (1, 0), (2, 1), (5, 1), (6, 2)])
    def test_a_prompt_is_rounded_to_whole_steps(self, prompt: int, prefill_steps: int) -> None:
        engine = batch(prefill=0.25)
        submit(engine, 0, "a", prompt=prompt, tokens=1)

        assert finishes(engine.advance(100)) == {"a": prefill_steps + 1}

    def test_tokens_are_counted_while_it_runs(self) -> None:
        engine = batch(prefill=1)
        submit(engine, 0, "a", prompt=2, tokens=3)

        counted = []
        for now in (0, 2, 2.5, 3, 4.999, 5):
            engine.advance(now)
            counted.append(engine.tokens("a") if "a" in engine else None)
        assert counted == [0, 0, 0, 1, 2, None]

    def test_milestones_are_exact_however_late_the_clock_looks(self) -> None:
        early, late = batch(), batch()
        for engine in (early, late):
            submit(engine, 0, "a", tokens=4)
        looks = [milestone for now in range(5) for milestone in early.advance(now)]

        assert looks == late.advance(1000)


class TestBatching:
    def test_two_requests_slow_each_other_down(self) -> None:
        engine = batch()
        submit(engine, 0, "a", tokens=2)
        engine.submit(0, "b", prompt_tokens=0, output_tokens=4)

        # l(2) = 1.5: two steps together until 3.0, then b has two steps alone.
        assert finishes(engine.advance(100)) == {"a": 3.0, "b": 5.0}

    def test_a_request_joins_at_the_end_of_the_step_under_way(self) -> None:
        engine = batch()
        submit(engine, 0, "a", tokens=4)
        before = submit(engine, 1.25, "b", tokens=1)

        assert story(before + engine.advance(100)) == [
            (0, "a", "started"),
            (1, "a", "first_token"),
            (2, "b", "started"),
            (3.5, "b", "first_token"),
            (3.5, "b", "finished"),
            (4.5, "a", "finished"),
        ]

    def test_the_step_table_replaces_the_formula(self) -> None:
        steps = StepTimes(table={1: 1.0, 2: 4.0})
        engine = Batch(BatchSettings(slots=2, prefill=0, steps=steps))
        submit(engine, 0, "a")
        engine.submit(0, "b", prompt_tokens=0, output_tokens=1)

        assert finishes(engine.advance(100)) == {"a": 4.0, "b": 4.0}

    def test_an_engine_that_was_idle_starts_at_the_arrival(self) -> None:
        engine = batch()
        submit(engine, 0, "a")
        submit(engine, 7.25, "b")

        assert finishes(engine.advance(100)) == {"b": 8.25}


class TestQueue:
    def test_higher_priority_first_then_first_come(self) -> None:
        engine = batch(slots=1)
        submit(engine, 0, "running")
        engine.advance(0)
        for rid, priority in (("low", 0), ("high", 5), ("low too", 0), ("high too", 5)):
            engine.submit(0, rid, prompt_tokens=0, output_tokens=1, priority=priority)

        assert list(finishes(engine.advance(100))) == ["running", "high", "high too", "low", "low too"]

    def test_priority_does_not_take_a_slot_away(self) -> None:
        engine = batch(slots=1)
        submit(engine, 0, "a", tokens=5)
        submit(engine, 1, "urgent", priority=100)

        assert finishes(engine.advance(100)) == {"a": 5, "urgent": 6}

    def test_a_full_queue_refuses(self) -> None:
        engine = batch(slots=1, max_queued=1)
        submit(engine, 0, "a")
        submit(engine, 0, "b")
        with pytest.raises(QueueFull):
            engine.submit(0, "c", prompt_tokens=0, output_tokens=1)
        submit(engine, 1, "c")  # a is done: b runs, c may wait

        assert (engine.running, engine.waiting) == (1, 1)

    def test_a_duplicate_id_changes_nothing(self) -> None:
        engine = batch()
        submit(engine, 0, "a", tokens=3)
        with pytest.raises(ValueError, match="duplicate"):
            engine.submit(0, "a", prompt_tokens=0, output_tokens=9)

        assert finishes(engine.advance(100)) == {"a": 3}


class TestAbort:
    def test_frees_the_slot_at_once_and_tells_the_tokens_so_far(self) -> None:
        engine = batch(slots=1)
        submit(engine, 0, "a", tokens=10)
        submit(engine, 1, "b", tokens=2)
        engine.advance(3.5)

        assert engine.abort(3.5, "a") == 3
        # Nobody was left in the step, so b does not wait for its end.
        assert finishes(engine.advance(100)) == {"b": 5.5}

    def test_the_step_of_the_others_goes_on(self) -> None:
        engine = batch()
        submit(engine, 0, "a", tokens=3)
        engine.submit(0, "b", prompt_tokens=0, output_tokens=3)
        engine.advance(0.5)
        engine.abort(0.5, "b")

        assert engine.running == 1
        assert finishes(engine.advance(100)) == {"a": 3.5}  # one step of 1.5, two of 1

    def test_of_a_waiting_request_lets_the_next_one_go(self) -> None:
        engine = batch(slots=1)
        for rid in "abc":
            submit(engine, 0, rid)
        assert engine.abort(0, "b") == 0

        assert finishes(engine.advance(100)) == {"a": 1, "c": 2}

    def test_of_an_unknown_request_is_nothing(self) -> None:
        assert batch().abort(0, "ghost") is None

    def test_its_id_can_be_used_again(self) -> None:
        engine = batch()
        submit(engine, 0, "a", tokens=2)
        engine.advance(0)
        engine.abort(0.5, "a")
        submit(engine, 1, "a", tokens=5)

        assert finishes(engine.advance(100)) == {"a": 6}


class TestNextMilestone:
    def test_is_where_advance_finds_something(self) -> None:
        engine = batch(slots=1, prefill=1)
        submit(engine, 0, "a", prompt=3, tokens=4)
        engine.advance(0)
        engine.submit(0, "b", prompt_tokens=0, output_tokens=1)

        seen = []
        while (at := engine.next_milestone()) is not None:
            seen.append((at, [m.kind for m in engine.advance(at)]))
        assert seen == [
            (4, ["first_token"]),
            (7, ["finished", "started"]),
            (8, ["first_token", "finished"]),
        ]

    def test_nothing_is_due_when_idle(self) -> None:
        engine = batch()
        assert engine.next_milestone() is None
        assert engine.next_token() is None

    def test_next_token_is_the_end_of_the_step(self) -> None:
        engine = batch()
        submit(engine, 0, "a", tokens=100)
        engine.advance(2.5)

        assert engine.next_token() == 3

    def test_time_does_not_go_back(self) -> None:
        engine = batch()
        engine.advance(5)
        with pytest.raises(ValueError, match="went back"):
            engine.advance(4)


class TestStepTimes:
    def test_formula(self) -> None:
        assert StepTimes(decode=2.0, slowdown=0.25).at(5) == 4.0

    @pytest.mark.parametrize(("size", "seconds"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (6, 10.0)])
    def test_table_is_interpolated_and_goes_on(self, size: int, seconds: float) -> None:
        assert StepTimes(table={1: 1.0, 2: 2.0, 4: 6.0}).at(size) == seconds

    @pytest.mark.parametrize("table", [{2: 1.0}, {1: 0.0}, {1: -1.0}])
    def test_a_table_that_makes_no_sense_is_refused(self, table: dict[int, float]) -> None:
        with pytest.raises(ValueError, match="step"):
            StepTimes(table=table)


request = st.tuples(
    st.floats(0, 5, width=16), st.integers(0, 40), st.integers(1, 12), st.integers(-2, 2), st.booleans()
)


@given(requests=st.lists(request, max_size=12), slots=st.integers(1, 4))
def test_every_request_ends_once_and_slots_are_never_exceeded(
    requests: list[tuple[float, int, int, int, bool]], slots: int
) -> None:
    engine = batch(slots=slots, prefill=0.1)
    now, happened, aborted = 0.0, [], set()
    for number, (gap, prompt, tokens, priority, abort) in enumerate(requests):
        now += gap
        happened += submit(engine, now, str(number), prompt=prompt, tokens=tokens, priority=priority)
        assert engine.running <= slots
        if abort and engine.abort(now, str(number // 2)) is not None:
            aborted.add(str(number // 2))
    happened += engine.advance(now + 10_000)

    running = 0
    for milestone in sorted(happened, key=lambda m: m.at):
        running += {"started": 1, "finished": -1, "first_token": 0}[milestone.kind]
    finished = [m.rid for m in happened if m.kind == "finished"]
    assert len(set(finished)) == len(finished)
    assert set(finished) | aborted == {str(n) for n in range(len(requests))}
    assert [m.at for m in happened] == sorted(m.at for m in happened)
    assert (engine.running, engine.waiting) == (0, 0)
