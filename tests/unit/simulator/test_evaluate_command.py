"""`llmsched reproduce llmsched`, as a person types it, on recorded jobs so few that it takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from services.profiler.core.trace import write_jobs
from simulator.cli.evaluate import evaluate as evaluate_command
from simulator.evaluation.markdown import marks
from simulator.evaluation.plan import FAITHFUL, FLAGSHIP, baselines
from tests.unit.simulator.generate_jobs import recorded

ROOT = Path(__file__).parents[3]
SMALL = ("--seeds", "2", "--jobs", "3", "--ablation-seeds", "1", "--ablation-jobs", "2", "--processes", "1")


def reproduce(*args: object, code: int = 0) -> Result:
    words = ["reproduce", "llmsched", *map(str, args)]
    result = CliRunner().invoke(cli, words, prog_name="llmsched", catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Options for an application of each mix."""
    folder = tmp_path_factory.mktemp("data")
    for part, first in (("traces", 0), ("past", 100)):
        (folder / part).mkdir()
        jobs = [
            recorded(app, f"{app}-{number}", structure=structure, output=50 + 7 * (number % 5), tool=0.5 + number % 3)
            for app, structure in (("fixed", "static"), ("loop", "chain"), ("planned", "generated"))
            for number in range(first, first + 12)
        ]
        (folder / part / "jobs.jsonl").write_text("".join(write_jobs(jobs)))
    return ("--traces", folder / "traces", "--history", folder / "past")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "results.md"
    parts = ["\n".join(marks(f"llmsched {part}")) for part in ("policies", "ablations", "beliefs")]
    path.write_text("# Results\n\n" + "\n\nbetween\n\n".join(parts) + "\n\nend\n")
    return path


@pytest.fixture(scope="module")
def found(data, page) -> dict:
    """The JSON of a run that also writes the page."""
    return json.loads(reproduce(*data, *SMALL, "--markdown", page, "--json", "-").stdout)


def test_all_policies_are_held_against_each_other(found):
    cells = found["policies"]["cells"]
    assert [(cell["mix"], cell["load"]) for cell in cells[:3]] == [("predefined", load) for load in (0.7, 0.95, 1.5)]
    assert len(cells) == 12
    assert set(cells[0]["policies"]) == {FLAGSHIP, FAITHFUL, "clairvoyant-srpt", *baselines()}
    assert [goal["name"] for goal in found["policies"]["targets"]] == ["T1"] * 3 + ["T2"] * 2 + ["T3"] * 3
    assert len(found["policies"]["reductions"]) == 4 * 2 * len(baselines())
    assert found["scale"]["jobs"] == 3


def test_ablations_and_beliefs_are_in_the_results(found):
    assert "gittins:without=network" in found["ablations"]["ratios"]
    assert len(found["ablations"]["cells"]) == 8
    assert set(found["beliefs"]) == {"fixed", "loop", "planned", "made_with"}
    assert found["beliefs"]["loop"]["network"]["count"] == 24


def test_the_page_has_the_tables_between_its_marks(found, page):
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- llmsched policies")
    assert text.count("\nbetween\n") == 2
    assert text.endswith("\n\nend\n")
    for said in ("**Targets.**", "**Mix chain.**", "**What the ingredients of gittins are worth.**", "| (all) | "):
        assert said in text
    assert "seeds: 0 to 1" in text


def test_equal_options_give_equal_results(found, data):
    again = json.loads(reproduce(*data, *SMALL, "--part", "policies", "--json", "-").stdout)
    assert again["policies"]["cells"] == found["policies"]["cells"]
    assert "ablations" not in again


def test_a_mix_may_have_fewer_jobs(data):
    options = ("--at-most", "chain=1", "--at-most", "mixed=9", "--part", "policies", "--seeds", "1", "--json", "-")
    found = json.loads(reproduce(*data, *SMALL, *options).stdout)["policies"]
    assert found["made_with"]["jobs"] == "3 in each workload, 1 of chain"
    assert "no mix 'chains'" in reproduce(*data, "--at-most", "chains=1", code=2).stderr


def test_tables_are_printed(data):
    printed = reproduce(*data, *SMALL, "--part", "beliefs", "--quick").stdout
    assert "Beliefs along the course of held-out jobs" in printed
    assert "loop" in printed


def test_what_makes_no_sense_is_refused_before_anything_runs(data, tmp_path):
    assert "go together" in reproduce(*data[:2], code=2).stderr
    (tmp_path / "empty.md").write_text("# nothing\n")
    said = reproduce(*data, "--markdown", tmp_path / "empty.md", code=4).stderr
    assert "has no part 'llmsched policies'" in said


def test_every_option_is_documented():
    section = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split("### reproduce")[1].split("\n## ")[0]
    options = [option for parameter in evaluate_command.params for option in parameter.opts if option[0] == "-"]
    assert len(options) > 10
    assert [option for option in options if f"`{option}" not in section] == []
