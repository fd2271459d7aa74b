"""Frozen: the copies of a frozen program become workers, and run its script no further than the import of pdparallel.

A shell script stands for the program: it runs a Python script with whatever command line a copy gets.  Real programs
of PyInstaller are made by ``make frozen``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdparallel.core import frozen

#: Copies of copies are refused: without what is tested here there would be no end of them.
PROGRAM = """#!/bin/sh
if [ "${COPY:-0}" -ge 3 ]; then exit 9; fi
COPY=$((${COPY:-0} + 1)); export COPY
exec PYTHON SCRIPT "$@"
"""

SCRIPT = """
import multiprocessing.spawn, sys
sys.frozen, sys.executable = True, PROGRAM
multiprocessing.spawn.set_executable(PROGRAM)
multiprocessing.spawn.WINEXE = False
print("above", flush=True)
import helper_of_the_program as helper
import pandas as pd
print("begins", flush=True)
s = pd.Series(range(4))
par = s.par(engine=sys.argv[1], start_method=sys.argv[2], n_workers=1)
assert par.map(lambda value: value * 2).tolist() == [0, 2, 4, 6]
assert par.map(helper.func).tolist() == [1, 2, 3, 4]
print("ends", flush=True)
"""

HELPER = """
import pdparallel

def func(value):
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.append(__import__("pdparallel") is pdparallel))
    thread.start()
    thread.join(60)
    assert found == [True]
    return value + 1
"""


@pytest.mark.part(2)
@pytest.mark.skipif(os.name == "nt", reason="the program is a shell script")
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_copies_become_workers(engine: str, method: str, tmp_path: Path) -> None:
    program, script = tmp_path / "program", tmp_path / "script.py"
    program.write_text(PROGRAM.replace("PYTHON", sys.executable).replace("SCRIPT", str(script)))
    program.chmod(0o755)
    script.write_text(SCRIPT.replace("PROGRAM", repr(str(program))))
    (tmp_path / "helper_of_the_program.py").write_text(HELPER)
    done = subprocess.run([program, engine, method], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [done.stdout.count(word) for word in ("begins", "ends")] == [1, 1]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["program"], False),
        (["program", "-c", "print(1)"], False),
        (["program", "-c"], False),
        (["program", "-B", "-c", "from multiprocessing.forkserver import main; main(3, 5, ['pandas'])"], True),
        (["program", "-c", "from multiprocessing.resource_tracker import main;main(7)"], True),
        (["program", "-c", "from multiprocess.resource_tracker import main;main(7)"], True),
    ],
)
def test_what_a_copy_is_for(argv: list[str], expected: bool) -> None:
    assert bool(frozen._helper(argv)) is expected


def test_a_program_that_is_not_frozen_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--multiprocessing-fork", "pipe_handle=1"])
    frozen.serve_if_a_copy()
    monkeypatch.setattr(sys, "argv", ["program", "some", "argument"])
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    frozen.serve_if_a_copy()
