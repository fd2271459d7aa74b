"""Versions: which pandas this is, where the two that there are go different ways."""

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
    """Have pandas 2 say nothing when a function writes into its row or group, as pandas' own loops do."""
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
    """Held while pandas converts dtypes in a thread."""
    return _converting


def _begin_after_fork() -> None:
    global _lock, _converting
    _lock, _converting = threading.Lock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


# Places: at which line a warning of pandas points, in a call that was made through us


def _find_stack_level() -> int:
    # The code of this runs in a module of pandas, in the place of pandas' own: all that it needs is imported here.
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
        return first_of_ours  # nobody who made the call is on the stack of a worker
    return level


def skip_own_lines() -> None:
    """Have pandas skip our lines, too, when it looks for the line of the user; does nothing if it looks otherwise."""
    try:
        found = importlib.import_module("pandas.util._exceptions").find_stack_level
    except (ImportError, AttributeError):
        return
    known = isinstance(found, types.FunctionType) and found.__code__.co_argcount + found.__code__.co_kwonlyargcount == 0
    if known and not found.__code__.co_freevars:
        found.__code__ = _find_stack_level.__code__  # under this name all modules of pandas have it already
