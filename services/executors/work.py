"""What an executor does, seen from the agent that talks to the scheduler: a `Worker` runs attempts, one slot each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2


class ExecutorError(Exception):
    """The executor cannot work as it is set up; the message says what to change."""


class AttemptError(Exception):
    """An attempt failed; the reason goes to the job's owner."""

    def __init__(self, reason: str, message: str, *, retryable: bool, suspect: bool = False) -> None:
        """`suspect`: the fault may be the worker's, which gets nothing new until it has been looked at."""
        super().__init__(message)
        self.failure = task_pb2.Failure(reason=reason, message=message, retryable=retryable)
        self.suspect = suspect


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a worker can do; becomes the executor's registration."""

    kind: executor_pb2.Register.Kind
    slots: int  #: attempts at a time
    models: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    counts_tokens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a worker is."""

    healthy: bool  #: an attempt that came now could run
    load: executor_pb2.EngineLoad | None = None  #: what the engine reports, if there is one


#: Called with the text that was added and the number of output tokens so far.
OnText = Callable[[str, int], None]


class Worker(Protocol):
    """Runs attempts. All methods belong to one event loop."""

    async def start(self) -> Offer:
        """Gets ready and says what it can do; waits for an engine that is still loading. Raises ExecutorError."""
        ...

    async def run(
        self, payload: task_pb2.TaskPayload, *, rid: str, priority: int, traceparent: str, on_text: OnText | None
    ) -> task_pb2.TaskResult:
        """Runs one attempt to its end. Raises AttemptError. Cancelling frees the slot before it goes on."""
        ...

    def steps(self) -> executor_pb2.EngineSteps | None:
        """What was seen of an engine's speed since the last call; None: nothing."""
        ...

    async def condition(self) -> Condition:
        """How it is now; may take as long as the engine takes to answer."""
        ...

    async def count_tokens(self, calls: Sequence[task_pb2.LlmCall]) -> list[int]:
        """Prompt lengths; negative where unknown."""
        ...

    async def aclose(self) -> None: ...
