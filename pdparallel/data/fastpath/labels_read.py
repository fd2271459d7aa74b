"""Labels of columns that the code of a function reads from its row."""

from __future__ import annotations

import builtins
import types
from collections.abc import Collection
from typing import Any

import pandas as pd

from pdparallel.core.code_objects import steps_of
from pdparallel.data.fastpath.type_checks import only_reads

__all__ = ["cells_of", "labels_read", "value_loaded"]


def labels_read(func: Any, place: int, labels: Collection[Any], constants_only: bool = False) -> frozenset[str] | None:
    """Return the labels that a function reads from its row, if it does nothing else with it; all if it iterates.

    None if it may do something else: call a method, take a part, pass the row on, or assign. ``constants_only`` says
    that a key must stand in the code: the value of a variable may change.
    """
    if type(func) is not types.FunctionType or not only_reads(func.__code__, place):
        return None
    found: set[str] = set()
    row, steps, cells = func.__code__.co_varnames[place], steps_of(func.__code__), cells_of(func)
    for at, step in enumerate(steps):
        loaded = step.argval if type(step.argval) is tuple else (step.argval,)
        if "_FAST" not in step.opname or "LOAD" not in step.opname or row not in loaded:
            continue
        after, then = (*steps[at + 1 : at + 3], None, None)[:2]
        if loaded[-1] != row or after is None:  # the key is a local variable, and may be a list of labels
            return None
        if after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if after.argval == "name":
                continue
            if after.argval not in labels or hasattr(pd.Series, after.argval):
                return None
            found.add(after.argval)
        elif after.opname == "LOAD_CONST" or (after.opname in ("LOAD_GLOBAL", "LOAD_DEREF") and not constants_only):
            key = after.argval if after.opname == "LOAD_CONST" else value_loaded(after, func.__globals__, cells)
            if type(key) is not str or key not in labels or then is None or then.opname == "STORE_SUBSCR":
                return None
            found.add(key)
        elif after.opname in ("GET_ITER", "UNPACK_SEQUENCE"):
            found.update(labels)
        else:
            return None
    return frozenset(found)


def cells_of(func: types.FunctionType) -> dict[str, Any]:
    """Return the cells of the variables of outer functions, by name."""
    return dict(zip(func.__code__.co_freevars, func.__closure__ or (), strict=True))


def value_loaded(step: Any, space: dict[str, Any], cells: dict[str, Any]) -> Any:
    """Return the value of a global, a builtin, or a variable of an outer function."""
    name = step.argval
    if step.opname != "LOAD_GLOBAL":
        return cells[name].cell_contents
    return space[name] if name in space else getattr(builtins, name)
