"""Encoders of calls: they make the tasks and read the answers, depending on the locality of the workers.

::

    locality   a task contains                     function and data
    PROCESS    a key of this process's registry    not sent: references
    HOST       the path of a shared memory arena   once per call, in the arena; each worker loads it once;
                                                   Python objects and big data with their chunk
    STORE      parts for the engine's store        function once per call, data by chunk; the engine sends them
    ANYWHERE   all bytes                           function with each chunk, data by chunk

A task is bytes (for a store, three :class:`~pdparallel.transport.task.Parts`), and so is the answer. On this machine,
a worker writes a large answer to the mailbox that the parent made for the chunk. The bytes of the answer then only
refer to it. The worker's side is :mod:`pdparallel.worker.decode`.
"""

from __future__ import annotations

import abc
import os
import pickle
from collections.abc import Callable, Iterable
from typing import Any

from pdparallel.core.call import Call
from pdparallel.core.chunking import Chunk
from pdparallel.core.outcome import Outcome
from pdparallel.core.units import Units
from pdparallel.data.iterate import feed_for
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.progress.replay_output import CapturedOutput
from pdparallel.transport.data import (
    CHUNK_BYTES,
    UNDER_WAY_BYTES,
    SplitData,
    cut_out,
    encode_data,
    is_big,
    loaded,
    take,
)
from pdparallel.transport.functions import encode_work
from pdparallel.transport.module_state import ModuleState, state_of
from pdparallel.transport.modules import Slot
from pdparallel.transport.narrow import narrowed
from pdparallel.transport.outcomes import decode_outcome
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.transport.shared_memory import Arena, ArenaRef, Mailbox, Running, joined
from pdparallel.transport.task import (
    LOADING,
    Locality,
    Parts,
    Task,
    as_payload,
    copied,
    new_call_id,
    read_payload,
    references,
    size_of,
)
from pdparallel.typing import Serializer
from pdparallel.worker.replicate_state import capture_state

__all__ = ["CallEncoder", "pack"]


class CallEncoder(abc.ABC):
    """Encoder of one call: makes tasks, reads answers, and holds the data of the tasks until it is closed."""

    def __init__(self) -> None:
        self._sent, self._came = _Mean(), _Mean()
        self.timed = False  # True if outcomes must have a Timing
        # Bytes sent once per call, of the latest task, and of the latest answer. References count as 0.
        self.once = self.out = self.back = 0
        self._said: dict[int, CapturedOutput] = {}

    @property
    def bytes_of_a_unit(self) -> float:
        """Mean bytes per unit, sent and received, without those sent once per call; 0 for references."""
        return self._sent.mean + self._came.mean

    def most_units(self, in_flight: int) -> int | None:
        """Return the largest number of units of a chunk, if big data limit it."""
        return None

    def accepts_more(self, flying: int, workers: int) -> bool:
        """Return whether another chunk may be sent while ``flying`` chunks are in flight."""
        return True

    @abc.abstractmethod
    def task(self, chunk: Chunk, *, track_each_unit: bool = False) -> bytes | Parts:
        """Return the task of a chunk."""

    def loading(self) -> bytes:
        """Return a task that makes a worker load the function, or only answer if there is nothing to load."""
        return b""

    def running(self, chunk: Chunk) -> Running | None:
        """Return a worker's last note of a chunk; None if it has not started or cannot be read from here."""
        return None

    def said(self, chunk: Chunk) -> CapturedOutput | None:
        """Return and forget the output of a chunk so far: prints, log records and warnings."""
        return self._said.pop(chunk.start, None)

    @abc.abstractmethod
    def outcome(self, answer: bytes) -> Outcome:
        """Return the outcome in an answer."""

    def bring(self, slots: tuple[Slot, ...]) -> None:
        """Send the values of module globals that differ in a worker."""
        raise NotImplementedError

    @abc.abstractmethod
    def close(self) -> None:
        """Release the data of the tasks."""


class _Mean:
    """Mean number of bytes per unit."""

    def __init__(self) -> None:
        self._bytes = self._units = 0

    def add(self, buffers: Iterable[memoryview], units: int) -> None:
        self._bytes += sum(buffer.nbytes for buffer in buffers)
        self._units += units

    @property
    def mean(self) -> float:
        return self._bytes / self._units if self._units else 0.0


def pack(
    call: Call, locality: Locality, serializer: Serializer, heard: bool = True, noted: bool = False,
    tell: Callable[[int], None] | None = None,
) -> CallEncoder:  # fmt: skip
    """Return the encoder for a call and the locality of its workers.

    ``noted`` makes it note the running units within this process, too. ``tell`` then gets the number of done units.
    """
    if locality is Locality.PROCESS:
        return _InProcessEncoder(call, noted, tell)
    call = narrowed(call)
    if locality is Locality.HOST:
        return _SharedMemoryEncoder(call, serializer, heard)
    if locality is Locality.STORE:
        return _ByStore(call, serializer, heard)
    return _ByChunk(call, serializer, heard)


# Within the process


class _Slot:
    """Progress notes of a chunk within this process; see :class:`pdparallel.transport.shared_memory.Running`."""

    def __init__(self, first: int, tell: Callable[[int], None] | None) -> None:
        self._noted = [os.getpid(), LOADING, LOADING, 0]
        self._first = first
        self._tell = tell

    def __setitem__(self, at: int, value: int, /) -> None:
        self._noted[at] = value
        if at == 1 and self._tell is not None:
            self._tell(value - self._first)

    def running(self) -> Running:
        return Running(*self._noted)


class _InProcessEncoder(CallEncoder):
    def __init__(self, call: Call, noted: bool, tell: Callable[[int], None] | None) -> None:
        super().__init__()
        self._id = new_call_id()
        self._noted = noted
        self._tell = tell
        self._slots: dict[int, _Slot] = {}
        work = call.work
        feed = feed_for(work.unit_format, work.func, work.given, work.views)
        references[self._id] = (work, feed, call.data, self._slots)

    def task(self, chunk: Chunk, *, track_each_unit: bool = False) -> bytes:
        if self._noted:
            self._slots[chunk.start] = _Slot(chunk.start, self._tell)
        return Task(self._id, chunk, Locality.PROCESS, timed=self.timed).packed()

    def running(self, chunk: Chunk) -> Running | None:
        slot = self._slots.get(chunk.start)
        return None if slot is None else slot.running()

    def outcome(self, answer: bytes) -> Outcome:
        found: Outcome = references.pop(answer.decode())
        self._slots.pop(found.chunk.start, None)
        return found

    def close(self) -> None:
        for key in [key for key in list(references) if key.startswith(self._id)]:
            references.pop(key, None)


# Outside this process


class _Encoded(CallEncoder):
    """Base of the encoders that serialize the function, with the classes that it shares with the data."""

    def __init__(self, call: Call, serializer: Serializer, heard: bool) -> None:
        super().__init__()
        self._around, self._heard = capture_state(), heard
        self._call = call
        self._serializer = serializer
        self._table = SharedTable()
        self._state: ModuleState | None = None
        self._asked = False
        self._encode_work()
        self._begin_anew()

    def _encode_work(self) -> None:
        self._pure = encode_work(self._call.work, self._table, self._serializer)
        self._known = len(self._table.objects)
        self._find_state()
        self._frame()

    def _frame(self) -> None:
        assert self._state is not None
        self._work = self._state.framed(self._pure, self._asked)

    def _find_state(self) -> None:
        self._reached = len(self._table.reached)
        found, before = state_of(self._table.reached), self._state
        if before is None or found.stamp != before.stamp:
            if before is not None and not before.is_current():
                # The data need the present state of the module, but the function was encoded with an earlier one.
                raise FunctionNotSerializableError(
                    "A module that the function uses was changed during the call, so workers cannot get the code with "
                    "which the call began. Change the module after the call."
                )
            self._state = found

    def _learn(self) -> bool:
        """Encode the function again if the data have added classes; return whether it has changed."""
        if len(self._table.objects) != self._known:
            self._encode_work()
            return True
        if len(self._table.reached) == self._reached:
            return False
        before = self._state
        self._find_state()
        if self._state is before:
            return False
        self._frame()
        return True

    def bring(self, slots: tuple[Slot, ...]) -> None:
        assert self._state is not None
        self._state.bring(slots)
        self._asked = True
        work = self._state.framed(self._pure, asked=True)
        if work != self._work:  # otherwise it is being sent already
            self._work = work
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Take a new call id, so that workers load the function again."""
        self._id = new_call_id()

    def _task(self, chunk: Chunk, locality: Locality, **rest: Any) -> Task:
        lasting = self._call.work.initializer is not None
        return Task(
            self._id, chunk, locality, lasting=lasting, timed=self.timed, around=self._around, heard=self._heard, **rest
        )

    def outcome(self, answer: bytes) -> Outcome:
        letter, said = pickle.loads(answer)
        self.back = size_of(answer, letter)
        buffers = read_payload(letter)
        outcome = decode_outcome(buffers, self._table)
        self._came.add(buffers, len(outcome.chunk))
        self._keep_said(outcome.chunk, said)
        return outcome

    def _keep_said(self, chunk: Chunk, more: bytes) -> None:
        if more:
            self._said[chunk.start] = CapturedOutput(more, self._table)


# On this machine


class _SharedMemoryEncoder(_Encoded):
    def __init__(self, call: Call, serializer: Serializer, heard: bool) -> None:
        super().__init__(call, serializer, heard)
        self._cargo = loaded(call.data, call.work.unit_format)
        self._data = encode_data(self._cargo, self._table, named=lambda: self._cargo.whole)
        if isinstance(call.data, Units) and call.data.by_chunk:
            size = call.data.big_bytes
        else:
            size = sum(part.nbytes for part in self._data)
        self._unit = 0.0
        if is_big(size):
            self._unit = size / max(1, call.n)
            self._cargo = SplitData(None)
            self._data = encode_data(self._cargo, self._table)
        self._learn()
        self._arenas: list[Arena] = []
        self._pieces: dict[int, Arena] = {}
        self._mailboxes: dict[int, Mailbox] = {}

    def task(self, chunk: Chunk, *, track_each_unit: bool = False) -> bytes:
        piece = self._piece(chunk)
        if not self._arenas:
            self._fill()
        self._drop_mailbox(chunk)  # of an earlier attempt
        mailbox = self._mailboxes[chunk.start] = Mailbox()
        put = self._put_apart(chunk) if self._unit else mailbox.put
        arena, letter = self._arenas[-1].ref, as_payload(piece, put)
        packed = self._task(
            chunk, Locality.HOST, arena=arena, mailbox=mailbox.path, piece=letter, track_each_unit=track_each_unit
        ).packed()
        self.out = size_of(packed, letter)
        return packed

    def bring(self, slots: tuple[Slot, ...]) -> None:
        before = self._work
        super().bring(slots)
        if self._arenas and self._work is not before:
            self._fill()

    def loading(self) -> bytes:
        if not self._arenas:
            self._fill()
        return self._task(Chunk(0, 0), Locality.HOST, arena=self._arenas[-1].ref, loads_only=True).packed()

    def running(self, chunk: Chunk) -> Running | None:
        mailbox = self._mailboxes.get(chunk.start)
        return None if mailbox is None else mailbox.running()

    def said(self, chunk: Chunk) -> CapturedOutput | None:
        self._keep_said(chunk, b"")  # of a chunk without an answer
        return super().said(chunk)

    def _keep_said(self, chunk: Chunk, more: bytes) -> None:
        mailbox = self._mailboxes.get(chunk.start)
        super()._keep_said(chunk, more if mailbox is None else mailbox.said() + more)

    def _drop_mailbox(self, chunk: Chunk) -> None:
        for file in (self._mailboxes.pop(chunk.start, None), self._pieces.pop(chunk.start, None)):
            if file is not None:
                file.close()

    def _put_apart(self, chunk: Chunk) -> Callable[[list[memoryview]], ArenaRef]:
        """Return a function that writes a piece to its own file."""
        # The file is removed after the answer. The mailbox may stay longer, because returns may refer to it.

        def put(buffers: list[memoryview]) -> ArenaRef:
            piece = self._pieces[chunk.start] = Arena(buffers)
            return piece.ref

        return put

    def most_units(self, in_flight: int) -> int | None:
        if not self._unit:
            return None
        return max(1, int(min(CHUNK_BYTES, UNDER_WAY_BYTES / in_flight) / max(self._unit, self.bytes_of_a_unit)))

    def accepts_more(self, flying: int, workers: int) -> bool:
        return flying < workers or sum(piece.ref.size for piece in self._pieces.values()) < UNDER_WAY_BYTES

    def _piece(self, chunk: Chunk) -> list[memoryview]:
        """Return the data that are sent with this chunk only."""
        data, unit_format = self._call.data, self._call.work.unit_format
        beside = self._cargo.beside(data, unit_format, chunk)
        if beside is None:
            return []
        first = chunk.start - chunk.before
        buffers = encode_data(beside, self._table, named=lambda: cut_out(data, unit_format, chunk), first=first)
        self._sent.add(buffers, len(chunk))
        if self._learn() and self._arenas:
            self._fill()
        return buffers

    def _fill(self) -> None:
        """Write the data sent once into a new arena; tasks in flight may still use the previous one."""
        self._begin_anew()
        self._arenas.append(Arena([memoryview(self._work), *self._data]))
        self.once += self._arenas[-1].ref.size

    def outcome(self, answer: bytes) -> Outcome:
        outcome = super().outcome(answer)
        self._drop_mailbox(outcome.chunk)
        return outcome

    def close(self) -> None:
        while self._arenas:
            self._arenas.pop().close()
        for files in (self._mailboxes, self._pieces):
            while files:
                files.popitem()[1].close()


# Anywhere


class _ByChunk(_Encoded):
    def task(self, chunk: Chunk, *, track_each_unit: bool = False) -> bytes | Parts:
        piece = tuple(copied(part) for part in self._piece(chunk))
        packed = self._task(chunk, Locality.ANYWHERE, work=self._work, piece=piece).packed()
        self.out = len(packed)
        return packed

    def _piece(self, chunk: Chunk) -> list[memoryview]:
        piece = encode_data(take(self._call.data, self._call.work.unit_format, chunk), self._table, first=chunk.start)
        self._sent.add(piece, len(chunk))
        self._learn()
        return piece

    def close(self) -> None:
        self._work = b""


class _ByStore(_ByChunk):
    def __init__(self, call: Call, serializer: Serializer, heard: bool) -> None:
        super().__init__(call, serializer, heard)
        self.once = len(self._work)

    def task(self, chunk: Chunk, *, track_each_unit: bool = False) -> Parts:
        before = self._work
        piece = self._piece(chunk)
        if self._work is not before:
            self._begin_anew()
            self.once += len(self._work)
        blob, spans = joined(piece)
        head = self._task(chunk, Locality.STORE, spans=spans).packed()
        self.out = len(head) + len(blob)
        return Parts(head, self._work, blob)
