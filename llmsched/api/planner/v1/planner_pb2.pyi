from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmsched.api.common.v1 import stage_pb2 as _stage_pb2
from llmsched.api.common.v1 import task_pb2 as _task_pb2
from llmsched.api.planner.v1 import application_pb2 as _application_pb2
from llmsched.api.planner.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterApplicationRequest(_message.Message):
    __slots__ = ("spec", "request_id", "validate_only")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    spec: _application_pb2.ApplicationSpec
    request_id: str
    validate_only: bool
    def __init__(self, spec: _Optional[_Union[_application_pb2.ApplicationSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class RegisterApplicationResponse(_message.Message):
    __slots__ = ("application",)
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    application: _application_pb2.Application
    def __init__(self, application: _Optional[_Union[_application_pb2.Application, _Mapping]] = ...) -> None: ...

class GetApplicationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetApplicationResponse(_message.Message):
    __slots__ = ("application",)
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    application: _application_pb2.Application
    def __init__(self, application: _Optional[_Union[_application_pb2.Application, _Mapping]] = ...) -> None: ...

class ListApplicationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListApplicationsResponse(_message.Message):
    __slots__ = ("applications", "next_page_token")
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    applications: _containers.RepeatedCompositeFieldContainer[_application_pb2.Application]
    next_page_token: str
    def __init__(self, applications: _Optional[_Iterable[_Union[_application_pb2.Application, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteApplicationRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteApplicationResponse(_message.Message):
    __slots__ = ("deleted_versions",)
    DELETED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    deleted_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, deleted_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class SubmitJobRequest(_message.Message):
    __slots__ = ("application", "input", "labels", "request_id", "validate_only")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    application: str
    input: _struct_pb2.Struct
    labels: _containers.ScalarMap[str, str]
    request_id: str
    validate_only: bool
    def __init__(self, application: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class SubmitJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "application", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_job_pb2.Job.State]
    application: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_job_pb2.Job.State, str]]] = ..., application: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("name", "request_id", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class RerunJobRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RerunJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("name", "after_sequence", "include_output_deltas")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_OUTPUT_DELTAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_sequence: int
    include_output_deltas: bool
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ..., include_output_deltas: bool = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("sequence", "change_time", "snapshot", "job_changed", "stage_changed", "task_changed", "output_delta", "progress")
    class JobChanged(_message.Message):
        __slots__ = ("state", "failure")
        STATE_FIELD_NUMBER: _ClassVar[int]
        FAILURE_FIELD_NUMBER: _ClassVar[int]
        state: _job_pb2.Job.State
        failure: _task_pb2.Failure
        def __init__(self, state: _Optional[_Union[_job_pb2.Job.State, str]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ...) -> None: ...
    class StageChanged(_message.Message):
        __slots__ = ("stage",)
        STAGE_FIELD_NUMBER: _ClassVar[int]
        stage: _job_pb2.JobStage
        def __init__(self, stage: _Optional[_Union[_job_pb2.JobStage, _Mapping]] = ...) -> None: ...
    class TaskChanged(_message.Message):
        __slots__ = ("stage_id", "task")
        STAGE_ID_FIELD_NUMBER: _ClassVar[int]
        TASK_FIELD_NUMBER: _ClassVar[int]
        stage_id: str
        task: _job_pb2.JobTask
        def __init__(self, stage_id: _Optional[str] = ..., task: _Optional[_Union[_job_pb2.JobTask, _Mapping]] = ...) -> None: ...
    class OutputDelta(_message.Message):
        __slots__ = ("stage_id", "task_index", "attempt", "offset", "text")
        STAGE_ID_FIELD_NUMBER: _ClassVar[int]
        TASK_INDEX_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        stage_id: str
        task_index: int
        attempt: int
        offset: int
        text: str
        def __init__(self, stage_id: _Optional[str] = ..., task_index: _Optional[int] = ..., attempt: _Optional[int] = ..., offset: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
    class Progress(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    JOB_CHANGED_FIELD_NUMBER: _ClassVar[int]
    STAGE_CHANGED_FIELD_NUMBER: _ClassVar[int]
    TASK_CHANGED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DELTA_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    change_time: _timestamp_pb2.Timestamp
    snapshot: _job_pb2.Job
    job_changed: WatchJobResponse.JobChanged
    stage_changed: WatchJobResponse.StageChanged
    task_changed: WatchJobResponse.TaskChanged
    output_delta: WatchJobResponse.OutputDelta
    progress: WatchJobResponse.Progress
    def __init__(self, sequence: _Optional[int] = ..., change_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., snapshot: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., job_changed: _Optional[_Union[WatchJobResponse.JobChanged, _Mapping]] = ..., stage_changed: _Optional[_Union[WatchJobResponse.StageChanged, _Mapping]] = ..., task_changed: _Optional[_Union[WatchJobResponse.TaskChanged, _Mapping]] = ..., output_delta: _Optional[_Union[WatchJobResponse.OutputDelta, _Mapping]] = ..., progress: _Optional[_Union[WatchJobResponse.Progress, _Mapping]] = ...) -> None: ...

class GetJobResultRequest(_message.Message):
    __slots__ = ("name", "include_stage_outputs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STAGE_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    include_stage_outputs: bool
    def __init__(self, name: _Optional[str] = ..., include_stage_outputs: bool = ...) -> None: ...

class GetJobResultResponse(_message.Message):
    __slots__ = ("output", "task_outputs")
    class TaskOutput(_message.Message):
        __slots__ = ("stage_id", "task_index", "result")
        STAGE_ID_FIELD_NUMBER: _ClassVar[int]
        TASK_INDEX_FIELD_NUMBER: _ClassVar[int]
        RESULT_FIELD_NUMBER: _ClassVar[int]
        stage_id: str
        task_index: int
        result: _task_pb2.TaskResult
        def __init__(self, stage_id: _Optional[str] = ..., task_index: _Optional[int] = ..., result: _Optional[_Union[_task_pb2.TaskResult, _Mapping]] = ...) -> None: ...
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TASK_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    output: _struct_pb2.Value
    task_outputs: _containers.RepeatedCompositeFieldContainer[GetJobResultResponse.TaskOutput]
    def __init__(self, output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., task_outputs: _Optional[_Iterable[_Union[GetJobResultResponse.TaskOutput, _Mapping]]] = ...) -> None: ...

class OpenJobRequest(_message.Message):
    __slots__ = ("application", "input", "labels", "request_id", "idle_timeout")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    application: str
    input: _struct_pb2.Struct
    labels: _containers.ScalarMap[str, str]
    request_id: str
    idle_timeout: _duration_pb2.Duration
    def __init__(self, application: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., idle_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class OpenJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class AddStageRequest(_message.Message):
    __slots__ = ("job", "stage_id", "stage_name", "after", "payload", "retry", "timeout")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    job: str
    stage_id: str
    stage_name: str
    after: _containers.RepeatedScalarFieldContainer[str]
    payload: _task_pb2.TaskPayload
    retry: _application_pb2.RetryPolicy
    timeout: _duration_pb2.Duration
    def __init__(self, job: _Optional[str] = ..., stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., after: _Optional[_Iterable[str]] = ..., payload: _Optional[_Union[_task_pb2.TaskPayload, _Mapping]] = ..., retry: _Optional[_Union[_application_pb2.RetryPolicy, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AddStageResponse(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: _job_pb2.JobStage
    def __init__(self, stage: _Optional[_Union[_job_pb2.JobStage, _Mapping]] = ...) -> None: ...

class WaitStageRequest(_message.Message):
    __slots__ = ("job", "stage_id", "timeout")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    job: str
    stage_id: str
    timeout: _duration_pb2.Duration
    def __init__(self, job: _Optional[str] = ..., stage_id: _Optional[str] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitStageResponse(_message.Message):
    __slots__ = ("stage", "results", "job_state", "job_failure")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    JOB_STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_FAILURE_FIELD_NUMBER: _ClassVar[int]
    stage: _job_pb2.JobStage
    results: _containers.RepeatedCompositeFieldContainer[_task_pb2.TaskResult]
    job_state: _job_pb2.Job.State
    job_failure: _task_pb2.Failure
    def __init__(self, stage: _Optional[_Union[_job_pb2.JobStage, _Mapping]] = ..., results: _Optional[_Iterable[_Union[_task_pb2.TaskResult, _Mapping]]] = ..., job_state: _Optional[_Union[_job_pb2.Job.State, str]] = ..., job_failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ...) -> None: ...

class KeepJobOpenRequest(_message.Message):
    __slots__ = ("job", "request_id")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job: str
    request_id: str
    def __init__(self, job: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class KeepJobOpenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CloseJobRequest(_message.Message):
    __slots__ = ("job", "request_id", "output", "failure")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    job: str
    request_id: str
    output: _struct_pb2.Value
    failure: _task_pb2.Failure
    def __init__(self, job: _Optional[str] = ..., request_id: _Optional[str] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ...) -> None: ...

class CloseJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class UnfoldStageRequest(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("job_id", "stage_id", "unfolding", "failure")
        JOB_ID_FIELD_NUMBER: _ClassVar[int]
        STAGE_ID_FIELD_NUMBER: _ClassVar[int]
        UNFOLDING_FIELD_NUMBER: _ClassVar[int]
        FAILURE_FIELD_NUMBER: _ClassVar[int]
        job_id: str
        stage_id: str
        unfolding: int
        failure: _task_pb2.Failure
        def __init__(self, job_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., unfolding: _Optional[int] = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[UnfoldStageRequest.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[UnfoldStageRequest.Item, _Mapping]]] = ...) -> None: ...

class UnfoldStageResponse(_message.Message):
    __slots__ = ("items",)
    class Task(_message.Message):
        __slots__ = ("spec", "payload")
        SPEC_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        spec: _stage_pb2.TaskSpec
        payload: _task_pb2.TaskPayload
        def __init__(self, spec: _Optional[_Union[_stage_pb2.TaskSpec, _Mapping]] = ..., payload: _Optional[_Union[_task_pb2.TaskPayload, _Mapping]] = ...) -> None: ...
    class Item(_message.Message):
        __slots__ = ("job_id", "stage_id", "unfolding", "tasks", "stages", "again", "skipped", "failure", "output")
        JOB_ID_FIELD_NUMBER: _ClassVar[int]
        STAGE_ID_FIELD_NUMBER: _ClassVar[int]
        UNFOLDING_FIELD_NUMBER: _ClassVar[int]
        TASKS_FIELD_NUMBER: _ClassVar[int]
        STAGES_FIELD_NUMBER: _ClassVar[int]
        AGAIN_FIELD_NUMBER: _ClassVar[int]
        SKIPPED_FIELD_NUMBER: _ClassVar[int]
        FAILURE_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_FIELD_NUMBER: _ClassVar[int]
        job_id: str
        stage_id: str
        unfolding: int
        tasks: _containers.RepeatedCompositeFieldContainer[UnfoldStageResponse.Task]
        stages: _containers.RepeatedCompositeFieldContainer[_stage_pb2.StageSpec]
        again: bool
        skipped: bool
        failure: _task_pb2.Failure
        output: _struct_pb2.Value
        def __init__(self, job_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., unfolding: _Optional[int] = ..., tasks: _Optional[_Iterable[_Union[UnfoldStageResponse.Task, _Mapping]]] = ..., stages: _Optional[_Iterable[_Union[_stage_pb2.StageSpec, _Mapping]]] = ..., again: bool = ..., skipped: bool = ..., failure: _Optional[_Union[_task_pb2.Failure, _Mapping]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[UnfoldStageResponse.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[UnfoldStageResponse.Item, _Mapping]]] = ...) -> None: ...
