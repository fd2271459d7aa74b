"""Preload: what the forkserver imports before it makes the first worker."""

from __future__ import annotations

import warnings

__all__: list[str] = []

# From Python 3.12 on a fork beside another thread warns, and Arrow's allocator has one. With ``python -W error`` no
# worker would be made.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

import pdparallel.serving  # noqa: E402, F401 - after the filter
