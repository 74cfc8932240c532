"""gRPC errors become errors a caller can act on."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from llmsched import errors
from llmsched.errors import LLMSchedError, Violation, from_rpc_error
from llmsched.types import Failure, Job, JobState
from tests.unit.llmsched.fake_servers import status


def _rpc_error(code: grpc.StatusCode, text: str = "no", details: bytes | None = None) -> AioRpcError:
    trailing = Metadata(("grpc-status-details-bin", details)) if details is not None else Metadata()
    return AioRpcError(code, Metadata(), trailing, details=text)


def _rich(code: grpc.StatusCode, reason: str, **details: object) -> AioRpcError:
    made = status(code, reason, "no", **details)  # type: ignore[arg-type]
    return _rpc_error(code, "no", made.SerializeToString())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, errors.NotFoundError),
        (grpc.StatusCode.ALREADY_EXISTS, errors.ConflictError),
        (grpc.StatusCode.ABORTED, errors.ConflictError),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.ConflictError),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequestError),
        (grpc.StatusCode.OUT_OF_RANGE, errors.InvalidRequestError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.OverloadedError),
        (grpc.StatusCode.UNAVAILABLE, errors.UnavailableError),
        (grpc.StatusCode.CANCELLED, errors.UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDeniedError),
        (grpc.StatusCode.UNAUTHENTICATED, errors.PermissionDeniedError),
        (grpc.StatusCode.INTERNAL, errors.ServerError),
        (grpc.StatusCode.UNKNOWN, errors.ServerError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ServerError),
        (grpc.StatusCode.DATA_LOSS, errors.ServerError),
    ],
)
def test_every_code_has_its_error(code: grpc.StatusCode, kind: type[LLMSchedError]) -> None:
    error = from_rpc_error(_rich(code, "SOME_REASON", metadata={"what": "x"}))
    assert type(error) is kind
    assert error.reason == "SOME_REASON"
    assert error.metadata == {"what": "x"}


def test_violations_are_kept_and_shown() -> None:
    error = from_rpc_error(
        _rich(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", violations={"input.topic": "is missing", "": "bad"})
    )
    assert isinstance(error, errors.InvalidRequestError)
    assert error.violations == (Violation(path="input.topic", message="is missing"), Violation(path="", message="bad"))
    assert str(error) == "no\n  input.topic: is missing\n  bad"


def test_violations_that_the_message_tells_are_not_shown_again() -> None:
    error = from_rpc_error(_rich(grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_POLICY", violations={"": "no"}))
    assert isinstance(error, errors.InvalidRequestError)
    assert error.violations == (Violation(path="", message="no"),)
    assert str(error) == "no"


def test_retry_info_becomes_a_timedelta() -> None:
    error = from_rpc_error(_rich(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=1.5))
    assert isinstance(error, errors.OverloadedError)
    assert error.retry_after == timedelta(seconds=1.5)


def test_a_server_that_cannot_be_reached_is_explained_to_a_newcomer() -> None:
    text = "failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:7411: Connection refused (111)"
    error = from_rpc_error(_rpc_error(grpc.StatusCode.UNAVAILABLE, text), server="the planner", address="1.2.3.4:7411")
    expected = "cannot reach the planner at 1.2.3.4:7411: is `llmsched up` running? (Connection refused (111))"
    assert str(error) == expected


def test_what_a_reachable_server_says_is_left_alone() -> None:
    error = from_rpc_error(_rich(grpc.StatusCode.UNAVAILABLE, "NO_LEADER"), server="the planner", address="a:1")
    assert str(error) == "no"


def test_broken_details_do_not_hide_the_error() -> None:
    error = from_rpc_error(_rpc_error(grpc.StatusCode.NOT_FOUND, "no", b"\xff\xff"))
    assert type(error) is errors.NotFoundError
    assert error.reason == ""


def test_deadline_errors_are_timeouts_and_invalid_requests_value_errors() -> None:
    assert isinstance(from_rpc_error(_rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED)), TimeoutError)
    assert isinstance(from_rpc_error(_rpc_error(grpc.StatusCode.INVALID_ARGUMENT)), ValueError)


def test_an_error_without_words_says_what_its_class_means() -> None:
    assert str(errors.NotFoundError()) == "There is no such application or job."


def test_a_failed_job_tells_why() -> None:
    why = Failure(reason="TOOL_RAISED", message="ValueError: 3")
    job = Job(name="jobs/1", application="hello", version=1, state=JobState.FAILED, failure=why)
    error = errors.JobFailedError(job)
    assert (error.job, error.failure, error.reason) == (job, why, "TOOL_RAISED")
    assert str(error) == "jobs/1 failed: TOOL_RAISED: ValueError: 3"
