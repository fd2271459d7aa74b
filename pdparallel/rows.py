"""What func receives: each way to hand out the units of a piece of data, exactly as pandas would.

``feed(piece, hand, visit)`` calls ``visit`` with each unit, in order.  Where pandas itself makes the
units (rows, columns, values), pandas' own public ``apply`` or ``map`` does the handing out here too, so that
types, names, views and copies are those of the pandas at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pdparallel.typing import Hand

__all__ = ["feed"]

Visit = Callable[[Any], None]


def feed(piece: Any, hand: Hand, visit: Visit) -> None:
    """Call ``visit`` with each unit of ``piece``.

    Parameters
    ----------
    piece : DataFrame, Series, ndarray or list
        A chunk of the data.
    hand : Hand
        How a unit looks.
    visit : callable
        Takes one unit; what it raises is passed on.
    """
    _FEEDS[hand](piece, visit)


def _rows(piece: Any, visit: Visit) -> None:
    piece.apply(visit, axis=1)


def _columns(piece: Any, visit: Visit) -> None:
    piece.apply(visit, axis=0)


def _broadcast_columns(piece: Any, visit: Visit) -> None:
    # pandas' result_type="broadcast" takes the columns by label, and the rows as columns of the transposed frame,
    # which have other dtypes than the rows of a plain apply.
    for label in piece.columns:
        visit(piece[label])


def _broadcast_rows(piece: Any, visit: Visit) -> None:
    _broadcast_columns(piece.T, visit)


def _array_rows(piece: Any, visit: Visit) -> None:
    for position in range(piece.shape[0]):
        visit(piece[position, :])


def _array_columns(piece: Any, visit: Visit) -> None:
    for position in range(piece.shape[1]):
        visit(piece[:, position])


def _tuples(piece: Any, visit: Visit) -> None:
    for row in piece.itertuples(index=False, name=None):
        visit(row)


def _namedtuples(piece: Any, visit: Visit) -> None:
    for row in piece.itertuples():
        visit(row)


def _dicts(piece: Any, visit: Visit) -> None:
    labels = list(piece.columns)
    for row in piece.itertuples(index=False, name=None):
        visit(dict(zip(labels, row, strict=True)))


def _values(piece: Any, visit: Visit) -> None:
    piece.map(visit)


def _items(piece: Any, visit: Visit) -> None:
    for item in piece:
        # A function may ask whether a value *is* np.nan, as pandas does too; a nan that travelled is another object.
        visit(np.nan if type(item) is float and item != item else item)


_FEEDS: dict[Hand, Callable[[Any, Visit], None]] = {
    "row": _rows,
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
    "chunk": lambda piece, visit: visit(piece),
}
