"""Applications: checked before they are registered, never changed after."""

from __future__ import annotations

import functools
import hashlib

import grpc

from llmsched.api.planner.v1 import application_pb2
from llmsched.application import ApplicationError, ApplicationSpec
from llmsched.application.convert import from_proto
from llmsched.application.validate import check
from services.common.clock import Clock
from services.common.errors import DomainError, Violation, invalid_argument
from services.planner.refusals import Reason, application_not_found, request_id_reused
from services.state.port import ApplicationStore, VersionExists
from services.state.records import ApplicationRecord

_REMEMBERED = 10_000  #: request ids


@functools.lru_cache(maxsize=256)
def parse(spec: bytes) -> ApplicationSpec:
    """The application that was registered as these bytes."""
    return from_proto(application_pb2.ApplicationSpec.FromString(spec))


class Registry:
    """Registers and finds applications.

    What is registered is identified by its name, version and content, so repeats are harmless whoever sends them.
    Request ids serve only to notice that one was used for two things; each planner remembers its latest 10,000.
    """

    def __init__(self, state: ApplicationStore, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._requests: dict[str, str] = {}  #: etag of what was registered, by request id

    async def register(
        self, spec: application_pb2.ApplicationSpec, *, request_id: str = "", validate_only: bool = False
    ) -> ApplicationRecord:
        """Raises as documented at RegisterApplication."""
        violations = _violations(spec)
        if violations:
            raise invalid_argument(
                Reason.INVALID_APPLICATION, f"application {spec.application!r} is not valid", violations
            )
        content = spec.SerializeToString(deterministic=True)
        record = ApplicationRecord(
            application=spec.application,
            version=spec.version,
            spec=content,
            etag=hashlib.sha256(content).hexdigest()[:16],
            created_at=self._clock.now(),
        )
        known = await self._state.get_application(spec.application, spec.version, include_deleted=True)
        if known is not None and known.etag != record.etag:
            raise _version_exists(record)
        if validate_only:
            return record
        if self._is_repeat(request_id, record.etag) and known is not None:
            return known  # and not registered anew if it was deleted since
        try:
            return await self._state.put_application(record)
        except VersionExists as error:
            raise _version_exists(record) from error

    async def get(self, application: str, version: int | None) -> ApplicationRecord:
        """A version, or the newest. Raises NOT_FOUND/APPLICATION_NOT_FOUND."""
        record = await self._state.get_application(application, version)
        if record is None:
            raise application_not_found(_name(application, version))
        return record

    async def delete(self, application: str, version: int | None, *, request_id: str = "") -> list[int]:
        """Returns the versions hidden now. With a request id none is a success, too: the call may be a repeat.

        Raises NOT_FOUND/APPLICATION_NOT_FOUND.
        """
        hidden = await self._state.delete_application(application, version)
        if not hidden:
            known = await self._state.get_application(application, version, include_deleted=True)
            if known is None or not request_id:
                raise application_not_found(_name(application, version))
        return hidden

    def _is_repeat(self, request_id: str, etag: str) -> bool:
        """Whether the id is known already. Raises ALREADY_EXISTS/REQUEST_ID_REUSED."""
        if not request_id:
            return False
        repeat = request_id in self._requests
        if self._requests.setdefault(request_id, etag) != etag:
            raise request_id_reused(request_id)
        if len(self._requests) > _REMEMBERED:
            del self._requests[next(iter(self._requests))]
        return repeat


def _violations(spec: application_pb2.ApplicationSpec) -> list[Violation]:
    """Everything that is wrong with an application."""
    try:
        found = check(from_proto(spec))
    except ApplicationError as error:
        found = list(error.violations)
    except (ValueError, OverflowError) as error:  # such as a timeout of a million years
        return [Violation("spec", f"cannot be read: {error}")]
    return [Violation(each.path, each.message) for each in found]


def _name(application: str, version: int | None) -> str:
    return f"applications/{application}" + (f"/versions/{version}" if version else "")


def _version_exists(record: ApplicationRecord) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.VERSION_EXISTS,
        f"version {record.version} of {record.application} is registered with other content: "
        "versions never change, so give the changed application the next version number",
        metadata={"application": record.application, "version": str(record.version)},
    )
