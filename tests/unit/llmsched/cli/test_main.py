"""What all commands share: options, exit codes, plug-ins."""

from __future__ import annotations

import io
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from llmsched import errors, events
from llmsched.cli import output
from llmsched.cli.exits import Exit, exit_code
from llmsched.cli.main import cli
from llmsched.cli.tree import job_tree
from llmsched.cli.watch import LiveView
from llmsched.types import Job, JobState, Stage, StageKind, StageState, Task, TaskState
from tests.unit.llmsched.cli.conftest import Run, documents
from tests.unit.llmsched.fake_servers import FakePlanner, FakeServer, State

OWN = {
    "apps", "cancel", "completion", "decisions", "executors", "explain", "get", "jobs", "policy", "profiles", "queue",
    "rerun", "result", "submit", "top", "version", "watch",
}  # fmt: skip


def _plug_in(monkeypatch: pytest.MonkeyPatch, **commands: str) -> None:
    entries = [EntryPoint(name.replace("__", "."), value, "llmsched.commands") for name, value in commands.items()]
    monkeypatch.setattr("llmsched.cli.plugins.entry_points", lambda group: entries)


@click.command()
def hello() -> None:
    """Says hello."""
    click.echo("hello from a plug-in")


not_a_command = 3


def test_every_command_of_ours_has_help(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(monkeypatch)
    assert set(cli.list_commands(click.Context(cli))) == OWN
    for name in OWN:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert "Usage: llmsched" in result.stdout


def test_plug_ins_are_attached_to_their_group(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{__name__}:hello"
    _plug_in(monkeypatch, hi=here, apps__hi=here, apps__deep__er=here, jobs="nowhere:at_all")
    assert run("hi").stdout == run("apps", "hi").stdout == "hello from a plug-in\n"
    assert "deep" not in run("apps", "--help").stdout
    # A plug-in cannot take the name of a command of ours.
    assert run("jobs").exit_code == 0


def test_a_broken_plug_in_breaks_only_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(monkeypatch, lost="no_such_package.cli:up", odd=f"{__name__}:not_a_command")
    listing = run("--help")
    assert listing.exit_code == 0
    assert "(unavailable: ModuleNotFoundError" in listing.stdout
    for arguments in (["lost"], ["lost", "--help"], ["lost", "--port", "3", "x"]):
        result = run(*arguments)
        assert result.exit_code == Exit.UNAVAILABLE
        assert "No module named 'no_such_package'" in result.stderr
    assert "is not a click command" in run("odd").stderr
    assert run("version").exit_code == 0


def test_options_may_stand_before_or_after_the_command(run: Run, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    before, after = run("-o", "json", "get", "j"), run("get", "j", "-o", "json")
    assert documents(before) == documents(after)
    assert "└" not in run("-o", "json", "get", "j", "-o", "text").stdout
    assert run("-o", "json", "get", "j", "-o", "text").stdout.startswith("j  hello@1")


def test_addresses_from_options_and_files(server: FakeServer, run: Run, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.delenv("LLMSCHED_ADDRESS")
    monkeypatch.delenv("LLMSCHED_SCHEDULER")
    assert run("jobs", "--address", server.address).exit_code == 0
    assert run("queue", "--scheduler", f"127.0.0.1:1,{server.address}").exit_code == 0
    file = tmp_path / "mine.toml"
    file.write_text(f'address = "{server.address}"\n')
    assert run("jobs", "--config", str(file)).exit_code == 0
    file.write_text("adress = 1\n")
    result = run("jobs", "--config", str(file))
    assert result.exit_code == Exit.USAGE
    assert "adress: is no setting" in result.stderr


def test_a_planner_that_is_not_there(run: Run, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "c.toml").write_text("connect_timeout = 0.2")
    result = run("jobs", "--address", address, "--config", str(tmp_path / "c.toml"))
    assert result.exit_code == Exit.UNAVAILABLE
    assert result.stderr.startswith(f"Error: cannot reach the planner at {address}: is `llmsched up` running?")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OptionsError(), 2),
        (errors.NotFoundError(), 3),
        (errors.InvalidRequestError(), 4),
        (errors.PermissionDeniedError(), 4),
        (errors.UnavailableError(), 5),
        (errors.DeadlineExceededError(), 5),
        (errors.ServerError(), 5),
        (errors.OverloadedError(), 6),
        (errors.ConflictError(), 7),
    ],
)
def test_exit_codes(error: errors.LLMSchedError, code: int) -> None:
    assert exit_code(error) == code


def test_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmsched.cli.command.Settings.run", interrupt)
    result = run("jobs")
    assert result.exit_code == Exit.INTERRUPTED
    assert result.stderr == "Interrupted.\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    script = run("completion", shell).stdout
    assert f"_LLMSCHED_COMPLETE={shell}_complete" in script


def test_version(run: Run) -> None:
    assert run("version").stdout.startswith("llmsched ")
    assert documents(run("version", "-o", "json")).keys() == {"llmsched", "grpcio", "python"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"), (0, "0ms"), (0.0804, "80ms"), (0.9996, "1.0s"), (2.44, "2.4s"), (59.96, "1m00s"), (185, "3m05s"),
        (7800, "2h10m"), (3600 * 123, "5d03h"),
    ],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert output.span(timedelta(seconds=seconds)) == text


def test_no_control_character_reaches_the_terminal() -> None:
    assert output.printable("a\x1b[2Jb\r\x07\x9bc\n\td é 家 👩‍👧") == "a�[2Jb���c\n\td é 家 👩‍👧"


T0 = datetime(2026, 1, 1, tzinfo=UTC)


def _job() -> Job:
    idea = Stage(stage_id="idea[0]", name="idea", kind=StageKind.LLM, state=StageState.RUNNING, tasks=(
        Task(index=0, state=TaskState.RUNNING, attempt=1),
    ))  # fmt: skip
    return Job(name="jobs/j", application="a", version=1, state=JobState.RUNNING, create_time=T0, stages=(idea,))


def _terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=100, color_system="truecolor"), file


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console, file = _terminal()
    console.print(job_tree(_job(), now=T0))
    assert "\x1b[36m" not in file.getvalue()
    assert "RUNNING" in file.getvalue()
    monkeypatch.delenv("NO_COLOR")
    console, file = _terminal()
    console.print(job_tree(_job(), now=T0))
    assert "\x1b[36m" in file.getvalue()


def test_the_live_tree_shows_the_last_words_of_a_stage_that_writes() -> None:
    console, file = _terminal()

    def delta(attempt: int, text: str) -> events.OutputDelta:
        return events.OutputDelta(
            sequence=1, time=T0, stage_id="idea[0]", task_index=0, attempt=attempt, offset=0, text=text
        )

    def seen() -> str:
        file.seek(0)
        file.truncate()
        console.print(view)
        return file.getvalue()

    view = LiveView(_job())
    for text in ("Rivers ", "run\n", "deep" + "x" * 300, "END"):
        view.show(delta(1, text), _job())
    assert "END" in (shown := seen())
    assert "Rivers" not in shown
    view.show(delta(2, "Again"), _job())
    assert "Again" in (shown := seen())
    assert "END" not in shown
    done = Task(index=0, state=TaskState.SUCCEEDED, attempt=2)
    view.show(events.TaskChanged(sequence=2, time=T0, stage_id="idea[0]", task=done), _job())
    assert "Again" not in (shown := seen())
    assert "idea[0]" in shown
    view.end(replace(_job(), state=JobState.SUCCEEDED))
    assert "SUCCEEDED" in seen()


def test_stages_that_claim_each_other_do_not_hang_the_tree() -> None:
    job = _job()
    console, file = _terminal()
    claiming = replace(job.stages[0], generated_by="idea[0]")
    console.print(job_tree(replace(job, stages=(claiming,)), now=T0))
    assert "idea[0]" in file.getvalue()
