"""Values that pandas passes to a function, made from the backing array or recorded in a pandas call."""

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
    "first_row",
    "is_plain",
    "iter_python_values",
    "values_pandas_would_pass",
]

#: Kinds of NumPy dtypes whose ``tolist()`` gives the objects that pandas passes to a function.
KINDS = "biufcO"

#: Number of values from which the bytes of a frame are measured: fewer are small, unless they are long strings.
CELLS_WORTH_A_LOOK = 1_000_000


def is_plain(dtype: Any) -> bool:
    """Return whether pandas passes the same value if it has only a part of the column."""
    # Categoricals and sparse data are mapped by category or fill value.
    # One missing value makes floats of all nullable or Arrow numbers.
    return isinstance(dtype, (np.dtype, pd.DatetimeTZDtype, pd.StringDtype))


def first_row(df: pd.DataFrame) -> pd.Series:
    """Return the first row as pandas passes it to a function."""
    seen: list[pd.Series] = []
    look: Any = seen.append
    df.iloc[:1].apply(look, axis=1)
    return seen[0]


def bytes_of(data: pd.DataFrame | pd.Series) -> int:
    """Return the bytes of the values without Python objects; 0 if there are too few values to measure."""
    if data.size < CELLS_WORTH_A_LOOK:
        return 0
    return int(np.sum(data.memory_usage(index=False)))


def backing_array(s: pd.Series) -> Any:
    """Return the array of a Series of a plain dtype, the input of :func:`iter_python_values`."""
    # NumPy makes the same objects; pandas takes twenty times as long to start.
    return s.to_numpy() if isinstance(s.dtype, np.dtype) and s.dtype.kind in KINDS else s.array


def iter_python_values(values: Any) -> Iterable[Any]:
    """Return the values that the function gets, in order.

    >>> list(iter_python_values(pd.array(pd.to_datetime(["2024-01-01"]))))
    [Timestamp('2024-01-01 00:00:00')]
    """
    if isinstance(values, list):
        # A function may test ``value is np.nan``, as pandas does, and a NaN that was sent is another object.
        return (np.nan if type(item) is float and item != item else item for item in values)
    objects: list[Any] = (values if isinstance(values, np.ndarray) else values.astype(object)).tolist()
    return objects


def values_pandas_would_pass(ask: Callable[[Func], Any]) -> list[Any] | None:
    """Record the values that pandas passes to an identity function, in order; None if it rejects the returns."""
    seen: list[Any] = []

    def look(value: Any) -> Any:
        seen.append(value)
        return value

    try:
        ask(look)
    except ValueError:  # sparse data that store fill values
        return None
    return seen


def converted(df: Any, unit_format: UnitFormat, dtypes: Sequence[Any]) -> Any:
    """Return the frame whose rows do not depend on how it is cut; None if that is the frame itself."""
    if not unit_format.startswith("row") or unit_format == "row-array":
        return None
    # pandas converts the whole frame before the first call.
    places = [at for at, dtype in enumerate(dtypes) if _depends_on_all(dtype, df, at)]
    if not places:
        return None
    if unit_format in ("row", "row-broadcast"):
        # If the columns have an extension dtype in common, pandas makes each row by itself.
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
    """Return whether the conversion of a value depends on other values of its column."""
    if isinstance(dtype, pd.CategoricalDtype):  # its integers become floats if one is missing
        kind = dtype.categories.dtype
        number = isinstance(kind, np.dtype) and kind.kind in "iub"
        return (number or isinstance(kind, pd.IntervalDtype)) and bool(df.iloc[:, at].hasnans)
    # Lists in Arrow become arrays of floats if a list has a missing value.
    in_arrow: Any = getattr(dtype, "pyarrow_dtype", None)
    return in_arrow is not None and bool(in_arrow.num_fields)


# All values of a frame as one sequence of units, so that many short columns are one call

#: Largest number of rows of a frame of one dtype that is read as one array: it may be a copy.
SHORT = 10_000

#: Number of columns from which those of one dtype are sent as one array: an array costs as much as some hundred values.
CONCAT_MIN_COLUMNS = 64


class FrameValues(InColumns):
    """Values of some columns as units; a column is a list if only pandas knows what it passes."""

    @property
    def by_chunk(self) -> bool:
        """Whether some values are Python objects."""
        return any(type(column) is list or column.dtype == object for column in self.columns)

    @property
    def sizes(self) -> list[int]:
        """Number of values of each column."""
        return list(map(len, self.columns))

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        sink.call_each(self.values())

    def values(self) -> Iterator[Any]:
        """Iterate over the values that the function gets, in order."""
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
    """Return the values that ``df.map(func, na_action)`` passes, in order; None if only pandas can know."""
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
