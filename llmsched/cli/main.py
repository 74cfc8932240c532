"""The `llmsched` command."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from llmsched.cli.command import Settings, common_options
from llmsched.cli.exits import CommandFailed, Exit
from llmsched.cli.plugins import LazyGroup
from llmsched.errors import LLMSchedError

_COMMANDS = {
    "apps": "llmsched.cli.apps:apps",
    "submit": "llmsched.cli.submit:submit",
    "jobs": "llmsched.cli.jobs:jobs",
    "get": "llmsched.cli.jobs:get",
    "result": "llmsched.cli.jobs:result",
    "cancel": "llmsched.cli.jobs:cancel",
    "rerun": "llmsched.cli.jobs:rerun",
    "watch": "llmsched.cli.watch:watch",
    "executors": "llmsched.cli.cluster:executors",
    "queue": "llmsched.cli.cluster:queue",
    "decisions": "llmsched.cli.explain:decisions",
    "explain": "llmsched.cli.explain:explain",
    "policy": "llmsched.cli.cluster:policy",
    "top": "llmsched.cli.top:top",
    "profiles": "llmsched.cli.profiles:profiles",
    "completion": "llmsched.cli.shell:completion",
    "version": "llmsched.cli.shell:version",
}


class _Root(LazyGroup):
    """Turns whatever ends a command into a message on stderr and an exit code."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += common_options()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LLMSchedError as error:
            raise CommandFailed.of(error, as_json=ctx.ensure_object(Settings).as_json) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(Exit.INTERRUPTED)
        except BrokenPipeError:
            # The reader has enough, as in `llmsched jobs | head -1`. Python must not try to flush the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(Exit.BROKEN_PIPE)


@click.group(cls=_Root, own=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Serves compound LLM applications: register applications, submit jobs, watch a cluster at work."""


def main() -> None:
    """Run the command line."""
    cli(prog_name="llmsched")
