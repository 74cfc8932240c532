r"""An application written as plain functions: an idea, a poem about each part of it, and what came of it.

    llmsched up --engine sim                                  # in a terminal of its own
    python examples/decorators.py rivers

The function `poems` runs once, here, and writes the application down; jobs of it run in the cluster. The same in YAML:

    python -c "from examples.decorators import poems; from llmsched.application import dump_yaml; \
               print(dump_yaml(poems.spec()))"
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import llmsched
from llmsched.decorators import application, foreach, llm_stage, tool


@dataclass
class Outline:
    title: str
    parts: list[str]


@llm_stage(system="You write poems.", max_tokens=100)
def outline(topic: str) -> Outline:
    """A title and the parts of a poem about {{ topic }}:"""


@llm_stage(max_tokens=40)
def verse(part: str, title: str) -> str:
    """A verse of "{{ title }}" about {{ part }}:"""


# Executors run it from their own installation: it is one of the tools that `llmsched up` serves.
@tool("text.statistics")
def statistics(text: str) -> dict[str, Any]:
    """Counts the words of a text."""
    return {"words": len(text.split())}


@application("poems")
def poems(topic: str) -> dict[str, Any]:
    """Writes a poem of several verses."""
    plan = outline(topic)
    verses = foreach(verse, plan.parts, title=plan.title)
    return {"title": plan.title, "verses": verses, "words": statistics(f"{plan.title}: {verses}")["words"]}


async def main(topic: str) -> None:
    async with llmsched.Client() as client:
        await client.register(poems)
        job = await client.submit(poems, {"topic": topic})
        print(await job.result())
        print(f"job {job.id}")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "rivers"))
