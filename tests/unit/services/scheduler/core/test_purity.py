"""The core is pure: it imports the harmless part of the standard library, itself, and very little else."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import services.scheduler.core as core

ROOT = Path(core.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

#: Standard library modules that wait, read, write or draw.
IMPURE = {
    "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "signal", "socket", "subprocess", "tempfile", "threading", "time", "uuid", "warnings",
}  # fmt: skip

#: What else it may import: a data structure, and the cores to its left.
ALLOWED = {"sortedcontainers"}
LEFT = ("services.profiler.core.", "services.planner.core.")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_core_imports_only_pure_standard_library_and_the_core(path):
    for name in imported(path) - ALLOWED:
        if name == "services.scheduler.core" or name.startswith(("services.scheduler.core.", *LEFT)):
            continue
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names, f"{path} imports {name}"
        assert top not in IMPURE, f"{path} imports {name}"


def test_the_core_calls_no_builtin_that_does_io():
    for path in FILES:
        called = {node.func.id for node in ast.walk(ast.parse(path.read_text()))
                  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert not called & {"open", "print", "input", "eval", "exec", "hash", "id"}, path


def test_files_and_functions_stay_short():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) < 500, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, f"{path}: {node.name}"
