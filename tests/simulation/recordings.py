"""Random workloads as lines of a trace file, full of what is easily got wrong: ties, nothing, and next to nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]

#: Seconds between arrivals, and of tools: many equal ones, some within an instant of 1e-9 s and some just outside.
GAPS = [0.0, 0.0, 3.1e-10, 2.3e-9, 0.25, 1.0, 1.0]
SECONDS = [0.0, 3.1e-10, 7.3e-10, 1e-9, 2.3e-9, 0.5, 1.0, 1.0, 2.5]
#: The first two are the usual ones; with the third a task of ten tokens is shorter than an instant.
WORK_MODELS = [(0.000161, 0.0155), (0.0, 0.25), (0.5, 7.3e-11)]


def lines(rng: random.Random, jobs: int, *, tools: bool = True, gap: float = 1.0) -> list[str]:
    """A workload. Jobs come back under the same name, at times twice at once."""
    found: list[str] = []
    recorded: list[Record] = []
    at = 0.0
    for index in range(jobs):
        at += rng.choice([*GAPS, rng.uniform(0.0, 2.0)]) * gap
        if recorded and rng.random() < 0.3:
            record = rng.choice(recorded)
        else:
            record = job(rng, f"job-{index}", tools=tools)
            recorded.append(record)
        found.append(json.dumps({**record, "arrival_seconds": at}))
    return found


def job(rng: random.Random, name: str, *, tools: bool = True) -> Record:
    shape = rng.choice([tree, loop, anything])
    stages = list(shape(rng, tools))
    structure = rng.choice(["static", "width", "chain", "chain+width", "generated"])
    return {"app": f"app-{rng.randrange(3)}", "job_id": name, "structure": structure, "stages": stages}


def tree(rng: random.Random, tools: bool) -> Iterator[Record]:
    """A plan whose stages may plan in their turn; what is known at arrival may wait for all that it leads to."""
    yield stage(rng, "plan", tools, kind="plan")
    planners, made = ["plan"], []
    for number in range(rng.randint(0, 4)):
        planner = rng.choice(planners)
        one = stage(rng, f"plan/{number}", tools, parents=[planner, *made[-rng.randint(0, 2) :]], generated_by=planner)
        made.append(one["id"])
        planners += [one["id"]] * rng.randint(0, 1)
        yield one
    ends = rng.sample(made, min(len(made), rng.randint(1, 3)))
    yield stage(rng, "plan/generates", tools, parents=sorted(ends or ["plan"]))


def loop(rng: random.Random, tools: bool) -> Iterator[Record]:
    """Rounds of two stages, each made by the round before it, and a last stage that is known from the beginning."""
    last = "round/0"
    yield stage(rng, last, tools)
    for number in range(1, rng.randint(1, 4)):
        yield stage(rng, f"act/{number}", tools, parents=[last], generated_by=last, width_by=last)
        yield stage(rng, f"round/{number}", tools, parents=[f"act/{number}"], generated_by=last)
        last = f"round/{number}"
    yield stage(rng, "last/after", tools, parents=[last])


def anything(rng: random.Random, tools: bool) -> Iterator[Record]:
    """Stages with any parents; each made known by any earlier one, or none."""
    ids: list[str] = []
    for number in range(rng.randint(1, 6)):
        parents = rng.sample(ids, rng.randint(0, min(3, len(ids))))
        generator = rng.choice([None, None, *ids])
        one = stage(rng, f"s{number}", tools, parents=parents, generated_by=generator)
        ids.append(one["id"])
        yield one


def stage(rng: random.Random, name: str, tools: bool, **more: Any) -> Record:
    kind = more.pop("kind", None) or rng.choice(["llm", "tool"] if tools else ["llm"])
    tasks = [task(rng, kind) for _ in range(rng.choice([0, 1, 1, 1, 2, 5]))]
    return {"id": name, "name": name.split("/")[0], "kind": kind, "parents": [], "tasks": tasks, **more}


def task(rng: random.Random, kind: str) -> Record:
    if kind == "tool":
        return {"seconds": rng.choice([*SECONDS, rng.uniform(0.0, 3.0)])}
    prompt, output = rng.choice(
        [(0, 0), (0, 10), (1, 0), (10, 10), (10, 10), (rng.randint(0, 2000), rng.randint(0, 200))]
    )
    return {"prompt_tokens": prompt, "output_tokens": output}
