"""Differences between pandas 2 and pandas 3, and the line at which warnings of pandas point."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import types
from collections.abc import Iterator
from typing import Any

import pandas as pd

__all__ = ["PANDAS_2", "converting", "no_copy", "skip_own_lines", "without_copy_warnings"]

#: Whether this is pandas 2. There a function that writes into its unit writes into the data that it was cut from.
PANDAS_2 = int(pd.__version__.partition(".")[0]) < 3


def no_copy(group: Any) -> Any:
    """Return a group without the mark by which pandas 2 warns when a function writes into it."""
    if PANDAS_2:
        object.__setattr__(group, "_is_copy", None)  # as in groups that pandas cuts itself
    return group


_lock = threading.Lock()

#: Number of open blocks without warnings, and the option before the first of them.
_blocks, _before = 0, None


@contextlib.contextmanager
def without_copy_warnings() -> Iterator[None]:
    """Disable pandas 2's warnings when a function writes into its row or group, as pandas' own loops do."""
    # Blocks of several threads may overlap, so the last one restores the option.
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
    """Return the lock to hold while pandas converts dtypes."""
    # pandas changes the warning filters for a moment. Before Python 3.14 all threads share them, and two overlapping
    # moments leave them changed.
    return _converting


def _begin_after_fork() -> None:
    global _lock, _converting
    _lock, _converting = threading.Lock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


# The line at which a warning of pandas points, in a call through this package


def _find_stack_level() -> int:
    # This code replaces that of a function in a module of pandas, so it imports all that it needs.
    import os
    import sys

    import pandas

    frame: Any = sys._getframe()
    theirs = os.path.dirname(pandas.__file__) + os.sep
    ours = os.path.dirname(frame.f_code.co_filename) + os.sep
    tests, outside = theirs + "tests" + os.sep, os.path.dirname(os.__file__) + os.sep
    level = first_of_ours = 0
    is_task = False
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((theirs, ours)) or name.startswith(tests):
            break
        if name.startswith(ours) and level:
            first_of_ours = first_of_ours or level
            is_task = is_task or name == os.path.join(ours, "worker", "run_task.py")
        frame, level = frame.f_back, level + 1
    if is_task and (frame is None or frame.f_code.co_filename.startswith(outside)):
        return first_of_ours  # the stack of a worker has no line of the caller
    return level


def skip_own_lines() -> None:
    """Make pandas skip our lines when it looks for the user's line; do nothing if pandas has no such function."""
    try:
        found = importlib.import_module("pandas.util._exceptions").find_stack_level
    except (ImportError, AttributeError):
        return
    known = isinstance(found, types.FunctionType) and found.__code__.co_argcount + found.__code__.co_kwonlyargcount == 0
    if known and not found.__code__.co_freevars:
        found.__code__ = _find_stack_level.__code__  # pandas' modules have already imported the function itself
