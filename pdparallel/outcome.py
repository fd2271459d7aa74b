"""Outcome: what a worker says of a chunk: the recorded returns by position, and the first failure if there was one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pdparallel.packing import Packed
from pdparallel.plan import Chunk

__all__ = ["Failure", "Outcome"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, where it happened, and the worker's traceback as text (empty where the exception has its own).

    ``offset`` counts from the start of the chunk.
    """

    offset: int
    exception: BaseException
    traceback_text: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one chunk: ``returns`` holds what ``func`` returned for each unit from ``chunk.start`` on.

    With a failure, ``returns`` ends just before it.  A chunk function has one return for the whole chunk.
    ``seconds`` is how long the calls took.
    """

    chunk: Chunk
    returns: list[Any] | Packed
    failure: Failure | None = None
    seconds: float = 0.0
