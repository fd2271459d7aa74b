"""Cache that keeps a few pools for the next call.

It ends a pool after some idle minutes. A forked child starts with an empty cache.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pdparallel.core.lifetime import IdleTimer

__all__ = ["MAX_CACHED_POOLS", "CachedPool", "PoolCache", "drop_all"]

#: Seconds without a call after which a pool is ended.
IDLE_SECONDS = 300.0

#: Largest number of cached process pools. Calls that alternate between few settings then start no new workers. Each
#: pool costs the memory of its idle workers.
MAX_CACHED_POOLS = 3


class CachedPool(Protocol):
    """Pool that :class:`PoolCache` can keep."""

    @property
    def usable(self) -> bool:
        """True if the pool takes tasks."""
        ...

    @property
    def up(self) -> bool:
        """True if the workers run; by default the same as ``usable``."""
        return self.usable

    def end(self, *, kill: bool) -> None:
        """End the workers, with ``kill`` at once."""
        ...


P = TypeVar("P", bound=CachedPool)


class PoolCache(Generic[P]):
    """Cache of the most recent pools, one per key; several threads may use the same pool."""

    _all: ClassVar[list[PoolCache[Any]]] = []  # caches of all kinds of pools

    def __init__(self, keep: int = 1) -> None:
        self._keep = keep
        self._begin()
        PoolCache._all.append(self)
        if hasattr(os, "register_at_fork"):
            # A fork copies the parent's pools, which the child must not use or end. It may copy a locked lock, too.
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._pools: dict[Hashable, P] = {}  # the most recently acquired pool is last
        self._idle: dict[Hashable, IdleTimer] = {}
        self._borrowed: dict[int, tuple[P, int]] = {}

    def acquire(self, key: Hashable, make: Callable[[], P]) -> P:
        """Return the cached pool of a key if it is usable, else a new one."""
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
        _end(unused)  # without the lock, because it may take seconds
        return pool

    def is_ready(self, key: Hashable) -> bool:
        """Return whether a pool of that key is cached and its workers run."""
        with self._lock:
            return key in self._pools and self._pools[key].up

    def release(self, pool: P, *, kill: bool = False) -> bool:
        """Release a pool; return True if another call uses it. If none does, ``kill`` ends it at once."""
        with self._lock:
            if id(pool) not in self._borrowed:  # acquired by the parent of this fork
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
        """End the idle pools; a pool in use ends when it is released."""
        with self._lock:
            unused = self._unused([self._taken_out(key) for key in list(self._pools)])
        _end(unused)

    def _drop_if_idle(self, key: Hashable, pool: P) -> Callable[[], None] | None:
        # Another thread may have acquired the pool meanwhile. Its release starts the timer again.
        if self._pools.get(key) is not pool or id(pool) in self._borrowed:
            return None
        return functools.partial(_end, [self._taken_out(key)])

    def _taken_out(self, key: Hashable) -> P:
        """Remove a pool from the cache, under the lock."""
        idle = self._idle.pop(key, None)
        if idle is not None:
            idle.stop()
        return self._pools.pop(key)

    def _unused(self, pools: list[P]) -> list[P]:
        """Return the pools that no call uses; the release of the others ends them."""
        return [pool for pool in pools if id(pool) not in self._borrowed]


def _end(pools: Sequence[CachedPool]) -> None:
    for pool in pools:
        pool.end(kill=False)


def drop_all() -> None:
    """End every idle pool."""
    for warm in PoolCache._all:
        warm.clear()
