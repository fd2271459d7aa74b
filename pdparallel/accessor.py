"""Accessor: ``df.par`` and ``s.par``: checks arguments, builds a Call, hands it to the runner, has the result shaped.

An accessor holds a frame and the options given to it, and nothing else: pandas 3 makes a new one on each access.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from pdparallel import assemble, joining
from pdparallel.call import Call, Work
from pdparallel.errors import InvalidOptionError
from pdparallel.options import Options, checked, resolve
from pdparallel.packing import Returns
from pdparallel.plan import Chunk, cut, cut_for_chunks, cut_whole, pieces_for_chunks
from pdparallel.runner import run
from pdparallel.typing import Combine, Func, Hand, ResultType, RowKind

__all__ = ["FramePar", "SeriesPar", "map", "par"]

T = TypeVar("T", pd.DataFrame, pd.Series)

_ROW_HANDS: dict[str, Hand] = {
    "series": "row",
    "namedtuple": "row-namedtuple",
    "tuple": "row-tuple",
    "dict": "row-dict",
    "array": "row-array",
}


class _Par(Generic[T]):
    """What the accessors of frames and Series share."""

    def __init__(self, obj: T) -> None:
        self._obj: T = obj
        self._given: Mapping[str, Any] = {}

    def __call__(self, **options: Any) -> Any:
        """The same accessor with options for the call that follows.

        Parameters
        ----------
        **options
            Any of :class:`pdparallel.Options`.

        Raises
        ------
        InvalidOptionError
            Names the option, its value, and what is allowed.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2, 3]})
        >>> df.par(n_workers=2, engine="thread").apply_rows(lambda row: row["a"] * 2).tolist()
        [2, 4, 6]
        """
        other = type(self)(self._obj)
        other._given = {**self._given, **checked(options)}
        return other

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._given.items())
        kind, n = type(self._obj).__name__, len(self._obj)
        return f"<pdparallel accessor of a {kind} of {n:,} rows; options: {given or 'none given'}>"

    def _options(self) -> Options:
        return resolve(self._given)

    def apply_chunks(
        self,
        func: Func,
        args: Sequence[Any] = (),
        by: Any = None,
        overlap: int | tuple[int, int] | None = None,
        combine: Combine = "auto",
        **kwargs: Any,
    ) -> Any:
        """Call a function with consecutive chunks of rows, each a frame (or Series) like the whole.

        Parameters
        ----------
        func : callable
            Takes a chunk. For a result that does not depend on the cut it must treat each row (with ``by=`` each
            group) by itself.
        args : sequence, default ()
            Further positional arguments of ``func``.
        by : label, list of labels, Series, array or function, optional
            As in ``groupby``: rows of one group are never in two chunks. Groups come in sorted order, as from
            ``groupby``; where each result has exactly the rows of its chunk, the frame's own order is restored.
        overlap : int or (int, int), optional
            Rows of the neighbours that each chunk gets before and after its own. ``func`` must return one row for
            each row that it was given; those of the neighbours are taken away again.
        combine : {"auto", "concat", "list"} or callable, default "auto"
            ``"auto"``: frames and Series are concatenated in order, arrays are stacked along axis 0, and
            everything else comes back as a list in order. A callable gets the list.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        DataFrame, Series, ndarray, list, or what ``combine`` returns

        Raises
        ------
        InvalidOptionError
            For arguments that are not allowed, before anything runs.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        There is a chunk for each worker, and up to four where each still has 1,000 rows, and of many rows a small one
        before them, which shows what a row costs; ``chunk_size=`` sets the number of rows exactly. An empty frame is
        one chunk. Without ``by=`` it replaces ``np.vstack(pool.map(func, np.array_split(df, cores)))``.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2, 3, 4]})
        >>> df.par(chunk_size=2).apply_chunks(lambda chunk: chunk * 10)
            a
        0  10
        1  20
        2  30
        3  40
        >>> df.par(chunk_size=2).apply_chunks(lambda chunk: int(chunk["a"].sum()))
        [3, 7]
        >>> df.par(chunk_size=2).apply_chunks(lambda chunk: int(chunk["a"].sum()), combine=sum)
        10
        >>> df.par(chunk_size=2).apply_chunks(lambda chunk: chunk["a"].diff(), overlap=(1, 0)).tolist()
        [nan, 1.0, 1.0, 1.0]
        """
        _callable("func", func)
        if not (callable(combine) or combine in ("auto", "concat", "list")):
            raise InvalidOptionError(
                "combine", combine, "'auto', 'concat', 'list', or a function of the list of results"
            )
        before, after = _neighbours(overlap)
        if by is not None and overlap is not None:
            raise InvalidOptionError("overlap", overlap, "None together with by=", "Groups have no neighbours.")
        options = self._options()
        data, order, plan = self._obj, None, self._plan(options, before, after)
        if by is not None:
            order, plan = self._plan_by(by, options)
            data = data.iloc[order]
        call = Call(
            verb="apply_chunks",
            work=Work(func, tuple(args), kwargs, "chunk"),
            data=data,
            n=len(data),
            unit="row",
            label=data.index.__getitem__,
            plan=plan,
        )
        # The one chunk of an empty frame has no positions for a runner to count by.
        pieces = run(call, options).values() if len(data) else [func(data, *args, **kwargs)]
        if overlap is not None:
            pieces = [joining.without_overlap(piece, chunk) for piece, chunk in zip(pieces, plan, strict=True)]
        return joining.combined(pieces, combine, self._obj.index, plan, order)

    def _plan(self, options: Options, before: int, after: int) -> tuple[Chunk, ...]:
        n = len(self._obj)
        size = options.chunk_size
        chunks = cut_for_chunks(n, options.workers) if size is None else cut(0, n, size=size)
        return tuple(
            Chunk(chunk.start, chunk.stop, min(before, chunk.start), min(after, n - chunk.stop)) for chunk in chunks
        ) or (Chunk(0, 0),)

    def _plan_by(self, by: Any, options: Options) -> tuple[np.ndarray, tuple[Chunk, ...]]:
        """The rows in the order of the chunks, and chunks that keep groups whole."""
        n = len(self._obj)
        number = self._obj.groupby(by, sort=True, dropna=False, observed=True).ngroup().to_numpy()
        sizes = np.bincount(number)[np.unique(number)] if n else np.array([], dtype=np.intp)
        pieces = pieces_for_chunks(n, options.workers)
        chunks = cut_whole([int(size) for size in sizes], size=options.chunk_size, pieces=pieces)
        by_group = np.argsort(number, kind="stable")
        # Inside a chunk the rows keep the order that they have in the frame.
        order = [np.sort(by_group[chunk.start : chunk.stop]) for chunk in chunks]
        return (np.concatenate(order) if order else by_group), chunks or (Chunk(0, 0),)


class FramePar(_Par[pd.DataFrame]):
    """``df.par``: pandas' ``apply`` on all cores, with pandas' exact answer.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2, 3], "b": [4.0, 5.0, 6.0]})
    >>> df.par.apply_rows(lambda row: row["a"] + row["b"]).tolist()
    [5.0, 7.0, 9.0]
    """

    def apply_rows(
        self,
        func: Func,
        args: Sequence[Any] = (),
        raw: bool = False,
        result_type: ResultType = None,
        rows: RowKind = "series",
        **kwargs: Any,
    ) -> Any:
        """Call a function with each row: ``df.apply(func, axis=1)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a row.
        args : sequence, default ()
            Further positional arguments of ``func``.
        raw : bool, default False
            Whether ``func`` gets an ndarray instead of a Series, as in pandas.
        result_type : {"expand", "reduce", "broadcast"}, optional
            As in pandas.
        rows : {"series", "namedtuple", "tuple", "dict", "array"}, default "series"
            What ``func`` gets: a Series as in pandas; a namedtuple as from ``df.itertuples()``, with the row's label as
            ``row.Index``; a tuple as from ``df.itertuples(index=False, name=None)``; a dict of these by column; or an
            array, a row of ``df.to_numpy()``. A tuple costs least where most columns are used. The result
            is shaped as for a Series.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what ``df.apply(func, axis=1, ...)`` returns.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing row, with a note that names the row.
        InvalidOptionError
            For arguments that are not allowed, before anything runs.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=["x", "y"])
        >>> df.par.apply_rows(lambda row: row["a"] * row["b"])
        x    3
        y    8
        dtype: int64
        >>> df.par.apply_rows(lambda row: [row["a"], 0], result_type="expand")
           0  1
        x  1  0
        y  2  0
        >>> df.par.apply_rows(max, rows="tuple").tolist()
        [3, 4]
        """
        _callable("func", func)
        if not (isinstance(rows, str) and rows in _ROW_HANDS):
            raise InvalidOptionError("rows", rows, "one of " + ", ".join(repr(kind) for kind in _ROW_HANDS))
        if rows != "series":
            if raw:
                raise InvalidOptionError("rows", rows, "'series' with raw=True", "raw=True hands out arrays by itself.")
            if result_type == "broadcast":
                raise InvalidOptionError("rows", rows, "'series' with result_type='broadcast'")
            if rows == "dict" and not self._obj.columns.is_unique:
                raise InvalidOptionError(
                    "rows", rows, "another kind where column labels repeat", "A dict would lose columns."
                )
        return self._apply(func, 1, args, kwargs, raw, result_type, "apply_rows", _ROW_HANDS[rows])

    def apply_cols(
        self,
        func: Func,
        args: Sequence[Any] = (),
        raw: bool = False,
        result_type: ResultType = None,
        **kwargs: Any,
    ) -> Any:
        """Call a function with each column: ``df.apply(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a column, a Series of ``len(df)`` values.
        args : sequence, default ()
            Further positional arguments of ``func``.
        raw : bool, default False
            Whether ``func`` gets an ndarray instead of a Series, as in pandas.
        result_type : {"expand", "reduce", "broadcast"}, optional
            As in pandas.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what ``df.apply(func, axis=0, ...)`` returns.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing column, with a note that names the column.
        InvalidOptionError
            For arguments that are not allowed, before anything runs.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame([[8, 5], [5, 3], [3, 4], [4, 4], [7, 9]])
        >>> df.par.apply_cols(lambda column: sum(x * x for x in column)).tolist()
        [163, 147]
        """
        _callable("func", func)
        return self._apply(func, 0, args, kwargs, raw, result_type, "apply_cols", "column")

    def apply(
        self,
        func: Any,
        axis: Any = 0,
        raw: bool = False,
        result_type: ResultType = None,
        args: Sequence[Any] = (),
        by_row: Any = "compat",
        engine: Any = None,
        engine_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """``df.apply`` with pandas' own signature, on all cores where ``func`` is a Python function.

        Strings, lists, dicts and ufuncs, ``by_row=False``, and pandas' own ``engine=``, go to pandas as they are.

        Parameters
        ----------
        func, axis, raw, result_type, args, by_row, engine, engine_kwargs, **kwargs
            As in :meth:`pandas.DataFrame.apply`.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        InvalidOptionError
            If ``func`` is nothing that pandas could apply.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
        >>> df.par.apply("sum").tolist()
        [3, 7]
        >>> df.par.apply(lambda row: row["a"] - row["b"], axis="columns").tolist()
        [-2, -2]
        """
        if _for_pandas(func) or by_row != "compat" or engine not in (None, "python"):
            own: dict[str, Any] = {} if engine is None else {"engine": engine, "engine_kwargs": engine_kwargs}
            return self._obj.apply(
                func, axis=axis, raw=raw, result_type=result_type, args=tuple(args), by_row=by_row, **own, **kwargs
            )
        _callable("func", func)
        number = 0 if axis in (0, "index", "rows") else 1 if axis in (1, "columns") else None
        if number is None:
            raise InvalidOptionError("axis", axis, "0, 'index', 1 or 'columns'")
        hand: Hand = "row" if number else "column"
        return self._apply(func, number, args, kwargs, raw, result_type, "apply", hand)

    def _apply(
        self, func: Func, axis: int, args: Sequence[Any], kwargs: dict[str, Any],
        raw: bool, result_type: ResultType, verb: str, hand: Hand,
    ) -> Any:  # fmt: skip
        if result_type not in (None, "expand", "reduce", "broadcast"):
            raise InvalidOptionError("result_type", result_type, "None, 'expand', 'reduce' or 'broadcast'")
        df: Any = self._obj
        options = self._options()
        labels = df.index if axis else df.columns
        if (
            _for_pandas(func)
            or 0 in df.shape
            # pandas takes the units by label here, so that a label that repeats brings a frame: its business.
            or (result_type == "broadcast" and not labels.is_unique)
        ):
            return df.apply(func, axis=axis, raw=raw, result_type=result_type, args=tuple(args), **kwargs)
        data: Any = df
        if result_type == "broadcast":
            hand = "row-broadcast" if axis else "column-broadcast"
        elif raw:
            hand = "row-array" if axis else "column-array"
        if hand.endswith("-array"):
            # The common dtype of all columns is decided upon the whole frame, not upon some of its columns.
            data = df.to_numpy()
        call = Call(
            verb=verb,
            work=Work(func, tuple(args), kwargs, hand),
            data=data,
            n=len(labels),
            unit="row" if axis else "column",
            label=labels.__getitem__,
            taking=functools.partial(_taken_raw, df, axis) if hand.endswith("-array") and raw else None,
        )
        returns = run(call, options)
        return assemble.shaped_apply(df, returns, axis, raw and result_type != "broadcast", result_type)


class SeriesPar(_Par[pd.Series]):
    """``s.par``: pandas' ``Series.map`` and ``Series.apply`` on all cores, with pandas' exact answer.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pd.Series(["a", "bc"]).par.map(len).tolist()
    [1, 2]
    """

    def map(self, func: Any, na_action: str | None = None, **kwargs: Any) -> Any:
        """Call a function with each value: ``s.map(func)`` on all cores.

        Parameters
        ----------
        func : callable, dict or Series
            Takes a value. A dict or Series goes to pandas as it is.
        na_action : {None, "ignore"}, default None
            With ``"ignore"`` missing values stay and are not passed to ``func``.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or Index-like
            Exactly what ``s.map(func, na_action)`` returns; a categorical Series is mapped by category, as in pandas.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing value, with a note that names it.
        InvalidOptionError
            For arguments that are not allowed, before anything runs.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series(["cat", None, "dog"]).par.map(str.upper, na_action="ignore").tolist()
        ['CAT', nan, 'DOG']
        """
        if na_action not in (None, "ignore"):
            raise InvalidOptionError("na_action", na_action, "None or 'ignore'")
        if not callable(func):
            if isinstance(func, (Mapping, pd.Series)):
                s: Any = self._obj
                return s.map(func, na_action=na_action)
            raise InvalidOptionError("func", func, "a function, a dict or a Series")
        return self._elementwise("map", func, (), kwargs, na_action)

    def apply(self, func: Any, args: Sequence[Any] = (), by_row: Any = "compat", **kwargs: Any) -> Any:
        """``s.apply`` on all cores where ``func`` is a Python function.

        Strings, lists, dicts and ufuncs, and ``by_row=False``, go to pandas as they are.

        Parameters
        ----------
        func, args, by_row, **kwargs
            As in :meth:`pandas.Series.apply`.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing value, with a note that names it.
        InvalidOptionError
            If ``func`` is nothing that pandas could apply.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series([1, 2, 3]).par.apply(lambda x, power: x**power, power=2).tolist()
        [1, 4, 9]
        """
        if _for_pandas(func) or by_row != "compat":
            return self._obj.apply(func, args=tuple(args), by_row=by_row, **kwargs)
        _callable("func", func)
        return self._elementwise("apply", func, args, kwargs, None)

    def _elementwise(
        self, verb: str, func: Func, args: Sequence[Any], kwargs: dict[str, Any], na_action: str | None
    ) -> Any:
        s, options = self._obj, self._options()
        how = {"na_action": na_action} if verb == "map" else {}
        hand: Hand = "value"
        data: Any = s
        if not _converts_value_by_value(s):
            hand, data = "item", _values_that_pandas_passes(s, verb, how)
        elif na_action == "ignore":
            data = s[s.notna().to_numpy()]
        if len(s) == 0 or data is None:
            # Categories and fill values are mapped even where there is no value.
            return getattr(s, verb)(functools.partial(_call, func, args, kwargs), **how)
        if isinstance(s.dtype, pd.CategoricalDtype):
            func = assemble.TellingNan(func)
        call = Call(
            verb=verb,
            work=Work(func, tuple(args), kwargs, hand),
            data=data,
            n=len(data),
            unit="value",
            label=(lambda position: data[position]) if hand == "item" else data.index.__getitem__,
        )
        return assemble.shaped_map(s, run(call, options), verb, **how)


def _converts_value_by_value(s: pd.Series) -> bool:
    """Whether a value of the Series looks the same to a function when pandas is given a part of the Series only.

    It does not for categoricals and sparse data (mapped by category, by fill value), nor for nullable and Arrow
    numbers, where one missing value makes floats of all.
    """
    return type(s) is pd.Series and isinstance(s.dtype, (np.dtype, pd.DatetimeTZDtype, pd.StringDtype))


def _values_that_pandas_passes(s: pd.Series, verb: str, how: dict[str, Any]) -> list[Any] | None:
    """What pandas calls a function with, in order, found by letting it call one that changes nothing.

    None where pandas refuses what that returns, so that it cannot be known: a sparse Series that stores fill values.
    """
    seen: list[Any] = []

    def look(value: Any) -> Any:
        seen.append(value)
        return value

    try:
        getattr(s, verb)(look, **how)
    except ValueError:
        return None
    return seen


def _call(func: Func, args: Sequence[Any], kwargs: dict[str, Any], value: Any) -> Any:
    return func(value, *args, **kwargs)


def _taken_raw(df: pd.DataFrame, axis: int, returns: Returns) -> None:
    """With ``raw=True`` each return goes into an array of the first one's dtype, at once, where it may not fit."""
    part = df.iloc[: len(returns)] if axis else df.iloc[:, : len(returns)]
    assemble.shaped_apply(part, returns, axis, True, None)


def _callable(name: str, func: Any) -> None:
    if not callable(func):
        raise InvalidOptionError(name, func, "something that can be called with a row, column, chunk or value")


def _for_pandas(func: Any) -> bool:
    """What pandas does not call for each unit: names, lists and dicts of functions, ufuncs."""
    return isinstance(func, (str, np.ufunc)) or is_list_like(func)


def _neighbours(overlap: int | tuple[int, int] | None) -> tuple[int, int]:
    if overlap is None:
        return 0, 0
    pair = (overlap, overlap) if isinstance(overlap, (int, np.integer)) else overlap
    if (
        isinstance(overlap, bool)
        or not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(side, (int, np.integer)) and side >= 0 for side in pair)
    ):
        raise InvalidOptionError("overlap", overlap, "a number of rows, or two: (before, after)")
    return int(pair[0]), int(pair[1])


def map(func: Func, *iterables: Iterable[Any], **options: Any) -> list[Any]:
    """Call a function with each item of an iterable, on all cores: the builtin ``map``, as a list.

    Parameters
    ----------
    func : callable
        Takes an item of each iterable.
    *iterables : iterable
        As for the builtin: with several, ``func`` gets one item of each, and the shortest decides the end.
    **options
        Any of :class:`pdparallel.Options`.

    Returns
    -------
    list
        What ``func`` returned, in order.

    Raises
    ------
    Exception
        What ``func`` raised for the first failing item, with a note that names it.
    InvalidOptionError
        For arguments that are not allowed, before anything runs.

    Examples
    --------
    >>> import pdparallel
    >>> pdparallel.map(lambda x: x * x, [1, 2, 3, 4, 5])
    [1, 4, 9, 16, 25]
    >>> pdparallel.map(pow, [2, 3], [5, 2])
    [32, 9]
    """
    _callable("func", func)
    if not iterables:
        raise InvalidOptionError("iterables", iterables, "at least one iterable")
    resolved = resolve(checked(options))
    hand: Hand = "item" if len(iterables) == 1 else "star"
    items = list(iterables[0]) if len(iterables) == 1 else list(zip(*iterables, strict=False))
    call = Call(
        verb="map", work=Work(func, (), {}, hand), data=items, n=len(items), unit="item", label=items.__getitem__
    )
    return run(call, resolved).values() if items else []


@overload
def par(obj: pd.DataFrame) -> FramePar: ...
@overload
def par(obj: pd.Series) -> SeriesPar: ...
def par(obj: Any) -> Any:
    """The accessor of a frame or Series, for type checkers, which cannot see ``df.par``.

    Parameters
    ----------
    obj : DataFrame or Series

    Raises
    ------
    InvalidOptionError
        For anything else.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pdparallel.par(pd.Series([1, 2])).map(str).tolist()
    ['1', '2']
    """
    if isinstance(obj, pd.DataFrame):
        return FramePar(obj)
    if isinstance(obj, pd.Series):
        return SeriesPar(obj)
    raise InvalidOptionError("obj", obj, "a DataFrame or a Series")
