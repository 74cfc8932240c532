"""Groups whose commands are loaded when they are needed, from this package and from others.

Another package adds a command by naming a click command in the entry-point group `llmsched.commands`: `up` is
attached to `llmsched` itself, `apps.dry-run` to `llmsched apps`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import click

from llmsched.cli.exits import CommandFailed, Exit

ENTRY_POINT_GROUP = "llmsched.commands"
_NONE: Mapping[str, str] = MappingProxyType({})


class LazyGroup(click.Group):
    """A group with commands of its own (added, or as `module:name`) and those of entry points below `prefix`."""

    def __init__(self, *args: Any, own: Mapping[str, str] = _NONE, prefix: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self._own = own
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self._own, *self._plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name in self._own:
            module, _, name = self._own[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        plugin = self._plugins().get(cmd_name)
        return _load(plugin, cmd_name) if plugin else None

    def _plugins(self) -> dict[str, EntryPoint]:
        below = {
            entry.name.removeprefix(self._prefix): entry
            for entry in entry_points(group=ENTRY_POINT_GROUP)
            if entry.name.startswith(self._prefix)
        }
        own = {*self.commands, *self._own}
        return {name: entry for name, entry in below.items() if "." not in name and name not in own}


def _load(entry: EntryPoint, name: str) -> click.Command:
    try:
        loaded = entry.load()
    except Exception as error:
        # Whatever is wrong with somebody else's package, the other commands must go on working.
        return _unavailable(name, f"{type(error).__name__}: {error}")
    if not isinstance(loaded, click.Command):
        return _unavailable(name, f"{entry.value} is not a click command")
    return loaded


def _unavailable(name: str, why: str) -> click.Command:
    def refuse(**_: object) -> None:
        raise CommandFailed(
            f"`{name}` is not available here: {why}\nInstall what it needs, for example with:"
            " pip install 'llmsched[services,embedded]'",
            Exit.UNAVAILABLE,
        )

    return click.Command(
        name,
        callback=refuse,
        short_help=f"(unavailable: {why})",
        # Its real options are unknown, `--help` too: every call gets the reason.
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
