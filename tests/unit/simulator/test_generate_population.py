from pathlib import Path

import pytest

from services.profiler.core.trace import TraceError, write_jobs
from simulator.generate import RecipeError, load_population, parse_tool_times, split_history
from tests.unit.simulator.generate_jobs import recorded, tool_seconds


def write(path: Path, *jobs) -> Path:
    path.write_text("".join(write_jobs(jobs)))
    return path


def test_folders_and_files_are_read_together(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.jsonl", recorded("b"))
    write(folder / "a.jsonl", recorded("a", "1"), recorded("a", "2"))
    more = write(tmp_path / "more.jsonl", recorded("a", "3"))
    population = load_population([folder, more])
    assert {name: [job.job_id for job in jobs] for name, jobs in population.items()} == {
        "a": ["1", "2", "3"],
        "b": ["one"],
    }


def test_unknown_tool_seconds_need_a_model(tmp_path: Path):
    file = write(tmp_path / "f.jsonl", recorded("a", tool=None, tools=3), recorded("a"), recorded("b"))
    with pytest.raises(RecipeError) as caught:
        load_population([file])
    assert caught.value.problems == [f"a: tool tasks without seconds in {file}: 3; --tool-times says what they take"]


def test_the_model_fills_only_what_is_unknown(tmp_path: Path):
    file = write(tmp_path / "f.jsonl", recorded("a", "x", tool=None, tools=2), recorded("a", "y", tool=7.0))
    unknown, known = load_population([file], parse_tool_times("constant:3"))["a"]
    assert tool_seconds(unknown) == [3.0, 3.0]
    assert tool_seconds(known) == [7.0]


def test_tasks_of_a_stage_differ_and_are_the_same_at_every_reading(tmp_path: Path):
    file = write(tmp_path / "f.jsonl", recorded("a", "x", tool=None, tools=2))
    model = parse_tool_times("lognormal:1,1")
    first, second = tool_seconds(load_population([file], model)["a"][0])
    assert first != second
    again = write(tmp_path / "g.jsonl", recorded("b"), recorded("a", "x", tool=None, tools=2))
    assert tool_seconds(load_population([again], model)["a"][0]) == [first, second]


def test_unknown_tokens_are_refused(tmp_path: Path):
    line = next(iter(write_jobs([recorded()]))).replace('"output_tokens":100', '"output_tokens":null')
    (tmp_path / "f.jsonl").write_text(line)
    with pytest.raises(RecipeError, match=r"app: LLM tasks without tokens in .*f\.jsonl: 1"):
        load_population([tmp_path])


def test_every_broken_file_is_named(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    with pytest.raises(TraceError) as caught:
        load_population([tmp_path])
    assert {"a.jsonl:1", "b.jsonl:1"} <= {problem.split(": ")[0].rsplit("/")[-1] for problem in caught.value.problems}


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"no \*.jsonl"):
        load_population([tmp_path])


def grouped(app: str, count: int) -> list:
    """Two jobs for each input."""
    return [recorded(app, str(index), group=f"input-{index // 2}") for index in range(count)]


def test_history_and_workload_share_no_input():
    population = {"a": grouped("a", 20), "b": grouped("b", 30), "c": [recorded("c", str(index)) for index in range(9)]}
    history, left = split_history(population, 10, seed=4)
    assert [job.app for job in history] == ["a"] * 4 + ["b"] * 3 + ["c"] * 3
    rest = [job for jobs in left.values() for job in jobs]
    assert not {job.group for job in history if job.group} & {job.group for job in rest}
    assert not {(job.app, job.job_id) for job in history} & {(job.app, job.job_id) for job in rest}


def test_the_seed_decides_which_jobs_become_history():
    population = {"a": grouped("a", 40)}
    first, again, other = (split_history(population, 10, seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_too_few_jobs_for_a_history():
    with pytest.raises(RecipeError) as caught:
        split_history({"a": [recorded("a")], "b": [recorded("b", str(index)) for index in range(5)]}, 4, seed=0)
    assert caught.value.problems == ["a: 1 jobs are too few for 2 in the history and others in the workload"]
