"""Jobs of the applications that ship, run on a live cluster."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import llmsched
from llmsched.applications.catalogue import ReferenceApplication
from llmsched.types import Job, JobState


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that has ended, and its result."""

    job: Job
    result: Any  #: None unless it succeeded

    @property
    def llm_calls(self) -> int:
        return sum(bool(task.usage.completion_tokens) for stage in self.job.stages for task in stage.tasks)

    @property
    def output_tokens(self) -> int:
        return sum(task.usage.completion_tokens for stage in self.job.stages for task in stage.tasks)

    def check(self) -> None:
        """It succeeded, has a result, and is small: with 135 million parameters on two cores it takes seconds."""
        assert self.job.state is JobState.SUCCEEDED, f"{self.job.application} {self.job.id}: {self.job.failure}"
        assert self.result is not None
        assert 1 <= self.llm_calls <= 12
        assert self.output_tokens <= 800  # code generation: ten rounds of 72


async def run_jobs(client: llmsched.Client, app: ReferenceApplication, count: int, *, limit: float) -> list[Ran]:
    """Registers the application and runs some jobs of it at once; they must all end within `limit` seconds."""
    await client.register(app.load())
    handles = [await client.submit(app.name, each) for each in islice(app.inputs(Random(5)), count)]
    return list(await asyncio.gather(*(_ended(handle, limit) for handle in handles)))


async def _ended(handle: llmsched.JobHandle, limit: float) -> Ran:
    job = await handle.wait(timeout=limit)
    return Ran(job, await handle.result() if job.state is JobState.SUCCEEDED else None)
