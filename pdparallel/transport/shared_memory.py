"""Anonymous files that parent and workers map: an arena for the data of a call, a mailbox for the answer to a chunk.

On Linux it is a ``memfd``: it has no name in a folder and no limit from a small ``/dev/shm``.  It disappears with the
last process that holds it, also when the parent is killed.  Workers open an arena as ``/proc/<parent>/fd/<n>`` and map
it copy-on-write: arrays are writable and private, and no byte is copied before it is written.  Without memfd or
``/proc``, it is a temporary file of mode 0600 in a folder of mode 0700 that the parent removes.

The worker writes a mailbox, but the parent creates and removes it, so that a worker that dies leaves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing import util
from typing import NamedTuple

import numpy as np

from pdparallel.errors import PdParallelError

__all__ = [
    "Arena",
    "ArenaRef",
    "BufferSlot",
    "Mailbox",
    "MailboxWriter",
    "Running",
    "folders_of_this_process",
    "joined",
    "notes",
    "open_file",
    "open_spans",
    "open_standard_streams",
    "post",
    "remove_folder",
    "remove_left",
    "taken_apart",
]

#: Bytes to which buffers are aligned: a cache line, as NumPy and Arrow kernels want it.
ALIGNMENT = 64

#: Largest number of bytes in one ``write``, which takes at most 2 GiB - 4 KiB on Linux.
MAX_BYTES_PER_WRITE = 1 << 30

#: Name of the file in its temporary folder.
_NAME = "data"

#: Error numbers of a write that fails because others filled the folder, or because of a quota.
_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


#: Bytes at the start of a mailbox for the notes of a worker.
HEAD = 64

_NOTES = struct.Struct("4q")

#: Place in the head of the offset and size of a worker's output, and their format.
_SAID_AT, _SAID = 32, struct.Struct("2q")


class BufferSlot(NamedTuple):
    """Place of a buffer in the arena, in bytes, and whether it was read-only in the parent."""

    offset: int
    length: int
    readonly: bool


class ArenaRef(NamedTuple):
    """Reference to an arena in a task: the path that opens it, its size in bytes, and its buffers."""

    path: str
    size: int
    spans: tuple[BufferSlot, ...]


def open_standard_streams() -> None:
    """Open missing descriptors 0 to 2 on the null device, so that no file of this package gets such a number."""
    # A process without standard streams (a service, ``pythonw``) gives these numbers to the next files that it opens.
    # What a library writes to its standard error would go into one of them.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(opened, True)


class _File:
    """An anonymous file, or a temporary one, that its process keeps open until it closes it."""

    def __init__(self, size: int) -> None:
        self._fd = -1
        self._folder: str | None = None
        try:
            self.path = self._open(size)
        except BaseException:  # an interrupt, too, leaves no folder
            self.close()
            raise

    def _open(self, size: int) -> str:
        open_standard_streams()
        if _memfd_can_be_shared():
            self._fd = os.memfd_create("pdparallel", os.MFD_CLOEXEC)
            return f"/proc/{os.getpid()}/fd/{self._fd}#{os.fstat(self._fd).st_ino}"
        remove_left()
        folder = tempfile.gettempdir()
        if size > shutil.disk_usage(folder).free:
            raise _no_space(size, folder)
        prefix = folders_of_this_process()
        self._folder = tempfile.mkdtemp(prefix=os.path.basename(prefix), dir=os.path.dirname(prefix))
        path = os.path.join(self._folder, _NAME)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        return path

    def close(self) -> None:
        """Close the file; processes that mapped it keep their mapping."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._folder is not None:
            _left.append(self._folder)
            self._folder = None
            remove_left()


#: Folders to be removed: Windows keeps a file while a process maps it.
_left: list[str] = []


def remove_left() -> list[str]:
    """Remove the folders that are no longer in use, and return the others."""
    for folder in list(_left):
        if remove_folder(folder):
            with contextlib.suppress(ValueError):  # another thread has done the same
                _left.remove(folder)
    return list(_left)


# After the end of the pools of multiprocessing, which have the priority 10.
util.Finalize(None, remove_left, exitpriority=-50)


def folders_of_this_process() -> str:
    """Return the start of the paths of all folders that this process makes."""
    return os.path.join(tempfile.gettempdir(), f"pdparallel-{os.getpid()}-")


def remove_folder(folder: str) -> bool:
    """Remove a folder and its file; return False if the system keeps the file because a process maps it."""
    try:
        os.unlink(os.path.join(folder, _NAME))
    except FileNotFoundError:
        pass
    except OSError:
        return False
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    return True


def _no_space(size: int, folder: str) -> PdParallelError:
    free = shutil.disk_usage(folder).free
    return PdParallelError(
        f"The data takes {size:,} bytes, and {folder} has {free:,} left. "
        "Set TMPDIR to a folder with more space, or send only the columns that the function needs: "
        "df.par(columns=[...])"
    )


class Arena(_File):
    """Buffers for the workers, in a file of the parent."""

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        spans, size = _layout(buffers)
        super().__init__(size)
        self.ref = ArenaRef(self.path, size, spans)
        try:
            _write_all(self._fd, self.ref, buffers)
        except BaseException as error:  # an interrupt, too, leaves no file
            folder = self._folder
            self.close()
            if folder is not None and isinstance(error, OSError) and error.errno in _FULL:
                raise _no_space(size, os.path.dirname(folder)) from error
            raise


class Running(NamedTuple):
    """Note of a worker about its chunk: its process id, and the positions of the units that run now."""

    pid: int
    first: int
    last: int
    #: Changes before and after each wait for a retry, and is odd during it.
    turn: int = 0


class Mailbox(_File):
    """A file of the parent in which a worker notes its progress, and into which it may :func:`post` buffers."""

    def __init__(self) -> None:
        super().__init__(HEAD)
        os.ftruncate(self._fd, HEAD)

    def put(self, buffers: Sequence[memoryview]) -> ArenaRef:
        """Write buffers for the worker."""
        return _append(self._fd, self.path, buffers)

    def running(self) -> Running | None:
        """Return the last note of the worker; None if it has not begun."""
        noted = Running(*_NOTES.unpack(_pread(self._fd, _NOTES.size, 0)))
        return noted if noted.pid else None

    def said(self) -> bytes:
        """Return the output that the worker wrote with a :class:`MailboxWriter`."""
        first, size = _SAID.unpack(_pread(self._fd, _SAID.size, _SAID_AT))
        return _pread(self._fd, size, first) if size else b""

    def read(self) -> bytes:
        """Return all bytes after the head."""
        return _pread(self._fd, os.fstat(self._fd).st_size, HEAD)


def post(path: str, buffers: Sequence[memoryview]) -> ArenaRef:
    """Write buffers into a mailbox, in a worker."""
    fd = _open_to_write(path)
    try:
        return _append(fd, path, buffers)
    finally:
        os.close(fd)


def notes(path: str) -> memoryview:
    """Map the head of a mailbox in a worker: four writable integers, the fields of :class:`Running`."""
    fd = _open_to_write(path)
    try:
        mapped = mmap.mmap(fd, HEAD, access=mmap.ACCESS_WRITE)
    finally:
        os.close(fd)
    return memoryview(mapped)[: _NOTES.size].cast("q")


class MailboxWriter:
    """Writer of a worker's output to its mailbox, at once, so that nothing is lost if the worker dies."""

    def __init__(self, path: str) -> None:
        self._fd = _open_to_write(path)
        head = memoryview(mmap.mmap(self._fd, HEAD, access=mmap.ACCESS_WRITE))
        self._notes = head[: _NOTES.size].cast("q")
        self._said = head[_SAID_AT : _SAID_AT + _SAID.size].cast("q")
        self._first = self._end = os.fstat(self._fd).st_size

    @property
    def unit(self) -> int:
        """Position of the first of the units that run now, from the head."""
        return self._notes[1]

    def write(self, data: bytes) -> None:
        """Append output. After :func:`post`, which writes behind it, no more may follow."""
        done = 0
        with memoryview(data) as view:
            while done < len(view):
                with view[done:] as part:
                    done += _pwrite(self._fd, part, self._end + done)
        self._end += done
        # In this order: a reader in between finds too little output, but never other bytes.
        self._said[0] = self._first
        self._said[1] = self._end - self._first

    def close(self) -> None:
        os.close(self._fd)


def _open_to_write(path: str) -> int:
    return open_file(path, os.O_RDWR)


def open_file(path: str, flags: int) -> int:
    """Open a file of the parent by the path that the parent gave."""
    # Another file may have its descriptor by now, and a worker that the parent gave up must not write into that. So the
    # path of a memfd ends with its inode.
    name, _, inode = path.rpartition("#") if path.startswith("/proc/") else (path, "", "")
    fd = os.open(name, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    if inode and os.fstat(fd).st_ino != int(inode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "another file has its place", path)
    return fd


def _append(fd: int, path: str, buffers: Sequence[memoryview]) -> ArenaRef:
    spans, size = _layout(buffers, os.fstat(fd).st_size)
    ref = ArenaRef(path, size, spans)
    _write_all(fd, ref, buffers)
    return ref


def _layout(buffers: Sequence[memoryview], end: int = 0) -> tuple[tuple[BufferSlot, ...], int]:
    """Return the slot of each buffer, and the size of the file."""
    spans = []
    for buffer in buffers:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        spans.append(BufferSlot(offset, buffer.nbytes, buffer.readonly))
        end = offset + buffer.nbytes
    return tuple(spans), end


def _write_all(fd: int, ref: ArenaRef, buffers: Sequence[memoryview]) -> None:
    os.ftruncate(fd, ref.size)  # no write sets the size if the last buffer is empty
    for span, buffer in zip(ref.spans, buffers, strict=True):
        with buffer.cast("B") as view:
            done = 0
            while done < len(view):
                with view[done : done + MAX_BYTES_PER_WRITE] as part:
                    done += _pwrite(fd, part, span.offset + done)


#: Guards the position in a file, which all threads share, if the system has no ``pread``.
_position = threading.Lock()


def _pwrite(fd: int, part: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, part, offset)
    with _position:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, part)


def _pread(fd: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    with _position:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


def _memfd_can_be_shared() -> bool:
    """Return whether a child of the same user can open this process's descriptors through ``/proc``."""
    if not hasattr(os, "memfd_create"):
        return False
    try:
        # A process that is not dumpable (set-uid, prctl) has its /proc entries owned by root.
        return os.stat(f"/proc/{os.getpid()}/fd").st_uid == os.geteuid()
    except OSError:
        return False


def open_spans(ref: ArenaRef) -> list[memoryview]:
    """Map an arena privately in a worker; its buffers are writable if they were in the parent."""
    if ref.size == 0:
        return [memoryview(b"") if span.readonly else memoryview(bytearray()) for span in ref.spans]
    fd = open_file(ref.path, os.O_RDONLY)
    try:
        mapped = memoryview(mmap.mmap(fd, ref.size, access=mmap.ACCESS_COPY))
    finally:
        os.close(fd)
    views = []  # the mapping lives as long as one of them is in use
    for span in ref.spans:
        view = mapped[span.offset : span.offset + span.length]
        views.append(view.toreadonly() if span.readonly else view)
    return views


# Several buffers as one object, for the object store of an engine

#: Bytes to which NumPy's kernels need buffers aligned; a buffer from a network may begin anywhere.
MIN_ALIGNMENT = 16


def joined(parts: Sequence[memoryview]) -> tuple[bytearray, tuple[BufferSlot, ...]]:
    """Join buffers, each aligned for NumPy and Arrow, and return their slots."""
    spans, at = [], 0
    for part in parts:
        spans.append(BufferSlot(at, part.nbytes, part.readonly))
        at += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    blob = bytearray(at)
    for part, span in zip(parts, spans, strict=True):
        blob[span.offset : span.offset + span.length] = part.cast("B")
    return blob, tuple(spans)


def taken_apart(blob: memoryview, spans: Sequence[BufferSlot]) -> tuple[bytes | bytearray | memoryview, ...]:
    """Return the buffers that :func:`joined` joined, copied if they are writable or not aligned."""
    in_line = not spans or np.frombuffer(blob, np.uint8).ctypes.data % MIN_ALIGNMENT == 0
    found: list[bytes | bytearray | memoryview] = []
    for offset, length, readonly in spans:
        part = blob[offset : offset + length].toreadonly()
        found.append((part if in_line else bytes(part)) if readonly else bytearray(part))
    return tuple(found)
