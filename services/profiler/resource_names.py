"""Names of resources in requests, as the comments of profiler.proto write them."""

from __future__ import annotations

import re

from services.common.errors import Violation
from services.profiler.refusals import invalid_request

# Histories may be imported under any name, so all but a slash may be in one.
_PROFILE = re.compile(r"applications/(?P<application>[^/]+)/profiles(?:/(?P<version>[1-9][0-9]{0,9}))?")
_APPLICATION = re.compile(r"applications/(?P<application>[^/]+)")
_JOB = re.compile(r"jobs/(?P<job>[^/]+)")


def profile_name(application: str, version: int) -> str:
    return f"applications/{application}/profiles/{version}"


def profile_in(name: str) -> tuple[str, int | None]:
    """Application and version (None: the newest). Raises INVALID_ARGUMENT/INVALID_REQUEST."""
    match = _PROFILE.fullmatch(name)
    if match is None:
        wanted = "must be applications/{application}/profiles or applications/{application}/profiles/{version}"
        raise invalid_request(Violation("name", f"{wanted}, not {name!r}"))
    return match["application"], int(match["version"]) if match["version"] else None


def application_in(name: str) -> str:
    """Raises INVALID_ARGUMENT/INVALID_REQUEST."""
    match = _APPLICATION.fullmatch(name)
    if match is None:
        raise invalid_request(Violation("application", f"must be applications/{{application}}, not {name!r}"))
    return match["application"]


def job_in(name: str) -> str:
    """The job's id. Raises INVALID_ARGUMENT/INVALID_REQUEST."""
    match = _JOB.fullmatch(name)
    if match is None:
        raise invalid_request(Violation("job", f"must be jobs/{{job}}, not {name!r}"))
    return match["job"]
