"""Cleanup at shutdown and at process exit, before other libraries end their pools; release of idle objects."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.util  # noqa: F401 - its import registers its exit handler, which must run after ours
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["AT_SHUTDOWN", "IdleTimer", "at_exit", "calls_end_first"]

#: Functions that run before the pools are released. They wait for calls that are about to return their pool.
AT_SHUTDOWN: list[Callable[[], None]] = []

_calls: list[Callable[[], None]] = []
_pools: list[Callable[[], None]] = []


def at_exit(ending: Callable[[], None], *, of_pools: bool = False) -> None:
    """Register a function for process exit; the last one runs first, and those of pools run after those of calls."""
    (_pools if of_pools else _calls).append(ending)
    calls_end_first()


def calls_end_first() -> None:
    """Make our exit handler run before those of all libraries imported so far."""
    # Such a library ends workers in the middle of a task. One may hold a lock, for which the library waits forever.
    atexit.unregister(_end_all)
    atexit.register(_end_all)


def _end_all() -> None:
    with contextlib.ExitStack() as stack:
        for ending in (*_pools, *_calls):
            stack.callback(ending)


# Release of idle objects. One timer serves many uses, because each timer is a thread.


class IdleTimer:
    """Timer that calls ``let_go`` after the seconds that the last use gave.

    Callers of its methods hold ``lock``. ``let_go`` runs under it, and may return a function to run without it.
    """

    def __init__(self, lock: AbstractContextManager[object], let_go: Callable[[], Callable[[], None] | None]) -> None:
        self._lock = lock
        self._let_go = let_go
        self._until = 0.0
        self._timer: threading.Timer | None = None

    def used(self, seconds: float) -> None:
        """Restart the timer."""
        self._until = time.monotonic() + seconds
        if self._timer is None:
            self._look_after(seconds)

    def stop(self) -> None:
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
