"""Looks at the trace of a job in Phoenix, as a person would: the tree that its page shows, and a picture of it.

    llmsched up --tracing                      # its row "traces" names Phoenix
    .venv/bin/python scripts/phoenix_screenshot.py http://127.0.0.1:6006 TRACE --picture trace.png

TRACE is what `llmsched get JOB` calls so. Prints the tree. Needs a Chromium: scripts/install-chromium.sh, or one named
in CHROMIUM. The page can reach nothing but Phoenix.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

SECONDS = 60.0  #: for the page to show the trace
WIDTH, HEIGHT = 1600, 900
HIGHEST = 2400  #: for long trees
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    # Nothing that the page would load from elsewhere; Phoenix needs none of it.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--remote-debugging-port=0",
)
#: Each row of the tree with how deep it is: lists lie within lists. Empty while rows are only sketched.
TREE = """
(() => {
  const tree = document.querySelector('[data-testid="trace-tree"]');
  if (!tree || tree.querySelector('.skeleton')) return [];
  const depth = row => { let lists = -1; for (let at = row; at !== tree; at = at.parentElement)
    if (at.parentElement.tagName === 'UL') lists++; return lists; };
  return [...tree.querySelectorAll('.span-node-wrap')].map(row =>
    [depth(row), row.innerText.trim().split('\\n')[0]]);
})()
"""


#: How far down the page the last row ends.
BOTTOM = """
[...document.querySelectorAll('[data-testid="trace-tree"] .span-node-wrap')].at(-1)?.getBoundingClientRect().bottom ?? 0
"""


class Tab:
    """A page in a Chromium without a window, over its DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    async def resize(self, height: int) -> None:
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)

    async def picture(self) -> bytes:
        """The whole tree, as PNG."""
        await self.resize(min(max(HEIGHT, int(await self.evaluate(BOTTOM)) + 20), HIGHEST))
        await asyncio.sleep(1.0)  # until it is drawn
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@asynccontextmanager
async def browser(chromium: str) -> AsyncIterator[Tab]:
    """A browser with one empty page; it has ended when the block is left."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            chromium,
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{HEIGHT}",
            "about:blank",
            env={**os.environ, "TMPDIR": profile},  # it leaves folders behind
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with aiohttp.ClientSession() as session:
                port = await _port(process)
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    (page,) = [each for each in await answer.json() if each["type"] == "page"]
                async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    tab = Tab(socket)
                    await tab.resize(HEIGHT)
                    yield tab
        finally:
            process.terminate()
            await process.communicate()


async def _port(process: asyncio.subprocess.Process) -> int:
    """Where the browser listens, as it says on standard error."""
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(rb"DevTools listening on ws://[^:]+:(\d+)/", line):
            return int(found[1])
    raise RuntimeError(f"the browser ended with {await process.wait()}")


async def look(tab: Tab, url: str) -> list[tuple[int, str]]:
    """The tree that the page shows, from the top: how deep each span is, and its name. Empty: none came."""
    await tab.call("Page.navigate", url=url)
    loop = asyncio.get_running_loop()
    give_up, tree = loop.time() + SECONDS, []
    while loop.time() < give_up:
        before, tree = tree, await tab.evaluate(TREE)
        if tree and tree == before:  # it does not grow any more
            break
        await asyncio.sleep(1.0)
    return [(depth, name) for depth, name in tree]


async def run(arguments: argparse.Namespace) -> int:
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium: run scripts/install-chromium.sh, or name one in CHROMIUM", file=sys.stderr)
        return 2
    trace = re.search(r"[0-9a-f]{32}", arguments.trace)
    if trace is None:
        print(f"{arguments.trace} is no trace: 32 hexadecimal digits", file=sys.stderr)
        return 2
    async with browser(chromium) as tab:
        tree = await look(tab, f"{arguments.phoenix.rstrip('/')}/redirects/traces/{trace[0]}")
        if arguments.picture:
            arguments.picture.write_bytes(await tab.picture())
    if not tree:
        print(f"Phoenix shows no trace {trace[0]}", file=sys.stderr)
        return 1
    print(json.dumps(tree) if arguments.json else "\n".join(f"{'  ' * depth}{name}" for depth, name in tree))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phoenix", help="address of Phoenix, as http://127.0.0.1:6006")
    parser.add_argument("trace")
    parser.add_argument("--picture", type=Path, help="file for the picture, a PNG")
    parser.add_argument("--json", action="store_true", help="print the tree as a list of [depth, name]")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
