"""Learning in a process of its own: the profile comes back, and so does what went wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core.packing import ENCODING, unpack
from services.profiler.core.statistics import WorkModel
from services.profiler.learner import LearningFailed, ProcessLearner, learn_lines
from tests.unit.services.profiler.traces import line, stage

WORK = WorkModel(decode=0.02)
LINES = [
    (line(stage("a", tasks=[{"prompt_tokens": 1, "output_tokens": n % 5}]), arrival_seconds=...) + "\n").encode()
    for n in range(30)
]


async def test_a_process_learns_what_would_be_learned_here() -> None:
    learned = await ProcessLearner(deadline=60.0).learn(LINES, version=7, work=WORK)
    here = learn_lines(LINES, 7, WORK)
    assert replace(learned, seconds=0.0) == replace(here, seconds=0.0)
    assert learned.jobs == 30
    profile = unpack(learned.compiled, ENCODING)
    assert (profile.application, profile.version) == ("sorting", 7)


async def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(LearningFailed, match=r"ended with 1: .*stages: missing"):
        await ProcessLearner(deadline=60.0).learn([b'{"app": "x"}\n'], version=1, work=WORK)


async def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(LearningFailed, match=r"longer than 0\.01 s"):
        await ProcessLearner(deadline=0.01).learn(LINES, version=1, work=WORK)
