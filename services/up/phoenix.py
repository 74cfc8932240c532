"""Phoenix, the page that `llmsched up --tracing` shows traces on."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from services.common.processes import ProcessSpec
from services.up.stack import StackError, free_port, with_free_port

_REPOSITORY = Path(__file__).resolve().parents[2]
#: Phoenix's and OpenTelemetry's own, so that bookmarks last; where they are taken, any.
_PAGE_PORT, _OTLP_PORT = 6006, 4317
_LOOK_SECONDS = 0.2
REMEDY = (
    "run scripts/install-phoenix.sh in a clone of the repository, or name the program in LLMSCHED_PHOENIX; or send "
    "traces elsewhere with --otlp-endpoint"
)


@dataclass(frozen=True, slots=True)
class Phoenix:
    """One that is to be started."""

    process: ProcessSpec
    endpoint: str  #: for OTLP over gRPC
    page: str

    async def wait_ready(self, seconds: float) -> None:
        """Waits until it listens: spans that are sent before are lost. Raises StackError."""
        try:
            async with asyncio.timeout(seconds):
                for url in (self.endpoint, self.page):
                    while not await _listens(url):  # noqa: ASYNC110 - another process's state
                        await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise StackError(f"Phoenix was not ready within {seconds:g} s") from error


def find_phoenix() -> Path | None:
    """The program: named in LLMSCHED_PHOENIX, on PATH, or installed by scripts/install-phoenix.sh."""
    named = os.environ.get("LLMSCHED_PHOENIX") or shutil.which("phoenix")
    home = Path(os.environ.get("LLMSCHED_PHOENIX_HOME", _REPOSITORY / ".cache" / "phoenix"))
    installed = Path(named) if named else home / "venv" / "bin" / "phoenix"
    return installed if installed.exists() else None


def prepare(directory: Path) -> Phoenix:
    """Decides ports; Phoenix keeps traces in the directory. Raises StackError if there is none."""
    program = find_phoenix()
    if program is None:
        raise StackError(f"--tracing needs Phoenix: {REMEDY}")
    folder = directory / "phoenix"
    folder.mkdir(parents=True, exist_ok=True)
    page, otlp = _port(_PAGE_PORT), _port(_OTLP_PORT)
    environment = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(page),
        "PHOENIX_GRPC_PORT": str(otlp),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    process = ProcessSpec(name="phoenix", command=[str(program), "serve"], environment=environment)
    return Phoenix(process, f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{page}")


async def _listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


def _port(wanted: int) -> int:
    try:
        with_free_port(f"127.0.0.1:{wanted}")
    except StackError:
        return free_port()
    return wanted
