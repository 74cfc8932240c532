"""Recorded jobs: the trace format (docs/trace-format.md) as values, a reader that accepts nothing else, a writer.

A *workload* says when each job arrives and must say how long everything takes; a *history* is for learning, and what
it does not know is null.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, SkipValidation, TypeAdapter, ValidationError

Structure = Literal["static", "width", "chain", "chain+width", "generated"]
Tokens = Annotated[int, Field(ge=0, le=2**53, strict=True)]  # beyond that a float does not count in ones
Seconds = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]

#: How many problems an error names at most.
MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTask:
    """One task: tokens of an LLM call, or seconds of a tool. `seconds` of LLM calls are not used."""

    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    seconds: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStage:
    id: Name  #: unique in the job
    name: Name  #: repeats; with the occurrence it is what the same stage of another job is called
    kind: Literal["llm", "plan", "tool"]
    parents: tuple[str, ...]
    tasks: tuple[TraceTask, ...]
    generated_by: str | None = None  #: stage whose completion makes this one exist; None: known at arrival
    width_by: str | None = None  #: stage whose completion reveals the number of tasks

    @property
    def is_llm(self) -> bool:
        return self.kind != "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceJob:
    app: Name
    stages: tuple[TraceStage, ...]  #: in a topological order; one at least
    job_id: str = ""
    structure: Structure = "static"
    group: str | None = None  #: of the underlying input
    job_seconds: Seconds | None = None  #: recorded, undisturbed
    request_tokens: Tokens | None = None
    input_class: str | None = None
    planner: str | None = None
    domain: str | None = None
    arrival_seconds: Seconds | None = None  #: workloads only
    recorded_jct_seconds: Seconds | None = None  #: of the job's live run, other jobs beside it
    recorded_policy: str | None = None  #: of that run
    line: SkipValidation[int] = 0  #: where it was read, from 1; no field of the format


Canonical = tuple[str, int]  #: name and occurrence: what a stage is called in every job of its application


def canonicals(job: TraceJob) -> dict[str, Canonical]:
    """By stage id."""
    counts: Counter[str] = Counter()
    found = {}
    for stage in job.stages:
        found[stage.id] = (stage.name, counts[stage.name])
        counts[stage.name] += 1
    return found


def generators(job: TraceJob) -> dict[str, str | None]:
    """By stage id: the stage whose completion makes this one exist. None: known at arrival.

    A stage that does not come after the one that it names as its generator counts as known at arrival: it may start
    when its parents are done.
    """
    stages = {stage.id: stage for stage in job.stages}
    found: dict[str, str | None] = {}
    for stage in job.stages:
        named = stage.generated_by
        found[stage.id] = named if named is not None and _comes_after(stage, named, stages, found) else None
    return found


def _comes_after(
    stage: TraceStage, named: str, stages: Mapping[str, TraceStage], found: Mapping[str, str | None]
) -> bool:
    todo, known = [stage], set[str]()
    while todo:
        for parent in todo.pop().parents:
            if parent == named or found[parent] == named:
                return True
            if parent not in known:
                known.add(parent)
                todo.append(stages[parent])
    return False


class TraceError(ValueError):
    """A trace file breaks the format. `problems` names each place: file, line and field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[TraceError], tuple[list[str]]]:
        # Errors of other processes come pickled, and an exception pickles as its message.
        return type(self), (self.problems,)


_JOB = TypeAdapter(TraceJob)


def read_workload(lines: Iterable[str | bytes], source: str) -> Iterator[TraceJob]:
    """Yields the jobs of a workload in the order of their arrival. Reads on only as the caller does.

    Args: `source` stands before the number of a line in errors: the file's name. Blank lines do not count as jobs.

    Raises:
        TraceError: a line breaks the format, something that the simulation needs is null, or there are no jobs at all.
            Raised at the first bad line, with all of that line's problems and those of the bad lines that follow it,
            `MAX_PROBLEMS` at most.
    """
    return _read(lines, source, workload=True)


def read_history(lines: Iterable[str | bytes], source: str) -> Iterator[TraceJob]:
    """Yields the jobs of a history. Args and errors are those of `read_workload`; null is accepted for unknown."""
    return _read(lines, source, workload=False)


def write_jobs(jobs: Iterable[TraceJob]) -> Iterator[str]:
    """Yields a line for each job, newline included: a workload if the jobs have arrivals, else a history.

    Reading the lines gives the jobs back, but for `line`, and for `job_id` where it was empty.
    """
    for job in jobs:
        fields = {name: getattr(job, name) for name in _ALWAYS}
        fields |= {name: value for name in _IF_KNOWN if (value := getattr(job, name)) is not None}
        fields["stages"] = [_stage_fields(stage) for stage in job.stages]
        yield json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


_ALWAYS = ("app", "job_id", "structure")
_IF_KNOWN = (
    "group",
    "job_seconds",
    "request_tokens",
    "input_class",
    "planner",
    "domain",
    "arrival_seconds",
    "recorded_jct_seconds",
    "recorded_policy",
)


def _stage_fields(stage: TraceStage) -> dict[str, Any]:
    return {
        "id": stage.id,
        "name": stage.name,
        "kind": stage.kind,
        "parents": stage.parents,
        "generated_by": stage.generated_by,
        "width_by": stage.width_by,
        "tasks": [_task_fields(stage, task) for task in stage.tasks],
    }


def _task_fields(stage: TraceStage, task: TraceTask) -> dict[str, Any]:
    if not stage.is_llm and task.prompt_tokens is None and task.output_tokens is None:
        return {"seconds": task.seconds}
    return {"prompt_tokens": task.prompt_tokens, "output_tokens": task.output_tokens, "seconds": task.seconds}


def _read(lines: Iterable[str | bytes], source: str, *, workload: bool) -> Iterator[TraceJob]:
    problems: list[str] = []
    latest = 0.0
    empty = first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        empty = False
        job, found = _parse(line, number)
        if job is not None and first and (job.arrival_seconds is None) is workload:
            # All lines will be like this one: a word on what the file is helps more than twenty on what it is not.
            problems.append(f"{source}:{number}: {_OTHER_KIND[workload]}")
            break
        first = False
        if job is not None:
            found = [
                *_structure_problems(job),
                *(_workload_problems(job, latest) if workload else _history_problems(job)),
            ]
            latest = max(latest, job.arrival_seconds or 0.0)
        problems += [f"{source}:{number}: {problem}" for problem in found]
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS:] = [f"{source}: there may be more; reading stopped at line {number}"]
            break
        if job is not None and not problems:
            yield job
    if empty:
        problems.append(f"{source}: no jobs: each line holds one")
    if problems:
        raise TraceError(problems)


#: Clearer words than pydantic's, by type of error.
_WORDS = {"missing": "missing", "string_too_short": "empty; a text is needed"}


def _parse(line: str | bytes, number: int) -> tuple[TraceJob | None, list[str]]:
    try:
        job = _JOB.validate_json(line)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        return None, [f"{_path(one['loc'])}: {_WORDS.get(one['type'], one['msg'])}" for one in problems]
    return replace(job, line=number, job_id=job.job_id or f"job-{number}"), []


def _path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".") or "the line"


def _structure_problems(job: TraceJob) -> Iterator[str]:
    if not job.stages:
        yield "stages: none; a job has one at least"
    earlier: set[str] = set()
    for index, stage in enumerate(job.stages):
        where = f"stages[{index}]"
        if stage.id in earlier:
            yield f"{where}.id: {stage.id!r} is taken by an earlier stage"
        for field, named in (("generated_by", stage.generated_by), ("width_by", stage.width_by)):
            if named is not None and named not in earlier:
                yield f"{where}.{field}: {_not_earlier(job, named)}"
        for place, parent in enumerate(stage.parents):
            if parent not in earlier:
                yield f"{where}.parents[{place}]: {_not_earlier(job, parent)}"
        earlier.add(stage.id)


def _not_earlier(job: TraceJob, named: str) -> str:
    if any(stage.id == named for stage in job.stages):
        return f"{named!r} is no earlier stage; stages stand in topological order"
    return f"no stage has the id {named!r}"


#: What is wrong with a line of the other kind, by whether a workload is read.
_OTHER_KIND = {
    True: "arrival_seconds: missing; each job of a workload has one (is this a history?)",
    False: "arrival_seconds: a history has no arrivals (is this a workload?)",
}


def _history_problems(job: TraceJob) -> Iterator[str]:
    if job.arrival_seconds is not None:
        yield _OTHER_KIND[False]


def _workload_problems(job: TraceJob, latest: float) -> Iterator[str]:
    if job.arrival_seconds is None:
        yield _OTHER_KIND[True]
    elif job.arrival_seconds < latest:
        yield f"arrival_seconds: {job.arrival_seconds} is before {latest}, that of an earlier line"
    for index, stage in enumerate(job.stages):
        needed = ("prompt_tokens", "output_tokens") if stage.is_llm else ("seconds",)
        for place, task in enumerate(stage.tasks):
            for field in needed:
                if getattr(task, field) is None:
                    where = f"stages[{index}].tasks[{place}].{field}"
                    yield f"{where}: missing in task {place} of stage {stage.id!r}; a workload says how long all takes"
