"""`llmsched submit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmsched.values import from_struct
from tests.unit.llmsched.cli.conftest import Run, documents, lines
from tests.unit.llmsched.fake_servers import FakePlanner, State, failure, status


def _inputs(planner: FakePlanner) -> list[dict[str, Any]]:
    return [from_struct(request.input) for request in planner.requests("SubmitJob")]


def test_the_job_id_is_all_a_script_gets(run: Run, planner: FakePlanner) -> None:
    result = run("submit", "hello@2", "--input", '{"topic": "rivers"}', "--label", "team=a")
    assert result.stdout == "j1\n"
    request = planner.requests("SubmitJob")[0]
    assert request.application == "applications/hello/versions/2"
    assert dict(request.labels) == {"team": "a"}
    assert documents(run("submit", "hello", "-o", "json")) == {"name": "jobs/j2"}


def test_where_the_input_comes_from(run: Run, planner: FakePlanner, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": 1, "b": 2}')
    notes = tmp_path / "notes.txt"
    notes.write_text("many\nlines")
    run(
        "submit",
        "hello",
        "--input-file",
        str(file),
        "-i",
        "b=two",
        "-i",
        "c:=[3, null]",
        "-i",
        f"d=@{notes}",
        "-i",
        "e=x=y",
    )
    run("submit", "hello", "--input-file", "-", input='{"a": 1}')
    run("submit", "hello")
    whole = {"a": 1, "b": "two", "c": [3, None], "d": "many\nlines", "e": "x=y"}
    assert _inputs(planner) == [whole, {"a": 1}, {}]


@pytest.mark.parametrize(
    "args",
    [
        ["--input", "{"],
        ["--input", "[1]"],
        ["--input", "{}", "--input-file", "-"],
        ["-i", "novalue"],
        ["-i", "=x"],
        ["-i", ":=1"],
        ["-i", "a:=nope"],
        ["-i", "a=@/nowhere"],
        ["--from", "-", "--watch"],
        ["--from", "-", "--input", "{}"],
    ],
)
def test_bad_arguments_are_usage_errors(run: Run, planner: FakePlanner, args: list[str]) -> None:
    result = run("submit", "hello", *args)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert planner.calls == []


def test_violations_are_listed(run: Run, planner: FakePlanner) -> None:
    wrong = {"input.topic": "is missing"}
    planner.refuse(
        "SubmitJob", status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", "bad input", violations=wrong)
    )
    result = run("submit", "hello")
    assert result.exit_code == 4
    assert result.stderr == "Error: bad input\n  input.topic: is missing\n"


def test_a_full_queue(run: Run, planner: FakePlanner) -> None:
    planner.refuse("SubmitJob", status(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=100))
    result = run("submit", "hello", "-o", "json")
    assert result.exit_code == 6
    assert json.loads(result.stderr)["error"]["retry_after"] == 100


def test_wait_prints_the_result(run: Run) -> None:
    assert documents(run("submit", "hello", "-i", "n:=3", "--wait")) == {"n": 3}


def test_watch_shows_the_way_and_prints_the_result(run: Run) -> None:
    result = run("submit", "hello", "-i", "a=b", "--watch")
    assert result.stdout.splitlines()[0].split() == ["j1", "hello@1", "SUCCEEDED"]
    assert json.loads(result.stdout.partition("\n")[2]) == {"a": "b"}
    snapshot, last = lines(run("submit", "hello", "-i", "a=b", "--watch", "-o", "json"))
    assert snapshot["event"] == "snapshot"
    assert last == {"event": "result", "result": {"a": "b"}}


def test_wait_and_watch_for_a_job_that_fails(run: Run, planner: FakePlanner) -> None:
    planner.end, planner.why = State.STATE_FAILED, failure("TIMEOUT", "too slow")
    for option in ("--wait", "--watch"):
        result = run("submit", "hello", option)
        assert result.exit_code == 1
        assert "failed: TIMEOUT: too slow" in result.stderr


def test_many_jobs_of_a_file(run: Run, planner: FakePlanner, tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"input": {"n": 1}}\n\n{"input": {"n": 2}, "labels": {"b": "2"}, "request_id": "r"}\n')
    result = run("submit", "hello", "--from", str(file), "--label", "a=1")
    assert sorted(result.stdout.split()) == ["j1", "j2"]
    sent = {from_struct(request.input)["n"]: request for request in planner.requests("SubmitJob")}
    assert dict(sent[2].labels) == {"a": "1", "b": "2"}
    assert sent[2].request_id == "r"
    results = run("submit", "hello", "--from", str(file), "--wait")
    assert lines(results) == [{"n": 1}, {"n": 2}]


def test_a_file_with_a_bad_line_submits_nothing(run: Run, planner: FakePlanner) -> None:
    text = '{"input": {}}\n{\n{"input": 3}\n{"input": {}, "inputs": 1}\n{"input": {}, "labels": 1}\n'
    result = run("submit", "hello", "--from", "-", input=text)
    assert result.exit_code == 4
    assert [line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
    ]
    assert planner.calls == []


def test_an_empty_file_is_refused(run: Run) -> None:
    assert run("submit", "hello", "--from", "-", input="\n").exit_code == 4


def test_one_refused_line_does_not_hide_the_others(run: Run, planner: FakePlanner) -> None:
    refused = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", "bad")
    planner.guard = lambda method, request: refused if from_struct(request.input)["n"] == 2 else None
    file = "".join(f'{{"input": {{"n": {n}}}}}\n' for n in (1, 2, 3))
    result = run("submit", "hello", "--from", "-", "-o", "json", input=file)
    assert result.exit_code == 4
    assert [line["name"] is not None for line in lines(result)] == [True, False, True]
    assert lines(result)[1]["error"] == {"type": "InvalidRequestError", "message": "bad"}
    text = run("submit", "hello", "--from", "-", input=file)
    assert len(text.stdout.splitlines()) == 2
    assert text.stderr == "line 2: bad\n"


def test_a_refusal_weighs_more_than_a_failed_job(run: Run, planner: FakePlanner) -> None:
    planner.end, planner.why = State.STATE_FAILED, failure("TIMEOUT", "too slow")
    full = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=100)
    planner.guard = lambda method, request: full if method == "SubmitJob" and request.request_id == "b" else None
    file = '{"input": {}, "request_id": "a"}\n'
    assert run("submit", "hello", "--from", "-", "--wait", input=file).exit_code == 1
    assert (
        run("submit", "hello", "--from", "-", "--wait", input=file + '{"input": {}, "request_id": "b"}').exit_code == 6
    )
