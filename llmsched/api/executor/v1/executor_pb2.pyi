from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmsched.api.common.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttemptRef(_message.Message):
    __slots__ = ("job_id", "stage_id", "task_index", "attempt")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_INDEX_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    stage_id: str
    task_index: int
    attempt: int
    def __init__(self, job_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., task_index: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("register", "heartbeat", "progress", "finished", "tokens_counted", "leaving")
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_COUNTED_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    register: Register
    heartbeat: Heartbeat
    progress: Progress
    finished: Finished
    tokens_counted: TokensCounted
    leaving: Leaving
    def __init__(self, register: _Optional[_Union[Register, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., tokens_counted: _Optional[_Union[TokensCounted, _Mapping]] = ..., leaving: _Optional[_Union[Leaving, _Mapping]] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("executor_id", "incarnation", "kind", "slots", "models", "tools", "labels", "running", "counts_tokens")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Register.Kind]
        KIND_LLM: _ClassVar[Register.Kind]
        KIND_TOOL: _ClassVar[Register.Kind]
    KIND_UNSPECIFIED: Register.Kind
    KIND_LLM: Register.Kind
    KIND_TOOL: Register.Kind
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COUNTS_TOKENS_FIELD_NUMBER: _ClassVar[int]
    executor_id: str
    incarnation: str
    kind: Register.Kind
    slots: int
    models: _containers.RepeatedScalarFieldContainer[str]
    tools: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    running: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    counts_tokens: bool
    def __init__(self, executor_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., kind: _Optional[_Union[Register.Kind, str]] = ..., slots: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., tools: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., running: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ..., counts_tokens: bool = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("running", "load", "healthy", "last_assignment", "steps")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    LAST_ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    running: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    load: EngineLoad
    healthy: bool
    last_assignment: int
    steps: EngineSteps
    def __init__(self, running: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ..., load: _Optional[_Union[EngineLoad, _Mapping]] = ..., healthy: bool = ..., last_assignment: _Optional[int] = ..., steps: _Optional[_Union[EngineSteps, _Mapping]] = ...) -> None: ...

class EngineSteps(_message.Message):
    __slots__ = ("decode", "prefill")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    PREFILL_FIELD_NUMBER: _ClassVar[int]
    decode: _containers.RepeatedCompositeFieldContainer[DecodeSteps]
    prefill: _containers.RepeatedCompositeFieldContainer[Prefills]
    def __init__(self, decode: _Optional[_Iterable[_Union[DecodeSteps, _Mapping]]] = ..., prefill: _Optional[_Iterable[_Union[Prefills, _Mapping]]] = ...) -> None: ...

class DecodeSteps(_message.Message):
    __slots__ = ("batch", "steps", "duration", "square_seconds")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    SQUARE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    batch: int
    steps: float
    duration: _duration_pb2.Duration
    square_seconds: float
    def __init__(self, batch: _Optional[int] = ..., steps: _Optional[float] = ..., duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., square_seconds: _Optional[float] = ...) -> None: ...

class Prefills(_message.Message):
    __slots__ = ("batch", "prompts", "tokens", "duration", "square_tokens", "token_seconds", "square_seconds")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    SQUARE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SQUARE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    batch: int
    prompts: int
    tokens: int
    duration: _duration_pb2.Duration
    square_tokens: float
    token_seconds: float
    square_seconds: float
    def __init__(self, batch: _Optional[int] = ..., prompts: _Optional[int] = ..., tokens: _Optional[int] = ..., duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., square_tokens: _Optional[float] = ..., token_seconds: _Optional[float] = ..., square_seconds: _Optional[float] = ...) -> None: ...

class EngineLoad(_message.Message):
    __slots__ = ("running", "waiting", "token_usage")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    TOKEN_USAGE_FIELD_NUMBER: _ClassVar[int]
    running: int
    waiting: int
    token_usage: float
    def __init__(self, running: _Optional[int] = ..., waiting: _Optional[int] = ..., token_usage: _Optional[float] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("attempt", "offset", "text", "completion_tokens")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    attempt: AttemptRef
    offset: int
    text: str
    completion_tokens: int
    def __init__(self, attempt: _Optional[_Union[AttemptRef, _Mapping]] = ..., offset: _Optional[int] = ..., text: _Optional[str] = ..., completion_tokens: _Optional[int] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("attempt", "result", "failure", "cancelled", "start_time", "end_time")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    attempt: AttemptRef
    result: _task_pb2.TaskResult
    failure: _task_pb2.Failure
    cancelled: Cancelled
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, attempt: _Optional[_Union[AttemptRef, _Mapping]] = ..., result: _Optional[_Union[_task_pb2.TaskResult, _Mapping]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ..., cancelled: _Optional[_Union[Cancelled, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Cancelled(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TokensCounted(_message.Message):
    __slots__ = ("count_id", "prompt_tokens")
    COUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    count_id: int
    prompt_tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, count_id: _Optional[int] = ..., prompt_tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class Leaving(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("registered", "assign", "cancel", "drain", "result_stored", "count_tokens")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    RESULT_STORED_FIELD_NUMBER: _ClassVar[int]
    COUNT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    registered: Registered
    assign: Assign
    cancel: Cancel
    drain: Drain
    result_stored: ResultStored
    count_tokens: CountTokens
    def __init__(self, registered: _Optional[_Union[Registered, _Mapping]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., result_stored: _Optional[_Union[ResultStored, _Mapping]] = ..., count_tokens: _Optional[_Union[CountTokens, _Mapping]] = ...) -> None: ...

class Registered(_message.Message):
    __slots__ = ("epoch", "lease", "heartbeat_interval", "stale")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    lease: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    stale: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    def __init__(self, epoch: _Optional[int] = ..., lease: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("attempt", "payload", "priority", "timeout", "traceparent", "stream_output", "assignment")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    STREAM_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    attempt: AttemptRef
    payload: _task_pb2.TaskPayload
    priority: int
    timeout: _duration_pb2.Duration
    traceparent: str
    stream_output: bool
    assignment: int
    def __init__(self, attempt: _Optional[_Union[AttemptRef, _Mapping]] = ..., payload: _Optional[_Union[_task_pb2.TaskPayload, _Mapping]] = ..., priority: _Optional[int] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., traceparent: _Optional[str] = ..., stream_output: bool = ..., assignment: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: AttemptRef
    def __init__(self, attempt: _Optional[_Union[AttemptRef, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResultStored(_message.Message):
    __slots__ = ("attempts",)
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    def __init__(self, attempts: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ...) -> None: ...

class CountTokens(_message.Message):
    __slots__ = ("count_id", "calls")
    COUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    count_id: int
    calls: _containers.RepeatedCompositeFieldContainer[_task_pb2.LlmCall]
    def __init__(self, count_id: _Optional[int] = ..., calls: _Optional[_Iterable[_Union[_task_pb2.LlmCall, _Mapping]]] = ...) -> None: ...
