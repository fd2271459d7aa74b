"""Clusters: Dask's, Ray's, loky's and pathos' workers give what pandas gives; what goes wrong there is told here."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import pdparallel
from pdparallel import InvalidOptionError, WorkerDiedError, WorkerStartError
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import open_engine
from pdparallel.options import resolve
from pdparallel.plan import cut
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing.leaving import wait_until
from pdparallel.transport.parcel import pack
from tests.oracle.frames import FRAMES, NUMBERED, VALUES
from tests.oracle.functions import RETURNS, UNIT_FUNCTIONS, VALUE_FUNCTIONS
from tests.oracle.ways import drawn
from tests.test_engines import _call

distributed = pytest.importorskip("distributed")
ray = pytest.importorskip("ray")
loky = pytest.importorskip("loky")

ROOT = str(Path(__file__).parent.parent)

pytestmark = [
    pytest.mark.timeout(300),
    # What these libraries themselves warn of.
    pytest.mark.filterwarnings("default"),
]


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, **more}


def _script(folder: Path, text: str) -> list[str]:
    """The command of a program of its own, without a guard, which begins a cluster."""
    script = folder / "script.py"
    script.write_text("import os, pathlib, time, pandas as pd, pdparallel\n" + textwrap.dedent(text))
    return [sys.executable, str(script)]


def _printed(folder: Path, text: str) -> str:
    """What such a program prints, if it ends well and says of no error."""
    (folder / "tmp").mkdir()
    done = subprocess.run(
        _script(folder, text), capture_output=True, text=True, timeout=200, check=False, cwd=folder,
        env=_environment(TMPDIR=str(folder / "tmp")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert wait_until(lambda: not list((folder / "tmp").iterdir())), list((folder / "tmp").iterdir())
    return done.stdout


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


@contextlib.contextmanager
def _separate(folder: Path, *environments: dict[str, str], nanny: bool = True) -> Iterator[str]:
    """A scheduler and a worker for each environment, started by the commands that one types on each machine."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            env=_environment(), **quiet,
        )
    ]  # fmt: skip
    try:
        assert wait_until(file.exists, 60)
        assert wait_until(lambda: file.read_text().endswith("}"), 10)
        address = json.loads(file.read_text())["address"]
        for environment in environments:
            command = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
            started.append(subprocess.Popen([*command, "--nanny" if nanny else "--no-nanny"], env=environment, **quiet))
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with _local_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _separate(tmp_path_factory.mktemp("dask"), _environment(), _environment()) as found:
        yield found


@pytest.fixture(scope="module")
def ray_here() -> Iterator[str]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": ROOT}})
    yield "ray"
    ray.shutdown()


@pytest.fixture(scope="module")
def _loky() -> Iterator[Any]:
    executor = loky.get_reusable_executor(2)
    yield executor
    executor.shutdown(wait=True, kill_workers=True)


@pytest.fixture(scope="module")
def _pp() -> Iterator[Any]:
    from pathos.pools import ParallelPool

    pool = ParallelPool(2, id="clusters")
    yield pool
    pool.close()
    pool.join()
    pool.clear()


@pytest.fixture(scope="module")
def _dask_executor(client: Any) -> Any:
    return client.get_executor()


#: Whatever engine= may be, by the fixture that makes it.
STORES = {"LocalCluster": "client", "separate": "address", "Ray": "ray_here"}
CLUSTERS = {**STORES, "loky": "_loky", "ParallelPool": "_pp", "Dask's executor": "_dask_executor"}


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(CLUSTERS[request.param])


on_each = pytest.mark.parametrize("cluster", CLUSTERS, indirect=True)
on_each_store = pytest.mark.parametrize("cluster", STORES, indirect=True)
on_dask = pytest.mark.parametrize("cluster", ["LocalCluster", "separate"], indirect=True)


# The contract of an engine


@on_each
class TestContract:
    @pytest.fixture
    def engine(self, cluster: Any) -> Iterator[Engine]:
        found = open_engine(resolve({"engine": cluster, "n_workers": 2}))
        yield found
        found.close()

    def test_outcomes_belong_to_their_chunks(self, engine: Engine) -> None:
        factor = 3
        parcel = pack(_call(lambda x: x * factor), engine.reach, "dill")
        futures = [(chunk, engine.submit(parcel.task(chunk))) for chunk in cut(0, 10, size=3)]
        for chunk, future in reversed(futures):
            outcome = parcel.outcome(future.result(timeout=60))
            assert outcome.chunk == chunk
            assert list(outcome.returns) == [x * 3 for x in range(chunk.start, chunk.stop)]
        parcel.close()

    def test_it_has_two_workers(self, engine: Engine) -> None:
        assert engine.n_workers == 2

    def test_close_twice_and_kill_are_all_right(self, engine: Engine) -> None:
        engine.close()
        engine.close(kill=True)


# pandas' answer


def _par(obj: Any, cluster: Any, **options: Any) -> Any:
    return obj.par(engine=cluster, chunk_size=3, n_workers=2, **options)


def _some(cases: Iterable[str], one_of: int) -> list[tuple[str, str]]:
    """A fixed part of all cases on all clusters, more of it where a store is between; all with ORACLE=all."""
    return [
        (name, case)
        for name in CLUSTERS
        for case in cases
        if drawn(one_of if name in STORES else 4 * one_of, name, case)
    ]


class TestFrames:
    @pytest.mark.parametrize(
        ("cluster", "frame"),
        _some(FRAMES, 6),
        indirect=["cluster"],
    )
    def test_frames(self, cluster: Any, frame: str) -> None:
        func = UNIT_FUNCTIONS["looks at everything"]
        assert_same_as_pandas(
            lambda: _par(FRAMES[frame](), cluster).apply_rows(func), lambda: FRAMES[frame]().apply(func, axis=1)
        )

    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize(
        ("cluster", "returns"),
        _some(
            [
                "int then None", "list then scalar", "Series then scalar", "the unit", "Series of other labels", "dict",
                "raises at the sixth", "raises an error of one's own",
            ],
            2,
        ),
        indirect=["cluster"],
    )  # fmt: skip
    def test_returns(self, cluster: Any, returns: str, axis: int) -> None:
        value = RETURNS[returns]
        func = lambda unit: value(int(unit.iloc[0]), unit)
        assert_same_as_pandas(
            lambda: _par(NUMBERED["repeating"](axis), cluster).apply(func, axis=axis),
            lambda: NUMBERED["repeating"](axis).apply(func, axis=axis),
        )

    @pytest.mark.parametrize(
        ("cluster", "dtype"),
        _some(["int64", "str", "object", "category", "Int64", "datetime64[ns, tz]"], 2),
        indirect=["cluster"],
    )
    def test_map(self, cluster: Any, dtype: str) -> None:
        func = VALUE_FUNCTIONS["looks at everything"]
        assert_same_as_pandas(lambda: _par(VALUES[dtype](), cluster).map(func), lambda: VALUES[dtype]().map(func))


@on_each
class TestAnswers:
    @pytest.mark.parametrize("frame", ["plain", "everything", "a subclass", "aware times with a freq"])
    def test_chunks(self, cluster: Any, frame: str) -> None:
        func = lambda chunk: chunk.assign(total=chunk.isna().sum(axis=1))
        assert_same_as_pandas(lambda: _par(FRAMES[frame](), cluster).apply_chunks(func), lambda: func(FRAMES[frame]()))

    def test_columns_groups_windows_and_cells(self, cluster: Any) -> None:
        df = pd.DataFrame({"key": list("abca") * 5, "x": np.arange(20.0), "y": range(20)})
        for ours, pandas in (
            (lambda par: par.apply_cols(lambda column: column.iloc[::-1]), lambda df: df.apply(lambda c: c.iloc[::-1])),
            (lambda par: par.map(lambda cell: [cell]), lambda df: df.map(lambda cell: [cell])),
            (
                lambda par: par.groupby("key").apply(lambda group: group["x"].sum() + group.index[0]),
                lambda df: df.groupby("key").apply(lambda group: group["x"].sum() + group.index[0]),
            ),
            (
                lambda par: par.groupby("key")[["x"]].transform(lambda x: x - x.mean()),
                lambda df: df.groupby("key")[["x"]].transform(lambda x: x - x.mean()),
            ),
            (
                lambda par: par.rolling(4)[["x"]].apply(lambda window: window[-1] - window[0], raw=True),
                lambda df: df.rolling(4)[["x"]].apply(lambda window: window[-1] - window[0], raw=True),
            ),
        ):
            assert_same_as_pandas(
                lambda ours=ours: ours(_par(df.copy(), cluster)), lambda pandas=pandas: pandas(df.copy())
            )

    def test_items_as_they_come(self, cluster: Any) -> None:
        options: dict[str, Any] = {"engine": cluster, "n_workers": 2}
        assert pdparallel.map(lambda a, b: a * b, range(50), range(50), **options) == [x * x for x in range(50)]
        assert list(pdparallel.imap(lambda x: -x, range(50), **options)) == [-x for x in range(50)]

    def test_large_pieces_may_be_written_to(self, cluster: Any) -> None:
        df = pd.DataFrame(np.arange(60_000.0).reshape(-1, 2), columns=["a", "b"])

        def func(chunk: pd.DataFrame) -> pd.DataFrame:
            chunk.iloc[0, 0] = -1.0
            values = chunk["b"].to_numpy()
            return chunk.assign(c=values * 2, aligned=values.ctypes.data % 8 == 0)

        got = df.par(engine=cluster, chunk_size=10_000, n_workers=2).apply_chunks(func)
        pieces = [func(df.iloc[at : at + 10_000].copy()) for at in range(0, len(df), 10_000)]
        assert_same_as_pandas(lambda: got, lambda: pd.concat(pieces))
        assert df.iloc[0, 0] == 0.0


# Options


@on_each
class TestOptions:
    S = pd.Series(range(12), index=[f"r{i}" for i in range(12)])

    def test_errors(self, cluster: Any) -> None:
        func = lambda x: 6 // (x - 7)
        with pytest.raises(ZeroDivisionError) as caught:
            _par(self.S, cluster).map(func)
        assert "in value 'r7' (position 7)" in caught.value.__notes__[0]
        with pytest.warns(pdparallel.FailedCallsWarning):
            got = _par(self.S, cluster, errors="coerce").map(func)
        assert got.isna().tolist() == [x == 7 for x in range(12)]
        returned = _par(self.S, cluster, errors="return").map(func)
        assert isinstance(returned["r7"], ZeroDivisionError)

    def test_seed(self, cluster: Any) -> None:
        draw = lambda x: np.random.random()
        assert_same_as_pandas(
            lambda: _par(self.S, cluster, seed=5).map(draw),
            lambda: self.S.par(engine="serial", seed=5).map(draw),
        )

    def test_progress(self, cluster: Any) -> None:
        told: list[tuple[int, int]] = []
        _par(self.S, cluster, progress=lambda done, total: told.append((done, total))).map(str)
        assert told[-1] == (12, 12)

    def test_checkpoint(self, cluster: Any, tmp_path: Path) -> None:
        seen = tmp_path / "seen"
        seen.touch()

        def func(x: int) -> int:
            with seen.open("a") as file:
                file.write(f"{x}\n")
            if x == 10 and not (tmp_path / "go on").exists():
                raise KeyError(x)
            return -x

        for _ in range(2):
            with contextlib.suppress(KeyError):
                got = _par(self.S, cluster, checkpoint=tmp_path / "folder").map(func)
            (tmp_path / "go on").touch()
        assert got.tolist() == [-x for x in range(12)]
        assert seen.read_text().split().count("0") == 1

    def test_initializer_and_what_is_around(self, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: dict[str, int] = {}
        monkeypatch.setenv("PDPARALLEL_TEST_CLUSTER", "set")
        with pd.option_context("display.precision", 3):
            par = _par(self.S, cluster, initializer=kept.update, initargs=({"a": 5},))
            func = lambda x: (kept["a"], os.environ["PDPARALLEL_TEST_CLUSTER"], pd.get_option("display.precision"))
            assert set(par.map(func)) == {(5, "set", 3)}

    def test_what_is_printed(self, cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
        _par(self.S, cluster).map(lambda x: print("value", x))
        assert sorted(capsys.readouterr().out.split("\n")[:-1]) == sorted(f"value {x}" for x in range(12))

    def test_a_timeout_is_refused(self, cluster: Any) -> None:
        with pytest.raises(InvalidOptionError, match="timeout"):
            _par(self.S, cluster, timeout=3).map(str)

    def test_a_call_within_a_call_is_serial(self, cluster: Any) -> None:
        def func(x: int) -> bool:
            return set(pdparallel.map(lambda _: os.getpid(), range(4), engine="process")) == {os.getpid()}

        assert _par(self.S, cluster).map(func).all()


# Workers that end, and calls that are ended


def _dies_once(folder: Path) -> Callable[[int], int]:
    def func(x: int) -> int:
        if x == 17:
            with contextlib.suppress(FileExistsError):
                (folder / "died").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return x * 2

    return func


def test_a_dask_worker_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    s = pd.Series(range(40))
    with _local_cluster() as client:
        assert_same_as_pandas(
            lambda: s.par(engine=client, chunk_size=5).map(_dies_once(tmp_path)), lambda: s.map(lambda x: x * 2)
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


def test_a_ray_worker_that_is_killed_in_the_middle_loses_nothing(ray_here: str, tmp_path: Path) -> None:
    s = pd.Series(range(40))
    assert_same_as_pandas(
        lambda: s.par(engine="ray", chunk_size=5).map(_dies_once(tmp_path)), lambda: s.map(lambda x: x * 2)
    )
    assert (tmp_path / "died").exists()


def _kills(x: int) -> int:
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def _assert_tells_of_rows(call: Callable[[], object]) -> None:
    with pytest.raises(WorkerDiedError) as caught:
        call()
    [note] = caught.value.__notes__
    assert "in the chunk from value 'r6' to 'r8' (positions 6 to 8)" in note


def test_a_value_that_kills_each_dask_worker_is_told() -> None:
    s = TestOptions.S
    with _local_cluster() as client:
        _assert_tells_of_rows(lambda: s.par(engine=client, chunk_size=3).map(_kills))
        assert s.par(engine=client).map(str).tolist() == s.map(str).tolist()


def test_a_value_that_kills_each_ray_worker_is_told(ray_here: str) -> None:
    s = TestOptions.S
    _assert_tells_of_rows(lambda: s.par(engine="ray", chunk_size=3).map(_kills))
    assert s.par(engine="ray").map(str).tolist() == s.map(str).tolist()


@on_each_store
def test_cancelling_reaches_the_cluster(cluster: Any, tmp_path: Path) -> None:
    beat = tmp_path / "beat"

    def func(x: int) -> int:
        for _ in range(3):
            beat.touch()
            time.sleep(0.02)
        return x

    future = pd.Series(range(100_000)).par(engine=cluster, chunk_size=10_000).background.map(func)
    assert wait_until(beat.exists, 60)
    assert future.cancel() or future.cancelled()

    def still() -> bool:
        before = beat.stat().st_mtime_ns
        time.sleep(0.5)
        return beat.stat().st_mtime_ns == before

    assert wait_until(still, 20)  # the chunks would take minutes
    assert TestOptions.S.par(engine=cluster).map(str).tolist() == TestOptions.S.map(str).tolist()


@on_each_store
def test_a_failure_ends_what_comes_behind_it(cluster: Any) -> None:
    def func(x: int) -> int:
        if x == 0:
            raise KeyError(x)
        for _ in range(3000):
            time.sleep(0.1)
        return x

    began = time.monotonic()
    with pytest.raises(KeyError):
        pd.Series([0, 1, 2, 3]).par(engine=cluster, chunk_size=1).map(func)
    assert time.monotonic() - began < 60  # not 300


# What a worker needs


@pytest.mark.parametrize("there", ["another pdparallel", "no pdparallel"])
def test_versions_that_differ_are_told(there: str, tmp_path: Path) -> None:
    (tmp_path / "pdparallel").mkdir()
    text = "__version__ = '0.0.1'" if there == "another pdparallel" else "raise ImportError('no such module')"
    (tmp_path / "pdparallel" / "__init__.py").write_text(text)
    with _separate(tmp_path, _environment(PYTHONPATH=str(tmp_path)), nanny=False) as address:
        with pytest.raises(WorkerStartError) as caught:
            TestOptions.S.par(engine=address).map(str)
        pdparallel.shutdown()
    said = "pdparallel 0.0.1 instead of " if there == "another pdparallel" else "has no pdparallel"
    assert said in str(caught.value)
    assert f"pip install pandas=={pd.__version__} pdparallel=={pdparallel.__version__}" in str(caught.value)


def test_nobody_answers() -> None:
    with pytest.raises(WorkerStartError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        TestOptions.S.par(engine="tcp://127.0.0.1:9").map(str)


def test_a_client_that_is_closed(tmp_path: Path) -> None:
    with distributed.Client(processes=False, n_workers=1, dashboard_address=":0", set_as_default=False) as client:
        pass
    with pytest.raises(WorkerStartError, match="closed"):
        TestOptions.S.par(engine=client).map(str)


def test_a_worker_comes_later(tmp_path: Path) -> None:
    with _separate(tmp_path) as address:
        future = TestOptions.S.par(engine=address).background.map(str)
        time.sleep(0.5)
        assert not future.done()
        worker = subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"],
            env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
        )  # fmt: skip
        try:
            assert future.result(60).tolist() == TestOptions.S.map(str).tolist()
        finally:
            worker.terminate()
            worker.wait(30)
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
        assert set(TestOptions.S.par(engine="dask", chunk_size=1).map(where)) <= there
    assert set(TestOptions.S.par(engine=client.cluster, chunk_size=1).map(where)) <= there
    pdparallel.shutdown()


def test_a_ray_that_the_user_begins_later_stays_the_users(tmp_path: Path) -> None:
    text = """
        import ray
        s = pd.Series(range(4))
        assert s.par(engine="ray", n_workers=1).map(abs).tolist() == s.tolist()
        ray.shutdown()
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=os.path.abspath("theirs"))
        assert s.par(engine="ray", n_workers=2).map(abs).tolist() == s.tolist()
        pdparallel.shutdown()
        print(ray.is_initialized())
    """
    assert _printed(tmp_path, text) == "True\n"


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_script_without_a_guard(engine: str, tmp_path: Path) -> None:
    """And without a cluster, which is begun, kept for the second call, and ended with the process."""
    text = f"""
        factor = 3
        s = pd.Series(range(40))
        par = s.par(engine={engine!r}, n_workers=2, chunk_size=2)
        assert par.map(lambda x: x * factor).tolist() == (s * factor).tolist()
        first = set(par.map(lambda _: os.getpid()))
        second = set(par.map(lambda _: os.getpid()))
        print(os.getpid() in first, bool(first & second), len(first | second))
    """
    assert _printed(tmp_path, text) == "False True 2\n"


# What travels


@on_each_store
def test_the_frame_goes_once_and_so_does_the_function(cluster: Any) -> None:
    df = pd.DataFrame(np.random.default_rng(0).random((100_000, 4)), columns=list("abcd"))
    table = np.random.default_rng(1).random(100_000)
    with pdparallel.profile() as found:
        df.par(engine=cluster, chunk_size=5_000).apply_chunks(lambda chunk: chunk["a"].sum() + table[0])
    once = found.calls["bytes_once"].sum()
    sent = found.to_frame()["bytes_out"].sum()
    size = df.memory_usage(index=False).sum()
    assert size <= sent <= 1.05 * size
    assert table.nbytes <= once <= 1.05 * table.nbytes


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_ctrl_c_ends_the_call_and_not_the_cluster(engine: str, tmp_path: Path) -> None:
    text = f"""
        s = pd.Series(range(10_000))
        par = s.par(engine={engine!r}, n_workers=2, chunk_size=1000)
        par.map(abs)
        beat = pathlib.Path("beat")

        def slow(x):
            beat.touch()
            time.sleep(0.05)

        try:
            print("begins", flush=True)
            par.map(slow)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        assert par.map(abs).tolist() == s.tolist()  # two workers are free at once, not after a minute
        before = beat.stat().st_mtime_ns
        time.sleep(1)
        print("ended" if beat.stat().st_mtime_ns == before else "goes on", flush=True)
    """
    program = subprocess.Popen(
        _script(tmp_path, text), stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=_environment(), start_new_session=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "begins\n"
        assert wait_until((tmp_path / "beat").exists, 60)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        assert program.stdout.read() == "interrupted\nended\n"
        assert program.wait(60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def test_a_pathos_server_on_another_machine(tmp_path: Path) -> None:
    from pathos.pools import ParallelPool

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    server = subprocess.Popen(
        [sys.executable, "-m", "ppft.server", "-i", "127.0.0.1", "-p", str(port), "-w", "2"],
        env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    pool = None
    try:
        assert wait_until(answers, 30)
        pool = ParallelPool(nodes=0, servers=(f"127.0.0.1:{port}",), id="elsewhere")
        factor = 3
        par = TestOptions.S.par(engine=pool, n_workers=2, chunk_size=2)
        assert_same_as_pandas(lambda: par.map(lambda x: x * factor), lambda: TestOptions.S.map(lambda x: x * factor))
        theirs = {child.pid for child in psutil.Process(server.pid).children()}
        assert set(par.map(lambda _: os.getpid())) <= theirs
    finally:
        if pool is not None:
            pool.close()
            pool.join()
            pool.clear()
        server.terminate()
        server.wait(30)
