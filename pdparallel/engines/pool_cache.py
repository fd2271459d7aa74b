"""Warm: keeps a few pools between two calls, lends them, and lets them go after some idle minutes and on a fork."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pdparallel.core.lifetime import IdleTimer

__all__ = ["MAX_CACHED_POOLS", "CachedPool", "PoolCache", "drop_all"]

#: Seconds without a call until a pool goes away.
IDLE_SECONDS = 300.0

#: Pools of processes that are kept, so that calls which alternate between some settings start no new workers.  Each
#: pool costs the memory of its idle workers.
MAX_CACHED_POOLS = 3


class CachedPool(Protocol):
    """A pool that can be kept."""

    @property
    def usable(self) -> bool:
        """Whether it takes tasks."""
        ...

    @property
    def up(self) -> bool:
        """Whether its workers run: at once, unless it says something else."""
        return self.usable

    def end(self, *, kill: bool) -> None:
        """Let its workers go, with ``kill`` at once."""
        ...


P = TypeVar("P", bound=CachedPool)


class PoolCache(Generic[P]):
    """Keeps the pools that were used last, one for each key, and lends them."""

    _all: ClassVar[list[PoolCache[Any]]] = []  # of every kind of pool

    def __init__(self, keep: int = 1) -> None:
        self._keep = keep
        self._begin()
        PoolCache._all.append(self)
        if hasattr(os, "register_at_fork"):
            # A fork copies the parent's pool, whose workers and pipes are not the child's to use or to end, and
            # perhaps a lock that another thread held.
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._pools: dict[Hashable, P] = {}  # the one that was borrowed last comes last
        self._idle: dict[Hashable, IdleTimer] = {}
        self._borrowed: dict[int, tuple[P, int]] = {}

    def acquire(self, key: Hashable, make: Callable[[], P]) -> P:
        """The pool of that key: the one that is kept, if it is sound, else a new one."""
        with self._lock:
            retired = []
            if key in self._pools and not self._pools[key].usable:
                retired.append(self._taken_out(key))
            pool = self._pools.pop(key) if key in self._pools else make()
            self._pools[key] = pool
            while len(self._pools) > self._keep:
                retired.append(self._taken_out(next(iter(self._pools))))
            _, times = self._borrowed.get(id(pool), (pool, 0))
            self._borrowed[id(pool)] = (pool, times + 1)
            unused = self._unused(retired)
        _end(unused)
        return pool

    def is_ready(self, key: Hashable) -> bool:
        """Whether a pool of that key is kept whose workers run."""
        with self._lock:
            return key in self._pools and self._pools[key].up

    def release(self, pool: P, *, kill: bool = False) -> bool:
        """End one borrowing; with ``kill`` the pool ends at once, unless another call has it too."""
        with self._lock:
            if id(pool) not in self._borrowed:  # by the parent, of which this process is a fork
                return False
            _, times = self._borrowed[id(pool)]
            if times > 1:
                self._borrowed[id(pool)] = (pool, times - 1)
                return True
            del self._borrowed[id(pool)]
            key = next((key for key, kept in self._pools.items() if kept is pool), None)
            if key is not None and not kill:
                if key not in self._idle:
                    self._idle[key] = IdleTimer(self._lock, functools.partial(self._drop_if_idle, key, pool))
                self._idle[key].used(IDLE_SECONDS)
                return False
            if key is not None:
                self._taken_out(key)
        pool.end(kill=kill)
        return False

    def clear(self) -> None:
        """Let the idle pools go; one that a call has goes when that gives it back."""
        with self._lock:
            unused = self._unused([self._taken_out(key) for key in list(self._pools)])
        _end(unused)

    def _drop_if_idle(self, key: Hashable, pool: P) -> Callable[[], None] | None:
        # Another thread may have been quicker. The time begins again when a pool is given back.
        if self._pools.get(key) is not pool or id(pool) in self._borrowed:
            return None
        return functools.partial(_end, [self._taken_out(key)])

    def _taken_out(self, key: Hashable) -> P:
        """Do not keep a pool any more, under the lock."""
        idle = self._idle.pop(key, None)
        if idle is not None:
            idle.stop()
        return self._pools.pop(key)

    def _unused(self, pools: list[P]) -> list[P]:
        """Those that nobody has; who has one ends it."""
        return [pool for pool in pools if id(pool) not in self._borrowed]


def _end(pools: Sequence[CachedPool]) -> None:
    for pool in pools:
        pool.end(kill=False)


def drop_all() -> None:
    """Let every idle pool go."""
    for warm in PoolCache._all:
        warm.clear()
