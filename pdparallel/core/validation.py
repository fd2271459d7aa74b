"""Validation of a method's arguments before anything is cut or sent, so that a mistake costs nothing.

:mod:`pdparallel.core.options` validates options, which may also come from a context, the process or the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_dict_like, is_list_like

from pdparallel.compat import PANDAS_2
from pdparallel.core.mistakes import closest, unknown_value
from pdparallel.errors import InvalidOptionError
from pdparallel.typing import Func, UnitFormat

__all__ = [
    "axis_number",
    "check_combine",
    "check_func",
    "check_na_action",
    "check_result_type",
    "column_labels",
    "goes_to_pandas",
    "is_called_by_map",
    "neighbours",
    "row_format",
]

_ROW_FORMATS: dict[str, UnitFormat] = {
    "series": "row",
    "namedtuple": "row-namedtuple",
    "tuple": "row-tuple",
    "dict": "row-dict",
    "array": "row-array",
}

#: Largest number of unknown labels that an error names.
MAX_NAMED = 5


def check_func(func: Any) -> None:
    if not callable(func):
        hint = "Give the function itself: f, not f(...)."
        if isinstance(func, str):
            hint = f"pandas takes the name of a method: df.apply({func!r})."
        raise InvalidOptionError(
            "func", func, "a function, which is called with each row, column, chunk or value", hint
        )


def check_na_action(na_action: Any) -> None:
    if na_action not in (None, "ignore"):
        raise unknown_value("na_action", na_action, ("ignore",), " or None")


def goes_to_pandas(func: Any) -> bool:
    """Return True if pandas itself handles ``func``: names, ufuncs, lists and dicts of functions."""
    return isinstance(func, (str, np.ufunc)) or is_list_like(func)


def is_called_by_map(func: Any) -> TypeGuard[Func]:
    """Return True if ``Series.map`` calls ``func``; pandas 2 never calls a dict-like one, but looks values up in it."""
    return callable(func) and not (PANDAS_2 and is_dict_like(func))


def check_result_type(result_type: Any) -> None:
    if result_type not in (None, "expand", "reduce", "broadcast"):
        raise unknown_value("result_type", result_type, ("expand", "reduce", "broadcast"), ", or None")


def check_combine(combine: Any) -> None:
    if not (callable(combine) or combine in ("auto", "concat", "list")):
        more = ", or a function of the list of results"
        raise unknown_value("combine", combine, ("auto", "concat", "list"), more)


def axis_number(axis: Any) -> int:
    """Return the number of an axis: 0 calls the function with each column, 1 with each row."""
    if axis in (0, "index", "rows"):
        return 0
    if axis in (1, "columns"):
        return 1
    raise InvalidOptionError("axis", axis, "0, 'index', 1 or 'columns'")


def row_format(rows: Any, df: pd.DataFrame, raw: bool, result_type: Any) -> UnitFormat:
    """Return the row format for ``rows=``, or refuse it together with the other arguments."""
    if not (isinstance(rows, str) and rows in _ROW_FORMATS):
        raise unknown_value("rows", rows, _ROW_FORMATS)
    if rows != "series":
        if raw:
            raise InvalidOptionError("rows", rows, "'series' with raw=True", "raw=True gives arrays already.")
        if result_type == "broadcast":
            raise InvalidOptionError("rows", rows, "'series' with result_type='broadcast'")
        if rows == "dict" and not df.columns.is_unique:
            raise InvalidOptionError(
                "rows", rows, "another kind, because column labels repeat", "A dict would lose columns."
            )
    return _ROW_FORMATS[rows]


def neighbours(overlap: Any, by: Any) -> tuple[int, int] | None:
    """Return how many rows ``overlap=`` adds before and after a chunk; None without ``overlap=``.

    >>> neighbours(2, None), neighbours((1, 0), None)
    ((2, 2), (1, 0))
    """
    if overlap is None:
        return None
    pair = (overlap, overlap) if isinstance(overlap, (int, np.integer)) else overlap
    if (
        isinstance(overlap, bool)
        or not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(side, (int, np.integer)) and side >= 0 for side in pair)
    ):
        raise InvalidOptionError("overlap", overlap, "a number of rows, or two: (before, after)")
    if by is not None:
        raise InvalidOptionError("overlap", overlap, "None with by=", "Groups have no neighbours.")
    return int(pair[0]), int(pair[1])


def column_labels(df: pd.DataFrame, given: Any) -> Any:
    """Return the labels of ``columns=`` in a form that ``df[...]`` takes as a list; refuse unknown labels.

    >>> column_labels(pd.DataFrame({"a": [1], "b": [2]}), ("b", "a"))
    ['b', 'a']
    """
    _check_list(df, given)
    # An Index stays one, because ``df[index]`` takes its name. Mutable labels are copied.
    labels = given if isinstance(given, pd.Index) else given.copy() if isinstance(given, np.ndarray) else list(given)
    dtype = getattr(given, "dtype", None)
    if (dtype is not None and is_bool_dtype(dtype)) or (len(labels) and all(map(_is_bool, labels))):
        raise InvalidOptionError("columns", given, "a list of column labels", "For a mask: columns=df.columns[mask].")
    if _are_plain_texts(df, labels):
        return labels
    # Labels with levels or times can mean much, so pandas decides; it needs no rows for that.
    no_rows = df.iloc[:0]
    try:
        no_rows[labels]
    except Exception as error:
        unknown = {repr(label): label for label in labels if not _has(no_rows, label)}
        named = [name + _nearest(label, df.columns) for name, label in list(unknown.items())[:MAX_NAMED]]
        if len(unknown) > MAX_NAMED:
            named.append(f"and {len(unknown) - MAX_NAMED} more")
        hint = "The frame has no " + ", ".join(named) + "." if named else f"pandas says: {error}"
        refused = InvalidOptionError("columns", given, "labels of the frame's columns", hint)
        raise refused from None if named else error
    return labels


def _check_list(df: pd.DataFrame, given: Any) -> None:
    allowed = "a list of column labels"
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidOptionError("columns", given, allowed, f"Put a single label into a list: columns=[{given!r}].")
    if isinstance(given, tuple) and (df.columns.nlevels > 1 or any(isinstance(label, tuple) for label in df.columns)):
        hint = "The frame has tuples as labels, so a tuple is one label. Put labels into a list."
        raise InvalidOptionError("columns", given, allowed, hint)
    if isinstance(given, (set, frozenset, Mapping, pd.DataFrame)):
        raise InvalidOptionError("columns", given, allowed, f"pandas takes no {type(given).__name__} as one either.")


def _is_bool(label: Any) -> bool:
    return isinstance(label, (bool, np.bool_))


def _are_plain_texts(df: pd.DataFrame, labels: Any) -> bool:
    """Return True if all labels are known texts, as in most frames; pandas' check takes as long as the selection."""
    columns = df.columns
    plain = columns.nlevels == 1 and (columns.dtype == object or isinstance(columns.dtype, pd.StringDtype))
    return (
        plain
        and df.flags.allows_duplicate_labels
        and all(isinstance(label, str) and label in columns for label in labels)
    )


def _has(df: pd.DataFrame, label: Any) -> bool:
    try:
        df[[label]]
    except Exception:  # the class depends on the kind of labels
        return False
    return True


def _nearest(label: Any, columns: pd.Index) -> str:
    """Return the label that was probably meant, in brackets, or an empty text."""
    # With levels, a label of the first one selects all columns below it.
    known = {str(each).casefold(): each for each in [*columns, *columns.get_level_values(0)]}
    # Similar digits do not make similar numbers, so a number must match exactly: "3" for 3.
    cutoff = 0.6 if isinstance(label, (str, tuple)) else 1.0
    near = closest(str(label).casefold(), known, cutoff)
    return "" if near is None else f" (nearest: {known[near]!r})"
