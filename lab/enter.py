"""Runs a command in a network of its own, in which `lab.network` makes hosts. Nothing of it is left when it ends.

`unshare` gives it new network, mount and process namespaces; where the user isn't root, a user namespace too, so that
nobody needs rights that they don't have. This machine's own network is not touched and can't be reached from inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

INSIDE = "LLMSCHED_LAB"  #: set for commands that run in a network of their own


def command(words: Sequence[str]) -> list[str]:
    """What to run instead, so that the command has a network of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # All processes inside end with the first: a service can't be left behind.
    apart = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*apart, "--", sys.executable, "-m", "lab.enter", *words]


def missing() -> str | None:
    """Why there can be no such network here; None if there can."""
    for tool in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian's packages util-linux and iproute2)"
    tried = subprocess.run(command(["true"]), capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


def main(words: Sequence[str]) -> None:
    """Runs inside: prepares the new namespaces and becomes the command."""
    # Names of network namespaces are files there, and the directory may not be ours.
    subprocess.run(["mount", "-t", "tmpfs", "lab", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.execvpe(words[0], list(words), {**os.environ, INSIDE: "1"})


if __name__ == "__main__":
    main(sys.argv[1:])
