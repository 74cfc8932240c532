"""Why the profiler refuses calls: every reason, and how those that several calls share are worded."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import grpc

from services.common.errors import DomainError, Violation, invalid_argument
from services.state.port import CommitGap, LeadershipLost, StateUnavailable


class Reason(StrEnum):
    """The reasons of ProfilerService's errors. The comments of profiler.proto say which call gives which; the last
    block can come from any."""

    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    PROFILE_NOT_FOUND = "PROFILE_NOT_FOUND"
    NO_HISTORY = "NO_HISTORY"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    LEARNING_FAILED = "LEARNING_FAILED"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    INVALID_TRACE = "INVALID_TRACE"
    IMPORT_TOO_LARGE = "IMPORT_TOO_LARGE"
    EMPTY_REPORT = "EMPTY_REPORT"
    NOT_LEADER = "NOT_LEADER"

    INVALID_REQUEST = "INVALID_REQUEST"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"


def invalid_request(*violations: Violation) -> DomainError:
    return invalid_argument(Reason.INVALID_REQUEST, "the request is not valid", violations)


def invalid_trace(violations: Sequence[Violation]) -> DomainError:
    return invalid_argument(Reason.INVALID_TRACE, "the history is not valid, nothing of it was stored", violations)


def import_too_large(limit: int) -> DomainError:
    return DomainError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.IMPORT_TOO_LARGE,
        f"one call imports {limit} bytes at most, and nothing was stored: import the lines in several calls",
        metadata={"limit_bytes": str(limit)},
    )


def empty_report() -> DomainError:
    told = "nothing can be learned of it: it needs decode steps, with their number, time and time squared"
    return invalid_argument(
        Reason.EMPTY_REPORT, "the report measures nothing, and nothing was stored", [Violation("report", told)]
    )


def profile_not_found(name: str, hint: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        Reason.PROFILE_NOT_FOUND,
        f"no such profile: {name} ({hint})",
        metadata={"name": name},
    )


def no_history(application: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.NO_HISTORY,
        f"there is no history of {application!r} to learn from: run jobs of it, or import recorded ones",
        metadata={"application": application},
    )


def learning_failed(application: str, why: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.INTERNAL,
        Reason.LEARNING_FAILED,
        f"the profile of {application!r} could not be learned: {why}",
        metadata={"application": application},
    )


def request_id_reused(request_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.REQUEST_ID_REUSED,
        f"request_id {request_id} was used for another request: every new request needs a new id",
        metadata={"request_id": request_id},
    )


def job_not_found(job_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        Reason.JOB_NOT_FOUND,
        f"no such job: jobs/{job_id} (jobs are kept for a limited time after they have ended)",
        metadata={"job": job_id},
    )


def not_leader(leader: str) -> DomainError:
    """`leader` is the address of the one that leads; empty if it is not known."""
    hint = f"another profiler leads: {leader}" if leader else "this profiler does not lead (yet)"
    return DomainError(grpc.StatusCode.FAILED_PRECONDITION, Reason.NOT_LEADER, hint, metadata={"leader": leader})


def shutting_down() -> DomainError:
    return DomainError(
        grpc.StatusCode.UNAVAILABLE,
        Reason.SHUTTING_DOWN,
        "this profiler is ending: watch again, it or another one",
        retry_after=1.0,
    )


def translate(error: Exception) -> DomainError | None:
    """The domain's word for what the store says."""
    if isinstance(error, LeadershipLost):
        return not_leader("")
    if isinstance(error, StateUnavailable | CommitGap):
        return DomainError(grpc.StatusCode.UNAVAILABLE, Reason.STATE_UNAVAILABLE, str(error), retry_after=1.0)
    return None
