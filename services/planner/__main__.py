"""`python -m services.planner`: a planner, set up by LLMSCHED_PLANNER_* variables."""

from __future__ import annotations

import sys

from services.common.grpc_server import CannotListen
from services.common.lifecycle import run as run_service
from services.common.settings import load_settings
from services.planner.app import run
from services.planner.settings import PlannerSettings


def main() -> None:
    """Runs until SIGTERM."""
    settings = load_settings(PlannerSettings)
    try:
        run_service(lambda stop: run(settings, stop))
    except CannotListen as error:
        sys.exit(f"the planner cannot run: {error}")


if __name__ == "__main__":
    main()
