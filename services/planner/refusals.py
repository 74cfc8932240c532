"""Why the planner refuses calls: every reason, and how those that several calls share are worded."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import grpc

from services.common.errors import DomainError, Violation, invalid_argument
from services.scheduler.core.model import Failure


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
    APPLICATION_IS_REGISTERED = "APPLICATION_IS_REGISTERED"
    INVALID_STAGE = "INVALID_STAGE"
    STAGE_ID_REUSED = "STAGE_ID_REUSED"
    STAGE_NOT_FOUND = "STAGE_NOT_FOUND"
    TOO_MANY_STAGES = "TOO_MANY_STAGES"
    JOB_NOT_OPEN = "JOB_NOT_OPEN"
    JOB_ENDED = "JOB_ENDED"

    INVALID_REQUEST = "INVALID_REQUEST"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"


def invalid_request(violations: Sequence[Violation]) -> DomainError:
    return invalid_argument(Reason.INVALID_REQUEST, "the request is not valid", violations)


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


def application_is_registered(application: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.APPLICATION_IS_REGISTERED,
        f"{application} is a registered application, whose jobs are not like those of a program: "
        "give the program another name, or submit a job",
        metadata={"application": application},
    )


def job_ended(job_id: str, state: str, failure: Failure | None) -> DomainError:
    why = f": {failure.reason}: {failure.message}" if failure else ""
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.JOB_ENDED,
        f"job {job_id} has ended ({state}{why})",
        metadata={"job": job_id, "state": state, "failure_reason": failure.reason if failure else ""},
    )


def job_not_open(job_id: str, why: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.JOB_NOT_OPEN,
        f"job {job_id} takes no stages: {why}",
        metadata={"job": job_id},
    )


def stage_not_found(job_id: str, stage_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        Reason.STAGE_NOT_FOUND,
        f"job {job_id} has no stage {stage_id!r}",
        metadata={"job": job_id, "stage_id": stage_id},
    )


def shutting_down(what: str) -> DomainError:
    message = f"this planner is shutting down: {what} again, and another one will answer"
    return DomainError(grpc.StatusCode.UNAVAILABLE, Reason.SHUTTING_DOWN, message, retry_after=0.1)


def request_id_reused(request_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.REQUEST_ID_REUSED,
        f"request_id {request_id} was used for another request: every new request needs a new id",
        metadata={"request_id": request_id},
    )
