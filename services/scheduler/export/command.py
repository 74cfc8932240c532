"""`llmsched jobs export`: a live run, from its event log, as something to simulate."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.exits import CommandFailed, Exit
from llmsched.cli.output import print_json
from services.profiler.core.trace import write_jobs
from services.scheduler.export.recording import NoEventLog, Recording, read_recording
from services.scheduler.export.workload import Export, Selection, make_export

WORKLOAD, HISTORY, CLUSTER = "workload.jsonl", "history.jsonl", "cluster.json"


class _Time(click.ParamType):
    """A date, or a date and time; UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-11-17 or 2026-11-17T08:30:00Z", param, ctx)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


@click.command(cls=Command)
@click.argument("event_log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help=f"Folder for {WORKLOAD} and so on."
)
@click.option("--application", "applications", metavar="APP", multiple=True, help="Only its jobs; may be repeated.")
@click.option("--since", type=_Time(), metavar="TIME", help="Only jobs that arrived then or later; UTC.")
@click.option("--until", type=_Time(), metavar="TIME", help="Only jobs that arrived before.")
@pass_settings
def export(
    settings: Settings,
    event_log: Path,
    out: Path,
    applications: tuple[str, ...],
    since: float | None,
    until: float | None,
) -> None:
    """Make a workload of a live run, to ask what another policy would have done.

    EVENT_LOG is what `llmsched up --event-log` wrote. Needs no server. Exit code 3 if no job of it can be exported.
    """
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--until must be later than --since")
    try:
        recording = read_recording(event_log)
    except (NoEventLog, OSError) as error:
        raise CommandFailed(str(error), Exit.REFUSED, as_json=settings.as_json) from error
    exported = make_export(recording, Selection(applications=applications, since=since, until=until))
    if not exported.workload:
        raise CommandFailed(_nothing(exported, recording, event_log), Exit.NOT_FOUND, as_json=settings.as_json)
    try:
        write(exported, out)
    except OSError as error:
        raise CommandFailed(f"{out} cannot be written: {error}", Exit.REFUSED, as_json=settings.as_json) from error
    if settings.as_json:
        print_json({**exported.about(), "cluster": exported.cluster()})
    else:
        _show(exported, out)


def write(exported: Export, out: Path) -> None:
    """Writes the three files. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    for name, jobs in ((WORKLOAD, exported.workload), (HISTORY, exported.history)):
        with (out / name).open("w", encoding="utf-8") as file:
            file.writelines(write_jobs(jobs))
    cluster = {**exported.cluster(), "about": exported.about()}
    (out / CLUSTER).write_text(json.dumps(cluster, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _nothing(exported: Export, recording: Recording, event_log: Path) -> str:
    if not recording.jobs:
        return f"{event_log} has no jobs"
    if not exported.left_out:
        names = ", ".join(sorted({job.application for job in recording.jobs.values()}))
        arrivals = [job.arrival for job in recording.jobs.values()]
        span = " to ".join(
            f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (min(arrivals), max(arrivals))
        )
        return f"{event_log} has no job that was asked for: its jobs are of {names}, and arrived from {span}"
    return f"no job in {event_log} can be exported: {_left_out(exported)}"


def _left_out(exported: Export) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(exported.left_out.items()))


def _show(exported: Export, out: Path) -> None:
    fit, cluster = exported.fit, exported.cluster()
    lines = [f"{len(exported.workload)} jobs in {out / WORKLOAD}"]
    if exported.left_out:
        share = f"{exported.left_out_share:.1%} of the slot time"
        lines.append(f"left out  {_left_out(exported)}; {share}")
    for policy, (jobs, mean) in exported.recorded.items():
        lines.append(f"recorded  mean JCT {mean:.3f} s under {policy} ({jobs} jobs)")
    lines.append(
        f"cluster   {cluster['llm_executors']} LLM executors of {cluster['max_batch']} slots, "
        f"{cluster['tool_slots']} tool slots, policy {cluster['policy']}"
    )
    work = f"prefill {fit.work.prefill:.3g} s, decode {fit.work.decode:.3g} s, batch slowdown {fit.batch_slowdown:.3g}"
    if fit.calls == 0:
        lines.append(f"work      no LLM calls to learn from: {work} (defaults)")
    else:
        quality = "they all took equally long" if fit.r_squared is None else f"R² {fit.r_squared:.4f}"
        quality += f", half of the times within {fit.median_error:.1%}"
        lines.append(f"work      {work}; {quality}, {fit.calls} calls in batches of up to {fit.largest_batch}")
    lines.append(f"planner   {exported.unfold_seconds * 1000:.0f} ms a job, for which the simulation takes no time")
    lines += [f"note      {note}" for note in exported.notes]
    for line in lines:
        click.echo(line)
    files = f"{out / WORKLOAD} --cluster {out / CLUSTER} --history {out / HISTORY}"
    other = "fcfs" if exported.policy.name == "srtf" else "srtf"
    click.echo(f"\nllmsched simulate {files} --policy {exported.policy.name} --policy {other}")
