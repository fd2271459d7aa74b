"""Call: what the user asked for, after the accessor has checked it and before anything is cut or sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdparallel.core.chunking import Chunk
from pdparallel.core.format import shortened
from pdparallel.core.options import Options
from pdparallel.core.returns import Returns
from pdparallel.core.units import Data
from pdparallel.errors import InvalidOptionError
from pdparallel.typing import Errors, Func, UnitFormat

__all__ = ["Call", "Initializer", "Work", "in_words", "shown", "work_of"]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Initializer:
    """What each worker calls once before its first unit; each has an identity, by which a worker knows it again."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker does with its part of the data: the half of a call that travels."""

    func: Func
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    unit_format: UnitFormat
    errors: Errors = "raise"
    seed: int | None = None
    initializer: Initializer | None = None
    views: bool | None = None

    @property
    def given(self) -> list[Any]:
        """What the function gets besides its unit."""
        return [*self.args, *self.kwargs.values()]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb."""

    verb: str
    work: Work
    data: Data
    n: int
    unit: str
    label: Callable[[int], Any]
    plan: tuple[Chunk, ...] | None = field(default=None)
    validate_prefix: Callable[[Returns], Any] | None = field(default=None)
    again: Callable[[int], Any] | None = field(default=None)
    start: int = 0

    def where(self, chunk: Chunk, offset: int) -> str:
        """The place of a failure in words: ``in row 'x17' (position 17)``."""
        if self.work.unit_format == "chunk":
            if not len(chunk):
                return "in the chunk of no rows"
            return f"in the chunk of rows {chunk.start} to {chunk.stop - 1}"
        position = chunk.start + offset
        return in_words(self.unit, self.label(position), self.start + position)

    def subject(self, chunk: Chunk) -> str:
        """The first unit of a chunk at the beginning of a sentence: ``Row 'x17' (position 17)``, or ``Row 17``."""
        if self.work.unit_format == "chunk":
            return f"The chunk of rows {chunk.start} to {chunk.stop - 1}"
        position = self.start + chunk.start
        label = shown(self.label(chunk.start))
        place = "" if label == str(position) else f" (position {position})"
        return f"{self.unit.capitalize()} {label}{place}"


def work_of(
    func: Func,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    unit_format: UnitFormat,
    options: Options,
    views: bool | None = None,
) -> Work:
    """What a worker is to do, as the arguments and options say."""
    first = None if options.initializer is None else Initializer(options.initializer, options.initargs)
    try:
        given = tuple(args)
    except TypeError:
        hint = f"For one argument: args=({shown(args)},)."
        raise InvalidOptionError("args", args, "a tuple of arguments for the function", hint) from None
    return Work(func, given, kwargs, unit_format, options.errors, options.seed, first, views)


def in_words(unit: str, label: object, position: int) -> str:
    """The place of a unit: ``in row 'x17' (position 17)``."""
    return f"in {unit} {shown(label)} (position {position})"


def shown(label: object) -> str:
    """A label in words, as a user would write it, if that is not long."""
    return shortened(repr(tuple(map(_plain, label)) if type(label) is tuple else _plain(label)))


def _plain(label: object) -> object:
    return label.item() if isinstance(label, np.generic) else label  # 2, not np.int64(2)
