"""Fakes of libraries whose objects belong to an event loop: a pool of connections as asyncpg has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

__all__ = ["Connection", "InterfaceError", "Pool", "create_pool", "open_connections"]

_open: set[Connection] = set()


def open_connections() -> int:
    """Return how many connections of all pools are open. A test that leaves one has a leak."""
    return len(_open)


class InterfaceError(Exception):
    """Raised for a wrong use, with the texts of asyncpg."""


class Connection:
    """A connection. It does one thing at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._is_busy = False
        _open.add(self)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return what the function of the pool answers to a query."""
        if self not in _open:
            raise InterfaceError("connection is closed")
        if self._is_busy:
            raise InterfaceError("cannot perform operation: another operation is in progress")
        self._is_busy = True
        self._pool.queries += 1
        try:
            await self._pool.wait()
        finally:
            self._is_busy = False
        return self._pool.answer(query, *args)

    def terminate(self) -> None:
        """Close the connection at once."""
        _open.discard(self)


class Pool:
    """A pool that belongs to the loop that awaited it.

    Attributes
    ----------
    opened, queries : int
        Connections that were opened so far, and queries that were begun.
    """

    def __init__(self, max_size: int, latency: float, answer: Callable[..., Any]) -> None:
        self._max_size = max_size
        self._latency = latency
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._is_closed = False
        self.answer = answer
        self.opened = self.queries = 0

    def __await__(self) -> Generator[Any, None, Pool]:
        self._loop = asyncio.get_running_loop()
        yield from asyncio.sleep(0).__await__()
        return self

    async def __aenter__(self) -> Pool:
        return await self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def wait(self) -> None:
        """Wait on the pool's own loop. On another one, asyncio raises what users of asyncpg see there."""
        if asyncio.get_running_loop() is self._loop:
            await asyncio.sleep(self._latency)
        else:
            await self._loop.create_future()

    def acquire(self) -> _Acquired:
        """Return a context manager whose target is a connection. It can be awaited, too."""
        return _Acquired(self)

    async def take(self) -> Connection:
        """Return an idle connection, open one, or wait for one."""
        while not self._is_closed and not self._idle and len(self._busy) == self._max_size:
            future = self._loop.create_future()
            self._waiting.append(future)
            await future
        if self._is_closed:
            raise InterfaceError("pool is closed")
        is_new = not self._idle
        connection = Connection(self) if is_new else self._idle.pop()
        self._busy.add(connection)
        if is_new:
            self.opened += 1
            try:
                await self.wait()
            except BaseException:
                connection.terminate()
                self.put_back(connection)
                raise
        return connection

    async def release(self, connection: Connection) -> None:
        """Give a connection back that was acquired by `await`."""
        self.put_back(connection)

    def put_back(self, connection: Connection) -> None:
        self._busy.remove(connection)
        if connection in _open:
            self._idle.append(connection)
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def close(self) -> None:
        """Wait until all connections were given back, and close them."""
        self._is_closed = True
        self._wake()
        while self._busy:
            future = self._loop.create_future()
            self._waiting.append(future)
            await future
        self.terminate()

    def terminate(self) -> None:
        """Close all connections at once."""
        self._is_closed = True
        for connection in (*self._idle, *self._busy):
            connection.terminate()
        self._idle.clear()


class _Acquired(AbstractAsyncContextManager[Connection]):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._pool.take().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.put_back(self._connection)


def _first_argument(query: str, *args: Any) -> Any:
    return args[0] if args else query


def create_pool(max_size: int = 10, latency: float = 0.0, answer: Callable[..., Any] = _first_argument) -> Pool:
    """Return a pool, to be awaited or entered. As in asyncpg this is no coroutine function."""
    return Pool(max_size, latency, answer)
