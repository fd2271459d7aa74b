"""Outcome: what a worker says of a chunk: the recorded returns by position, and what ended it if something did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pdparallel.core.chunking import Chunk
from pdparallel.core.returns import Packed

__all__ = [
    "Assigned", "Failed", "Failure", "NotKeptError", "Outcome", "Timing", "is_of_initializer", "note_initializer",
]  # fmt: skip

#: Note of an exception that the initializer raised. No row causes it.
_OF_INITIALIZER = (
    "pdparallel: the initializer raised this in a worker, before the first call of the function. "
    "Repair the initializer, or change initargs="
)


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """Stands among the returns for one that there is not, in a call that goes on after a failure."""

    exception: BaseException
    traceback_text: str = ""


class NotKeptError(Exception):
    """Placeholder for an exception of ``errors="coerce"`` that was not kept, because its chunk had too many."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended a chunk, where, and the worker's traceback as text (empty where it has its own)."""

    offset: int
    exception: BaseException
    traceback_text: str = ""
    by_function: bool = False


class Timing(NamedTuple):
    """Who did a chunk, and when, by ``time.perf_counter`` of its machine."""

    pid: int
    thread: int
    began: float
    ready: float
    loaded: float
    called: float
    written: float


class Assigned(NamedTuple):
    """What a function did to rows of which pandas allows one assignment; see :mod:`pdparallel.data.fastpath.row`."""

    first: int | None
    shares: bool
    unshared: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one chunk: ``returns`` holds what ``func`` returned for each unit from ``chunk.start`` on."""

    chunk: Chunk
    returns: list[Any] | Packed
    failure: Failure | None = None
    seconds: float = 0.0
    timing: Timing | None = None
    assigned: Assigned | None = None

    @property
    def done(self) -> int:
        """Units that are done: all, or those before the failure."""
        return len(self.chunk) if self.failure is None else len(self.returns)

    def count_failed(self) -> int:
        """Count the calls that failed where ``errors=`` lets the others go on."""
        # What is packed has no failures in it.
        return list(map(type, self.returns)).count(Failed) if isinstance(self.returns, list) else 0


def note_initializer(exception: BaseException) -> None:
    """Add the note that the initializer raised an exception."""
    exception.add_note(_OF_INITIALIZER)


def is_of_initializer(exception: BaseException) -> bool:
    """Whether an exception has the note of :func:`note_initializer`."""
    return _OF_INITIALIZER in getattr(exception, "__notes__", ())
