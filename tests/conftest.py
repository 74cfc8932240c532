"""Fixtures for all tests. Product settings of the caller's environment must not reach a test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.enter import INSIDE
from services.up.stack import free_port
from tests.support import networked
from tests.support.processes import Offspring, watch_offspring

ROOT = Path(__file__).parents[1]
SGLANG_LAUNCH = ROOT / "deploy" / "sglang-cpu" / "launch.sh"


def pytest_configure(config: pytest.Config) -> None:
    networked.register(config)


@pytest.fixture(autouse=True)
def _no_product_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("LLMSCHED_", "OTEL_")) and not name.startswith(("LLMSCHED_TEST_", INSIDE)):
            monkeypatch.delenv(name)


@pytest.fixture
def offspring() -> Offspring:
    return watch_offspring()


@pytest.fixture(scope="session")
def traces() -> Path:
    """A folder of recorded jobs in `history/` and `dev/`; they are not ours to ship."""
    folder = Path(os.environ.get("LLMSCHED_TEST_TRACES", ROOT.parent / "shared" / "data"))
    if not (folder / "history").is_dir():
        pytest.skip(f"no recorded jobs in {folder} (LLMSCHED_TEST_TRACES names another folder)")
    return folder


@pytest.fixture(scope="session")
def sglang_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real SGLang server with small weights: one for the whole run, since it takes a while to start."""
    given = os.environ.get("LLMSCHED_TEST_SGLANG_URL")
    if given:
        yield given
        return
    home = Path(os.environ.get("LLMSCHED_SGLANG_HOME", ROOT / ".cache" / "sglang"))
    if not (home / "venv" / ".llmsched-stamp").exists():
        pytest.skip(f"no SGLang in {home}: run deploy/sglang-cpu/setup.sh (`make test` does)")
    log = tmp_path_factory.mktemp("sglang") / "log"
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [SGLANG_LAUNCH],
            env={**os.environ, "PORT": str(port), "MAX_RUNNING": "4"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        if process.poll() is not None:
            pytest.fail(f"SGLang ended with {process.returncode}; the end of its log:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    pytest.fail(f"SGLang was not ready within 300 s; the end of its log:\n{log.read_text()[-3000:]}")
