"""The worker's side of a message: loads the function and data of a task, and encodes the answer.

The parent's side is :mod:`pdparallel.execution.encode`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pdparallel.core.call import Work
from pdparallel.core.lifetime import IdleTimer
from pdparallel.core.outcome import Failure, Outcome, Timing
from pdparallel.data.iterate import UnitIterator, feed_for
from pdparallel.transport.data import SplitData, decode_data, take
from pdparallel.transport.functions import decode_work
from pdparallel.transport.module_state import bring_up, split
from pdparallel.transport.outcomes import encode_outcome
from pdparallel.transport.reducers import PROTOCOL
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.transport.shared_memory import notes, open_spans, post, taken_apart
from pdparallel.transport.task import LOADING, Locality, Task, as_payload, read_payload, references
from pdparallel.typing import ProgressSlots

__all__ = ["Opened", "answer", "answer_to", "forget", "load", "open_task", "task_of"]

#: Seconds without a task after which the worker of a cluster drops the function of a call.
KEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded task: function, data, table for the answer, time when the function was loaded, and progress slots."""

    task: Task
    work: Work
    feed: UnitIterator
    piece: Any
    table: SharedTable
    ready: float
    notes: ProgressSlots | None = None


@dataclass(frozen=True, slots=True)
class _Function:
    """The loaded function of a call, which all its chunks in this worker use."""

    call_id: str
    work: Work
    feed: UnitIterator
    table: SharedTable


@dataclass(frozen=True, slots=True)
class _Loaded(_Function):
    """A loaded function with its data in shared memory."""

    split_data: SplitData


_loaded: _Loaded | None = None
_loaded_lock = threading.Lock()

#: The last work with an initializer, by its bytes. A later call with the same bytes reuses the variables that it set.
_lasting: tuple[tuple[bytes, int], Work, SharedTable] | None = None
_lasting_lock = threading.Lock()


def _decoded(task: Task, data: bytes | memoryview) -> tuple[Work, SharedTable]:
    global _lasting
    head, work = split(data)
    changes = bring_up(head)
    if not task.lasting:
        return decode_work(work)
    key = hashlib.sha256(work).digest(), changes
    with _lasting_lock:
        if _lasting is None or _lasting[0] != key:
            _lasting = (key, *decode_work(work))
        return _lasting[1:]


class _Kept:
    """Cache of the function of each thread in the worker of a cluster."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_thread: dict[int, _Function] = {}
        self._idle = IdleTimer(self._lock, self._by_thread.clear)

    def of(self, task: Task) -> _Function:
        """Return the function of a task."""
        kept = self._by_thread.get(threading.get_ident())
        if kept is None or kept.call_id != task.call_id:
            work, table = _decoded(task, task.work)
            kept = _Function(task.call_id, work, feed_for(work.unit_format, work.func, work.given, work.views), table)
        with self._lock:
            self._by_thread[threading.get_ident()] = kept
            self._idle.used(KEPT_SECONDS)
        return kept


_kept = _Kept()


def task_of(data: bytes, work: bytes | None = None, piece: memoryview | None = None) -> Task:
    """Load a task from its bytes, with its parts if they came separately."""
    task: Task = pickle.loads(data)
    if work is not None and piece is not None:
        return replace(task, work=work, piece=taken_apart(piece, task.spans))
    return task


def open_task(task: Task) -> Opened:
    """Load the function and data of a task; only the chunk if this worker knows the call."""
    if task.locality is Locality.STORE:
        kept, ready = _kept.of(task), time.perf_counter()
        piece = decode_data(read_payload(task.piece), kept.table)
        return Opened(task, kept.work, kept.feed, piece, kept.table, ready)
    if task.locality is Locality.PROCESS:
        ready = time.perf_counter()
        work, feed, whole, slots = references[task.call_id]
        piece = take(whole, work.unit_format, task.chunk)
        return Opened(task, work, feed, piece, SharedTable(), ready, slots.get(task.chunk.start))
    if task.locality is Locality.ANYWHERE:
        work, table = _decoded(task, task.work)
        ready = time.perf_counter()
        piece = decode_data(read_payload(task.piece), table)
        return Opened(task, work, feed_for(work.unit_format, work.func, work.given, work.views), piece, table, ready)
    noted = notes(task.mailbox)
    noted[1] = LOADING
    noted[0] = os.getpid()
    mine, ready = load(task), time.perf_counter()
    beside = decode_data(read_payload(task.piece), mine.table) if task.piece else None
    piece = mine.split_data.piece(beside, mine.work.unit_format, task.chunk)
    return Opened(task, mine.work, mine.feed, piece, mine.table, ready, noted)


def load(task: Task) -> _Loaded:
    """Load the function of a task and open its data, once for each call."""
    global _loaded
    with _loaded_lock:
        if _loaded is None or _loaded.call_id != task.call_id:
            assert task.arena is not None
            first, *rest = open_spans(task.arena)
            work, table = _decoded(task, first)
            feed = feed_for(work.unit_format, work.func, work.given, work.views)
            _loaded = _Loaded(task.call_id, work, feed, table, decode_data(rest, table))
        return _loaded


def forget() -> None:
    """Drop the function and data of the last call, and so the mapping of its shared memory."""
    global _loaded
    with _loaded_lock:
        _loaded = None


def answer(opened: Opened, outcome: Outcome, said: Callable[[], bytes]) -> bytes:
    """Encode the outcome and the output of a task, which ends here."""
    task = opened.task
    if task.locality is Locality.PROCESS:
        return _referred_to(task, outcome)
    buffers = encode_outcome(outcome, opened.table, opened.work.errors)
    return _sealed(buffers, task.mailbox, said())


def answer_to(task: Task, failure: Failure | None, timing: Timing | None, said: Callable[[], bytes]) -> bytes:
    """Encode the answer to a task that could not be loaded, or that only loads."""
    outcome = Outcome(task.chunk, [], failure, timing=timing)
    if task.locality is Locality.PROCESS:
        return _referred_to(task, outcome)
    return _sealed(encode_outcome(outcome, SharedTable()), "", said())


def _referred_to(task: Task, outcome: Outcome) -> bytes:
    """Store the outcome in this process, and return its key as the answer."""
    key = f"{task.call_id}:{task.chunk.start}"
    if task.call_id in references:  # else the call ended, and nobody would remove the outcome
        references[key] = outcome
    return key.encode()


def _sealed(buffers: list[memoryview], mailbox: str, said: bytes = b"") -> bytes:
    post_there = functools.partial(post, mailbox) if mailbox else None
    return pickle.dumps((as_payload(buffers, post_there), said), protocol=PROTOCOL)
