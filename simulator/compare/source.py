"""Where the jobs of a comparison come from, and what policies may learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from simulator.compare.study import Condition, Study
from simulator.generate import (
    Arrivals,
    Population,
    Recipe,
    RecipeError,
    load_population,
    make_workload,
    parametric_population,
    parse_tool_times,
)
from simulator.generate.applications import PARAMETRIC
from simulator.generate.population import complete
from simulator.generate.recording import read_recorded
from simulator.history import History
from simulator.recordings import FOLDER, halves

#: How many recorded jobs of each built-in application policies learn from.
PARAMETRIC_HISTORY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Recorded jobs, or the built-in applications where `traces` is empty.

    Of the recording that ships, policies learn from one half where no other history is given; workloads have the other.
    """

    traces: tuple[Path, ...]  #: files, and folders of `*.jsonl`
    histories: tuple[Path, ...]
    tool_times: str | None  #: a model for tool seconds that were not recorded
    arrivals: Arrivals
    jobs: int  #: in each workload

    def read(self, work: WorkModel) -> tuple[Population, History | None]:
        """What workloads are drawn from, and what policies learn from (None: there is no history).

        Raises:
            RecipeError: folders, files or the model of tool times hold nothing to work with.
            TraceError: files break the trace format.
            OSError: a file cannot be read.
        """
        model = parse_tool_times(self.tool_times) if self.tool_times else None
        built_in = {} if self.traces else {name: make() for name, make in PARAMETRIC.items()}
        population = load_population(self.traces, model) if self.traces else parametric_population(built_in)
        known: Population = {}
        if self.histories:
            recording = read_recorded(self.histories)
            # Policies know tools no better and no worse than the workload has them: the same model fills both.
            known = complete(recording, model, recording.jobs) if model else recording.jobs
            if not any(known.values()):
                raise RecipeError(f"{path}: no jobs to learn from" for path in self.histories)
        elif self.traces == (FOLDER,):
            learnt_from, population = halves(population)
            return population, History(learnt_from, work)
        elif built_in:
            known = parametric_population(built_in, jobs=PARAMETRIC_HISTORY, purpose="history")
        learnt = [job for group in known.values() for job in group]
        return population, History(learnt, work) if learnt else None

    def workload(self, condition: Condition, study: Study, population: Population) -> list[TraceJob]:
        """The jobs of a condition. Raises RecipeError if the population has none for its mix."""
        recipe = Recipe(
            mix=condition.mix,
            jobs=self.jobs,
            load=condition.load,
            arrivals=self.arrivals,
            cluster=study.clusters[condition.mix],
            work=study.work,
        )
        return make_workload(recipe, population, condition.seed)
