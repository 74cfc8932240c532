"""A program of its own that adds stages to a job while it goes: here, it asks again until an answer is short enough.

    llmsched up --engine sim                                  # in a terminal of its own
    python examples/open_job.py rivers

Nobody told the cluster what the program will do. It learns that from the jobs of the name `shortener`, and schedules
their stages among all others. `llmsched get JOB` shows what was added.
"""

from __future__ import annotations

import asyncio
import sys

import llmsched

WORDS = 12
ROUNDS = 5


async def main(topic: str) -> None:
    async with llmsched.Client() as client, client.open_job("shortener", input={"topic": topic}) as job:
        text = await job.llm("draft", f"Write of {topic}.", max_tokens=60)
        for _ in range(ROUNDS):
            found = await job.tool("measure", "text.statistics", {"text": text})
            if found["words"] <= WORDS:
                break
            text = await job.llm("shorten", f"Say it in {WORDS} words: {text}", max_tokens=2 * WORDS)
        # Two calls beside each other; a call alone waits for its answer.
        stages = [await job.start_llm("title", f"A {kind} title: {text}", max_tokens=8) for kind in ("good", "bad")]
        titles = [(await stage.result()).text for stage in stages]
        job.output = {"text": text, "titles": titles}
    print(job.output)
    print(f"job {job.id}")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "rivers"))
