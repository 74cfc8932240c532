"""Which jobs arrive, when, and with what input: the same for every policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from experiment.config import Config, application, read_inputs
from llmsched.applications.catalogue import REFERENCE_APPLICATIONS
from services.profiler.core.trace import read_workload
from simulator.generate.arrivals import Arrivals


@dataclass(frozen=True, slots=True)
class Planned:
    """A job to come."""

    index: int  #: place in the order of arrival, from 0: what jobs of different policies are paired by
    at: float  #: seconds after the start
    application: str
    input: Mapping[str, Any]

    @property
    def group(self) -> str:
        """Names the input: equal for equal inputs of an application, in whatever phase."""
        text = json.dumps(self.input, sort_keys=True, ensure_ascii=False)
        return f"{self.application}/{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def phase_jobs(config: Config, repeat: int, rate: float | None) -> list[Planned]:
    """The jobs of a repeat. `rate` (jobs a second) is not needed where arrivals come from a trace."""
    return _planned(config, config.jobs, _times(config, repeat, rate), f"{config.arrivals.seed}/phase/{repeat}")


def warm_up_jobs(config: Config) -> list[Planned]:
    """Jobs to learn from: other draws than those of the phases."""
    random = Random(f"{config.arrivals.seed}/warm-up/times")
    rate = config.warm_up.rate
    times = Arrivals().times(rate, random) if rate is not None else iter([0.0] * config.warm_up.jobs)
    return _planned(config, config.warm_up.jobs, times, f"{config.arrivals.seed}/warm-up")


def shares(jobs: int, weights: Mapping[str, float]) -> dict[str, int]:
    """How many of the jobs each application gets: by weight, what cannot be divided to the largest remainders."""
    total = sum(weights.values())
    exact = {name: jobs * weight / total for name, weight in weights.items()}
    found = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: found[name] - exact[name])
    for name in by_remainder[: jobs - sum(found.values())]:
        found[name] += 1
    return found


def _planned(config: Config, jobs: int, times: Iterator[float], seed: str) -> list[Planned]:
    counts = shares(jobs, {key: part.weight for key, part in config.applications.items()})
    order = [key for key, count in counts.items() for _ in range(count)]
    Random(f"{seed}/order").shuffle(order)
    # Each application has a generator of its own: its inputs do not depend on which others there are.
    inputs = {key: _inputs(config, key, Random(f"{seed}/{key}")) for key in counts}
    names = {key: application(key).application for key in counts}
    arrivals = islice(times, jobs)
    return [
        Planned(index, at, names[key], next(inputs[key]))
        for index, (key, at) in enumerate(zip(order, arrivals, strict=True))
    ]


def _inputs(config: Config, key: str, random: Random) -> Iterator[dict[str, Any]]:
    path = config.applications[key].inputs
    if path is None:
        yield from next(each for each in REFERENCE_APPLICATIONS if each.name == key).inputs(random)
        return
    known = read_inputs(path)
    while True:  # without repetition for as long as there are inputs
        yield from random.sample(known, len(known))


def _times(config: Config, repeat: int, rate: float | None) -> Iterator[float]:
    asked = config.arrivals
    if asked.file is not None:
        with asked.file.open("rb") as lines:
            jobs = list(islice(read_workload(lines, str(asked.file)), config.jobs))
        return iter([job.arrival_seconds or 0.0 for job in jobs])
    assert rate is not None  # the config has a rate, or a load that the warm-up made one of
    process = Arrivals(cv=asked.cv if asked.kind == "bursty" else 1.0)
    return process.times(rate, Random(f"{asked.seed}/arrivals/{repeat}"))
