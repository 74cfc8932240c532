"""Logs of a service are lines of JSON, all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, sys, threading
from services.common.logs import configure_logging, get_logger
configure_logging("planner", level=sys.argv[1])
log = get_logger("services.planner.app")
{body}
"""


def logged(body: str, *, level: str = "info") -> list[dict[str, Any]]:
    """What a program of its own logs."""
    program = PROGRAM.format(body=body)
    answer = subprocess.run(
        [sys.executable, "-c", program, level], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert answer.stdout == ""
    return [json.loads(line) for line in answer.stderr.splitlines()]


def test_an_entry_says_who_what_and_about_what() -> None:
    (entry,) = logged("log.info('job taken up', action='job_admitted', job='j1')")
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "service": "planner",
        "module": "services.planner.app",
        "level": "info",
        "action": "job_admitted",
        "job": "j1",
        "event": "job taken up",
    }


@pytest.mark.parametrize(("level", "expected"), [("debug", ["debug", "info"]), ("info", ["info"]), ("error", [])])
def test_levels(level: str, expected: list[str]) -> None:
    entries = logged("log.debug('a', action='a'); log.info('b', action='b')", level=level)
    assert [entry["level"] for entry in entries] == expected


def test_an_exception_is_part_of_its_line() -> None:
    (entry,) = logged("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('no', action='failed')")
    assert entry["level"] == "error"
    assert "ZeroDivisionError: division by zero" in entry["exception"]


def test_libraries_log_in_the_same_form() -> None:
    """Even from threads of their own, as the exporter of spans does."""
    body = "thread = threading.Thread(target=logging.getLogger('some.library').warning, args=('%d left', 3))"
    entries = logged(f"{body}\nthread.start(); thread.join()\nlogging.getLogger('some.library').info('not told')")
    (entry,) = entries
    assert (entry["service"], entry["module"], entry["event"]) == ("planner", "some.library", "3 left")
    assert entry["level"] == "warning"


def test_a_person_gets_text() -> None:
    program = (
        "from services.common.logs import configure_logging, get_logger\n"
        "configure_logging('planner', json=False)\n"
        "get_logger('m').warning('look here', action='looked', job='j1')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "look here" in answer.stderr
    assert "{" not in answer.stderr
