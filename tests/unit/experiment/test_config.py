"""The config of an experiment: every violation is named with its place, and paths are relative to the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from experiment.config import Config, ConfigError, load
from experiment.store import Store
from llmsched.applications.catalogue import REFERENCE_APPLICATIONS
from llmsched.cli.main import cli

CONFIGS = sorted(Path(__file__).parents[3].joinpath("experiments").glob("*.yaml"))

GOOD = {
    "name": "small",
    "applications": {"sorting": 1, "code-generation": 2},
    "jobs": 10,
    "arrivals": {"kind": "poisson", "rate": 0.3},
    "policies": ["fcfs", "gittins"],
    "warm_up": {"jobs": 20},
    "engine": {"kind": "sim"},
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}), encoding="utf-8")
    return path


def refused(folder: Path, **changes: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, **changes))
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_of_the_repository_are_fine(path: Path) -> None:
    assert load(path).name


def test_short_forms_are_written_out(tmp_path: Path) -> None:
    every = load(written(tmp_path, applications="all"))
    assert list(every.applications) == [each.name for each in REFERENCE_APPLICATIONS]
    assert load(written(tmp_path, applications=["sorting"])).applications["sorting"].weight == 1
    config = load(written(tmp_path))
    assert config.applications["code-generation"].weight == 2
    assert config.divided_by == "fcfs"
    assert load(written(tmp_path, policies=["gittins", "sjf"])).divided_by == "gittins"
    # As it is stored, it reads back as the same config.
    assert Config.model_validate(yaml.safe_load(yaml.safe_dump(config.plain()))) == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policies": ["fcfs", "nope"]}, "policies.1: no policy 'nope'"),
        ({"policies": ["clairvoyant-srpt"]}, "policies.0: clairvoyant-srpt knows the future"),
        ({"policies": ["fcfs", "fcfs"]}, "policies: each may be named once"),
        ({"policies": ["gittins"], "reference": "fcfs"}, "reference: fcfs is not among the policies"),
        ({"jobs": 0}, "jobs: Input should be greater than or equal to 1"),
        ({"jobz": 1}, "jobz: Extra inputs are not permitted"),
        ({"arrivals": {"kind": "poisson"}}, "arrivals: give rate (jobs a second) or load, one of them"),
        ({"arrivals": {"kind": "poisson", "rate": 1, "load": 1}}, "arrivals: give rate"),
        ({"arrivals": {"kind": "trace"}}, "arrivals: arrivals of kind trace need a file"),
        ({"arrivals": {"kind": "trace", "file": "no.jsonl"}}, "arrivals.file: "),
        ({"arrivals": {"kind": "trace", "file": "config.yaml"}, "repeats": 2}, "repeats: a trace of arrivals"),
        ({"arrivals": {"load": 0.9}, "warm_up": {"history": "h.jsonl"}}, "arrivals.load: capacity is measured"),
        ({"warm_up": {}}, "warm_up: give jobs, a history or both: gittins would know nothing"),
        ({"warm_up": {"jobs": 1}}, "warm_up.jobs: fewer than applications (2)"),
        ({"warm_up": {"jobs": 20, "history": "no.jsonl"}}, "warm_up.history: "),
        ({"engine": {"kind": "endpoint"}}, "engine: an engine of kind endpoint needs urls"),
        ({"engine": {"kind": "sglang", "time_scale": 0.1}}, "engine: time_scale is for engines of kind sim"),
        ({"applications": {"sortings": 1}}, "applications.sortings: no such application in the catalogue"),
        ({"applications": {"my.yaml": 1}}, "my.yaml: an application of yours needs inputs"),
        ({"applications": {"sorting": {"inputs": "no.jsonl"}}}, "applications.sorting.inputs: "),
        ({"applications": {"sorting": -1}}, "applications.sorting.weight: Input should be greater than 0"),
        ({"applications": {}}, "applications: name one at least"),
    ],
)
def test_a_violation_is_named_with_its_place(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path, **changes)


def test_all_violations_are_named_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, jobs=-1, policies=["nope"], engine={"kind": "gpu"})
    assert all(place in said for place in ("jobs: ", "policies.0: ", "engine.kind: "))


def test_inputs_are_checked_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a": 1}\n[2]\n', encoding="utf-8")
    assert "in.jsonl:2: an input is an object" in refused(tmp_path, applications={"sorting": {"inputs": "in.jsonl"}})


def test_check_says_what_is_wrong_and_runs_nothing(tmp_path: Path) -> None:
    good = CliRunner().invoke(cli, ["experiment", "run", str(written(tmp_path)), "--check"])
    assert good.exit_code == 0
    assert "10 jobs of 2 applications in each of 2 phases" in good.output
    bad = CliRunner().invoke(cli, ["experiment", "run", str(written(tmp_path, jobs=0)), "--check"])
    assert bad.exit_code == 4
    assert "jobs: " in bad.output


def test_a_folder_of_another_config_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.open(load(written(tmp_path)))
    store.open(load(written(tmp_path)))  # the same one may go on
    with pytest.raises(ConfigError, match="is of another config: jobs, policies changed"):
        store.open(load(written(tmp_path, jobs=11, policies=["fcfs"])))
