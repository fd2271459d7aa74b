"""Accessor: ``df.par`` and ``s.par``: what a user calls and reads about, and the way from there to the verb.

An accessor holds a frame and the options given to it, and nothing else: pandas 3 makes a new one on each access.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any, Generic, Self, TypeVar, overload

import pandas as pd

from pdparallel import iterating, verbs
from pdparallel.arguments import (
    axis_number,
    check_combine,
    check_func,
    check_na_action,
    check_result_type,
    column_labels,
    goes_to_pandas,
    neighbours,
    row_hand,
)
from pdparallel.background import Background
from pdparallel.errors import InvalidOptionError
from pdparallel.explaining import explain_verb
from pdparallel.explanation import Explanation
from pdparallel.options import Options, checked, resolve
from pdparallel.stopping import begin
from pdparallel.typing import Combine, Func, ResultType, RowKind
from pdparallel.views import Views

__all__ = ["FramePar", "SeriesPar", "map", "par"]


T = TypeVar("T", pd.DataFrame, pd.Series)


class _Par(Views, Generic[T]):
    """What the accessors of frames and Series share."""

    def __init__(self, obj: T) -> None:
        self._obj: T = obj
        self._given: Mapping[str, Any] = {}

    def __call__(self, **options: Any) -> Self:
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
        >>> pd.Series([1, 2, 3]).par(n_workers=2, engine="thread").map(lambda value: value * 2).tolist()
        [2, 4, 6]
        """
        other = type(self)(self._obj)
        other._given = {**self._given, **checked(options)}
        return other

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self._shown().items())
        kind, n = type(self._obj).__name__, len(self._obj)
        return f"<pdparallel accessor of a {kind} of {n:,} rows; options: {given or 'none given'}>"

    def _shown(self) -> dict[str, str]:
        return {name: repr(value) for name, value in self._given.items()}

    def _options(self) -> Options:
        return resolve(self._given)

    def _data(self) -> T:
        """What the call works on."""
        return self._obj

    @property
    def background(self) -> Any:
        """The same verbs, each in a thread of this process: it returns a :class:`concurrent.futures.Future` at once.

        Wrong arguments are refused at once, too. ``future.cancel()`` works at any time: whoever waits for the future
        gets a :class:`concurrent.futures.CancelledError` at once, and the call ends some tenths of a second later,
        with the workers that are in the middle of it; only a call of the function in this process itself
        (``engine="auto"`` begins here, and threads cannot be ended) runs out. In asyncio code the future can be
        awaited, and a task that is cancelled cancels it.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
        >>> future = df.par.background.apply_rows(lambda row: row["a"] * row["b"])
        >>> future.result().tolist()
        [3, 8]
        >>> df["a"].par(n_workers=2).background.map(str).result().tolist()
        ['1', '2']

        Notes
        -----
        The call works on the data as it is now, whatever is written into it later; on pandas 2 that costs a copy. The
        options of an :func:`pdparallel.option_context` around it count. What ``engine="auto"`` does in this process
        takes turns with your own code, five milliseconds each; ``engine="process"`` leaves it alone. At the end
        of the process the calls that still run are cancelled.
        """
        return Background(self)

    def iter_chunks(
        self,
        func: Func,
        args: Sequence[Any] = (),
        by: Any = None,
        overlap: int | tuple[int, int] | None = None,
        ordered: bool = True,
        **kwargs: Any,
    ) -> iterating.Results:
        """What a function returns for consecutive chunks of rows, one after the other, as an iterator.

        All results together may be more than memory holds: no further chunk is begun while nobody takes those that are
        done.

        Parameters
        ----------
        func, args, by, overlap, **kwargs
            As in :meth:`apply_chunks`, which cuts the same chunks.
        ordered : bool, default True
            Whether the results come in the order of the chunks; else each comes as soon as it is done.

        Returns
        -------
        iterator
            Work begins with the first ``next``. It is closed by ``close()``, at the end of a ``with`` block, and when
            nobody has it any more: then what runs is ended.

        Raises
        ------
        Exception
            While iterating, what ``func`` raised for the first failing chunk (option ``errors``), after the results
            of those before it.
        InvalidOptionError
            For arguments that are not allowed, and ``checkpoint=``, at once.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        At most four chunks for each worker are on their way or wait for one before them, so ``chunk_size=`` says how
        much memory it takes. With the option ``errors="coerce"`` None comes for a chunk that failed, and one
        warning at the end. The frame is the one of now, whatever is written into it later (from pandas 3 on).

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2, 3, 4]})
        >>> for total in df.par(chunk_size=2).iter_chunks(lambda chunk: int(chunk["a"].sum())):
        ...     print(total)
        3
        7
        """
        check_func(func)
        around = neighbours(overlap, by)
        data = self._data().copy(deep=False)
        return iterating.iter_chunks(data, self._obj, func, args, kwargs, by, around, ordered, self._options())

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
            Labels are looked up in the whole frame, also where ``columns=`` leaves them out of the chunks.
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

        With the option ``errors="coerce"`` a chunk that failed has missing rows if each of the other results has a row
        for each row of its chunk; no rows if they are frames, Series or arrays with other rows; and None in a list.
        With ``errors="return"`` the result is a list as soon as an exception stands in it.

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
        check_func(func)
        check_combine(combine)
        around = neighbours(overlap, by)
        return verbs.apply_chunks(
            self._data(), self._obj, func, args, kwargs, by, around, combine, self._options()
        )  # fmt: skip


class FramePar(_Par[pd.DataFrame]):
    """``df.par``: pandas' ``apply`` on all cores, with pandas' exact answer.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2, 3], "b": [4.0, 5.0, 6.0]})
    >>> df.par.apply_rows(lambda row: row["a"] + row["b"]).tolist()
    [5.0, 7.0, 9.0]
    """

    def __call__(self, *, columns: Iterable[Any] | EllipsisType | None = ..., **options: Any) -> Self:
        """The same accessor with options, and the columns that the function needs, for the call that follows.

        Parameters
        ----------
        columns : iterable of labels, or None
            The call is that on ``df[list(columns)]``: the function gets these columns in this order, and nothing else
            travels to a worker. ``by=`` alone still sees the whole frame. None means all columns; where it is not
            given, what was given before stays.
        **options
            Any of :class:`pdparallel.Options`.

        Raises
        ------
        InvalidOptionError
            Names the option, its value, and what is allowed; of ``columns`` the labels that the frame has not.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6], "c": ["x", "y", "z"]})
        >>> df.par(n_workers=2, engine="thread").apply_rows(lambda row: row["a"] * 2).tolist()
        [2, 4, 6]
        >>> df.par(columns=["a", "b"]).apply_rows(lambda row: row.sum()).tolist()
        [5, 7, 9]
        """
        other = super().__call__(**options)
        if isinstance(columns, EllipsisType):
            other._columns = self._columns
        elif columns is not None:
            other._columns = column_labels(self._obj, columns)
        return other

    def _shown(self) -> dict[str, str]:
        if self._columns is None:
            return super()._shown()
        return {"columns": reprlib.repr(list(self._columns)), **super()._shown()}

    def _data(self) -> pd.DataFrame:
        # Cut for each call: an accessor that is kept sees what becomes of its frame.
        return self._obj if self._columns is None else self._obj[self._columns]

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
            What ``func`` raised for the first failing row (option ``errors``), with a note that names the row.
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
        check_func(func)
        df = self._data()
        hand = row_hand(rows, df, raw, result_type)
        check_result_type(result_type)
        return verbs.apply_frame(df, func, 1, args, kwargs, raw, result_type, "apply_rows", hand, self._options())

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
            What ``func`` raised for the first failing column (option ``errors``), with a note that names it.
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
        check_func(func)
        check_result_type(result_type)
        return verbs.apply_frame(
            self._data(), func, 0, args, kwargs, raw, result_type, "apply_cols", "column", self._options()
        )

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
        if goes_to_pandas(func) or by_row != "compat" or engine not in (None, "python"):
            begin()
            own: dict[str, Any] = {} if engine is None else {"engine": engine, "engine_kwargs": engine_kwargs}
            return self._data().apply(
                func, axis=axis, raw=raw, result_type=result_type, args=tuple(args), by_row=by_row, **own, **kwargs
            )
        check_func(func)
        number = axis_number(axis)
        check_result_type(result_type)
        return verbs.apply_frame(
            self._data(), func, number, args, kwargs, raw, result_type, "apply",
            "row" if number else "column", self._options(),
        )  # fmt: skip

    def map(self, func: Func, na_action: str | None = None, **kwargs: Any) -> Any:
        """Call a function with each value: ``df.map(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a value.
        na_action : {None, "ignore"}, default None
            With ``"ignore"`` missing values stay and are not passed to ``func``.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        DataFrame
            Exactly what ``df.map(func, na_action, **kwargs)`` returns; a categorical column is mapped by category, as
            in pandas.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing value, column after column (option ``errors``), with a note that
            names its row and column.
        InvalidOptionError
            For arguments that are not allowed, before anything runs.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1.0, None], "b": ["x", "yz"]}, index=["p", "q"])
        >>> df.par.map(lambda value: len(str(value)), na_action="ignore")
             a  b
        p  3.0  1
        q  NaN  2
        """
        check_na_action(na_action)
        check_func(func)
        return verbs.map_frame(self._data(), func, kwargs, na_action, self._options())

    def explain(self, func: Func, verb: str = "apply_rows", **arguments: Any) -> Explanation:
        """What a call would do and why: what a row costs, where the time goes, who would do it, and what to change.

        The function is really called, with rows from places all over the frame, for some hundredths of a second (one
        row, where that takes longer), and what it returns is thrown away. The explanation says how often that was.
        No process is started.

        Parameters
        ----------
        func : callable
            The function.
        verb : {"apply_rows", "apply_cols", "apply_chunks", "map"}, default "apply_rows"
            What it would be given to.
        **arguments
            Those of the verb: ``args=``, ``rows=``, ``by=``, and further keyword arguments of ``func``.

        Returns
        -------
        Explanation
            Text in a terminal, a table in a notebook; its figures are attributes, in seconds and bytes.

        Raises
        ------
        InvalidOptionError
            For arguments that are not allowed. What the function raises is told in ``problem``, and so is why it
            cannot travel to another process.

        Notes
        -----
        Expected times are from some hundred rows, on a machine that is as busy as now, without the shaping of the
        result. ``apply_chunks`` is tried with chunks of 64 rows, 256 and so on. The state of ``random`` and
        ``np.random`` is afterwards what it was. With ``initializer=`` the function is not called.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": range(1000), "b": 0.5, "text": "x"})
        >>> found = df.par.explain(lambda row: row["a"] * row["b"])
        >>> found.columns_read, found.columns_unread, found.engine, found.problem
        (('a', 'b'), ('text',), 'here', '')
        """
        units = {"apply_rows": "row", "apply_cols": "column", "apply_chunks": "row", "map": "value"}
        return explain_verb(self, units, func, verb, arguments, nothing=0 in self._data().shape)


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
            What ``func`` raised for the first failing value (option ``errors``), with a note that names it.
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
        check_na_action(na_action)
        if not callable(func):
            if isinstance(func, (Mapping, pd.Series)):
                begin()
                s: Any = self._obj
                return s.map(func, na_action=na_action)
            raise InvalidOptionError("func", func, "a function, a dict or a Series")
        return verbs.apply_series(self._obj, func, (), kwargs, na_action, "map", self._options())

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
            What ``func`` raised for the first failing value (option ``errors``), with a note that names it.
        InvalidOptionError
            If ``func`` is nothing that pandas could apply.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series([1, 2, 3]).par.apply(lambda x, power: x**power, power=2).tolist()
        [1, 4, 9]
        """
        if goes_to_pandas(func) or by_row != "compat":
            begin()
            return self._obj.apply(func, args=tuple(args), by_row=by_row, **kwargs)
        check_func(func)
        return verbs.apply_series(self._obj, func, args, kwargs, None, "apply", self._options())

    def explain(self, func: Func, verb: str = "map", **arguments: Any) -> Explanation:
        """What a call would do and why; see :meth:`FramePar.explain`.

        Parameters
        ----------
        func : callable
            The function, which is called with some values; what it returns is thrown away.
        verb : {"map", "apply_chunks"}, default "map"
            What it would be given to.
        **arguments
            Those of the verb, and further keyword arguments of ``func``.

        Returns
        -------
        Explanation

        Raises
        ------
        InvalidOptionError
            For arguments that are not allowed.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> found = pd.Series(["a", "bc"]).par.explain(len)
        >>> found.unit, found.units, found.engine
        ('value', 2, 'here')
        """
        return explain_verb(self, {"map": "value", "apply_chunks": "row"}, func, verb, arguments, len(self._obj) == 0)


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
        What ``func`` raised for the first failing item (option ``errors``), with a note that names it.
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
    check_func(func)
    if not iterables:
        raise InvalidOptionError("iterables", iterables, "at least one iterable")
    resolved = resolve(checked(options))
    if len(iterables) == 1:
        return verbs.map_items(func, list(iterables[0]), "item", resolved)
    return verbs.map_items(func, list(zip(*iterables, strict=False)), "star", resolved)


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
