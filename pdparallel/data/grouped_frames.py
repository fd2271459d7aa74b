"""Frames and Series that a function returns for groups, concatenated in the worker.

pandas concatenates the returns of all groups in the end. A worker does so for its chunk, and sends one frame instead
of thousands. To unpickle a small frame often takes as long as the function took to make it::

    worker   [a][b][c]   -->  [a b c] 3 lengths
    parent   [a b c] [d e] .. -->  [a b c d e ..]      as pandas concatenates them, whatever the chunks
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2
from pdparallel.core.columnar import Packed, ReturnPlaceholder, layout_of_index
from pdparallel.core.returns import pack

__all__ = ["FrameReturn", "FrameReturns", "is_joinable", "same_name"]

#: Average number of values of a return above which each is sent by itself: a worker should not hold big ones twice,
#: and the fixed cost of each matters less (``benchmarks/constants.py``).
MAX_VALUES = 50_000

#: Types of dtypes that ``pd.concat`` preserves, with the same values, in however many steps it runs.
_DTYPES = (
    np.dtype, pd.StringDtype, pd.CategoricalDtype, pd.DatetimeTZDtype, pd.PeriodDtype, pd.BooleanDtype,
    pd.Int8Dtype, pd.Int16Dtype, pd.Int32Dtype, pd.Int64Dtype,
    pd.UInt8Dtype, pd.UInt16Dtype, pd.UInt32Dtype, pd.UInt64Dtype, pd.Float32Dtype, pd.Float64Dtype,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FrameReturn(ReturnPlaceholder):
    """Placeholder for a plain frame or Series that the function returned for a group."""

    value: Any

    @property
    def kind(self) -> type:
        return type(self.value)

    def restore(self, unit: Any) -> Any:
        return self.value

    @staticmethod
    def packed(values: list[Any]) -> Packed | None:
        """Pack the returns: Series over one index as SeriesRows, others as FrameReturns; None if neither fits."""
        objects = [value.value for value in values]
        return pack(objects) or _together(objects)


@dataclass(frozen=True, eq=False)
class FrameReturns(Packed):
    """Frames or Series with the same columns and dtypes, concatenated, with the length of each."""

    whole: Any
    lengths: list[int]
    ranges: list[range] | None = None  # the labels of each if they are a RangeIndex; ``whole`` lacks them then
    range_name: Any = None

    @property
    def layout_key(self) -> Any:
        whole = self.whole
        names = layout_of_index(whole.columns) if whole.ndim == 2 else (type(whole.name), whole.name)
        labels = (
            (type(self.range_name), self.range_name) if self.ranges is not None else layout_of_index(whole.index[:0])
        )
        return FrameReturns, type(whole), names, tuple(_dtypes(whole)), self.ranges is None, labels

    def __len__(self) -> int:
        return len(self.lengths)

    def unpacked(self) -> list[Any]:
        pieces, stop = [], 0
        for at, length in enumerate(self.lengths):
            start, stop = stop, stop + length
            piece = self.whole.iloc[start:stop]
            if self.ranges is not None:
                piece.index = pd.RangeIndex(self.ranges[at], name=self.range_name)
            pieces.append(FrameReturn(piece))
        return pieces

    @classmethod
    def concat_packed(cls, parts: Sequence[FrameReturns]) -> FrameReturns:
        first = parts[0]
        lengths = [length for part in parts for length in part.lengths]
        ranges = None if first.ranges is None else [one for part in parts for one in part.ranges or ()]
        whole = pd.concat([part.whole for part in parts], ignore_index=ranges is not None)
        return cls(whole, lengths, ranges, first.range_name)

    @functools.cached_property
    def index(self) -> pd.Index:
        """The labels of all rows, as ``pd.concat`` makes them."""
        if self.ranges is None:
            index: pd.Index = self.whole.index
            return index
        first, *others = [pd.RangeIndex(one, name=self.range_name) for one in self.ranges]
        return first.append(others)

    @functools.cached_property
    def are_over_the_same(self) -> bool:
        """Whether all returns have the same labels."""
        length, n = self.lengths[0], len(self)
        if self.ranges is not None:
            return self.ranges.count(self.ranges[0]) == n
        if self.lengths.count(length) != n:
            return False
        if n == 1 or length == 0:
            return True
        index = self.index
        if not index[:length].equals(index[length : 2 * length]):
            return False
        codes = index.factorize(use_na_sentinel=False)[0].reshape(n, length)
        return bool((codes == codes[0]).all())

    def index_with(self, keys: pd.Index) -> pd.MultiIndex | None:
        """Return the index that ``pd.concat`` makes of one key for each return and the labels; None if unknown."""
        levels: list[Any] = list(keys.levels) if isinstance(keys, pd.MultiIndex) else [keys]
        codes: list[Any] = list(keys.codes) if isinstance(keys, pd.MultiIndex) else [np.arange(len(keys))]
        # pandas looks missing keys up by itself, and pandas 2 gives categorical keys other categories here.
        if any((code < 0).any() for code in codes) or (PANDAS_2 and any(map(_is_of_categories, levels))):
            return None
        codes = [np.repeat(code, self.lengths) for code in codes]
        if self.are_over_the_same:
            one: Any = self.index[: self.lengths[0]]
            if self.ranges is not None:
                one = pd.RangeIndex(self.ranges[0], name=self.range_name)
            last = one.unique()
            of_last: Any = np.tile(last.get_indexer_for(one), len(self))
        else:
            found = pd.MultiIndex.from_arrays([self.index])
            last, of_last = found.levels[0], found.codes[0]
        return pd.MultiIndex(
            levels=[*levels, last],
            codes=[*codes, of_last],
            names=[*keys.names, self.index.name],
            verify_integrity=False,
        )


def _is_of_categories(labels: pd.Index) -> bool:
    return isinstance(labels.dtype, pd.CategoricalDtype)


def _dtypes(value: Any) -> list[Any]:
    return [value.dtype] if value.ndim == 1 else value.dtypes.tolist()


def is_joinable(labels: pd.Index) -> bool:
    """Return whether an index keeps its kind when it is concatenated with others in several steps."""
    kind = type(labels)
    if kind is pd.DatetimeIndex or kind is pd.TimedeltaIndex:
        # pandas keeps a frequency only if one index continues the other.
        return labels.freq is None  # type: ignore[attr-defined]
    if kind is pd.RangeIndex:
        return True
    if kind is not pd.Index:
        return False
    if labels.dtype == object:  # pandas may infer a dtype from objects, but not from the strings of pandas 2
        return PANDAS_2 and labels.inferred_type in ("string", "empty")
    return isinstance(labels.dtype, _DTYPES)


def _together(objects: list[Any]) -> FrameReturns | None:
    """Concatenate returns; None if they differ in form, or if the result could not be split into the same objects."""
    first, indexes = objects[0], [value.index for value in objects]
    labels, kind = indexes[0], type(first)
    of_labels = type(labels), labels.dtype, labels.name
    dtypes = _dtypes(first)
    if not all(isinstance(dtype, _DTYPES) for dtype in dtypes):
        return None
    if sum(value.size for value in objects) > MAX_VALUES * len(objects):
        return None
    for value, index in zip(objects, indexes, strict=True):
        if type(value) is not kind or (type(index), index.dtype, index.name) != of_labels or not is_joinable(index):
            return None
        same = _same_columns(value.columns, first.columns) if value.ndim == 2 else same_name(value.name, first.name)
        if not same or _dtypes(value) != dtypes or value.attrs or not value.flags.allows_duplicate_labels:
            return None
    lengths = list(map(len, objects))
    if type(labels) is pd.RangeIndex:
        ranges = [range(index.start, index.stop, index.step) for index in indexes]
        return FrameReturns(pd.concat(objects, ignore_index=True), lengths, ranges, labels.name)
    return FrameReturns(pd.concat(objects), lengths)


def _same_columns(one: pd.Index, other: pd.Index) -> bool:
    if one is other:
        return True
    same = type(one) is type(other) and one.dtype == other.dtype and list(one.names) == list(other.names)
    return same and bool(one.equals(other))


def same_name(one: Any, other: Any) -> bool:
    """Return whether two names are equal and of the same type; all NaN are equal."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same_name, one, other))
    with contextlib.suppress(Exception):
        return bool(one == other or (one != one and other != other))
    return False
