"""Running: every call in this process, by the way that workers take: quick, and the same each time.

Nothing else differs from real workers: the function and the data are written to bytes, cut, read, and what the function
returned is written and read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pdparallel.core import options
from pdparallel.engines.serial import SerialEngine
from pdparallel.errors import InvalidOptionError
from pdparallel.transport.task import Locality

__all__ = ["as_options", "serial"]


@contextlib.contextmanager
def serial(chunk_size: int | None = None) -> Iterator[None]:
    """Run every call of a ``with`` block in this process, and write data and results to bytes as for a worker.

    It holds for all threads, and it overrides the options of each call. A call with ``engine="process"`` runs here,
    too. So a test suite needs no worker, and still finds functions and results that cannot travel. The function works
    on copies, as in a worker.

    Parameters
    ----------
    chunk_size : int, optional
        Rows (columns, items) of each chunk. It overrides the option of the calls; None does not.

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
    ``timeout=`` does nothing in the block, because pdparallel cannot end this process. A function that ends its worker
    ends this process. For a whole test suite, in ``conftest.py``::

        @pytest.fixture(autouse=True)
        def no_workers():
            with pdparallel.testing.serial():
                yield

    ``engine="serial"`` also runs here, but it writes nothing to bytes.

    Examples
    --------
    >>> import os
    >>> import pandas as pd, pdparallel
    >>> import pdparallel.testing
    >>> seen = []
    >>> with pdparallel.testing.serial():
    ...     pids = pd.Series([1, 2]).par(engine="process").map(lambda value: (seen.append(value), os.getpid())[1])
    >>> set(pids) == {os.getpid()}, seen                # here, and upon a copy of the list
    (True, [])
    """
    forced: dict[str, Any] = {"engine": SerialEngine(Locality.HOST), "timeout": None}
    if chunk_size is not None:
        forced |= options.checked({"chunk_size": chunk_size})
    with options.forcing(forced):
        yield


def as_options(locality: Locality, chunk_size: int) -> dict[str, Any]:
    """Options of one call that takes the bytes path in this process."""
    if chunk_size < 1:
        raise InvalidOptionError("chunk_size", chunk_size, "a whole number of at least 1")
    return {"engine": SerialEngine(locality), "n_workers": 2, "chunk_size": chunk_size}
