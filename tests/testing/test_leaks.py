"""Leaving: what is left is seen, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pandas as pd
import pytest

import pdparallel
from pdparallel.testing import leaves_nothing
from pdparallel.testing.leaks import Child, children, left_files, wait_until


def test_a_call_leaves_nothing():
    with leaves_nothing():
        s = pd.Series(range(8))
        assert s.par(engine="process", n_workers=2).map(str).tolist() == [str(value) for value in range(8)]
        assert s.par(engine="thread").background.map(str).result().tolist()[0] == "0"


def test_a_process_is_seen():
    code = "import sys; sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        assert process.pid in [child.pid for child in children()]
        assert code in str(next(child for child in children() if child.pid == process.pid))
        with leaves_nothing(seconds=0.0):  # it was there before
            pass
    finally:
        process.communicate()
    assert process.pid not in [child.pid for child in children()]


def test_a_process_that_is_left_is_told():
    process = None
    try:
        with pytest.raises(AssertionError, match=r"left behind: process \d+ .*stdin"), leaves_nothing(seconds=0.0):
            process = subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
            )  # fmt: skip
    finally:
        process.communicate()


def test_a_thread_that_is_left_is_told():
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="waits for a test")
    try:
        with pytest.raises(AssertionError, match="left behind: thread 'waits for a test'"), leaves_nothing(seconds=0.0):
            thread.start()
    finally:
        end.set()
        thread.join()


def test_a_file_that_is_left_is_told():
    path = Path(tempfile.gettempdir(), "pdparallel-left-by-a-test")
    try:
        with pytest.raises(AssertionError, match="pdparallel-left-by-a-test"), leaves_nothing(seconds=0.0):
            path.touch()
        assert str(path) in left_files()
    finally:
        path.unlink()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this platform has no memfd")
def test_an_anonymous_file_that_is_left_is_told():
    number = -1
    try:
        with pytest.raises(AssertionError, match="memfd:pdparallel"), leaves_nothing(seconds=0.0):
            number = os.memfd_create("pdparallel")
    finally:
        os.close(number)


def test_it_waits_for_what_is_about_to_end():
    end = threading.Event()
    thread = threading.Thread(target=lambda: end.wait(60))
    with leaves_nothing(seconds=60.0):
        thread.start()
        threading.Timer(0.05, end.set).start()


def test_an_exception_of_the_block_goes_out():
    with pytest.raises(LookupError, match="mine"), leaves_nothing():
        raise LookupError("mine")


def test_children_without_proc(monkeypatch):
    from pdparallel.testing import leaks

    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert process.pid in [child.pid for child in leaks._children_elsewhere()]
        monkeypatch.setitem(sys.modules, "psutil", None)
        assert process.pid not in [child.pid for child in leaks._children_elsewhere()]  # it is no multiprocessing's
    finally:
        process.communicate()


def test_children_of_multiprocessing_without_proc_and_psutil(monkeypatch):
    from pdparallel.testing import leaks

    monkeypatch.setitem(sys.modules, "psutil", None)
    pdparallel.shutdown()
    process = multiprocessing.get_context("spawn").Process(target=print, name="mine")
    process.start()
    try:
        assert Child(process.pid, "mine") in leaks._children_elsewhere()
    finally:
        process.join()


def test_wait_until():
    times = iter([False, True])
    assert wait_until(lambda: next(times))
    assert not wait_until(lambda: False, 0.0)
