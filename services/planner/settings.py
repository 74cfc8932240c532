"""Settings of the planner: LLMSCHED_PLANNER_* in the environment, documented beside each field."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PlannerSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LLMSCHED_PLANNER_", frozen=True, extra="ignore", populate_by_name=True
    )

    #: Where it listens; port 0 takes a free one.
    listen: str = "127.0.0.1:7411"
    #: The durable state, for example redis://host:6379/0 or unix:///path/to/socket.
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="LLMSCHED_REDIS_URL")
    #: Shard of the state; part of every key.
    shard: str = Field(default="main", validation_alias="LLMSCHED_SHARD")
    #: Jobs that may be active at a time; more are refused with RESOURCE_EXHAUSTED.
    max_active_jobs: int = Field(default=100_000, ge=1)
    #: Largest job input, rendered payload or result, in bytes.
    max_payload_bytes: int = Field(default=1 << 20, ge=1024)
    #: Seconds after which an idle watch sends a progress message.
    progress_seconds: float = Field(default=15.0, gt=0)
    #: Seconds between looks for jobs that no scheduler has taken up.
    sweep_seconds: float = Field(default=1.0, gt=0)
    #: Seconds a scheduler may take to answer.
    scheduler_deadline: float = Field(default=5.0, gt=0)
    #: debug, info, warning or error.
    log_level: str = Field(default="info", validation_alias="LLMSCHED_LOG_LEVEL")
