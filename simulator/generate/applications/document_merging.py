"""Document merging by a graph of thoughts: merge, score, aggregate the best, score, improve, score."""

# ruff: noqa: RUF009 - a Size is frozen
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask
from simulator.generate.applications.draws import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMerging:
    """Four contracts become one. All stages and widths are known at arrival; lengths are not.

    The graph is `got()` of examples/doc_merge/doc_merge.py in github.com/spcl/graph-of-thoughts, commit 14e05ab
    (Besta et al., AAAI 2024, arXiv 2308.09687): Generate(1, 5), Score(3), KeepBestN(3), Aggregate(5), Score(3),
    KeepBestN(1), Generate(1, 10), Score(3), KeepBestN(1). Keeping the best takes no time and is no stage. The original
    asks once for several answers; here each answer is a task, as engines run them (ours).

    Sizes are those of 50 recordings of that application on an engine, as published in
    github.com/NephrenCake/Hermes, commit 3894339. There, most of the variation is between jobs, and the lengths of
    documents, merges and scores hardly depend on each other; so here they do not at all.
    """

    name: str = "document_merging"
    documents: int = 4  #: graph-of-thoughts, documents.csv
    merges: int = 5  #: graph-of-thoughts
    kept: int = 3  #: merges that are aggregated: graph-of-thoughts
    aggregates: int = 5  #: graph-of-thoughts
    improvements: int = 10  #: graph-of-thoughts
    scores: int = 3  #: of each candidate: graph-of-thoughts
    document: Size = Size(330, 0.38)  #: tokens; the recordings' first prompts: 1,560 ± 251 with four documents
    instruction: int = 230  #: tokens around the documents: the same prompts
    merged: Size = Size(972, 0.28)  #: tokens of a merged document, mean of a job: recorded
    merged_within: float = 0.15  #: coefficient of variation in a job: recorded
    scoring_instruction: int = 350  #: tokens: recorded prompts of 2,649, less documents and candidate
    score: Size = Size(418, 0.25)  #: tokens of a score with its reasons, mean of a job: recorded
    score_within: float = 0.23  #: coefficient of variation in a job: recorded

    @property
    def structure(self) -> Structure:
        return "static"

    def job(self, random: Random, job_id: str) -> TraceJob:
        """See `ParametricApplication`."""
        given = sum(self.document.tokens(random) for _ in range(self.documents))
        merged_here = Size(self.merged.draw(random), self.merged_within)
        score_here = Size(self.score.draw(random), self.score_within)
        stages: list[TraceStage] = []

        def add(name: str, tasks: Sequence[TraceTask]) -> None:
            parents = tuple(stage.id for stage in stages[-1:])
            stages.append(TraceStage(id=name, name=name, kind="llm", parents=parents, tasks=tuple(tasks)))

        def candidates(name: str, count: int, shown: int) -> list[int]:
            """A stage that writes `count` documents, and one that scores them; returns their lengths."""
            written = [merged_here.tokens(random) for _ in range(count)]
            prompt = self.instruction + given + shown
            add(name, [TraceTask(prompt_tokens=prompt, output_tokens=length) for length in written])
            prompts = [self.scoring_instruction + given + length for length in written for _ in range(self.scores)]
            scores = [TraceTask(prompt_tokens=one, output_tokens=score_here.tokens(random)) for one in prompts]
            add(f"score_{name}", scores)
            return written

        merged = candidates("merge", self.merges, 0)
        best = random.sample(merged, self.kept)
        aggregated = candidates("aggregate", self.aggregates, sum(best))
        candidates("improve", self.improvements, random.choice(aggregated))
        return TraceJob(app=self.name, job_id=job_id, structure=self.structure, stages=tuple(stages))
