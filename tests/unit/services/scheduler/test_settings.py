from __future__ import annotations

import pytest

from services.common.settings import load_settings
from services.scheduler.core.model import PolicySettings
from services.scheduler.settings import SchedulerSettings


def test_the_defaults_make_a_scheduler_of_one_machine() -> None:
    settings = SchedulerSettings()
    assert settings.listen == "127.0.0.1:7412"
    assert settings.planners == ("127.0.0.1:7411",)
    assert settings.default_policy == PolicySettings(name="fcfs", ageing_seconds=300.0)


def test_everything_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSCHED_SCHEDULER_PLANNERS", "a:1, b:2")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_POLICY", "ps-tcs")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_APPLICATION_ORDER", "x,y")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_AGEING_SECONDS", "0")
    monkeypatch.setenv("LLMSCHED_REDIS_URL", "redis://other:1/2")
    monkeypatch.setenv("LLMSCHED_SHARD", "7")
    settings = load_settings(SchedulerSettings)
    assert settings.planners == ("a:1", "b:2")
    assert settings.default_policy == PolicySettings(name="ps-tcs", application_order=("x", "y"))
    assert (settings.redis_url, settings.shard) == ("redis://other:1/2", "7")


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSCHED_SCHEDULER_LISTEN", "nowhere")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_PLANNERS", "")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_LEASE_SECONDS", "-1")
    with pytest.raises(SystemExit) as ended:
        load_settings(SchedulerSettings)
    for name in ("LISTEN", "PLANNERS", "LEASE_SECONDS"):
        assert f"LLMSCHED_SCHEDULER_{name}" in str(ended.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LEASE_SECONDS", "2", "three times"),
        ("LEADER_RENEW_SECONDS", "1.5", "twice"),
        ("POLICY", "nonsense", "no policy 'nonsense'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"LLMSCHED_SCHEDULER_{name}", value)
    with pytest.raises(SystemExit, match=told):
        load_settings(SchedulerSettings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("rediss://user:secret@host:1/0", "rediss://user:***@host:1/0"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert SchedulerSettings(redis_url=url).without_secrets()["redis_url"] == shown
