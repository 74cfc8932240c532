"""Commands about jobs that exist: jobs, get, result, cancel, rerun."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from llmsched.cli import output
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.exits import Exit
from llmsched.cli.left import Forecast, kept, told
from llmsched.cli.plugins import LazyGroup
from llmsched.cli.tree import failure_line, job_tree, tokens
from llmsched.client import Client
from llmsched.types import Job, JobState, Prediction, Reliability


def parse_labels(labels: tuple[str, ...]) -> dict[str, str]:
    """`key=value` texts as a mapping."""
    parsed = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{label!r} is not of the form key=value", param_hint="--label")
        parsed[key] = value
    return parsed


class _Jobs(Command, LazyGroup):
    """Lists jobs by itself, and has what other packages add as `jobs.NAME`."""


@click.group(cls=_Jobs, own={}, prefix="jobs.", invoke_without_command=True)
@click.option(
    "--state",
    "states",
    type=click.Choice([state.lower() for state in JobState], case_sensitive=False),
    multiple=True,
    help="Only jobs in this state; may be repeated.",
)
@click.option("--app", metavar="APP", help="Only jobs of this application: NAME or NAME@VERSION.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="Only jobs with this label.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.pass_context
def jobs(ctx: click.Context, states: tuple[str, ...], app: str | None, labels: tuple[str, ...], limit: int) -> None:
    """List jobs, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    settings, wanted = ctx.ensure_object(Settings), parse_labels(labels)

    async def work(client: Client) -> list[Job]:
        chosen = [JobState(state.upper()) for state in states]
        return [job async for job in client.jobs(states=chosen, application=app, labels=wanted, limit=limit)]

    found = settings.run(work)
    if settings.as_json:
        output.print_json(found)
        return
    rows = [
        (
            job.id,
            output.application(job),
            output.state(job.state),
            output.since(job.create_time),
            output.span(job.completion_time),
            job.usage.total_tokens or "",
            output.pairs(job.labels),
        )
        for job in found
    ]
    columns = ["JOB", "APPLICATION", "STATE", "SUBMITTED", "TOOK", "TOKENS", "LABELS"]
    output.print_table(columns, rows, empty="No jobs.")


@click.command(cls=Command)
@click.argument("job")
@click.option("--eta/--no-eta", default=True, help="Ask the profiler what a running job still needs.  [yes]")
@pass_settings
def get(settings: Settings, job: str, eta: bool) -> None:
    """Show JOB with its stages, times, tokens, what it still needs, and why it failed."""

    async def work(client: Client) -> tuple[Job, Prediction | None, Reliability | None]:
        found = await client.job(job)
        async with Forecast(client.options, wanted=eta) as forecast:
            left = await forecast.of(found)
            return found, left, await forecast.reliability(found) if left else None

    found, left, reliability = settings.run(work)
    if settings.as_json:
        output.print_json({**output.jsonable(found), "prediction": left})
    else:
        print_job(found, left, reliability)


def print_job(job: Job, left: Prediction | None = None, reliability: Reliability | None = None) -> None:
    """The job as text, with what it still needs, and how far such beliefs came true."""
    console = output.console()
    console.print(job_tree(job))
    facts = [
        ("submitted", f"{job.create_time:%Y-%m-%d %H:%M:%S} UTC" if job.create_time else ""),
        ("queued", output.span(job.start_time - job.create_time) if job.start_time and job.create_time else ""),
        ("took", output.span(job.completion_time)),
        ("left", told(left) if left else ""),
        ("beliefs", kept(reliability) if reliability else ""),
        ("tokens", tokens(job.usage)),
        ("labels", output.pairs(job.labels)),
        ("rerun of", job.rerun_of),
        ("trace", job.traceparent[3:35]),  # the digits that Phoenix, Jaeger and others look for
    ]
    for name, value in facts:
        if value:
            console.print(output.text(f"{name:<10}", "dim").append(output.printable(value)))
    if job.failure:
        console.print(failure_line(job.failure))


@click.command(cls=Command)
@click.argument("job")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@click.option("--stages", is_flag=True, help="The outputs of all tasks that are done so far instead.")
@pass_settings
def result(settings: Settings, job: str, wait: bool, stages: bool) -> None:
    """Print the output of JOB as JSON. Exit code 1 if it failed or was cancelled, 7 if it has not ended."""

    async def work(client: Client) -> Any:
        handle = client.handle(job)
        if wait:
            await handle.wait()
        return await (handle.outputs() if stages else client.result(job))

    output.print_json(settings.run(work))


@click.command(cls=Command)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--reason", default="", help="Shown as the jobs' failure message.")
@pass_settings
def cancel(settings: Settings, jobs: tuple[str, ...], reason: str) -> None:
    """Cancel one or more jobs; what runs of them is aborted."""

    async def work(client: Client) -> list[Job | BaseException]:
        calls = (client.cancel(job, reason=reason) for job in jobs)
        return await asyncio.gather(*calls, return_exceptions=True)

    # One job that cannot be cancelled must not hide what became of the others.
    answers = settings.run(work)
    done = [answer for answer in answers if isinstance(answer, Job)]
    if settings.as_json:
        output.print_json(done)
    else:
        for job in done:
            click.echo(f"{job.id} {job.state}")
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


@click.command(cls=Command)
@click.argument("job")
@pass_settings
def rerun(settings: Settings, job: str) -> None:
    """Run JOB again, taking over the results of its stages that succeeded. Prints the new job's id."""
    handle = settings.run(lambda client: client.rerun(job))
    if settings.as_json:
        output.print_json({"name": handle.name})
    else:
        click.echo(handle.id)


def ended(job: Job) -> Exit:
    """The exit code that a job's end stands for."""
    return Exit.OK if job.state is JobState.SUCCEEDED else Exit.JOB_FAILED
