"""Figures of recorded jobs: rounds are those of loops, not steps of plans with equal names."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner

from experiment.figures import by_application, counts_markdown, job_figures, markdown
from llmsched.cli.main import cli
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask, write_jobs

WORK = WorkModel(prefill=0.01, decode=0.1)


def llm(name: str, *parents: str, made_by: str | None = None, tokens: int = 10, width: int = 1) -> TraceStage:
    tasks = tuple(TraceTask(prompt_tokens=10, output_tokens=tokens) for _ in range(width))
    stem = name.partition("/")[0]
    return TraceStage(id=name, name=stem, kind="llm", parents=parents, tasks=tasks, generated_by=made_by)


def tool(name: str, *parents: str, made_by: str | None = None, seconds: float = 2.0) -> TraceStage:
    tasks = (TraceTask(seconds=seconds),)
    return TraceStage(
        id=name, name=name.partition("/")[0], kind="tool", parents=parents, tasks=tasks, generated_by=made_by
    )


LOOP = TraceJob(
    app="loop",
    structure="chain",
    stages=(
        llm("write/1"),
        tool("test/1", "write/1"),
        llm("write/2", "test/1", made_by="test/1"),
        tool("test/2", "write/2", made_by="test/1"),
        llm("write/3", "test/2", made_by="test/2", tokens=20),
        tool("test/3", "write/3", made_by="test/2"),
    ),
)
PLAN = TraceJob(
    app="plan",
    structure="generated",
    stages=(
        llm("think", width=1),
        tool("act/1", "think", made_by="think"),
        tool("act/2", "think", made_by="think", seconds=5.0),
        llm("tell", "act/1", "act/2", width=3),
    ),
)


def test_a_loop_has_rounds_and_a_plan_has_generated_stages() -> None:
    loop, plan = job_figures(LOOP, WORK), job_figures(PLAN, WORK)
    assert (loop.rounds, loop.generated, loop.width) == (3, 4, 1)
    assert (plan.rounds, plan.generated, plan.width) == (0, 2, 3)
    assert (loop.prompt_tokens, loop.output_tokens) == (30, 40)
    # 3 prompts of 0.1 s, 40 tokens of 0.1 s, 3 tools of 2 s, one after the other; in the plan the longer tool counts.
    assert abs(loop.alone - (0.3 + 4.0 + 6.0)) < 1e-9
    assert abs(plan.alone - (1.1 + 5.0 + 1.1)) < 1e-9


def test_the_table_has_a_row_for_each_application() -> None:
    rows = markdown(by_application([LOOP, PLAN, PLAN], WORK))[4:]
    assert [row.split(" | ")[:4] for row in rows] == [["| loop", "1", "3", "4"], ["| plan", "2", "0", "2"]]


def test_applications_whose_jobs_differ_are_counted() -> None:
    short = TraceJob(app="loop", structure="chain", stages=LOOP.stages[:2])
    rows = counts_markdown(by_application([LOOP, short, LOOP, PLAN, PLAN], WORK))[4:]
    assert rows == ["| loop | 1 ×1, 3 ×2 | 0 ×1, 4 ×2 |"]


def test_the_command_reads_trace_files_and_draws(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    short = TraceJob(app="loop", structure="chain", stages=LOOP.stages[:2])
    path.write_text("".join(write_jobs([LOOP, short, PLAN])), encoding="utf-8")
    result = CliRunner().invoke(cli, ["experiment", "figures", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "| loop | 2 | 2 (1 – 1 – 3) |" in result.output
    charts = {each.stem: ElementTree.fromstring(each.read_text()) for each in (tmp_path / "out").glob("*.svg")}
    assert set(charts) == {"rounds", "generated", "durations"}  # no application varies in width
    assert "loop" in "".join(charts["rounds"].itertext())
    assert "plan" not in "".join(charts["rounds"].itertext())
