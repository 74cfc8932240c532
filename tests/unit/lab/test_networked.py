"""Tests with the marker `network` run in a network of their own, and are reported as any others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import enter
from lab.network import Network

ROOT = Path(__file__).parents[3]
CONFTEST = """
from tests.support import networked

def pytest_configure(config):
    networked.register(config)
"""
TESTS = """
import os
import pytest

@pytest.fixture(scope="module")
def process():
    yield os.getpid()
    print("gone at last")

def test_plain():
    assert "LLMSCHED_LAB" not in os.environ

@pytest.mark.network
class TestNetwork:
    def test_alone(self, process):
        assert os.environ["LLMSCHED_LAB"] == "1"
        assert process == 1  # the first in its namespace

    @pytest.mark.parametrize("word", ["a b", "c"])
    def test_wrong(self, process, word):
        assert process == word, "as expected"

    @pytest.mark.xfail(strict=True)
    def test_known(self):
        assert False

    @pytest.mark.timeout(1)
    def test_endless(self):
        import time
        time.sleep(100)

    @pytest.mark.skip(reason="not today")
    def test_skipped(self):
        assert False

def test_plain_again():
    assert "LLMSCHED_LAB" not in os.environ
"""
ABRUPT = """
import os
import pytest

pytestmark = pytest.mark.network

def test_ends_the_process():
    os._exit(3)

def test_goes_on():
    assert True
"""


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_zabrupt.py").write_text(ABRUPT)
    return tmp_path


def run(folder: Path, *words: str, environment: dict[str, str] | None = None) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "LLMSCHED_"))}
    # All plugins that are installed would take longer than the tests.
    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_timeout"}
    env = {**kept, **plugins, "PYTHONWARNINGS": "ignore", **(environment or {})}
    own = [sys.executable, "-m", "pytest", "-c/dev/null", f"--rootdir={folder}", "-pno:cacheprovider", "-rA"]
    answer = subprocess.run([*own, *words], cwd=ROOT, env=env, capture_output=True, text=True)
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    return answer.stdout


needs_networks = pytest.mark.skipif(enter.missing() is not None, reason=str(enter.missing()))


@needs_networks
@pytest.mark.slow
@pytest.mark.parametrize(
    "workers",
    [
        pytest.param((), id="alone"),
        pytest.param(("-pxdist.plugin", "-n2", "--dist=load"), id="side by side", marks=pytest.mark.full),
    ],
)
def test_outcomes_are_those_of_the_tests(outer: Path, workers: tuple[str, ...]) -> None:
    shown = run(outer, str(outer), *workers)
    assert "4 failed, 4 passed, 1 skipped, 1 xfailed" in shown
    assert "AssertionError: as expected" in shown
    assert "Timeout" in shown
    assert "not today" in shown
    assert re.search(r"PASSED \S*test_zabrupt.py::test_goes_on", shown)
    assert "the process with a network of its own has ended" in shown


@needs_networks
@pytest.mark.slow
@pytest.mark.full
def test_one_test_can_be_named_and_the_first_failure_can_end_all(outer: Path) -> None:
    assert "1 passed" in run(outer, f"{outer}/test_some.py::TestNetwork::test_alone")
    assert "1 failed, 4 deselected" in run(outer, f"{outer}/test_some.py", "-x", "-k", "wrong or skipped or known")
    assert "gone at last" in run(outer, f"{outer}/test_some.py", "-k", "alone or plain")


@pytest.mark.slow
def test_where_there_are_no_networks_the_reason_is_said(outer: Path) -> None:
    tools = outer / "tools"
    tools.mkdir()
    shown = run(outer, f"{outer}/test_some.py", environment={"PATH": str(tools)})
    assert "2 passed, 6 skipped" in shown
    assert "unshare is not installed" in shown


@pytest.mark.network
def test_hosts_know_each_other_by_name_and_can_be_cut_off(tmp_path: Path) -> None:
    ping = [sys.executable, "-c", "import socket; socket.create_server(('b', 0)); print(socket.gethostbyname('a'))"]
    with Network(["a", "b"], tmp_path) as network:
        assert subprocess.check_output(network.inside("b", ping), text=True).strip() == network.addresses["a"]
        # The address of `b` is on `b` alone.
        assert subprocess.run(network.inside("a", ping), capture_output=True).returncode != 0
