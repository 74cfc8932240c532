"""`python -m services.executors llm|tool`: one executor, set up by LLMSCHED_EXECUTOR_* variables."""

from __future__ import annotations

import sys

from services.common.lifecycle import run
from services.common.settings import load_settings
from services.executors.app import run_llm, run_tool
from services.executors.settings import ExecutorSettings
from services.executors.work import ExecutorError


def main() -> None:
    """Runs until SIGTERM, a drain, or an error that only people can mend."""
    kinds = {"llm": run_llm, "tool": run_tool}
    if len(sys.argv) != 2 or sys.argv[1] not in kinds:
        sys.exit("usage: python -m services.executors llm|tool")
    settings = load_settings(ExecutorSettings)
    try:
        run(lambda stop: kinds[sys.argv[1]](settings, stop))
    except ExecutorError as error:
        sys.exit(f"the executor cannot run: {error}")


if __name__ == "__main__":
    main()
