"""Starts SGLang on a model and calibrates it: l(b), the price of prompts, what priorities do. One command:

    python -m benchmarks.gpu --model PATH [--sglang PYTHON]

writes benchmarks/gpu/results/<gpu>-<model>.json and .md. With `--device cpu` it does the same on a machine without a
GPU. Exit status: 0 done, 3 no GPU, 4 no SGLang, 5 the server did not start or broke. docs/gpu.md has the details.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.executors.calibrate.cli import calibrated, powers_of_two
from services.executors.calibrate.machine import describe_machine, gpus
from services.executors.calibrate.run import Plan
from services.executors.calibrate.tables import markdown, show
from services.executors.llm.engine import EngineError
from services.executors.llm.sglang import SGLangEngine, SGLangSettings

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
LAUNCH = ROOT / "deploy" / "sglang-cpu" / "launch.sh"
LOG = ROOT / ".cache" / "sglang-calibration.log"

NO_GPU, NO_SGLANG, BROKEN = 3, 4, 5
_GRACE_SECONDS = 20.0


class Unable(Exception):
    """It cannot be done here; the message says why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        found = run(options)
    except Unable as why:
        print(f"benchmarks.gpu: {why}", file=sys.stderr)
        return why.status
    gpu = found["machine"]["gpus"]
    device = gpu[0].split(",")[0] if options.device == "cuda" else "cpu"
    path = options.results / f"{_slug(device)}-{_slug(Path(found['engine']['model']).name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(found, device), encoding="utf-8")
    show(found)
    print(f"written to {path} and {path.with_suffix('.md').name}")
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The calibration of a server that is started for it. Raises Unable."""
    if options.device == "cuda" and not gpus():
        raise Unable("no NVIDIA GPU here (nvidia-smi finds none); --device cpu does the same on the CPU", NO_GPU)
    python = options.sglang or _installed()
    if shutil.which(python) is None or not _imports_sglang(python):
        raise Unable(
            f"{python} has no SGLang: run deploy/sglang-cpu/setup.sh, or name another with --sglang", NO_SGLANG
        )
    url = f"http://127.0.0.1:{options.port}"
    machine = describe_machine()
    with _server(options, python) as process:
        try:
            return asyncio.run(_calibrated(url, process, machine, options))
        except EngineError as error:
            raise Unable(f"the server broke: {error}; its log: {options.log}", BROKEN) from error


async def _calibrated(
    url: str, process: subprocess.Popen[bytes], machine: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    engine = SGLangEngine(SGLangSettings(url=url))
    try:
        deadline = time.monotonic() + options.start_timeout
        while not await engine.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unable(f"the server did not start; its log: {options.log}", BROKEN)
            await asyncio.sleep(0.5)
        sizes = options.batch or powers_of_two(options.slots)
        plan = Plan(batches=tuple(sizes), output_tokens=options.tokens, prompts=tuple(options.prompts))
        found = await calibrated(engine, kind="sglang", plan=lambda _: plan, priority=True, machine=machine)
        return found | {"command": "python -m benchmarks.gpu " + " ".join(options.given)}
    finally:
        await engine.aclose()


@contextmanager
def _server(options: argparse.Namespace, python: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "SGLANG_PYTHON": python,
        "LLMSCHED_SGLANG_DEVICE": options.device,
        "PORT": str(options.port),
        "MAX_RUNNING": str(options.slots),
    }
    if options.model:
        environment["MODEL"] = options.model
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with options.log.open("wb") as log:
        process = subprocess.Popen(
            [str(LAUNCH), *options.server], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        finally:
            # The server's children are in its session, and outlive it otherwise.
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal_group(process, number)
                try:
                    process.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    continue


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def page(found: dict[str, Any], device: str) -> str:
    """The result for people."""
    engine, machine = found["engine"], found["machine"]
    where = [machine["processor"], f"{machine['cores']} cores", f"load {machine['load_average']} before the run"]
    head = [
        f"# {engine['model']} on {device}",
        "",
        f"`{found['command']}`, {found['created_at']}: {engine['version']}, {engine['slots']} slots; "
        + ", ".join([*machine["gpus"], *where]),
        "",
    ]
    return "\n".join([*head, *markdown(found), ""])


def _installed() -> str:
    home = Path(os.environ.get("LLMSCHED_SGLANG_HOME", ROOT / ".cache" / "sglang"))
    return str(home / "venv" / "bin" / "python")


def _imports_sglang(python: str) -> bool:
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sglang') is None)"
    return subprocess.run([python, "-c", look], check=False, timeout=60).returncode == 0


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _numbers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="directory of the weights (default: the small model that setup.sh converts)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sglang", metavar="PYTHON", help="interpreter with SGLang (default: that of setup.sh)")
    parser.add_argument("--slots", type=int, help="requests that run together (default: 64; 16 on a CPU)")
    parser.add_argument("--batch", type=_numbers, help="batch sizes, as 1,2,4 (default: powers of two up to the slots)")
    parser.add_argument("--tokens", type=int, default=64, help="length of an answer")
    parser.add_argument("--prompts", type=_numbers, default=[64, 256, 1024], help="lengths of prompts in words")
    parser.add_argument("--port", type=int, default=31055)
    parser.add_argument("--start-timeout", type=float, default=900.0, metavar="SECONDS")
    parser.add_argument(
        "--log", type=Path, default=ROOT / ".cache" / "sglang-calibration.log", help="file for the server's output"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("server", nargs="*", help="after --: further arguments of sglang.launch_server")
    options = parser.parse_args(arguments)
    options.slots = options.slots or (64 if options.device == "cuda" else 16)
    options.given = list(sys.argv[1:] if arguments is None else arguments)
    return options


if __name__ == "__main__":
    sys.exit(main())
