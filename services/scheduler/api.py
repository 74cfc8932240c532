"""SchedulerService: the planner's requests and the operators' questions.

Every answer shows what is durable: questions wait in the driver's inbox like events, and are answered behind the
commit of all that came before them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.errors import Violation
from services.scheduler import explain
from services.scheduler.convert import (
    BadMessage,
    failure_to_core,
    figures_to_proto,
    policy_to_core,
    policy_to_proto,
    reasons_to_proto,
    stage_to_core,
    timestamp,
)
from services.scheduler.core.events import JobCancelRequested, PolicyChanged
from services.scheduler.core.explanation import Situation
from services.scheduler.core.explanation import explain as reasons_of
from services.scheduler.core.model import PolicySettings, TaskSpec
from services.scheduler.core.policies import POLICIES, UnknownPolicy
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.core.policies.gittins import Gittins
from services.scheduler.core.policies.llmsched import Llmsched
from services.scheduler.core.policies.random import Random
from services.scheduler.core.views import Counts, ExecutorView
from services.scheduler.executor_pool import Member
from services.scheduler.knowledge import check_policy, settable
from services.scheduler.refusals import Reason, invalid, job_not_found
from services.scheduler.term import Term

_DEFAULT_PAGE, _LARGEST_PAGE = 50, 500
_IDLE_SECONDS = 10.0

#: Policies to which a seed matters.
_DRAW = (Random.name, Llmsched.name, Gittins.name)
Context = grpc.aio.ServicerContext[Any, Any]


class SchedulerApi(scheduler_pb2_grpc.SchedulerServiceServicer):
    def __init__(self, leading: Callable[[], Term], *, default_policy: PolicySettings) -> None:
        """`leading` gives the present term of leadership, or raises FAILED_PRECONDITION/NOT_LEADER."""
        self._leading = leading
        self._default_policy = default_policy

    async def AdmitJob(
        self, request: scheduler_pb2.AdmitJobRequest, context: Context
    ) -> scheduler_pb2.AdmitJobResponse:
        if not request.job_ids:
            raise invalid(Reason.INVALID_REQUEST, Violation("job_ids", "is required"))
        unknown = await self._leading().admission.admit(request.job_ids)
        return scheduler_pb2.AdmitJobResponse(unknown_job_ids=unknown)

    async def CancelJob(
        self, request: scheduler_pb2.CancelJobRequest, context: Context
    ) -> scheduler_pb2.CancelJobResponse:
        term = self._leading()
        if not request.job_id:
            raise invalid(Reason.INVALID_REQUEST, Violation("job_id", "is required"))
        if term.ledger.record(request.job_id) is None and await term.admission.admit([request.job_id]):
            raise job_not_found(request.job_id)
        cancel = JobCancelRequested(
            at=term.clock.now(), cause=f"cancel:{request.job_id}", job_id=request.job_id, reason=request.reason
        )
        await term.driver.submit(cancel)
        return scheduler_pb2.CancelJobResponse()

    async def AddStage(
        self, request: scheduler_pb2.AddStageRequest, context: Context
    ) -> scheduler_pb2.AddStageResponse:
        term = self._leading()
        if not request.job_id:
            raise invalid(Reason.INVALID_REQUEST, Violation("job_id", "is required"))
        try:
            stage = stage_to_core(request.stage)
        except BadMessage as error:
            raise invalid(Reason.INVALID_REQUEST, Violation("stage", str(error))) from error
        task = TaskSpec(prompt_tokens=request.task.prompt_tokens, counted=request.task.counted)
        # The same bytes for the same content: a repeat is held against what was stored.
        payload = request.payload.SerializeToString(deterministic=True)
        await term.programs.add(request.job_id, stage, task, payload)
        return scheduler_pb2.AddStageResponse()

    async def CloseJob(
        self, request: scheduler_pb2.CloseJobRequest, context: Context
    ) -> scheduler_pb2.CloseJobResponse:
        term = self._leading()
        if not request.job_id:
            raise invalid(Reason.INVALID_REQUEST, Violation("job_id", "is required"))
        failure = failure_to_core(request.failure) if request.HasField("failure") else None
        await term.programs.close(request.job_id, request.output.SerializeToString(), failure)
        return scheduler_pb2.CloseJobResponse()

    async def KeepJobOpen(
        self, request: scheduler_pb2.KeepJobOpenRequest, context: Context
    ) -> scheduler_pb2.KeepJobOpenResponse:
        term = self._leading()
        if not request.job_id:
            raise invalid(Reason.INVALID_REQUEST, Violation("job_id", "is required"))
        await term.programs.keep(request.job_id)
        return scheduler_pb2.KeepJobOpenResponse()

    async def GetCluster(
        self, request: scheduler_pb2.GetClusterRequest, context: Context
    ) -> scheduler_pb2.GetClusterResponse:
        term = self._leading()
        return await term.driver.read(lambda: _cluster(term))

    async def ListQueue(
        self, request: scheduler_pb2.ListQueueRequest, context: Context
    ) -> scheduler_pb2.ListQueueResponse:
        term = self._leading()
        start, size = _page(request)
        queue = await term.driver.read(lambda: _queued(term, start, start + size))
        next_page = str(start + size) if len(queue) > size else ""
        return scheduler_pb2.ListQueueResponse(stages=queue[:size], next_page_token=next_page)

    async def ExplainJob(
        self, request: scheduler_pb2.ExplainJobRequest, context: Context
    ) -> scheduler_pb2.ExplainJobResponse:
        term = self._leading()
        answer = await term.driver.read(lambda: _explanation(term, request.job_id))
        if answer is None:
            raise job_not_found(request.job_id)
        return answer

    async def WatchDecisions(
        self, request: scheduler_pb2.WatchDecisionsRequest, context: Context
    ) -> AsyncIterator[scheduler_pb2.WatchDecisionsResponse]:
        term = self._leading()
        # Sent at once: the reader knows from here on that no decision escapes it.
        yield scheduler_pb2.WatchDecisionsResponse()
        async with aclosing(term.decisions.watch(request.job_id, idle_seconds=_IDLE_SECONDS)) as watch:
            async for decisions in watch:
                yield scheduler_pb2.WatchDecisionsResponse(decisions=decisions)

    async def GetPolicy(
        self, request: scheduler_pb2.GetPolicyRequest, context: Context
    ) -> scheduler_pb2.GetPolicyResponse:
        term = self._leading()
        policy, knowledge = await term.driver.read(lambda: (term.machine.settings, term.machine.knowledge))
        return scheduler_pb2.GetPolicyResponse(policy=policy_to_proto(policy), available=settable(knowledge))

    async def SetPolicy(
        self, request: scheduler_pb2.SetPolicyRequest, context: Context
    ) -> scheduler_pb2.SetPolicyResponse:
        term = self._leading()
        policy = policy_to_core(request.policy, default=self._default_policy)
        self._check_policy(policy, await term.driver.read(lambda: term.machine.knowledge))
        self._check_seed(request.policy)
        await term.driver.submit(PolicyChanged(at=term.clock.now(), cause=f"policy:{policy.name}", policy=policy))
        return scheduler_pb2.SetPolicyResponse(policy=policy_to_proto(policy))

    def _check_policy(self, policy: PolicySettings, knowledge: Knowledge) -> None:
        try:
            check_policy(policy, knowledge)
        except UnknownPolicy as error:
            if policy.name in POLICIES:
                raise invalid(Reason.INVALID_POLICY_PARAMETERS, Violation("policy", str(error))) from error
            raise invalid(Reason.UNKNOWN_POLICY, Violation("policy.name", str(error))) from error

    def _check_seed(self, wanted: scheduler_pb2.Policy) -> None:
        """A seed that changes nothing is refused, but for the cluster's own, which every policy is shown with."""
        if wanted.name not in _DRAW and wanted.seed not in (0, self._default_policy.seed):
            told = f"policy {wanted.name!r} takes no seed; it is for: {', '.join(_DRAW)}"
            raise invalid(Reason.INVALID_POLICY_PARAMETERS, Violation("policy", told))


def _cluster(term: Term) -> scheduler_pb2.GetClusterResponse:
    counts: Counts = term.machine.counts()
    views = {view.executor_id: view for view in term.machine.executors()}
    return scheduler_pb2.GetClusterResponse(
        executors=[_executor(member, views.get(member.executor_id)) for member in term.pool.members()],
        active_jobs=counts.active_jobs,
        ready_stages=counts.waiting_stages,
        running_attempts=counts.running_attempts,
        epoch=term.leader.epoch,
        policy=policy_to_proto(term.machine.settings),
    )


def _executor(member: Member, view: ExecutorView | None) -> scheduler_pb2.Executor:
    known = member.known
    message = scheduler_pb2.Executor(
        executor_id=member.executor_id,
        state=_state(member),
        used_slots=len(view.running) if view else 0,
        heartbeat_time=timestamp(member.heard_at),
    )
    if known is not None:
        message.kind = known.registration.kind
        message.slots = known.registration.slots
        message.offers.extend(sorted(known.registration.offers))
        message.labels.update(known.registration.labels)
        message.attach_time.CopyFrom(timestamp(known.attached_at))
        message.engine_waiting = known.load.waiting if known.load else 0
    return message


def _state(member: Member) -> scheduler_pb2.Executor.State:
    attachment = member.attachment
    if attachment is None:
        return scheduler_pb2.Executor.STATE_DETACHED
    if attachment.draining:
        return scheduler_pb2.Executor.STATE_DRAINING
    return scheduler_pb2.Executor.STATE_ATTACHED if attachment.healthy else scheduler_pb2.Executor.STATE_UNHEALTHY


def _explanation(term: Term, job_id: str) -> scheduler_pb2.ExplainJobResponse | None:
    if term.ledger.record(job_id) is None:
        return None
    machine, now = term.machine, term.clock.now()
    queue, executors = machine.queue(now), machine.executors()
    lines = explain.reasons(machine.snapshot(job_id), queue, executors, now=now)
    situation = Situation(policy=machine.policy, settings=machine.settings, queue=queue, executors=executors, at=now)
    found = reasons_of(machine.view(job_id), situation)
    return scheduler_pb2.ExplainJobResponse(
        queued=[
            explain.queued_stage(rank, entry, machine.policy, now)
            for rank, entry in enumerate(queue)
            if entry.job.job_id == job_id
        ],
        decisions=term.decisions.of(job_id),
        policy=policy_to_proto(term.machine.settings),
        reasons=lines,
        figures=figures_to_proto(found.figures),
        stages=map(reasons_to_proto, found.stages),
    )


def _queued(term: Term, first: int, last: int) -> list[scheduler_pb2.QueuedStage]:
    """The waiting stages with these ranks."""
    now, policy = term.clock.now(), term.machine.policy
    return [
        explain.queued_stage(rank, entry, policy, now)
        for rank, entry in enumerate(term.machine.queue(now))
        if first <= rank <= last
    ]


def _page(request: scheduler_pb2.ListQueueRequest) -> tuple[int, int]:
    """First rank and size of the page."""
    if request.page_size < 0:
        raise invalid(Reason.INVALID_REQUEST, Violation("page_size", "must not be negative"))
    if request.page_token and not request.page_token.isdecimal():
        raise invalid(Reason.INVALID_PAGE_TOKEN, Violation("page_token", "is not one of an earlier response"))
    return int(request.page_token or 0), min(request.page_size or _DEFAULT_PAGE, _LARGEST_PAGE)
