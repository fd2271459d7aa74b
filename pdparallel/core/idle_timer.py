"""Idle: lets go what nobody has used for some time, with one thread for many uses, because each timer is a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["IdleTimer"]


class IdleTimer:
    """Calls ``let_go`` once as many seconds have passed since the last use as that use said.

    Parameters
    ----------
    lock : context manager
        Held by whoever calls :meth:`used` or :meth:`stop`, and here while ``let_go`` runs.
    let_go : callable
        What is to happen then.  It may do nothing, if somebody has used the object meanwhile.  It may return what is
        left to do without the lock.
    """

    def __init__(self, lock: AbstractContextManager[object], let_go: Callable[[], Callable[[], None] | None]) -> None:
        self._lock = lock
        self._let_go = let_go
        self._until = 0.0
        self._timer: threading.Timer | None = None

    def used(self, seconds: float) -> None:
        """Begin to count anew."""
        self._until = time.monotonic() + seconds
        if self._timer is None:
            self._look_after(seconds)

    def stop(self) -> None:
        """Do not look any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_after(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._lock:
            self._timer = None
            left = self._until - time.monotonic()
            if left > 0:
                self._look_after(left)
                return
            rest = self._let_go()
        if rest is not None:
            rest()
