"""What func receives: each way to hand out the units of a piece of data, exactly as pandas would.

A feed is called with a piece and a taker, and gives the taker each unit, in order: all as one iterable where that is
known to be what pandas hands out, which costs least; else one by one, from inside pandas' own public ``apply``, so that
types, names, views and copies are those of the pandas at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import converting, without_copy_warnings
from pdparallel.data.fastpath.group import LeanGroups
from pdparallel.data.fastpath.row import LeanRows
from pdparallel.data.values import held, passed
from pdparallel.typing import Func, Hand, Taker

__all__ = ["Feed", "feed_for"]

#: Gives its second argument each unit of its first, a chunk of the data; what that raises is passed on.
Feed = Callable[[Any, Taker], None]


def feed_for(hand: Hand, func: Func, given: Sequence[Any] = (), views: bool | None = None) -> Feed:
    """The feed of a call: one for all its chunks, because it may learn from one what pays for the next.

    Parameters
    ----------
    hand : Hand
        How a unit looks.
    func : callable
        Who will get the units.
    given : sequence
        The arguments that it gets besides.
    views : bool, optional
        What the call knows of its rows; see :class:`pdparallel.core.call.Work`.
    """
    if hand == "row":
        return LeanRows(func, given, views).feed
    if hand == "unit":
        lean = LeanGroups(func, given)
        return lambda piece, taker: piece.feed(taker, lean)
    return _FEEDS[hand]


def _columns(piece: Any, taker: Taker) -> None:
    with without_copy_warnings():  # as pandas does, but in several threads at a time
        piece.apply(taker.one, axis=0)


def _broadcast_columns(piece: pd.DataFrame, taker: Taker) -> None:
    # pandas' result_type="broadcast" takes the columns by label, and the rows as columns of the transposed frame,
    # which have other dtypes than the rows of a plain apply.
    for label in piece.columns:
        taker.one(piece[label])


def _broadcast_rows(piece: pd.DataFrame, taker: Taker) -> None:
    _broadcast_columns(piece.T, taker)


def _array_rows(piece: np.ndarray, taker: Taker) -> None:
    taker.all(piece)


def _array_columns(piece: np.ndarray, taker: Taker) -> None:
    taker.all(piece.T)


def _tuples(piece: pd.DataFrame, taker: Taker) -> None:
    with converting():
        rows = piece.itertuples(index=False, name=None)
    taker.all(rows)


def _namedtuples(piece: pd.DataFrame, taker: Taker) -> None:
    with converting():
        rows = piece.itertuples()
    taker.all(rows)


def _dicts(piece: pd.DataFrame, taker: Taker) -> None:
    labels = list(piece.columns)
    with converting():
        rows = piece.itertuples(index=False, name=None)
    taker.all(dict(zip(labels, row, strict=True)) for row in rows)


def _values(piece: pd.Series, taker: Taker) -> None:
    with converting():
        values = passed(held(piece))
    taker.all(values)


def _items(piece: list[Any], taker: Taker) -> None:
    taker.all(passed(piece))


def _chunk(piece: Any, taker: Taker) -> None:
    taker.all((piece,))


_FEEDS: dict[Hand, Feed] = {
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
