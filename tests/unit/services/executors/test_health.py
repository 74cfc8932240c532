"""The watch on a worker's health: nothing waits for a look, and no look is believed that is older than a suspicion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.lifecycle import cancel_and_wait
from services.executors import health as module
from services.executors.health import HealthWatch
from services.executors.work import Condition
from tests.unit.services.executors.scripted import ScriptedWorker


class Watched:
    """A watch on a scripted worker, and the changes that it told."""

    def __init__(self) -> None:
        self.worker = ScriptedWorker()
        self.told: asyncio.Queue[bool] = asyncio.Queue()
        self.watch = HealthWatch(self.worker, on_change=lambda: self.told.put_nowait(self.watch.condition.healthy))
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self.watch.run())

    async def stop(self) -> None:
        await cancel_and_wait(self._running)


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0.001)
    watched = Watched()
    yield watched
    await watched.stop()


async def test_changes_are_told(watched: Watched) -> None:
    watched.worker.now = Condition(healthy=False)
    watched.start()
    assert await watched.told.get() is False

    watched.worker.now = Condition(healthy=True)
    assert await watched.told.get() is True


async def test_a_look_that_hangs_is_a_worker_that_cannot_work(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    watched.worker.look = asyncio.Event().wait
    watched.start()

    assert await watched.told.get() is False
    watched.worker.look = None
    assert await watched.told.get() is True


async def test_a_look_that_breaks_does_not_end_the_watch(watched: Watched) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    watched.worker.look = broken
    watched.start()

    assert await watched.told.get() is False
    watched.worker.look = None
    assert await watched.told.get() is True


async def test_a_suspicion_holds_until_a_look_that_is_made_at_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 3600.0)
    watched.start()
    await watched.worker.looked.get()

    watched.watch.suspect()

    assert not watched.watch.condition.healthy
    assert [await watched.told.get(), await watched.told.get()] == [False, True]


async def test_a_look_that_began_before_a_suspicion_is_not_believed(watched: Watched) -> None:
    gate = asyncio.Event()
    watched.worker.look = gate.wait
    watched.start()
    await watched.worker.looked.get()
    watched.watch.suspect()
    assert await watched.told.get() is False

    watched.worker.look = asyncio.Event().wait  # the next look does not end
    gate.set()
    await watched.worker.looked.get()

    assert not watched.watch.condition.healthy
