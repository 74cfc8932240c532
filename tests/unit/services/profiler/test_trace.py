"""The trace format: what the reader takes, what it refuses, in which words; what is written comes back."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler.core.trace import (
    MAX_PROBLEMS,
    TraceError,
    TraceJob,
    TraceTask,
    read_history,
    read_workload,
    write_jobs,
)
from tests.unit.services.profiler.traces import jobs, line, stage, tool


def problems(*lines: str | bytes, history: bool = False) -> list[str]:
    """Everything that is wrong with a file of these lines."""
    with pytest.raises(TraceError) as caught:
        list((read_history if history else read_workload)(lines, "w.jsonl"))
    return caught.value.problems


def test_a_job_is_read_with_its_line_and_fields_of_others_are_ignored():
    wide = stage("b", "a", width_by="a", tasks=[], exec_order=3)
    text = line(stage("a"), wide, tool("c", "b", generated_by="b", n_queries=2), skeleton=True, line="?", source={})
    (job,) = read_workload(["\n", text], "w.jsonl")
    assert (job.app, job.job_id, job.line, job.structure) == ("sorting", "job-2", 2, "static")
    assert [(one.id, one.kind, one.parents, one.is_llm) for one in job.stages] == [
        ("a", "llm", (), True),
        ("b", "llm", ("a",), True),
        ("c", "tool", ("b",), False),
    ]
    assert job.stages[0].tasks == (TraceTask(prompt_tokens=1, output_tokens=1),)
    assert (job.stages[1].tasks, job.stages[1].width_by, job.stages[2].generated_by) == ((), "a", "b")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "the line: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"app": "\xff"}', "the line: Invalid JSON: invalid unicode code point at line 1 column 10"),
        ("[]", "the line: Input should be an object"),
        (line(app=""), "app: empty; a text is needed"),
        (line(app=...), "app: missing"),
        (line(app=3), "app: Input should be a valid string"),
        (line(structure="tree"), "structure: Input should be 'static', 'width', 'chain', 'chain+width' or 'generated'"),
        (line(stages=[]), "stages: none; a job has one at least"),
        (line(stage("a", kind="LLM")), "stages[0].kind: Input should be 'llm', 'plan' or 'tool'"),
        (line(stage("a", parents="b")), "stages[0].parents: Input should be a valid array"),
        (line(request_tokens=-1), "request_tokens: Input should be greater than or equal to 0"),
        (line(arrival_seconds=True), "arrival_seconds: Input should be a valid number"),
        (line(arrival_seconds="1"), "arrival_seconds: Input should be a valid number"),
        (line(tool("a", seconds=float("nan"))), "stages[0].tasks[0].seconds: Input should be a finite number"),
        (line(tool("a", seconds=float("inf"))), "stages[0].tasks[0].seconds: Input should be a finite number"),
        (line(tool("a", seconds=-0.5)), "stages[0].tasks[0].seconds: Input should be greater than or equal to 0"),
        (
            line(stage("a", tasks=[{"prompt_tokens": True, "output_tokens": 1}])),
            "stages[0].tasks[0].prompt_tokens: Input should be a valid integer",
        ),
        (
            line(stage("a", tasks=[{"prompt_tokens": 1.5, "output_tokens": 1}])),
            "stages[0].tasks[0].prompt_tokens: Input should be a valid integer",
        ),
        (
            line(stage("a", tasks=[{"prompt_tokens": 1, "output_tokens": 10**400}])),
            "stages[0].tasks[0].output_tokens: Input should be less than or equal to 9007199254740992",
        ),
        (line(stage("a"), stage("a")), "stages[1].id: 'a' is taken by an earlier stage"),
        (line(stage("a", "b")), "stages[0].parents[0]: no stage has the id 'b'"),
        (
            line(stage("b"), stage("a", "b", "c"), stage("c")),
            "stages[1].parents[1]: 'c' is no earlier stage; stages stand in topological order",
        ),
        (
            line(stage("a", "a")),
            "stages[0].parents[0]: 'a' is no earlier stage; stages stand in topological order",
        ),
        (line(stage("a", generated_by="x")), "stages[0].generated_by: no stage has the id 'x'"),
        (
            line(stage("a", width_by="b"), stage("b")),
            "stages[0].width_by: 'b' is no earlier stage; stages stand in topological order",
        ),
        (line(arrival_seconds=...), "arrival_seconds: missing; each job of a workload has one (is this a history?)"),
        (line(arrival_seconds=None), "arrival_seconds: missing; each job of a workload has one (is this a history?)"),
        (
            line(stage("a"), tool("look up", seconds=None)),
            "stages[1].tasks[0].seconds: missing in task 0 of stage 'look up'; a workload says how long all takes",
        ),
        (
            line(stage("a", tasks=[{"prompt_tokens": 1, "output_tokens": 1}, {"prompt_tokens": 1}])),
            "stages[0].tasks[1].output_tokens: missing in task 1 of stage 'a'; a workload says how long all takes",
        ),
    ],
)
def test_a_bad_line_is_refused_with_file_line_and_field(text, problem):
    assert problems(line(), text) == [f"w.jsonl:2: {problem}"]


def test_all_problems_of_a_line_and_of_later_lines_are_named():
    bad = line(stage("a", "x"), tool("b", seconds=None), arrival_seconds=...)
    assert [one.split(": ")[:2] for one in problems(line(), bad, line(), line(app=""))] == [
        ["w.jsonl:2", "stages[0].parents[0]"],
        ["w.jsonl:2", "arrival_seconds"],
        ["w.jsonl:2", "stages[1].tasks[0].seconds"],
        ["w.jsonl:4", "app"],
    ]


def test_arrivals_may_tie_but_not_descend():
    at = [line(arrival_seconds=seconds) for seconds in (1.0, 1, 3.0, 2.5, 2.0, 3.0)]
    assert problems(*at) == [
        "w.jsonl:4: arrival_seconds: 2.5 is before 3.0, that of an earlier line",
        "w.jsonl:5: arrival_seconds: 2.0 is before 3.0, that of an earlier line",
    ]


def test_good_jobs_before_the_first_bad_line_come_through():
    reading = read_workload([line(job_id="good"), "{", line()], "w.jsonl")
    assert next(reading).job_id == "good"
    with pytest.raises(TraceError):
        next(reading)


def test_reading_stops_when_there_are_too_many_problems():
    unread = iter([line(app="")] * 100)
    found = problems(*(next(unread) for _ in range(100)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == f"w.jsonl: there may be more; reading stopped at line {MAX_PROBLEMS + 1}"
    # One line alone may be as bad.
    wide = stage("a", tasks=[{}] * 50)
    assert len(problems(line(wide))) == MAX_PROBLEMS + 1
    assert len(problems(*[line(app="")] * MAX_PROBLEMS)) == MAX_PROBLEMS


@pytest.mark.parametrize("lines", [[], ["\n", "  \n"]])
def test_a_file_without_jobs_is_no_trace(lines):
    assert problems(*lines) == problems(*lines, history=True) == ["w.jsonl: no jobs: each line holds one"]


def test_a_history_knows_no_arrivals_and_need_not_know_all():
    unknown = stage("a", tasks=[{"prompt_tokens": None}])
    (job,) = read_history([line(unknown, tool("b", seconds=None), arrival_seconds=...)], "h.jsonl")
    assert job.stages[0].tasks == job.stages[1].tasks == (TraceTask(),)
    assert problems(line(), history=True) == [
        "w.jsonl:1: arrival_seconds: a history has no arrivals (is this a workload?)"
    ]


def test_the_error_survives_the_way_from_another_process():
    error = pickle.loads(pickle.dumps(TraceError(["one", "two"])))
    assert (error.problems, str(error)) == (["one", "two"], "one\ntwo")


@given(st.lists(jobs(), min_size=1, max_size=3))
def test_what_is_written_as_a_history_is_read_back(written: list[TraceJob]):
    written = [replace(job, line=number) for number, job in enumerate(written, start=1)]
    lines = list(write_jobs(written))
    assert all(one.endswith("\n") and one.count("\n") == 1 for one in lines)
    assert list(read_history([one.encode() for one in lines], "h.jsonl")) == written


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
def test_what_is_written_as_a_workload_is_read_back(arrivals: list[float]):
    (one,) = read_workload([line(stage("a"), tool("b", "a", seconds=0.1), job_id="j")], "w.jsonl")
    written = [replace(one, arrival_seconds=at, line=place) for place, at in enumerate(sorted(arrivals), start=1)]
    assert list(read_workload(write_jobs(written), "w.jsonl")) == written


def test_written_lines_say_null_for_what_is_unknown():
    (job,) = read_history([line(tool("a", seconds=None), stage("b", "a"), arrival_seconds=..., job_id="j")], "h")
    assert json.loads(next(write_jobs([job]))) == {
        "app": "sorting",
        "job_id": "j",
        "structure": "static",
        "stages": [
            {
                "id": "a",
                "name": "a",
                "kind": "tool",
                "parents": [],
                "generated_by": None,
                "width_by": None,
                "tasks": [{"seconds": None}],
            },
            {
                "id": "b",
                "name": "b",
                "kind": "llm",
                "parents": ["a"],
                "generated_by": None,
                "width_by": None,
                "tasks": [{"prompt_tokens": 1, "output_tokens": 1, "seconds": None}],
            },
        ],
    }
    odd = replace(job, stages=(replace(job.stages[0], tasks=(TraceTask(prompt_tokens=3),)),))
    assert next(read_history(write_jobs([odd]), "h")).stages[0].tasks == (TraceTask(prompt_tokens=3),)


def test_the_example_of_the_documentation_is_a_workload():
    page = (Path(__file__).parents[4] / "docs" / "trace-format.md").read_text(encoding="utf-8")
    example = page.split("```json\n")[1].split("```")[0].replace("\n", " ")
    (job,) = read_workload([example], "trace-format.md")
    assert [len(one.tasks) for one in job.stages] == [1, 3, 3]


def test_recorded_jobs_read_as_history_and_survive_writing(traces):
    files = sorted(traces.glob("*/*.jsonl"))
    assert files, f"no recorded jobs in {traces}"
    for path in files:
        with path.open("rb") as lines:
            read = list(read_history(lines, path.name))
        assert list(read_history(write_jobs(read), path.name)) == read


def test_a_file_of_the_other_kind_is_one_problem():
    job = line(stage("a"), arrival_seconds=...)
    assert problems(*[job] * 30) == [
        "w.jsonl:1: arrival_seconds: missing; each job of a workload has one (is this a history?)"
    ]
    assert problems(*[line(stage("a"))] * 30, history=True) == [
        "w.jsonl:1: arrival_seconds: a history has no arrivals (is this a workload?)"
    ]
    # One line among others is the line's own mistake.
    assert problems(job, line(), history=True) == [
        "w.jsonl:2: arrival_seconds: a history has no arrivals (is this a workload?)"
    ]
    assert problems(line(stage("a")), job, line(stage("a", "b"))) == [
        "w.jsonl:2: arrival_seconds: missing; each job of a workload has one (is this a history?)",
        "w.jsonl:3: stages[0].parents[0]: no stage has the id 'b'",
    ]
