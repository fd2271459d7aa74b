"""Spans: windows over columns of floats as units, so that a chunk carries the values that its windows need, no more.

::

    values   0 1 2 3 4 5 6 7 8 9        windows of three, the chunk of those that end at 5, 6 and 7:
                   [- - -]
                     [- - -]            it has the values 3 to 7
                       [- - -]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.lean.groups import LeanGroups
from pdparallel.typing import Taker
from pdparallel.units import InColumns

__all__ = ["Span", "Spans"]


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Windows over one column.

    Attributes
    ----------
    values : ndarray of float64
        Of the column, in the order in which the windows see the rows.
    starts, stops : ndarray of int64
        Of each window, as positions among the values.
    index : Index or None
        Labels of the values, where a window is handed out as a Series; else it is an array.
    apart : {1, 2, -1}
        How far apart in memory one value and the next are to be in a Series: some functions sum in another order where
        that is not 1, and round otherwise.
    """

    values: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    index: pd.Index | None
    apart: int = 1

    def __len__(self) -> int:
        return len(self.starts)

    def cut(self, start: int, stop: int) -> Span:
        """Some of the windows, with the values from the first that any of them needs to the last."""
        starts, stops = self.starts[start:stop], self.stops[start:stop]
        low, high = int(starts.min()), int(stops.max())
        index = None if self.index is None else self.index[low:high]
        return Span(self.values[low:high], starts - low, stops - low, index, self.apart)

    def windows(self) -> Iterable[Any]:
        """What pandas calls a function with."""
        # In C from end to end: of a light function it is half of what a call costs.
        if self.index is None:
            size = self._even()
            if size is not None:
                return self._rows(*size)
        slices = map(slice, self.starts.tolist(), self.stops.tolist())
        if self.index is None:
            return map(self.values.__getitem__, slices)
        values = self.values
        if self.apart != 1:
            values = np.empty(len(values) * abs(self.apart))[:: self.apart]
            values[:] = self.values
        return map(pd.Series(values, index=self.index, copy=False).iloc.__getitem__, slices)

    def _even(self) -> tuple[int, int] | None:
        """The size of the windows and the distance from one to the next, where all have the same ones."""
        if len(self) < 2:
            return None
        sizes, steps = self.stops - self.starts, np.diff(self.starts)
        size, step = int(sizes[0]), int(steps[0])
        return (size, step) if size > 0 and step > 0 and (sizes == size).all() and (steps == step).all() else None

    def _rows(self, size: int, step: int) -> np.ndarray:
        """Windows of one size at one distance, as the rows of an array that overlap: to take one costs half."""
        values = self.values
        one = values.itemsize
        return np.ndarray((len(self), size), values.dtype, values, int(self.starts[0]) * one, (step * one, one))


class Spans(InColumns):
    """The windows of several columns, column by column.

    Parameters
    ----------
    columns : sequence of Span
        None of them without a window.
    """

    columns: Sequence[Span]

    def _cut(self, column: Span, start: int, stop: int) -> Span:
        return column.cut(start, stop)

    def feed(self, taker: Taker, lean: LeanGroups | None = None) -> None:
        # As pandas does around its own loop: a division by nothing in a function is silent.
        with np.errstate(all="ignore"):
            # As one iterable: where one ends early, for the function raised StopIteration, no other follows.
            taker.all(itertools.chain.from_iterable(column.windows() for column in self.columns))
