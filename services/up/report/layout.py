"""From jobs to rectangles: who ran when, on which lane of which executor. Pure; times in seconds from the start."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llmsched.types import Job, StageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Something that took time."""

    start: float
    end: float
    label: str
    application: str
    kind: str  #: "llm", "tool" or "wait"
    ok: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A row of bars that do not overlap, or a job's row."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """All rows of a picture."""

    lanes: tuple[Lane, ...]
    end: float


def executor_lanes(jobs: Sequence[Job], start: datetime) -> Chart:
    """One lane for each slot that was in use at the same time, by executor."""
    bars: dict[str, list[Bar]] = {}
    for job in jobs:
        for stage in job.stages:
            for task in stage.tasks:
                if task.executor and task.start_time and task.end_time:
                    bar = Bar(
                        start=_since(start, task.start_time),
                        end=_since(start, task.end_time),
                        label=f"{job.application} {job.id[:6]} · {stage.stage_id}[{task.index}]",
                        application=job.application,
                        kind=stage.kind.lower(),
                        ok=task.failure is None,
                    )
                    bars.setdefault(task.executor, []).append(bar)
    lanes = [
        Lane(name=f"{executor} · {number}", bars=tuple(lane))
        for executor in sorted(bars)
        for number, lane in enumerate(_without_overlap(bars[executor]))
    ]
    return Chart(lanes=tuple(lanes), end=_end(lanes))


def job_lanes(jobs: Sequence[Job], start: datetime) -> Chart:
    """One lane for each job, by arrival: light where its tasks wait, full where they run."""
    lanes = []
    for job in sorted(jobs, key=lambda each: each.create_time or start):
        bars: list[Bar] = []
        for stage in job.stages:
            if stage.kind is StageKind.DYNAMIC or stage.ready_time is None:
                continue
            starts = [task.start_time for task in stage.tasks if task.start_time]
            ready = _since(start, stage.ready_time)
            end = _since(start, stage.end_time or stage.ready_time)
            begun = _since(start, min(starts)) if starts else end
            ran = Bar(
                start=begun,
                end=end,
                label=f"{stage.stage_id} ({len(stage.tasks)} tasks)",
                application=job.application,
                kind=stage.kind.lower(),
                ok=stage.failure is None,
            )
            if begun > ready:
                bars.append(replace(ran, start=ready, end=begun, kind="wait", ok=True))
            bars.append(ran)
        lanes.append(Lane(name=f"{job.application} {job.id[:6]}", bars=tuple(bars)))
    return Chart(lanes=tuple(lanes), end=_end(lanes))


def _without_overlap(bars: list[Bar]) -> list[list[Bar]]:
    """Puts each bar on the first lane that is free by then."""
    lanes: list[list[Bar]] = []
    busy: list[tuple[float, int]] = []  # (end, lane), those in use
    free: list[int] = []
    for bar in sorted(bars, key=lambda each: (each.start, each.end)):
        while busy and busy[0][0] <= bar.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane = len(lanes)
            lanes.append([])
        lanes[lane].append(bar)
        heapq.heappush(busy, (bar.end, lane))
    return lanes


def _since(start: datetime, moment: datetime) -> float:
    return (moment - start).total_seconds()


def _end(lanes: Sequence[Lane]) -> float:
    return max((bar.end for lane in lanes for bar in lane.bars), default=1.0)
