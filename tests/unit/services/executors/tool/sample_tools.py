"""Tools that behave and misbehave, for the tests of the runners."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from llmsched.tools import RetryableError, ToolRegistry, spec_of, tool


class Point(BaseModel):
    x: int
    y: int = 0


@tool(name="sample.add", description="adds")
def add(a: int, b: int = 1) -> int:
    return a + b


@tool(name="sample.mirror", description="swaps the coordinates")
def mirror(point: Point) -> Point:
    return Point(x=point.y, y=point.x)


@tool(name="sample.echo", description="gives back what it got", max_output_bytes=10_000)
def echo(value: object) -> object:
    return value


@tool(name="sample.fail", description="raises", env=("SAMPLE_KEY",))
def fail(kind: str) -> None:
    if kind == "retryable":
        raise RetryableError("come back later")
    if kind == "secret":
        raise ValueError(f"refused key {os.environ['SAMPLE_KEY']}")
    raise ValueError("no such thing")


@tool(name="sample.leave", description="calls sys.exit")
def leave() -> None:
    sys.exit(3)


@tool(name="sample.out_of_memory", description="raises MemoryError")
def out_of_memory() -> None:
    raise MemoryError


@tool(name="sample.unserialisable", description="returns no JSON value")
def unserialisable(what: str) -> object:
    return {"nan": float("nan"), "object": object(), "lock": threading.Lock()}[what]


@tool(name="sample.wait", description="waits until a file exists", timeout=30)
def wait(started: str, go_on: str) -> str:
    Path(started).write_text(str(os.getpid()))
    while not Path(go_on).exists():
        time.sleep(0.001)
    return "went on"


@tool(name="sample.print", description="prints")
def talk(lines: int) -> None:
    for number in range(lines):
        print("line", number)
    print("careful", file=sys.stderr)


@tool(name="sample.hog", description="takes memory", memory_bytes=64 * 2**20)
def hog(mebibytes: int) -> int:
    return len(bytearray(mebibytes * 2**20))


@tool(name="sample.crash", description="ends its process", memory_bytes=2**30)
def crash(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(7)
    elif how == "segfault":
        ctypes.string_at(0)


@tool(name="sample.offspring", description="leaves a process behind that has left its session")
def offspring(hang: bool = False) -> int:
    child = subprocess.Popen(["setsid", "sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"], stdout=subprocess.PIPE)
    assert child.stdout
    pid = int(child.stdout.readline())
    child.returncode = 0  # its end is not this tool's business: no warning about it
    child.stdout.close()
    while hang:
        time.sleep(1)
    return pid


@tool(name="sample.thread", description="leaves a thread behind")
def thread() -> int:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return os.getpid()


@tool(name="sample.pid", description="which process runs this")
def pid() -> int:
    return os.getpid()


@tool(name="sample.environment", description="which variables it sees", env=("SAMPLE_KEY",))
def environment() -> dict[str, bool]:
    names = ("SAMPLE_KEY", "OTHER_KEY", "REDIS_PASSWORD", "PATH")
    return {name: name in os.environ for name in names}


@tool(name="sample.other", description="names another variable", env=("OTHER_KEY",))
def other() -> dict[str, bool]:
    return environment()


def registry() -> ToolRegistry:
    """All tools of this module."""
    return ToolRegistry(value for value in globals().values() if spec_of(value))
