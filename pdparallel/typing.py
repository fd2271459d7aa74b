"""Types that appear in more than one signature. Nothing here runs."""

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
    "RetryOn",
    "RowKind",
    "Scalar",
    "Sequenced",
    "Serializer",
    "StartMethod",
    "UnitFormat",
    "UnitSink",
]

#: A user's function.
Func: TypeAlias = Callable[..., Any]
#: The engines that have a name; see ``engine=`` of :class:`pdparallel.Options`.
EngineName: TypeAlias = Literal["auto", "process", "pathos", "thread", "serial", "asyncio", "numba", "dask", "ray"]
#: What happens after the function raises.
Errors: TypeAlias = Literal["raise", "coerce", "return"]
#: How worker processes start.
StartMethod: TypeAlias = Literal["forkserver", "spawn", "fork"]
#: The package that serializes the function and its arguments.
Serializer: TypeAlias = Literal["dill", "cloudpickle"]
#: Exceptions after which a call runs again.
RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...] | list[type[Exception]] | Callable[[Any], bool]
#: Where progress is shown.
Progress: TypeAlias = (
    bool
    | Literal["text", "notebook", "log"]
    | logging.Logger
    | logging.LoggerAdapter[Any]
    | Callable[[int, Any], object]
)
#: As in pandas.
ResultType: TypeAlias = Literal["expand", "reduce", "broadcast"] | None
#: Types of a row that the function can get.
RowKind: TypeAlias = Literal["series", "namedtuple", "tuple", "dict", "array"]
#: How the results of chunks are combined.
Combine: TypeAlias = Literal["auto", "concat", "list"] | Callable[[list[Any]], Any]

#: How the function gets each unit of the data; see :mod:`pdparallel.data.iterate`.
UnitFormat: TypeAlias = Literal[
    "row", "row-broadcast", "row-array", "row-tuple", "row-namedtuple", "row-dict",
    "column", "column-broadcast", "column-array",
    "value", "item", "star", "unit", "chunk",
]  # fmt: skip


class UnitSink(Protocol):
    """Receiver of units, which calls the function with each and keeps its return."""

    #: Position of the first row that the function assigned to, if pandas' rows are read-only views.
    wrote: int | None
    #: Whether pandas lets the next assignment fail.
    unshared: bool

    def call_shared(self, unit: Any) -> None:
        """Take a unit that the caller may reuse with other data in it."""

    def start_block(self, most: int) -> int:
        """Start a block of at most ``most`` units; return how many ``call_in_block`` or ``call_owned`` may take."""

    def call_in_block(self, unit: Any) -> None:
        """Take a unit of a block that the caller may reuse with other data in it."""

    def call_owned(self, unit: Any) -> None:
        """Take a unit of a block that the caller does not reuse."""

    def call_each(self, units: Iterable[Any]) -> None:
        """Take units that the caller does not reuse, one after the other."""


class ProgressSlots(Protocol):
    """Slots for the progress of a worker in its chunk: the numbers of ``transport.shared_memory.Running``."""

    def __setitem__(self, at: int, value: int, /) -> None:
        """Set one of the numbers."""


# Options by name, so that a type checker finds misspelt ones


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


#: A user's executor or pool, a Dask cluster, or the address of a Dask scheduler, which may be any text.
EngineObject: TypeAlias = _Executor | _Pool | _PathosPool | _Cluster | str


class OptionsButErrors(TypedDict, total=False):
    """The options of a call without ``errors``, on which the type of some results depends."""

    engine: EngineName | EngineObject
    n_workers: int | None
    max_concurrency: int
    chunk_size: int | None
    start_method: StartMethod | None
    progress: Progress
    desc: str | None
    retry_on: RetryOn
    retries: int
    retry_wait: float | datetime.timedelta
    rate_limit: float | str | None
    timeout: float | datetime.timedelta | None
    threads_per_worker: int | None
    serializer: Serializer
    checkpoint: str | os.PathLike[str] | None
    seed: int | None
    initializer: Callable[..., Any] | None
    initargs: tuple[Any, ...] | list[Any]
    capture_output: bool | None
    check: float | Literal["exact"] | None


class OptionsDict(OptionsButErrors, total=False):
    """The options of a call, for ``**options``; see :class:`pdparallel.Options` for their meaning."""

    errors: Errors


# Results: a method returns the result, or in the background a future of it. For some functions the annotation tells
# which pandas type it is.

#: Types of results: a Series, a frame, either of them, or the type of the data of the call.
AsSeries = TypeVar("AsSeries")
AsFrame = TypeVar("AsFrame")
AsEither = TypeVar("AsEither")
AsWhole = TypeVar("AsWhole")

#: Returns that pandas takes for a single value, even with ``result_type="expand"``.
Scalar: TypeAlias = (
    str | bytes | bool | int | float | complex | np.generic
    | datetime.date | datetime.time | datetime.timedelta | None
)  # fmt: skip

#: Returns that become columns with ``result_type="expand"``.
Sequenced: TypeAlias = list[Any] | tuple[Any, ...] | np.ndarray


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


#: Returns that are one object in a Series. Hashable excludes Series and frames. (An overload for all other types
#: would match theirs, too. The result of a function with return type Any would then have no type.)
Plain: TypeAlias = Hashable | _Dataclass | list[Any] | Mapping[Any, Any] | AbstractSet[Any] | np.ndarray

#: Arguments that pandas applies without a call of a user's function for each unit.
Named: TypeAlias = str | list[Any] | Mapping[Any, Any] | np.ufunc
