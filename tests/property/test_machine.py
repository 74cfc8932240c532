"""Whatever happens, in whatever order: the machine keeps its invariants and its promises, and every job can still end.

Hypothesis plays planner, executors, users and operators, all of them careless: they answer twice, late, or about
things that never existed. At any moment the machine may be recovered from its snapshots; from then on the recovered
machine runs beside the old one and must take the same decisions.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine
from services.scheduler.core.effects import (
    CancelAttempt,
    Dispatch,
    Effect,
    JobChanged,
    StageChanged,
    StoreResult,
    TaskChanged,
    Unfold,
)
from services.scheduler.core.events import Event, JobClosed, StageAdded
from services.scheduler.core.invariants import validate
from services.scheduler.core.model import AttemptRef, JobState, StageKind, StageSpec, TaskSpec
from tests.support.scheduling import (
    BROKEN,
    FLAKY,
    aborted,
    admitted,
    attached,
    attempt_lost,
    cancel,
    counted,
    detached,
    draining,
    dynamic,
    failed,
    health,
    job,
    llm,
    lost,
    make_policy_for_tests,
    of,
    policy_changed,
    ref,
    succeeded,
    timer,
    tool,
    unfold_failed,
    unfolded,
)

SHAPES: dict[str, list[StageSpec]] = {
    "single": [llm("a")],
    "diamond": [llm("a"), tool("b", "a", position=1), llm("c", "a", position=2), llm("d", "b", "c", position=3)],
    "plan": [dynamic("p"), llm("z", "p", position=1)],
    "fallback": [llm("a", recoverable=True, max_attempts=2), llm("z", "a", position=1)],
    "once": [llm("a", max_attempts=1), tool("b", max_attempts=2, backoff_seconds=2.0, position=1)],
    "loop": [dynamic("p", recoverable=True), tool("b", position=1), llm("z", "p", "b", position=2)],
}
EXECUTORS = {"e1": ("llm",), "e2": ("llm", "llm:x"), "t1": ("tool:any",), "m1": ("llm", "tool:any")}
POLICY = st.builds(
    lambda name, ageing: PolicySettings(name=name, ageing_seconds=ageing, seed=3),
    st.sampled_from(sorted(POLICIES)),
    st.sampled_from([None, 0.0, 5.0]),
)


class World:
    """What the outside knows: who was asked what, which attempts hold which slots, what was promised."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], int] = {}
        self.held: dict[AttemptRef, str] = {}
        self.slots: dict[str, int] = {}
        self.usable: set[str] = set()
        self.latest: dict[tuple[str, str, int], int] = {}
        self.stored: set[tuple[str, str, int]] = set()
        self.jobs: dict[str, JobState] = {}
        self.seen: list[AttemptRef] = []

    def hear(self, effects: list[Effect]) -> None:
        """Takes in the effects, and checks what they promise."""
        for effect in effects:
            if isinstance(effect, Dispatch):
                self.hear_dispatch(effect)
            elif isinstance(effect, StoreResult):
                task = (effect.attempt.job_id, effect.attempt.stage_id, effect.attempt.task_index)
                assert task not in self.stored, "a result was applied twice"
                assert self.latest[task] == effect.attempt.attempt, "a result of an old attempt was applied"
                assert self.jobs[effect.attempt.job_id] is JobState.RUNNING
                self.stored.add(task)
            elif isinstance(effect, Unfold):
                self.asked[effect.job_id, effect.stage_id] = effect.unfolding
            elif isinstance(effect, JobChanged):
                assert not self.jobs.get(effect.job_id, JobState.PENDING).is_final, "a job ended twice"
                assert (effect.failure is not None) == (effect.state not in (JobState.RUNNING, JobState.SUCCEEDED))
                self.jobs[effect.job_id] = effect.state
            elif isinstance(effect, StageChanged | TaskChanged):
                assert not self.jobs[effect.job_id].is_final, "a job went on after its end"

    def hear_dispatch(self, effect: Dispatch) -> None:
        attempt = effect.attempt
        task = (attempt.job_id, attempt.stage_id, attempt.task_index)
        assert attempt.attempt == self.latest.get(task, 0) + 1, "attempts are not numbered one after the other"
        assert task not in self.stored, "a task ran again after its result was stored"
        assert self.jobs[attempt.job_id] is JobState.RUNNING
        assert effect.executor_id in self.usable, "work for an executor that takes none"
        load = sum(holder == effect.executor_id for holder in self.held.values())
        assert load < self.slots[effect.executor_id], "over capacity"
        self.latest[task] = attempt.attempt
        self.held[attempt] = effect.executor_id
        self.seen.append(attempt)


class Anything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.now = 0.0
        self.jobs = 0
        self.stages = 0
        self.added: dict[str, None] = {}  #: stages that programs have wanted
        self.twin: SchedulerMachine | None = None

    @initialize(policy=POLICY, executors=st.lists(st.sampled_from(sorted(EXECUTORS)), min_size=1, unique=True))
    def begin(self, policy: PolicySettings, executors: list[str]) -> None:
        self.machine = SchedulerMachine(policy, policies=make_policy_for_tests)
        for executor_id in executors:
            self.attach(executor_id, slots=2, incarnation="first", keep=set(), strays=[])

    def feed(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(event)
        if self.twin is not None:
            assert self.twin.handle(event) == effects, "the recovered machine decides otherwise"
        self.world.hear(effects)
        return effects

    # ---- users and operators -----------------------------------------------------------------------------------

    @rule(
        shape=st.sampled_from(sorted(SHAPES)),
        order=st.integers(0, 2),
        again=st.booleans(),
        width=st.sampled_from([None, 1, 2, 4]),
    )
    def submit(self, shape: str, order: int, again: bool, width: int | None) -> None:
        self.jobs += 1
        snapshot = job(f"j{self.jobs}", *SHAPES[shape], arrival=self.now, order=order, structure=shape)
        self.feed(admitted(snapshot, at=self.now))
        if again:
            assert self.feed(admitted(snapshot, at=self.now)) == []
        if width is not None:
            self.answer_all(width)

    @rule()
    def open(self) -> None:
        self.jobs += 1
        self.feed(admitted(job(f"j{self.jobs}", arrival=self.now, structure="open", open=True), at=self.now))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), name=st.sampled_from("abc"), once=st.booleans(), is_llm=st.booleans())
    def add(self, data: st.DataObject, name: str, once: bool, is_llm: bool) -> None:
        """A program adds a stage, after some that it knows of, or makes a mistake."""
        number = data.draw(st.integers(1, self.jobs))
        known = data.draw(st.lists(st.sampled_from([*self.added, "ghost"]), max_size=2, unique=True))
        stage_id = f"{name}/{data.draw(st.integers(1, 4))}"
        make = llm if is_llm else tool
        stage = make(stage_id, *known, name=name, max_attempts=1 if once else 3)
        more = {"at": self.now, "cause": "program", "job_id": f"j{number}"}
        self.feed(StageAdded(stage=stage, task=TaskSpec(prompt_tokens=9), **more))
        self.added[stage_id] = None

    @rule(data=st.data(), fails=st.booleans(), if_idle=st.booleans())
    def close(self, data: st.DataObject, fails: bool, if_idle: bool) -> None:
        number = data.draw(st.integers(0, self.jobs))
        failure = BROKEN if fails else None
        self.feed(JobClosed(at=self.now, cause="program", job_id=f"j{number}", failure=failure, if_idle=if_idle))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.jobs))
        self.feed(cancel(f"j{number}", at=self.now))

    @rule(policy=POLICY)
    def change_policy(self, policy: PolicySettings) -> None:
        more = {"ageing_seconds": policy.ageing_seconds, "seed": policy.seed}
        self.feed(policy_changed(at=self.now, name=policy.name, **more))

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.feed(timer(self.now))

    # ---- the planner -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.asked)
    @rule(data=st.data(), late=st.booleans())
    def answer(self, data: st.DataObject, late: bool) -> None:
        (job_id, stage_id), unfolding = data.draw(st.sampled_from(sorted(self.world.asked.items())))
        kind = data.draw(
            st.sampled_from(["tasks", "tasks", "tasks", "stages", "stages", "skip", "empty", "fail", "bad"])
        )
        more = {"at": self.now, "unfolding": unfolding - late}
        if kind == "tasks":
            event = unfolded(job_id, stage_id, tasks=[TaskSpec(prompt_tokens=9)] * data.draw(st.integers(1, 3)), **more)
        elif kind == "stages":
            event = unfolded(job_id, stage_id, stages=self.grow(data), again=data.draw(st.booleans()), **more)
        elif kind == "fail":
            event = unfold_failed(job_id, stage_id, **more)
        elif kind == "bad":
            event = unfolded(job_id, stage_id, stages=[llm("x", "ghost")], **more)
        else:
            event = unfolded(job_id, stage_id, skipped=kind == "skip", **more)
        self.feed(event)

    @precondition(lambda self: self.world.asked)
    @rule(width=st.integers(1, 3))
    def answer_all(self, width: int) -> None:
        """A diligent planner; plans and loops grow by one stage."""
        for (job_id, stage_id), unfolding in list(self.world.asked.items()):
            more: dict = {"at": self.now, "unfolding": unfolding}
            if self.kind(job_id, stage_id) is StageKind.DYNAMIC:
                self.stages += 1
                more["stages"] = [llm(f"s{self.stages}", position=self.stages + 10)]
                more["again"] = unfolding < width
            else:
                more["tasks"] = width
            self.feed(unfolded(job_id, stage_id, **more))

    def grow(self, data: st.DataObject) -> list[StageSpec]:
        grown: list[StageSpec] = []
        for make in data.draw(st.lists(st.sampled_from([llm, tool, dynamic]), min_size=1, max_size=3)):
            self.stages += 1
            parents = [one.stage_id for one in grown if data.draw(st.booleans())]
            grown.append(make(f"s{self.stages}", *parents, position=self.stages + 10))
        return grown

    @precondition(lambda self: self.world.asked)
    @rule(data=st.data(), tokens=st.lists(st.sampled_from([None, 5, 50]), max_size=3))
    def count(self, data: st.DataObject, tokens: list[int | None]) -> None:
        job_id, stage_id = data.draw(st.sampled_from(sorted(self.world.asked)))
        self.feed(counted(job_id, stage_id, *tokens, at=self.now))

    # ---- executors ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.held)
    @rule(data=st.data(), end=st.sampled_from([succeeded] * 3 + [failed, "flaky", aborted, attempt_lost]))
    def end_attempt(self, data: st.DataObject, end) -> None:
        attempt = data.draw(st.sampled_from(list(self.world.held)))
        del self.world.held[attempt]
        event = failed(attempt, FLAKY, at=self.now) if end == "flaky" else end(attempt, at=self.now)
        self.feed(event)
        # The executor delivers it once more.
        assert self.feed(event) == []

    @rule(data=st.data(), end=st.sampled_from([succeeded, failed, aborted, attempt_lost]))
    def tell_old_stories(self, data: st.DataObject, end) -> None:
        stories = [ref("ghost", "a"), ref("ghost", "b"), ref("j1", "a", 5), *self.world.seen]
        attempt = data.draw(st.sampled_from([one for one in stories if one not in self.world.held]))
        assert self.feed(end(attempt, at=self.now)) == []

    @rule(
        data=st.data(),
        executor_id=st.sampled_from(sorted(EXECUTORS)),
        slots=st.integers(0, 3),
        incarnation=st.sampled_from(["first", "second"]),
    )
    def come(self, data: st.DataObject, executor_id: str, slots: int, incarnation: str) -> None:
        mine = [one for one, holder in self.world.held.items() if holder == executor_id]
        keep = set(data.draw(st.lists(st.sampled_from(mine), unique=True))) if mine else set()
        pool = [ref("ghost", "a"), *self.world.seen]
        strays = data.draw(st.lists(st.sampled_from(pool), max_size=2, unique=True))
        self.attach(executor_id, slots, incarnation, keep, strays)

    def attach(self, executor_id: str, slots: int, incarnation: str, keep: set, strays: list) -> None:
        held = self.world.held
        for one in [one for one, holder in held.items() if holder == executor_id and one not in {*keep, *strays}]:
            del held[one]
        running = [one for one, holder in held.items() if holder == executor_id]
        running += [one for one in strays if one not in running]
        for one in running:
            held.setdefault(one, executor_id)
        self.world.slots[executor_id] = slots
        before = next((one for one in self.machine.executors() if one.executor_id == executor_id), None)
        kept = before is not None and before.incarnation == incarnation and (before.draining or not before.healthy)
        (self.world.usable.discard if kept else self.world.usable.add)(executor_id)
        offers = EXECUTORS[executor_id]
        self.feed(attached(executor_id, *offers, slots=slots, incarnation=incarnation, running=running, at=self.now))

    @rule(
        executor_id=st.sampled_from(sorted(EXECUTORS)), how=st.sampled_from(["break", "die", "drain", "sick", "well"])
    )
    def change_executor(self, executor_id: str, how: str) -> None:
        now = {one.executor_id: one for one in self.machine.executors()}.get(executor_id)
        self.world.usable.discard(executor_id)
        if how == "break":
            self.feed(detached(executor_id, incarnation=(now and now.incarnation) or "first", at=self.now))
        elif how == "die":
            for one in [one for one, holder in self.world.held.items() if holder == executor_id]:
                del self.world.held[one]
            self.feed(lost(executor_id, at=self.now))
        elif how == "drain":
            self.feed(draining(executor_id, at=self.now))
        else:
            if how == "well" and now is not None and now.attached and not now.draining:
                self.world.usable.add(executor_id)
            self.feed(health(executor_id, how == "well", at=self.now))

    # ---- recovery ----------------------------------------------------------------------------------------------

    @rule(switch=st.booleans())
    def recover(self, switch: bool) -> None:
        """A new leader: jobs from their snapshots, then executors as they attach."""
        old = self.machine
        batch: list[Event] = [admitted(old.snapshot(job_id), at=self.now) for job_id in old.job_ids()]
        for one in old.executors():
            if one.incarnation is not None:
                more = {"slots": one.slots, "incarnation": one.incarnation, "running": one.running}
                batch.append(attached(one.executor_id, *sorted(one.offers), at=self.now, **more))
                batch += [] if one.healthy else [health(one.executor_id, False, at=self.now)]
                batch += [draining(one.executor_id, at=self.now)] if one.draining else []
                batch += [] if one.attached else [detached(one.executor_id, incarnation=one.incarnation, at=self.now)]
        self.twin = SchedulerMachine(old.settings, policies=make_policy_for_tests, decisions=old.decisions)
        effects = self.twin.handle_batch(batch)
        # Questions and orders to cancel are repeated; nothing else happens, as nothing else has happened.
        assert {type(one) for one in effects} <= {Unfold, CancelAttempt}
        assert {(one.job_id, one.stage_id, one.unfolding) for one in of(Unfold, effects)} <= {
            (*stage, unfolding) for stage, unfolding in self.world.asked.items()
        }
        if switch:
            self.machine, self.twin = self.twin, old

    # ---- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def machines_are_in_order(self) -> None:
        for machine in (self.machine, self.twin):
            if machine is not None:
                validate(machine)
        if self.twin is None:
            return
        assert self.twin.job_ids() == self.machine.job_ids()
        for job_id in self.machine.job_ids():
            assert self.twin.snapshot(job_id) == self.machine.snapshot(job_id)
        assert [(one.job.job_id, one.key) for one in self.twin.queue(self.now)] == [
            (one.job.job_id, one.key) for one in self.machine.queue(self.now)
        ]
        assert self.twin.next_wake == self.machine.next_wake

    @invariant()
    def slots_are_held_by_those_who_took_them(self) -> None:
        believed = {one: view.executor_id for view in self.machine.executors() for one in view.running}
        assert believed == self.world.held

    def teardown(self) -> None:
        """Whatever state this is, a diligent world brings every job to its end."""
        if not hasattr(self, "machine"):
            return
        for executor_id in [one.executor_id for one in self.machine.executors()]:
            self.change_executor(executor_id, "die")
        everything = sorted({offer for offers in EXECUTORS.values() for offer in offers})
        self.world.slots["big"] = 1000
        self.world.usable.add("big")
        self.feed(attached("big", *everything, slots=1000, at=self.now))
        for number in range(1, self.jobs + 1):
            self.feed(JobClosed(at=self.now, cause="program", job_id=f"j{number}"))
        for _ in range(200):
            for (job_id, stage_id), unfolding in list(self.world.asked.items()):
                is_dynamic = self.kind(job_id, stage_id) is StageKind.DYNAMIC
                self.feed(unfolded(job_id, stage_id, tasks=0 if is_dynamic else 1, unfolding=unfolding, at=self.now))
            for attempt in list(self.world.held):
                del self.world.held[attempt]
                self.feed(succeeded(attempt, at=self.now))
            self.now += 100.0
            self.feed(timer(self.now))
            validate(self.machine)
            if self.machine.active_jobs == 0:
                break
        assert self.machine.active_jobs == 0
        assert all(state.is_final for state in self.world.jobs.values())
        assert len(self.world.jobs) == self.jobs
        assert self.machine.next_wake is None

    def kind(self, job_id: str, stage_id: str) -> StageKind | None:
        if job_id not in self.machine.job_ids():
            return None
        return self.machine.stage_snapshot(job_id, stage_id).spec.kind


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
