"""Code generation: draft and test by turns, until the tests pass."""

# ruff: noqa: RUF009 - a Size is frozen
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask
from simulator.generate.applications.draws import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGeneration:
    """A chain of 2 to 20 stages. How long it is shows round by round: each test says whether another draft follows.

    The loop is that of AutoGen (Wu et al., arXiv 2308.08155) on HumanEval, as the LLMSched poster has it: up to ten
    rounds. The number of rounds is geometric, as if each draft passed with the same probability, and cut at the
    limit. Sizes are those of 252 solutions of HumanEval problems and the 84 runs of their tests, recorded for
    github.com/NephrenCake/Hermes, commit 3894339. That a draft after the first sees the one before it is ours.
    """

    name: str = "code_generation"
    mean_rounds: float = 2.7  #: rounded from `llmsched reproduce poster`; below (1 + most_rounds) / 2
    most_rounds: int = 10  #: the poster's Figure 1(a): up to 20 stages
    prompt: int = 328  #: tokens of problem and instructions: recorded mean
    draft: Size = Size(185.8, 0.387)  #: tokens: recorded
    test: Size = Size(0.360, 0.055)  #: seconds: recorded

    def __post_init__(self) -> None:
        if not 1 <= self.mean_rounds < (1 + self.most_rounds) / 2:
            raise ValueError(
                f"mean_rounds must be from 1 to below {(1 + self.most_rounds) / 2:g}, not {self.mean_rounds:g}"
            )

    @property
    def structure(self) -> Structure:
        return "chain"

    def job(self, random: Random, job_id: str) -> TraceJob:
        """See `ParametricApplication`. With an equal generator, more rounds continue a job."""
        stages: list[TraceStage] = []
        prompt = self.prompt
        for turn in range(self._rounds(random.uniform(0.0, 1.0))):
            draft = self.draft.tokens(random)
            before = f"test-{turn - 1}" if turn else None
            stages += (
                TraceStage(
                    id=f"draft-{turn}",
                    name="draft",
                    kind="llm",
                    parents=(before,) if before else (),
                    tasks=(TraceTask(prompt_tokens=prompt, output_tokens=draft),),
                    generated_by=before,
                ),
                TraceStage(
                    id=f"test-{turn}",
                    name="test",
                    kind="tool",
                    parents=(f"draft-{turn}",),
                    tasks=(TraceTask(seconds=self.test.seconds(random)),),
                    generated_by=before,
                ),
            )
            prompt = self.prompt + draft
        return TraceJob(app=self.name, job_id=job_id, structure=self.structure, stages=tuple(stages))

    def _rounds(self, share: float) -> int:
        """The number of rounds that a share of all jobs does not exceed."""
        fails = failure_probability(self.mean_rounds, self.most_rounds)
        if fails == 0:
            return 1
        left = 1 - share * (1 - fails**self.most_rounds)
        return min(self.most_rounds, 1 + math.floor(math.log(left) / math.log(fails)))


@lru_cache(maxsize=1024)
def failure_probability(mean_rounds: float, most_rounds: int) -> float:
    """How probable it is that a round does not end the loop, where rounds are geometric and cut at `most_rounds`."""

    def mean(fails: float) -> float:
        weights = [fails**turn for turn in range(most_rounds)]
        return sum(turn * weight for turn, weight in enumerate(weights, start=1)) / sum(weights)

    low, high = 0.0, 1.0
    if mean_rounds <= 1:
        return low
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < mean_rounds else (low, middle)
    return (low + high) / 2
