"""Folder in which ``checkpoint=`` keeps the finished part of a call, so that no end of the process loses it::

    night/                 mode 0700
      call.json            identity of the call: a digest for each part
      lock                 held while a process uses the folder
      00000001.chunks      some finished chunks, with their returns, mode 0600
      .pdparallel-*.tmp    a file that is being written

Files are written atomically (:mod:`pdparallel.checkpoint.atomic_write`).  Every byte is verified when they are read;
the part of the call in a damaged file runs again.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pdparallel.checkpoint.atomic_write import InUseError, Lock, is_temporary, sync_folder, write_whole
from pdparallel.checkpoint.file_format import DamagedError, ForeignError, decoded, encoded
from pdparallel.checkpoint.fingerprint import identity_of
from pdparallel.core.call import Call
from pdparallel.core.chunking import Chunk
from pdparallel.core.options import Options
from pdparallel.core.outcome import Outcome
from pdparallel.errors import CheckpointError

__all__ = ["Checkpoint", "opened"]

#: Smallest number of seconds between two files: each takes some milliseconds to reach the disk.
SAVE_SECONDS = 0.2

#: The same as a share of the duration so far, and its limit in seconds, so that a long call makes fewer files.
SAVE_PART = 0.01
MAX_SAVE_SECONDS = 2.0

#: Largest share of the duration that is spent on writing.
WRITING_PART = 0.1

#: Seconds of a chunk from which it is written at once.
LONG_SECONDS = 2.0

_CALL, _LOCK, _CHUNKS = "call.json", "lock", ".chunks"


class Collector(Protocol):
    """Collector of the outcomes of a call, which passes each outcome of a worker to ``keep``."""

    keep: Callable[[Outcome], None] | None

    def add(self, outcome: Outcome) -> object:
        """Add an outcome."""


@contextlib.contextmanager
def opened(call: Call, options: Options, collector: Collector) -> Iterator[list[Chunk]]:
    """Add outcomes of an earlier run to the collector, yield their chunks, and save outcomes that follow."""
    if options.checkpoint is None:
        yield []
        return
    checkpoint = Checkpoint(options.checkpoint, call)
    try:
        finished = checkpoint.finished()
        for outcome in finished:
            collector.add(outcome)
        collector.keep = checkpoint.save
        yield [outcome.chunk for outcome in finished]
        checkpoint.flush()
    except BaseException as error:  # an interrupt, too
        with contextlib.suppress(Exception):  # warnings may be errors, and an exception class may refuse attributes
            checkpoint.flush()
            error.add_note(
                f"pdparallel: {checkpoint.safe:,} of {call.n:,} {call.unit}s are safe in {options.checkpoint!r}; "
                "the same call goes on from there"
            )
        raise
    finally:
        collector.keep = None
        checkpoint.close()


class Checkpoint:
    """The checkpoint folder of a running call."""

    def __init__(self, folder: str, call: Call) -> None:
        self._call = call
        self._shown = folder
        self._path = Path(folder).expanduser().absolute()
        self._identity = identity_of(call)
        self._waiting: list[Outcome] = []
        self._joins = call.work.unit_format != "chunk"  # which has one return for many rows
        self._number = 0
        self._planned = None if call.plan is None else {(chunk.start, chunk.stop) for chunk in call.plan}
        self._warned = False
        self._began = self._saved = time.monotonic()
        self._pause, self._long = SAVE_SECONDS, LONG_SECONDS
        self.safe = 0  # units whose returns are in the folder
        with self._refusing():
            self._make()
            self._lock = Lock(self._path / _LOCK)
        try:
            with self._refusing():
                self._check_call()
        except BaseException:  # an interrupt, too, releases the folder
            self.close()
            raise

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"cannot be used: {error}. Check its path and its permissions, or give another folder."
            raise self._error(text) from None  # the text says it all, and mkdir adds up to three tracebacks
        except InUseError as error:
            raise self._error(f"is in use{error}. Give each call a folder of its own.") from None

    def _error(self, what: str, differs: tuple[str, ...] = ()) -> CheckpointError:
        return CheckpointError(f"The checkpoint folder {self._shown!r} {what}", str(self._path), differs)

    # Opening

    def _make(self) -> None:
        if not self._path.is_dir():
            self._path.mkdir(mode=0o700, parents=True)
            sync_folder(self._path.parent)
        if os.name == "posix" and stat.S_IMODE(self._path.stat().st_mode) & stat.S_IWOTH:
            raise self._error(
                "can be written to by all users, and pdparallel runs code from it. Give a folder of your own, or run "
                f"chmod 700 {self._path}"
            )

    def _check_call(self) -> None:
        """Raise if the folder belongs to another call; write the identity of this call into a new one."""
        names = sorted(os.listdir(self._path))
        ours = [name for name in names if name in (_CALL, _LOCK) or name.endswith(_CHUNKS) or is_temporary(name)]
        for name in filter(is_temporary, names):
            (self._path / name).unlink()
        written = self._written_call()
        if written is not None:
            self._compare(written)
            return
        if len(ours) < len(names):
            others = sorted(set(names).difference(ours))
            raise self._error(f"holds another file: {others[0]!r}. Give a new or an empty folder.")
        identity = self._identity
        head = {"call": identity.whole, "verb": self._call.verb, "units": self._call.n, "unit": self._call.unit}
        text = json.dumps({**head, "parts": identity.parts, "details": identity.details}, indent=1)
        write_whole(self._path, _CALL, [text.encode()])

    def _written_call(self) -> dict[str, Any] | None:
        """Return the identity in the folder; None if there is no readable one."""
        try:
            written = json.loads((self._path / _CALL).read_bytes())
            return written if isinstance(written["parts"], dict) and isinstance(written["details"], dict) else None
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):  # each file of chunks names its call, too
            return None

    def _compare(self, written: dict[str, Any]) -> None:
        identity = self._identity
        differs = tuple(name for name, digest in identity.parts.items() if written["parts"].get(name) != digest)
        if not differs:
            return
        said = ", ".join(self._said(name, written["details"]) for name in differs)
        hint = ""
        if differs == ("chunks",):
            hint = " (give the same n_workers= or chunk_size=)"
        raise self._error(
            f"holds another call ({written.get('verb')}, {written.get('units')} {written.get('unit', 'unit')}s). "
            f"What differs: {said}{hint}. "
            "Repeat that call, give another folder, or delete this one to start again.",
            differs,
        )

    def _said(self, part: str, details: dict[str, Any]) -> str:
        names = {
            "verb": "the method",
            "chunks": "the cut into chunks",
            "options": "an option that changes the result, such as seed=",
            "versions": "the version of Python, pandas or NumPy",
        }
        said = names.get(part, f"the {part}")
        here = self._identity.details
        if part == "function":
            changed = [name for name in here if name in details and here[name] != details[name]]
            said += f" ({', '.join(changed)})" if changed else ""
        return said

    # Reading

    def finished(self) -> list[Outcome]:
        """Return the outcomes of an earlier run, in order of position."""
        found = []
        for path in sorted(self._path.glob(f"*{_CHUNKS}")):
            number = path.name.removesuffix(_CHUNKS)
            self._number = max(self._number, int(number) if number.isdecimal() else 0)
            found += self._read(path)
        found.sort(key=lambda outcome: (outcome.chunk.start, -len(outcome.chunk)))
        taken: list[Outcome] = []
        for outcome in found:
            # An interrupt after a file was written, but before this was noted, makes the next file repeat it.
            if not taken or taken[-1].chunk.stop <= outcome.chunk.start:
                taken.append(outcome)
        self.safe = sum(len(outcome.chunk) for outcome in taken)
        return taken

    def _read(self, path: Path) -> list[Outcome]:
        try:
            outcomes = decoded(_bytes_of(path), self._identity, self._call.work.errors, self._joins)
            if all(map(self._fits, outcomes)):
                return outcomes
            reason = "its positions are not those of the call"
        except DamagedError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            reason = str(error)
        except (ForeignError, OSError) as error:
            reason = str(error)
        warnings.warn(
            f"The file {path.name} in the checkpoint folder {self._shown!r} is not used: {reason}. Its part of the "
            "call runs again.",
            UserWarning,
            stacklevel=2,
        )
        return []

    def _fits(self, outcome: Outcome) -> bool:
        chunk, call = outcome.chunk, self._call
        if self._planned is not None and (chunk.start, chunk.stop) not in self._planned:
            return False
        returns = 1 if call.work.unit_format == "chunk" else len(chunk)
        return 0 <= chunk.start < chunk.stop <= call.n and len(outcome.returns) == returns

    # Writing

    def save(self, outcome: Outcome) -> None:
        """Save an outcome: at once if its loss would cost much, else together with later ones."""
        done = self._done(outcome)
        if done is None:
            return
        self._waiting.append(done)
        if outcome.seconds >= self._long or time.monotonic() - self._saved >= self._pause:
            self.flush()

    def _done(self, outcome: Outcome) -> Outcome | None:
        """Return the part of an outcome before its failure."""
        if outcome.failure is None:
            return outcome
        n = len(outcome.returns)
        if n == 0 or self._call.work.unit_format == "chunk":
            return None
        return Outcome(Chunk(outcome.chunk.start, outcome.chunk.start + n), outcome.returns, None, outcome.seconds)

    def flush(self) -> None:
        """Write the waiting outcomes. If that fails, the call goes on, and the next flush tries again."""
        if not self._waiting:
            return
        began = time.monotonic()
        problem: Exception | None = None
        try:
            parts = self._encoded(self._waiting)
        except Exception as error:  # some returns cannot be pickled: write the outcomes without them
            problem = error
            self._waiting = [outcome for outcome in self._waiting if self._can_be_written(outcome)]
            parts = self._encoded(self._waiting)
        try:
            if self._waiting:
                write_whole(self._path, f"{self._number + 1:08d}{_CHUNKS}", parts)
                self._number += 1
                self.safe += sum(len(outcome.chunk) for outcome in self._waiting)
                self._waiting = []
        except OSError as error:  # a full disk
            problem = error
        self._saved = time.monotonic()
        cost = (self._saved - began) / WRITING_PART
        self._pause = max(SAVE_SECONDS, cost, min(SAVE_PART * (self._saved - self._began), MAX_SAVE_SECONDS))
        self._long = max(LONG_SECONDS, cost / WRITING_PART)
        if problem is not None:
            self._warn(problem)

    def _encoded(self, outcomes: list[Outcome]) -> list[Any]:
        return encoded(outcomes, self._identity, self._call.work.errors, self._joins)

    def _can_be_written(self, outcome: Outcome) -> bool:
        try:
            self._encoded([outcome])
        except Exception:  # whatever a class's own __reduce__ raises
            return False
        return True

    def _warn(self, problem: Exception) -> None:
        """Warn, once a call, that some results cannot be saved."""
        if self._warned:
            return
        self._warned = True
        reason = f"({type(problem).__name__}: {problem})"
        what = f"Some results cannot be kept in the checkpoint folder {self._shown!r} {reason}."
        if isinstance(problem, OSError):
            what = f"The checkpoint folder {self._shown!r} cannot be written {reason}."
        warnings.warn(
            f"{what} The call goes on; so far {self.safe:,} of {self._call.n:,} {self._call.unit}s are safe.",
            UserWarning,
            stacklevel=2,
        )

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()


def _bytes_of(path: Path) -> bytearray:
    """Read a file into a buffer over which arrays are writable."""
    with open(path, "rb") as file:
        data = bytearray(os.fstat(file.fileno()).st_size)
        del data[file.readinto(data) :]
        return data
