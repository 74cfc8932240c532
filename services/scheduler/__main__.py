"""`python -m services.scheduler`"""

from services.common.lifecycle import run
from services.scheduler.app import main

if __name__ == "__main__":
    run(main)
