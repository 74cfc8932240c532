"""How a stream becomes a result."""

import pytest

from services.executors.llm.engine import Timings
from services.executors.llm.transcript import Transcript


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_times_are_split_at_the_first_token(clock: Clock) -> None:
    transcript = Transcript(None, clock=clock)
    clock.now = 103.0
    transcript.extend("Hel", 1)
    clock.now = 108.0
    transcript.extend("lo", 2)

    result = transcript.result("stop", queue_seconds=1.0)
    assert (result.text, result.completion_tokens) == ("Hello", 2)
    assert result.timings == Timings(queue_seconds=1.0, prefill_seconds=2.0, decode_seconds=5.0, total_seconds=8.0)


def test_without_the_engine_s_word_the_wait_is_part_of_prefill(clock: Clock) -> None:
    transcript = Transcript(None, clock=clock)
    clock.now = 103.0
    transcript.extend("x", 1)

    assert transcript.result("stop").timings == Timings(
        queue_seconds=None, prefill_seconds=3.0, decode_seconds=0.0, total_seconds=3.0
    )


def test_the_engine_s_own_times_come_first(clock: Clock) -> None:
    transcript = Transcript(None, clock=clock)
    clock.now = 103.0
    transcript.extend("x", 1)
    clock.now = 108.0

    assert transcript.result("stop", queue_seconds=0.5, engine_seconds=(2.0, 6.0)).timings == Timings(
        queue_seconds=0.5, prefill_seconds=1.5, decode_seconds=4.0, total_seconds=8.0
    )


def test_a_wait_longer_than_we_saw_does_not_make_prefill_negative(clock: Clock) -> None:
    transcript = Transcript(None, clock=clock)
    clock.now = 100.5
    transcript.extend("x", 1)

    assert transcript.result("stop", queue_seconds=0.6).timings.prefill_seconds == 0.0


def test_an_end_without_any_token_was_all_prefill(clock: Clock) -> None:
    transcript = Transcript(None, clock=clock)
    clock.now = 104.0

    timings = transcript.result("abort").timings
    assert (timings.prefill_seconds, timings.decode_seconds) == (4.0, 0.0)


def test_only_new_text_is_told_and_nothing_after_mute() -> None:
    told: list[tuple[str, int]] = []
    transcript = Transcript(lambda text, tokens: told.append((text, tokens)), clock=lambda: 0.0)
    assert transcript.watched
    transcript.extend("a", 1)
    transcript.extend("", 2)  # a token that is half a character shows nothing yet
    transcript.extend("é", 3)
    transcript.mute()
    transcript.extend("unheard", 4)

    assert told == [("a", 1), ("é", 3)]
    assert transcript.result("stop").text == "aéunheard"
