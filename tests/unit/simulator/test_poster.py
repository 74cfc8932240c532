"""Table I of the poster: a world that scales as it should, the table, the command and its JSON."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.exits import Exit
from llmsched.cli.main import cli
from services.profiler.core.statistics import WorkModel
from simulator.poster import world
from simulator.poster.figures import figures
from simulator.poster.published import APPLICATION_ORDER, EXECUTORS, POLICIES, TABLE
from simulator.poster.table import FIRST_SEED, Cell, measure, order_checks
from simulator.poster.world import (
    MILLISECONDS,
    Parameters,
    applications,
    committed_fit,
    fit_json,
    jobs,
    population,
    read_fit,
    scaled,
)
from simulator.workload import task_work

ROOT = Path(__file__).parents[3]
PARAMETERS = Parameters(
    arrival_gap=1.2, mean_rounds=2.6, scales={"task_automation": 0.9, "code_generation": 4.0, "sorting": 1.3}
)


@pytest.fixture
def few_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of 12 jobs is made in no time."""
    monkeypatch.setattr(world, "JOBS", 12)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_poster", ROOT / "scripts" / "fit_poster.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(**columns: dict[int, tuple[float, ...]]) -> list[Cell]:
    return [
        Cell(policy=policy.replace("_", "-"), executors=executors, by_seed=means)
        for policy, column in columns.items()
        for executors, means in column.items()
    ]


# ---- the world -----------------------------------------------------------------------------------------------------


def test_a_workload_has_500_jobs_in_equal_parts():
    made = jobs(PARAMETERS, 1)
    assert made == jobs(PARAMETERS, 1)
    assert made != jobs(PARAMETERS, 2)
    assert sorted(Counter(job.app for job in made).values()) == [166, 167, 167]
    arrivals = [job.arrival_seconds or 0.0 for job in made]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] / 500 == pytest.approx(1.2, rel=0.1)


def test_a_scale_multiplies_every_duration():
    for application in applications(2.6).values():
        job = population(2.6, 1)[application.name][0]
        for plain, stage in zip(job.stages, scaled(job, 2.5).stages, strict=True):
            for before, after in zip(plain.tasks, stage.tasks, strict=True):
                expected = 2.5 * task_work(plain, before, WorkModel())
                assert task_work(stage, after, MILLISECONDS) == pytest.approx(expected, abs=0.0005)


@pytest.mark.usefixtures("few_jobs")
def test_more_time_for_everything_is_more_jct():
    plain, longer = (measure(each, [1], processes=1) for each in (PARAMETERS, PARAMETERS.scaled(10)))
    for one, other in zip(plain, longer, strict=True):
        assert other.measured == pytest.approx(10 * one.measured, rel=1e-3)


# ---- the table -----------------------------------------------------------------------------------------------------


def test_a_cell_is_the_mean_of_its_seeds():
    (cell,) = cells(fcfs={20: (340.0, 360.0)})
    assert cell.as_json() == {
        "executors": 20,
        "policy": "fcfs",
        "published": 347,
        "measured": 350.0,
        "spread": pytest.approx(200**0.5),
        "role": "predicted",
        "relative_error": pytest.approx(3 / 347),
    }
    assert cells(fcfs={40: (87.0,)})[0].spread == 0


def test_the_order_is_that_of_means_and_is_counted_by_seed():
    column = {30: (1.0, 1.0)}
    checks = order_checks(
        cells(
            ps_tcs={10: (1.0, 5.0), 20: (1.0, 2.0), **column},
            random={10: (2.0, 4.5), 20: (2.0, 3.0), **column},
            fcfs={10: (5.0, 5.0), 20: (3.0, 4.0), **column},
        )
    )
    assert [(check.executors, check.holds, check.seeds) for check in checks] == [
        (10, True, 1),
        (20, True, 2),
        (30, False, 0),
    ]


# ---- the command ---------------------------------------------------------------------------------------------------


def reproduce(*args: str) -> Result:
    return CliRunner().invoke(cli, ["reproduce", "poster", "--processes=1", *args], catch_exceptions=False)


@pytest.mark.usefixtures("few_jobs")
def test_json_has_every_cell_and_the_figures(tmp_path):
    result = reproduce("--seeds=2", "--json=-", "--figures", str(tmp_path / "new" / "folder"))
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["config"]["seeds"] == [FIRST_SEED, FIRST_SEED + 1]
    found = {(cell["policy"], cell["executors"]): cell for cell in report["cells"]}
    assert set(found) == {(policy, executors) for policy in POLICIES for executors in EXECUTORS}
    for (policy, executors), cell in found.items():
        assert cell["published"] == TABLE[policy][executors]
        assert cell["role"] == ("fitted" if executors in (10, 40) else "predicted")
        assert cell["measured"] > 0
        assert cell["spread"] > 0
    assert [check["executors"] for check in report["order"]] == [10, 20, 30]
    assert {name: sum(counts.values()) for name, counts in report["figures"].items()} == {
        "code_generation_chain_lengths": 8,
        "task_automation_generated_stages": 8,
    }
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "code_generation_chain_lengths.svg",
        "task_automation_generated_stages.svg",
    ]


@pytest.mark.usefixtures("few_jobs")
def test_the_table_says_what_was_fitted_and_what_was_predicted():
    lines = reproduce("--seeds=1").stdout.splitlines()
    header = next(line for line in lines if "R=L=10" in line)
    assert header.split() == ["R=L=10", "fitted", "R=L=20", "predicted", "R=L=30", "predicted", "R=L=40", "fitted"]
    (row,) = (line.split() for line in lines if line.startswith("PS-TCS ") and "±" in line)
    assert row[1::5] == ["474", "197", "119", "86"]
    assert sum("PS-TCS < RS < FCFS at" in line for line in lines) == 3
    assert "Length of workflows of code generation" in lines
    assert "Stages that the model generates in task automation" in lines


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    result = reproduce("--figures", str(tmp_path / "file" / "folder"))
    assert result.exit_code == Exit.USAGE
    assert "--figures" in result.stderr


def test_figures_have_a_bar_for_each_number_of_stages():
    lengths, generated = figures(jobs(PARAMETERS, 1))
    assert list(lengths.counts) == list(range(1, 21))
    assert (sum(lengths.counts.values()), sum(generated.counts.values())) == (167, 166)
    assert max(generated.shares, key=generated.shares.__getitem__) == 3
    lines = lengths.text().splitlines()
    assert len(lines) == 21
    assert max(line.count("█") for line in lines) == lines[2].count("█") == 40
    assert lengths.svg().count('class="bar"') == sum(count > 0 for count in lengths.counts.values())


# ---- the fit -------------------------------------------------------------------------------------------------------


def test_the_committed_parameters_are_what_the_script_writes():
    text = (ROOT / "simulator" / "poster" / "parameters.json").read_text(encoding="utf-8")
    fit = committed_fit()
    assert fit_json(fit) == text
    assert fit == read_fit(text)
    assert set(fit.parameters.scales) == set(APPLICATION_ORDER)
    assert max(fit.provenance["seeds"]) < FIRST_SEED
    assert set(fit.provenance) == {"script", "seeds", "runs", "loss", "fitted_cells", "versions"}


def test_the_search_finds_the_bottom_of_a_bowl(script):
    bowl: Callable[[tuple[float, ...]], float] = lambda point: (point[0] - 1) ** 2 + 3 * (point[1] + 2) ** 2  # noqa: E731
    loss, point = script.nelder_mead(bowl, (0.0, 0.0), (0.5, 0.5), 80)
    assert loss < 1e-6
    assert point == pytest.approx((1.0, -2.0), abs=1e-2)


def test_a_point_of_the_search_is_a_world_of_87_seconds(script):
    parameters = script.at((0.0, 0.0, 0.5, 1.0))
    undisturbed = [
        parameters.scales[name] * script.undisturbed_seconds(job)
        for name, some in population(parameters.mean_rounds, 1).items()
        for job in some
    ]
    assert sum(undisturbed) / len(undisturbed) == pytest.approx(87, rel=0.01)
    assert 2.3 < parameters.mean_rounds < 5.5
