"""Others: loky's executor and pathos' ParallelPool give what pandas gives, with servers elsewhere, too."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing.leaks import wait_until
from tests.clusters.suite import (
    MARKS,
    Answers,
    Contract,
    Frames,
    Options,
    S,
    environment,
)

loky = pytest.importorskip("loky")

pytestmark = MARKS


@pytest.fixture(scope="module")
def _loky() -> Iterator[Any]:
    executor = loky.get_reusable_executor(2)
    yield executor
    executor.shutdown(wait=True, kill_workers=True)


def _of_ppft() -> list[Any]:
    """What ppft has to talk to its processes: it closes none of that, and some later test would be told of it."""
    from ppft import transport

    return [
        found
        for found in gc.get_objects()
        if isinstance(found, transport.PipeTransport)
        or (isinstance(found, subprocess.Popen) and "ppft" in str(found.args))
    ]


@contextlib.contextmanager
def _parallel_pool(**options: Any) -> Iterator[Any]:
    from pathos.pools import ParallelPool

    others = _of_ppft()
    pool = ParallelPool(**options)
    try:
        yield pool
    finally:
        pool.close()
        pool.join()
        pool.clear()
        for found in _of_ppft():
            if not any(found is other for other in others):
                pipes = (found.stderr,) if isinstance(found, subprocess.Popen) else (found.r, found.w)
                for pipe in filter(None, pipes):
                    with contextlib.suppress(OSError):
                        pipe.close()


@pytest.fixture(scope="module")
def _pp() -> Iterator[Any]:
    with _parallel_pool(nodes=2, id="clusters") as pool:
        yield pool


CLUSTERS = {"loky": "_loky", "ParallelPool": "_pp"}


class TestContract(Contract): ...


class TestFrames(Frames): ...


class TestAnswers(Answers): ...


class TestOptions(Options): ...


def test_a_pathos_server_on_another_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    server = subprocess.Popen(
        [sys.executable, "-m", "ppft.server", "-i", "127.0.0.1", "-p", str(port), "-w", "2"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    try:
        assert wait_until(answers, 30)
        with _parallel_pool(nodes=0, servers=(f"127.0.0.1:{port}",), id="elsewhere") as pool:
            factor = 3
            par = S.par(engine=pool, n_workers=2, chunk_size=2)
            assert_same_as_pandas(lambda: par.map(lambda x: x * factor), lambda: S.map(lambda x: x * factor))
            theirs = {child.pid for child in psutil.Process(server.pid).children()}
            assert set(par.map(lambda _: os.getpid())) <= theirs
    finally:
        server.kill()  # its processes end when their input does
        server.wait()
