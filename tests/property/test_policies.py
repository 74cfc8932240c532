"""What every registered policy has to keep, whoever wrote it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.core import POLICIES, PolicySettings, SchedulerMachine, make_policy
from services.scheduler.core.effects import Dispatch, Effect, JobChanged, Unfold
from services.scheduler.core.events import Event
from services.scheduler.core.invariants import validate
from services.scheduler.core.model import StageKind, TaskSpec
from services.scheduler.core.policies.base import JobView, StageView, order
from tests.support.scheduling import admitted, attached, job, llm, of, succeeded, tool, unfolded

EVERY_POLICY = pytest.mark.parametrize("name", sorted(POLICIES))
SECONDS = st.sampled_from([0.0, 1.0, 1.5, 7.0])
ORDERS = {"ps-tcs": ("app-2", "app-0")}


def settings_of(name: str, **more: object) -> PolicySettings:
    return PolicySettings(name=name, application_order=ORDERS.get(name, ()), **more)


@st.composite
def ready_stages(draw: st.DrawFn) -> list[tuple[JobView, StageView]]:
    """Ready stages of a few jobs, many of them alike in most respects."""
    found = []
    for number in range(draw(st.integers(0, 5))):
        view = JobView(
            job_id=f"j{number}",
            application=f"app-{draw(st.integers(0, 3))}",
            structure=draw(st.sampled_from(["generated", "chain", "static", "unheard-of"])),
            arrival=draw(SECONDS),
            order=number,
            running_tasks=draw(st.integers(0, 2)),
            attained_llm_seconds=draw(SECONDS),
            attained_tool_seconds=draw(SECONDS),
        )
        for position in range(draw(st.integers(1, 3))):
            stage = StageView(
                stage_id=f"s{position}",
                name=f"s{position}",
                occurrence=0,
                kind=draw(st.sampled_from([StageKind.LLM, StageKind.TOOL])),
                position=position,
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
    ranked = names(order(make_policy(settings_of(name)), ready))
    assert sorted(ranked) == sorted(names(ready))
    shuffled = data.draw(st.permutations(ready))
    # Another policy object, another input order: the same result.
    assert names(order(make_policy(settings_of(name)), shuffled)) == ranked
    # And it stays the same when some are missing.
    part = data.draw(st.lists(st.sampled_from(ready), unique_by=id)) if ready else []
    assert names(order(make_policy(settings_of(name)), part)) == [one for one in ranked if one in names(part)]


@EVERY_POLICY
@given(ready=ready_stages())
@settings(deadline=None)
def test_no_two_stages_tie(name, ready):
    policy = make_policy(settings_of(name))
    keys = [policy.key(*pair) for pair in order(policy, ready)]
    assert all(earlier < later for earlier, later in pairwise(keys))


class Load:
    """A machine under a random load, one event at a time."""

    def __init__(self, choose, policy: PolicySettings) -> None:
        self.machine = SchedulerMachine(policy)
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
        stages = [llm("a"), tool("b", position=1), llm("c", "a", "b", position=2)][: self.choose(1, 3)]
        # Ties in arrival are settled by `order`, which is unique, but need not follow the order of admission.
        sign = 1 - 2 * self.choose(0, 1)
        more = {"application": f"app-{self.choose(0, 3)}", "order": sign * self.submitted}
        self.feed(admitted(job(f"j{self.submitted}", *stages, arrival=self.now, **more), at=self.now))

    def step(self) -> None:
        """Something happens: an answer of the planner, the end of an attempt, or a new job."""
        self.now += self.choose(0, 2)
        happening = self.choose(0, 2)
        if happening == 0 and self.asked:
            request = self.asked.pop(self.choose(0, len(self.asked) - 1))
            tasks = [TaskSpec(prompt_tokens=self.choose(0, 9)) for _ in range(self.choose(1, 4))]
            self.feed(unfolded(request.job_id, request.stage_id, tasks=tasks, at=self.now))
        elif happening == 1 and self.running:
            done = self.running.pop(self.choose(0, len(self.running) - 1))
            self.feed(succeeded(done.attempt, at=self.now, seconds=float(self.choose(1, 5))))
        else:
            self.submit()


@EVERY_POLICY
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_order_the_machine_keeps_is_the_order_computed_from_scratch(name, data):
    def choose(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    load = Load(choose, settings_of(name))
    for _ in range(30):
        load.step()
        kept = [(entry.job, entry.stage) for entry in load.machine.queue()]
        fresh = order(make_policy(settings_of(name)), data.draw(st.permutations(kept)) if len(kept) < 6 else kept[::-1])
        assert names(kept) == names(fresh)
        # Never over capacity, and no slot is left free that a waiting task could use.
        for executor in load.machine.executors():
            assert len(executor.running) <= load.slots[executor.executor_id]
        validate(load.machine)


@EVERY_POLICY
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_first_in_the_queue_is_the_next_to_go(name, data):
    load = Load(lambda low, high: data.draw(st.integers(low, high)), settings_of(name, ageing_seconds=5.0))
    for _ in range(20):
        load.step()
        if not load.running:
            continue
        done = load.running.pop(0)
        executor = next(one for one in load.machine.executors() if one.executor_id == done.executor_id)
        # Ending the attempt may make further stages ready, but only once the planner has answered.
        first = next((one for one in load.machine.queue(load.now) if one.requirement in executor.offers), None)
        finished = load.feed(succeeded(done.attempt, at=load.now))
        went = of(Dispatch, finished)
        if name == "fair" and first is not None and first.rule == "policy":
            continue  # the end of the attempt itself changes the order
        assert [(one.attempt.job_id, one.attempt.stage_id, one.rule) for one in went] == (
            [] if first is None else [(first.job.job_id, first.stage.stage_id, first.rule)]
        )


def ends_among_newcomers(policy: PolicySettings) -> dict[str, float]:
    """When jobs end in a hundred seconds in which newcomers never stop coming, each dear to the policy.

    There is one slot, all work takes a second, and a few newcomers always wait. The job "old" arrives in second 3.
    """
    machine = SchedulerMachine(policy)
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


def test_without_the_guard_the_same_job_starves_where_the_policy_says_so():
    assert "old" not in ends_among_newcomers(settings_of("ps-tcs"))
