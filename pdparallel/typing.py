"""Names for the types that appear in more than one signature; nothing here runs."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypedDict, TypeVar

import numpy as np

__all__ = [
    "AsEither",
    "AsFrame",
    "AsSeries",
    "AsWhole",
    "Combine",
    "EngineName",
    "EngineObject",
    "Errors",
    "Func",
    "Named",
    "OptionsButErrors",
    "OptionsDict",
    "Plain",
    "Progress",
    "ProgressSlots",
    "ResultType",
    "RowKind",
    "Scalar",
    "Sequenced",
    "Serializer",
    "StartMethod",
    "UnitFormat",
    "UnitSink",
]

#: A function of the user's.
Func: TypeAlias = Callable[..., Any]
#: The engines that have a name; see ``engine=`` of :class:`pdparallel.Options`.
EngineName: TypeAlias = Literal["auto", "process", "pathos", "thread", "serial", "dask", "ray"]
#: What becomes of a call that raises.
Errors: TypeAlias = Literal["raise", "coerce", "return"]
#: How worker processes are started.
StartMethod: TypeAlias = Literal["forkserver", "spawn", "fork"]
#: What writes the function and its arguments.
Serializer: TypeAlias = Literal["dill", "cloudpickle"]
#: Where progress is shown.
Progress: TypeAlias = (
    bool
    | Literal["text", "notebook", "log"]
    | logging.Logger
    | logging.LoggerAdapter[Any]
    | Callable[[int, Any], object]
)
#: As pandas has it.
ResultType: TypeAlias = Literal["expand", "reduce", "broadcast"] | None
#: What the function gets for a row.
RowKind: TypeAlias = Literal["series", "namedtuple", "tuple", "dict", "array"]
#: What becomes of the results of chunks.
Combine: TypeAlias = Literal["auto", "concat", "list"] | Callable[[list[Any]], Any]

#: How ``func`` is handed each unit of the data; see :mod:`pdparallel.data.iterate`.
UnitFormat: TypeAlias = Literal[
    "row", "row-broadcast", "row-array", "row-tuple", "row-namedtuple", "row-dict",
    "column", "column-broadcast", "column-array",
    "value", "item", "star", "unit", "chunk",
]  # fmt: skip


class UnitSink(Protocol):
    """Calls the function of a call with units, and keeps what it returns.

    Attributes
    ----------
    wrote : int or None
        Set to the position of the first row that was assigned to, if pandas allows one assignment.
    unshared : bool
        Set to whether pandas lets the next assignment fail.
    """

    wrote: int | None
    unshared: bool

    def call_shared(self, unit: Any) -> None:
        """Take a unit that may be handed out again with other data in it."""

    def start_block(self, most: int) -> int:
        """Begin a block of units, of so many at most: how many may follow by ``in_block`` or ``call_owned``."""

    def call_in_block(self, unit: Any) -> None:
        """Take a unit of a block, which may be handed out again with other data in it."""

    def call_owned(self, unit: Any) -> None:
        """Take a unit of a block that is an object of its own."""

    def call_each(self, units: Iterable[Any]) -> None:
        """Take units that are objects of their own, one after the other."""


class ProgressSlots(Protocol):
    """Where the one who works on a chunk notes what runs: three numbers, those of a Running of the arena."""

    def __setitem__(self, at: int, value: int, /) -> None:
        """Note one of them."""


# Options: who misspells one is told so by the type checker


class _Executor(Protocol):
    @property
    def submit(self) -> Callable[..., Any]: ...


class _Pool(Protocol):
    @property
    def apply_async(self) -> Callable[..., Any]: ...


class _Cluster(Protocol):
    @property
    def scheduler_address(self) -> str: ...


class _PathosPool(Protocol):
    @property
    def apipe(self) -> Callable[..., Any]: ...


#: An executor or pool of the user's, a cluster of Dask's, or the address of its scheduler, which may be any text.
EngineObject: TypeAlias = _Executor | _Pool | _PathosPool | _Cluster | str


class OptionsButErrors(TypedDict, total=False):
    """The options of a call, all but the one that says what becomes of exceptions."""

    engine: EngineName | EngineObject
    n_workers: int | None
    chunk_size: int | None
    start_method: StartMethod | None
    progress: Progress
    desc: str | None
    retries: int
    timeout: float | datetime.timedelta | None
    threads_per_worker: int | None
    serializer: Serializer
    checkpoint: str | os.PathLike[str] | None
    seed: int | None
    initializer: Callable[..., Any] | None
    initargs: tuple[Any, ...] | list[Any]
    capture_output: bool | None


class OptionsDict(OptionsButErrors, total=False):
    """The options of a call: what ``**options`` may be; see :class:`pdparallel.Options` for what they mean."""

    errors: Errors


# Results: a verb gives the result, or in the background a future of it.  Which of pandas' types that is, the function's
# annotation tells in some cases

#: A result that is a Series, one that is a frame, one that may be either, and one like what the call is made upon.
AsSeries = TypeVar("AsSeries")
AsFrame = TypeVar("AsFrame")
AsEither = TypeVar("AsEither")
AsWhole = TypeVar("AsWhole")

#: What pandas takes for a single value, also where it is asked to expand.
Scalar: TypeAlias = (
    str | bytes | bool | int | float | complex | np.generic
    | datetime.date | datetime.time | datetime.timedelta | None
)  # fmt: skip

#: What pandas makes columns of where it is asked to.
Sequenced: TypeAlias = list[Any] | tuple[Any, ...] | np.ndarray


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


#: What is one object in a Series.  Without names of each: what has a hash is no Series, and no frame.  (An overload for
#: all that is left would match whatever another one matches, and leave nothing decided for functions of Any.)
Plain: TypeAlias = Hashable | _Dataclass | list[Any] | Mapping[Any, Any] | AbstractSet[Any] | np.ndarray

#: What pandas applies without calling a function of the user's for each unit.
Named: TypeAlias = str | list[Any] | Mapping[Any, Any] | np.ufunc
