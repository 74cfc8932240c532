"""`llmsched demo`: starts everything, runs the reference applications, shows progress, times and a report."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import llmsched
from llmsched.applications.catalogue import REFERENCE_APPLICATIONS
from llmsched.types import Job, StageState
from services.up.cluster import LocalCluster
from services.up.report import Run, render
from services.up.report.page import rows
from services.up.stack import KNOWN_ENGINES, StackError, StackOptions, build

_console = Console()
#: Slots per engine: what a small machine's CPU batches well.
_SLOTS = {"sglang": 16, "llamacpp": 4, "sim": 8}
#: A small model needs no more than this from arrival to the last job's end, on two cores.
_PATIENCE = 900.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job to come."""

    at: float  #: seconds after the start
    application: str
    input: dict[str, object]


def arrivals(jobs: int, *, mean_seconds: float, seed: int) -> list[Arrival]:
    """Jobs of all applications in turn, shuffled, at the times of a Poisson process."""
    random = Random(seed)
    sources = {each.name: each.inputs(random) for each in REFERENCE_APPLICATIONS}
    names = [REFERENCE_APPLICATIONS[index % len(REFERENCE_APPLICATIONS)].name for index in range(jobs)]
    order = random.sample(names, len(names))
    planned, at = [], 0.0
    for name in order:
        planned.append(Arrival(at, name, next(sources[name])))
        at += random.expovariate(1 / mean_seconds)
    return planned


@click.command()
@click.option("--engine", type=click.Choice(KNOWN_ENGINES), default="sglang", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=18, show_default=True)
@click.option(
    "--mean-gap",
    type=click.FloatRange(min=0.01),
    default=3.0,
    show_default=True,
    help="Mean seconds between arrivals (Poisson).",
)
@click.option("--policy", default="fcfs", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--directory", type=click.Path(path_type=Path), default=Path(".run/demo"), show_default=True)
@click.option("--keep", is_flag=True, help="Go on with the state of the last run instead of a fresh one.")
def demo(engine: str, jobs: int, mean_gap: float, policy: str, seed: int, directory: Path, keep: bool) -> None:
    """Run compound applications on this machine, from submission to report."""
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
    options = StackOptions(
        directory=directory.resolve(),
        planner="127.0.0.1:0",
        scheduler="127.0.0.1:0",
        profiler="127.0.0.1:0",
        engines=(engine,),
        slots=_SLOTS[engine],
        tool_slots=os.cpu_count(),
        scheduler_settings={"policy": policy},
    )
    try:
        finished = asyncio.run(_demo(options, arrivals(jobs, mean_seconds=mean_gap, seed=seed), policy))
    except StackError as error:
        raise click.ClickException(str(error)) from error
    _print_times(finished, policy)
    report = directory.resolve() / "report.html"
    report.write_text(render(_run(finished, engine, policy, seed)), encoding="utf-8")
    _console.print(f"\nreport: {report}", soft_wrap=True)
    unfinished = [job for job in finished if not job.state.ended]
    if unfinished:
        raise click.ClickException(f"{len(unfinished)} jobs have not ended: {', '.join(job.id for job in unfinished)}")
    failed = [job for job in finished if job.state != "SUCCEEDED"]
    for job in failed:
        why = f"{job.failure.reason}: {job.failure.message}" if job.failure else job.state
        _console.print(f"[red]{job.application} {job.id} {job.state}[/]: {why}")


async def _demo(options: StackOptions, planned: list[Arrival], policy: str) -> list[Job]:
    stack = build(options)
    async with LocalCluster(stack, options.directory, on_event=_console.print) as cluster:
        with _console.status(f"starting the services and the engine ({options.engines[0]}) …"):
            await cluster.wait_ready(600.0)
        async with cluster.client() as client:
            for application in REFERENCE_APPLICATIONS:
                await client.register(application.load())
            _console.print(f"ready; {len(planned)} jobs arrive in Poisson order, scheduled by [b]{policy}[/]")
            return await _submit_and_watch(client, planned)


async def _submit_and_watch(client: llmsched.Client, planned: list[Arrival]) -> list[Job]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    board: dict[int, Job] = {}

    async def one(number: int, arrival: Arrival) -> Job:
        await asyncio.sleep(max(0.0, began + arrival.at - loop.time()))
        handle = await client.submit(arrival.application, arrival.input, labels={"demo": str(number)})
        job = await handle.status()
        async for event in handle.events():
            board[number] = job = llmsched.apply(job, event)
        board[number] = final = await handle.status()
        return final

    with Live(console=_console, refresh_per_second=4, transient=True) as live:
        tasks = [asyncio.create_task(one(number, arrival)) for number, arrival in enumerate(planned)]
        painter = asyncio.create_task(_paint(live, board, planned, loop, began))
        try:
            async with asyncio.timeout(_PATIENCE):
                return list(await asyncio.gather(*tasks))
        except TimeoutError:
            return list(board.values())
        finally:
            for task in (*tasks, painter):
                task.cancel()


async def _paint(
    live: Live, board: dict[int, Job], planned: list[Arrival], loop: asyncio.AbstractEventLoop, began: float
) -> None:
    while True:
        live.update(_board(board, planned, loop.time() - began))
        await asyncio.sleep(0.25)


def _board(board: dict[int, Job], planned: list[Arrival], elapsed: float) -> Group:
    table = Table(expand=False)
    for column in ("job", "application", "state", "stages done", "now", "output tokens"):
        table.add_column(column)
    for number, job in sorted(board.items()):
        visible = [stage for stage in job.stages if stage.tasks or stage.state is StageState.RUNNING]
        done = sum(stage.state.ended for stage in visible)
        running = [stage.stage_id for stage in visible if stage.state is StageState.RUNNING]
        tokens = sum(task.usage.completion_tokens for stage in job.stages for task in stage.tasks)
        table.add_row(
            str(number + 1), job.application, _coloured(job.state), str(done), ", ".join(running)[:40], str(tokens)
        )
    ended = sum(job.state.ended for job in board.values())
    return Group(table, Text(f"{ended} of {len(planned)} jobs have ended after {elapsed:.0f} s"))


def _coloured(state: str) -> Text:
    return Text(state, style={"SUCCEEDED": "green", "RUNNING": "cyan", "FAILED": "red"}.get(state, "yellow"))


def _print_times(jobs: list[Job], policy: str) -> None:
    table = Table(title=f"job completion times, policy {policy}")
    for column in ("application", "jobs", "succeeded", "mean s", "median s", "largest s", "output tokens"):
        table.add_column(column, justify="left" if column == "application" else "right")
    for row in rows(jobs):
        times = (f"{value:.2f}" for value in (row.mean, row.median, row.largest))
        table.add_row(row.application, str(row.jobs), str(row.succeeded), *times, str(row.completion_tokens))
    _console.print(table)


def _run(jobs: list[Job], engine: str, policy: str, seed: int) -> Run:
    states = Counter(str(job.state) for job in jobs)
    return Run(
        title="LLMSched demo",
        policy=policy,
        jobs=jobs,
        facts={
            "engine": engine,
            "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
            "llmsched": llmsched.__version__,
            "seed": str(seed),
            "jobs": ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
        },
    )
