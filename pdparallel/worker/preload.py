"""Imports of the forkserver, before it starts the first worker."""

from __future__ import annotations

import sys
import types
import warnings

__all__: list[str] = []

# From Python 3.12 on, a fork in a process with several threads warns, and Arrow's allocator has a thread. With
# ``python -W error`` no worker would start.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


def _quietly(kind: type[BaseException], error: BaseException, frames: types.TracebackType | None) -> None:
    """Print no traceback if the parent ends while it requests a worker: this process ends with it."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, frames)


sys.excepthook = _quietly

import pdparallel.worker.process  # noqa: E402, F401 - after the filter
