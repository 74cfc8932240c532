"""Settings of executors: LLMSCHED_EXECUTOR_* variables of the environment."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_Address = Annotated[str, Field(pattern=r"^\S+:\d+$")]


class ExecutorSettings(BaseSettings):
    """What one executor is told; checked as a whole."""

    model_config = SettingsConfigDict(
        env_prefix="LLMSCHED_EXECUTOR_", frozen=True, extra="ignore", populate_by_name=True
    )

    #: Stable across restarts and unique in the cluster.
    id: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", min_length=1, max_length=128)
    #: Schedulers to try, comma-separated host:port; a standby names the leader.
    schedulers: Annotated[tuple[_Address, ...], NoDecode] = Field(
        default=("127.0.0.1:7412",), validation_alias="LLMSCHED_SCHEDULERS", min_length=1
    )
    #: Attempts at a time; unset: what the engine says, or the number of processors.
    slots: int | None = Field(default=None, ge=1)
    #: For people and placement, comma-separated key=value.
    labels: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    #: Seconds that running attempts get to end on SIGTERM.
    drain_seconds: float = Field(default=30.0, ge=0)
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", validation_alias="LLMSCHED_LOG_LEVEL"
    )

    #: LLM: which protocol the engine speaks.
    engine: Literal["sglang", "openai"] = "sglang"
    #: LLM: where the engine is.
    engine_url: str = Field(default="http://127.0.0.1:30000", pattern=r"^https?://\S+$")
    #: LLM: a further name under which applications may ask for the engine's model.
    model: str | None = None
    #: LLM: name of the environment variable with the engine's API key.
    api_key_env: str | None = None
    #: LLM: command that starts the engine as a child of the executor.
    launch: str | None = None
    #: LLM: file for the child's output; unset: the executor's own.
    launch_log: Path | None = None
    #: LLM: seconds until the engine must be ready.
    start_timeout: float = Field(default=600.0, gt=0)

    #: Tools: only these, comma-separated; empty: all that are installed.
    tools: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator("schedulers", "tools", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [tuple(map(str.strip, part.partition("="))) for part in value.split(",") if part.strip()]
        if not all(key and equals for key, equals, _ in pairs):
            raise ValueError("must be key=value, separated by commas")
        return {key: text for key, _, text in pairs}

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value and not os.environ.get(value):
            raise ValueError(f"the environment variable {value}, which should hold the key, is not set")
        return value or None

    @field_validator("launch")
    @classmethod
    def _is_a_command(cls, value: str | None) -> str | None:
        if value is not None and not shlex.split(value):
            raise ValueError("is empty")
        return value
