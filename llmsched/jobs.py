"""A job in the hands of the one who submitted it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from llmsched.errors import DeadlineExceededError
from llmsched.events import Event
from llmsched.names import job_id, job_name
from llmsched.types import Job, TaskOutput

if TYPE_CHECKING:
    from llmsched.client import Client


class JobHandle:
    """Refers to one job; `Client.submit` makes it, `Client.handle` makes one for a job known by name."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        #: Format: jobs/{job}.
        self.name = job_name(name)

    @property
    def id(self) -> str:
        """The name without `jobs/`."""
        return job_id(self.name)

    def __repr__(self) -> str:
        return f"JobHandle({self.name!r})"

    async def status(self) -> Job:
        """The job as it is now, with its stages. Raises NotFoundError."""
        return await self._client.job(self.name)

    def events(self, *, deltas: bool = False, after_sequence: int = 0) -> AsyncGenerator[Event, None]:
        """What happens to the job until it ends, see `Client.watch`."""
        return self._client.watch(self.name, deltas=deltas, after_sequence=after_sequence)

    async def wait(self, *, timeout: float | None = None) -> Job:
        """The job once it has ended, however it did.

        Raises DeadlineExceededError after `timeout` seconds; the job goes on all the same.
        """
        try:
            async with asyncio.timeout(timeout) as scope:
                async for _ in self.events():
                    pass
                return await self.status()
        except TimeoutError as error:
            # A single call that took too long is a TimeoutError too, and says so better.
            if not scope.expired():
                raise
            raise DeadlineExceededError(f"{self.name} has not ended within {timeout:g} s; it goes on") from error

    async def result(self, *, timeout: float | None = None) -> Any:
        """The job's output, a JSON value, once it has succeeded. Whole numbers are `int`.

        Raises JobFailedError, JobCancelledError, and DeadlineExceededError after `timeout` seconds.
        """
        await self.wait(timeout=timeout)
        return await self._client.result(self.name)

    async def outputs(self) -> tuple[TaskOutput, ...]:
        """The outputs of all tasks that are done so far."""
        return await self._client.outputs(self.name)

    async def cancel(self, *, reason: str = "") -> Job:
        """Cancel the job; its running attempts are aborted. Changes nothing once it has ended."""
        return await self._client.cancel(self.name, reason=reason)

    async def rerun(self) -> JobHandle:
        """A new job that takes over the results of this one's stages that succeeded. Raises ConflictError."""
        return await self._client.rerun(self.name)
