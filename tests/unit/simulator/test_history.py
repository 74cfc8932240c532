"""What is learned before a run reaches the policies that go by it, and costs nobody else anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core import profile
from simulator import parallel
from simulator.cluster import ClusterShape
from simulator.compare.study import Condition, Study, carry_out
from simulator.history import History
from simulator.parallel import Task, run_all
from simulator.run import RunResult, run
from simulator.variants import parse
from tests.unit.simulator.recorded import LONG, SHORT, WORK, settings, telling, told

ONE_SLOT = ClusterShape(llm_executors=1, max_batch=1, tool_slots=1)


def workload() -> list:
    """Long and short jobs arrive together: who knows the history sees them apart after their first calls."""
    return [replace(telling(sort, at=0.0), line=line + 1) for line, sort in enumerate([LONG, SHORT] * 3)]


def under(policy: str, history: History | None) -> RunResult:
    chosen = replace(settings(), policy=parse(policy), cluster=ONE_SLOT)
    beliefs = None if history is None else history.beliefs_of(chosen.policy.name)
    return run(workload(), chosen, beliefs=beliefs)


@pytest.mark.parametrize("policy", ["gittins", "llmsched"])
def test_profiles_change_what_a_policy_does(policy):
    known, unknown = under(policy, History(told(), WORK)), under(policy, None)
    assert known.summary.mean_jct < 0.9 * unknown.summary.mean_jct
    assert under(policy, History(told(), WORK)).jcts == known.jcts


def test_without_the_network_the_first_call_says_nothing_of_the_second():
    history = History(told(), WORK)
    assert under("gittins:without=network", history).summary.mean_jct > under("gittins", history).summary.mean_jct


def test_nothing_is_learned_for_policies_that_have_no_use_for_it(monkeypatch):
    def refuse(jobs: object) -> None:
        raise AssertionError("learned")

    monkeypatch.setattr(profile, "learn", refuse)
    assert History(told()).beliefs_of("srtf") is None
    with pytest.raises(AssertionError, match="learned"):
        History(told()).beliefs_of("gittins")


def test_profiles_are_learned_once_and_equally():
    history = History(told(), WORK)
    assert history.beliefs is history.beliefs
    assert history.beliefs.profiles == History(told(), WORK).beliefs.profiles
    assert history.statistics.work == history.beliefs.work == WORK


def test_a_history_of_nothing_is_none():
    with pytest.raises(ValueError, match="no jobs"):
        History([])


def tasks(history: History) -> list[Task]:
    chosen = replace(settings(), cluster=ONE_SLOT)
    return [
        Task(
            jobs=tuple(workload()),
            settings=replace(chosen, policy=parse(policy)),
            beliefs=history.beliefs_of(parse(policy).name),
        )
        for policy in ("fcfs", "gittins", "gittins:without=network", "llmsched")
    ]


def test_other_processes_know_the_same():
    history = History(told(), WORK)
    under("gittins", history)  # what beliefs have computed so far need not travel
    alone, together = (run_all(tasks(history), processes=count) for count in (1, 2))
    assert [one.jcts for one in alone] == [one.jcts for one in together]
    assert alone[1].jcts != alone[0].jcts


def test_beliefs_travel_once_whoever_shares_them():
    known, places = parallel._beliefs_of(tasks(History(told(), WORK)))
    assert places == [None, 0, 0, 0]
    assert len(known) == 1


def test_a_study_tells_its_policies():
    study = Study(
        policies=(parse("gittins"), parse("fcfs")),
        mixes=("any",),
        loads=(1.0,),
        seeds=(0,),
        clusters={"any": ONE_SLOT},
        work=WORK,
    )

    def jobs(condition: Condition) -> list:
        return workload()

    known = carry_out(study, jobs, history=History(told(), WORK), processes=1)
    blind = carry_out(study, jobs, processes=1)
    assert known[0].result.summary.mean_jct < blind[0].result.summary.mean_jct
    assert known[1].result.jcts == blind[1].result.jcts
