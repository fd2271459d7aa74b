"""Placeholders for returned Series that have the index of their group: a worker sends only their values.

Most functions that return a Series for a group return one with the group's own index. The parent knows that index.
So ten thousand such Series are one array and their lengths.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pdparallel.core.awaitables import Substitute, then
from pdparallel.core.columnar import Packed, ReturnPlaceholder
from pdparallel.data.fastpath.base import is_lazy, materialized, relabel
from pdparallel.data.fastpath.group import backing_of_column
from pdparallel.data.grouped_frames import FrameReturn, same_name
from pdparallel.typing import Func

__all__ = [
    "AlignedSeries",
    "AlignedSeriesBatch",
    "ChangedLabels",
    "DetectAligned",
    "DetectChanges",
    "GroupIdentity",
    "as_aligned",
]

#: Kinds of NumPy dtypes whose arrays restore a Series without loss.
_PLAIN = "biufcmM"


@dataclass(frozen=True, slots=True, eq=False)
class AlignedSeries(ReturnPlaceholder):
    """Placeholder for a Series with the index of its unit; keeps the values, and the name unless it is the unit's."""

    values: np.ndarray
    is_named_as_the_unit: bool
    name: Any = None

    @property
    def kind(self) -> type:
        return pd.Series

    def restore(self, unit: Any) -> pd.Series:
        name = unit.name if self.is_named_as_the_unit else self.name
        return pd.Series(self.values, index=unit.index, name=name, dtype=self.values.dtype, copy=False)

    def missing(self, rows: int) -> AlignedSeries:
        """Return a placeholder of missing values only, of the same dtype if that has a missing value."""
        dtype = self.values.dtype
        nothing: Any = np.nan if dtype.kind not in "mM" else "NaT"
        values = np.full(rows, nothing, dtype if dtype.kind in "fcmM" else np.float64)
        return AlignedSeries(values, self.is_named_as_the_unit, self.name)

    def raised(self, rows: int, error: BaseException) -> AlignedSeries:
        """Return a placeholder that holds the exception in each of its rows."""
        values = np.empty(rows, object)
        values.fill(error)
        return AlignedSeries(values, self.is_named_as_the_unit, self.name)

    @staticmethod
    def packed(values: list[Any]) -> AlignedSeriesBatch | None:
        """Pack placeholders of the same dtype and name into one batch; None if they differ."""
        first = values[0]
        dtype, named, name = first.values.dtype, first.is_named_as_the_unit, first.name
        for value in values:
            if value.values.dtype != dtype or value.is_named_as_the_unit is not named:
                return None
            # Compare by value: lazy columns of the same name may hold different str objects.
            if not same_name(value.name, name):
                return None
        lengths = [len(value.values) for value in values]
        return AlignedSeriesBatch(np.concatenate([value.values for value in values]), lengths, named, name)


@dataclass(frozen=True, slots=True, eq=False)
class AlignedSeriesBatch(Packed):
    """Concatenated values of many :class:`AlignedSeries`, with the length of each."""

    array: np.ndarray
    lengths: list[int]
    is_named_as_the_unit: bool
    name: Any

    @property
    def layout_key(self) -> Any:
        return AlignedSeriesBatch, self.array.dtype, self.is_named_as_the_unit, self.name

    def __len__(self) -> int:
        return len(self.lengths)

    def unpacked(self) -> list[Any]:
        ends = np.cumsum(self.lengths)
        parts = np.split(self.array, ends[:-1])
        return [AlignedSeries(part, self.is_named_as_the_unit, self.name) for part in parts]

    @classmethod
    def concat_packed(cls, parts: Sequence[AlignedSeriesBatch]) -> AlignedSeriesBatch:
        lengths = [length for part in parts for length in part.lengths]
        first = parts[0]
        return cls(np.concatenate([part.array for part in parts]), lengths, first.is_named_as_the_unit, first.name)


class GroupIdentity(NamedTuple):
    """Index and names of a unit, recorded before the call because the function may change the unit in place."""

    labels: pd.Index
    names: tuple[Any, ...]
    is_column: bool
    name: Any

    @classmethod
    def of(cls, unit: Any) -> GroupIdentity:
        """Record the identity of a unit before the function is called with it."""
        labels = unit.index
        names = tuple(labels.names) if isinstance(labels, pd.MultiIndex) else (labels.name,)
        return cls(labels, names, True, unit.name) if isinstance(unit, pd.Series) else cls(labels, names, False, None)

    def is_index(self, index: pd.Index) -> bool:
        """Return whether an index is the unit's own, with the same names: a view of it may have other names."""
        if not index.is_(self.labels):
            return False
        names = index.names
        return len(names) == len(self.names) and all(map(operator.is_, names, self.names))


def as_aligned(value: Any, given: GroupIdentity | None) -> Any:
    """Replace a Series over the unit's own index by an AlignedSeries, other Series and frames by a FrameReturn."""
    if type(value) is pd.DataFrame:
        return FrameReturn(value)
    if type(value) is not pd.Series:
        return value
    if given is None:  # DetectAligned has stopped checking
        return FrameReturn(value)
    dtype = value.dtype
    if (
        isinstance(dtype, np.dtype)
        and dtype.kind in _PLAIN
        and given.is_index(value.index)
        and not value.attrs
        and value.flags.allows_duplicate_labels
    ):
        return _like(value.to_numpy(), value.name, given)
    return FrameReturn(value)


def _like(values: np.ndarray, name: Any, given: GroupIdentity) -> AlignedSeries:
    is_the_units = given.is_column and name is given.name
    return AlignedSeries(values, is_the_units, None if is_the_units else name)


#: Number of consecutive returns without an aligned Series after which DetectAligned stops checking.
#: A check takes 1/40 of a call.
LOOKED = 16


@dataclass(slots=True)
class DetectAligned(Substitute):
    """Wrapper that returns a Series over the unit's own index as an :class:`AlignedSeries`."""

    func: Func
    _others: int = field(default=0, repr=False)

    def __call__(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        if self._others >= LOOKED:
            value = self.func(unit, *args, **kwargs)
            if type(value) is CoroutineType:
                return then(value, lambda value: as_aligned(value, None))
            return as_aligned(materialized(value), None)
        given = GroupIdentity.of(unit)
        value = self.func(unit, *args, **kwargs)
        if type(value) is CoroutineType:
            return then(value, lambda value: self._detected(value, unit, given))
        return self._detected(value, unit, given)

    def _detected(self, value: Any, unit: Any, given: GroupIdentity) -> Any:
        lazy = backing_of_column(value, unit)
        if lazy is not None and (lazy[2] is None or given.is_index(lazy[2])):
            value = _like(lazy[0], lazy[1], given)
        else:
            value = as_aligned(materialized(value), given)
        self._others = 0 if type(value) is AlignedSeries else self._others + 1
        return value

    def __getstate__(self) -> Any:
        return self.func

    def __setstate__(self, func: Func) -> None:
        self.func, self._others = func, 0


@dataclass(frozen=True, slots=True, eq=False)
class ChangedLabels(ReturnPlaceholder):
    """Placeholder for the return of a function that has relabelled its unit in place."""

    value: Any
    index: pd.Index
    columns: pd.Index | None

    @property
    def kind(self) -> type:
        return self.value.kind if isinstance(self.value, ReturnPlaceholder) else type(self.value)

    def restore(self, unit: Any) -> Any:
        """Restore the return, then relabel the unit."""
        value = self.value.restore(unit) if isinstance(self.value, ReturnPlaceholder) else self.value
        relabel(unit, self.index, self.columns)  # pandas' transform reads the labels after the call
        return value

    @staticmethod
    def packed(values: list[Any]) -> None:
        """Return None: only pandas knows what it makes of each."""


class DetectChanges(DetectAligned):
    """DetectAligned for ``transform``, which reads the unit's labels after the call: changed labels are sent along."""

    __slots__ = ()

    def __call__(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        lazy = unit._lazy if is_lazy(unit) else None
        if lazy is None:
            index, columns = unit.index, unit.columns if unit.ndim == 2 else None
        if self._others >= LOOKED:  # as in DetectAligned, whose call would cost a tenth more
            value = self.func(unit, *args, **kwargs)
            if type(value) is CoroutineType:
                value = then(value, lambda value: as_aligned(value, None))
            else:
                value = as_aligned(materialized(value), None)
        else:
            value = DetectAligned.__call__(self, unit, *args, **kwargs)
        if type(value) is not CoroutineType and is_lazy(unit):
            return value
        if lazy is not None:
            of_series = type(lazy) is tuple
            index, columns = (lazy[4].index, None) if of_series else (lazy.index, lazy.source.data.columns)
        return then(value, lambda value: _with_labels(value, unit, index, columns))


def _with_labels(value: Any, unit: Any, index: pd.Index, columns: pd.Index | None) -> Any:
    """Return the value, with the labels of the unit if they are not these any more."""
    if unit.index.is_(index) and (columns is None or unit.columns.is_(columns)):
        return value
    return ChangedLabels(value, unit.index, None if columns is None else unit.columns)
