"""Every span, attribute and metric name. docs/telemetry.md lists them; a test keeps both equal."""

from __future__ import annotations

from typing import Final

# Spans, from the outside in. One trace per job.
SPAN_JOB: Final = "job"
SPAN_STAGE: Final = "stage"
SPAN_TASK: Final = "task"
SPAN_ATTEMPT: Final = "attempt"
SPAN_SUBMIT: Final = "planner.submit"
SPAN_UNFOLD: Final = "planner.unfold"
SPAN_EXECUTE: Final = "executor.execute"

# Attributes.
JOB_ID: Final = "llmsched.job.id"
JOB_STATE: Final = "llmsched.job.state"
APPLICATION: Final = "llmsched.application"
APPLICATION_VERSION: Final = "llmsched.application.version"
STAGE_ID: Final = "llmsched.stage.id"
STAGE_NAME: Final = "llmsched.stage.name"
STAGE_KIND: Final = "llmsched.stage.kind"
STAGE_WIDTH: Final = "llmsched.stage.width"
TASK_INDEX: Final = "llmsched.task.index"
ATTEMPT: Final = "llmsched.attempt"
EXECUTOR: Final = "llmsched.executor"
POLICY: Final = "llmsched.policy"
POLICY_KEY: Final = "llmsched.policy.key"
POLICY_RULE: Final = "llmsched.policy.rule"
QUEUE_SECONDS: Final = "llmsched.queue.seconds"
FAILURE_REASON: Final = "llmsched.failure.reason"
PROMPT_TOKENS: Final = "gen_ai.usage.input_tokens"
COMPLETION_TOKENS: Final = "gen_ai.usage.output_tokens"
MODEL: Final = "gen_ai.request.model"
TOOL: Final = "gen_ai.tool.name"
#: Phoenix groups and draws spans by these.
OPENINFERENCE_KIND: Final = "openinference.span.kind"
OPENINFERENCE_PROJECT: Final = "openinference.project.name"

# Metrics: name, unit and what it counts are in docs/telemetry.md.
METRIC_JCT: Final = "llmsched.job.completion_time"
METRIC_JOBS: Final = "llmsched.jobs.ended"
METRIC_SUBMITTED: Final = "llmsched.jobs.submitted"
METRIC_REFUSED: Final = "llmsched.jobs.refused"
METRIC_ACTIVE_JOBS: Final = "llmsched.jobs.active"
METRIC_QUEUE_TIME: Final = "llmsched.task.queue_time"
METRIC_ATTEMPT_TIME: Final = "llmsched.attempt.duration"
METRIC_ATTEMPTS: Final = "llmsched.attempts.ended"
METRIC_DECISIONS: Final = "llmsched.scheduler.decisions"
METRIC_BATCH_TIME: Final = "llmsched.scheduler.batch_time"
METRIC_COMMIT_TIME: Final = "llmsched.scheduler.commit_time"
METRIC_READY_STAGES: Final = "llmsched.scheduler.ready_stages"
METRIC_SLOTS_USED: Final = "llmsched.executor.slots_used"
METRIC_SLOTS: Final = "llmsched.executor.slots"
METRIC_UNFOLD_TIME: Final = "llmsched.planner.unfold_time"
METRIC_TOKENS: Final = "llmsched.tokens"
METRIC_LEADER: Final = "llmsched.scheduler.leader"
