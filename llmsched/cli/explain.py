"""Commands that say why: explain, decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing

import click
from rich.console import Console

from llmsched.cli import output
from llmsched.cli.cluster import describe
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.client import Client
from llmsched.types import Decision, Explanation, Figure, StageReasons

_COLUMNS = ("DECISION", "TIME", "TASK", "ATTEMPT", "EXECUTOR", "WHY", "WAITED", "PASSED OVER")

#: Parts of a key that only decide between stages that are equal otherwise.
_TIES = ("arrival", "order", "position")


@click.command(cls=Command)
@click.argument("job")
@pass_settings
def explain(settings: Settings, job: str) -> None:
    """Say why the stages of JOB run or wait, with the numbers used, and what would change it."""
    found = settings.run(lambda client: client.explain(job))
    if settings.as_json:
        output.print_json(found)
        return
    console = output.console()
    console.print(output.text(f"policy {describe(found.policy)}", "dim"))
    for line in _believed(found.figures):
        console.print(output.text(line))
    for reason in found.reasons:
        console.print(output.text(reason))
    for stage in found.stages:
        _print_stage(stage, found, console)
    console.print()
    rows = [_row(decision) for decision in found.decisions]
    output.print_table(_COLUMNS, rows, empty="No decisions about this job yet.")


@click.command(cls=Command)
@click.argument("job", required=False)
@click.option("--limit", type=click.IntRange(min=1), help="End after this many.")
@pass_settings
def decisions(settings: Settings, job: str | None, limit: int | None) -> None:
    """Follow the scheduler's decisions, or those about JOB, as they are taken: what went where, and why.

    Until Ctrl-C. One line a decision; with `-o json` one object a line.
    """

    async def work(client: Client) -> None:
        count = 0
        async with aclosing(client.decisions(job)) as stream:
            async for decision in stream:
                _print_decision(decision, settings)
                count += 1
                if count == limit:
                    return

    settings.run(work)


def _print_decision(decision: Decision, settings: Settings) -> None:
    if settings.as_json:
        output.print_json_line(decision)
        return
    number, time, task, attempt, executor, why, waited, others = _row(decision)
    again = f" attempt {attempt}" if decision.attempt > 1 else ""
    line = (
        f"{time} #{number} {decision.job_id} {task}{again} → {executor}  {why} · waited {waited} · {others} waited on"
    )
    click.echo(output.printable(line))


def _believed(figures: Sequence[Figure]) -> Iterator[str]:
    """What is believed of the job, in two lines; numbers that are not known by name come after."""
    named = {figure.name: figure for figure in figures}

    def told(name: str) -> str:
        figure = named.pop(name, None)
        return "?" if figure is None else output.number(figure.value, figure.unit)

    if not named:
        return
    yield (
        f"work left: {told('expected_total')} expected, {told('low_80')} to {told('high_80')} with 80 %, "
        f"support {told('support_low')} to {told('support_high')} · LLM {told('expected_llm')}, "
        f"tools {told('expected_tool')} · done: {told('spent')}"
    )
    yield f"by profile {told('profile_version')}, learned from {told('profile_jobs')} jobs"
    for figure in named.values():
        yield f"{figure.label}: {output.number(figure.value, figure.unit)}"


def _print_stage(stage: StageReasons, found: Explanation, console: Console) -> None:
    queued = next((one for one in found.queued if one.stage_id == stage.stage_id), None)
    console.print()
    line = output.text(stage.stage_id, "bold").append(f"  {_place(stage)}", style="")
    console.print(line.append(output.printable(f"  {queued.reason}" if queued else ""), style="dim"))
    for figure in stage.figures:
        if figure.name not in _TIES:
            console.print(output.text(f"  {output.number(figure.value, figure.unit):>10}  {figure.label}"))
    if stage.before:
        console.print(output.text("  before it", "dim"))
    for one in stage.before:
        name, _, _ = one.by.label.partition(":")
        by = f"{name} smaller by {output.number(one.by.value, _span_unit(one.by))}" if one.by.value else ""
        console.print(output.text(f"    {one.job_id} {one.stage_id} ({one.application})  {by}".rstrip()))
    if stage.changes:
        console.print(output.text("  what would change it", "dim"))
    for change in stage.changes:
        console.print(output.text(f"    {change.text}"))


def _place(stage: StageReasons) -> str:
    if stage.place == 0:
        return "is next"
    others = "1 other job" if stage.jobs_before == 1 else f"{stage.jobs_before} other jobs"
    return f"is number {stage.place + 1}, with {others} before it"


def _span_unit(figure: Figure) -> str:
    """Of a difference."""
    return "s" if figure.unit == "time" else figure.unit


def _row(decision: Decision) -> tuple[str, ...]:
    return (
        str(decision.number),
        f"{decision.decide_time:%H:%M:%S}" if decision.decide_time else "",
        f"{decision.stage_id}[{decision.task_index}]",
        str(decision.attempt),
        decision.executor_id,
        why(decision),
        output.span(decision.waited),
        str(max(0, decision.waiting_stages - 1)),
    )


def why(decision: Decision) -> str:
    """The number that decided, in words."""
    if decision.rule == "ageing" or not decision.figures:
        return decision.rule if decision.rule == "ageing" else f"{decision.rule} {decision.key}".rstrip()
    decisive = decision.figures[-1] if decision.rule == "explore" else decision.figures[0]
    return f"{decisive.label}: {output.number(decisive.value, decisive.unit)}"
