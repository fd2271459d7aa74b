"""Ending: what is seen to when the pools are let go and when the process ends, before others end what is theirs."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.util  # noqa: F401 - it registers its own end when it is imported, which is to come after ours
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["AT_SHUTDOWN", "IdleTimer", "at_exit", "calls_end_first"]

#: What is waited for when the pools are let go: calls that are about to give theirs back.
AT_SHUTDOWN: list[Callable[[], None]] = []

_calls: list[Callable[[], None]] = []
_pools: list[Callable[[], None]] = []


def at_exit(ending: Callable[[], None], *, of_pools: bool = False) -> None:
    """Have something done when the process ends, what was asked for last first."""
    (_pools if of_pools else _calls).append(ending)
    calls_end_first()


def calls_end_first() -> None:
    """Have the calls end, when the process does, before the pools that any library imported so far ends by itself."""
    atexit.unregister(_end_all)
    atexit.register(_end_all)


def _end_all() -> None:
    with contextlib.ExitStack() as stack:
        for ending in (*_pools, *_calls):
            stack.callback(ending)


# Idle: lets go what nobody has used for some time, with one thread for many uses, because each timer is a thread


class IdleTimer:
    """Calls ``let_go`` once as many seconds have passed since the last use as that use said."""

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
