"""The windows that pandas passes to a function, and the result with the returns.

pandas converts each column to floats, and treats inf as missing.  It calls the function with each window that has
enough values.  It writes each return as a float into a result.  So all except the returns is known before the calls::

    values    the columns as floats, in the row order of the windows   from rolling(1).max()
    bounds    start and stop of each window in these values            from sums of positions and of ones
    called    the windows with enough values
    blank     the result without values                                from rolling(1).max()

pandas computes the right side.  For plain numbers and windows of n rows, arithmetic here takes a tenth of the time.
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

from pdparallel.core.columnar import Numbers
from pdparallel.core.returns import Returns
from pdparallel.data.windows import Bounds, ColumnWindows, RegularBounds, WindowUnits, bounds_of
from pdparallel.execution.events import shaping

__all__ = ["Layout", "Windowing", "is_plain", "layout"]

#: Kinds of numpy dtypes that ``astype(float64)`` converts to the same floats as pandas.
_NUMBERS = "biuf"

#: Types of returns for which ``astype(float64)`` gives the same floats as pandas' conversion of each return.
_PLAIN_NUMBERS = frozenset((float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_))

#: Largest number of rows for which a float holds each sum of positions exactly.
_MAX_ROWS = 1 << 26


@dataclass(frozen=True, slots=True)
class Windowing:
    """All arguments of a window object of pandas, from which it and similar objects can be made."""

    source: Any  # a frame, Series or groupby object
    kind: str  # "rolling" or "expanding"
    given: dict[str, Any] = field(default_factory=dict)  # arguments of ``kind``
    keys: tuple[Any, ...] = ()  # keys of ``window[key]``, in order

    def made(self) -> Any:
        """Return pandas' window object."""
        return self._with_keys(getattr(self.source, self.kind)(**self.given))

    def of_one_row(self, source: Any, **more: Any) -> Any:
        """Return a window object of pandas with windows of one row each."""
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
        """Frame or Series of the source."""
        return self.source.obj if self.is_grouped else self.source

    @property
    def on(self) -> Any:
        return self.given.get("on")

    @property
    def labels(self) -> pd.Index:
        """Labels that windows of time are measured on; a window that is a Series has them as its index."""
        whole = self.whole
        labels: pd.Index = whole.index if self.on is None else pd.Index(whole[self.on])
        return labels

    @property
    def step(self) -> int | None:
        return self.given.get("step")

    @property
    def window(self) -> Any:
        """Argument ``window``: a number of rows, a time, or a :class:`pandas.api.indexers.BaseIndexer`."""
        return self.given.get("window")

    @property
    def counts_rows(self) -> bool:
        """Whether ``window`` is a number of rows."""
        return isinstance(self.window, (int, np.integer))

    @property
    def least(self) -> int:
        """Number of values that a window needs, missing ones not counted: ``min_periods`` or its default."""
        given = self.given.get("min_periods", 1 if self.kind == "expanding" else None)
        if given is not None:
            return int(given)
        if self.kind == "expanding":
            return 0
        window: Any = self.window
        if isinstance(window, BaseIndexer):
            return int(window.window_size)  # type: ignore[attr-defined]  # missing in the stubs
        return int(self.window) if self.counts_rows else 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Windows of one ``apply``, and the result that their returns fill."""

    spans: WindowUnits  # the windows that the function is called with, in pandas' order
    called: list[_Called]  # these windows, for each column
    n_windows: int  # windows of a column, with those that are not called
    blank: Blank

    def label(self, position: int) -> Any:
        """Return the row label of the window at a position among the calls."""
        column, number = self.spans.place(position)
        places = [places for called in self.called if len(places := np.arange(self.n_windows)[called])]
        return self.blank.index[places[column][number]]

    @shaping
    def filled(self, returns: Returns | list[Any]) -> Any:
        """Build the result from the returns."""
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
        """Convert the returns to floats as pandas does; its error for other types gets a note with the window."""
        if isinstance(returns, Returns):  # mostly packed, so that no conversion of each return is needed
            packed = returns.packed()
            if isinstance(packed, Numbers) and packed.type in _PLAIN_NUMBERS:
                return packed.array.astype(np.float64)
        values = list(returns)
        try:
            # array uses PyFloat_AsDouble, as pandas does; float() would accept texts.  extend() converts each twice.
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
    """Find the calls of ``apply``; return None if pandas' behaviour is not known, or if it calls nothing."""
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
    """Result without its values."""

    index: pd.Index

    @property
    @abc.abstractmethod
    def labels(self) -> list[Any]:
        """Labels of the columns that take values."""

    @abc.abstractmethod
    def filled(self, values: list[np.ndarray]) -> Any:
        """Return the result with these columns."""


class _Plain(Blank):
    """Result for a plain frame or Series."""

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
        columns = source.columns.take(range(len(values)))  # as pandas: some versions return no RangeIndex here
        return pd.DataFrame(np.array(values).T, index=self.index, columns=columns, copy=False)


class _Given(Blank):
    """Result that pandas made with other values, which ``filled`` replaces in these columns."""

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
    """Return whether windows of n rows (or expanding ones) cover plain numbers, so that pandas is not needed."""
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
    floats = values.astype(np.float64)  # a copy, because a function may write into a window
    if values.dtype.kind == "f":
        inf = np.isinf(floats)
        if inf.any():
            floats[inf] = np.nan
    return floats


def _asked(windowing: Windowing) -> _Found | None:
    """Get values and result from pandas; None if the columns of the result cannot be matched to the data."""
    source, groups, before = windowing.source, None, 0
    result = blank = windowing.of_one_row(source).max()
    if windowing.step is not None:
        blank = windowing.of_one_row(source, step=windowing.step).max()
    if windowing.is_grouped:
        groups = [np.asarray(rows) for rows in source.indices.values()]
        if not source.as_index:
            # With the keys in the index, to count the columns that the keys take without it.
            as_index = copy.copy(source)
            as_index.as_index = True
            result = windowing.of_one_row(as_index).max()
            if windowing.kind == "expanding":  # expanding keeps the keys in the index
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
    """Return the stride (items, at most 2) that a window of each column has as a Series in pandas."""
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
        return max(_gap(column.iloc[:, at]) for at in range(column.shape[1]))  # columns of the same label
    if column.dtype != np.float64 or not isinstance(column.dtype, np.dtype):
        return 1  # pandas converts them to a new array of floats
    values = column.to_numpy()
    gap = values.strides[0] // values.itemsize
    return 1 if np.isinf(values).any() else max(-1, min(gap, 2))


# Bounds

_StartsAndStops = tuple[np.ndarray, np.ndarray]

#: Windows that the function is called with: a slice of all windows, or a mask.
_Called: TypeAlias = slice | np.ndarray


def _bounds(windowing: Windowing, n: int, groups: list[np.ndarray] | None) -> _StartsAndStops | None:
    """Return start and stop of each window; None if they are not known or not valid."""
    sizes = None if groups is None else np.array([len(rows) for rows in groups], dtype=np.int64)
    if windowing.kind == "expanding" or windowing.counts_rows:
        return _counted(windowing, n, sizes)
    if isinstance(windowing.window, BaseIndexer) and groups is None:
        return _checked(*_own(windowing, windowing.window, n), n)
    return _measured(windowing, n, groups)


def _counted(windowing: Windowing, n: int, sizes: np.ndarray | None) -> _StartsAndStops:
    """Compute the bounds of windows of n rows within each group, with ``center`` and ``closed`` as in pandas."""
    before: Any = 0
    most: Any = n
    at = np.arange(n, dtype=np.int64)
    if sizes is not None:
        before, most = np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(sizes, sizes)
        at -= before
    if windowing.kind == "expanding":
        return np.zeros(n, dtype=np.int64) + before, at + 1 + before
    if windowing.step is not None:
        at = at[:: windowing.step]  # pandas has no step for groups
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
    """Compute the bounds of windows of any kind, from pandas' sums of ones and of positions over each window."""
    labels, given = windowing.labels, {name: given for name, given in windowing.given.items() if name != "on"}
    data = {"ones": np.ones(n), "positions": np.arange(n, dtype=np.float64)}
    if groups is None:
        sums = pd.DataFrame(data, index=labels).rolling(**given).sum()
    else:
        in_order = pd.DataFrame(data, index=labels.take(np.concatenate(groups)))
        number = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
        sums = in_order.groupby(number).rolling(**given).sum()
    # A window with too few rows has no sum, and gets no call.  Then it counts as empty, and its start does not matter.
    lengths = sums["ones"].fillna(0.0).to_numpy()
    positions = sums["positions"].fillna(0.0).to_numpy()
    starts = np.zeros(len(lengths))
    np.divide(positions - lengths * (lengths - 1) / 2, lengths, out=starts, where=lengths > 0)
    begins, counts = starts.astype(np.int64), lengths.astype(np.int64)
    if (begins != starts).any() or (counts != lengths).any():
        return None
    return _checked(begins, begins + counts, n)


def _called(values: np.ndarray, starts: np.ndarray, stops: np.ndarray, least: int) -> tuple[_Called, Bounds]:
    """Return the windows with at least ``least`` values that are not missing, and their bounds."""
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
    """Do the same in closed form, if each called window has all its rows and no value is missing."""
    given = windowing.given
    plain = windowing.kind == "rolling" and windowing.counts_rows and given.get("closed") in (None, "right")
    if not plain or given.get("center"):
        return None
    size, step = int(windowing.window), windowing.step or 1
    before = -(-(size - 1) // step)  # windows without all their rows
    if not 0 < size == windowing.least or before >= n_windows or n_windows != len(range(0, n, step)):
        return None
    return slice(before, None), RegularBounds(before * step + 1 - size, size, step, n_windows - before)


def _number(called: _Called, n_windows: int) -> int:
    return len(range(n_windows)[called]) if isinstance(called, slice) else int(called.sum())
