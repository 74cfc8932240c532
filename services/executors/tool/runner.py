"""The port between an executor and whatever runs its tool calls.

A `ToolRunner` is the process pool, the in-process runner or a cluster backend; all of them pass
`tests/unit/services/executors/tool/test_runner_contract.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

__all__ = [
    "ToolArgumentsError",
    "ToolCall",
    "ToolCrashedError",
    "ToolError",
    "ToolMemoryError",
    "ToolOutputError",
    "ToolRaisedError",
    "ToolResult",
    "ToolResultError",
    "ToolRunner",
    "ToolTimeoutError",
    "ToolUnavailableError",
    "ToolUnknownError",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of one tool."""

    #: Names the call in logs and errors; the caller chooses it.
    id: str
    #: Name of the tool, e.g. `python.run_tests`.
    tool: str
    #: JSON value; a tool accepts an object only.
    args: Any
    #: Seconds of wall-clock time once the call has a worker. The tool's own limit holds if it is lower.
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call that went well gave."""

    #: JSON value.
    value: Any
    #: Time spent in the tool's function.
    seconds: float
    #: The last few kilobytes that the tool wrote with print.
    stdout: str = ""
    stderr: str = ""


class ToolError(Exception):
    """A call gave no result. `reason` is for programs, the message for people."""

    reason: ClassVar[str] = "TOOL_ERROR"
    #: Whether the same call may succeed on another try.
    retryable: bool = False

    def __init__(
        self,
        message: str | None = None,
        *,
        retryable: bool | None = None,
        seconds: float = 0.0,
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        if retryable is not None:
            self.retryable = retryable
        #: Time spent in the tool's function before it failed, where known.
        self.seconds = seconds
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(self.message)


class ToolUnknownError(ToolError):
    """No tool of that name is registered."""

    reason = "UNKNOWN_TOOL"


class ToolArgumentsError(ToolError):
    """The arguments do not fit the tool's schema."""

    reason = "INVALID_ARGUMENTS"


class ToolRaisedError(ToolError):
    """The tool raised an exception."""

    reason = "TOOL_RAISED"


class ToolTimeoutError(ToolError):
    """The tool did not finish in time and was ended."""

    reason = "TIMEOUT"
    retryable = True


class ToolMemoryError(ToolError):
    """The tool needed more memory than it may use."""

    reason = "MEMORY_EXCEEDED"


class ToolOutputError(ToolError):
    """The result is larger than the tool may return."""

    reason = "OUTPUT_TOO_LARGE"


class ToolCrashedError(ToolError):
    """The process that ran the tool ended without an answer."""

    reason = "WORKER_CRASHED"
    retryable = True


class ToolResultError(ToolError):
    """The tool returned something that is no JSON value."""

    reason = "NOT_SERIALISABLE"


class ToolUnavailableError(ToolError):
    """The runner is not started, or was closed before the call began."""

    reason = "RUNNER_UNAVAILABLE"
    retryable = True


class ToolRunner(Protocol):
    """Runs tool calls. All methods belong to one event loop."""

    @property
    def capacity(self) -> int:
        """How many calls run at the same time; more calls wait for their turn."""
        ...

    async def start(self) -> None:
        """Get ready to run calls. Raises ToolUnavailableError, with the cause, when that is impossible."""
        ...

    async def run(self, call: ToolCall) -> ToolResult:
        """Run one call to its end. Raises a ToolError.

        Cancelling the awaiting task ends the call and frees its slot at once.
        """
        ...

    async def aclose(self) -> None:
        """End all calls and release everything; may be called twice."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...
