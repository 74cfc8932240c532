"""Errors of a service's domain, and how they travel: a canonical gRPC code with google.rpc details.

Raise a `DomainError` anywhere below a servicer; the interceptor turns it into a `google.rpc.Status` with
`ErrorInfo` always, `BadRequest` when there are violations, `RetryInfo` when waiting helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

#: Bytes of the message, of all violations together, and of any other text. An error travels in trailers, of which
#: clients take 8 KiB (the message counts twice, the rest as base64): of a larger one they would only see a
#: RESOURCE_EXHAUSTED of gRPC's own.
_MESSAGE_BYTES, _VIOLATIONS_BYTES, _TEXT_BYTES = 700, 2500, 250


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request."""

    field: str  #: path, for example "stages[2].prompt"
    description: str


class DomainError(Exception):
    """A request that is refused, with the reason for programs and the message for people."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: StrEnum | str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = str(reason)
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after  #: seconds


def invalid_argument(reason: StrEnum | str, what: str, violations: Sequence[Violation]) -> DomainError:
    """INVALID_ARGUMENT. The message has the first violation, for people whose client shows no details."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    message = f"{what}: {first.field}: {first.description}{more}" if first.field else f"{what}: {first.description}"
    return DomainError(grpc.StatusCode.INVALID_ARGUMENT, reason, message, violations=violations)


def to_status(error: DomainError, *, domain: str) -> status_pb2.Status:
    """The error as it goes over the wire; texts that would not fit are cut."""
    metadata = {key: _cut(text) for key, text in error.metadata.items()}
    details: list[Any] = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=metadata))]
    if error.violations:
        request = error_details_pb2.BadRequest()
        for violation in _fitting(error.violations):
            request.field_violations.add(field=violation.field, description=violation.description)
        details.append(_packed(request))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code = getattr(code_pb2, error.code.name)
    return status_pb2.Status(code=code, message=_cut(error.message, _MESSAGE_BYTES), details=details)


def refused(error: grpc.aio.AioRpcError) -> DomainError:
    """The refusal of another service, to be passed on as one's own."""
    reason, metadata = error_info(error)
    violations = []
    for detail in _details(error):
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            violations += [Violation(each.field, each.description) for each in request.field_violations]
    return DomainError(error.code(), reason, error.details() or "", metadata=metadata, violations=violations)


def error_info(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Reason and metadata of the ErrorInfo an RPC error carries; ("", {}) if it carries none."""
    for detail in _details(error):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            return info.reason, dict(info.metadata)
    return "", {}


def _details(error: grpc.aio.AioRpcError) -> Sequence[Any]:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:  # the details belong to another error
        status = None
    return status.details if status else ()


def _fitting(violations: Sequence[Violation]) -> list[Violation]:
    """As many as fit, and how many more there are."""
    shown: list[Violation] = []
    size = 0
    for violation in violations:
        cut = Violation(_cut(violation.field), _cut(violation.description))
        size += len(cut.field.encode()) + len(cut.description.encode())
        if size > _VIOLATIONS_BYTES:
            return [*shown, Violation("", f"and {len(violations) - len(shown)} more")]
        shown.append(cut)
    return shown


def _cut(text: str, limit: int = _TEXT_BYTES) -> str:
    """The text, valid as UTF-8 and in no more bytes than that."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - len("…".encode())].decode(errors="ignore") + "…"


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
