"""Stopping: how a call is ended from another thread, where no signal reaches: it is asked, and looks between two steps.

A call that may be ended finds its :class:`CancelToken` in the context that it runs in.  What it raises then is no
:class:`Exception`, so that no function of a user's that makes a call of its own takes it for one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextvars import ContextVar

__all__ = ["CancelToken", "StoppedError", "begin", "current", "stoppable"]


class StoppedError(BaseException):
    """Ends a call that was asked to stop."""


class CancelToken:
    """What a call looks at, and who wants it to end tells."""

    def __init__(self) -> None:
        self.requested: Future[None] = Future()
        self.started = threading.Event()

    def cancel(self) -> None:
        """Have the call end."""
        with contextlib.suppress(InvalidStateError):  # it was asked before
            self.requested.set_result(None)

    def look(self) -> None:
        """Raise a :class:`StoppedError` where the call is to end."""
        if self.requested.done():
            raise StoppedError


_current: ContextVar[CancelToken | None] = ContextVar("pdparallel_stop", default=None)


def current() -> CancelToken | None:
    """That of the call around this one; None where nobody can ask it to end."""
    return _current.get()


def begin() -> None:
    """Say that the arguments of the call around this place are checked: it begins, whatever takes so long."""
    stop = _current.get()
    if stop is not None:
        stop.started.set()


@contextlib.contextmanager
def stoppable(stop: CancelToken) -> Iterator[None]:
    """Let the calls inside a ``with`` block look at it."""
    token = _current.set(stop)
    try:
        yield
    finally:
        _current.reset(token)
