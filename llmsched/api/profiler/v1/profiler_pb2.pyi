from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmsched.api.executor.v1 import executor_pb2 as _executor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Profile(_message.Message):
    __slots__ = ("name", "job_count", "create_time", "compiled", "encoding", "learn_time", "trigger", "variable_count", "history_job_count", "new_job_count", "next_new_job_count", "drift", "reliability")
    class Trigger(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TRIGGER_UNSPECIFIED: _ClassVar[Profile.Trigger]
        TRIGGER_HISTORY: _ClassVar[Profile.Trigger]
        TRIGGER_REQUEST: _ClassVar[Profile.Trigger]
        TRIGGER_DRIFT: _ClassVar[Profile.Trigger]
    TRIGGER_UNSPECIFIED: Profile.Trigger
    TRIGGER_HISTORY: Profile.Trigger
    TRIGGER_REQUEST: Profile.Trigger
    TRIGGER_DRIFT: Profile.Trigger
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPILED_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    LEARN_TIME_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    VARIABLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    HISTORY_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEW_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_NEW_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    job_count: int
    create_time: _timestamp_pb2.Timestamp
    compiled: bytes
    encoding: str
    learn_time: _duration_pb2.Duration
    trigger: Profile.Trigger
    variable_count: int
    history_job_count: int
    new_job_count: int
    next_new_job_count: int
    drift: Drift
    reliability: Reliability
    def __init__(self, name: _Optional[str] = ..., job_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., compiled: _Optional[bytes] = ..., encoding: _Optional[str] = ..., learn_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., trigger: _Optional[_Union[Profile.Trigger, str]] = ..., variable_count: _Optional[int] = ..., history_job_count: _Optional[int] = ..., new_job_count: _Optional[int] = ..., next_new_job_count: _Optional[int] = ..., drift: _Optional[_Union[Drift, _Mapping]] = ..., reliability: _Optional[_Union[Reliability, _Mapping]] = ...) -> None: ...

class Drift(_message.Message):
    __slots__ = ("state", "notice_time", "change_count", "changed_job_count", "false_alarm_job_count", "level")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Drift.State]
        STATE_UNWATCHED: _ClassVar[Drift.State]
        STATE_STEADY: _ClassVar[Drift.State]
        STATE_SUSPICIOUS: _ClassVar[Drift.State]
        STATE_CHANGED: _ClassVar[Drift.State]
    STATE_UNSPECIFIED: Drift.State
    STATE_UNWATCHED: Drift.State
    STATE_STEADY: Drift.State
    STATE_SUSPICIOUS: Drift.State
    STATE_CHANGED: Drift.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTICE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARM_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    state: Drift.State
    notice_time: _timestamp_pb2.Timestamp
    change_count: int
    changed_job_count: int
    false_alarm_job_count: int
    level: float
    def __init__(self, state: _Optional[_Union[Drift.State, str]] = ..., notice_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., change_count: _Optional[int] = ..., changed_job_count: _Optional[int] = ..., false_alarm_job_count: _Optional[int] = ..., level: _Optional[float] = ...) -> None: ...

class Reliability(_message.Message):
    __slots__ = ("belief_count", "coverage", "mean_error", "mean_crps", "job_count")
    class Coverage(_message.Message):
        __slots__ = ("level", "share")
        LEVEL_FIELD_NUMBER: _ClassVar[int]
        SHARE_FIELD_NUMBER: _ClassVar[int]
        level: float
        share: float
        def __init__(self, level: _Optional[float] = ..., share: _Optional[float] = ...) -> None: ...
    BELIEF_COUNT_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    MEAN_ERROR_FIELD_NUMBER: _ClassVar[int]
    MEAN_CRPS_FIELD_NUMBER: _ClassVar[int]
    JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    belief_count: int
    coverage: _containers.RepeatedCompositeFieldContainer[Reliability.Coverage]
    mean_error: _duration_pb2.Duration
    mean_crps: _duration_pb2.Duration
    job_count: int
    def __init__(self, belief_count: _Optional[int] = ..., coverage: _Optional[_Iterable[_Union[Reliability.Coverage, _Mapping]]] = ..., mean_error: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., mean_crps: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., job_count: _Optional[int] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("executor_id", "prefill_seconds", "step_seconds", "step_counts", "prompt_count", "version", "publish_time", "measure_time", "models")
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    PREFILL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNTS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_TIME_FIELD_NUMBER: _ClassVar[int]
    MEASURE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    executor_id: str
    prefill_seconds: float
    step_seconds: _containers.RepeatedScalarFieldContainer[float]
    step_counts: _containers.RepeatedScalarFieldContainer[float]
    prompt_count: float
    version: int
    publish_time: _timestamp_pb2.Timestamp
    measure_time: _timestamp_pb2.Timestamp
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, executor_id: _Optional[str] = ..., prefill_seconds: _Optional[float] = ..., step_seconds: _Optional[_Iterable[float]] = ..., step_counts: _Optional[_Iterable[float]] = ..., prompt_count: _Optional[float] = ..., version: _Optional[int] = ..., publish_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., measure_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ...) -> None: ...

class DurationInterval(_message.Message):
    __slots__ = ("lower", "upper", "expected")
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    lower: _duration_pb2.Duration
    upper: _duration_pb2.Duration
    expected: _duration_pb2.Duration
    def __init__(self, lower: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., upper: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., expected: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListProfilesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProfilesResponse(_message.Message):
    __slots__ = ("profiles", "next_page_token")
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    profiles: _containers.RepeatedCompositeFieldContainer[Profile]
    next_page_token: str
    def __init__(self, profiles: _Optional[_Iterable[_Union[Profile, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class TrainProfileRequest(_message.Message):
    __slots__ = ("application", "request_id")
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    application: str
    request_id: str
    def __init__(self, application: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrainProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("llm_work", "tool_time", "profile", "total")
    LLM_WORK_FIELD_NUMBER: _ClassVar[int]
    TOOL_TIME_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    llm_work: DurationInterval
    tool_time: DurationInterval
    profile: str
    total: DurationInterval
    def __init__(self, llm_work: _Optional[_Union[DurationInterval, _Mapping]] = ..., tool_time: _Optional[_Union[DurationInterval, _Mapping]] = ..., profile: _Optional[str] = ..., total: _Optional[_Union[DurationInterval, _Mapping]] = ...) -> None: ...

class WatchProfilesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchProfilesResponse(_message.Message):
    __slots__ = ("profile", "calibration")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    calibration: Calibration
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ...) -> None: ...

class ImportHistoryRequest(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    def __init__(self, lines: _Optional[bytes] = ...) -> None: ...

class ImportHistoryResponse(_message.Message):
    __slots__ = ("job_count",)
    JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    job_count: int
    def __init__(self, job_count: _Optional[int] = ...) -> None: ...

class ExportHistoryRequest(_message.Message):
    __slots__ = ("application",)
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    application: str
    def __init__(self, application: _Optional[str] = ...) -> None: ...

class ExportHistoryResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    def __init__(self, lines: _Optional[bytes] = ...) -> None: ...

class ListCalibrationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCalibrationsResponse(_message.Message):
    __slots__ = ("calibrations", "next_page_token")
    CALIBRATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    calibrations: _containers.RepeatedCompositeFieldContainer[Calibration]
    next_page_token: str
    def __init__(self, calibrations: _Optional[_Iterable[_Union[Calibration, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ImportCalibrationRequest(_message.Message):
    __slots__ = ("executor_id", "report")
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    executor_id: str
    report: _executor_pb2.EngineSteps
    def __init__(self, executor_id: _Optional[str] = ..., report: _Optional[_Union[_executor_pb2.EngineSteps, _Mapping]] = ...) -> None: ...

class ImportCalibrationResponse(_message.Message):
    __slots__ = ("calibration",)
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    calibration: Calibration
    def __init__(self, calibration: _Optional[_Union[Calibration, _Mapping]] = ...) -> None: ...
