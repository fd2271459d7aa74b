"""Coroutine functions: on every method and engine, under running loops, and whatever goes wrong with them."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import random
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import CancelledError

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.core.cancellation import current
from pdparallel.errors import CallTimeoutError, FailedCallsWarning, InvalidOptionError, WorkerDiedError
from pdparallel.testing.leaks import wait_until
from pdparallel.transport.assigned import assigned_by
from pdparallel.worker import coroutines, event_loop

N = 60

ENGINES = ("auto", "asyncio", "serial", "thread", "process")


@pytest.fixture
def df():
    return pd.DataFrame({"a": range(N), "b": np.linspace(0, 1, N), "k": np.arange(N) % 7})


@pytest.fixture(autouse=True)
def no_loop_is_broken():
    yield
    pdparallel.shutdown()
    assert wait_until(lambda: not [one for one in threading.enumerate() if one.name == "pdparallel-loop"], 20)


async def double(value):
    await asyncio.sleep(0)
    return value * 2


async def read(row):
    await asyncio.sleep(0.001)
    return row["a"] * 2


def plain_read(row):
    return row["a"] * 2


class Client:
    """A client that belongs to the loop in which it was made, as those of aiohttp and asyncpg do."""

    made = 0

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        Client.made += 1

    async def get(self, value):
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the client belongs to another loop")
        await asyncio.sleep(0.001)
        return value * 2


# Results


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("func", [read, lambda row: read(row)], ids=["coroutine function", "lambda"])
def test_rows(df, engine, func):
    pd.testing.assert_series_equal(df.par(engine=engine).apply_rows(func), df.apply(plain_read, axis=1))


@pytest.mark.parametrize("kind", ["tuple", "namedtuple", "dict", "array"])
def test_kinds_of_rows(df, kind):
    async def first(row):
        await asyncio.sleep(0)
        return row["a"] if kind == "dict" else row[1 if kind == "namedtuple" else 0]

    assert df.par.apply_rows(first, rows=kind).tolist() == list(range(N))


@pytest.mark.filterwarnings("ignore:DataFrameGroupBy.apply operated:DeprecationWarning")  # of pandas 2
@pytest.mark.parametrize("method", ["apply", "agg", "transform", "filter"])
@pytest.mark.parametrize("is_async", [True, False])
def test_groups(df, method, is_async):
    def plain(group):
        if method == "transform":
            return group - group.mean()
        return len(group) > 8 if method == "filter" else group.sum()

    async def func(group):
        await asyncio.sleep(0)
        return plain(group)

    expected = getattr(df.groupby("k"), method)(plain)
    got = getattr(df.par.groupby("k"), method)(func if is_async else lambda group: func(group))
    pd.testing.assert_frame_equal(got, expected)


def test_other_methods(df):
    s = df["a"]
    assert df.par.map(double).equals(df.map(lambda value: value * 2))
    assert s.par.map(double).equals(s * 2)
    assert s.par.map(lambda value: double(value)).equals(s * 2)
    assert s.par.apply(double).equals(s * 2)
    assert df.par.apply_cols(double).equals(df * 2)
    assert df.par.apply(double, axis=1).equals(df.astype(float) * 2)
    assert df.par(chunk_size=7).apply_chunks(double).equals(df * 2)
    assert pd.concat(df.par(chunk_size=7).iter_chunks(double)).equals(df * 2)
    assert s.par.rolling(3).apply(lambda window: double(window.sum())).equals(s.rolling(3).apply(lambda w: 2 * w.sum()))
    assert pdparallel.map(double, range(5)) == [0, 2, 4, 6, 8]
    assert pdparallel.map(lambda a, b: double(a + b), [1, 2], [3, 4]) == [8, 12]
    assert list(pdparallel.imap(double, iter(range(5)))) == [0, 2, 4, 6, 8]
    assert sorted(pdparallel.imap(double, range(99), ordered=False)) == list(range(0, 198, 2))
    assert df.par.background.apply_rows(read).result().equals(df.apply(plain_read, axis=1))
    times = s.set_axis(pd.date_range("2026-01-01", periods=N, freq="h"))
    assert (
        times.par.resample("D")
        .apply(lambda g: double(g.sum()))
        .equals(times.resample("D").apply(lambda g: 2 * g.sum()))
    )
    with pdparallel.accelerate():
        assert df.apply(read, axis=1).equals(df.apply(plain_read, axis=1))
    assert df.par.apply({"a": double, "b": double}).equals(df[["a", "b"]] * 2)
    if not pdparallel.compat.PANDAS_2:
        assert df.apply(read, axis=1, engine=pdparallel.engine()).equals(df.apply(plain_read, axis=1))


def test_no_rows_and_few(df):
    for n in (0, 1, 2, 26):
        part = df.head(n)
        for func in (read, lambda row: read(row)):
            got = part.par.apply_rows(func)
            assert type(got) is type(part.apply(plain_read, axis=1))
            assert got.equals(part.apply(plain_read, axis=1))


@pytest.mark.parametrize("columns", [["a"], ["a", "b"], ["a", "t"]])
def test_each_coroutine_reads_its_own_row(columns):
    async def late(row):
        await asyncio.sleep(0)
        return row["a"]

    frame = pd.DataFrame({"a": range(300), "b": 1.5, "t": "text"})[columns]
    for engine in ENGINES:
        par = frame.par(engine=engine)
        assert par.apply_rows(lambda row: late(row)).tolist() == list(range(300))
        assert par.apply_rows(lambda row: late(row) if row["a"] > 40 else -1).tolist() == [-1] * 41 + list(
            range(41, 300)
        )
    wide = frame.head(3).T if len(columns) == 1 else pd.DataFrame(np.arange(120).reshape(2, 60), index=["a", "b"])
    for engine in ENGINES:
        assert wide.par(engine=engine).apply_cols(lambda column: late(column)).tolist() == wide.loc["a"].tolist()


def test_a_function_that_gives_coroutines_for_some():
    async def late(value):
        await asyncio.sleep(0)
        return value

    s = pd.Series(range(1_000))
    for engine in ENGINES:
        assert s.par(engine=engine).map(lambda value: late(value) if value % 3 else -value).tolist() == [
            value if value % 3 else -value for value in range(1_000)
        ]


def test_rows_can_be_read_late_and_kept(df):
    rows = []

    async def keep(row):
        await asyncio.sleep(0.001 * (5 - row["a"] % 5))
        rows.append(row)
        return row.sum()

    df.par.apply_rows(keep)
    assert all(type(row) is pd.Series for row in rows)
    assert sorted(row["a"] for row in rows) == list(range(N))

    async def written(row):
        await asyncio.sleep(0)
        row["a"] = -1
        return row

    before = df.copy()
    assert (df.par.apply_rows(written)["a"] == -1).all()
    assert df.equals(before)


# Limits


@pytest.mark.parametrize("engine", ["auto", "process"])
def test_no_more_at_once_than_max_concurrency(engine):
    async def at_once(value, state=[0, 0]):  # noqa: B006 - one list for all calls
        state[0] += 1
        state[1] = max(state)
        await asyncio.sleep(0.001)
        state[0] -= 1
        return state[1]

    most = pd.Series(range(50)).par(engine=engine, n_workers=1, max_concurrency=7).map(at_once).max()
    assert 2 <= most <= 7


@pytest.mark.parametrize("is_async", [True, False])
def test_a_worker_runs_many_slow_coroutines_at_once(tmp_path, is_async):
    async def waits(value):
        mine = tmp_path / f"{value}-{os.getpid()}"
        mine.touch()
        await asyncio.sleep(0.15)
        at_once = len(list(tmp_path.glob(f"*-{os.getpid()}")))
        mine.unlink()
        return at_once

    items = pd.Series(range(100))
    func = waits if is_async else lambda value: waits(value)
    options = {"engine": "process", "n_workers": 2, "max_concurrency": 10}
    assert items.par(**options).map(func).max() == 10
    assert items.par(**options, checkpoint=tmp_path / "kept").map(func).max() == 10


def test_no_more_tasks_than_twice_max_concurrency():
    tasks = []

    async def count(value):
        tasks.append(len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        if value % 5 == 0 and random.random() < 0.3:
            raise ConnectionError
        return value

    s = pd.Series(range(2_000))
    assert s.par(max_concurrency=10, retry_on=ConnectionError, retries=99, retry_wait=0.001).map(count).equals(s)
    assert max(tasks) <= 20


def test_bad_input_is_refused_before_any_call(df):
    calls = []

    async def call(row):
        calls.append(row)

    for options, fix in (
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"rate_limit": "fast"}, "600/min"),
        ({"retry_on": "ValueError"}, "without quotes"),
        ({"rate_limit": 5, "engine": "process"}, "engine='asyncio'"),
    ):
        with pytest.raises(InvalidOptionError, match=fix) as refused:
            df.par(**options).apply_rows(call)
        assert next(iter(options)) in str(refused.value)
    assert not calls


async def numbers(value):
    yield value


class Numbers:
    async def __call__(self, value):
        yield value


@pytest.mark.parametrize("func", [numbers, functools.partial(numbers), Numbers()], ids=["plain", "partial", "object"])
def test_async_generators_are_refused(df, func):
    s = df["a"]
    for call in (
        df.par.apply_rows,
        df.par(engine="process").apply_rows,
        df.par(engine="asyncio").apply_cols,
        df.par.map,
        df.par.apply_chunks,
        df.par.explain,
        df.par.groupby("k").apply,
        s.par.map,
        s.par.apply,
        s.par.rolling(2).apply,
        s.par.groupby(df["k"]).transform,
        lambda func: pdparallel.map(func, [1, 2]),
        lambda func: next(pdparallel.imap(func, [1, 2])),
        lambda func: df.par.background.apply_rows(func).result(),
    ):
        with pytest.raises(
            InvalidOptionError, match=r"^The function is an async generator.* Give a coroutine function"
        ):
            call(func)


def test_time_limit(df):
    cleaned = []

    async def slow(row):
        try:
            await asyncio.sleep(30 if row["a"] == 7 else 0)
        except asyncio.CancelledError:
            cleaned.append(row["a"])
            raise
        return 1

    with pytest.raises(CallTimeoutError, match=r"timeout=0\.2") as late:
        df.par(timeout=0.2).apply_rows(slow)
    assert late.value.__notes__ == ["pdparallel: apply_rows, in row 7 (position 7)"]
    assert cleaned == [7]
    with pytest.warns(FailedCallsWarning, match="1 of 60"):
        assert df.par(timeout=0.2, errors="coerce").apply_rows(slow).isna().tolist() == [at == 7 for at in range(N)]
    with pytest.raises(CallTimeoutError) as late:
        df.par(timeout=0.5, engine="process").apply_rows(slow)
    assert "in row 7" in late.value.__notes__[-1]


def test_a_call_that_ignores_its_time_limit(monkeypatch):
    monkeypatch.setattr(coroutines, "CLEANUP_SECONDS", 0.1)

    async def ignores(value):
        until = time.monotonic() + 3
        while value == 1 and time.monotonic() < until:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                pass
        return value

    with pytest.raises(CallTimeoutError):
        pd.Series(range(3)).par(timeout=0.1).map(ignores)


def test_a_call_that_blocks_the_loop(monkeypatch):
    monkeypatch.setattr(coroutines, "CLEANUP_SECONDS", 0.1)
    free = threading.Event()

    async def blocks(value):
        if value == 1:
            free.wait(60)
        return value

    try:
        with pytest.raises(CallTimeoutError, match="blocks its event loop") as stuck:
            pd.Series(range(3)).par(timeout=0.1).map(blocks)
        assert "in value 1" in stuck.value.__notes__[0]
        assert pd.Series(range(3)).par.map(double).tolist() == [0, 2, 4]  # on another loop
    finally:
        free.set()


# Failures


@pytest.mark.parametrize(("retries", "message"), [
    (2, r"Row 17 crashed its worker \(exit code 3\) in all 3 attempts"),
    (1, r"Row 17 crashed its worker \(exit code 3\) in both attempts"),
    (0, r"One of the rows at positions 10 to 19 crashed its worker \(exit code 3\)\."),
])  # fmt: skip
def test_the_row_that_ends_its_worker_is_found(df, retries, message):
    async def ends(row):
        await asyncio.sleep(0)
        if row["a"] == 17:
            os._exit(3)
        return row["a"]

    options = {"engine": "process", "n_workers": 2, "chunk_size": 10, "retries": retries}
    with pytest.raises(WorkerDiedError, match=message):
        df.par(**options).apply_rows(ends)
    with pytest.warns(FailedCallsWarning):
        kept = df.par(**options, errors="coerce").apply_rows(ends)
    lost = [17] if retries else [*range(10, 20)]
    assert kept.drop(lost).tolist() == df["a"].drop(lost).tolist()
    assert kept[lost].isna().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_failing_row_decides(df, engine):
    async def fails(row):
        await asyncio.sleep(0.05 if row["a"] == 7 else 0)
        if row["a"] in (7, 9, 50):
            raise ValueError(f"no {row['a']:.0f}")
        return 1

    with pytest.raises(ValueError, match="no 7") as failed:
        df.par(engine=engine).apply_rows(fails)
    assert failed.value.__notes__ == ["pdparallel: apply_rows, in row 7 (position 7)"]
    if engine != "process":
        assert failed.traceback[-1].name == "fails"
    with pytest.warns(FailedCallsWarning, match="3 of 60"):
        assert df.par(engine=engine, errors="coerce").apply_rows(fails).isna().sum() == 3
    kept = df.par(engine=engine, errors="return").apply_rows(fails)
    assert [at for at, value in kept.items() if isinstance(value, ValueError)] == [7, 9, 50]


def test_a_failure_ends_the_call_soon():
    cleaned = []

    async def fails(value):
        if value == 3:
            raise ValueError("three")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(value)

    began = time.monotonic()
    with pytest.raises(ValueError, match="three"):
        pd.Series(range(20)).par.map(fails)
    assert time.monotonic() - began < 30
    assert set(cleaned) == {0, 1, 2}  # the others had not begun


@pytest.mark.parametrize("engine", ["auto", "process"])
def test_system_exit(df, engine):
    async def exits(row):
        await asyncio.sleep(0)
        if row["a"] == 3:
            raise SystemExit(4)

    with pytest.raises(SystemExit) as ended:
        df.par(engine=engine).apply_rows(exits)
    assert ended.value.code == 4
    assert df.par.apply_rows(read).equals(df.apply(plain_read, axis=1))


def test_what_a_function_does_to_the_loop(df):
    async def closes(row):
        asyncio.get_running_loop().close()

    async def stops(row):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.001)
        return 1

    async def leaves(row):
        asyncio.get_running_loop().create_task(asyncio.sleep(60))
        return 1

    async def exits_in_a_task(row):
        async def exits():
            raise SystemExit(5)

        await asyncio.get_running_loop().create_task(exits())

    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        df.par.apply_rows(closes)
    assert df.par.apply_rows(stops).sum() == N
    assert df.par.apply_rows(leaves).sum() == N
    with pytest.raises(SystemExit):
        df.par.apply_rows(exits_in_a_task)
    assert df.par.apply_rows(read).sum() == 2 * sum(range(N))


def test_async_generators_are_closed():
    closed = []

    async def numbers():
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0.02)
            closed.append(1)

    async def first(value):
        async for number in numbers():
            return number
        return None

    assert pd.Series(range(5)).par.map(first).tolist() == [0] * 5
    pdparallel.shutdown()
    assert len(closed) == 5


# Other options


def test_retries():
    tries = Counter()

    async def flaky(value):
        await asyncio.sleep(0)
        tries[value] += 1
        if value % 4 == 0 and tries[value] < 3:
            raise ConnectionError("once more")
        return value

    s = pd.Series(range(40))
    with pdparallel.profile() as found:
        assert s.par(retry_on=ConnectionError, retry_wait=0.01).map(flaky).equals(s)
    assert found.calls["retried"].tolist() == [20]
    tries.clear()
    with pytest.raises(ConnectionError) as failed:
        s.par(retry_on=ConnectionError, retries=1, retry_wait=0.01).map(flaky)
    assert failed.value.__notes__[0].startswith("pdparallel: the function was called 2 times in")
    tries.clear()
    assert s.par(retry_on=ConnectionError, retry_wait=0.01, engine="process").map(flaky).equals(s)
    tries.clear()
    assert s.par(retry_on=ConnectionError, retry_wait=0.01).map(lambda value: flaky(value)).equals(s)


def test_a_time_limit_can_be_tried_again():
    tries = Counter()

    async def hangs_once(value):
        tries[value] += 1
        await asyncio.sleep(30 if value == 2 and tries[value] == 1 else 0)
        return value

    s = pd.Series(range(5))
    assert s.par(timeout=0.2, retry_on=TimeoutError, retry_wait=0.01).map(hangs_once).equals(s)
    assert tries[2] == 2


def test_rate_limit():
    began = []

    async def call(value):
        began.append(time.monotonic())
        return value

    s = pd.Series(range(30))
    assert s.par(rate_limit=40).map(call).equals(s)
    assert all(later - first >= 0.99 for first, later in zip(began, began[40:], strict=False))
    assert began[-1] - began[0] >= 29 / 40


@pytest.mark.parametrize("func", ["coroutine function", "lambda"])
@pytest.mark.parametrize("engine", ["auto", "process"])
def test_seed(func, engine):
    async def draws(value):
        first = random.random()
        await asyncio.sleep(0.001 * random.random())
        return first, np.random.rand(), np.random.randn(), random.random()

    def plain(value):
        return random.random(), random.random(), np.random.rand(), np.random.randn(), random.random()

    s, before = pd.Series(range(40)), random.getstate()
    expected = [(one[0], *one[2:]) for one in s.par(seed=5).map(plain)]
    got = s.par(seed=5, engine=engine).map(draws if func == "coroutine function" else lambda value: draws(value))
    assert got.tolist() == expected
    assert random.getstate() == before


NUMBER = contextvars.ContextVar("NUMBER", default=0)


@pytest.mark.parametrize("engine", ["auto", "process"])
def test_context_variables(engine):
    async def look(value):
        seen = NUMBER.get()
        NUMBER.set(value)
        await asyncio.sleep(0)
        return seen, NUMBER.get()

    token = NUMBER.set(7)
    try:
        assert pd.Series([1, 2, 3]).par(engine=engine).map(look).tolist() == [(7, 1), (7, 2), (7, 3)]
        assert NUMBER.get() == 7
    finally:
        NUMBER.reset(token)


@pytest.mark.parametrize("engine", ["auto", "process"])
def test_initializer(engine):
    async def begin(number):
        global client
        client = Client()
        NUMBER.set(number)

    async def use(value):
        return await client.get(value) + NUMBER.get()

    s = pd.Series(range(20))
    assert s.par(initializer=begin, initargs=(1,), engine=engine).map(use).equals(s * 2 + 1)

    async def fails():
        raise OSError("no service")

    with pytest.raises(OSError, match="no service") as failed:
        s.par(initializer=fails, engine=engine).map(use)
    assert "initializer" in failed.value.__notes__[0]


def test_output_of_workers_is_shown(df, capsys):
    async def says(row):
        await asyncio.sleep(0)
        print("row", int(row["a"]))

    df.head(3).par(engine="process").apply_rows(says)
    assert sorted(capsys.readouterr().out.splitlines()) == ["row 0", "row 1", "row 2"]


def test_checkpoint_keeps_what_is_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("pdparallel.execution.coroutines.SCATTERED_SECONDS", 0.05)
    calls, free = [], tmp_path / "free"

    async def call(value):
        calls.append(value)
        if value == 1 and not free.exists():
            await asyncio.sleep(600)
        await asyncio.sleep(0.001)
        return value * 2

    s = pd.Series(range(100))
    future = s.par(checkpoint=tmp_path / "c").background.map(call)
    assert wait_until(lambda: len(list((tmp_path / "c").glob("*.chunks"))) > 0 and len(calls) == 100, 60)
    time.sleep(0.3)
    future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    assert wait_until(lambda: not [one for one in threading.enumerate() if one.name == "pdparallel-background"], 20)
    calls.clear()
    free.touch()
    assert s.par(checkpoint=tmp_path / "c").map(call).equals(s * 2)
    assert calls == [1]


def test_progress_counts_rows(df):
    seen = []
    df.par(progress=lambda done, total: seen.append((done, total))).apply_rows(read)
    assert seen[-1] == (N, N)


# Under running loops


def test_a_blocking_call_under_a_running_loop(df):
    async def main():
        return df.par.apply_rows(read)

    assert asyncio.run(main()).equals(df.apply(plain_read, axis=1))


@pytest.mark.parametrize("is_async", [True, False])
def test_background_calls_use_the_loop_of_the_caller(df, is_async):
    async def main():
        client = Client()

        async def use(row):
            return await client.get(row["a"])

        func = use if is_async else lambda row: use(row)
        future = df.par.background.apply_rows(func)
        with pytest.raises(RuntimeError, match="await future"):
            future.result()
        with pytest.raises(RuntimeError, match="await future"):
            future.exception()
        return await future

    assert asyncio.run(main()).equals(df.apply(plain_read, axis=1))


def test_a_loop_that_is_stopped_does_not_hang(df):
    async def main():
        return df.par.background.apply_rows(read)

    loop = asyncio.new_event_loop()
    future = loop.run_until_complete(main())
    with pytest.raises(RuntimeError, match="await future"):
        future.result()

    async def awaited():
        return await future

    assert loop.run_until_complete(awaited()).equals(df.apply(plain_read, axis=1))
    loop.close()


def test_a_background_call_that_is_cancelled(df):
    cleaned = []

    async def hangs(row):
        try:
            await asyncio.sleep(600)
        finally:
            cleaned.append(1)

    async def main():
        future = df.par(max_concurrency=4).background.apply_rows(hangs)
        await asyncio.sleep(0.1)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(df.par(max_concurrency=4).background.apply_rows(hangs), 0.2)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert len(cleaned) == 8


def test_a_loop_that_ends_before_its_call(df):
    async def hangs(row):
        await asyncio.sleep(600)

    async def main():
        future = df.par.background.apply_rows(hangs)
        await asyncio.sleep(0.05)
        return future

    future = asyncio.run(main())
    with pytest.raises((RuntimeError, asyncio.CancelledError, CancelledError)):
        future.result(60)


def test_calls_inside_coroutines(df):
    async def nested(row):
        return int(df.par.apply_rows(read).sum())

    async def main():
        return (await df.head(3).par.background.apply_rows(nested)).tolist()

    expected = [int(df.apply(plain_read, axis=1).sum())] * 3
    assert df.head(3).par.apply_rows(nested).tolist() == expected
    assert asyncio.run(main()) == expected


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_task_that_goes_on_keeps_no_data(is_cancelled):
    class Value:
        pass

    began, going_on = threading.Event(), []

    async def connects(value):
        going_on.append(asyncio.create_task(asyncio.sleep(60)))  # its context is that of the call
        began.set()
        await asyncio.sleep(60 if is_cancelled else 0)
        return 1

    values = pd.Series([Value()])
    value = weakref.ref(values[0])
    future = values.par.background.map(connects)
    assert began.wait(30)
    if is_cancelled:
        future.cancel()
    else:
        assert future.result(30).tolist() == [1]
    del values, future

    def is_free():
        gc.collect()
        return value() is None

    assert wait_until(is_free, 10)


def test_the_loop_stays_for_the_next_call(df):
    client = None

    async def use(row):
        nonlocal client
        client = client or Client()
        return await client.get(row["a"])

    assert df.par.apply_rows(use).equals(df.par.apply_rows(use))
    pdparallel.shutdown()
    with pytest.raises(RuntimeError, match="another loop"):
        df.par.apply_rows(use)


def test_many_threads_share_the_loop(df):
    found = []

    def call():
        found.append(df.par.apply_rows(read))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(one.equals(found[0]) for one in found)


def test_an_eager_loop(df):
    eager = getattr(asyncio, "eager_task_factory", None)
    if eager is None:
        pytest.skip("from Python 3.12 on")

    async def at_once(value):
        return value

    async def main():
        asyncio.get_running_loop().set_task_factory(eager)
        return await pd.Series(range(5_000)).par.background.map(at_once)

    assert asyncio.run(main()).tolist() == list(range(5_000))


def test_a_function_that_returns_nothing_to_await(df):
    with pytest.warns(pdparallel.PerformanceHint, match="engine='thread'"):
        assert df.par(engine="asyncio").apply_rows(plain_read).equals(df.apply(plain_read, axis=1))


def test_token_is_not_left(df):
    assert current() is None
    df.par.apply_rows(read)
    assert event_loop._kept is not None
    assert event_loop._kept.users == 0


def test_what_a_coroutine_assigns_is_not_sent():
    namespace = {}
    exec(ASSIGNS, namespace)
    surely, perhaps = assigned_by(namespace["begin"])
    assert {name for _, name in surely} == {"client", "pool"}
    assert {name for _, name in perhaps} == {"late", "other"}


ASSIGNS = """
client = pool = late = other = None

async def helper():
    global other
    other = 1

async def begin(url=None):
    global client, pool, late
    client = 5
    await helper()
    pool = 4
    if url:
        late = 3
"""
