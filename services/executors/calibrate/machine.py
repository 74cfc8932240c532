"""What the machine is on which something was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

_GPU_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


def describe_machine() -> dict[str, Any]:
    """Processor, memory, GPUs and present load of this machine; nothing that names it."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def gpus() -> list[str]:
    """NVIDIA GPUs: name, memory, driver. Empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    answer = subprocess.run([tool, *_GPU_QUERY], capture_output=True, text=True, check=False, timeout=30)
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
