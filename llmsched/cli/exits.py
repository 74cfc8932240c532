"""Exit codes, and how errors become them. docs/cli.md lists them for scripts."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import IO, Any

import click

from llmsched.cli.output import jsonable, printable
from llmsched.errors import (
    ConflictError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    LLMSchedError,
    NotFoundError,
    OptionsError,
    OverloadedError,
    PermissionDeniedError,
)


class Exit(IntEnum):
    """What a script learns from the command's end."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    #: Unreachable, silent for too long, or broken; also for a command whose packages are not installed.
    UNAVAILABLE = 5
    OVERLOADED = 6
    CONFLICT = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141


# The first that fits counts: OptionsError is an InvalidRequestError too.
_CODES: list[tuple[type[LLMSchedError], Exit]] = [
    (JobFailedError, Exit.JOB_FAILED),
    (JobCancelledError, Exit.JOB_FAILED),
    (OptionsError, Exit.USAGE),
    (NotFoundError, Exit.NOT_FOUND),
    (InvalidRequestError, Exit.REFUSED),
    (PermissionDeniedError, Exit.REFUSED),
    (OverloadedError, Exit.OVERLOADED),
    (ConflictError, Exit.CONFLICT),
]


def exit_code(error: LLMSchedError) -> Exit:
    """The exit code that stands for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.UNAVAILABLE)


class CommandFailed(click.ClickException):
    """Ends the command with a message on stderr, as text or as one JSON object."""

    def __init__(
        self, message: str, code: Exit, *, as_json: bool = False, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click declares it for the class, and reads it here
        self._as_json = as_json
        self._details = details or {}

    def show(self, file: IO[Any] | None = None) -> None:
        if self._as_json:
            report = {"message": self.message, "exit_code": self.exit_code, **self._details}
            click.echo(json.dumps({"error": report}, ensure_ascii=False), file=file, err=file is None)
        else:
            click.echo(f"Error: {printable(self.message)}", file=file, err=file is None)

    @classmethod
    def of(cls, error: LLMSchedError, *, as_json: bool) -> CommandFailed:
        """The end that an error of the client leads to."""
        details: dict[str, Any] = {"type": type(error).__name__, "reason": error.reason, "metadata": error.metadata}
        if isinstance(error, InvalidRequestError):
            details["violations"] = jsonable(error.violations)
        if isinstance(error, OverloadedError):
            details["retry_after"] = jsonable(error.retry_after)
        return cls(str(error), exit_code(error), as_json=as_json, details=details)
