"""Where settings come from, and which win."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsched.errors import OptionsError
from llmsched.options import Options


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose home is empty."""
    return {"HOME": str(tmp_path)}


def _write(home: dict[str, str], text: str) -> None:
    file = Path(home["HOME"], ".config", "llmsched", "config.toml")
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_defaults_without_any_source(home: dict[str, str]) -> None:
    assert Options.load(environ=home) == Options()
    assert Options().address == "127.0.0.1:7411"
    assert Options().scheduler == ("127.0.0.1:7412",)
    assert Options().profiler == ("127.0.0.1:7413",)


def test_argument_beats_environment_beats_file(home: dict[str, str]) -> None:
    _write(home, 'address = "file:1"\nscheduler = ["file:2", "file:3"]\ntimeout = 7\n')
    environ = {**home, "LLMSCHED_ADDRESS": "env:1", "LLMSCHED_SCHEDULER": "env:2, env:3"}
    assert Options.load(environ=home).address == "file:1"
    assert Options.load(environ=environ).address == "env:1"
    loaded = Options.load(environ=environ, address="arg:1", scheduler=None)
    assert (loaded.address, loaded.scheduler, loaded.timeout) == ("arg:1", ("env:2", "env:3"), 7.0)


def test_empty_variables_do_not_count(home: dict[str, str]) -> None:
    assert Options.load(environ={**home, "LLMSCHED_ADDRESS": ""}) == Options()


def test_the_variables_of_other_parts_are_none_of_ours(home: dict[str, str]) -> None:
    assert Options.load(environ={**home, "LLMSCHED_REDIS_URL": "redis://x"}) == Options()


def test_xdg_config_home_moves_the_file(tmp_path: Path) -> None:
    (tmp_path / "llmsched").mkdir()
    (tmp_path / "llmsched" / "config.toml").write_text('address = "xdg:1"')
    assert Options.load(environ={"XDG_CONFIG_HOME": str(tmp_path)}).address == "xdg:1"


def test_a_file_that_was_named_must_exist(home: dict[str, str], tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(OptionsError, match="No such file"):
        Options.load(environ={**home, "LLMSCHED_CLIENT_CONFIG": str(missing)})
    with pytest.raises(OptionsError, match="No such file"):
        Options.load(environ=home, file=missing)


def test_all_problems_are_reported_at_once(home: dict[str, str]) -> None:
    _write(home, 'adress = "x"\ntls = "maybe"\ntimeout = true\nscheduler = [1]\n')
    with pytest.raises(OptionsError) as caught:
        Options.load(environ={**home, "LLMSCHED_CONNECT_TIMEOUT": "soon"})
    wrong = {violation.path: violation.message for violation in caught.value.violations}
    assert wrong.keys() == {"adress", "tls", "timeout", "scheduler", "LLMSCHED_CONNECT_TIMEOUT"}
    assert "address" in wrong["adress"]
    assert wrong["LLMSCHED_CONNECT_TIMEOUT"] == "must be a number of seconds, not 'soon'"


def test_a_file_that_is_not_toml(home: dict[str, str]) -> None:
    _write(home, "address = ")
    with pytest.raises(OptionsError, match="Invalid value"):
        Options.load(environ=home)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"timeout": 0}, "timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"address": ""}, "address"),
        ({"scheduler": ()}, "scheduler"),
        ({"scheduler": ("a:1", "")}, "scheduler"),
        ({"tls": True, "cert_file": Path("c")}, "cert_file"),
        ({"ca_file": Path("c")}, "tls"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], path: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Options(**settings)  # type: ignore[arg-type]
    assert [violation.path for violation in caught.value.violations] == [path]


@pytest.mark.parametrize(("word", "value"), [("1", True), ("Yes", True), ("off", False), ("FALSE", False)])
def test_switches(home: dict[str, str], word: str, value: bool) -> None:
    assert Options.load(environ={**home, "LLMSCHED_TLS": word}).tls is value
