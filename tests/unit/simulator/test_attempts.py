"""Attempts that last as long as it was said when they began."""

from __future__ import annotations

import math

from services.scheduler.core.events import AttemptFailed, AttemptSucceeded
from services.scheduler.core.model import Measurement
from simulator.attempts import FixedTimes, Service
from tests.support.scheduling import FLAKY, ref
from tests.unit.simulator.test_cluster import dispatch

SHOWN = Measurement(output_tokens=5, total_seconds=1.0)


class Script:
    def __init__(self, **services: Service) -> None:
        self.services = services

    def serve(self, dispatch, at):
        return self.services[dispatch.attempt.stage_id]


def started(at: float = 0.0, **services: Service) -> FixedTimes:
    attempts = FixedTimes(Script(**services))
    for name in services:
        attempts.start(dispatch(name), at)
    return attempts


def test_attempts_end_when_their_time_has_come():
    attempts = started(2.0, slow=Service(3.0, SHOWN), fast=Service(1.0, FLAKY))
    assert attempts.next_end() == 3.0
    assert attempts.ended(2.5) == []
    assert attempts.ended(3.0) == [AttemptFailed(at=3.0, cause="dispatch 1", attempt=ref("j", "fast"), failure=FLAKY)]
    assert attempts.ended(5.0) == [
        AttemptSucceeded(at=5.0, cause="dispatch 1", attempt=ref("j", "slow"), measurement=SHOWN)
    ]
    assert attempts.next_end() == math.inf


def test_attempts_within_an_instant_end_together():
    attempts = started(first=Service(1.0, SHOWN), second=Service(1.0 + 5e-10, SHOWN), third=Service(1.0 + 2e-9, SHOWN))
    assert [(one.at, one.attempt.stage_id) for one in attempts.ended(1.0)] == [(1.0, "first"), (1.0, "second")]


def test_a_stopped_attempt_never_ends():
    attempts = started(a=Service(1.0, SHOWN), b=Service(2.0, SHOWN))
    attempts.stop(ref("j", "a"), 0.5)
    assert attempts.next_end() == 2.0
    assert [one.attempt.stage_id for one in attempts.ended(2.0)] == ["b"]
