"""Phoenix is found where scripts/install-phoenix.sh puts it, and listens where people expect it if it can."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from services.up import phoenix
from services.up.stack import StackError, free_port


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "home" / "venv" / "bin" / "phoenix"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setenv("LLMSCHED_PHOENIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "")
    # What runs on this machine is not to matter.
    monkeypatch.setattr(phoenix, "_PAGE_PORT", free_port())
    monkeypatch.setattr(phoenix, "_OTLP_PORT", free_port())
    return program


def test_it_listens_at_its_usual_ports(installed: Path, tmp_path: Path) -> None:
    found = phoenix.prepare(tmp_path)
    assert found.process.command == [str(installed), "serve"]
    assert found.page == f"http://127.0.0.1:{phoenix._PAGE_PORT}"
    assert found.endpoint == f"http://127.0.0.1:{phoenix._OTLP_PORT}"
    assert Path(found.process.environment["PHOENIX_WORKING_DIR"]).is_dir()


@pytest.mark.usefixtures("installed")
def test_a_port_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", phoenix._PAGE_PORT)):
        found = phoenix.prepare(tmp_path)
    assert found.page != f"http://127.0.0.1:{phoenix._PAGE_PORT}"
    assert found.endpoint == f"http://127.0.0.1:{phoenix._OTLP_PORT}"


def test_where_there_is_none_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("LLMSCHED_PHOENIX_HOME", str(tmp_path))
    with pytest.raises(StackError, match=r"install-phoenix\.sh"):
        phoenix.prepare(tmp_path)


@pytest.mark.usefixtures("installed")
async def test_it_is_ready_when_it_listens(tmp_path: Path) -> None:
    found = phoenix.prepare(tmp_path)
    with socket.create_server(("127.0.0.1", phoenix._PAGE_PORT)):
        with pytest.raises(StackError, match="not ready"):  # spans would be lost
            await found.wait_ready(0.3)
        with socket.create_server(("127.0.0.1", phoenix._OTLP_PORT)):
            await found.wait_ready(10.0)
