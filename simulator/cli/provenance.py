"""What a result was made with: the command, versions, the machine."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def command() -> str:
    """The running command, as it could be typed again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions() -> str:
    return f"llmsched {version('llmsched')}, Python {platform.python_version()}, numpy {version('numpy')}"


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {_processor()}"


def commit() -> str:
    """The commit of the source tree that runs, with a plus if files differ from it; `unknown` outside one."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.json")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or "unknown processor"
