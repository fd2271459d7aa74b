"""Data whose units are not rows, columns or values, but groups or windows. It knows how to cut itself."""

from __future__ import annotations

import abc
import itertools
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import pandas as pd

from pdparallel.typing import UnitSink

__all__ = ["Data", "InColumns", "Units"]


class Units(abc.ABC):
    """Units in order, with the data that they are cut from; pickled as a whole or in parts."""

    @property
    def by_chunk(self) -> bool:
        """Whether each task carries its part of the data; else the whole is sent once, and workers cut it."""
        return False  # True for Python objects, which must be pickled one by one

    @property
    def big_bytes(self) -> int:
        """Bytes of data that is sent in parts because a copy of all would be too large; else 0."""
        return 0

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of units."""

    @abc.abstractmethod
    def cut(self, start: int, stop: int) -> Self:
        """Return the units at these positions with only the data that they need; views if possible."""

    @abc.abstractmethod
    def feed(self, sink: UnitSink, lazy: Any = None) -> None:
        """Pass each unit to the sink, in order, as pandas would; ``lazy`` is for groups."""


class InColumns(Units):
    """Units of several columns, one column after the other."""

    def __init__(self, columns: Sequence[Any]) -> None:
        self.columns = columns
        self._ends = list(itertools.accumulate(map(len, columns)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def place(self, position: int) -> tuple[int, int]:
        """Return the number of a unit's column, and the unit's position within it."""
        column = bisect_right(self._ends, position)
        return column, position - (self._ends[column - 1] if column else 0)

    def cut(self, start: int, stop: int) -> Self:
        stop = min(stop, len(self))
        if start == 0 and stop == len(self):
            return self
        if start >= stop:
            return type(self)([])
        (first, begin), (last, end) = self.place(start), self.place(stop)
        if first == last:
            return type(self)([self._cut(self.columns[first], begin, end)])
        # Columns between are not cut: a chunk may have hundreds.
        columns = list(self.columns[first:last])
        if begin:
            columns[0] = self._cut(columns[0], begin, len(columns[0]))
        if end:
            columns.append(self._cut(self.columns[last], 0, end))
        return type(self)(columns)

    def _cut(self, column: Any, start: int, stop: int) -> Any:
        """Return the units at these positions of a column."""
        return column[start:stop]


#: Data of a call: a frame, a Series, an array, a list of items, or data that cuts its own units.
Data: TypeAlias = pd.DataFrame | pd.Series | np.ndarray | list[Any] | Units
