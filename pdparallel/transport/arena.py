"""Arena: one anonymous file into which the parent writes the data of a call, and which every worker maps.

On Linux it is a ``memfd``: no name in any folder, no limit from a small ``/dev/shm``, gone with the last
process that holds it, also when the parent is killed.  Workers open it as ``/proc/<parent>/fd/<n>`` and map it
copy-on-write: arrays are writable and private, and no byte is copied before it is written.  Where there is no
memfd or no ``/proc``, it is a temporary file of mode 0600 that the parent removes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from pdparallel.errors import PdParallelError

__all__ = ["Arena", "ArenaRef", "Span", "open_spans"]

#: NumPy and Arrow kernels want their buffers aligned to a cache line.
ALIGNMENT = 64

#: ``write`` takes 2 GiB - 4 KiB at most at a time on Linux.
MOST_BYTES_PER_WRITE = 1 << 30


class Span(NamedTuple):
    """Where a buffer lies in the arena, in bytes, and whether it was read-only in the parent."""

    offset: int
    length: int
    readonly: bool


class ArenaRef(NamedTuple):
    """What a task says of an arena: the path that opens it, its size in bytes, and its buffers."""

    path: str
    size: int
    spans: tuple[Span, ...]


class Arena:
    """The parent's side: writes buffers, keeps the file open, and lets it go.

    Parameters
    ----------
    buffers : sequence of memoryview
        Contiguous buffers of bytes; a read-only one is read-only in the workers too.
    """

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        spans, end = [], 0
        for buffer in buffers:
            offset = -(-end // ALIGNMENT) * ALIGNMENT
            spans.append(Span(offset, buffer.nbytes, buffer.readonly))
            end = offset + buffer.nbytes
        self._fd = -1
        self._path: str | None = None
        path = self._open(end)
        self.ref = ArenaRef(path, end, tuple(spans))
        try:
            os.ftruncate(self._fd, end)  # which no write does where the last buffer is empty
            for span, buffer in zip(spans, buffers, strict=True):
                self._write(span.offset, buffer)
        except BaseException:
            self.close()
            raise

    def _open(self, size: int) -> str:
        if _memfd_can_be_shared():
            self._fd = os.memfd_create("pdparallel", os.MFD_CLOEXEC)
            return f"/proc/{os.getpid()}/fd/{self._fd}"
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size > free:
            raise PdParallelError(
                f"the data takes {size:,} bytes and {folder} has {free:,} left: "
                "set TMPDIR to a folder with more space, or pass fewer columns"
            )
        self._fd, self._path = tempfile.mkstemp(prefix="pdparallel-", dir=folder)
        return self._path

    def _write(self, offset: int, buffer: memoryview) -> None:
        with buffer.cast("B") as view:
            done = 0
            while done < len(view):
                with view[done : done + MOST_BYTES_PER_WRITE] as part:
                    done += _pwrite(self._fd, part, offset + done)

    def close(self) -> None:
        """Let the arena go; workers that have mapped it keep their mapping."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._path = None


def _pwrite(fd: int, part: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, part, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, part)


def _memfd_can_be_shared() -> bool:
    """Whether a child of the same user can open this process's descriptors through ``/proc``."""
    if not hasattr(os, "memfd_create"):
        return False
    try:
        # A process that is not dumpable (set-uid, prctl) has its /proc entries owned by root.
        return os.stat(f"/proc/{os.getpid()}/fd").st_uid == os.geteuid()
    except OSError:
        return False


def open_spans(ref: ArenaRef) -> list[memoryview]:
    """The worker's side: map the arena privately and give its buffers, each with the parent's writability.

    The mapping lives exactly as long as something uses one of the buffers.
    """
    if ref.size == 0:
        return [memoryview(b"") if span.readonly else memoryview(bytearray()) for span in ref.spans]
    fd = os.open(ref.path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        mapped = memoryview(mmap.mmap(fd, ref.size, access=mmap.ACCESS_COPY))
    finally:
        os.close(fd)
    views = []
    for span in ref.spans:
        view = mapped[span.offset : span.offset + span.length]
        views.append(view.toreadonly() if span.readonly else view)
    return views
