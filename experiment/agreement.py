"""What the simulator says of the jobs of a live experiment: does it predict what happened?

Of each phase it is told what the jobs took (tokens, tool seconds, arrivals) and how fast the engine was, both from the
event log; policies learn from the same history. It is not told when anything ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiment.config import Config
from experiment.store import Phase, Store
from services.profiler.core import history as histories
from services.profiler.core import profile
from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core import PolicySettings
from services.scheduler.core.policies import BY_PROFILE
from simulator.cluster import ClusterShape
from simulator.parallel import Task, run_all
from simulator.run import RunSettings

#: Share of the variance of the calls' seconds below which a fitted model is not believed …
_GOOD_FIT = 0.8
#: … and the slowdown by each further request from which on it is not: the fit's search ends near it.
_SENSELESS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Mean JCTs of a policy, in seconds, over the jobs that succeeded live."""

    policy: str
    live: float
    simulated: float  #: its own jobs
    predicted: float  #: the jobs of all phases, so that the order of service is all that differs between policies

    @property
    def difference(self) -> float:
        """How much the simulated mean is above the live one, as a share."""
        return self.simulated / self.live - 1.0 if self.live else 0.0

    def plain(self) -> dict[str, float | str | None]:
        return {
            "policy": self.policy,
            "live_mean_jct": self.live,
            "simulated_mean_jct": self.simulated,
            "difference": self.difference,
            "predicted_mean_jct": self.predicted,
        }


def agreement(config: Config, store: Store, *, processes: int | None = None) -> list[Agreement]:
    """Live beside simulated, by policy. The jobs of each phase are simulated on its engines under every policy."""
    phases = [phase for phase in store.phases(config) if phase.succeeded]
    workloads = {phase.name: store.workload(phase.name) for phase in phases}
    policies = list(dict.fromkeys(phase.policy for phase in phases))
    asked = [(phase, policy) for phase in phases for policy in policies]
    history = store.history()
    profiles = profile.learn(history) if history and BY_PROFILE & set(policies) else {}
    tasks = [_task(config, phase, workloads[phase.name], policy, history, profiles) for phase, policy in asked]
    results = run_all(tasks, processes=processes, done=lambda index, result: None)
    times = {
        (phase.name, policy): [jct for _, _, jct in result.jcts]
        for (phase, policy), result in zip(asked, results, strict=True)
    }
    found = []
    for policy in policies:
        own = [phase for phase in phases if phase.policy == policy]
        found.append(
            Agreement(
                policy=policy,
                live=_mean([job.recorded_jct_seconds or 0.0 for phase in own for job in workloads[phase.name]]),
                simulated=_mean([jct for phase in own for jct in times[phase.name, policy]]),
                predicted=_mean([jct for phase in phases for jct in times[phase.name, policy]]),
            )
        )
    return found


def _task(
    config: Config,
    phase: Phase,
    jobs: Sequence[TraceJob],
    policy: str,
    history: Sequence[TraceJob],
    profiles: Mapping[str, Profile],
) -> Task:
    shape, work = measured(phase)
    return Task(
        jobs=tuple(jobs),
        settings=RunSettings(
            policy=PolicySettings(name=policy, ageing_seconds=config.ageing_seconds or None), cluster=shape, work=work
        ),
        statistics=histories.learn(history, work) if history else None,
        beliefs=Beliefs(profiles, work) if policy in BY_PROFILE else None,
    )


def measured(phase: Phase) -> tuple[ClusterShape, WorkModel]:
    """The cluster of a phase and the speed of its engines.

    By the model fitted to its LLM calls; where they do not tell (few calls, all in batches of the same size), by the
    steps that an executor has measured.
    """
    found, quality = phase.cluster, phase.about["fit"]["r_squared"]
    shape = ClusterShape(
        llm_executors=found["llm_executors"],
        max_batch=found["max_batch"],
        tool_slots=found["tool_slots"],
        batch_slowdown=found["batch_slowdown"],
    )
    fits = (quality is None or quality >= _GOOD_FIT) and found["batch_slowdown"] < _SENSELESS
    if fits or not phase.calibrations:
        return shape, WorkModel(prefill=float(found["prefill"]), decode=float(found["decode"]))
    one = max(phase.calibrations, key=lambda each: sum(each["step_counts"]))
    steps = one["step_seconds"]
    table = tuple(step / steps[0] for step in steps)
    return replace(shape, slowdowns=table), WorkModel(prefill=float(one["prefill_seconds"]), decode=float(steps[0]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
