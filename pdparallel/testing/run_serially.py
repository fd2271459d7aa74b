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
    """Run every call of a ``with`` block in this process, through all that lies between it and a worker.

    It holds for all threads, and beats the options of each call: what says ``engine="process"`` runs here, too. So a
    test suite needs no worker, and sees what workers would see: functions and results that cannot travel, and copies
    instead of what the function would change in this process.

    Parameters
    ----------
    chunk_size : int, optional
        Rows (columns, items) of each chunk, whatever the calls say; 1 cuts as finely as can be. None leaves it to them.

    Yields
    ------
    None
        While the block runs no worker is started.

    Raises
    ------
    InvalidOptionError
        For a ``chunk_size`` that is not allowed.

    Notes
    -----
    Nobody can end a call of the function here, so ``timeout=`` does nothing in the block, and what ends a worker would
    end this process. For a whole test suite, in ``conftest.py``::

        @pytest.fixture(autouse=True)
        def no_workers():
            with pdparallel.testing.serial():
                yield

    ``engine="serial"`` is something else: there nothing is written to bytes.

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
