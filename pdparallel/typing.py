"""Names for the types that appear in more than one signature; nothing here runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias

__all__ = [
    "Combine",
    "EngineName",
    "Errors",
    "Func",
    "Hand",
    "Notes",
    "Progress",
    "ResultType",
    "RowKind",
    "Serializer",
    "StartMethod",
    "Taker",
]

Func: TypeAlias = Callable[..., Any]
EngineName: TypeAlias = Literal["auto", "process", "pathos", "thread", "serial"]
Errors: TypeAlias = Literal["raise", "coerce", "return"]
StartMethod: TypeAlias = Literal["forkserver", "spawn", "fork"]
Serializer: TypeAlias = Literal["dill", "cloudpickle"]
Progress: TypeAlias = (
    bool
    | Literal["text", "notebook", "log"]
    | logging.Logger
    | logging.LoggerAdapter[Any]
    | Callable[[int, Any], object]
)
ResultType: TypeAlias = Literal["expand", "reduce", "broadcast"] | None
RowKind: TypeAlias = Literal["series", "namedtuple", "tuple", "dict", "array"]
Combine: TypeAlias = Literal["auto", "concat", "list"] | Callable[[list[Any]], Any]

#: How ``func`` is handed each unit of the data; see :mod:`pdparallel.rows`.
Hand: TypeAlias = Literal[
    "row", "row-broadcast", "row-array", "row-tuple", "row-namedtuple", "row-dict",
    "column", "column-broadcast", "column-array",
    "value", "item", "star", "unit", "chunk",
]  # fmt: skip


class Taker(Protocol):
    """Calls the function of a call with units, and keeps what it returns."""

    def one(self, unit: Any) -> None:
        """Take a unit that may be handed out again with other data in it."""

    def block(self, most: int) -> int:
        """Begin a block of units, of so many at most: how many may follow by ``in_block``."""

    def in_block(self, unit: Any) -> None:
        """Take a unit of a block, which may be handed out again with other data in it."""

    def all(self, units: Iterable[Any]) -> None:
        """Take units that are objects of their own, one after the other."""


class Notes(Protocol):
    """Where the one who works on a chunk notes what runs: three numbers, those of a Running of the arena."""

    def __setitem__(self, at: int, value: int, /) -> None:
        """Note one of them."""
