"""What all commands share: common options, and the way to a client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from llmsched.client import Client
from llmsched.options import Options

_T = TypeVar("_T")


@dataclass(slots=True)
class Settings:
    """What the common options said, before or after the command's name."""

    output: str = "text"
    address: str | None = None
    scheduler: str | None = None
    profiler: str | None = None
    config: Path | None = None

    @property
    def as_json(self) -> bool:
        """Whether output is for programs."""
        return self.output == "json"

    def run(self, work: Callable[[Client], Awaitable[_T]]) -> _T:
        """Do asynchronous work with a client."""

        async def session() -> _T:
            options = Options.load(
                file=self.config, address=self.address, scheduler=self.scheduler, profiler=self.profiler
            )
            async with Client(options=options) as client:
                return await work(client)

        return asyncio.run(session())


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    # Commands share their group's Settings: what is given nearer to the end wins.
    settings = ctx.ensure_object(Settings)
    if value is not None and parameter.name:
        setattr(settings, parameter.name, value)


def common_options() -> list[click.Parameter]:
    """The options every command takes."""
    shared: dict[str, Any] = {"callback": _keep, "expose_value": False}
    return [
        click.Option(["-o", "--output"], type=click.Choice(["text", "json"]), help="Text or JSON.", **shared),
        click.Option(["--address"], metavar="HOST:PORT", help="The planner [127.0.0.1:7411].", **shared),
        click.Option(["--scheduler"], metavar="HOST:PORT,…", help="Schedulers [127.0.0.1:7412].", **shared),
        click.Option(["--profiler"], metavar="HOST:PORT,…", help="Profilers [127.0.0.1:7413].", **shared),
        click.Option(
            ["--config"],
            type=click.Path(dir_okay=False, path_type=Path),
            help="Settings file [~/.config/llmsched/config.toml].",
            **shared,
        ),
    ]


class Command(click.Command):
    """A command with the common options."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += common_options()
