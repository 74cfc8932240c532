"""What Linux offers to make sure that no process outlives its purpose."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with(parent: int) -> None:
    """Be killed by the kernel when `parent`, the process that made this one, dies in whatever way."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that `descendants` still finds them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int) -> list[int]:
    """All living processes below `pid`, parents before children."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        if (parent := _living_parent(name)) is not None:
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(pid, ()))
    for child in found:  # grows while it is walked
        found.extend(children.get(child, ()))
    return found


def kill_tree(pid: int) -> None:
    """Kill `pid`, an unreaped child of this process, and everything below it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        _kill_below(pid)
        os.kill(pid, signal.SIGKILL)


def kill_leftovers() -> None:
    """Kill and bury every child of this process and everything below."""
    if not _reap_children():
        return
    _kill_below(os.getpid())
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _kill_below(pid: int) -> None:
    stopped: list[int] = []
    # Stopped first, as a stopped process cannot fork; what was forked in between shows up in the next look.
    while fresh := [victim for victim in descendants(pid) if victim not in stopped]:
        for victim in fresh:
            _send(victim, signal.SIGSTOP)
        stopped += fresh
    for victim in stopped:
        _send(victim, signal.SIGKILL)


def _send(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, sign)


def _reap_children() -> bool:
    """Bury the children that have ended; whether others are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def virtual_bytes() -> int:
    """The size of this process's address space."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _living_parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            # The command in parentheses may itself contain spaces and parentheses.
            state, parent = stat.read().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(parent)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
