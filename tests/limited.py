"""Limited: runs a command that may not take longer than so many seconds, and says which tests it was in.

``python -m tests.limited 600 python -m pytest tests/api/test_map.py`` ends as pytest does, with 124 when the limit
strikes. No process that the command started lives on. A command with ``-m pytest`` gets this module as a plugin, by
which each process of pytest notes its current test: also those of xdist, and those that die without a word.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Exit code for a command that was ended, as that of ``timeout``.
ENDED = 124

#: Seconds between SIGTERM and SIGKILL.
GRACE_SECONDS = float(os.environ.get("LIMITED_GRACE", "10"))

#: Note of a process whose tests are over.
FINISHED = "after the last test"

#: Names the folder with a file for each process of pytest.
FOLDER = "LIMITED_FOLDER"


# As a plugin of pytest


def _note(text: str) -> None:
    if folder := os.environ.get(FOLDER):
        Path(folder, str(os.getpid())).write_text(text)


def pytest_sessionstart() -> None:
    """Note that no test has begun."""
    _note("before the first test")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note which test begins; in the controller of xdist, which is told last."""
    _note(nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Note which test has ended."""
    _note(f"after {nodeid}")


def pytest_sessionfinish() -> None:
    """Note that only the end of the process is left."""
    _note(FINISHED)


# As a command


def main(limit: float, command: Sequence[str]) -> int:
    """Run the command.

    Parameters
    ----------
    limit : float
        Seconds.
    command : sequence of str
        With its arguments.

    Returns
    -------
    int
        Its exit code, or 124.
    """
    if sys.platform == "linux":  # what loses its parent becomes a child of this process, and is found at the end
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    command = list(command)
    if "pytest" in command:
        at = command.index("pytest") + 1
        command[at:at] = ["-p", "tests.limited"]
    with tempfile.TemporaryDirectory(prefix="limited-") as folder:
        process = subprocess.Popen(command, env={**os.environ, FOLDER: folder}, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = ENDED
            _say(f"{' '.join(command)}\nhas not ended within {limit:g} s, and is ended.")
            _say_tests(folder)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGINT)
                process.wait(GRACE_SECONDS)
        else:
            if code < 0 or any(said != FINISHED for said in _notes(folder).values()):
                _say(f"{' '.join(command)}\nended with exit code {code} in the middle.")
                _say_tests(folder)
                code = code or 1
        finally:
            _end_all(process)
    return code if code >= 0 else 128 - code


def _say(text: str) -> None:
    print(f"limited: {text}", file=sys.stderr, flush=True)


def _notes(folder: str) -> dict[int, str]:
    return {int(file.name): file.read_text() for file in sorted(Path(folder).iterdir())}


def _say_tests(folder: str) -> None:
    alive = set(_descendants())
    for pid, said in _notes(folder).items():
        _say(f"process {pid}, which {'runs' if pid in alive else 'has ended'}: {said}")


def _descendants() -> Iterator[int]:
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
            state, parent = file.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(file.parent.name)] = int(parent)
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
        yield from more


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End whatever the command started: kindly, then at once."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid in [*_descendants()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # where there is no /proc
            os.killpg(process.pid, sent)
        stop = time.monotonic() + GRACE_SECONDS
        while (process.poll() is None or any(_descendants())) and time.monotonic() < stop:
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
