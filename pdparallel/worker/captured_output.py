"""Encoding of the prints, log records and warnings of one task, as frames in their order.

On this machine a worker writes each frame at once to the mailbox of the chunk. None is lost if it is killed.
Elsewhere the frames are part of the answer. Each has the position of the unit that ran, so that the parent shows
nothing twice if a chunk runs again.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import pickle
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pdparallel.transport.reducers import PROTOCOL
from pdparallel.transport.shared_classes import SharedTable, dump, load
from pdparallel.transport.shared_memory import MailboxWriter

__all__ = ["Kind", "OutputCapture", "Warned", "frames", "read_object", "written_object", "written_record"]  # fmt: skip


#: Largest number of bytes of output that a chunk keeps from its start, and from its end beyond that. The last lines
#: before an exception matter most.
MAX_BYTES = 1 << 24
LAST_BYTES = 1 << 16

#: Head of a frame: kind, position of the unit that ran, and number of bytes.
_HEAD = struct.Struct("<BqI")

#: Position in frames written before the first unit, or if the unit is not known.
NO_UNIT = -1

#: Types that any process can unpickle.
_PLAIN = frozenset((type(None), bool, int, float, str))


class Kind(enum.IntEnum):
    """Kind of a frame: text or bytes for a stream, a log record, a warning, or a message of pdparallel."""

    OUT = 0
    ERR = 1
    OUT_BYTES = 2
    ERR_BYTES = 3
    RECORD = 4
    WARNING = 5
    NOTE = 6

    @property
    def stream(self) -> str:
        """Name of the stream; "" if the frame is for none."""
        return _STREAMS.get(self, "")


_STREAMS = {Kind.OUT: "stdout", Kind.ERR: "stderr", Kind.OUT_BYTES: "stdout", Kind.ERR_BYTES: "stderr"}


class OutputCapture:
    """Collector of the output of one task."""

    def __init__(self, mailbox: str) -> None:
        self.table = SharedTable()
        self.unrelated_threads: frozenset[int | None] = frozenset()
        self.before_end: Callable[[], None] | None = None
        self._mailbox = mailbox
        self._voice: MailboxWriter | None = None
        self._kept = bytearray()
        self._room = MAX_BYTES
        self._last: deque[tuple[Kind, bytes]] = deque()
        self._last_room = LAST_BYTES
        self._left_out = 0
        self._lock = threading.RLock()  # a signal handler may print, too
        self._ended = False

    def add(self, kind: Kind, data: bytes) -> bool:
        """Add a frame; return False after the end."""
        with self._lock:
            if self._ended:
                return False
            room = self._room - _HEAD.size
            if 0 < room < len(data) and kind.stream:
                self._keep(kind, data[:room])
                data, room = data[room:], -1
            if len(data) <= room:
                self._room = room - len(data)
                self._keep(kind, data)
            else:
                self._room = 0
                self._keep_among_the_last(kind, data)
        return True

    def note(self, text: str) -> None:
        """Add a message of pdparallel, which the parent shows as a warning."""
        self.add(Kind.NOTE, text.encode())

    def end(self) -> bytes:
        """Accept no more output; return the frames that are not in the mailbox."""
        if self.before_end is not None:
            self.before_end()
        with self._lock:
            if self._left_out:
                text = (
                    f"\n[pdparallel: {self._left_out:,} bytes are left out here: of what a chunk prints, logs and "
                    f"warns of, the first {MAX_BYTES:,} bytes are shown, and the last {LAST_BYTES:,}]\n"
                )
                self._keep(Kind.OUT, text.encode())
            for kind, data in self._last:
                self._keep(kind, data)
            self._last.clear()
            self._left_out, self._ended = 0, True
            if self._voice is not None:
                self._voice.close()
                self._voice = None
            kept, self._kept = bytes(self._kept), bytearray()
        return kept

    def _keep(self, kind: Kind, data: bytes) -> None:
        if self._mailbox:
            with contextlib.suppress(OSError):  # the parent is gone, or closed the call
                self._voice = MailboxWriter(self._mailbox)
            self._mailbox = ""
        voice = self._voice
        frame = _HEAD.pack(kind, NO_UNIT if voice is None else voice.unit, len(data)) + data
        if voice is not None and not self._kept:
            try:
                voice.write(frame)
                return
            except OSError:  # its folder is full: from here on the answer contains the frames, which keeps their order
                pass
        self._kept += frame

    def _keep_among_the_last(self, kind: Kind, data: bytes) -> None:
        if kind.stream and len(data) > LAST_BYTES:
            self._left_out += len(data) - LAST_BYTES
            data = data[-LAST_BYTES:]
        self._last.append((kind, data))
        self._last_room -= _HEAD.size + len(data)
        while self._last_room < -_HEAD.size:  # one frame of LAST_BYTES may stay
            _, dropped = self._last.popleft()
            self._last_room += _HEAD.size + len(dropped)
            self._left_out += len(dropped)


def frames(data: bytes) -> Iterator[tuple[Kind, int, bytes]]:
    """Yield the kind, the position of the unit that ran, and the content of each frame."""
    at = 0
    while at < len(data):
        kind, unit, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size + size
        yield Kind(kind), unit, data[at - size : at]


def written_record(record: logging.LogRecord, table: SharedTable) -> bytes:
    """Serialize a log record with its formatted text, like ``logging.handlers.QueueHandler``."""
    fields = dict(vars(record))
    fields["msg"], fields["args"] = record.getMessage(), None
    if record.exc_info and not record.exc_text:  # apart from the text, so that the parent's formatter places it
        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    fields["exc_info"] = None
    others = {key: fields.pop(key) for key in list(fields) if type(fields[key]) not in _PLAIN}
    return pickle.dumps((fields, {key: written_object(value, table) for key, value in others.items()}), PROTOCOL)


def written_object(value: Any, table: SharedTable) -> bytes | str:
    """Serialize an object; return its repr if that fails."""
    try:
        return dump(value, table)
    except Exception:
        try:
            return repr(value)
        except Exception:
            return f"<{type(value).__qualname__}>"


def read_object(value: bytes | str, table: SharedTable) -> Any:
    """Load an object, or return its repr if only that was sent; None if it cannot be rebuilt here."""
    if isinstance(value, str):
        return value
    try:
        return load(value, table)
    except Exception:
        return None


class Warned(NamedTuple):
    """Serialized warning; ``undecided`` if the parent's filters decide whether it is shown."""

    whole: bytes | str
    kind: bytes | str
    builtin: str
    text: str
    filename: str
    lineno: int
    module: str | None
    undecided: bool
