"""Lazy groups, which cost a fraction of pandas' groups until a function does more than read them.

Three quarters of ``groupby(...).apply(func)`` are often overhead. pandas cuts a frame for each group and makes a Series
of each column that the function reads. NumPy reads three attributes of that Series before it gets the array.
A lazy group knows the rows of the chunk and its own range. Its columns are lazy and give NumPy the array at once::

    group["x"], group.x, len(group), group.shape, group.index, group.name          a lazy group answers
    np.average(column), column.to_numpy(), sum(column), column.max(), .mean()      a lazy column answers
    column.iloc[0], len(column), column.index, column * other - 1
    anything else                                                                  materializes

A function that needs plain groups would pay for both kinds: after a few groups it gets plain ones only.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from sys import getrefcount
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from pdparallel.compat import PANDAS_2
from pdparallel.data.fastpath.base import (
    FRESH,
    Tested,
    agree,
    applied,
    dict_of,
    is_lazy,
    look_for_methods,
    materialize_in_place,
    materialized,
    missing_attribute,
    new,
    own_dict,
    relabel,
    stands_for,
)
from pdparallel.data.fastpath.column import Column, column_of, look_at_columns, plain_column
from pdparallel.data.fastpath.slices import GroupSlice, Source, TimedSource, is_array, with_array
from pdparallel.data.fastpath.type_checks import leading, may_ask_for_types
from pdparallel.typing import Func, UnitSink

__all__ = ["LOOK_AFTER", "LazyGroups", "LazyTrial", "backing_of_column"]

#: Number of groups of a call after which it is checked whether groups stay lazy.
LOOK_AFTER = 16


class LazyGroups:
    """Iteration over the groups of a call's chunks; it remembers across chunks whether lazy groups pay off."""

    def __init__(self, func: Func, given: Sequence[Any] = ()) -> None:
        self._func = func
        self._given = given
        self._pay: bool | None = None

    def call_with_groups(self, data: Any, sizes: Sequence[int], names: Sequence[Any] | None, sink: UnitSink) -> int:
        """Pass lazy groups to the sink as long as they pay off; return how many were passed."""
        if self._pay is None:
            look_for_methods()
            given = [*self._given, *_held_by(data)]
            self._pay = _may_be_lazy() and not may_ask_for_types(self._func, given)
        if not self._pay or not _fits(data):
            return 0
        source = Source(data, plain_group)
        units = _columns(source, sizes, names) if data.ndim == 1 else _groups(source, sizes, names)
        try:
            return self._call_with_units(source, units, len(sizes), sink)
        finally:
            next(units, None)  # lets the generator check whether the last group is still referenced

    def _call_with_units(self, source: Source, units: Iterator[Any], n: int, sink: UnitSink) -> int:
        at = 0
        while self._pay and at < n:
            stop = n if at else min(n, LOOK_AFTER)
            while at < stop:
                size = sink.start_block(stop - at)
                for _ in range(size):
                    sink.call_owned(next(units))
                at += size
            self._pay = 2 * source.became <= at
        return at


class LazyTrial:
    """Trial of lazy groups made from groups of pandas, to see whether they would pay off."""

    def __init__(self, func: Func) -> None:
        self.seconds: list[float] = []  # of each call, without the time to make columns
        self._stayed = 0
        self._may: bool | None = None

    @property
    def pays(self) -> bool:
        """Whether most groups stayed lazy."""
        return 2 * self._stayed >= len(self.seconds) > 0

    def call(self, func: Func, unit: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function with a lazy group made from the unit, if possible, and return its result."""
        if self._may is None:
            look_for_methods()
            given = [*args, *kwargs.values(), *_held_by(unit)]
            self._may = _may_be_lazy() and not may_ask_for_types(func, given)
        if not (self._may and _fits(unit)):
            began = perf_counter()
            value = func(unit, *args, **kwargs)
            self.seconds.append(perf_counter() - began)
            return value
        source = TimedSource(unit, plain_group)
        named = unit.ndim == 1 or "name" in vars(unit)
        call_with_groups = _columns if unit.ndim == 1 else _groups
        groups = call_with_groups(source, [len(unit)], [unit.name] if named else None)
        group = next(groups)
        try:
            began = perf_counter()
            value = func(group, *args, **kwargs)
            self.seconds.append(perf_counter() - began - source.seconds)
            self._stayed += source.became == 0
            if not is_lazy(group) and not _has_labels(group, unit):
                relabel(unit, group.index, group.columns if unit.ndim == 2 else None)  # pandas reads these again
        finally:
            del group
            next(groups, None)  # lets the generator check whether it is still referenced
        return materialized(value)


def _has_labels(group: Any, unit: Any) -> bool:
    """Return whether a group still has the labels of the pandas group that it was made from."""
    return bool(group.index.is_(unit.index)) and (unit.ndim == 1 or bool(group.columns.is_(unit.columns)))


def backing_of_column(value: Any, unit: Any) -> tuple[np.ndarray, Any, pd.Index | None] | None:
    """Return values, name and index (None: the group's) of a lazy column of this lazy group; None for other values."""
    if type(value) is not Column or not is_lazy(unit):
        return None
    cut, name, array, _, labels = value._lazy
    of_the_unit = unit._lazy if unit.ndim == 2 else unit._lazy[0]
    return (array, name, labels.made) if array is not None and cut is of_the_unit and cut.source.counts else None


def _held_by(data: Any) -> list[Any]:
    """Return the objects in the first rows that may refer to a function."""
    if data.ndim == 1:
        columns = [data] if is_object_dtype(data.dtype) else []
    else:
        columns = [data.iloc[:LOOK_AFTER, at] for at, dtype in enumerate(data.dtypes) if is_object_dtype(dtype)]
    return [value for column in columns for value in leading(column.iloc[:LOOK_AFTER].tolist())]


def _fits(data: Any) -> bool:
    if type(data) is pd.Series:
        return is_array(data.dtype)
    if type(data) is not pd.DataFrame or (PANDAS_2 and pd.get_option("mode.copy_on_write")):
        return False
    labels = data.columns
    # A column "_lazy" would collide with the attribute of lazy groups.
    return labels.nlevels == 1 and labels.is_unique and labels.inferred_type == "string" and "_lazy" not in labels


def _groups(source: Source, sizes: Sequence[int], names: Sequence[Any] | None) -> Iterator[Any]:
    """Yield lazy groups; before the next one, materialize the last and its columns if still referenced."""
    handed, start = source.handed, 0
    for at, size in enumerate(sizes):
        cut = GroupSlice(source, start, start + size)
        start += size
        group = new(Group)
        own = dict_of(group)
        own["_lazy"] = cut
        if names is not None:
            own["name"] = names[at]
        if PANDAS_2:
            cut.group, cut.columns = weakref.ref(group), {}
        yield group
        if getrefcount(group) > FRESH and is_lazy(group):
            plain_group(group)
            source.became -= 1  # the function did not need it as a plain one
        if cut.columns:
            cut.columns.clear()
        if handed:
            look_at_columns(source)


def _columns(source: Source, sizes: Sequence[int], names: Sequence[Any] | None) -> Iterator[Any]:
    """Yield the groups of a Series as lazy columns, like :func:`_groups`."""
    array, series = with_array(source.data)
    start, name = 0, series.name
    for at, size in enumerate(sizes):
        cut = GroupSlice(source, start, start + size)
        start += size
        column = column_of(cut, name if names is None else names[at], array, series)
        yield column
        if getrefcount(column) > FRESH and is_lazy(column):
            plain_column(column)
            source.became -= 1
        if source.handed:
            look_at_columns(source)


def plain_group(group: Any) -> Any:
    """Materialize a lazy group in place."""
    own = dict_of(group)
    cut: GroupSlice = own["_lazy"]
    cut.source.became += 1
    named = {"name": own["name"]} if "name" in own else {}
    materialize_in_place(group, cut.frame(), pd.DataFrame, **named)
    if cut.columns:
        for label, column in cut.columns.items():
            if is_lazy(column):
                materialize_in_place(column, group[label], pd.Series)
                group._item_cache[label] = column  # pandas 2 always returns the same Series
        cut.columns.clear()
    return group


class Group(pd.DataFrame):
    """DataFrame that materializes as soon as a function does more than read it."""

    _lazy: GroupSlice
    __dict__ = own_dict

    def __getitem__(self, key: Any) -> Any:
        if type(key) is str:
            cut = self._lazy
            source = cut.source
            if key in source.places:
                kept = cut.columns
                if kept is not None and key in kept:
                    return kept[key]
                column = column_of(cut, key, *source.column(key))
                source.handed.append(weakref.ref(column))
                if kept is not None:
                    kept[key] = column
                return column
        return plain_group(self)[key]

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc] # the stubs call it final
        if type(self) is not Group:
            return missing_attribute(self, name)
        cut = self._lazy
        if not name.startswith("_") and name in cut.source.places:
            return self[name]
        return getattr(plain_group(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(plain_group(self), name, value)

    def __dir__(self) -> Any:
        return dir(plain_group(self))

    def __len__(self) -> int:
        cut = self._lazy
        return cut.stop - cut.start

    def __iter__(self) -> Any:
        return iter(self._lazy.source.data)

    def __contains__(self, key: Any) -> bool:  # type: ignore[misc] # the stubs call it final
        return key in self._lazy.source.data

    @property  # type: ignore[misc] # __setattr__ materializes first
    def index(self) -> pd.Index:
        return self._lazy.index

    @property
    def shape(self) -> tuple[int, int]:
        cut = self._lazy
        return cut.stop - cut.start, len(cut.source.places)

    @property
    def empty(self) -> bool:
        return len(self) == 0 or not self._lazy.source.places

    @property
    def ndim(self) -> int:
        return 2

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return applied(ufunc, method, inputs, kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return plain_group(self).__reduce_ex__(protocol)

    @property  # type: ignore[misc] # isinstance and users read it
    def __class__(self) -> Any:
        return pd.DataFrame


stands_for(Group, pd.DataFrame, plain_group)


def _test() -> None:
    """Check that a lazy group and its lazy column answer, and materialize to the objects of pandas."""
    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": ["t", "u", "v"]}, index=["x", "y", "z"])
    units = _groups(Source(frame, plain_group), [2, 1], None)
    group = next(units)
    column = group["a"]
    answers = len(group), column.sum()
    if answers != (2, 4.0) or not (is_lazy(group) and is_lazy(column)):
        raise AssertionError(f"a group answers {answers}")
    for found, expected in ((column, frame["a"].iloc[:2]), (group, frame.iloc[:2]), (next(units), frame.iloc[2:])):
        agree(materialized(found), expected)


_may_be_lazy = Tested(_test)
