"""Applications: how they are written (Python, YAML) and checked. `convert` sends them."""

from llmsched.application.builder import Application, Loop, StageHandle
from llmsched.application.model import (
    ApplicationSpec,
    DynamicStage,
    ForEach,
    JsonValue,
    LlmStage,
    LoopStage,
    Message,
    PlanStage,
    Retry,
    Sampling,
    Stage,
    ToolStage,
)
from llmsched.application.parse import build
from llmsched.application.validate import check
from llmsched.application.violations import ApplicationError, Violation
from llmsched.application.yaml import dump_yaml, load_yaml, parse_yaml

__all__ = [
    "Application",
    "ApplicationError",
    "ApplicationSpec",
    "DynamicStage",
    "ForEach",
    "JsonValue",
    "LlmStage",
    "Loop",
    "LoopStage",
    "Message",
    "PlanStage",
    "Retry",
    "Sampling",
    "Stage",
    "StageHandle",
    "ToolStage",
    "Violation",
    "build",
    "check",
    "dump_yaml",
    "load_yaml",
    "parse_yaml",
]
