"""The comparison of a call with pandas, for several chunk sizes, and calls that run in this process."""

from __future__ import annotations

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pdparallel.api.accessor import par
from pdparallel.core import options
from pdparallel.core.options import checked
from pdparallel.engines.serial import SerialEngine
from pdparallel.errors import InvalidOptionError
from pdparallel.testing.equality import assert_same
from pdparallel.transport.task import Locality

__all__ = ["as_options", "assert_same_as_pandas", "serial"]

#: Chunk size in units for one chunk of all units.
ALL = 1 << 30


def assert_same_as_pandas(
    ours: Callable[..., Any],
    pandas: Callable[..., Any] | None = None,
    obj: Any = None,
    *,
    chunk_sizes: Sequence[int | None] = (1, 2, None),
    **options: Any,
) -> None:
    """Assert that a call gives pandas' exact result, or its error, for several sizes of chunks.

    pdparallel serializes data and results as for a worker, but runs in this process. So the test is quick.

    Parameters
    ----------
    ours : callable
        Takes the accessor of ``obj``, and calls it: ``lambda par: par.apply_rows(func)``.
    pandas : callable, optional
        Takes ``obj``, and makes the call of pandas: ``lambda df: df.apply(func, axis=1)``. Leave it out if
        both calls have the same form: ``lambda df: df.groupby("key").apply(func)``.
    obj : DataFrame or Series, optional
        The data. Each call gets a copy. Without it both functions take no argument, and ``ours`` runs once.
    chunk_sizes : sequence of int or None, default (1, 2, None)
        ``ours`` runs once for each size; None means one chunk of all rows.
    **options
        Other options of :class:`pdparallel.Options`, for ``ours``.

    Raises
    ------
    AssertionError
        Names the first difference, and the size of the chunks.
    InvalidOptionError
        For options that are not allowed, for example ``engine`` and ``timeout``.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import assert_same_as_pandas
    >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
    >>> func = lambda row: None if row["x"] > 2 else row["x"]
    >>> assert_same_as_pandas(lambda par: par.apply_rows(func), lambda df: df.apply(func, axis=1), df)
    >>> assert_same_as_pandas(lambda df: df.groupby("key")["x"].agg(lambda x: x.max()), obj=df)
    >>> scale = lambda chunk: chunk[["x"]] / chunk["x"].max()      # which looks at more than a row
    >>> assert_same_as_pandas(lambda par: par.apply_chunks(scale), scale, df)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    AssertionError: Series are different
    ...
    """
    if pandas is not None and not callable(pandas):
        raise InvalidOptionError("pandas", pandas, "a function that makes the call of pandas", "Data are obj=.")
    if obj is None:
        if pandas is None:
            raise InvalidOptionError("pandas", pandas, "a function that makes the call of pandas, if there is no obj=")
        _assert_same(_attempt(ours), _attempt(pandas))
        return
    for name in ("engine", "timeout", "rate_limit", "chunk_size"):
        if name in options:
            raise InvalidOptionError(name, options[name], "other options", "The test runs in this process and sets it.")
    checked(options)
    call = pandas or ours
    expected = _attempt(lambda: call(_copied(obj)))
    for number, size in enumerate(chunk_sizes):
        locality = (Locality.HOST, Locality.ANYWHERE)[number % 2]
        how = {**as_options(locality, ALL if size is None else size), **options}
        got = _attempt(functools.partial(_asked, ours, obj, how))
        try:
            _assert_same(got, expected)
        except AssertionError as error:
            error.add_note("in one chunk" if size is None else f"in chunks of {size}")
            raise


def _asked(ours: Callable[..., Any], obj: Any, how: dict[str, Any]) -> Any:
    return ours(par(_copied(obj))(**how))


class _Attempt(NamedTuple):
    """Result or error of a call."""

    result: Any
    error: Exception | None


def _assert_same(got: _Attempt, expected: _Attempt) -> None:
    if expected.error is not None:
        if got.error is None:
            raise AssertionError(f"pandas raises {expected.error!r}, and pdparallel returns {got.result!r}")
        _assert_same_error(got.error, expected.error)
        return
    if got.error is not None:
        kind = type(expected.result).__name__
        raise AssertionError(f"pandas returns a {kind}, and pdparallel raises {got.error!r}") from got.error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' comparison warns about some dtypes that pandas made
        assert_same(got.result, expected.result)


def _assert_same_error(got: Exception, expected: Exception) -> None:
    if type(got) is type(expected):
        with contextlib.suppress(AssertionError):
            assert_same(got.args, expected.args)
            return
        if str(got) == str(expected):
            return
    raise AssertionError(f"pandas raises {expected!r}, and pdparallel raises {got!r}")


def _attempt(call: Callable[[], Any]) -> _Attempt:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both calls give pandas' warnings about future changes
            return _Attempt(call(), None)
    except Exception as error:
        return _Attempt(None, error)


def _copied(obj: Any) -> Any:
    """Copy the data with its values, because functions may write into them."""
    return obj.copy() if isinstance(obj, (pd.DataFrame, pd.Series)) else copy.deepcopy(obj)


# Calls in this process that serialize as for a worker: quick, and the same each time


@contextlib.contextmanager
def serial(chunk_size: int | None = None) -> Iterator[None]:
    """Run every call of a ``with`` block in this process, and serialize data and results as for a worker.

    It holds for all threads, and it overrides the options of each call. A call with ``engine="process"`` runs here,
    too. So a test suite needs no worker, and still finds functions and results that cannot be serialized. The function
    gets copies, as in a worker.

    Parameters
    ----------
    chunk_size : int, optional
        Rows (columns, items) of each chunk. A number overrides the option of the calls.

    Yields
    ------
    None
        No worker starts in the block.

    Raises
    ------
    InvalidOptionError
        For a ``chunk_size`` that is not allowed.

    Notes
    -----
    ``timeout=`` and ``rate_limit=`` do nothing in the block. A function that ends its worker ends this process.
    For a whole test suite, in ``conftest.py``::

        @pytest.fixture(autouse=True)
        def no_workers():
            with pdparallel.testing.serial():
                yield

    ``engine="serial"`` also runs here, but it serializes nothing.

    Examples
    --------
    >>> import os
    >>> import pandas as pd, pdparallel
    >>> import pdparallel.testing
    >>> seen = []
    >>> with pdparallel.testing.serial():
    ...     pids = pd.Series([1, 2]).par(engine="process").map(lambda value: (seen.append(value), os.getpid())[1])
    ...
    >>> set(pids) == {os.getpid()}, seen                # here, and with a copy of the list
    (True, [])
    """
    forced: dict[str, Any] = {"engine": SerialEngine(Locality.HOST), "timeout": None, "rate_limit": None}
    if chunk_size is not None:
        forced |= options.checked({"chunk_size": chunk_size})
    with options.forcing(forced):
        yield


def as_options(locality: Locality, chunk_size: int) -> dict[str, Any]:
    """Return options for a call in this process that serializes as for a worker."""
    if chunk_size < 1:
        raise InvalidOptionError("chunk_size", chunk_size, "a whole number of at least 1")
    return {"engine": SerialEngine(locality), "n_workers": 2, "rate_limit": None, "chunk_size": chunk_size}
