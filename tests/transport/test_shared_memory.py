"""Arena: the data lie once in memory, each worker sees them as its own, and nothing of them stays."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from pdparallel.errors import PdParallelError
from pdparallel.testing import assert_same_as_pandas
from pdparallel.transport import shared_memory, task
from pdparallel.transport.shared_memory import ALIGNMENT, Arena, Mailbox, open_spans, post
from pdparallel.worker import decode

HAS_MEMFD = shared_memory._memfd_can_be_shared()


@pytest.fixture(params=["memfd", "file"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memfd" and not HAS_MEMFD:
        pytest.skip("this system has no memfd that another process can open")
    if request.param == "file":
        monkeypatch.setattr(shared_memory, "_memfd_can_be_shared", lambda: False)
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert left(tmp_path) == []


def left(folder: Path) -> list[str]:
    """Files of ours; a forkserver that starts meanwhile has its socket there."""
    return [path.name for path in folder.iterdir() if path.name.startswith("pdparallel")]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


def test_the_way_is_the_one_that_was_asked_for(way: str, folder: Path) -> None:
    made = Arena([memoryview(b"abc")])
    try:
        if way == "memfd":
            assert made.ref.path.startswith(f"/proc/{os.getpid()}/fd/")
            assert left(folder) == []
        else:
            file = Path(made.ref.path)
            assert file.parent.parent == folder
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    finally:
        made.close()


def test_buffers_come_back_aligned_and_as_writable_as_they_were(way: str, folder: Path) -> None:
    writable = bytearray(b"y" * 65)
    buffers = [
        memoryview(b"x" * 3),
        memoryview(writable),
        memoryview(b""),
        memoryview(b"z" * 129),
        memoryview(bytearray()),
    ]
    made = Arena(buffers)
    try:
        views = open_spans(made.ref)
    finally:
        made.close()
    assert [bytes(view) for view in views] == [bytes(buffer) for buffer in buffers]
    assert [view.readonly for view in views] == [True, False, True, True, False]
    assert all(span.offset % ALIGNMENT == 0 for span in made.ref.spans)
    addresses = [np.frombuffer(view, dtype=np.uint8).ctypes.data for view in views if len(view)]
    assert all(address % ALIGNMENT == 0 for address in addresses)


def test_what_one_reader_writes_nobody_else_sees(way: str, folder: Path) -> None:
    source = bytearray(b"abc")
    made = Arena([memoryview(source)])
    try:
        one, other = open_spans(made.ref)[0], open_spans(made.ref)[0]
        one[0] = ord("X")
        assert (bytes(one), bytes(other), bytes(source)) == (b"Xbc", b"abc", b"abc")
        assert bytes(open_spans(made.ref)[0]) == b"abc"
    finally:
        made.close()


def test_a_mapping_outlives_the_arena(way: str, folder: Path) -> None:
    made = Arena([memoryview(b"abc" * 10_000)])
    (view,) = open_spans(made.ref)
    made.close()
    assert bytes(view) == b"abc" * 10_000
    with pytest.raises(FileNotFoundError):
        shared_memory.open_file(made.ref.path, os.O_RDONLY)


def test_only_empty_buffers(way: str, folder: Path) -> None:
    made = Arena([memoryview(b""), memoryview(bytearray())])
    views = open_spans(made.ref)
    made.close()
    assert [(len(view), view.readonly) for view in views] == [(0, True), (0, False)]


def test_no_buffers(way: str, folder: Path) -> None:
    made = Arena([])
    assert open_spans(made.ref) == []
    made.close()


@needs_proc
def test_no_descriptor_is_left(way: str, folder: Path) -> None:
    before = descriptors()
    made = Arena([memoryview(b"abc")])
    views = open_spans(made.ref)
    made.close()
    made.close()  # a second time does nothing
    del views
    assert descriptors() == before


def test_large_buffers_are_written_in_parts(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "MAX_BYTES_PER_WRITE", 1000)
    source = os.urandom(4321)
    made = Arena([memoryview(b"x"), memoryview(source)])
    views = open_spans(made.ref)
    made.close()
    assert bytes(views[1]) == source


def test_writes_that_are_cut_short_go_on(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shared_memory._pwrite
    monkeypatch.setattr(shared_memory, "_pwrite", lambda fd, part, offset: real(fd, part[:7], offset))
    made = Arena([memoryview(b"0123456789" * 3)])
    (view,) = open_spans(made.ref)
    made.close()
    assert bytes(view) == b"0123456789" * 3


@needs_proc
def test_a_write_that_fails_leaves_nothing(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, part: memoryview, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_memory, "_pwrite", full)
    before = descriptors()
    with pytest.raises(PdParallelError if way == "file" else OSError) as caught:
        Arena([memoryview(b"abc")])
    assert descriptors() == before
    if way == "file":
        assert re.match(rf"The data takes 3 bytes, and {folder} has [\d,]+ left. Set TMPDIR", str(caught.value))
        assert isinstance(caught.value.__cause__, OSError)


@needs_proc
def test_too_many_open_files_leave_no_folder(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    before = descriptors()
    with pytest.raises(OSError, match="Too many open files"):
        Mailbox()
    assert descriptors() == before


def test_buffers_of_several_dimensions(way: str, folder: Path) -> None:
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    made = Arena([memoryview(array)])
    (view,) = open_spans(made.ref)
    made.close()
    assert np.frombuffer(view, dtype=np.int64).tolist() == list(range(12))


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_too_little_space_is_said_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_memfd_can_be_shared", lambda: False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(100, 50, 50))
    with pytest.raises(PdParallelError, match=rf"takes 1,000 bytes, and {folder} has 50 left\. Set TMPDIR"):
        Arena([memoryview(b"x" * 1000)])
    frame = pd.DataFrame({"a": np.arange(1000.0)})
    with pytest.raises(PdParallelError, match="Set TMPDIR"):
        frame.par(engine="process", n_workers=2).apply_rows(lambda row: row["a"])


def test_another_users_proc_is_not_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: -1, raising=False)
    assert not shared_memory._memfd_can_be_shared()


def test_without_proc_or_memfd_it_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Any) -> Any:
        raise FileNotFoundError(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", missing)
        assert not shared_memory._memfd_can_be_shared()
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert not shared_memory._memfd_can_be_shared()


# Seen from a call


@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_a_call_by_each_way(way: str, engine: str, folder: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(100.0), "b": [str(i) for i in range(100)]})
    par = frame.par(engine=engine, n_workers=2, chunk_size=10)
    assert_same_as_pandas(
        lambda: par.apply_rows(lambda row: f"{row['a']}{row['b']}"),
        lambda: frame.apply(lambda row: f"{row['a']}{row['b']}", axis=1),
    )
    assert left(folder) == []


def test_a_function_that_writes_into_its_piece_changes_nothing_here(way: str, folder: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0)})
    before = frame.copy()

    def overwrite(chunk: pd.DataFrame) -> float:
        chunk.loc[:, "a"] = -1.0
        chunk.iloc[0, 1] = -1.0
        return float(chunk["a"].sum())

    result = frame.par(engine="process", n_workers=2, chunk_size=5).apply_chunks(overwrite)
    assert result == [-5.0, -5.0]
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_an_array_that_pandas_keeps_read_only_is_read_only_there(engine: str) -> None:
    frame = pd.DataFrame({"a": np.arange(4.0), "b": np.arange(4.0)})

    def write(column: pd.Series) -> float:
        values = column.to_numpy()
        values[0] = 5.0
        return float(values.sum())

    copy = frame.copy()
    assert_same_as_pandas(
        lambda: frame.par(engine=engine, n_workers=2, chunk_size=1).apply_cols(write), lambda: copy.apply(write)
    )


def test_a_read_only_block_stays_read_only() -> None:
    values = np.arange(8.0).reshape(4, 2)
    values.flags.writeable = False
    frame = pd.DataFrame(values, columns=["a", "b"], copy=False)

    def write(row: np.ndarray) -> float:
        row[0] = 5.0
        return float(row.sum())

    assert_same_as_pandas(
        lambda: frame.par(engine="process", n_workers=2, chunk_size=2).apply_rows(write, raw=True),
        lambda: frame.apply(write, axis=1, raw=True),
    )


@needs_proc
def test_after_many_calls_no_descriptor_more_is_open(way: str) -> None:
    frame = pd.DataFrame({"a": np.arange(100.0)})
    par = frame.par(engine="process", n_workers=2)
    par.apply_rows(lambda row: row["a"])
    before = descriptors()
    for _ in range(5):
        par.apply_rows(lambda row: row["a"])
    assert descriptors() <= before


class TestMailbox:
    """Large answers come back through a file that the parent made."""

    def test_what_is_posted_is_read(self, way: str, folder: Path) -> None:
        box = Mailbox()
        ref = post(box.path, [memoryview(b"abc"), memoryview(bytearray(b"defg" * 1000)), memoryview(b"")])
        views = open_spans(ref)
        box.close()
        assert [bytes(view) for view in views] == [b"abc", b"defg" * 1000, b""]
        assert [view.readonly for view in views] == [True, False, True]
        assert left(folder) == []

    def test_a_letter_nobody_fetches_leaves_nothing(self, way: str, folder: Path) -> None:
        box = Mailbox()
        post(box.path, [memoryview(b"abc")])
        box.close()
        assert left(folder) == []

    def test_a_mailbox_that_is_gone_is_an_error_of_the_system(self, way: str, folder: Path) -> None:
        box = Mailbox()
        box.close()
        with pytest.raises(FileNotFoundError):
            post(box.path, [memoryview(b"abc")])

    @needs_proc
    def test_large_results_come_back_whole_and_writable(self, way: str) -> None:
        frame = pd.DataFrame({"a": np.arange(200_000.0), "s": ["text"] * 200_000})
        par = frame.par(engine="process", n_workers=2, chunk_size=50_000)
        before = None
        for _ in range(3):
            result = par.apply_chunks(lambda chunk: chunk.assign(b=chunk["a"] * 2))
            pd.testing.assert_frame_equal(result, frame.assign(b=frame["a"] * 2))
            (first, *_) = par.apply_chunks(lambda chunk: chunk["a"].to_numpy().copy(), combine="list")
            first[0] = 7.0
            del first
            before = before or descriptors()
            assert descriptors() <= before

    def test_a_full_folder_means_the_pipe(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(fd: int, part: memoryview, offset: int) -> int:
            raise OSError(28, "No space left on device")

        box = Mailbox()
        monkeypatch.setattr(shared_memory, "_pwrite", full)
        letter = decode._sealed([memoryview(b"x" * 100_000), memoryview(bytearray(3))], box.path)
        views = task.read_payload(pickle.loads(letter)[0])
        box.close()
        assert [(bytes(view), view.readonly) for view in views] == [(b"x" * 100_000, True), (bytes(3), False)]


def test_a_file_that_has_the_place_of_another_is_not_taken_for_it() -> None:
    first = Mailbox()
    path = first.path
    first.close()
    second = Mailbox()  # of the same descriptor
    try:
        for use in (
            lambda: post(path, [memoryview(b"late")]),
            lambda: shared_memory.notes(path),
            lambda: shared_memory.MailboxWriter(path),
        ):
            with pytest.raises(FileNotFoundError):
                use()
        assert second.running() is None
        assert second.read() == b""
    finally:
        second.close()


class _KeepsMapped:
    """``os.unlink`` of Windows, which keeps a file that somebody has mapped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mapped = True
        self._unlink = os.unlink
        monkeypatch.setattr(os, "unlink", self.unlink)

    def unlink(self, path: Any, **kwargs: Any) -> None:
        if self.mapped and "pdparallel-" in os.fspath(path):
            raise PermissionError(13, "it is being used by another process", path)
        self._unlink(path, **kwargs)


def test_a_file_that_is_mapped_is_removed_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_memfd_can_be_shared", lambda: False)
    system = _KeepsMapped(monkeypatch)
    made = [Arena([memoryview(b"abc")]), Mailbox()]
    for one in made:
        one.close()
    assert len(left(folder)) == 2
    Mailbox().close()
    assert len(left(folder)) == 3
    system.mapped = False
    another = Mailbox()
    assert len(left(folder)) == 1
    another.close()


def test_a_file_that_is_mapped_until_the_end_is_removed_then(tmp_path: Path) -> None:
    code = """
        import os, pandas as pd, pdparallel
        from pdparallel.transport import shared_memory
        shared_memory._memfd_can_be_shared = lambda: False
        unlink = os.unlink
        def refuses(path, **kwargs):
            if "pdparallel-" in os.fspath(path):
                raise PermissionError(13, "used by another process", path)
            unlink(path, **kwargs)
        os.unlink = refuses
        print(pd.Series(range(9)).par(engine="process", n_workers=2).map(lambda value: value + 1).sum())
        os.unlink = unlink
    """
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("45\n", "")
    assert left(tmp_path) == []


def test_threads_read_and_write_one_file_where_there_is_only_a_position(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pread")
    monkeypatch.delattr(os, "pwrite")
    seek = os.lseek

    def slow(fd: int, offset: int, how: int) -> int:
        found = seek(fd, offset, how)
        time.sleep(0.001)  # another thread has its turn
        return found

    monkeypatch.setattr(os, "lseek", slow)
    path = folder / "file"
    path.write_bytes(bytes(range(200)))
    fd = os.open(path, os.O_RDWR)
    try:
        with ThreadPoolExecutor(4) as threads:
            read = list(threads.map(lambda at: shared_memory._pread(fd, 2, at), range(100)))
            list(threads.map(lambda at: shared_memory._pwrite(fd, memoryview(bytes([at])), 199 - at), range(200)))
    finally:
        os.close(fd)
    assert read == [bytes([at, at + 1]) for at in range(100)]
    assert path.read_bytes() == bytes(reversed(range(200)))
