"""Runs an experiment: the warm-up, then every phase, each on a cluster of its own.

Fair to all policies: each phase starts services and engines anew, with an empty prefix cache and with one and the same
history, which profiles are learned from before the first job arrives. What a phase learns ends with it.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

import llmsched
from experiment import plan
from experiment.agreement import measured
from experiment.config import Config, application
from experiment.phase import Board, run_jobs
from experiment.plan import Planned
from experiment.provenance import describe
from experiment.store import WARM_UP, Phase, Store, write_atomically
from llmsched.types import Executor
from services.executors.llm.engine import Engine
from services.executors.llm.sglang import SGLangEngine, SGLangSettings
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, read_history, write_jobs
from services.scheduler.export.recording import read_recording
from services.scheduler.export.workload import Export, Selection, make_export
from services.up.cluster import LocalCluster
from services.up.stack import StackOptions, build
from simulator.cli.provenance import command
from simulator.cluster import ClusterShape
from simulator.generate.errors import RecipeError
from simulator.generate.load import Demand, demand, load_of_rate, rate_of_load

_OPENAI = "openai+"
#: Seconds for one call: learning a profile of a large history takes longer than most, above all on a busy machine.
_PATIENCE = 300.0
_ENGINE_URL = "LLMSCHED_EXECUTOR_ENGINE_URL"


class ExperimentFailed(Exception):
    """The experiment cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """What is told while an experiment runs."""

    began: Callable[[str, Board], None] = lambda name, board: None  #: a phase, and what it will look like
    changed: Callable[[Board], None] = lambda board: None
    say: Callable[[str], None] = lambda line: None
    ended: Callable[[Phase], None] = lambda phase: None  #: it is stored


class _Ran(NamedTuple):
    """A phase that has just ended, not yet stored."""

    phase: Phase
    export: Export
    samples: str  #: CSV


class Conductor:
    """Runs what is missing of an experiment in a folder."""

    def __init__(
        self, config: Config, store: Store, *, watcher: Watcher | None = None, otlp_endpoint: str | None = None
    ) -> None:
        self._config = config
        self._store = store
        self._watcher = watcher or Watcher()
        self._otlp_endpoint = otlp_endpoint

    def run(self) -> None:
        """Returns when all phases are stored.

        Raises:
            ExperimentFailed: too many jobs failed, or an application has no jobs to learn from.
            StackError: services or engines did not start.
        """
        config, store = self._config, self._store
        if not config.warm_up.jobs:
            self._remember(self._given())
        elif store.read(WARM_UP) is None:
            asyncio.run(self._warm_up())
        self._refuse_unknown_applications()
        rate, load = self._rate()
        for repeat in range(config.repeats):
            planned = plan.phase_jobs(config, repeat, rate)
            for policy in config.policies:
                if store.read(f"{policy}-{repeat}") is None:
                    asyncio.run(self._phase(policy, repeat, planned, rate, load))

    # ---- what is known before the phases -------------------------------------------------------------------------

    def _given(self) -> list[TraceJob]:
        path = self._config.warm_up.history
        if path is None:
            return []
        with path.open("rb") as lines:
            return list(read_history(lines, str(path)))

    def _remember(self, jobs: Sequence[TraceJob]) -> None:
        """The folder says all that policies knew at the start of each phase."""
        write_atomically(self._store.history_file, "".join(write_jobs(jobs)))

    async def _warm_up(self) -> None:
        planned = plan.warm_up_jobs(self._config)
        ran = await self._on_cluster(self._config.warm_up.policy, -1, planned, None, None, ())
        groups = {job.job_id: job.group for job in ran.phase.jobs}
        learned = [replace(job, group=groups.get(job.job_id)) for job in ran.export.history]
        self._remember([*self._given(), *learned])
        self._keep(ran)

    def _refuse_unknown_applications(self) -> None:
        known = {job.app for job in self._store.history()}
        if not self._config.needs_history:
            return
        missing = sorted({application(key).application for key in self._config.applications} - known)
        if missing:
            raise ExperimentFailed(
                f"no job to learn from: {', '.join(missing)}. None succeeded in the warm-up, and there is none in"
                f" warm_up.history; see {self._store.phases_folder / WARM_UP}.json, make warm_up.jobs larger, and"
                f" remove {self._store.folder} to begin anew"
            )

    def _rate(self) -> tuple[float | None, float | None]:
        """Jobs a second, and the load that this is of the capacity measured in the warm-up; None: not known."""
        asked, warm = self._config.arrivals, self._store.read(WARM_UP)
        if warm is None:
            return asked.rate, None
        mean, shape = capacity(self._store.history(), self._config, warm)
        try:
            if asked.load is not None:
                return rate_of_load(asked.load, mean, shape), asked.load
            rate = asked.rate
            return rate, None if rate is None else load_of_rate(rate, mean, shape)
        except RecipeError as error:
            raise ExperimentFailed(f"the warm-up shows no capacity: {error}") from error

    # ---- a phase -------------------------------------------------------------------------------------------------

    async def _phase(
        self, policy: str, repeat: int, planned: Sequence[Planned], rate: float | None, load: float | None
    ) -> None:
        ran = await self._on_cluster(policy, repeat, planned, rate, load, self._store.history())
        phase = ran.phase
        if phase.failed > self._config.limits.failed_share * len(phase.jobs):
            reasons = sorted({f"{job.state} {job.failure}".strip() for job in phase.jobs if job.jct is None})[:5]
            raise ExperimentFailed(
                f"{phase.name}: {phase.failed} of {len(phase.jobs)} jobs failed, more than limits.failed_share: "
                + "; ".join(reasons)
            )
        self._keep(ran)

    def _keep(self, ran: _Ran) -> None:
        groups = {job.job_id: job.group for job in ran.phase.jobs}
        jobs = [replace(job, group=groups.get(job.job_id)) for job in ran.export.workload]
        self._store.write(ran.phase, jobs, self._event_log, ran.samples)
        shutil.rmtree(self._running, ignore_errors=True)
        self._watcher.ended(ran.phase)

    async def _on_cluster(
        self,
        policy: str,
        repeat: int,
        planned: Sequence[Planned],
        rate: float | None,
        load: float | None,
        history: Sequence[TraceJob],
    ) -> _Ran:
        name = WARM_UP if repeat < 0 else f"{policy}-{repeat}"
        board = Board(len(planned))
        self._watcher.began(name, board)
        async with (
            self._cluster(policy, history) as (cluster, engines, cache),
            cluster.client(timeout=_PATIENCE) as client,
        ):
            for key in self._config.applications:
                await client.register(application(key))
            await _teach(client, history)
            began = time.time()
            jobs = await run_jobs(
                client,
                planned,
                self._config.limits,
                board=board,
                engines=engines,
                sample_seconds=self._config.sample_seconds,
                changed=lambda: self._watcher.changed(board),
            )
            seconds = time.time() - began
            calibrations = [_plain(one) async for one in client.calibrations()]
            model = _model((await client.cluster()).executors)
        export = make_export(read_recording(self._event_log), Selection())
        self._store.write_json("provenance.json", describe(self._store.folder, name, model, began, command()))
        phase = Phase(
            policy=policy,
            repeat=repeat,
            began=began,
            seconds=round(seconds, 3),
            rate=rate,
            load=load,
            jobs=tuple(jobs),
            cluster=export.cluster(),
            about=export.about(),
            model=model,
            llm_utilisation=round(board.utilisation("llm"), 4),
            tool_utilisation=round(board.utilisation("tool"), 4),
            dispatches=_dispatches(self._event_log),
            calibrations=calibrations,
            cache=cache,
        )
        return _Ran(phase, export, board.csv())

    @property
    def _running(self) -> Path:
        """Data and logs of the cluster that runs; what a phase that failed has left stays until the next one."""
        return self._store.folder / "running"

    @property
    def _event_log(self) -> Path:
        return self._running / "events.jsonl"

    @asynccontextmanager
    async def _cluster(
        self, policy: str, history: Sequence[TraceJob]
    ) -> AsyncIterator[tuple[LocalCluster, list[Engine], str]]:
        """Fresh services, fresh or flushed engines, and a view of each engine."""
        config, folder = self._config, self._running.resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        cache = await self._flushed()
        stack = build(self._options(policy, folder, history))
        async with AsyncExitStack() as opened:
            cluster = await opened.enter_async_context(LocalCluster(stack, folder, on_event=self._watcher.say))
            await cluster.wait_ready(config.limits.ready_seconds)
            engines = [view for spec in stack.processes if (view := _view(spec.environment)) is not None]
            for engine in engines:
                opened.push_async_callback(engine.aclose)
            yield cluster, engines, cache

    def _options(self, policy: str, folder: Path, history: Sequence[TraceJob]) -> StackOptions:
        config, engine = self._config, self._config.engine
        settings = {
            "policy": policy,
            "event_log": str(self._event_log.resolve()),
            "ageing_seconds": f"{config.ageing_seconds:g}",
        }
        if history:
            settings["history"] = str(self._store.history_file.resolve())
        if (work := self._work()) is not None:
            settings |= {"prefill_seconds": repr(work.prefill), "decode_seconds": repr(work.decode)}
        arguments = engine.arguments
        if engine.kind == "sim":
            arguments = ("--slots", str(engine.slots), "--time-scale", repr(engine.time_scale), *arguments)
        return StackOptions(
            directory=folder,
            planner="127.0.0.1:0",
            scheduler="127.0.0.1:0",
            profiler="127.0.0.1:0",
            engines=engine.urls or (engine.kind,) * engine.count,
            engine_arguments=arguments,
            slots=engine.slots,
            tool_slots=config.tool_slots,
            scheduler_settings=settings,
            otlp_endpoint=self._otlp_endpoint,
        )

    def _work(self) -> WorkModel | None:
        """What tokens cost by the calls of the warm-up; None: there were none, and the defaults hold."""
        warm = self._store.read(WARM_UP)
        if warm is None or not warm.about["fit"]["calls"]:
            return None
        work = measured(warm)[1]
        return work if work.decode > 0 else None

    async def _flushed(self) -> str:
        """Empties the prefix caches of engines that run already; says what became of it."""
        urls = self._config.engine.urls
        if not urls:
            return "fresh engines"
        said = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            for url in urls:
                try:
                    async with session.post(f"{url.removeprefix(_OPENAI).rstrip('/')}/flush_cache") as answer:
                        said.append("flushed" if answer.status == 200 else f"not flushed: HTTP {answer.status}")
                except (aiohttp.ClientError, TimeoutError) as error:
                    said.append(f"not flushed: {type(error).__name__}")
        return ", ".join(f"{url}: {what}" for url, what in zip(urls, said, strict=True))


def capacity(history: Sequence[TraceJob], config: Config, warm: Phase) -> tuple[Demand, ClusterShape]:
    """What a job of the experiment asks for on average, and the cluster that the warm-up has measured."""
    shape, work = measured(warm)
    weights = {application(key).application: part.weight for key, part in config.applications.items()}
    llm = tool = 0.0
    for name, weight in weights.items():
        each = [demand(job, work) for job in history if job.app == name]
        llm += weight * sum(one.llm_work for one in each) / max(1, len(each))
        tool += weight * sum(one.tool_seconds for one in each) / max(1, len(each))
    total = sum(weights.values())
    return Demand(llm_work=llm / total, tool_seconds=tool / total), shape


async def _teach(client: llmsched.Client, history: Sequence[TraceJob]) -> None:
    """The profiler learns a profile of every application of the history before the first job arrives."""
    if not history:
        return
    await client.import_history([line.encode() for line in write_jobs(history)])
    for name in sorted({job.app for job in history}):
        await client.train(name)


def _view(environment: Mapping[str, str]) -> Engine | None:
    """A client of an executor's engine, to ask how busy it is; None: it is no executor's, or its API does not say."""
    url = environment.get(_ENGINE_URL)
    if url is None or environment.get("LLMSCHED_EXECUTOR_ENGINE") == "openai":
        return None
    return SGLangEngine(SGLangSettings(url=url))


def _model(executors: Sequence[Executor]) -> str:
    offers = {offer for executor in executors for offer in executor.offers if offer.startswith("llm:")}
    return ", ".join(sorted(offer.removeprefix("llm:") for offer in offers))


def _plain(calibration: Any) -> dict[str, Any]:
    """Of what an engine was measured to do, what a reader of the results wants to know."""
    known = asdict(calibration)
    return {name: known[name] for name in ("executor_id", "prefill_seconds", "step_seconds", "step_counts")}


def _dispatches(log: Path) -> int:
    with log.open("rb") as lines:
        return sum(line.count(b'"@":"Dispatch"') for line in lines)
