"""Position of a lazy group within its chunk, and the data that all groups of a chunk share."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2, no_copy

__all__ = ["GroupSlice", "Labels", "Source", "TimedSource", "is_array", "with_array"]

#: Kinds of NumPy dtypes whose array is all that a column consists of.
_KINDS = "biufcO"


class Source:
    """Rows of a chunk of groups, with a cache of its columns."""

    __slots__ = ("_columns", "became", "counts", "data", "handed", "has_texts", "index", "places", "plain_group")

    def __init__(self, data: Any, plain_group: Callable[[Any], Any]) -> None:
        self.data = data
        self.plain_group = plain_group
        self.index: pd.Index = data.index
        self.has_texts = self.index.nlevels != 1 or self.index.dtype.kind not in "iufmM"
        self.places = set(data.columns) if data.ndim == 2 else set()
        # Results of arithmetic inherit attrs and flags. If there are any, pandas does the arithmetic.
        self.counts = not data.attrs and data.flags.allows_duplicate_labels
        self._columns: dict[str, tuple[np.ndarray | None, pd.Series]] = {}
        self.became = 0  # units that materialized because the function needed it
        self.handed: list[weakref.ref[Any]] = []  # lazy columns of the current group

    def index_at(self, start: int, stop: int) -> pd.Index:
        return self.index[start:stop]

    def column(self, label: str) -> tuple[np.ndarray | None, pd.Series]:
        """Return the array of a column of all rows (None if it is more than an array) and the column."""
        found = self._columns.get(label)
        if found is None:
            found = self._columns[label] = with_array(self.data[label])
        return found


class TimedSource(Source):
    """Source of one pandas group, with the group's own index; measures the seconds to make its columns."""

    __slots__ = ("seconds",)

    def __init__(self, unit: Any, plain_group: Callable[[Any], Any]) -> None:
        super().__init__(unit, plain_group)
        self.seconds = 0.0

    def column(self, label: str) -> tuple[np.ndarray | None, pd.Series]:
        began = perf_counter()
        try:
            return super().column(label)
        finally:
            self.seconds += perf_counter() - began

    def index_at(self, start: int, stop: int) -> pd.Index:
        return self.index


def is_array(dtype: Any) -> bool:
    """Return whether a column of this dtype is no more than a NumPy array."""
    return isinstance(dtype, np.dtype) and dtype.kind in _KINDS


def with_array(column: pd.Series) -> tuple[np.ndarray | None, pd.Series]:
    """Return the array of a column (None if it is more than an array) and the column."""
    return column.to_numpy() if is_array(column.dtype) else None, column


class GroupSlice:
    """Range of a group among the rows of its chunk."""

    __slots__ = ("columns", "group", "known_index", "source", "start", "stop")

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self.source = source
        self.start = start
        self.stop = stop
        self.known_index: pd.Index | None = None
        # pandas 2 only: a column materializes with its group, and is always the same Series.
        self.group: weakref.ref[Any] | None = None
        self.columns: dict[str, Any] | None = None

    @property
    def index(self) -> pd.Index:
        found = self.known_index
        if found is None:
            found = self.known_index = self.source.index_at(self.start, self.stop)
        return found

    def frame(self) -> Any:
        """Return the rows as pandas cuts them, with that index."""
        frame = self.source.data.iloc[self.start : self.stop]
        frame.index = self.index
        return no_copy(frame)


class Labels:
    """Index that a column and the results of arithmetic with it share; made when it is read."""

    __slots__ = ("_cut", "made")

    def __init__(self, cut: GroupSlice) -> None:
        self._cut = cut
        self.made: pd.Index | None = None

    @property
    def index(self) -> pd.Index:
        """The index; pandas 3 gives each column of a frame a view of its own."""
        if self.made is None:
            index = self._cut.index
            self.made = index if PANDAS_2 or self._cut.source.data.ndim == 1 else index.view()
        return self.made
