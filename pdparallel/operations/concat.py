"""Functions that combine the results of ``apply_chunks`` into one, as the function returns it for the whole frame."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from pdparallel.compat import PANDAS_2
from pdparallel.core.chunking import Chunk
from pdparallel.errors import InvalidOptionError
from pdparallel.execution.events import shaping
from pdparallel.execution.failures import array_of_nan
from pdparallel.transport.data import MAX_COLUMNS
from pdparallel.typing import Combine

__all__ = ["blank", "combined", "stack", "without_overlap"]


@shaping
def combined(
    pieces: list[Any],
    combine: Combine,
    index: pd.Index,
    plan: Sequence[Chunk],
    order: np.ndarray | None = None,
) -> Any:
    """Combine the results of the chunks; with ``by=``, ``order`` has the frame's position of each row of the chunks."""
    try:
        if isinstance(combine, str) and combine != "list":
            pieces = _in_row_order(pieces, index, order, plan) or pieces
        return _combined(pieces, combine)
    except Exception as error:
        # The pieces may be the work of hours, so the caller can get them from the error.
        error.add_note(
            f"pdparallel: the results of all {len(pieces)} chunks could not be joined. They are in the attribute "
            "'pieces' of this exception. combine='list' returns them as a list."
        )
        error.pieces = pieces  # type: ignore[attr-defined] # an attribute of ours
        raise


def _combined(pieces: list[Any], combine: Combine) -> Any:
    if callable(combine):
        return combine(pieces)
    kinds = {_kind(piece) for piece in pieces}
    if combine == "list" or (combine == "auto" and (len(kinds) != 1 or kinds == {"other"})):
        return pieces
    if len(pieces) == 1 and kinds != {"other"}:
        return pieces[0]
    if kinds == {"array"}:
        stacked = stack(pieces)
        return np.concatenate(pieces, axis=0) if stacked is None else stacked
    if kinds <= {"frame", "series"}:
        return _joined(pieces)
    raise InvalidOptionError(
        "combine", combine, "'auto', 'list', or a function of the list of results",
        f"The chunks gave objects of type {' and '.join(sorted({type(piece).__name__ for piece in pieces}))}. "
        "'concat' joins only frames and Series, or only arrays of at least one dimension.",
    )  # fmt: skip


def _kind(piece: Any) -> str:
    if isinstance(piece, pd.DataFrame):
        return "frame"
    if isinstance(piece, pd.Series):
        return "series"
    if isinstance(piece, np.ndarray) and piece.ndim > 0:
        return "array"
    return "other"


def without_overlap(piece: Any, chunk: Chunk) -> Any:
    """Return the result of a chunk without the rows of its neighbours; ValueError if it has another number of rows."""
    given = len(chunk) + chunk.before + chunk.after
    if _kind(piece) == "other" or len(piece) != given:
        got = f"an object of type {type(piece).__name__}"
        if _kind(piece) != "other":
            got = f"{len(piece)} row" + "s" * (len(piece) != 1)
        raise ValueError(
            "With overlap= the function must return a frame, Series or array, with one row for each row that it gets. "
            f"For the chunk of rows {chunk.start} to {chunk.stop - 1} it got {given} rows, "
            f"{chunk.before + chunk.after} of them from neighbours, and returned {got}."
        )
    cut = slice(chunk.before, given - chunk.after)
    return piece[cut] if isinstance(piece, np.ndarray) else piece.iloc[cut]


def blank(
    good: Mapping[int, Any], combine: Combine, plan: Sequence[Chunk], labels: Callable[[Chunk], pd.Index]
) -> Callable[[int], Any]:
    """Return a function that makes the placeholder for a failed chunk, from the number of the chunk."""
    # If each good piece has the rows of its chunk, the placeholder is missing rows.  If they are frames, Series or
    # arrays with other rows, it has no rows.  Else it is None.
    kinds = {_kind(piece) for piece in good.values()}
    if callable(combine) or combine == "list" or len(kinds) != 1 or kinds == {"other"}:
        return lambda number: None
    first = next(iter(good.values()))
    if not all(_has_the_rows_of(piece, plan[number], labels) for number, piece in good.items()):
        return lambda number: first[:0] if isinstance(first, np.ndarray) else first.iloc[:0]
    if isinstance(first, np.ndarray):
        return lambda number: array_of_nan((len(plan[number]), *first.shape[1:]), first.dtype)
    empty = first.iloc[:0].reset_index(drop=True)

    def rows(number: int) -> Any:
        missing = empty.reindex(range(len(plan[number])))
        missing.index = labels(plan[number]).set_names(first.index.names)
        return missing

    return rows


def _has_the_rows_of(piece: Any, chunk: Chunk, labels: Callable[[Chunk], pd.Index]) -> bool:
    if isinstance(piece, np.ndarray):
        return len(piece) == len(chunk)
    return bool(piece.index.equals(labels(chunk)))


def _in_row_order(
    pieces: list[Any], index: pd.Index, order: np.ndarray | None, plan: Sequence[Chunk]
) -> list[Any] | None:
    """Return a list of one piece in the frame's order of rows; None unless each piece has the rows of its chunk."""
    if len(pieces) == 1 and order is None:
        return None
    freq = getattr(index, "freq", None)
    for piece, chunk in zip(pieces, plan, strict=True):
        rows: Any = slice(chunk.start, chunk.stop)
        labels = index[rows] if order is None else index[order[rows]]
        if _kind(piece) not in ("frame", "series") or not piece.index.equals(labels):
            return None
        if order is None and getattr(piece.index, "freq", None) != freq:
            return None
    if len({_kind(piece) for piece in pieces}) > 1:
        return None
    concat = _joined(pieces)
    if order is not None:
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        concat = concat.iloc[back]
    if concat.index.dtype == index.dtype:
        # The frame's index may be a range or have a freq, which a concatenated index loses.
        concat.index = index.set_names(concat.index.names)
    return [concat]


def _joined(pieces: list[Any]) -> Any:
    """Concatenate, and keep what ``pd.concat`` loses: the index dtype, equal attrs, and metadata of a subclass."""
    attrs = [piece.attrs for piece in pieces]
    dtypes = {piece.index.dtype for piece in pieces}
    concat = stack(pieces)
    if concat is None:
        concat = _concatenated(pieces)
    if len(dtypes) == 1 and concat.index.nlevels == 1 and concat.index.dtype not in dtypes:
        concat.index = concat.index.astype(dtypes.pop())  # pd.concat infers numbers from an object index of numbers
    if all(_alike(each, attrs[0]) for each in attrs):
        concat.attrs = attrs[0]
    for name in getattr(concat, "_metadata", ()):
        if name not in ("name", "_name") and all(hasattr(piece, name) for piece in pieces):
            values = [getattr(piece, name) for piece in pieces]
            if all(_alike(value, values[0]) for value in values):
                object.__setattr__(concat, name, values[0])
    return concat


def _concatenated(pieces: list[Any]) -> Any:
    given = pieces
    if any(piece.attrs for piece in pieces):
        # pd.concat compares attrs with ==, which fails if they hold arrays.
        given = [piece.copy(deep=False) for piece in pieces]
        for piece in given:
            piece.attrs = {}
    concat = pd.concat(given)
    if PANDAS_2 and isinstance(concat, pd.DataFrame):
        _keep_kinds_of_missing(concat, pieces)
    return concat


def _keep_kinds_of_missing(concat: pd.DataFrame, pieces: list[Any]) -> None:
    """Restore None, NaT and NA, which pandas 2 replaces by nan if all objects of a piece are missing."""
    if not all(piece.columns.equals(concat.columns) for piece in pieces):
        return
    positions = [at for at, dtype in enumerate(pieces[0].dtypes) if is_object_dtype(dtype)]
    for position in positions:
        columns = [piece.iloc[:, position] for piece in pieces]
        missing = any(len(column) and column.isna().all() for column in columns)
        if missing and all(is_object_dtype(column.dtype) for column in columns):
            concat.isetitem(position, pd.concat(columns, ignore_index=True).array)


def _alike(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays
        return pickle.dumps(one) == pickle.dumps(other)


# Stacking: copies large pieces one by one, and drops each after its copy, so that memory holds no piece twice

#: Average bytes of a piece from which the memory of a second copy matters more than the time for each piece.
MIN_BYTES = 1 << 20


def stack(pieces: list[Any]) -> Any:
    """Concatenate large pieces, and replace each in the list by a view of the result.

    Return None, and change nothing, for small pieces, different labels or dtypes, objects, and frames without numbers.
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
    """Yield the number of each piece, and the rows of the result that it fills."""
    stop = 0
    for at in range(len(pieces)):
        start, stop = stop, stop + len(pieces[at])
        yield at, slice(start, stop)


class _Whole:
    """Frame or Series that is filled piece by piece, from pieces that differ only by their rows."""

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
            else:  # mostly Arrow strings, which pandas concatenates without a copy
                for at in positions:
                    columns = [pd.Series(piece.iloc[:, at].array) for piece in pieces]
                    self._others[at] = pd.concat(columns, ignore_index=True).array

    def take(self, piece: Any, rows: slice) -> None:
        """Copy the numbers of a piece into these rows."""
        for dtype, whole in self._numbers.items():
            part = piece if isinstance(piece, pd.Series) else piece.iloc[:, self._positions[dtype]]
            whole[:, rows] = part.to_numpy().T

    def part(self, rows: slice) -> Any:
        """Return a view of some rows."""
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
    """Return whether the pieces differ only by their rows, row labels, names and attrs."""
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
    """Return an empty frame or Series with the names and column labels that ``pd.concat`` gives."""
    if isinstance(pieces[0], pd.Series):
        return pd.concat([pd.Series(dtype=object, name=piece.name) for piece in pieces])
    return pd.concat([pd.DataFrame(columns=piece.columns) for piece in pieces])
