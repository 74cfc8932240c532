"""A hundred LangGraph graphs at once: how long each takes, by policy.

    python -m benchmarks.langgraph [--graphs 100] [--warm-up 40] [--seed 1] [--json FILE] [--markdown docs/results.md]

Starts real services with two engine simulators. Two graphs, written as LangGraph's documentation writes them, run in
this process: `assistant` calls a tool until it can answer, seldom more than a few times; `researcher` plans, calls the
tool many times, and writes a report. How many rounds a graph takes and how much its model writes in each is a matter of
its input, which the scheduler does not read. Nor does the length of a prompt tell, which beliefs do go by: prompts hold
only what the simulated model says next, always equally long, and the tool looks up by a number what comes after that.

The profiler learns both from the warm-up, from nothing. `gittins` comes right after it, so that it knows nothing of the
inputs that are compared; `request-fcfs`, which takes calls in the order in which they come, believes nothing and comes
last. Both run the same inputs. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import llmsched
from llmsched.langchain import ChatLLMSched
from services.up.cluster import LocalCluster
from services.up.stack import StackOptions, build

ENGINES, SLOTS = 2, 4
MAX_TOKENS = 600
POLICIES = ("gittins", "request-fcfs")  #: in the order in which they run
FIRST = "request-fcfs"  #: what others are held against, and the warm-up's policy
LEARNING = 120.0  #: seconds until the profiler must have a profile of both graphs
RESAMPLES = 10_000
WIDTH = 120  #: characters of what the model is told to say


@dataclass(frozen=True, slots=True)
class Task:
    """What a graph is given, and what its model will write."""

    number: int
    graph: str
    tokens: tuple[int, ...]  #: of each call of the tool, and at last of the answer

    def question(self) -> str:
        """The first prompt."""
        return f"Find it out.\n{self.script(0)}"

    def script(self, step: int) -> str:
        """What makes the engine simulator say what comes next. Of all tasks and steps it has the same length."""
        reply: dict[str, Any] = {"answer": "found"}
        if step < len(self.tokens) - 1:
            reply = {"tool_calls": [{"name": "search", "args": {"task": self.number, "step": step + 1}}]}
        said = f"[[reply: {json.dumps(json.dumps(reply))}]]"
        assert len(said) <= WIDTH, said
        return f"{said:<{WIDTH}}\n[[tokens: {self.tokens[step]:03}]]\n"


def graphs(model: ChatLLMSched, known: Sequence[Task]) -> dict[str, Any]:
    """The graphs by name, for these tasks."""
    tasks = {one.number: one for one in known}

    @tool
    def search(task: int, step: int) -> str:
        """Searches."""
        return f"\n{tasks[task].script(step)}"

    agent = model.bind_tools([search])

    async def call_model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await agent.ainvoke(state["messages"])]}

    async def plan(state: MessagesState) -> dict[str, Any]:
        said = await model.ainvoke([HumanMessage("plan\n[[tokens: 060]]\n")])
        return {"messages": [HumanMessage(f"plan: {said.content}\n{state['messages'][0].content}")]}

    async def report(state: MessagesState) -> dict[str, Any]:
        calls = sum(message.type == "ai" for message in state["messages"])
        return {"messages": [await model.ainvoke([HumanMessage(f"report\n[[tokens: {30 + 12 * calls:03}]]\n")])]}

    assistant = StateGraph(MessagesState)
    assistant.add_node("agent", call_model)
    assistant.add_node("tools", ToolNode([search]))
    assistant.add_edge(START, "agent")
    assistant.add_conditional_edges("agent", tools_condition)
    assistant.add_edge("tools", "agent")

    researcher = StateGraph(MessagesState)
    researcher.add_node("plan", plan)
    researcher.add_node("agent", call_model)
    researcher.add_node("tools", ToolNode([search]))
    researcher.add_node("report", report)
    researcher.add_edge(START, "plan")
    researcher.add_edge("plan", "agent")
    researcher.add_conditional_edges("agent", tools_condition, {"tools": "tools", END: "report"})
    researcher.add_edge("tools", "agent")
    researcher.add_edge("report", END)
    return {"assistant": assistant.compile(name="assistant"), "researcher": researcher.compile(name="researcher")}


def tasks(count: int, seed: int, first: int) -> list[Task]:
    """Both graphs in equal parts, shuffled; lengths are lognormal, rounds are geometric. Numbers begin at `first`."""
    random = Random(seed)

    def task(number: int, graph: str) -> Task:
        least, goes_on, most, median = (1, 0.4, 6, 40) if graph == "assistant" else (3, 0.75, 12, 70)
        rounds = least
        while rounds < most and random.random() < goes_on:
            rounds += 1
        own = random.lognormvariate(0.0, 0.4) * median  # a graph that writes much does so in every round
        return Task(number, graph, tuple(_length(own * random.lognormvariate(0.0, 0.2)) for _ in range(rounds)))

    names = [("assistant", "researcher")[number % 2] for number in range(count)]
    made = [task(first + place, name) for place, name in enumerate(random.sample(names, count))]
    assert len({len(one.question()) for one in made}) == 1, "the length of a prompt tells something"
    return made


def _length(tokens: float) -> int:
    return max(8, min(MAX_TOKENS, round(tokens)))


async def phase(runnable: Mapping[str, Any], planned: Sequence[Task]) -> list[float]:
    """Runs a graph for each task, all at once; the seconds that each took."""

    async def one(task: Task) -> float:
        graph = runnable[task.graph]
        began = time.perf_counter()
        found = await graph.ainvoke({"messages": [HumanMessage(task.question())]}, {"recursion_limit": 60})
        took = time.perf_counter() - began
        rounds = sum(message.type == "ai" for message in found["messages"]) - (task.graph == "researcher")
        assert rounds == len(task.tokens), f"{rounds} rounds in place of {len(task.tokens)}"
        return took

    return list(await asyncio.gather(*map(one, planned)))


async def learn(client: llmsched.Client, jobs: Mapping[str, int]) -> dict[str, int]:
    """Has profiles learned of all jobs that each graph has had. Returns the jobs that each was learned from."""
    deadline = time.monotonic() + LEARNING
    known = dict.fromkeys(jobs, 0)
    while known != dict(jobs):
        if time.monotonic() > deadline:
            raise SystemExit(f"after {LEARNING:g} s, profiles are of {known} jobs in place of {dict(jobs)}")
        for name in jobs:
            # The last jobs of the warm-up come into the history a little after their ends.
            with contextlib.suppress(llmsched.ConflictError):
                known[name] = (await client.train(name)).job_count
        await asyncio.sleep(0.5)
    return known


async def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """The warm-up, and a run under each policy."""
    stack = build(
        StackOptions(
            directory=directory,
            planner="127.0.0.1:0",
            scheduler="127.0.0.1:0",
            profiler="127.0.0.1:0",
            engines=("sim",) * ENGINES,
            engine_arguments=("--slots", str(SLOTS)),
            slots=SLOTS,
            scheduler_settings={"policy": FIRST, "ageing_seconds": "0"},
        )
    )
    warm = tasks(options.warm_up, options.seed, 1000)  # numbers of four digits
    planned = tasks(options.graphs, options.seed + 1, 1000 + len(warm))
    async with LocalCluster(stack, directory, on_event=print) as cluster, cluster.client() as client:
        await cluster.wait_ready(600.0)
        runnable = graphs(ChatLLMSched(address=cluster.stack.planner, max_tokens=MAX_TOKENS), [*warm, *planned])
        print(f"warm-up: {len(warm)} graphs under {FIRST}")
        await phase(runnable, warm)
        profiles = await learn(client, Counter(one.graph for one in warm))
        print(f"  profiles: {profiles}")
        took = {}
        for policy in POLICIES:
            await client.set_policy(policy)
            print(f"{policy}: {len(planned)} graphs")
            took[policy] = await phase(runnable, planned)
            print(f"  mean {np.mean(took[policy]):.2f} s")
    return {
        "graphs": len(planned),
        "warm_up": len(warm),
        "seed": options.seed,
        "engines": ENGINES,
        "slots": SLOTS,
        "profiles": profiles,
        "kinds": [one.graph for one in planned],
        "calls": sum(len(one.tokens) + 2 * (one.graph == "researcher") for one in planned),
        "seconds": took,
    }


def interval(others: Sequence[float], first: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """A 95 % bootstrap interval of the ratio of the means; both ran the same graphs, which are drawn in pairs."""
    pairs = np.array([others, first])
    drawn = np.random.default_rng(seed).integers(0, len(first), (RESAMPLES, len(first)))
    means = pairs[:, drawn].mean(axis=2)
    low, high = np.percentile(means[0] / means[1], [2.5, 97.5])
    return float(low), float(high)


def section(found: Mapping[str, Any]) -> str:
    """Of the run, in Markdown."""
    took, kinds = found["seconds"], np.array(found["kinds"])
    parts = sorted(set(found["kinds"]))
    lines = [
        f"{found['graphs']} graphs at once ({found['calls']} calls of models), on {found['engines']} engine",
        f"simulators with {found['slots']} slots each, after a warm-up of {found['warm_up']}. Seconds from start",
        "to end of a graph; in brackets a 95 % bootstrap interval over graphs:",
        "",
        "| policy | mean | p50 | p95 | " + "".join(f"mean of `{part}` | " for part in parts) + f"mean beside {FIRST} |",
        "|---" * (5 + len(parts)) + "|",
    ]
    for policy in sorted(took, key=lambda name: name != FIRST):
        seconds = np.array(took[policy])
        low, high = interval(took[policy], took[FIRST])
        beside = "1" if policy == FIRST else f"{seconds.mean() / np.mean(took[FIRST]):.3f} ({low:.3f} to {high:.3f})"
        figures = [
            seconds.mean(),
            *np.percentile(seconds, [50, 95]),
            *(seconds[kinds == part].mean() for part in parts),
        ]
        lines.append(f"| {policy} | " + "".join(f"{figure:.1f} | " for figure in figures) + f"{beside} |")
    return "\n".join([*lines, "", f"`{found['command']}`."])


def replaced(page: str, text: str) -> str:
    """The page with the text between its marks."""
    begin, end = "<!-- langgraph: begin -->", "<!-- langgraph: end -->"
    if begin not in page or end not in page:
        raise SystemExit(f"the page has no {begin} … {end}")
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--warm-up", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="write the table into its place in this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmsched-langgraph-") as directory:
        found = asyncio.run(measure(options, Path(directory)))
    found["command"] = " ".join(["python -m benchmarks.langgraph", *sys.argv[1:]])
    print(section(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        page = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(replaced(page, section(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
