"""What the export makes of single jobs: placeholders go, barriers stay, and only what succeeded is taken over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.profiler.core.trace import TraceJob, read_history, read_workload, write_jobs
from services.scheduler.core.events import AttemptSucceeded, Event, JobAdmitted
from services.scheduler.core.model import AttemptRef, JobSnapshot, Measurement, StageSpec, StageState
from services.scheduler.event_log import EventLog
from services.scheduler.export.recording import NoEventLog, read_recording
from services.scheduler.export.workload import Export, Selection, make_export
from tests.support import scheduling as make


class Run:
    """A machine whose calls are logged as a leader logs them; one slot for each attempt that a test could want."""

    def __init__(self, path: Path, policy: str = "fcfs") -> None:
        self.path = path
        self.policy = policy
        self.lead(1, at=100.0)

    def lead(self, epoch: int, *jobs: JobSnapshot, at: float, running: Sequence[AttemptRef] = ()) -> None:
        """A new leader begins with the jobs that it finds in the store, and hears of what tools still run."""
        self.bench = make.Bench(self.policy)
        self.log = EventLog(str(self.path))
        self.log.begin(epoch, self.bench.machine.settings)
        self.now = at
        for job in jobs:
            self.tell(make.admitted(job, at=at))
        self.tell(make.attached("llm-0", "llm", slots=50, at=at))
        self.tell(make.attached("tool-0", "tool:any", slots=50, running=running, at=at))

    def tell(self, *events: Event) -> None:
        for event in events:
            self.now = event.at
            self.log.handled([event], self.bench.feed(event), 0.0)

    def admit(self, job_id: str, *stages: StageSpec, at: float = 100.0, **more: Any) -> None:
        output = make.dynamic("$output", *(stage.stage_id for stage in stages), position=1000)
        self.tell(make.admitted(make.job(job_id, *stages, output, arrival=at, **more), at=at))

    def unfold(self, stage_id: str, *, job: str = "job", **answer: Any) -> None:
        self.tell(make.unfolded(job, stage_id, at=self.now, **answer))

    def succeed(
        self, stage_id: str, *, job: str = "job", index: int = 0, attempt: int = 1, seconds: float = 1.0
    ) -> None:
        """The attempt, which shows a prompt of 7 and an output of 30 tokens, ends after so many seconds."""
        ref = make.ref(job, stage_id, index, attempt)
        shown = Measurement(prompt_tokens=7, output_tokens=30, total_seconds=seconds)
        self.tell(
            AttemptSucceeded(at=self.now + seconds, cause=f"{job} {stage_id} {index}", attempt=ref, measurement=shown)
        )

    def run(self, *stage_ids: str, job: str = "job", tasks: int = 1) -> None:
        """Each of the stages unfolds into so many tasks, which end one second after the other."""
        for stage_id in stage_ids:
            self.unfold(stage_id, job=job, tasks=tasks)
            for index in range(tasks):
                self.succeed(stage_id, job=job, index=index)

    def finish(self, job: str = "job") -> None:
        self.unfold("$output", job=job)

    def export(self, **selection: Any) -> Export:
        self.log.close()
        return make_export(read_recording(self.path), Selection(**selection))

    def only(self) -> TraceJob:
        (job,) = self.export().workload
        return job


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "events.jsonl")


def parents(job: TraceJob) -> list[tuple[str, tuple[str, ...]]]:
    return [(stage.id, stage.parents) for stage in job.stages]


def kinds(job: TraceJob) -> dict[str, str]:
    return {stage.name: stage.kind for stage in job.stages}


def widths(job: TraceJob) -> list[int]:
    return [len(stage.tasks) for stage in job.stages]


def test_tasks_have_what_was_measured(run: Run) -> None:
    run.admit("job", make.llm("a"), make.tool("b", "a", width_by="a", position=1), structure="width")
    run.run("a")
    run.run("b", tasks=2)
    run.finish()
    job = run.only()
    assert (job.app, job.job_id, job.structure, job.arrival_seconds) == ("app", "job", "width", 0.0)
    assert (job.recorded_jct_seconds, job.recorded_policy) == (3.0, "fcfs")
    a, b = job.stages
    assert [(task.prompt_tokens, task.output_tokens, task.seconds) for task in a.tasks] == [(7, 30, 1.0)]
    assert [task.seconds for task in b.tasks] == [1.0, 2.0]  # both from their dispatch
    assert (a.kind, b.kind, b.parents, b.width_by) == ("llm", "tool", ("a",), "a")


def test_a_loop_becomes_its_rounds(run: Run) -> None:
    def round_of(number: int, *before: str) -> Sequence[StageSpec]:
        generated = f"loop/{number - 1}/test" if number > 1 else None
        names = [f"loop/{number}/{name}" for name in ("write", "test")]
        return [
            make.llm(names[0], *before, name="loop.write", position=2 * number, generated_by=generated),
            make.tool(names[1], names[0], name="loop.test", position=2 * number + 1, generated_by=generated),
        ]

    run.admit("job", make.llm("draft"), make.dynamic("loop", "draft", position=1), make.llm("end", "loop", position=9))
    run.run("draft")
    run.unfold("loop", stages=round_of(1, "draft"), again=True)
    run.run("loop/1/write", "loop/1/test")
    run.unfold("loop", stages=round_of(2, "loop/1/test"), again=True, unfolding=2)
    run.run("loop/2/write", "loop/2/test")
    run.unfold("loop", unfolding=3)
    run.run("end")
    run.finish()
    job = run.only()
    assert parents(job) == [
        ("draft", ()),
        ("loop/1/write", ("draft",)),
        ("loop/1/test", ("loop/1/write",)),
        ("loop/2/write", ("loop/1/test",)),
        ("loop/2/test", ("loop/2/write",)),
        ("end", ("loop/2/test",)),
    ]
    assert [stage.generated_by for stage in job.stages] == [None, None, None, "loop/1/test", "loop/1/test", None]


def test_a_plan_is_replaced_by_its_steps(run: Run) -> None:
    def step(name: str, *before: str, plan: str = "plan~2") -> StageSpec:
        return make.tool(f"go/{name}", *(before or (plan,)), name=f"go.{name}", position=3, generated_by=plan)

    run.admit(
        "job",
        *(make.llm("plan"), make.llm("other"), make.dynamic("go", "plan", "other", position=2)),
        make.llm("end", "go", position=9),
        structure="generated",
    )
    run.run("plan", "other")
    again = make.llm("plan~2", "plan", name="plan", position=1, generated_by="plan", occurrence=1)
    run.unfold("go", stages=[again], again=True)
    run.run("plan~2")
    run.unfold("go", stages=[step("x"), step("y"), step("z", "go/x", "go/y")], unfolding=2)
    run.run("go/x", "go/y", "go/z", "end")
    run.finish()
    job = run.only()
    assert parents(job) == [
        *(("plan", ()), ("other", ())),
        ("plan~2", ("plan", "other")),  # a bad plan shows only when `go` unfolds, which waits for `other`
        *(("go/x", ("plan~2",)), ("go/y", ("plan~2",))),
        *(("go/z", ("go/x", "go/y")), ("end", ("go/z",))),
    ]
    assert {name for name, kind in kinds(job).items() if kind == "plan"} == {"plan"}
    assert job.stages[3].generated_by == "plan~2"


def test_a_loop_that_ends_with_a_call_of_a_model_is_no_plan(run: Run) -> None:
    def inner(number: int, before: tuple[str, ...] = (), generated: str | None = None) -> list[StageSpec]:
        return [make.llm(f"loop/{number}/ask", *before, name="ask", position=number, generated_by=generated)]

    run.admit("job", make.dynamic("loop"), structure="generated")
    run.unfold("loop", stages=inner(1), again=True)
    run.run("loop/1/ask")
    run.unfold("loop", stages=inner(2, ("loop/1/ask",), "loop/1/ask"), again=True, unfolding=2)
    run.run("loop/2/ask")
    run.unfold("loop", unfolding=3)
    run.finish()
    assert kinds(run.only()) == {"ask": "llm"}


def test_a_skipped_stage_has_no_tasks_and_a_skipped_placeholder_is_gone(run: Run) -> None:
    run.admit(
        "job", make.llm("a"), make.llm("b", "a", position=1), make.dynamic("c", "b", position=2), make.tool("d", "c")
    )
    run.run("a")
    run.unfold("b", skipped=True)
    run.unfold("c", skipped=True)
    run.run("d")
    run.finish()
    job = run.only()
    assert parents(job) == [("a", ()), ("b", ("a",)), ("d", ("b",))]
    assert widths(job) == [1, 0, 1]
    assert job.stages[1].width_by == "a"  # what its condition was known from


def test_a_fallback_comes_after_what_failed(run: Run) -> None:
    run.admit("job", make.tool("a", recoverable=True), make.llm("b", "a", position=5))
    run.unfold("a", tasks=2)
    run.succeed("a", index=1)
    run.tell(make.failed(make.ref("job", "a", 0), at=run.now + 1.0))
    run.unfold("a", stages=[make.llm("a!", position=1, generated_by="a")], unfolding=2)
    run.run("a!", "b")
    run.finish()
    job = run.only()
    assert parents(job) == [("a", ()), ("a!", ("a",)), ("b", ("a!",))]
    assert widths(job) == [1, 1, 1]  # the task that failed is not there
    assert job.stages[1].generated_by == "a"


def test_retried_and_lost_attempts_count_only_by_the_last(run: Run) -> None:
    run.admit("job", make.llm("a", backoff_seconds=5.0))
    run.unfold("a", tasks=1)
    run.tell(make.failed(make.ref("job", "a"), make.FLAKY, at=101.0), make.timer(at=106.0))
    run.tell(make.attempt_lost(make.ref("job", "a", attempt=2), at=107.0))
    run.succeed("a", attempt=3, seconds=2.0)
    run.finish()
    exported = run.export()
    assert exported.workload[0].stages[0].tasks[0].seconds == 2.0
    assert exported.workload[0].recorded_jct_seconds == 9.0
    assert exported.fit.calls == 1


def test_a_result_that_the_machine_refused_is_refused_here_too(run: Run) -> None:
    run.admit("job", make.tool("a"))
    run.unfold("a", tasks=1)
    run.tell(make.attempt_lost(make.ref("job", "a"), at=101.0))
    run.succeed("a", attempt=1, seconds=50.0)
    run.now = 101.0
    run.succeed("a", attempt=2, seconds=3.0)
    run.finish()
    assert run.only().stages[0].tasks[0].seconds == 3.0


def test_jobs_that_did_not_succeed_are_left_out_with_the_reason(run: Run) -> None:
    for job_id in ("good", "bad", "stopped", "open"):
        run.admit(job_id, make.tool("a"))
        run.unfold("a", job=job_id, tasks=1)
    run.tell(make.failed(make.ref("bad", "a"), at=102.0), make.cancel("stopped", at=102.0))
    run.tell(make.aborted(make.ref("stopped", "a"), at=102.0))
    run.succeed("a", job="good", seconds=4.0)
    run.finish("good")
    exported = run.export()
    assert [job.job_id for job in exported.workload] == ["good"]
    assert exported.left_out == {"failed": 1, "cancelled": 1, "had not ended when the log did": 1}
    assert exported.left_out_share == pytest.approx(4.0 / 10.0)


def test_a_job_that_a_later_leader_finished_is_whole(run: Run) -> None:
    stages = [make.tool("loop/1/a", position=1)]
    run.admit("job", make.llm("first"), make.dynamic("loop", "first"), make.tool("end", "loop", position=9))
    run.run("first")
    run.unfold("loop", stages=stages, again=True)
    run.run("loop/1/a")
    run.unfold("loop", stages=[make.tool("loop/2/a", "loop/1/a", position=2)], again=True, unfolding=2)
    run.unfold("loop/2/a", tasks=1)
    durable = run.bench.machine.snapshot("job")
    run.log.close()
    run.lead(2, durable, at=110.0, running=[make.ref("job", "loop/2/a")])
    run.tell(make.succeeded(make.ref("job", "loop/2/a"), at=112.0))
    run.unfold("loop", unfolding=3)
    run.run("end")
    run.finish()
    job = run.only()
    assert parents(job) == [
        *(("first", ()), ("loop/1/a", ("first",))),
        *(("loop/2/a", ("loop/1/a",)), ("end", ("loop/2/a",))),
    ]
    assert job.stages[2].tasks[0].seconds == pytest.approx(10.0)  # dispatched by the first leader at 102
    assert job.recorded_jct_seconds == pytest.approx(13.0)


def test_what_never_became_durable_did_not_happen(run: Run) -> None:
    run.admit("job", make.tool("a"))
    run.unfold("a", tasks=1)
    durable = run.bench.machine.snapshot("job")
    run.succeed("a")
    run.finish()
    assert run.export().workload[0].recorded_jct_seconds == 1.0
    run.lead(2, durable, at=105.0)
    assert run.export().left_out == {"had not ended when the log did": 1}


def test_a_rerun_has_only_what_was_left_to_do(run: Run) -> None:
    run.admit("job", make.tool("a"), make.tool("b", "a", position=1))
    run.run("a")
    ended = {stage.spec.stage_id: stage for stage in run.bench.machine.snapshot("job").stages}
    assert ended["a"].state is StageState.SUCCEEDED
    run.run("b")
    run.finish()
    left = [ended["a"], make.tool("b", "a", position=1), make.dynamic("$output", "b", position=1000)]
    run.tell(JobAdmitted(at=200.0, cause="rerun", job=make.job("again", *left, arrival=200.0)))
    run.run("b", job="again")
    run.finish("again")
    exported = run.export()
    assert [widths(job) for job in exported.workload] == [[1, 1], [0, 1]]
    assert [job.job_id for job in exported.history] == ["job"]
    assert "1 of the jobs are reruns" in " ".join(exported.notes)


def test_jobs_are_chosen_by_application_and_arrival(run: Run) -> None:
    for number, app in enumerate(("one", "two", "one")):
        run.admit(f"job-{number}", make.tool("a"), at=100.0 + 10 * number, application=app, order=number)
        run.run("a", job=f"job-{number}")
        run.finish(f"job-{number}")

    def chosen(**selection: Any) -> list[tuple[str, float | None]]:
        return [(job.job_id, job.arrival_seconds) for job in run.export(**selection).workload]

    assert chosen() == [("job-0", 0.0), ("job-1", 10.0), ("job-2", 20.0)]
    assert chosen(applications=["one"]) == [("job-0", 0.0), ("job-2", 20.0)]
    assert chosen(since=110.0) == [("job-1", 0.0), ("job-2", 10.0)]
    assert chosen(since=110.0, until=120.0) == [("job-1", 0.0)]


def test_the_policy_of_a_job_is_known_if_it_met_only_one(run: Run) -> None:
    for number in range(3):
        run.admit(f"job-{number}", make.tool("a"), make.tool("b", "a", position=1), order=number)
    run.run("a", "b", job="job-0")
    run.run("a", job="job-1")
    run.tell(make.policy_changed(at=run.now, name="fair", ageing_seconds=7.0))
    run.run("b", job="job-1")
    run.run("a", "b", job="job-2")
    for number in range(3):
        run.finish(f"job-{number}")
    exported = run.export()
    assert [job.recorded_policy for job in exported.workload] == ["fcfs", None, "fair"]
    assert exported.policy.name in ("fcfs", "fair")
    assert "2 of the jobs met another policy" in " ".join(exported.notes)


def test_the_files_read_back_as_they_were_written(run: Run) -> None:
    run.admit("job", make.llm("a"), make.tool("b", "a"))
    run.run("a", "b")
    run.finish()
    exported = run.export()
    (job,) = read_workload(write_jobs(exported.workload), "workload")
    assert job.stages == exported.workload[0].stages
    (past,) = read_history(write_jobs(exported.history), "history")
    assert (past.arrival_seconds, past.recorded_policy, past.stages) == (None, None, job.stages)


def test_a_line_that_a_crash_cut_off_is_left_out(run: Run) -> None:
    run.admit("job", make.tool("a"))
    run.run("a")
    run.finish()
    run.log.close()
    whole = run.path.read_text()
    run.path.write_text(whole + '{"events":[{"@":"Job')
    assert len(run.export().workload) == 1
    run.path.write_text(whole.rstrip("\n")[:-10])
    assert run.export().left_out == {"had not ended when the log did": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("what is this?\n", "is no event log"),
        ('{"term":1,"policy":{"name":"fcfs"}}\n{"app":"a"}\n', "is no event log, or one of another version"),
        ('{"term":1,"policy":{"name":"fcfs"}}\n{"events":[{"@":"Magic"}],"effects":[]}\n', "Magic"),
        ("[1]\n", "is no event log"),
    ],
)
def test_another_file_is_no_event_log(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(NoEventLog, match=complaint):
        read_recording(path)


def test_prompts_that_an_engine_counted_stand_in_for_a_usage_that_it_did_not_report(run: Run) -> None:
    run.admit("job", make.llm("a"))
    run.unfold("a", tasks=2)
    run.tell(make.counted("job", "a", 11, None, at=run.now))
    for index in range(2):
        run.tell(make.succeeded(make.ref("job", "a", index), at=101.0))
    run.finish()
    assert [task.prompt_tokens for task in run.only().stages[0].tasks] == [11, 0]


def test_an_unfolding_that_failed_waited_for_the_planner_too(run: Run) -> None:
    run.admit("job", make.tool("a", recoverable=True))
    run.tell(make.unfold_failed("job", "a", at=run.now + 0.5))
    run.now += 0.25
    run.unfold("a", stages=[make.tool("a!")], unfolding=2)
    run.run("a!")
    run.finish()
    exported = run.export()
    assert [widths(job) for job in exported.workload] == [[0, 1]]
    assert exported.unfold_seconds == pytest.approx(0.75)


def test_what_the_simulation_cannot_show_is_noted(run: Run) -> None:
    run.admit("job", make.llm("a"))
    run.unfold("a", tasks=30)
    run.tell(make.attached("llm-1", "llm", "llm:m", slots=10, at=run.now))
    run.tell(make.attached("tool-1", "tool:other", at=run.now), make.attached("tool-2", "tool:other", at=run.now))
    for index in range(30):
        run.succeed("a", index=index, seconds=0.1 if index % 2 else 10.0)  # alike in tokens, not in time
    run.tell(make.detached("tool-1", at=run.now), make.draining("tool-2", at=run.now))
    run.tell(make.health("llm-1", False, at=run.now + 1.0), make.lost("tool-2", at=run.now + 1.0))
    run.finish()
    exported = run.export()
    assert exported.cluster()["max_batch"] == 30
    notes = " ".join(exported.notes)
    for text in ("came and went", "10, 50 slots", "different models", "different tools", "explain the times"):
        assert text in notes


def test_an_attempt_of_an_unknown_job_is_no_trouble(run: Run) -> None:
    run.tell(make.succeeded(AttemptRef(job_id="who", stage_id="a", task_index=0, attempt=1), at=101.0))
    assert run.export().workload == ()
