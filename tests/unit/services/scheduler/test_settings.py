from __future__ import annotations

from pathlib import Path

import pytest

from services.common.settings import load_settings
from services.profiler.core.statistics import WorkModel
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import POLICIES
from services.scheduler.knowledge import settable
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
        ("POLICY", "srtf", "needs a history"),
        ("POLICY", "clairvoyant-srpt", "only a simulation"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"LLMSCHED_SCHEDULER_{name}", value)
    with pytest.raises(SystemExit, match=told):
        load_settings(SchedulerSettings)


GOOD = '{"app": "a", "stages": [{"id": "s", "name": "s", "kind": "tool", "parents": [], "tasks": [{"seconds": 2}]}]}'


def test_a_history_is_read_from_all_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_text(f"{GOOD}\n{GOOD}\n")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_HISTORY", f"{tmp_path / 'x'}, {tmp_path / 'y'}")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_POLICY", "srtf")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_DECODE_SECONDS", "0.5")
    statistics = load_settings(SchedulerSettings).knowledge.statistics
    assert statistics is not None
    assert statistics.of("a").totals == (2.0, 2.0, 2.0, 2.0)
    assert statistics.work == WorkModel(decode=0.5)


def test_a_history_that_cannot_be_used_is_refused_with_every_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_text(f"{GOOD}\n{GOOD.replace('tool', 'spoon')}\n{GOOD.replace('2', '-2')}\n")
    (tmp_path / "empty").write_text("\n")
    names = ("bad", "empty", "missing")
    monkeypatch.setenv("LLMSCHED_SCHEDULER_HISTORY", ",".join(str(tmp_path / name) for name in names))
    monkeypatch.setenv("LLMSCHED_SCHEDULER_LEASE_SECONDS", "2")
    with pytest.raises(SystemExit) as ended:
        load_settings(SchedulerSettings)
    told = str(ended.value).splitlines()[1:]
    places = ["bad:2: stages[0].kind", "bad:3: stages[0].tasks[0].seconds", "empty: no jobs", "missing: No such file"]
    for place in places:
        assert any(line.startswith(f"  {tmp_path}/{place}") for line in told), place
    assert "three times" in told[-1]


def test_policies_that_need_to_know_more_cannot_be_set(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(GOOD)
    simple = set(settable(SchedulerSettings().knowledge))
    learned = set(settable(SchedulerSettings(history=(str(tmp_path / "x"),)).knowledge))
    assert {"fcfs", "random", "plas", "argus"} <= simple
    assert learned - simple == {"sjf", "srtf", "hermes", "carbyne"}
    assert set(POLICIES) - learned == {"clairvoyant-srpt"}


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
