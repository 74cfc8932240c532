"""What a job of a trace shows, and when: never more than the schema lets a scheduler see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core.trace import TraceJob
from services.scheduler.core import POLICIES
from services.scheduler.core.effects import Effect, StageChanged, TaskChanged, Unfold
from services.scheduler.core.events import StageUnfolded
from services.scheduler.core.model import StageKind, StageSpec, StageState, TaskSpec
from simulator.run import run
from simulator.workload import Workload
from tests.support.scheduling import KNOWLEDGE
from tests.unit.simulator.recorded import WORK, job, llm, settings, tool


class Shown:
    """The workload of one job; keeps what it has shown, placeholders under the name of what they stand for."""

    def __init__(self, of: TraceJob) -> None:
        self.workload = Workload([of], WORK)
        (self.admitted,) = self.workload.arrivals()
        self.specs: dict[str, StageSpec] = {}
        self._add([stage.spec for stage in self.admitted.job.stages])

    def _add(self, specs: list[StageSpec]) -> list[str]:
        self.specs |= {spec.stage_id: spec for spec in specs}
        return [spec.stage_id for spec in specs]

    def unfold(self, stage_id: str) -> StageUnfolded:
        request = Unfold(cause="test", job_id=self.admitted.job.job_id, stage_id=stage_id, unfolding=1)
        return self.workload.unfold(request, 1.0)

    def grow(self, stage_id: str) -> list[str]:
        """Unfolds a placeholder. Returns the stages that this adds."""
        answer = self.unfold(stage_id)
        assert answer.tasks == ()
        return self._add(list(answer.stages))

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Parents of all stages so far, placeholders left out."""
        return {name: spec.parents for name, spec in self.specs.items() if spec.kind is not StageKind.DYNAMIC}


def test_stages_without_generator_are_shown_at_arrival():
    shown = Shown(job(llm("a"), tool("b", "a"), llm("c", "a", "b", width_by="a"), structure="width", at=3.0, app="x"))
    snapshot = shown.admitted.job
    assert (snapshot.application, snapshot.structure, snapshot.arrival, snapshot.order) == ("x", "width", 3.0, 0)
    assert {name: spec.parents for name, spec in shown.specs.items()} == {"a": (), "b": ("a",), "c": ("a", "b")}
    spec = shown.specs["c"]
    assert (spec.kind, spec.requirement, spec.position, spec.width_by) == (StageKind.LLM, "llm", 2, "a")
    assert (shown.specs["b"].kind, shown.specs["b"].requirement) == (StageKind.TOOL, "tool")


def test_tasks_and_their_prompts_are_shown_when_the_stage_unfolds():
    shown = Shown(job(llm("a", tokens=(5, 6)), tool("b", "a", seconds=(1.0,))))
    assert all(stage.tasks == () for stage in shown.admitted.job.stages)
    assert shown.unfold("a").tasks == (TaskSpec(prompt_tokens=10), TaskSpec(prompt_tokens=10))
    assert shown.unfold("b").tasks == (TaskSpec(),)


def test_occurrences_count_the_stages_of_a_name():
    shown = Shown(job(llm("a", name="x"), llm("b", "a", name="y"), llm("c", "b", name="x")))
    assert [spec.occurrence for spec in shown.specs.values()] == [0, 0, 1]


def test_generated_stages_are_shown_when_their_generator_is_done():
    plan = llm("plan", kind="plan")
    shown = Shown(job(plan, tool("a", "plan", generated_by="plan"), tool("b", "a", generated_by="plan")))
    assert list(shown.stages()) == ["plan"]
    (then,) = set(shown.specs) - {"plan"}
    assert shown.specs[then].parents == ("plan",)
    assert shown.grow(then) == ["a", "b"]
    assert shown.stages() == {"plan": (), "a": ("plan",), "b": ("a",)}


def test_a_known_stage_waits_at_a_gate_for_generated_parents():
    stages = [
        llm("one", kind="plan"),
        llm("two", kind="plan"),
        tool("a", "one", generated_by="one"),
        tool("b", "two", generated_by="two"),
        llm("known"),
        llm("end", "a", "known", "b"),
    ]
    shown = Shown(job(*stages))
    assert list(shown.stages()) == ["one", "two", "known", "end"]
    known, gate = shown.specs["end"].parents
    assert known == "known"
    assert shown.specs[gate].parents == ("one", "known", "two"), "of the hidden ones it knows where they come from"
    for then in [name for name, spec in shown.specs.items() if spec.parents in (("one",), ("two",))]:
        shown.grow(then)
    (last,) = shown.grow(gate)
    assert shown.specs[last].parents == ("a", "known", "b")
    assert shown.grow(last) == []


def test_gates_follow_nested_generators_down():
    stages = [
        llm("plan", kind="plan"),
        llm("sub", "plan", kind="plan", generated_by="plan"),
        tool("leaf", "sub", generated_by="sub"),
        llm("end", "leaf"),
    ]
    shown = Shown(job(*stages))
    (gate,) = shown.specs["end"].parents
    assert shown.specs[gate].parents == ("plan",)
    (then,) = set(shown.specs) - {"plan", "end", gate}
    _, then = shown.grow(then)
    (gate,) = shown.grow(gate)
    assert shown.specs[gate].parents == ("sub",)
    assert shown.grow(then) == ["leaf"]
    (gate,) = shown.grow(gate)
    assert shown.specs[gate].parents == ("leaf",)


def test_a_gate_that_unfolds_before_the_generated_stages_asks_again():
    """Both wait for the same stage, so either may come first."""
    shown = Shown(job(llm("plan", kind="plan"), tool("a", "plan", generated_by="plan"), llm("end", "a")))
    (gate,) = shown.specs["end"].parents
    (again,) = shown.grow(gate)
    assert shown.specs[again].parents == ("plan",)


def test_the_last_round_of_a_loop_looks_like_the_others():
    stages = [llm("a"), llm("b", "a", generated_by="a"), llm("end", "b")]
    shown = Shown(job(*stages, structure="chain"))
    (first,) = [name for name, spec in shown.specs.items() if spec.parents == ("a",) and name.startswith("then")]
    _, second = shown.grow(first)
    assert shown.specs[second].parents == ("b",), "as if another round might follow"
    assert shown.grow(second) == []


def test_stages_that_can_generate_nothing_have_no_placeholder():
    shown = Shown(job(llm("a"), tool("b", "a"), structure="generated"))
    assert list(shown.specs) == ["a", "b"]
    shown = Shown(job(llm("a"), tool("b", "a"), structure="chain"))
    assert len(shown.specs) == 4, "in a chain any stage might"


def test_a_stage_that_does_not_come_after_its_generator_is_known_at_arrival():
    shown = Shown(job(llm("plan", kind="plan"), tool("a", generated_by="plan")))
    assert shown.stages() == {"plan": (), "a": ()}


def test_placeholders_take_no_name_of_the_trace():
    plain = Shown(job(llm("plan", kind="plan"), tool("a", "plan", generated_by="plan"), llm("end", "a")))
    names = [name for name in plain.specs if name not in ("plan", "end")]
    assert len(names) == 2
    stages = [llm("plan", kind="plan"), tool(names[0], "plan", generated_by="plan"), llm(names[1])]
    taken = job(*stages, llm("end", names[0]), tool("after", "end", "plan"))
    assert len(set(Shown(taken).specs)) == 6
    assert run([taken], settings()).jcts == ((0, "app", 4.0),)


def test_jobs_of_the_same_name_are_different_jobs():
    copies = [job(llm("a"), at=at, line=1) for at in (0.0, 0.0, 1.0)]
    assert run(copies, settings()).jcts == ((0, "app", 1.0), (1, "app", 1.0), (2, "app", 1.0))


@pytest.mark.parametrize(
    ("jobs", "complaint"),
    [
        ([job(llm("a"), at=None)], "job 1:job of the workload arrives at None"),
        ([job(llm("a"), at=2.0), job(llm("a"), at=1.0)], "job 2:job of the workload arrives at 1.0, the one before it"),
        ([job(replace(llm("a"), kind="tool"))], "stage 'a' has a task of unknown length"),
        ([job(replace(tool("a"), kind="plan"))], "stage 'a' has a task of unknown length"),
    ],
)
def test_jobs_that_cannot_be_simulated_are_refused(jobs, complaint):
    with pytest.raises(ValueError, match=complaint):
        run(jobs, settings())


# ---- nothing of the future is ever in the machine ------------------------------------------------------------------


def looping(rounds: int) -> TraceJob:
    """Rounds of 3 s; what comes after them is known at arrival, but not when."""
    stages = [llm("r0", tokens=(3,))]
    for number in range(1, rounds):
        stages.append(llm(f"r{number}", f"r{number - 1}", tokens=(3,), name="r0", generated_by=f"r{number - 1}"))
    return job(*stages, llm("end", stages[-1].id), tool("after", "end"), structure="chain", app="app-0", job_id="x")


def planned(*tools: int) -> TraceJob:
    """A plan of 3 s that is followed by stages of so many tasks; the last stage is known at arrival."""
    made = [tool(f"t{i}", "plan", seconds=(1.0,) * n, generated_by="plan") for i, n in enumerate(tools)]
    end = llm("end", *(one.id for one in made), "plan")
    return job(llm("plan", kind="plan", tokens=(3,)), *made, end, structure="generated", app="app-1", job_id="x")


def split(width: int, tokens: int = 2) -> TraceJob:
    stages = [llm("split", tokens=(3,)), llm("each", "split", tokens=(tokens,) * width, width_by="split")]
    return job(*stages, tool("join", "each"), structure="width", app="app-2", job_id="x")


FUTURES = {
    "rounds": (looping(2), looping(4), "r1"),
    "no further round": (looping(1), looping(2), "r0"),
    "plan": (planned(1), planned(2, 1, 3), "plan"),
    "empty plan": (planned(), planned(1), "plan"),
    "width": (split(1), split(6), "split"),
    "output": (split(2, tokens=1), split(2, tokens=5), "split"),
}


def watch(subject: TraceJob, policy: str) -> list[tuple[float, Effect]]:
    """All that the machine does, with the subject among other jobs that compete with it."""
    others = [job(llm("a", tokens=(2, 1, 1)), tool("b", "a"), at=0.5 * i, app=f"app-{i % 3}") for i in range(20)]
    jobs = [others[0], replace(subject, arrival_seconds=0.0), *others[1:]]
    seen: list[tuple[float, Effect]] = []
    run(jobs, settings(policy), statistics=KNOWLEDGE.statistics, observe=lambda at, one: seen.append((at, one)))
    return seen


def done_at(seen: list[tuple[float, Effect]], stage_id: str) -> float:
    job_id = "2:x"
    return next(
        at
        for at, one in seen
        if isinstance(one, StageChanged)
        and (one.job_id, one.stage_id, one.state) == (job_id, stage_id, StageState.SUCCEEDED)
    )


@pytest.mark.parametrize("future", sorted(FUTURES))
@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"clairvoyant-srpt"}))
def test_what_is_not_shown_yet_changes_nothing(policy, future):
    """Two jobs that differ only in what a stage reveals when it is done: until then the machine does the same."""
    one, other, revealing = FUTURES[future]
    first, second = watch(one, policy), watch(other, policy)
    until = done_at(first, revealing)
    assert until == done_at(second, revealing)
    assert [entry for entry in first if entry[0] < until] == [entry for entry in second if entry[0] < until]
    assert [entry for entry in first if isinstance(entry[1], TaskChanged)] != [
        entry for entry in second if isinstance(entry[1], TaskChanged)
    ], "the futures differ, so what follows must"
