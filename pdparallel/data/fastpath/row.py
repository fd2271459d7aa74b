"""Lazy rows of a frame, which cost a fraction of pandas' rows until a function does more than read them.

``df.apply(func, axis=1)`` spends most of its time on making a Series for each row. A lazy row knows its position and
the columns of its frame as lists. It answers the most frequent questions itself, and materializes for all others
(see :mod:`pdparallel.data.fastpath.base`). As in pandas, one object serves many rows, until the function keeps it::

    row["a"], row.a, row.get("a"), row.iloc[0], row.loc["a"], "a" in row        the lazy row answers
    len(row), iter(row), row.items(), row.to_dict(), row.sum(), row.name        the lazy row answers
    anything else -> row._mgr is missing -> __getattr__ -> a plain Series

A function that needs plain Series would pay for both kinds: after a few rows pandas' own loop takes over.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from operator import setitem
from sys import getrefcount
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2, converting, without_copy_warnings
from pdparallel.data.fastpath.base import (
    FRESH,
    NOT_HANDLED,
    Locator,
    Tested,
    agree,
    also_lazy,
    dict_of,
    is_lazy,
    is_wide,
    keep,
    look_for_methods,
    materialize_in_place,
    materialized,
    missing_attribute,
    new,
    no_arguments,
    own_dict,
    reduced,
    set_class,
    stands_for,
    with_reductions,
)
from pdparallel.data.fastpath.type_checks import leading, may_ask_for_types, reads_by_texts
from pdparallel.typing import Func, UnitSink

__all__ = ["LazyRows", "NotingRows", "are_views", "blocks_of", "dtypes_of", "is_unshared"]

#: Number of rows whose scalars are listed at a time: few enough for the CPU caches, many enough that the fixed cost of
#: a list does not matter (``benchmarks/constants.py``).
ROWS_LISTED = 2_048

#: Number of rows of a call after which it is checked whether rows stay lazy.
LOOK_AFTER = 16

#: A scalar that is read less often than once in so many rows is not put in place beforehand.
READ_ONCE_IN = 4

#: ``sys.getrefcount`` of a row that only its loop refers to, by two names.
KEPT_BY_LOOP = FRESH + 1

#: Types that ``Series.to_dict`` does not convert.
_NATIVE = {str, int, float, bool, type(None)}


class LazyRows:
    """Iteration over the rows of a call's chunks; it remembers across chunks whether lazy rows pay off."""

    def __init__(
        self, func: Func, given: Sequence[Any] = (), views: bool | None = None, unshared: bool = False
    ) -> None:
        self._func = func
        self._given = given
        self._views = views  # see are_views; None lets the first chunk decide
        self._unshared = unshared  # whether the first assignment fails; see _Writes
        self._pay: bool | None = None
        self._common: np.dtype[Any] | None = None
        self._items: set[str] = set()
        self._attributes: set[str] = set()
        self._places: dict[Any, int] = {}

    @property
    def are_lazy(self) -> bool:
        """Whether lazy rows pay off, as far as known."""
        return self._pay is not False

    def feed(self, frame: Any, sink: UnitSink) -> None:
        """Pass each row to the sink as ``frame.apply(sink.call_shared, axis=1)`` does, but in blocks."""
        first = self._pay is None
        if first:
            self._begin(frame)
        if self._views is None:
            self._views = are_views(frame)
        writes = _Writes(sink, self._unshared) if self._views else None
        with without_copy_warnings():
            try:
                self._feed(frame, sink, writes, first)
            finally:
                if writes is not None:
                    writes.look()

    def _begin(self, frame: Any) -> None:
        """Find out whether rows can be lazy: all chunks of a call have the same columns."""
        look_for_methods()
        # A dict, because the first lookup in an index of strings costs a tenth of a call with ten rows.
        self._places = {label: place for place, label in enumerate(frame.columns)}
        with converting():
            self._common = _dtype_of_rows(frame, self._places)
        self._pay = self._common is not None and not may_ask_for_types(self._func, self._given, rows=True)

    def own_rows(self, frame: Any) -> list[Any]:
        """Return each row as an object of its own, which a function may read later, in any order."""
        rows: list[Any] = []
        with without_copy_warnings():
            if self._pay is None:
                self._begin(frame)
            columns = self._listed(frame)
            if self._pay and not self._asks_for_types_of(columns):
                for lazy in zip(repeat(columns), range(len(frame)), strict=False):
                    row = new(_Row)
                    keep(row, "_lazy", lazy)
                    rows.append(row)
            else:
                self._pay = False
                frame.apply(lambda row: rows.append(row.copy(deep=False)), axis=1)
        return rows

    def _asks_for_types_of(self, columns: _Columns) -> bool:
        """Return whether the function may look at the type of a row by a method of an object in it."""
        if columns.common.kind != "O":
            return False
        held = leading(columns.rows[:LOOK_AFTER].ravel().tolist())
        return bool(held) and may_ask_for_types(self._func, [*self._given, *held], rows=True)

    def _feed(self, frame: Any, sink: UnitSink, writes: _Writes | None, is_first: bool) -> None:
        n, at = len(frame), 0
        while self._pay and at < n:
            stop = min(n, at + (ROWS_LISTED if at else LOOK_AFTER))
            part = frame.iloc[at:stop] if stop - at < n else frame
            columns = self._listed(part)
            columns.writes, columns.first = writes, at
            is_first = is_first and at == 0
            if is_first and self._asks_for_types_of(columns):
                self._pay = False
                break
            # To inspect the code pays off from about so many rows on.
            by_texts, done = stop - at == ROWS_LISTED and reads_by_texts(self._func), 0
            items, attributes = tuple(self._items), tuple(self._attributes)  # which other threads may add to
            while done < stop - at:
                rows = range(done, done + sink.start_block(stop - at - done))
                if len(rows) <= LOOK_AFTER:
                    _visit_few(columns, rows, sink.call_in_block)
                else:
                    _visit(columns, rows, items, attributes, by_texts, sink.call_in_block)
                done = rows.stop
            if writes is not None:
                writes.look()
            if is_first:
                self._attributes = set(columns.attributes_asked)
                self._items = columns.keys() - self._attributes
            else:
                for asked, ready in (columns.items_asked, self._items), (columns.attributes_asked, self._attributes):
                    ready |= {label for label, times in Counter(asked).items() if times * READ_ONCE_IN >= stop - at}
            self._pay = columns.became_series * 2 <= stop - at
            at = stop
        if at < n:
            self._by_pandas(frame.iloc[at:] if at else frame, sink, writes, at)

    def _by_pandas(self, frame: Any, sink: UnitSink, writes: _Writes | None, at: int) -> None:
        """Pass each row to the sink by pandas' own loop; a view if rows of the whole frame are views."""
        is_plain = type(frame) is pd.DataFrame
        if writes is not None:
            if is_plain and not are_views(frame):
                frame = _over(_as_writable(frame.to_numpy(), False), frame)
            frame.apply(writes.watched(sink.call_shared, frame, at), axis=1)
            return
        if is_plain and are_views(frame):
            # Two blocks, which pandas consolidates into a new array, so that rows are no views.
            values = frame.to_numpy()
            parts = [_over(values[:, :1], frame.iloc[:, :1]), _over(values[:, 1:], frame.iloc[:, 1:])]
            frame = _told(pd.concat(parts, axis=1), frame)
        frame.apply(sink.call_shared, axis=1)

    def _listed(self, part: pd.DataFrame) -> _Columns:
        return _Columns(part, self._common, self._places)


class NotingRows(LazyRows):
    """Lazy rows that record which columns the function reads; they cost more, so use them for a few rows."""

    def __init__(self, func: Func, given: Sequence[Any] = (), views: bool | None = None) -> None:
        super().__init__(func, given, views)
        self._made: list[_Noting] = []

    def _listed(self, part: pd.DataFrame) -> _Columns:
        columns = _Noting(part, self._common, self._places)
        self._made.append(columns)
        return columns

    def pay(self, rows: int) -> bool:
        """Return whether most of the ``rows`` that were passed stayed lazy."""
        return self._pay is not False and 2 * sum(columns.became_series for columns in self._made) <= rows

    @property
    def fit(self) -> bool:
        """Whether the frame supports lazy rows."""
        return self._common is not None

    @property
    def read(self) -> frozenset[str] | None:
        """The columns that the function has read; None if it has read whole rows."""
        if not self._pay or any(columns.whole for columns in self._made):
            return None
        return frozenset(label for columns in self._made for label in columns)


def are_views(frame: Any, dtypes: Iterable[Any] | None = None) -> bool:
    """Return whether pandas passes rows that are read-only views of the frame."""
    # They are if one block holds the frame, in pandas 3 or over a read-only array.
    # Otherwise they are new arrays or, in pandas 2, views that can be written into.
    kinds = set(dtypes_of(frame) if dtypes is None else dtypes)
    if len(kinds) != 1 or not isinstance(next(iter(kinds)), np.dtype):
        return False
    # A single block is not copied. To consolidate several is slow, so test one row of them.
    is_one = getattr(frame._mgr, "is_single_block", False)
    return not (frame if is_one else frame.iloc[:1]).to_numpy().flags.writeable


def _as_writable(values: np.ndarray, writable: bool) -> np.ndarray:
    """Return the array as a writable or read-only one; copy it if it must become writable."""
    if values.flags.writeable == writable:
        return values
    if writable:
        return values.copy(order="K")
    values = values.view()
    values.flags.writeable = False
    return values


def _over(values: np.ndarray, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of one block over this array, with labels, attrs and flags of another frame."""
    made = pd.DataFrame(values, index=frame.index, columns=frame.columns, dtype=values.dtype, copy=False)
    _told(made, frame)
    return made


def _told(made: Any, frame: pd.DataFrame) -> Any:
    """Give an object that was made from a frame the attrs and flags of the frame."""
    if frame.attrs:
        made.attrs = copy.deepcopy(frame.attrs)
    if not frame.flags.allows_duplicate_labels:
        made.flags.allows_duplicate_labels = False
    return made


def _blocks(manager: Any) -> Any:
    """Return the object that pandas replaces if it copies a Series before an assignment; None if unknown."""
    return getattr(manager, "blocks", None)


def _has_no_reference(manager: Any) -> bool:
    refs = getattr((_blocks(manager) or (None,))[0], "refs", None)
    return refs is not None and not refs.has_reference()


def blocks_of(row: Any) -> Any:
    """Return the blocks of a row: an assignment that copies replaces them."""
    return _blocks(getattr(row, "_mgr", None))


def is_unshared(row: Any) -> bool:
    """Return whether pandas would write into a row without a copy, because it knows no other reference."""
    return _has_no_reference(row._mgr)


class _Writes:
    """Detection of assignments to rows that are read-only views, and of whether the next assignment fails."""

    # pandas 3 passes one Series again and again. It copies the array of a row at the first assignment, as
    # ``row["a"] = 0``. Unless the row is returned, nothing else refers to that copy. pandas then writes into the next
    # row without a copy. That row is read-only, so the next assignment fails.

    def __init__(self, sink: Any, unshared: bool) -> None:
        self.unshared = unshared
        self._sink = sink
        self._wrote: int | None = None
        self._manager: Any = None
        self._blocks: Any = None
        self._at = 0

    def hold(self, row: pd.Series, at: int) -> None:
        """Check the last row, and remember the blocks of the row that is passed now."""
        self.look()
        self._manager, self._blocks, self._at = row._mgr, blocks_of(row), at

    def look(self) -> None:
        """Check whether the function has assigned to the last row."""
        manager, self._manager = self._manager, None
        if manager is None:
            return
        if _blocks(manager) is not self._blocks:
            self._tell()
        self._sink.unshared = self.unshared = _has_no_reference(manager)

    def _tell(self) -> None:
        if self._wrote is None:
            self._sink.wrote = self._wrote = self._at

    def watched(self, one: Callable[[Any], None], frame: Any, at: int) -> Callable[[Any], None]:
        """Return a function for pandas' own loop that checks each row after its call."""
        is_first, at = True, at - 1

        def watch(row: Any) -> None:
            nonlocal is_first, at
            at += 1
            blocks = blocks_of(row)
            if blocks is not self._blocks:
                if not is_first:
                    self._tell()
                elif self.unshared:
                    _assign(row)  # from here on, pandas' Series has been assigned to
                    self._manager, self._blocks = row._mgr, blocks_of(row)
                    row = _series_over(_as_writable(frame.iloc[:1].to_numpy(), False)[0], frame)
                    row.name = frame.index[0]
                    self._at, is_first = at, False
                    one(row)
                    return
                self._manager, self._blocks, is_first = row._mgr, blocks, False
            self._at = at
            one(row)

        return watch


def _series_over(values: np.ndarray, frame: pd.DataFrame) -> pd.Series:
    """Return a row of a frame over this array."""
    row: pd.Series = _told(pd.Series(values, index=frame.columns, dtype=values.dtype, copy=False), frame)
    return row


def _assign(row: Any) -> None:
    row.iat[0] = None if row.dtype == object else row.iat[0]


def _visit_few(columns: _Columns, rows: range, visit: Callable[[Any], None]) -> None:
    for lazy in zip(repeat(columns), rows, strict=False):
        row = new(_Row)
        keep(row, "_lazy", lazy)
        visit(row)
        if getrefcount(row) > FRESH:
            _kept(row)


def _visit(
    columns: _Columns, rows: range, items: Iterable[str], attributes: Iterable[str], by_texts: bool,
    visit: Callable[[Any], None],
) -> None:  # fmt: skip
    """Pass the same row object with new scalars, as pandas does, until the function keeps or changes it."""
    item_values = [(label, iter(columns[label][rows.start : rows.stop])) for label in items]
    attribute_values = [(label, iter(columns[label][rows.start : rows.stop])) for label in attributes]
    current = _current(by_texts)
    current.columns, kind, step, positions = columns, current.kind, current.step, iter(rows)
    try:
        while True:
            row: Any = new(kind)
            current.row = row
            own = dict_of(row)
            # Iterators of C put the scalars in place, several times faster than statements.
            puts = [map(setitem, repeat(current), repeat(label), values) for label, values in item_values]
            puts += [map(setitem, repeat(own), repeat(label), values) for label, values in attribute_values]
            for step[0] in zip(positions, *puts, strict=False):
                visit(row)
                if getrefcount(row) > KEPT_BY_LOOP or type(row) is not kind:
                    _kept(row)
                    break
            else:
                break
    finally:
        if type(row) is kind:  # the traceback of an exception may refer to it
            own.clear()
            set_class(row, _Row)
            keep(row, "_lazy", (columns, step[0][0]))
        current.leave()


def _kept(row: Any) -> None:
    """Materialize a row that outlives its call, in a list or a closure."""
    if is_lazy(row):
        lazy = row._lazy
        _plain(row)
        lazy[0].became_series -= 1  # the function did not need a plain Series


def _dtype_of_rows(frame: pd.DataFrame, places: dict[Any, int]) -> np.dtype[Any] | None:
    """Return the dtype of the array of a row; None if lazy rows cannot give its scalars."""
    labels = frame.columns
    if type(frame) is not pd.DataFrame or labels.nlevels > 1 or len(places) < len(labels) or len(frame) == 0:
        return None
    if labels.inferred_type != "string" or "_lazy" in places:  # the name of an attribute of lazy rows
        return None
    if not _may_be_lazy():
        return None
    kinds = set(dtypes_of(frame))
    first = next(iter(kinds))
    if len(kinds) == 1 and isinstance(first, np.dtype):
        common: Any = first
    elif all(isinstance(d, (np.dtype, pd.StringDtype, pd.DatetimeTZDtype, pd.CategoricalDtype)) for d in kinds):
        # The common dtype of all columns. If it is an extension dtype, its array would make other scalars than NumPy.
        common = frame.iloc[0].dtype
        if frame.iloc[:1].to_numpy().dtype != common:
            return None
    else:
        return None
    return common if common.kind in "biufcO" else None


def dtypes_of(frame: pd.DataFrame) -> Iterable[Any]:
    try:
        found: Iterable[Any] = frame._mgr.get_dtypes()
    except AttributeError:  # a private name; the public one makes a Series: a tenth of a call with ten rows
        found = frame.dtypes
    return found


class _Columns(dict[str, list[Any]]):
    """Scalars of some rows by column label; a column is listed when it is first read."""

    def __init__(self, frame: pd.DataFrame, common: Any, places: dict[Any, int]) -> None:
        super().__init__()
        self.frame = frame
        self.labels = frame.columns
        self.places = places
        self.common: np.dtype[Any] = common
        self.is_wide = is_wide(common)
        self.became_series = 0
        self.first = 0
        self.writes: _Writes | None = None
        self.items_asked: list[str] = []
        self.attributes_asked: list[str] = []

    def __missing__(self, label: str) -> list[Any]:
        if type(label) is not str or label not in self.places:
            raise KeyError(label)
        # For few rows, one array of all columns costs less than one column of the frame.
        if len(self.frame) > LOOK_AFTER and self.common.kind == "O":
            with converting():
                values: list[Any] = self.frame[label].astype(object).tolist()
        else:
            column = self.rows[:, self.places[label]]
            # A list gives NumPy scalars several times faster than the array.
            values = column.tolist() if self.common.kind == "O" else list(column)
        self[label] = values
        return values

    @functools.cached_property
    def order(self) -> list[str]:
        """The labels by position."""
        return list(self.places)

    def values_at(self, at: int) -> list[Any]:
        """Return the scalars of a row as iteration gives them: numbers are Python's own."""
        values: list[Any] = self.rows[at].tolist()
        return values

    def array_at(self, at: int) -> np.ndarray:
        array: np.ndarray = self.rows[at]
        return array

    def series_at(self, at: int) -> pd.Series:
        """Return the row as pandas' own ``apply`` makes it."""
        writes = self.writes
        if writes is not None:
            writes.look()
            row = _series_over(self.rows[at], self.frame) if writes.unshared else self.shown.iloc[at]
            writes.hold(row, self.first + at)
            return row
        # Not ``iloc``: in a row of a mixed frame it has NumPy's scalars, but ``apply`` has Python's.
        row = pd.Series(self.rows[at], index=self.labels, dtype=self.rows.dtype, copy=False)
        return _told(row, self.frame) if self.is_told else row

    @functools.cached_property
    def shown(self) -> pd.DataFrame:
        """The frame over a read-only array, which pandas copies before an assignment."""
        return _over(self.rows, self.frame)

    @functools.cached_property
    def is_told(self) -> bool:
        """Whether rows inherit attrs or flags of the frame."""
        return bool(self.frame.attrs) or not self.frame.flags.allows_duplicate_labels

    @functools.cached_property
    def names(self) -> list[Any]:
        """The labels of the rows, as iteration gives them."""
        return list(self.frame.index)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The scalars row by row; writable if pandas' rows are."""
        with converting():
            return _as_writable(self.frame.to_numpy(), self.writes is None)


class _Noting(_Columns):
    """Scalars of some rows that record whether the function has read a whole row."""

    whole = False

    def values_at(self, at: int) -> list[Any]:
        self.whole = True
        return super().values_at(at)

    def array_at(self, at: int) -> np.ndarray:
        self.whole = True
        return super().array_at(at)

    def series_at(self, at: int) -> pd.Series:
        self.whole = True
        return super().series_at(at)


def _plain(row: Any) -> Any:
    """Materialize a lazy row in place."""
    columns, at = row._lazy
    columns.became_series += 1
    materialize_in_place(row, columns.series_at(at), pd.Series, _name=columns.names[at])
    return row


class _Row(pd.Series):
    """Series that materializes as soon as a function does more than read it."""

    _lazy: tuple[_Columns, int]
    __dict__ = own_dict

    def __getitem__(self, key: Any) -> Any:
        try:
            columns, at = self._lazy
            return columns[key][at]
        except (KeyError, TypeError):  # not a label, or not hashable
            pass
        return _plain(self)[key]  # not above, so that pandas' error has no context

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc] # the stubs call it final
        if type(self) is pd.Series:
            return missing_attribute(self, name)
        columns, at = self._lazy
        if name == "_name":
            return columns.names[at]
        if not name.startswith("_"):
            try:
                value = columns[name][at]
            except KeyError:
                pass
            else:
                columns.attributes_asked.append(name)
                return value
        return getattr(_plain(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_plain(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_plain(self), name)

    def __dir__(self) -> Any:
        return dir(_plain(self))

    def __len__(self) -> int:
        return len(self._lazy[0].places)

    def __iter__(self) -> Iterator[Any]:
        columns, at = self._lazy
        return iter(columns.values_at(at))

    def tolist(self) -> list[Any]:
        columns, at = self._lazy
        return columns.values_at(at)

    to_list = tolist

    def items(self) -> Any:
        columns, at = self._lazy
        return zip(columns.order, columns.values_at(at), strict=False)

    def get(self, key: Any, default: Any = None) -> Any:
        if type(key) is str:
            columns, at = self._lazy
            try:
                return columns[key][at]
            except KeyError:
                pass
        return _plain(self).get(key, default)

    def to_dict(self, *args: Any, **kwargs: Any) -> Any:
        if not (args or kwargs):
            columns, at = self._lazy
            values = columns.values_at(at)
            if _NATIVE.issuperset(map(type, values)):
                return dict(zip(columns.order, values, strict=True))
        return _plain(self).to_dict(*args, **kwargs)

    @property
    def iloc(self) -> Any:
        return Locator(self, "iloc", _located)

    @property
    def iat(self) -> Any:
        return Locator(self, "iat", _located)

    @property
    def loc(self) -> Any:
        return Locator(self, "loc", _located)

    @property
    def at(self) -> Any:
        return Locator(self, "at", _located)

    def __contains__(self, key: Any) -> bool:  # type: ignore[misc] # the stubs call it final
        return key in self._lazy[0].labels

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self).__reduce_ex__(protocol)

    @property  # type: ignore[misc] # isinstance and users read it
    def __class__(self) -> Any:
        return pd.Series


class _Current(dict[str, Any]):
    """Scalars of the row that a function has now, by label; rows of the class ``kind`` read them."""

    columns: Any
    row: Any

    def __init__(self, by_texts: bool) -> None:
        def by_any(row: Any, key: Any) -> Any:
            try:
                return self[key]
            except TypeError:  # not hashable
                pass
            return materialized(row)[key]

        def get(row: Any, key: Any, default: Any = None) -> Any:
            return self[key] if type(key) is str and key in self else _Row.get(row, key, default)

        # A function of C is no descriptor: ``row["a"]`` enters no frame. But keys must be hashable.
        item = self.__getitem__ if by_texts else by_any
        lazy = property(lambda row: (self.columns, self.step[0][0]))
        own = {"__module__": _Row.__module__, "__doc__": _Row.__doc__, "__getitem__": item, "get": get, "_lazy": lazy}
        self.kind = also_lazy(type(_Row.__name__, (_Row,), own))
        self.step: list[tuple[Any, ...]] = [(0,)]
        self._by_texts = by_texts
        self.leave()

    def leave(self) -> None:
        """Refer to no data, and be free for other rows."""
        self.clear()
        self.columns = self.row = None
        _free[self._by_texts].append(self)

    def __missing__(self, label: Any) -> Any:
        columns = self.columns
        try:
            value = columns[label][self.step[0][0]]
        except KeyError:
            pass
        else:
            if type(label) is str:
                columns.items_asked.append(label)
            return value
        return _plain(self.row)[label]  # not above, so that pandas' error has no context


#: Those that no loop uses now: their classes are made once.
_free: tuple[list[_Current], list[_Current]] = [], []


def _current(by_texts: bool) -> _Current:
    while True:
        try:
            return _free[by_texts].pop()
        except IndexError:
            _Current(by_texts)


def _reduced(row: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    columns, at = row._lazy
    if columns.is_wide and no_arguments(args, kwargs):
        value = reduced(columns.array_at(at), name)
        if value is not NOT_HANDLED:
            return value
    return getattr(_plain(row), name)(*args, **kwargs)


def _located(lazy: tuple[_Columns, int], name: str, key: Any) -> Any:
    """Return ``row.iloc[key]`` and the like if that is one scalar, else :data:`NOT_HANDLED`."""
    columns, at = lazy
    if type(key) is int and name.startswith("i") and -len(columns.order) <= key < len(columns.order):
        return columns[columns.order[key]][at]
    if type(key) is str and not name.startswith("i") and key in columns.places:
        return columns[key][at]
    return NOT_HANDLED


with_reductions(_Row, ("sum", "max", "min", "mean", "std", "var"), _reduced)
stands_for(_Row, pd.Series, _plain)


def _test() -> None:
    """Check that lazy rows answer and materialize to rows of pandas, and that an assignment is detected."""
    numbers = pd.DataFrame({"a": [1.5, 2.5], "b": [3.5, 4.5]}, index=["x", "y"])
    for frame in (numbers, numbers.assign(b=["t", "u"])):
        expected: list[Any] = []
        frame.apply(lambda row, keep=expected: keep.append(row.copy()), axis=1)
        places = {label: place for place, label in enumerate(frame.columns)}
        row = new(_Row)
        keep(row, "_lazy", (_Columns(frame, _dtype_of_rows(frame, places), places), 1))
        answers = row["a"], row.b, row.name, len(row)
        agree(_plain(row), expected[1])
        if answers != (expected[1]["a"], expected[1].b, "y", 2):
            raise AssertionError(f"a row answers {answers}")
    if not PANDAS_2:
        shared = numbers.iloc[0]
        before = blocks_of(shared)
        shared["a"] = 0.0
        if before is None or blocks_of(shared) is before or not is_unshared(shared):
            raise AssertionError("an assignment is not seen")


_may_be_lazy = Tested(_test)
