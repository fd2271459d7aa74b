"""Ending: what is seen to when the pools are let go and when the process ends, before others end what is theirs."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable

__all__ = ["AT_EXIT", "AT_SHUTDOWN", "calls_end_first"]

#: What is waited for when the pools are let go: calls that are about to give theirs back.
AT_SHUTDOWN: list[Callable[[], None]] = []

#: What ends the calls that are under way at the end of the process; the last one first.
AT_EXIT: list[Callable[[], None]] = []


def calls_end_first() -> None:
    """Have the calls end, when the process does, before the pools that any library imported so far ends by itself.

    Such a library ends workers in the middle of a task: one of them may hold a lock, for which it then waits for ever.
    """
    atexit.unregister(_end_calls)
    atexit.register(_end_calls)


def _end_calls() -> None:
    with contextlib.ExitStack() as stack:
        for ending in AT_EXIT:
            stack.callback(ending)
