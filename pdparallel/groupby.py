"""Groupby: ``df.par.groupby(...)``: what users call of it, and what pandas will ask a function of a group for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Never, cast, overload

import numpy as np
import pandas as pd

from pdparallel.arguments import check_func, goes_to_pandas
from pdparallel.assemble import PLAIN_NUMBERS, values_for_series
from pdparallel.beginning import begins_here
from pdparallel.call import Call, in_words, shown, work_of
from pdparallel.errors import InvalidOptionError, Shown
from pdparallel.explaining import explain
from pdparallel.explanation import Explanation
from pdparallel.groups import EachColumn, Grouping, Groups, Several, first_unit, same_name
from pdparallel.likeness import Likes, TellingLike
from pdparallel.observing import shaping
from pdparallel.options import Options, resolve
from pdparallel.packing import Numbers, Packed, Returns, SeriesRows, Texts, Times, pack
from pdparallel.progress import WholeCall, counted
from pdparallel.standin import StandIn
from pdparallel.stopping import begin
from pdparallel.typing import AsEither, AsFrame, AsSeries, AsWhole, Func, Named, Plain
from pdparallel.units import Units
from pdparallel.versions import PANDAS_2
from pdparallel.watching import First, Go
from pdparallel.windowing import Windowing
from pdparallel.windows import WindowPar

__all__ = ["GROUPED", "GroupByPar", "call_grouped", "is_replaced"]

#: Classes of pandas' objects of groups.
GROUPED = (pd.api.typing.DataFrameGroupBy, pd.api.typing.SeriesGroupBy)

#: Functions that pandas 2 replaces by its own, as it does names: they are not called.
_REPLACED_BY_PANDAS_2 = (sum, max, min)


def call_grouped(
    grouped: Callable[[], Any], method: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any],
    bound: Callable[..., Any], given: Mapping[str, Any], *before: Any, straight: bool = False,
) -> Any:  # fmt: skip
    """A method of a GroupBy that calls a function for each group.

    Parameters
    ----------
    grouped : callable
        Gives pandas' DataFrameGroupBy or SeriesGroupBy.
    method : {"apply", "agg", "transform", "filter", "resample"}
        Which one; ``"resample"`` is the ``apply`` of what ``resample`` gives.
    func : callable
        Takes a group; what pandas does by itself goes there as it is.
    args, kwargs
        Further arguments of ``func``.
    bound : callable
        pandas' own method.
    given : mapping
        Options of the accessor.
    *before
        Arguments of pandas' own that come before those of ``func``.
    straight : bool, default False
        Whether it is a matter of pandas, whatever the function.
    """

    def ask(function: Func) -> Any:
        return bound(function, *before, *args, **kwargs)

    if straight or func is None or goes_to_pandas(func) or is_replaced(func):
        begin()
        return ask(func)
    check_func(func)
    options = resolve(given)
    goes = _Goes(grouped(), method, func, args, kwargs, options)
    stand_in = StandIn(counted(func, options.progress, goes.verb, "group"), goes, options, goes.fill)
    first = None
    if begins_here(options):
        done, answer = stand_in.watched(ask)
        if done:
            return answer
    else:
        first, answer = first_unit(ask)
        if first is None:
            return answer
    with WholeCall():
        returns = stand_in.begin(first)
        return _answered(goes, stand_in, returns, ask)


@shaping
def _answered(goes: _Goes, stand_in: StandIn, returns: Returns | None, ask: Callable[[Func], Any]) -> Any:
    short = None if returns is None else goes.shaped(returns)
    return stand_in.answer(ask) if short is None else short


class _Goes:
    """What a method of a GroupBy asks a function for; see :class:`pdparallel.watching.Goes`.

    ``apply`` and ``filter`` ask for each group; ``agg`` for each group of each column.  ``transform`` of a frame asks
    for the columns of the first group, then for that group as a frame, and goes on in the way that gave a result.
    """

    def __init__(
        self, grouped: Any, method: str, func: Func, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
    ) -> None:
        self._grouped = grouped
        self._method = method
        self._func = func
        self._args = tuple(args)
        self._kwargs = dict(kwargs)
        self._options = options
        self._of_frame = grouped.obj.ndim == 2
        self.tries = method == "transform" and self._of_frame
        self._has_frames = False

    @functools.cached_property
    def grouping(self) -> Grouping:
        return Grouping(self._grouped)

    # What is asked for

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
        """The groups that are left after the first: pandas leaves out those of no rows."""
        return 1 + np.flatnonzero(self.grouping.sizes[1:])

    def go(self, number: int, first: First) -> Go | None:
        if self._method == "agg" and number > 0:
            return None  # pandas 2, after a KeyError: with the name of the group, which it says will come to an end
        if not self.grouping.is_known:
            return None
        if self.tries:
            return self._go_of_trying(number, first)
        if first.columns is not None:
            self._has_frames = True
            data = self.grouping.frame(first.columns)
            return None if data is None else self._go(data, first, first.is_named)
        if not self._of_frame:
            is_named = self._method in ("apply", "transform") or number > 0
            return self._go(self.grouping.obj.take(self.grouping.order), first, is_named)
        return self._go_by_column(first)

    def _go(self, data: Any, first: First, is_named: bool) -> Go | None:
        grouping = self.grouping
        if not self._begins_with(data, first):
            return None
        names = grouping.names(first.name) if is_named else None
        units, sizes, kind = Groups(data, grouping.sizes, names), grouping.sizes.tolist(), first.kind
        own = None if is_named or data.ndim == 2 else data.name

        def fits(unit: Any, at: int) -> bool:
            if type(unit) is not kind or len(unit) != sizes[at]:
                return False
            if names is not None:
                return same_name(unit.name, names[at])
            return "name" not in vars(unit) and (unit.ndim == 2 or same_name(unit.name, own))

        return Go(self._call(units, TellingLike(self._func), self._label), fits)

    def _begins_with(self, data: Any, first: First) -> bool:
        """Whether pandas hands the same group out first; else it groups in another way than it says."""
        n = len(first.index)
        return n == self.grouping.sizes[0] and bool(first.index.equals(data.index[:n]))

    def _go_by_column(self, first: First) -> Go | None:
        grouping = self.grouping
        columns = grouping.columns
        data = grouping.frame(columns)
        if data is None or not self._begins_with(data, first):
            return None
        units = Several([Groups(data.iloc[:, at], grouping.sizes) for at in range(len(columns))])
        groups, sizes, labels = len(grouping), grouping.sizes.tolist(), list(columns)

        def fits(unit: Any, at: int) -> bool:
            column, group = divmod(at, groups)
            return isinstance(unit, pd.Series) and len(unit) == sizes[group] and same_name(unit.name, labels[column])

        return Go(self._call(units, TellingLike(self._func), self._label_by_column), fits)

    def _go_of_trying(self, number: int, first: First) -> Go | None:
        grouping = self.grouping
        data = grouping.frame(grouping.columns)
        which = self._rest() if number == 2 else np.array([0])
        several = 0 if first.is_frame else len(grouping.columns)
        if data is None or (several and not grouping.sizes[0]):
            return None
        # Groups of no rows take no rows away: those of the others stay one piece.
        rows = data.iloc[int(grouping.sizes[0]) :] if number == 2 else data.iloc[: int(grouping.sizes[0])]
        every = None if several else grouping.names(first.name, int(which[0]))
        names = None if every is None else [every[at] for at in which.tolist()]
        sizes = grouping.sizes[which].tolist()

        def fits(unit: Any, at: int) -> bool:
            return type(unit) is first.kind and len(unit) == sizes[at // (several or 1)]

        units = Groups(rows, grouping.sizes[which], names)
        func = EachColumn(self._func) if several else TellingLike(self._func)
        options = self._options
        if number == 2 and options.seed is not None:
            # Its units are counted from 0 on as well, and are not to draw what the first group drew.
            options = replace(options, seed=_of_the_rest(options.seed))
        in_all = {0: 1 + len(self._rest()), 1: 0}.get(number)
        return Go(self._call(units, func, lambda at: self._label(int(which[at])), options), fits, several, in_all)

    def _call(self, units: Units, func: Func, label: Callable[[int], Any], options: Options | None = None) -> Call:
        return Call(
            verb=self.verb,
            work=work_of(func, self._args, self._kwargs, "unit", options or self._options),
            data=units,
            n=len(units),
            unit="group",
            label=label,
        )

    # Words

    def _label(self, at: int) -> Any:
        labels = self.grouping.labels
        return self.grouping.known_names[at] if labels is None else labels[at]

    def _label_by_column(self, at: int) -> Any:
        column, group = divmod(at, len(self.grouping))
        return Shown(f"{shown(self._label(group))} of column {shown(self.grouping.columns[column])}")

    @property
    def verb(self) -> str:
        """As the user wrote it, for messages."""
        return "resample.apply" if self._method == "resample" else f"groupby.{self._method}"

    def place(self, number: int, unit: Any, at: int) -> str:
        """See :class:`pdparallel.watching.Goes`."""
        if self.tries:
            label = unit.name if isinstance(unit, pd.DataFrame) else Shown(f"of column {shown(unit.name)}")
        elif self._of_frame and isinstance(unit, pd.Series):
            label = self._label_by_column(at)
        else:
            label = self._label(at)
        return f"{self.verb}, {in_words('group', label, at)}"

    # Results

    def fill(self, good: list[Any], at: int, value: Any) -> Any:
        """What stands for a call that failed; see :mod:`pdparallel.missing`."""
        if value is not np.nan or not good:
            return value
        if isinstance(good[0], pd.DataFrame):
            return None  # no rows: pandas leaves out the groups of which there is None
        if self._method == "apply" and isinstance(good[0], pd.Series):
            return pd.Series(np.nan, index=good[0].index)
        if isinstance(good[0], list) and self.tries:
            return [np.nan] * len(good[0])
        return value

    def shaped(self, returns: Returns) -> Any:
        """pandas' result, where it is known what pandas makes of such returns; else None."""
        if not self._may_be_shaped:
            return None
        packed, grouping = returns.packed(), self.grouping
        if self._method == "transform":
            return _transformed(grouping, packed)
        labels = grouping.labels
        if labels is None or not self._is_known(packed):
            return None
        if self._method == "agg":
            return self._aggregated(packed, labels)
        if isinstance(packed, SeriesRows):
            return pd.DataFrame(packed.values, index=labels, columns=packed.index.copy())
        values, obj = values_for_series(packed, returns), grouping.obj
        return pd.Series(values, index=labels, name=obj.name if obj.ndim == 1 else None)

    def is_shaped(self, answers: Sequence[Any]) -> bool:
        """See :class:`pdparallel.watching.Goes`."""
        if not self._may_be_shaped:
            return False
        packed = pack(list(answers))
        if self._method == "transform":
            return packed is not None and _fills_rows(self.grouping, packed)
        return self._is_known(packed) and self.grouping.labels is not None

    @property
    def _may_be_shaped(self) -> bool:
        obj = self._grouped.obj
        plain = type(obj) in (pd.DataFrame, pd.Series) and not obj.attrs and obj.flags.allows_duplicate_labels
        known = self._method == "transform" or (self._method in ("apply", "agg") and self._grouped.as_index)
        return plain and known and not self.tries

    def _is_known(self, packed: Packed | None) -> bool:
        """Whether it is known what ``apply`` or ``agg`` make of such returns."""
        if self._method == "agg":
            # Of numbers, and columns of NumPy's numbers, the objects' own dtype is what pandas finds.
            return (
                isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS and not self._has_frames
                and self._is_of_numbers
            )  # fmt: skip
        if isinstance(packed, SeriesRows):
            return self._of_frame and packed.values.dtype != object
        return isinstance(packed, (Numbers, Texts, Times))

    @functools.cached_property
    def _is_of_numbers(self) -> bool:
        obj: Any = self.grouping.obj
        if not self._of_frame:
            return _is_of_numbers([obj.dtype])
        columns = self.grouping.columns
        return bool(columns.is_unique) and _is_of_numbers(obj[columns].dtypes)

    def _aggregated(self, packed: Any, labels: pd.Index) -> Any:
        if not self._of_frame:
            return pd.Series(packed.array, index=labels, name=self.grouping.obj.name)
        columns: Any = self.grouping.columns
        by_column = packed.array.reshape(len(columns), len(labels))
        return pd.DataFrame(by_column.T, index=labels, columns=columns, copy=True)


def _of_the_rest(seed: int) -> int:
    """Another seed, for what comes after the first group."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0])


def _is_of_numbers(dtypes: Iterable[Any]) -> bool:
    return all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in dtypes)


def _may_be_named_na(grouping: Grouping) -> bool:
    """Whether a group may be called ``pd.NA``, at which pandas fails when it compares names."""
    labels = grouping.labels
    if labels is None:
        return True
    levels = labels.levels if isinstance(labels, pd.MultiIndex) else [labels]
    if all(isinstance(level.dtype, np.dtype) and level.dtype != object for level in levels):
        return False
    return any((codes < 0).any() for codes in labels.codes) if isinstance(labels, pd.MultiIndex) else labels.hasnans


def _fills_rows(grouping: Grouping, packed: Packed | None) -> bool:
    """Whether it is known what ``transform`` makes of a Series for each group over its own index, or of a number."""
    if isinstance(packed, Likes):
        if packed.is_named_as_the_unit and _may_be_named_na(grouping):
            return False
    elif not (isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS):
        return False
    # Rows of no group get what is missing; the dtype of a result of no rows counts, too.
    return len(grouping.order) == len(grouping.obj) and bool(grouping.sizes.all())


def _transformed(grouping: Grouping, packed: Any) -> Any:
    """That result."""
    if not _fills_rows(grouping, packed):
        return None
    values = packed.array if isinstance(packed, Likes) else np.repeat(packed.array, grouping.sizes)
    in_order, obj = np.empty_like(values), grouping.obj
    in_order[grouping.order] = values
    return pd.Series(in_order, index=obj.index, name=obj.name, copy=False)


class GroupByPar(Generic[AsSeries, AsFrame, AsEither, AsWhole]):
    """``df.par.groupby(...)``: what pandas' own object can, with functions of users on all cores.

    ``apply``, ``agg``, ``transform`` and ``filter`` of a Python function run on workers; everything else is pandas'.

    Parameters
    ----------
    grouped : DataFrameGroupBy or SeriesGroupBy
        That of pandas.
    given : mapping, optional
        Options of the accessor that it comes from.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
    >>> df.par.groupby("key")["x"].apply(lambda x: x.max() - x.min()).to_dict()
    {'a': 2, 'b': 0}
    """

    def __init__(self, grouped: Any, given: Mapping[str, Any] | None = None) -> None:
        self._grouped = grouped
        self._given = given or {}

    def __repr__(self) -> str:
        return f"<pdparallel accessor of a {type(self._grouped).__name__} of {self._grouped.ngroups:,} groups>"

    @overload
    def __getitem__(self, key: list[Any]) -> GroupByPar[AsSeries, AsFrame, AsEither, AsFrame]: ...
    @overload
    def __getitem__(self, key: Hashable) -> GroupByPar[AsSeries, AsFrame, AsEither, AsSeries]: ...
    def __getitem__(self, key: Any) -> Any:
        return type(self)(self._grouped[key], self._given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._grouped, name)
        return type(self)(found, self._given) if isinstance(found, GROUPED) else found

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._grouped)})

    def __iter__(self) -> Any:
        return iter(self._grouped)

    def __len__(self) -> int:
        return len(self._grouped)

    @overload
    def apply(self, func: Callable[..., Never], *args: Any, **kwargs: Any) -> AsEither: ...
    @overload
    def apply(self, func: Callable[..., Plain], *args: Any, **kwargs: Any) -> AsSeries: ...
    @overload
    def apply(self, func: Callable[..., pd.DataFrame], *args: Any, **kwargs: Any) -> AsFrame: ...
    @overload
    def apply(self, func: Callable[..., pd.Series] | Named, *args: Any, **kwargs: Any) -> AsEither: ...
    def apply(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function with each group: ``df.groupby(...).apply(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a group, a frame (or Series) whose ``name`` is that of the group.
        *args, **kwargs
            Further arguments of ``func``; ``include_groups=`` as in the pandas at hand.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing group (option ``errors``), with a note that names it.
        InvalidOptionError
            For arguments that are not allowed, before anything runs.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        A group is never split; many small ones travel together, and rows travel once. With ``errors="coerce"`` a group
        that failed has NaN, or no rows where the others returned frames.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3], "weight": [1, 1, 3]})
        >>> def mean(group):
        ...     return float((group["x"] * group["weight"]).sum() / group["weight"].sum())
        >>> df.par.groupby("key")[["x", "weight"]].apply(mean).to_dict()
        {'a': 2.5, 'b': 2.0}
        """
        how = {"include_groups": kwargs.pop("include_groups")} if "include_groups" in kwargs else {}
        return self._call("apply", func, args, kwargs, functools.partial(self._grouped.apply, **how))

    @overload
    def agg(self, func: Func, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any) -> AsWhole: ...
    @overload
    def agg(
        self, func: Named | None = None, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any
    ) -> AsEither: ...
    def agg(self, func: Any = None, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any) -> Any:
        """Call a function with each column of each group: ``df.groupby(...).agg(func)`` on all cores.

        Names, lists, dicts and named aggregations go to pandas as they are.

        Parameters
        ----------
        func : callable
            Takes a Series, a column of a group, and returns one value.
        *args
            Further arguments of ``func``.
        engine, engine_kwargs : optional
            Pandas' own; with any of them the call is pandas'.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            As for :meth:`apply`.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3], "y": [4, 5, 6]})
        >>> df.par.groupby("key").agg(lambda column: column.max() - column.min()).to_dict("list")
        {'x': [2, 0], 'y': [2, 0]}
        """
        return self._with_engine("agg", func, args, kwargs, engine, engine_kwargs)

    aggregate = agg

    def transform(
        self, func: Func | str, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any
    ) -> AsWhole:
        """Call a function with each group for a result like the whole: ``groupby(...).transform(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a column of a group (of a frame perhaps the whole group, as pandas finds out with the first one), and
            returns a Series of the same index or one value.
        *args
            Further arguments of ``func``.
        engine, engine_kwargs : optional
            Pandas' own; with any of them the call is pandas'.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            As for :meth:`apply`.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1.0, 2.0, 3.0]})
        >>> df.par.groupby("key")["x"].transform(lambda x: x - x.mean()).tolist()
        [-1.0, 0.0, 1.0]
        """
        return cast("AsWhole", self._with_engine("transform", func, args, kwargs, engine, engine_kwargs))

    def filter(self, func: Func, dropna: bool = True, *args: Any, **kwargs: Any) -> AsWhole:
        """The rows of the groups for which a function is true: ``df.groupby(...).filter(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a group and returns a bool.
        dropna : bool, default True
            As in pandas: False keeps the other rows, as missing ones.
        *args, **kwargs
            Further arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            As for :meth:`apply`.
        InvalidOptionError
            With ``errors="return"``: rows have no place for an exception.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
        >>> df.par.groupby("key").filter(lambda group: len(group) > 1)["x"].tolist()
        [1, 3]
        """
        if resolve(self._given).errors == "return":
            raise InvalidOptionError("errors", "return", "'raise' or 'coerce' for filter", "It returns rows only.")
        return cast("AsWhole", self._call("filter", func, args, kwargs, self._grouped.filter, dropna))

    def explain(self, func: Func, method: str = "apply", *args: Any, **kwargs: Any) -> Explanation:
        """What a call would do and why; see :meth:`pandas.DataFrame.par.explain`.

        Parameters
        ----------
        func : callable
            The function, which is called with some groups; what it returns is thrown away.
        method : {"apply", "agg", "transform", "filter"}, default "apply"
            What it would be given to; ``transform`` of one column.
        *args, **kwargs
            Further arguments of the method and of ``func``.

        Returns
        -------
        Explanation
            Text in a terminal, a table in a notebook; its figures are attributes, in seconds and bytes.

        Raises
        ------
        InvalidOptionError
            For arguments that are not allowed.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
        >>> found = df.par.groupby("key")["x"].explain(lambda x: x.max() - x.min())
        >>> found.verb, found.units, found.engine
        ('groupby.apply', 2, 'here')
        """
        check_func(func)
        if goes_to_pandas(func) or is_replaced(func):
            raise InvalidOptionError("func", func, "a Python function", "All else goes to pandas as it is.")
        if method not in ("apply", "agg", "transform", "filter"):
            raise InvalidOptionError("method", method, "'apply', 'agg', 'transform' or 'filter'")
        if method == "transform" and self._grouped.ndim == 2:
            raise InvalidOptionError("method", method, "another one, or groups of one column", "It tries several ways.")
        quiet = type(self)(self._grouped, {**self._given, "checkpoint": None, "progress": False})
        return explain(f"groupby.{method}", "group", lambda: getattr(quiet, method)(func, *args, **kwargs))

    def rolling(self, window: Any, **kwargs: Any) -> WindowPar[AsSeries, AsFrame, AsWhole]:
        """Moving windows of each group, whose ``apply`` takes all cores: ``groupby(...).rolling(...)``.

        Parameters
        ----------
        window, **kwargs
            As in pandas.

        Returns
        -------
        WindowPar
            Columns are selected as in pandas; all but ``apply`` is pandas' own.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1.0, 2.0, 5.0]})
        >>> df.par.groupby("key")["x"].rolling(2, min_periods=1).apply(lambda window: window.max()).tolist()
        [1.0, 5.0, 2.0]
        """
        return WindowPar(Windowing(self._grouped, "rolling", {"window": window, **kwargs}), self._given)

    def expanding(self, **kwargs: Any) -> WindowPar[AsSeries, AsFrame, AsWhole]:
        """Windows from the first row of each group on, whose ``apply`` takes all cores: ``groupby(...).expanding()``.

        Parameters
        ----------
        **kwargs
            As in pandas.

        Returns
        -------
        WindowPar
            Columns are selected as in pandas; all but ``apply`` is pandas' own.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> s = pd.Series([1.0, 2.0, 5.0], index=["a", "b", "a"])
        >>> s.par.groupby(level=0).expanding().apply(lambda window: window.sum()).tolist()
        [1.0, 6.0, 2.0]
        """
        return WindowPar(Windowing(self._grouped, "expanding", kwargs), self._given)

    def _with_engine(
        self, method: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], engine: Any, engine_kwargs: Any
    ) -> Any:
        bound = getattr(self._grouped, method)
        if engine is None and engine_kwargs is None:
            return self._call(method, func, args, kwargs, bound)
        bound = functools.partial(bound, engine=engine, engine_kwargs=engine_kwargs)
        return self._call(method, func, args, kwargs, bound, straight=True)

    def _call(
        self, method: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], bound: Callable[..., Any],
        *before: Any, straight: bool = False,
    ) -> Any:  # fmt: skip
        straight = straight or getattr(self._grouped, "axis", 0) != 0
        return call_grouped(
            lambda: self._grouped, method, func, args, kwargs, bound, self._given, *before, straight=straight
        )


def is_replaced(func: Any) -> bool:
    """Whether pandas calls something of its own instead of a function."""
    if not PANDAS_2:
        return False
    return func in _REPLACED_BY_PANDAS_2 or getattr(func, "__module__", None) == "numpy"
