"""The marker `network`: such tests run in a network of their own (`lab.enter`), those of one file in one process.

That process is a second pytest, which runs one test after the other as it is told and answers with their reports, so
selection, order, `-x` and distribution stay with the pytest that was asked for. In it, tests are run as any others.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lab import enter

ROOT = Path(__file__).parents[2]
CHANNEL = "LLMSCHED_TEST_CHANNEL"  #: the file descriptor to the pytest that asks
END_SECONDS = 60.0  #: how long the fixtures of a whole file may take to go

missing = functools.cache(enter.missing)


def register(config: pytest.Config) -> None:
    """For a conftest's `pytest_configure`."""
    config.addinivalue_line("markers", "network: runs in a network of its own, where it can make hosts (lab.network)")
    if CHANNEL in os.environ:
        config.pluginmanager.register(Inside(config, int(os.environ.pop(CHANNEL))), "networked")
    elif enter.INSIDE not in os.environ:
        config.pluginmanager.register(Outside(config), "networked")


class Outside:
    """Has tests that need a network of their own run in one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._child: Child | None = None

    @pytest.hookimpl
    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if _networked(item):
            # The time limit is kept inside, where the test's own frames can be shown.
            item.add_marker(pytest.mark.timeout(0), append=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not _networked(item):
            return None
        if reason := missing():
            item.add_marker(pytest.mark.skip(reason=reason))
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # What plain tests before this one have set up and the next one has no use for; pytest does so in its protocol.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[Any]:
        if self._child is None:
            self._child = Child(self._config, item.path)
        follows = nextitem is not None and nextitem.path == item.path and _networked(nextitem)
        answers = self._child.ask(item.nodeid, nextitem.nodeid if nextitem is not None and follows else None)
        if answers is None:
            why = f"the process with a network of its own has ended:\n{self._child.kill()}"
            self._child = None
            return [_failed(item, why)]
        if not follows:
            self._child.end()
            self._child = None
        return [self._restored(each) for each in answers]

    def _restored(self, data: dict[str, Any]) -> Any:
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        if isinstance(report.longrepr, list):  # where a test was skipped and why: JSON knows no tuples
            report.longrepr = tuple(report.longrepr)
        return report


class Child:
    """The second pytest, as the first one sees it."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours.makefile("rw")
        words = [sys.executable, "-m", "pytest", str(path), f"--rootdir={config.rootpath}", "-pno:cacheprovider"]
        words += [
            "-pno:xdist",
            f"--tb={config.option.tbstyle}",
            *(["-c", str(config.inipath)] if config.inipath else []),
        ]
        shown = config.option.capture == "no"
        # Options would choose other tests; the rest is about the worker that this one is.
        left_out = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has ended
        self._process = subprocess.Popen(
            enter.command([*words, "-s"] if shown else words),
            cwd=ROOT,
            env={**kept, CHANNEL: str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=None if shown else self._log,
            stderr=None if shown else self._log,
        )
        ours.close()
        theirs.close()

    def ask(self, test: str, follows: str | None) -> list[dict[str, Any]] | None:
        """The reports of one test; None if the process ended in its midst."""
        answers = []
        try:
            _tell(self._channel, [test, follows])
            for line in self._channel:
                if (answer := json.loads(line)) is None:
                    return answers
                answers.append(answer)
        except OSError:
            pass
        return None

    def end(self) -> None:
        """There is no further test."""
        self._channel.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()

    def kill(self) -> str:
        """All that runs in that network is gone; what was printed there."""
        self._process.kill()
        self._process.wait()
        if self._log.closed:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-5000:]


class Inside:
    """Runs the tests it is told to, and answers with their reports."""

    def __init__(self, config: pytest.Config, descriptor: int) -> None:
        self._config = config
        self._channel = socket.socket(fileno=descriptor).makefile("rw")
        os.set_inheritable(descriptor, False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for line in self._channel:
            test, follows = json.loads(line)
            self._config.hook.pytest_runtest_protocol(item=items[test], nextitem=items[follows] if follows else None)
            _tell(self._channel, None)
        return True

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _tell(self._channel, self._config.hook.pytest_report_to_serializable(config=self._config, report=report))


def _networked(item: pytest.Item) -> bool:
    return item.get_closest_marker("network") is not None


def _tell(channel: Any, message: object) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _failed(item: pytest.Item, why: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=why,
        when="call",
    )
