"""Why the scheduler refuses calls: every reason, and how those that several calls share are worded."""

from __future__ import annotations

from enum import StrEnum

import grpc

from services.common.errors import DomainError, Violation
from services.state.port import StateUnavailable


class Reason(StrEnum):
    """The reasons of SchedulerService's and ExecutorGatewayService's errors. The comments of the protos say which call
    gives which; the last block can come from any."""

    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_NOT_OPEN = "JOB_NOT_OPEN"
    INVALID_STAGE = "INVALID_STAGE"
    STAGE_ID_REUSED = "STAGE_ID_REUSED"
    TOO_MANY_STAGES = "TOO_MANY_STAGES"
    UNKNOWN_POLICY = "UNKNOWN_POLICY"
    INVALID_POLICY_PARAMETERS = "INVALID_POLICY_PARAMETERS"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    SLOW_READER = "SLOW_READER"
    INVALID_REGISTRATION = "INVALID_REGISTRATION"
    EXECUTOR_ID_IN_USE = "EXECUTOR_ID_IN_USE"
    REPLACED = "REPLACED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    LEADERSHIP_LOST = "LEADERSHIP_LOST"

    NOT_LEADER = "NOT_LEADER"
    INVALID_REQUEST = "INVALID_REQUEST"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"


def not_leader(message: str, *, leader: str) -> DomainError:
    """`leader` is the address of the one that leads; empty if it is not known."""
    return DomainError(grpc.StatusCode.FAILED_PRECONDITION, Reason.NOT_LEADER, message, metadata={"leader": leader})


def invalid(reason: Reason, *violations: Violation) -> DomainError:
    """INVALID_ARGUMENT; the message has all violations, for people whose client shows no details."""
    told = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return DomainError(grpc.StatusCode.INVALID_ARGUMENT, reason, told, violations=violations)


def job_not_found(job_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        Reason.JOB_NOT_FOUND,
        f"no active job {job_id!r} (of one that has ended, ask the planner)",
        metadata={"job_id": job_id},
    )


def job_not_open(job_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.JOB_NOT_OPEN,
        f"job {job_id!r} takes no stages: it is of a registered application, closed, or about to end",
        metadata={"job": job_id},
    )


def stage_id_reused(job_id: str, stage_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.STAGE_ID_REUSED,
        f"job {job_id!r} has another stage {stage_id!r}: every new stage needs a new id",
        metadata={"job": job_id, "stage_id": stage_id},
    )


def too_many_stages(job_id: str, limit: int) -> DomainError:
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.TOO_MANY_STAGES,
        f"job {job_id!r} has {limit} stages, which is the limit: close it and open another",
        metadata={"job": job_id, "limit": str(limit)},
    )


def executor_id_in_use(executor_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.EXECUTOR_ID_IN_USE,
        f"another process is attached as {executor_id!r}: give each executor an id of its own",
        metadata={"executor_id": executor_id},
    )


def detached(reason: Reason, executor_id: str, message: str) -> DomainError:
    """ABORTED: an executor's stream ends, and it should attach again."""
    return DomainError(grpc.StatusCode.ABORTED, reason, message, metadata={"executor_id": executor_id})


def leadership_lost(epoch: int) -> DomainError:
    return DomainError(
        grpc.StatusCode.ABORTED,
        Reason.LEADERSHIP_LOST,
        "this scheduler does not lead any more: attach to the one that does",
        metadata={"epoch": str(epoch)},
    )


def slow_reader(limit: int) -> DomainError:
    return DomainError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.SLOW_READER,
        f"the reader fell more than {limit} decisions behind",
        metadata={"limit": str(limit)},
    )


def translate(error: Exception) -> DomainError | None:
    """The scheduler's word for an exception of a lower layer."""
    if isinstance(error, StateUnavailable):
        return DomainError(grpc.StatusCode.UNAVAILABLE, Reason.STATE_UNAVAILABLE, str(error), retry_after=1.0)
    return None
