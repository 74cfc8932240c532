"""Payloads of tasks that were unfolded and not dispatched yet: what is in the store anyway, kept to save reading it."""

from __future__ import annotations

from collections import OrderedDict

from services.state.records import TaskKey


class PayloadCache:
    def __init__(self, *, limit_bytes: int) -> None:
        """Beyond the limit the payloads of the jobs that were added first are dropped."""
        self._limit = limit_bytes
        self._jobs: OrderedDict[str, dict[TaskKey, bytes]] = OrderedDict()
        self.size_bytes = 0

    def put(self, job_id: str, payloads: dict[TaskKey, bytes]) -> None:
        kept = self._jobs.setdefault(job_id, {})
        self._jobs.move_to_end(job_id)
        self.size_bytes += sum(len(payload) - len(kept.get(task, b"")) for task, payload in payloads.items())
        kept.update(payloads)
        while self.size_bytes > self._limit and self._jobs:
            self.drop(next(iter(self._jobs)))

    def take(self, job_id: str, task: TaskKey) -> bytes | None:
        """The payload, which is forgotten: a task seldom runs twice."""
        payload = self._jobs.get(job_id, {}).pop(task, None)
        self.size_bytes -= len(payload or b"")
        return payload

    def drop(self, job_id: str) -> None:
        self.size_bytes -= sum(map(len, self._jobs.pop(job_id, {}).values()))
