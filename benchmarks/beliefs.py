"""What beliefs cost: an update after one stage has ended, and a decision with a thousand active jobs.

    python -m benchmarks.beliefs [--history PATH ...] [--updates 500] [--jobs 1000] [--beside 5] [--profile]

An update is all that a decision needs of a job once a stage of it has ended: evidence, posterior, the mean of what is
left, joint samples up to the next stage's end, the Gittins index. Jobs are those that the profiles were learned from,
wherever they are on their way; applications are the built-in ones, and those of recorded files that are named. Beside
it stands pgmpy's VariableElimination on the same queries (marginals of all that is unknown), where it is installed.

A decision is one instant of a simulation: the machine hears what has ended, and fills the slots. Times are processor
time.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.inference import Percentiles, ours, percentiles, timed, with_pgmpy
from services.profiler.core import gittins
from services.profiler.core.belief import Beliefs
from services.profiler.core.network import Network
from services.profiler.core.profile import Profile, learn
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import JobSeen, course
from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Effect, JobChanged
from services.scheduler.core.events import Event
from services.scheduler.core.policies.base import Knowledge
from simulator.cluster import Cluster
from simulator.engine import Simulation
from simulator.generate.applications import PARAMETRIC
from simulator.generate.mixes import Population, reference_cluster
from simulator.generate.population import load_population, parametric_population
from simulator.generate.recipe import Recipe, iter_workload
from simulator.generate.tool_times import Constant
from simulator.workload import Workload

SAMPLES = 128
#: Far more than a cluster can serve: all jobs are active at once.
RATE = 1e6


def update(beliefs: Beliefs, job: JobSeen) -> float:
    """The index of the first stage that is not done."""
    belief = beliefs.of(job)
    assert belief is not None
    stage = next(one for one in job.stages if not one.done)
    mean = belief.expected.total
    outlook = belief.outlook(stage.canonical, gittins.uniforms(SAMPLES, belief.draws, 0))
    rest = outlook.rest.sum(axis=1)
    return gittins.index(outlook.first, rest, outlook.news) * mean / max(1e-9, float((outlook.first + rest).mean()))


def on_their_way(jobs: Sequence[TraceJob], count: int) -> list[JobSeen]:
    """Jobs somewhere on their way, spread over all that there are."""
    every = [now for job in jobs for now in course(job)]
    count = min(count, len(every))
    return [every[int((place + 0.5) * len(every) / count)] for place in range(count)]


def measure(profile: Profile, jobs: Sequence[TraceJob], count: int) -> Percentiles:
    beliefs = Beliefs({profile.application: profile})
    found = on_their_way(jobs, count)
    for job in found[:20]:  # what is compiled once
        update(beliefs, job)
    return percentiles([timed(update, beliefs, job) for job in found])


def beside_pgmpy(profile: Profile, jobs: Sequence[TraceJob], count: int) -> tuple[Percentiles, Percentiles]:
    """Ours and theirs: the marginals of all variables that are not known."""
    beliefs = Beliefs({profile.application: profile})
    queries = ours(profile.network), with_pgmpy(_plainly_named(profile.network))
    spent: tuple[list[float], list[float]] = ([], [])
    for job in on_their_way(jobs, count):
        belief = beliefs.of(job)
        assert belief is not None
        evidence = belief.likelihoods
        known = {one for one, value in evidence.items() if np.count_nonzero(value) == 1}
        unknown = [one for one in range(len(profile.variables)) if one not in known]
        for query, times in zip(queries, spent, strict=True):
            times.append(timed(query, evidence, unknown))
    return percentiles(spent[0]), percentiles(spent[1])


def _plainly_named(network: Network) -> Network:
    return replace(network, names=tuple(f"v{index}" for index in range(len(network.names))))


class TimedMachine(SchedulerMachine):
    """Notes how long each instant with a decision takes: what ended, and what starts."""

    def __init__(self, policy: PolicySettings, knowledge: Knowledge) -> None:
        super().__init__(policy, knowledge=knowledge)
        self.milliseconds: list[float] = []
        self._spent = 0

    def handle_batch(self, batch: Sequence[Event], *, dispatch: bool = True) -> list[Effect]:
        before, begin = self.decisions, time.process_time_ns()
        effects = super().handle_batch(batch, dispatch=dispatch)
        self._spent += time.process_time_ns() - begin
        if dispatch:
            if self.decisions > before:
                self.milliseconds.append(self._spent / 1e6)
            self._spent = 0
        return effects


def decisions(
    population: Population, beliefs: Beliefs, policy: str, jobs: int, seconds: float
) -> tuple[Percentiles, int]:
    """Times of instants with a decision while at least so many jobs are active, and how many of them."""
    cluster_shape = reference_cluster("mixed")
    recipe = Recipe(jobs=jobs + 100_000, rate=RATE)
    workload = Workload(iter_workload(recipe, population, 1), recipe.work)
    cluster = Cluster(cluster_shape, workload.load)
    knowledge = Knowledge(beliefs=beliefs, slowdown=cluster_shape.slowdown(cluster_shape.max_batch))
    machine = TimedMachine(PolicySettings(name=policy), knowledge)

    def hear(at: float, effect: Effect) -> None:
        """A job that ends is replaced by another, a little later."""
        if isinstance(effect, JobChanged) and effect.state.is_final:
            workload.forget(effect.job_id)
            simulation.schedule(replace(one, at=at + 1e-3) for one in islice(arrivals, 1))

    arrivals = workload.arrivals()
    simulation = Simulation(machine, workload, cluster, observe=hear)
    simulation.schedule(cluster.executors())
    simulation.schedule(islice(arrivals, jobs))
    # What is new of a thousand jobs is computed once, and does not count.
    until, begin = 0.0, time.process_time()
    while time.process_time() - begin < seconds:
        until += 0.5
        simulation.run(until=until)
    machine.milliseconds.clear()
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        until += 0.5
        simulation.run(until=until)
    return percentiles(machine.milliseconds), len(machine.milliseconds)


def populations(paths: Sequence[Path]) -> Iterator[tuple[str, Population]]:
    yield "built-in", parametric_population({name: make() for name, make in PARAMETRIC.items()}, jobs=200)
    if paths:
        yield "recorded", load_population(paths, Constant(1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, nargs="*", default=[], help="recorded files or folders")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--beside", type=int, default=5, help="updates that pgmpy does too")
    parser.add_argument("--jobs", type=int, default=1_000, help="active jobs")
    parser.add_argument("--seconds", type=float, default=5.0, help="of decisions, for each policy")
    parser.add_argument("--profile", action="store_true", help="where the time of decisions goes")
    arguments = parser.parse_args()
    for kind, population in populations(arguments.history):
        profiles = learn([job for jobs in population.values() for job in jobs])
        gc.freeze()
        for name, profile in profiles.items():
            found = measure(profile, population[name], arguments.updates)
            size = f"{len(profile.variables):>3} variables"
            print(f"{name:<22} {size}  update p50 {found.p50:6.3f}  p99 {found.p99:6.3f} ms")
            if arguments.beside and find_spec("pgmpy") is not None:
                mine, theirs = beside_pgmpy(profile, population[name], arguments.beside)
                times = theirs.p50 / mine.p50
                print(f"{'':<22} marginals p50 {mine.p50:.3f} ms, pgmpy's {theirs.p50:.1f} ms: {times:,.0f} times")
        for policy in ("gittins", "llmsched"):
            profiler = cProfile.Profile()
            if arguments.profile:
                profiler.enable()
            taken, count = decisions(population, Beliefs(profiles), policy, arguments.jobs, arguments.seconds)
            profiler.disable()
            print(
                f"{kind}, {policy}, {arguments.jobs:,} active jobs: {count} instants with decisions, "
                f"p50 {taken.p50:.3f}  p99 {taken.p99:.3f} ms"
            )
            if arguments.profile:
                pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    if find_spec("pgmpy") is None:
        print("pgmpy is not installed: nothing to compare with")


if __name__ == "__main__":
    main()
