"""The `profiles` group: what was learned of applications, and the histories that it is learned from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from llmsched.cli import output
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.plugins import LazyGroup
from llmsched.cli.priors import priors
from llmsched.client import Client
from llmsched.errors import InvalidRequestError, Violation
from llmsched.types import Calibration, Drift, DriftState, Estimate, Profile, Reliability


@click.group(cls=LazyGroup, prefix="profiles.")
def profiles() -> None:
    """Show what was learned of applications and engines, learn anew, import and export histories."""


@profiles.command("list", cls=Command)
@pass_settings
def list_(settings: Settings) -> None:
    """List the newest profile of each application."""

    async def work(client: Client) -> list[Profile]:
        return [profile async for profile in client.profiles()]

    found = settings.run(work)
    if settings.as_json:
        output.print_json([_summary(profile) for profile in found])
        return
    rows = [
        (
            profile.application,
            profile.version,
            profile.job_count,
            profile.variable_count,
            output.since(profile.create_time),
            output.span(profile.learn_time),
            profile.history_job_count,
            f"{profile.new_job_count}/{profile.next_new_job_count}",
            "" if profile.drift is None else output.state(profile.drift.state),
        )
        for profile in found
    ]
    columns = ["APPLICATION", "VERSION", "JOBS", "VARIABLES", "LEARNED", "TOOK", "HISTORY", "NEW JOBS", "DRIFT"]
    output.print_table(columns, rows, empty="Nothing was learned yet.")


@profiles.command(cls=Command)
@click.argument("application")
@pass_settings
def show(settings: Settings, application: str) -> None:
    """Show the newest profile of APPLICATION, or version N of it as APPLICATION@N."""
    profile = settings.run(lambda client: client.profile(application))
    if settings.as_json:
        output.print_json({**_summary(profile), "content": profile.content})
        return
    _print_summary(profile)
    rows = [] if profile.content is None else _variables(profile.content)
    empty = "It has no variables." if profile.content else "This client cannot read its format."
    output.print_table(["VARIABLE", "OF", "STATES", "IN JOBS", "MEAN", "DEPENDS ON"], rows, empty=empty)
    if profile.content is not None:
        click.echo()
        columns = ["STAGE", "KIND", "UNITS", "PROMPT TOKENS", "TASKS"]
        output.print_table(columns, _levels(profile.content), empty="It has no stages.")


@profiles.command(cls=Command)
@click.argument("application")
@pass_settings
def train(settings: Settings, application: str) -> None:
    """Learn the profile of APPLICATION anew, now, and print what came of it."""
    profile = settings.run(lambda client: client.train(application))
    if settings.as_json:
        output.print_json(_summary(profile))
    else:
        _print_summary(profile)


@profiles.command(cls=Command)
@click.argument("job")
@pass_settings
def predict(settings: Settings, job: str) -> None:
    """Say what JOB still needs, given what it has shown."""
    prediction = settings.run(lambda client: client.predict(job))
    if settings.as_json:
        output.print_json(prediction)
    elif prediction is None:
        click.echo("Nothing was learned of its application yet.", err=True)
    else:
        rows = [
            (name, *_bounds(estimate))
            for name, estimate in (
                ("LLM work", prediction.llm_work),
                ("tool time", prediction.tool_time),
                ("together", prediction.total),
            )
        ]
        output.print_table(["LEFT", "EXPECTED", "AT LEAST", "AT MOST"], rows, empty="")


@profiles.command(cls=Command)
@pass_settings
def calibrations(settings: Settings) -> None:
    """Show how fast the engines of LLM executors are, as it was measured while jobs ran or by `calibrate`."""

    async def work(client: Client) -> list[Calibration]:
        return [calibration async for calibration in client.calibrations()]

    found = settings.run(work)
    if settings.as_json:
        output.print_json(found)
        return
    rows = [
        (
            one.executor_id,
            one.version,
            f"{1e6 * one.prefill_seconds:.0f}",
            *(f"{1e3 * step:.2f}" for step in (one.step_seconds[0], one.step_seconds[-1])),
            len(one.step_seconds),
            f"{one.step_seconds[-1] / one.step_seconds[0]:.2f}",
            f"{sum(one.step_counts):.0f}",
            output.since(one.measure_time),
        )
        for one in found
    ]
    columns = ["EXECUTOR", "VERSION", "PROMPT, µs", "l(1), ms", "l(B), ms", "B", "s(B)", "STEPS", "MEASURED"]
    output.print_table(columns, rows, empty="No engine was measured yet.")


@profiles.command("import", cls=Command)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@pass_settings
def import_(settings: Settings, files: tuple[Path, ...]) -> None:
    """Add recorded jobs (trace files) to histories. A file with a bad line is refused as a whole, with exit code 4.

    Files are taken one after the other; repeating it changes nothing.
    """

    async def work(client: Client) -> dict[str, int]:
        return {str(file): await _import(client, file) for file in files}

    counts = settings.run(work)
    if settings.as_json:
        output.print_json([{"file": file, "jobs": jobs} for file, jobs in counts.items()])
        return
    for file, jobs in counts.items():
        click.echo(f"{file}: {jobs} job{'' if jobs == 1 else 's'}")


@profiles.command(cls=Command)
@click.option("--application", metavar="APP", help="Only its history.")
@pass_settings
def export(settings: Settings, application: str | None) -> None:
    """Write histories to standard output, as lines of the trace format."""

    async def work(client: Client) -> None:
        async with aclosing(client.export_history(application)) as parts:
            async for lines in parts:
                sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()

    settings.run(work)


async def _import(client: Client, file: Path) -> int:
    try:
        with file.open("rb") as lines:
            return await client.import_history(lines)
    except OSError as error:
        raise InvalidRequestError(violations=[Violation(path=str(file), message=str(error.strerror))]) from error
    except InvalidRequestError as error:
        # Which of the files it was, the profiler cannot know.
        named = [Violation(path=f"{file}: {each.path}", message=each.message) for each in error.violations]
        told = str(error).partition("\n")[0]
        raise InvalidRequestError(f"{file}: {told}", violations=named, reason=error.reason) from error


def _summary(profile: Profile) -> dict[str, Any]:
    fields = output.jsonable(profile)
    del fields["content"]
    return {"name": profile.name, **fields}


def _print_summary(profile: Profile) -> None:
    learned = f"learned {output.since(profile.create_time)} from {profile.job_count} jobs"
    click.echo(f"{profile.name}: {learned} in {output.span(profile.learn_time)} ({profile.trigger.lower()})")
    if profile.history_job_count:
        click.echo(f"history: {profile.history_job_count} jobs, {profile.new_job_count} of them new")
    if profile.drift is not None:
        click.echo(f"drift: {_drift_words(profile.drift)}")
    if profile.reliability is not None:
        click.echo(f"beliefs: {_reliability_words(profile.reliability)}")


def _drift_words(drift: Drift) -> str:
    words = {
        DriftState.UNWATCHED: "not watched yet, it was learned from too few jobs",
        DriftState.STEADY: "none, jobs are as it says",
        DriftState.SUSPICIOUS: f"perhaps, {drift.level:.0%} of the way to an alarm",
        DriftState.CHANGED: f"jobs have changed: {drift.changed_job_count} since the change are being learned from",
    }[drift.state]
    past = ""
    if drift.notice_time is not None:
        times = "once" if drift.change_count == 1 else f"{drift.change_count} times"
        past = f"; changes were noticed {times}, last {output.since(drift.notice_time)}"
    return f"{words}{past} (a false alarm is due every {drift.false_alarm_job_count} jobs)"


def _reliability_words(found: Reliability) -> str:
    shares = ", ".join(f"{level:.0%} intervals held {share:.0%}" for level, share in sorted(found.coverage.items()))
    error, crps = output.span(found.mean_error), output.span(found.mean_crps)
    return f"{shares}; mean error {error}, CRPS {crps} (of the newest {found.job_count} jobs)"


def _variables(content: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    labels = [_label(variable) for variable in content["variables"]]
    rows = []
    for variable, label, parents, prior in zip(
        content["variables"], labels, content["parents"], priors(content), strict=True
    ):
        states = len(variable["bins"]["values"]) + bool(variable["optional"])
        rows.append(
            (
                variable["aspect"].lower(),
                label.partition(" of ")[2],
                f"{states} (or absent)" if variable["optional"] else states,
                f"{prior.presence:.0%}",
                f"{prior.mean:.3g}",
                ", ".join(labels[parent] for parent in parents),
            )
        )
    return rows


def _levels(content: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What stages of each name are like; loops have what their later rounds are like."""
    loops = {name: pool for name, pool in content["pools"].items() if name}
    rows = []
    for name, level in content["levels"].items():
        is_llm = content["llm_names"][name]
        rounds = name in loops
        shown = loops[name]["llm" if is_llm else "tool"] if rounds else level
        numbers = (f"{shown[key]:.4g}" for key in ("units", "prompt_tokens", "width"))
        rows.append((f"{name} (later rounds)" if rounds else name, "LLM" if is_llm else "tool", *numbers))
    return rows


def _label(variable: Mapping[str, Any]) -> str:
    name, occurrence = variable["stage"]
    place = f"{name}#{occurrence}" if occurrence else name or "all other stages"
    return f"{variable['aspect'].lower()} of {place}"


def _bounds(estimate: Estimate) -> tuple[str, str, str]:
    def told(value: timedelta) -> str:
        return output.span(value)

    return told(estimate.expected), told(estimate.lower), told(estimate.upper)
