from __future__ import annotations

from enum import StrEnum
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.common.errors import DomainError, Violation, error_info, to_status


class Reason(StrEnum):
    WORN_OUT = "WORN_OUT"


def details(status: status_pb2.Status, kind: type) -> list[Any]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


def test_an_error_has_a_reason_for_programs_and_a_message_for_people() -> None:
    error = DomainError(grpc.StatusCode.NOT_FOUND, Reason.WORN_OUT, "it is worn out", metadata={"what": "shoe"})
    status = to_status(error, domain="shoes.llmsched")
    assert (status.code, status.message) == (grpc.StatusCode.NOT_FOUND.value[0], "it is worn out")
    info = error_details_pb2.ErrorInfo(reason="WORN_OUT", domain="shoes.llmsched", metadata={"what": "shoe"})
    assert details(status, error_details_pb2.ErrorInfo) == [info]
    assert len(status.details) == 1


def test_violations_and_waiting_times_are_details_of_their_own() -> None:
    error = DomainError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "BAD",
        "bad",
        violations=[Violation("a[0].b", "is wrong"), Violation("c", "too")],
        retry_after=0.25,
    )
    status = to_status(error, domain="d")
    (request,) = details(status, error_details_pb2.BadRequest)
    assert [(each.field, each.description) for each in request.field_violations] == [
        ("a[0].b", "is wrong"),
        ("c", "too"),
    ]
    (retry,) = details(status, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 250


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_its_number(code: grpc.StatusCode) -> None:
    assert to_status(DomainError(code, "R", "m"), domain="d").code == code.value[0]


@pytest.mark.parametrize("letter", ["x", "ü", "漢", "😀"])
def test_an_error_of_any_size_fits_into_the_trailers_that_clients_take(letter: str) -> None:
    error = DomainError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "BAD",
        letter * 10_000,
        metadata={"name": letter * 10_000},
        violations=[Violation(f"field[{number}]", letter * 500) for number in range(1000)],
    )
    status = to_status(error, domain="planner.llmsched")
    escaped = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in status.message.encode())
    assert escaped + len(status.SerializeToString()) * 4 / 3 < 8000
    (request,) = details(status, error_details_pb2.BadRequest)
    shown = request.field_violations
    assert shown[0].field == "field[0]"
    assert shown[-1].description == f"and {1000 - (len(shown) - 1)} more"


def test_what_is_cut_says_so() -> None:
    assert to_status(DomainError(grpc.StatusCode.INTERNAL, "R", "x" * 10_000), domain="d").message.endswith("x…")


def test_a_text_that_is_no_utf8_does_not_hide_the_error() -> None:
    status = to_status(DomainError(grpc.StatusCode.INTERNAL, "R", "a\ud800b"), domain="d")
    assert status.message == "a?b"


def test_errors_of_others_have_no_reason() -> None:
    metadata = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, metadata, metadata, details="gone")
    assert error_info(error) == ("", {})
