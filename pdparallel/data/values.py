"""Values: the objects that a function of a value gets from pandas, made of what holds them, or found by asking it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype

from pdparallel.core.units import InColumns
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.typing import Func, UnitFormat, UnitSink

__all__ = [
    "KINDS",
    "FrameValues",
    "backing_array",
    "bytes_of",
    "cells_of",
    "converted",
    "is_plain",
    "iter_python_values",
    "values_pandas_would_pass",
]

#: Kinds of NumPy dtypes whose arrays give as a list what pandas passes to a function.
KINDS = "biufcO"

#: Values from which it is asked how many bytes a frame has: fewer are not big, but for long texts.
CELLS_WORTH_A_LOOK = 1_000_000


def is_plain(dtype: Any) -> bool:
    """Whether a value looks the same to a function when pandas is given a part of the column only."""
    return isinstance(dtype, (np.dtype, pd.DatetimeTZDtype, pd.StringDtype))


def bytes_of(data: pd.DataFrame | pd.Series) -> int:
    """Bytes of the values, as far as they are no objects of Python; 0 where it takes longer to ask than it is worth."""
    if data.size < CELLS_WORTH_A_LOOK:
        return 0
    return int(np.sum(data.memory_usage(index=False)))


def backing_array(s: pd.Series) -> Any:
    """What holds the values of a Series of a plain dtype: an array of which :func:`passed` makes what pandas passes."""
    # NumPy makes the same objects as pandas, which takes twenty times as long to begin.
    return s.to_numpy() if isinstance(s.dtype, np.dtype) and s.dtype.kind in KINDS else s.array


def iter_python_values(values: Any) -> Iterable[Any]:
    """What a function of a value gets, in order.

    >>> list(iter_python_values(pd.array(pd.to_datetime(["2024-01-01"]))))
    [Timestamp('2024-01-01 00:00:00')]
    """
    if isinstance(values, list):
        # A function may ask whether a value *is* np.nan, as pandas does too; a nan that travelled is another object.
        return (np.nan if type(item) is float and item != item else item for item in values)
    objects: list[Any] = (values if isinstance(values, np.ndarray) else values.astype(object)).tolist()
    return objects


def values_pandas_would_pass(ask: Callable[[Func], Any]) -> list[Any] | None:
    """What pandas calls a function with, in order, found by letting it call one that changes nothing."""
    seen: list[Any] = []

    def look(value: Any) -> Any:
        seen.append(value)
        return value

    try:
        ask(look)
    except ValueError:
        return None
    return seen


def converted(df: Any, unit_format: UnitFormat, dtypes: Sequence[Any]) -> Any:
    """The frame whose rows look the same whatever it is cut into; None if that is the frame itself."""
    if not unit_format.startswith("row") or unit_format == "row-array":
        return None
    places = [at for at, dtype in enumerate(dtypes) if _depends_on_all(dtype, df, at)]
    if not places:
        return None
    if unit_format in ("row", "row-broadcast"):
        # Of an extension dtype in common pandas makes each row by itself.
        if isinstance((df.iloc[0] if unit_format == "row" else df.iloc[:1].T.iloc[:, 0]).dtype, ExtensionDtype):
            return None
        values = df.to_numpy()
        made = df._constructor(values, index=df.index, columns=df.columns, dtype=values.dtype, copy=False)
        return made.__finalize__(df)
    made = df.copy(deep=False)
    for at in places:
        made.isetitem(at, pd.Series(list(df.iloc[:, at]), index=df.index, dtype=object))
    return made


def _depends_on_all(dtype: Any, df: pd.DataFrame, at: int) -> bool:
    """Whether what a value of a column becomes depends on the others."""
    if isinstance(dtype, pd.CategoricalDtype):
        kind = dtype.categories.dtype
        number = isinstance(kind, np.dtype) and kind.kind in "iub"
        return (number or isinstance(kind, pd.IntervalDtype)) and bool(df.iloc[:, at].hasnans)
    in_arrow: Any = getattr(dtype, "pyarrow_dtype", None)
    return in_arrow is not None and bool(in_arrow.num_fields)


# Cells: the values of all columns of a frame as one row of units, so that many short columns are one call

#: Rows of a frame of one dtype up to which its values are looked up as one array: it may be a copy.
SHORT = 10_000

#: Columns from which they travel joined, dtype by dtype: each array by itself costs as much as some hundred values.
CONCAT_MIN_COLUMNS = 64


class FrameValues(InColumns):
    """Values of some columns."""

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
    """What ``df.map(func, na_action)`` passes to the function, in order; None where only pandas can know."""
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
