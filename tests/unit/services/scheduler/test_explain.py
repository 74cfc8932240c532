from __future__ import annotations

from services.scheduler.explain import reasons
from tests.support import scheduling as make


def lines(bench: make.Bench, job_id: str, now: float) -> list[str]:
    machine = bench.machine
    return reasons(machine.snapshot(job_id), machine.queue(now), machine.executors(), now=now)


def test_a_job_that_has_just_come_waits_for_the_planner() -> None:
    bench = make.Bench()
    bench.feed(make.admitted(make.job("job", make.llm("a"), make.llm("b", "a", position=1))))
    assert lines(bench, "job", 1.0) == [
        "stage a waits for a planner to unfold it",
        "1 stage waits for stages before it",
    ]


def test_an_expanded_stage_waits_for_its_own_stages() -> None:
    bench = make.Bench()
    bench.feed(
        make.admitted(make.job("job", make.dynamic("loop"))),
        make.unfolded("job", "loop", stages=[make.llm("loop/1", position=1), make.llm("loop/2", "loop/1", position=2)]),
    )
    assert "stage loop waits for the 2 stages it was expanded to" in lines(bench, "job", 1.0)


def test_it_is_said_when_nobody_offers_what_a_stage_needs() -> None:
    bench = make.Bench()
    bench.start(make.job("job", make.llm("a", requirement="llm:none")))
    bench.feed(make.attached("llm-0", slots=3))
    (line,) = lines(bench, "job", 2.5)
    assert line == "stage a has waited 2.5 s for a slot of llm:none: no executor offers it, 0 stages before it"


def test_executors_that_take_no_work_are_not_counted_as_slots() -> None:
    bench = make.Bench()
    bench.feed(make.attached("llm-0", slots=3), make.attached("llm-1", slots=2), make.draining("llm-0"))
    bench.feed(make.health("llm-1", False))
    bench.start(make.job("job", make.llm("a")), tasks=2)
    (line,) = lines(bench, "job", 1.0)
    assert "2 slots of llm: 0 of 0 free (2 executors are detached, draining or unhealthy)" in line


def test_a_task_that_failed_is_said_to_be_tried_again_and_when() -> None:
    bench = make.Bench()
    bench.feed(make.attached("llm-0"))
    bench.start(make.job("job", make.llm("a", backoff_seconds=4.0)))
    bench.feed(make.failed(make.ref("job", "a"), make.FLAKY, at=10.0))
    assert lines(bench, "job", 11.0) == ["task 0 of stage a is tried again in 3.0 s after FLAKY"]


def test_a_job_that_stops_says_why_and_for_what_it_waits() -> None:
    bench = make.Bench()
    bench.feed(make.attached("llm-0"))
    bench.start(make.job("job", make.llm("a")))
    bench.feed(make.cancel("job", reason="not needed"))
    first = lines(bench, "job", 1.0)[0]
    assert first == "the job stops (CANCELLED: not needed): 1 attempts have been asked to end and still run"


def test_only_stages_that_compete_for_the_same_slots_are_counted() -> None:
    bench = make.Bench()
    bench.feed(make.attached("llm-0"), make.attached("tool-0", "tool:any"))
    bench.feed(make.health("llm-0", False), make.health("tool-0", False))
    for number, spec in enumerate((make.llm("a"), make.tool("a"), make.llm("a"))):
        bench.start(make.job(f"job-{number}", spec, arrival=float(number)))
    (line,) = lines(bench, "job-2", 3.0)
    assert line.endswith("1 stage before it")
