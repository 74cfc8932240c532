"""An event loop whose clock stands still while there is something to do, and then jumps to the next timer.

What programs of one loop measure of each other is then exact, however busy the machine is. Sockets work: what one end
writes reaches the other end, of the same loop, before the clock moves.
"""

from __future__ import annotations

import asyncio
import selectors

_ON_ITS_WAY = 0.001  #: seconds, real ones, in which the kernel hands over what was written on loopback


class _Selector(selectors.DefaultSelector):
    """Waits for no timer: says that its time has come."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        ready = super().select(min(timeout, _ON_ITS_WAY))
        if not ready:
            self.now += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds since the loop was made, of a time of its own."""
        return self._virtual.now
