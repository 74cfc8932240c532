"""One tool call, performed in the current thread: the part that all runners share.

A failure of the tool is never raised here, it is data: an `Outcome` that a worker process can write to its
channel and that `Outcome.unwrap` turns into a `ToolResult` or a `ToolError` on the other side.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic_core import to_jsonable_python

from llmsched.tools import InvalidArgumentsError, RetryableError, ToolRegistry, ToolSpec, UnknownToolError
from services.executors.tool import runner

#: Characters of standard output and error that a result keeps.
TAIL_CHARACTERS = 4096
#: Characters of an error message that are kept.
MESSAGE_CHARACTERS = 2048
#: Failures that are known to pass by themselves; all others would only be repeated.
_TRANSIENT = (RetryableError, ConnectionError, TimeoutError)
_ERRORS: dict[str, type[runner.ToolError]] = {c.reason: c for c in runner.ToolError.__subclasses__()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended. Either `reason` is empty and `value_json` holds the result, or the other way round."""

    seconds: float
    value_json: bytes = b""
    reason: str = ""
    message: str = ""
    retryable: bool = False
    stdout: str = ""
    stderr: str = ""

    def encode(self) -> bytes:
        """As bytes for a channel: one line of JSON, then the value."""
        head = asdict(self)
        del head["value_json"]
        return json.dumps(head).encode() + b"\n" + self.value_json

    @classmethod
    def decode(cls, data: bytes) -> Outcome:
        head, _, value = data.partition(b"\n")
        return cls(value_json=value, **json.loads(head))

    def with_output(self, stdout: str, stderr: str) -> Outcome:
        """With what the tool printed."""
        return replace(self, stdout=stdout, stderr=stderr)

    def redacted(self, secrets: Mapping[str, str]) -> Outcome:
        """With the values of secret variables blanked out of everything a person may read."""
        texts = {"message": self.message, "stdout": self.stdout, "stderr": self.stderr}
        for name, secret in secrets.items():
            if secret:
                texts = {key: text.replace(secret, f"<{name}>") for key, text in texts.items()}
        return replace(self, **texts)  # type: ignore[arg-type]  # all of them are texts

    def unwrap(self) -> runner.ToolResult:
        """The result. Raises the ToolError that belongs to `reason`."""
        output: dict[str, Any] = {"seconds": self.seconds, "stdout": self.stdout, "stderr": self.stderr}
        if self.reason:
            raise _ERRORS[self.reason](self.message, retryable=self.retryable, **output)
        return runner.ToolResult(value=json.loads(self.value_json), **output)


def check(registry: ToolRegistry, call: runner.ToolCall) -> ToolSpec:
    """The spec of the called tool. Raises ToolUnknownError, or ToolArgumentsError naming every violation."""
    try:
        spec = registry.get(call.tool)
    except UnknownToolError as error:
        raise runner.ToolUnknownError(str(error)) from None
    if violations := spec.validate_args(call.args):
        raise runner.ToolArgumentsError(f"{call.tool}: {InvalidArgumentsError(violations)}")
    return spec


def time_limit(spec: ToolSpec, call: runner.ToolCall) -> float:
    """Seconds the call may take."""
    return spec.limits.timeout if call.timeout is None else min(call.timeout, spec.limits.timeout)


def perform(spec: ToolSpec, args: Any) -> Outcome:
    """Call the tool in this thread and describe what came of it. Never raises."""
    started = time.perf_counter()
    try:
        value = spec.call(args)
        seconds = time.perf_counter() - started
        return Outcome(seconds=seconds, value_json=_to_json(spec, value))
    except BaseException as error:
        # BaseException: a tool that calls sys.exit must not end the process that serves others.
        seconds = time.perf_counter() - started
        kind, message, retryable = _fault(spec, error)
        text = message[:MESSAGE_CHARACTERS]
        return Outcome(seconds=seconds, reason=kind.reason, message=text, retryable=retryable)


@contextlib.contextmanager
def printed() -> Iterator[tuple[Tail, Tail]]:
    """Catches what is printed in this process, whichever thread prints: for one call at a time."""
    stdout, stderr = Tail(), Tail()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        yield stdout, stderr


def _fault(spec: ToolSpec, error: BaseException) -> tuple[type[runner.ToolError], str, bool]:
    if isinstance(error, runner.ToolError):
        return type(error), error.message, error.retryable
    if isinstance(error, MemoryError):
        # The traceback keeps the tool's variables alive, and with them the memory that the message needs.
        error.__traceback__ = None
        mebibytes = spec.limits.memory_bytes / 2**20
        return runner.ToolMemoryError, f"{spec.name} needed more than its {mebibytes:g} MiB of memory", False
    if isinstance(error, SystemExit):
        return runner.ToolCrashedError, f"{spec.name} called sys.exit({error.code!r})", False
    return runner.ToolRaisedError, f"{spec.name}: {_explain(error)}", isinstance(error, _TRANSIENT)


def _explain(error: BaseException) -> str:
    """Type, message and the last line of the tool's own code, e.g. `ValueError: no (tools.py:7, in f: g(x))`."""
    summary = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    if len(frames) <= 2:  # perform and ToolSpec.call: the function was never entered
        return summary
    last = frames[-1]
    return f"{summary} ({os.path.basename(last.filename)}:{last.lineno}, in {last.name}: {last.line})"


def _to_json(spec: ToolSpec, value: Any) -> bytes:
    try:
        encoded = json.dumps(value, allow_nan=False, default=to_jsonable_python).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise runner.ToolResultError(f"{spec.name} returned a {type(value).__name__}: {error}") from None
    if len(encoded) > spec.limits.max_output_bytes:
        allowed = spec.limits.max_output_bytes
        raise runner.ToolOutputError(f"{spec.name} returned {len(encoded)} bytes of JSON, allowed are {allowed}")
    return encoded


class Tail(io.TextIOBase):
    """A text stream that remembers only its end, however much a tool prints."""

    def __init__(self) -> None:
        self._text = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self._text = (self._text + text)[-TAIL_CHARACTERS:]
        return len(text)

    def getvalue(self) -> str:
        return self._text
