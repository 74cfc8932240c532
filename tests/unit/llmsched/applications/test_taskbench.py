"""Requests from TaskBench's files."""

import json
from pathlib import Path
from random import Random

import pytest

from llmsched.applications.task_automation.inputs import make_input
from llmsched.applications.task_automation.taskbench import BadTaskBenchFile, read_requests

#: In a folder beside the repository, where somebody has put them (docs/results.md).
TRACES = [
    path for folder in Path(__file__).parents for path in sorted(folder.glob("shared/data/*/taskbench_plan.jsonl"))
]


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines) + "\n")
    return path


def test_all_editions_are_read(tmp_path: Path) -> None:
    nodes = [{"task": "Translation", "arguments": []}, {"task": "Text-to-Speech", "arguments": []}]
    path = write(
        tmp_path / "data.json",
        {"id": "1", "user_request": "Say it in French."},
        "",
        {"id": "2", "instruction": "Say it.", "tool_nodes": json.dumps(nodes)},
        {"id": "3", "user_request": "Speak.", "task_nodes": nodes},
        {"job_id": "4", "stages": [{"name": "plan", "kind": "plan"}, {"name": "Image Editing", "kind": "tool"}]},
    )
    found = read_requests(path)
    assert [each.id for each in found] == ["1", "2", "3", "4"]
    assert [each.text for each in found[:3]] == ["Say it in French.", "Say it.", "Speak."]
    assert found[1].tools == found[2].tools == ("Translation", "Text-to-Speech")
    assert found[3].text == "Please do this, in order: image editing."
    assert make_input(Random(1), path)["request"] in {each.text for each in found}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 1"),
        ("[]", "not a JSON object"),
        ('{"id": "1"}', "no plan to make a request from"),
        ('{"user_request": 5}', "no plan"),
        ('{"stages": [{}]}', "kind"),
    ],
)
def test_another_file_is_refused_with_the_line(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(BadTaskBenchFile, match=why):
        read_requests(write(tmp_path / "other.json", line))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTaskBenchFile, match="holds no requests"):
        read_requests(write(tmp_path / "empty.json"))


def test_requests_that_ship_are_used_without_a_file() -> None:
    assert make_input(Random(1)) == make_input(Random(1))


@pytest.mark.skipif(not TRACES, reason="no traces of TaskBench in ../shared/data")
def test_recorded_plans_of_taskbench_are_read() -> None:
    for path in TRACES:
        found = read_requests(path)
        assert len({each.id for each in found}) == len(found) > 100
        assert {len(each.tools) for each in found} >= {1, 2, 3}
