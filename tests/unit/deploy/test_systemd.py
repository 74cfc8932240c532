"""deploy/systemd: units that systemd takes as they stand, commands and variables that exist, and time to drain."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from pydantic_settings import BaseSettings

from lab import systemd
from llmsched.cli.main import cli
from llmsched.options import Options
from services.executors.settings import ExecutorSettings
from services.planner.settings import PlannerSettings
from services.profiler.settings import ProfilerSettings
from services.scheduler.settings import SchedulerSettings

FILES = sorted(systemd.FOLDER.glob("*.service"))
ENVIRONMENTS = sorted((systemd.FOLDER / "etc").rglob("*.env"))
PLACED = [(host, name) for host, names in systemd.load_hosts().items() for name in names]
SETTINGS: tuple[type[BaseSettings], ...] = (ExecutorSettings, PlannerSettings, ProfilerSettings, SchedulerSettings)
#: What does not come from a settings class: gRPC's, OpenTelemetry's, and what the units themselves put into commands.
OTHERS = r"GRPC_ENABLE_FORK_SUPPORT|OTEL_[A-Z_]+|REDIS_OPTIONS|ENGINE_SIM_OPTIONS"


def known_variables() -> set[str]:
    """All names that our settings are read from."""
    names = {f"LLMSCHED_{name.upper()}" for name in Options.__dataclass_fields__}
    for kind in SETTINGS:
        prefix = str(kind.model_config["env_prefix"])
        for name, about in kind.model_fields.items():
            names.add(str(about.validation_alias or f"{prefix}{name}".upper()))
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_systemd_has_nothing_to_complain_about(file: Path, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze on this machine (Debian's package systemd)")
    # Programs that are not installed here are the only thing that it may not find.
    text = re.sub(r"/opt/llmsched/bin/llmsched|/usr/bin/valkey-server", "/bin/true", file.read_text())
    copy = tmp_path / file.name.replace("@.", "@x.")
    copy.write_text(text)
    answer = subprocess.run([verify, "verify", "--man=no", copy], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def test_systemd_complains_about_what_is_wrong(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze on this machine (Debian's package systemd)")
    wrong = tmp_path / "wrong.service"
    wrong.write_text("[Service]\nExecStart=/bin/true\nTimeoutStopSecs=40\n")
    assert "TimeoutStopSecs" in subprocess.run([verify, "verify", wrong], capture_output=True, text=True).stderr


def test_every_unit_has_a_place_and_every_place_a_unit() -> None:
    placed = {systemd.load_unit(name).template for _, name in PLACED}
    assert placed == {file.name.removesuffix(".service").removesuffix("@") for file in FILES}


def test_every_file_of_the_hosts_is_read_by_a_unit_there() -> None:
    read = set()
    for host, name in PLACED:
        unit = systemd.load_unit(name)
        for path in unit.all("EnvironmentFile"):
            asked = path.removeprefix("-").replace("%i", unit.instance)
            assert asked.startswith(systemd.CONFIGURATION)
            read.add(systemd.environment_file(asked, host))
    assert set(ENVIRONMENTS) <= read


@pytest.mark.parametrize(("host", "name"), PLACED, ids=lambda each: each)
class TestPlaced:
    def test_its_variables_exist(self, host: str, name: str) -> None:
        variables = systemd.environment(systemd.load_unit(name), host)
        unknown = {each for each in variables if not re.fullmatch(OTHERS, each)} - known_variables()
        assert not unknown

    def test_its_variables_make_settings(self, host: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable, value in systemd.environment(systemd.load_unit(name), host).items():
            monkeypatch.setenv(variable, value)
        for kind in SETTINGS:
            kind()

    def test_its_command_is_one_of_ours(self, host: str, name: str, tmp_path: Path) -> None:
        unit = systemd.load_unit(name)
        words = systemd.command(unit, host, systemd.environment(unit, host), tmp_path)
        if unit.template == "llmsched-redis":
            assert words[words.index("--dir") + 1] == str(tmp_path / unit.one("StateDirectory"))
            assert words[words.index("--save") + 1] == ""
            return
        called, *arguments = words[words.index("llmsched.cli") + 1 :]
        command = cli.get_command(click.Context(cli), called)
        assert command is not None
        command.make_context(called, arguments)  # raises for what it does not know

    def test_it_is_started_again_and_may_not_do_much(self, host: str, name: str) -> None:
        unit = systemd.load_unit(name)
        assert unit.one("Restart") == "always"
        assert unit.one("DynamicUser") == "yes"
        assert unit.one("NoNewPrivileges") == "yes"
        assert unit.one("ProtectSystem") == "strict"

    def test_an_executor_has_time_to_drain_and_its_children_too(self, host: str, name: str) -> None:
        unit = systemd.load_unit(name)
        if not unit.template.endswith("-executor"):
            return
        told = systemd.environment(unit, host).get("LLMSCHED_EXECUTOR_DRAIN_SECONDS")
        drain = float(told) if told else float(ExecutorSettings.model_fields["drain_seconds"].default)
        assert float(unit.one("TimeoutStopSec")) > drain + 5
        assert unit.one("KillMode") == "mixed"
        assert systemd.environment(unit, host)["LLMSCHED_EXECUTOR_ID"] == unit.instance


def test_nothing_covers_proc_where_the_sandbox_needs_it() -> None:
    unit = systemd.load_unit("llmsched-tool-executor@x")
    for key in ("ProtectKernelTunables", "ProtectKernelLogs", "ProtectProc", "ProcSubset", "RestrictNamespaces"):
        assert unit.all(key) == []
