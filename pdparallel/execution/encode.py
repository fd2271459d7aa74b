"""Parcel: one call on its way: what the tasks of a call refer to, by how far the engine's workers are.

::

    reach      a task carries                      the function and the data travel
    process    a key of this process's registry    not at all: references
    host       the path of an arena                once a call, into the arena; loaded once in a worker;
                                                   objects of Python, and big data, with their chunk
    store      what the engine's store gives it    the function once a call, the data by chunk; the engine moves them
    anywhere   the bytes                           the function with each chunk, the data by chunk

A task is bytes in each case (for a store in three :class:`~pdparallel.transport.task.Parts`), and so is the answer.
On this machine a large answer lies in a mailbox that the parent made for the chunk, and its bytes only say so.  The
worker's side is :mod:`pdparallel.worker.decode`.
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
from pdparallel.transport.modules import ModuleState, Slot, state_of
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
    """Makes the tasks of one call and reads their answers; holds what they refer to until it is closed."""

    def __init__(self) -> None:
        self._sent, self._came = _Mean(), _Mean()
        self.timed = False
        self.once = self.out = self.back = 0
        self._said: dict[int, CapturedOutput] = {}

    @property
    def bytes_of_a_unit(self) -> float:
        """What a unit takes on its way there and back, but for what travels once a call; 0 where nothing travels."""
        return self._sent.mean + self._came.mean

    def most_units(self, in_flight: int) -> int | None:
        """Units of a chunk at most, if the data are big and so many chunks are under way."""
        return None

    def accepts_more(self, flying: int, workers: int) -> bool:
        """Whether one more chunk may be sent to so many workers while so many are under way."""
        return True

    @abc.abstractmethod
    def task(self, chunk: Chunk, *, track_each_unit: bool = False) -> bytes | Parts:
        """What goes to a worker."""

    def loading(self) -> bytes:
        """What has a worker load the function; where it loads nothing, what has it answer."""
        return b""

    def running(self, chunk: Chunk) -> Running | None:
        """What a worker noted of the chunk last; None where it has not begun, or is too far away to say."""
        return None

    def said(self, chunk: Chunk) -> CapturedOutput | None:
        """What the worker of a chunk has printed, logged and warned of, until now or until its end; told once."""
        return self._said.pop(chunk.start, None)

    @abc.abstractmethod
    def outcome(self, answer: bytes) -> Outcome:
        """The outcome that came back."""

    def bring(self, slots: tuple[Slot, ...]) -> None:
        """Take along the values of globals of the user's modules of which a worker has others."""
        raise NotImplementedError

    @abc.abstractmethod
    def close(self) -> None:
        """Let go what the tasks refer to."""


class _Mean:
    """How many bytes units have."""

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
    """Encode a call, as far as its engine needs it."""
    if locality is Locality.PROCESS:
        return _InProcessEncoder(call, noted, tell)
    if locality is Locality.HOST:
        return _SharedMemoryEncoder(call, serializer, heard)
    if locality is Locality.STORE:
        return _ByStore(call, serializer, heard)
    return _ByChunk(call, serializer, heard)


# Within the process


class _Slot:
    """What runs of a chunk within this process; see :class:`pdparallel.transport.shared_memory.Running`."""

    def __init__(self, first: int, tell: Callable[[int], None] | None) -> None:
        self._noted = [os.getpid(), LOADING, LOADING]
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


# Elsewhere


class _Encoded(CallEncoder):
    """What holds wherever the function travels as bytes, with the classes that it and the data have in common."""

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
                # What came with the data is found in the state in which it is now; the rest is of another one.
                raise FunctionNotSerializableError(
                    "A module that the function uses was changed during the call, so workers cannot get the code with "
                    "which the call began. Change the module after the call."
                )
            self._state = found

    def _learn(self) -> bool:
        """Encode the function anew where the data have brought classes that it did not know; whether they have."""
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
        if work != self._work:  # else it is on its way already
            self._work = work
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Take another id, so that a worker that has loaded what there was loads what there is now."""
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
        self._drop_mailbox(chunk)  # of an earlier try
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
        self._keep_said(chunk, b"")  # of one that came to no answer
        return super().said(chunk)

    def _keep_said(self, chunk: Chunk, more: bytes) -> None:
        mailbox = self._mailboxes.get(chunk.start)
        super()._keep_said(chunk, more if mailbox is None else mailbox.said() + more)

    def _drop_mailbox(self, chunk: Chunk) -> None:
        for file in (self._mailboxes.pop(chunk.start, None), self._pieces.pop(chunk.start, None)):
            if file is not None:
                file.close()

    def _put_apart(self, chunk: Chunk) -> Callable[[list[memoryview]], ArenaRef]:
        """A way to put a piece into a file of its own, which goes with the answer: returns may keep the mailbox."""

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
        """What travels with this chunk alone."""
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
        """Write what goes once into an arena; tasks on their way may still refer to the one before."""
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
