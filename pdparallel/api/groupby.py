"""The methods of ``df.par.groupby(...)``, which call a function with groups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, Never, cast, overload

import pandas as pd

from pdparallel.api.rolling import WindowPar
from pdparallel.core.mistakes import (
    attribute_of_pandas,
    place_of,
    refuse_engine,
    refuse_options,
    refuse_options_of_view,
    unknown_value,
)
from pdparallel.core.options import resolve
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import check_func, goes_to_pandas
from pdparallel.diagnostics.explanation import Explanation
from pdparallel.errors import InvalidOptionError
from pdparallel.operations.groupby import call_grouped, is_replaced
from pdparallel.operations.rolling import Windowing
from pdparallel.typing import AsEither, AsFrame, AsSeries, AsWhole, Func, Named, Plain

__all__ = ["GROUPED", "GroupByPar"]

_VERBS = ("agg", "apply", "filter", "transform")

#: Classes of pandas' groupby objects.
GROUPED = (pd.api.typing.DataFrameGroupBy, pd.api.typing.SeriesGroupBy)


class GroupByPar(Generic[AsSeries, AsFrame, AsEither, AsWhole]):
    """Groups of ``df.par.groupby(...)``: pandas' own object, with your functions on all cores.

    ``apply``, ``agg``, ``transform`` and ``filter`` of a Python function run on workers. All other methods are those of
    pandas.

    Parameters
    ----------
    grouped : DataFrameGroupBy or SeriesGroupBy
        The object of pandas.
    given : mapping, optional
        The options of the accessor.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
    >>> df.par.groupby("key")["x"].apply(lambda x: x.max() - x.min()).to_dict()
    {'a': 2, 'b': 0}
    """

    #: False if the call has pandas' signature, in which each keyword argument belongs to the function.
    _checks_options = True

    #: Data of the accessor; None if the groups have all columns.
    _whole: Any = None

    def __init__(self, grouped: Any, given: Mapping[str, Any] | None = None) -> None:
        self._grouped = grouped
        self._given = given or {}

    def __repr__(self) -> str:
        return f"<pdparallel accessor of a {type(self._grouped).__name__} of {self._grouped.ngroups:,} groups>"

    @overload
    def __getitem__(self, key: list[Any]) -> GroupByPar[AsSeries, AsFrame, AsEither, AsFrame]: ...
    @overload
    def __getitem__(self, key: Hashable) -> GroupByPar[AsSeries, AsFrame, AsEither, AsSeries]: ...
    @trim_tracebacks
    def __getitem__(self, key: Any) -> Any:
        selected = type(self)(self._grouped[key], self._given)
        selected._whole = self._data_of_accessor()
        return selected

    def _data_of_accessor(self) -> Any:
        return self._grouped.obj if self._whole is None else self._whole

    @trim_tracebacks
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = attribute_of_pandas(
            self._grouped, name, _VERBS, lambda: f"{place_of(self._data_of_accessor())}.groupby(...)"
        )
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
    @trim_tracebacks
    def apply(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function with each group: ``df.groupby(...).apply(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a group, a frame (or Series) whose ``name`` is that of the group.
        *args, **kwargs
            Further arguments of ``func``; ``include_groups=`` as in your version of pandas.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            The exception of ``func`` for the first failing group (option ``errors``), with a note that names it.
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        A group is never split. pdparallel sends many small groups in one task, and each row once. With
        ``errors="coerce"`` a group that failed has NaN, or no rows if the other groups returned frames.

        With ``errors="return"`` a group that failed has its exception as its value. If the other groups returned
        Series, each cell of the group has the exception. Its labels are those of its rows or of the first Series. If
        they returned frames, each cell of one row has it, with the label of the first row of the group. Columns with an
        exception have dtype object. ``transform`` has the exception in each row of the group.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3], "weight": [1, 1, 3]})
        >>> def mean(group):
        ...     return float((group["x"] * group["weight"]).sum() / group["weight"].sum())
        ...
        >>> df.par.groupby("key")[["x", "weight"]].apply(mean).to_dict()
        {'a': 2.5, 'b': 2.0}
        >>> df.par(n_workers=2, retries=0).groupby("key")["x"].apply(lambda x: x.max() - x.min()).to_dict()
        {'a': 2, 'b': 0}
        """
        how = {"include_groups": kwargs.pop("include_groups")} if "include_groups" in kwargs else {}
        return self._call("apply", func, args, kwargs, functools.partial(self._grouped.apply, **how))

    @overload
    def agg(self, func: Func, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any) -> AsWhole: ...
    @overload
    def agg(
        self, func: Named | None = None, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any
    ) -> AsEither: ...
    @trim_tracebacks
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
            As in pandas. With one of them the call goes to pandas.
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
        >>> df.par(engine="thread", n_workers=2).groupby("key")["x"].agg(lambda column: column.iloc[0]).to_dict()
        {'a': 1, 'b': 2}
        """
        return self._with_engine("agg", func, args, kwargs, engine, engine_kwargs)

    aggregate = agg

    @trim_tracebacks
    def transform(
        self, func: Func | str, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any
    ) -> AsWhole:
        """Call a function with each group for a result like the whole: ``groupby(...).transform(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a column of a group, and returns a Series of the same index or one value. For a frame it may get the
            whole group; pandas tries this with the first group.
        *args
            Further arguments of ``func``.
        engine, engine_kwargs : optional
            As in pandas. With one of them the call goes to pandas.
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
        >>> df.par(engine="thread", n_workers=2).groupby("key")["x"].transform(lambda x: x / x.max()).round(2).tolist()
        [0.33, 1.0, 1.0]
        """
        return cast("AsWhole", self._with_engine("transform", func, args, kwargs, engine, engine_kwargs))

    @trim_tracebacks
    def filter(self, func: Func, dropna: bool = True, *args: Any, **kwargs: Any) -> AsWhole:
        """Keep the rows of the groups for which a function is true: ``df.groupby(...).filter(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a group and returns a bool.
        dropna : bool, default True
            As in pandas: False keeps the other rows, with missing values.
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
            With ``errors="return"``, because the result has no place for an exception.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
        >>> df.par.groupby("key").filter(lambda group: len(group) > 1)["x"].tolist()
        [1, 3]
        >>> df.par(n_workers=2, errors="coerce").groupby("key").filter(lambda group: len(group) == 1)["x"].tolist()
        [2]
        """
        if resolve(self._given).errors == "return":
            raise InvalidOptionError(
                "errors", "return", "'raise' or 'coerce' for filter", "Its rows have no place for exceptions."
            )
        return cast("AsWhole", self._call("filter", func, args, kwargs, self._grouped.filter, dropna))

    @trim_tracebacks
    def explain(self, func: Func, method: str = "apply", *args: Any, **kwargs: Any) -> Explanation:
        """Explain a call before it runs; see :meth:`pandas.DataFrame.par.explain`.

        Parameters
        ----------
        func : callable
            The function. ``explain`` calls it with some groups, and does not keep the results.
        method : {"apply", "agg", "transform", "filter"}, default "apply"
            The method of the call. For ``"transform"`` select one column.
        *args, **kwargs
            Further arguments of the method and of ``func``.

        Returns
        -------
        Explanation
            Text in a terminal, a table in a notebook; its numbers are attributes, in seconds and bytes.

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
            raise InvalidOptionError("func", func, "a Python function", "pandas itself runs all others.")
        if method not in ("apply", "agg", "transform", "filter"):
            raise unknown_value("method", method, ("apply", "agg", "transform", "filter"))
        from pdparallel.diagnostics.explain import explain

        if method == "transform" and self._grouped.ndim == 2:
            raise InvalidOptionError(
                "method", method, "another method, or select a column: df.par.groupby(...)[column].explain(...)"
            )
        quiet = type(self)(self._grouped, {**self._given, "checkpoint": None, "progress": False})
        return explain(f"groupby.{method}", "group", lambda: getattr(quiet, method)(func, *args, **kwargs))

    @trim_tracebacks
    def rolling(self, window: Any, **kwargs: Any) -> WindowPar[AsSeries, AsFrame, AsWhole]:
        """Make rolling windows of each group: ``groupby(...).rolling(...)``, whose ``apply`` uses all cores.

        Parameters
        ----------
        window, **kwargs
            As in pandas.

        Returns
        -------
        WindowPar
            Select columns as in pandas. All methods except ``apply`` are those of pandas.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1.0, 2.0, 5.0]})
        >>> df.par.groupby("key")["x"].rolling(2, min_periods=1).apply(lambda window: window.max()).tolist()
        [1.0, 5.0, 2.0]
        """
        refuse_options_of_view(kwargs, "groupby(...).rolling(...)", self._data_of_accessor())
        return WindowPar(Windowing(self._grouped, "rolling", {"window": window, **kwargs}), self._given)

    @trim_tracebacks
    def expanding(self, **kwargs: Any) -> WindowPar[AsSeries, AsFrame, AsWhole]:
        """Make windows from the first row of each group on, whose ``apply`` uses all cores.

        Parameters
        ----------
        **kwargs
            As in pandas.

        Returns
        -------
        WindowPar
            Select columns as in pandas. All methods except ``apply`` are those of pandas.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> s = pd.Series([1.0, 2.0, 5.0], index=["a", "b", "a"])
        >>> s.par.groupby(level=0).expanding().apply(lambda window: window.sum()).tolist()
        [1.0, 6.0, 2.0]
        """
        refuse_options_of_view(kwargs, "groupby(...).expanding(...)", self._data_of_accessor())
        return WindowPar(Windowing(self._grouped, "expanding", kwargs), self._given)

    def _with_engine(
        self, method: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], engine: Any, engine_kwargs: Any
    ) -> Any:
        bound = getattr(self._grouped, method)
        if engine is not None:
            refuse_engine(engine, func, f"groupby(...).{method}", self._data_of_accessor())
        if engine is None and engine_kwargs is None:
            return self._call(method, func, args, kwargs, bound)
        bound = functools.partial(bound, engine=engine, engine_kwargs=engine_kwargs)
        return self._call(method, func, args, kwargs, bound, straight=True)

    def _call(
        self, method: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], bound: Callable[..., Any],
        *before: Any, straight: bool = False,
    ) -> Any:  # fmt: skip
        if kwargs and self._checks_options and not goes_to_pandas(func):
            refuse_options(func, kwargs, f"groupby(...).{method}", self._data_of_accessor())
        straight = straight or getattr(self._grouped, "axis", 0) != 0
        return call_grouped(
            lambda: self._grouped, method, func, args, kwargs, bound, self._given, *before, straight=straight
        )
