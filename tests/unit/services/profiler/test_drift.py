"""The drift monitor: silent while an application is as it was, loud soon after it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from benchmarks.drift import alarms, endless, longer, made
from services.profiler.core import drift
from services.profiler.core.belief import Belief, Beliefs
from services.profiler.core.drift import Expected, Monitor, Scores, expected_scores, recent, score, threshold, widened
from services.profiler.core.profile import Profile, learn
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import completed, course
from simulator.generate.applications.code_generation import CodeGeneration
from tests.unit.services.profiler.test_profile import history, llm, rounds
from tests.unit.services.profiler.traces import tool


def code(count: int, seed: int = 0, **parameters: float) -> list[TraceJob]:
    random = Random(seed)
    return [CodeGeneration(**parameters).job(random, f"{number}") for number in range(count)]  # type: ignore[arg-type]


PAST = code(100)
PROFILE = learn(PAST)["code_generation"]
BELIEFS = Beliefs({"code_generation": PROFILE})
EXPECTED = expected_scores(PAST, learn)


def believed(beliefs: Beliefs, job: TraceJob) -> Belief:
    found = beliefs.of(completed(job))
    assert found is not None
    return found


def until_alarm(jobs: Iterator[TraceJob], most: int) -> int | None:
    return alarms(EXPECTED, BELIEFS, jobs, most)


def test_no_alarm_in_two_thousand_jobs_that_are_as_before():
    assert until_alarm(iter(code(2000, seed=1)), 2000) is None


@pytest.mark.parametrize("seed", range(3))
def test_an_alarm_within_fifty_jobs_of_twice_as_many_rounds(seed: int):
    assert until_alarm(iter(code(50, seed=seed, mean_rounds=5.4)), 50) is not None


@pytest.mark.parametrize("factor", [2.0, 1.5, 0.5])
def test_an_alarm_within_fifty_jobs_of_other_lengths(factor: float):
    found = until_alarm((longer(factor, job) for job in code(50, seed=1)), 50)
    assert found is not None
    assert found <= 20


@pytest.mark.parametrize("name", ["document_merging", "llm_compiler", "web_search"])
def test_other_applications_too(name: str):
    job, changes = made(name)
    random = Random(1)
    past = [job(random, number) for number in range(60)]
    expected, beliefs = expected_scores(past, learn), Beliefs(learn(past))
    assert alarms(expected, beliefs, endless(job, random), 300) is None
    assert alarms(expected, beliefs, endless(changes["lengths x2"], random), 50) is not None


def test_the_threshold_keeps_the_rate_of_false_alarms():
    """Simulated: a chart with the height for one false alarm in 500 raises one in 500."""
    height, random = threshold(500.0), np.random.default_rng(1)
    lengths = []
    for _ in range(400):
        total, length = 0.0, 0
        while total < height:
            total, length = max(0.0, total + float(random.normal()) - drift.ALLOWANCE), length + 1
        lengths.append(length)
    assert np.mean(lengths) == pytest.approx(500.0, rel=0.15)
    assert threshold(1e9) > threshold(1e6) > height


def test_what_a_job_never_had_before_is_unlikely():
    past = history(*[[llm("x", outputs=[10 + job % 5]), tool("t", "x", seconds=1.0)] for job in range(40)])
    beliefs = Beliefs(learn(past))
    usual, odd, lacking = history(
        [llm("x", outputs=[12]), tool("t", "x", seconds=1.0)],
        [llm("x", outputs=[12]), tool("t", "x", seconds=1.0), tool("new", "x", seconds=1.0)],
        [llm("x", outputs=[12])],
    )
    likely = score(believed(beliefs, usual)).likelihood
    assert score(believed(beliefs, odd)).likelihood < likely - 4.0
    assert score(believed(beliefs, lacking)).likelihood < likely - 4.0


def test_what_is_beyond_all_that_was_is_the_less_likely_the_further():
    past = history(*[[llm("x", outputs=[10 + job % 9])] for job in range(40)])
    beliefs = Beliefs(learn(past))
    scores = [
        score(believed(beliefs, job)).likelihood
        for job in history(*[[llm("x", outputs=[n])] for n in (18, 22, 30, 9**9)])
    ]
    assert scores[0] > scores[1] > scores[2] > scores[3]
    assert scores[0] - scores[3] == pytest.approx(drift.MOST)


def test_rounds_count_even_if_they_have_no_variables():
    past = history(*[rounds(3 + job % 5) for job in range(40)])
    beliefs = Beliefs(learn(past))
    usual, many = history(rounds(5), rounds(30))
    assert score(believed(beliefs, many)).likelihood < score(believed(beliefs, usual)).likelihood - 5.0


def test_an_impossible_job_has_a_score():
    belief = believed(BELIEFS, PAST[0])
    belief.__dict__["likelihoods"] = {0: np.zeros(PROFILE.variables[0].card)}
    belief.__dict__["likelihoods"][0][0] = 1.0
    sure = replace(PROFILE.network, tables=(np.eye(PROFILE.variables[0].card)[-1], *PROFILE.network.tables[1:]))
    impossible = Beliefs({"code_generation": replace(PROFILE, network=sure)}).of(belief.job)
    assert impossible is not None
    impossible.__dict__["likelihoods"] = belief.likelihoods
    assert impossible.log_likelihood == -np.inf
    assert np.isfinite(score(impossible).likelihood)


def test_expected_scores_are_of_jobs_that_were_not_learned_from():
    past = history(*[[llm("x", outputs=[1 + job % 3])] for job in range(12)])
    learned: list[int] = []

    def counted(jobs):
        learned.append(len(jobs))
        return learn(jobs)

    grouped = [replace(job, group="same") if number < 6 else job for number, job in enumerate(past)]
    found = expected_scores(grouped, counted)
    assert len(found.work) == len(found.likelihood) == 12
    assert sorted(found.work) == list(found.work)
    assert len(learned) == 5
    assert min(learned) <= 6  # the six of one group are left out together
    assert expected_scores(past[:1], learn) == Expected()


def test_without_enough_expected_scores_there_is_no_alarm():
    monitor = Monitor(expected=Expected(likelihood=(0.0,) * 19, work=(1.0,) * 19))
    for _ in range(100):
        monitor = monitor.after(Scores(-1e9, 1e9))
    assert not monitor.alarm


def some(count: int = 50) -> Expected:
    every = tuple(float(one) for one in range(count))
    return Expected(likelihood=every, work=every)


def test_the_alarm_tells_when_the_change_was():
    """The chart has moved since then, and it counts on while the alarm lasts."""
    monitor = Monitor(expected=some())
    for _ in range(30):
        monitor = monitor.after(Scores(25.0, 25.0))
    changed = 0
    while not monitor.alarm:
        monitor, changed = monitor.after(Scores(-1.0, 25.0)), changed + 1
    assert monitor.changed == changed
    assert monitor.after(Scores(25.0, 25.0)).changed == changed + 1


@pytest.mark.parametrize("odd", [Scores(-1.0, 25.0), Scores(25.0, 99.0), Scores(25.0, -1.0)])
def test_unlikely_much_and_little_raise_the_alarm_and_likely_does_not(odd: Scores):
    monitor, quiet = Monitor(expected=some()), Monitor(expected=some())
    for _ in range(6):
        monitor, quiet = monitor.after(odd), quiet.after(Scores(99.0, 25.0))
    assert (monitor.suspicious, monitor.alarm) == (True, False)
    for _ in range(6):
        monitor, quiet = monitor.after(odd), quiet.after(Scores(99.0, 25.0))
    assert (monitor.suspicious, monitor.alarm) == (True, True)
    assert (quiet.suspicious, quiet.alarm) == (False, False)


def test_a_monitor_travels():
    monitor = Monitor(expected=some())
    for work in (99.0, 99.0, 1.0):
        monitor = monitor.after(Scores(-1.0, work))
        assert Monitor.of_plain(json.loads(json.dumps(monitor.plain()))) == monitor


def spread(profile: Profile, job: TraceJob) -> tuple[float, float]:
    """Of the support, and of the 95 % interval of what is left, at arrival."""
    belief = Beliefs({profile.application: profile}).of(next(course(job)))
    assert belief is not None
    low, high = belief.quantiles([0.025, 0.975], np.random.default_rng(1).random((2000, belief.draws)))
    return belief.interval.spread, float(high - low)


def test_a_widened_profile_believes_in_more():
    plain, wide, wider = (spread(widened(PROFILE, share), PAST[0]) for share in (0.0, 0.2, 0.6))
    assert plain[0] <= wide[0] <= wider[0]
    assert plain[1] < wide[1] < wider[1]
    assert plain == pytest.approx(spread(PROFILE, PAST[0]))
    assert widened(PROFILE, 0.5).levels["draft"].between > PROFILE.levels["draft"].between


def test_a_widened_profile_holds_what_is_twice_as_long_for_possible():
    longest = max(sum(stage.tasks[0].output_tokens or 0 for stage in job.stages) for job in PAST)
    belief = Beliefs({"code_generation": widened(PROFILE, 0.5)}).of(next(course(PAST[0])))
    assert belief is not None
    samples = belief.samples(np.random.default_rng(1).random((2000, belief.draws)))
    assert samples[:, 0].max() > 0.0155 * longest


def test_what_is_learned_from_after_an_alarm():
    jobs = list(range(100))
    assert recent(jobs, 20) == jobs[80:]
    assert recent(jobs, 6) == jobs[91:]  # six since the change, and three before
    assert recent(jobs[:7], 6) == jobs[:7]
    assert recent(jobs[:3], 6) == jobs[:3]
