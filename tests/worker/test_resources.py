"""Resources: threads of libraries, descriptors, memory, space: workers get their part, and nothing is left."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import pdparallel
from pdparallel.engines import process_start
from pdparallel.transport import shared_memory
from tests.conftest import children, wait_until

ROOT = Path(pdparallel.__file__).parent.parent
FRAME = pd.DataFrame({"a": np.arange(100.0), "b": [f"text {i}" for i in range(100)]})

OURS = ["process forkserver", "process spawn", "process fork", "pathos"]
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")


def by_name(name: str) -> dict[str, Any]:
    engine, _, method = name.partition(" ")
    return {"engine": engine, "n_workers": 2, **({"start_method": method} if method else {})}


def python(code: str, *, seconds: float = 100, before: tuple[str, ...] = (), **environment: str) -> str:
    """What a new Python prints."""
    found = subprocess.run(
        [*before, sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


class TestThreadsOfLibraries:
    """Limited in workers, left alone in the parent."""

    @staticmethod
    def now() -> dict[str, Any]:
        import pyarrow
        from threadpoolctl import threadpool_info

        numexpr = sys.modules.get("numexpr")
        return {
            "blas and openmp": sorted({info["num_threads"] for info in threadpool_info()}),
            "arrow": pyarrow.cpu_count(),
            "numexpr": None if numexpr is None else numexpr.get_num_threads(),
            **{name: text for name, text in os.environ.items() if name.endswith("_THREADS")},
        }

    @pytest.fixture
    def numexpr(self, monkeypatch: pytest.MonkeyPatch, anew: None) -> types.ModuleType:
        """A numexpr that is loaded already, as pandas does where it is installed; forked workers have it too."""
        module: Any = types.ModuleType("numexpr")
        module.threads = 8

        def set_num_threads(threads: int) -> None:
            if threads > 8:
                raise ValueError("more than NUMEXPR_MAX_THREADS")
            module.threads = threads

        module.set_num_threads, module.get_num_threads = set_num_threads, lambda: module.threads
        monkeypatch.setitem(sys.modules, "numexpr", module)
        return module  # type: ignore[no-any-return]

    @pytest.mark.parametrize(("name", "threads"), list(zip(OURS, (1, 3, 3, 1), strict=True)))
    @pytest.mark.usefixtures("anew")
    def test_in_workers(self, name: str, threads: int) -> None:
        now = self.now
        before = now()
        for found in pdparallel.map(lambda _: now(), range(4), **by_name(name), threads_per_worker=threads):
            assert found["blas and openmp"] == [threads]
            assert found["arrow"] == threads
            for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):
                assert found[f"{library}_NUM_THREADS"] == str(threads)
        assert now() == before

    @pytest.mark.parametrize(("threads", "found"), [(3, 3), (9, 8)])
    def test_of_numexpr_in_workers(self, numexpr: Any, threads: int, found: int) -> None:
        options = {**by_name("process fork"), "threads_per_worker": threads}
        assert set(pdparallel.map(lambda _: sys.modules["numexpr"].threads, range(4), **options)) == {found}
        assert numexpr.threads == 8

    @pytest.mark.parametrize("engine", ["serial", "thread", "auto", "process"])
    def test_in_the_parent(self, numexpr: Any, engine: str) -> None:
        before = self.now()
        pdparallel.map(abs, range(100), engine=engine, n_workers=2, threads_per_worker=1)
        assert self.now() == before


class TestNested:
    """A call inside a worker is serial: every core has its worker already."""

    @staticmethod
    def inside(inner: dict[str, Any]) -> Any:
        def place(_: int) -> tuple[int, int]:
            return os.getpid(), threading.get_ident()

        def func(_: int) -> bool:
            return {place(0)} == set(pdparallel.map(place, range(4), **inner, chunk_size=1))

        return func

    @pytest.mark.parametrize("outer", [*OURS, "thread"])
    def test_in_ours(self, outer: str) -> None:
        for inner in ("auto", "process", "pathos", "thread"):
            assert pdparallel.map(self.inside(by_name(inner)), range(3), **by_name(outer)) == [True] * 3

    def test_in_a_pool_of_the_user(self) -> None:
        fork = multiprocessing.get_context("fork")
        with ThreadPoolExecutor(1) as threads, fork.Pool(1) as pool, ProcessPoolExecutor(1, mp_context=fork) as more:
            for engine in (threads, pool, more):
                for inner in ("auto", "process", "thread"):
                    assert pdparallel.map(self.inside(by_name(inner)), range(2), engine=engine) == [True] * 2
            # Its only thread would wait for itself.
            assert pdparallel.map(self.inside({"engine": threads}), range(2), engine=threads) == [True] * 2


@needs_proc
class TestDescriptors:
    """A call takes some, gives all back, and does with few."""

    @pytest.mark.parametrize(("way", "n"), [("memfd", 10_000), ("file", 1_000)])
    def test_ten_thousand_chunks(
        self, way: str, n: int, bars_are_told_of_chunks: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if way == "file":
            monkeypatch.setattr(shared_memory, "_memfd_can_be_shared", lambda: False)
        seen: list[int] = []

        def look(done: int, total: int) -> None:
            if done % 50 == 0:
                seen.append(len(os.listdir("/proc/self/fd")))

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 1}
        pdparallel.map(abs, range(8), **options)  # starts the pool
        gc.collect()  # pools of other tests
        before = len(os.listdir("/proc/self/fd"))
        assert pdparallel.map(lambda x: x + 1, range(n), **options, progress=look) == list(range(1, n + 1))
        assert len(seen) >= n / 100
        assert max(seen) <= before + 20
        assert len(os.listdir("/proc/self/fd")) <= before

    @pytest.mark.parametrize("data", ["rows that are views", "rows", "values"])
    def test_a_task_gives_its_own_back_at_once(self, data: str) -> None:
        """Not only when Python looks for circles of references, which it may do after hundreds of tasks."""

        def opened(unit: Any) -> int:
            gc.disable()
            return len(os.listdir("/proc/self/fd"))

        frame = pd.DataFrame({"a": range(60)})
        par = (frame.assign(b="b") if data == "rows" else frame).par(engine="process", n_workers=1, chunk_size=1)
        pdparallel.shutdown()
        try:
            found = (
                frame["a"].par(engine="process", n_workers=1, chunk_size=1).map(opened)
                if data == "values"
                else par.apply_rows(opened)
            )
        finally:
            pdparallel.shutdown()
        assert found.max() - found.min() < 10

    def test_few(self) -> None:
        print(python(FEW_DESCRIPTORS))


#: A process that may open few files, then too few: a call works, or says so, and leaves nothing; the next one works.
FEW_DESCRIPTORS = """
import gc, os, resource, sys
import psutil
import pandas as pd
import pdparallel

def opened():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

def call(**options):
    frame = pd.DataFrame({"a": range(60)})
    result = frame.par(n_workers=3, chunk_size=1, **options).apply_rows(lambda row: row["a"] * 2)
    assert result.tolist() == [2 * x for x in range(60)]

def children():
    return [p for p in psutil.Process().children() if "resource_tracker" not in " ".join(p.cmdline())]

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
call(engine="process")  # what a process opens once
pdparallel.shutdown()
before = opened()
said = []
for limit in (64, before + 8):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        call(engine="process")
        said.append("works")
    except (OSError, pdparallel.PdParallelError) as error:
        said.append(f"{type(error).__name__}: {error}")
    finally:
        pdparallel.shutdown()
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    print(limit, said[-1])
    psutil.wait_procs(children(), 10)
    assert not children(), (limit, children())
    # multiprocessing starts a process by two pipes, and leaves the first one open where the second one cannot be.
    assert opened() <= before + 2 * len([text for text in said if text != "works"]), (limit, opened(), before)
    call(engine="process")
    pdparallel.shutdown()
assert said[0] == "works", said
assert "Too many open files" in said[-1], said
"""


@pytest.mark.timeout(400)
def test_a_thousand_calls() -> None:
    print(python(THOUSAND_CALLS, seconds=360))


#: Figures after each hundred of a thousand calls of all kinds, of this process and of its workers.
THOUSAND_CALLS = """
import gc, os, sys, threading
import numpy as np, pandas as pd, psutil
import pdparallel

frame = pd.DataFrame({"a": np.arange(20_000.0), "s": [str(i) for i in range(20_000)]})
small = frame.head(50)
process = psutil.Process()

def fails(row):
    raise KeyError("no")

def calls(number):
    weights = np.full(10_000, float(number))  # another function each time
    yield lambda par: par(engine="process", n_workers=2).apply_rows(lambda row: row["a"] + weights[0])
    yield lambda par: par(engine="process", n_workers=2, seed=number).apply_rows(lambda row: np.random.rand())
    yield lambda par: par(engine="thread", n_workers=2).apply_rows(lambda row: row["a"])
    yield lambda par: par.apply_rows(lambda row: row["a"])
    yield lambda par: par(engine="process", n_workers=2).apply_rows(fails)

def figures():
    gc.collect()
    workers = [p for p in process.children(recursive=True) if "resource_tracker" not in " ".join(p.cmdline())]
    return {
        "memory": process.memory_info().rss,
        "memory of workers": max(p.memory_info().rss for p in workers),
        "descriptors": process.num_fds(),
        "descriptors of workers": max(p.num_fds() for p in workers),
        "threads": process.num_threads(),
        "Python's threads": threading.active_count(),
        "threads of workers": max(p.num_threads() for p in workers),
        "processes": len(workers),
    }

def hundred(first):
    for number in range(first, first + 100, 5):
        for call in calls(number):
            try:
                call(small.par)
            except KeyError:
                pass
    big = frame.par(engine="process", n_workers=2, chunk_size=10_000).apply_chunks(lambda chunk: chunk)  # 1 of 101
    assert len(big) == len(frame)
    return figures()

seen = [hundred(first) for first in range(0, 1000, 100)]
print(pd.DataFrame(seen).to_string())
first, last = seen[0], seen[-1]
for name in first:
    if name.startswith("memory"):
        # What was left by each call would show: a frame, an arena or a function of these takes 80 kB at least.
        assert last[name] < first[name] + 900 * 80_000 / 2, (name, first[name], last[name])
    else:
        assert last[name] <= first[name], (name, first[name], last[name])
"""


@needs_proc
def test_a_failure_keeps_no_data_in_the_workers(anew: None) -> None:
    """A traceback leads to the piece, and a piece to the whole frame: megabytes or more, until a collection."""

    def fails(chunk: pd.DataFrame) -> None:
        gc.disable()
        raise KeyError("no")

    def mapped() -> list[str]:
        return [
            p.path for child in children() for p in psutil.Process(child.pid).memory_maps() if "pdparallel" in p.path
        ]

    frame = pd.DataFrame({"a": np.arange(100_000.0)})
    for _ in range(3):
        with pytest.raises(KeyError):
            frame.par(engine="process", n_workers=2, chunk_size=50_000).apply_chunks(fails)
    assert len(children()) >= 2
    assert wait_until(lambda: not mapped()), mapped()


class TestSpace:
    """No call needs ``/dev/shm``, and too little room in the temporary folder is said."""

    @pytest.fixture
    def unshare(self) -> str:
        """The command that gives a process mounts of its own, where that is allowed."""
        found = shutil.which("unshare")
        allowed = found and subprocess.run([found, "-m", "true"], capture_output=True, check=False).returncode == 0
        if not found or not allowed:
            pytest.skip("mounts of its own are not allowed here")
        return found

    @pytest.mark.part(2)
    @pytest.mark.parametrize("how", ["full", "read-only"])
    @pytest.mark.parametrize("engine", ["process", "thread", "auto"])
    def test_dev_shm(self, unshare: str, engine: str, how: str) -> None:
        mount = "mount -t tmpfs -o size=4k,mode=1777 none /dev/shm && "
        mount += "head -c 4096 /dev/zero > /dev/shm/full && " if how == "full" else "mount -o remount,ro /dev/shm && "
        print(
            python(WITHOUT_SHM.replace("ENGINE", engine), before=(unshare, "-m", "sh", "-c", mount + 'exec "$0" "$@"'))
        )

    def test_a_full_temporary_folder(self, unshare: str, tmp_path: Path) -> None:
        mount = f"mount -t tmpfs -o size=1m,mode=1777 none {tmp_path} && "
        before = (unshare, "-m", "sh", "-c", mount + 'exec "$0" "$@"')
        said = python(FULL_TMPDIR, before=before, TMPDIR=str(tmp_path))
        assert f"{tmp_path} has " in said
        assert "Set TMPDIR to a folder with more space" in said


WITHOUT_SHM = """
import os
import numpy as np, pandas as pd
import pdparallel

try:
    with open("/dev/shm/one", "wb") as file:
        file.write(b"x" * 4096)
except OSError as error:
    print(error)
else:
    raise AssertionError("there is room")
frame = pd.DataFrame({"a": np.arange(50_000.0), "s": ["text"] * 50_000})
out = frame.par(engine="ENGINE", n_workers=2, chunk_size=25_000).apply_chunks(lambda chunk: chunk.assign(b=1.5))
pd.testing.assert_frame_equal(out, frame.assign(b=1.5))
"""

FULL_TMPDIR = """
import os, shutil, tempfile
import numpy as np, pandas as pd
import pdparallel
from pdparallel.transport import shared_memory

shared_memory._memfd_can_be_shared = lambda: False
frame = pd.DataFrame({"a": np.arange(500_000.0)})
for free in (shutil.disk_usage, lambda folder: shutil._ntuple_diskusage(10**9, 0, 10**9)):  # filled meanwhile
    real, shutil.disk_usage = shutil.disk_usage, free
    try:
        frame.par(engine="process", n_workers=2).apply_chunks(len)
    except pdparallel.PdParallelError as error:
        print(error)
    else:
        raise AssertionError("there is room")
    finally:
        shutil.disk_usage = real
    left = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("pdparallel")]
    assert not left, left
assert frame.head(100).par(engine="process", n_workers=2).apply_chunks(len, combine=sum) == 100
"""


class TestNobodyElse:
    """Files and sockets are the user's alone, and nothing listens on a port."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        tmp_path.chmod(0o777)
        before = os.umask(0)  # the user's may forbid nothing
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(shared_memory, "_memfd_can_be_shared", lambda: False)
        yield tmp_path
        os.umask(before)

    def test_files(self, folder: Path) -> None:
        seen: dict[str, tuple[str, str]] = {}

        def look(done: int, total: int) -> None:
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    seen[str(path)] = (stat.filemode(path.stat().st_mode), stat.filemode(path.parent.stat().st_mode))

        frame = pd.DataFrame({"a": np.arange(100_000.0)})
        par = frame.par(engine="process", n_workers=2, chunk_size=25_000, progress=look)
        pd.testing.assert_frame_equal(par.apply_chunks(lambda chunk: chunk), frame)
        files = {path: modes for path, modes in seen.items() if modes[0].startswith("-")}
        assert files
        assert set(files.values()) == {("-rw-------", "drwx------")}
        assert {modes[0] for path, modes in seen.items() if path not in files} <= {"drwx------", "srw-------"}

    @pytest.mark.skipif(not hasattr(__import__("socket"), "AF_UNIX"), reason="no forkserver here")
    def test_the_socket_of_the_forkserver(self, folder: Path, anew: None) -> None:
        pdparallel.map(abs, range(4), engine="process", n_workers=2, start_method="forkserver")
        path = Path(process_start._our_forkserver()._forkserver_address)
        assert stat.filemode(path.stat().st_mode) == "srw-------"
        assert stat.filemode(path.parent.stat().st_mode) == "drwx------"
        assert path.stat().st_uid == path.parent.stat().st_uid == os.geteuid()

    @pytest.mark.parametrize("name", [*OURS, "thread", "auto", "serial"])
    @pytest.mark.usefixtures("anew")
    def test_no_port(self, name: str) -> None:
        def listening(processes: list[psutil.Process]) -> list[Any]:
            return [c for p in processes for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]

        before = listening([psutil.Process()])
        seen: list[Any] = []
        pdparallel.map(
            abs, range(20), **by_name(name), chunk_size=1,
            progress=lambda done, total: seen.append(
                listening([psutil.Process(), *(psutil.Process(child.pid) for child in children())])
            ),
        )  # fmt: skip
        assert seen
        assert all(found == before for found in seen)
        if name in OURS:
            assert len(children()) >= 2
