"""Ending: what is seen to when the pools are let go and when the process ends, before others end what is theirs."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.util  # noqa: F401 - it registers its own end when it is imported, which is to come after ours
from collections.abc import Callable

__all__ = ["AT_SHUTDOWN", "at_exit", "calls_end_first"]

#: What is waited for when the pools are let go: calls that are about to give theirs back.
AT_SHUTDOWN: list[Callable[[], None]] = []

_calls: list[Callable[[], None]] = []
_pools: list[Callable[[], None]] = []


def at_exit(ending: Callable[[], None], *, of_pools: bool = False) -> None:
    """Have something done when the process ends, what was asked for last first.

    Parameters
    ----------
    ending : callable
        Ends calls that are under way.
    of_pools : bool, default False
        Ends pools: when no call has them any more.
    """
    (_pools if of_pools else _calls).append(ending)
    calls_end_first()


def calls_end_first() -> None:
    """Have the calls end, when the process does, before the pools that any library imported so far ends by itself.

    Such a library ends workers in the middle of a task: one of them may hold a lock, for which it then waits for ever.
    """
    atexit.unregister(_end_all)
    atexit.register(_end_all)


def _end_all() -> None:
    with contextlib.ExitStack() as stack:
        for ending in (*_pools, *_calls):
            stack.callback(ending)
