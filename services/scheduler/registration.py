"""What an executor says of itself when it attaches, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from llmsched.api.executor.v1 import executor_pb2
from services.common.errors import Violation
from services.scheduler.convert import ref_to_core
from services.scheduler.core.model import AttemptRef
from services.scheduler.refusals import Reason, invalid

_KINDS = {executor_pb2.Register.KIND_LLM: "llm", executor_pb2.Register.KIND_TOOL: "tool"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registration without faults."""

    executor_id: str
    incarnation: str
    kind: str  #: "llm" or "tool"
    slots: int
    offers: frozenset[str]  #: requirements of stages that it can meet
    labels: dict[str, str]
    running: tuple[AttemptRef, ...]  #: attempts it still holds: running, or ended and not acknowledged
    counts_tokens: bool

    @property
    def models(self) -> list[str]:
        """Names of the models that an LLM executor serves."""
        return sorted(offer.removeprefix("llm:") for offer in self.offers if offer.startswith("llm:"))


def registration_to_core(register: executor_pb2.Register) -> Registration:
    """Raises DomainError INVALID_ARGUMENT/INVALID_REGISTRATION with every violation."""
    if violations := _violations(register):
        raise invalid(Reason.INVALID_REGISTRATION, *violations)
    return Registration(
        executor_id=register.executor_id,
        incarnation=register.incarnation,
        kind=_KINDS[register.kind],
        slots=register.slots,
        offers=_offers(register),
        labels=dict(register.labels),
        running=tuple(ref_to_core(ref) for ref in register.running),
        counts_tokens=register.counts_tokens,
    )


def _offers(register: executor_pb2.Register) -> frozenset[str]:
    if register.kind == executor_pb2.Register.KIND_LLM:
        return frozenset({"llm", *(f"llm:{model}" for model in register.models)})
    return frozenset(f"tool:{tool}" for tool in register.tools)


def _violations(register: executor_pb2.Register) -> list[Violation]:
    found = []
    if not register.executor_id:
        found.append(Violation("register.executor_id", "is required"))
    if not register.incarnation:
        found.append(Violation("register.incarnation", "is required: new for each start of the process"))
    if register.kind not in _KINDS:
        found.append(Violation("register.kind", "must be KIND_LLM or KIND_TOOL"))
    if register.slots < 1:
        found.append(Violation("register.slots", f"must be at least 1, not {register.slots}"))
    if register.kind == executor_pb2.Register.KIND_LLM and register.tools:
        found.append(Violation("register.tools", "must be empty for KIND_LLM"))
    if register.kind == executor_pb2.Register.KIND_TOOL:
        if register.models:
            found.append(Violation("register.models", "must be empty for KIND_TOOL"))
        if not register.tools:
            found.append(Violation("register.tools", "must name at least one tool"))
    for name in ("models", "tools"):
        if not all(getattr(register, name)):
            found.append(Violation(f"register.{name}", "must not have empty names"))
    return found
