"""Ways: how the tables run each case, so that one case sees every cut, every transport and no cost of processes.

Most cases run on the serial engine with a reach beyond the process: everything is serialised, cut, loaded, recorded
and sent back as for real workers, in this process.  The real engines have a table of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import unittest.mock
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pdparallel.core.validation import goes_to_pandas
from pdparallel.engines.serial import SerialEngine
from pdparallel.operations.groupby import is_replaced
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing._force import force
from pdparallel.transport.task import Locality

__all__ = ["SOME_WAYS", "WAYS", "Way", "assert_same_on_all", "drawn", "running", "ways_for"]


class Way(NamedTuple):
    """One way to run a case.

    ``locality`` is how the data travels; with ``takes_over`` the parent does the first chunk itself, as ``auto`` does;
    with ``alone`` it does all, and groups are tried lazy as soon as pandas has begun; with ``begins`` small calls begin
    in pandas, or without a runner, and are stopped after one unit. With ``awaits`` the function is a coroutine function
    that does the same. ``chunk_size`` None stands for one chunk over all.
    """

    chunk_size: int | None
    locality: Locality
    takes_over: bool = False
    alone: bool = False
    begins: bool = False
    awaits: bool = False

    @property
    def options(self) -> dict[str, Any]:
        return {
            # "process" is patched to be the serial engine
            "engine": "auto" if self.takes_over or self.alone or self.begins or self.awaits else "process",
            "chunk_size": None if self.begins or self.awaits else self.chunk_size or 1_000_000,
            "n_workers": 1 if self.alone else 2,
        }


#: Chunks of 1, 2, 7 and all units, each transport, a parent that does the first chunk itself, or all, and small calls.
WAYS = (
    Way(1, Locality.HOST),
    Way(2, Locality.ANYWHERE),
    Way(2, Locality.HOST, takes_over=True),
    Way(7, Locality.STORE),
    Way(None, Locality.HOST),
    Way(2, Locality.HOST, alone=True),
    Way(None, Locality.HOST, begins=True),
    Way(None, Locality.PROCESS, awaits=True),
)

#: A chunk for each unit, a parent that hands over, and one that is stopped where small calls begin.
SOME_WAYS = (WAYS[0], WAYS[2], WAYS[6])


def drawn(one_of: int, *case: object) -> bool:
    """Whether a case is in the fixed part of a broad table that runs by default; with ORACLE=all each is."""
    return os.environ.get("ORACLE") == "all" or zlib.crc32(repr(case).encode()) % one_of == 0


def ways_for(*case: object) -> tuple[Way, ...]:
    """Two of the ways, other ones for other cases, so that a broad table sees all; all with ORACLE=all."""
    if os.environ.get("ORACLE") == "all":
        return WAYS
    first = zlib.crc32(repr(case).encode()) % len(WAYS)
    return WAYS[first], WAYS[(first + 2) % len(WAYS)]


@contextlib.contextmanager
def running(way: Way) -> Iterator[None]:
    """Let calls inside the block run in this way."""
    with contextlib.ExitStack() as patches:
        # After its first chunk the parent finds any rest worth a pool, and waits for the pool, which is up at once. One
        # group is tried lazily, and saves enough.
        force(
            lambda *at: patches.enter_context(unittest.mock.patch.object(*at)),
            engine=lambda options: SerialEngine(way.locality),
            warm=False,
            seconds_saved=1e9,
            groups_tried=1,
            look_seconds=-1.0,
            cold_worth_seconds=-1.0,
            warm_worth_seconds=-1.0,
            answer_seconds=1.0,
            trial_worth_seconds=-1.0,
            lazy_worth_seconds=-1e9,
            lazy_seconds=-1e9,
        )
        yield


def assert_same_on_all(
    make: Callable[[], Any],
    pandas: Callable[[Any], Any],
    ours: Callable[[Any], Any],
    ways: tuple[Way, ...] = WAYS,
) -> None:
    """Assert that ours gives on each way what pandas gives.

    Parameters
    ----------
    make : callable
        Makes the frame or Series anew for each call, for functions may write into what they are given.
    pandas : callable
        Takes the frame; the call of pandas.
    ours : callable
        Takes the accessor with the options of the way; the call of pdparallel.
    ways : tuple of Way
    """
    answer = _once(lambda: pandas(make()))
    for way in ways:
        with running(way):
            obj = make()
            try:
                assert_same_as_pandas(lambda obj=obj, way=way: ours(_accessor(obj, way)), answer)
            except AssertionError as error:
                if way.awaits and _stops(answer):
                    continue  # Python turns a StopIteration of a coroutine into a RuntimeError
                error.add_note(f"on {way}")
                raise


def _stops(answer: Callable[[], Any]) -> bool:
    try:
        answer()
    except StopIteration:
        return True
    except Exception:
        return False
    return False


#: Methods whose first argument is called with each unit.
_VERBS = ("agg", "aggregate", "apply", "apply_chunks", "apply_cols", "apply_rows", "filter", "map", "transform")


class _Awaiting:
    """An accessor, or what it returns, that gives coroutine functions to its methods."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __call__(self, **options: Any) -> Any:
        return _Awaiting(self._of(**options))

    def __getitem__(self, key: Any) -> Any:
        return _Awaiting(self._of[key])

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if name not in _VERBS:
                made = found(*args, **kwargs)
                return _Awaiting(made) if type(made).__module__.startswith("pdparallel.") else made
            if "func" in kwargs:
                kwargs["func"] = coroutine_of(kwargs["func"])
            return found(*map(coroutine_of, args[:1]), *args[1:], **kwargs)

        return call


def coroutine_of(func: Any) -> Any:
    """The coroutine function that does what a function of the user does; anything else as it is."""
    if not callable(func) or isinstance(func, (np.ufunc, type)) or goes_to_pandas(func) or is_replaced(func):
        return func

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return func(*args, **kwargs)

    # Every other test calls it in a plain function.
    is_plain = zlib.crc32(os.environ.get("PYTEST_CURRENT_TEST", "").encode()) % 2
    return (lambda *args, **kwargs: awaited(*args, **kwargs)) if is_plain else awaited


def _accessor(obj: Any, way: Way) -> Any:
    par = obj.par(**way.options)
    return _Awaiting(par) if way.awaits else par


def _once(call: Callable[[], Any]) -> Callable[[], Any]:
    """The same result, or the same error, at each call, from one call."""
    kept: list[Callable[[], Any]] = []

    def give() -> Any:
        if not kept:
            try:
                value = call()
                kept.append(lambda: value)
            except Exception as raised:
                error = raised
                kept.append(lambda: _raise(error))
        return kept[0]()

    return give


def _raise(error: Exception) -> Any:
    raise error
