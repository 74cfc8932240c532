"""What the ledger writes down of what the machine decides, batch by batch."""

from __future__ import annotations

import json
from typing import Any

from services.scheduler.core import PolicySettings, SchedulerMachine, events
from services.scheduler.core.effects import Effect
from services.scheduler.core.model import JobState, Measurement, StageSnapshot, StageState, TaskState
from services.scheduler.facts import AttemptEnded, AttemptStarted, JobEnded, StageEnded
from services.scheduler.inbox import Arrival
from services.scheduler.ledger import Entry, Ledger
from services.state.records import JobCommit, JobStatus, JobUpdate, StageUpdate, StoredJob, TaskUpdate
from tests.support import scheduling as make
from tests.support import state as stored


class Bench:
    def __init__(self) -> None:
        self.machine = SchedulerMachine(PolicySettings())
        self.ledger = Ledger(self.machine)
        self.effects: list[Effect] = []

    def feed(self, *arrivals: Arrival | events.Event) -> Entry:
        """Handles and writes down one batch."""
        items = [each if isinstance(each, Arrival) else Arrival(event=each) for each in arrivals]
        batch = [item.event for item in items if isinstance(item.event, events.Event)]
        self.effects = self.machine.handle_batch(batch)
        return self.ledger.write(items, batch, self.effects)

    def job(self, entry: Entry) -> JobCommit:
        assert entry.commit is not None
        (job,) = entry.commit.jobs
        return job


def stored_job(*stages: Any, state: JobState = JobState.PENDING, **more: Any) -> StoredJob:
    snapshots = [each if isinstance(each, StageSnapshot) else StageSnapshot(spec=each) for each in stages]
    return StoredJob(
        record=stored.make_record("job", created_at=9.0),
        status=JobStatus(state=state, **more),
        sequence=1,
        stages={each.spec.stage_id: each for each in snapshots},
    )


def admit(job: StoredJob, at: float = 10.0) -> Arrival:
    return Arrival(event=make.admitted(job.snapshot(), at=at), job=job)


def unfold(stage_id: str = "a", *, tasks: int = 1, cause: str = "u", at: float = 11.0, **more: Any) -> Arrival:
    payloads = tuple(f"payload {index}".encode() for index in range(tasks))
    event = make.unfolded("job", stage_id, tasks=tasks, cause=cause, at=at, **more)
    return Arrival(event=event, payloads=payloads)


def succeed(attempt: Any = None, *, at: float = 12.0, tokens: int = 5) -> Arrival:
    measured = Measurement(prompt_tokens=tokens, output_tokens=2, cached_tokens=1, total_seconds=0.5)
    ref = attempt or make.ref("job", "a")
    return Arrival(
        event=events.AttemptSucceeded(at=at, cause="s", attempt=ref, measurement=measured), result=b"the result"
    )


def running(bench: Bench, *, tasks: int = 1, slots: int = 1, **more: Any) -> Entry:
    """A job with tasks under way; returns what the dispatch was worth."""
    bench.feed(make.attached("llm-0", slots=slots))
    bench.feed(admit(stored_job(make.llm("a", **more))))
    return bench.feed(unfold(tasks=tasks))


def test_nothing_happened_nothing_to_write() -> None:
    assert Bench().feed(make.attached("llm-0")).commit is None


def test_what_was_seen_of_engines_is_written_once_with_the_next_commit() -> None:
    bench = Bench()
    bench.ledger.observe(b"fast")
    bench.ledger.observe(b"slow")
    assert bench.feed(make.attached("llm-0")).commit is None
    assert bench.job(bench.feed(admit(stored_job(make.llm("a"))))).observations == (b"fast", b"slow")
    assert bench.job(bench.feed(unfold())).observations == ()


def test_an_admission_is_written_with_the_stages_it_starts() -> None:
    bench = Bench()
    job = bench.job(bench.feed(admit(stored_job(make.llm("a"), make.llm("b", "a", position=1)))))
    assert job.status == JobStatus(state=JobState.RUNNING)
    assert {stage_id: stage.state for stage_id, stage in job.stages.items()} == {"a": StageState.UNFOLDING}
    assert [type(update) for update in job.updates] == [JobUpdate, StageUpdate]
    assert bench.ledger.record("job") is not None


def test_payloads_are_kept_and_the_dispatch_starts_the_job() -> None:
    bench = Bench()
    entry = running(bench, tasks=2)
    job = bench.job(entry)
    assert job.payloads == {("a", 0): b"payload 0", ("a", 1): b"payload 1"}
    assert job.status == JobStatus(state=JobState.RUNNING, started_at=11.0)
    # One slot: the first task runs, the second waits; the stage is told once, as it is now.
    assert [task.state for task in job.stages["a"].tasks] == [TaskState.RUNNING, TaskState.READY]
    assert [type(update) for update in job.updates] == [StageUpdate, TaskUpdate]
    stage = job.updates[0]
    assert isinstance(stage, StageUpdate)
    assert (stage.stage.state, stage.stage.tasks) == (StageState.RUNNING, ())
    assert [type(fact) for fact in entry.facts] == [AttemptStarted]


def test_a_commit_tells_the_number_of_its_last_decision() -> None:
    bench = Bench()
    started = running(bench, tasks=3, slots=2).commit
    assert started is not None
    assert started.decisions == 2
    refilled = bench.feed(succeed()).commit
    assert refilled is not None
    assert refilled.decisions == 3
    ended = bench.feed(succeed(make.ref("job", "a", 1))).commit
    assert ended is not None
    assert ended.decisions == 0


def test_payloads_of_an_answer_that_the_machine_ignores_are_not_kept() -> None:
    bench = Bench()
    running(bench)
    assert bench.feed(unfold(cause="stale", unfolding=7)).commit is None


def test_a_result_is_kept_once_with_its_tokens() -> None:
    bench = Bench()
    running(bench, tasks=2, slots=2)
    entry = bench.feed(succeed())
    job = bench.job(entry)
    assert job.results == {("a", 0): b"the result"}
    assert job.status is not None
    assert (job.status.prompt_tokens, job.status.completion_tokens, job.status.cached_tokens) == (5, 2, 1)
    assert bench.feed(succeed()).commit is None
    second = bench.job(bench.feed(succeed(make.ref("job", "a", 1), tokens=7)))
    assert second.status is not None
    assert second.status.prompt_tokens == 12


def test_the_last_commit_closes_the_account() -> None:
    bench = Bench()
    running(bench)
    entry = bench.feed(succeed(at=12.5))
    job = bench.job(entry)
    assert job.finished
    assert job.status is not None
    assert (job.status.state, job.status.started_at, job.status.ended_at) == (JobState.SUCCEEDED, 11.0, 12.5)
    assert isinstance(job.updates[-1], JobUpdate)
    assert [type(fact) for fact in entry.facts] == [AttemptEnded, StageEnded, JobEnded]
    assert [json.loads(line)["type"] for line in job.observations] == ["attempt", "job"]
    assert bench.ledger.record("job") is None


def test_the_output_is_kept_when_its_stage_is_done() -> None:
    bench = Bench()
    bench.feed(admit(stored_job(make.dynamic("$output"))))
    event = make.unfolded("job", "$output", cause="u")
    job = bench.job(bench.feed(Arrival(event=event, output=b"the output")))
    assert (job.output, job.finished) == (b"the output", True)


def test_a_job_that_cannot_run_is_written_off() -> None:
    bench = Bench()
    entry = bench.feed(admit(stored_job(make.llm("a", "nowhere"))))
    job = bench.job(entry)
    assert job.finished
    assert job.status is not None
    assert (job.status.state, job.status.ended_at) == (JobState.FAILED, 10.0)
    assert job.status.failure is not None
    assert bench.ledger.record("job") is None


def test_used_slots_are_those_right_after_the_dispatch() -> None:
    bench = Bench()
    running(bench, tasks=3, slots=2)
    lines = []
    for index in range(3):
        job = bench.job(bench.feed(succeed(make.ref("job", "a", index))))
        lines.append(json.loads(job.observations[0]))
    assert [(line["task"], line["used_slots"], line["width"]) for line in lines] == [(0, 1, 3), (1, 2, 3), (2, 2, 3)]


def test_a_lost_attempt_and_its_successor_may_share_a_batch() -> None:
    bench = Bench()
    running(bench)
    entry = bench.feed(make.attached("llm-1", at=12.0), make.lost("llm-0", at=13.0))
    ended, started = entry.facts
    assert isinstance(ended, AttemptEnded)
    assert isinstance(started, AttemptStarted)
    assert (ended.ref.attempt, ended.outcome, ended.executor_id, ended.is_last) == (1, "lost", "llm-0", False)
    assert (started.dispatch.attempt.attempt, started.dispatch.executor_id) == (2, "llm-1")


def test_a_failed_attempt_tells_its_reason() -> None:
    bench = Bench()
    running(bench)
    entry = bench.feed(make.failed(make.ref("job", "a"), make.FLAKY, at=14.0))
    (ended,) = entry.facts
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.failure, ended.ended_at) == ("failed", make.FLAKY, 14.0)
    assert not bench.job(entry).finished


def test_a_cancelled_job_says_so_before_and_after_its_attempts_have_ended() -> None:
    bench = Bench()
    running(bench)
    stopping = bench.job(bench.feed(make.cancel("job", at=13.0, reason="no more")))
    assert stopping.status is not None
    assert (stopping.status.state, stopping.status.cancel_requested) == (JobState.CANCELLING, True)
    assert stopping.status.ended_at is None
    entry = bench.feed(make.aborted(make.ref("job", "a"), at=14.0))
    job = bench.job(entry)
    assert job.status is not None
    assert (job.status.state, job.status.ended_at) == (JobState.CANCELLED, 14.0)
    ended = entry.facts[0]
    assert isinstance(ended, AttemptEnded)
    assert ended.outcome == "cancelled"


def test_attempts_of_a_recovered_job_are_known() -> None:
    first = Bench()
    entry = running(first)
    stages = first.job(entry).stages
    second = Bench()
    second.feed(admit(stored_job(*stages.values(), state=JobState.RUNNING, started_at=11.0, prompt_tokens=4)))
    second.feed(make.attached("llm-0", running=[make.ref("job", "a")]))
    entry = second.feed(succeed())
    job = second.job(entry)
    ended = entry.facts[0]
    assert isinstance(ended, AttemptEnded)
    assert (ended.started_at, ended.executor_id, ended.used_slots, ended.dispatch) == (11.0, "llm-0", None, None)
    assert job.status is not None
    assert (job.status.started_at, job.status.prompt_tokens) == (11.0, 9)
