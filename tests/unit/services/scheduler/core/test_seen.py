"""What of a job gets into beliefs, and what does not."""

from __future__ import annotations

from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import StageSeen
from services.scheduler.core.events import AttemptSucceeded
from services.scheduler.core.model import Measurement, TaskSpec
from services.scheduler.core.seen import job_seen
from tests.support import scheduling as make

WORK = WorkModel(prefill=0.1, decode=0.5)


def seen(bench: make.Bench, slowdown: float = 1.0) -> tuple[StageSeen, ...]:
    return job_seen(bench.machine.view("j"), WORK, slowdown).stages


def ended(measurement: Measurement, at: float) -> AttemptSucceeded:
    return AttemptSucceeded(at=at, cause="test", attempt=make.ref("j", "a", 0), measurement=measurement)


def unknown(name: str, *, is_llm: bool = True) -> StageSeen:
    return StageSeen(name=name, occurrence=0, is_llm=is_llm)


def test_a_stage_that_is_not_ready_shows_its_name_only() -> None:
    bench = make.Bench()
    bench.feed(make.admitted(make.job("j", make.llm("a"), make.tool("b", "a", position=1))))
    assert seen(bench) == (unknown("a"), unknown("b", is_llm=False))


def test_a_ready_stage_shows_width_and_prompts() -> None:
    bench = make.Bench()
    bench.feed(
        make.admitted(make.job("j", make.llm("a"))),
        make.unfolded("j", "a", tasks=[TaskSpec(prompt_tokens=3), TaskSpec(prompt_tokens=4)]),
    )
    (stage,) = seen(bench)
    assert (stage.width, stage.left, stage.prompt_tokens, stage.left_prompt_tokens) == (2, 2, 7, 7)
    assert (stage.done, stage.units, stage.running_units) == (False, 0.0, 0.0)


def test_ended_tasks_count_by_their_tokens_and_running_ones_by_what_they_must_have_used() -> None:
    bench = make.Bench()
    bench.feed(make.attached("e", slots=2), make.admitted(make.job("j", make.llm("a"))))
    bench.feed(make.unfolded("j", "a", tasks=[TaskSpec(prompt_tokens=5)] * 2))
    bench.feed(ended(Measurement(prompt_tokens=5, output_tokens=9, total_seconds=4.0), at=4.0))
    (stage,) = seen(bench)
    assert (stage.units, stage.left, stage.left_prompt_tokens) == (9.0, 1, 5)
    # 4 s, of which the prompt took 0.5, at half a second a token.
    assert stage.running_units == 7.0
    # Half as fast, it has had 2 s.
    assert seen(bench, slowdown=2.0)[0].running_units == 3.0
    # It may still be reading its prompt.
    assert seen(bench, slowdown=40.0)[0].running_units == 0.0


def test_tools_count_in_seconds_without_their_wait() -> None:
    bench = make.Bench()
    bench.feed(make.attached("t", "tool:any", slots=2), make.admitted(make.job("j", make.tool("a"))))
    bench.feed(make.unfolded("j", "a", tasks=2))
    bench.feed(ended(Measurement(total_seconds=3.0, queue_seconds=1.0), at=3.0))
    (stage,) = seen(bench)
    assert (stage.units, stage.running_units, stage.left) == (2.0, 3.0, 1)


def test_a_stage_grows_until_the_planner_has_said_what_it_made() -> None:
    bench = make.Bench()
    bench.feed(make.attached("e"), make.admitted(make.job("j", make.llm("a"), make.dynamic("more", "a", position=1))))
    bench.feed(make.unfolded("j", "a", tasks=1))
    assert not seen(bench)[0].growing
    bench.feed(make.succeeded(make.ref("j", "a", 0)))
    (stage,) = seen(bench)  # the placeholder itself is not shown
    assert stage.done
    assert stage.growing
    bench.feed(make.unfolded("j", "more", stages=[make.llm("b", position=2)]))
    first, second = seen(bench)
    assert not first.growing
    assert second == unknown("b")


def test_a_skipped_stage_is_not_there() -> None:
    bench = make.Bench()
    bench.feed(make.admitted(make.job("j", make.llm("a"), make.llm("b", "a", position=1))))
    bench.feed(make.unfolded("j", "a", skipped=True))
    assert seen(bench) == (unknown("b"),)


def test_the_last_stage_of_a_round_grows_while_the_loop_is_asked_to_go_on() -> None:
    bench = make.Bench()
    bench.feed(make.attached("e"), make.admitted(make.job("j", make.dynamic("loop"))))
    bench.feed(make.unfolded("j", "loop", stages=[make.llm("a", position=1)], again=True))
    bench.feed(make.unfolded("j", "a", tasks=1), make.succeeded(make.ref("j", "a", 0)))
    (stage,) = seen(bench)
    assert stage.growing
