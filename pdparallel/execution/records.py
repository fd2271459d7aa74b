"""Records of an observed call and its chunks, and the log that shows them.

All times are those of ``time.perf_counter``, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from pdparallel.core.call import Call
from pdparallel.core.options import Options

__all__ = ["LOG", "ChunkRecord", "Lines", "Observer", "Record"]

#: Logger of the package. At DEBUG it gets the contents of a profile.
LOG = logging.getLogger("pdparallel")
LOG.addHandler(logging.NullHandler())


@dataclass(slots=True, eq=False)
class ChunkRecord:
    """Record of a chunk: its positions, who ran it, the times of its steps, and the bytes sent."""

    start: int
    stop: int
    pid: int = 0
    thread: int = 0
    here: bool = False  # this process ran it without a task
    writing: float = math.nan  # the parent starts to encode the task
    sent: float = math.nan  # the parent has encoded it
    began: float = math.nan  # the worker has received it
    ready: float = math.nan  # the worker has loaded the function
    loaded: float = math.nan  # the worker has loaded the data
    called: float = math.nan  # the worker has called the function for all units
    written: float = math.nan  # the worker has encoded the outcome
    received: float = math.nan  # the parent has received it
    taken: float = math.nan  # the parent has decoded it
    seconds: float = 0.0  # in the function
    waited: float = math.nan  # of these, those in which the function waited
    out: int = 0  # bytes of the task
    back: int = 0  # bytes of the answer
    failed: bool = False  # an exception ended the chunk
    retried: int = 0  # calls that ran again after an exception

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def in_worker(self) -> float:
        """Seconds in which a worker decoded the data and encoded the outcome."""
        return 0.0 if self.here else self.loaded - self.ready + self.written - self.called

    @property
    def in_parent(self) -> float:
        """Seconds in which the parent encoded the task and decoded the answer."""
        return 0.0 if self.here else self.sent - self.writing + self.taken - self.received


@dataclass(slots=True, eq=False)
class Record:
    """Record of a call; it does not refer to objects of the user."""

    verb: str
    unit: str
    units: int  # 0 if the number is unknown
    asked: str  # the option ``engine``
    began: float
    engine: str = "here"  # name of the engine, or "here" for this process
    workers: int = 1
    why: str = ""  # reason for this engine
    ended: float = math.nan  # NaN while the call runs
    kept: int = 0  # units found in a checkpoint
    lost: int = 0  # chunks whose worker ended
    once: int = 0  # bytes sent once for the whole call
    pid: int = 0
    packed: list[tuple[float, float]] = field(default_factory=list)  # encoding of the data sent once
    # Process, thread, start and end of each load of the function before a first chunk.
    loads: list[tuple[int, int, float, float]] = field(default_factory=list)
    shaped: list[tuple[float, float]] = field(default_factory=list)  # start and end of each build of the result
    pieces: list[ChunkRecord] = field(default_factory=list)
    error: str = ""  # type of the exception that ended the call

    @property
    def seconds(self) -> float:
        """Seconds from the start to the result; NaN while the call runs."""
        return max([self.ended, *(stop for _, stop in self.shaped)]) - self.began

    @property
    def function(self) -> float:
        """Seconds in the function, in all processes."""
        return math.fsum(piece.seconds for piece in self.pieces)

    @property
    def retried(self) -> int:
        """Number of calls that ran again after an exception of ``retry_on``."""
        return sum(piece.retried for piece in self.pieces)

    @property
    def waiting(self) -> float:
        """Share of the function's time in which it waited; NaN if nobody measured it."""
        measured = [piece for piece in self.pieces if not math.isnan(piece.waited)]
        of_them = math.fsum(piece.seconds for piece in measured)
        return math.fsum(piece.waited for piece in measured) / of_them if of_them else math.nan

    @property
    def transport(self) -> float:
        """Seconds of encoding and decoding, in all processes."""
        pieces = math.fsum(piece.in_worker + piece.in_parent for piece in self.pieces)
        return pieces + _sum(self.packed)

    @property
    def loading(self) -> float:
        """Seconds in which workers loaded the function, with its imports."""
        return math.fsum(stop - start for *_, start, stop in self.loads) + math.fsum(
            piece.ready - piece.began for piece in self.pieces if not piece.here
        )

    @property
    def shaping(self) -> float:
        """Seconds in which the parent built the result."""
        return _sum(self.shaped)

    @property
    def idle(self) -> float:
        """Share of the workers' time without loading, decoding, encoding, or the function."""
        busy = self.loading + math.fsum(piece.seconds + piece.in_worker for piece in self.pieces)
        return max(1 - busy / (self.workers * self.seconds), 0.0) if self.seconds else 0.0

    @property
    def cores_busy(self) -> float:
        """Mean number of cores that the function kept busy: its seconds per second of the call."""
        return self.function / self.seconds if self.seconds else math.nan


def _sum(spans: list[tuple[float, float]]) -> float:
    return math.fsum(stop - start for start, stop in spans)


class Observer:
    """Base class of observers, which ignores all events of a call."""

    def begins(self, record: Record, call: Call, options: Options) -> None:
        """Observe the start of a call, before anything has run."""

    def decided(self, record: Record) -> None:
        """Observe the choice of the engine."""

    def came(self, record: Record, piece: ChunkRecord) -> None:
        """Observe the end of a chunk."""

    def ends(self, record: Record) -> None:
        """Observe the end of all chunks or a failure; the result is not built yet."""

    def shaped(self, record: Record) -> None:
        """Observe that the result is built."""

    def to_pandas(self) -> None:
        """Observe that pandas is about to call the function by itself."""


class Lines(Observer):
    """Observer that writes to the log."""

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
