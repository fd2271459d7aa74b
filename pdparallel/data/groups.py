"""Groups as units of a call; pandas says which rows belong to which group.

The rows are sorted by group once, as pandas does it. A chunk is a range of groups: no group is split between chunks,
one task has many small groups, and each row is sent once.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype, is_scalar

from pdparallel.compat import PANDAS_2, no_copy, without_copy_warnings
from pdparallel.core.awaitables import Substitute, gives_coroutine, is_coroutine_function, then
from pdparallel.core.units import InColumns, Units
from pdparallel.data.aligned_series import GroupIdentity, as_aligned
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.data.grouped_frames import same_name
from pdparallel.data.values import bytes_of
from pdparallel.typing import Func, UnitSink

__all__ = ["EachColumn", "Grouping", "Groups", "GroupsByColumn", "Taken", "first_unit"]

#: Arguments of ``groupby`` that a GroupBy object has as attributes.
_HOW = ("as_index", "sort", "group_keys", "observed", "dropna")

#: Smallest number of groups of a chunk for which pandas' loop is faster than ``iloc`` (``benchmarks/constants.py``).
LOOP_MIN_GROUPS = 80


class _SeenError(BaseException):
    """Exception that ends a pandas call at the first unit. It is a BaseException so that pandas does not catch it."""

    def __init__(self, unit: Any) -> None:
        self.unit = unit


def first_unit(ask: Any) -> tuple[Any, Any]:
    """Return the first unit of a pandas call and None; if it has no unit, None and the result of pandas."""

    def look(unit: Any, *args: Any, **kwargs: Any) -> Any:
        raise _SeenError(unit)

    try:
        return None, ask(look)
    except _SeenError as seen:
        return seen.unit, None


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows of big data, sorted by group part by part: to sort all at once would copy the data."""

    source: Any
    order: np.ndarray  # positions of the rows in ``source``
    index: pd.Index  # labels of the rows, in this order
    columns: pd.Index | None = None  # None for all

    def __len__(self) -> int:
        return len(self.order)

    @property
    def ndim(self) -> int:
        return int(self.source.ndim)

    @property
    def name(self) -> Any:
        return self.source.name

    def part(self, start: int, stop: int | None = None) -> Self:
        return replace(self, order=self.order[start:stop], index=self.index[start:stop])

    def column(self, at: int) -> Self:
        """Return the column at this position among the selected ones."""
        column = self.source.iloc[:, at] if self.columns is None else self.source[self.columns[at]]
        return replace(self, source=column, columns=None)

    def whole(self) -> Any:
        """Return the rows as a frame or Series."""
        taken = self.source.take(self.order)
        if self.columns is not None:
            taken = taken[self.columns]
        # From a part of the labels pandas may make another index than from all: a range, a frequency.
        taken.index = self.index
        return taken

    def __reduce__(self) -> Any:
        return _itself, (self.whole(),)


def _itself(data: Any) -> Any:
    return data


class Grouping:
    """Groups of a pandas GroupBy object: the order of the rows and the size of each group."""

    def __init__(self, grouped: Any, is_big: bool) -> None:
        self.is_big = is_big
        self._grouped = grouped
        if not grouped.as_index:
            # The groups are the same, and pandas does not warn about results that no user sees.
            self._grouped = copy.copy(grouped)
            self._grouped.as_index = True
        self.obj: Any = grouped.obj
        numbers = grouped.ngroup()
        # ngroup() gives NaN for rows that belong to no group
        codes = (numbers if numbers.dtype.kind == "i" else numbers.fillna(-1)).to_numpy().astype(np.intp, copy=False)
        self.sizes: np.ndarray = np.bincount(codes[codes >= 0], minlength=grouped.ngroups)
        self._every_row = _stable_order(codes + 1)
        self.order: np.ndarray = self._every_row[len(codes) - int(self.sizes.sum()) :]
        #: Whether the places of groups without rows are known; if not, only pandas can pass the groups.
        self.is_known = True
        if not self.sizes.all():
            # ngroup() skips groups without rows (unused categories, empty bins); pandas passes them to the function.
            sizes = self._sized.iloc[:, -1] if self._sized.ndim == 2 else self._sized
            in_order = sizes.to_numpy()
            self.is_known = len(in_order) == len(self.sizes) and np.array_equal(
                in_order[in_order > 0], self.sizes[self.sizes > 0]
            )
            if self.is_known:
                self.sizes = in_order.astype(self.sizes.dtype, copy=False)

    def __len__(self) -> int:
        return len(self.sizes)

    def of_first(self) -> Any:
        """Return a GroupBy of the first group only (of all rows pandas would make a copy); None if it could differ."""
        grouped, obj = self._grouped, self.obj
        keys = getattr(grouped, "keys", None)
        labels = keys if isinstance(keys, list) else [keys]
        known = {*obj.columns, *obj.index.names} if type(obj) is pd.DataFrame and obj.columns.is_unique else set()
        # Only labels of columns or levels are sure to group a part of the rows in the same way.
        if not (self.is_known and all(is_scalar(label) and label in known for label in labels)):
            return None
        if keys is None or not len(self) or not self.sizes[0]:
            return None
        first = obj.take(self.order[: self.sizes[0]]).groupby(keys, **{name: getattr(grouped, name) for name in _HOW})
        return first[list(grouped.head(0).columns)] if self.has_selection else first

    @functools.cached_property
    def has_selection(self) -> bool:
        """Whether columns of the frame were selected, even if all of them."""
        try:
            self._grouped[list(self.obj.columns[:1])]
        except IndexError:  # pandas refuses a second selection
            return True
        return False

    def ordered(self, data: Any, columns: pd.Index | None = None) -> Any:
        """Return the rows of a frame or Series sorted by group; big data as :class:`Taken`."""
        if self.is_big:
            return Taken(data, self.order, self.rows, columns)
        return self.in_order(data if columns is None else data[columns])

    def in_order(self, rows: Any) -> Any:
        """Return the rows of a frame or Series, or the labels of an index, sorted by group."""
        if not PANDAS_2:
            return rows.take(self.order)
        # pandas 2 sorts rows of no group to the front and cuts them off: that decides about ranges and frequencies.
        taken = rows.take(self._every_row)
        first = len(self._every_row) - len(self.order)
        return taken[first:] if isinstance(rows, pd.Index) else taken.iloc[first:]

    @functools.cached_property
    def rows(self) -> pd.Index:
        """The labels of the rows, sorted by group."""
        index: pd.Index = self.in_order(self.obj.index)
        return index

    @functools.cached_property
    def _sized(self) -> Any:
        """Number of rows of each group, as pandas counts them."""
        return self._grouped.size()

    @functools.cached_property
    def labels(self) -> pd.Index | None:
        """Index of a result with one value for each group; None if ``size()`` does not have it."""
        sized = self._sized
        if isinstance(sized, pd.DataFrame) or len(sized) != len(self):
            return None
        index: pd.Index = sized.index
        return index

    def names(self, one: Any, at: int = 0) -> Sequence[Any]:
        """Return the name of each group as pandas sets it; ``one`` is the name that pandas set for group ``at``."""
        names = None if self.labels is None else _listed(self.labels)
        return self.known_names if names is None or not same_name(names[at], one) else names

    @functools.cached_property
    def known_names(self) -> list[Any]:
        """The names of the groups, collected in a pandas call: always right, but slow."""
        names: list[Any] = []

        def look(group: Any) -> None:
            names.append(group.name)

        grouped = self._grouped
        grouped.apply(look, **without_keys(grouped))
        return names

    @functools.cached_property
    def columns(self) -> pd.Index:
        """The columns that pandas passes to the function: no keys, and only selected ones."""
        alone = self.of_first() if self.is_big else None
        grouped = self._grouped if alone is None else alone
        unit, _ = first_unit(lambda look: grouped.apply(look, **without_keys(grouped)))
        columns: pd.Index = unit.columns if isinstance(unit, pd.DataFrame) else self.obj.columns
        return columns

    def frame(self, columns: pd.Index) -> Any:
        """Return the rows of all groups with these columns, sorted by group; None if the columns are ambiguous."""
        obj, wanted = self.obj, None
        if not obj.columns.equals(columns):
            if not (obj.columns.is_unique and columns.is_unique):
                return None
            wanted = columns
        found = obj.columns if wanted is None else obj.iloc[:0][wanted].columns
        if type(found) is not type(columns) or list(found.names) != list(columns.names):
            return None
        return self.ordered(obj, wanted)


def _stable_order(numbers: np.ndarray) -> np.ndarray:
    """Return positions, stably sorted by number, 16 bits at a time: NumPy sorts a million of those in milliseconds."""
    order = np.argsort((numbers & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in (16, 32, 48):
        higher = numbers >> shift
        if not higher.any():
            break
        order = order[np.argsort((higher[order] & 0xFFFF).astype(np.uint16), kind="stable")]
    return order


def without_keys(grouped: Any) -> dict[str, Any]:
    """Return the arguments with which pandas 2 excludes the keys from groups."""
    return {"include_groups": False} if PANDAS_2 and grouped.obj.ndim == 2 else {}


def _listed(labels: pd.Index) -> list[Any]:
    if not PANDAS_2 or not isinstance(labels, pd.MultiIndex):
        return list(labels)
    # pandas 2 makes the tuples from the items of each level, which may be NumPy scalars.
    levels = [[level[at] for at in range(len(level))] for level in labels.levels]
    columns = [
        [level[code] if code >= 0 else np.nan for code in codes]
        for level, codes in zip(levels, labels.codes, strict=True)
    ]
    return list(zip(*columns, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Groups(Units):
    """Groups as units, each a frame or Series as pandas cuts it."""

    data: Any  # rows sorted by group
    sizes: np.ndarray
    names: Sequence[Any] | None = None  # None if pandas does not set the name of a group
    quiet: bool = False  # whether to suppress copy warnings, as pandas 2 does in its ``apply``

    @property
    def by_chunk(self) -> bool:
        """Whether rows are sent with their chunk: they hold Python objects, or a copy of all is too big."""
        if isinstance(self.data, Taken):
            return True
        dtypes = self.data.dtypes if self.data.ndim == 2 else [self.data.dtype]
        return any(map(is_object_dtype, dtypes))

    @property
    def big_bytes(self) -> int:
        """Bytes of the rows if they are not sorted yet, else 0."""
        return bytes_of(self.data.source) if isinstance(self.data, Taken) else 0

    def __len__(self) -> int:
        return len(self.sizes)

    def cut(self, start: int, stop: int) -> Self:
        before, rows = int(self.sizes[:start].sum()), int(self.sizes[start:stop].sum())
        data = self.data
        return type(self)(
            data.part(before, before + rows).whole() if isinstance(data, Taken) else data.iloc[before : before + rows],
            self.sizes[start:stop],
            None if self.names is None else self.names[start:stop],
            self.quiet,
        )

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        with without_copy_warnings() if self.quiet else contextlib.nullcontext():
            self.call_with_groups(sink, lazy)

    def call_with_groups(self, sink: UnitSink, lazy: LazyGroups | None) -> None:
        """Pass each group to the sink: lazy groups as long as they pay off, then plain ones."""
        if isinstance(self.data, Taken):
            self.cut(0, len(self)).call_with_groups(sink, lazy)
            return
        n = len(self)
        at = 0 if lazy is None else lazy.call_with_groups(self.data, self.sizes.tolist(), self.names, sink)
        units = (self.cut(at, n) if at else self).units()
        while at < n:
            size = sink.start_block(n - at)
            for unit in itertools.islice(units, size):
                sink.call_owned(unit)
            at += size

    def units(self) -> Iterator[Any]:
        """Yield the groups, with their names."""
        if self.names is None:
            yield from self._cut_out()
            return
        for name, group in zip(self.names, self._cut_out(), strict=True):
            object.__setattr__(group, "name", name)
            yield group

    def _cut_out(self) -> Iterator[Any]:
        """Yield few groups by ``iloc``, many by pandas' own loop, which costs half as much once it has started."""
        if self.data.ndim == 2 and self.data.shape[1]:
            # The first access to a column makes pandas cache the places of columns, and groups inherit that cache.
            # Without it each group would build its own, which takes a twentieth of a call.
            self.data.iloc[:, 0]
        if len(self.sizes) < LOOP_MIN_GROUPS or len(self.data) == 0:
            begin = 0
            for size in self.sizes.tolist():
                yield no_copy(self.data.iloc[begin : begin + size])
                begin += size
            return
        whole = iter(self.data.groupby(_Numbers.of(self.sizes), sort=False))
        for size in self.sizes.tolist():
            yield next(whole)[1] if size else no_copy(self.data.iloc[:0])


class _Numbers(np.ndarray):
    """Group number of each row."""

    @classmethod
    def of(cls, sizes: np.ndarray) -> Self:
        return np.repeat(np.arange(len(sizes)), sizes).view(cls)

    def __str__(self) -> str:
        # pandas looks the array up as a column label first, and formats it for the KeyError.
        # To format the whole array takes longer than a hundred groups.
        return "numbers of groups"


class GroupsByColumn(InColumns):
    """Groups of several columns as units, column by column."""

    columns: Sequence[Groups]

    @property
    def by_chunk(self) -> bool:
        return any(column.by_chunk for column in self.columns)

    @property
    def big_bytes(self) -> int:
        return sum(column.big_bytes for column in self.columns)

    def _cut(self, column: Groups, start: int, stop: int) -> Groups:
        return column.cut(start, stop)

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        for column in self.columns:
            column.call_with_groups(sink, lazy)


@dataclass(frozen=True, slots=True)
class EachColumn(Substitute):
    """Wrapper that calls the function with each column of a group and gives a list."""

    func: Func

    def __call__(self, group: pd.DataFrame, *args: Any, **kwargs: Any) -> Any:
        returns: list[Any] = []

        def keep(column: Any) -> None:
            given = GroupIdentity.of(column)
            returns.append(then(self.func(column, *args, **kwargs), lambda value: as_aligned(value, given)))

        each: Any = group
        if is_coroutine_function(self.func):
            columns: list[Any] = []
            each.apply(lambda column: columns.append(column.copy(deep=False)), axis=0)
            return self._awaited(columns, args, kwargs)  # a coroutine, as of such a function
        each.apply(keep, axis=0)
        return _all_awaited(returns) if any(map(gives_coroutine, returns)) else returns

    async def _awaited(self, columns: list[Any], args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        given = list(map(GroupIdentity.of, columns))
        returns = [await self.func(column, *args, **kwargs) for column in columns]
        return list(map(as_aligned, returns, given))


async def _all_awaited(returns: list[Any]) -> list[Any]:
    """Await the coroutines among some returns, one after the other."""
    try:
        return [await value if gives_coroutine(value) else value for value in returns]
    finally:
        for value in filter(gives_coroutine, returns):
            value.close()  # those after one that raised
