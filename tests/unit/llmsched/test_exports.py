"""The public face: what `import llmsched` offers, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import llmsched

PUBLIC = [
    "Application",
    "ApplicationSpec",
    "Calibration",
    "Change",
    "Client",
    "Cluster",
    "ConflictError",
    "DeadlineExceededError",
    "Decision",
    "Drift",
    "DriftState",
    "Estimate",
    "Event",
    "Executor",
    "ExecutorState",
    "Explanation",
    "Failure",
    "Figure",
    "InvalidRequestError",
    "Job",
    "JobCancelledError",
    "JobChanged",
    "JobFailedError",
    "JobHandle",
    "JobState",
    "LLMSchedError",
    "NotFoundError",
    "OpenJob",
    "OpenStage",
    "Options",
    "OptionsError",
    "OutputDelta",
    "OverloadedError",
    "PermissionDeniedError",
    "Policy",
    "Prediction",
    "Profile",
    "QueuedStage",
    "RegisteredApplication",
    "Reliability",
    "ServerError",
    "Snapshot",
    "Stage",
    "StageBefore",
    "StageChanged",
    "StageFailedError",
    "StageKind",
    "StageReasons",
    "StageResult",
    "StageState",
    "SyncClient",
    "SyncJobHandle",
    "SyncOpenJob",
    "SyncOpenStage",
    "Task",
    "TaskChanged",
    "TaskOutput",
    "TaskState",
    "Timings",
    "TransientError",
    "Trigger",
    "UnavailableError",
    "Usage",
    "Violation",
    "apply",
]


def test_the_public_names_change_only_on_purpose() -> None:
    assert llmsched.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(llmsched, name) is not None
    assert name in dir(llmsched)


def test_type_checkers_and_python_see_the_same_names() -> None:
    tree = ast.parse(Path(llmsched.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: str(node.module) for node in imports for alias in node.names}
    assert {name: module.removeprefix("llmsched.") for name, module in seen.items()} == llmsched._HOMES


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        llmsched.Klient  # noqa: B018


def test_the_package_alone_loads_nothing_heavy() -> None:
    code = "import sys, llmsched; print(*{'grpc', 'pydantic', 'jinja2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
