"""Source: the items of an iterable that is read only as far as its items are worked on, for it may have no end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from pdparallel.core.chunking import CHUNK_SECONDS, TASK_SECONDS, Chunk, next_size
from pdparallel.core.units import Units
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.typing import UnitSink

__all__ = ["Source"]

#: Seconds of reading after which a chunk is sent with the items that it has by then.
READ_SECONDS = CHUNK_SECONDS / 2

#: Bytes that the items of a chunk, and what is returned for them, should have at most, as far as that is known.
CHUNK_BYTES = 1 << 24


class Source(Units):
    """The pending units of a call (:class:`pdparallel.core.chunking.PendingUnits`), and the data of its chunks."""

    few = 1
    by_chunk = True

    def __init__(self, iterable: Iterable[Any], total: int | None) -> None:
        self._items: dict[int, Any] = {}
        self._done: list[Chunk] = []
        self._read = self._taken = 0
        self._ended = False
        self.error: Exception | None = None
        self._total = total
        self._iterator = iter(iterable)

    # What is left

    def __len__(self) -> int:
        """How many are left; of an iterable that does not say how many it has, as many as were taken already."""
        if self._read == self._taken:
            self._read_one()
        known = self._read - self._taken
        if self._ended:
            return known
        return max(known, self._taken if self._total is None else self._total - self._taken)

    def __bool__(self) -> bool:
        return self._read > self._taken or self._read_one()

    def first(self, size: int) -> Chunk:
        """The first that are left: so many at most, and fewer where reading them takes long."""
        while self._done:
            chunk = self._done.pop()
            for at in range(chunk.start, chunk.stop):
                del self._items[at]
        until = time.perf_counter() + READ_SECONDS
        while self._read - self._taken < size and self._read_one():
            if time.perf_counter() >= until:
                break
        return Chunk(self._taken, min(self._read, self._taken + size))

    def drop(self, stop: int) -> None:
        """Take what lies before a position."""
        self._taken = stop

    def next_size(self, n_workers: int, seconds: float | None, size: float, task_seconds: float = TASK_SECONDS) -> int:
        """How many the next chunk takes: a few at first, and never more than were taken before."""
        if seconds is None:
            return 1
        units = next_size(max(1, self._taken), n_workers, seconds, task_seconds)
        return max(1, min(units, int(CHUNK_BYTES / max(size, 1.0))))

    def _read_one(self) -> bool:
        if self._ended:
            return False
        try:
            item = next(self._iterator)
        except StopIteration:
            self._ended = True
            return False
        except Exception as error:  # for whoever gets what comes of the items before it, and then this
            self._ended, self.error = True, error
            return False
        self._items[self._read] = item
        self._read += 1
        return True

    # The data

    def cut(self, start: int, stop: int) -> Any:
        """The items, as a list."""
        return [self._items[at] for at in range(start, stop)]

    def item(self, position: int) -> Any:
        """An item that was not forgotten."""
        return self._items[position]

    def forget(self, chunk: Chunk) -> None:
        """Drop items that are done, when the next ones are asked for: until then somebody may look at them."""
        self._done.append(chunk)

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        """Give it what is kept."""
        sink.call_each(list(self._items.values()))
