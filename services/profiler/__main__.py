"""`python -m services.profiler`: a profiler, set up by LLMSCHED_PROFILER_* variables."""

from __future__ import annotations

import sys

from services.common.grpc_server import CannotListen
from services.common.lifecycle import run as run_service
from services.common.settings import load_settings
from services.profiler.app import run
from services.profiler.settings import ProfilerSettings


def main() -> None:
    """Runs until SIGTERM."""
    settings = load_settings(ProfilerSettings)
    try:
        run_service(lambda stop: run(settings, stop))
    except CannotListen as error:
        sys.exit(f"the profiler cannot run: {error}")


if __name__ == "__main__":
    main()
