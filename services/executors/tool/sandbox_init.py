"""The first program inside a sandbox: it takes away what is left to take away, then becomes the untrusted program.

It is handed to the interpreter as text (`python -c`), so it uses the standard library only. Its one argument is
JSON: `argv`, `folder` (the only writable place, its working directory), `environ`, `uid` (the user to become, or
null) and `rlimits` (name without RLIMIT_ to value). The files to put into the folder come as JSON on standard input.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def main(config: dict[str, Any], files: dict[str, str]) -> None:
    os.chdir(config["folder"])
    for name, text in files.items():
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # No file that a program starts, setuid or not, gives it rights again.
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # Where the program has to stay root it is a root without rights. Refused to others, who have none anyway.
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if config["uid"] is not None:
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    # After the change of user, which takes it back.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Last: setuid fails for a user that has used up its processes.
    for name, value in config["rlimits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    os.execve(config["argv"][0], config["argv"], config["environ"])


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), json.load(sys.stdin))
