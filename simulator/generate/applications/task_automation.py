"""Task automation: a model plans calls of tools, they run, a model sums up what they gave."""

# ruff: noqa: RUF009 - a Size is frozen
from __future__ import annotations

from dataclasses import dataclass
from random import Random

from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask
from simulator.generate.applications.draws import Size

#: Plans by their number of steps.
TASKBENCH = ((1, 1), (2, 78), (3, 172), (4, 154), (5, 60), (6, 24), (7, 17), (8, 3), (9, 1), (13, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAutomation:
    """HuggingGPT (Shen et al., NeurIPS 2023, arXiv 2303.17580). The plan's steps exist only when it is done.

    Plans are 511 of those that CodeLlama-13B and Mistral-7B wrote for requests of TaskBench (Shen et al., arXiv
    2311.18760), as published in github.com/WxxShirley/GNN4TaskPlan, commit f148669. Sizes are those of 59 recordings of
    HuggingGPT and their 139 calls of tools, from github.com/NephrenCake/Hermes, commit 3894339. Left out: choosing a
    model for each step, which the plans of TaskBench do not have. That sizes do not depend on the plan is ours.
    """

    name: str = "task_automation"
    steps: tuple[tuple[int, int], ...] = TASKBENCH  #: number of steps and its weight: TaskBench
    beside: float = 0.06  #: probability of a step beside the one before it: 72 of the 511 plans have several ends
    plan_prompt: int = 1664  #: tokens: recorded, always about the same
    plan: Size = Size(110.2, 0.322)  #: tokens: recorded
    tool: Size = Size(6.87, 1.186)  #: seconds: recorded
    answer_prompt: Size = Size(676, 0.32)  #: tokens: recorded
    answer: Size = Size(562.8, 0.386)  #: tokens: recorded

    @property
    def structure(self) -> Structure:
        return "generated"

    def job(self, random: Random, job_id: str) -> TraceJob:
        """See `ParametricApplication`."""
        counts, weights = zip(*self.steps, strict=True)
        planned = TraceTask(prompt_tokens=self.plan_prompt, output_tokens=self.plan.tokens(random))
        stages = [TraceStage(id="plan", name="plan", kind="plan", parents=(), tasks=(planned,))]
        for step in range(random.choices(counts, weights)[0]):
            # The second step is the first that has one to run beside.
            beside = step > 0 and random.uniform(0.0, 1.0) < self.beside
            stages.append(
                TraceStage(
                    id=f"step-{step}",
                    name="step",
                    kind="tool",
                    parents=stages[-1].parents if beside else (stages[-1].id,),
                    tasks=(TraceTask(seconds=self.tool.seconds(random)),),
                    generated_by="plan",
                )
            )
        waited_for = {parent for stage in stages for parent in stage.parents}
        ends = tuple(stage.id for stage in stages if stage.id not in waited_for)
        answered = TraceTask(prompt_tokens=self.answer_prompt.tokens(random), output_tokens=self.answer.tokens(random))
        stages.append(TraceStage(id="answer", name="answer", kind="llm", parents=ends, tasks=(answered,)))
        return TraceJob(app=self.name, job_id=job_id, structure=self.structure, stages=tuple(stages))
