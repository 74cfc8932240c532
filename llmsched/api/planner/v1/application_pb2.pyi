from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmsched.api.common.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Application(_message.Message):
    __slots__ = ("name", "spec", "create_time", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: ApplicationSpec
    create_time: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[ApplicationSpec, _Mapping]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class ApplicationSpec(_message.Message):
    __slots__ = ("application", "version", "description", "input_schema", "stages", "output")
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    application: str
    version: int
    description: str
    input_schema: _struct_pb2.Struct
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    output: _struct_pb2.Value
    def __init__(self, application: _Optional[str] = ..., version: _Optional[int] = ..., description: _Optional[str] = ..., input_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "after", "when", "foreach", "retry", "timeout", "on_error", "llm", "tool", "loop", "plan", "dynamic")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    FOREACH_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    DYNAMIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    after: _containers.RepeatedScalarFieldContainer[str]
    when: str
    foreach: ForEach
    retry: RetryPolicy
    timeout: _duration_pb2.Duration
    on_error: Stage
    llm: LlmStage
    tool: ToolStage
    loop: LoopStage
    plan: PlanStage
    dynamic: DynamicStage
    def __init__(self, name: _Optional[str] = ..., after: _Optional[_Iterable[str]] = ..., when: _Optional[str] = ..., foreach: _Optional[_Union[ForEach, _Mapping]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., on_error: _Optional[_Union[Stage, _Mapping]] = ..., llm: _Optional[_Union[LlmStage, _Mapping]] = ..., tool: _Optional[_Union[ToolStage, _Mapping]] = ..., loop: _Optional[_Union[LoopStage, _Mapping]] = ..., plan: _Optional[_Union[PlanStage, _Mapping]] = ..., dynamic: _Optional[_Union[DynamicStage, _Mapping]] = ...) -> None: ...

class ForEach(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    AS_FIELD_NUMBER: _ClassVar[int]
    items: str
    def __init__(self, items: _Optional[str] = ..., **kwargs) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "backoff")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    backoff: _duration_pb2.Duration
    def __init__(self, max_attempts: _Optional[int] = ..., backoff: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LlmStage(_message.Message):
    __slots__ = ("prompt", "messages", "model", "sampling", "json_schema")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    messages: _containers.RepeatedCompositeFieldContainer[_task_pb2.LlmCall.Message]
    model: str
    sampling: _task_pb2.SamplingParameters
    json_schema: _struct_pb2.Struct
    def __init__(self, prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_task_pb2.LlmCall.Message, _Mapping]]] = ..., model: _Optional[str] = ..., sampling: _Optional[_Union[_task_pb2.SamplingParameters, _Mapping]] = ..., json_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ToolStage(_message.Message):
    __slots__ = ("call", "args")
    CALL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    call: str
    args: _struct_pb2.Struct
    def __init__(self, call: _Optional[str] = ..., args: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class LoopStage(_message.Message):
    __slots__ = ("max_rounds", "until", "body")
    MAX_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    max_rounds: int
    until: str
    body: _containers.RepeatedCompositeFieldContainer[Stage]
    def __init__(self, max_rounds: _Optional[int] = ..., until: _Optional[str] = ..., body: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ...) -> None: ...

class PlanStage(_message.Message):
    __slots__ = ("llm", "tools", "max_stages", "max_retries")
    LLM_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    MAX_STAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    llm: LlmStage
    tools: _containers.RepeatedScalarFieldContainer[str]
    max_stages: int
    max_retries: int
    def __init__(self, llm: _Optional[_Union[LlmStage, _Mapping]] = ..., tools: _Optional[_Iterable[str]] = ..., max_stages: _Optional[int] = ..., max_retries: _Optional[int] = ...) -> None: ...

class DynamicStage(_message.Message):
    __slots__ = ("plan", "keep_going")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    KEEP_GOING_FIELD_NUMBER: _ClassVar[int]
    plan: str
    keep_going: bool
    def __init__(self, plan: _Optional[str] = ..., keep_going: bool = ...) -> None: ...
