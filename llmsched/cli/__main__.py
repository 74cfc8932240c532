"""`python -m llmsched.cli`: the same as `llmsched`, for where no script is on PATH."""

from __future__ import annotations

from llmsched.cli.main import main

if __name__ == "__main__":
    main()
