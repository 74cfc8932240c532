"""Names of resources in requests, as the comments of planner.proto write them."""

from __future__ import annotations

import re

from services.common.errors import Violation
from services.planner.refusals import invalid_request

_APPLICATION = re.compile(r"applications/(?P<application>[^/]+)(?:/versions/(?P<version>[1-9][0-9]{0,9}))?")
_JOB = re.compile(r"jobs/(?P<job>[^/]+)")

APPLICATION_FORMAT = "must be applications/{application} or applications/{application}/versions/{version}"


def split_application(name: str) -> tuple[str, int | None] | None:
    """Application and version (None: not named); None if it is not the name of an application."""
    match = _APPLICATION.fullmatch(name)
    return match and (match["application"], int(match["version"]) if match["version"] else None)


def application_in(name: str) -> tuple[str, int | None]:
    """As `split_application`. Raises INVALID_ARGUMENT/INVALID_REQUEST."""
    found = split_application(name)
    if found is None:
        raise invalid_request([Violation("name", f"{APPLICATION_FORMAT}, not {name!r}")])
    return found


def job_in(name: str) -> str:
    """The job's id. Raises INVALID_ARGUMENT/INVALID_REQUEST."""
    match = _JOB.fullmatch(name)
    if match is None:
        raise invalid_request([Violation("name", f"must be jobs/{{job}}, not {name!r}")])
    return match["job"]
