"""Many runs at once give what they give one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.profiler.core.trace import TraceError, write_jobs
from simulator.parallel import Task, run_all, run_task
from simulator.run import RunResult
from tests.support.scheduling import KNOWLEDGE
from tests.unit.simulator.recorded import settings
from tests.unit.simulator.test_run import figures, workload

POLICIES = ("fcfs", "srtf", "random", "fair")


def tasks(jobs: int = 30) -> list[Task]:
    return [
        Task(jobs=tuple(workload(jobs)), settings=settings(policy), statistics=KNOWLEDGE.statistics)
        for policy in POLICIES
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_the_order_of_the_tasks(processes):
    told: dict[int, RunResult] = {}
    results = run_all(tasks(), processes=processes, done=told.__setitem__)
    assert [result.policy for result in results] == list(POLICIES)
    assert [told[index] for index in range(len(POLICIES))] == results


def test_one_process_gives_what_many_give():
    alone, together = run_all(tasks(), processes=1), run_all(tasks(), processes=3)
    assert [figures(result) for result in alone] == [figures(result) for result in together]


def test_no_tasks_are_no_trouble():
    assert run_all([]) == []


def test_a_file_is_run_as_its_jobs_are(tmp_path: Path):
    path = tmp_path / "workload.jsonl"
    path.write_text("".join(write_jobs(workload())))
    from_file, given = (run_task(Task(jobs=jobs, settings=settings())) for jobs in (path, tuple(workload())))
    assert figures(from_file) == figures(given)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_error_ends_it_and_keeps_its_words(processes, tmp_path: Path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"app": "x"}\n{"app": 1, "stages": []}\n')
    with pytest.raises(TraceError) as caught:
        run_all([*tasks(5), Task(jobs=path, settings=settings())], processes=processes)
    assert caught.value.problems[0] == f"{path}:1: stages: missing"
    assert str(caught.value) == "\n".join(caught.value.problems)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        run_all([Task(jobs=tmp_path / "none", settings=settings())] * 2, processes=2)


#: Two runs that wait for ever, each for the other end of a pipe.
STUCK = """
import sys
from pathlib import Path
from simulator.parallel import Task, run_all
from tests.unit.simulator.recorded import settings

if __name__ == "__main__":
    pipes = [Path(path) for path in sys.argv[1:]]
    run_all([Task(jobs=pipe, settings=settings()) for pipe in pipes], processes=2)
"""


def test_a_killed_command_takes_its_processes_with_it(tmp_path: Path):
    program = tmp_path / "stuck.py"
    program.write_text(STUCK)
    pipes = [tmp_path / "one", tmp_path / "two"]
    for pipe in pipes:
        os.mkfifo(pipe)
    command = subprocess.Popen([sys.executable, program, *pipes], env={**os.environ, "PYTHONPATH": os.getcwd()})
    ends = [os.open(pipe, os.O_WRONLY) for pipe in pipes]  # waits for the run that reads it
    try:
        below = psutil.Process(command.pid).children(recursive=True)
        assert len(below) >= 3, "two runs and what started them"
        command.send_signal(signal.SIGTERM)
        assert command.wait(30) == -signal.SIGTERM
        _, alive = psutil.wait_procs(below, timeout=30)
        assert not alive
    finally:
        for end in ends:
            os.close(end)
