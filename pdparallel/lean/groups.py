"""Lean groups: groups of rows, and columns of them, that cost a fraction of pandas' own until more is asked of them.

Of ``groupby(...).apply(func)`` three quarters are often not the function's: pandas cuts out a frame for each group and
makes a Series of each column that the function takes, and NumPy asks that Series three things before it gets the array.
A lean group knows the rows of the whole chunk and where its own begin and end; a column of it is a lean column, which
gives NumPy its array at once::

    group["x"], group.x, len(group), group.shape, group.index, group.name          a lean group answers
    np.average(column), column.to_numpy(), sum(column), column.max(), .mean()      a lean column answers
    column.iloc[0], len(column), column.index, column * other - 1
    anything else                                                                  becomes pandas' own

A column becomes pandas' own by itself, by a cut from that of the chunk, where pandas copies what is written into
(pandas 3); else with its whole group, because what is written into one is to be seen in the other.  A function that
needs whole groups anyway would pay for both kinds: after a few groups it gets pandas' own.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from sys import getrefcount
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.lean.becoming import (
    ELSEWHERE,
    FRESH,
    Locator,
    become,
    code_of,
    is_lean,
    is_wide,
    missed,
    new,
    no_arguments,
    reduced,
    scalars_are_plain,
)
from pdparallel.typing import Func, Taker
from pdparallel.versions import PANDAS_2

__all__ = ["LOOK_AFTER", "LeanGroups", "LeanTrial", "held", "made_plain"]

#: Groups of a call after which it is seen whether the function leaves its groups lean.
LOOK_AFTER = 16

#: Kinds of dtypes whose arrays are all that there is to a column.
_KINDS = "biufcO"

#: Values of a column up to which arithmetic is done here, by NumPy: of a million pandas may ask numexpr.
MOST_COUNTED = 100_000

#: Whole numbers that are less than that can be no matter of dtypes.
MOST_INT = 1 << 31

#: What NumPy asks an object for before ``__array__``, and what a Series says to that.
_ASKED_BY_NUMPY = {
    name: f"'Series' object has no attribute {name!r}" for name in ("__array_interface__", "__array_struct__")
}


class LeanGroups:
    """Hands out the groups of a call's chunks, and remembers from chunk to chunk whether lean ones pay.

    Parameters
    ----------
    func : callable
        Who will get the groups.
    """

    def __init__(self, func: Func) -> None:
        self._func = func
        self._pay: bool | None = None

    def hand_out(self, data: Any, sizes: Sequence[int], names: Sequence[Any] | None, taker: Taker) -> int:
        """Give the taker each group, for as long as lean ones pay.

        Parameters
        ----------
        data : DataFrame or Series
            Rows, group by group.
        sizes : sequence of int
            Rows of each group.
        names : sequence or None
            What each group is called, where the function is told.
        taker : Taker
            Gets them.

        Returns
        -------
        int
            So many were given; the others are to be pandas' own.
        """
        if self._pay is None:
            self._pay = scalars_are_plain() and not _may_ask_for_types(self._func)
        if not self._pay or not _fits(data):
            return 0
        source = _Source(data)
        units = _columns(source, sizes, names) if data.ndim == 1 else _groups(source, sizes, names)
        at, n = 0, len(sizes)
        while self._pay and at < n:
            stop = n if at else min(n, LOOK_AFTER)
            while at < stop:
                size = taker.block(stop - at)
                for _ in range(size):
                    taker.own(next(units))
                at += size
            self._pay = 2 * source.became <= at
        next(units, None)  # which looks whether the last one is kept
        return at


class LeanTrial:
    """Finds out whether lean groups would pay, by groups that pandas has made.

    Parameters
    ----------
    func : callable
        Who gets them.

    Attributes
    ----------
    seconds : list of float
        What the function took for each, without what it takes to make columns of one group only.
    """

    def __init__(self, func: Func) -> None:
        self.seconds: list[float] = []
        self._stayed = 0
        self._may = scalars_are_plain() and not _may_ask_for_types(func)

    @property
    def pays(self) -> bool:
        """Whether most of them stayed lean."""
        return 2 * self._stayed >= len(self.seconds) > 0

    def call(self, func: Func, unit: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function returns for a group of pandas, of which it gets a lean one where that can be."""
        if not (self._may and _fits(unit)):
            began = perf_counter()
            value = func(unit, *args, **kwargs)
            self.seconds.append(perf_counter() - began)
            return value
        source = _TimedSource(unit)
        named = unit.ndim == 1 or "name" in vars(unit)
        hand_out = _columns if unit.ndim == 1 else _groups
        for group in hand_out(source, [len(unit)], [unit.name] if named else None):
            began = perf_counter()
            value = func(group, *args, **kwargs)
            self.seconds.append(perf_counter() - began - source.seconds)
            self._stayed += source.became == 0
        return made_plain(value)


def held(value: Any, unit: Any) -> tuple[np.ndarray, Any] | None:
    """The values and the name of a column that is lean, as the group is; None for all else.

    Parameters
    ----------
    value : object
        What the function returned for the group.
    unit : object
        The group.
    """
    if type(value) is not _Column or not is_lean(unit):
        return None
    cut, name, array, _, labels = value._lean
    of_the_unit = unit._lean if unit.ndim == 2 else unit._lean[0]
    if array is None or cut is not of_the_unit or not cut.source.counts or labels.made is not None:
        return None
    return array, name


def made_plain(value: Any) -> Any:
    """A value, which is pandas' own now if it was a lean group or column."""
    kind = type(value)
    if kind is _Column:
        return _plain_column(value)
    return _plain_group(value) if kind is _Group else value


def _may_ask_for_types(func: Func) -> bool:
    """Whether a function may call ``type`` of a group or of a column, which a lean one answers in another way."""
    while (code := code_of(func)) is None and hasattr(
        func, "func"
    ):  # what stands around it, functools.partial included
        func = func.func
    return code is not None and "type" in code.co_names


def _fits(data: Any) -> bool:
    if type(data) is pd.Series:
        return isinstance(data.dtype, np.dtype) and data.dtype.kind in _KINDS
    if type(data) is not pd.DataFrame or (PANDAS_2 and pd.get_option("mode.copy_on_write")):
        return False
    labels = data.columns
    # "_lean" is the name under which a lean group keeps what it has.
    return labels.nlevels == 1 and labels.is_unique and labels.inferred_type == "string" and "_lean" not in labels


class _Source:
    """The rows of a chunk of groups, and what is known of its columns.

    Attributes
    ----------
    counts : bool
        Whether arithmetic is done here.
    became : int
        Units that became pandas' own because the function wished it.
    handed : list of weakref
        Columns of the group that the function has just now.
    """

    __slots__ = ("_columns", "became", "counts", "data", "handed", "has_texts", "index", "places")

    def __init__(self, data: Any) -> None:
        self.data = data
        self.index: pd.Index = data.index
        self.has_texts = self.index.nlevels != 1 or self.index.dtype.kind not in "iufmM"
        self.places = set(data.columns) if data.ndim == 2 else set()
        # What comes of arithmetic has the attrs and flags of what it is made of.
        self.counts = not data.attrs and data.flags.allows_duplicate_labels
        self._columns: dict[str, tuple[np.ndarray | None, pd.Series]] = {}
        self.became = 0
        self.handed: list[weakref.ref[Any]] = []

    def index_at(self, start: int, stop: int) -> pd.Index:
        """The labels of some rows."""
        return self.index[start:stop]

    def column(self, label: str) -> tuple[np.ndarray | None, pd.Series]:
        """A column of all rows, as an array if that is all that there is to it, and as a Series."""
        found = self._columns.get(label)
        if found is None:
            found = self._columns[label] = _with_array(self.data[label])
        return found


class _TimedSource(_Source):
    """One group of pandas', with its very index; knows how long its columns took."""

    __slots__ = ("seconds",)

    def __init__(self, unit: Any) -> None:
        super().__init__(unit)
        self.seconds = 0.0

    def column(self, label: str) -> tuple[np.ndarray | None, pd.Series]:
        began = perf_counter()
        try:
            return super().column(label)
        finally:
            self.seconds += perf_counter() - began

    def index_at(self, start: int, stop: int) -> pd.Index:
        return self.index


def _with_array(column: pd.Series) -> tuple[np.ndarray | None, pd.Series]:
    dtype = column.dtype
    return column.to_numpy() if isinstance(dtype, np.dtype) and dtype.kind in _KINDS else None, column


class _Cut:
    """Where a group stands among the rows of its chunk.

    Attributes
    ----------
    group : weakref or None
        The group, where columns become pandas' own together with it.
    columns : dict or None
        Its lean columns, where pandas gives the same Series again and again.
    """

    __slots__ = ("columns", "group", "known_index", "source", "start", "stop")

    def __init__(self, source: _Source, start: int, stop: int) -> None:
        self.source = source
        self.start = start
        self.stop = stop
        self.known_index: pd.Index | None = None
        self.group: weakref.ref[Any] | None = None
        self.columns: dict[str, Any] | None = None

    @property
    def index(self) -> pd.Index:
        """The labels of the rows, of a group."""
        found = self.known_index
        if found is None:
            found = self.known_index = self.source.index_at(self.start, self.stop)
        return found

    def frame(self) -> Any:
        """The rows as pandas cuts them, with that index."""
        frame = self.source.data.iloc[self.start : self.stop]
        frame.index = self.index
        return frame


class _Labels:
    """The index of a column, and of what comes of it by arithmetic, which is one object; made when it is asked for."""

    __slots__ = ("_cut", "made")

    def __init__(self, cut: _Cut) -> None:
        self._cut = cut
        self.made: pd.Index | None = None

    @property
    def index(self) -> pd.Index:
        """Of a frame, pandas 3 gives each column an index of its own."""
        if self.made is None:
            index = self._cut.index
            self.made = index if PANDAS_2 or self._cut.source.data.ndim == 1 else index.view()
        return self.made


#: What a lean column keeps: its group, its name, its values if an array is all that there is to them, what it is made
#: of when it becomes pandas' own (the column of the chunk, or an array that is its own), and its labels.
_Kept = tuple[_Cut, Any, np.ndarray | None, Any, _Labels]


def _column_of(cut: _Cut, name: Any, array: np.ndarray | None, series: pd.Series) -> Any:
    """A lean column of a group."""
    column = new(_Column)
    own = None if array is None else array[cut.start : cut.stop]
    column.__dict__["_lean"] = cut, name, own, series, _Labels(cut)
    return column


def _computed(cut: _Cut, name: Any, values: np.ndarray, labels: _Labels) -> Any:
    """A lean column of values that are its own."""
    column = new(_Column)
    shown = values.view()
    shown.flags.writeable = PANDAS_2  # as pandas shows them
    column.__dict__["_lean"] = cut, name, shown, values, labels
    cut.source.handed.append(weakref.ref(column))
    return column


def _groups(source: _Source, sizes: Sequence[int], names: Sequence[Any] | None) -> Iterator[Any]:
    """A lean group for each; what of the one before is kept by anybody is pandas' own by then."""
    handed, start = source.handed, 0
    for at, size in enumerate(sizes):
        cut = _Cut(source, start, start + size)
        start += size
        group = new(_Group)
        own = group.__dict__
        own["_lean"] = cut
        if names is not None:
            own["name"] = names[at]
        if PANDAS_2:
            cut.group, cut.columns = weakref.ref(group), {}
        yield group
        if getrefcount(group) > FRESH and is_lean(group):
            _plain_group(group)
            source.became -= 1  # which was no wish
        if cut.columns:
            cut.columns.clear()
        if handed:
            _look_at_columns(source)


def _look_at_columns(source: _Source) -> None:
    """Columns that outlive their group's call are pandas' own from then on."""
    before = source.became
    for column in [ref() for ref in source.handed]:
        if column is not None and is_lean(column):
            _plain_column(column)
    source.became = before
    source.handed.clear()


def _columns(source: _Source, sizes: Sequence[int], names: Sequence[Any] | None) -> Iterator[Any]:
    """The same of a Series, whose groups are lean columns."""
    array, series = _with_array(source.data)
    start, name = 0, series.name
    for at, size in enumerate(sizes):
        cut = _Cut(source, start, start + size)
        start += size
        column = _column_of(cut, name if names is None else names[at], array, series)
        yield column
        if getrefcount(column) > FRESH and is_lean(column):
            _plain_column(column)
            source.became -= 1
        if source.handed:
            _look_at_columns(source)


def _plain_group(group: Any) -> Any:
    """Make a lean group the frame that pandas would have handed out, in place."""
    own = group.__dict__
    cut: _Cut = own["_lean"]
    cut.source.became += 1
    named = {"name": own["name"]} if "name" in own else {}
    become(group, cut.frame(), pd.DataFrame, **named)
    if cut.columns:
        for label, column in cut.columns.items():
            if is_lean(column):
                become(column, group[label], pd.Series)
                group._item_cache[label] = column  # pandas 2 gives the same Series again and again
        cut.columns.clear()
    return group


def _plain_column(column: Any) -> Any:
    """The same for a column, or for a group of a Series."""
    cut, name, _, made, labels = column.__dict__["_lean"]
    if isinstance(made, np.ndarray):
        become(column, pd.Series(made, index=labels.index, name=name, copy=False), pd.Series)
        return column
    group = None if cut.group is None else cut.group()
    if group is not None and is_lean(group) and cut.columns and cut.columns.get(made.name) is column:
        _plain_group(group)
        return column
    if cut.source.data is made:
        cut.source.became += 1
    real = made.iloc[cut.start : cut.stop]
    real.index = labels.index
    become(column, real, pd.Series, _name=name)
    return column


def _all_plain(args: Any) -> Any:
    return tuple(map(made_plain, args))


class _Group(pd.DataFrame):
    """A DataFrame for as long as it is only read; see the module."""

    _lean: _Cut

    def __getitem__(self, key: Any) -> Any:
        if type(key) is str:
            cut = self._lean
            source = cut.source
            if key in source.places:
                kept = cut.columns
                if kept is not None and key in kept:
                    return kept[key]
                column = _column_of(cut, key, *source.column(key))
                source.handed.append(weakref.ref(column))
                if kept is not None:
                    kept[key] = column
                return column
        return _plain_group(self)[key]

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc] # the stubs call it final
        cut = self.__dict__.get("_lean")
        if cut is None:
            return missed(self, name)
        if not name.startswith("_") and name in cut.source.places:
            return self[name]
        return getattr(_plain_group(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_plain_group(self), name, value)

    def __dir__(self) -> Any:
        return dir(_plain_group(self))

    def __len__(self) -> int:
        cut = self._lean
        return cut.stop - cut.start

    def __iter__(self) -> Any:
        return iter(self._lean.source.data)

    def __contains__(self, key: Any) -> bool:  # type: ignore[misc] # the stubs call it final
        return key in self._lean.source.data

    @property  # type: ignore[misc] # who sets it has a plain one by then
    def index(self) -> pd.Index:
        return self._lean.index

    @property
    def shape(self) -> tuple[int, int]:
        cut = self._lean
        return cut.stop - cut.start, len(cut.source.places)

    @property
    def empty(self) -> bool:
        return len(self) == 0 or not self._lean.source.places

    @property
    def ndim(self) -> int:
        return 2

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _ufunc(ufunc, method, inputs, kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain_group(self).__reduce_ex__(protocol)

    @property  # type: ignore[misc] # what isinstance asks, and what users see
    def __class__(self) -> Any:
        return pd.DataFrame


class _Column(pd.Series):
    """A Series for as long as it is only read; see the module."""

    _lean: _Kept

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._lean[2]
        if array is None or (dtype is not None and dtype != array.dtype):
            plain = _plain_column(self)
            found: np.ndarray = plain.__array__(dtype) if copy is None else plain.__array__(dtype, copy)
            return found
        return array.copy() if copy else array.view()

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc] # the stubs call it final
        lean = self.__dict__.get("_lean")
        if lean is None:
            return missed(self, name)
        if name == "_name":
            return lean[1]
        if name in _ASKED_BY_NUMPY and not (lean[0].source.has_texts and name in lean[0].index):
            raise AttributeError(_ASKED_BY_NUMPY[name])
        return getattr(_plain_column(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_plain_column(self), name, value)

    def __dir__(self) -> Any:
        return dir(_plain_column(self))

    def __len__(self) -> int:
        cut = self._lean[0]
        return cut.stop - cut.start

    def __iter__(self) -> Iterator[Any]:
        array = self._lean[2]
        if array is None:
            return iter(_plain_column(self))
        # One after the other, as pandas does: what is written meanwhile into a column of pandas 2 is seen.
        return iter(array) if array.dtype.kind == "O" else map(array.item, range(len(array)))

    def tolist(self) -> list[Any]:
        array = self._lean[2]
        found: list[Any] = (_plain_column(self) if array is None else array).tolist()
        return found

    to_list = tolist

    def to_numpy(self, *args: Any, **kwargs: Any) -> np.ndarray:
        array = self._lean[2]
        if array is None or args or kwargs:
            found: np.ndarray = _plain_column(self).to_numpy(*args, **kwargs)
            return found
        return array.view()

    @property
    def values(self) -> Any:
        array = self._lean[2]
        return _plain_column(self).values if array is None else array.view()

    @property  # type: ignore[misc] # who sets it has a plain one by then
    def index(self) -> pd.Index:
        return self._lean[4].index

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    @property
    def size(self) -> int:
        return len(self)

    @property
    def empty(self) -> bool:
        return len(self) == 0

    @property
    def dtype(self) -> Any:
        return self._lean[3].dtype

    def __add__(self, other: Any) -> Any:
        return _operated(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return _operated(operator.add, self, other, turned=True)

    def __sub__(self, other: Any) -> Any:
        return _operated(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _operated(operator.sub, self, other, turned=True)

    def __mul__(self, other: Any) -> Any:
        return _operated(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _operated(operator.mul, self, other, turned=True)

    def __truediv__(self, other: Any) -> Any:
        return _operated(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _operated(operator.truediv, self, other, turned=True)

    def __pow__(self, other: Any) -> Any:
        return _operated(operator.pow, self, other)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        return _reduced(self, "sum", args, kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        return _reduced(self, "max", args, kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        return _reduced(self, "min", args, kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        return _reduced(self, "mean", args, kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        return _reduced(self, "std", args, kwargs)

    def var(self, *args: Any, **kwargs: Any) -> Any:
        return _reduced(self, "var", args, kwargs)

    @property
    def iloc(self) -> Any:
        return Locator(self, "iloc", _located, _plain_column)

    @property
    def iat(self) -> Any:
        return Locator(self, "iat", _located, _plain_column)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        return _ufunc(ufunc, method, inputs, kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain_column(self).__reduce_ex__(protocol)

    @property  # type: ignore[misc] # what isinstance asks, and what users see
    def __class__(self) -> Any:
        return pd.Series


def _ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ufunc of NumPy, for which pandas looks at the types of all that it gets."""
    if "out" in kwargs:
        kwargs["out"] = _all_plain(kwargs["out"])
    call: Callable[..., Any] = getattr(ufunc, method)
    return call(*_all_plain(inputs), **kwargs)


def _operated(op: Callable[[Any, Any], Any], column: Any, other: Any, *, turned: bool = False) -> Any:
    """``op(column, other)``, or ``op(other, column)``."""
    if is_lean(column):
        value = _counted(op, column, other, turned)
        if value is not ELSEWHERE:
            return value
        _plain_column(column)
    return op(other, column) if turned else op(column, other)


def _counted(op: Callable[[Any, Any], Any], column: Any, other: Any, turned: bool) -> Any:
    """The same of plain numbers, and of columns of one group; :data:`ELSEWHERE` for what only pandas knows."""
    cut, name, array, _, labels = column._lean
    if array is None or not is_wide(array.dtype) or not cut.source.counts or len(array) > MOST_COUNTED:
        return ELSEWHERE
    kind = type(other)
    if kind is _Column:
        its_cut, its_name, right, _, _ = other._lean
        if its_cut is not cut or right is None or not is_wide(right.dtype) or op is operator.pow:
            return ELSEWHERE
        if its_name is not name:
            if type(its_name) is not str or type(name) is not str:
                return ELSEWHERE
            name = name if its_name == name else None
    elif op is operator.pow:
        if kind is not int or other != 2:
            return ELSEWHERE
        right = other
    elif kind is float or kind is np.float64:
        right = float(other)  # as pandas makes them
    elif (kind is int or kind is np.int64) and abs(other) < MOST_INT:
        right = int(other)
    else:
        return ELSEWHERE
    with np.errstate(all="ignore"):  # as in pandas
        values = op(right, array) if turned else op(array, right)
    return _computed(cut, name, values, labels)


def _reduced(column: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the Series method of that name gives."""
    array = column._lean[2]
    if array is not None and no_arguments(args, kwargs):
        value = reduced(array, name)
        if value is not ELSEWHERE:
            return value
    return getattr(_plain_column(column), name)(*args, **kwargs)


def _located(lean: _Kept, name: str, key: Any) -> Any:
    """What ``column.iloc[key]`` gives, where that is one scalar."""
    array = lean[2]
    if type(key) is not int or array is None or not -len(array) <= key < len(array):
        return ELSEWHERE
    return array[key]


_Group.__name__ = _Group.__qualname__ = "DataFrame"
_Column.__name__ = _Column.__qualname__ = "Series"
_Group.__module__ = _Column.__module__ = "pandas"
