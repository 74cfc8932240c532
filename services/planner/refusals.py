"""Why the planner refuses calls: every reason, and how those that several calls share are worded."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import grpc

from services.common.errors import DomainError, Violation


class Reason(StrEnum):
    """The reasons of PlannerService's errors. The comments of planner.proto say which call gives which; the last
    block can come from any."""

    INVALID_APPLICATION = "INVALID_APPLICATION"
    VERSION_EXISTS = "VERSION_EXISTS"
    APPLICATION_NOT_FOUND = "APPLICATION_NOT_FOUND"
    INVALID_INPUT = "INVALID_INPUT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    QUEUE_FULL = "QUEUE_FULL"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    NO_LEADER = "NO_LEADER"
    JOB_NOT_ENDED = "JOB_NOT_ENDED"
    NOTHING_TO_RERUN = "NOTHING_TO_RERUN"
    HISTORY_COMPACTED = "HISTORY_COMPACTED"
    SLOW_READER = "SLOW_READER"
    JOB_FAILED = "JOB_FAILED"
    JOB_CANCELLED = "JOB_CANCELLED"

    INVALID_REQUEST = "INVALID_REQUEST"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"


def invalid(reason: Reason, what: str, violations: Sequence[Violation]) -> DomainError:
    """INVALID_ARGUMENT. The message has the first violation, for people whose client shows no details."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    message = f"{what}: {first.field}: {first.description}{more}" if first.field else f"{what}: {first.description}"
    return DomainError(grpc.StatusCode.INVALID_ARGUMENT, reason, message, violations=violations)


def invalid_request(violations: Sequence[Violation]) -> DomainError:
    return invalid(Reason.INVALID_REQUEST, "the request is not valid", violations)


def application_not_found(name: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        Reason.APPLICATION_NOT_FOUND,
        f"no such application: {name} (register it first: `llmsched apps apply FILE`)",
        metadata={"name": name},
    )


def job_not_found(job_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        Reason.JOB_NOT_FOUND,
        f"no such job: jobs/{job_id} (jobs are kept for a limited time after they have ended)",
        metadata={"job": job_id},
    )


def job_not_ended(job_id: str, state: str, hint: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.JOB_NOT_ENDED,
        f"job {job_id} has not ended (it is {state}): {hint}",
        metadata={"job": job_id, "state": state},
    )


def request_id_reused(request_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.REQUEST_ID_REUSED,
        f"request_id {request_id} was used for another request: every new request needs a new id",
        metadata={"request_id": request_id},
    )
