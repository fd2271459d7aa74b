"""Stacking: big results of chunks put together one by one, each let go when it is copied, so that none is held twice.

``pd.concat`` holds all pieces until the whole is made.  Here the whole is made first, which takes no memory before it
is written; then piece after piece moves into it, and what is left of the piece is a view of the whole::

    pieces   [mailbox 0] [mailbox 1] [mailbox 2]        [ view 0  ] [mailbox 1] [mailbox 2]
    whole    [                                 ]  -->   [ written ][                      ]  --> ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.transport.data import MAX_COLUMNS

__all__ = ["stack"]

#: Bytes of a piece from which a second copy of all matters more than what each piece costs by itself.
MIN_BYTES = 1 << 20


def stack(pieces: list[Any]) -> Any:
    """What ``pd.concat`` or ``np.concatenate`` makes of the pieces, each of which is replaced in the list by a view.

    Parameters
    ----------
    pieces : list of DataFrame, Series or ndarray
        In order.

    Returns
    -------
    DataFrame, Series, ndarray or None
        None, and nothing is changed, where the pieces are small, or not plain ones of the same labels and dtypes, or
        hold objects, or no numbers.
    """
    kind = type(pieces[0])
    if any(type(piece) is not kind for piece in pieces):
        return None
    if sum(8 * piece.size for piece in pieces) < MIN_BYTES * len(pieces):
        return None
    if kind is np.ndarray:
        return _stacked_arrays(pieces)
    return _stacked(pieces) if kind in (pd.DataFrame, pd.Series) else None


def _stacked_arrays(pieces: list[np.ndarray]) -> np.ndarray | None:
    first = pieces[0]
    if first.dtype.hasobject or len({(piece.dtype, piece.shape[1:]) for piece in pieces}) > 1:
        return None
    whole = np.empty((sum(map(len, pieces)), *first.shape[1:]), first.dtype)
    for at, rows in _places(pieces):
        whole[rows] = pieces[at]
        pieces[at] = whole[rows]
    return whole


def _places(pieces: list[Any]) -> Iterator[tuple[int, slice]]:
    """The number of each piece, and where its rows go."""
    stop = 0
    for at in range(len(pieces)):
        start, stop = stop, stop + len(pieces[at])
        yield at, slice(start, stop)


class _Whole:
    """A frame or Series that is filled piece by piece.

    Parameters
    ----------
    pieces : list of DataFrame or Series
        Alike but for their rows.
    """

    def __init__(self, pieces: list[Any]) -> None:
        self._empty = _without_rows(pieces)
        self._index = pieces[0].index.append([piece.index for piece in pieces[1:]])
        self._positions: dict[Any, list[int]] = {}
        for position, dtype in enumerate(_dtypes(pieces[0])):
            self._positions.setdefault(dtype, []).append(position)
        self._numbers: dict[Any, np.ndarray] = {}
        self._others: dict[int, Any] = {}
        for dtype, positions in self._positions.items():
            if isinstance(dtype, np.dtype):
                self._numbers[dtype] = np.empty((len(positions), len(self._index)), dtype)
            else:  # Arrow's texts above all, which pandas puts together without a copy
                for at in positions:
                    columns = [pd.Series(piece.iloc[:, at].array) for piece in pieces]
                    self._others[at] = pd.concat(columns, ignore_index=True).array

    def take(self, piece: Any, rows: slice) -> None:
        """Copy the numbers of a piece to their place."""
        for dtype, whole in self._numbers.items():
            part = piece if isinstance(piece, pd.Series) else piece.iloc[:, self._positions[dtype]]
            whole[:, rows] = part.to_numpy().T

    def part(self, rows: slice) -> Any:
        """Some rows, as a view."""
        index = self._index[rows]
        if isinstance(self._empty, pd.Series):
            (values,) = self._numbers.values()
            return pd.Series(values[0, rows], index=index, name=self._empty.name, copy=False)
        if len(self._positions) == 1:
            (values,) = self._numbers.values()
            return pd.DataFrame(values[:, rows].T, index=index, columns=self._empty.columns, copy=False)
        columns = {at: other[rows] for at, other in self._others.items()}
        for dtype, values in self._numbers.items():
            columns |= {at: values[number, rows] for number, at in enumerate(self._positions[dtype])}
        frame = pd.DataFrame(dict(sorted(columns.items())), index=index, copy=False)
        frame.columns = self._empty.columns
        return frame


def _stacked(pieces: list[Any]) -> Any:
    dtypes = _dtypes(pieces[0])
    numbers = {dtype for dtype in dtypes if isinstance(dtype, np.dtype)}
    if not numbers or any(dtype.hasobject for dtype in numbers) or not _are_alike(pieces):
        return None
    if len(set(dtypes)) > 1 and len(dtypes) > MAX_COLUMNS:
        return None
    whole = _Whole(pieces)
    for at, rows in _places(pieces):
        attrs = pieces[at].attrs
        whole.take(pieces[at], rows)
        pieces[at] = whole.part(rows)
        pieces[at].attrs = attrs
    return whole.part(slice(None))


def _are_alike(pieces: list[Any]) -> bool:
    """Whether they differ by their rows, labels of rows, names and attrs only."""
    first = pieces[0]
    labels = getattr(first, "columns", None)
    return all(
        _dtypes(piece) == _dtypes(first)
        and piece.flags.allows_duplicate_labels
        and (labels is None or piece.columns.equals(labels))
        for piece in pieces
    )


def _dtypes(piece: Any) -> list[Any]:
    return [piece.dtype] if isinstance(piece, pd.Series) else list(piece.dtypes)


def _without_rows(pieces: list[Any]) -> Any:
    """What ``pd.concat`` makes of the names and labels."""
    if isinstance(pieces[0], pd.Series):
        return pd.concat([pd.Series(dtype=object, name=piece.name) for piece in pieces])
    return pd.concat([pd.DataFrame(columns=piece.columns) for piece in pieces])
