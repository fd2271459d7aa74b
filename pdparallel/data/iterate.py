"""Iteration over the units of a chunk, as the objects that pandas passes to the function.

A :data:`UnitIterator` passes the units of a chunk to a sink, in order. If it is known what pandas passes, the sink gets
all units as one iterable, which costs least. Otherwise pandas' own public ``apply`` passes them one by one. Then types,
names, views and copies are those of the installed pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import converting, without_copy_warnings
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.data.fastpath.row import LazyRows
from pdparallel.data.values import backing_array, iter_python_values
from pdparallel.typing import Func, UnitFormat, UnitSink

__all__ = ["UnitIterator", "feed_for", "own_units"]

#: Passes each unit of a chunk, the first argument, to a sink, the second. Exceptions of the sink propagate.
UnitIterator = Callable[[Any, UnitSink], None]


def feed_for(unit_format: UnitFormat, func: Func, given: Sequence[Any] = (), views: bool | None = None) -> UnitIterator:
    """Return the iterator for all chunks of a call: it learns from one chunk whether lazy units pay off in the next."""
    if unit_format == "row":
        return LazyRows(func, given, views).feed
    if unit_format == "unit":
        lazy = LazyGroups(func, given)
        return lambda piece, sink: piece.feed(sink, lazy)
    return _FEEDS[unit_format]


class _Units:
    """Sink that keeps all units, each as an object of its own."""

    wrote: int | None = None
    unshared = False

    def __init__(self) -> None:
        self.units: list[Any] = []
        self.call_owned = self.units.append
        self.call_each = self.units.extend
        self.call_in_block = self.call_shared

    def call_shared(self, unit: Any) -> None:
        self.units.append(unit.copy(deep=False) if isinstance(unit, pd.Series) else unit)

    def start_block(self, most: int) -> int:
        return most


def own_units(unit_format: UnitFormat, func: Func, given: Sequence[Any] = ()) -> Callable[[Any], list[Any]]:
    """Return a function that gives the units of a chunk as objects of their own, for calls that overlap."""
    if unit_format == "row":
        return LazyRows(func, given).own_rows

    def units(piece: Any) -> list[Any]:
        sink = _Units()
        if unit_format == "unit":
            piece.feed(sink)
        else:
            _FEEDS[unit_format](piece, sink)
        return sink.units

    return units


def _columns(piece: Any, sink: UnitSink) -> None:
    with without_copy_warnings():  # as pandas does, but safe in several threads
        piece.apply(sink.call_shared, axis=0)


def _broadcast_columns(piece: pd.DataFrame, sink: UnitSink) -> None:
    # With result_type="broadcast", pandas takes columns by label, and rows as columns of the transposed frame.
    # Those have other dtypes than the rows of a plain apply.
    for label in piece.columns:
        sink.call_shared(piece[label])


def _broadcast_rows(piece: pd.DataFrame, sink: UnitSink) -> None:
    _broadcast_columns(piece.T, sink)


def _array_rows(piece: np.ndarray, sink: UnitSink) -> None:
    sink.call_each(piece)


def _array_columns(piece: np.ndarray, sink: UnitSink) -> None:
    sink.call_each(piece.T)


def _tuples(piece: pd.DataFrame, sink: UnitSink) -> None:
    with converting():
        rows = piece.itertuples(index=False, name=None)
    sink.call_each(rows)


def _namedtuples(piece: pd.DataFrame, sink: UnitSink) -> None:
    with converting():
        rows = piece.itertuples()
    sink.call_each(rows)


def _dicts(piece: pd.DataFrame, sink: UnitSink) -> None:
    labels = list(piece.columns)
    with converting():
        rows = piece.itertuples(index=False, name=None)
    sink.call_each(dict(zip(labels, row, strict=True)) for row in rows)


def _values(piece: pd.Series, sink: UnitSink) -> None:
    with converting():
        values = iter_python_values(backing_array(piece))
    sink.call_each(values)


def _items(piece: list[Any], sink: UnitSink) -> None:
    sink.call_each(iter_python_values(piece))


def _chunk(piece: Any, sink: UnitSink) -> None:
    sink.call_each((piece,))


_FEEDS: dict[UnitFormat, UnitIterator] = {
    "row-broadcast": _broadcast_rows,
    "row-array": _array_rows,
    "row-tuple": _tuples,
    "row-namedtuple": _namedtuples,
    "row-dict": _dicts,
    "column": _columns,
    "column-broadcast": _broadcast_columns,
    "column-array": _array_columns,
    "value": _values,
    "item": _items,
    "star": _items,
    "chunk": _chunk,
}
