"""Returns of a call: packed as columns when that loses nothing.

Most calls return one kind: a number or time per row, some values per row, or Series with one index. Arrays hold these.
They pickle a hundred times faster, and give back equal objects. Dicts and Python's own times stay as they are, because
packing them costs more than pickling them.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import itertools
import operator
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.compat import PANDAS_2
from pdparallel.core.columnar import (
    DTYPES,
    NANOSECONDS,
    Columns,
    Dicts,
    Mixed,
    Numbers,
    Packed,
    ReturnPlaceholder,
    Runs,
    SeriesRows,
    Texts,
    Times,
    Tuples,
    dtype_of_texts,
    have_one_form,
    texts,
)

__all__ = [
    "Returns",
    "pack",
    "pack_runs",
]

#: Kinds of dtypes whose scalars an array returns unchanged.
_NUMBERS = "biuf"


#: Types that a column may mix: users cannot tell one object of them from two equal ones.
_ATOMS = frozenset((
    type(None), float, int, bool, str, bytes, complex, decimal.Decimal, np.float64, np.int64, np.bool_,
    pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA), datetime.datetime, datetime.date, datetime.timedelta,
))  # fmt: skip


#: Largest number of runs of one kind, and smallest average length of a run, that :func:`pack_runs` packs.
MAX_RUNS, MIN_RUN = 64, 100

#: Largest number of values in each of a few returns. Wider ones pack no faster than they pickle.
_MAX_COLUMNS_OF_FEW = 64


def pack(values: list[Any], kinds: Set[type] | None = None) -> Packed | None:
    """Pack returns; None if they are not all of one kind. ``kinds`` has their types, if they are known.

    >>> pack([1.5, 2.5]).array.tolist(), pack([1, None])
    ([1.5, 2.5], None)
    """
    kinds = set(map(type, values)) if kinds is None else kinds
    if len(kinds) != 1:
        return _times(values, kinds)
    (kind,) = kinds
    if kind is tuple or kind is list:
        return _tuples(values, kind)
    if kind is pd.Series:
        return _series_rows(values)
    if issubclass(kind, ReturnPlaceholder):
        return kind.packed(values)
    return _flat(values, kind)


def pack_runs(values: list[Any]) -> Runs | None:
    """Pack returns of several kinds if each kind comes in a run, as in a chunk with values of several columns.

    >>> [type(part).__name__ for part in pack_runs([0.5] * 200 + ["a"] * 200).parts]
    ['Numbers', 'Texts']
    """
    parts: list[Any] = []
    most = min(MAX_RUNS, len(values) // MIN_RUN)
    for number, (kind, run) in enumerate(itertools.groupby(values, type)):
        if number >= most:
            return None
        some = list(run)
        # Only immutable values are packed: one list may occur in two runs, and must stay one object.
        parts.append(_flat(some, kind) or some)
    return Runs(tuple(parts)) if any(isinstance(part, Packed) for part in parts) else None


def _flat(values: list[Any], kind: type) -> Numbers | Texts | Times | None:
    if kind is str:
        return texts(values)
    if kind in DTYPES or issubclass(kind, np.generic):
        return _numbers(values, kind)
    return _times(values, {kind})


def _numbers(values: list[Any], kind: type) -> Numbers | None:
    dtype = np.dtype(DTYPES.get(kind, kind))
    if dtype.kind not in _NUMBERS or dtype.itemsize > 8:
        return None
    try:
        return Numbers(np.fromiter(values, dtype, len(values)), kind)  # takes half the time of np.array
    except OverflowError:  # an int of more than 64 bits
        return None


def _times(values: list[Any], kinds: Set[type]) -> Times | None:
    """Pack Timestamps or Timedeltas, with NaT among them; None for other types."""
    kind = next((kind for kind in (pd.Timestamp, pd.Timedelta) if kind in kinds), None)
    if kind is None or not kinds <= {kind, type(pd.NaT)}:
        return None
    times = values if len(kinds) == 1 else [value for value in values if value is not pd.NaT]
    units = set(map(operator.attrgetter("unit"), times))
    zone = _common_zone(times) if kind is pd.Timestamp else (None,)
    if len(units) != 1 or zone is None:
        return None
    unit = units.pop()
    # The fold does not matter: pandas derives it from the count, and a pickled Timestamp does not keep it.
    try:
        counts = np.fromiter(map(operator.attrgetter("value"), values), np.int64, len(values))
    except OverflowError:  # out of range for nanoseconds
        return None
    whole = counts // NANOSECONDS[unit]
    whole[counts == pd.NaT.value] = pd.NaT.value
    return Times(whole.view(f"{'M' if kind is pd.Timestamp else 'm'}8[{unit}]"), *zone)


def _common_zone(times: list[Any]) -> tuple[datetime.tzinfo | None] | None:
    """Return the time zone of all in a tuple; None for several zones, or for one that packing may change."""
    zones = list(map(operator.attrgetter("tzinfo"), times))
    zone = zones[0]
    if zone is None or type(zone) is zoneinfo.ZoneInfo:
        return (zone,) if zones.count(zone) == len(zones) else None
    if set(map(type, zones)) != {datetime.timezone}:
        return None
    # Each Timestamp that is parsed from "... +02:00" has its own zone object. Equal ones may differ in name.
    if len(set(map(id, zones))) > 1 and len(set(map(_initargs, zones))) > 1:
        return None
    return (zone,)


_initargs = operator.methodcaller("__getinitargs__")


def _columns(values: list[Any], places: Sequence[Any]) -> tuple[Packed, ...] | None:
    """Return the values of all returns at each place; None if that is not faster than the returns themselves."""
    if not places or len(places) > max(_MAX_COLUMNS_OF_FEW, len(values)):
        return None
    first = map(type, map(values[0].__getitem__, places))
    if not _ATOMS.issuperset(first):
        return None
    columns = []
    for place in places:
        column = list(map(operator.itemgetter(place), values))
        kinds = set(map(type, column))
        if not kinds <= _ATOMS:
            return None
        packed = _flat(column, next(iter(kinds))) if len(kinds) == 1 else _times(column, kinds)
        columns.append(Mixed(column) if packed is None else packed)
    return tuple(columns)


def _tuples(values: list[Any], kind: type) -> Tuples | None:
    lengths = set(map(len, values))
    if len(lengths) != 1 or (kind is list and _repeats(values)):
        return None
    columns = _columns(values, range(lengths.pop()))
    return None if columns is None else Tuples(columns, kind)


def _dicts(values: list[Any]) -> Dicts | None:
    """Pack dicts that have the same strings as keys, in the same order."""
    if set(map(type, values)) != {dict}:
        return None
    keys = tuple(values[0])
    labels = list(itertools.chain.from_iterable(values))
    # No dict has a key twice. So if the labels of all dicts match, each dict has all keys.
    if set(map(type, labels)) != {str} or labels != list(keys) * len(values):
        return None
    columns = _columns(values, keys)
    return None if columns is None else Dicts(columns, keys)


def _repeats(values: list[Any]) -> bool:
    """Return True if one object occurs twice: it is mutable, so it must stay one object."""
    ids = np.sort(np.fromiter(map(id, values), np.uint64, len(values)))
    return bool((ids[1:] == ids[:-1]).any())


def _series_rows(values: list[pd.Series]) -> SeriesRows | None:
    first = values[0].index
    if len(values) == 1 or type(first) not in (pd.Index, pd.RangeIndex) or not first.is_unique:
        return None
    dtype = values[0].dtype
    if not (isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS + "OMm"):
        return None
    rows, others = [], []
    for value in values:
        index = value.index
        if index is not first:
            if type(index) is not type(first) or len(index) != len(first) or index.name != first.name:
                return None
            others.append(index)
        if value.dtype != dtype or value.name is not None or value.attrs or not value.flags.allows_duplicate_labels:
            return None
        rows.append(value.to_numpy())
    if not _all_equal(first, others):
        return None
    return SeriesRows(np.concatenate(rows).reshape(len(rows), len(first)), first)


def _all_equal(first: pd.Index, others: list[pd.Index]) -> bool:
    """Return True if indexes of the same length are equal, with their dtypes."""
    if any(index.dtype != first.dtype for index in others):
        return False
    if isinstance(first, pd.RangeIndex) or not others:
        return all(index.equals(first) for index in others)
    # All at once: one by one takes a third of the time that packing Series takes.
    labels = others[0].append(others[1:]).to_numpy(dtype=object).reshape(len(others), len(first))
    with contextlib.suppress(Exception):  # labels that cannot be compared like this
        if (labels == first.to_numpy(dtype=object)).all() is np.True_:
            return True
    return all(index.equals(first) for index in others)


def _packed_here(part: list[Any], columns: bool, kinds: Callable[[], Set[type]] | None) -> Packed | None:
    """Pack returns that came as objects; ``kinds`` returns their types from a cache, if there is one."""
    kind = type(part[0]) if part else None
    if kind is dict:
        return _dicts(part) if columns else None
    if (
        kind is str and PANDAS_2 and isinstance(dtype_of_texts(), np.dtype)
    ):  # pandas keeps objects: Arrow is only for sending
        return Texts(part) if (kinds() if kinds else set(map(type, part))) == {str} else None
    return pack(part, kinds() if kinds else None) if columns or kind not in (tuple, list) else None


def _sliced(part: Any, start: int, stop: int) -> Any:
    if start == 0 and stop == len(part):
        return part
    if isinstance(part, Numbers):
        return Numbers(part.array[start:stop], part.type)
    if isinstance(part, Texts):
        return Texts(part.values[start:stop])
    if isinstance(part, Times):
        times = Times(part.array[start:stop], part.tz)
        return times.unpacked() if np.isnat(times.array).all() else times  # NaT alone has no zone or resolution
    return part[start:stop]


class Returns(Sequence[Any]):
    """The returns of a call in order of position, in packed and unpacked parts."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = [one for part in parts for one in (part.parts if isinstance(part, Runs) else (part,))]
        self._whole: Packed | None = None
        self._values: list[Any] | None = None
        self._kinds: Set[type] | None = None

    def kinds(self) -> Set[type]:
        if self._kinds is None:
            only = self._parts[0] if len(self._parts) == 1 else None
            self._kinds = set(map(type, only if isinstance(only, list) else self.values()))
        return self._kinds

    def packed(self, columns: bool = False) -> Packed | None:
        """Pack all returns as one, if they have one form; tuples, lists and dicts only if ``columns``."""
        if self._whole is None:
            parts: list[Packed] = []
            for part in self._parts:
                if isinstance(part, Packed):
                    packed: Packed | None = part
                else:
                    packed = _packed_here(part, columns, self.kinds if len(self._parts) == 1 else None)
                if isinstance(packed, Columns) and not columns:
                    return None
                if packed is None or (parts and not have_one_form(packed, parts[0])):
                    return None
                parts.append(packed)
            if parts:
                self._whole = parts[0] if len(parts) == 1 else type(parts[0]).concat_packed(parts)
                # The whole replaces packed parts. Lists are kept, because they hold the function's own objects.
                self._parts = [range(len(part)) if isinstance(part, Packed) else part for part in self._parts]
        return self._whole

    @property
    def first_type(self) -> type | None:
        """The type of the first return, if it is known without unpacking."""
        part = next((part for part in self._parts if len(part)), None)
        if isinstance(part, Numbers):
            return part.type
        return type(part[0]) if isinstance(part, list) else None

    def split(self, sizes: Sequence[int]) -> list[Returns]:
        """Split the returns into parts of these sizes, in order; numbers, strings and times stay packed."""
        pieces: list[list[Any]] = [[] for _ in sizes]
        ends, number, at = list(itertools.accumulate(sizes)), 0, 0
        for source, first, last in self._sources():
            behind = at - first
            while at < last + behind:
                while ends[number] <= at:
                    number += 1
                until = min(ends[number], last + behind)
                pieces[number].append(_sliced(source, at - behind, until - behind))
                at = until
        return list(map(Returns, pieces))

    def _sources(self) -> Iterator[tuple[Any, int, int]]:
        """Yield for each part the object to slice, with start and stop."""
        start = 0
        for part in self._parts:
            if isinstance(part, range):  # it is in the whole
                sliced = isinstance(self._whole, (Numbers, Texts, Times))
                yield (self._whole if sliced else self.values()), start, start + len(part)
            else:
                sliced = isinstance(part, (list, Numbers, Texts, Times))
                yield (part if sliced else part.unpacked()), 0, len(part)
            start += len(part)

    def values(self) -> list[Any]:
        """Return all returns, unpacked."""
        if self._values is None:
            self._values = self._unpacked()
        return self._values

    def _unpacked(self) -> list[Any]:
        if self._whole is None or all(isinstance(part, list) for part in self._parts):
            parts = (part.unpacked() if isinstance(part, Packed) else part for part in self._parts)
            return list(itertools.chain.from_iterable(parts))
        values, at = self._whole.unpacked(), 0
        for part in self._parts:
            if isinstance(part, list):
                values[at : at + len(part)] = part
            at += len(part)
        return values

    def places_of(self, kind: type) -> dict[int, Any]:
        """Return the returns of exactly this type by position; it must be a type that is never packed."""
        found: dict[int, Any] = {}
        start = 0
        for part in self._parts:
            if isinstance(part, list) and kind in map(type, part):
                found |= {at: value for at, value in enumerate(part, start) if type(value) is kind}
            start += len(part)
        return found

    def first_but(self, kind: type) -> list[Any]:
        """Return a list with the first return of another type, or an empty list."""
        return next(([value] for part in self._parts for value in part if type(value) is not kind), [])

    def put(self, values: Mapping[int, Any]) -> None:
        """Replace returns by position; only before :meth:`packed`."""
        self._kinds = None
        places, start = sorted(values, reverse=True), 0
        for number, part in enumerate(self._parts):
            stop = start + len(part)
            if places and places[-1] < stop:
                whole = self._parts[number] = list(part)
                while places and places[-1] < stop:
                    at = places.pop()
                    whole[at - start] = values[at]
            start = stop

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, key: Any) -> Any:
        return self.values()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())
