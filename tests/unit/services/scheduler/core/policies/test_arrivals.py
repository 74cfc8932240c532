"""Policies that go by arrival, by what runs, or by the name of the application."""

from __future__ import annotations

from services.scheduler.core.policies.ps_tcs import STRUCTURES
from tests.unit.services.scheduler.core.policies.candidates import ranked, ready


def test_fcfs_goes_by_arrival_then_intake_then_position():
    candidates = [
        ready("d", arrival=2.0),
        ready("c", arrival=1.0, order=2),
        ready("b", arrival=1.0, order=1, position=9),
        ready("a", arrival=1.0, order=1, position=8),
    ]
    assert ranked(candidates, name="fcfs") == ["a", "b", "c", "d"]


def test_request_fcfs_goes_by_the_time_the_stage_became_ready():
    candidates = [
        ready("c", arrival=0.0, ready_at=9.0),
        ready("b", arrival=2.0, ready_at=3.0),
        ready("a", arrival=1.0, ready_at=3.0, order=5),
    ]
    assert ranked(candidates, name="request-fcfs") == ["a", "b", "c"]


def test_fair_goes_by_the_number_of_running_tasks():
    candidates = [
        ready("c", running_tasks=2, arrival=0.0),
        ready("b", running_tasks=0, arrival=9.0),
        ready("a", running_tasks=0, arrival=8.0),
    ]
    assert ranked(candidates, name="fair") == ["a", "b", "c"]


def test_ps_tcs_goes_by_the_configured_order_then_by_arrival():
    candidates = [
        ready("d", application="unlisted", structure="generated", arrival=0.0),
        ready("c", application="sorting", structure="generated", arrival=0.0),
        ready("b", application="task-automation", arrival=2.0),
        ready("a", application="task-automation", arrival=1.0),
    ]
    settings = {"name": "ps-tcs", "application_order": ("task-automation", "code-generation", "sorting")}
    assert ranked(candidates, **settings) == ["a", "b", "c", "d"]


def test_ps_tcs_goes_by_structure_when_nothing_is_configured():
    candidates = [ready("unheard-of", structure="?")]
    candidates += [ready(structure, structure=structure, arrival=9.0) for structure in reversed(STRUCTURES)]
    candidates += [ready("generated, earlier", structure="generated", arrival=1.0)]
    assert ranked(candidates, name="ps-tcs") == ["generated, earlier", *STRUCTURES, "unheard-of"]
