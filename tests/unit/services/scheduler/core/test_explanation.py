"""Why a stage stands where it stands, with the numbers, and what would change it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.scheduler.core import POLICIES, PolicySettings
from services.scheduler.core.effects import Dispatch
from services.scheduler.core.explanation import JobReasons, Situation, explain, in_words, key_figures
from services.scheduler.core.policies.explaining import ENDING, Figure, Part, figures, told
from services.scheduler.core.views import QueueEntry
from tests.support.scheduling import (
    Bench,
    attached,
    job,
    jobs_of,
    llm,
    make_policy_for_tests,
    of,
    profile_changed,
    ref,
    succeeded,
    tool,
)


def situation(bench: Bench, at: float) -> Situation:
    machine = bench.machine
    return Situation(
        policy=machine.policy,
        settings=machine.settings,
        queue=machine.queue(at),
        executors=machine.executors(),
        at=at,
    )


def explained(bench: Bench, job_id: str, at: float = 10.0) -> JobReasons:
    return explain(bench.machine.view(job_id), situation(bench, at))


def texts(reasons: JobReasons) -> list[str]:
    (stage,) = reasons.stages
    return [change.text for change in stage.changes]


def values(found: tuple[Figure, ...]) -> dict[str, float]:
    return {figure.part.name: figure.value for figure in found}


def entry(bench: Bench, at: float = 10.0) -> QueueEntry:
    return bench.machine.queue(at)[0]


def waiting(name: str, *applications: str, learned: dict[str, int] | None = None, **settings: object) -> Bench:
    """Jobs "j0", "j1", ... of these applications wait for the one slot, which the job "runs" has."""
    bench = Bench(name, policies=make_policy_for_tests, **settings)
    for application, count in (learned or {}).items():
        bench.feed(profile_changed(jobs_of(application, count)))
    bench.feed(attached("e1"))
    bench.start(job("runs", llm("z")))
    for number, application in enumerate(applications):
        bench.start(job(f"j{number}", llm("a"), application=application, arrival=number + 1.0, order=number))
    return bench


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_names_all_parts_of_its_keys(name):
    bench = waiting(name, "app-0", "app-0")
    for one in bench.machine.queue():
        found = key_figures(one, bench.machine.policy)
        assert len(found) == len(one.key)
        assert [figure.value for figure in found] == [float(part) for part in one.key]
        assert [figure.part for figure in found[-3:]] == list(ENDING)
        assert not [figure for figure in found if figure.part.name.startswith("part_")]


def test_a_key_without_names_is_numbered_and_what_is_no_number_left_out():
    found = figures((7, "text", 2.0, 3, 4), (Part("seven", "seven"),))
    assert values(found) == {"seven": 7.0, "arrival": 2.0, "order": 3.0, "position": 4.0}
    assert values(figures((1.5, 2.0, 3, 4), ())) == {"part_1": 1.5, "arrival": 2.0, "order": 3.0, "position": 4.0}
    assert values(figures((5,), ())) == {"position": 5.0}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.0, "s", "3 s"),
        (1.234, "s", "1.23 s"),
        (12.34, "", "12.3"),
        (1234.5, "bit·s", "1234 bit·s"),
        (4.5, "time", "5.50 s ago"),
    ],
)
def test_numbers_are_told_with_their_unit(value, unit, text):
    assert told(Figure(Part("x", "x", unit), value), 10.0) == text


def test_the_first_of_the_queue_goes_next():
    bench = waiting("fcfs", "x", "x")
    reasons = explained(bench, "j0")
    assert texts(reasons) == ["goes next: as soon as a slot for llm is free"]
    assert reasons.figures == ()
    assert in_words(entry(bench), bench.machine.policy, 10.0) == "arrival of its job: 9 s ago"


def test_who_stands_before_it_and_by_how_much():
    bench = waiting("fcfs", "x", "y", "x")
    (stage,) = explained(bench, "j2").stages
    assert (stage.rank, stage.place, stage.jobs_before) == (2, 2, 2)
    assert [(one.job_id, one.application, one.part.name, one.by) for one in stage.before] == [
        ("j0", "x", "arrival", 2.0),
        ("j1", "y", "arrival", 1.0),
    ]
    assert [change.text for change in stage.changes] == [
        "goes next when 2 stages of 2 jobs before it have got their slots, or end"
    ]
    assert "1 stage of 1 job before it" in texts(explained(bench, "j1"))[0]


def test_a_stage_may_wait_for_its_own_job():
    bench = waiting("fcfs")
    bench.start(job("j", llm("a"), llm("b", position=1)))
    _, second = explained(bench, "j").stages
    assert second.changes[0].text == "goes next when 1 stage of its own job before it have got their slots, or end"
    assert second.jobs_before == 0


def test_without_an_executor_there_is_one_thing_to_do():
    bench = Bench()
    bench.start(job("j", tool("a")))
    assert texts(explained(bench, "j")) == ["an executor that offers tool:any would have to attach"]


def test_age_decides_beyond_the_limit_and_it_is_told_when():
    bench = waiting("plas", "x", "x", ageing_seconds=8.0)
    assert "ageing puts it before all younger ones in 0.50 s" in texts(explained(bench, "j0", at=8.5))
    reasons = explained(bench, "j1", at=9.5)  # j0 has waited for 8.5 s, j1 for 7.5 s
    (before,) = reasons.stages[0].before
    assert before.by == 0.0
    assert "it has waited longer than the ageing limit: 8.5 s" in in_words(entry(bench, 9.5), bench.machine.policy, 9.5)
    assert texts(explained(bench, "j1", at=20.0)) == [
        "goes next when 1 stage of 1 job before it have got their slots, or end"
    ]


def test_a_policy_that_draws_gives_everybody_a_chance():
    bench = waiting("random", "x", "x")
    for name in ("j0", "j1"):
        reasons = explained(bench, name)
        assert texts(reasons) == ["is drawn with a chance of 0.5 whenever a slot is free"]
        assert all(one.by == 0.0 for one in reasons.stages[0].before)


def test_what_is_believed_is_shown_with_what_it_rests_on():
    bench = waiting("gittins", "x", learned={"x": 12})
    found = values(explained(bench, "j0").figures)
    assert found["expected_total"] == pytest.approx(found["expected_llm"] + found["expected_tool"])
    assert found["low_80"] < found["expected_total"] < found["high_80"]
    assert found["support_low"] < found["expected_total"] < found["support_high"]
    assert (found["profile_jobs"], found["profile_version"], found["spent"]) == (12.0, 1.0, 0.0)
    (stage,) = explained(bench, "j0").stages
    assert [figure.part.name for figure in stage.figures[:2]] == ["index", "path"]
    assert in_words(entry(bench), bench.machine.policy, 10.0).startswith("index: least service for the chance of an ")


def test_how_far_a_key_would_have_to_fall():
    bench = waiting("gittins", "short", "long", learned={"short": 8, "long": 40})
    (stage,) = explained(bench, "j1").stages
    (below,) = stage.changes[1].figures
    (shorter,) = explained(bench, "j0").stages
    assert below.value == shorter.figures[0].value < stage.figures[0].value
    assert stage.changes[1].text.startswith("goes first if its index falls below ")
    assert stage.before[0].by == pytest.approx(stage.figures[0].value - below.value)


@pytest.mark.parametrize("name", ["gittins", "llmsched"])
def test_without_a_profile_it_is_said_that_one_would_help(name):
    bench = waiting(name, "unknown", learned={"x": 12})
    reasons = explained(bench, "j0")
    assert reasons.figures == ()
    assert texts(reasons)[-1] == "a profile of unknown would rank it by what is expected of it"
    assert in_words(entry(bench), bench.machine.policy, 10.0) == (
        "service received (its application has no profile yet): 0 s"
    )


def test_the_index_can_be_left_out():
    bench = waiting("gittins", "x", learned={"x": 12}, without=("index",))
    assert in_words(entry(bench), bench.machine.policy, 10.0).startswith("expected work left: ")


def test_the_coin_that_asks_for_information():
    bench = waiting("llmsched", "x", "y", learned={"x": 12, "y": 40})
    chances = {name: [text for text in texts(explained(bench, name)) if "chance of" in text] for name in ("j0", "j1")}
    (stage,) = explained(bench, "j0").stages
    assert stage.figures[-1].part.unit == "bit·s"
    # j0 is the shortest; both may be in one set, where what tells most goes first.
    said = chances["j0"] + chances["j1"]
    assert said == [] or all("0.2 at each decision" in text for text in said)


def test_a_stage_that_tells_more_than_the_head():
    alone = [replace(one, stages=one.stages[:1], app="y") for one in jobs_of("x", 24)]
    bench = waiting("llmsched", "x", "y", learned={"x": 24})
    bench.feed(profile_changed(alone))
    assert [one.job.job_id for one in bench.machine.queue()] == ["j1", "j0"]  # nothing follows a in y
    passed = [text for text in texts(explained(bench, "j1")) if "passed over" in text]
    assert passed == ["is passed over with a chance of 0.2 at each decision, for stage a of job j0, which tells more"]
    goes = [text for text in texts(explained(bench, "j0")) if "tells most" in text]
    assert goes == ["goes next with a chance of 0.2 at each decision, as its end tells most of other stages"]


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_a_coin_that_always_falls_on_one_side(epsilon):
    bench = waiting("llmsched", "x", "x", learned={"x": 24}, epsilon=epsilon)
    assert not [text for text in texts(explained(bench, "j0")) if "chance of 0 " in text]
    (dispatch,) = of(Dispatch, bench.feed(succeeded(ref("runs", "z"))))
    assert dispatch.rule == ("explore" if epsilon else "policy")
    assert [part.name for part in dispatch.parts] == ["expected_total"]
    assert [figure.part.name for figure in dispatch.more] == (["reduction"] if epsilon else [])


def test_the_policy_in_force_can_be_asked():
    assert Bench("fair").machine.policy.name == PolicySettings(name="fair").name
