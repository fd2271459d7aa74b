"""The accessors ``df.par`` and ``s.par``, which hold the data and the options.

They hold nothing else, because pandas 3 makes a new accessor on each access.  Their methods are in
:mod:`pdparallel.api.frame`, :mod:`pdparallel.api.series`, :mod:`pdparallel.api.chunks` and :mod:`pdparallel.api.views`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Generic, Literal, Never, Protocol, Self, TypeVar, Unpack, cast, overload

import pandas as pd

from pdparallel.api.background import Background, Running
from pdparallel.api.chunks import Chunkwise, Holding, Joinable
from pdparallel.api.frame import FrameVerbs
from pdparallel.api.series import SeriesVerbs
from pdparallel.api.views import Views
from pdparallel.core.mistakes import by_name, missing_attribute, not_selected, place_of
from pdparallel.core.options import checked, show_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import column_labels
from pdparallel.diagnostics.explanation import Explanation
from pdparallel.errors import InvalidOptionError
from pdparallel.typing import Func, OptionsDict, Plain

__all__ = ["FramePar", "SeriesPar", "par"]

Futures = TypeVar("Futures")
R = TypeVar("R")
C = TypeVar("C")
S = TypeVar("S", bound=Plain)


# Types of the methods in the background for type checkers; at run time Background wraps the methods of the accessor


class _ChunkFutures(Protocol):
    """Types of :meth:`pdparallel.api.chunks.Chunkwise.apply_chunks` in the background."""

    @overload
    def apply_chunks(
        self, func: Callable[..., R], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, *, combine: Literal["list"], **kwargs: Any,
    ) -> Running[list[R]]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., R], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, *, combine: Callable[[list[R]], C], **kwargs: Any,
    ) -> Running[C]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., Never], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto", "concat"] = "auto", **kwargs: Any,
    ) -> Running[Any]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., Joinable], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto", "concat"] = "auto", **kwargs: Any,
    ) -> Running[Joinable]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., S], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto"] = "auto", **kwargs: Any,
    ) -> Running[list[S]]: ...  # fmt: skip


class FrameFutures(
    FrameVerbs[Running[pd.Series], Running[pd.DataFrame], Running[Any]],
    Views[Running[pd.Series], Running[pd.DataFrame], Running[Any], Running[pd.DataFrame]],
    _ChunkFutures,
):
    """Type of ``df.par.background`` for a frame."""

    def __call__(self, *, columns: Iterable[Any] | EllipsisType | None = ..., **options: Unpack[OptionsDict]) -> Self:
        """Return the same methods with options."""
        raise NotImplementedError


class SeriesFutures(
    SeriesVerbs[Running[pd.Series], Running[pd.DataFrame], Running[Any]],
    Views[Running[pd.Series], Running[pd.DataFrame], Running[Any], Running[pd.Series]],
    _ChunkFutures,
):
    """Type of ``s.par.background`` for a Series."""

    def __call__(self, **options: Unpack[OptionsDict]) -> Self:
        """Return the same methods with options."""
        raise NotImplementedError


# The accessors


class _Par(Holding, Generic[Futures]):
    """Base of the accessors of frames and Series."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj
        self._given = {}

    @show_options()
    @trim_tracebacks
    @by_name(skip=1)
    def __call__(self, **options: Unpack[OptionsDict]) -> Self:
        """Return the same accessor with options for the call that follows.

        Parameters
        ----------
        **options
            Any of :class:`pdparallel.Options`.

        Returns
        -------
        SeriesPar
            The accessor with these options. Earlier options stay, unless you give them again.

        Raises
        ------
        InvalidOptionError
            Names the option, its value, and the allowed values.

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

    if not TYPE_CHECKING:  # a type checker then allows any name

        @trim_tracebacks
        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            verbs = [verb for verb in dir(type(self)) if not verb.startswith("_")]
            raise missing_attribute(name, place_of(self._obj), verbs, self._obj)

        @trim_tracebacks
        def __getitem__(self, key: Any) -> Any:
            raise not_selected(key, self._obj)

        __iter__ = None

    @property
    def background(self) -> Futures:
        """The same methods in a thread: each returns a :class:`concurrent.futures.Future` at once.

        Wrong arguments raise an error at once, too. ``future.cancel()`` works at any time. A waiting ``result()`` then
        raises :class:`concurrent.futures.CancelledError` at once. The call and its workers end some tenths of a second
        later. But a call of the function in this process runs to its end, because a thread cannot be ended.
        ``engine="auto"`` begins with such calls. You can await the future in asyncio code. If its task is cancelled,
        the call is cancelled, too.

        Notes
        -----
        Later changes of the data do not change the result; with pandas 2 this costs a copy. The options of an enclosing
        :func:`pdparallel.option_context` apply. ``engine="auto"`` first runs in this process, and takes turns with your
        code, five milliseconds each. ``engine="process"`` does not. At the end of the process, pdparallel cancels the
        calls that still run.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
        >>> future = df.par.background.apply_rows(lambda row: row["a"] * row["b"])
        >>> future.result().tolist()
        [3, 8]
        >>> df["a"].par(n_workers=2).background.map(str).result().tolist()
        ['1', '2']
        """
        return cast("Futures", Background(self))


class FramePar(
    _Par[FrameFutures],
    FrameVerbs[pd.Series, pd.DataFrame, Any],
    Views[pd.Series, pd.DataFrame, Any, pd.DataFrame],
    Chunkwise,
):
    """Accessor ``df.par``: pandas' ``apply`` on all cores, with pandas' exact answer.

    Parameters
    ----------
    obj : DataFrame
        The frame.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2, 3], "b": [4.0, 5.0, 6.0]})
    >>> df.par.apply_rows(lambda row: row["a"] + row["b"]).tolist()
    [5.0, 7.0, 9.0]
    """

    @show_options()
    @trim_tracebacks
    @by_name(skip=1)
    def __call__(self, *, columns: Iterable[Any] | EllipsisType | None = ..., **options: Unpack[OptionsDict]) -> Self:
        """Return the same accessor with options, and with the columns that the function needs.

        Parameters
        ----------
        columns : iterable of labels, or None
            The call works on ``df[list(columns)]``: the function gets these columns in this order. pdparallel sends no
            other column to a worker. Only ``by=`` can name other columns. None means all columns. Without
            ``columns=``, an earlier ``columns=`` stays.
        **options
            Any of :class:`pdparallel.Options`.

        Returns
        -------
        FramePar
            The accessor with these options. Earlier options stay, unless you give them again.

        Raises
        ------
        InvalidOptionError
            Names the option, its value, and the allowed values. For ``columns`` it names the missing labels.

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

    def _data(self) -> Any:
        # Selected at each call, so that a stored accessor sees later changes of its frame.
        return self._obj if self._columns is None else self._obj[self._columns]

    @trim_tracebacks
    def explain(self, func: Func, verb: str = "apply_rows", **arguments: Any) -> Explanation:
        """Explain a call before it runs: the cost of a row, the engine, the reasons, and possible changes.

        It calls the function with rows from many places of the frame, for some hundredths of a second. If one row takes
        longer, it is the only row. The results are not kept. The explanation has the number of calls. It starts no
        process.

        Parameters
        ----------
        func : callable
            The function.
        verb : {"apply_rows", "apply_cols", "apply_chunks", "map"}, default "apply_rows"
            The method of the call.
        **arguments
            Arguments of the method: ``args=``, ``rows=``, ``by=``, and further keyword arguments of ``func``.

        Returns
        -------
        Explanation
            Text in a terminal, a table in a notebook; its numbers are attributes, in seconds and bytes.

        Raises
        ------
        InvalidOptionError
            For arguments that are not allowed. An exception of the function is in ``problem``. If the function cannot
            be sent to another process, the reason is there, too.

        Notes
        -----
        Expected times come from some hundred rows, and hold for a machine that is as busy as now. They do not include
        the time to build the result. For ``apply_chunks`` it tries chunks of 64 rows, 256 and so on. The state of
        ``random`` and ``np.random`` does not change. With ``initializer=`` it does not call the function.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": range(1000), "b": 0.5, "text": "x"})
        >>> found = df.par.explain(lambda row: row["a"] * row["b"])
        >>> found.columns_read, found.columns_unread, found.problem
        (('a', 'b'), ('text',), '')
        """
        from pdparallel.diagnostics.explain import explain_verb  # here, because it is a tenth of the import time

        units = {"apply_rows": "row", "apply_cols": "column", "apply_chunks": "row", "map": "value"}
        return explain_verb(self, units, func, verb, arguments, nothing=0 in self._data().shape)


class SeriesPar(
    _Par[SeriesFutures],
    SeriesVerbs[pd.Series, pd.DataFrame, Any],
    Views[pd.Series, pd.DataFrame, Any, pd.Series],
    Chunkwise,
):
    """Accessor ``s.par``: pandas' ``Series.map`` and ``Series.apply`` on all cores, with pandas' exact answer.

    Parameters
    ----------
    obj : Series
        The Series.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pd.Series(["a", "bc"]).par.map(len).tolist()
    [1, 2]
    """

    @trim_tracebacks
    def explain(self, func: Func, verb: str = "map", **arguments: Any) -> Explanation:
        """Explain a call before it runs; see :meth:`pandas.DataFrame.par.explain`.

        Parameters
        ----------
        func : callable
            The function. ``explain`` calls it with some values, and does not keep the results.
        verb : {"map", "apply_chunks"}, default "map"
            The method of the call.
        **arguments
            Arguments of the method, and further keyword arguments of ``func``.

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
        >>> found = pd.Series(["a", "bc"]).par.explain(len)
        >>> found.unit, found.units, found.engine
        ('value', 2, 'here')
        """
        from pdparallel.diagnostics.explain import explain_verb

        return explain_verb(self, {"map": "value", "apply_chunks": "row"}, func, verb, arguments, len(self._obj) == 0)


@overload
def par(obj: pd.DataFrame) -> FramePar: ...
@overload
def par(obj: pd.Series) -> SeriesPar: ...
@trim_tracebacks
def par(obj: Any) -> Any:
    """Return the accessor of a frame or Series, for type checkers, which cannot see ``df.par``.

    Parameters
    ----------
    obj : DataFrame or Series
        The data.

    Returns
    -------
    FramePar or SeriesPar
        The same as ``obj.par``.

    Raises
    ------
    InvalidOptionError
        For other objects.

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
