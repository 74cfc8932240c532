"""LLM compiler: a plan of parallel calls, their results, and a join that answers or asks for another plan."""

# ruff: noqa: RUF009 - a Size is frozen
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask
from simulator.generate.applications.draws import Size

Kind = Literal["llm", "plan", "tool"]

#: Questions of ParallelQA by the number of things they ask about.
PARALLEL_QA = {2: 21, 3: 31, 4: 31, 5: 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmCompiler:
    """A planner writes which things to search for and what to calculate of each; all searches run side by side.

    Stages of a round: plan, search (a task for each thing), math (an LLM call for each thing), combine (one more, in
    some plans), join. What a plan creates is known when it is done, and so are the widths.

    Source: github.com/SqueezeAILab/LLMCompiler, commit dca77b2 (Kim et al., ICML 2024, arXiv 2312.04511), its
    ParallelQA: datasets/parallelqa_dataset.json for the widths, configs/parallelqa/ for prompts, examples and tools
    (`math` is an LLM call). Its tokens are counted as 4.2 characters each. All searches end before the first
    calculation begins: ours, as stages wait for each other. Its own configuration never plans twice (`max_replans` is
    1); that a join may ask for a second plan is ours, and so is how often. Search seconds are those recorded for
    github.com/NephrenCake/Hermes, commit 3894339.
    """

    name: str = "llm_compiler"
    searches: Mapping[int, int] = field(default_factory=lambda: dict(PARALLEL_QA))  #: width: weight; ParallelQA
    combines: float = 0.6  #: share of plans that calculate with the results: 3 of the 5 examples for the planner
    replans: float = 0.1  #: probability that the first join asks for another plan: ours
    request: Size = Size(47, 0.35)  #: tokens: mean length of ParallelQA's questions; variation ours
    planner_prompt: int = 1900  #: tokens without the question: about 8,000 characters
    planned_search: int = 9  #: output tokens of a search in a plan: from the examples
    planned_math: int = 22  #: of a calculation in a plan: from the examples
    planned_join: int = 20  #: of the last lines of a plan: from the examples
    found: Size = Size(150, 0.4)  #: tokens a search finds: the first sentences of an article; ours
    math_prompt: int = 780  #: tokens without what was found: about 3,300 characters
    math_output: Size = Size(30, 0.3)  #: tokens of an expression: ours
    join_prompt: int = 2700  #: tokens without results: about 11,500 characters of instructions and examples
    join_output: Size = Size(40, 0.4)  #: tokens of a thought and an action: ours
    search: Size = Size(1.25, 0.43)  #: seconds: Hermes' recordings

    @property
    def structure(self) -> Structure:
        return "generated"

    def job(self, random: Random, job_id: str) -> TraceJob:
        """See `ParametricApplication`."""
        request = self.request.tokens(random)
        stages: list[TraceStage] = []
        results = self._round(stages, 0, random, request)
        if random.random() < self.replans:
            self._round(stages, 1, random, request + results)
        return TraceJob(
            app=self.name, job_id=job_id, structure=self.structure, stages=tuple(stages), request_tokens=request
        )

    def _round(self, stages: list[TraceStage], number: int, random: Random, asked: int) -> int:
        """Appends a round. Returns the tokens of its results; `asked` are those of the question and earlier results."""
        asker = stages[-1].id if stages else None
        width = random.choices(list(self.searches), list(self.searches.values()))[0]
        combines = random.random() < self.combines
        planned = width * (self.planned_search + self.planned_math) + combines * self.planned_math + self.planned_join
        found = [self.found.tokens(random) for _ in range(width)]
        calculated = [self.math_output.tokens(random) for _ in range(width)]
        plan = f"plan{number}"

        def add(name: str, kind: Kind, tasks: list[TraceTask], generated_by: str | None) -> None:
            before = stages[-1].id if stages else None
            stages.append(
                TraceStage(
                    id=f"{name}{number}",
                    name=name,
                    kind=kind,
                    parents=(before,) if before else (),
                    tasks=tuple(tasks),
                    generated_by=generated_by,
                )
            )

        add("plan", "plan", [TraceTask(prompt_tokens=self.planner_prompt + asked, output_tokens=planned)], asker)
        add("search", "tool", [TraceTask(seconds=self.search.seconds(random)) for _ in found], plan)
        shown = zip(found, calculated, strict=True)
        math = [TraceTask(prompt_tokens=self.math_prompt + one, output_tokens=out) for one, out in shown]
        add("math", "llm", math, plan)
        if combines:
            last = TraceTask(
                prompt_tokens=self.math_prompt + sum(calculated), output_tokens=self.math_output.tokens(random)
            )
            add("combine", "llm", [last], plan)
        results = sum(found) + sum(calculated)
        answer = TraceTask(
            prompt_tokens=self.join_prompt + asked + results, output_tokens=self.join_output.tokens(random)
        )
        # Every plan is followed by a join, so it is known as soon as there will be a plan.
        add("join", "llm", [answer], asker)
        return results
