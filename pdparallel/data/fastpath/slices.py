"""Cuts: where a lazy group stands among the rows of its chunk, and what all groups of a chunk have in common."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2, no_copy

__all__ = ["GroupSlice", "Labels", "Source", "TimedSource", "is_array", "with_array"]

#: Kinds of dtypes whose arrays are all that there is to a column.
_KINDS = "biufcO"


class Source:
    """The rows of a chunk of groups, and what is known of its columns."""

    __slots__ = ("_columns", "became", "counts", "data", "handed", "has_texts", "index", "places", "plain_group")

    def __init__(self, data: Any, plain_group: Callable[[Any], Any]) -> None:
        self.data = data
        self.plain_group = plain_group
        self.index: pd.Index = data.index
        self.has_texts = self.index.nlevels != 1 or self.index.dtype.kind not in "iufmM"
        self.places = set(data.columns) if data.ndim == 2 else set()
        # What comes of arithmetic has the attrs and flags of what it is made of.
        self.counts = not data.attrs and data.flags.allows_duplicate_labels
        self._columns: dict[str, tuple[np.ndarray | None, pd.Series]] = {}
        self.became = 0
        self.handed: list[weakref.ref[Any]] = []

    def index_at(self, start: int, stop: int) -> pd.Index:
        """The labels of some rows."""
        return self.index[start:stop]

    def column(self, label: str) -> tuple[np.ndarray | None, pd.Series]:
        """A column of all rows, as an array if that is all that there is to it, and as a Series."""
        found = self._columns.get(label)
        if found is None:
            found = self._columns[label] = with_array(self.data[label])
        return found


class TimedSource(Source):
    """One group of pandas', with its very index; knows how long its columns took."""

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
    """Whether an array of NumPy is all that there is to a column of a dtype."""
    return isinstance(dtype, np.dtype) and dtype.kind in _KINDS


def with_array(column: pd.Series) -> tuple[np.ndarray | None, pd.Series]:
    """A column, and before it its array where that is all that there is to it."""
    return column.to_numpy() if is_array(column.dtype) else None, column


class GroupSlice:
    """Where a group stands among the rows of its chunk."""

    __slots__ = ("columns", "group", "known_index", "source", "start", "stop")

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self.source = source
        self.start = start
        self.stop = stop
        self.known_index: pd.Index | None = None
        self.group: weakref.ref[Any] | None = None
        self.columns: dict[str, Any] | None = None

    @property
    def index(self) -> pd.Index:
        """The labels of the rows, of a group."""
        found = self.known_index
        if found is None:
            found = self.known_index = self.source.index_at(self.start, self.stop)
        return found

    def frame(self) -> Any:
        """The rows as pandas cuts them, with that index."""
        frame = self.source.data.iloc[self.start : self.stop]
        frame.index = self.index
        return no_copy(frame)


class Labels:
    """The index of a column, and of what comes of it by arithmetic, which is one object; made when it is asked for."""

    __slots__ = ("_cut", "made")

    def __init__(self, cut: GroupSlice) -> None:
        self._cut = cut
        self.made: pd.Index | None = None

    @property
    def index(self) -> pd.Index:
        """Of a frame, pandas 3 gives each column an index of its own."""
        if self.made is None:
            index = self._cut.index
            self.made = index if PANDAS_2 or self._cut.source.data.ndim == 1 else index.view()
        return self.made
