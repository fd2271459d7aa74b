"""Packing: the returns of many calls as columns instead of a million objects, where that loses nothing.

What travels back and what is shaped in the end is mostly of one kind: a number for each row, a few numbers for each
row, a Series over always the same index.  Such returns are a few arrays, which pickle and join a hundred times quicker
than their objects, and give back the same objects, type for type.
"""

from __future__ import annotations

import abc
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Numbers", "Packed", "Returns", "SeriesRows", "Texts", "Tuples", "pack"]

#: Kinds of dtypes whose scalars an array gives back as they were.
_NUMBERS = "biuf"

_DTYPES: dict[type, type] = {float: np.float64, int: np.int64, bool: np.bool_}

#: Kinds of values that tuples and lists are packed by.
_IN_TUPLES = (float, int, bool, str, np.float64, np.int64, np.bool_)


class Packed(abc.ABC):
    """Some returns, all of one form."""

    @property
    @abc.abstractmethod
    def form(self) -> Any:
        """What two of them must have in common to be joined."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def unpacked(self) -> list[Any]:
        """The returns, as they were."""

    @classmethod
    @abc.abstractmethod
    def joined(cls, parts: Sequence[Any]) -> Any:
        """One of several of the same form, in order."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unpacked())


@dataclass(frozen=True, slots=True, eq=False)
class Numbers(Packed):
    """Floats, integers or bools, of Python (``type`` float, int, bool) or of NumPy."""

    array: np.ndarray
    type: type

    @property
    def form(self) -> Any:
        return Numbers, self.type

    def __len__(self) -> int:
        return len(self.array)

    def unpacked(self) -> list[Any]:
        return self.array.tolist() if self.type in _DTYPES else list(self.array)

    @classmethod
    def joined(cls, parts: Sequence[Numbers]) -> Numbers:
        return cls(np.concatenate([part.array for part in parts]), parts[0].type)


@dataclass(frozen=True, slots=True, eq=False)
class Texts(Packed):
    """Strings, as an Arrow array where pandas can make one of them, else as they are."""

    values: Any

    @property
    def form(self) -> Any:
        return Texts, getattr(self.values, "dtype", None)

    def __len__(self) -> int:
        return len(self.values)

    def unpacked(self) -> list[Any]:
        return self.values if isinstance(self.values, list) else self.values.astype(object).tolist()

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        if isinstance(parts[0].values, list):
            return cls(list(itertools.chain.from_iterable(part.values for part in parts)))
        return cls(pd.concat([pd.Series(part.values) for part in parts]).array)

    @property
    def inferred(self) -> Any:
        """What ``pd.Series`` makes a column of, with the dtype that it infers from objects."""
        if isinstance(self.values, list) or self.values.dtype == _inferred_dtype():
            return self.values
        return self.unpacked()


def _texts(values: list[str]) -> Texts:
    try:
        return Texts(pd.array(values, dtype=_arrow_dtype()))
    except (ImportError, UnicodeError, ValueError):  # no Arrow here, or half of a surrogate pair
        return Texts(values)


@functools.cache
def _inferred_dtype() -> Any:
    return pd.Series(["a"]).dtype


@functools.cache
def _arrow_dtype() -> Any:
    """The dtype of texts in Arrow: what pandas infers, from pandas 3 on where Arrow is installed."""
    inferred = _inferred_dtype()
    return inferred if getattr(inferred, "storage", "") == "pyarrow" else pd.StringDtype("pyarrow")


@dataclass(frozen=True, slots=True, eq=False)
class Tuples(Packed):
    """Tuples or lists (``type``) of one length, each place of one kind."""

    columns: tuple[Numbers | Texts, ...]
    type: type

    @property
    def form(self) -> Any:
        return Tuples, self.type, tuple(column.form for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def unpacked(self) -> list[Any]:
        rows = zip(*(column.unpacked() for column in self.columns), strict=True)
        return list(rows) if self.type is tuple else [list(row) for row in rows]

    @classmethod
    def joined(cls, parts: Sequence[Tuples]) -> Tuples:
        columns = zip(*(part.columns for part in parts), strict=True)
        return cls(tuple(type(column[0]).joined(column) for column in columns), parts[0].type)


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRows(Packed):
    """Series without a name over always the same index: a row of ``values`` each."""

    values: np.ndarray
    index: pd.Index

    @property
    def form(self) -> Any:
        return SeriesRows, self.values.dtype, _form_of_index(self.index)

    def __len__(self) -> int:
        return len(self.values)

    def unpacked(self) -> list[Any]:
        dtype: Any = self.values.dtype  # given, so that nothing is inferred from objects
        return [pd.Series(row, index=self.index, dtype=dtype, copy=False) for row in self.values]

    @classmethod
    def joined(cls, parts: Sequence[SeriesRows]) -> SeriesRows:
        return cls(np.concatenate([part.values for part in parts]), parts[0].index)


def _form_of_index(index: pd.Index) -> Any:
    return index.dtype, index.name, tuple(index)


def pack(values: list[Any]) -> Packed | None:
    """Pack returns; None where they are not all of one kind.

    >>> pack([1.5, 2.5]).array.tolist(), pack([1, None])
    ([1.5, 2.5], None)
    """
    kinds = set(map(type, values))
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    if kind is str:
        return _texts(values)
    if kind in _DTYPES or issubclass(kind, np.generic):
        return _numbers(values, kind)
    if kind is tuple or kind is list:
        return _tuples(values, kind)
    if kind is pd.Series:
        return _series_rows(values)
    return None


def _numbers(values: list[Any], kind: type) -> Numbers | None:
    dtype = np.dtype(_DTYPES.get(kind, kind))
    if dtype.kind not in _NUMBERS or dtype.itemsize > 8:
        return None
    try:
        return Numbers(np.array(values, dtype=dtype), kind)
    except OverflowError:  # an int of more than 64 bits
        return None


def _tuples(values: list[Any], kind: type) -> Tuples | None:
    lengths = set(map(len, values))
    if len(lengths) != 1 or 0 in lengths:
        return None
    columns: list[Numbers | Texts] = []
    for column in zip(*values, strict=True):
        packed = pack(list(column)) if type(column[0]) in _IN_TUPLES else None
        if not isinstance(packed, (Numbers, Texts)):
            return None
        columns.append(packed)
    return Tuples(tuple(columns), kind)


def _series_rows(values: list[pd.Series]) -> SeriesRows | None:
    first = values[0].index
    if len(values) == 1 or type(first) not in (pd.Index, pd.RangeIndex) or not first.is_unique:
        return None
    dtype = values[0].dtype
    if not (isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS + "O"):
        return None
    rows = []
    for value in values:
        index = value.index
        if index is not first and not (
            type(index) is type(first) and index.dtype == first.dtype and index.name == first.name
            and index.equals(first)
        ):  # fmt: skip
            return None
        if value.dtype != dtype or value.name is not None or value.attrs or not value.flags.allows_duplicate_labels:
            return None
        rows.append(value.to_numpy())
    return SeriesRows(np.stack(rows), first)


class Returns(Sequence[Any]):
    """The returns of a call, as they came: some packed, some not.

    Parameters
    ----------
    parts : list of list or Packed
        In order of position.
    """

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts
        self._values: list[Any] | None = None

    def packed(self) -> Packed | None:
        """All as one, if they all have one form."""
        parts: list[Packed] = []
        for part in self._parts:
            packed = part if isinstance(part, Packed) else pack(part)
            if packed is None or (parts and packed.form != parts[0].form):
                return None
            parts.append(packed)
        if not parts:
            return None
        whole: Packed = parts[0] if len(parts) == 1 else type(parts[0]).joined(parts)
        self._parts = [whole]
        return whole

    def values(self) -> list[Any]:
        """All of them, unpacked."""
        if self._values is None:
            unpacked = (part.unpacked() if isinstance(part, Packed) else part for part in self._parts)
            self._values = list(itertools.chain.from_iterable(unpacked))
        return self._values

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, key: Any) -> Any:
        return self.values()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())
