"""What holds for every test: afterwards no process is left that is not the kept pool's, and no file at all."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing import util

import pytest

import pdparallel
from pdparallel.testing.leaving import children, left_files, wait_until

# Doctests and tests never wait for a person: a hang shows where it hangs.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background, and what tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def temporary_folder_of_its_own(prefix: str) -> None:
    """Let this process and its children use a folder that goes at the end, after multiprocessing's own in it."""
    folder = tempfile.mkdtemp(prefix=prefix)
    util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-200)
    tempfile.tempdir = os.environ["TMPDIR"] = folder


if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Each looks for files that are left, and must not find those that another is about to remove.
    temporary_folder_of_its_own(f"tests-{worker}-")


#: Files of few tests that take long: where they begin last, one of them runs alone at the end.
LONG = ("test_frontends", "test_clusters", "test_engines", "test_resources", "test_delivery", "test_table")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these begin first, where several processes share the files."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(autouse=True)
def no_file_is_left() -> Iterator[None]:
    """After each test there is no file more than before."""
    before = left_files()
    yield
    if not wait_until(lambda: left_files() <= before, 1.0):
        gc.collect()  # a semaphore of multiprocessing has a name until its object is collected
    assert wait_until(lambda: left_files() <= before), sorted(left_files() - before)


@pytest.fixture(autouse=True, scope="module")
def no_process_is_left() -> Iterator[None]:
    """After each module (its tests share a warm pool) no child process lives."""
    yield
    pdparallel.shutdown()
    assert wait_until(lambda: not children()), children()


@pytest.fixture
def alone() -> Iterator[None]:
    """For tests of engines and faults: begins without a warm pool, and no child process lives after it."""
    pdparallel.shutdown()
    yield
    pdparallel.shutdown()
    assert wait_until(lambda: not children()), children()
