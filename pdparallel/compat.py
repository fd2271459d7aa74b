"""Versions: which pandas this is, where the two that there are go different ways."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd

__all__ = ["PANDAS_2", "converting", "no_copy", "without_copy_warnings"]

#: Whether this is pandas 2, where a function that writes into what it is given writes into what that was cut from.
PANDAS_2 = int(pd.__version__.partition(".")[0]) < 3


def no_copy(group: Any) -> Any:
    """A group that was cut out by position, which pandas 2 would warn of when a function writes into it."""
    if PANDAS_2:
        object.__setattr__(group, "_is_copy", None)  # as it is in those that pandas cuts out itself
    return group


_lock = threading.Lock()

#: How many blocks want no such warnings now, and what the option was before the first of them.
_blocks, _before = 0, None


@contextlib.contextmanager
def without_copy_warnings() -> Iterator[None]:
    """Have pandas 2 say nothing when a function writes into its row or group, as pandas' own loops do.

    Blocks of several threads may overlap: the last to end puts the option back.
    """
    global _blocks, _before
    if not PANDAS_2:
        yield
        return
    with _lock:
        if not _blocks:
            _before = pd.get_option(_COPY_WARNINGS)
            if _before is not None:
                pd.set_option(_COPY_WARNINGS, None)
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks and _before is not None:
                pd.set_option(_COPY_WARNINGS, _before)


_COPY_WARNINGS = "mode.chained_assignment"


_converting = threading.RLock()


def converting() -> threading.RLock:
    """Held while pandas converts dtypes in a thread.

    pandas then changes the filters of warnings for a moment.  Before Python 3.14 all threads share them, and two such
    moments that overlap leave them changed.
    """
    return _converting


def _begin_after_fork() -> None:
    global _lock, _converting
    _lock, _converting = threading.Lock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)
