"""Likeness: returns that have the index of what the function was given, told from others: their values are enough.

Most functions of a group that return a Series return one over the group's own index.  Ten thousand of them are one
array and their lengths, where the parent knows the groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.packing import Compact, Packed
from pdparallel.typing import Func

__all__ = ["Like", "Likes", "TellingLike", "likened"]

#: Kinds of dtypes of which an array is all that there is to say.
_PLAIN = "biufcmM"


@dataclass(frozen=True, slots=True, eq=False)
class Like(Compact):
    """Stands for a Series with the index of the unit: its values and its name."""

    values: np.ndarray
    name: Any

    def over(self, unit: Any) -> pd.Series:
        """The Series, for that unit."""
        return pd.Series(self.values, index=unit.index, name=self.name, copy=False)

    @staticmethod
    def packed(values: list[Any]) -> Likes | None:
        """Many of them as one; see :func:`pdparallel.packing.pack`."""
        first = values[0]
        dtype, name = first.values.dtype, first.name
        for value in values:
            if value.values.dtype != dtype or value.name is not name:
                return None
        return Likes(np.concatenate([value.values for value in values]), [len(value.values) for value in values], name)


@dataclass(frozen=True, slots=True, eq=False)
class Likes(Packed):
    """Series with the indexes of their units, one after the other."""

    array: np.ndarray
    lengths: list[int]
    name: Any

    @property
    def form(self) -> Any:
        return Likes, self.array.dtype, self.name

    def __len__(self) -> int:
        return len(self.lengths)

    def unpacked(self) -> list[Any]:
        ends = np.cumsum(self.lengths)
        return [Like(part, self.name) for part in np.split(self.array, ends[:-1])]

    @classmethod
    def joined(cls, parts: Sequence[Likes]) -> Likes:
        lengths = [length for part in parts for length in part.lengths]
        return cls(np.concatenate([part.array for part in parts]), lengths, parts[0].name)


def likened(value: Any, unit: Any) -> Any:
    """A :class:`Like` in the place of a plain Series over the unit's own index; anything else as it is."""
    if type(value) is not pd.Series:
        return value
    dtype = value.dtype
    if (
        isinstance(dtype, np.dtype)
        and dtype.kind in _PLAIN
        and value.index.is_(unit.index)
        and not value.attrs
        and value.flags.allows_duplicate_labels
    ):
        return Like(value.to_numpy(), value.name)
    return value


@dataclass(frozen=True, slots=True)
class TellingLike:
    """A function of which a plain Series over the unit's own index comes back as a :class:`Like`."""

    func: Func

    def __call__(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        return likened(self.func(unit, *args, **kwargs), unit)
