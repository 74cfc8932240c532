"""Settings of the profiler: LLMSCHED_PROFILER_* in the environment, documented beside each field."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.profiler.core.statistics import WorkModel


class ProfilerSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LLMSCHED_PROFILER_", frozen=True, extra="ignore", populate_by_name=True
    )

    #: Where it listens; port 0 takes a free one.
    listen: str = "127.0.0.1:7413"
    #: Where others reach it; empty: host of `listen` (this machine's name for 0.0.0.0) and the port really bound.
    advertise: str = ""
    #: The durable state, for example redis://host:6379/0 or unix:///path/to/socket.
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="LLMSCHED_REDIS_URL")
    #: Shard of the state; part of every key.
    shard: str = Field(default="main", validation_alias="LLMSCHED_SHARD")
    #: Recorded jobs kept of each application: the newest ones.
    max_history: int = Field(default=2_000, ge=10)
    #: Versions of a profile kept of each application: the newest ones.
    max_profiles: int = Field(default=10, ge=1)
    #: Seconds between looks for new observations while there are none.
    poll_seconds: float = Field(default=0.5, gt=0)
    #: Observations handled in one step.
    batch: int = Field(default=200, ge=1, le=1000)
    #: Seconds that learning one profile may take.
    learn_deadline: float = Field(default=300.0, gt=0)
    #: Largest history that one call may import, in bytes.
    max_import_bytes: int = Field(default=64 << 20, ge=1024)
    #: Seconds after which an idle watch sends a message that shows that it is alive.
    progress_seconds: float = Field(default=5.0, gt=0)
    #: What a token counts as work (seconds) in predictions: of a prompt, and of an output.
    prefill_seconds: float = Field(default=WorkModel().prefill, ge=0, allow_inf_nan=False)
    decode_seconds: float = Field(default=WorkModel().decode, gt=0, allow_inf_nan=False)
    #: Leadership ends so long (seconds) after its last renewal.
    leader_ttl_seconds: float = Field(default=2.0, gt=0)
    #: How often it is renewed, and how often a standby tries to take it (seconds).
    leader_renew_seconds: float = Field(default=0.5, gt=0)
    #: debug, info, warning or error.
    log_level: str = Field(default="info", validation_alias="LLMSCHED_LOG_LEVEL")

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.leader_renew_seconds * 2 > self.leader_ttl_seconds:
            raise ValueError("leader_ttl_seconds must be at least twice leader_renew_seconds")
        return self

    @property
    def work(self) -> WorkModel:
        return WorkModel(prefill=self.prefill_seconds, decode=self.decode_seconds)
