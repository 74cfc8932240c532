from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StageKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_KIND_UNSPECIFIED: _ClassVar[StageKind]
    STAGE_KIND_LLM: _ClassVar[StageKind]
    STAGE_KIND_TOOL: _ClassVar[StageKind]
    STAGE_KIND_DYNAMIC: _ClassVar[StageKind]
STAGE_KIND_UNSPECIFIED: StageKind
STAGE_KIND_LLM: StageKind
STAGE_KIND_TOOL: StageKind
STAGE_KIND_DYNAMIC: StageKind

class StageSpec(_message.Message):
    __slots__ = ("stage_id", "name", "occurrence", "kind", "parents", "requirement", "position", "max_attempts", "timeout", "retry_backoff", "recoverable", "generated_by", "width_by")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OCCURRENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    RECOVERABLE_FIELD_NUMBER: _ClassVar[int]
    GENERATED_BY_FIELD_NUMBER: _ClassVar[int]
    WIDTH_BY_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    name: str
    occurrence: int
    kind: StageKind
    parents: _containers.RepeatedScalarFieldContainer[str]
    requirement: str
    position: int
    max_attempts: int
    timeout: _duration_pb2.Duration
    retry_backoff: _duration_pb2.Duration
    recoverable: bool
    generated_by: str
    width_by: str
    def __init__(self, stage_id: _Optional[str] = ..., name: _Optional[str] = ..., occurrence: _Optional[int] = ..., kind: _Optional[_Union[StageKind, str]] = ..., parents: _Optional[_Iterable[str]] = ..., requirement: _Optional[str] = ..., position: _Optional[int] = ..., max_attempts: _Optional[int] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., retry_backoff: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., recoverable: bool = ..., generated_by: _Optional[str] = ..., width_by: _Optional[str] = ...) -> None: ...

class TaskSpec(_message.Message):
    __slots__ = ("prompt_tokens", "counted")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    counted: bool
    def __init__(self, prompt_tokens: _Optional[int] = ..., counted: bool = ...) -> None: ...
