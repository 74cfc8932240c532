"""What running jobs still need, for commands that show jobs: asked of a profiler, if there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from llmsched.cli import output
from llmsched.client import Client
from llmsched.errors import LLMSchedError, NotFoundError
from llmsched.names import split_profile
from llmsched.options import Options
from llmsched.types import Job, Prediction, Reliability

#: Seconds that a profiler may take to answer; each further address may be tried so much longer.
_PATIENCE, _MORE = 2.0, 0.3

#: One that is not there is noticed at once.
_CONNECT = 0.05


class Forecast:
    """Predictions, or none: whoever asks for a job should not hear of a profiler that is missing, nor wait for it."""

    def __init__(self, options: Options, *, wanted: bool = True) -> None:
        connect = _CONNECT + _MORE * (len(options.profiler) - 1)
        self._client = Client(options=options.replace(timeout=_PATIENCE, connect_timeout=connect))
        self._wanted = wanted
        self._asking: asyncio.Task[None] | None = None
        self._again: Job | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await self._client.close()

    async def of(self, job: Job) -> Prediction | None:
        """What the job still needs; None if it has ended, or nobody knows."""
        if not self._wanted or job.state.ended:
            return None
        try:
            return await self._client.predict(job.name)
        except NotFoundError:
            return None
        except LLMSchedError:
            self._wanted = False  # not asked again: there is no profiler, or none that works
            return None

    async def reliability(self, job: Job) -> Reliability | None:
        """How good beliefs about jobs of its application were; None if nobody knows."""
        try:
            async for profile in self._client.profiles():
                if profile.application == job.application:
                    return profile.reliability
        except LLMSchedError:
            pass
        return None

    def refresh(self, job: Job, show: Callable[[Prediction | None], None]) -> None:
        """Asks meanwhile, and shows what it hears. While an answer is awaited only the latest question is kept."""
        self._again = job
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(show))

    async def _ask(self, show: Callable[[Prediction | None], None]) -> None:
        while (job := self._again) is not None:
            self._again = None
            show(await self.of(job))


def kept(reliability: Reliability) -> str:
    """What beliefs were worth, in one line."""
    shares = [f"{level:.0%} intervals held {share:.0%}" for level, share in sorted(reliability.coverage.items())]
    return f"{', '.join(shares)} (of the application's newest {reliability.job_count} jobs)"


def told(prediction: Prediction) -> str:
    """What is left, in one line."""
    total = prediction.total
    _, version = split_profile(prediction.profile)
    return (
        f"{output.span(total.expected)} of work expected, {output.span(total.lower)} to {output.span(total.upper)}"
        f" (LLM {output.span(prediction.llm_work.expected)}, tools {output.span(prediction.tool_time.expected)};"
        f" each task as if alone, without waiting; profile {version})"
    )
