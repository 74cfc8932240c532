from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from services.scheduler.core import PolicySettings, SchedulerMachine, effects, events
from services.scheduler.core.model import (
    AttemptRef,
    Failure,
    JobState,
    Measurement,
    StageState,
    TaskSpec,
    TaskState,
)
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.event_log import EventLog, read_log, replay
from tests.support import scheduling as make

REF = AttemptRef(job_id="job", stage_id="a", task_index=1, attempt=2)
BASE: dict[str, Any] = {"at": 1.1, "cause": "test"}
EVENTS: list[events.Event] = [
    events.JobAdmitted(job=make.job("job", make.llm("a"), make.tool("b", "a")), **BASE),
    events.JobCancelRequested(job_id="job", reason="später", **BASE),
    events.StageAdded(job_id="job", stage=make.llm("a"), task=TaskSpec(prompt_tokens=3), **BASE),
    events.JobClosed(job_id="job", failure=make.BROKEN, if_idle=True, **BASE),
    make.unfolded("job", "a", tasks=[TaskSpec(prompt_tokens=3, counted=True)], stages=[make.dynamic("x")], again=True),
    make.unfold_failed("job", "a", failure=Failure(reason="R", message="m", metadata={"k": "v"})),
    make.counted("job", "a", 1, None),
    make.attached("llm-0", "llm", "llm:m", running=[REF]),
    make.detached("llm-0"),
    make.lost("llm-0"),
    make.draining("llm-0"),
    make.health("llm-0", False),
    events.AttemptSucceeded(attempt=REF, measurement=Measurement(total_seconds=0.1 + 0.2), **BASE),
    make.failed(REF, make.FLAKY),
    make.aborted(REF),
    make.attempt_lost(REF),
    make.timer(2.5),
    make.policy_changed(name="ps-tcs", application_order=("b", "a"), ageing_seconds=0.5),
    make.profile_changed(make.jobs_of("app", 3)),
    make.calibrated("llm-0", 0.01, 0.02),
]
EFFECTS: list[effects.Effect] = [
    effects.JobChanged(cause="c", job_id="job", state=JobState.FAILED, failure=make.BROKEN),
    effects.StageChanged(cause="c", job_id="job", stage_id="a", state=StageState.READY),
    effects.TaskChanged(cause="c", job_id="job", stage_id="a", task_index=0, attempt=1, state=TaskState.BACKOFF),
    effects.StoreResult(cause="c", attempt=REF),
    effects.Unfold(cause="c", job_id="job", stage_id="a", unfolding=1, failure=make.FLAKY),
    effects.Dispatch(
        cause="c",
        attempt=REF,
        executor_id="llm-0",
        priority=-3,
        timeout_seconds=1 / 3,
        number=3,
        policy="fair",
        key=(1, 1.0, math.inf, -math.inf, "text", (2, ("nested", 0.1))),
        rule="ageing",
        waited_seconds=1e-9,
        waiting_stages=4,
    ),
    effects.CancelAttempt(cause="c", attempt=REF, executor_id="llm-0"),
]


def write(path: Path, *batches: tuple[list[events.Event], list[effects.Effect]], policy: PolicySettings) -> None:
    log = EventLog(str(path))
    log.begin(5, policy, decisions=17, knowledge=make.KNOWLEDGE)
    for batch in batches:
        log.handled(*batch, seconds=0.0)
    log.handled([], [], seconds=0.0, dispatch=False)
    log.close()


def kinds(base: type) -> set[str]:
    """Names, as a dataclass with slots leaves a twin of its class behind."""
    return {kind.__name__ for kind in base.__subclasses__()}


def test_the_examples_are_of_every_kind() -> None:
    assert {type(event).__name__ for event in EVENTS} == kinds(events.Event)
    assert {type(effect).__name__ for effect in EFFECTS} == kinds(effects.Effect)


def test_everything_reads_back_as_it_was_written(tmp_path: Path) -> None:
    policy = PolicySettings(name="ps-tcs", application_order=("a",), ageing_seconds=math.pi, seed=3)
    write(tmp_path / "log", (EVENTS, EFFECTS), policy=policy)
    (term,) = read_log(tmp_path / "log")
    assert (term.epoch, term.policy) == (5, policy)
    assert (term.decisions, term.knowledge.statistics) == (17, make.KNOWLEDGE.statistics)
    assert term.knowledge.beliefs.profiles == make.KNOWLEDGE.beliefs.profiles
    record, last = term.records
    assert record.events == tuple(EVENTS)
    assert record.effects == tuple(EFFECTS)
    assert (record.dispatch, last.dispatch) == (True, False)
    # An integer is not a float, however equal.
    dispatch = record.effects[5]
    assert isinstance(dispatch, effects.Dispatch)
    assert [type(part) for part in dispatch.key[:2]] == [int, float]


@pytest.fixture
def log_of_a_run(tmp_path: Path) -> Path:
    """Two terms of a machine that ran a job."""
    path = tmp_path / "log"
    log = EventLog(str(path))
    for epoch in (1, 2):
        machine = SchedulerMachine(PolicySettings())
        log.begin(epoch, PolicySettings())
        job = make.job("job", make.llm("a", backoff_seconds=0.1))
        for batch in (
            [make.attached("llm-0"), make.admitted(job)],
            [make.unfolded("job", "a", tasks=1)],
            [make.failed(make.ref("job", "a"), make.FLAKY, at=1.0)],
            [make.timer(2.0)],
            [make.succeeded(make.ref("job", "a", 0, 2), at=3.0)],
        ):
            log.handled(batch, machine.handle_batch(batch), 0.0)
    log.close()
    return path


def test_a_log_replays_term_by_term(log_of_a_run: Path) -> None:
    assert [term.epoch for term in read_log(log_of_a_run)] == [1, 2]
    assert replay(log_of_a_run) is None


def test_a_log_replays_with_what_its_policies_knew_and_the_numbers_of_its_decisions(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = EventLog(str(path))
    knowledge = Knowledge(statistics=make.KNOWLEDGE.statistics)
    machine = SchedulerMachine(PolicySettings(name="srtf"), knowledge=knowledge, decisions=40)
    log.begin(1, PolicySettings(name="srtf"), decisions=40, knowledge=knowledge)
    for batch, dispatch in (
        ([make.attached("llm-0"), make.admitted(make.job("job", make.llm("a")))], True),
        ([make.unfolded("job", "a", tasks=1)], False),
        ([make.policy_changed(name="sjf")], True),
    ):
        log.handled(batch, machine.handle_batch(batch, dispatch=dispatch), 0.0, dispatch=dispatch)
    log.close()
    assert machine.decisions == 41
    assert replay(path) is None


def test_a_log_from_before_statistics_and_decisions_replays(log_of_a_run: Path) -> None:
    text = log_of_a_run.read_text()
    older = text.replace(',"decisions":0,"statistics":null', "")
    assert older != text
    log_of_a_run.write_text(older)
    assert replay(log_of_a_run) is None


def test_a_decision_that_differs_is_found(log_of_a_run: Path) -> None:
    lines = log_of_a_run.read_text().splitlines()
    batch = json.loads(lines[2])
    (dispatch,) = [effect for effect in batch["effects"] if effect["@"] == "Dispatch"]
    dispatch["executor_id"] = "llm-1"
    lines[2] = json.dumps(batch)
    log_of_a_run.write_text("\n".join(lines) + "\n")
    divergence = replay(log_of_a_run)
    assert divergence is not None
    assert divergence.record == 1
    assert isinstance(divergence.actual, effects.Dispatch)
    assert divergence.actual.executor_id == "llm-0"


def test_a_line_that_a_crash_has_cut_off_is_left_out(log_of_a_run: Path) -> None:
    whole = list(read_log(log_of_a_run))
    log_of_a_run.write_text(log_of_a_run.read_text()[:-20])
    cut = list(read_log(log_of_a_run))
    assert cut[0] == whole[0]
    assert cut[1].records == whole[1].records[:-1]
    assert replay(log_of_a_run) is None
