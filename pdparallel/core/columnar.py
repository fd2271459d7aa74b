"""Columnar form of returns: each class packs the values of one kind as arrays."""

from __future__ import annotations

import abc
import datetime
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2

__all__ = [
    "DTYPES",
    "NANOSECONDS",
    "Columns",
    "Dicts",
    "Mixed",
    "Numbers",
    "Packed",
    "ReturnPlaceholder",
    "Runs",
    "SeriesRows",
    "Texts",
    "Times",
    "Tuples",
    "dtype_of_texts",
    "have_one_form",
    "layout_of_index",
    "texts",
]


DTYPES: dict[type, type] = {float: np.float64, int: np.int64, bool: np.bool_}


NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Packed(abc.ABC):
    """Base class of packed returns, all of one form."""

    @property
    @abc.abstractmethod
    def layout_key(self) -> Any:
        """Key that packed returns must share to be joined."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def unpacked(self) -> list[Any]:
        """Return the original returns."""

    @classmethod
    @abc.abstractmethod
    def concat_packed(cls, parts: Sequence[Any]) -> Any:
        """Join several of the same form, in order."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unpacked())


def have_one_form(one: Packed, other: Packed) -> bool:
    """Return True if two packed returns can be joined; labels that cannot be compared, such as ``pd.NA``, differ."""
    try:
        return bool(one.layout_key == other.layout_key)
    except Exception:  # comparison of a user's labels can raise anything
        return False


class ReturnPlaceholder(abc.ABC):
    """Placeholder for a return of the function, which knows how to pack a list of its kind."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def kind(self) -> type:
        """Type of the return."""

    @abc.abstractmethod
    def restore(self, unit: Any) -> Any:
        """Build the return from its unit."""

    @staticmethod
    @abc.abstractmethod
    def packed(values: list[Any]) -> Packed | None:
        """Pack a list of placeholders; None if that is not possible."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers(Packed):
    """Floats, integers or bools, of Python (``type`` is float, int or bool) or of NumPy."""

    array: np.ndarray
    type: type

    @property
    def layout_key(self) -> Any:
        return Numbers, self.type

    def __len__(self) -> int:
        return len(self.array)

    def unpacked(self) -> list[Any]:
        # A pickled array forgets which of two types of the same width it had: np.longlong comes back as int64.
        plain = self.type in DTYPES
        values: list[Any] = self.array.tolist() if plain else list(self.array.view(self.type))
        return values

    @classmethod
    def concat_packed(cls, parts: Sequence[Numbers]) -> Numbers:
        return cls(np.concatenate([part.array for part in parts]), parts[0].type)


@dataclass(frozen=True, slots=True, eq=False)
class Texts(Packed):
    """Strings, in an Arrow array if pandas can make one, else in a list."""

    values: Any

    @property
    def layout_key(self) -> Any:
        return Texts

    def __len__(self) -> int:
        return len(self.values)

    def unpacked(self) -> list[Any]:
        return self.values if isinstance(self.values, list) else self.values.astype(object).tolist()

    @classmethod
    def concat_packed(cls, parts: Sequence[Texts]) -> Texts:
        if any(isinstance(part.values, list) for part in parts):
            return cls(list(itertools.chain.from_iterable(part.unpacked() for part in parts)))
        return cls(pd.concat([pd.Series(part.values) for part in parts]).array)

    @property
    def inferred(self) -> Any:
        """Values from which ``pd.Series`` makes a column of the dtype that it infers from the objects."""
        if isinstance(self.values, list) or self.values.dtype == dtype_of_texts():
            return self.values
        return self.unpacked()


def texts(values: list[Any]) -> Texts:
    """Pack strings and None, in an Arrow array if that is possible."""
    try:
        import pyarrow

        # The result of pd.array, without its check that all values are strings.
        dtype: Any = _arrow_dtype()
        return Texts(dtype.__from_arrow__(pyarrow.array(values, pyarrow.large_string())))
    except (ImportError, UnicodeError, ValueError):  # no Arrow, or half of a surrogate pair
        return Texts(values)


def dtype_of_texts() -> Any:
    """Return the dtype that pandas infers from strings with its current options."""
    return _dtype_of_texts(*map(pd.get_option, _OPTIONS_OF_TEXTS))


#: Options of pandas that decide this dtype. pandas 3 warns if the second one is read.
_OPTIONS_OF_TEXTS = ("mode.string_storage", "future.infer_string") if PANDAS_2 else ("mode.string_storage",)


@functools.cache
def _dtype_of_texts(*options: Any) -> Any:
    return pd.Series(["a"]).dtype


@functools.cache
def _arrow_dtype() -> Any:
    """Return the dtype of strings in Arrow; pandas 3 infers it by default."""
    if not PANDAS_2:
        return pd.StringDtype("pyarrow", na_value=np.nan)
    inferred = dtype_of_texts()
    return inferred if getattr(inferred, "storage", "") == "pyarrow" else pd.StringDtype("pyarrow")


@dataclass(frozen=True, slots=True, eq=False)
class Times(Packed):
    """Timestamps of one resolution and time zone, or Timedeltas of one resolution; some may be NaT."""

    array: np.ndarray
    tz: datetime.tzinfo | None = None

    @property
    def layout_key(self) -> Any:
        zone = self.tz.__getinitargs__() if isinstance(self.tz, datetime.timezone) else self.tz  # type: ignore[attr-defined]
        return Times, self.array.dtype, zone

    def __len__(self) -> int:
        return len(self.array)

    def unpacked(self) -> list[Any]:
        return self.index.astype(object).tolist()

    @property
    def index(self) -> pd.DatetimeIndex | pd.TimedeltaIndex:
        if self.array.dtype.kind == "m":
            return pd.TimedeltaIndex(self.array)
        index = pd.DatetimeIndex(self.array)
        return index if self.tz is None else index.tz_localize("UTC").tz_convert(self.tz)

    @classmethod
    def concat_packed(cls, parts: Sequence[Times]) -> Times:
        return cls(np.concatenate([part.array for part in parts]), parts[0].tz)


@dataclass(frozen=True, slots=True, eq=False)
class Mixed(Packed):
    """A column of several types, in a list."""

    values: list[Any]

    @property
    def layout_key(self) -> Any:
        return Mixed

    def __len__(self) -> int:
        return len(self.values)

    def unpacked(self) -> list[Any]:
        return self.values

    @classmethod
    def concat_packed(cls, parts: Sequence[Packed]) -> Mixed:
        return cls(list(itertools.chain.from_iterable(part.unpacked() for part in parts)))


@dataclass(frozen=True, slots=True, eq=False)
class Columns(Packed):
    """Returns of several values each, in one column for each position."""

    columns: tuple[Packed, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    @staticmethod
    def joined_columns(parts: Sequence[Columns]) -> tuple[Packed, ...]:
        """Join the columns of several parts; a column with different forms becomes :class:`Mixed`."""
        return tuple(_joined(column) for column in zip(*(part.columns for part in parts), strict=True))


def _joined(parts: Sequence[Packed]) -> Packed:
    alike = all(have_one_form(part, parts[0]) for part in parts)
    kind: type[Packed] = type(parts[0]) if alike else Mixed
    concat_packed: Packed = kind.concat_packed(parts)
    return concat_packed


@dataclass(frozen=True, slots=True, eq=False)
class Tuples(Columns):
    """Tuples or lists (``type``) of one length."""

    type: type

    @property
    def layout_key(self) -> Any:
        return Tuples, self.type, len(self.columns)

    def unpacked(self) -> list[Any]:
        rows = zip(*(column.unpacked() for column in self.columns), strict=True)
        return list(rows) if self.type is tuple else list(map(list, rows))

    @classmethod
    def concat_packed(cls, parts: Sequence[Tuples]) -> Tuples:
        return cls(cls.joined_columns(parts), parts[0].type)


@dataclass(frozen=True, slots=True, eq=False)
class Dicts(Columns):
    """Dicts of the same keys, in the same order."""

    keys: tuple[str, ...]

    @property
    def layout_key(self) -> Any:
        return Dicts, self.keys

    def unpacked(self) -> list[Any]:
        rows = zip(*(column.unpacked() for column in self.columns), strict=True)
        return [dict(zip(self.keys, row, strict=True)) for row in rows]

    @classmethod
    def concat_packed(cls, parts: Sequence[Dicts]) -> Dicts:
        return cls(cls.joined_columns(parts), parts[0].keys)


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRows(Packed):
    """Series without a name and with one index; each is a row of ``values``."""

    values: np.ndarray
    index: pd.Index

    @property
    def layout_key(self) -> Any:
        return SeriesRows, self.values.dtype, layout_of_index(self.index)

    def __len__(self) -> int:
        return len(self.values)

    def unpacked(self) -> list[Any]:
        dtype: Any = self.values.dtype  # given, so that pandas infers nothing from objects
        return [pd.Series(row, index=self.index, dtype=dtype, copy=False) for row in self.values]

    @classmethod
    def concat_packed(cls, parts: Sequence[SeriesRows]) -> SeriesRows:
        return cls(np.concatenate([part.values for part in parts]), parts[0].index)


@dataclass(frozen=True, slots=True, eq=False)
class Runs(Packed):
    """Packed numbers, strings and times, one kind after the other, with lists of other returns between them."""

    parts: tuple[Any, ...]

    @property
    def layout_key(self) -> Any:
        return Runs

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def unpacked(self) -> list[Any]:
        return list(itertools.chain.from_iterable(self.parts))

    @classmethod
    def concat_packed(cls, parts: Sequence[Runs]) -> Runs:
        return cls(tuple(itertools.chain.from_iterable(part.parts for part in parts)))


def layout_of_index(index: pd.Index) -> Any:
    """Return a key that only equal indexes share, equal even in the types of labels and names."""
    labels = tuple(index)
    kinds = tuple(map(type, labels)) if index.dtype == object else ()
    return type(index), index.dtype, tuple(map(type, index.names)), tuple(index.names), labels, kinds
