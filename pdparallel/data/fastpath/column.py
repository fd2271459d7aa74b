"""Lazy columns of a group, which give NumPy their array at once and do arithmetic.

In pandas 3 a column materializes alone, as a slice of the chunk's column: pandas copies it before a write.
In pandas 2 it materializes with its whole group, because a write to one must be visible in the other.
The result of arithmetic is a lazy column, too, with values of its own.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2
from pdparallel.data.fastpath.base import (
    NOT_HANDLED,
    applied,
    is_lazy,
    is_wide,
    keep,
    materialize_in_place,
    missing_attribute,
    new,
    no_arguments,
    own_dict,
    reduced,
    stands_for,
    with_reductions,
)
from pdparallel.data.fastpath.slices import GroupSlice, Labels, Source

__all__ = ["Column", "column_of", "look_at_columns", "plain_column"]

#: Largest number of values for which NumPy does arithmetic here: from a million on pandas may use numexpr.
MAX_COUNTED = 100_000

#: Integers of a smaller absolute value do not change the dtype of a result.
MAX_INT = 1 << 31

#: Attributes that NumPy reads before ``__array__``, with the error message of a Series.
_ASKED_BY_NUMPY = {
    name: f"'Series' object has no attribute {name!r}" for name in ("__array_interface__", "__array_struct__")
}


#: State of a lazy column: group, name, values (None if they are more than an array), source and labels.
#: It materializes from the source: the column of the chunk, or an array of its own.
ColumnState = tuple[GroupSlice, Any, np.ndarray | None, Any, Labels]


def column_of(cut: GroupSlice, name: Any, array: np.ndarray | None, series: pd.Series) -> Any:
    """Create a lazy column of a group."""
    column = new(Column)
    own = None if array is None else array[cut.start : cut.stop]
    keep(column, "_lazy", (cut, name, own, series, Labels(cut)))
    return column


def _computed(cut: GroupSlice, name: Any, values: np.ndarray, labels: Labels) -> Any:
    """Create a lazy column with values of its own."""
    column = new(Column)
    shown = values.view()
    shown.flags.writeable = PANDAS_2  # pandas 3 gives read-only views
    keep(column, "_lazy", (cut, name, shown, values, labels))
    cut.source.handed.append(weakref.ref(column))
    return column


def look_at_columns(source: Source) -> None:
    """Materialize columns that outlive the call with their group."""
    before = source.became  # the function did not need these as plain columns
    for column in [ref() for ref in source.handed]:
        if column is not None and is_lazy(column):
            plain_column(column)
    source.became = before
    source.handed.clear()


def plain_column(column: Any) -> Any:
    """Materialize a lazy column, which may be a group of a Series, in place."""
    cut, name, _, made, labels = column._lazy
    if isinstance(made, np.ndarray):
        materialize_in_place(column, pd.Series(made, index=labels.index, name=name, copy=False), pd.Series)
        return column
    group = None if cut.group is None else cut.group()
    if group is not None and is_lazy(group) and cut.columns and cut.columns.get(made.name) is column:
        cut.source.plain_group(group)
        return column
    if cut.source.data is made:
        cut.source.became += 1
    real = made.iloc[cut.start : cut.stop]
    real.index = labels.index
    materialize_in_place(column, real, pd.Series, _name=name)
    return column


def _locator(name: str) -> Any:
    """Return the class of ``iloc`` or ``iat`` of a lazy column, which reads one scalar without pandas."""
    # It extends pandas' class, which counts references to the column to find writes that are lost.
    base: Any = type(getattr(pd.Series([0.0]), name))

    class Locator(base):  # type: ignore[misc]  # known at run time only
        def __getitem__(self, key: Any) -> Any:
            if is_lazy(self.obj):
                value = _located(self.obj._lazy, name, key)
                if value is not NOT_HANDLED:
                    return value
            return super().__getitem__(key)

    Locator.__name__, Locator.__qualname__, Locator.__module__ = base.__name__, base.__qualname__, base.__module__
    return Locator


_Iloc, _Iat = _locator("iloc"), _locator("iat")


class Column(pd.Series):
    """Series that materializes as soon as a function does more than read it."""

    _lazy: ColumnState
    __dict__ = own_dict

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._lazy[2]
        if array is None or (dtype is not None and dtype != array.dtype):
            plain = plain_column(self)
            found: np.ndarray = plain.__array__(dtype) if copy is None else plain.__array__(dtype, copy)
            return found
        return array.copy() if copy else array.view()

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc] # the stubs call it final
        if type(self) is not Column:
            return missing_attribute(self, name)
        lazy = self._lazy
        if name == "_name":
            return lazy[1]
        if name in _ASKED_BY_NUMPY and not (lazy[0].source.has_texts and name in lazy[0].index):
            raise AttributeError(_ASKED_BY_NUMPY[name])
        return getattr(plain_column(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(plain_column(self), name, value)

    def __dir__(self) -> Any:
        return dir(plain_column(self))

    def __len__(self) -> int:
        cut = self._lazy[0]
        return cut.stop - cut.start

    def __iter__(self) -> Iterator[Any]:
        array = self._lazy[2]
        if array is None:
            return iter(plain_column(self))
        # One item at a time, as pandas does: pandas 2 sees values that are written meanwhile.
        return iter(array) if array.dtype.kind == "O" else map(array.item, range(len(array)))

    def tolist(self) -> list[Any]:
        array = self._lazy[2]
        found: list[Any] = (plain_column(self) if array is None else array).tolist()
        return found

    to_list = tolist

    def to_numpy(self, *args: Any, **kwargs: Any) -> np.ndarray:
        array = self._lazy[2]
        if array is None or args or kwargs:
            found: np.ndarray = plain_column(self).to_numpy(*args, **kwargs)
            return found
        return array.view()

    @property
    def values(self) -> Any:
        array = self._lazy[2]
        return plain_column(self).values if array is None else array.view()

    @property  # type: ignore[misc] # __setattr__ materializes first
    def index(self) -> pd.Index:
        return self._lazy[4].index

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
        return self._lazy[3].dtype

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

    @property
    def iloc(self) -> Any:
        return _Iloc("iloc", self)

    @property
    def iat(self) -> Any:
        return _Iat("iat", self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        return applied(ufunc, method, inputs, kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return plain_column(self).__reduce_ex__(protocol)

    @property  # type: ignore[misc] # isinstance and users read it
    def __class__(self) -> Any:
        return pd.Series


def _operated(op: Callable[[Any, Any], Any], column: Any, other: Any, *, turned: bool = False) -> Any:
    """Return ``op(column, other)``, or ``op(other, column)`` if turned."""
    if is_lazy(column):
        value = _counted(op, column, other, turned)
        if value is not NOT_HANDLED:
            return value
        plain_column(column)
    return op(other, column) if turned else op(column, other)


def _counted(op: Callable[[Any, Any], Any], column: Any, other: Any, turned: bool) -> Any:
    """Do arithmetic with a number or a column of the same group; :data:`NOT_HANDLED` if only pandas can."""
    cut, name, array, _, labels = column._lazy
    if array is None or not is_wide(array.dtype) or not cut.source.counts or len(array) > MAX_COUNTED:
        return NOT_HANDLED
    kind = type(other)
    if kind is Column:
        its_cut, its_name, right, _, _ = other._lazy
        if its_cut is not cut or right is None or not is_wide(right.dtype) or op is operator.pow:
            return NOT_HANDLED
        if its_name is not name:
            if type(its_name) is not str or type(name) is not str:
                return NOT_HANDLED
            name = name if its_name == name else None
    elif op is operator.pow:
        if kind is not int or other != 2:
            return NOT_HANDLED
        right = other
    elif kind is float or kind is np.float64:
        right = float(other)  # as pandas does
    elif (kind is int or kind is np.int64) and abs(other) < MAX_INT:
        right = int(other)
    else:
        return NOT_HANDLED
    with np.errstate(all="ignore"):  # as pandas does
        values = op(right, array) if turned else op(array, right)
    return _computed(cut, name, values, labels)


def _reduced(column: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    array = column._lazy[2]
    if array is not None and no_arguments(args, kwargs):
        value = reduced(array, name)
        if value is not NOT_HANDLED:
            return value
    return getattr(plain_column(column), name)(*args, **kwargs)


def _located(lazy: ColumnState, name: str, key: Any) -> Any:
    """Return ``column.iloc[key]`` if that is one scalar, else :data:`NOT_HANDLED`."""
    array = lazy[2]
    if type(key) is not int or array is None or not -len(array) <= key < len(array):
        return NOT_HANDLED
    return array[key]


with_reductions(Column, ("sum", "max", "min", "mean", "std", "var"), _reduced)
stands_for(Column, pd.Series, plain_column)
