"""Tasks that are cancelled together with who waits for them."""

from __future__ import annotations

import asyncio

import pytest

from services.common.lifecycle import cancel_and_wait


async def reluctant(asked: asyncio.Event, release: asyncio.Event) -> None:
    """Ends only when it is let go."""
    try:
        await asyncio.Event().wait()
    finally:
        asked.set()
        await release.wait()


async def test_it_waits_until_all_are_gone() -> None:
    asked, release = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(reluctant(asked, release))
    await asyncio.sleep(0)
    ending = asyncio.create_task(cancel_and_wait(task, None))
    await asked.wait()
    assert not ending.done()
    release.set()
    await ending
    assert task.cancelled()


async def test_errors_are_not_raised_here() -> None:
    async def fails() -> None:
        raise ValueError

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await cancel_and_wait(task)


async def test_nothing_to_wait_for() -> None:
    await cancel_and_wait()
    await cancel_and_wait(None)


async def test_who_is_cancelled_meanwhile_waits_and_is_cancelled() -> None:
    """A loop that went on instead would never end."""
    asked, release = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(reluctant(asked, release))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(cancel_and_wait(task))
    await asked.wait()
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert task.cancelled()
