"""Warm: keeps a pool between two calls, lends it, and lets it go after some idle minutes, on a fork, and at exit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pdparallel.idle import IdleTimer

__all__ = ["Kept", "Warm", "drop_all"]

#: Seconds without a call until a pool goes away.
IDLE_SECONDS = 300.0


class Kept(Protocol):
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


P = TypeVar("P", bound=Kept)


class Warm(Generic[P]):
    """Holds at most one idle pool; a call that wants another kind of pool replaces it.

    Several threads may borrow the same pool at once.
    """

    _all: ClassVar[list[Warm[Any]]] = []  # of every kind of pool

    def __init__(self) -> None:
        self._begin()
        Warm._all.append(self)
        if hasattr(os, "register_at_fork"):
            # A fork copies the parent's pool, whose workers and pipes are not the child's to use or to end, and
            # perhaps a lock that another thread held.
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._key: Hashable = None
        self._pool: P | None = None
        self._borrowed: dict[int, tuple[P, int]] = {}
        self._idle = IdleTimer(self._lock, self._drop_if_idle)

    def borrow(self, key: Hashable, make: Callable[[], P]) -> P:
        """The pool of that key: the one that is kept, if it is sound, else a new one."""
        with self._lock:
            if self._pool is not None and (self._key != key or not self._pool.usable):
                self._retire()
            if self._pool is None:
                self._pool, self._key = make(), key
            pool, times = self._borrowed.get(id(self._pool), (self._pool, 0))
            self._borrowed[id(pool)] = (pool, times + 1)
            return pool

    def has(self, key: Hashable) -> bool:
        """Whether a pool of that key is kept whose workers run."""
        with self._lock:
            return self._pool is not None and self._key == key and self._pool.up

    def give_back(self, pool: P, *, kill: bool = False) -> bool:
        """End one borrowing; with ``kill`` the pool ends at once, unless another call has it too.

        Returns
        -------
        bool
            Whether another one has it.
        """
        with self._lock:
            if id(pool) not in self._borrowed:  # by the parent, of which this process is a fork
                return False
            _, times = self._borrowed[id(pool)]
            if times > 1:
                self._borrowed[id(pool)] = (pool, times - 1)
                return True
            self._borrowed.pop(id(pool), None)
            if pool is not self._pool or kill:
                if pool is self._pool:
                    self._pool = None
                pool.end(kill=kill)
            else:
                self._idle.used(IDLE_SECONDS)
            return False

    def drop(self) -> None:
        """Let the idle pool go."""
        with self._lock:
            self._idle.stop()
            if self._pool is not None:
                self._retire()

    def _drop_if_idle(self) -> None:
        if self._pool is not None and id(self._pool) not in self._borrowed:  # else who gives it back counts anew
            self._retire()

    def _retire(self) -> None:
        assert self._pool is not None
        pool, self._pool = self._pool, None
        if id(pool) not in self._borrowed:  # else whoever has it ends it
            pool.end(kill=False)


def drop_all() -> None:
    """Let every idle pool go."""
    for warm in Warm._all:
        warm.drop()
