"""What happened in a run, as JSON lines: arrivals, dispatches, ends of attempts, ends of jobs.

Equal runs give equal files. docs/cli.md lists the fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.scheduler.core.effects import Dispatch, Effect, JobChanged, TaskChanged
from services.scheduler.core.model import AttemptRef, JobState, TaskState

_OUTCOMES = {TaskState.SUCCEEDED: "succeeded", TaskState.CANCELLED: "cancelled"}


class EventLines:
    """Turns the effects of one run into lines."""

    def __init__(self, policy: str, write: Callable[[str], object]) -> None:
        self._policy = policy
        self._write = write
        self._executors: dict[AttemptRef, str] = {}  #: of attempts that run

    def observe(self, at: float, effect: Effect) -> None:
        """Takes an effect and its time in seconds."""
        if isinstance(effect, Dispatch):
            self._dispatch(at, effect)
        elif isinstance(effect, TaskChanged):
            self._attempt_end(at, effect)
        elif isinstance(effect, JobChanged):
            self._job(at, effect)

    def _dispatch(self, at: float, effect: Dispatch) -> None:
        self._executors[effect.attempt] = effect.executor_id
        self._line(
            at,
            "dispatch",
            **asdict(effect.attempt),
            executor_id=effect.executor_id,
            decision=effect.number,
            key=[_plain(part) for part in effect.key],
            rule=effect.rule,
            waited_seconds=effect.waited_seconds,
        )

    def _attempt_end(self, at: float, effect: TaskChanged) -> None:
        attempt = AttemptRef(
            job_id=effect.job_id, stage_id=effect.stage_id, task_index=effect.task_index, attempt=effect.attempt
        )
        # Tasks change their state without an attempt too: when they become ready, and when a backoff ends.
        executor_id = self._executors.pop(attempt, None)
        if executor_id is not None:
            outcome = _OUTCOMES.get(effect.state, "failed")
            self._line(at, "attempt_end", **asdict(attempt), executor_id=executor_id, outcome=outcome)

    def _job(self, at: float, effect: JobChanged) -> None:
        if effect.state is JobState.RUNNING:
            self._line(at, "arrival", job_id=effect.job_id)
        elif effect.state.is_final:
            self._line(at, "job_end", job_id=effect.job_id, outcome=effect.state.lower())

    def _line(self, at: float, event: str, **fields: object) -> None:
        self._write(json.dumps({"at": at, "policy": self._policy, "event": event, **fields}, ensure_ascii=False) + "\n")


@contextmanager
def events_file(path: Path, policy: str) -> Iterator[Callable[[float, Effect], None]]:
    """Gives an observer that writes what it is told to the file."""
    with path.open("w", encoding="utf-8") as file:
        yield EventLines(policy, file.write).observe


def _plain(part: Any) -> Any:
    """Parts of keys as JSON, which has no infinity."""
    return str(part) if isinstance(part, float) and part - part != 0 else part
