"""Windows over columns of floats as units: a chunk has only the values that its windows need.

::

    values   0 1 2 3 4 5 6 7 8 9        a chunk with the windows of size 3 that end at 5, 6 and 7
                   [- - -]
                     [- - -]            has the values 3 to 7
                       [- - -]
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core.units import InColumns
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.typing import UnitSink

__all__ = ["Bounds", "ColumnWindows", "IrregularBounds", "RegularBounds", "WindowUnits", "bounds_of"]


class Bounds(abc.ABC):
    """Positions among some values at which windows start and stop."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of windows."""

    @abc.abstractmethod
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts and the stops."""

    @abc.abstractmethod
    def cut(self, start: int, stop: int) -> tuple[int, int, Bounds]:
        """Return the range of values that windows ``start:stop`` need, and the bounds within it."""


@dataclass(frozen=True, slots=True)
class RegularBounds(Bounds):
    """Bounds of windows of one size at one step, which need no arrays."""

    first: int
    size: int
    step: int
    n: int

    def __len__(self) -> int:
        return self.n

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(self.first, self.first + self.n * self.step, self.step, dtype=np.int64)
        return starts, starts + self.size

    def cut(self, start: int, stop: int) -> tuple[int, int, Bounds]:
        low = self.first + start * self.step
        return (
            low,
            self.first + (stop - 1) * self.step + self.size,
            RegularBounds(0, self.size, self.step, stop - start),
        )

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Return the windows as overlapping rows of an array: a row costs half as much as a slice."""
        one = values.itemsize
        return np.ndarray((self.n, self.size), values.dtype, values, self.first * one, (self.step * one, one))


@dataclass(frozen=True, slots=True, eq=False)
class IrregularBounds(Bounds):
    """Bounds of windows of any size and distance."""

    starts: np.ndarray
    stops: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self.starts, self.stops

    def cut(self, start: int, stop: int) -> tuple[int, int, Bounds]:
        starts, stops = self.starts[start:stop], self.stops[start:stop]
        low = int(starts.min())
        return low, int(stops.max()), IrregularBounds(starts - low, stops - low)


def bounds_of(starts: np.ndarray, stops: np.ndarray) -> Bounds:
    """Return regular bounds if the windows are regular, else irregular ones.

    >>> bounds_of(np.array([1, 3, 5]), np.array([4, 6, 8]))
    RegularBounds(first=1, size=3, step=2, n=3)
    """
    if len(starts) > 1:
        size, step = int(stops[0] - starts[0]), int(starts[1] - starts[0])
        if size > 0 and step > 0 and (stops - starts == size).all() and (np.diff(starts) == step).all():
            return RegularBounds(int(starts[0]), size, step, len(starts))
    return IrregularBounds(starts, stops)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnWindows:
    """Windows over one column."""

    values: np.ndarray  # floats, in the order in which windows see the rows
    bounds: Bounds
    index: pd.Index | None  # labels of the values; None if a window is an array
    #: Stride in memory of the values of a Series: 1, 2 or -1. Some functions sum strided values in another order.
    apart: int = 1

    def __len__(self) -> int:
        return len(self.bounds)

    def cut(self, start: int, stop: int) -> ColumnWindows:
        """Return the windows ``start:stop`` with only the values that they need."""
        low, high, bounds = self.bounds.cut(start, stop)
        return ColumnWindows(
            self.values[low:high], bounds, None if self.index is None else self.index[low:high], self.apart
        )

    def windows(self) -> Iterable[Any]:
        """Return the windows as pandas passes them."""
        # Iterating in C halves the cost of calling a light function.
        if self.index is None and isinstance(self.bounds, RegularBounds):
            return self.bounds.rows(self.values)
        starts, stops = self.bounds.arrays()
        slices = map(slice, starts.tolist(), stops.tolist())
        if self.index is None:
            return map(self.values.__getitem__, slices)
        values = self.values
        if self.apart != 1:
            values = np.empty(len(values) * abs(self.apart))[:: self.apart]
            values[:] = self.values
        return map(pd.Series(values, index=self.index, copy=False).iloc.__getitem__, slices)


class WindowUnits(InColumns):
    """Windows of several columns as units, column by column; each column has a window."""

    columns: Sequence[ColumnWindows]

    def _cut(self, column: ColumnWindows, start: int, stop: int) -> ColumnWindows:
        return column.cut(start, stop)

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        # pandas silences divisions by zero around its own loop, too.
        with np.errstate(all="ignore"):
            # One iterable: if the function raises StopIteration in one column, no other column follows.
            sink.call_each(itertools.chain.from_iterable(column.windows() for column in self.columns))
