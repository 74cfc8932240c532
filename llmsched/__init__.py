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
    from llmsched.options import Options as Options
    from llmsched.sync import (
        SyncClient as SyncClient,
        SyncJobHandle as SyncJobHandle,
    )
    from llmsched.types import (
        Cluster as Cluster,
        Decision as Decision,
        Executor as Executor,
        ExecutorState as ExecutorState,
        Explanation as Explanation,
        Failure as Failure,
        Job as Job,
        JobState as JobState,
        Policy as Policy,
        QueuedStage as QueuedStage,
        RegisteredApplication as RegisteredApplication,
        Stage as Stage,
        StageKind as StageKind,
        StageState as StageState,
        Task as Task,
        TaskOutput as TaskOutput,
        TaskState as TaskState,
        Timings as Timings,
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
        "TransientError",
        "UnavailableError",
        "Violation",
    ),
    "events": ("Event", "JobChanged", "OutputDelta", "Snapshot", "StageChanged", "TaskChanged", "apply"),
    "jobs": ("JobHandle",),
    "options": ("Options",),
    "sync": ("SyncClient", "SyncJobHandle"),
    "types": (
        "Cluster",
        "Decision",
        "Executor",
        "ExecutorState",
        "Explanation",
        "Failure",
        "Job",
        "JobState",
        "Policy",
        "QueuedStage",
        "RegisteredApplication",
        "Stage",
        "StageKind",
        "StageState",
        "Task",
        "TaskOutput",
        "TaskState",
        "Timings",
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
