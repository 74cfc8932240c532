"""`python -m lab`: the cluster of deploy/systemd on several hosts, all on this machine, to try out what happens.

Nothing needs root, and this machine's own network is not touched.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import IO

import click
import psutil

from lab import bridge, enter
from lab.hosts import client_environment
from lab.inside import CONTROL, PAGE, READY

_FOLDER = Path(tempfile.gettempdir()) / f"llmsched-lab-{os.getuid()}"
_PYTHON = os.path.relpath(sys.executable) if sys.executable.startswith(os.getcwd()) else sys.executable
_GUIDE = """
{page}Logs are in {folder}. Ctrl-C ends everything. From another terminal, in this folder:

  {lab} exec control -- llmsched executors
  {lab} exec control -- llmsched apps apply examples/hello.yaml
  {lab} exec control -- llmsched submit hello -i topic=rivers --wait
  {lab} lose sched-1           its power is off: another scheduler leads within seconds
  {lab} restore sched-1        and on again
  {lab} cut exec-a             its cable is out: everything runs on and nothing gets through
  {lab} heal exec-a
  {lab} restart SERVICE        as systemctl restart does, for example {example}
"""


@click.group(help=__doc__)
def lab() -> None:
    pass


@lab.command()
@click.option("--page-port", default=6006, show_default=True, help="Where Phoenix's page is, if it is installed.")
def up(page_port: int) -> None:
    """Start it in the foreground, until Ctrl-C."""
    problem = enter.missing()
    if problem:
        raise click.ClickException(problem)
    _FOLDER.mkdir(mode=0o700, exist_ok=True)
    if _FOLDER.stat().st_uid != os.getuid():
        raise click.ClickException(f"{_FOLDER} belongs to somebody else")
    with _locked() as mine:
        if not mine:
            raise click.ClickException("it runs already")
        _clear()
        sys.exit(asyncio.run(_up(page_port)))


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(host: str, command: tuple[str, ...]) -> None:
    """Run a command on a host, set up for the cluster: `exec control -- llmsched top`."""
    _tell("describe", host)
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    inside = ["nsenter", f"--target={_first_process()}", *user, "--mount", "--pid", "--net", "--"]
    there = ["nsenter", f"--net=/run/netns/{host}", "--", "env", f"--chdir={os.getcwd()}", "--", *command]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.execvpe("nsenter", [*inside, *there], {**os.environ, **client_environment(), "PATH": path})


def _order(name: str, help_text: str, metavar: str = "HOST") -> None:
    @lab.command(name, help=help_text)
    @click.argument("target", metavar=metavar)
    def order(target: str) -> None:
        click.echo(_tell(name, target))


_order("cut", "Nothing gets to the host or from it; everything on it runs on.")
_order("heal", "End a cut.")
_order("lose", "The host is gone, with all that runs there.")
_order("restore", "A lost host is back, its services started anew.")
_order("restart", "End a service in order and start it again.", "SERVICE")


async def _up(page_port: int) -> int:
    """Runs it; gives the exit status."""
    click.echo("starting; this takes half a minute, on a busy machine longer", err=True)
    # A session of its own: Ctrl-C is for us, and we end it in order, by the end of its input.
    process = await asyncio.create_subprocess_exec(
        *enter.command([sys.executable, "-m", "lab.inside", str(_FOLDER)]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    (_FOLDER / "pid").write_text(str(process.pid))
    asked = False

    def end() -> None:
        nonlocal asked
        if asked:
            process.kill()
        else:
            click.echo("\nending in order; again to end at once", err=True)
            process.stdin.close()  # type: ignore[union-attr]
        asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    async with AsyncExitStack() as stack:
        while line := (await process.stdout.readline()).decode():
            if line.strip() == READY:
                await _welcome(page_port, stack)
            else:
                click.echo(line, nl=False)
        code = await process.wait()
    return 0 if asked else code or 1


async def _welcome(page_port: int, stack: AsyncExitStack) -> None:
    page = ""
    if (_FOLDER / PAGE).exists():
        try:
            await stack.enter_async_context(bridge.outside(page_port, _FOLDER / PAGE))
            page = f"Traces: http://127.0.0.1:{page_port} shows each job (Phoenix).\n"
        except OSError as error:
            page = f"Phoenix runs, but port {page_port} is taken here ({error.strerror}): --page-port names another.\n"
    command = f"{_PYTHON} -m lab"
    example = "sched-0.llmsched-scheduler"
    click.echo(_GUIDE.format(page=page, folder=_FOLDER, lab=command, example=example))


def _tell(order: str, name: str) -> str:
    """Has the running lab do something; gives what is so then."""
    with _locked() as mine:
        if mine:
            raise click.ClickException(f"nothing runs: start it with {_PYTHON} -m lab up")
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(_FOLDER / CONTROL))
        except OSError as error:
            raise click.ClickException("it is still starting, or ending") from error
        line.sendall(json.dumps([order, name]).encode() + b"\n")
        done, text = json.loads(line.makefile().readline())
    if not done:
        raise click.ClickException(text)
    return str(text)


def _first_process() -> int:
    """The first process inside, by its number here."""
    children = psutil.Process(int((_FOLDER / "pid").read_text())).children()
    if not children:
        raise click.ClickException("it is ending")
    return children[0].pid


@contextmanager
def _locked() -> Iterator[bool]:
    """Whether nobody else had the lock, which is ours then."""
    if not _FOLDER.is_dir():
        yield True
        return
    lock: IO[str]
    with (_FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _clear() -> None:
    for path in _FOLDER.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    lab()
