"""Many runs on all cores, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from services.profiler.core.statistics import Statistics
from services.profiler.core.trace import TraceJob, read_workload
from simulator.events_file import events_file
from simulator.run import RunResult, RunSettings, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run for another process."""

    jobs: Path | tuple[TraceJob, ...]  #: a workload file is read there, as the run goes on
    settings: RunSettings
    statistics: Statistics | None = None
    events: Path | None = None  #: where to write what happens, see `events_file`


def run_task(task: Task) -> RunResult:
    """Runs it here. Raises what `run` raises, and OSError if a file cannot be read or written."""
    with ExitStack() as files:
        jobs: Iterable[TraceJob]
        if isinstance(task.jobs, Path):
            jobs = read_workload(files.enter_context(task.jobs.open("rb")), str(task.jobs))
        else:
            jobs = task.jobs
        observe = None
        if task.events is not None:
            observe = files.enter_context(events_file(task.events, task.settings.policy.name))
        return run(jobs, task.settings, statistics=task.statistics, observe=observe)


def run_all(
    tasks: Sequence[Task], *, processes: int | None = None, done: Callable[[int, RunResult], None] | None = None
) -> list[RunResult]:
    """Runs all tasks; results are in the order of the tasks. The first error ends it.

    Args: `processes`: how many at once (default: one for each core); 1 runs everything in this process. `done` is told
    the index and the result of each run when it ends, for progress bars.
    """
    workers = min(processes or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        results = []
        for index, task in enumerate(tasks):
            results.append(run_task(task))
            if done is not None:
                done(index, results[-1])
        return results
    # Not fork: whoever calls may have threads, such as the one that draws a progress bar.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        futures: dict[Future[RunResult], int] = {pool.submit(run_task, task): i for i, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                if done is not None:
                    done(futures[future], future.result())
                else:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in sorted(futures, key=futures.__getitem__)]
