"""What every registered policy has to keep, whoever wrote it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch, Effect, JobChanged, Unfold
from services.scheduler.core.events import Event
from services.scheduler.core.invariants import validate
from services.scheduler.core.jobs import Job
from services.scheduler.core.model import StageKind, StageSnapshot, StageSpec, StageState, TaskSpec
from services.scheduler.core.policies.base import DrawingPolicy, JobView, StageView, order
from tests.support.scheduling import (
    admitted,
    attached,
    dynamic,
    job,
    llm,
    make_policy_for_tests,
    of,
    succeeded,
    tool,
    unfolded,
)

EVERY_POLICY = pytest.mark.parametrize("name", sorted(POLICIES))
SECONDS = st.sampled_from([0.0, 1.0, 1.5, 7.0])
ORDERS = {"ps-tcs": ("app-2", "app-0")}


def settings_of(name: str, **more: object) -> PolicySettings:
    return PolicySettings(name=name, application_order=ORDERS.get(name, ()), **more)


@st.composite
def job_views(draw: st.DrawFn, number: int) -> JobView:
    """A job that has shown stages of all kinds, any of which may wait for earlier ones and be done."""
    specs: list[StageSpec] = []
    for position, stage_id in enumerate("abcd"[: draw(st.integers(1, 4))]):
        make = draw(st.sampled_from([llm, tool, dynamic]))
        specs.append(make(stage_id, *(one.stage_id for one in specs if draw(st.booleans())), position=position))
    state = st.sampled_from([StageState.WAITING, StageState.SUCCEEDED])
    view = Job(job(f"j{number}", *[StageSnapshot(spec=spec, state=draw(state)) for spec in specs], order=number)).view
    view.application = f"app-{draw(st.integers(0, 3))}"
    view.structure = draw(st.sampled_from(["generated", "chain", "static", "unheard-of"]))
    view.arrival = draw(SECONDS)
    view.running_tasks = draw(st.integers(0, 2))
    view.attained_llm_seconds, view.attained_tool_seconds = draw(SECONDS), draw(SECONDS)
    view.done_output_tokens = draw(st.integers(0, 100))
    return view


@st.composite
def ready_stages(draw: st.DrawFn) -> list[tuple[JobView, StageView]]:
    """Ready stages of a few jobs, many of them alike in most respects."""
    found = []
    for number in range(draw(st.integers(0, 5))):
        view = draw(job_views(number))
        waiting = [stage.spec for stage in view.stages.values() if not stage.state.is_done]
        for spec in [one for one in waiting if one.kind is not StageKind.DYNAMIC]:
            stage = StageView(
                stage_id=spec.stage_id,
                name=spec.name,
                occurrence=0,
                kind=spec.kind,
                position=spec.position,
                ready_at=draw(SECONDS),
                width=draw(st.integers(1, 4)),
                prompt_tokens=draw(st.integers(0, 9)),
            )
            found.append((view, stage))
    return found


def names(ready: list[tuple[JobView, StageView]]) -> list[tuple[str, str]]:
    return [(job_view.job_id, stage.stage_id) for job_view, stage in ready]


@EVERY_POLICY
@given(ready=ready_stages(), data=st.data())
@settings(deadline=None)
def test_an_order_is_a_permutation_that_depends_on_nothing_but_its_members(name, ready, data):
    ranked = names(order(make_policy_for_tests(settings_of(name)), ready))
    assert sorted(ranked) == sorted(names(ready))
    shuffled = data.draw(st.permutations(ready))
    # Another policy object, another input order: the same result.
    assert names(order(make_policy_for_tests(settings_of(name)), shuffled)) == ranked
    # And it stays the same when some are missing.
    part = data.draw(st.lists(st.sampled_from(ready), unique_by=id)) if ready else []
    assert names(order(make_policy_for_tests(settings_of(name)), part)) == [one for one in ranked if one in names(part)]


@EVERY_POLICY
@given(ready=ready_stages())
@settings(deadline=None)
def test_no_two_stages_tie(name, ready):
    policy = make_policy_for_tests(settings_of(name))
    keys = [policy.key(*pair) for pair in order(policy, ready)]
    assert all(earlier < later for earlier, later in pairwise(keys))


@EVERY_POLICY
@given(ready=ready_stages())
@settings(deadline=None)
def test_keys_are_plain_values_that_end_in_the_place_of_the_stage(name, ready):
    policy = make_policy_for_tests(settings_of(name))
    for view, stage in ready:
        key = policy.key(view, stage)
        assert key[-3:] == (view.arrival, view.order, stage.position)
        assert all(type(part) in (int, float, str) for part in key)


class Load:
    """A machine under a random load, one event at a time."""

    def __init__(self, choose, policy: PolicySettings) -> None:
        self.machine = SchedulerMachine(policy, policies=make_policy_for_tests)
        self.choose = choose
        self.now = 0.0
        self.asked: list[Unfold] = []
        self.running: list[Dispatch] = []
        self.slots = {"e1": 2, "e2": 1, "t1": 1}
        self.submitted = 0
        self.feed(attached("e1", slots=2))
        self.feed(attached("e2", slots=1))
        self.feed(attached("t1", "tool:any", slots=1))

    def feed(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(event)
        self.asked += of(Unfold, effects)
        self.running += of(Dispatch, effects)
        return effects

    def submit(self) -> None:
        self.submitted += 1
        stages = [llm("a"), tool("b", position=1), dynamic("p", position=2), llm("c", "p", "b", position=3)]
        stages = stages[: self.choose(1, 4)]
        # Ties in arrival are settled by `order`, which is unique, but need not follow the order of admission.
        sign = 1 - 2 * self.choose(0, 1)
        more = {"application": f"app-{self.choose(0, 3)}", "order": sign * self.submitted}
        self.feed(admitted(job(f"j{self.submitted}", *stages, arrival=self.now, **more), at=self.now))

    def answer(self, request: Unfold) -> None:
        """Nothing, a few tasks, or for a placeholder a few stages, which may wait for "b" first."""
        count, about = self.choose(0, 3), (request.job_id, request.stage_id)
        if count == 0:
            self.feed(unfolded(*about, skipped=True, at=self.now))
        elif request.stage_id == "p":
            parents = ["b"] * self.choose(0, 1)
            added = [llm(f"p/{number}", *parents, position=4 + number) for number in range(count)]
            self.feed(unfolded(*about, stages=added, at=self.now))
        else:
            tasks = [TaskSpec(prompt_tokens=self.choose(0, 9)) for _ in range(count)]
            self.feed(unfolded(*about, tasks=tasks, at=self.now))

    def step(self) -> None:
        """Something happens: an answer of the planner, the end of an attempt, or a new job."""
        self.now += self.choose(0, 2)
        happening = self.choose(0, 2)
        if happening == 0 and self.asked:
            self.answer(self.asked.pop(self.choose(0, len(self.asked) - 1)))
        elif happening == 1 and self.running:
            done = self.running.pop(self.choose(0, len(self.running) - 1))
            self.feed(succeeded(done.attempt, at=self.now, seconds=float(self.choose(1, 5))))
        else:
            self.submit()


@EVERY_POLICY
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_the_order_the_machine_keeps_is_the_order_computed_from_scratch(name, data):
    def choose(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    load = Load(choose, settings_of(name))
    for _ in range(25):
        load.step()
        keys = [(entry.job, entry.stage, entry.key) for entry in load.machine.queue()]
        policy = make_policy_for_tests(settings_of(name))
        assert [key for _, _, key in keys] == [policy.key(view, stage) for view, stage, _ in keys]
        kept = [(view, stage) for view, stage, _ in keys]
        fresh = order(policy, data.draw(st.permutations(kept)) if len(kept) < 6 else kept[::-1])
        assert names(kept) == names(fresh) or isinstance(policy, DrawingPolicy)
        # Never over capacity, and no slot is left free that a waiting task could use.
        for executor in load.machine.executors():
            assert len(executor.running) <= load.slots[executor.executor_id]
        validate(load.machine)


@EVERY_POLICY
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_the_first_in_the_queue_is_the_next_to_go(name, data):
    load = Load(lambda low, high: data.draw(st.integers(low, high)), settings_of(name, ageing_seconds=5.0))
    for number in range(15):
        load.step()
        offer = data.draw(st.sampled_from(["llm", "tool:any"]))
        first = next((one for one in load.machine.queue(load.now) if one.requirement == offer), None)
        # A slot more, for one task: nothing else changes.
        load.slots[f"x{number}"] = 1
        went = of(Dispatch, load.feed(attached(f"x{number}", offer, at=load.now)))
        assert [(one.attempt.job_id, one.attempt.stage_id, one.rule, one.key) for one in went] == (
            [] if first is None else [(first.job.job_id, first.stage.stage_id, first.rule, first.key)]
        )


def ends_among_newcomers(policy: PolicySettings) -> dict[str, float]:
    """When jobs end in a hundred seconds in which newcomers never stop coming, each dear to the policy.

    There is one slot, all work takes a second, and a few newcomers always wait. The job "old" arrives in second 3.
    """
    machine = SchedulerMachine(policy, policies=make_policy_for_tests)
    machine.handle(attached("e1"))
    ended: dict[str, float] = {}
    running: list[Dispatch] = []
    for second in range(100):
        effects = machine.handle(succeeded(running.pop().attempt, at=float(second))) if running else []
        arriving = [(f"new-{second}", "app-2", 1)]
        if second == 0:
            arriving += [(f"newer-{number}", "app-2", 1) for number in range(5)]
        if second == 3:
            # Two tasks: "fair" gives a job its second slot only when nobody waits for a first.
            arriving += [("old", "app-9", 2)]
        for order_, (job_id, application, tasks) in enumerate(arriving):
            more = {"arrival": float(second), "order": 10 * second + order_, "application": application}
            effects += machine.handle(admitted(job(job_id, llm("a"), **more), at=float(second)))
            effects += machine.handle(unfolded(job_id, "a", tasks=tasks, at=float(second)))
        running += of(Dispatch, effects)
        ended.update({one.job_id: float(second) for one in of(JobChanged, effects) if one.state.is_final})
    return ended


@EVERY_POLICY
def test_under_the_guard_nothing_starves(name):
    limit = 20.0
    ended = ends_among_newcomers(settings_of(name, ageing_seconds=limit))
    # It waits for the limit, and then for the work of those that are older still: a handful of seconds here.
    assert ended["old"] <= 3 + limit + 10


@pytest.mark.parametrize("name", ["hermes", "plas", "ps-tcs", "sjf", "srtf"])
def test_without_the_guard_the_same_job_starves_where_the_policy_says_so(name):
    assert "Starvation: possible" in " ".join((POLICIES[name].__doc__ or "").split())
    assert "old" not in ends_among_newcomers(settings_of(name))


@pytest.mark.parametrize("name", ["fcfs", "request-fcfs"])
def test_without_the_guard_nothing_starves_where_the_policy_says_so(name):
    assert "Starvation: none." in " ".join((POLICIES[name].__doc__ or "").split())
    assert "old" in ends_among_newcomers(settings_of(name))
