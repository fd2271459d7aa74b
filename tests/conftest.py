"""What holds for every test: afterwards no process is left that is not the kept pool's, and no file at all."""

from __future__ import annotations

import functools
import gc
import math
import multiprocessing.synchronize
import os
import shutil
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from multiprocessing import util

import hypothesis
import multiprocess.synchronize
import pytest

import pdparallel
from pdparallel.core import options
from pdparallel.engines import process_start
from pdparallel.engines.registry import let_pools_go
from pdparallel.execution import placement
from pdparallel.progress import reporter
from pdparallel.testing import leaks
from pdparallel.testing._force import force
from pdparallel.testing.leaks import Child, children, wait_until
from pdparallel.transport import shared_memory
from tests.oracle.ways import drawn

# Doctests and tests never wait for a person: a hang shows where it hangs.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

# An example that is held up on a busy machine is no failure.
hypothesis.settings.register_profile(
    "however slow", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("however slow")

if not hasattr(os, "fork"):
    multiprocess.set_start_method("spawn", force=True)  # as it would be there

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background, and what tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def temporary_folder_of_its_own(prefix: str) -> None:
    """Let this process and its children use a folder that goes at the end, after multiprocessing's own in it."""
    folder = tempfile.mkdtemp(prefix=prefix)
    util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-200)
    tempfile.tempdir = os.environ["TMPDIR"] = folder


worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if not worker and "LIMITED_FOLDER" in os.environ and "-n" not in sys.argv:
    worker = "alone"  # a step of ``make test``
if worker:
    # Each looks for files that are left, and must not find those that another is about to remove.
    temporary_folder_of_its_own(f"tests-{worker}-")


#: Files that take long by themselves: where they begin last, one of them runs alone at the end.
LONG = {
    f"test_{name}"
    for name in (
        "ray", "dask", "frontends", "docs_snippets", "engines", "resources", "package", "table", "capture_output",
        "imap", "levels", "limited", "progress", "service_calls", "checkpoint", "coroutines", "big", "interrupt",
        "readme", "replicate_state", "background", "errors_option", "fuzz", "stress",
    )
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register what is used here."""
    config.addinivalue_line("markers", "part(one_of): a fixed part of the cases is run; all with ORACLE=all")
    # pandas 2.2.0 warns each time that it makes an object of a subclass; 2.2.1 took that back.
    config.addinivalue_line("filterwarnings", "ignore:Passing a (Single)?BlockManager to:DeprecationWarning")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not of the part, and let long files begin first, where several processes share the files.

    What wants no Ray to run comes before what wants one, which takes ten seconds to begin again.
    """
    others = {item for item in items if not _of_the_part(item)}
    if others:
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: (item.path.stem not in LONG, "none_is_here" not in getattr(item, "fixturenames", ())))


def _of_the_part(item: pytest.Item) -> bool:
    """With ORACLE=quarter only that part of it, and of all oracle tests, for a pandas beside the one that runs more."""
    part = item.get_closest_marker("part")
    one_of = 1 if part is None else part.args[0]
    broad = part is not None or item.path.parent.name == "oracle"
    return drawn(4 * one_of if broad and os.environ.get("ORACLE") == "quarter" else one_of, item.nodeid)


@pytest.fixture(autouse=True)
def options_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets for the whole process ends with the test."""
    monkeypatch.setattr(options, "_process_wide", {})


@pytest.fixture(autouse=True)
def no_hint_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a test whose function sleeps is not told that it waits."""
    force(monkeypatch.setattr, hint_seconds=math.inf)


class Semaphores:
    """The named semaphores that are mapped here. Reading them takes a millisecond, so it waits for a new one."""

    def __init__(self) -> None:
        self.mapped: set[str] = set()
        self.may_be_more = True
        for module in (multiprocessing.synchronize, multiprocess.synchronize):
            for name in ("__init__", "__setstate__"):
                setattr(module.SemLock, name, self.noting(getattr(module.SemLock, name)))

    def noting(self, method: Callable[..., None]) -> Callable[..., None]:
        """Return a method that does the same, and notes that there is a new semaphore."""

        @functools.wraps(method)
        def noted(*args: object, **kwargs: object) -> None:
            try:
                method(*args, **kwargs)
            finally:
                self.may_be_more = True

        return noted

    def now(self) -> set[str]:
        """Return all that are mapped."""
        if self.may_be_more or self.mapped:
            self.may_be_more = False
            self.mapped = leaks._mapped_semaphores()
        return self.mapped


semaphores = Semaphores()


@pytest.fixture(autouse=True)
def no_file_is_left() -> Iterator[None]:
    """After each test there is no file more than before."""

    def files() -> set[str]:
        return leaks._files_in_folders() | semaphores.now()

    before = files()
    yield
    if not wait_until(lambda: files() <= before, 1.0):
        gc.collect()  # a semaphore of multiprocessing has a name until its object is collected
        assert wait_until(lambda: files() <= before, 60), sorted(files() - before)


@pytest.fixture(autouse=True, scope="module")
def no_process_is_left() -> Iterator[None]:
    """After each module (its tests share a warm pool) no child process lives."""
    yield
    pdparallel.shutdown()
    assert wait_until(lambda: not children(), 60), children()
    gc.collect()
    assert wait_until(lambda: not shared_memory.remove_left()), shared_memory.remove_left()


def workers() -> list[Child]:
    """Children but for the forkserver, which takes a second to come up again."""
    forkserver = getattr(process_start._forkserver, "_forkserver_pid", None)
    return [child for child in children() if child.pid != forkserver]


@pytest.fixture
def alone() -> Iterator[None]:
    """For tests of engines and faults: begins without a warm pool, and no worker lives after it."""
    let_pools_go()
    yield
    let_pools_go()
    assert wait_until(lambda: not workers()), workers()


@pytest.fixture
def anew(alone: None) -> None:
    """The same, where what the forkserver finds when it starts is the point."""
    pdparallel.shutdown()


@pytest.fixture
def no_rest_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, ``engine="auto"`` does everything in this process."""
    force(monkeypatch.setattr, warm_worth_seconds=math.inf)


@pytest.fixture
def bars_are_told_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a callable hears of each chunk, and of nothing between: the bar's clock stands."""
    monkeypatch.setattr(reporter, "time", types.SimpleNamespace(perf_counter=lambda: -1.0))


@pytest.fixture
def any_rest_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quick it is, the parent does a unit or a few, and hands over what is left, if that can travel."""

    def nothing_if_at_all(some: Callable[[int], object], n: int) -> tuple[float, float]:
        once, each = transfer_seconds(some, n)
        return once if once == math.inf else 0.0, each if each == math.inf else 0.0

    transfer_seconds = placement.transfer_seconds
    monkeypatch.setattr(placement, "transfer_seconds", nothing_if_at_all)
    force(monkeypatch.setattr, look_seconds=0.0, cold_worth_seconds=0.0, warm_worth_seconds=0.0)
