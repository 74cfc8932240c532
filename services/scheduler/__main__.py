"""`python -m services.scheduler`: a scheduler, set up by LLMSCHED_SCHEDULER_* variables."""

from __future__ import annotations

import sys

from services.common.grpc_server import CannotListen
from services.common.lifecycle import run as run_service
from services.common.settings import load_settings
from services.scheduler.app import run
from services.scheduler.settings import SchedulerSettings


def main() -> None:
    """Runs until SIGTERM."""
    settings = load_settings(SchedulerSettings)
    try:
        run_service(lambda stop: run(settings, stop))
    except CannotListen as error:
        sys.exit(f"the scheduler cannot run: {error}")


if __name__ == "__main__":
    main()
