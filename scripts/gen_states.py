"""Draws docs/states.md from the transition tables of the scheduling core.

    python scripts/gen_states.py            write
    python scripts/gen_states.py --check    fail if the committed file differs from what the tables say

The page cannot show what the tables do not know: which effects a change has, and why it happens. That is told in
the text below, and in services/scheduler/core/lifecycle.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from services.scheduler.core.lifecycle import MAX_LOSSES  # noqa: E402
from services.scheduler.core.transitions import JOB, STAGE, TASK  # noqa: E402

TARGET = ROOT / "docs" / "states.md"

PAGE = """\
# States of jobs, stages and tasks

<!-- Drawn by scripts/gen_states.py from services/scheduler/core/transitions.py: edit those. -->

Every change below is an effect of the scheduler (`JobChanged`, `StageChanged`, `TaskChanged`): it is durable before
anybody hears of it. An event that does not fit the state it finds is refused and changes nothing.

## Job

{job}

A job that stops is CANCELLING while attempts of it still hold slots, and ends as FAILED, or as CANCELLED if that was
asked for, after the last of them. If nothing runs it ends at once.

## Stage

{stage}

* A stage is unfolded by the planner: into tasks, into further stages (a plan, the next round of a loop), or into
  nothing. Each unfolding has a number; an answer with another number is refused.
* EXPANDED waits for the stages that were added. Children of the stage wait for all of it.
* A recoverable stage that fails is unfolded once more, for its fallback. Its other tasks are cancelled at once, and
  the fallback does not wait for their attempts to end.
* In a job that stops, a stage with running attempts stays RUNNING until they have ended.

## Task

{task}

* RUNNING means exactly that the latest attempt holds a slot of an executor.
* A lost attempt (its executor died, was restarted, or aborted it without being asked) goes back to READY at once and
  does not count against `max_attempts`, up to {losses} times. With `max_attempts: 1` it fails the task instead, as
  the promise is then that the task runs at most once.
* A failed attempt that may be retried waits in BACKOFF: `backoff_seconds`, doubled with each further failure.
"""


def diagram(table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]]) -> str:
    """One table as a Mermaid diagram; its first state is where everything starts."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, row in table.items():
        lines += [f"    {state} --> {target}: {trigger}" for trigger, target in row.items()]
        lines += [] if row else [f"    {state} --> [*]"]
    return "\n".join([*lines, "```"])


def page() -> str:
    return PAGE.format(job=diagram(JOB), stage=diagram(STAGE), task=diagram(TASK), losses=MAX_LOSSES)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        TARGET.write_text(page())
    elif not TARGET.exists() or TARGET.read_text() != page():
        print("docs/states.md is not what the tables say: run scripts/gen_states.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
