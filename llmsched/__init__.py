"""LLMSched's SDK: describe compound LLM applications, run jobs of them, and watch a cluster at work.

    import asyncio, llmsched

    app = llmsched.Application("hello", input={"topic": "string"})
    idea = app.llm("idea", prompt="One idea about {{ input.topic }}:", max_tokens=40)
    app.llm("poem", prompt="A short poem about {{ idea.text }}:", max_tokens=60)
    app.output = {"poem": "{{ poem.text }}"}

    async def main():
        async with llmsched.Client() as client:
            await client.register(app)
            job = await client.submit("hello", {"topic": "rivers"})
            print(await job.result())

    asyncio.run(main())

Names are loaded on first use: a tool worker that imports `llmsched.tools` does without gRPC.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

# Type checkers read this block, Python the table below it; a test keeps the two alike.
# isort: off
if TYPE_CHECKING:
    from llmsched.application import (
        Application as Application,
        ApplicationSpec as ApplicationSpec,
    )
    from llmsched.client import Client as Client
    from llmsched.errors import (
        ConflictError as ConflictError,
        DeadlineExceededError as DeadlineExceededError,
        InvalidRequestError as InvalidRequestError,
        JobCancelledError as JobCancelledError,
        JobFailedError as JobFailedError,
        LLMSchedError as LLMSchedError,
        NotFoundError as NotFoundError,
        OptionsError as OptionsError,
        OverloadedError as OverloadedError,
        PermissionDeniedError as PermissionDeniedError,
        ServerError as ServerError,
        StageFailedError as StageFailedError,
        TransientError as TransientError,
        UnavailableError as UnavailableError,
        Violation as Violation,
    )
    from llmsched.events import (
        Event as Event,
        JobChanged as JobChanged,
        OutputDelta as OutputDelta,
        Snapshot as Snapshot,
        StageChanged as StageChanged,
        TaskChanged as TaskChanged,
        apply as apply,
    )
    from llmsched.jobs import JobHandle as JobHandle
    from llmsched.open_jobs import (
        OpenJob as OpenJob,
        OpenStage as OpenStage,
        StageResult as StageResult,
    )
    from llmsched.options import Options as Options
    from llmsched.sync import (
        SyncClient as SyncClient,
        SyncJobHandle as SyncJobHandle,
        SyncOpenJob as SyncOpenJob,
        SyncOpenStage as SyncOpenStage,
    )
    from llmsched.types import (
        Calibration as Calibration,
        Change as Change,
        Cluster as Cluster,
        Decision as Decision,
        Drift as Drift,
        DriftState as DriftState,
        Estimate as Estimate,
        Executor as Executor,
        ExecutorState as ExecutorState,
        Explanation as Explanation,
        Failure as Failure,
        Figure as Figure,
        Job as Job,
        JobState as JobState,
        Policy as Policy,
        Prediction as Prediction,
        Profile as Profile,
        QueuedStage as QueuedStage,
        RegisteredApplication as RegisteredApplication,
        Reliability as Reliability,
        Stage as Stage,
        StageBefore as StageBefore,
        StageKind as StageKind,
        StageReasons as StageReasons,
        StageState as StageState,
        Task as Task,
        TaskOutput as TaskOutput,
        TaskState as TaskState,
        Timings as Timings,
        Trigger as Trigger,
        Usage as Usage,
    )

# isort: on

_MODULES = {
    "application": ("Application", "ApplicationSpec"),
    "client": ("Client",),
    "errors": (
        "ConflictError",
        "DeadlineExceededError",
        "InvalidRequestError",
        "JobCancelledError",
        "JobFailedError",
        "LLMSchedError",
        "NotFoundError",
        "OptionsError",
        "OverloadedError",
        "PermissionDeniedError",
        "ServerError",
        "StageFailedError",
        "TransientError",
        "UnavailableError",
        "Violation",
    ),
    "events": ("Event", "JobChanged", "OutputDelta", "Snapshot", "StageChanged", "TaskChanged", "apply"),
    "jobs": ("JobHandle",),
    "open_jobs": ("OpenJob", "OpenStage", "StageResult"),
    "options": ("Options",),
    "sync": ("SyncClient", "SyncJobHandle", "SyncOpenJob", "SyncOpenStage"),
    "types": (
        "Calibration",
        "Change",
        "Cluster",
        "Decision",
        "Drift",
        "DriftState",
        "Estimate",
        "Executor",
        "ExecutorState",
        "Explanation",
        "Failure",
        "Figure",
        "Job",
        "JobState",
        "Policy",
        "Prediction",
        "Profile",
        "QueuedStage",
        "RegisteredApplication",
        "Reliability",
        "Stage",
        "StageBefore",
        "StageKind",
        "StageReasons",
        "StageState",
        "Task",
        "TaskOutput",
        "TaskState",
        "Timings",
        "Trigger",
        "Usage",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("llmsched")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
