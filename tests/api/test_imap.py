"""Iterating: the same results as the verbs give, one after the other; bounded; and an end at any moment."""

from __future__ import annotations

import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import pdparallel
from pdparallel import FailedCallsWarning, InvalidOptionError, WorkerDiedError
from pdparallel.api import imap
from pdparallel.compat import PANDAS_2
from pdparallel.core.chunking import Chunk
from pdparallel.data.lazy_items import Source
from pdparallel.engines import process
from pdparallel.engines.registry import let_pools_go
from pdparallel.testing.leaks import left_files
from tests.conftest import wait_until
from tests.oracle.ways import WAYS, Way, running

N = 60
DF = pd.DataFrame({"a": range(N), "b": 1.5, "k": [at % 7 for at in range(N)]}, index=[f"x{at}" for at in range(N)])
ENGINES = ["auto", "serial", "thread", "process"]

engines = pytest.mark.parametrize("engine", ENGINES)
orders = pytest.mark.parametrize("ordered", [True, False])


def _same(got: list[Any], expected: list[Any]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        if isinstance(other, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        elif isinstance(other, pd.Series):
            pd.testing.assert_series_equal(one, other)
        elif isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert (type(one), one) == (type(other), other)


class TestTheSameAsApplyChunks:
    FUNCTIONS: dict[str, Callable[..., Any]] = {
        "a frame": lambda chunk: chunk * 2,
        "a Series": lambda chunk: chunk["a"].diff(),
        "an array": lambda chunk: chunk["a"].to_numpy(),
        "a number": lambda chunk: float(chunk["a"].sum()),
        "None": lambda chunk: None,
        "rows that are left out": lambda chunk: chunk[chunk["a"] % 3 == 0],
        "text, or a tuple": lambda chunk: "even" if chunk["a"].iloc[0] % 2 == 0 else (1, 2),
    }

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_of_a_frame(self, name: str, way: Way) -> None:
        func = self.FUNCTIONS[name]
        with running(way):
            par = DF.par(**way.options)
            _same(list(par.iter_chunks(func)), par.apply_chunks(func, combine="list"))

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "how",
        [{"by": "k"}, {"by": ["k", "b"]}, {"overlap": 2}, {"overlap": (1, 0)}, {"args": (3,)}, {"power": 2}],
        ids=str,
    )
    def test_with_arguments(self, how: dict[str, Any], way: Way) -> None:
        def func(chunk: pd.DataFrame, factor: int = 1, power: int = 1) -> pd.Series:
            return (chunk["a"].shift() * factor) ** power

        with running(way):
            par = DF.par(**way.options)
            _same(list(par.iter_chunks(func, **how)), par.apply_chunks(func, combine="list", **how))

    @pytest.mark.parametrize("way", WAYS)
    def test_of_a_series(self, way: Way) -> None:
        with running(way):
            par = DF["a"].par(**way.options)
            _same(list(par.iter_chunks(lambda s: s + 1)), par.apply_chunks(lambda s: s + 1, combine="list"))

    def test_with_columns(self) -> None:
        par = DF.par(columns=["b"], chunk_size=20, engine="serial")
        assert [list(chunk.columns) for chunk in par.iter_chunks(lambda chunk: chunk, by="k")] == [["b"]] * 3

    def test_of_no_rows(self) -> None:
        assert list(DF.head(0).par.iter_chunks(len)) == DF.head(0).par.apply_chunks(len, combine="list") == [0]
        with pytest.raises(ZeroDivisionError):
            list(DF.head(0).par.iter_chunks(lambda chunk: 1 / len(chunk)))

    @engines
    def test_in_the_order_of_finishing(self, engine: str) -> None:
        par = DF.par(engine=engine, n_workers=2, chunk_size=4)
        got = par.iter_chunks(lambda chunk: int(chunk["a"].iloc[0]), ordered=False)
        assert sorted(got) == list(range(0, N, 4))

    @pytest.mark.skipif(PANDAS_2, reason="writing into a frame is seen in its shallow copies")
    def test_the_frame_is_that_of_the_call(self) -> None:
        df = DF.copy()
        results = df.par(chunk_size=20, engine="serial").iter_chunks(lambda chunk: int(chunk["a"].sum()))
        first = next(results)
        df.loc[:, "a"] = 0
        assert first + sum(results) == DF["a"].sum()


class TestImap:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "items",
        [[], [1], list(range(50)), ["a", None, float("nan"), (1, 2)], [np.arange(3), pd.Series([1])]],
        ids=["none", "one", "many", "odd", "arrays"],
    )
    def test_the_same_as_map(self, items: list[Any], way: Way) -> None:
        with running(way):
            got = list(pdparallel.imap(repr, iter(items), **way.options))
            assert got == pdparallel.map(repr, items, **way.options) == list(map(repr, items))

    @engines
    def test_of_several_iterables(self, engine: str) -> None:
        options = {"engine": engine, "n_workers": 2}
        assert list(pdparallel.imap(pow, itertools.count(2), [5, 2, 3], **options)) == [32, 9, 64]

    @engines
    @orders
    def test_of_no_end(self, engine: str, ordered: bool) -> None:
        read = 0

        def count() -> Iterator[int]:
            nonlocal read
            for number in itertools.count():
                read += 1
                yield number

        with pdparallel.imap(lambda x: x + 1, count(), engine=engine, n_workers=2, ordered=ordered) as results:
            got = list(itertools.islice(results, 500))
            assert len(set(got)) == 500
            if ordered:
                assert got == list(range(1, 501))
        assert next(results, "closed") == "closed"
        assert read >= 500

    @engines
    @orders
    @pytest.mark.parametrize("chunk_size", [1, 3])
    def test_it_is_read_only_as_far_ahead_as_is_in_flight(self, engine: str, ordered: bool, chunk_size: int) -> None:
        read = 0

        def items() -> Iterator[int]:
            nonlocal read
            for number in range(200):
                read = number + 1
                yield number

        most = imap.MAX_OF_A_WORKER * 2 * chunk_size
        options: dict[str, Any] = {"engine": engine, "n_workers": 2, "chunk_size": chunk_size}
        taken = 0
        for _ in pdparallel.imap(lambda x: x, items(), ordered=ordered, **options):
            # Of the chunk that is handed out some items may not have been taken.
            assert read <= taken + most + 2 * chunk_size
            taken += 1
        assert taken == read == 200

    def test_one_that_is_slow_is_waited_for_by_no_more_than_there_is_room(self, tmp_path: Path) -> None:
        def func(x: int) -> int:
            (tmp_path / str(x)).touch()
            while x == 0 and not (tmp_path / "go on").exists():
                time.sleep(0.01)
            return x

        results = pdparallel.imap(func, itertools.count(), engine="process", n_workers=2, chunk_size=1)
        got: list[int] = []
        sink = threading.Thread(target=lambda: got.extend(itertools.islice(results, 30)))
        sink.start()
        room = imap.MAX_OF_A_WORKER * 2
        try:
            # One is behind the first in the pipe of its worker.
            assert wait_until(lambda: len(list(tmp_path.iterdir())) == room - 1, 30)
            assert got == []
        finally:
            (tmp_path / "go on").touch()
            sink.join(30)
        assert got == list(range(30))
        results.close()

    def test_without_order_nothing_waits_for_a_slow_one(self, tmp_path: Path) -> None:
        def func(x: int) -> int:
            while x == 0 and not (tmp_path / "go on").exists():
                time.sleep(0.01)
            return x

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 1}
        results = pdparallel.imap(func, range(100), ordered=False, **options)
        assert 0 not in list(itertools.islice(results, 50))
        (tmp_path / "go on").touch()
        assert 0 in list(results)

    def test_a_consumer_who_is_slow_is_waited_for(self, tmp_path: Path) -> None:
        def func(x: int) -> int:
            (tmp_path / str(x)).touch()
            return x

        results = pdparallel.imap(func, itertools.count(), engine="process", n_workers=2, chunk_size=1)
        for taken in range(1, 6):
            next(results)
            assert wait_until(lambda taken=taken: len(list(tmp_path.iterdir())) >= taken)
            assert len(list(tmp_path.iterdir())) <= taken + imap.MAX_OF_A_WORKER * 2
        results.close()

    def test_what_is_returned_decides_how_much_a_chunk_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        first = Source.first

        def noted(self: Source, size: int) -> Chunk:
            sizes.append(size)
            return first(self, size)

        monkeypatch.setattr(Source, "first", noted)
        monkeypatch.setattr("pdparallel.data.lazy_items.CHUNK_BYTES", 100_000)
        list(pdparallel.imap(lambda x: bytes(50_000), range(64), engine="process", n_workers=1))
        assert max(sizes) <= 2
        sizes.clear()
        list(pdparallel.imap(lambda x: x, range(64), engine="process", n_workers=1))
        assert max(sizes) > 2

    @engines
    @orders
    def test_a_generator_that_raises(self, engine: str, ordered: bool) -> None:
        def items() -> Iterator[int]:
            yield from range(10)
            raise LookupError("no more")

        got: list[int] = []
        with pytest.raises(LookupError, match="no more"):
            got.extend(pdparallel.imap(lambda x: -x, items(), engine=engine, n_workers=2, ordered=ordered))
        assert sorted(got) == sorted(-x for x in range(10))

    @engines
    def test_an_item_that_fails_comes_before_an_item_that_could_not_be_read(self, engine: str) -> None:
        def items() -> Iterator[int]:
            yield from range(-5, 5)
            raise LookupError

        got: list[float] = []
        with pytest.raises(ZeroDivisionError) as caught:
            got.extend(pdparallel.imap(lambda x: 1 / x, items(), engine=engine, n_workers=2, chunk_size=2))
        assert got == [1 / x for x in range(-5, 0)]
        assert caught.value.__notes__ == ["pdparallel: imap, in item 0 (position 5)"]

    @engines
    def test_an_endless_one_ends_with_a_failure(self, engine: str) -> None:
        with pytest.raises(ZeroDivisionError):
            for _ in pdparallel.imap(lambda x: 1 / (x - 7), itertools.count(), engine=engine, n_workers=2):
                pass

    def test_while_it_works_here_a_result_comes_before_the_next_item_is_read(self, no_rest_is_worth_it: None) -> None:
        last: list[int] = [1]

        def items() -> Iterator[int]:
            while last[-1] < 100:
                yield last[-1]

        last.extend(pdparallel.imap(lambda x: 2 * x, items(), engine="auto", chunk_size=1))
        assert last == [1, 2, 4, 8, 16, 32, 64, 128]

    def test_items_are_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "perf_counter", lambda: 0.0)  # reading never takes long
        source = Source(iter(range(100)), None)
        assert [len(source), bool(source), source.first(3), len(source.cut(0, 3))] == [1, True, Chunk(0, 3), 3]
        source.drop(3)
        source.forget(Chunk(0, 3))
        assert source.item(0) == 0  # until the next ones are asked for
        assert source.first(2) == Chunk(3, 5)
        with pytest.raises(KeyError):
            source.item(0)
        taken: list[int] = []
        source.feed(type("UnitSink", (), {"call_each": lambda self, units: taken.extend(units)})())
        assert taken == [3, 4]

    def test_reading_stops_where_it_takes_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = itertools.count(0.0, 0.02)
        monkeypatch.setattr(time, "perf_counter", lambda: next(now))
        assert len(Source(itertools.count(), None).first(1_000_000)) < 10

    @pytest.mark.parametrize(
        ("call", "match"),
        [
            (lambda: pdparallel.imap(abs), "no items"),
            (lambda: pdparallel.imap(1, []), "func"),
            (lambda: pdparallel.imap(abs, [], ordered=1), "ordered"),
            (lambda: pdparallel.imap(abs, [], checkpoint="night"), "checkpoint"),
            (lambda: pdparallel.imap(abs, [], engine="thread", timeout=1), "timeout"),
            (lambda: pdparallel.imap(abs, [], worker=1), "worker"),
            (lambda: DF.par(checkpoint="night").iter_chunks(abs), "checkpoint"),
            (lambda: DF.par.iter_chunks(abs, ordered=None), "ordered"),
            (lambda: DF.par.iter_chunks(abs, by="k", overlap=1), "overlap"),
            (lambda: DF.par.iter_chunks("sum"), "func"),
        ],
    )
    def test_wrong_arguments_are_refused_at_once(self, call: Callable[[], Any], match: str) -> None:
        with pytest.raises(InvalidOptionError, match=match):
            call()


class TestOptions:
    @engines
    def test_errors(self, engine: str) -> None:
        def func(x: int) -> float:
            return 1 / (x % 5)

        options: dict[str, Any] = {"engine": engine, "n_workers": 2, "chunk_size": 3}
        with pytest.warns(FailedCallsWarning, match=r"4 of 20 calls .*\n  imap, in item 0 \(position 0\)"):
            got = list(pdparallel.imap(func, iter(range(20)), errors="coerce", **options))
        assert got == [None if x % 5 == 0 else 1 / (x % 5) for x in range(20)]
        got = list(pdparallel.imap(func, iter(range(20)), errors="return", **options))
        assert [type(one) for one in got[4:7]] == [float, ZeroDivisionError, float]
        assert got[5].__notes__ == ["pdparallel: imap, in item 5 (position 5)"]

    def test_errors_of_chunks(self) -> None:
        def func(chunk: pd.DataFrame) -> pd.Series:
            if 17 in chunk["a"].to_numpy():
                raise KeyError(17)
            return chunk["a"]

        par = DF.par(engine="process", n_workers=2, chunk_size=10, errors="coerce")
        with pytest.warns(FailedCallsWarning, match=r"1 of 6 calls .*\n.* in the chunk of rows 10 to 19"):
            got = list(par.iter_chunks(func, overlap=1))
        assert [one is None for one in got] == [False, True, False, False, False, False]
        got = list(par(errors="return").iter_chunks(func, overlap=(0, 0)))
        assert isinstance(got[1], KeyError)
        assert got[1].__notes__ == ["pdparallel: iter_chunks, in the chunk of rows 10 to 19"]

    def test_the_results_before_a_failure_come_first(self) -> None:
        got: list[int] = []
        with pytest.raises(KeyError) as caught:
            got.extend(
                DF.par(engine="process", n_workers=2, chunk_size=10).iter_chunks(
                    lambda chunk: {5: 5, 15: 15, 25: 25}[int(chunk["a"].iloc[5])]
                )
            )
        assert got == [5, 15, 25]
        assert caught.value.__notes__ == ["pdparallel: iter_chunks, in the chunk of rows 30 to 39"]

    @pytest.mark.parametrize("engine", ["auto", "serial", "process"])
    def test_seed(self, engine: str) -> None:
        draw = lambda x: (random.random(), np.random.random())
        before = random.getstate()
        got = list(pdparallel.imap(draw, iter(range(30)), engine=engine, n_workers=2, seed=5))
        assert got == pdparallel.map(draw, range(30), seed=5, engine="serial")
        assert random.getstate() == before

    @engines
    @pytest.mark.parametrize("known", [True, False])
    def test_progress(self, engine: str, known: bool) -> None:
        heard: list[tuple[int, Any]] = []
        items: Any = range(20) if known else iter(range(20))
        options: dict[str, Any] = {"engine": engine, "progress": lambda done, total: heard.append((done, total))}
        assert list(pdparallel.imap(str, items, n_workers=2, **options)) == [str(x) for x in range(20)]
        assert heard[-1] == (20, 20 if known else None)

    def test_a_bar_of_no_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert len(list(pdparallel.imap(str, iter(range(20)), progress="text", engine="serial"))) == 20
        assert "20" in capsys.readouterr().err

    def test_initializer(self) -> None:
        def load() -> None:
            global model
            model = 3

        got = list(pdparallel.imap(lambda x: x * model, iter(range(5)), initializer=load, n_workers=2))
        assert got == [0, 3, 6, 9, 12]

    def test_an_executor_of_ones_own(self) -> None:
        with ThreadPoolExecutor(2) as executor:
            assert list(pdparallel.imap(abs, iter(range(-9, 0)), engine=executor)) == list(range(9, 0, -1))

    def test_timeout(self) -> None:
        def func(x: int) -> int:
            return time.sleep(300) or x if x == 3 else x

        got = list(pdparallel.imap(func, iter(range(6)), timeout=0.5, errors="return", n_workers=2, chunk_size=1))
        assert [type(one).__name__ for one in got] == ["int"] * 3 + ["CallTimeoutError"] + ["int"] * 2

    @orders
    def test_a_worker_that_dies_costs_what_it_was_doing(self, ordered: bool, tmp_path: Path) -> None:
        def func(x: int) -> int:
            with (tmp_path / "calls").open("a") as file:
                file.write(f"{x}\n")
            if x == 17 and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 4}
        got = list(pdparallel.imap(func, iter(range(40)), ordered=ordered, **options))
        assert sorted(got) == list(range(40))
        assert got == sorted(got) or not ordered
        calls = list(map(int, (tmp_path / "calls").read_text().split()))
        assert len(calls) <= 44
        assert set(calls) == set(range(40))

    @orders
    def test_one_that_kills_each_time_ends_an_endless_call(self, ordered: bool) -> None:
        def func(x: int) -> int:
            if x == 17:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 4, "retries": 1}
        got: list[int] = []
        with pytest.raises(WorkerDiedError, match=r"Item 17 (ended|crashed)"):
            got.extend(pdparallel.imap(func, itertools.count(), ordered=ordered, **options))
        assert got == list(range(17)) or not ordered
        assert 17 not in got

    def test_hands_over_what_is_worth_it(self) -> None:
        way = Way(1, WAYS[0].locality, takes_over=True)
        calls: list[int] = []
        with running(way):
            got = list(pdparallel.imap(lambda x: calls.append(x) or x, iter(range(20)), n_workers=2))
        assert got == list(range(20))
        assert calls == [0]  # the others are copies in what stands for a worker


def _pool() -> Any:
    return next(iter(process._warm._pools.values()), None)


class TestTheEnd:
    """Whenever it comes, the engine is given back, and what nobody waits for is not done."""

    @pytest.mark.parametrize("how", ["close", "with", "del", "break", "exception", "collected", "thread"])
    @pytest.mark.parametrize("engine", ["process", "thread", "auto"])
    def test_it_gives_everything_back(self, how: str, engine: str, alone: None) -> None:
        options: dict[str, Any] = {"engine": engine, "n_workers": 2, "chunk_size": 1}
        files, fds = left_files(), len(os.listdir("/proc/self/fd"))
        make = lambda: pdparallel.imap(lambda x: time.sleep(0.002) or x, itertools.count(), **options)
        results: Any = make()
        next(results)
        if how == "close":
            results.close()
        elif how == "with":
            with results:
                next(results)
        elif how == "thread":
            closer = threading.Thread(target=results.close)
            closer.start()
            closer.join()
        elif how == "break":
            results = None
            for _ in make():
                break
        elif how == "exception":
            results = None

            def consume() -> None:
                for _ in make():
                    raise LookupError

            with pytest.raises(LookupError):
                consume()
        elif how == "collected":
            ring: list[Any] = [results]
            ring.append(ring)
            del ring
        results = None
        gc.collect()
        assert wait_until(lambda: not process._warm._borrowed)
        assert left_files() == files
        assert pdparallel.map(abs, [-1, -2], **options) == [1, 2]
        let_pools_go()
        assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= fds + 3)  # what a fork server and its like keep

    def test_what_runs_is_ended_where_it_does_not_end_by_itself(self, alone: None) -> None:
        results = pdparallel.imap(
            lambda x: time.sleep(300 * x) or x, itertools.count(), engine="process", n_workers=2, chunk_size=1
        )
        assert next(results) == 0
        workers = [psutil.Process(pid) for pid in _pool().pids]
        results.close()
        assert wait_until(lambda: not any(worker.is_running() for worker in workers))

    def test_a_pool_that_others_have_too_goes_on(self, alone: None, tmp_path: Path) -> None:
        def wait(x: int) -> int:
            with (tmp_path / "begun").open("a") as file:
                file.write(f"{os.getpid()}\n")
            while not (tmp_path / "go on").exists():
                time.sleep(0.01)
            return x

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 1}
        pdparallel.map(abs, [1, 2], **options)
        sleepers = pdparallel.imap(lambda x: time.sleep(300 * x) or x, itertools.count(), **options)
        assert next(sleepers) == 0  # one worker sleeps, the next task of this kind may be anywhere
        got: list[int] = []
        other = threading.Thread(target=lambda: got.extend(pdparallel.map(wait, range(3), **options)))
        other.start()
        pool = _pool()
        assert wait_until(lambda: len(process._warm._borrowed) == 1 and process._warm._borrowed[id(pool)][1] == 2)
        sleepers.close()
        (tmp_path / "go on").touch()
        other.join(60)
        assert got == [0, 1, 2]
        assert len((tmp_path / "begun").read_text().split()) == 3  # each once
        assert _pool() is pool
        assert wait_until(lambda: not any(worker.sent for worker in pool._workers))

    def test_one_that_is_left_half_way_does_not_block_others(self, alone: None) -> None:
        options: dict[str, Any] = {"engine": "process", "n_workers": 2}
        half = [pdparallel.imap(lambda x: x, itertools.count(), **options) for _ in range(3)]
        assert [next(one) for one in half] == [0, 0, 0]
        assert pdparallel.map(abs, [-1, -2], **options) == [1, 2]
        assert pdparallel.map(abs, [-1, -2], engine="process", n_workers=1) == [1, 2]  # another kind of pool
        assert [next(one) for one in half] == [1, 1, 1]
        for one in half:
            one.close()

    @pytest.mark.parametrize("engine", ["process", "auto", "thread"])
    def test_at_any_moment(self, engine: str) -> None:
        moments = random.Random(os.environ.get("PDPARALLEL_TEST_SEED", 7))
        for _ in range(30):
            results = pdparallel.imap(
                lambda x: x, itertools.count(), engine=engine, n_workers=2, chunk_size=1 + moments.randrange(3)
            )
            taken = moments.randrange(12)
            assert list(itertools.islice(results, taken)) == list(range(taken))
            if moments.random() < 0.5:
                results.close()
        del results
        assert wait_until(lambda: not process._warm._borrowed)
        assert pdparallel.map(abs, [-1], engine="process", n_workers=2) == [1]

    def test_an_interrupt_ends_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        results = pdparallel.imap(lambda x: x, itertools.count(), engine="process", n_workers=2)
        next(results)

        def interrupt(*_args: Any, **_kwargs: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("pdparallel.execution.scheduler.wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                for _ in results:
                    pass
        assert next(results, "closed") == "closed"
        assert not process._warm._borrowed

    @engines
    def test_one_may_read_another(self, engine: str) -> None:
        options: dict[str, Any] = {"engine": engine, "n_workers": 2}
        doubled = pdparallel.imap(lambda x: 2 * x, itertools.count(), **options)
        with pdparallel.imap(lambda x: x + 1, doubled, **options) as results:
            assert list(itertools.islice(results, 300)) == list(range(1, 601, 2))
        doubled.close()

    def test_a_fork_ends_nothing_of_its_parents(self) -> None:
        results = pdparallel.imap(lambda x: x, itertools.count(), engine="process", n_workers=2)
        assert next(results) == 0
        child = os.fork()
        if child == 0:
            try:
                results.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert list(itertools.islice(results, 200)) == list(range(1, 201))
        results.close()

    def test_another_thread_may_take_the_results(self) -> None:
        results = pdparallel.imap(lambda x: x, range(100), engine="process", n_workers=2)
        got = [next(results)]
        sink = threading.Thread(target=lambda: got.extend(results))
        sink.start()
        sink.join(60)
        assert got == list(range(100))

    def test_inside_a_worker_it_is_serial(self) -> None:
        def func(x: int) -> set[int]:
            return set(pdparallel.imap(lambda _: os.getpid(), range(3), engine="process")) - {os.getpid()}

        assert list(pdparallel.imap(func, range(3), engine="process", n_workers=2)) == [set()] * 3

    @pytest.mark.parametrize("engine", ["process", "auto", "pathos"])
    @pytest.mark.parametrize("state", ["kept", "in a ring", "dropped"])
    def test_at_the_end_of_the_process(self, engine: str, state: str, tmp_path: Path) -> None:
        program = textwrap.dedent(
            f"""
            import itertools, os, time, pdparallel
            results = pdparallel.imap(lambda x: time.sleep(0.01 if x < 50 else 300) or x, itertools.count(),
                                      engine={engine!r}, n_workers=2, chunk_size=1)
            print(next(results), next(results))
            if {state!r} == "in a ring":
                results.ring = results
                del results
            elif {state!r} == "dropped":
                del results
            """
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
            capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "0 1\n", "")
        assert wait_until(lambda: not list(tmp_path.iterdir()))

    @pytest.mark.parametrize(("engine", "library"), [("process", "multiprocessing"), ("pathos", "multiprocess")])
    def test_at_the_end_of_the_process_before_a_library_ends_its_pools(self, engine: str, library: str) -> None:
        program = textwrap.dedent(
            f"""
            import itertools, pdparallel
            results = pdparallel.imap(abs, itertools.count(), engine={engine!r}, n_workers=2)
            next(results)
            from {library} import util
            util.Finalize(None, lambda: print(next(results, "closed")), exitpriority=100)
            """
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
            capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
