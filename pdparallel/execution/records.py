"""Records: what is written down of an observed call and of its chunks, and the log that tells of it.

All times are those of ``time.perf_counter``, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from pdparallel.core.call import Call
from pdparallel.core.options import Options

__all__ = ["LOG", "ChunkRecord", "Lines", "Observer", "Record"]

#: The logger that tells at DEBUG what a profile shows.
LOG = logging.getLogger("pdparallel")
LOG.addHandler(logging.NullHandler())


@dataclass(slots=True, eq=False)
class ChunkRecord:
    """A chunk as it was done: where, when, and what travelled."""

    start: int
    stop: int
    pid: int = 0
    thread: int = 0
    here: bool = False
    writing: float = math.nan
    sent: float = math.nan
    began: float = math.nan
    ready: float = math.nan
    loaded: float = math.nan
    called: float = math.nan
    written: float = math.nan
    received: float = math.nan
    taken: float = math.nan
    seconds: float = 0.0
    out: int = 0
    back: int = 0
    failed: bool = False

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def in_worker(self) -> float:
        """Seconds in which a worker loaded the data and wrote."""
        return 0.0 if self.here else self.loaded - self.ready + self.written - self.called

    @property
    def in_parent(self) -> float:
        """Seconds in which the parent wrote and read."""
        return 0.0 if self.here else self.sent - self.writing + self.taken - self.received


@dataclass(slots=True, eq=False)
class Record:
    """What is known of a call; it refers to nothing of the user's."""

    verb: str
    unit: str
    units: int
    asked: str
    began: float
    engine: str = "here"
    workers: int = 1
    why: str = ""
    ended: float = math.nan
    kept: int = 0
    lost: int = 0
    once: int = 0
    pid: int = 0
    packed: list[tuple[float, float]] = field(default_factory=list)
    loads: list[tuple[int, int, float, float]] = field(default_factory=list)
    shaped: list[tuple[float, float]] = field(default_factory=list)
    pieces: list[ChunkRecord] = field(default_factory=list)
    error: str = ""

    @property
    def seconds(self) -> float:
        """From the beginning to the result; NaN while it runs."""
        return max([self.ended, *(stop for _, stop in self.shaped)]) - self.began

    @property
    def function(self) -> float:
        """Seconds in the function, wherever."""
        return math.fsum(piece.seconds for piece in self.pieces)

    @property
    def transport(self) -> float:
        """Seconds of writing and reading what travels, wherever."""
        pieces = math.fsum(piece.in_worker + piece.in_parent for piece in self.pieces)
        return pieces + _sum(self.packed)

    @property
    def loading(self) -> float:
        """Seconds in which workers loaded the function, with what that imports."""
        return math.fsum(stop - start for *_, start, stop in self.loads) + math.fsum(
            piece.ready - piece.began for piece in self.pieces if not piece.here
        )

    @property
    def shaping(self) -> float:
        """Seconds in which the parent made the result."""
        return _sum(self.shaped)

    @property
    def idle(self) -> float:
        """The part of all workers' time in which they neither called the function nor loaded or wrote."""
        busy = self.loading + math.fsum(piece.seconds + piece.in_worker for piece in self.pieces)
        return max(1 - busy / (self.workers * self.seconds), 0.0) if self.seconds else 0.0

    @property
    def cores_busy(self) -> float:
        """Cores that the function kept busy: its seconds in all workers, for each second of the call."""
        return self.function / self.seconds if self.seconds else math.nan


def _sum(spans: list[tuple[float, float]]) -> float:
    return math.fsum(stop - start for start, stop in spans)


class Observer:
    """Who looks at calls."""

    def begins(self, record: Record, call: Call, options: Options) -> None:
        """A call begins; nothing has run."""

    def decided(self, record: Record) -> None:
        """It is known who does it, and why."""

    def came(self, record: Record, piece: ChunkRecord) -> None:
        """A chunk is done."""

    def ends(self, record: Record) -> None:
        """All is back, or the call has failed; the result is not shaped yet."""

    def shaped(self, record: Record) -> None:
        """The result is made."""

    def to_pandas(self) -> None:
        """Pandas is about to call the function by itself."""


class Lines(Observer):
    """Tells the log."""

    def begins(self, record: Record, call: Call, options: Options) -> None:
        how = f"{record.units:,} {record.unit}s" if record.units else f"{record.unit}s"
        size = "" if options.chunk_size is None else f", chunk_size={options.chunk_size}"
        LOG.debug("%s of %s begins: engine=%r, %d workers%s", record.verb, how, record.asked, options.workers, size)

    def decided(self, record: Record) -> None:
        LOG.debug("%s: %s with %d at work, because %s", record.verb, record.engine, record.workers, record.why)

    def came(self, record: Record, piece: ChunkRecord) -> None:
        LOG.debug(
            "%s: %ss %d to %d %s %s: %.6f s in the function, %.6f s of transport, %d bytes out, %d back",
            record.verb, record.unit, piece.start, piece.stop - 1, "failed in" if piece.failed else "done in",
            "this process" if piece.here else f"process {piece.pid}",
            piece.seconds, piece.in_worker + piece.in_parent, piece.out, piece.back,
        )  # fmt: skip

    def ends(self, record: Record) -> None:
        LOG.debug(
            "%s %s after %.6f s: %d chunks, %d lost, %.6f s in the function, %.6f s of transport, %.2f cores "
            "kept busy, %.0f %% idle",
            record.verb, f"ends with {record.error}" if record.error else "is done", record.seconds,
            len(record.pieces), record.lost, record.function, record.transport, record.cores_busy, 100 * record.idle,
        )  # fmt: skip

    def shaped(self, record: Record) -> None:
        LOG.debug("%s: shaped in %.6f s", record.verb, record.shaping)
