"""What `llmsched up` says about the policy and the history of a cluster that is ready."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.scheduler.core.model import PolicySettings
from services.scheduler.settings import SchedulerSettings
from services.up.ready import describe_history, look, why_not_asked
from tests.support.live import live_cluster


@pytest.fixture
def history(tmp_path: Path) -> str:
    path = tmp_path / "history.jsonl"
    stage = {"id": "work", "name": "work", "kind": "tool", "parents": [], "tasks": [{"seconds": 1.0}]}
    path.write_text(
        "".join(json.dumps({"app": app, "stages": [stage]}) + "\n" for app in ("sorting", "merging", "sorting"))
    )
    return str(path)


ASKED = SchedulerSettings(policy="plas")


def test_nothing_is_to_be_said_of_the_policy_that_was_asked_for() -> None:
    assert why_not_asked(None, ASKED) == ""
    assert why_not_asked(ASKED.default_policy, ASKED) == ""


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (PolicySettings(name="random"), "random was set last by `llmsched policy set` and stays in force"),
        (PolicySettings(name="plas", ageing_seconds=5.0), "plas has the settings that it was last given"),
        (PolicySettings(name="srtf"), "srtf, cannot be used: policy 'srtf' needs a history"),
        (PolicySettings(name="from-the-future"), "from-the-future, cannot be used: no policy 'from-the-future'"),
    ],
)
def test_why_another_policy_is_in_force(stored: PolicySettings, told: str) -> None:
    assert told in why_not_asked(stored, ASKED)


def test_what_a_history_knows(history: str) -> None:
    assert describe_history(SchedulerSettings()) == ""
    assert describe_history(SchedulerSettings(history=(history,))) == "3 jobs of 2 applications: merging, sorting"


async def test_a_cluster_that_is_started_again_says_what_became_of_its_policy(history: str, tmp_path: Path) -> None:
    asked = {"policy": "ps-tcs", "application_order": "late"}
    settings = SchedulerSettings.model_validate(asked)
    async with live_cluster(tmp_path, settings={**asked, "history": history}) as cluster, cluster.client() as client:
        found = await look(client, settings, cluster.stack.redis_url)
        assert found.policy == "ps-tcs, order late, ageing 5m00s"
        assert found.notes == ("the order names applications that are not registered (yet): late",)
        await client.set_policy("srtf")
    async with live_cluster(tmp_path, settings=asked) as cluster, cluster.client() as client:
        found = await look(client, settings, cluster.stack.redis_url)
        assert found.policy == "ps-tcs, order late, ageing 5m00s"
        assert found.notes[0].startswith(
            "the policy that was set last, srtf, cannot be used: policy 'srtf' needs a history"
        )
