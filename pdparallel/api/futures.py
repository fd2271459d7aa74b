"""Types of ``df.par.background`` for type checkers: the methods of the accessor. Each returns a future.

At run time :class:`pdparallel.api.background.Background` wraps the accessor's methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import EllipsisType
from typing import Any, Literal, Never, Protocol, Self, TypeVar, Unpack, overload

import numpy as np
import pandas as pd

from pdparallel.api.background import Running
from pdparallel.api.frame import FrameVerbs
from pdparallel.api.series import SeriesVerbs
from pdparallel.api.views import Views
from pdparallel.typing import OptionsDict, Plain

__all__ = ["FrameFutures", "SeriesFutures"]

R = TypeVar("R")
C = TypeVar("C")
S = TypeVar("S", bound=Plain)
Joinable = TypeVar("Joinable", pd.DataFrame, pd.Series, np.ndarray)


class _OfChunks(Protocol):
    """Types of :meth:`pdparallel.api.chunks.Chunkwise.apply_chunks` in the background."""

    @overload
    def apply_chunks(
        self, func: Callable[..., R], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, *, combine: Literal["list"], **kwargs: Any,
    ) -> Running[list[R]]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., R], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, *, combine: Callable[[list[R]], C], **kwargs: Any,
    ) -> Running[C]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., Never], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto", "concat"] = "auto", **kwargs: Any,
    ) -> Running[Any]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., Joinable], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto", "concat"] = "auto", **kwargs: Any,
    ) -> Running[Joinable]: ...  # fmt: skip
    @overload
    def apply_chunks(
        self, func: Callable[..., S], args: Sequence[Any] = (), by: Any = None,
        overlap: int | tuple[int, int] | None = None, combine: Literal["auto"] = "auto", **kwargs: Any,
    ) -> Running[list[S]]: ...  # fmt: skip


class FrameFutures(
    FrameVerbs[Running[pd.Series], Running[pd.DataFrame], Running[Any]],
    Views[Running[pd.Series], Running[pd.DataFrame], Running[Any], Running[pd.DataFrame]],
    _OfChunks,
):
    """Type of ``df.par.background`` for a frame."""

    def __call__(self, *, columns: Iterable[Any] | EllipsisType | None = ..., **options: Unpack[OptionsDict]) -> Self:
        """Return the same methods with options."""
        raise NotImplementedError


class SeriesFutures(
    SeriesVerbs[Running[pd.Series], Running[pd.DataFrame], Running[Any]],
    Views[Running[pd.Series], Running[pd.DataFrame], Running[Any], Running[pd.Series]],
    _OfChunks,
):
    """Type of ``s.par.background`` for a Series."""

    def __call__(self, **options: Unpack[OptionsDict]) -> Self:
        """Return the same methods with options."""
        raise NotImplementedError
