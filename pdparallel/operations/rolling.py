"""Windowing: which windows pandas would call a function with, and the result that has what the calls returned.

``rolling(...).apply`` goes column by column, as floats, inf as missing; it calls the function with each window that has
enough values that are not missing, and writes what it returns, as a float, into a result whose labels do not depend on
it.  So all but the calls can be known before::

    values    the columns as floats, in the order in which the windows see the rows   rolling(1).max()
    bounds    where each window starts and stops among them                           sum of positions, and of ones
    called    the windows with enough values
    blank     the result without values                                               rolling(1).max(), too

What stands on the right is asked of pandas.  For plain columns of numbers, and windows of so many rows, it is a few
lines of arithmetic, which take a tenth of the time.
"""

from __future__ import annotations

import abc
import array
import contextlib
import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.indexers import BaseIndexer

from pdparallel.core.returns import Numbers, Returns
from pdparallel.data.windows import Bounds, ColumnWindows, RegularBounds, WindowUnits, bounds_of
from pdparallel.execution.events import shaping

__all__ = ["Layout", "Windowing", "is_plain", "layout"]

#: Kinds of dtypes of which it is known what floats pandas makes of them.
_NUMBERS = "biuf"

#: Types of returns of which the packed numbers are what pandas would have made floats of, one by one.
_PLAIN_NUMBERS = frozenset((float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_))

#: Rows of which all sums of positions are whole numbers that a float can hold.
_MAX_ROWS = 1 << 26


@dataclass(frozen=True, slots=True)
class Windowing:
    """What windows over what: all that pandas' own window object was made from, so that others like it can be made."""

    source: Any
    kind: str
    given: dict[str, Any] = field(default_factory=dict)
    keys: tuple[Any, ...] = ()

    def made(self) -> Any:
        """pandas' window object."""
        return self._with_keys(getattr(self.source, self.kind)(**self.given))

    def of_one_row(self, source: Any, **more: Any) -> Any:
        """pandas' window object of windows that are a row each."""
        on = {} if self.on is None else {"on": self.on}
        return self._with_keys(source.rolling(1, **on, **more))

    def _with_keys(self, window: Any) -> Any:
        for key in self.keys:
            window = window[key]
        return window

    @property
    def is_grouped(self) -> bool:
        return not isinstance(self.source, (pd.DataFrame, pd.Series))

    @property
    def whole(self) -> Any:
        """The frame or Series."""
        return self.source.obj if self.is_grouped else self.source

    @property
    def on(self) -> Any:
        return self.given.get("on")

    @property
    def labels(self) -> pd.Index:
        """What windows of time are measured on, and a window has as index when it is handed out as a Series."""
        whole = self.whole
        labels: pd.Index = whole.index if self.on is None else pd.Index(whole[self.on])
        return labels

    @property
    def step(self) -> int | None:
        return self.given.get("step")

    @property
    def window(self) -> Any:
        """Of :class:`pandas.api.indexers.BaseIndexer`, so many rows, or a time."""
        return self.given.get("window")

    @property
    def counts_rows(self) -> bool:
        """Whether a window is of so many rows."""
        return isinstance(self.window, (int, np.integer))

    @property
    def least(self) -> int:
        """Values that are not missing which a window must have."""
        given = self.given.get("min_periods", 1 if self.kind == "expanding" else None)
        if given is not None:
            return int(given)
        if self.kind == "expanding":
            return 0
        window: Any = self.window
        if isinstance(window, BaseIndexer):
            return int(window.window_size)  # type: ignore[attr-defined]  # the stubs have not all of it
        return int(self.window) if self.counts_rows else 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The calls of one ``apply``, and how their returns become the result."""

    spans: WindowUnits
    called: list[_Called]
    n_windows: int
    blank: Blank

    def label(self, position: int) -> Any:
        """The label of the row whose window stands at a position among the calls."""
        column, number = self.spans.place(position)
        places = [places for called in self.called if len(places := np.arange(self.n_windows)[called])]
        return self.blank.index[places[column][number]]

    @shaping
    def filled(self, returns: Returns | list[Any]) -> Any:
        """The result."""
        floats = self.as_floats(returns)
        values, start = [], 0
        for called in self.called:
            stop = start + _number(called, self.n_windows)
            column = floats[start:stop]
            if len(column) < self.n_windows:
                column = np.full(self.n_windows, np.nan)
                column[called] = floats[start:stop]
            values.append(column)
            start = stop
        return self.blank.filled(values)

    def as_floats(self, returns: Returns | list[Any]) -> np.ndarray:
        """What pandas writes into its array of floats, one by one: it refuses what is no number."""
        if isinstance(returns, Returns):  # of which most came packed
            packed = returns.packed()
            if isinstance(packed, Numbers) and packed.type in _PLAIN_NUMBERS:
                return packed.array.astype(np.float64)
        values = list(returns)
        try:
            # By PyFloat_AsDouble, as there: float() would take texts. Not extend(), which asks each value twice.
            return np.frombuffer(array.array("d", values))
        except Exception as error:
            with contextlib.suppress(Exception):
                at = next(at for at, value in enumerate(values) if not _is_float(value))
                window = f"window {self.label(at)!r} (position {at})"
                error.add_note(f"pdparallel: the function returned no number for {window}")
            raise


def _is_float(value: Any) -> bool:
    try:
        array.array("d", [value])
    except Exception:
        return False
    return True


def layout(windowing: Windowing, raw: bool) -> Layout | None:
    """The calls of ``apply``; None where it is not known what pandas does, or where it calls nothing."""
    if windowing.step is not None and windowing.step < 1:
        return None
    found = _plain(windowing) if is_plain(windowing) else _asked(windowing)
    if found is None:
        return None
    values, blank, groups = found
    n = len(values[0]) if values else 0
    if not 0 < n <= _MAX_ROWS:
        return None
    n_windows, labels = len(blank.index), None if raw else windowing.labels
    if labels is not None and len(labels) != n:
        return None
    even = _even(windowing, n, n_windows) if groups is None and not any(map(_misses, values)) else None
    if even is not None:
        columns = [even] * len(values)
    else:
        bounds = _bounds(windowing, n, groups)
        if bounds is None or len(bounds[0]) != n_windows:
            return None
        columns = [_called(column, *bounds, windowing.least) for column in values]
    apart = [1] * len(values) if raw else _apart(windowing, blank, len(values), groups)
    spans = [
        ColumnWindows(column, where, labels, gap)
        for column, (_, where), gap in zip(values, columns, apart, strict=True)
        if len(where)
    ]
    return Layout(WindowUnits(spans), [called for called, _ in columns], n_windows, blank)


# Values, and the result without them


class Blank(abc.ABC):
    """A result but for its values."""

    index: pd.Index

    @property
    @abc.abstractmethod
    def labels(self) -> list[Any]:
        """Of the columns that take values."""

    @abc.abstractmethod
    def filled(self, values: list[np.ndarray]) -> Any:
        """The result with these columns."""


class _Plain(Blank):
    """Of a plain frame or Series."""

    def __init__(self, source: pd.DataFrame | pd.Series, step: int | None) -> None:
        self._source = source
        self.index = source.index
        if step is not None and len(self.index) > 1:
            self.index = self.index[::step]

    @property
    def labels(self) -> list[Any]:
        return list(self._source.columns)

    def filled(self, values: list[np.ndarray]) -> Any:
        source = self._source
        if isinstance(source, pd.Series):
            return pd.Series(values[0], index=self.index, name=source.name, copy=False)
        columns = source.columns.take(range(len(values)))  # as pandas does, which made no range of a range once
        return pd.DataFrame(np.array(values).T, index=self.index, columns=columns, copy=False)


class _Given(Blank):
    """One that pandas made."""

    def __init__(self, result: Any, columns: tuple[int, ...]) -> None:
        self._result = result
        self._columns = columns
        self.index = result.index

    @property
    def labels(self) -> list[Any]:
        return [self._result.columns[at] for at in self._columns]

    def filled(self, values: list[np.ndarray]) -> Any:
        result = self._result
        if isinstance(result, pd.Series):
            result.iloc[:] = values[0]
            return result
        for place, column in zip(self._columns, values, strict=True):
            result.isetitem(place, column)
        return result


#: The columns as floats, the result without them, and the rows of each group.
_Found = tuple[list[np.ndarray], Blank, list[np.ndarray] | None]


def is_plain(windowing: Windowing) -> bool:
    """Whether it is windows of so many rows over plain numbers, of which pandas need not be asked."""
    source = windowing.source
    if windowing.keys or windowing.on is not None or type(source) not in (pd.DataFrame, pd.Series):
        return False
    if not (windowing.counts_rows or windowing.kind == "expanding"):
        return False
    dtypes = [source.dtype] if isinstance(source, pd.Series) else source.dtypes
    return all(isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS for dtype in dtypes)


def _plain(windowing: Windowing) -> _Found:
    source = windowing.source
    columns = [source] if isinstance(source, pd.Series) else [column for _, column in source.items()]
    return [_without_inf(column.to_numpy()) for column in columns], _Plain(source, windowing.step), None


def _without_inf(values: np.ndarray) -> np.ndarray:
    floats = values.astype(np.float64)  # a copy: what a function writes into a window stays there
    if values.dtype.kind == "f":
        inf = np.isinf(floats)
        if inf.any():
            floats[inf] = np.nan
    return floats


def _asked(windowing: Windowing) -> _Found | None:
    """By pandas; None where it is not known which columns of the result are those of the data."""
    source, groups, before = windowing.source, None, 0
    result = blank = windowing.of_one_row(source).max()
    if windowing.step is not None:
        blank = windowing.of_one_row(source, step=windowing.step).max()
    if windowing.is_grouped:
        groups = [np.asarray(rows) for rows in source.indices.values()]
        if not source.as_index:
            # The same, but with the keys in the index, so that it is known how many columns they have become.
            as_index = copy.copy(source)
            as_index.as_index = True
            result = windowing.of_one_row(as_index).max()
            if windowing.kind == "expanding":  # which leaves them in the index
                blank = result
            elif isinstance(blank, pd.DataFrame):
                before = blank.shape[1] - (1 if isinstance(result, pd.Series) else result.shape[1])
    if isinstance(result, pd.Series):
        return [result.to_numpy(copy=True)], _Given(blank, (before,)), groups
    places = [at for at, label in enumerate(result.columns) if windowing.on is None or label != windowing.on]
    columns = [result.iloc[:, at] for at in places]
    if any(column.dtype != np.float64 for column in columns):
        return None
    values = [column.to_numpy(copy=True) for column in columns]
    return values, _Given(blank, tuple(before + at for at in places)), groups


def _apart(windowing: Windowing, blank: Blank, n: int, groups: list[np.ndarray] | None) -> list[int]:
    """How far apart the values of each column are, as :class:`Span` has it, in what pandas makes a Series of."""
    data, on = windowing.whole, windowing.on
    for key in windowing.keys:
        data = data[key]
    if groups is not None:
        data = data.take(np.concatenate(groups)[:2])
    if isinstance(data, pd.Series):
        return [_gap(data)]
    if on is None and groups is None:
        return [_gap(data.iloc[:, at]) for at in range(n)]
    rest = data.reindex(columns=data.columns.difference([on], sort=False)) if on is not None else data
    return [_gap(rest[label]) for label in blank.labels]


def _gap(column: Any) -> int:
    if isinstance(column, pd.DataFrame):
        return max(_gap(column.iloc[:, at]) for at in range(column.shape[1]))  # of one label
    if column.dtype != np.float64 or not isinstance(column.dtype, np.dtype):
        return 1  # for floats are made of them
    values = column.to_numpy()
    gap = values.strides[0] // values.itemsize
    return 1 if np.isinf(values).any() else max(-1, min(gap, 2))


# Bounds

_StartsAndStops = tuple[np.ndarray, np.ndarray]

#: Windows that the function is called with: a slice of all, or for each whether it is one.
_Called: TypeAlias = slice | np.ndarray


def _bounds(windowing: Windowing, n: int, groups: list[np.ndarray] | None) -> _StartsAndStops | None:
    """Where each window starts and stops; None where that is not to be had, or nothing that could be cut by."""
    sizes = None if groups is None else np.array([len(rows) for rows in groups], dtype=np.int64)
    if windowing.kind == "expanding" or windowing.counts_rows:
        return _counted(windowing, n, sizes)
    if isinstance(windowing.window, BaseIndexer) and groups is None:
        return _checked(*_own(windowing, windowing.window, n), n)
    return _measured(windowing, n, groups)


def _counted(windowing: Windowing, n: int, sizes: np.ndarray | None) -> _StartsAndStops:
    """Of so many rows, as pandas documents ``center`` and ``closed``; inside of each group."""
    before: Any = 0
    most: Any = n
    at = np.arange(n, dtype=np.int64)
    if sizes is not None:
        before, most = np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(sizes, sizes)
        at -= before
    if windowing.kind == "expanding":
        return np.zeros(n, dtype=np.int64) + before, at + 1 + before
    if windowing.step is not None:
        at = at[:: windowing.step]  # which there is not of groups
    given, size = windowing.given, int(windowing.window)
    closed = given.get("closed")
    stops = at + 1
    if given.get("center") or size == 0:
        stops += (size - 1) // 2
    starts = stops - size
    if closed in ("left", "both"):
        starts -= 1
    if closed in ("left", "neither"):
        stops -= 1
    stops = np.minimum(np.maximum(stops, 0), most)
    starts = np.minimum(np.maximum(starts, 0), stops)
    return starts + before, stops + before


def _own(windowing: Windowing, window: BaseIndexer, n: int) -> tuple[Any, Any]:
    given = windowing.given
    return window.get_window_bounds(
        num_values=n,
        min_periods=windowing.least,
        center=given.get("center", False),
        closed=given.get("closed"),
        step=given.get("step"),
    )


def _checked(starts: Any, stops: Any, n: int) -> _StartsAndStops | None:
    for bounds in (starts, stops):
        if not isinstance(bounds, np.ndarray) or bounds.dtype != np.int64 or bounds.ndim != 1:
            return None
    if len(starts) != len(stops) or not len(starts):
        return None
    inside = (starts >= 0).all() and (starts <= stops).all() and (stops <= n).all()
    return (starts, stops) if inside else None


def _measured(windowing: Windowing, n: int, groups: list[np.ndarray] | None) -> _StartsAndStops | None:
    """Of any kind, by pandas' sums over each window: of ones, and of positions."""
    labels, given = windowing.labels, {name: given for name, given in windowing.given.items() if name != "on"}
    data = {"ones": np.ones(n), "positions": np.arange(n, dtype=np.float64)}
    if groups is None:
        sums = pd.DataFrame(data, index=labels).rolling(**given).sum()
    else:
        in_order = pd.DataFrame(data, index=labels.take(np.concatenate(groups)))
        number = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
        sums = in_order.groupby(number).rolling(**given).sum()
    # Where there are too few rows there is no sum, and no call; an empty window may be anywhere.
    lengths = sums["ones"].fillna(0.0).to_numpy()
    positions = sums["positions"].fillna(0.0).to_numpy()
    starts = np.zeros(len(lengths))
    np.divide(positions - lengths * (lengths - 1) / 2, lengths, out=starts, where=lengths > 0)
    begins, counts = starts.astype(np.int64), lengths.astype(np.int64)
    if (begins != starts).any() or (counts != lengths).any():
        return None
    return _checked(begins, begins + counts, n)


def _called(values: np.ndarray, starts: np.ndarray, stops: np.ndarray, least: int) -> tuple[_Called, Bounds]:
    """Which windows have enough values that are not missing, and their bounds."""
    there = ~np.isnan(values)
    if there.all():
        counts = stops - starts
    else:
        before = np.concatenate(([0], np.cumsum(there)))
        counts = before[stops] - before[starts]
    enough: np.ndarray = counts >= least
    if enough.all():
        return slice(None), bounds_of(starts, stops)
    return enough, bounds_of(starts[enough], stops[enough])


def _misses(values: np.ndarray) -> bool:
    return bool(np.isnan(values).any())


def _even(windowing: Windowing, n: int, n_windows: int) -> tuple[_Called, Bounds] | None:
    """The same where each window that is called has all its rows, and nothing is missing: by three numbers."""
    given = windowing.given
    plain = windowing.kind == "rolling" and windowing.counts_rows and given.get("closed") in (None, "right")
    if not plain or given.get("center"):
        return None
    size, step = int(windowing.window), windowing.step or 1
    before = -(-(size - 1) // step)  # windows that have not
    if not 0 < size == windowing.least or before >= n_windows or n_windows != len(range(0, n, step)):
        return None
    return slice(before, None), RegularBounds(before * step + 1 - size, size, step, n_windows - before)


def _number(called: _Called, n_windows: int) -> int:
    return len(range(n_windows)[called]) if isinstance(called, slice) else int(called.sum())
