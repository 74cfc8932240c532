"""The `apps` group: applications from files to the planner and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llmsched.application import ApplicationError, dump_yaml, load_yaml
from llmsched.cli import output
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.exits import Exit
from llmsched.cli.plugins import LazyGroup
from llmsched.client import Client
from llmsched.types import RegisteredApplication

_COMMANDS = {
    "validate": "llmsched.cli.apps:validate",
    "apply": "llmsched.cli.apps:apply",
    "list": "llmsched.cli.apps:list_",
    "show": "llmsched.cli.apps:show",
    "delete": "llmsched.cli.apps:delete",
}

_files = click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)


@click.group(cls=LazyGroup, own=_COMMANDS, prefix="apps.")
def apps() -> None:
    """Write, check and register applications."""


@click.command(cls=Command)
@_files
@click.pass_context
def validate(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Check application files; needs no server. Exit code 4 if one is not valid."""
    reports = [_report(file) for file in files]
    if ctx.ensure_object(Settings).as_json:
        output.print_json(reports)
    else:
        for report in reports:
            _print_report(report)
    ctx.exit(Exit.OK if all(report["valid"] for report in reports) else Exit.REFUSED)


def _report(file: Path) -> dict[str, Any]:
    try:
        spec = load_yaml(file)
    except ApplicationError as error:
        return {"file": str(file), "valid": False, "violations": error.violations}
    name = f"{spec.application}@{spec.version}"
    return {"file": str(file), "valid": True, "application": name, "stages": len(spec.stages), "violations": []}


def _print_report(report: dict[str, Any]) -> None:
    if report["valid"]:
        click.echo(f"{report['file']}: {report['application']} is valid")
        return
    click.echo(f"{report['file']} is not valid:", err=True)
    for violation in report["violations"]:
        click.echo(f"  {output.printable(str(violation))}", err=True)


@click.command(cls=Command)
@_files
@pass_settings
def apply(settings: Settings, files: tuple[Path, ...]) -> None:
    """Register applications. Repeating it changes nothing; a changed file needs a new version."""

    async def work(client: Client) -> list[RegisteredApplication]:
        return [await client.register(file) for file in files]

    registered = settings.run(work)
    if settings.as_json:
        output.print_json(registered)
        return
    for application in registered:
        click.echo(f"{_short(application)} is registered")


@click.command("list", cls=Command)
@pass_settings
def list_(settings: Settings) -> None:
    """List applications with their newest version."""

    async def work(client: Client) -> list[RegisteredApplication]:
        return [application async for application in client.applications()]

    found = settings.run(work)
    if settings.as_json:
        output.print_json(found)
        return
    rows = [
        (
            application.application,
            application.version,
            len(application.spec.stages),
            output.since(application.create_time),
            application.spec.description,
        )
        for application in found
    ]
    columns = ["APPLICATION", "VERSION", "STAGES", "REGISTERED", "DESCRIPTION"]
    output.print_table(columns, rows, empty="No applications.")


@click.command(cls=Command)
@click.argument("app")
@pass_settings
def show(settings: Settings, app: str) -> None:
    """Print APP (NAME or NAME@VERSION) as the YAML that registers it."""
    application = settings.run(lambda client: client.application(app))
    if settings.as_json:
        output.print_json(application)
    else:
        click.echo(dump_yaml(application.spec), nl=False)


@click.command(cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="APP...")
@pass_settings
def delete(settings: Settings, names: tuple[str, ...]) -> None:
    """Delete applications: NAME with all its versions, or NAME@VERSION. Running jobs keep theirs."""

    async def work(client: Client) -> dict[str, tuple[int, ...]]:
        return {name: await client.delete_application(name) for name in names}

    deleted = settings.run(work)
    if settings.as_json:
        output.print_json(deleted)
        return
    for name, versions in deleted.items():
        click.echo(f"{name}: deleted version {', '.join(map(str, versions))}")


def _short(application: RegisteredApplication) -> str:
    return f"{application.application}@{application.version}"
