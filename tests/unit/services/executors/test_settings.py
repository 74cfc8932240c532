"""Settings of executors: what is read, and that everything wrong is said at once."""

from __future__ import annotations

import pytest

from services.common.settings import load_settings
from services.executors.settings import ExecutorSettings


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> ExecutorSettings:
    for name, value in variables.items():
        monkeypatch.setenv(f"LLMSCHED_{name}", value)
    return load_settings(ExecutorSettings)


def test_everything_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)

    assert settings.id
    assert settings.schedulers == ("127.0.0.1:7412",)
    assert settings.slots is None


def test_lists_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        SCHEDULERS="a:1, b.example:2",
        EXECUTOR_TOOLS="x.y,z.w,",
        EXECUTOR_LABELS="zone=eu, gpu = H100,rest=a=b",
    )

    assert settings.schedulers == ("a:1", "b.example:2")
    assert settings.tools == ("x.y", "z.w")
    assert settings.labels == {"zone": "eu", "gpu": "H100", "rest": "a=b"}


def test_every_mistake_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "SCHEDULERS": "somewhere",
        "LOG_LEVEL": "loud",
        "EXECUTOR_ID": "",
        "EXECUTOR_SLOTS": "0",
        "EXECUTOR_LABELS": "zone",
        "EXECUTOR_DRAIN_SECONDS": "-1",
        "EXECUTOR_ENGINE": "steam",
        "EXECUTOR_ENGINE_URL": "localhost:30000",
        "EXECUTOR_API_KEY_ENV": "NO_SUCH_KEY",
        "EXECUTOR_LAUNCH": "launch 'me",
        "EXECUTOR_START_TIMEOUT": "soon",
    }
    with pytest.raises(SystemExit) as caught:
        load(monkeypatch, **wrong)

    told = str(caught.value)
    assert [name for name in wrong if f"LLMSCHED_{name}:" not in told] == []


@pytest.mark.parametrize("command", ["", "  "])
def test_a_command_of_nothing(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    with pytest.raises(SystemExit, match=r"LLMSCHED_EXECUTOR_LAUNCH: .*empty"):
        load(monkeypatch, EXECUTOR_LAUNCH=command)


def test_a_key_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")

    assert load(monkeypatch, EXECUTOR_API_KEY_ENV="MY_KEY").api_key_env == "MY_KEY"
