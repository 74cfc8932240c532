"""The tables of states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import services.scheduler.core as core
from services.scheduler.core.model import JobState, StageState, TaskState
from services.scheduler.core.transitions import (
    JOB,
    STAGE,
    TASK,
    InvalidTransition,
    JobTrigger,
    StageTrigger,
    TaskTrigger,
    after,
)

TABLES = [(JOB, JobState, JobTrigger), (STAGE, StageState, StageTrigger), (TASK, TaskState, TaskTrigger)]


@pytest.mark.parametrize(("table", "states", "triggers"), TABLES)
def test_every_state_has_a_row_and_every_trigger_a_use(table, states, triggers):
    assert list(table) == list(states)
    assert {trigger for row in table.values() for trigger in row} == set(triggers)


@pytest.mark.parametrize(("table", "states", "triggers"), TABLES)
def test_final_states_are_those_that_nothing_leads_out_of(table, states, triggers):
    assert {state for state in states if state.is_final} == {state for state, row in table.items() if not row}


@pytest.mark.parametrize(("table", "states", "triggers"), TABLES)
def test_every_state_can_be_reached_and_every_one_can_end(table, states, triggers):
    first = next(iter(states))
    reached, todo = {first}, [first]
    while todo:
        todo += (new := set(table[todo.pop()].values()) - reached)
        reached |= new
    assert reached == set(states)
    ending = {state for state in states if state.is_final}
    for _ in states:
        ending |= {state for state, row in table.items() if ending & set(row.values())}
    assert ending == set(states)


def test_a_change_that_is_not_in_the_table_is_an_error():
    assert after(TASK, TaskState.READY, TaskTrigger.DISPATCHED) is TaskState.RUNNING
    with pytest.raises(InvalidTransition, match="no way from SUCCEEDED"):
        after(TASK, TaskState.SUCCEEDED, TaskTrigger.DISPATCHED)


def test_the_page_about_states_is_drawn_from_these_tables():
    root = Path(core.__file__).parents[3]
    check = subprocess.run([sys.executable, root / "scripts" / "gen_states.py", "--check"], capture_output=True)
    assert check.returncode == 0, check.stderr.decode()
