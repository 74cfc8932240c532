"""The store's values → the wire."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.profiler.v1 import profiler_pb2
from services.profiler.core.belief import Interval
from services.profiler.core.calibration import DecodeSteps, Prefills, Report
from services.profiler.core.conduct import Conduct
from services.profiler.core.drift import RUN_LENGTH
from services.profiler.core.scoring import LEVELS
from services.profiler.engines import calibration_of
from services.profiler.predict import Prediction
from services.profiler.resource_names import profile_name
from services.state.records import EngineRecord, ProfileRecord

_TRIGGERS = {
    "history": profiler_pb2.Profile.TRIGGER_HISTORY,
    "request": profiler_pb2.Profile.TRIGGER_REQUEST,
    "drift": profiler_pb2.Profile.TRIGGER_DRIFT,
}


def profile_to_proto(profile: ProfileRecord, *, compiled: bool) -> profiler_pb2.Profile:
    """`compiled`: with what was learned itself."""
    message = profiler_pb2.Profile(
        name=profile_name(profile.application, profile.version),
        job_count=profile.jobs,
        compiled=profile.compiled if compiled else b"",
        encoding=profile.encoding,
        learn_time=_duration(profile.learn_seconds),
        trigger=_TRIGGERS.get(profile.trigger, profiler_pb2.Profile.TRIGGER_UNSPECIFIED),
        variable_count=profile.variables,
    )
    message.create_time.FromMicroseconds(round(profile.created_at * 1e6))
    return message


def drift_to_proto(conduct: Conduct) -> profiler_pb2.Drift:
    monitor = conduct.monitor
    state = profiler_pb2.Drift.STATE_STEADY
    if monitor.alarm:
        state = profiler_pb2.Drift.STATE_CHANGED
    elif not conduct.watched:
        state = profiler_pb2.Drift.STATE_UNWATCHED
    elif monitor.suspicious:
        state = profiler_pb2.Drift.STATE_SUSPICIOUS
    message = profiler_pb2.Drift(
        state=state,
        change_count=conduct.alarms,
        changed_job_count=monitor.changed or 0,
        false_alarm_job_count=round(RUN_LENGTH),
        level=1.0 if monitor.alarm else min(1.0, conduct.height),
    )
    if conduct.alarmed_at is not None:
        message.notice_time.FromMicroseconds(round(conduct.alarmed_at * 1e6))
    return message


def reliability_to_proto(conduct: Conduct) -> profiler_pb2.Reliability | None:
    """None: no belief was scored."""
    found = conduct.outcome
    if not found.beliefs:
        return None
    return profiler_pb2.Reliability(
        belief_count=found.beliefs,
        coverage=[
            profiler_pb2.Reliability.Coverage(level=level, share=inside / found.beliefs)
            for level, inside in zip(LEVELS, found.inside, strict=True)
        ],
        mean_error=_duration(found.error / found.beliefs),
        mean_crps=_duration(found.crps / found.beliefs),
        job_count=len(conduct.outcomes),
    )


def calibration_to_proto(engine: EngineRecord) -> profiler_pb2.Calibration:
    calibration = calibration_of(engine)
    message = profiler_pb2.Calibration(
        executor_id=engine.executor,
        prefill_seconds=calibration.prefill,
        step_seconds=calibration.steps,
        step_counts=calibration.weights,
        prompt_count=calibration.prompts,
        version=engine.version,
        models=engine.models,
    )
    message.publish_time.FromMicroseconds(round(engine.published_at * 1e6))
    message.measure_time.FromMicroseconds(round(engine.measured_at * 1e6))
    return message


def report_to_core(steps: executor_pb2.EngineSteps) -> Report:
    decode = [
        DecodeSteps(one.batch, one.steps, one.duration.ToNanoseconds() / 1e9, one.square_seconds)
        for one in steps.decode
    ]
    prefill = [
        Prefills(
            one.batch,
            one.prompts,
            one.tokens,
            one.duration.ToNanoseconds() / 1e9,
            one.square_tokens,
            one.token_seconds,
            one.square_seconds,
        )
        for one in steps.prefill
    ]
    return Report(decode=tuple(decode), prefill=tuple(prefill))


def prediction_to_proto(prediction: Prediction) -> profiler_pb2.PredictResponse:
    expected, llm, tool = prediction.expected, prediction.llm, prediction.tool
    return profiler_pb2.PredictResponse(
        llm_work=_interval(llm, expected.llm),
        tool_time=_interval(tool, expected.tool),
        total=_interval(Interval(llm.low + tool.low, llm.high + tool.high), expected.total),
        profile=profile_name(prediction.application, prediction.version),
    )


def _interval(interval: Interval, expected: float) -> profiler_pb2.DurationInterval:
    return profiler_pb2.DurationInterval(
        lower=_duration(interval.low), upper=_duration(interval.high), expected=_duration(expected)
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
