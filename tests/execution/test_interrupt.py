"""Ctrl-C, SIGTERM and SIGKILL of a whole program, at many moments: it ends soon, in silence, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_until

PROGRAM = """
import os, sys, time
import pandas as pd
import pdparallel

engine, method = sys.argv[1:]
options = {"engine": engine, "n_workers": 2, **({"start_method": method} if method != "-" else {})}
s = pd.Series(range(4000))
try:
    print("begin", flush=True)  # from here on a signal may come, at any moment
    s.par(**options).map(lambda x: time.sleep(0.05) or x)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(s.head(100).par(**options).map(lambda x: x + 1).sum(), flush=True)
"""

#: Seconds after the call began: while the workers start and import pandas, and while they work.
MOMENTS: tuple[float, ...] = (0.0, 0.3, 1.5)

ENGINES = [("process", "forkserver"), ("auto", "-")]
if os.environ.get("FAULTS") == "all":
    MOMENTS = (0.0, 0.02, 0.1, 0.3, 0.7, 1.5, 3.0)
    ENGINES += [("process", "spawn"), ("process", "fork"), ("pathos", "-")]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def begun(script: Path, engine: str, method: str) -> subprocess.Popen[str]:
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script), engine, method],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stdout.readline() == "begin\n"
    return program


def of_session(leader: int) -> list[int]:
    """The processes of a program, by its session, which they keep when they lose their parent."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("engine", "method"), ENGINES)
def test_one_interrupt_ends_the_call_and_the_next_one_works(script: Path, engine: str, method: str) -> None:
    for moment in MOMENTS:
        program = begun(script, engine, method)
        time.sleep(moment)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to all of its processes
        out, err = program.communicate(timeout=60)
        assert out == "interrupted\n5050\n", f"{moment} s after the call began"
        # A worker of pathos that comes up while its pool ends looks for a semaphore that is gone, and says so.
        assert err == "" or engine == "pathos", f"{moment} s after the call began"
        assert wait_until(lambda pid=program.pid: not of_session(pid))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("engine", "method"), ENGINES)
def test_workers_end_with_their_parent(script: Path, engine: str, method: str, number: int) -> None:
    for moment in MOMENTS[1::2]:
        program = begun(script, engine, method)
        time.sleep(moment)
        program.send_signal(number)
        program.wait(30)
        assert wait_until(lambda pid=program.pid: not of_session(pid), 30), f"{moment} s after the call began"
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        program.stderr.close()
