"""Tasks as parent and worker exchange them, and their buffers, inside a message or in a file."""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import pickle
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pdparallel.core.chunking import Chunk
from pdparallel.transport.reducers import PROTOCOL
from pdparallel.transport.shared_memory import ArenaRef, BufferSlot, open_spans

__all__ = [
    "LOADING",
    "Locality",
    "Parts",
    "Payload",
    "Task",
    "as_payload",
    "copied",
    "new_call_id",
    "read_payload",
    "references",
    "size_of",
]

#: Bytes of a piece or an answer above which it is written to a mailbox. The buffer of a pipe holds this much, so that
#: the writer need not wait for the reader (``benchmarks/constants.py``).
MAILBOX_BYTES = 1 << 16

#: Noted by a worker instead of a position while it loads the function and the data.
LOADING = -1

#: Objects that tasks within this process refer to, by key: calls, and their outcomes until they are read.
references: dict[str, Any] = {}

#: Buffers inside a message, or a reference to the file that holds them.
Payload: TypeAlias = "tuple[bytes | bytearray | memoryview, ...] | ArenaRef"


class Locality(enum.Enum):
    """Where the workers of an engine run, which decides how functions and data reach them."""

    PROCESS = "process"
    HOST = "host"
    ANYWHERE = "anywhere"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Task:
    """Message for a worker about one chunk, without what the worker loads once a call."""

    call_id: str
    chunk: Chunk
    locality: Locality
    arena: ArenaRef | None = None
    mailbox: str = ""
    work: bytes = b""
    piece: Payload = ()
    spans: tuple[BufferSlot, ...] = ()
    track_each_unit: bool = False  # note each unit before it runs, not some light ones together
    lasting: bool = False  # keep the work, because an initializer prepares it
    timed: bool = False  # let the outcome say when its steps ended
    around: bytes = b""  # state of the parent that the worker replicates
    heard: bool = False  # send the output back
    loads_only: bool = False  # only load the function: the chunk has no units

    @property
    def maker(self) -> int:
        """Id of the process that makes the call."""
        return int(self.call_id.partition("-")[0])

    @property
    def made_here(self) -> bool:
        """Whether this process makes the call; a process of another machine may have the same id."""
        return self.call_id.rpartition("-")[2] == _token()

    def packed(self) -> bytes:
        """Return the task as bytes."""
        return pickle.dumps(self, protocol=PROTOCOL)


@dataclass(frozen=True, slots=True)
class Parts:
    """A task in parts, for an engine that puts them into an object store."""

    head: bytes
    work: bytes  # the same object in all tasks of a call, so that the engine stores it once
    piece: bytearray


# The ids of calls

_call_numbers = itertools.count(1)

#: The id of a process, and a token that no other process has.
_own_token = (-1, "")


def _token() -> str:
    global _own_token
    if _own_token[0] != os.getpid():  # the first use, or a fork
        _own_token = os.getpid(), secrets.token_hex(8)
    return _own_token[1]


def new_call_id() -> str:
    """Return an id that no other call of any process has."""
    return f"{os.getpid()}-{next(_call_numbers)}-{_token()}"


# Buffers inside a message, or in a file


def as_payload(buffers: list[memoryview], put: Callable[[list[memoryview]], ArenaRef] | None) -> Payload:
    """Return the buffers for a message, or a reference to the file into which ``put`` writes large ones."""
    if put is not None and sum(buffer.nbytes for buffer in buffers) > MAILBOX_BYTES:
        with contextlib.suppress(OSError):  # the folder is full: use the pipe
            return put(buffers)
    return tuple(map(copied, buffers))


def size_of(message: bytes, letter: Payload) -> int:
    """Return the size of a message in bytes, with the buffers that it refers to."""
    beside = sum(span.length for span in letter.spans) if isinstance(letter, ArenaRef) else 0
    return len(message) + beside


def read_payload(letter: Payload) -> list[memoryview]:
    """Return the buffers of a payload."""
    return open_spans(letter) if isinstance(letter, ArenaRef) else [memoryview(part) for part in letter]


def copied(part: memoryview) -> bytes | bytearray:
    """Return a copy: arrays over ``bytes`` are read-only, and over a ``bytearray`` writable, as they are here."""
    return bytes(part) if part.readonly else bytearray(part)
