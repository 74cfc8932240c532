"""`llmsched health` against servers that are well, stand by, are silent, or are not there."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1 import health as health_service
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.cli.main import cli
from services.up.stack import free_port
from tests.unit.llmsched.fake_servers import FakeScheduler, FakeServer

SCHEDULER = scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["health", *words], prog_name="llmsched", catch_exceptions=False)


@contextmanager
def probed(**statuses: int) -> Iterator[str]:
    """A server that answers probes; `process` is its own status, `scheduler` that of its service."""
    servicer = health_service.HealthServicer()
    for name, status in statuses.items():
        servicer.set({"process": "", "scheduler": SCHEDULER}[name], status)
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize("service", ["planner", "profiler", "scheduler"])
def test_a_service_that_serves(service: str) -> None:
    with probed(process=SERVING) as address:
        result = run(service, "--address", address)
    assert (result.exit_code, result.stdout) == (0, f"{service} at {address}: serving\n")


def test_its_own_variables_say_where_a_service_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with probed(process=SERVING) as address:
        port = address.rpartition(":")[2]
        monkeypatch.setenv("LLMSCHED_PLANNER_LISTEN", f"0.0.0.0:{port}")
        result = run("planner", "-o", "json")
    assert json.loads(result.stdout) == {"service": "planner", "address": address, "state": "serving"}


def test_a_standby_is_well_but_does_not_lead() -> None:
    with probed(process=SERVING, scheduler=NOT_SERVING) as address:
        assert run("scheduler", "--address", address).exit_code == 0
        result = run("scheduler", "--address", address, "--leading")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr == f"Error: scheduler at {address}: not serving: it stands by, or ends\n"
    with probed(process=SERVING, scheduler=SERVING) as address:
        assert run("scheduler", "--address", address, "--leading").stdout.endswith(": leading\n")
    assert run("planner", "--leading").exit_code == 2


def test_a_service_that_ends() -> None:
    with probed(process=NOT_SERVING) as address:
        result = run("planner", "--address", address)
    assert (result.exit_code, result.stderr) == (5, f"Error: planner at {address}: not serving: it starts, or ends\n")


def test_nobody_is_there() -> None:
    result = run("planner", "--address", f"127.0.0.1:{free_port()}", "-o", "json")
    error = json.loads(result.stderr)["error"]
    assert (result.exit_code, error["exit_code"]) == (5, 5)
    assert "not reachable" in error["message"]


def test_a_silent_service_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        result = run("planner", "--address", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert (result.exit_code, "no answer within 0.2 s" in result.stderr) == (5, True)


class TestExecutors:
    @pytest.fixture
    def address(self, scheduler: FakeScheduler) -> Iterator[str]:
        server = FakeServer(scheduler=scheduler)
        yield server.address
        server.stop()

    @pytest.fixture
    def scheduler(self) -> FakeScheduler:
        return FakeScheduler()

    def test_the_scheduler_tells_of_it(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLMSCHED_EXECUTOR_ID", "llm-1")
        monkeypatch.setenv("LLMSCHED_SCHEDULERS", address)
        result = run("executor")
        assert (result.exit_code, result.stdout) == (0, f"executor at {address}: llm-1 is ATTACHED\n")

    def test_a_list_may_have_blanks(self, address: str) -> None:
        assert run("executor", "--id", "llm-1", "--address", f" {address} , ,").exit_code == 0
        result = run("executor", "--id", "llm-1", "--address", " ,")
        assert (result.exit_code, "' ,' names no scheduler" in result.stderr) == (2, True)

    def test_a_standby_leads_the_way(self, address: str) -> None:
        standby = FakeServer(scheduler=FakeScheduler(leader=address))
        try:
            assert run("executor", "--id", "llm-1", "--address", standby.address).exit_code == 0
        finally:
            standby.stop()

    def test_a_scheduler_whose_host_is_gone_is_not_waited_for(self, address: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
            both = f"127.0.0.1:{silent.getsockname()[1]},{address}"
            result = run("executor", "--id", "llm-1", "--address", both)
        assert (result.exit_code, result.stdout) == (0, f"executor at {both}: llm-1 is ATTACHED\n")

    def test_one_that_is_not_attached(self, address: str) -> None:
        result = run("executor", "--id", "llm-9", "--address", address)
        assert (result.exit_code, result.stderr) == (5, f"Error: executor at {address}: llm-9 is not attached\n")

    @pytest.mark.parametrize(
        ("state", "code"), [("STATE_ATTACHED", 0), ("STATE_DRAINING", 0), ("STATE_UNHEALTHY", 5), ("STATE_DETACHED", 5)]
    )
    def test_states(
        self, state: str, code: int, address: str, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        executor = scheduler_pb2.Executor(executor_id="e", state=scheduler_pb2.Executor.State.Value(state))
        answer = scheduler_pb2.GetClusterResponse(executors=[executor])
        monkeypatch.setattr(scheduler, "GetCluster", lambda request, context: answer)
        # What a server serves was bound when it was made; this one serves the answer above.
        server = FakeServer(scheduler=scheduler)
        try:
            assert run("executor", "--id", "e", "--address", server.address).exit_code == code
        finally:
            server.stop()

    def test_nobody_can_be_asked(self) -> None:
        result = run("executor", "--id", "e", "--address", f"127.0.0.1:{free_port()}", "--timeout", "0.3")
        assert (result.exit_code, "no scheduler tells of it" in result.stderr) == (5, True)
        assert "--id" in run("executor").stderr


@contextmanager
def web(status: int) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        log_message: Callable[..., None] = lambda *_: None

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 5)])
def test_engines(status: int, code: int) -> None:
    with web(status) as url:
        assert run("engine", "--address", url).exit_code == code


def test_engines_are_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # that of this process may be older than the variable
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with web(200) as url:
        assert run("engine", "--address", url).exit_code == 0


def test_no_engine() -> None:
    result = run("engine", "--address", f"http://127.0.0.1:{free_port()}")
    assert (result.exit_code, "not reachable" in result.stderr) == (5, True)
