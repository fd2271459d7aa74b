"""Units: data of which a unit is neither a row nor a column nor a value, as groups and windows: it cuts itself."""

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
    """So many units in order, and what they are cut from; pickled as a whole, or in parts that were cut."""

    @property
    def by_chunk(self) -> bool:
        """Whether each part travels with its chunk; else the whole travels once, and is cut where it arrives."""
        return False

    @property
    def big_bytes(self) -> int:
        """Bytes of what travels with its chunk because a copy of all would be too much; else 0."""
        return 0

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of units."""

    @abc.abstractmethod
    def cut(self, start: int, stop: int) -> Self:
        """The units at these positions, with what they need and no more; views, where that is possible."""

    @abc.abstractmethod
    def feed(self, sink: UnitSink, lazy: Any = None) -> None:
        """Give the sink each unit, in order, as pandas hands it out; ``lazy`` is for those that are groups."""


class InColumns(Units):
    """Units that stand column after column."""

    def __init__(self, columns: Sequence[Any]) -> None:
        self.columns = columns
        self._ends = list(itertools.accumulate(map(len, columns)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def place(self, position: int) -> tuple[int, int]:
        """The number of the column of a unit, and the position of the unit within it."""
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
        # Those between stay as they are: a chunk may have hundreds.
        columns = list(self.columns[first:last])
        if begin:
            columns[0] = self._cut(columns[0], begin, len(columns[0]))
        if end:
            columns.append(self._cut(self.columns[last], 0, end))
        return type(self)(columns)

    def _cut(self, column: Any, start: int, stop: int) -> Any:
        """The units at these positions within a column."""
        return column[start:stop]


#: What a call works on: rows, columns and chunks of a frame, values of a Series, a plain array, a list of items, or
#: what knows its units itself.
Data: TypeAlias = pd.DataFrame | pd.Series | np.ndarray | list[Any] | Units
