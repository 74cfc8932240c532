"""Lines of the stream of observations, as the core's values."""

from __future__ import annotations

import msgspec
from msgspec.structs import asdict

from services.profiler.core.calibration import DecodeSteps, Prefills, Report
from services.profiler.core.observation import AttemptObserved, JobObserved, StepsObserved

Observed = AttemptObserved | JobObserved | StepsObserved


class UnreadableObservation(ValueError):
    """A line that a scheduler of another version has written, or nonsense."""


class _Type(msgspec.Struct):
    type: str


class _Decode(msgspec.Struct):
    batch: int
    steps: float
    seconds: float
    squares: float


class _Prefill(msgspec.Struct):
    batch: int
    prompts: float
    tokens: float
    seconds: float
    token_squares: float
    token_seconds: float
    squares: float


class _Steps(msgspec.Struct):
    executor: str
    models: tuple[str, ...]
    slots: int
    at: float
    decode: tuple[_Decode, ...]
    prefill: tuple[_Prefill, ...]


_TYPE = msgspec.json.Decoder(_Type)
_ATTEMPT = msgspec.json.Decoder(AttemptObserved)
_JOB = msgspec.json.Decoder(JobObserved)
_STEPS = msgspec.json.Decoder(_Steps)


def read_observation(line: bytes) -> Observed | None:
    """None for a type that this version does not know. Raises UnreadableObservation."""
    try:
        match _TYPE.decode(line).type:
            case "attempt":
                return _ATTEMPT.decode(line)
            case "job":
                return _JOB.decode(line)
            case "steps":
                return _steps(_STEPS.decode(line))
    except msgspec.DecodeError as error:  # includes ValidationError
        raise UnreadableObservation(str(error)) from error
    return None


def _steps(seen: _Steps) -> StepsObserved:
    report = Report(
        decode=tuple(DecodeSteps(**asdict(each)) for each in seen.decode),
        prefill=tuple(Prefills(**asdict(each)) for each in seen.prefill),
    )
    return StepsObserved(executor=seen.executor, models=seen.models, slots=seen.slots, at=seen.at, report=report)
