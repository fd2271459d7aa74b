"""Items of an iterable that is read only as far as workers need items, because it may be infinite."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from pdparallel.core.chunking import CHUNK_SECONDS, TASK_SECONDS, Chunk, next_size
from pdparallel.core.units import Units
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.typing import UnitSink

__all__ = ["Source"]

#: Seconds of reading after which a chunk is sent with the items read so far.
READ_SECONDS = CHUNK_SECONDS / 2

#: Largest number of bytes of the items of a chunk and their returns, as far as known.
CHUNK_BYTES = 1 << 24


class Source(Units):
    """Pending units of a call (:class:`pdparallel.core.chunking.PendingUnits`) and the data of its chunks."""

    few = 1
    by_chunk = True

    def __init__(self, iterable: Iterable[Any], total: int | None) -> None:
        # An item is kept until its chunk is done: if a worker dies, the item is sent again.
        self._items: dict[int, Any] = {}
        self._done: list[Chunk] = []
        self._read = self._taken = 0
        self._ended = False
        self.error: Exception | None = None  # raised by the iterable, which ends it
        self._total = total
        self._iterator = iter(iterable)

    # Pending units

    def __len__(self) -> int:
        """Return the number of pending items; if the total is unknown, assume as many as were taken so far."""
        if self._read == self._taken:
            self._read_one()
        known = self._read - self._taken
        if self._ended:
            return known
        return max(known, self._taken if self._total is None else self._total - self._taken)

    def __bool__(self) -> bool:
        return self._read > self._taken or self._read_one()

    def first(self, size: int) -> Chunk:
        """Return a chunk of the next items: at most ``size``, and fewer if reading takes long."""
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
        """Mark the items before a position as taken."""
        self._taken = stop

    def next_size(self, n_workers: int, seconds: float | None, size: float, task_seconds: float = TASK_SECONDS) -> int:
        """Return the size of the next chunk: one item at first, and never more than were taken before."""
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
        except Exception as error:  # raised after the results of the items before it
            self._ended, self.error = True, error
            return False
        self._items[self._read] = item
        self._read += 1
        return True

    # The data

    def cut(self, start: int, stop: int) -> Any:
        return [self._items[at] for at in range(start, stop)]

    def item(self, position: int) -> Any:
        """Return an item that is still kept."""
        return self._items[position]

    def forget(self, chunk: Chunk) -> None:
        """Free the items of a chunk at the next call of :meth:`first`: until then the caller may read them."""
        self._done.append(chunk)

    def feed(self, sink: UnitSink, lazy: LazyGroups | None = None) -> None:
        sink.call_each(list(self._items.values()))
