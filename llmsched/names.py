"""Resource names: short forms people type, and the full ones of the wire."""

from __future__ import annotations

import re

from llmsched.errors import InvalidRequestError, Violation

_APPLICATION = re.compile(
    r"(?:applications/)?(?P<application>[a-z0-9][a-z0-9-]*)(?:(?:@|/versions/)(?P<version>[1-9][0-9]*))?"
)
# Histories may have been imported under any name.
_PROFILED = re.compile(r"(?:applications/)?(?P<application>[^/@\s]+)(?:(?:@|/profiles/)(?P<version>[1-9][0-9]*))?")
_JOB = re.compile(r"(?:jobs/)?(?P<job>[^/\s]+)")


def application_name(text: str, version: int | None = None) -> str:
    """The full name for `hello`, `hello@2` or a full name; `version` stands in when the text names none."""
    match = _APPLICATION.fullmatch(text)
    if not match:
        message = f"{text!r} does not name an application: write hello, hello@2 or applications/hello/versions/2"
        raise InvalidRequestError(violations=[Violation(path="application", message=message)])
    number = match["version"] or version
    suffix = f"/versions/{number}" if number else ""
    return f"applications/{match['application']}{suffix}"


def split_application(name: str) -> tuple[str, int]:
    """Application and version of a full name; version 0 if it has none."""
    match = _APPLICATION.fullmatch(name)
    return (match["application"], int(match["version"] or 0)) if match else (name, 0)


def job_name(text: str) -> str:
    """The full name for a job's id or full name."""
    match = _JOB.fullmatch(text)
    if not match:
        message = f"{text!r} does not name a job: write its id or jobs/<id>"
        raise InvalidRequestError(violations=[Violation(path="name", message=message)])
    return f"jobs/{match['job']}"


def job_id(name: str) -> str:
    """The id in a job's full name."""
    return name.removeprefix("jobs/")


def profile_name(text: str) -> str:
    """The full name for `hello`, `hello@2` or a full name; without a version it names the newest profile."""
    match = _PROFILED.fullmatch(text)
    if not match:
        message = f"{text!r} does not name a profile: write hello, hello@2 or applications/hello/profiles/2"
        raise InvalidRequestError(violations=[Violation(path="name", message=message)])
    suffix = f"/{match['version']}" if match["version"] else ""
    return f"applications/{match['application']}/profiles{suffix}"


def profiled_application(text: str) -> str:
    """The full name of an application that has a history, for its short or full name."""
    return profile_name(text).partition("/profiles")[0]


def split_profile(name: str) -> tuple[str, int]:
    """Application and version of a profile's full name."""
    match = _PROFILED.fullmatch(name)
    return (match["application"], int(match["version"] or 0)) if match else (name, 0)
