"""Atomic writing, which leaves no half file after a power cut, and a lock that gives a folder one user at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

fcntl: ModuleType | None
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # anywhere else
    msvcrt = None

__all__ = ["InUseError", "Lock", "is_temporary", "sync_folder", "write_whole"]

#: Offset of the byte to lock on Windows: others cannot read a locked byte, but must read the start of the file.
_LOCKED_BYTE = 1 << 30

_TEMPORARY = (".pdparallel-", ".tmp")


def write_whole(folder: Path, name: str, parts: Iterable[Any]) -> None:
    """Write a file of mode 0600 atomically: it is whole, on the disk and under its name, or it is not there."""
    before, after = _TEMPORARY
    fd, temporary = tempfile.mkstemp(prefix=before, suffix=after, dir=folder)
    try:
        with open(fd, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, folder / name)
    except BaseException:  # an interrupt, too, leaves no file
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def is_temporary(name: str) -> bool:
    before, after = _TEMPORARY
    return name.startswith(before) and name.endswith(after)


def _sync(fd: int) -> None:
    """Force the bytes of a file to the disk."""
    whole = getattr(fcntl, "F_FULLFSYNC", None)  # on macOS, fsync leaves them in the drive's cache
    if fcntl is not None and whole is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, whole)
            return
    os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Force the file names of a folder to the disk."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(fd)
    finally:
        os.close(fd)


class InUseError(Exception):
    """Error for a lock that another call holds; names the process, if it is known."""


class Lock:
    """Lock on a folder, which the system releases when the process ends, however it ends."""

    # A file lock belongs to the process, so this set tells the calls of one process apart.
    _held: set[str] = set()  # noqa: RUF012 - shared on purpose
    _guard = threading.Lock()

    def __init__(self, path: Path) -> None:
        self._name = os.path.realpath(path)
        with self._guard:
            if self._name in self._held:
                raise InUseError(" by another call of this process")
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._take()
            except BaseException:  # an interrupt, too, leaves no descriptor
                os.close(self._fd)
                raise
            self._held.add(self._name)

    def _take(self) -> None:
        if fcntl is not None:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise self._in_use() from None
            except OSError:  # a file system without locks
                pass
        elif msvcrt is not None:
            os.lseek(self._fd, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(self._fd, msvcrt.LK_NBLCK, 1)
            except OSError:
                raise self._in_use() from None
            finally:
                os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, 0)
        os.write(self._fd, str(os.getpid()).encode())

    def _in_use(self) -> InUseError:
        os.lseek(self._fd, 0, os.SEEK_SET)
        return InUseError(f" by process {os.read(self._fd, 20).decode(errors='replace')}".rstrip())

    def close(self) -> None:
        with self._guard:
            if self._name in self._held:
                self._held.discard(self._name)
                os.close(self._fd)
