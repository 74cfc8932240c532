"""Every shipped application has a page that draws it as it is."""

import re
import shlex
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmsched.application.model import LoopStage, Stage
from llmsched.applications.catalogue import REFERENCE_APPLICATIONS, ReferenceApplication
from services.up.dry_run import dry_run

ROOT = Path(__file__).parents[4]
MERMAID = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
DRY_RUN = re.compile(r"^llmsched apps dry-run ((?:.*\\\n)*.*)$", re.MULTILINE)


def names(stages: tuple[Stage, ...]) -> list[str]:
    """All stages with those of loops, and fallbacks."""
    found = []
    for stage in stages:
        found += [stage.name, *(names(stage.body) if isinstance(stage, LoopStage) else ())]
        found += names((stage.on_error,)) if stage.on_error else []
    return found


@pytest.mark.parametrize("reference", REFERENCE_APPLICATIONS, ids=lambda each: each.name)
def test_the_page_draws_every_stage_and_says_how_to_run_it(reference: ReferenceApplication) -> None:
    page = files(reference.package).joinpath("README.md").read_text(encoding="utf-8")
    drawing = MERMAID.search(page)
    assert drawing, "no ```mermaid block"
    missing = [name for name in names(reference.load().stages) if not re.search(rf"\b{name}\b", drawing[1])]
    assert not missing
    assert f"llmsched submit {reference.name} " in page
    assert "llmsched apps dry-run" in page
    assert "client.submit(" in page
    assert page.count("\n") <= 80, "a page is one page"


@pytest.mark.parametrize("reference", REFERENCE_APPLICATIONS, ids=lambda each: each.name)
def test_the_dry_run_of_the_page_works(reference: ReferenceApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    command = DRY_RUN.search(files(reference.package).joinpath("README.md").read_text(encoding="utf-8"))
    assert command
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(dry_run, shlex.split(command[1].replace("\\\n", " "), comments=True))
    assert done.exit_code == 0, done.output
    assert "output: " in done.output


def test_what_the_applications_read_is_part_of_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    shipped = {pattern.removeprefix("*") for pattern in settings["package-data"]["*"]}
    found = {path.suffix for path in (ROOT / "llmsched" / "applications").rglob("*") if path.is_file()}
    assert {".md", ".yaml", ".jsonl", ".csv"} <= found
    assert found <= shipped | {".py", ".pyc"}
