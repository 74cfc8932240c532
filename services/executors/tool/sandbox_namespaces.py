"""Builds a sandbox out of Linux namespaces where bubblewrap is not installed; then runs `sandbox_init` in it.

Handed to the interpreter as text like `sandbox_init`. Its one argument is JSON: `root` (an empty folder to build
the new root on), `readable` (paths to show read-only), `links` (path to target), `folder` and `folder_bytes` (the
writable tmpfs), `user_namespace` (needed without root) and `command`, the command to run inside. Three processes
come of it: this one, which waits; process 1 of the new PID namespace, which buries orphans and whose end is the
end of all; and the command.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, NoReturn

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 32, 4096
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 16384, 1 << 18, 2
_PR_SET_PDEATHSIG = 1
_DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def main(config: dict[str, Any]) -> NoReturn:
    _die_with_parent()
    flags = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
    uid, gid = os.getuid(), os.getgid()
    if config["user_namespace"]:
        _check(_libc.unshare(flags | _CLONE_NEWUSER), "unshare")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    else:
        _check(_libc.unshare(flags), "unshare")
    child = os.fork()
    if child:
        _exit_like(os.waitpid(child, 0)[1])
    _die_with_parent()
    _build_root(config)
    program = os.fork()
    if program == 0:
        os.execv(config["command"][0], config["command"])
    while True:
        pid, status = os.wait()
        if pid == program:
            _exit_like(status)


def _build_root(config: dict[str, Any]) -> None:
    root = config["root"]
    # Nothing mounted from here on shows outside.
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    # Before the rest: what is readable may lie below it.
    os.makedirs(root + config["folder"])
    size = f"mode=1777,size={config['folder_bytes']}"
    _mount("tmpfs", root + config["folder"], "tmpfs", _MS_NOSUID | _MS_NODEV, size)
    for path in config["readable"]:
        _bind(path, root + path)
    for path, target in config["links"].items():
        os.symlink(target, root + path)
    os.makedirs(root + "/dev")
    for device in _DEVICES:
        with open(f"{root}/dev/{device}", "wb"):
            pass
        _mount(f"/dev/{device}", f"{root}/dev/{device}", None, _MS_BIND)
    os.makedirs(root + "/proc")
    _mount("proc", root + "/proc", "proc", _MS_NOSUID | _MS_NODEV)
    os.chdir(root)
    _check(_libc.syscall(_pivot_root_number(), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    _mount("none", "/", None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass
    _mount(source, target, None, _MS_BIND | _MS_REC)
    # A bind mount becomes read-only in a second step only; flags it was born with must be kept.
    kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    _mount("none", target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | kept)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _check(_libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount of {target}")


def _pivot_root_number() -> int:
    return {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}[os.uname().machine]


def _die_with_parent() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _exit_like(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
