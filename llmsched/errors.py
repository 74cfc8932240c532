"""What can go wrong, in words a caller can act on, and the translation of gRPC errors into it.

Facts are attributes, never only text: `reason` is the server's stable UPPER_SNAKE word (empty for errors found on
this side), `metadata` holds the varying parts of the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from llmsched.application.violations import Violation as Violation

if TYPE_CHECKING:
    from llmsched.types import Failure, Job, Stage

_DETAILS_KEY = "grpc-status-details-bin"
_Detail = TypeVar("_Detail", bound=Message)


class LLMSchedError(Exception):
    """Something went wrong; the base of all errors of this package."""

    def __init__(self, message: str = "", *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])
        #: The server's word for the cause, for example `QUEUE_FULL`; empty if there is none.
        self.reason = reason
        #: The varying parts of the message, by name.
        self.metadata = dict(metadata or {})


class NotFoundError(LLMSchedError):
    """There is no such application or job."""


class ConflictError(LLMSchedError):
    """The request does not fit what is there already, for example another content under a registered version."""


class PermissionDeniedError(LLMSchedError):
    """The server does not allow this call to this caller."""


class TransientError(LLMSchedError):
    """The same call may succeed later; it has been tried for a while already."""

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: timedelta | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        #: How long to wait before another try; None if the server did not say.
        self.retry_after = retry_after


class UnavailableError(TransientError):
    """The server cannot be reached or cannot work at the moment."""


class OverloadedError(TransientError):
    """The system takes no more work for now."""


class ServerError(LLMSchedError):
    """The server failed in a way it did not expect; its log says more."""


class DeadlineExceededError(LLMSchedError, TimeoutError):
    """The time allowed for the call was not enough."""


class InvalidRequestError(LLMSchedError, ValueError):
    """The request breaks rules; `violations` names all of them."""

    def __init__(
        self,
        message: str = "",
        *,
        violations: Iterable[Violation] = (),
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.violations = tuple(violations)
        message = message or "the request is invalid"
        # A server may have told them in its message, for clients that show nothing else.
        lines = [message, *(f"  {violation}" for violation in self.violations if str(violation) not in message)]
        super().__init__("\n".join(lines), reason=reason, metadata=metadata)


class OptionsError(InvalidRequestError):
    """Settings of the client are wrong."""


class JobFailedError(LLMSchedError):
    """The job failed, so it has no result."""

    def __init__(self, job: Job) -> None:
        failure = job.failure
        why = f"{failure.reason}: {failure.message}" if failure else "no cause was recorded"
        super().__init__(f"{job.name} failed: {why}", reason=failure.reason if failure else "")
        #: The job as it ended.
        self.job = job
        #: Why it failed.
        self.failure: Failure | None = failure


class JobCancelledError(LLMSchedError):
    """The job was cancelled, so it has no result."""

    def __init__(self, job: Job) -> None:
        why = f": {job.failure.message}" if job.failure and job.failure.message else ""
        super().__init__(f"{job.name} was cancelled{why}", reason="JOB_CANCELLED")
        #: The job as it ended.
        self.job = job


class StageFailedError(LLMSchedError):
    """A stage of an open job failed; the job goes on, and the program decides what that means."""

    def __init__(self, job_name: str, stage: Stage) -> None:
        failure = stage.failure
        why = f"{failure.reason}: {failure.message}" if failure else "no cause was recorded"
        super().__init__(
            f"stage {stage.stage_id} of {job_name} failed: {why}", reason=failure.reason if failure else ""
        )
        #: The stage as it ended.
        self.stage = stage
        #: Why it failed.
        self.failure: Failure | None = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Details:
    """The parts of a google.rpc.Status we use."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after: timedelta | None = None


_PLAIN: dict[grpc.StatusCode, type[LLMSchedError]] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}
_TRANSIENT: dict[grpc.StatusCode, type[TransientError]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    # Sent by a server that is shutting down; what we cancel ourselves raises asyncio.CancelledError instead.
    grpc.StatusCode.CANCELLED: UnavailableError,
}
_INVALID = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)


def from_rpc_error(error: grpc.RpcError, *, server: str = "the server", address: str = "") -> LLMSchedError:
    """The error of this package that a gRPC error stands for.

    `server` and `address` say who was called, for messages about a server that does not answer.
    """
    code = error.code()
    details = _details(error)
    reason, metadata = details.reason, details.metadata
    text = error.details() or ""
    where = f"{server} at {address}" if address else server
    if code in _INVALID:
        return InvalidRequestError(text, violations=details.violations, reason=reason, metadata=metadata)
    if transient := _TRANSIENT.get(code):
        if code is not grpc.StatusCode.RESOURCE_EXHAUSTED and not reason:
            # gRPC's own text names every address it tried; its last part is the cause.
            text = f"cannot reach {where}: is `llmsched up` running? ({text.rsplit(': ', 1)[-1]})"
        return transient(text, retry_after=details.retry_after, reason=reason, metadata=metadata)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{where} did not answer in time"
    if plain := _PLAIN.get(code):
        return plain(text, reason=reason, metadata=metadata)
    return ServerError(f"{where} failed: {code.name} {text}", reason=reason, metadata=metadata)


def _details(error: grpc.RpcError) -> _Details:
    status = _status(error)
    info = next(_unpacked(status, error_details_pb2.ErrorInfo), error_details_pb2.ErrorInfo())
    retry = next(_unpacked(status, error_details_pb2.RetryInfo), None)
    return _Details(
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(
            Violation(path=violation.field, message=violation.description)
            for request in _unpacked(status, error_details_pb2.BadRequest)
            for violation in request.field_violations
        ),
        retry_after=retry.retry_delay.ToTimedelta() if retry else None,
    )


def _status(error: grpc.RpcError) -> status_pb2.Status:
    # grpc_status insists on a synchronous call object, which an aio error is not.
    metadata: Iterable[Any] = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == _DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _unpacked(status: status_pb2.Status, kind: type[_Detail]) -> Iterator[_Detail]:
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            yield detail
