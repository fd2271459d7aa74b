"""Cancellation of a call from another thread, which no signal reaches.

A call checks the :class:`CancelToken` of its context between two steps, and raises :class:`StoppedError`.
That is no :class:`Exception`: a user's function may make calls of its own, and must not catch it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = [
    "CancelToken", "StoppedError", "callers_loop", "cancellable", "current", "ending", "mark_started", "pause",
    "running_loop",
]  # fmt: skip

#: Longest sleep in seconds between two checks.
SLICE_SECONDS = 0.1


class StoppedError(BaseException):
    """Exception that ends a cancelled call."""


class CancelToken:
    """Request to end a call, which the call checks between two steps."""

    def __init__(self, loop: AbstractEventLoop | None = None) -> None:
        #: The loop on which the call was made, and on which its coroutines run.
        self.loop = loop
        #: True as soon as coroutines of the call run there.
        self.uses_loop = False
        #: Done after :meth:`cancel`. It is a future, so that a wait for tasks can include it.
        self.requested: Future[None] = Future()
        #: Set when the arguments of the call are valid, and its work starts.
        self.started = threading.Event()

    def cancel(self) -> None:
        """Request the end of the call."""
        with contextlib.suppress(InvalidStateError):  # cancelled before
            self.requested.set_result(None)

    def raise_if_cancelled(self) -> None:
        """Raise :class:`StoppedError` if the call is cancelled."""
        if self.requested.done():
            raise StoppedError


_current: ContextVar[CancelToken | None] = ContextVar("pdparallel_stop", default=None)


def current() -> CancelToken | None:
    """Return the token of the call in this context; None if nobody can cancel it."""
    return _current.get()


def running_loop() -> AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if there is one."""
    asyncio = sys.modules.get("asyncio")  # without it no loop runs
    try:
        return None if asyncio is None else asyncio.get_running_loop()
    except (RuntimeError, AttributeError):  # none runs, or another thread is importing asyncio
        return None


def callers_loop() -> AbstractEventLoop | None:
    """Return the event loop on which the call of this context was made, and on which its coroutines run, or None."""
    stop = _current.get()
    if stop is None or stop.loop is None or running_loop() is stop.loop:
        return None  # a call that a coroutine makes must not wait for the coroutine's own loop
    stop.uses_loop = True
    return stop.loop


def mark_started() -> None:
    """Mark the call of this context as started: its arguments are valid, and the rest may take long."""
    stop = _current.get()
    if stop is not None:
        stop.started.set()


@contextlib.contextmanager
def cancellable(stop: CancelToken) -> Iterator[None]:
    """Make a token the current one for calls inside a ``with`` block."""
    token = _current.set(stop)
    try:
        yield
    finally:
        _current.reset(token)


#: Set when the engine that runs a task is closed before the task has ended.
_ended: ContextVar[threading.Event | None] = ContextVar("pdparallel_ended", default=None)


@contextlib.contextmanager
def ending(ended: threading.Event) -> Iterator[None]:
    """Give an event to the threads of an engine that is made inside a ``with`` block; if it is set, pauses end."""
    token = _ended.set(ended)
    try:
        yield
    finally:
        _ended.reset(token)


def pause(seconds: float) -> None:
    """Sleep, but raise :class:`StoppedError` soon after the end of the call."""
    stop, ended = _current.get(), _ended.get()
    until = time.monotonic() + seconds
    while True:
        if stop is not None:
            stop.raise_if_cancelled()
        if ended is not None and ended.is_set():
            raise StoppedError
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, SLICE_SECONDS))
