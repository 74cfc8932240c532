"""Applications: checked before they are registered, never changed after."""

from __future__ import annotations

import functools
import hashlib
from typing import NoReturn

import grpc
from llmsched.application.convert import from_proto
from llmsched.application.validate import check

from llmsched.api.planner.v1 import application_pb2
from llmsched.application import ApplicationSpec
from services.common.clock import Clock
from services.common.errors import DomainError, Violation
from services.state.port import State, VersionExists
from services.state.records import ApplicationRecord


@functools.lru_cache(maxsize=256)
def parse(spec: bytes) -> ApplicationSpec:
    """The application that was registered as these bytes."""
    return from_proto(application_pb2.ApplicationSpec.FromString(spec))


class Registry:
    """Registers and finds applications."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def register(self, spec: application_pb2.ApplicationSpec, *, validate_only: bool) -> ApplicationRecord:
        """Raises INVALID_ARGUMENT/INVALID_APPLICATION with every violation, ALREADY_EXISTS/VERSION_EXISTS."""
        violations = _violations(spec)
        if violations:
            raise _invalid("INVALID_APPLICATION", f"application {spec.application!r} is not valid", violations)
        content = spec.SerializeToString(deterministic=True)
        record = ApplicationRecord(
            application=spec.application,
            version=spec.version,
            spec=content,
            etag=hashlib.sha256(content).hexdigest()[:16],
            created_at=self._clock.now(),
        )
        if validate_only:
            return record
        try:
            return await self._state.put_application(record)
        except VersionExists as error:
            raise DomainError(
                grpc.StatusCode.ALREADY_EXISTS,
                "VERSION_EXISTS",
                f"version {spec.version} of {spec.application} is registered with other content: "
                "versions never change, so give the changed application the next version number",
                metadata={"application": spec.application, "version": str(spec.version)},
            ) from error

    async def get(self, name: str) -> ApplicationRecord:
        """Raises INVALID_ARGUMENT/INVALID_NAME, NOT_FOUND/APPLICATION_NOT_FOUND."""
        application, version = split_name(name)
        record = await self._state.get_application(application, version)
        if record is None:
            _not_found(name)
        return record

    async def delete(self, name: str) -> list[int]:
        """Returns the versions hidden now; none if all were hidden before. Raises as `get`."""
        application, version = split_name(name)
        if await self._state.get_application(application, version, include_deleted=True) is None:
            _not_found(name)
        return await self._state.delete_application(application, version)


def split_name(name: str) -> tuple[str, int | None]:
    """Splits applications/{application}[/versions/{version}]. Raises INVALID_ARGUMENT/INVALID_NAME."""
    match name.split("/"):
        case ["applications", application] if application:
            return application, None
        case ["applications", application, "versions", version] if application and version.isdecimal():
            return application, int(version)
    raise _invalid(
        "INVALID_NAME",
        f"{name!r} is not the name of an application",
        [Violation("name", "must be applications/{application} or applications/{application}/versions/{version}")],
    )


def _violations(spec: application_pb2.ApplicationSpec) -> list[Violation]:
    try:
        application = from_proto(spec)
    except ValueError as error:
        return _listed(error)
    return [Violation(each.path, each.message) for each in check(application)]


def _listed(error: ValueError) -> list[Violation]:
    """Every violation that the conversion found."""
    found = getattr(error, "violations", None)
    if found is None:
        return [Violation("spec", str(error))]
    return [Violation(each.path, each.message) for each in found]


def _not_found(name: str) -> NoReturn:
    raise DomainError(
        grpc.StatusCode.NOT_FOUND,
        "APPLICATION_NOT_FOUND",
        f"no such application: {name} (register it first: `llmsched apps apply FILE`)",
        metadata={"name": name},
    )


def _invalid(reason: str, message: str, violations: list[Violation]) -> DomainError:
    listed = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return DomainError(grpc.StatusCode.INVALID_ARGUMENT, reason, f"{message}: {listed}", violations=violations)
