"""Task: a chunk on its way, as both sides know it: what its bytes say, and how buffers travel."""

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
    "as_letter",
    "copied",
    "new_call_id",
    "read_letter",
    "references",
    "size_of",
]

#: Bytes of a piece or an answer from which it goes by a mailbox: what the buffer of a pipe holds, so that who writes
#: need not wait for the reader (``benchmarks/constants.py``).
MAILBOX_BYTES = 1 << 16

#: What a worker notes instead of a position before it has the function and the data.
LOADING = -1

#: What the tasks within this process refer to, by key: calls, and their outcomes until they are taken.
references: dict[str, Any] = {}

#: Buffers as a message has them, or where they lie beside it.
Payload: TypeAlias = "tuple[bytes | bytearray | memoryview, ...] | ArenaRef"


class Locality(enum.Enum):
    """How far away the workers of an engine are."""

    PROCESS = "process"
    HOST = "host"
    ANYWHERE = "anywhere"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk on its way: what the worker needs beside what it may have loaded for this call already."""

    call_id: str
    chunk: Chunk
    locality: Locality
    arena: ArenaRef | None = None
    mailbox: str = ""
    work: bytes = b""
    piece: Payload = ()
    spans: tuple[BufferSlot, ...] = ()
    track_each_unit: bool = False
    lasting: bool = False
    timed: bool = False
    around: bytes = b""
    heard: bool = False
    loads_only: bool = False

    @property
    def maker(self) -> int:
        """Id of the process that made the call."""
        return int(self.call_id.partition("-")[0])

    @property
    def made_here(self) -> bool:
        """Whether this process made the call; another one, on another machine, may have the same id."""
        return self.call_id.rpartition("-")[2] == _token()

    def packed(self) -> bytes:
        """As it travels."""
        return pickle.dumps(self, protocol=PROTOCOL)


@dataclass(frozen=True, slots=True)
class Parts:
    """A task for an engine with a store of its own, in parts, each of which goes there as the engine sees fit."""

    head: bytes
    work: bytes
    piece: bytearray


# The ids of calls

_call_numbers = itertools.count(1)

#: A process, and what no other one has.
_own_token = (-1, "")


def _token() -> str:
    global _own_token
    if _own_token[0] != os.getpid():  # the first call, or that of a fork
        _own_token = os.getpid(), secrets.token_hex(8)
    return _own_token[1]


def new_call_id() -> str:
    """An id that no other call has, in whichever process it was made."""
    return f"{os.getpid()}-{next(_call_numbers)}-{_token()}"


# Buffers in a message, or beside it


def as_letter(buffers: list[memoryview], put: Callable[[list[memoryview]], ArenaRef] | None) -> Payload:
    """What goes by the pipe: the buffers, or where they were put."""
    if put is not None and sum(buffer.nbytes for buffer in buffers) > MAILBOX_BYTES:
        with contextlib.suppress(OSError):  # a full folder: the pipe takes it
            return put(buffers)
    return tuple(map(copied, buffers))


def size_of(message: bytes, letter: Payload) -> int:
    """Bytes of a message, with those that it only says the place of."""
    beside = sum(span.length for span in letter.spans) if isinstance(letter, ArenaRef) else 0
    return len(message) + beside


def read_letter(letter: Payload) -> list[memoryview]:
    """The buffers of a letter, wherever they lie."""
    return open_spans(letter) if isinstance(letter, ArenaRef) else [memoryview(part) for part in letter]


def copied(part: memoryview) -> bytes | bytearray:
    """Its bytes: arrays over bytes are read-only, arrays over a bytearray are not, as they were here."""
    return bytes(part) if part.readonly else bytearray(part)
