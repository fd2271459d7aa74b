"""Units: data of which a unit is neither a row nor a column nor a value, as groups and windows: it cuts itself."""

from __future__ import annotations

import abc
from typing import Any, Self, TypeAlias

import numpy as np
import pandas as pd

from pdparallel.typing import Taker

__all__ = ["Data", "Units"]


class Units(abc.ABC):
    """So many units in order, and what they are cut from; pickled as a whole, or in parts that were cut.

    Attributes
    ----------
    by_chunk : bool
        Whether each part travels with its chunk, because it holds objects of Python that must be pickled one by one;
        else the whole travels once, and is cut where it arrives.
    """

    by_chunk: bool = False

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of units."""

    @abc.abstractmethod
    def cut(self, start: int, stop: int) -> Self:
        """The units at these positions, with what they need and no more; views, where that is possible."""

    @abc.abstractmethod
    def feed(self, taker: Taker) -> None:
        """Give the taker each unit, in order, as pandas hands it out."""


#: What a call works on: rows, columns and chunks of a frame, values of a Series, a plain array, a list of items, or
#: what knows its units itself.
Data: TypeAlias = pd.DataFrame | pd.Series | np.ndarray | list[Any] | Units
