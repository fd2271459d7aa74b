"""Preload: what the forkserver imports before it makes the first worker."""

from __future__ import annotations

import sys
import types
import warnings

__all__: list[str] = []

# From Python 3.12 on a fork beside another thread warns, and Arrow's allocator has one. With ``python -W error`` no
# worker would be made.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


def _quietly(kind: type[BaseException], error: BaseException, frames: types.TracebackType | None) -> None:
    """Say nothing of a parent that ends while it asks for a worker: this process ends with it."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, frames)


sys.excepthook = _quietly

import pdparallel.worker.process  # noqa: E402, F401 - after the filter
