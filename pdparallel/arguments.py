"""Arguments: what may be given to a verb, checked before anything is cut or sent, so that a mistake costs nothing.

Options are not here: they may also come from a context, the process or the environment (:mod:`pdparallel.options`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from pdparallel.errors import InvalidOptionError
from pdparallel.typing import Hand

__all__ = [
    "axis_number",
    "check_combine",
    "check_func",
    "check_result_type",
    "goes_to_pandas",
    "neighbours",
    "row_hand",
]

_ROW_HANDS: dict[str, Hand] = {
    "series": "row",
    "namedtuple": "row-namedtuple",
    "tuple": "row-tuple",
    "dict": "row-dict",
    "array": "row-array",
}


def check_func(func: Any) -> None:
    """Refuse what cannot be called.

    Raises
    ------
    InvalidOptionError
    """
    if not callable(func):
        raise InvalidOptionError("func", func, "something that can be called with a row, column, chunk or value")


def goes_to_pandas(func: Any) -> bool:
    """What pandas does not call for each unit: names, lists and dicts of functions, ufuncs."""
    return isinstance(func, (str, np.ufunc)) or is_list_like(func)


def check_result_type(result_type: Any) -> None:
    """Refuse a ``result_type`` that pandas does not know.

    Raises
    ------
    InvalidOptionError
    """
    if result_type not in (None, "expand", "reduce", "broadcast"):
        raise InvalidOptionError("result_type", result_type, "None, 'expand', 'reduce' or 'broadcast'")


def check_combine(combine: Any) -> None:
    """Refuse a ``combine`` that says nothing about the results of chunks.

    Raises
    ------
    InvalidOptionError
    """
    if not (callable(combine) or combine in ("auto", "concat", "list")):
        raise InvalidOptionError("combine", combine, "'auto', 'concat', 'list', or a function of the list of results")


def axis_number(axis: Any) -> int:
    """The number of an axis that pandas would take: 0 is a call for each column, 1 for each row.

    Raises
    ------
    InvalidOptionError
    """
    if axis in (0, "index", "rows"):
        return 0
    if axis in (1, "columns"):
        return 1
    raise InvalidOptionError("axis", axis, "0, 'index', 1 or 'columns'")


def row_hand(rows: Any, df: pd.DataFrame, raw: bool, result_type: Any) -> Hand:
    """How a row is handed out, by ``rows=`` and what else was given.

    Raises
    ------
    InvalidOptionError
        For a kind that is not known, or that does not go with the others or with the frame's labels.
    """
    if not (isinstance(rows, str) and rows in _ROW_HANDS):
        raise InvalidOptionError("rows", rows, "one of " + ", ".join(map(repr, _ROW_HANDS)))
    if rows != "series":
        if raw:
            raise InvalidOptionError("rows", rows, "'series' with raw=True", "raw=True hands out arrays by itself.")
        if result_type == "broadcast":
            raise InvalidOptionError("rows", rows, "'series' with result_type='broadcast'")
        if rows == "dict" and not df.columns.is_unique:
            raise InvalidOptionError(
                "rows", rows, "another kind where column labels repeat", "A dict would lose columns."
            )
    return _ROW_HANDS[rows]


def neighbours(overlap: Any) -> tuple[int, int]:
    """The rows before and after its own that a chunk gets, by ``overlap=``.

    Raises
    ------
    InvalidOptionError

    Examples
    --------
    >>> neighbours(None), neighbours(2), neighbours((1, 0))
    ((0, 0), (2, 2), (1, 0))
    """
    if overlap is None:
        return 0, 0
    pair = (overlap, overlap) if isinstance(overlap, (int, np.integer)) else overlap
    if (
        isinstance(overlap, bool)
        or not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(side, (int, np.integer)) and side >= 0 for side in pair)
    ):
        raise InvalidOptionError("overlap", overlap, "a number of rows, or two: (before, after)")
    return int(pair[0]), int(pair[1])
