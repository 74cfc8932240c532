"""Questions answered by searching the web: thought and search by turns, until a thought answers."""

# ruff: noqa: RUF009 - a Size is frozen
from __future__ import annotations

from dataclasses import dataclass
from random import Random

from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask
from simulator.generate.applications.draws import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearch:
    """A ReAct loop. How often it turns is known only when it ends: each thought shows whether a search follows.

    The loop is that of hotpotqa.ipynb in github.com/ysymyth/ReAct, commit 16c81fa (Yao et al., ICLR 2023,
    arXiv 2210.03629): at most seven thoughts of at most 100 tokens, each appended to the prompt with what its search
    found, of which wikienv.py shows the first five sentences. The seventh thought ends the job even without an
    answer. Search seconds are those recorded for github.com/NephrenCake/Hermes, commit 3894339 (141 searches of its
    claim checking). All other sizes, and how soon a thought answers, are ours.
    """

    name: str = "web_search"
    most_thoughts: int = 7  #: ReAct
    answers: float = 0.4  #: probability that the thought after a search answers: ours; 2.4 searches on average
    instruction: int = 1400  #: tokens, with six worked examples: ours
    question: Size = Size(25, 0.4)  #: tokens: ours
    thought: Size = Size(45, 0.4)  #: tokens of a thought and what it does: ours
    most_thought_tokens: int = 100  #: ReAct
    found: Size = Size(150, 0.4)  #: tokens of five sentences: ours
    search: Size = Size(1.25, 0.43)  #: seconds: Hermes' recordings

    @property
    def structure(self) -> Structure:
        return "chain"

    def job(self, random: Random, job_id: str) -> TraceJob:
        """See `ParametricApplication`."""
        stages: list[TraceStage] = []
        request = self.question.tokens(random)
        prompt = self.instruction + request
        for turn in range(self.most_thoughts):
            thought = self.thought.tokens(random, self.most_thought_tokens)
            before = f"think{turn - 1}" if turn else None
            stages.append(
                TraceStage(
                    id=f"think{turn}",
                    name="think",
                    kind="llm",
                    parents=(f"search{turn - 1}",) if turn else (),
                    tasks=(TraceTask(prompt_tokens=prompt, output_tokens=thought),),
                    generated_by=before,
                )
            )
            if turn == self.most_thoughts - 1 or (turn and random.random() < self.answers):
                break
            stages.append(
                TraceStage(
                    id=f"search{turn}",
                    name="search",
                    kind="tool",
                    parents=(f"think{turn}",),
                    tasks=(TraceTask(seconds=self.search.seconds(random)),),
                    generated_by=f"think{turn}",
                )
            )
            prompt += thought + self.found.tokens(random)
        return TraceJob(
            app=self.name, job_id=job_id, structure=self.structure, stages=tuple(stages), request_tokens=request
        )
