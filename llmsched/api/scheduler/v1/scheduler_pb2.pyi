from google.protobuf import duration_pb2 as _duration_pb2
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

class AdmitJobRequest(_message.Message):
    __slots__ = ("job_ids",)
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class AdmitJobResponse(_message.Message):
    __slots__ = ("unknown_job_ids",)
    UNKNOWN_JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    unknown_job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, unknown_job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id", "reason")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    reason: str
    def __init__(self, job_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddStageRequest(_message.Message):
    __slots__ = ("job_id", "stage", "task", "payload")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    stage: _stage_pb2.StageSpec
    task: _stage_pb2.TaskSpec
    payload: _task_pb2.TaskPayload
    def __init__(self, job_id: _Optional[str] = ..., stage: _Optional[_Union[_stage_pb2.StageSpec, _Mapping]] = ..., task: _Optional[_Union[_stage_pb2.TaskSpec, _Mapping]] = ..., payload: _Optional[_Union[_task_pb2.TaskPayload, _Mapping]] = ...) -> None: ...

class AddStageResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CloseJobRequest(_message.Message):
    __slots__ = ("job_id", "output", "failure")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    output: _struct_pb2.Value
    failure: _task_pb2.Failure
    def __init__(self, job_id: _Optional[str] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ...) -> None: ...

class CloseJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KeepJobOpenRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class KeepJobOpenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClusterRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClusterResponse(_message.Message):
    __slots__ = ("executors", "active_jobs", "ready_stages", "running_attempts", "epoch", "policy")
    EXECUTORS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_JOBS_FIELD_NUMBER: _ClassVar[int]
    READY_STAGES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    executors: _containers.RepeatedCompositeFieldContainer[Executor]
    active_jobs: int
    ready_stages: int
    running_attempts: int
    epoch: int
    policy: Policy
    def __init__(self, executors: _Optional[_Iterable[_Union[Executor, _Mapping]]] = ..., active_jobs: _Optional[int] = ..., ready_stages: _Optional[int] = ..., running_attempts: _Optional[int] = ..., epoch: _Optional[int] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class Executor(_message.Message):
    __slots__ = ("executor_id", "kind", "state", "slots", "used_slots", "offers", "labels", "attach_time", "heartbeat_time", "engine_waiting")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Executor.State]
        STATE_ATTACHED: _ClassVar[Executor.State]
        STATE_DRAINING: _ClassVar[Executor.State]
        STATE_UNHEALTHY: _ClassVar[Executor.State]
        STATE_DETACHED: _ClassVar[Executor.State]
    STATE_UNSPECIFIED: Executor.State
    STATE_ATTACHED: Executor.State
    STATE_DRAINING: Executor.State
    STATE_UNHEALTHY: Executor.State
    STATE_DETACHED: Executor.State
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    USED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ATTACH_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIME_FIELD_NUMBER: _ClassVar[int]
    ENGINE_WAITING_FIELD_NUMBER: _ClassVar[int]
    executor_id: str
    kind: str
    state: Executor.State
    slots: int
    used_slots: int
    offers: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    attach_time: _timestamp_pb2.Timestamp
    heartbeat_time: _timestamp_pb2.Timestamp
    engine_waiting: int
    def __init__(self, executor_id: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[_Union[Executor.State, str]] = ..., slots: _Optional[int] = ..., used_slots: _Optional[int] = ..., offers: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., attach_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., heartbeat_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., engine_waiting: _Optional[int] = ...) -> None: ...

class ListQueueRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListQueueResponse(_message.Message):
    __slots__ = ("stages", "next_page_token")
    STAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedCompositeFieldContainer[QueuedStage]
    next_page_token: str
    def __init__(self, stages: _Optional[_Iterable[_Union[QueuedStage, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class QueuedStage(_message.Message):
    __slots__ = ("rank", "job_id", "stage_id", "application", "kind", "requirement", "waiting_tasks", "ready_time", "key", "reason", "figures")
    RANK_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENT_FIELD_NUMBER: _ClassVar[int]
    WAITING_TASKS_FIELD_NUMBER: _ClassVar[int]
    READY_TIME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    rank: int
    job_id: str
    stage_id: str
    application: str
    kind: _stage_pb2.StageKind
    requirement: str
    waiting_tasks: int
    ready_time: _timestamp_pb2.Timestamp
    key: str
    reason: str
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    def __init__(self, rank: _Optional[int] = ..., job_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., application: _Optional[str] = ..., kind: _Optional[_Union[_stage_pb2.StageKind, str]] = ..., requirement: _Optional[str] = ..., waiting_tasks: _Optional[int] = ..., ready_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., key: _Optional[str] = ..., reason: _Optional[str] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ...) -> None: ...

class Figure(_message.Message):
    __slots__ = ("name", "label", "value", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    label: str
    value: float
    unit: str
    def __init__(self, name: _Optional[str] = ..., label: _Optional[str] = ..., value: _Optional[float] = ..., unit: _Optional[str] = ...) -> None: ...

class StageReasons(_message.Message):
    __slots__ = ("stage_id", "rank", "place", "figures", "before", "jobs_before", "changes")
    class Before(_message.Message):
        __slots__ = ("job_id", "application", "stage_id", "by")
        JOB_ID_FIELD_NUMBER: _ClassVar[int]
        APPLICATION_FIELD_NUMBER: _ClassVar[int]
        STAGE_ID_FIELD_NUMBER: _ClassVar[int]
        BY_FIELD_NUMBER: _ClassVar[int]
        job_id: str
        application: str
        stage_id: str
        by: Figure
        def __init__(self, job_id: _Optional[str] = ..., application: _Optional[str] = ..., stage_id: _Optional[str] = ..., by: _Optional[_Union[Figure, _Mapping]] = ...) -> None: ...
    class Change(_message.Message):
        __slots__ = ("text", "figures")
        TEXT_FIELD_NUMBER: _ClassVar[int]
        FIGURES_FIELD_NUMBER: _ClassVar[int]
        text: str
        figures: _containers.RepeatedCompositeFieldContainer[Figure]
        def __init__(self, text: _Optional[str] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ...) -> None: ...
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    JOBS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    rank: int
    place: int
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    before: _containers.RepeatedCompositeFieldContainer[StageReasons.Before]
    jobs_before: int
    changes: _containers.RepeatedCompositeFieldContainer[StageReasons.Change]
    def __init__(self, stage_id: _Optional[str] = ..., rank: _Optional[int] = ..., place: _Optional[int] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ..., before: _Optional[_Iterable[_Union[StageReasons.Before, _Mapping]]] = ..., jobs_before: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[StageReasons.Change, _Mapping]]] = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ExplainJobResponse(_message.Message):
    __slots__ = ("queued", "decisions", "policy", "reasons", "figures", "stages")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    queued: _containers.RepeatedCompositeFieldContainer[QueuedStage]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    policy: Policy
    reasons: _containers.RepeatedScalarFieldContainer[str]
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    stages: _containers.RepeatedCompositeFieldContainer[StageReasons]
    def __init__(self, queued: _Optional[_Iterable[_Union[QueuedStage, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ..., stages: _Optional[_Iterable[_Union[StageReasons, _Mapping]]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("number", "decide_time", "job_id", "stage_id", "task_index", "attempt", "executor_id", "policy", "key", "rule", "waited", "waiting_stages", "figures")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_INDEX_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    WAITING_STAGES_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    number: int
    decide_time: _timestamp_pb2.Timestamp
    job_id: str
    stage_id: str
    task_index: int
    attempt: int
    executor_id: str
    policy: str
    key: str
    rule: str
    waited: _duration_pb2.Duration
    waiting_stages: int
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    def __init__(self, number: _Optional[int] = ..., decide_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., job_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., task_index: _Optional[int] = ..., attempt: _Optional[int] = ..., executor_id: _Optional[str] = ..., policy: _Optional[str] = ..., key: _Optional[str] = ..., rule: _Optional[str] = ..., waited: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., waiting_stages: _Optional[int] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ...) -> None: ...

class WatchDecisionsRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class WatchDecisionsResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "application_order", "ageing", "seed", "epsilon", "sample_ratio", "without")
    NAME_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_ORDER_FIELD_NUMBER: _ClassVar[int]
    AGEING_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATIO_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    application_order: _containers.RepeatedScalarFieldContainer[str]
    ageing: _duration_pb2.Duration
    seed: int
    epsilon: float
    sample_ratio: float
    without: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., application_order: _Optional[_Iterable[str]] = ..., ageing: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., seed: _Optional[int] = ..., epsilon: _Optional[float] = ..., sample_ratio: _Optional[float] = ..., without: _Optional[_Iterable[str]] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy", "available")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    available: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ..., available: _Optional[_Iterable[str]] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
    __slots__ = ("policy", "request_id")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    request_id: str
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SetPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...
