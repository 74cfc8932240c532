from __future__ import annotations

import pytest

from services.planner.core.place import locate, occurrence
from tests.unit.services.planner.core.jobs import application, llm

NESTED = application("""
    - {llm: a, prompt: hi, on_error: {llm: a2, prompt: hi}}
    - loop: outer
      max_rounds: 3
      until: "{{ z }}"
      body:
        - loop: inner
          max_rounds: 4
          until: "{{ x }}"
          body:
            - {llm: x, prompt: "{{ a }}"}
            - {llm: y, prompt: "{{ x }}"}
        - {llm: z, prompt: "{{ inner.last.y }}"}
    - {plan: p, prompt: hi, tools: [web.search]}
    - {dynamic: e, plan: p}
""")


@pytest.mark.parametrize(
    ("stage_id", "name", "position"),
    [
        ("a", "a", 0),
        ("a!", "a!", 1),
        ("outer", "outer", 2),
        ("outer/1/inner", "outer.inner", 3),
        ("outer/1/inner/1/x", "outer.inner.x", 4),
        ("outer/1/inner/4/y", "outer.inner.y", 11),
        ("outer/1/z", "outer.z", 12),
        ("outer/2/inner/1/x", "outer.inner.x", 14),
        ("outer/3/z", "outer.z", 32),
        ("p", "p", 33),
        ("p~3", "p", 35),
        ("e/s1", "e", 36),
    ],
)
def test_an_id_says_where_a_stage_is(stage_id: str, name: str, position: int) -> None:
    place = locate(NESTED, stage_id)
    assert (place.stage_id, place.name, place.position) == (stage_id, name, position)


@pytest.mark.parametrize(
    "stage_id",
    [
        "",
        "b",
        "$output",
        "a/b",
        "a/1/x",
        "a~2",
        "p~0",
        "p~1",
        "a/s1",
        "outer/1",
        "outer/x/z",
        "outer/0/z",
        "outer/4/z",
        "outer/01/z",
        "outer/1/x",
        "outer/1/inner/x",
        "e/s1/x",
        "outer!/1/z",
    ],
)
def test_an_id_that_no_job_can_have_is_refused(stage_id: str) -> None:
    with pytest.raises(LookupError):
        locate(NESTED, stage_id)


def test_a_fallback_that_was_not_written_is_refused() -> None:
    with pytest.raises(LookupError):
        _ = locate(NESTED, "a!!").stage


def test_parents_of_a_round_are_the_ends_of_the_round_before() -> None:
    assert locate(NESTED, "outer/1/inner/1/x").parents == ("a",)
    assert locate(NESTED, "outer/1/inner/2/x").parents == ("outer/1/inner/1/y",)
    assert locate(NESTED, "outer/2/inner/1/x").parents == ("outer/1/z",)
    assert locate(NESTED, "outer/2/z").parents == ("outer/2/inner",)


def test_a_round_is_decided_by_the_end_of_the_round_before_and_the_first_is_certain() -> None:
    assert locate(NESTED, "outer/1/inner/1/x").scope.generated_by is None
    assert locate(NESTED, "outer/1/inner/3/x").scope.generated_by == "outer/1/inner/2/y"
    assert locate(NESTED, "outer/2/inner/1/x").scope.generated_by == "outer/1/z"
    assert locate(NESTED, "outer/2/inner/2/x").scope.generated_by == "outer/2/inner/1/y"


def test_occurrences_are_counted_by_id_and_not_by_what_has_ended_since() -> None:
    ran = ["outer/1/inner/1/x", "outer/1/inner/2/x", "outer/1/inner/3/x", "outer/2/inner/1/x", "outer/2/inner/2/x"]
    outputs = {stage_id: llm(name="outer.inner.x") for stage_id in ran} | {"outer/1/z": llm(name="outer.z")}
    assert [occurrence("outer.inner.x", stage_id, outputs) for stage_id in ran] == [0, 1, 2, 3, 4]


def test_tries_of_a_plan_count_as_occurrences() -> None:
    outputs = {"l/1/p": llm(name="l.p"), "l/1/p~2": llm(name="l.p")}
    assert occurrence("l.p", "l/1/p~3", outputs) == 2
    assert occurrence("l.p", "l/2/p", outputs) == 2
