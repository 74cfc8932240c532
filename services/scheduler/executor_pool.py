"""The executors of this term of leadership: their leases, what was sent to them, what they say they run.

The machine decides; the pool knows streams. Everything it learns becomes an event. It belongs to the event loop, does
no I/O (a `Line` only queues) and reads time from its clock, so tests drive it without a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common.clock import Clock
from services.common.errors import DomainError
from services.common.logs import get_logger
from services.scheduler.convert import duration, ref_to_core, ref_to_proto
from services.scheduler.core.events import (
    AttemptCancelled,
    AttemptLost,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorDraining,
    ExecutorHealthChanged,
    ExecutorLost,
    PromptTokensCounted,
)
from services.scheduler.core.model import AttemptRef
from services.scheduler.inbox import Arrival
from services.scheduler.refusals import Reason, detached, executor_id_in_use
from services.scheduler.registration import Registration

_log = get_logger(__name__)

#: Heartbeats in a row that do not name an attempt before it is taken for lost.
_MISSES = 2
#: How long executors may take to find a new leader (seconds): they look, and their channels connect, once a second, and
#: the machine may be busy. A shorter lease must not cost attempts that run.
_RETURN_SECONDS = 4.0


class Line(Protocol):
    """The way to one executor, for as long as its stream lives."""

    def send(self, message: executor_pb2.AttachResponse) -> None: ...

    def close(self, error: DomainError | None = None) -> None:
        """Ends the stream, with an error for the executor if one is given."""
        ...


@dataclass(slots=True, eq=False)
class Attachment:
    """One stream of one executor."""

    registration: Registration
    line: Line
    attached_at: float
    active: bool = False  #: the machine has taken note: assignments may be sent
    healthy: bool = True
    draining: bool = False
    load: executor_pb2.EngineLoad | None = None
    assignments: int = 0
    sent: dict[AttemptRef, int] = field(default_factory=dict)  #: with the number of the assignment, 0: before
    missed: dict[AttemptRef, int] = field(default_factory=dict)  #: heartbeats in a row without it
    stored: list[AttemptRef] = field(default_factory=list)  #: outcomes to acknowledge
    counts: dict[int, tuple[str, str, int]] = field(default_factory=dict)  #: asked: job, stage, number of prompts


@dataclass(slots=True, eq=False)
class Member:
    """One executor across its streams."""

    executor_id: str
    heard_at: float
    attachment: Attachment | None = None
    known: Attachment | None = None  #: the latest one, even after it broke
    unsent: dict[AttemptRef, executor_pb2.Assign | None] = field(default_factory=dict)  #: None: payload on its way
    cancelling: set[AttemptRef] = field(default_factory=set)  #: to be aborted; told again after a break


class ExecutorPool:
    def __init__(
        self,
        *,
        clock: Clock,
        epoch: int,
        lease_seconds: float,
        heartbeat_seconds: float,
        put: Callable[[Arrival], None],
        holding: Callable[[str], Collection[AttemptRef]],
    ) -> None:
        """`put` takes what happened; `holding` names the attempts that the machine believes to be on an executor."""
        self._clock = clock
        self._epoch = epoch
        self._lease = lease_seconds
        self._heartbeat = heartbeat_seconds
        self._put = put
        self._holding = holding
        self._members: dict[str, Member] = {}
        self._count_ids = count(1)

    # What executors do

    def attach(self, registration: Registration, line: Line) -> Attachment:
        """Takes a stream over from its executor. The answer is sent when the machine has taken note.

        Raises:
            DomainError: ALREADY_EXISTS/EXECUTOR_ID_IN_USE when another process of that id is alive.
        """
        now = self._clock.now()
        member = self._members.setdefault(registration.executor_id, Member(registration.executor_id, now))
        if member.attachment is not None:
            self._displace(member, registration, now)
        attachment = Attachment(registration, line, attached_at=now)
        if member.known is not None and member.known.registration.incarnation == registration.incarnation:
            # The machine, too, takes one that merely came back to be as it was.
            attachment.healthy, attachment.draining = member.known.healthy, member.known.draining
        member.attachment = member.known = attachment
        member.heard_at = now

        def event() -> ExecutorAttached:
            # Made late: what was assigned in the meantime but never sent is not lost, it will be sent.
            return ExecutorAttached(
                at=now,
                cause=f"attach:{registration.executor_id}",
                executor_id=registration.executor_id,
                incarnation=registration.incarnation,
                kind=registration.kind,
                slots=registration.slots,
                offers=registration.offers,
                running=(*registration.running, *member.unsent),
            )

        self._put(Arrival(event=event, durable=lambda: self._activate(member, attachment)))
        return attachment

    def _displace(self, member: Member, registration: Registration, now: float) -> None:
        old = member.attachment
        assert old is not None
        same = old.registration.incarnation == registration.incarnation
        if not same and now - member.heard_at <= 2 * self._heartbeat:
            raise executor_id_in_use(member.executor_id)
        member.attachment = None
        message = f"executor {member.executor_id!r} has attached again"
        old.line.close(detached(Reason.REPLACED, member.executor_id, message))

    def _activate(self, member: Member, attachment: Attachment) -> None:
        if member.attachment is not attachment:
            return
        held = self._holding(member.executor_id)
        reported = attachment.registration.running
        registered = executor_pb2.Registered(
            epoch=self._epoch,
            lease=duration(self._lease),
            heartbeat_interval=duration(self._heartbeat),
            stale=[ref_to_proto(ref) for ref in reported if ref not in held],
        )
        attachment.line.send(executor_pb2.AttachResponse(registered=registered))
        attachment.active = True
        attachment.sent = {ref: 0 for ref in reported if ref in held}
        member.unsent = {ref: assign for ref, assign in member.unsent.items() if ref in held}
        for assign in [assign for assign in member.unsent.values() if assign is not None]:
            self.assign(member.executor_id, assign)
        member.cancelling &= set(held)
        for ref in member.cancelling:
            self.cancel(member.executor_id, ref)
        _log.info(
            "executor attached",
            action="executor_attached",
            executor=member.executor_id,
            slots=attachment.registration.slots,
            running=len(attachment.sent),
            stale=len(registered.stale),
        )

    def hear(self, attachment: Attachment) -> bool:
        """Notes a sign of life. False: the stream was replaced or given up, and what it says counts no more."""
        member = self._member(attachment)
        if member is None:
            return False
        member.heard_at = self._clock.now()
        return True

    def beat(self, attachment: Attachment, heartbeat: executor_pb2.Heartbeat) -> None:
        """Compares what the executor says with what it was given."""
        executor_id = attachment.registration.executor_id
        attachment.load = heartbeat.load if heartbeat.HasField("load") else None
        if heartbeat.healthy != attachment.healthy:
            attachment.healthy = heartbeat.healthy
            self._happened(ExecutorHealthChanged, f"heartbeat:{executor_id}", executor_id, healthy=heartbeat.healthy)
        running = {ref_to_core(ref) for ref in heartbeat.running}
        missed = {
            ref: attachment.missed.get(ref, 0) + 1
            for ref, number in attachment.sent.items()
            if ref not in running and number <= heartbeat.last_assignment
        }
        lost = [ref for ref, misses in missed.items() if misses >= _MISSES]
        for ref in lost:
            del attachment.sent[ref], missed[ref]
            _log.warning(
                "attempt lost",
                action="attempt_lost",
                executor=executor_id,
                job=ref.job_id,
                stage=ref.stage_id,
                task=ref.task_index,
                attempt=ref.attempt,
            )
            self._put(Arrival(event=AttemptLost(at=self._clock.now(), cause=f"heartbeat:{executor_id}", attempt=ref)))
        attachment.missed = missed

    def ended(self, attachment: Attachment, ref: AttemptRef) -> None:
        """The executor has said how the attempt ended."""
        attachment.sent.pop(ref, None)
        attachment.missed.pop(ref, None)
        self._members[attachment.registration.executor_id].cancelling.discard(ref)

    def runs(self, attachment: Attachment, ref: AttemptRef) -> bool:
        """Whether the attempt was given to this executor and has not ended."""
        return ref in attachment.sent

    def leave(self, attachment: Attachment) -> None:
        """The executor wants no more work."""
        attachment.draining = True
        executor_id = attachment.registration.executor_id
        self._happened(ExecutorDraining, f"leaving:{executor_id}", executor_id)

    def counted(self, attachment: Attachment, answer: executor_pb2.TokensCounted) -> None:
        """Takes the executor's counts; an answer that does not fit the question is dropped."""
        job_id, stage_id, prompts = attachment.counts.pop(answer.count_id, ("", "", -1))
        if len(answer.prompt_tokens) == prompts:
            counts = tuple(tokens if tokens >= 0 else None for tokens in answer.prompt_tokens)
            event = PromptTokensCounted(
                at=self._clock.now(),
                cause=f"count:{answer.count_id}",
                job_id=job_id,
                stage_id=stage_id,
                prompt_tokens=counts,
            )
            self._put(Arrival(event=event))

    def detach(self, attachment: Attachment) -> None:
        """The stream ended. Attempts are kept until the lease ends; one that left with nothing to do is gone."""
        member = self._member(attachment)
        if member is None:
            return
        member.attachment = None
        executor_id = member.executor_id
        if attachment.draining and not attachment.sent and not member.unsent:
            self._lose(member, "left")
            return
        incarnation = attachment.registration.incarnation
        self._happened(ExecutorDetached, f"detach:{executor_id}", executor_id, incarnation=incarnation)
        _log.info("executor detached", action="executor_detached", executor=executor_id, running=len(attachment.sent))

    # What the driver asks for

    def reserve(self, executor_id: str, ref: AttemptRef) -> None:
        """The attempt belongs there from now on; its assignment follows."""
        if member := self._members.get(executor_id):
            member.unsent[ref] = None

    def assign(self, executor_id: str, assign: executor_pb2.Assign) -> None:
        """Sends an assignment that was reserved, now or when the executor is back."""
        member = self._members.get(executor_id)
        ref = ref_to_core(assign.attempt)
        if member is None or ref not in member.unsent:
            return
        attachment = member.attachment
        if attachment is None or not attachment.active:
            member.unsent[ref] = assign
            return
        del member.unsent[ref]
        attachment.assignments += 1
        assign.assignment = attachment.assignments
        attachment.sent[ref] = assign.assignment
        attachment.line.send(executor_pb2.AttachResponse(assign=assign))

    def withdraw(self, executor_id: str, ref: AttemptRef) -> None:
        """A reserved attempt will not be assigned after all."""
        if member := self._members.get(executor_id):
            member.unsent.pop(ref, None)

    def cancel(self, executor_id: str, ref: AttemptRef) -> None:
        """Has the attempt aborted; one that was never sent has ended already."""
        member = self._members.get(executor_id)
        if member is None:
            return
        if ref in member.unsent:
            del member.unsent[ref]
            self._put(Arrival(event=AttemptCancelled(at=self._clock.now(), cause=f"unsent:{executor_id}", attempt=ref)))
            return
        member.cancelling.add(ref)
        if member.attachment is not None and member.attachment.active:
            cancel = executor_pb2.Cancel(attempt=ref_to_proto(ref))
            member.attachment.line.send(executor_pb2.AttachResponse(cancel=cancel))

    def acknowledge(self, attachment: Attachment, ref: AttemptRef) -> None:
        """The outcome is durable, or stale; told with the next `flush`."""
        attachment.stored.append(ref)

    def flush(self) -> None:
        """Sends acknowledgements, one message for each executor."""
        for member in self._members.values():
            attachment = member.attachment
            if attachment is not None and attachment.stored:
                refs = [ref_to_proto(ref) for ref in attachment.stored]
                attachment.stored.clear()
                stored = executor_pb2.ResultStored(attempts=refs)
                attachment.line.send(executor_pb2.AttachResponse(result_stored=stored))

    def count_tokens(self, job_id: str, stage_id: str, requirement: str, calls: Sequence[task_pb2.LlmCall]) -> None:
        """Asks one executor that can count for this model, if there is one."""
        able = [
            member.attachment
            for member in self._members.values()
            if member.attachment is not None
            and member.attachment.active
            and member.attachment.registration.counts_tokens
            and requirement in member.attachment.registration.offers
        ]
        if not able:
            return
        attachment = min(able, key=lambda each: len(each.counts))
        count_id = next(self._count_ids)
        attachment.counts[count_id] = (job_id, stage_id, len(calls))
        request = executor_pb2.CountTokens(count_id=count_id, calls=calls)
        attachment.line.send(executor_pb2.AttachResponse(count_tokens=request))

    # Time and term

    def expect(self, executor_ids: Iterable[str]) -> None:
        """Awaits executors that recovered jobs name: their lease, or the time to come back if longer, starts now."""
        now = self._clock.now()
        for executor_id in executor_ids:
            self._members.setdefault(executor_id, Member(executor_id, now))

    def expire(self) -> None:
        """Gives up executors that have been silent for a lease."""
        now = self._clock.now()
        for member in [member for member in self._members.values() if now - member.heard_at > self._patience(member)]:
            attachment = member.attachment
            member.attachment = None
            self._lose(member, "silent")
            if attachment is not None:
                message = f"nothing was heard for {self._lease:g} s"
                attachment.line.close(detached(Reason.LEASE_EXPIRED, member.executor_id, message))

    def _patience(self, member: Member) -> float:
        awaited = member.known is None
        return max(self._lease, _RETURN_SECONDS) if awaited else self._lease

    def close(self, error: DomainError) -> None:
        """Ends all streams: another scheduler leads from now on."""
        members = list(self._members.values())
        self._members.clear()
        for member in members:
            if member.attachment is not None:
                member.attachment.line.close(error)

    def members(self) -> list[Member]:
        """Executors by id, for operators."""
        return sorted(self._members.values(), key=lambda member: member.executor_id)

    def _member(self, attachment: Attachment) -> Member | None:
        member = self._members.get(attachment.registration.executor_id)
        return member if member is not None and member.attachment is attachment else None

    def _lose(self, member: Member, why: str) -> None:
        del self._members[member.executor_id]
        self._happened(ExecutorLost, f"lease:{member.executor_id}", member.executor_id)
        _log.info("executor gone", action="executor_lost", executor=member.executor_id, why=why)

    def _happened(
        self,
        kind: type[ExecutorDetached | ExecutorDraining | ExecutorHealthChanged | ExecutorLost],
        cause: str,
        executor_id: str,
        **facts: object,
    ) -> None:
        self._put(Arrival(event=kind(at=self._clock.now(), cause=cause, executor_id=executor_id, **facts)))  # type: ignore[arg-type]
