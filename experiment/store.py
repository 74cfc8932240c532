"""The folder of an experiment: files that are complete or not there, so that a run can go on where another ended."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from experiment.config import Config, ConfigError
from services.profiler.core.trace import TraceJob, read_history, read_workload, write_jobs

WARM_UP = "warm-up"


class NoResults(ValueError):
    """The folder does not hold what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """How a job of a phase went."""

    index: int  #: place in the order of arrival: pairs jobs of different policies
    application: str
    group: str  #: of the input
    job_id: str
    state: str  #: as the service has it, or TIMED_OUT
    at: float  #: seconds of its arrival after the start of the phase, as planned
    jct: float | None  #: seconds; of jobs that succeeded
    prompt_tokens: int = 0
    output_tokens: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A run of all jobs under one policy."""

    __pydantic_config__ = ConfigDict(extra="ignore")

    policy: str
    repeat: int
    began: float  #: seconds since the epoch
    seconds: float  #: from the first arrival to the last end
    rate: float | None  #: jobs a second
    load: float | None  #: that the rate is of the capacity measured in the warm-up
    jobs: tuple[JobRecord, ...]
    cluster: dict[str, Any]  #: what `llmsched simulate --cluster` reads
    about: dict[str, Any]  #: of the export: how well the engine's speed was fitted, and so on
    model: str = ""
    llm_utilisation: float = 0.0
    tool_utilisation: float = 0.0
    dispatches: int = 0
    calibrations: list[dict[str, Any]] = field(default_factory=list)  #: what executors measured of their engines
    cache: str = ""  #: what was done for an empty prefix cache

    @property
    def name(self) -> str:
        return WARM_UP if self.repeat < 0 else f"{self.policy}-{self.repeat}"

    @property
    def succeeded(self) -> list[JobRecord]:
        return [job for job in self.jobs if job.jct is not None]

    @property
    def failed(self) -> int:
        return len(self.jobs) - len(self.succeeded)


_PHASE = TypeAdapter(Phase)


class Store:
    """Reads and writes one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.phases_folder = folder / "phases"

    def open(self, config: Config) -> None:
        """Makes the folder, or goes on in one that was made by the same config.

        Raises:
            ConfigError: it holds another experiment.
            OSError: it cannot be written.
        """
        self.phases_folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "config.yaml"
        if path.is_file():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            if before != (now := config.plain()):
                changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
                raise ConfigError(
                    [f"{path} is of another config: {', '.join(changed)} changed; take another folder or remove it"]
                )
            return
        text = yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True)
        write_atomically(path, text)

    def config(self) -> Config:
        """The config as it was run. Raises NoResults."""
        path = self.folder / "config.yaml"
        try:
            return Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise NoResults(f"{self.folder} holds no experiment: {error}") from error

    def read(self, name: str) -> Phase | None:
        """The phase with that name; None if it has not ended yet."""
        path = self.phases_folder / f"{name}.json"
        return _PHASE.validate_json(path.read_bytes()) if path.is_file() else None

    def phases(self, config: Config) -> list[Phase]:
        """All that have ended, by repeat and policy as the config has them."""
        names = [f"{policy}-{repeat}" for repeat in range(config.repeats) for policy in config.policies]
        return [phase for name in names if (phase := self.read(name)) is not None]

    def write(self, phase: Phase, jobs: Iterable[TraceJob], event_log: Path, samples: str) -> None:
        """Stores a phase; the JSON comes last, for it says that all is there."""
        stem = self.phases_folder / phase.name
        write_atomically(Path(f"{stem}.jsonl"), "".join(write_jobs(jobs)))
        write_atomically(Path(f"{stem}.samples.csv"), samples)
        with event_log.open("rb") as source, gzip.open(f"{stem}.events.jsonl.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        write_atomically(Path(f"{stem}.json"), json.dumps(asdict(phase), indent=1, ensure_ascii=False) + "\n")

    def workload(self, name: str) -> list[TraceJob]:
        """The jobs of a phase that succeeded, as a workload."""
        path = self.phases_folder / f"{name}.jsonl"
        with path.open("rb") as lines:
            return list(read_workload(lines, str(path)))

    def samples(self, name: str) -> Path:
        return self.phases_folder / f"{name}.samples.csv"

    @property
    def history_file(self) -> Path:
        """What every phase's policies know at its start."""
        return self.folder / "history.jsonl"

    def history(self) -> list[TraceJob]:
        """The jobs of `history_file`; none if there is no such file yet."""
        if not self.history_file.is_file() or not self.history_file.stat().st_size:
            return []
        with self.history_file.open("rb") as lines:
            return list(read_history(lines, str(self.history_file)))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.folder / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """The file has its old or its new content, whenever the writer ends."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
