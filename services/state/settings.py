"""What an operator may set about the durable state."""

from __future__ import annotations

from dataclasses import dataclass, field

DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept, and for how long."""

    retention_seconds: float = 7 * DAY  #: a job that ended, its events and its request id stay readable this long
    max_events: int = 10_000  #: changes kept per job (Redis may keep some more); older ones are compacted
    max_observations: int = 100_000  #: observations kept for the profiler, all jobs together
    max_history: int = 2_000  #: recorded jobs kept per application, the newest ones
    max_profiles: int = 10  #: versions of a profile kept per application, the newest ones

    def __post_init__(self) -> None:
        for name in ("retention_seconds", "max_events", "max_observations", "max_history", "max_profiles"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Where the store is, and how patient its client is."""

    url: str = "redis://127.0.0.1:6379/0"  #: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://
    shard: str = "main"  #: all keys of a shard lie in one hash slot
    limits: Limits = field(default_factory=Limits)
    connect_timeout: float = 2.0  #: seconds
    answer_timeout: float = 5.0  #: seconds until a command that was sent counts as failed
    max_connections: int = 64  #: more calls than this at once wait for their turn
    retries: int = 2  #: further tries after a lost connection, before the call fails

    def __post_init__(self) -> None:
        if not self.shard or not self.shard.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"a shard's name has only letters, digits, '-' and '_', not {self.shard!r}")
