"""Whether a thread runs a task: a call that it makes itself must not wait for other workers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["in_task", "is_in_task"]


class _Thread(threading.local):
    in_task = False


_thread = _Thread()


@contextlib.contextmanager
def in_task() -> Iterator[None]:
    """Mark this thread as running a task."""
    before, _thread.in_task = _thread.in_task, True
    try:
        yield
    finally:
        _thread.in_task = before


def is_in_task() -> bool:
    """Return whether this thread runs a task."""
    return _thread.in_task
