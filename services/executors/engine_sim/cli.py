"""`llmsched engine-sim`: an engine without a model, for tests, demonstrations and load experiments."""

from __future__ import annotations

import asyncio
import csv
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
from aiohttp import web

from services.executors.engine_sim.core import BatchSettings, StepTimes
from services.executors.engine_sim.server import EngineSimulator, SimSettings

_DRAIN_SECONDS = 5.0


@asynccontextmanager
async def serving(settings: SimSettings, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves inside the block; gives the URL. At its end, requests that run have a few seconds to finish.

    Raises OSError if the address is taken.
    """
    app = EngineSimulator(settings).app()
    # handler_cancellation: a client that hangs up must free its slot, as an aborted request does.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        name, number = runner.addresses[0][:2]
        yield f"http://{f'[{name}]' if ':' in name else name}:{number}"
    finally:
        await runner.cleanup()


def read_step_table(path: Path) -> dict[int, float]:
    """Reads measured step times from a CSV file with the columns `batch` and `seconds`. Raises ValueError."""
    table: dict[int, float] = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                table[int(row["batch"])] = float(row["seconds"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number}: wanted columns batch,seconds; got {dict(row)}") from error
    if not table:
        raise ValueError(f"{path} holds no step times")
    return table


async def _serve(settings: SimSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings, host=host, port=port) as url:
        click.echo(url)  # the only line on stdout: whoever started this reads the address from it
        await stop.wait()


@click.command("engine-sim", help=__doc__)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0 takes a free one; the URL is printed.")
@click.option("--model", default="engine-sim", show_default=True, help="The model name it answers to.")
@click.option("--slots", default=8, show_default=True, help="Requests that run together.")
@click.option("--max-queued", type=int, help="Requests that may wait; further ones get 503. Default: any number.")
@click.option("--prefill", default=0.000161, show_default=True, help="Seconds for a token of a prompt.")
@click.option("--decode", default=0.0155, show_default=True, help="Seconds for a step of one request alone.")
@click.option("--batch-slowdown", default=0.05, show_default=True, help="What each further request adds to a step.")
@click.option(
    "--step-table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with columns batch,seconds: measured steps, in place of the two options before.",
)
@click.option("--time-scale", default=1.0, show_default=True, help="0.01 runs a hundred times faster.")
@click.option("--seed", default=0, show_default=True, help="Decides all texts and lengths.")
@click.option("--mean-fraction", default=0.5, show_default=True, help="Mean length of answers / their maximum.")
@click.option("--context-length", default=32768, show_default=True, help="Longest prompt in tokens.")
def engine_sim(
    host: str,
    port: int,
    model: str,
    slots: int,
    max_queued: int | None,
    prefill: float,
    decode: float,
    batch_slowdown: float,
    step_table: Path | None,
    time_scale: float,
    seed: int,
    mean_fraction: float,
    context_length: int,
) -> None:
    try:
        table = read_step_table(step_table) if step_table else {}
        steps = StepTimes(decode=decode, slowdown=batch_slowdown, table=table)
        settings = SimSettings(
            model=model,
            batch=BatchSettings(slots=slots, max_queued=max_queued, prefill=prefill, steps=steps),
            time_scale=time_scale,
            seed=seed,
            mean_fraction=mean_fraction,
            context_length=context_length,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        asyncio.run(_serve(settings, host, port))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from error


if __name__ == "__main__":
    engine_sim()
