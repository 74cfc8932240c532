"""Many runs on all cores, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from services.profiler.core.statistics import Statistics
from services.profiler.core.trace import TraceJob, read_workload
from simulator.run import RunResult, RunSettings, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run for another process."""

    jobs: Path | tuple[TraceJob, ...]  #: a workload file is read there, as the run goes on
    settings: RunSettings
    statistics: Statistics | None = None


def run_task(task: Task) -> RunResult:
    """Runs it here. Raises what `run` raises, and OSError if there is no such file."""
    if not isinstance(task.jobs, Path):
        return run(task.jobs, task.settings, statistics=task.statistics)
    with task.jobs.open("rb") as lines:
        return run(read_workload(lines, str(task.jobs)), task.settings, statistics=task.statistics)


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
    with ProcessPoolExecutor(workers) as pool:
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
