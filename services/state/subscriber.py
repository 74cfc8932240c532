"""Hears of changes: one subscription per process serves all its watchers."""

from __future__ import annotations

import asyncio
import logging

from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from services.state.connection import RedisConnection, pending_cancellations
from services.state.keys import Keys
from services.state.watch import Watchers

_log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
QUIET_SECONDS = 5.0  #: after this the server is asked for a sign of life
SEPARATOR = "\0"  #: between the job ids of a notification


class Subscriber:
    """Passes notifications and deltas on to `watchers`, and reconnects for ever.

    Meanwhile the watchers poll, so a lost connection costs time and deltas but no change.
    """

    def __init__(self, connection: RedisConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._task: asyncio.Task[None] | None = None
        self._wanted_changed = asyncio.Event()
        self.watchers = Watchers(delta_jobs_changed=self._wanted_changed.set)

    def start(self) -> None:
        """Begins to listen, if it has not; needs a running event loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="state-subscriber")

    async def aclose(self) -> None:
        self.watchers.close()
        while self._task is not None and not self._task.done():
            self._task.cancel()  # again, because redis-py may lose one: see `pending_cancellations`
            await asyncio.wait([self._task], timeout=0.1)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except* Exception as errors:  # whatever it is, the next subscription may hold
                _log.warning(
                    "Lost the subscription to changes at %s (%s); polling until it is back.",
                    self._connection.address,
                    errors.exceptions[0],
                    extra={"action": "subscription_lost"},
                )
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        client = await self._connection.listener()
        try:
            async with client.redis.pubsub() as pubsub, asyncio.TaskGroup() as group:
                await pubsub.subscribe(self._keys.changes_channel)
                group.create_task(self._read(pubsub), name="state-subscriber-read")
                group.create_task(self._follow_wishes(pubsub), name="state-subscriber-follow")
        finally:
            await client.aclose()

    async def _read(self, pubsub: PubSub) -> None:
        asked = False
        while not pending_cancellations():
            message = await pubsub.get_message(timeout=QUIET_SECONDS)
            if message is not None:
                asked = False
                self._dispatch(message["type"], message["channel"], message["data"])
            elif asked:
                raise RedisConnectionError("no sign of life")
            else:
                asked = True
                await pubsub.ping()

    def _dispatch(self, kind: str, channel: bytes | None, data: bytes) -> None:
        if kind == "subscribe":
            self.watchers.changed_all()  # what happened before was not heard
        elif kind == "message" and channel is not None:
            if channel.decode() == self._keys.changes_channel:
                self.watchers.changed(data.decode().split(SEPARATOR))
            else:
                self.watchers.deliver(self._keys.job_of_deltas_channel(channel.decode()), data)

    async def _follow_wishes(self, pubsub: PubSub) -> None:
        """Keeps the subscriptions to deltas equal to what the watchers want."""
        subscribed: set[str] = set()
        while not pending_cancellations():
            self._wanted_changed.clear()
            wanted = {self._keys.deltas_channel(job_id) for job_id in self.watchers.delta_jobs()}
            if added := wanted - subscribed:
                await pubsub.subscribe(*added)
            if dropped := subscribed - wanted:
                await pubsub.unsubscribe(*dropped)
            subscribed = wanted
            if not pending_cancellations():
                await self._wanted_changed.wait()
