"""The cluster of deploy/systemd/hosts.yaml, with what tests of faults ask it and do to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import llmsched
from lab.hosts import EXECUTORS, SCHEDULERS, Hosts, client_options, running
from llmsched import Application
from llmsched.types import ExecutorState, Job, JobState, Task, TaskState
from tests.support.live import until, verify_history

SLOTS = 8  #: of each engine, as its unit has it
LIMIT = 200.0  #: seconds until what must come is given up; nothing is measured with it
_TOKENS = 400


def answer() -> Application:
    """One long answer of a model: some seconds, so that a host can be lost in its midst; then a tool."""
    app = Application("answer", input={"topic": "string"})
    app.llm("think", prompt=f"[[tokens: {_TOKENS}]] {{{{ input.topic }}}}", max_tokens=_TOKENS)
    app.tool("count", call="text.statistics", args={"text": "{{ think.text }}"})
    app.output = {"words": "{{ count.words }}"}
    return app


def short() -> Application:
    """As `answer`, in a fraction of a second."""
    app = Application("short", input={"topic": "string"})
    app.llm("think", prompt="[[tokens: 20]] {{ input.topic }}", max_tokens=20)
    app.tool("count", call="text.statistics", args={"text": "{{ think.text }}"})
    app.output = {"words": "{{ count.words }}"}
    return app


@dataclass(slots=True)
class Site:
    hosts: Hosts
    client: llmsched.Client

    async def fill(self, waiting: int = 0) -> list[llmsched.JobHandle]:
        """Submits jobs until every slot of every engine is taken and so many wait; all run when it returns."""
        count = SLOTS * len(EXECUTORS)
        topics = [{"topic": f"topic {number}"} for number in range(count + waiting)]
        handles = list(await asyncio.gather(*(self.client.submit("answer", each) for each in topics)))

        async def taken() -> bool:
            return (await self.client.cluster()).running_attempts == count

        await self.until(taken, f"{count} running attempts")
        return handles

    async def thinking(self, handles: Sequence[llmsched.JobHandle]) -> dict[str, Task]:
        """The model's task of each job."""
        jobs = await asyncio.gather(*(handle.status() for handle in handles))
        return {job.id: task_of(job) for job in jobs if any(stage.tasks for stage in job.stages)}

    async def begun(self, handles: Sequence[llmsched.JobHandle]) -> set[str]:
        """The jobs whose model's task runs by now. Of what is given out in the moment of a fault nobody can say."""
        return {job for job, task in (await self.thinking(handles)).items() if task.state is TaskState.RUNNING}

    async def all_succeed(self, handles: Sequence[llmsched.JobHandle]) -> list[Job]:
        """Waits for all of them; no result was applied twice, no history has a gap."""

        async def ended() -> bool:
            jobs = await asyncio.gather(*(handle.status() for handle in handles))
            return all(job.state.ended for job in jobs)

        await self.until(ended, "the end of all jobs")
        jobs = [await verify_history(self.client, handle.id) for handle in handles]
        assert [job.state for job in jobs] == [JobState.SUCCEEDED] * len(jobs), [job.failure for job in jobs]
        return jobs

    async def led_by(self, *hosts: str) -> str:
        """Waits until exactly one of these leads; gives it."""
        found = ""

        async def one() -> bool:
            nonlocal found
            try:
                found = await self.hosts.leader()
            except LookupError:
                return False
            return found in hosts

        await self.until(one, f"a leader on {' or '.join(hosts)}")
        return found

    async def leads_no_more(self, host: str) -> None:
        """Waits until that scheduler itself says so, asked on its own host."""
        service = self.hosts.processes.services[f"{host}.llmsched-scheduler"]

        async def stands_by() -> bool:
            words = [*service.health, "--leading"]
            code, _, errors = await self.hosts.processes.run(host, words, service.environment)
            return code != 0 and "not serving" in errors

        await self.until(stands_by, f"{host} without the lead")

    async def attached(self, *executors: str) -> None:
        """Waits until exactly these LLM executors are attached."""

        async def so() -> bool:
            known = (await self.client.cluster()).executors
            names = {each.executor_id for each in known if each.state is ExecutorState.ATTACHED}
            return {name for name in names if name.startswith("llm-")} == set(executors)

        await self.until(so, f"{', '.join(executors)} attached, and no other")

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        async def holds() -> bool:
            try:
                return await condition()
            except (llmsched.UnavailableError, llmsched.DeadlineExceededError):
                return False

        try:
            await until(holds, limit=LIMIT, what=what)
        except AssertionError as error:
            logs = [f"{name}:\n{self.hosts.processes.log(name)[-1500:]}" for name in self.hosts.processes.services]
            raise AssertionError("\n\n".join([str(error), *logs])) from error

    def logged(self, host: str, action: str) -> list[dict[str, object]]:
        """What the scheduler of that host has written of this kind."""
        lines = self.hosts.processes.log(f"{host}.llmsched-scheduler").splitlines()
        return [line for line in map(json.loads, filter(None, lines)) if line.get("action") == action]


def other(host: str) -> str:
    """The other scheduler's host."""
    return next(each for each in SCHEDULERS if each != host)


def task_of(job: Job) -> Task:
    """The model's task of a job of `answer`."""
    return next(task for stage in job.stages if stage.name == "think" for task in stage.tasks)


def attempts_of(jobs: Sequence[Job]) -> list[int]:
    """How often tasks were tried."""
    return [task.attempt for job in jobs for stage in job.stages for task in stage.tasks]


def repeated(jobs: Sequence[Job], begun: set[str]) -> list[str]:
    """Those of them whose model's task, which had begun, was tried again."""
    assert begun <= {job.id for job in jobs}
    return [job.id for job in jobs if job.id in begun and task_of(job).attempt > 1]


def tokens_of(jobs: Sequence[Job]) -> int:
    """Tokens that engines made for these jobs, if they made each answer once."""
    return sum(job.usage.completion_tokens for job in jobs)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    async with running(folder) as hosts, llmsched.Client(options=client_options()) as client:
        for app in (answer(), short()):
            await client.register(app)
        yield Site(hosts, client)
