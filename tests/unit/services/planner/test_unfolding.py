from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import services.planner.unfolding
from llmsched.api.planner.v1 import planner_pb2
from services.common.clock import ManualClock
from services.common.telemetry import Telemetry
from services.planner.core.model import Limits
from services.planner.instruments import Instruments
from services.planner.unfolding import Unfolder
from services.state.memory import MemoryState
from services.state.records import ApplicationRecord, JobOutputs
from tests.support.planner import TWO_STEPS, spec
from tests.support.state import make_record, submit

Item = planner_pb2.UnfoldStageRequest.Item


class CountingState(MemoryState):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    async def get_outputs(self, job_id: str) -> JobOutputs | None:
        self.reads["outputs"] += 1
        return await super().get_outputs(job_id)

    async def get_application(self, *args: Any, **more: Any) -> ApplicationRecord | None:
        self.reads["applications"] += 1
        return await super().get_application(*args, **more)


async def bench(*jobs: str, yaml: str = TWO_STEPS, n: int = 1) -> tuple[CountingState, Unfolder]:
    """Jobs of one application, and who unfolds them."""
    state = CountingState()
    content = spec(yaml).SerializeToString()
    await state.put_application(
        ApplicationRecord(application="two-steps", version=1, spec=content, etag="e", created_at=0.0)
    )
    for job_id in jobs:
        await submit(state, make_record(job_id, application="two-steps"), input=b'{"n": %d}' % n)
    instruments = Instruments(Telemetry("planner"), ManualClock())
    return state, Unfolder(state, catalogue={}, limits=Limits(), instruments=instruments)


def ask(*items: tuple[str, str]) -> planner_pb2.UnfoldStageRequest:
    return planner_pb2.UnfoldStageRequest(
        items=[Item(job_id=job_id, stage_id=stage_id, unfolding=1) for job_id, stage_id in items]
    )


async def test_answers_come_in_the_order_of_the_questions_and_each_job_is_read_once() -> None:
    state, unfolder = await bench("j1", "j2")
    asked = [("j2", "first"), ("j1", "first"), ("j2", "first")]
    answer = await unfolder.unfold(ask(*asked))
    assert [(item.job_id, item.stage_id) for item in answer.items] == asked
    assert all(item.tasks[0].payload.tool.tool == "test.any" for item in answer.items)
    assert state.reads == {"outputs": 2, "applications": 1}


async def test_the_same_question_has_the_same_answer() -> None:
    _, unfolder = await bench("j")
    first = await unfolder.unfold(ask(("j", "first")))
    assert await unfolder.unfold(ask(("j", "first"))) == first


async def test_a_job_or_a_version_that_is_not_stored_fails_its_own_stages_only() -> None:
    state, unfolder = await bench("j")
    await submit(state, make_record("other", application="two-steps", version=9))
    answer = await unfolder.unfold(ask(("gone", "first"), ("other", "first"), ("j", "first")))
    reasons = [item.failure.reason for item in answer.items]
    assert reasons == ["JOB_NOT_FOUND", "APPLICATION_NOT_FOUND", ""]
    assert answer.items[2].tasks


async def test_a_bug_of_ours_costs_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    _, unfolder = await bench("j")
    real = services.planner.unfolding.unfold

    def buggy(app: Any, job_input: Any, outputs: Any, item: Any, **more: Any) -> Any:
        if item.stage_id == "second":
            raise ZeroDivisionError("oops")
        return real(app, job_input, outputs, item, **more)

    monkeypatch.setattr(services.planner.unfolding, "unfold", buggy)
    second, first = (await unfolder.unfold(ask(("j", "second"), ("j", "first")))).items
    assert (second.failure.reason, second.failure.message) == (
        "UNFOLD_FAILED",
        "the planner failed: ZeroDivisionError: oops",
    )
    assert first.tasks


async def test_what_the_wire_cannot_carry_is_the_applications_fault_and_not_ours() -> None:
    _, unfolder = await bench("j", yaml=TWO_STEPS.replace("{{ input.n }}", "{{ input.n * 1000000000000000 }}"), n=1000)
    (item,) = (await unfolder.unfold(ask(("j", "first")))).items
    assert item.failure.reason == "TEMPLATE_ERROR"
    assert "first" in item.failure.message
    assert "beyond" in item.failure.message
