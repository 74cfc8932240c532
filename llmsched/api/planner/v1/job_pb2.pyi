from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmsched.api.common.v1 import stage_pb2 as _stage_pb2
from llmsched.api.common.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Job(_message.Message):
    __slots__ = ("name", "application", "state", "failure", "create_time", "start_time", "end_time", "labels", "usage", "stages", "etag", "rerun_of", "traceparent", "input")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        STATE_PENDING: _ClassVar[Job.State]
        STATE_RUNNING: _ClassVar[Job.State]
        STATE_CANCELLING: _ClassVar[Job.State]
        STATE_SUCCEEDED: _ClassVar[Job.State]
        STATE_FAILED: _ClassVar[Job.State]
        STATE_CANCELLED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    STATE_PENDING: Job.State
    STATE_RUNNING: Job.State
    STATE_CANCELLING: Job.State
    STATE_SUCCEEDED: Job.State
    STATE_FAILED: Job.State
    STATE_CANCELLED: Job.State
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    RERUN_OF_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    application: str
    state: Job.State
    failure: _task_pb2.Failure
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    usage: _task_pb2.TokenUsage
    stages: _containers.RepeatedCompositeFieldContainer[JobStage]
    etag: str
    rerun_of: str
    traceparent: str
    input: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., application: _Optional[str] = ..., state: _Optional[_Union[Job.State, str]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., usage: _Optional[_Union[_task_pb2.TokenUsage, _Mapping]] = ..., stages: _Optional[_Iterable[_Union[JobStage, _Mapping]]] = ..., etag: _Optional[str] = ..., rerun_of: _Optional[str] = ..., traceparent: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class JobStage(_message.Message):
    __slots__ = ("stage_id", "name", "kind", "state", "parents", "generated_by", "tasks", "ready_time", "end_time", "usage", "failure")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[JobStage.State]
        STATE_WAITING: _ClassVar[JobStage.State]
        STATE_UNFOLDING: _ClassVar[JobStage.State]
        STATE_READY: _ClassVar[JobStage.State]
        STATE_RUNNING: _ClassVar[JobStage.State]
        STATE_EXPANDED: _ClassVar[JobStage.State]
        STATE_SUCCEEDED: _ClassVar[JobStage.State]
        STATE_SKIPPED: _ClassVar[JobStage.State]
        STATE_FAILED: _ClassVar[JobStage.State]
        STATE_CANCELLED: _ClassVar[JobStage.State]
    STATE_UNSPECIFIED: JobStage.State
    STATE_WAITING: JobStage.State
    STATE_UNFOLDING: JobStage.State
    STATE_READY: JobStage.State
    STATE_RUNNING: JobStage.State
    STATE_EXPANDED: JobStage.State
    STATE_SUCCEEDED: JobStage.State
    STATE_SKIPPED: JobStage.State
    STATE_FAILED: JobStage.State
    STATE_CANCELLED: JobStage.State
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_BY_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    READY_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    name: str
    kind: _stage_pb2.StageKind
    state: JobStage.State
    parents: _containers.RepeatedScalarFieldContainer[str]
    generated_by: str
    tasks: _containers.RepeatedCompositeFieldContainer[JobTask]
    ready_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    usage: _task_pb2.TokenUsage
    failure: _task_pb2.Failure
    def __init__(self, stage_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[_stage_pb2.StageKind, str]] = ..., state: _Optional[_Union[JobStage.State, str]] = ..., parents: _Optional[_Iterable[str]] = ..., generated_by: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[JobTask, _Mapping]]] = ..., ready_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., usage: _Optional[_Union[_task_pb2.TokenUsage, _Mapping]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ...) -> None: ...

class JobTask(_message.Message):
    __slots__ = ("index", "state", "attempt", "executor", "start_time", "end_time", "usage", "failure", "timings")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[JobTask.State]
        STATE_READY: _ClassVar[JobTask.State]
        STATE_RUNNING: _ClassVar[JobTask.State]
        STATE_BACKOFF: _ClassVar[JobTask.State]
        STATE_SUCCEEDED: _ClassVar[JobTask.State]
        STATE_FAILED: _ClassVar[JobTask.State]
        STATE_CANCELLED: _ClassVar[JobTask.State]
    STATE_UNSPECIFIED: JobTask.State
    STATE_READY: JobTask.State
    STATE_RUNNING: JobTask.State
    STATE_BACKOFF: JobTask.State
    STATE_SUCCEEDED: JobTask.State
    STATE_FAILED: JobTask.State
    STATE_CANCELLED: JobTask.State
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    index: int
    state: JobTask.State
    attempt: int
    executor: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    usage: _task_pb2.TokenUsage
    failure: _task_pb2.Failure
    timings: _task_pb2.TaskTimings
    def __init__(self, index: _Optional[int] = ..., state: _Optional[_Union[JobTask.State, str]] = ..., attempt: _Optional[int] = ..., executor: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., usage: _Optional[_Union[_task_pb2.TokenUsage, _Mapping]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ..., timings: _Optional[_Union[_task_pb2.TaskTimings, _Mapping]] = ...) -> None: ...
