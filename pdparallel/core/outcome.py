"""The outcome of a chunk in a worker: its returns by position, and the failure that ended it, if any."""

from __future__ import annotations

from dataclasses import dataclass
from types import CoroutineType
from typing import Any, NamedTuple

from pdparallel.core.chunking import Chunk
from pdparallel.core.columnar import Packed

__all__ = [
    "Assigned", "Failed", "Failure", "NotKeptError", "Outcome", "Timing", "is_of_initializer", "note_initializer",
]  # fmt: skip

#: Number of returns at each end of a chunk that are looked at for coroutines.
LOOKED = 8

#: Note of an exception of the initializer, which no row causes.
_OF_INITIALIZER = (
    "pdparallel: the initializer raised this, before the first call of the function. "
    "Repair the initializer, or change initargs="
)


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """Placeholder for the return of a failed unit, in a call that goes on after a failure."""

    # Without a traceback: its frames would keep alive the data that they worked on, and the user's frames.
    exception: BaseException
    traceback_text: str = ""


class NotKeptError(Exception):
    """Placeholder for an exception of ``errors="coerce"`` that was not kept, because its chunk had too many."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Exception that ended a chunk."""

    #: Position of the unit in the chunk.
    offset: int
    exception: BaseException
    #: Traceback of the worker; empty if the exception has its own.
    traceback_text: str = ""
    #: Whether the user's function raised it. pandas must not see others (of an initializer, or of this package).
    by_function: bool = False


class Timing(NamedTuple):
    """Worker of a chunk, and its times by ``time.perf_counter`` of its machine."""

    pid: int
    thread: int  # id in the operating system
    began: float  # the task arrives
    ready: float  # the function is loaded, with its imports
    loaded: float  # the data is loaded
    called: float  # the last call has returned
    written: float  # the outcome is written


class Assigned(NamedTuple):
    """Assignments of a function to rows that are read-only views; see :mod:`pdparallel.data.fastpath.row`."""

    #: Position in the chunk of the first row that was assigned to.
    first: int | None
    #: Whether a row was returned before that; pandas then allows one more assignment.
    shares: bool
    #: Whether pandas lets the next assignment fail, after the last row.
    unshared: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one chunk."""

    chunk: Chunk
    #: One for each unit up to the failure; a chunk function has one for the whole chunk.
    returns: list[Any] | Packed
    failure: Failure | None = None
    #: Duration of the calls.
    seconds: float = 0.0
    timing: Timing | None = None
    #: None if there is no assignment that matters.
    assigned: Assigned | None = None
    #: Number of repeated calls after an exception of ``retry_on``.
    retried: int = 0
    #: Whether the function, which is no coroutine function, has returned coroutines, which were awaited.
    awaited: bool = False
    #: Seconds in which the function waited; None if nobody measured it.
    waited: float | None = None

    @property
    def done(self) -> int:
        """Number of completed units: all, or those before the failure."""
        return len(self.chunk) if self.failure is None else len(self.returns)

    @property
    def awaits(self) -> bool:
        """Whether a plain function has returned coroutines, which nobody has awaited."""
        returns = self.returns
        if not isinstance(returns, list):
            return False
        return CoroutineType in map(type, returns[:LOOKED]) or CoroutineType in map(type, returns[-LOOKED:])

    def count_failed(self) -> int:
        """Count the failed calls among the returns."""
        # Packed returns contain no failures.
        return list(map(type, self.returns)).count(Failed) if isinstance(self.returns, list) else 0


def note_initializer(exception: BaseException) -> None:
    """Add a note to an exception that the initializer raised it."""
    exception.add_note(_OF_INITIALIZER)


def is_of_initializer(exception: BaseException) -> bool:
    """Return True if an exception has the note of :func:`note_initializer`."""
    return _OF_INITIALIZER in getattr(exception, "__notes__", ())
