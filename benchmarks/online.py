"""What learning during a run is worth: an application that changes, and profiles from nothing.

    python -m benchmarks.online [--policy gittins] [--jobs 600] [--seeds 5] [--factor 6] [--load 1.0]

Half-way through a run of built-in applications, the tokens and tool seconds of one are multiplied. Its profile is left
as it was ("never"), replaced by the right one in the moment of the change ("told"), or learned and watched as jobs end
("online"); "nothing" is the same without a history. Printed as a Markdown table: mean job completion times (seconds) of
the jobs before the change, the first quarter of all after it, the rest, and the last third.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.drift import longer
from benchmarks.report import table
from services.profiler.core.profile import Profile, learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core import PolicySettings
from services.scheduler.core.events import ProfileChanged
from simulator.cluster import ClusterShape
from simulator.generate.applications import PARAMETRIC
from simulator.generate.load import mean_demand, rate_of_load
from simulator.generate.streams import stream
from simulator.online import OnlineProfiler
from simulator.run import RunSettings, run

CLUSTER = ClusterShape(llm_executors=1, max_batch=4, tool_slots=8)
APPLICATIONS = ("code_generation", "llm_compiler", "web_search")
CHANGES = "code_generation"  #: the application that does
HISTORY = 60  #: jobs of each application


class Frozen(OnlineProfiler):
    """Learns from the history and never again."""

    def ended(self, job: TraceJob, at: float) -> ProfileChanged | None:
        return None


class Told(OnlineProfiler):
    """Is given the right profile in the moment of the change."""

    def __init__(self, history: Iterable[TraceJob], right: Profile, changed_at: float) -> None:
        super().__init__(history)
        self._right: Profile | None = right
        self._changed_at = changed_at

    def ended(self, job: TraceJob, at: float) -> ProfileChanged | None:
        right = self._right
        if right is None or at < self._changed_at:
            return None
        self._right = None
        return ProfileChanged(at=at, cause="told", profile=right)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A run to be made, and what there is to know before it."""

    jobs: Sequence[TraceJob]
    change: int  #: place of the first job that may be changed
    history: Sequence[TraceJob]
    right: Profile  #: of the changed application

    def profiler(self, kind: str) -> OnlineProfiler:
        if kind == "never":
            return Frozen(self.history)
        if kind == "told":
            return Told(self.history, self.right, self.jobs[self.change].arrival_seconds or 0.0)
        return OnlineProfiler(self.history if kind == "online" else ())


def made(application: str, count: int, name: str, factor: float = 1.0) -> list[TraceJob]:
    random = stream(0, name)
    return [longer(factor, PARAMETRIC[application]().job(random, f"{application}-{n}")) for n in range(count)]


def world(seed: int, *, jobs: int, factor: float, load: float, applications: Sequence[str] = APPLICATIONS) -> World:
    """Args: `load` of the cluster, before the change and after it: then fewer jobs arrive."""
    before = {name: made(name, jobs, f"{seed}/{name}") for name in applications}
    after = {**before, CHANGES: made(CHANGES, jobs, f"{seed}/{CHANGES}", factor)}
    rates = [rate_of_load(load, mean_demand(population, WorkModel()), CLUSTER) for population in (before, after)]
    random, at, change = stream(seed, "arrivals"), 0.0, jobs // 2
    found = []
    for place in range(jobs):
        at += random.expovariate(rates[place >= change])
        job = (after if place >= change else before)[random.choice(applications)][place]
        found.append(replace(job, arrival_seconds=at, line=place + 1))
    history = [job for name in applications for job in made(name, HISTORY, f"{seed}/history/{name}")]
    right = learn(made(CHANGES, HISTORY, f"{seed}/after", factor))[CHANGES]
    return World(jobs=found, change=change, history=history, right=right)


def jcts(one: World, policy: PolicySettings, profiler: OnlineProfiler | None) -> list[float]:
    """Of the jobs in their order."""
    found = run(one.jobs, RunSettings(policy=policy, cluster=CLUSTER), profiler=profiler)
    return [jct for _, _, jct in found.jcts]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="gittins")
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--factor", type=float, default=6.0)
    parser.add_argument("--load", type=float, default=1.0)
    arguments = parser.parse_args()
    parts: dict[str, list[list[float]]] = {}
    for seed in range(arguments.seeds):
        one = world(seed, jobs=arguments.jobs, factor=arguments.factor, load=arguments.load)
        later = one.change + arguments.jobs // 4
        for kind in ("fcfs", "never", "online", "told", "nothing"):
            policy = PolicySettings(name="fcfs" if kind == "fcfs" else arguments.policy)
            found = jcts(one, policy, None if kind == "fcfs" else one.profiler(kind))
            split = (found[: one.change], found[one.change : later], found[later:], found[-arguments.jobs // 3 :])
            parts.setdefault(kind, []).append([mean(part) for part in split])
    rows = [
        (
            kind if kind == "fcfs" else f"{arguments.policy}, {kind}",
            *(f"{mean(part):.1f}" for part in zip(*of, strict=True)),
        )
        for kind, of in parts.items()
    ]
    print(table(["policy, profiles", "before", "just after", "later", "last third"], rows))


if __name__ == "__main__":
    main()
