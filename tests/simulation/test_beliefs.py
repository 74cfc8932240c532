"""Policies that believe, in whole simulations of one slot: what is right is known by hand."""

from __future__ import annotations

import pytest

from services.profiler.core.profile import Profile, learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch
from services.scheduler.core.events import ProfileChanged
from services.scheduler.core.policies.base import Knowledge
from simulator.cluster import Cluster, ClusterShape
from simulator.engine import Simulation
from simulator.run import RunSettings, run
from simulator.workload import Workload
from tests.support.beliefs import beliefs, chain

#: A token is a hundredth of a second.
WORK = WorkModel(prefill=0.0, decode=0.01)
ONE_SLOT = ClusterShape(llm_executors=1, max_batch=1, tool_slots=0)

#: A second that tells by a token whether one more follows, or a hundred; a sure 3.5 s; twice that in two stages.
HISTORY = [
    *chain("risky", *[(100, 100), (101, 10_000)] * 20),
    *chain("sure", *[(350,)] * 20),
    *chain("steady", *[(350, 350)] * 20),
]
PROFILES: list[Profile] = list(learn(HISTORY).values())


def at(arrival: float, application: str, *tokens: int) -> TraceJob:
    (found,) = chain(application, tokens)
    return TraceJob(app=application, job_id=application, stages=found.stages, arrival_seconds=arrival)


def simulated(policy: str, *jobs: TraceJob, **settings: object) -> tuple[list[str], dict[str, float]]:
    """What starts, in order, and how long each job took."""
    started: list[str] = []

    def observe(_: float, effect: object) -> None:
        if isinstance(effect, Dispatch):
            started.append(f"{effect.attempt.job_id.partition(':')[2]}.{effect.attempt.stage_id}")

    chosen = RunSettings(policy=PolicySettings(name=policy, **settings), cluster=ONE_SLOT, work=WORK)
    result = run(jobs, chosen, beliefs=beliefs(*PROFILES, work=WORK), observe=observe)
    return started, {application: jct for _, application, jct in result.jcts}


def test_a_job_that_may_be_stopped_goes_before_a_sure_one_and_on_after_good_news():
    started, jcts = simulated("gittins", at(0.0, "sure", 350), at(0.0, "risky", 100, 100))
    assert started == ["risky.x", "risky.y", "sure.x"]
    assert jcts == {"risky": pytest.approx(2.0), "sure": pytest.approx(5.5)}


def test_and_is_stopped_after_bad_news():
    started, jcts = simulated("gittins", at(0.0, "sure", 350), at(0.0, "risky", 101, 10_000))
    assert started == ["risky.x", "sure.x", "risky.y"]
    assert jcts == {"risky": pytest.approx(104.51), "sure": pytest.approx(4.51)}


def test_expected_work_would_have_the_sure_one_first():
    """51.5 s are expected of the other. On average over both lengths this is worse: 4.5 and 5.5 s beside 5 and 2."""
    for policy, settings in (("llmsched", {"epsilon": 0.0}), ("gittins", {"without": ("index",)})):
        started, _ = simulated(policy, at(0.0, "sure", 350), at(0.0, "risky", 100, 100), **settings)
        assert started == ["sure.x", "risky.x", "risky.y"]


BELIEVING = pytest.mark.parametrize(("policy", "settings"), [("gittins", {}), ("llmsched", {"epsilon": 0.0})])


@BELIEVING
@pytest.mark.parametrize(("tokens", "order"), [(100, ["risky.y", "steady.x"]), (101, ["steady.x", "risky.y"])])
def test_a_revealed_length_decides_what_goes_next(
    policy: str, settings: dict[str, object], tokens: int, order: list[str]
):
    """A job of 7 s comes while the first second runs; the future of the risky one is the same in both runs."""
    started, _ = simulated(policy, at(0.0, "risky", tokens, 400), at(0.5, "steady", 350, 350), **settings)
    assert [one for one in started if one != "steady.y"] == ["risky.x", *order]


@BELIEVING
def test_profiles_that_come_mid_run_turn_the_order_round(policy: str, settings: dict[str, object]):
    """Least attained service at first: at 4.51 s the risky job has had 1.01 and the steady one 3.5.

    With the profiles a hundred seconds are left of the one, and 3.5 of the other.
    """
    jobs = [at(0.0, "risky", 101, 10_000), at(0.0, "steady", 350, 350)]

    def started(profiles_at: float) -> list[str]:
        workload = Workload(jobs, WORK)
        cluster = Cluster(ONE_SLOT, workload.load)
        machine = SchedulerMachine(
            PolicySettings(name=policy, **settings), knowledge=Knowledge(beliefs=beliefs(work=WORK))
        )
        simulation = Simulation(machine, workload, cluster, arrivals=workload.arrivals())
        simulation.schedule(cluster.executors())
        simulation.schedule([ProfileChanged(at=profiles_at, cause="test", profile=one) for one in PROFILES])
        attempts = [one.effect.attempt for one in simulation.run() if isinstance(one.effect, Dispatch)]
        assert set(machine.knowledge.beliefs.profiles) == {"risky", "sure", "steady"}
        return [f"{one.job_id.partition(':')[2]}.{one.stage_id}" for one in attempts]

    assert started(1e6) == ["risky.x", "steady.x", "risky.y", "steady.y"]
    assert started(2.0) == ["risky.x", "steady.x", "steady.y", "risky.y"]
