"""Commands about the command line itself: completion, version."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

import click
from click.shell_completion import get_completion_class

from llmsched.cli import output
from llmsched.cli.command import Command, Settings, pass_settings


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(llmsched completion bash)"     in ~/.bashrc
    zsh:   eval "$(llmsched completion zsh)"      in ~/.zshrc
    fish:  llmsched completion fish | source      in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "llmsched", "_LLMSCHED_COMPLETE").source())


@click.command(cls=Command)
@pass_settings
def version(settings: Settings) -> None:
    """Show the versions of LLMSched, gRPC and Python."""
    versions = {
        "llmsched": installed("llmsched"),
        "grpcio": installed("grpcio"),
        "python": platform.python_version(),
    }
    if settings.as_json:
        output.print_json(versions)
    else:
        click.echo("\n".join(f"{name} {number}" for name, number in versions.items()))
