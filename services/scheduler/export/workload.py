"""What a recording becomes: a workload, a history and the cluster that it ran on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import fsum

from services.profiler.core.trace import TraceJob
from services.scheduler.core.model import OPEN, JobState, PolicySettings
from services.scheduler.export.fit import Fit, fit
from services.scheduler.export.fleet import Shape
from services.scheduler.export.jobs import RecordedJob
from services.scheduler.export.recording import Recording
from services.scheduler.export.stages import plan_names, trace_stages

_MICROSECONDS = 6  #: decimals; what clocks and the log's events can tell apart

_LEFT_OUT = {JobState.FAILED: "failed", JobState.CANCELLED: "cancelled"}
#: Below this share of explained variance, or beyond this median error, the work model is not to be relied upon.
_POOR_FIT, _LARGE_ERROR = 0.8, 0.2
UNFINISHED = "had not ended when the log did"
IDLE = "ran nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs are wanted. Times are seconds since the epoch."""

    applications: Collection[str] = ()  #: none: all
    since: float | None = None  #: jobs that arrived at this time or later
    until: float | None = None  #: jobs that arrived before

    def __contains__(self, job: RecordedJob) -> bool:
        return (
            (not self.applications or job.application in self.applications)
            and (self.since is None or job.arrival >= self.since)
            and (self.until is None or job.arrival < self.until)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Seconds, unless it says otherwise."""

    workload: tuple[TraceJob, ...]  #: jobs that succeeded, by arrival
    history: tuple[TraceJob, ...]  #: without arrivals, and without reruns, which lack what they have taken over
    left_out: Counter[str]  #: jobs, by the reason why
    left_out_share: float  #: of the slot-seconds of all wanted jobs
    recorded: dict[str, tuple[int, float]]  #: jobs and mean JCT by the policy that they ran under from start to end
    unfold_seconds: float  #: that the stages of a job waited for the planner, on average
    policy: PolicySettings  #: that most of the jobs ran under
    shape: Shape  #: the executors, as they were for the longest part
    notes: tuple[str, ...]  #: what the simulation cannot show as it was
    fit: Fit

    def cluster(self) -> dict[str, object]:
        """The object that `llmsched simulate --cluster` reads."""
        slots = self.shape.llm_slots
        described: dict[str, object] = {
            "llm_executors": len(slots),
            "max_batch": max(1, round(fsum(slots) / len(slots))) if slots else 1,
            "tool_slots": self.shape.tool_slots,
            "batch_slowdown": _significant(self.fit.batch_slowdown),
            "prefill": _significant(self.fit.work.prefill),
            "decode": _significant(self.fit.work.decode),
            "policy": self.policy.name,
            "ageing": self.policy.ageing_seconds,
        }
        if self.policy.application_order:
            described["application_order"] = list(self.policy.application_order)
        return described

    def about(self) -> dict[str, object]:
        """How the export came about and how far it is to be trusted, for programs."""
        return {
            "jobs": len(self.workload),
            "left_out": dict(self.left_out),
            "left_out_share": self.left_out_share,
            "recorded": {policy: {"jobs": jobs, "mean_jct": mean} for policy, (jobs, mean) in self.recorded.items()},
            "unfold_seconds": self.unfold_seconds,
            "fit": {
                "calls": self.fit.calls,
                "r_squared": self.fit.r_squared,
                "median_error": self.fit.median_error,
                "largest_batch": self.fit.largest_batch,
            },
            "notes": list(self.notes),
        }


def _significant(value: float) -> float:
    """Without digits that no measurement has."""
    return float(f"{value:.6g}")


def make_export(recording: Recording, selection: Selection) -> Export:
    """Takes the wanted jobs that succeeded out of a recording; the work model is learned from all calls in it."""
    wanted = [job for job in recording.jobs.values() if job in selection]
    done, left_out, lost_seconds = [], Counter[str](), 0.0
    for job in wanted:
        reason = _reason(job)
        if reason is None:
            done.append(job)
        else:
            left_out[reason] += 1
            lost_seconds += recording.fleet.busy[job.job_id]
    done.sort(key=lambda job: (job.arrival, job.order, job.job_id))
    busy = fsum(recording.fleet.busy[job.job_id] for job in wanted)
    workload = _workload(done)
    policy = _policy(done, recording.policies)
    shape, shapes = recording.fleet.shape_between(*_span(done))
    learned = fit(recording.calls)
    return Export(
        workload=workload,
        history=tuple(
            replace(trace, arrival_seconds=None, recorded_jct_seconds=None, recorded_policy=None)
            for trace, job in zip(workload, done, strict=True)
            if not job.is_rerun
        ),
        left_out=left_out,
        left_out_share=lost_seconds / busy if busy > 0 else 0.0,
        recorded=_recorded(workload),
        unfold_seconds=fsum(job.unfold_seconds for job in done) / max(1, len(done)),
        policy=policy,
        shape=shape,
        notes=tuple(_notes(recording, done, policy, shape, shapes, learned)),
        fit=learned,
    )


def _reason(job: RecordedJob) -> str | None:
    """Why the job cannot be in a workload; None: it can."""
    if not job.state.is_final:
        return UNFINISHED
    if job.state in _LEFT_OUT:
        return _LEFT_OUT[job.state]
    return None if any(not stage.is_placeholder for stage in job.stages.values()) else IDLE


def _workload(jobs: Sequence[RecordedJob]) -> tuple[TraceJob, ...]:
    plans: dict[str, set[str]] = defaultdict(set)
    for job in jobs:
        plans[job.application] |= plan_names(job)
    return tuple(
        TraceJob(
            app=job.application,
            job_id=job.job_id,
            # The machine's word for it is a text; how many steps a program takes shows itself as with a loop.
            structure="chain" if job.structure == OPEN else job.structure,  # type: ignore[arg-type]
            stages=trace_stages(job, plans[job.application]),
            arrival_seconds=round(job.arrival - jobs[0].arrival, _MICROSECONDS),
            recorded_jct_seconds=None if job.jct is None else round(max(0.0, job.jct), _MICROSECONDS),
            recorded_policy=next(iter(job.policies)) if len(job.policies) == 1 else None,
        )
        for job in jobs
    )


def _span(jobs: Sequence[RecordedJob]) -> tuple[float, float]:
    """From the first arrival to the last end."""
    ends = [job.ended_at for job in jobs if job.ended_at is not None]
    return (jobs[0].arrival, max(ends)) if ends else (0.0, 0.0)


def _recorded(workload: Sequence[TraceJob]) -> dict[str, tuple[int, float]]:
    jcts: dict[str, list[float]] = defaultdict(list)
    for job in workload:
        if job.recorded_policy is not None and job.recorded_jct_seconds is not None:
            jcts[job.recorded_policy].append(job.recorded_jct_seconds)
    return {policy: (len(each), fsum(each) / len(each)) for policy, each in sorted(jcts.items())}


def _policy(jobs: Sequence[RecordedJob], policies: Sequence[tuple[float, PolicySettings]]) -> PolicySettings:
    """The policy that most of the jobs met, with its parameters as they were last."""
    met = Counter(name for job in jobs for name in sorted(job.policies))
    until = _span(jobs)[1]
    in_time = [settings for at, settings in policies if at <= until] or [settings for _, settings in policies]
    named = [settings for settings in in_time if met and settings.name == met.most_common(1)[0][0]]
    return (named or in_time or [PolicySettings()])[-1]


def _notes(
    recording: Recording,
    jobs: Sequence[RecordedJob],
    policy: PolicySettings,
    shape: Shape,
    shapes: int,
    learned: Fit,
) -> list[str]:
    notes = []
    others = sum(job.policies != {policy.name} for job in jobs)
    if others:
        notes.append(
            f"{others} of the jobs met another policy than {policy.name}, in part or in whole: --since and --until"
        )
    if shapes > 1:
        notes.append("executors came and went; the cluster is the one that was there for the longest time")
    if len(set(shape.llm_slots)) > 1:
        notes.append(f"LLM executors have {', '.join(map(str, shape.llm_slots))} slots; the simulation takes the mean")
    for kind, word in (("llm", "models"), ("tool", "tools")):
        if len(recording.fleet.offers[kind]) > 1:
            notes.append(f"executors offer different {word}; the simulation lets each of them do everything")
    poor = learned.r_squared is not None and learned.r_squared < _POOR_FIT
    if poor or (learned.median_error or 0.0) > _LARGE_ERROR:
        notes.append("tokens and batches explain the times of LLM calls badly: do not rely on the simulated ones")
    reruns = sum(job.is_rerun for job in jobs)
    if reruns:
        notes.append(f"{reruns} of the jobs are reruns: in the workload with what was left to do, not in the history")
    return notes
