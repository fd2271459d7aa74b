"""Send only the columns that a function reads from its rows.

That needs a function whose code does nothing with its row but read columns by their labels: ``row["a"]`` or ``row.a``.
All other functions get all columns. The rows of the smaller frame have values of the same types.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core.call import Call
from pdparallel.data.fastpath.labels_read import labels_read
from pdparallel.data.values import first_row

__all__ = ["narrowed", "narrowing"]

#: Number of values in unread columns from which it pays to leave them out: that takes about a millisecond.
MIN_UNREAD = 50_000

#: Label of a column that makes rows objects, as an unread column of texts does. No function names it.
_MIXED = "__pdparallel_mixed__"

#: Function that returns a frame of the columns that a function reads, from the whole frame or some of its rows.
Narrowing = Callable[[pd.DataFrame], pd.DataFrame]


def narrowed(call: Call) -> Call:
    """Return the call with only the columns that its function reads; the call itself if it may need others."""
    narrow = narrowing(call)
    if narrow is None:
        return call
    data: Any = call.data
    return replace(call, data=narrow(data), work=replace(call.work, views=None))


def narrowing(call: Call) -> Narrowing | None:
    """Return how to leave out unread columns; None if all are needed, or if that saves little."""
    df, work = call.data, call.work
    if work.unit_format != "row" or type(df) is not pd.DataFrame or len(df) * df.shape[1] < MIN_UNREAD:
        return None
    func: Any = work.func
    place = 0
    while type(func) is functools.partial:
        func, place = func.func, place + len(func.args)
    labels = df.columns
    if isinstance(labels, pd.MultiIndex) or not labels.is_unique:
        return None
    read = labels_read(func, place, labels, constants_only=True)
    if not read or len(df) * (len(labels) - len(read)) < MIN_UNREAD:
        return None
    places = np.flatnonzero(labels.isin(read)).tolist()
    first = first_row(df)
    for narrow in _ways(places, first.dtype):
        if _is_same(first_row(narrow(df.iloc[:1])), first, sorted(read)):
            return narrow
    return None


def _ways(places: list[int], dtype: Any) -> list[Narrowing]:
    """Return the frames whose rows may have the same types as those of the whole frame."""

    def plain(df: pd.DataFrame) -> pd.DataFrame:
        return df.iloc[:, places]

    def converted(df: pd.DataFrame) -> pd.DataFrame:
        return df.iloc[:, places].astype(dtype)

    def mixed(df: pd.DataFrame) -> pd.DataFrame:
        return df.iloc[:, places].assign(**{_MIXED: np.zeros(len(df), bool)})

    is_number = isinstance(dtype, np.dtype) and dtype.kind in "biuf"
    return [plain, converted] if is_number else [plain, mixed]


def _is_same(row: pd.Series, first: pd.Series, read: list[str]) -> bool:
    """Return whether a row has the same dtype as the first row of the whole frame, and values of the same types."""
    return bool(row.dtype == first.dtype) and all(type(row[label]) is type(first[label]) for label in read)
