"""The pool without a network: lines that only record, a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from llmsched.api.executor.v1 import executor_pb2
from services.common.clock import ManualClock
from services.common.errors import DomainError
from services.scheduler.convert import ref_to_proto
from services.scheduler.core.events import (
    AttemptCancelled,
    AttemptLost,
    Event,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorDraining,
    ExecutorHealthChanged,
    ExecutorLost,
    PromptTokensCounted,
)
from services.scheduler.core.model import AttemptRef
from services.scheduler.executor_pool import Attachment, ExecutorPool
from services.scheduler.inbox import Arrival
from services.scheduler.registration import Registration
from tests.support.scheduling import ref

A, B = ref("job", "a"), ref("job", "b")


class RecordedLine:
    def __init__(self) -> None:
        self.sent: list[executor_pb2.AttachResponse] = []
        self.closed: list[str] = []  #: reasons

    def send(self, message: executor_pb2.AttachResponse) -> None:
        self.sent.append(message)

    def close(self, error: DomainError | None = None) -> None:
        self.closed.append(error.reason if error else "")

    def kinds(self) -> list[str]:
        return [str(message.WhichOneof("message")) for message in self.sent]


@dataclass
class Bench:
    """A pool whose events a test lets through one by one."""

    clock: ManualClock = field(default_factory=ManualClock)
    arrivals: list[Arrival] = field(default_factory=list)
    held: dict[str, list[AttemptRef]] = field(default_factory=dict)
    lease_seconds: float = 6.0

    def __post_init__(self) -> None:
        self.pool = ExecutorPool(
            clock=self.clock,
            epoch=7,
            lease_seconds=self.lease_seconds,
            heartbeat_seconds=1.0,
            put=self.arrivals.append,
            holding=lambda executor_id: self.held.get(executor_id, []),
        )

    def attach(self, incarnation: str = "one", **more: object) -> tuple[Attachment, RecordedLine]:
        """Attaches and lets the machine take note."""
        line = RecordedLine()
        attachment = self.pool.attach(registration(incarnation, **more), line)
        self.let_through()
        return attachment, line

    def let_through(self) -> list[Event]:
        """Makes the events that wait durable."""
        arrivals, self.arrivals[:] = list(self.arrivals), []
        events = [arrival.event if isinstance(arrival.event, Event) else arrival.event() for arrival in arrivals]
        for arrival, event in zip(arrivals, events, strict=True):
            if isinstance(event, ExecutorAttached):
                self.held[event.executor_id] = list(event.running)
            if arrival.durable is not None:
                arrival.durable()
        return events

    def assign(self, what: AttemptRef) -> None:
        """As the driver does when a dispatch is durable."""
        self.held.setdefault("tool-0", []).append(what)
        self.pool.reserve("tool-0", what)
        self.pool.assign("tool-0", executor_pb2.Assign(attempt=ref_to_proto(what)))


def registration(incarnation: str = "one", **more: object) -> Registration:
    known: dict[str, object] = {
        "executor_id": "tool-0",
        "kind": "tool",
        "slots": 2,
        "offers": frozenset({"tool:any"}),
        "labels": {},
        "running": (),
        "counts_tokens": False,
    }
    return Registration(incarnation=incarnation, **(known | more))  # type: ignore[arg-type]


def beat(*running: AttemptRef, last: int = 100, healthy: bool = True) -> executor_pb2.Heartbeat:
    return executor_pb2.Heartbeat(running=map(ref_to_proto, running), healthy=healthy, last_assignment=last)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_answer_to_an_attachment_waits_until_it_is_durable(bench: Bench) -> None:
    line = RecordedLine()
    bench.pool.attach(registration(), line)
    assert line.sent == []
    (event,) = bench.let_through()
    assert isinstance(event, ExecutorAttached)
    assert line.kinds() == ["registered"]
    assert line.sent[0].registered.epoch == 7
    assert line.sent[0].registered.lease.seconds == 6


def test_attempts_that_the_machine_does_not_hold_are_stale(bench: Bench) -> None:
    line = RecordedLine()
    bench.pool.attach(registration(running=(A, B)), line)
    (arrival,) = bench.arrivals
    bench.held["tool-0"] = [B]
    assert arrival.durable is not None
    arrival.durable()
    assert list(line.sent[0].registered.stale) == [ref_to_proto(A)]


def test_assignments_are_numbered_stream_by_stream(bench: Bench) -> None:
    _, line = bench.attach()
    bench.assign(A)
    bench.assign(B)
    assert [message.assign.assignment for message in line.sent[1:]] == [1, 2]
    attachment, line = bench.attach(running=(A,))
    assert line.kinds() == ["registered"]
    bench.assign(ref("job", "c"))
    assert line.sent[1].assign.assignment == 1
    assert set(attachment.sent) == {A, ref("job", "c")}


def test_what_was_never_sent_is_not_lost_when_the_executor_comes_back(bench: Bench) -> None:
    attachment, line = bench.attach()
    bench.pool.detach(attachment)
    bench.assign(A)
    assert line.kinds() == ["registered"]
    again = RecordedLine()
    bench.pool.attach(registration("two"), again)
    detached, attached = bench.let_through()
    assert isinstance(detached, ExecutorDetached)
    assert isinstance(attached, ExecutorAttached)
    assert attached.running == (A,)
    assert again.kinds() == ["registered", "assign"]


def test_an_assignment_whose_payload_is_on_its_way_is_sent_once_it_is_there(bench: Bench) -> None:
    _, line = bench.attach()
    bench.pool.reserve("tool-0", A)
    bench.pool.assign("tool-0", executor_pb2.Assign(attempt=ref_to_proto(A)))
    bench.pool.assign("tool-0", executor_pb2.Assign(attempt=ref_to_proto(A)))
    assert line.kinds() == ["registered", "assign"]


def test_cancelling_what_was_never_sent_ends_it_here(bench: Bench) -> None:
    _, line = bench.attach()
    bench.pool.reserve("tool-0", A)
    bench.pool.cancel("tool-0", A)
    (event,) = bench.let_through()
    assert isinstance(event, AttemptCancelled)
    # The payload arrives too late.
    bench.pool.assign("tool-0", executor_pb2.Assign(attempt=ref_to_proto(A)))
    assert line.kinds() == ["registered"]


def test_a_cancellation_is_told_again_after_a_break(bench: Bench) -> None:
    attachment, line = bench.attach()
    bench.assign(A)
    bench.pool.detach(attachment)
    bench.pool.cancel("tool-0", A)
    assert line.kinds() == ["registered", "assign"]
    again, line = bench.attach(running=(A,))
    assert line.kinds() == ["registered", "cancel"]
    bench.pool.ended(again, A)
    _, line = bench.attach()
    assert line.kinds() == ["registered"]


def test_an_attempt_is_lost_after_two_heartbeats_without_it(bench: Bench) -> None:
    attachment, _ = bench.attach()
    bench.assign(A)
    bench.assign(B)
    bench.pool.beat(attachment, beat(last=0))
    bench.pool.beat(attachment, beat(last=0))
    bench.pool.beat(attachment, beat(last=1))
    assert bench.arrivals == []
    bench.pool.beat(attachment, beat(B, last=2))
    (event,) = bench.let_through()
    assert isinstance(event, AttemptLost)
    assert event.attempt == A
    bench.pool.beat(attachment, beat(last=2))
    bench.pool.beat(attachment, beat(B, last=2))
    bench.pool.beat(attachment, beat(last=2))
    assert bench.arrivals == []


def test_an_attempt_whose_end_was_told_is_not_missed(bench: Bench) -> None:
    attachment, _ = bench.attach()
    bench.assign(A)
    bench.pool.ended(attachment, A)
    for _ in range(3):
        bench.pool.beat(attachment, beat())
    assert bench.arrivals == []


def test_changes_of_health_are_told_once(bench: Bench) -> None:
    attachment, _ = bench.attach()
    for healthy in (True, False, False, True):
        bench.pool.beat(attachment, beat(healthy=healthy))
    told = [event.healthy for event in bench.let_through() if isinstance(event, ExecutorHealthChanged)]
    assert told == [False, True]


def test_health_outlives_a_break_but_not_a_restart(bench: Bench) -> None:
    attachment, _ = bench.attach("one")
    bench.pool.beat(attachment, beat(healthy=False))
    again, _ = bench.attach("one")
    bench.let_through()
    bench.pool.beat(again, beat(healthy=True))
    assert [type(event) for event in bench.let_through()] == [ExecutorHealthChanged]
    bench.pool.beat(again, beat(healthy=False))
    bench.clock.advance(3)
    restarted, _ = bench.attach("two")
    assert restarted.healthy


def test_silence_for_a_lease_loses_the_executor(bench: Bench) -> None:
    attachment, line = bench.attach()
    bench.clock.advance(5.9)
    assert bench.pool.hear(attachment)
    bench.clock.advance(6.0)
    bench.pool.expire()
    assert bench.arrivals == []
    bench.clock.advance(0.1)
    bench.pool.expire()
    (event,) = bench.let_through()
    assert isinstance(event, ExecutorLost)
    assert line.closed == ["LEASE_EXPIRED"]
    assert not bench.pool.hear(attachment)
    assert bench.pool.members() == []


def test_a_broken_stream_leaves_the_rest_of_the_lease(bench: Bench) -> None:
    attachment, _ = bench.attach()
    bench.pool.detach(attachment)
    bench.clock.advance(6.0)
    bench.pool.expire()
    assert [type(event) for event in bench.let_through()] == [ExecutorDetached]
    bench.clock.advance(0.1)
    bench.pool.expire()
    assert [type(event) for event in bench.let_through()] == [ExecutorLost]


def test_an_awaited_executor_has_a_lease_from_the_moment_of_recovery(bench: Bench) -> None:
    bench.pool.expect(["llm-0", "llm-1"])
    bench.clock.advance(6.1)
    bench.pool.expire()
    lost = [event.executor_id for event in bench.let_through() if isinstance(event, ExecutorLost)]
    assert lost == ["llm-0", "llm-1"]


def test_an_awaited_executor_has_time_to_come_back_however_short_its_lease() -> None:
    bench = Bench(lease_seconds=0.5)
    bench.pool.expect(["tool-0", "llm-0"])
    bench.clock.advance(4.0)
    bench.pool.expire()
    assert bench.arrivals == []
    bench.attach()
    bench.clock.advance(0.6)
    bench.pool.expire()
    lost = [event.executor_id for event in bench.let_through() if isinstance(event, ExecutorLost)]
    assert lost == ["tool-0", "llm-0"]


def test_another_process_is_refused_while_the_first_is_heard(bench: Bench) -> None:
    _, line = bench.attach("one")
    bench.clock.advance(2.0)
    with pytest.raises(DomainError, match="another process"):
        bench.pool.attach(registration("two"), RecordedLine())
    assert line.closed == []
    bench.clock.advance(0.1)
    bench.pool.attach(registration("two"), RecordedLine())
    assert line.closed == ["REPLACED"]


def test_an_old_stream_counts_no_more_once_it_is_replaced(bench: Bench) -> None:
    old, _ = bench.attach("one")
    bench.attach("one")
    assert not bench.pool.hear(old)
    bench.pool.detach(old)
    assert bench.arrivals == []


def test_one_that_leaves_is_gone_when_it_has_nothing_to_do(bench: Bench) -> None:
    attachment, _ = bench.attach()
    bench.assign(A)
    bench.pool.leave(attachment)
    bench.pool.ended(attachment, A)
    bench.pool.detach(attachment)
    assert [type(event) for event in bench.let_through()] == [ExecutorDraining, ExecutorLost]


def test_acknowledgements_are_sent_together(bench: Bench) -> None:
    attachment, line = bench.attach()
    bench.pool.acknowledge(attachment, A)
    bench.pool.acknowledge(attachment, B)
    bench.pool.flush()
    bench.pool.flush()
    assert line.kinds() == ["registered", "result_stored"]
    assert list(line.sent[1].result_stored.attempts) == [ref_to_proto(A), ref_to_proto(B)]


def test_only_an_executor_that_can_count_this_model_is_asked(bench: Bench) -> None:
    offers = frozenset({"llm", "llm:m"})
    attachment, line = bench.attach(kind="llm", offers=offers, counts_tokens=True)
    bench.pool.count_tokens("job", "a", "llm:other", [])
    assert line.kinds() == ["registered"]
    calls = [executor_pb2.CountTokens().calls.add(prompt="hello"), executor_pb2.CountTokens().calls.add(prompt="you")]
    bench.pool.count_tokens("job", "a", "llm:m", calls)
    count_id = line.sent[1].count_tokens.count_id
    # An answer about something else, or of the wrong length, is dropped.
    bench.pool.counted(attachment, executor_pb2.TokensCounted(count_id=count_id + 1, prompt_tokens=[1, 2]))
    assert bench.arrivals == []
    bench.pool.counted(attachment, executor_pb2.TokensCounted(count_id=count_id, prompt_tokens=[3, -1]))
    (event,) = bench.let_through()
    assert isinstance(event, PromptTokensCounted)
    assert event.prompt_tokens == (3, None)
    bench.pool.counted(attachment, executor_pb2.TokensCounted(count_id=count_id, prompt_tokens=[3, -1]))
    assert bench.arrivals == []


def test_closing_ends_all_streams(bench: Bench) -> None:
    attachment, line = bench.attach()
    bench.pool.close(DomainError(code=None, reason="LEADERSHIP_LOST", message=""))  # type: ignore[arg-type]
    assert line.closed == ["LEADERSHIP_LOST"]
    bench.pool.detach(attachment)
    assert bench.arrivals == []
