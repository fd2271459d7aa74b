"""The scheduler with real workers: retries after a worker died, and calls that take too long."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel import CallTimeoutError, InvalidOptionError, WorkerDiedError, WorkerStartError
from pdparallel.execution.scheduler import _Clock

N = 400
S = pd.Series(range(N), index=[f"r{at}" for at in range(N)])

pools = pytest.mark.parametrize("engine", ["process", "pathos"])


@pytest.fixture(autouse=True)
def _alone(alone: None) -> None:
    pass


class Noted:
    """Notes each call in a file, so that calls in workers that die are counted too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def __call__(self, position: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{position}\n")

    def times(self, position: int) -> int:
        return self.all().count(position)

    def all(self) -> list[int]:
        return list(map(int, self.path.read_text().split()))


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(tmp_path / "calls")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)


@pools
def test_a_worker_that_dies_once_costs_nothing_but_its_chunk(engine: str, noted: Noted, tmp_path: Path) -> None:
    def func(x: int) -> int:
        noted(x)
        if x == 217 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            _die()
        return x * 2

    assert S.par(engine=engine, n_workers=2, chunk_size=10).map(func).tolist() == [x * 2 for x in range(N)]
    assert noted.times(217) == 2
    assert len(noted.all()) <= N + 20  # its chunk, and with pathos the one of the other worker
    assert set(noted.all()) == set(range(N))


@pools
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_unit_that_kills_its_worker_each_time_is_named_and_all_others_are_done(
    engine: str, retries: int, noted: Noted
) -> None:
    def func(x: int) -> int:
        noted(x)
        if x == 217:
            _die()
        return x

    with pytest.raises(WorkerDiedError, match=r"Value 'r217' \(position 217\) ended its worker \(SIGKILL\)") as caught:
        S.par(engine=engine, n_workers=2, chunk_size=50, retries=retries).map(func)
    assert caught.value.exitcode == -signal.SIGKILL
    assert "memory" in str(caught.value)
    assert noted.times(217) == retries + 1
    assert set(noted.all()) == set(range(N))
    assert S.par(engine=engine, n_workers=2).map(str).tolist() == [str(x) for x in range(N)]


def test_several_units_that_kill(noted: Noted) -> None:
    killers = {0, 1, 99, 250, N - 1}

    def func(x: int) -> int:
        noted(x)
        if x in killers:
            _die()
        return x

    with pytest.raises(WorkerDiedError, match=r"position 0\)"):  # the first, as pandas would meet it
        S.par(engine="process", n_workers=2, chunk_size=50, retries=1).map(func)
    assert {x: noted.times(x) for x in killers} == dict.fromkeys(killers, 2)
    assert set(noted.all()) == set(range(N))


def test_light_units_that_are_noted_together_are_told_apart(noted: Noted) -> None:
    big = pd.Series(range(100_000))

    def func(x: int) -> int:
        if x == 77_777:
            noted(x)
            _die()
        return x

    with pytest.raises(WorkerDiedError, match=r"Value 77777 ended its worker \(SIGKILL\) in all 3 attempts\."):
        big.par(engine="process", n_workers=2, retries=2).map(func)
    assert noted.times(77_777) == 3


@pytest.mark.parametrize("verb", ["rows", "pandas rows", "tuples", "columns", "raw"])
def test_the_unit_is_named_whatever_it_is(verb: str) -> None:
    df = pd.DataFrame({f"c{at}": [at * 10 + row for row in range(10)] for at in range(10)})

    def func(unit: Any) -> int:
        if sum(unit) == (sum(df["c7"]) if verb == "columns" else sum(df.iloc[7])):
            _die()
        return 1

    def by_series(row: Any) -> int:
        row.median()
        return func(row)

    par = df.par(engine="process", n_workers=2, retries=1)
    calls: dict[str, Callable[[], Any]] = {
        "rows": lambda: par.apply_rows(func),
        "pandas rows": lambda: par.apply_rows(by_series),
        "tuples": lambda: par.apply_rows(func, rows="tuple"),
        "columns": lambda: par.apply_cols(func),
        "raw": lambda: par.apply_rows(func, raw=True),
    }
    with pytest.raises(WorkerDiedError) as caught:
        calls[verb]()
    assert ("Column 'c7' (position 7) ended" if verb == "columns" else "Row 7 ended") in str(caught.value)


def test_a_chunk_function_that_kills_is_named_by_its_rows(noted: Noted) -> None:
    def func(chunk: pd.Series) -> int:
        noted(int(chunk.iloc[0]))
        if 217 in chunk.to_numpy():
            _die()
        return len(chunk)

    with pytest.raises(WorkerDiedError, match="The chunk of rows 200 to 249 ended"):
        S.par(engine="process", n_workers=2, chunk_size=50, retries=1).apply_chunks(func)
    assert sorted(noted.all()) == [0, 50, 100, 150, 200, 200, 250, 300, 350]


def test_an_exception_is_never_tried_again(noted: Noted) -> None:
    def func(x: int) -> float:
        noted(x)
        return 1 / (x - 217)

    with pytest.raises(ZeroDivisionError):
        S.par(engine="process", n_workers=2, chunk_size=50).map(func)
    assert noted.times(217) == 1


def test_a_failure_before_the_killer_comes_first(noted: Noted) -> None:
    def func(x: int) -> float:
        if x == 217:
            _die()
        return 1 / (x - 10)

    with pytest.raises(ZeroDivisionError):
        S.par(engine="process", n_workers=2, chunk_size=50).map(func)


def test_data_that_kills_the_worker_that_loads_it() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os._exit, (3,)

    with pytest.raises(WorkerDiedError, match="exit code 3"):
        pdparallel.map(lambda x: x, [Bomb()], engine="process", n_workers=1)
    assert pdparallel.map(abs, [-1], engine="process", n_workers=1) == [1]


class TestTimeout:
    """A call that takes too long ends with its worker."""

    @pools
    def test_it_is_named(self, engine: str, noted: Noted) -> None:
        def func(x: int) -> int:
            noted(x)
            if x == 217:
                time.sleep(300)
            return x

        began = time.monotonic()
        with pytest.raises(
            CallTimeoutError, match=r"^Value 'r217' \(position 217\) took longer than timeout=0\.5 seconds"
        ) as caught:
            S.par(engine=engine, n_workers=2, chunk_size=50, timeout=0.5).map(func)
        assert caught.value.seconds == 0.5
        assert time.monotonic() - began < 60
        assert noted.times(217) == 1  # it is not tried again
        assert S.par(engine=engine, n_workers=2).map(str).tolist() == [str(x) for x in range(N)]

    def test_it_is_each_call_that_counts_not_all_together(self) -> None:
        slow = S.head(12)
        taken = slow.par(engine="process", n_workers=1, chunk_size=12, timeout=1.0).map(lambda x: time.sleep(0.2) or x)
        assert taken.tolist() == slow.tolist()

    def test_under_auto_nothing_runs_where_it_could_not_be_ended(self) -> None:
        pids = S.head(10).par(timeout=60).map(lambda x: os.getpid())
        assert os.getpid() not in set(pids)

    @pytest.mark.parametrize("engine", ["thread", "serial"])
    def test_it_is_refused_where_nothing_can_be_ended(self, engine: str) -> None:
        with pytest.raises(InvalidOptionError, match=r"timeout=1\.0 is not allowed"):
            S.par(engine=engine, timeout=1).map(str)

    def test_a_stopped_worker_is_ended_too(self) -> None:
        def func(x: int) -> int:
            if x == 17:
                os.kill(os.getpid(), signal.SIGSTOP)
            return x

        with pytest.raises(CallTimeoutError, match="position 17"):
            S.par(engine="process", n_workers=2, chunk_size=50, timeout=1.0).map(func)


def test_the_clock_begins_anew_with_each_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, task = _Clock(1.0), object()
    asked: list[Any] = []
    for seconds, position in [(0.0, 1), (0.9, 1), (1.5, 2), (2.4, 2), (2.6, 2), (2.7, 2)]:
        now[0] = seconds
        asked.append(clock.is_late(task, position))  # type: ignore[arg-type]
    assert asked == [False, False, False, False, True, False]  # told once
    assert clock.forget(task) == 2  # type: ignore[arg-type]
    assert clock.forget(task) is None  # type: ignore[arg-type]


def test_the_clock_stands_still_while_a_retry_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, task = _Clock(1.0), object()
    asked: list[Any] = []
    for seconds, turn in [(0.0, 0), (0.9, 0), (1.5, 1), (60.0, 1), (60.5, 2), (61.4, 2), (61.6, 2)]:
        now[0] = seconds
        asked.append(clock.is_late(task, 1, turn))  # type: ignore[arg-type]
    assert asked == [False] * 6 + [True]


def test_a_worker_that_cannot_start_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdparallel.worker.process._limit_threads", _crash)
    with pytest.raises(WorkerStartError, match="exit code 7 while it started") as caught:
        S.par(engine="process", start_method="fork", n_workers=2).map(str)
    assert "no license for this library" in str(caught.value)
    monkeypatch.undo()
    assert S.par(engine="process", start_method="fork", n_workers=2).map(str).tolist() == [str(x) for x in range(N)]


def _crash(threads: int) -> Iterator[None]:
    os.write(2, b"no license for this library\n")
    os._exit(7)


def test_where_ctrl_c_ends_no_wait_none_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float | None] = []

    def noted(*args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        timeouts.append(timeout)
        return concurrent.futures.wait(*args, timeout=timeout, **kwargs)

    def func(value: int) -> int:
        time.sleep(0.05)
        return value

    monkeypatch.setattr("pdparallel.execution.scheduler.INTERRUPT_SECONDS", 0.02)
    monkeypatch.setattr("pdparallel.execution.scheduler.wait", noted)
    assert pdparallel.map(func, range(6), engine="process", n_workers=2, chunk_size=1) == list(range(6))
    assert len(timeouts) > 3
    assert all(timeout is not None and timeout <= 0.02 for timeout in timeouts)
