"""Cells: the values of all columns of a frame as one row of units, so that many short columns are one call.

They stand in the order in which ``DataFrame.map`` passes them to a function, column after column, and stay the arrays
that they are until a worker calls the function with them::

    column a   [ 0 ......... 999 ]
    column b                      [ 1,000 ...... 1,999 ]          positions
    chunks     [ 0 .... 699 ][ 700 ..... 1,399 ][ ... 1,999 ]     may begin and end within a column
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core.units import InColumns
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.data.values import KINDS, backing_array, is_plain, iter_python_values, values_pandas_would_pass
from pdparallel.typing import UnitSink

__all__ = ["FrameValues", "cells_of"]

#: Rows of a frame of one dtype up to which its values are looked up as one array: it may be a copy.
SHORT = 10_000

#: Columns from which they travel joined, dtype by dtype: each array by itself costs as much as some hundred values.
CONCAT_MIN_COLUMNS = 64


class FrameValues(InColumns):
    """Values of some columns.

    Parameters
    ----------
    columns : sequence of ndarray, ExtensionArray or list
        A list is of what pandas passes to a function where that is not known from the values alone.
    """

    @property
    def by_chunk(self) -> bool:
        """Whether there are objects of Python among them."""
        return any(type(column) is list or column.dtype == object for column in self.columns)

    @property
    def sizes(self) -> list[int]:
        """The number of values of each column."""
        return list(map(len, self.columns))

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        sink.call_each(self.values())

    def values(self) -> Iterator[Any]:
        """What the function gets, in order."""
        return itertools.chain.from_iterable(map(iter_python_values, self.columns))

    def __getstate__(self) -> Any:
        if len(self.columns) < CONCAT_MIN_COLUMNS:
            return list(self.columns)
        kinds: dict[Any, list[int]] = {}
        for at, column in enumerate(self.columns):
            kinds.setdefault(column.dtype if isinstance(column, np.ndarray) else at, []).append(at)
        return [
            (places, [len(self.columns[at]) for at in places], np.concatenate([self.columns[at] for at in places]))
            if isinstance(kind, np.dtype)
            else (places, None, self.columns[places[0]])
            for kind, places in kinds.items()
        ]

    def __setstate__(self, state: Any) -> None:
        if not state or type(state[0]) is not tuple:
            super().__init__(state)
            return
        columns: dict[int, Any] = {}
        for places, sizes, values in state:
            parts = [values] if sizes is None else np.split(values, list(itertools.accumulate(sizes))[:-1])
            columns.update(zip(places, parts, strict=True))
        super().__init__([columns[at] for at in range(len(columns))])


def cells_of(df: pd.DataFrame, dtypes: Sequence[Any], na_action: str | None) -> FrameValues | None:
    """What ``df.map(func, na_action)`` passes to the function, in order; None where only pandas can know.

    Parameters
    ----------
    df : DataFrame
        With a value at least.
    dtypes : sequence of dtype
        Of its columns.
    na_action : {None, "ignore"}
        With "ignore" missing values are not passed.
    """
    one = dtypes[0]
    if all(dtype == one for dtype in dtypes) and len(df) <= SHORT and isinstance(one, np.dtype) and one.kind in KINDS:
        columns: list[Any] = list(df.to_numpy().T)
    else:
        columns = [_column(column, na_action) for _, column in df.items()]
        if any(column is None for column in columns):
            return None
    if na_action == "ignore":
        columns = [column if type(column) is list else column[~pd.isna(column)] for column in columns]
    return FrameValues(columns)


def _column(s: pd.Series, na_action: str | None) -> Any:
    array: Any = s.array
    return (
        backing_array(s)
        if is_plain(s.dtype)
        else values_pandas_would_pass(lambda look: array.map(look, na_action=na_action))
    )
