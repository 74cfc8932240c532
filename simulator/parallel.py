"""Many runs on all cores, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import Statistics, WorkModel
from services.profiler.core.trace import TraceJob, read_workload
from simulator.events_file import events_file
from simulator.run import RunResult, RunSettings, run
from simulator.variants import label


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run for another process."""

    jobs: Path | tuple[TraceJob, ...]  #: a workload file is read there, as the run goes on
    settings: RunSettings
    statistics: Statistics | None = None
    beliefs: Beliefs | None = None
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
            observe = files.enter_context(events_file(task.events, label(task.settings.policy)))
        return run(jobs, task.settings, statistics=task.statistics, beliefs=task.beliefs, observe=observe)


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
    known, places = _beliefs_of(tasks)
    profiles = [(dict(one.profiles), one.work) for one in known]
    # Not fork: whoever calls may have threads, such as the one that draws a progress bar.
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(profiles,)) as pool:
        futures: dict[Future[RunResult], int] = {
            pool.submit(_run_there, replace(task, beliefs=None), places[index]): index
            for index, task in enumerate(tasks)
        }
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


# Beliefs are large, and many tasks share them: each process gets the profiles and compiles them once; tasks say only
# which are theirs.

_known: list[Beliefs] = []  #: in a process of the pool


def _beliefs_of(tasks: Sequence[Task]) -> tuple[list[Beliefs], list[int | None]]:
    """All beliefs of the tasks, each once, and the place among them of each task's."""
    known: list[Beliefs] = []
    places: dict[int, int] = {}
    found: list[int | None] = []
    for task in tasks:
        if task.beliefs is not None and id(task.beliefs) not in places:
            places[id(task.beliefs)] = len(known)
            known.append(task.beliefs)
        found.append(None if task.beliefs is None else places[id(task.beliefs)])
    return known, found


def _begin(profiles: Sequence[tuple[Mapping[str, Profile], WorkModel]]) -> None:
    """Prepares a process of the pool. One whose parent was killed would go on for nobody, so it ends with it."""
    Thread(target=_end_with_parent, daemon=True).start()
    _known[:] = [Beliefs(one, work) for one, work in profiles]


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "runs in a process of the pool"
    parent.join()
    os._exit(1)


def _run_there(task: Task, beliefs: int | None) -> RunResult:
    return run_task(task if beliefs is None else replace(task, beliefs=_known[beliefs]))
