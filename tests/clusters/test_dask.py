"""Dask: a LocalCluster, one of processes started apart, and its executor; what goes wrong there is told here."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import WorkerStartError
from pdparallel.core.options import resolve
from pdparallel.engines.registry import open_engine
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing.leaks import wait_until
from tests.clusters.suite import (
    MARKS,
    ROOT,
    Answers,
    Contract,
    Frames,
    Options,
    S,
    Scripts,
    Stores,
    assert_tells_of_rows,
    dies_once,
    environment,
    kills_at_seven,
)

distributed = pytest.importorskip("distributed")

pytestmark = MARKS


@contextlib.contextmanager
def _local_cluster(n_workers: int = 2, **options: Any) -> Iterator[Any]:
    """A LocalCluster of processes."""
    with (
        pytest.MonkeyPatch.context() as patch,
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50, **options
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        patch.setenv("PYTHONPATH", ROOT)
        yield client


def _end(*processes: subprocess.Popen[bytes]) -> None:
    """End processes of Dask, which take as long as they like: each step of a worker's end may take it 30 s."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _separate(folder: Path, *those_of_workers: dict[str, str], nanny: bool = True) -> Iterator[str]:
    """A scheduler and a worker for each environment, started by the commands that one types on each machine."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            env=environment(), **quiet,
        )
    ]  # fmt: skip
    try:
        assert wait_until(file.exists, 60)
        assert wait_until(lambda: file.read_text().endswith("}"), 10)
        address = json.loads(file.read_text())["address"]
        for theirs in those_of_workers:
            command = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
            started.append(subprocess.Popen([*command, "--nanny" if nanny else "--no-nanny"], env=theirs, **quiet))
        if those_of_workers:
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(len(those_of_workers), timeout=60)
        yield address
    finally:
        _end(*reversed(started))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with _local_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _separate(tmp_path_factory.mktemp("dask"), environment(), environment()) as found:
        yield found


@pytest.fixture(scope="module")
def _dask_executor(client: Any) -> Any:
    return client.get_executor()


CLUSTERS = {"LocalCluster": "client", "separate": "address", "Dask's executor": "_dask_executor"}


class TestContract(Contract): ...


class TestFrames(Frames): ...


class TestAnswers(Answers): ...


class TestOptions(Options): ...


class TestStores(Stores):
    CLUSTERS = {"LocalCluster": "client", "separate": "address"}


class TestScripts(Scripts):
    name = "dask"


# Workers that end


def test_a_dask_worker_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    s = pd.Series(range(40))
    with _local_cluster() as client:
        assert_same_as_pandas(
            lambda: s.par(engine=client, chunk_size=5).map(dies_once(tmp_path)), lambda: s.map(lambda x: x * 2)
        )
        assert (tmp_path / "died").exists()


def test_a_dask_worker_that_is_killed_takes_large_data_along_which_come_again(tmp_path: Path) -> None:
    df = pd.DataFrame(np.arange(400_000.0).reshape(-1, 4), columns=list("abcd"))

    def func(chunk: pd.DataFrame) -> pd.DataFrame:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.3)
        return chunk * 2

    killed: list[int] = []

    def kill() -> None:
        assert wait_until(lambda: list(tmp_path.iterdir()), 60)
        killed.append(int(next(tmp_path.iterdir()).name))
        os.kill(killed[0], signal.SIGKILL)

    with _local_cluster() as client:
        killer = threading.Thread(target=kill)
        killer.start()
        got = df.par(engine=client, chunk_size=10_000).apply_chunks(func)
        killer.join()
        assert_same_as_pandas(lambda: got, lambda: df * 2)
        assert killed


def test_a_value_that_kills_each_dask_worker_is_told() -> None:
    s = S
    with _local_cluster() as client:
        assert_tells_of_rows(lambda: s.par(engine=client, chunk_size=3).map(kills_at_seven))
        assert s.par(engine=client).map(str).tolist() == s.map(str).tolist()


# What a worker needs


@pytest.mark.parametrize("there", ["another pdparallel", "no pdparallel"])
def test_versions_that_differ_are_told(there: str, tmp_path: Path) -> None:
    (tmp_path / "pdparallel").mkdir()
    text = "__version__ = '0.0.1'" if there == "another pdparallel" else "raise ImportError('no such module')"
    (tmp_path / "pdparallel" / "__init__.py").write_text(text)
    with _separate(tmp_path, environment(PYTHONPATH=str(tmp_path)), nanny=False) as address:
        with pytest.raises(WorkerStartError) as caught:
            S.par(engine=address).map(str)
        pdparallel.shutdown()
    said = "pdparallel 0.0.1 instead of " if there == "another pdparallel" else "has no pdparallel"
    assert said in str(caught.value)
    assert f"pip install pandas=={pd.__version__} pdparallel=={pdparallel.__version__}" in str(caught.value)


def test_nobody_answers() -> None:
    with pytest.raises(WorkerStartError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        S.par(engine="tcp://127.0.0.1:9").map(str)


def test_a_client_that_is_closed(tmp_path: Path) -> None:
    with distributed.Client(processes=False, n_workers=1, dashboard_address=":0", set_as_default=False) as client:
        pass
    with pytest.raises(WorkerStartError, match="closed"):
        S.par(engine=client).map(str)


def test_a_worker_comes_later(tmp_path: Path) -> None:
    with _separate(tmp_path) as address:
        future = S.par(engine=address).background.map(str)
        time.sleep(0.5)
        assert not future.done()
        worker = subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"],
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
        )  # fmt: skip
        try:
            assert future.result(60).tolist() == S.map(str).tolist()
        finally:
            _end(worker)
            pdparallel.shutdown()


def test_the_number_of_workers_follows_the_cluster() -> None:
    with _local_cluster(1) as client:
        engine = open_engine(resolve({"engine": client}))
        assert engine.n_workers == 1
        client.cluster.scale(3)
        assert wait_until(lambda: engine.n_workers == 3, 60)
        client.cluster.scale(1)
        assert wait_until(lambda: engine.n_workers == 1, 60)
        engine.close()


def test_a_worker_of_several_threads(capsys: pytest.CaptureFixture[str]) -> None:
    s = pd.Series(range(40))
    with distributed.Client(n_workers=1, threads_per_worker=4, dashboard_address=":0", set_as_default=False) as client:
        par = functools.partial(s.par, engine=client, chunk_size=3)
        draw = lambda x: (np.random.random(), threading.get_ident())
        drawn = par(seed=5).map(draw)
        assert [one for one, _ in drawn] == [one for one, _ in s.par(engine="serial", seed=5).map(draw)]
        slow = lambda x: (time.sleep(0.05), print("value", x), threading.get_ident())[2]
        assert 1 < len(set(par().map(slow))) <= 4
        assert sorted(capsys.readouterr().out.split("\n")[:-1]) == sorted(f"value {x}" for x in range(40))
        kept: dict[int, int] = {}
        init = lambda: kept.update({threading.get_ident(): 7})
        assert set(par(initializer=init).map(lambda x: kept[threading.get_ident()])) == {7}


def test_a_cluster_that_grows_by_itself_grows() -> None:
    def func(x: int) -> int:
        time.sleep(0.2)
        return os.getpid()

    with _local_cluster(0) as client:
        client.cluster.adapt(minimum=0, maximum=3, interval="100 ms")
        pids = pd.Series(range(100)).par(engine=client, chunk_size=1).map(func)
        assert len(set(pids)) > 1


# Which cluster


def test_the_current_client(client: Any) -> None:
    where = lambda _: os.getpid()
    there = set(client.run(os.getpid).values())
    with client.as_current():
        assert set(S.par(engine="dask", chunk_size=1).map(where)) <= there
    assert set(S.par(engine=client.cluster, chunk_size=1).map(where)) <= there
    pdparallel.shutdown()
