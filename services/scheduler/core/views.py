"""What the machine shows of itself: values for operators, metrics and the driver. Nothing here is kept up to date."""

from __future__ import annotations

from dataclasses import dataclass

from services.scheduler.core.model import AttemptRef
from services.scheduler.core.policies.base import JobView, Key, StageView


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """A stage with tasks that wait for a slot."""

    job: JobView  #: the machine's own: read it at once, do not keep it
    stage: StageView
    requirement: str
    waiting_tasks: int
    key: Key  #: the policy's, as of now
    rule: str  #: "policy" or "ageing": why it stands where it stands


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorView:
    """An executor as the machine sees it."""

    executor_id: str
    incarnation: str | None  #: None: a recovered job has attempts there, but it has not attached to this machine yet
    kind: str  #: "llm" or "tool"; "" before it attached
    slots: int
    offers: frozenset[str]
    attached: bool
    healthy: bool
    draining: bool
    running: tuple[AttemptRef, ...]  #: attempts that hold a slot, those being cancelled included; oldest first

    @property
    def free_slots(self) -> int:
        """Slots that new work could take now."""
        usable = self.attached and self.healthy and not self.draining
        return max(0, self.slots - len(self.running)) if usable else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Totals for gauges and admission control."""

    active_jobs: int
    waiting_stages: int  #: stages with tasks that wait for a slot
    waiting_tasks: int
    running_attempts: int  #: attempts that hold a slot, on whatever executor
    executors: int  #: attached ones
    slots: int  #: of attached executors
    free_slots: int
