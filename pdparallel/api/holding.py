"""Holding: what each part of an accessor finds in it: the data, and the options that were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pdparallel.core.options import Options, resolve

__all__ = ["Holding"]


class Holding:
    """The base of all parts of an accessor."""

    _obj: Any
    _given: Mapping[str, Any]
    _columns: Any = None

    def _data(self) -> Any:
        """What the call works on."""
        return self._obj

    def _options(self) -> Options:
        return resolve(self._given)
