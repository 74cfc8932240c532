"""A job as a tree of its stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from rich.text import Text
from rich.tree import Tree

from llmsched.cli import output
from llmsched.types import Failure, Job, Stage, TaskState, Usage


def job_tree(job: Job, *, now: datetime | None = None, tails: Mapping[str, str] | None = None) -> Tree:
    """The job with its stages, generated ones below the stage that made them exist.

    `tails` are last words of running stages, by stage_id. `now` is the end of spans that have not ended.
    """
    now = now or datetime.now(UTC)
    tree = Tree(_job_line(job, now), guide_style="dim")
    nodes = {stage.stage_id: Tree(_stage_line(stage, now)) for stage in job.stages}
    for stage in job.stages:
        node = nodes[stage.stage_id]
        if stage.failure:
            node.add(failure_line(stage.failure))
        elif tail := (tails or {}).get(stage.stage_id):
            node.add(output.text(tail, "dim"))
        above = nodes.get(stage.generated_by, tree) if stage.generated_by != stage.stage_id else tree
        above.children.append(node)
    return tree


def failure_line(failure: Failure) -> Text:
    """Why something failed, in one line."""
    return output.text(f"{failure.reason}: {failure.message}", "red")


def tokens(usage: Usage) -> str:
    """Token counts in words; empty when nothing was counted."""
    if not usage.total_tokens:
        return ""
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    return f"{usage.prompt_tokens}{cached} + {usage.completion_tokens} tokens"


def _job_line(job: Job, now: datetime) -> Text:
    line = Text.assemble((job.id, "bold"), "  ", output.application(job), "  ", output.state(job.state))
    took = job.completion_time or (now - job.create_time if job.create_time else None)
    return _with_details(line, [output.span(took), tokens(job.usage)])


def _stage_line(stage: Stage, now: datetime) -> Text:
    line = Text.assemble(
        output.text(stage.stage_id), "  ", (stage.kind.lower(), "dim"), "  ", output.state(stage.state)
    )
    done = sum(task.state is TaskState.SUCCEEDED for task in stage.tasks)
    attempts = max((task.attempt for task in stage.tasks), default=0)
    queued, ran = _spans(stage, now)
    return _with_details(
        line,
        [
            f"{done}/{len(stage.tasks)} tasks" if len(stage.tasks) > 1 else "",
            f"attempt {attempts}" if attempts > 1 else "",
            f"queued {output.span(queued)}" if queued else "",
            f"ran {output.span(ran)}" if ran else "",
            tokens(stage.usage),
            ",".join(sorted({task.executor for task in stage.tasks if task.executor})),
        ],
    )


def _spans(stage: Stage, now: datetime) -> tuple[timedelta | None, timedelta | None]:
    """How long the stage waited for its first slot, and how long it ran from then on."""
    begin = min((task.start_time for task in stage.tasks if task.start_time), default=None)
    end = stage.end_time or now
    queued = (begin or end) - stage.ready_time if stage.ready_time else None
    return queued, end - begin if begin else None


def _with_details(line: Text, details: Iterable[str]) -> Text:
    said = [detail for detail in details if detail]
    return line.append("  ").append(output.printable(" · ".join(said)), "dim") if said else line
