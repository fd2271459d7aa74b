"""The data and options of an accessor, and the methods that call a function with chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Never, TypeVar, overload

import numpy as np
import pandas as pd

from pdparallel.api import imap
from pdparallel.core.mistakes import refuse_options
from pdparallel.core.options import Options, resolve
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import check_combine, check_func, neighbours
from pdparallel.operations import apply
from pdparallel.typing import Combine, Func, Plain

__all__ = ["Chunkwise", "Holding", "Joinable"]

R = TypeVar("R")
C = TypeVar("C")
S = TypeVar("S", bound=Plain)
Joinable = TypeVar("Joinable", pd.DataFrame, pd.Series, np.ndarray)


class Holding:
    """Base of all parts of an accessor."""

    _obj: Any  # the frame or Series of the accessor
    _given: Mapping[str, Any]  # options, checked
    _columns: Any = None  # labels of the columns for the call; None for all

    def _data(self) -> Any:
        """Return the data of the call."""
        return self._obj

    def _options(self) -> Options:
        return resolve(self._given)

    def _check(self, func: Any, kwargs: Mapping[str, Any], method: str, axis: str = "") -> None:
        """Check the function of a call, and its keyword arguments."""
        check_func(func)
        if kwargs:
            refuse_options(func, kwargs, method, self._obj, axis)


class Chunkwise(Holding):
    """Base of the accessors, with the methods for chunks."""

    @trim_tracebacks
    def iter_chunks(
        self,
        func: Callable[..., R],
        args: Sequence[Any] = (),
        by: Any = None,
        overlap: int | tuple[int, int] | None = None,
        ordered: bool = True,
        **kwargs: Any,
    ) -> imap.Results[R]:
        """Call a function with consecutive chunks of rows, and iterate over the results.

        All results together may be larger than memory. If you take the results slowly, the workers wait.

        Parameters
        ----------
        func : callable
            Takes a chunk.
        args : sequence, default ()
            Further positional arguments of ``func``.
        by : label, list of labels, Series, array or function, optional
            As for ``apply_chunks``, with the same chunks: rows of one group are never in two chunks.
        overlap : int or (int, int), optional
            As for ``apply_chunks``: rows of the neighbours that each chunk gets before and after its own.
        ordered : bool, default True
            True gives the results in the order of the chunks, False gives each as soon as it is done.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        iterator
            Work begins with the first ``next``. It ends with ``close()``, at the end of a ``with`` block, or when no
            variable refers to the iterator any more.

        Raises
        ------
        Exception
            While you iterate, the exception of ``func`` for the first failing chunk (option ``errors``). It comes after
            the results of the chunks before.
        InvalidOptionError
            For arguments that are not allowed, and ``checkpoint=``, at once.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        At most four chunks for each worker are in memory, so ``chunk_size=`` limits the memory. With the option
        ``errors="coerce"`` a chunk that failed gives None, and one warning comes at the end. From pandas 3 on, later
        changes of the frame do not change the results.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1, 2, 3, 4]})
        >>> for total in df.par(chunk_size=2).iter_chunks(lambda chunk: int(chunk["a"].sum())):
        ...     print(total)
        ...
        3
        7
        """
        self._check(func, kwargs, "iter_chunks")
        around = neighbours(overlap, by)
        data = self._data().copy(deep=False)
        return imap.iter_chunks(data, self._obj, func, args, kwargs, by, around, ordered, self._options())

    @overload
    def apply_chunks(
        self, func: Callable[..., R], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, *, combine: Literal["list"], **kwargs: Any,
    ) -> list[R]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., R], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, *, combine: Callable[[list[R]], C], **kwargs: Any,
    ) -> C: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., Never], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto", "concat"] = "auto", **kwargs: Any,
    ) -> Any: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., Joinable], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto", "concat"] = "auto", **kwargs: Any,
    ) -> Joinable: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., S], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto"] = "auto", **kwargs: Any,
    ) -> list[S]: ...  # fmt: skip
    @trim_tracebacks
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
            Takes a chunk. It must treat each row by itself, or each group with ``by=``. Otherwise the result
            depends on the cut.
        args : sequence, default ()
            Further positional arguments of ``func``.
        by : label, list of labels, Series, array or function, optional
            As in ``groupby``: rows of one group are never in two chunks. Groups come in sorted order, as from
            ``groupby``. If each result has exactly the rows of its chunk, the result has the order of the frame.
            The labels may be columns that ``columns=`` leaves out of the chunks.
        overlap : int or (int, int), optional
            Rows of the neighbours that each chunk gets before and after its own. ``func`` must return one row for
            each row that it gets. pdparallel removes the rows of the neighbours from the result.
        combine : {"auto", "concat", "list"} or callable, default "auto"
            ``"auto"`` concatenates frames and Series in order, and stacks arrays along axis 0. It returns other
            results as a list in order. A callable gets the list.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        DataFrame, Series, ndarray, list or object
            As ``combine`` says.

        Raises
        ------
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        Each worker gets one chunk, or up to four if each chunk has at least 1,000 rows. If the frame has many rows, a
        small chunk runs first and shows the cost of a row. ``chunk_size=`` sets the exact number of rows. An empty
        frame is one chunk. Without ``by=`` it replaces ``np.vstack(pool.map(func, np.array_split(df, cores)))``.

        With the option ``errors="coerce"`` a chunk that failed has missing rows, if each other result has the rows of
        its chunk. It has no rows if the others are frames, Series or arrays with other rows, and None in a list.
        With ``errors="return"`` the result is a list if at least one chunk failed.

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
        self._check(func, kwargs, "apply_chunks")
        check_combine(combine)
        around = neighbours(overlap, by)
        return apply.apply_chunks(self._data(), self._obj, func, args, kwargs, by, around, combine, self._options())
