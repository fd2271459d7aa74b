"""Files: writing so that no power cut leaves half a file, and one user of a folder at a time."""

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

#: The byte of the file that is locked on Windows: nobody else can read what is locked there, and the begin is read.
_LOCKED_BYTE = 1 << 30

_TEMPORARY = (".pdparallel-", ".tmp")


def write_whole(folder: Path, name: str, parts: Iterable[Any]) -> None:
    """Write a file of mode 0600 so that it is there whole, on the disk and under its name, or not at all."""
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
    """Have the bytes of a file on the disk, not only on their way there."""
    whole = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync leaves them in the drive's cache
    if fcntl is not None and whole is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, whole)
            return
    os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Have the names of a folder on the disk."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no such thing
            os.fsync(fd)
    finally:
        os.close(fd)


class InUseError(Exception):
    """Somebody else holds the lock; says who, where that is known."""


class Lock:
    """One user of a folder at a time; the system lets it go when the process ends, however it ends."""

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
