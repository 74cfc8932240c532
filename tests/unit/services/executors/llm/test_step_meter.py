"""The meter on streams written by hand: a step is a second at batch size 1, and 1.5 s at 2."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from services.executors.llm.engine import GenerateResult, Timings
from services.executors.llm.step_meter import StepMeter, Watched, quiet_interval
from services.profiler.core.calibration import Prefills, Report


class Bench:
    def __init__(self, stretch: int = 1) -> None:
        self.now = 100.0
        self.meter = StepMeter(clock=lambda: self.now, stretch=stretch)
        self._open: dict[Watched, ExitStack] = {}

    def send(self) -> Watched:
        stack = ExitStack()
        request = stack.enter_context(self.meter.watching())
        self._open[request] = stack
        return request

    def write(self, seconds: float, tokens: int, *requests: Watched) -> None:
        """After so many seconds a message comes of each of the requests."""
        self.now += seconds
        for request in requests:
            request.wrote(tokens)

    def end(self, request: Watched, *, tokens: int | None = None, prompt: int = 0, prefill: float = 0.0) -> None:
        if tokens is not None:
            request.done(result(tokens, prompt, prefill))
        self._open.pop(request).close()

    def decode(self) -> dict[int, tuple[float, float, float]]:
        """Steps, seconds and squares by batch size."""
        return {each.batch: each[1:] for each in self.meter.take().decode}


def result(tokens: int, prompt: int = 0, prefill: float = 0.0, cached: int = 0) -> GenerateResult:
    return GenerateResult(
        text="",
        finish_reason="stop",
        prompt_tokens=prompt,
        completion_tokens=tokens,
        cached_tokens=cached,
        timings=Timings(queue_seconds=None, prefill_seconds=prefill, decode_seconds=0.0, total_seconds=0.0),
    )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_tokens_between_messages_are_steps(bench: Bench) -> None:
    one = bench.send()
    bench.write(5.0, 1, one)  # the first token: its time is the prompt's
    bench.write(4.0, 5, one)
    bench.write(2.2, 7, one)
    assert bench.meter.take() == Report()  # it may yet fail
    bench.end(one, tokens=7)
    assert bench.decode() == {1: (6.0, pytest.approx(6.2), pytest.approx(4.0 + 2.2**2 / 2))}
    assert bench.meter.take() == Report()


def test_each_step_of_a_batch_counts_once(bench: Bench) -> None:
    one, two = bench.send(), bench.send()
    bench.write(1.0, 1, one, two)
    bench.write(1.5, 2, one, two)
    bench.write(6.0, 6, one, two)
    bench.end(one, tokens=6)
    bench.end(two, tokens=6)
    # The first message after the second one's first token begins the stretch for the first one.
    steps, time, squares = bench.decode()[2]
    assert time / steps == pytest.approx(1.5)
    assert squares / steps == pytest.approx(1.5**2)
    assert steps == pytest.approx(4.5)


def test_while_a_prompt_is_computed_nothing_counts(bench: Bench) -> None:
    one = bench.send()
    bench.write(1.0, 1, one)
    two = bench.send()
    bench.write(9.0, 3, one)
    bench.write(9.0, 4, one)
    bench.end(two)
    bench.write(9.0, 5, one)  # begins a stretch
    bench.write(1.0, 6, one)
    bench.end(one, tokens=6)
    assert bench.decode() == {1: (1.0, 1.0, 1.0)}


def test_a_request_that_failed_says_nothing(bench: Bench) -> None:
    one = bench.send()
    bench.write(1.0, 1, one)
    bench.write(1.0, 2, one)
    bench.end(one)
    assert bench.meter.take() == Report()


def test_messages_that_carry_several_tokens_are_corrected_by_the_count_at_the_end(bench: Bench) -> None:
    one = bench.send()
    for message in range(1, 11):
        bench.write(4.0, message, one)
    bench.end(one, tokens=40)
    assert bench.decode() == {1: (36.0, 36.0, pytest.approx(36.0))}


def test_an_end_mark_without_text_is_no_reason_to_correct(bench: Bench) -> None:
    one = bench.send()
    bench.write(1.0, 1, one)
    bench.write(2.0, 3, one)
    bench.end(one, tokens=4)
    assert bench.decode() == {1: (2.0, 2.0, 2.0)}


def test_a_hiccup_is_left_out_and_a_slower_engine_believed_after_a_while(bench: Bench) -> None:
    one = bench.send()
    tokens = 1
    bench.write(1.0, tokens, one)
    for _ in range(20):
        bench.write(1.0, tokens := tokens + 1, one)
    bench.write(30.0, tokens := tokens + 1, one)
    bench.write(0.0, tokens := tokens + 5, one)  # these were on time, and the message before them was not
    bench.write(1.0, tokens := tokens + 1, one)
    bench.end(one, tokens=tokens)
    assert bench.decode() == {1: (21.0, 21.0, 21.0)}

    two = bench.send()
    bench.write(1.0, 1, two)
    for tokens in range(2, 40):
        bench.write(5.0, tokens, two)
    bench.end(two, tokens=39)
    steps, time, _ = bench.decode()[1]
    assert 30 < steps < 38
    assert time == 5.0 * steps


def test_messages_that_are_read_together_do_not_matter(bench: Bench) -> None:
    bench = Bench(stretch=8)
    one = bench.send()
    bench.write(1.0, 1, one)
    for tokens in range(2, 50, 2):
        bench.write(2.0, tokens, one)
        bench.write(0.0, tokens + 1, one)
    bench.end(one, tokens=49)
    assert bench.decode() == {1: (48.0, 48.0, 48.0)}


def test_a_stretch_that_took_no_time_by_the_clock_is_a_hiccup_like_others(bench: Bench) -> None:
    one = bench.send()
    bench.write(1.0, 1, one)
    bench.write(0.0, 2, one)
    for tokens in range(3, 103):
        bench.write(1.0, tokens, one)
    bench.end(one, tokens=102)
    steps, time, _ = bench.decode()[1]
    assert steps > 30
    assert time / steps == pytest.approx(1.0, rel=0.05)


def test_a_message_without_new_tokens_changes_nothing(bench: Bench) -> None:
    one = bench.send()
    bench.write(1.0, 1, one)
    bench.write(1.0, 1, one)
    bench.end(one, tokens=1)
    assert bench.meter.take() == Report()


def test_prompts_are_told_by_the_batch_they_came_into(bench: Bench) -> None:
    one = bench.send()
    bench.write(1.0, 1, one)
    two = bench.send()
    bench.write(1.0, 1, two)
    bench.end(one, tokens=1, prompt=100, prefill=1.0)
    bench.end(two, tokens=1, prompt=300, prefill=2.0)
    bench.end(bench.send(), tokens=1, prompt=10, prefill=2.0)
    assert bench.meter.take().prefill == (
        Prefills(1, 2, 110, 3.0, 10_100, 120.0, 5.0),
        Prefills(2, 1, 300, 2.0, 90_000, 600.0, 4.0),
    )


def test_prompts_that_were_computed_together_are_left_out(bench: Bench) -> None:
    one, two = bench.send(), bench.send()
    bench.write(1.0, 1, one)
    bench.write(1.0, 1, two)
    for request in (one, two):
        bench.end(request, tokens=1, prompt=100, prefill=1.0)
    assert bench.meter.take() == Report()


def test_an_answer_that_came_in_one_piece_still_shows_its_prompt(bench: Bench) -> None:
    one = bench.send()
    bench.end(one, tokens=1, prompt=100, prefill=1.0)
    assert bench.meter.take().prefill == (Prefills(1, 1, 100, 1.0, 10_000, 100.0, 1.0),)


def test_a_prompt_that_was_cached_shows_nothing(bench: Bench) -> None:
    one = bench.send()
    one.done(result(1, prompt=100, prefill=1.0, cached=100))
    bench.end(one)
    assert bench.meter.take() == Report()


def test_an_answer_that_nobody_reads_comes_in_few_messages() -> None:
    assert [quiet_interval(tokens) for tokens in (16, 512, 32_000)] == [8, 8, 500]
