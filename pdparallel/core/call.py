"""The user's call as plain data: validated, but not yet cut into chunks or sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdparallel.core.awaitables import is_async_generator_function, is_coroutine_function
from pdparallel.core.chunking import Chunk
from pdparallel.core.format import shortened
from pdparallel.core.options import Options
from pdparallel.core.retry import RateLimit, RetryPolicy, policy_of, rate_of
from pdparallel.core.returns import Returns
from pdparallel.core.units import Data
from pdparallel.errors import InvalidOptionError
from pdparallel.typing import Errors, Func, UnitFormat

__all__ = ["Call", "Initializer", "Work", "format_label", "in_words", "work_of"]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Initializer:
    """Function that each worker calls once, before its first unit."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    #: Global variables that it assigns, and that are not sent for this reason.
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """The part of a call that is sent to workers: the function, and how to call it."""

    func: Func
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    unit_format: UnitFormat
    errors: Errors = "raise"
    seed: int | None = None
    #: Sent together with the function, so that both have the same globals in a worker.
    initializer: Initializer | None = None
    #: Whether pandas' rows are read-only views of the whole frame. None: each chunk decides (``row.are_views``).
    views: bool | None = None
    #: None if no exception leads to another call.
    retry: RetryPolicy | None = None
    #: Shared by all threads of the call, and never sent to another process.
    rate: RateLimit | None = None
    #: Whether the function gives coroutines.
    is_async: bool = False
    #: Number of coroutines under way at once.
    max_concurrency: int = 1
    #: Seconds that a coroutine may take. The scheduler ends the worker of any other function.
    timeout: float | None = None

    @property
    def given(self) -> list[Any]:
        """The arguments of the function after its unit."""
        return [*self.args, *self.kwargs.values()]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method such as ``apply_rows``."""

    verb: str
    work: Work
    data: Data
    #: Number of units.
    n: int
    #: Name of a unit in messages and in the progress bar: ``"row"``.
    unit: str
    #: Returns the label of the unit at a position, for messages.
    label: Callable[[int], Any]
    #: The cut into chunks, if the result depends on it. None: the runner chooses.
    plan: tuple[Chunk, ...] | None = field(default=None)
    #: Called with the returns before the first failure. pandas may reject one; that error then takes precedence.
    validate_prefix: Callable[[Returns], Any] | None = field(default=None)
    #: Calls the function with the row at a position, as pandas does after an assignment to an earlier row.
    again: Callable[[int], Any] | None = field(default=None)
    #: Whether the result shows the types of values in tuples and lists: 1 is not ``np.int64(1)`` there.
    shows_types: bool = True
    #: Position of the first unit in messages, if an earlier call did the units before it.
    start: int = 0

    def where(self, chunk: Chunk, offset: int) -> str:
        """Return the place of a failure in words: ``in row 'x17' (position 17)``."""
        if self.work.unit_format == "chunk":
            if not len(chunk):
                return "in the chunk of no rows"
            return f"in the chunk of rows {chunk.start} to {chunk.stop - 1}"
        position = chunk.start + offset
        return in_words(self.unit, self.label(position), self.start + position)

    def subject(self, chunk: Chunk) -> str:
        """Return a unit as the start of a text: ``Row 'x17' (position 17)``, or ``Row 17``, or one of several."""
        if self.work.unit_format == "chunk":
            return f"The chunk of rows {chunk.start} to {chunk.stop - 1}"
        if len(chunk) > 1:
            first, last = self.start + chunk.start, self.start + chunk.stop - 1
            return f"One of the {self.unit}s at positions {first} to {last}"
        position = self.start + chunk.start
        label = format_label(self.label(chunk.start))
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
    first = None if options.initializer is None else Initializer(options.initializer, options.initargs)
    try:
        given = tuple(args)
    except TypeError:
        hint = f"For one argument: args=({format_label(args)},)."
        raise InvalidOptionError("args", args, "a tuple of arguments for the function", hint) from None
    if is_async_generator_function(func):
        text = "The function is an async generator, which gives many values for one. "
        text += "Give a coroutine function: async def with return instead of yield."
        raise InvalidOptionError("func", func, "a function or a coroutine function", message=text)
    return Work(
        func, given, kwargs, unit_format, options.errors, options.seed, first, views, policy_of(options),
        None if options.rate_limit is None else rate_of(options), is_coroutine_function(func),
        options.max_concurrency, options.timeout,
    )  # fmt: skip


def in_words(unit: str, label: object, position: int) -> str:
    """Return the place of a unit in words: ``in row 'x17' (position 17)``."""
    return f"in {unit} {format_label(label)} (position {position})"


def format_label(label: object) -> str:
    """Return a label as a user would write it, shortened if it is long."""
    return shortened(repr(tuple(map(_plain, label)) if type(label) is tuple else _plain(label)))


def _plain(label: object) -> object:
    return label.item() if isinstance(label, np.generic) else label  # 2, not np.int64(2)
