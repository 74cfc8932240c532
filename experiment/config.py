"""What an experiment is: the YAML file, checked, with every violation named by its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmsched.application import ApplicationError, ApplicationSpec, load_yaml
from llmsched.applications.catalogue import REFERENCE_APPLICATIONS
from services.profiler.core.trace import TraceError, read_history, read_workload
from services.scheduler.core.policies import POLICIES
from simulator.compare.study import Knows, knows

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def _live_policy(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"no policy {name!r}; there are: {', '.join(sorted(POLICIES))}")
    if knows(name) is Knows.FUTURE:
        raise ValueError(f"{name} knows the future: it exists in the simulator only")
    return name


PolicyName = Annotated[str, AfterValidator(_live_policy)]


class ConfigError(ValueError):
    """The config breaks the format. `problems` names each place, a line for people."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApplicationPart(_Part):
    """An application's share, and where it comes from."""

    weight: Positive = 1.0
    inputs: Path | None = None  #: JSON lines; None: the catalogue draws them


class Arrivals(_Part):
    """When jobs arrive."""

    kind: Literal["poisson", "bursty", "trace"] = "poisson"
    rate: Positive | None = None  #: jobs a second
    load: Positive | None = None  #: of the capacity measured in the warm-up, in place of a rate
    cv: Annotated[float, Field(gt=0, le=100)] = 3.0  #: of the gaps of `bursty`
    file: Path | None = None  #: of `trace`: a workload file, whose arrival times are used
    seed: int = 1

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if self.kind == "trace":
            if self.file is None or self.rate is not None or self.load is not None:
                raise ValueError("arrivals of kind trace need a file, and neither rate nor load")
        elif self.file is not None:
            raise ValueError("a file is for arrivals of kind trace")
        elif (self.rate is None) == (self.load is None):
            raise ValueError("give rate (jobs a second) or load, one of them")
        return self


class WarmUp(_Part):
    """What policies and beliefs know before the first phase."""

    jobs: Annotated[int, Field(ge=0)] = 0
    rate: Positive | None = None  #: jobs a second; None: all at once
    policy: PolicyName = "fcfs"
    history: Path | None = None  #: recorded jobs to learn from, besides those of the warm-up


class Engine(_Part):
    """Who answers LLM calls."""

    kind: Literal["sglang", "sim", "llamacpp", "endpoint"] = "sglang"
    urls: tuple[str, ...] = ()  #: engines that run already; `openai+http://…` for OpenAI's API
    count: Count = 1  #: engines to start, where there are no urls
    slots: Count = 16  #: of each
    time_scale: Positive = 1.0  #: sim: seconds of the clock for a second of the model
    arguments: tuple[str, ...] = ()  #: more arguments of engines that are started

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "endpoint" and not self.urls:
            raise ValueError("an engine of kind endpoint needs urls")
        if self.kind == "sim" and self.urls:
            raise ValueError("engine simulators are started: urls are for sglang, llamacpp and endpoint")
        if self.kind != "sim" and self.time_scale != 1.0:
            raise ValueError("time_scale is for engines of kind sim")
        return self


class Limits(_Part):
    """When to give up."""

    job_seconds: Positive = 600.0  #: a job that takes longer is cancelled, and counts as failed
    failed_share: Share = 0.2  #: a phase with a larger share of failed jobs ends the experiment
    ready_seconds: Positive = 600.0  #: until services and engines are up


class Config(_Part):
    """An experiment."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    applications: Mapping[str, ApplicationPart]
    jobs: Count
    arrivals: Arrivals
    policies: Annotated[tuple[PolicyName, ...], Field(min_length=1)]
    reference: str | None = None  #: what JCTs are divided by; None: fcfs if it runs, else the first policy
    repeats: Count = 1  #: each with jobs and arrivals of its own, the same ones for all policies
    warm_up: WarmUp = WarmUp()
    engine: Engine = Engine()
    tool_slots: Count = 4
    limits: Limits = Limits()
    ageing_seconds: Annotated[float, Field(ge=0)] = 0.0  #: the guard against starving; 0: none
    sample_seconds: Positive = 1.0  #: between two looks at engines and queues

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if len(set(self.policies)) < len(self.policies):
            problems.append("policies: each may be named once")
        if self.reference is not None and self.reference not in self.policies:
            problems.append(f"reference: {self.reference} is not among the policies")
        if not self.applications:
            problems.append("applications: name one at least")
        if self.arrivals.kind == "trace" and self.repeats > 1:
            problems.append("repeats: a trace of arrivals is the same each time, so there is nothing to repeat")
        if self.arrivals.load is not None and not self.warm_up.jobs:
            problems.append("arrivals.load: capacity is measured in the warm-up, and warm_up.jobs is 0")
        if self.needs_history and not self.warm_up.jobs and self.warm_up.history is None:
            learning = ", ".join(name for name in self.policies if knows(name) is Knows.HISTORY)
            problems.append(f"warm_up: give jobs, a history or both: {learning} would know nothing")
        if 0 < self.warm_up.jobs < len(self.applications) and self.warm_up.history is None:
            problems.append(f"warm_up.jobs: fewer than applications ({len(self.applications)})")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def divided_by(self) -> str:
        """The policy that ratios are relative to."""
        return self.reference or ("fcfs" if "fcfs" in self.policies else self.policies[0])

    @property
    def needs_history(self) -> bool:
        """Whether some policy goes by recorded jobs."""
        return any(knows(name) is Knows.HISTORY for name in self.policies)

    def plain(self) -> dict[str, Any]:
        """As resolved: what goes into the folder of results."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        return plain


def load(path: Path) -> Config:
    """Reads a config; its paths are relative to its folder.

    Raises:
        ConfigError: it, or what it names, breaks a rule.
        OSError: it cannot be read.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: no YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(found, dict):
        raise ConfigError([f"{path}: not a mapping of settings"])
    try:
        config = Config.model_validate(_resolved(found, path.parent))
    except ValidationError as error:
        raise ConfigError([f"{path}: {line}" for line in _lines(error)]) from error
    problems = [f"{path}: {problem}" for problem in _file_problems(config)]
    if problems:
        raise ConfigError(problems)
    return config


def application(name: str) -> ApplicationSpec:
    """The application that the config calls so. Raises ApplicationError, OSError, KeyError."""
    if name.endswith((".yaml", ".yml")):
        return load_yaml(Path(name))
    return next(each for each in REFERENCE_APPLICATIONS if each.name == name).load()


def read_inputs(path: Path) -> list[dict[str, Any]]:
    """Inputs from JSON lines. Raises ValueError with the line, OSError."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: no JSON: {error}") from error
            if not isinstance(value, dict):
                raise ValueError(f"{path}:{number}: an input is an object")
            found.append(value)
    if not found:
        raise ValueError(f"{path}: holds no inputs")
    return found


def _resolved(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With `all` and short forms written out, and paths made absolute."""

    def absolute(value: Any) -> Any:
        return str((folder / value).resolve()) if isinstance(value, str) else value

    found = dict(found)
    names = found.get("applications")
    if names == "all":
        names = dict.fromkeys(each.name for each in REFERENCE_APPLICATIONS)
    if isinstance(names, list):
        names = dict.fromkeys(names)
    if isinstance(names, dict):
        parts = {}
        for name, said in names.items():
            part = dict(said) if isinstance(said, dict) else {"weight": 1.0 if said is None else said}
            if "inputs" in part:
                part["inputs"] = absolute(part["inputs"])
            is_file = isinstance(name, str) and name.endswith((".yaml", ".yml"))
            parts[absolute(name) if is_file else name] = part
        found["applications"] = parts
    for section, key in (("arrivals", "file"), ("warm_up", "history")):
        if isinstance(found.get(section), dict) and key in found[section]:
            found[section] = found[section] | {key: absolute(found[section][key])}
    return found


def _lines(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False):
        told = one["msg"].removeprefix("Value error, ").splitlines()
        place = ".".join(map(str, one["loc"]))
        yield from (f"{place}: {line}" if place else line for line in told)


def _file_problems(config: Config) -> Iterator[str]:
    """What is wrong with the applications and files that are named."""
    known = [each.name for each in REFERENCE_APPLICATIONS]
    names: dict[str, str] = {}
    for key, part in config.applications.items():
        place = f"applications.{key}"
        if key not in known and not key.endswith((".yaml", ".yml")):
            yield f"{place}: no such application in the catalogue ({', '.join(known)}), and no YAML file"
            continue
        try:
            name = application(key).application
            if name in names:
                yield f"{place}: the application {name} is named twice: {names[name]}"
            names[name] = key
        except (ApplicationError, OSError) as error:
            yield f"{place}: {error}"
        if part.inputs is None and key not in known:
            yield f"{place}: an application of yours needs inputs: a file of JSON lines"
        if part.inputs is not None:
            try:
                read_inputs(part.inputs)
            except (ValueError, OSError) as error:
                yield f"{place}.inputs: {error}"
    for place, path, reader in (
        ("arrivals.file", config.arrivals.file, read_workload),
        ("warm_up.history", config.warm_up.history, read_history),
    ):
        if path is None:
            continue
        try:
            with path.open("rb") as lines:
                jobs = sum(1 for _ in reader(lines, str(path)))
            if reader is read_workload and jobs < config.jobs:
                yield f"{place}: {path} has {jobs} arrivals, and {config.jobs} jobs need one each"
        except OSError as error:
            yield f"{place}: {path}: {error.strerror}"
        except TraceError as error:
            yield from (f"{place}: {problem}" for problem in error.problems)
