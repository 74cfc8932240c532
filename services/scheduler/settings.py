"""Settings of the scheduler: LLMSCHED_SCHEDULER_* in the environment, documented beside each field.

Lists are written with commas: LLMSCHED_SCHEDULER_PLANNERS=10.0.0.1:7411,10.0.0.2:7411.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceError
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import UnknownPolicy
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.knowledge import check_policy, load_knowledge


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not value.startswith("unix:") and not (host and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{value!r} is not host:port")
    return value


Address = Annotated[str, AfterValidator(_address)]
CommaSeparated = BeforeValidator(_split)


class SchedulerSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LLMSCHED_SCHEDULER_", frozen=True, extra="ignore", populate_by_name=True
    )

    #: Where it listens; port 0 takes a free one.
    listen: Address = "127.0.0.1:7412"
    #: Where others reach it; empty: host of `listen` (this machine's name for 0.0.0.0) and the port really bound.
    advertise: Address | Literal[""] = ""
    #: The durable state, for example redis://host:6379/0 or unix:///path/to/socket.
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="LLMSCHED_REDIS_URL")
    #: Shard of the state; part of every key.
    shard: str = Field(default="main", validation_alias="LLMSCHED_SHARD")
    #: Planners that unfold stages, asked in turn.
    planners: Annotated[tuple[Address, ...], NoDecode, CommaSeparated] = Field(
        default=("127.0.0.1:7411",), min_length=1
    )

    #: Profilers whose profiles beliefs go by, asked in turn; none: no profiles.
    profilers: Annotated[tuple[Address, ...], NoDecode, CommaSeparated] = ()

    #: Policy of a cluster where nobody has called SetPolicy yet.
    policy: str = "fcfs"
    #: "ps-tcs": applications, first served first.
    application_order: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = ()
    #: A stage that has waited longer (seconds) goes first, so that none starves; 0: no guard.
    ageing_seconds: float = Field(default=300.0, ge=0)
    #: Of policies that look random.
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    #: Files of recorded jobs (docs/trace-format.md) for policies that learn; read at the start.
    history: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = ()
    #: What a token counts as work (seconds), in the history and in running jobs: of a prompt, and of an output.
    prefill_seconds: float = Field(default=WorkModel().prefill, ge=0, allow_inf_nan=False)
    decode_seconds: float = Field(default=WorkModel().decode, ge=0, allow_inf_nan=False)

    #: An executor that is silent for so long (seconds) loses its attempts.
    lease_seconds: float = Field(default=6.0, gt=0)
    #: How often executors say that they live (seconds); at least three times per lease.
    heartbeat_seconds: float = Field(default=1.0, gt=0)
    #: Leadership ends so long (seconds) after its last renewal.
    leader_ttl_seconds: float = Field(default=2.0, gt=0)
    #: How often it is renewed, and how often a standby tries to take it (seconds).
    leader_renew_seconds: float = Field(default=0.5, gt=0)

    #: Seconds a planner may take to answer one call.
    planner_deadline: float = Field(default=30.0, gt=0)
    #: Payloads kept in memory until they are dispatched (bytes); the rest is read back from the durable state.
    payload_cache_bytes: int = Field(default=256 << 20, ge=0)
    #: Decisions remembered for ExplainJob, per job.
    decisions_per_job: int = Field(default=32, ge=1)
    #: File that every batch of events and effects is appended to, as JSON lines; empty: none.
    event_log: str = ""
    #: debug, info, warning or error.
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", validation_alias="LLMSCHED_LOG_LEVEL"
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        problems = []
        try:
            check_policy(self.default_policy, self.knowledge)
        except TraceError as error:
            problems += error.problems
        except UnknownPolicy as error:
            problems.append(str(error))
        if self.heartbeat_seconds * 3 > self.lease_seconds:
            problems.append("lease_seconds must be at least three times heartbeat_seconds")
        if self.leader_renew_seconds * 2 > self.leader_ttl_seconds:
            problems.append("leader_ttl_seconds must be at least twice leader_renew_seconds")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def without_secrets(self) -> dict[str, object]:
        """All settings, for the log."""
        shown: dict[str, object] = self.model_dump(mode="json")
        shown["redis_url"] = re.sub(r"(://[^/@]*:)[^/@]*@", r"\1***@", self.redis_url)
        return shown

    @cached_property
    def knowledge(self) -> Knowledge:
        """What policies know besides the jobs. The history is read when the settings are checked, and kept."""
        return load_knowledge(self.history, WorkModel(prefill=self.prefill_seconds, decode=self.decode_seconds))

    @property
    def default_policy(self) -> PolicySettings:
        return PolicySettings(
            name=self.policy,
            application_order=self.application_order,
            ageing_seconds=self.ageing_seconds or None,
            seed=self.seed,
        )
