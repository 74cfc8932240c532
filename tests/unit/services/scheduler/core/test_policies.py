"""What each policy prefers, and how policies are named."""

from __future__ import annotations

import pytest

from services.scheduler.core import POLICIES, PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.model import StageKind
from services.scheduler.core.policies.base import JobView, StageView, order
from services.scheduler.core.policies.ps_tcs import STRUCTURES


def ready(job_id: str, **more: object) -> tuple[JobView, StageView]:
    of_stage = {name: more.pop(name) for name in ("position", "ready_at") if name in more}
    job = {"application": "app", "structure": "static", "arrival": 0.0, "order": 0, **more}
    stage = {"position": 0, "ready_at": 0.0, "width": 1, "prompt_tokens": 0, **of_stage}
    return (
        JobView(job_id=job_id, **job),
        StageView(stage_id="s", name="s", occurrence=0, kind=StageKind.LLM, **stage),
    )


def ranked(candidates, **settings: object) -> list[str]:
    return [job.job_id for job, _ in order(make_policy(PolicySettings(**settings)), candidates)]


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


def test_every_policy_goes_by_its_own_name_and_says_whether_it_starves():
    for name in POLICIES:
        policy = make_policy(PolicySettings(name=name))
        assert policy.name == name
        assert "Starvation:" in (type(policy).__doc__ or "")
        assert "Source:" in (type(policy).__doc__ or "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "magic"}, "no policy 'magic'; there are: fair, fcfs, ps-tcs, request-fcfs"),
        ({"name": "fcfs", "application_order": ("a",)}, "'fcfs' takes no application_order; it is for: ps-tcs"),
        ({"name": "ps-tcs", "application_order": ("a", "b", "a")}, "names an application twice"),
        ({"ageing_seconds": -1.0}, "not -1.0"),
        ({"ageing_seconds": float("nan")}, "not nan"),
        ({"ageing_seconds": float("inf")}, "not inf"),
    ],
)
def test_settings_that_name_no_policy_are_refused_with_the_reason(settings, words):
    with pytest.raises(UnknownPolicy, match=words):
        make_policy(PolicySettings(**settings))
