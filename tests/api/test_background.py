"""Background: each verb as a future: the same result, and an end when it is asked for, at any moment."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.api import background
from pdparallel.core.cancellation import StoppedError
from pdparallel.engines import process
from pdparallel.testing.leaks import left_files
from tests.conftest import wait_until

N = 40
DF = pd.DataFrame({"a": range(N), "b": 1.5, "k": [at % 7 for at in range(N)]}, index=[f"x{at}" for at in range(N)])
S = DF["a"]

engines = pytest.mark.parametrize("engine", ["auto", "serial", "thread", "process"])


def _ended() -> bool:
    """Whether no call runs, and none has an engine."""
    return not background._running and not process._warm._borrowed


@pytest.fixture(autouse=True)
def nothing_runs_afterwards() -> Any:
    yield
    assert wait_until(_ended)
    assert not [thread for thread in threading.enumerate() if thread.name == "pdparallel-background"]


VERBS: dict[str, Callable[[Any], Any]] = {
    "apply_rows": lambda par: par.apply_rows(lambda row: row["a"] + row["b"]),
    "apply_rows, expanded": lambda par: par.apply_rows(lambda row: [row["a"], "x"], result_type="expand"),
    "apply_cols": lambda par: par.apply_cols(lambda column: column.max()),
    "apply_chunks": lambda par: par.apply_chunks(lambda chunk: chunk[["a"]] * 2),
    "apply_chunks, by": lambda par: par.apply_chunks(lambda chunk: chunk["k"].nunique(), by="k"),
    "apply": lambda par: par.apply(lambda row: row["a"], axis=1),
    "apply, by name": lambda par: par.apply("sum"),
    "apply, a list": lambda par: par.apply(["sum", "max"]),
}
VALUES: dict[str, Callable[[Any], Any]] = {
    "map": lambda par: par.map(lambda value: -value),
    "map, a dict": lambda par: par.map({1: "one"}),
    "apply": lambda par: par.apply(lambda value, power: value**power, power=2),
    "apply, by name": lambda par: par.apply("sum"),
    "apply_chunks": lambda par: par.apply_chunks(len),
}


@engines
@pytest.mark.parametrize("name", VERBS)
def test_the_same_as_the_verb(name: str, engine: str) -> None:
    par = DF.par(engine=engine, n_workers=2, chunk_size=7)
    future = VERBS[name](par.background)
    assert isinstance(future, Future)
    got, expected = future.result(60), VERBS[name](par)
    (pd.testing.assert_frame_equal if isinstance(expected, pd.DataFrame) else _assert_equal)(got, expected)
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    assert not future.cancelled()


@engines
@pytest.mark.parametrize("name", VALUES)
def test_of_values(name: str, engine: str) -> None:
    par = S.par(engine=engine, n_workers=2, chunk_size=7)
    _assert_equal(VALUES[name](par.background).result(60), VALUES[name](par))


def _assert_equal(got: Any, expected: Any) -> None:
    if isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(got, expected)
    else:
        assert got == expected


def test_of_no_rows() -> None:
    assert DF.head(0).par.background.apply_chunks(len).result(60) == DF.head(0).par.apply_chunks(len)
    assert S.head(0).par.background.map(str).result(60).tolist() == []


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda par: par.background.apply_rows("sum"), "func"),
        (lambda par: par.background.apply_rows(len, rows="lists"), "rows"),
        (lambda par: par.background.apply_cols(len, result_type="wide"), "result_type"),
        (lambda par: par.background.apply(len, axis=2), "axis"),
        (lambda par: par.background.apply_chunks(len, by="k", overlap=1), "overlap"),
        (lambda par: par(engine="thread", timeout=1).background.apply_rows(len), "timeout"),
        (lambda par: par.background(engine="threads"), "engine"),
    ],
)
def test_wrong_arguments_are_refused_at_once(call: Callable[[Any], Any], match: str) -> None:
    with pytest.raises(InvalidOptionError, match=match):
        call(DF.par)


def test_what_there_is_not() -> None:
    with pytest.raises(AttributeError, match="aply_rows"):
        _ = DF.par.background.aply_rows
    with pytest.raises(AttributeError, match="while you iterate"):
        _ = DF.par.background.iter_chunks
    with pytest.raises(TypeError, match="missing 1 required"):
        DF.par.background.apply_rows()
    assert {"apply_rows", "apply_cols", "apply_chunks", "apply"} <= set(dir(DF.par.background))
    assert "background" not in dir(DF.par.background)
    assert "in the background: <pdparallel accessor of a DataFrame" in repr(DF.par.background)
    assert "axis=1" in (DF.par.background.apply_rows.__doc__ or "")


def test_what_makes_further_objects() -> None:
    class Grouped:
        def __init__(self, par: Any, by: str, columns: Any = None) -> None:
            self.par, self.by, self.columns = par, by, columns

        def __getitem__(self, columns: Any) -> Any:
            return Grouped(self.par, self.by, columns)

        def apply(self, func: Any) -> Any:
            return self.par.apply_chunks(func, by=self.by, combine="list"), self.columns

    class Par(type(DF.par)):  # type: ignore[misc]
        def groupby(self, by: str) -> Any:
            return Grouped(self, by)

    par = Par(DF)(n_workers=2)
    future = par.background.groupby("k")["a"].apply(len)
    assert isinstance(future, Future)
    assert future.result(60) == par.groupby("k")["a"].apply(len)


@engines
def test_an_exception_is_the_futures(engine: str) -> None:
    future = S.par(engine=engine, n_workers=2).background.map(lambda value: 1 / (value - 17))
    error = future.exception(60)
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__ == ["pdparallel: map, in value 'x17' (position 17)"]
    with pytest.raises(ZeroDivisionError):
        future.result()


def test_callbacks_and_waiting() -> None:
    called: list[Any] = []
    futures = [S.par(n_workers=2).background.map(lambda value, by=by: value + by) for by in range(4)]
    for future in futures:
        future.add_done_callback(called.append)
    assert set(concurrent.futures.as_completed(futures, 60)) == set(futures)
    assert [future.result().iloc[0] for future in futures] == [0, 1, 2, 3]
    assert wait_until(lambda: sorted(map(id, called)) == sorted(map(id, futures)))


def test_options_of_the_context_count() -> None:
    with pdparallel.option_context(engine="process", n_workers=1):
        future = S.par.background.map(lambda value: os.getpid())
    pids = set(future.result(60))
    assert len(pids) == 1
    assert pids != {os.getpid()}


@engines
def test_it_works_on_the_data_of_the_call(engine: str, tmp_path: Path) -> None:
    df = DF.copy()

    def func(row: Any) -> int:
        while not (tmp_path / "go on").exists():
            time.sleep(0.01)
        return int(row["a"])

    future = df.par(engine=engine, n_workers=2, chunk_size=1).background.apply_rows(func)
    df["a"] = -1
    df.loc[:, "b"] = 0.0
    df.iloc[:, 0] = -2
    (tmp_path / "go on").touch()
    assert future.result(60).tolist() == list(range(N))


def test_inside_a_worker_it_is_serial() -> None:
    def func(x: int) -> bool:
        future = S.par(engine="process").background.map(lambda value: os.getpid())
        return future.done() and set(future.result()) == {os.getpid()}

    for engine in ("process", "thread"):
        assert pdparallel.map(func, range(2), engine=engine, n_workers=2, seed=1) == [True, True]


class TestCancelling:
    @engines
    def test_while_it_runs(self, engine: str, tmp_path: Path) -> None:
        def func(value: int) -> int:
            with (tmp_path / "calls").open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.02)
            return value

        future = pd.Series(range(100_000)).par(engine=engine, n_workers=2).background.map(func)
        called: list[Any] = []
        future.add_done_callback(called.append)
        assert wait_until((tmp_path / "calls").exists, 30)
        assert future.running()
        assert future.cancel()
        assert (future.cancelled(), future.done(), future.running(), called) == (True, True, False, [future])
        with pytest.raises(CancelledError):
            future.result(0)
        with pytest.raises(CancelledError):
            future.exception(0)
        assert future.cancel()  # again
        assert concurrent.futures.wait([future], 1).done == {future}
        assert wait_until(_ended)
        before = (tmp_path / "calls").read_text()
        assert S.par(engine=engine, n_workers=2).map(abs).tolist() == list(range(N))
        assert (tmp_path / "calls").read_text() == before

    def test_its_workers_are_ended_where_they_are_in_the_middle(self, alone: None, tmp_path: Path) -> None:
        def func(value: int) -> None:
            (tmp_path / str(os.getpid())).touch()
            time.sleep(300)

        future = S.par(engine="process", n_workers=2).background.map(func)
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 30)
        workers = [psutil.Process(int(path.name)) for path in tmp_path.iterdir()]
        assert future.cancel()
        assert wait_until(lambda: not any(worker.is_running() for worker in workers))

    def test_before_the_workers_are_up(self, alone: None) -> None:
        future = S.par(engine="process", n_workers=2).background.map(abs)
        assert future.cancel()
        assert wait_until(_ended)
        assert S.par(engine="process", n_workers=2).map(abs).tolist() == list(range(N))

    def test_one_of_several_leaves_the_others(self, alone: None, tmp_path: Path) -> None:
        def sleep(value: int) -> None:
            (tmp_path / f"{os.getpid()}").touch()
            time.sleep(300)

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 1}
        pdparallel.map(abs, [1, 2], **options)
        (pool,) = process._warm._pools.values()
        sleeping = S.par(**options).background.map(sleep)
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 30)
        others = [S.par(**options).background.map(lambda value, by=by: value * by) for by in range(3)]
        assert wait_until(lambda: process._warm._borrowed[id(pool)][1] == 4)
        assert sleeping.cancel()
        assert [future.result(60).sum() for future in others] == [S.sum() * by for by in range(3)]
        assert pool in process._warm._pools.values()

    @pytest.mark.parametrize("raw", [True, False])
    @pytest.mark.parametrize("engine", ["auto", "serial"])
    def test_between_two_windows(self, engine: str, raw: bool, tmp_path: Path) -> None:
        def func(window: Any) -> float:
            (tmp_path / "begun").touch()
            time.sleep(0.05)
            return 0.0

        future = pd.Series(range(10_000)).par(engine=engine, n_workers=1).background.rolling(2).apply(func, raw=raw)
        assert wait_until((tmp_path / "begun").exists, 30)
        assert future.cancel()
        assert wait_until(_ended)

    @pytest.mark.parametrize("engine", ["auto", "process"])
    def test_no_exception_of_the_function_hides_it(self, engine: str, tmp_path: Path) -> None:
        def func(value: int) -> int:
            (tmp_path / "begun").touch()
            try:
                # A call inside the call looks, too, whether it is to end.
                return int(pd.Series(range(50)).par.map(lambda inner: time.sleep(0.005) or inner).sum())
            except Exception:
                return -1

        future = pd.Series(range(10_000)).par(engine=engine, errors="coerce").background.map(func)
        assert wait_until((tmp_path / "begun").exists, 30)
        assert future.cancel()
        assert wait_until(_ended)
        assert not issubclass(StoppedError, Exception)

    @pytest.mark.parametrize("engine", ["auto", "process", "thread"])
    def test_at_any_moment(self, engine: str) -> None:
        moments = random.Random(os.environ.get("PDPARALLEL_TEST_SEED", 7))
        files = left_files()
        for _ in range(25):
            values = pd.Series(range(moments.choice([10, 1_000, 50_000])))
            future = values.par(engine=engine, n_workers=2).background.map(lambda value: value + 1)
            concurrent.futures.wait([future], moments.choice([0.0, 0.001, 0.01, 0.05]))
            if future.cancel():
                assert future.cancelled()
            else:
                assert future.result().tolist() == list(range(1, len(values) + 1))
        assert wait_until(_ended)
        assert wait_until(lambda: left_files() == files)
        assert pdparallel.map(abs, [-1, -2], engine="process", n_workers=2) == [1, 2]

    def test_many_at_once(self) -> None:
        futures = [S.par(engine="process", n_workers=2).background.map(str) for _ in range(6)]
        for future in futures[::2]:
            future.cancel()
        assert [future.result(60).tolist() for future in futures[1::2]] == [list(map(str, range(N)))] * 3

    def test_the_thread_may_be_the_first_to_end_it(self) -> None:
        from pdparallel.core.cancellation import CancelToken

        future = background.Running(CancelToken())
        future.end(None, StoppedError())
        assert future.cancelled()
        assert future.cancel()


def test_an_interrupt_of_the_main_thread_leaves_it_alone() -> None:
    future = pd.Series(range(300)).par(engine="auto", n_workers=2).background.map(lambda x: time.sleep(0.002) or x)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert future.result(60).tolist() == list(range(300))


class TestAsyncio:
    """As in a notebook, whose cells run in a loop."""

    def test_it_can_be_awaited(self) -> None:
        async def main() -> list[Any]:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.001)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            slow = S.par(engine="process", n_workers=2).background.map(lambda value: time.sleep(0.005) or value)
            got = [(await slow).sum(), (await asyncio.wrap_future(S.par.background.map(str)))["x3"]]
            more = await asyncio.gather(*(asyncio.wrap_future(S.par.background.map(f)) for f in (abs, float)))
            with pytest.raises(ZeroDivisionError):
                await S.par.background.map(lambda value: 1 / value)
            ticking.cancel()
            return [*got, *(one.sum() for one in more), ticks > 3]

        assert asyncio.run(main()) == [S.sum(), "3", S.sum(), float(S.sum()), True]

    @pytest.mark.parametrize("engine", ["auto", "process"])
    @pytest.mark.parametrize("wrapped", [True, False])
    def test_a_task_that_is_cancelled_cancels_it(self, engine: str, wrapped: bool, tmp_path: Path) -> None:
        futures: list[Any] = []

        def func(value: int) -> int:
            (tmp_path / "begun").touch()
            time.sleep(0.02)
            return value

        async def work() -> Any:
            future = pd.Series(range(100_000)).par(engine=engine, n_workers=2).background.map(func)
            futures.append(future)
            return await (asyncio.wrap_future(future) if wrapped else future)

        async def main() -> None:
            task = asyncio.create_task(work())
            while not (tmp_path / "begun").exists():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(work(), 0.1)

        asyncio.run(main())
        assert [future.cancelled() for future in futures] == [True, True]


@pytest.mark.timeout(180)
@pytest.mark.part(2)
@pytest.mark.parametrize("engine", ["process", "auto", "serial", "pathos"])
@pytest.mark.parametrize("how", ["end", "exit", "exception", "cancelled"])
def test_at_the_end_of_the_process(engine: str, how: str, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, sys, time
        import pandas as pd, pdparallel
        path = {str(tmp_path / "begun")!r}
        def func(value):
            open(path, "w").close()
            time.sleep(0.05 if value < 100 else 300)
            return value
        future = pd.Series(range(10_000)).par(engine={engine!r}, n_workers=2, chunk_size=1).background.map(func)
        while not os.path.exists(path):
            time.sleep(0.01)
        print("begun", flush=True)
        if {how!r} == "exit":
            sys.exit(3)
        if {how!r} == "exception":
            raise SystemExit(3)
        if {how!r} == "cancelled":
            future.cancel()
        """
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    expected = 3 if how in ("exit", "exception") else 0
    assert (done.returncode, done.stdout, done.stderr) == (expected, "begun\n", "")
    assert wait_until(lambda: not list(folder.iterdir()))
