"""Untrusted programs in each kind of sandbox. What this machine cannot isolate is skipped by name, not passed."""

import os
import socket
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from services.executors.tool.sandbox import (
    BACKENDS,
    Backend,
    Sandbox,
    SandboxLimits,
    SandboxResult,
    SandboxUnavailableError,
    open_sandbox,
)
from tests.support.processes import Offspring
from tests.unit.services.executors.tool.waiting import is_alive

FORK_BOMB = """
import os, time
children = 0
try:
    while children < 500:
        if os.fork() == 0:
            time.sleep(60)
        children += 1
except OSError:
    pass
print(children)
"""


@pytest.fixture(params=BACKENDS)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    backend: Backend = request.param
    try:
        return open_sandbox(backend)
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


def needs(sandbox: Sandbox, capability: str) -> None:
    if not getattr(sandbox.isolation, capability):
        pytest.skip(f"{sandbox.isolation.backend} cannot isolate {capability} on this machine")


def run(sandbox: Sandbox, program: str, **limits: float) -> SandboxResult:
    values = {name: value if name == "seconds" else int(value) for name, value in limits.items()}
    return sandbox.run(
        sandbox.python("main.py"),
        files={"main.py": program},
        limits=SandboxLimits(**values),  # type: ignore[arg-type]
    )


def test_the_strongest_sandbox_that_works_is_taken(sandbox: Sandbox) -> None:
    chosen = open_sandbox().isolation
    assert len(chosen.missing) <= len(sandbox.isolation.missing)


def test_a_program_runs_in_an_empty_folder_with_a_clean_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    program = "import os, sys; print(sorted(os.environ), os.listdir(), sys.stdin.read() == ''); sys.exit(3)"
    result = run(sandbox, program)
    assert result.stdout == "['HOME', 'LANG', 'PATH', 'TMPDIR'] ['main.py'] True\n"
    assert (result.ended, result.exit_code) == ("exited", 3)
    assert result.isolation is sandbox.isolation


def test_files_of_any_size_arrive_and_leave_no_trace(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as own:
        os.chmod(own, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", own)
        files_of_any_size(sandbox)
        assert os.listdir(own) == []


def files_of_any_size(sandbox: Sandbox) -> None:
    program = "import os; print(os.path.getsize('data'), open('data').read(2)); open('new', 'w').write('x')"
    result = sandbox.run(sandbox.python("-c", program), files={"data": "ü" * 500_000})
    assert result.stdout == "1000000 üü\n"


def test_no_network_not_even_loopback(sandbox: Sandbox) -> None:
    needs(sandbox, "network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run(sandbox, f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert result.exit_code == 1
    assert "Error" in result.stderr


def test_nothing_is_written_outside_the_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    needs(sandbox, "filesystem_write")
    os.chmod(tmp_path, 0o777)
    places = [str(tmp_path), "/", "/etc", "/usr", "/usr/local", "/var/tmp", "/dev", "/dev/shm", "/root", "/proc"]
    program = f"""
import os
for place in {places}:
    try:
        open(os.path.join(place, "owned"), "w").close()
        print(place)
    except OSError:
        pass
open("mine", "w").write("x")
"""
    result = run(sandbox, program)
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)
    assert not os.listdir(tmp_path)


def test_files_of_the_machine_are_not_read(sandbox: Sandbox, tmp_path: Path) -> None:
    needs(sandbox, "filesystem_read")
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    result = run(sandbox, f"import os; print(os.path.exists({str(secret)!r}), os.path.exists('/etc/passwd'))")
    assert result.stdout == "False False\n"


def test_processes_outside_are_out_of_reach(sandbox: Sandbox) -> None:
    needs(sandbox, "processes")
    result = run(sandbox, f"import os; os.kill({os.getpid()}, 0)")
    assert result.exit_code == 1


def test_a_program_has_no_rights_to_use(sandbox: Sandbox) -> None:
    status = "open('/proc/self/status').read().split()"
    result = run(sandbox, f"s = {status}; print(int(s[s.index('CapEff:') + 1], 16), s[s.index('NoNewPrivs:') + 1])")
    assert result.stdout == "0 1\n"


def test_a_fork_bomb_is_limited_and_wholly_removed(sandbox: Sandbox, offspring: Offspring) -> None:
    needs(sandbox, "forks")
    result = run(sandbox, FORK_BOMB, processes=20, seconds=5)
    assert int(result.stdout) <= 20
    assert not [p for p in offspring() if is_alive(p.pid)]


def test_a_memory_hog_gets_a_memory_error(sandbox: Sandbox) -> None:
    needs(sandbox, "memory")
    result = run(sandbox, "x = bytearray(400 * 2**20)", memory_bytes=200 * 2**20)
    assert result.exit_code == 1
    assert "MemoryError" in result.stderr


def test_files_have_a_size_limit(sandbox: Sandbox) -> None:
    result = run(sandbox, "with open('big', 'wb') as big: big.write(bytes(2**21))", file_bytes=2**20)
    assert "File too large" in result.stderr


def test_all_files_together_have_a_size_limit(sandbox: Sandbox) -> None:
    if sandbox.isolation.backend == "rlimits":
        pytest.skip("the folder is on the machine's own disk")
    program = "for i in range(9): open(str(i), 'wb').write(bytes(2**20))"
    assert "No space left" in run(sandbox, program, folder_bytes=4 * 2**20).stderr


def test_an_endless_loop_is_ended_in_time(sandbox: Sandbox) -> None:
    result = run(sandbox, "print('here', flush=True)\nwhile True: pass", seconds=0.5)
    assert (result.ended, result.stdout) == ("timeout", "here\n")
    assert 0.5 <= result.seconds < 5
    assert result.exit_code == 137


def test_a_program_that_hides_from_the_timeout_is_ended_too(sandbox: Sandbox) -> None:
    program = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    os.execv("/bin/sleep", ["sleep", "4242"])
time.sleep(60)
"""
    assert run(sandbox, program, seconds=0.5).ended == "timeout"
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4242"]]


def test_processor_time_is_limited_by_the_kernel_as_well(sandbox: Sandbox) -> None:
    needs(sandbox, "cpu")
    result = run(sandbox, "import resource; print(resource.getrlimit(resource.RLIMIT_CPU))", seconds=2.5)
    assert result.stdout == "(4, 4)\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_of_output_ends_the_program(sandbox: Sandbox, stream: str) -> None:
    program = f"import sys\nwhile True: sys.{stream}.write('x' * 1000)"
    result = run(sandbox, program, output_bytes=10_000)
    assert result.ended == "output"
    assert getattr(result, stream) == "x" * 10_000


def test_output_is_complete_when_a_background_process_keeps_it_open(sandbox: Sandbox) -> None:
    program = "import os, sys, time\nif os.fork() == 0: time.sleep(60)\nprint('x' * 50_000)"
    result = run(sandbox, program, seconds=20)
    assert result.stdout == "x" * 50_000 + "\n"
    assert result.seconds < 10


def test_many_programs_at_once_do_not_disturb_each_other(sandbox: Sandbox) -> None:
    results: dict[int, str] = {}

    def work(number: int) -> None:
        results[number] = run(sandbox, f"open('x', 'w').write('{number}'); print(open('x').read())").stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"{number}\n" for number in range(6)}


def test_a_program_that_does_not_exist_is_told_in_the_result(sandbox: Sandbox) -> None:
    result = sandbox.run(["/no/such/program"])
    assert result.exit_code != 0
    assert "No such file" in result.stderr


def test_an_isolation_names_what_is_missing(sandbox: Sandbox) -> None:
    report = sandbox.isolation.as_json()
    assert report["backend"] == sandbox.isolation.backend
    assert sorted(report["isolated"] + report["not_isolated"]) == sorted(
        ["cpu", "filesystem_read", "filesystem_write", "forks", "memory", "network", "processes"]
    )
    assert sandbox.isolation.complete == (not report["not_isolated"])
