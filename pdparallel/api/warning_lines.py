"""Places: at which line a warning of pandas points, in a call that was made through us.

pandas points to the first line on the stack that is not its own.  In between are lines of ours, which say nothing to
the user: with :func:`skip_own_lines` pandas goes on to who called us.
"""

from __future__ import annotations

import importlib
import types
from typing import Any

__all__ = ["skip_own_lines"]


def _find_stack_level() -> int:
    # The code of this runs in a module of pandas, in the place of pandas' own: all that it needs is imported here.
    import os
    import sys

    import pandas

    frame: Any = sys._getframe()
    theirs = os.path.dirname(pandas.__file__) + os.sep
    ours = os.path.dirname(os.path.dirname(frame.f_code.co_filename)) + os.sep
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
