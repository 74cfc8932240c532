"""`llmsched serve SERVICE`: one service in the foreground, set up by its environment variables."""

from __future__ import annotations

import os
import sys

import click

_MODULES = {
    "planner": ["services.planner"],
    "profiler": ["services.profiler"],
    "scheduler": ["services.scheduler"],
    "llm-executor": ["services.executors", "llm"],
    "tool-executor": ["services.executors", "tool"],
    "redis": ["services.state.embedded"],
}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("service", type=click.Choice(sorted(_MODULES)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(service: str, arguments: tuple[str, ...]) -> None:
    """Run one service in the foreground.

    Settings come from LLMSCHED_* variables; mistakes in them are all named at once.
    """
    os.execv(sys.executable, [sys.executable, "-m", *_MODULES[service], *arguments])
