"""The values of the planner's core: what goes into an unfolding and what comes out.

They mirror the protos `common/v1/{stage,task}.proto`; `api.py` converts. All are frozen and free of I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llmsched.application import JsonValue, Message, Sampling

OUTPUT_STAGE = "$output"  #: pseudo stage that waits for all others; its unfolding renders the job's output


class StageKind(StrEnum):
    LLM = "LLM"
    TOOL = "TOOL"
    DYNAMIC = "DYNAMIC"  #: a placeholder: its unfolding adds stages, and it is done when they are


class Structure(StrEnum):
    """What is unknown about the shape of a job when it arrives."""

    GENERATED = "generated"  #: a model plans stages
    CHAIN_WIDTH = "chain+width"  #: both of the next two
    CHAIN = "chain"  #: loops
    WIDTH = "width"  #: fan-out over lists
    STATIC = "static"  #: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """What must come before a stage and what it needs; mirrors `common/v1/stage.proto`."""

    stage_id: str  #: unique in the job: "draft", "refine/2/test", "plan~2", "execute/s1", "draft!"
    name: str  #: the same for all occurrences: "draft", "refine.test", "plan", "execute.<tool>", "draft!"
    kind: StageKind
    occurrence: int = 0  #: how many stages of this name the job had before
    parents: tuple[str, ...] = ()
    requirement: str = ""  #: "llm", "llm:<model>" or "tool:<tool>"; "" for DYNAMIC
    position: int = 0  #: place in the topological order of the job with all rounds and steps it could have
    max_attempts: int = 3
    timeout_seconds: float | None = None  #: of one attempt
    backoff_seconds: float = 1.0
    recoverable: bool = False  #: has a fallback
    generated_by: str | None = None  #: stage whose completion made it exist; None: certain at arrival
    width_by: str | None = None  #: stage whose completion fixes its number of tasks; None: known when it exists


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmCall:
    """A rendered request to a model. Exactly one of `prompt` and `messages` is set."""

    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    model: str | None = None  #: None: any
    sampling: Sampling = field(default_factory=Sampling)
    json_schema: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool with rendered arguments."""

    tool: str
    args: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a stage."""

    payload: LlmCall | ToolCall
    prompt_tokens: int = 0  #: estimated; 0 for tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a stage cannot go on; mirrors `common/v1/task.proto`."""

    reason: str  #: UPPER_SNAKE
    message: str  #: for people
    retryable: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmOutput:
    """Answer of a model."""

    text: str
    finish_reason: str = "stop"  #: or "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """Return value of a tool. Whole numbers are integers."""

    value: JsonValue


class StageState(StrEnum):
    """How a stage ended."""

    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutput:
    """The stored outcome of a stage that has ended."""

    name: str  #: of its StageSpec; occurrences are counted by it
    state: StageState = StageState.SUCCEEDED
    tasks: tuple[LlmOutput | ToolOutput, ...] = ()  #: by task index; empty for DYNAMIC stages
    failure: Failure | None = None  #: why it failed, also while its fallback runs and when that has stood in


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One stage to unfold."""

    stage_id: str
    unfolding: int = 0  #: how often it was unfolded before
    failure: Failure | None = None  #: set when the stage failed for good and its fallback is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfolding:
    """What became of a stage. Without tasks and stages it is done."""

    tasks: tuple[Task, ...] = ()
    stages: tuple[StageSpec, ...] = ()  #: to add; the stage waits for all of them
    again: bool = False  #: unfold once more when `stages` are done
    skipped: bool = False  #: its condition was false
    failure: Failure | None = None  #: it cannot be unfolded
    output: JsonValue = None  #: the job's output; only of `$output`


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInfo:
    """What a planning model is told about a tool."""

    description: str = ""
    signature: str = ""  #: one line with names and types of the arguments; empty: the schema is shown
    args_schema: Mapping[str, JsonValue] = field(default_factory=lambda: {"type": "object"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a stage may grow to. Sizes are bytes of UTF-8 JSON."""

    max_payload_bytes: int = 2**20  #: of one rendered task, and of the job's output
    max_stage_bytes: int = 16 * 2**20  #: of all tasks of a stage together
    max_width: int = 1024  #: tasks of a fan-out
    max_template_steps: int = 1_000_000  #: loop iterations and list elements that one template may touch
