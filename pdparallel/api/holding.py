"""The base class of all parts of an accessor, with the data and the options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pdparallel.core.options import Options, resolve

__all__ = ["Holding"]


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
