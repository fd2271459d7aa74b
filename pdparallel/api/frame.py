"""The methods of ``df.par`` that call a function with rows, columns or values of a frame."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Generic, Literal, Never, cast, overload

import pandas as pd

from pdparallel.api.chunks import Holding
from pdparallel.core.cancellation import mark_started
from pdparallel.core.mistakes import refuse_engine, refuse_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import (
    axis_number,
    check_func,
    check_na_action,
    check_result_type,
    goes_to_pandas,
    row_format,
)
from pdparallel.operations import apply
from pdparallel.typing import AsEither, AsFrame, AsSeries, Func, Named, Plain, ResultType, RowKind, Scalar, Sequenced
from pdparallel.worker.event_loop import awaiting

__all__ = ["FrameVerbs"]

_BY_ROWS = "It calls the function with each row. df.par.apply(func, axis=1) is the same."
_BY_COLUMNS = "It calls the function with each column. For rows: df.par.apply_rows(func)."


class FrameVerbs(Holding, Generic[AsSeries, AsFrame, AsEither]):
    """Base of the accessor of a frame, with the methods for rows, columns and values.

    For type checkers a result is a Series, a frame, or either of them. In the background it is a future of it. A
    function that returns Any also matches ``Callable[..., Never]``, so its overload comes first and gives "either".
    """

    @overload
    def apply_rows(
        self, func: Callable[..., Never], args: Sequence[Any] = (), raw: bool = False,
        result_type: Literal["reduce"] | None = None, rows: RowKind = "series", **kwargs: Any,
    ) -> AsEither: ...  # fmt: skip
    @overload
    def apply_rows(
        self, func: Func, args: Sequence[Any] = (), raw: bool = False, *,
        result_type: Literal["broadcast"], rows: RowKind = "series", **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @overload
    def apply_rows(
        self, func: Callable[..., Sequenced | Mapping[Any, Any] | pd.Series], args: Sequence[Any] = (),
        raw: bool = False, *, result_type: Literal["expand"], rows: RowKind = "series", **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @overload
    def apply_rows(
        self, func: Callable[..., Scalar], args: Sequence[Any] = (), raw: bool = False,
        result_type: Literal["expand", "reduce"] | None = None, rows: RowKind = "series", **kwargs: Any,
    ) -> AsSeries: ...  # fmt: skip
    @overload
    def apply_rows(
        self, func: Callable[..., Plain | pd.DataFrame], args: Sequence[Any] = (), raw: Literal[False] = False,
        result_type: Literal["reduce"] | None = None, rows: RowKind = "series", **kwargs: Any,
    ) -> AsSeries: ...  # fmt: skip
    @overload
    def apply_rows(
        self, func: Callable[..., pd.Series], args: Sequence[Any] = (), raw: Literal[False] = False,
        result_type: Literal["reduce"] | None = None, rows: RowKind = "series", **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @overload
    def apply_rows(
        self, func: Callable[..., Sequenced], args: Sequence[Any] = (), *, raw: Literal[True],
        result_type: Literal["reduce"] | None = None, rows: RowKind = "series", **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @trim_tracebacks
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
            The type of the row: a Series as in pandas; a namedtuple as from ``df.itertuples()``, with the label as
            ``row.Index``; a tuple as from ``df.itertuples(index=False, name=None)``; a dict of the same values by
            column; or an array, a row of ``df.to_numpy()``. As in pandas, a namedtuple has the names ``_1``, ``_2`` and
            so on for labels that are no Python names. A tuple is fastest if ``func`` reads most columns. The result has
            the same shape for each type.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what ``df.apply(func, axis=1, ...)`` returns.

        Raises
        ------
        Exception
            The exception of ``func`` for the first failing row (option ``errors``), with a note that names the row.
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
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
        >>> df.par(n_workers=2, errors="coerce").apply_rows(lambda row: row["a"] + row["b"]).tolist()
        [4, 6]
        """
        self._check(func, kwargs, "apply_rows", _BY_ROWS)
        df = self._data()
        unit_format = row_format(rows, df, raw, result_type)
        check_result_type(result_type)
        return apply.apply_frame(
            df, func, 1, args, kwargs, raw, result_type, "apply_rows", unit_format, self._options()
        )

    @overload
    def apply_cols(
        self, func: Callable[..., Never], args: Sequence[Any] = (), raw: bool = False,
        result_type: Literal["reduce"] | None = None, **kwargs: Any,
    ) -> AsEither: ...  # fmt: skip
    @overload
    def apply_cols(
        self, func: Func, args: Sequence[Any] = (), raw: bool = False, *, result_type: Literal["broadcast"],
        **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @overload
    def apply_cols(
        self, func: Callable[..., Sequenced | pd.Series], args: Sequence[Any] = (), raw: bool = False, *,
        result_type: Literal["expand"], **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @overload
    def apply_cols(
        self, func: Callable[..., Plain | pd.Series | pd.DataFrame], args: Sequence[Any] = (), raw: bool = False, *,
        result_type: Literal["reduce"], **kwargs: Any,
    ) -> AsSeries: ...  # fmt: skip
    @overload
    def apply_cols(
        self, func: Callable[..., Scalar], args: Sequence[Any] = (), raw: bool = False,
        result_type: Literal["expand"] | None = None, **kwargs: Any,
    ) -> AsSeries: ...  # fmt: skip
    @overload
    def apply_cols(
        self, func: Callable[..., Hashable | Mapping[Any, Any] | AbstractSet[Any]], args: Sequence[Any] = (),
        raw: Literal[False] = False, result_type: None = None, **kwargs: Any,
    ) -> AsSeries: ...  # fmt: skip
    @overload
    def apply_cols(
        self, func: Callable[..., Sequenced | pd.Series], args: Sequence[Any] = (), raw: bool = False,
        result_type: None = None, **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @trim_tracebacks
    def apply_cols(
        self, func: Func, args: Sequence[Any] = (), raw: bool = False, result_type: ResultType = None, **kwargs: Any
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
            The exception of ``func`` for the first failing column (option ``errors``), with a note that names it.
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame([[8, 5], [5, 3], [3, 4], [4, 4], [7, 9]])
        >>> df.par.apply_cols(lambda column: sum(x * x for x in column)).tolist()
        [163, 147]
        >>> df.par(engine="thread", n_workers=2).apply_cols(lambda column: column.max()).tolist()
        [8, 9]
        """
        self._check(func, kwargs, "apply_cols", _BY_COLUMNS)
        check_result_type(result_type)
        return apply.apply_frame(
            self._data(), func, 0, args, kwargs, raw, result_type, "apply_cols", "column", self._options()
        )

    @overload
    def apply(
        self, func: Callable[..., Never], axis: Any = 0, raw: bool = False,
        result_type: Literal["reduce"] | None = None, args: Sequence[Any] = (), by_row: Any = "compat",
        engine: Any = None, engine_kwargs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> AsEither: ...  # fmt: skip
    @overload
    def apply(
        self, func: Func, axis: Any = 0, raw: bool = False, *, result_type: Literal["broadcast"],
        args: Sequence[Any] = (), by_row: Any = "compat", engine: Any = None,
        engine_kwargs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> AsFrame: ...  # fmt: skip
    @overload
    def apply(
        self, func: Callable[..., Hashable], axis: Any = 0, raw: bool = False,
        result_type: Literal["expand", "reduce"] | None = None, args: Sequence[Any] = (), by_row: Any = "compat",
        engine: Any = None, engine_kwargs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> AsSeries: ...  # fmt: skip
    @overload
    def apply(
        self, func: Callable[..., Sequenced | Mapping[Any, Any] | AbstractSet[Any] | pd.Series | pd.DataFrame] | Named,
        axis: Any = 0, raw: bool = False, result_type: Literal["expand", "reduce"] | None = None,
        args: Sequence[Any] = (), by_row: Any = "compat", engine: Any = None,
        engine_kwargs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> AsEither: ...  # fmt: skip
    @trim_tracebacks
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
        """Call a function with each column or row: ``df.apply(func)`` on all cores, with pandas' own signature.

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
        Exception
            The exception of ``func`` for the first failing row or column (option ``errors``). A note names it.
        InvalidOptionError
            If pandas cannot apply ``func``.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
        >>> df.par.apply("sum").tolist()
        [3, 7]
        >>> df.par.apply(lambda row: row["a"] - row["b"], axis="columns").tolist()
        [-2, -2]
        >>> df.par(engine="thread", n_workers=2).apply(lambda row: row["a"], axis=1).tolist()
        [1, 2]
        """
        if engine is not None:
            refuse_engine(engine, func, "apply", self._obj, f", axis={axis!r}" if axis else "")
        if goes_to_pandas(func) or by_row != "compat" or engine not in (None, "python"):
            mark_started()
            own: dict[str, Any] = {} if engine is None else {"engine": engine, "engine_kwargs": engine_kwargs}
            func = awaiting(func)
            return self._data().apply(
                func, axis=axis, raw=raw, result_type=result_type, args=tuple(args), by_row=by_row, **own, **kwargs
            )
        check_func(func)
        if kwargs:
            refuse_options(func, kwargs, "apply", self._obj, more=f", axis={axis!r}" if axis else "")
        number = axis_number(axis)
        check_result_type(result_type)
        return apply.apply_frame(
            self._data(), func, number, args, kwargs, raw, result_type, "apply",
            "row" if number else "column", self._options(),
        )  # fmt: skip

    @trim_tracebacks
    def map(self, func: Func, na_action: Literal["ignore"] | None = None, **kwargs: Any) -> AsFrame:
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
            Exactly what ``df.map(func, na_action, **kwargs)`` returns. As in pandas, ``func`` gets the categories of a
            categorical column, not its values.

        Raises
        ------
        Exception
            The exception of ``func`` for the first failing value, column after column (option ``errors``). A note names
            its row and column.
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
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
        >>> df.par(n_workers=2, errors="coerce").map(lambda value: str(value).upper())["b"].tolist()
        ['X', 'YZ']
        """
        check_na_action(na_action)
        self._check(func, kwargs, "map")
        return cast("AsFrame", apply.map_frame(self._data(), func, kwargs, na_action, self._options()))
