"""Methods of groups: predict the calls that pandas makes, and rebuild its result.

pandas calls a function in passes over the groups. ``GroupByPlan`` predicts each pass, so that workers can run it. Its
result is shaped here if it is known, else pandas is called again with the recorded returns.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.api.types import is_scalar

from pdparallel.compat import PANDAS_2
from pdparallel.core.call import Call, format_label, in_words, work_of
from pdparallel.core.cancellation import mark_started
from pdparallel.core.columnar import Numbers, Packed, SeriesRows, Texts, Times
from pdparallel.core.options import Options, resolve
from pdparallel.core.returns import Returns, pack
from pdparallel.core.units import Units
from pdparallel.core.validation import check_func, goes_to_pandas
from pdparallel.data.aligned_series import (
    AlignedSeries,
    AlignedSeriesBatch,
    ChangedLabels,
    DetectAligned,
    DetectChanges,
)
from pdparallel.data.grouped_frames import FrameReturn, FrameReturns, is_joinable, same_name
from pdparallel.data.groups import EachColumn, Grouping, Groups, GroupsByColumn, Taken, first_unit
from pdparallel.data.values import bytes_of
from pdparallel.errors import Shown
from pdparallel.execution.events import shaping
from pdparallel.execution.group_driver import First, GroupDriver, GroupPass
from pdparallel.execution.placement import is_plain_call, options_for
from pdparallel.operations.build_result import PLAIN_NUMBERS, values_for_series
from pdparallel.progress.reporter import ProgressScope, count_calls
from pdparallel.transport.data import is_big
from pdparallel.typing import Func
from pdparallel.worker.event_loop import awaiting, without_coroutines
from pdparallel.worker.retrying import retrying

__all__ = ["call_grouped", "is_replaced"]

#: Functions that pandas 2 replaces by its own, so that it never calls them.
_REPLACED_BY_PANDAS_2 = (sum, max, min)

#: The dtypes of Python's numbers in NumPy.
_WIDE = (np.dtype(np.int64), np.dtype(np.float64))


def call_grouped(
    grouped: Callable[[], Any], method: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any],
    bound: Callable[..., Any], given: Mapping[str, Any], *before: Any, straight: bool = False,
) -> Any:  # fmt: skip
    """Run a method of a GroupBy that calls a function for each group."""

    def ask(function: Func) -> Any:
        return bound(function, *before, *args, **kwargs)

    if straight or func is None or goes_to_pandas(func) or is_replaced(func):
        mark_started()
        return ask(awaiting(func))
    check_func(func)
    options = options_for(func, resolve(given))
    plan = GroupByPlan(grouped(), method, func, args, kwargs, options)
    repeated, _ = retrying(without_coroutines(plan.work) if plan.work.is_async else plan.work)
    driver = GroupDriver(
        count_calls(repeated.func, options.progress, options.desc or plan.verb, "group"), plan, options, plan.fill
    )
    unit, first, of_first = None, None, plan.of_first(bound)
    if of_first is None and is_plain_call(options):
        done, answer = driver.run(ask)
        if done:
            return answer
    else:
        if of_first is not None:
            unit, _ = first_unit(lambda function: of_first(function, *before, *args, **kwargs))
        if unit is None:
            unit, answer = first_unit(ask)
        if unit is None:
            return answer
        first, unit = First.of(unit), None  # the unit is a view of pandas' copy of all rows
        plan.has_first_alone = method == "resample" and options.errors == "raise"
    with ProgressScope():
        returns = driver.run_first_pass(first)
        return _answered(plan, driver, returns, ask)


@shaping
def _answered(plan: GroupByPlan, driver: GroupDriver, returns: Returns | None, ask: Callable[[Func], Any]) -> Any:
    short = None if returns is None else plan.shaped(returns)
    if short is None:
        return driver.answer(ask)
    plan.warn_as_pandas()
    return short


class GroupByPlan:
    """Predicts the calls that a method of a GroupBy makes, and shapes their returns."""

    def __init__(
        self, grouped: Any, method: str, func: Func, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
    ) -> None:
        self._grouped = grouped
        self._method = method
        self._func = func
        #: The passes share it, and so one rate.
        self.work = work_of(func, args, dict(kwargs), "unit", options)
        self._options = options
        self._of_frame = grouped.obj.ndim == 2
        self.looks_again = method == "transform"
        self.tries = method == "transform" and self._of_frame
        self._has_frames = False
        self._columns_given = 0
        self._which = np.array([0])
        #: Whether the first unit is a pass of its own, because its return may change the next pass.
        self.has_first_alone = False
        self._first_pass: GroupPass | None = None

    @functools.cached_property
    def _is_big(self) -> bool:
        return is_big(bytes_of(self._grouped.obj))

    @functools.cached_property
    def grouping(self) -> Grouping:
        return Grouping(self._grouped, self._is_big)

    def of_first(self, bound: Callable[..., Any]) -> Callable[..., Any] | None:
        """Bind the method to the first group. With all rows, pandas would copy big data."""
        method: Any = bound.func if isinstance(bound, functools.partial) else bound
        given = bound.keywords if isinstance(bound, functools.partial) else {}
        is_own = isinstance(method, types.MethodType) and method.__self__ is self._grouped
        if self._method == "agg" or not (is_own and self._of_frame and self._is_big):
            return None
        alone = self.grouping.of_first()
        return None if alone is None else functools.partial(types.MethodType(method.__func__, alone), **given)

    # Passes

    def is_next(self, number: int, unit: Any) -> bool:
        return number == 1 or (number == 0 and isinstance(unit, pd.DataFrame))

    def size(self, number: int, first: First) -> int:
        if self.tries:
            return self._size_of_trying(number, first)
        groups = int(self._grouped.ngroups)
        by_column = self._of_frame and not first.is_frame
        return groups * len(self.grouping.columns) if by_column else groups

    def _size_of_trying(self, number: int, first: First) -> int:
        if number == 1:
            return 1
        columns = 1 if first.is_frame else len(self.grouping.columns)
        return columns * (1 if number == 0 else len(self._rest()))

    def _rest(self) -> np.ndarray:
        """Return the groups after the first one; pandas skips groups without rows."""
        return 1 + np.flatnonzero(self.grouping.sizes[1:])

    def next_pass(self, number: int, first: First) -> GroupPass | None:
        if self._method == "agg" and number > 0:
            return None  # pandas 2, after a KeyError: with the name of the group, which it says will come to an end
        if not self.grouping.is_known:
            return None
        if self.tries:
            return self._pass_of_trial(number, first)
        if self.has_first_alone and not first.is_frame:
            if number == 0:
                self._first_pass = self._pass_by_units(number, first)
                return None if self._first_pass is None else self._part(self._first_pass, 0, 1)
            if number == 1 and self._first_pass is not None and (self._of_frame or self._is_own_name(first.name)):
                return self._part(self._first_pass, 1, self._first_pass.call.n)
        return self._pass_by_units(number, first)

    def _is_own_name(self, name: Any) -> bool:
        return same_name(name, self.grouping.obj.name)

    def _part(self, group_pass: GroupPass, start: int, stop: int) -> GroupPass:
        """Return some units of a pass as a pass of their own."""
        call, fits, work, units = (
            group_pass.call,
            group_pass.fits,
            group_pass.call.work,
            cast("Units", group_pass.call.data),
        )
        if start and work.seed is not None:
            work = replace(work, seed=_of_the_rest(work.seed))
        part = replace(
            call, work=work, data=units.cut(start, stop), n=stop - start, start=start,
            label=lambda at: call.label(start + at),
        )  # fmt: skip
        return GroupPass(part, lambda unit, at: fits(unit, start + at), of_all=0 if start else call.n)

    def _pass_by_units(self, number: int, first: First) -> GroupPass | None:
        if first.columns is not None:
            self._has_frames = True
            self._columns_given = len(first.columns)
            data = self.grouping.frame(first.columns)
            return None if data is None else self._pass(data, first, first.is_named)
        if not self._of_frame:
            is_named = self._method in ("apply", "transform") or number > 0
            return self._pass(self.grouping.ordered(self.grouping.obj), first, is_named)
        return self._pass_by_column(first)

    def _pass(self, data: Any, first: First, is_named: bool) -> GroupPass | None:
        grouping = self.grouping
        if not self._begins_with(data, first):
            return None
        names = grouping.names(first.name) if is_named else None
        quiet = self._method == "apply" or (self._method == "resample" and first.is_frame)
        units, sizes, kind = Groups(data, grouping.sizes, names, quiet), grouping.sizes.tolist(), first.kind
        own = None if is_named or data.ndim == 2 else data.name

        def fits(unit: Any, at: int) -> bool:
            if type(unit) is not kind or len(unit) != sizes[at]:
                return False
            if names is not None:
                return same_name(unit.name, names[at])
            return "name" not in vars(unit) and (unit.ndim == 2 or same_name(unit.name, own))

        telling = DetectChanges if self.looks_again else DetectAligned
        return GroupPass(self._call(units, telling(self._func), self._label), fits)

    def _begins_with(self, data: Any, first: First) -> bool:
        """Return whether the first group is the one that pandas passed first."""
        n = len(first.index)
        return n == self.grouping.sizes[0] and bool(first.index.equals(data.index[:n]))

    def _pass_by_column(self, first: First) -> GroupPass | None:
        grouping = self.grouping
        columns = grouping.columns
        data = grouping.frame(columns)
        if data is None or not self._begins_with(data, first):
            return None
        column = data.column if isinstance(data, Taken) else lambda at: data.iloc[:, at]
        units = GroupsByColumn([Groups(column(at), grouping.sizes) for at in range(len(columns))])
        groups, sizes, labels = len(grouping), grouping.sizes.tolist(), list(columns)

        def fits(unit: Any, at: int) -> bool:
            column, group = divmod(at, groups)
            return isinstance(unit, pd.Series) and len(unit) == sizes[group] and same_name(unit.name, labels[column])

        return GroupPass(self._call(units, DetectAligned(self._func), self._label_by_column), fits)

    def _pass_of_trial(self, number: int, first: First) -> GroupPass | None:
        grouping = self.grouping
        data = grouping.frame(grouping.columns)
        which = self._which = self._rest() if number == 2 else np.array([0])
        several = 0 if first.is_frame else len(grouping.columns)
        if data is None or (several and not grouping.sizes[0]):
            return None
        part = data.part if isinstance(data, Taken) else lambda *of: data.iloc[slice(*of)]
        # Groups without rows do not interrupt the rows of the others.
        rows = part(int(grouping.sizes[0]), None) if number == 2 else part(0, int(grouping.sizes[0]))
        every = None if several else grouping.names(first.name, int(which[0]))
        names = None if every is None else [every[at] for at in which.tolist()]
        sizes = grouping.sizes[which].tolist()

        def fits(unit: Any, at: int) -> bool:
            return type(unit) is first.kind and len(unit) == sizes[at // (several or 1)]

        units = Groups(rows, grouping.sizes[which], names)
        func = EachColumn(self._func) if several else DetectChanges(self._func)
        options = self._options
        if number == 2 and options.seed is not None:
            # Positions start at 0 again, but the random numbers must differ from those of the first group.
            options = replace(options, seed=_of_the_rest(options.seed))
        in_all = {0: 1 + len(self._rest()), 1: 0}.get(number)
        return GroupPass(
            self._call(units, func, lambda at: self._label(int(which[at])), options), fits, several, in_all
        )

    def _call(self, units: Units, func: Func, label: Callable[[int], Any], options: Options | None = None) -> Call:
        return Call(
            verb=self.verb,
            work=replace(self.work, func=func, seed=(options or self._options).seed),
            data=units,
            n=len(units),
            unit="group",
            label=label,
        )

    # Messages

    def _label(self, at: int) -> Any:
        labels = self.grouping.labels
        return self.grouping.known_names[at] if labels is None else labels[at]

    def _label_by_column(self, at: int) -> Any:
        column, group = divmod(at, len(self.grouping))
        return Shown(f"{format_label(self._label(group))} of column {format_label(self.grouping.columns[column])}")

    @property
    def verb(self) -> str:
        """The method as users write it."""
        return "resample.apply" if self._method == "resample" else f"groupby.{self._method}"

    def place(self, number: int, unit: Any, at: int) -> str:
        """See :class:`pdparallel.execution.group_driver.GroupPasses`."""
        if self.tries:
            label = unit.name if isinstance(unit, pd.DataFrame) else Shown(f"of column {format_label(unit.name)}")
        elif self._of_frame and isinstance(unit, pd.Series):
            label = self._label_by_column(at)
        else:
            label = self._label(at)
        return f"{self.verb}, {in_words('group', label, at)}"

    # Results

    def fill(self, good: list[Any], at: int, value: Any) -> Any:
        """Return the placeholder of a failed call."""
        first = next(iter(good), None)
        if type(first) is ChangedLabels:
            first = first.value
        if type(first) is FrameReturn:
            first = first.value
        if self._method == "agg" or not isinstance(first, (pd.DataFrame, pd.Series, AlignedSeries)):
            return value
        raised = isinstance(value, BaseException)
        if isinstance(first, pd.DataFrame):
            if self._method == "transform":
                labels = self._rows_of(at)
                return FrameReturn(_frame_of(value if raised else np.nan, labels, first.columns))
            # pandas skips groups that return None.
            return FrameReturn(_frame_of(value, self._label_of_one(first, at), first.columns)) if raised else None
        if self._method == "transform":
            return value
        if isinstance(first, AlignedSeries):
            rows = len(self._rows_of(at))
            return first.raised(rows, value) if raised else first.missing(rows)
        return FrameReturn(_series_of(value, first.index) if raised else pd.Series(np.nan, index=first.index))

    def _rows_of(self, at: int) -> pd.Index:
        """Return the labels of the rows of a group."""
        group = int(self._which[at]) if self.tries else at
        start = int(self.grouping.sizes[:group].sum())
        return self.grouping.rows[start : start + int(self.grouping.sizes[group])]

    def _label_of_one(self, first: pd.DataFrame, at: int) -> pd.Index:
        """Return the label of the one row that replaces a group."""
        rows, labels = self._rows_of(at), first.index
        is_own = labels.nlevels == rows.nlevels and bool(labels.isin(self.grouping.obj.index).all())
        return rows[:1] if len(rows) and (is_own or not len(labels)) else labels[:1]

    def shaped(self, returns: Returns) -> Any:
        """Return pandas' result of these returns, or None if only pandas knows it."""
        if not self._may_be_shaped:
            return None
        packed, grouping = returns.packed(), self.grouping
        if self._method == "transform":
            return _transformed(grouping, packed)
        if self._method == "apply" and isinstance(packed, (AlignedSeriesBatch, FrameReturns)):
            return self._put_together(packed)
        labels = grouping.labels
        if labels is None or not self._is_known(packed):
            return None
        if self._method == "agg":
            return self._aggregated(packed, labels)
        if isinstance(packed, SeriesRows):
            return pd.DataFrame(packed.values, index=labels, columns=packed.index.copy())
        values, obj = values_for_series(packed, returns), grouping.obj
        return pd.Series(values, index=labels, name=obj.name if obj.ndim == 1 else None)

    def warn_as_pandas(self) -> None:
        """Warn as pandas 2 does in ``apply`` if the groups contain their keys."""
        if not (PANDAS_2 and self._method == "apply" and self._has_frames):
            return
        if self.grouping.has_selection or self._columns_given == len(self.grouping.columns):
            return
        pd.DataFrame({"key": [0], "value": [0]}).groupby("key").apply(len)

    def is_shaped(self, answers: Sequence[Any]) -> bool:
        """See :class:`pdparallel.execution.group_driver.GroupPasses`."""
        if not self._may_be_shaped:
            return False
        packed = pack(list(answers))
        if self._method == "transform":
            return packed is not None and _fills_rows(self.grouping, packed)
        if self._method == "apply" and isinstance(packed, (AlignedSeriesBatch, FrameReturns)):
            return is_joinable(self.grouping.obj.index)
        return self._is_known(packed) and self.grouping.labels is not None

    @property
    def _may_be_shaped(self) -> bool:
        obj = self._grouped.obj
        plain = type(obj) in (pd.DataFrame, pd.Series) and not obj.attrs and obj.flags.allows_duplicate_labels
        known = self._method == "transform" or (self._method in ("apply", "agg") and self._grouped.as_index)
        return plain and known and not self.tries

    def _is_known(self, packed: Packed | None) -> bool:
        """Return whether the result of ``apply`` or ``agg`` is known for such returns."""
        if self._method == "agg":
            # For numbers of columns of NumPy numbers, pandas finds the dtype of the objects.
            return (
                isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS and not self._has_frames
                and self._is_of_numbers and (PANDAS_2 or not self._is_narrowed(packed.array.dtype.kind))
            )  # fmt: skip
        if isinstance(packed, SeriesRows):
            return self._of_frame and packed.values.dtype != object
        return isinstance(packed, (Numbers, Texts, Times))

    @functools.cached_property
    def _is_of_numbers(self) -> bool:
        if self._of_frame and not self.grouping.columns.is_unique:
            return False
        return all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in self._dtypes)

    @functools.cached_property
    def _dtypes(self) -> list[Any]:
        """The dtypes of the columns."""
        obj: Any = self.grouping.obj
        return list(obj[self.grouping.columns].dtypes) if self._of_frame else [obj.dtype]

    def _is_narrowed(self, kind: str) -> bool:
        """Return whether pandas 3 may cast such numbers to the narrow dtype of a column."""
        kinds = "iu" if kind == "i" else kind
        return any(dtype.kind in kinds and dtype not in _WIDE for dtype in self._dtypes)

    def _put_together(self, packed: AlignedSeriesBatch | FrameReturns) -> Any:
        """Concatenate frames, or Series with different indexes, as pandas does."""
        pieces, obj = packed if isinstance(packed, FrameReturns) else self._over_the_rows(packed), self.grouping.obj
        if pieces is None or not is_joinable(obj.index):
            return None
        whole, has_series = pieces.whole, pieces.whole.ndim == 1
        if self._of_frame and has_series and pieces.are_over_the_same:
            return None  # pandas makes a frame with a row for each group
        as_before = False
        if self._grouped.group_keys:
            labels = self.grouping.labels
            index: Any = None if labels is None else pieces.index_with(labels)
            if index is None:
                return None
        else:
            index = pieces.index
            as_before = not (self._of_frame and has_series) and self._is_of_the_rows(pieces)
            if as_before and (len(index) != len(obj) or obj.index.has_duplicates):
                return None
        whole.index = index
        if has_series and not self._of_frame:
            whole.name = obj.name
        return whole.reindex(self._rows_of_groups()) if as_before else whole

    def _rows_of_groups(self) -> pd.Index:
        """Return the labels of the rows. In pandas 2 a part of a range is no range."""
        index: pd.Index = self.grouping.obj.index
        return index[np.ones(len(index), dtype=bool)] if self._grouped.dropna else index

    def _over_the_rows(self, likes: AlignedSeriesBatch) -> FrameReturns | None:
        """Return Series with the indexes of their groups."""
        grouping = self.grouping
        if likes.lengths != grouping.sizes.tolist():
            return None
        name = grouping.obj.name if likes.is_named_as_the_unit else likes.name
        if name is not None and is_scalar(name) and pd.isna(name):
            return None  # pandas compares such a name with itself, and finds it different
        # With the dtype, because pandas would find texts among objects.
        whole = pd.Series(likes.array, index=grouping.rows, name=name, dtype=likes.array.dtype, copy=False)
        return FrameReturns(whole, likes.lengths)

    def _is_of_the_rows(self, pieces: FrameReturns) -> bool:
        """Return whether each has the labels of its group; pandas then restores the order of the rows."""
        grouping = self.grouping
        return pieces.lengths == grouping.sizes.tolist() and bool(pieces.index.equals(grouping.rows))

    def _aggregated(self, packed: Any, labels: pd.Index) -> Any:
        if not self._of_frame:
            return pd.Series(packed.array, index=labels, name=self.grouping.obj.name)
        columns: Any = self.grouping.columns
        by_column = packed.array.reshape(len(columns), len(labels))
        return pd.DataFrame(by_column.T, index=labels, columns=columns, copy=True)


def _series_of(error: Any, labels: pd.Index) -> pd.Series:
    """Return a Series with the exception at each label, also if the exception is a sequence."""
    values = np.empty(len(labels), object)
    values.fill(error)
    return pd.Series(values, index=labels)


def _frame_of(value: Any, labels: pd.Index, columns: pd.Index) -> pd.DataFrame:
    """Return a frame filled with one value."""
    values = np.empty((len(labels), len(columns)), float if value is np.nan else object)
    values.fill(value)
    return pd.DataFrame(values, index=labels, columns=columns)


def _of_the_rest(seed: int) -> int:
    """Derive a seed for the groups after the first one."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0])


def _may_be_named_na(grouping: Grouping) -> bool:
    """Return whether a group may have the name ``pd.NA``; pandas fails when it compares such names."""
    labels = grouping.labels
    if labels is None:
        return True
    levels = labels.levels if isinstance(labels, pd.MultiIndex) else [labels]
    if all(isinstance(level.dtype, np.dtype) and level.dtype != object for level in levels):
        return False
    return any((codes < 0).any() for codes in labels.codes) if isinstance(labels, pd.MultiIndex) else labels.hasnans


def _fills_rows(grouping: Grouping, packed: Packed | None) -> bool:
    """Return whether the result of ``transform`` is known for such returns."""
    if isinstance(packed, AlignedSeriesBatch):
        if packed.is_named_as_the_unit and _may_be_named_na(grouping):
            return False
    elif not (isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS):
        return False
    # Rows without a group become missing values. Empty groups decide the dtype, too.
    return len(grouping.order) == len(grouping.obj) and bool(grouping.sizes.all())


def _transformed(grouping: Grouping, packed: Any) -> Any:
    """Return the result of ``transform``, or None if only pandas knows it."""
    if not _fills_rows(grouping, packed):
        return None
    values = packed.array if isinstance(packed, AlignedSeriesBatch) else np.repeat(packed.array, grouping.sizes)
    in_order, obj = np.empty_like(values), grouping.obj
    in_order[grouping.order] = values
    return pd.Series(in_order, index=obj.index, name=obj.name, dtype=in_order.dtype, copy=False)


def is_replaced(func: Any) -> bool:
    """Return whether pandas calls a function of its own instead."""
    if not PANDAS_2:
        return False
    return func in _REPLACED_BY_PANDAS_2 or getattr(func, "__module__", None) == "numpy"
