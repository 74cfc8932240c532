"""`python -m services.planner`: a planner, set up by LLMSCHED_PLANNER_* variables."""

from __future__ import annotations

from services.common.lifecycle import run as run_service
from services.common.settings import load_settings
from services.planner.app import run
from services.planner.settings import PlannerSettings


def main() -> None:
    settings = load_settings(PlannerSettings)
    run_service(lambda stop: run(settings, stop))


if __name__ == "__main__":
    main()
