"""Arithmetic of chunks: where to cut a range of positions, and which positions are still pending."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "Chunk",
    "PendingRanges",
    "PendingUnits",
    "cut",
    "cut_for_chunks",
    "cut_whole",
    "next_size",
    "pieces_for_chunks",
]

#: Rows that justify one more chunk of ``apply_chunks`` than one for each worker. Each chunk pays the fixed cost of
#: pandas (``benchmarks/when_it_helps.py``).
ROWS_WORTH_A_CHUNK = 1_000

#: Largest number of ``apply_chunks`` chunks for each worker. Several balance slow and fast chunks.
CHUNKS_PER_WORKER = 4

#: Bytes of a frame above which the chunks of ``apply_chunks`` have at most ``MAX_CHUNK_BYTES``. Memory holds several
#: chunks and their results for each worker (``benchmarks/memory.py``).
BIG_BYTES, MAX_CHUNK_BYTES = 1_000_000_000, 1 << 25

#: Divisor of the first chunk of ``apply_chunks``, if it still has ``ROWS_WORTH_A_CHUNK`` rows.
FIRST_CHUNK_PART = 8

#: Seconds of work in a chunk while much is left: more than a hundred times the overhead of a task
#: (``benchmarks/constants.py``).
CHUNK_SECONDS = 0.1

#: Overhead of a task in seconds, on an engine of this machine.
TASK_SECONDS = 0.0005

#: Shortest work of a chunk, in overheads of a task: while much is left, and near the end.
CHUNK_TASKS, CHUNK_MIN_TASKS = 100, 10

#: Shortest work of a chunk, in rounds that submit one task to each worker: submission takes time in the parent, too.
ROUNDS = 2

#: Number of chunks for each worker that all units would make, while the cost of a unit is unknown.
FIRST_PARTS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """Positions ``start:stop``, with the numbers of rows added ``before`` and ``after`` them (``overlap=``)."""

    # Not a NamedTuple: pickle and ``tuple()`` would take ``len()``, the length of the range, for the number of fields.

    start: int
    stop: int
    before: int = 0
    after: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


class PendingUnits(Protocol):
    """Units of a call that no chunk has taken yet; falsy if none are left."""

    #: Largest number of units to take while their cost is unknown.
    few: int

    def __len__(self) -> int:
        """Return the number of units, as far as it is known."""

    def first(self, size: int) -> Chunk:
        """Return the first units that are left, at most ``size``."""

    def drop(self, stop: int) -> None:
        """Remove the units before a position."""

    def next_size(self, n_workers: int, seconds: float | None, size: float, task_seconds: float = TASK_SECONDS) -> int:
        """Return the size of the next chunk, by the seconds and bytes of a unit, if they are known."""


class PendingRanges:
    """Positions of a call that no chunk has taken yet, in order; falsy if none are left.

    >>> gaps = PendingRanges(10, finished=[Chunk(2, 5)])
    >>> len(gaps), gaps.first(100)
    (7, Chunk(start=0, stop=2, before=0, after=0))
    >>> gaps.drop(6)
    >>> len(gaps), gaps.first(100)
    (4, Chunk(start=6, stop=10, before=0, after=0))
    """

    #: A time limit stops a chunk of slow units earlier.
    few = 1_000

    def __init__(self, n: int, finished: Iterable[Chunk] = (), plan: Iterable[Chunk] | None = None) -> None:
        done = sorted((chunk.start, chunk.stop) for chunk in finished)
        self._whole = plan is not None
        if plan is not None:
            starts = {start for start, _ in done}
            gaps = [chunk for chunk in plan if chunk.start not in starts]
        else:
            starts_of_gaps = [0, *(stop for _, stop in done)]
            stops_of_gaps = [*(start for start, _ in done), n]
            gaps = [Chunk(start, stop) for start, stop in zip(starts_of_gaps, stops_of_gaps, strict=True)]
        self._gaps = deque(gap for gap in gaps if len(gap))
        self._left = sum(map(len, self._gaps))

    def __len__(self) -> int:
        return self._left

    def first(self, size: int) -> Chunk:
        """Return the first positions without a gap, at most ``size``, or the next chunk of the plan."""
        gap = self._gaps[0]
        return gap if self._whole else Chunk(gap.start, min(gap.start + size, gap.stop))

    def next_size(self, n_workers: int, seconds: float | None, size: float, task_seconds: float = TASK_SECONDS) -> int:
        """Return the size of the next chunk; bytes do not matter."""
        return next_size(self._left, n_workers, seconds, task_seconds)

    def drop(self, stop: int) -> None:
        """Remove the positions before ``stop``."""
        while self._gaps and self._gaps[0].start < stop:
            gap = self._gaps.popleft()
            if gap.stop > stop:
                self._gaps.appendleft(Chunk(stop, gap.stop))
                self._left -= stop - gap.start
            else:
                self._left -= len(gap)


def cut(start: int, stop: int, *, size: int | None = None, pieces: int = 1) -> tuple[Chunk, ...]:
    """Cut ``start:stop`` into chunks of exactly ``size`` (the last may be shorter), or into ``pieces`` equal ones.

    >>> [(c.start, c.stop) for c in cut(0, 5, size=2)]
    [(0, 2), (2, 4), (4, 5)]
    >>> [(c.start, c.stop) for c in cut(0, 10, pieces=3)]
    [(0, 4), (4, 7), (7, 10)]
    """
    n = stop - start
    if n <= 0:
        return ()
    if size is not None:
        return tuple(Chunk(at, min(at + size, stop)) for at in range(start, stop, size))
    return tuple(_alike(start, n, max(1, min(pieces, n))))


def _alike(start: int, n: int, pieces: int) -> Iterator[Chunk]:
    # Sizes as of numpy.array_split: the first n % pieces chunks get one more.
    least, more = divmod(n, pieces)
    for number in range(pieces):
        stop = start + least + (number < more)
        yield Chunk(start, stop)
        start = stop


def cut_whole(sizes: list[int], *, size: int | None = None, pieces: int = 1) -> tuple[Chunk, ...]:
    """Cut between groups of the given sizes, never inside one; each chunk ends when it has enough rows.

    >>> [(c.start, c.stop) for c in cut_whole([3, 1, 1, 4], size=2)]
    [(0, 3), (3, 5), (5, 9)]
    """
    total = sum(sizes)
    aim = size if size is not None else max(1, -(-total // max(1, pieces)))
    chunks, start, stop = [], 0, 0
    for length in sizes:
        stop += length
        if stop - start >= aim:
            chunks.append(Chunk(start, stop))
            start = stop
    if stop > start:
        chunks.append(Chunk(start, stop))
    return tuple(chunks)


def pieces_for_chunks(n: int, n_workers: int, size: int = 0) -> int:
    """Return the number of ``apply_chunks`` chunks for ``n`` rows of ``size`` bytes in all. Nothing else decides it.

    >>> [pieces_for_chunks(n, 2) for n in (10, 3_000, 1_000_000)], pieces_for_chunks(1_000_000, 2, 2_500_000_000)
    ([2, 3, 8], 75)
    """
    pieces = min(max(n // ROWS_WORTH_A_CHUNK, n_workers), n_workers * CHUNKS_PER_WORKER)
    return max(pieces, min(n, -(-size // MAX_CHUNK_BYTES))) if size > BIG_BYTES else pieces


def cut_for_chunks(n: int, n_workers: int, size: int = 0) -> tuple[Chunk, ...]:
    """Cut ``n`` rows into similar chunks; the first of many rows is small, to measure the cost of a row early.

    >>> [len(chunk) for chunk in cut_for_chunks(6_000, 2)], [len(chunk) for chunk in cut_for_chunks(640_000, 2)]
    ([1000, 1000, 1000, 1000, 1000, 1000], [10000, 78750, 78750, 78750, 78750, 78750, 78750, 78750, 78750])
    """
    pieces = pieces_for_chunks(n, n_workers, size)
    first = n // (pieces * FIRST_CHUNK_PART)
    if first < ROWS_WORTH_A_CHUNK:
        return cut(0, n, pieces=pieces)
    return (Chunk(0, first), *cut(first, n, pieces=pieces))


def next_size(left: int, n_workers: int, seconds: float | None, task_seconds: float = TASK_SECONDS) -> int:
    """Return the size of the next chunk of independent units; it shrinks so that all workers end together.

    >>> [next_size(left, 2, 1e-5) for left in (1_000_000, 20_000, 3_000, 100)]
    [10000, 5000, 750, 100]
    >>> [next_size(10**10, workers, 2**-16, 2**-9) for workers in (2, 1_000)]
    [12800, 256000]
    >>> next_size(1_000_000, 2, 0.5), next_size(1_000, 2, None)
    (1, 16)
    """
    if seconds is None:
        return max(1, -(-left // (n_workers * FIRST_PARTS)))
    unit = max(seconds, 1e-9)
    share = -(-left // (2 * n_workers))
    much = max(CHUNK_SECONDS, CHUNK_TASKS * task_seconds, ROUNDS * n_workers * task_seconds)
    size = max(min(much / unit, share), CHUNK_MIN_TASKS * task_seconds / unit, 1)
    return min(left, int(size))
