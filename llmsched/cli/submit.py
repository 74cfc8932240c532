"""The `submit` command: one job from options, or many from a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import click

from llmsched.cli import output
from llmsched.cli.command import Command, Settings
from llmsched.cli.exits import CommandFailed, Exit, exit_code
from llmsched.cli.jobs import parse_labels
from llmsched.cli.watch import follow
from llmsched.client import Client
from llmsched.errors import InvalidRequestError, JobCancelledError, JobFailedError, LLMSchedError, Violation
from llmsched.jobs import JobHandle

_AT_ONCE = 32
"""Jobs of a file that are being submitted at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One job to submit."""

    input: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What became of one request."""

    job: JobHandle | None = None
    result: Any = None
    error: LLMSchedError | None = None


@click.command(cls=Command)
@click.argument("app")
@click.option("--input", "text", metavar="JSON", help="The job's input, a JSON object.")
@click.option("--input-file", type=click.File(encoding="utf-8"), help="The input from a file; - is standard input.")
@click.option(
    "-i",
    "fields",
    metavar="KEY=VALUE",
    multiple=True,
    help="One field of the input: KEY=text, KEY:=JSON or KEY=@FILE. Wins over the input given whole.",
)
@click.option(
    "--from",
    "batch",
    type=click.File(encoding="utf-8"),
    metavar="JOBS.JSONL",
    help='Many jobs, one JSON object a line: {"input": {…}, "labels": {…}, "request_id": "…"}.',
)
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="A label to find the job by.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the result.")
@click.option("--watch", is_flag=True, help="Show the job's progress, then print the result.")
@click.pass_context
def submit(
    ctx: click.Context,
    app: str,
    text: str | None,
    input_file: IO[str] | None,
    fields: tuple[str, ...],
    batch: IO[str] | None,
    labels: tuple[str, ...],
    wait: bool,
    watch: bool,
) -> None:
    """Start a job of APP (NAME or NAME@VERSION) and print its id."""
    settings = ctx.ensure_object(Settings)
    if text is not None and input_file:
        raise click.UsageError("--input and --input-file exclude each other.")
    given = parse_labels(labels)
    if batch:
        if text is not None or input_file or fields or watch:
            raise click.UsageError("--from goes with --label and --wait only.")
        ctx.exit(_submit_many(settings, app, _read_batch(batch, given), wait=wait))
    whole = text if text is not None else input_file.read() if input_file else "{}"
    request = _Request(input={**_object(whole), **dict(map(_field, fields))}, labels=given)
    if watch:
        _submit_and_watch(settings, app, request)
    elif wait:
        output.print_json(settings.run(lambda client: _submit_and_wait(client, app, request)))
    else:
        _print_job(settings, settings.run(lambda client: _submit(client, app, request)))


async def _submit(client: Client, app: str, request: _Request) -> JobHandle:
    return await client.submit(app, request.input, labels=request.labels, request_id=request.request_id)


async def _submit_and_wait(client: Client, app: str, request: _Request) -> Any:
    handle = await _submit(client, app, request)
    try:
        return await handle.result()
    except asyncio.CancelledError:
        _say_it_goes_on(handle)
        raise


def _submit_and_watch(settings: Settings, app: str, request: _Request) -> None:
    async def work(client: Client) -> Any:
        handle = await _submit(client, app, request)
        try:
            await follow(client, handle.name, settings, deltas=output.console().is_terminal and not settings.as_json)
        except asyncio.CancelledError:
            _say_it_goes_on(handle)
            raise
        return await client.result(handle.name)

    result = settings.run(work)
    if settings.as_json:
        output.print_json_line({"event": "result", "result": result})
    else:
        output.print_json(result)


def _submit_many(settings: Settings, app: str, requests: list[_Request], *, wait: bool) -> Exit:
    async def work(client: Client) -> list[_Answer]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(request: _Request) -> _Answer:
            handle = None
            try:
                async with gate:
                    handle = await _submit(client, app, request)
                return _Answer(job=handle, result=await handle.result() if wait else None)
            except LLMSchedError as error:
                return _Answer(job=handle, error=error)

        return await asyncio.gather(*map(one, requests))

    answers = settings.run(work)
    for number, answer in enumerate(answers, start=1):
        _print_answer(settings, number, answer, wait=wait)
    errors = [answer.error for answer in answers if answer.error]
    # A request that was refused says more about what to do than a job that failed.
    errors.sort(key=lambda error: isinstance(error, JobFailedError | JobCancelledError))
    return exit_code(errors[0]) if errors else Exit.OK


def _print_answer(settings: Settings, number: int, answer: _Answer, *, wait: bool) -> None:
    name = answer.job.name if answer.job else None
    if settings.as_json:
        error = {"type": type(answer.error).__name__, "message": str(answer.error)} if answer.error else None
        output.print_json_line({"line": number, "name": name, "result": answer.result, "error": error})
    elif answer.error:
        click.echo(f"line {number}: {output.printable(str(answer.error))}", err=True)
    elif answer.job:
        # With --wait the results themselves are the output, one JSON value a line.
        output.print_json_line(answer.result) if wait else click.echo(answer.job.id)


def _print_job(settings: Settings, handle: JobHandle) -> None:
    if settings.as_json:
        output.print_json({"name": handle.name})
    else:
        click.echo(handle.id)


def _say_it_goes_on(handle: JobHandle) -> None:
    click.echo(f"{handle.name} goes on; see it with: llmsched watch {handle.id}", err=True)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint="the input") from None
    if not isinstance(value, dict):
        raise click.BadParameter("must be a JSON object", param_hint="the input")
    return value


def _field(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.rstrip(":"):
        raise click.BadParameter(f"{text!r} is not of the form key=value", param_hint="-i")
    if key.endswith(":"):
        try:
            return key[:-1], json.loads(value)
        except json.JSONDecodeError as error:
            raise click.BadParameter(f"{value!r} is not JSON: {error}", param_hint="-i") from None
    if not value.startswith("@"):
        return key, value
    try:
        with click.open_file(value[1:], encoding="utf-8") as file:
            return key, file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{value[1:]}: {error}", param_hint="-i") from None


def _read_batch(file: IO[str], labels: Mapping[str, str]) -> list[_Request]:
    """All requests of a file; a file with a bad line is refused before anything is submitted."""
    requests: list[_Request] = []
    wrong: list[Violation] = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            requests.append(_read_line(line, labels))
        except ValueError as error:
            wrong.append(Violation(path=f"line {number}", message=str(error)))
    if wrong:
        raise InvalidRequestError(f"{file.name} cannot be submitted", violations=wrong)
    if not requests:
        raise CommandFailed(f"{file.name} has no jobs.", Exit.REFUSED)
    return requests


def _read_line(line: str, labels: Mapping[str, str]) -> _Request:
    value = json.loads(line)
    if not isinstance(value, dict) or not isinstance(value.get("input"), dict):
        raise ValueError('must be an object with an object "input"')
    if unknown := sorted(value.keys() - {"input", "labels", "request_id"}):
        raise ValueError(f"has unknown fields: {', '.join(unknown)}")
    own = value.get("labels", {})
    if not isinstance(own, dict):
        raise ValueError('"labels" must be an object')
    return _Request(input=value["input"], labels={**labels, **own}, request_id=value.get("request_id"))
