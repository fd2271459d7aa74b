"""Parcel: one call on its way: what the tasks of a call refer to, by how far the engine's workers are.

::

    reach      a task carries                      the function and the data travel
    process    a key of this process's registry    not at all: references
    host       the path of an arena                once a call, into the arena; loaded once in a worker;
                                                   objects of Python with their chunk
    store      what the engine's store gives it     the function once a call, the data by chunk; the engine moves them
    anywhere   the bytes                           the function with each chunk, the data by chunk

A task is bytes in each case (for a store in three parts, :class:`Parts`), and so is the answer.  On this machine a
large answer lies in a mailbox that the parent made for the chunk, and its bytes only say so.
"""

from __future__ import annotations

import abc
import contextlib
import enum
import functools
import hashlib
import itertools
import os
import pickle
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pdparallel.call import Call, Work
from pdparallel.idle import IdleTimer
from pdparallel.outcome import Failure, Outcome
from pdparallel.output.shown import Said
from pdparallel.plan import Chunk
from pdparallel.rows import Feed, feed_for
from pdparallel.surroundings import around
from pdparallel.transport.arena import Arena, ArenaRef, Mailbox, Running, Span, notes, open_spans, post
from pdparallel.transport.blob import joined, taken_apart
from pdparallel.transport.cargo import Cargo, loaded
from pdparallel.transport.frames import cut_out, decode_data, encode_data, take
from pdparallel.transport.functions import decode_work, encode_work
from pdparallel.transport.objects import SharedTable
from pdparallel.transport.outcomes import decode_outcome, encode_outcome
from pdparallel.transport.reductions import PROTOCOL
from pdparallel.typing import Notes, Serializer

__all__ = ["LOADING", "Parcel", "Parts", "Reach", "answer", "answer_to", "forget", "open_task", "pack", "task_of"]

#: Bytes of a piece or an answer from which it goes by a mailbox: what the buffer of a pipe holds, so that who writes
#: need not wait for the reader (``benchmarks/constants.py``).
MAILBOX_BYTES = 1 << 16


#: Seconds without a task after which the worker of a cluster forgets the function of a call.
KEPT_SECONDS = 60.0

#: What a worker notes instead of a position before it has the function and the data.
LOADING = -1


class Reach(enum.Enum):
    """How far away the workers of an engine are."""

    PROCESS = "process"
    HOST = "host"
    ANYWHERE = "anywhere"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk on its way: what the worker needs beside what it may have loaded for this call already.

    ``one_by_one`` asks for each unit to be noted before it is begun, not for some of the light ones together;
    ``lasting`` for the work to be kept, because an initializer prepares it; ``timed`` for the outcome to say when what
    was done; ``heard`` for what the function says to come back.  ``around`` is what holds where the call is made.
    """

    call_id: str
    chunk: Chunk
    reach: Reach
    arena: ArenaRef | None = None
    mailbox: str = ""
    work: bytes = b""
    piece: tuple[bytes | bytearray | memoryview, ...] | ArenaRef = ()
    spans: tuple[Span, ...] = ()
    one_by_one: bool = False
    lasting: bool = False
    timed: bool = False
    around: bytes = b""
    heard: bool = False

    @property
    def maker(self) -> int:
        """Id of the process that made the call."""
        return int(self.call_id.partition("-")[0])

    @property
    def made_here(self) -> bool:
        """Whether this process made the call; another one, on another machine, may have the same id."""
        return self.call_id.rpartition("-")[2] == _token()


@dataclass(frozen=True, slots=True)
class Parts:
    """A task for an engine with a store of its own, in parts, each of which goes there as the engine sees fit.

    Attributes
    ----------
    head : bytes
        The task without what follows.
    work : bytes
        The function: the same object in all tasks of a call, until it brings what the one before lacked.
    piece : bytearray
        The data of the chunk.
    """

    head: bytes
    work: bytes
    piece: bytearray


@dataclass(frozen=True, slots=True)
class Opened:
    """A task in the worker: what to do, upon which piece, the table for the way back, and where to note what runs."""

    task: Task
    work: Work
    feed: Feed
    piece: Any
    table: SharedTable
    notes: Notes | None = None


class Parcel(abc.ABC):
    """Makes the tasks of one call and reads their answers; holds what they refer to until it is closed.

    Attributes
    ----------
    timed : bool
        Whether outcomes are to say when what was done.
    once : int
        Bytes that travel once for all tasks.
    out, back : int
        Bytes of the latest task, and of the latest answer; 0 where only references travel.
    """

    def __init__(self) -> None:
        self._sent, self._came = _Mean(), _Mean()
        self.timed = False
        self.once = self.out = self.back = 0
        self._said: dict[int, Said] = {}

    @property
    def bytes_of_a_unit(self) -> float:
        """What a unit takes on its way there and back, but for what travels once a call; 0 where nothing travels."""
        return self._sent.mean + self._came.mean

    @abc.abstractmethod
    def task(self, chunk: Chunk, *, one_by_one: bool = False) -> bytes | Parts:
        """What goes to a worker."""

    def running(self, chunk: Chunk) -> Running | None:
        """What a worker noted of the chunk last; None where it has not begun, or is too far away to say."""
        return None

    def said(self, chunk: Chunk) -> Said | None:
        """What the worker of a chunk has printed, logged and warned of, until now or until its end; told once."""
        return self._said.pop(chunk.start, None)

    @abc.abstractmethod
    def outcome(self, answer: bytes) -> Outcome:
        """The outcome that came back."""

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
    call: Call, reach: Reach, serializer: Serializer, heard: bool = True, noted: bool = False,
    tell: Callable[[int], None] | None = None,
) -> Parcel:  # fmt: skip
    """Encode a call, as far as its engine needs it.

    Parameters
    ----------
    call : Call
        What is asked.
    reach : Reach
        How far the workers are.
    serializer : {"dill", "cloudpickle"}
        For the function and its arguments.
    heard : bool, default True
        Whether what the function says elsewhere is to come back.
    noted : bool, default False
        Whether it is to be noted what runs also where that cannot be lost.
    tell : callable, optional
        Told within this process how many units of a chunk are done, each time that it is noted.

    Raises
    ------
    FunctionNotSerializableError
        Where something of the function cannot leave this process.
    """
    if reach is Reach.PROCESS:
        return _References(call, noted, tell)
    if reach is Reach.HOST:
        return _InArena(call, serializer, heard)
    if reach is Reach.STORE:
        return _ByStore(call, serializer, heard)
    return _ByChunk(call, serializer, heard)


# Within the process

_registry: dict[str, Any] = {}
_call_numbers = itertools.count(1)


#: A process, and what no other one has.
_own_token = (-1, "")


def _token() -> str:
    global _own_token
    if _own_token[0] != os.getpid():  # the first call, or that of a fork
        _own_token = os.getpid(), secrets.token_hex(8)
    return _own_token[1]


def _new_call_id() -> str:
    return f"{os.getpid()}-{next(_call_numbers)}-{_token()}"


class _Slot:
    """What runs of a chunk within this process; see :class:`pdparallel.transport.arena.Running`."""

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


class _References(Parcel):
    def __init__(self, call: Call, noted: bool, tell: Callable[[int], None] | None) -> None:
        super().__init__()
        self._id = _new_call_id()
        self._noted = noted
        self._tell = tell
        self._slots: dict[int, _Slot] = {}
        _registry[self._id] = (call.work, feed_for(call.work.hand, call.work.func), call.data, self._slots)

    def task(self, chunk: Chunk, *, one_by_one: bool = False) -> bytes:
        if self._noted:
            self._slots[chunk.start] = _Slot(chunk.start, self._tell)
        return _packed(Task(self._id, chunk, Reach.PROCESS, timed=self.timed))

    def running(self, chunk: Chunk) -> Running | None:
        slot = self._slots.get(chunk.start)
        return None if slot is None else slot.running()

    def outcome(self, answer: bytes) -> Outcome:
        found: Outcome = _registry.pop(answer.decode())
        self._slots.pop(found.chunk.start, None)
        return found

    def close(self) -> None:
        for key in [key for key in list(_registry) if key.startswith(self._id)]:
            _registry.pop(key, None)


# On this machine


class _InArena(Parcel):
    def __init__(self, call: Call, serializer: Serializer, heard: bool) -> None:
        super().__init__()
        self._around, self._heard = around(), heard
        self._call = call
        self._serializer = serializer
        self._table = SharedTable()
        self._cargo = loaded(call.data, call.work.hand)
        self._work = encode_work(call.work, self._table, serializer)
        known = len(self._table.objects)
        self._data = encode_data(self._cargo, self._table, named=lambda: self._cargo.whole)
        if len(self._table.objects) > known:  # the frame's own class, which the function did not know
            self._work = encode_work(call.work, self._table, serializer)
        self._id = ""
        self._arenas: list[Arena] = []
        self._mailboxes: dict[int, Mailbox] = {}

    def task(self, chunk: Chunk, *, one_by_one: bool = False) -> bytes:
        piece = self._piece(chunk)
        if not self._arenas:
            self._fill()
        self._drop_mailbox(chunk)  # of an earlier try
        mailbox = self._mailboxes[chunk.start] = Mailbox()
        arena, letter = self._arenas[-1].ref, _letter(piece, mailbox.put)
        task = _packed(
            Task(
                self._id, chunk, Reach.HOST, arena, mailbox.path, piece=letter, one_by_one=one_by_one,
                lasting=self._call.work.initializer is not None, timed=self.timed, around=self._around,
                heard=self._heard,
            )
        )  # fmt: skip
        self.out = _size(task, letter)
        return task

    def running(self, chunk: Chunk) -> Running | None:
        mailbox = self._mailboxes.get(chunk.start)
        return None if mailbox is None else mailbox.running()

    def said(self, chunk: Chunk) -> Said | None:
        self._keep_said(chunk, b"")  # of one that came to no answer
        return super().said(chunk)

    def _keep_said(self, chunk: Chunk, more: bytes) -> None:
        mailbox = self._mailboxes.get(chunk.start)
        data = more if mailbox is None else mailbox.said() + more
        if data:
            self._said[chunk.start] = Said(data, self._table)

    def _drop_mailbox(self, chunk: Chunk) -> None:
        mailbox = self._mailboxes.pop(chunk.start, None)
        if mailbox is not None:
            mailbox.close()

    def _piece(self, chunk: Chunk) -> list[memoryview]:
        """What travels with this chunk alone."""
        data, hand = self._call.data, self._call.work.hand
        beside = self._cargo.beside(data, hand, chunk)
        if beside is None:
            return []
        known = len(self._table.objects)
        first = chunk.start - chunk.before
        buffers = encode_data(beside, self._table, named=lambda: cut_out(data, hand, chunk), first=first)
        self._sent.add(buffers, len(chunk))
        if len(self._table.objects) > known:  # classes that the function and the chunks before did not know
            self._work = encode_work(self._call.work, self._table, self._serializer)
            if self._arenas:
                self._fill()
        return buffers

    def _fill(self) -> None:
        """Write what goes once into an arena; tasks on their way may still refer to the one before."""
        self._id = _new_call_id()
        self._arenas.append(Arena([memoryview(self._work), *self._data]))
        self.once += self._arenas[-1].ref.size

    def outcome(self, answer: bytes) -> Outcome:
        letter, said = pickle.loads(answer)
        self.back = _size(answer, letter)
        buffers = _read(letter)
        outcome = decode_outcome(buffers, self._table)
        self._came.add(buffers, len(outcome.chunk))
        self._keep_said(outcome.chunk, said)
        self._drop_mailbox(outcome.chunk)
        return outcome

    def close(self) -> None:
        while self._arenas:
            self._arenas.pop().close()
        while self._mailboxes:
            self._mailboxes.popitem()[1].close()


# Anywhere


class _ByChunk(Parcel):
    def __init__(self, call: Call, serializer: Serializer, heard: bool) -> None:
        super().__init__()
        self._around, self._heard = around(), heard
        self._id = _new_call_id()
        self._call = call
        self._serializer = serializer
        self._table = SharedTable()
        self._work = encode_work(call.work, self._table, serializer)

    def task(self, chunk: Chunk, *, one_by_one: bool = False) -> bytes | Parts:
        piece = self._piece(chunk)
        task = self._head(chunk, Reach.ANYWHERE, self._work, tuple(_copied(part) for part in piece))
        self.out = len(task)
        return task

    def _piece(self, chunk: Chunk) -> list[memoryview]:
        known = len(self._table.objects)
        piece = encode_data(take(self._call.data, self._call.work.hand, chunk), self._table, first=chunk.start)
        self._sent.add(piece, len(chunk))
        if len(self._table.objects) > known:  # the piece brought classes that the function did not know
            self._work = encode_work(self._call.work, self._table, self._serializer)
        return piece

    def _head(
        self, chunk: Chunk, reach: Reach, work: bytes = b"", piece: tuple[bytes | bytearray, ...] = (),
        spans: tuple[Span, ...] = (),
    ) -> bytes:  # fmt: skip
        return _packed(
            Task(
                self._id, chunk, reach, work=work, piece=piece, spans=spans,
                lasting=self._call.work.initializer is not None, timed=self.timed, around=self._around,
                heard=self._heard,
            )
        )  # fmt: skip

    def outcome(self, answer: bytes) -> Outcome:
        self.back = len(answer)
        letter, said = pickle.loads(answer)
        buffers = _read(letter)
        outcome = decode_outcome(buffers, self._table)
        self._came.add(buffers, len(outcome.chunk))
        if said:
            self._said[outcome.chunk.start] = Said(said, self._table)
        return outcome

    def close(self) -> None:
        self._work = b""


# By an engine's own store


class _ByStore(_ByChunk):
    def __init__(self, call: Call, serializer: Serializer, heard: bool) -> None:
        super().__init__(call, serializer, heard)
        self.once = len(self._work)

    def task(self, chunk: Chunk, *, one_by_one: bool = False) -> Parts:
        before = self._work
        piece = self._piece(chunk)
        if self._work is not before:  # a worker that has loaded the one before is to load this one, too
            self._id = _new_call_id()
            self.once += len(self._work)
        blob, spans = joined(piece)
        head = self._head(chunk, Reach.STORE, spans=spans)
        self.out = len(head) + len(blob)
        return Parts(head, self._work, blob)


# The worker's side


@dataclass(frozen=True, slots=True)
class _Function:
    """What a worker keeps of the call that it works on, so that many chunks load it once."""

    call_id: str
    work: Work
    feed: Feed
    table: SharedTable


@dataclass(frozen=True, slots=True)
class _Loaded(_Function):
    """With the data, where they are in an arena."""

    cargo: Cargo


_loaded: _Loaded | None = None
_loaded_lock = threading.Lock()

#: The last work with an initializer, by its bytes: a call with the same ones finds what the initializer has set.
_lasting: tuple[bytes, Work, SharedTable] | None = None
_lasting_lock = threading.Lock()


def _decoded(task: Task, data: bytes | memoryview) -> tuple[Work, SharedTable]:
    global _lasting
    if not task.lasting:
        return decode_work(data)
    key = hashlib.sha256(data).digest()
    with _lasting_lock:
        if _lasting is None or _lasting[0] != key:
            _lasting = (key, *decode_work(data))
        return _lasting[1:]


class _Kept:
    """What the threads of another's worker keep of the call that they work on, until some time after the last task."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_thread: dict[int, _Function] = {}
        self._idle = IdleTimer(self._lock, self._by_thread.clear)

    def of(self, task: Task) -> _Function:
        """The function of a task."""
        kept = self._by_thread.get(threading.get_ident())
        if kept is None or kept.call_id != task.call_id:
            work, table = _decoded(task, task.work)
            kept = _Function(task.call_id, work, feed_for(work.hand, work.func), table)
        with self._lock:
            self._by_thread[threading.get_ident()] = kept
            self._idle.used(KEPT_SECONDS)
        return kept


_kept = _Kept()


def task_of(data: bytes, work: bytes | None = None, piece: memoryview | None = None) -> Task:
    """What the bytes of a task say; with its parts, where they came apart."""
    task: Task = pickle.loads(data)
    if work is not None and piece is not None:
        return replace(task, work=work, piece=taken_apart(piece, task.spans))
    return task


def open_task(task: Task) -> Opened:
    """Load what a task wants done; of a call that is known here already, only the chunk is new."""
    if task.reach is Reach.STORE:
        kept = _kept.of(task)
        piece = decode_data(_read(task.piece), kept.table)
        return Opened(task, kept.work, kept.feed, piece, kept.table)
    if task.reach is Reach.PROCESS:
        work, feed, whole, slots = _registry[task.call_id]
        piece = take(whole, work.hand, task.chunk)
        return Opened(task, work, feed, piece, SharedTable(), slots.get(task.chunk.start))
    if task.reach is Reach.ANYWHERE:
        work, table = _decoded(task, task.work)
        piece = decode_data(_read(task.piece), table)
        return Opened(task, work, feed_for(work.hand, work.func), piece, table)
    noted = notes(task.mailbox)
    noted[1] = LOADING
    noted[0] = os.getpid()
    mine = _load(task)
    beside = decode_data(_read(task.piece), mine.table) if task.piece else None
    piece = mine.cargo.piece(beside, mine.work.hand, task.chunk)
    return Opened(task, mine.work, mine.feed, piece, mine.table, noted)


def _load(task: Task) -> _Loaded:
    global _loaded
    with _loaded_lock:
        if _loaded is None or _loaded.call_id != task.call_id:
            assert task.arena is not None
            first, *rest = open_spans(task.arena)
            work, table = _decoded(task, first)
            feed = feed_for(work.hand, work.func)
            _loaded = _Loaded(task.call_id, work, feed, table, decode_data(rest, table))
        return _loaded


def forget() -> None:
    """Drop what this worker keeps of the last call, and with it the mapping of its arena."""
    global _loaded
    with _loaded_lock:
        _loaded = None


def answer(opened: Opened, outcome: Outcome, said: Callable[[], bytes]) -> bytes:
    """Encode what came of a task, and what it said, which ends here."""
    task = opened.task
    if task.reach is Reach.PROCESS:
        key = f"{task.call_id}:{task.chunk.start}"
        if task.call_id in _registry:  # else the call ended meanwhile, and nobody would take it
            _registry[key] = outcome
        return key.encode()
    buffers = encode_outcome(outcome, opened.table, opened.work.errors)
    return _sealed(buffers, task.mailbox, said())


def answer_to(task: Task, failure: Failure, said: Callable[[], bytes]) -> bytes:
    """The answer to a task that could not be opened."""
    return _sealed(encode_outcome(Outcome(task.chunk, [], failure), SharedTable()), "", said())


def _sealed(buffers: list[memoryview], mailbox: str, said: bytes = b"") -> bytes:
    post_there = functools.partial(post, mailbox) if mailbox else None
    return pickle.dumps((_letter(buffers, post_there), said), protocol=PROTOCOL)


def _letter(
    buffers: list[memoryview], put: Callable[[list[memoryview]], ArenaRef] | None
) -> tuple[bytes | bytearray, ...] | ArenaRef:
    """What goes by the pipe: the buffers, or where they were put."""
    if put is not None and sum(buffer.nbytes for buffer in buffers) > MAILBOX_BYTES:
        with contextlib.suppress(OSError):  # a full folder: the pipe takes it
            return put(buffers)
    return tuple(map(_copied, buffers))


def _size(message: bytes, letter: tuple[bytes | bytearray, ...] | ArenaRef) -> int:
    """Bytes of a message, with those that it only says the place of."""
    beside = sum(span.length for span in letter.spans) if isinstance(letter, ArenaRef) else 0
    return len(message) + beside


def _read(letter: tuple[bytes | bytearray | memoryview, ...] | ArenaRef) -> list[memoryview]:
    return open_spans(letter) if isinstance(letter, ArenaRef) else [memoryview(part) for part in letter]


def _copied(part: memoryview) -> bytes | bytearray:
    # Arrays over bytes are read-only, arrays over a bytearray are not: as they were here.
    return bytes(part) if part.readonly else bytearray(part)


def _packed(task: Task) -> bytes:
    return pickle.dumps(task, protocol=PROTOCOL)
