"""How a service process runs and ends: SIGTERM and SIGINT ask once, then it drains; uvloop where there is one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main(stop)` until it returns; `stop` is set by the first SIGTERM or SIGINT."""
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


async def cancel_and_wait(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancels tasks and waits until they are gone; their errors are theirs to have logged.

    Who is cancelled while waiting here is so afterwards: a caller that went on would never end.
    """
    alive = {task for task in tasks if task is not None}
    for task in alive:
        task.cancel()
    ended = asyncio.gather(*alive, return_exceptions=True)
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
