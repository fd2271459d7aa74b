"""Calls that run again after an exception: each method and engine, and what ends a wait."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import CallTimeoutError, InvalidOptionError
from pdparallel.compat import PANDAS_2
from pdparallel.core.retry import RateLimit

ENGINES = ["serial", "thread", "process", "auto"]
DF = pd.DataFrame(
    {"k": list("xxyyzzxy"), "a": [3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0], "b": range(8)},
    index=pd.date_range("2026-01-01", periods=8, freq="12h", name="t"),
)
NUMBERS = DF[["a", "b"]]
S = DF["a"]
TWICE = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=["i", "i", "j"])


class Flaky:
    """A function that fails the first times with each unit, also if its calls are in several processes."""

    def __init__(self, func: Callable[[Any], Any], folder: Path, fails: int) -> None:
        self.func, self.folder, self.fails = func, folder, fails

    def __call__(self, unit: Any) -> Any:
        # The units of a table differ by their values.
        data = unit.to_numpy() if isinstance(unit, (pd.Series, pd.DataFrame)) else unit
        text = repr(data.tolist() if isinstance(data, np.ndarray) else data)
        path = self.folder / hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        with path.open("ab") as file:
            file.write(b"x")
            calls = file.tell()
        if calls <= self.fails:
            raise ConnectionError(f"not yet: {text}")
        return self.func(unit)

    def calls(self) -> dict[str, int]:
        """The number of calls with each unit."""
        return {path.name: path.stat().st_size for path in self.folder.iterdir()}


def first(unit: Any) -> Any:
    return next(iter(unit.values())) if isinstance(unit, dict) else unit[0]


def _accelerated(func: Any, **options: Any) -> Any:
    with pdparallel.accelerate(**options):
        return NUMBERS.apply(func, axis=1)


def _in_background(func: Any, **options: Any) -> Any:
    return NUMBERS.par(**options).background.apply_rows(func).result()


#: Name -> the function, the call of pandas, and the call of this package.
TABLE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[..., Any]]] = {
    "apply_rows": (
        lambda row: row["a"] * 2 + row["b"],
        lambda f: NUMBERS.apply(f, axis=1),
        lambda f, **o: NUMBERS.par(**o).apply_rows(f),
    ),
    "apply_rows expand": (
        lambda row: (row["a"], 1),
        lambda f: NUMBERS.apply(f, axis=1, result_type="expand"),
        lambda f, **o: NUMBERS.par(**o).apply_rows(f, result_type="expand"),
    ),
    "apply_rows raw": (
        lambda row: row.sum(),
        lambda f: NUMBERS.apply(f, axis=1, raw=True),
        lambda f, **o: NUMBERS.par(**o).apply_rows(f, raw=True),
    ),
    "apply_rows tuple": (
        lambda row: row[0],
        lambda f: pd.Series([f(row) for row in NUMBERS.itertuples(index=False, name=None)], index=NUMBERS.index),
        lambda f, **o: NUMBERS.par(**o).apply_rows(f, rows="tuple"),
    ),
    "apply_rows dict": (
        lambda row: row["a"],
        lambda f: pd.Series([f(row) for row in NUMBERS.to_dict("records")], index=NUMBERS.index),
        lambda f, **o: NUMBERS.par(**o).apply_rows(f, rows="dict"),
    ),
    "apply_rows broadcast": (
        lambda row: row.sum(),
        lambda f: NUMBERS.apply(f, axis=1, result_type="broadcast"),
        lambda f, **o: NUMBERS.par(**o).apply_rows(f, result_type="broadcast"),
    ),
    "apply_rows broadcast, labels twice": (
        lambda row: 1.0,
        lambda f: TWICE.apply(f, axis=1, result_type="broadcast"),
        lambda f, **o: TWICE.par(**o).apply_rows(f, result_type="broadcast"),
    ),
    "apply_rows of no rows": (
        lambda row: 1.0,
        lambda f: NUMBERS[:0].apply(f, axis=1),
        lambda f, **o: NUMBERS[:0].par(**o).apply_rows(f),
    ),
    "apply_cols": (
        lambda column: column.max() - column.min(),
        lambda f: NUMBERS.apply(f),
        lambda f, **o: NUMBERS.par(**o).apply_cols(f),
    ),
    "apply_cols raw": (
        lambda column: column.max(),
        lambda f: NUMBERS.apply(f, raw=True),
        lambda f, **o: NUMBERS.par(**o).apply_cols(f, raw=True),
    ),
    "map of a frame": (
        lambda value: value * 2,
        lambda f: NUMBERS[["a"]].map(f),
        lambda f, **o: NUMBERS[["a"]].par(**o).map(f),
    ),
    "map of a Series": (lambda value: value * 2, lambda f: S.map(f), lambda f, **o: S.par(**o).map(f)),
    "apply of a Series": (lambda value: f"{value}", lambda f: S.apply(f), lambda f, **o: S.par(**o).apply(f)),
    "map of categories": (
        lambda value: value * 2,
        lambda f: S.astype("category").map(f),
        lambda f, **o: S.astype("category").par(**o).map(f),
    ),
    "map of an empty category": (
        lambda value: value * 2,
        lambda f: S.astype("category")[:0].map(f),
        lambda f, **o: S.astype("category")[:0].par(**o).map(f),
    ),
    "apply_chunks": (
        lambda chunk: chunk * 2,
        lambda f: pd.concat([f(NUMBERS[:3]), f(NUMBERS[3:6]), f(NUMBERS[6:])]),
        lambda f, **o: NUMBERS.par(**o, chunk_size=3).apply_chunks(f),
    ),
    "apply_chunks of no rows": (
        lambda chunk: chunk * 2,
        lambda f: f(NUMBERS[:0]),
        lambda f, **o: NUMBERS[:0].par(**o).apply_chunks(f),
    ),
    "groupby.apply": (
        lambda group: group["a"].max(),
        lambda f: DF.groupby("k")[["a", "b"]].apply(f),
        lambda f, **o: DF.par(**o).groupby("k")[["a", "b"]].apply(f),
    ),
    "groupby.apply of a column": (
        lambda group: group.max(),
        lambda f: DF.groupby("k")["a"].apply(f),
        lambda f, **o: DF.par(**o).groupby("k")["a"].apply(f),
    ),
    "groupby.agg": (
        lambda group: group.max(),
        lambda f: DF.groupby("k")[["a", "b"]].agg(f),
        lambda f, **o: DF.par(**o).groupby("k")[["a", "b"]].agg(f),
    ),
    "groupby.transform": (
        lambda group: group - group.min(),
        lambda f: DF.groupby("k")["a"].transform(f),
        lambda f, **o: DF.par(**o).groupby("k")["a"].transform(f),
    ),
    "groupby.transform of a frame": (
        lambda group: group - group.min(),
        lambda f: DF.groupby("k")[["a", "b"]].transform(f),
        lambda f, **o: DF.par(**o).groupby("k")[["a", "b"]].transform(f),
    ),
    "groupby.filter": (
        lambda group: group["a"].max() > 5,
        lambda f: DF.groupby("k").filter(f),
        lambda f, **o: DF.par(**o).groupby("k").filter(f),
    ),
    "resample.apply": (
        lambda day: day.max(),
        lambda f: S.resample("D").apply(f),
        lambda f, **o: S.par(**o).resample("D").apply(f),
    ),
    "rolling.apply": (
        lambda window: window.sum(),
        lambda f: NUMBERS.rolling(3).apply(f, raw=True),
        lambda f, **o: NUMBERS.par(**o).rolling(3).apply(f, raw=True),
    ),
    "rolling.apply of Series": (
        lambda window: window.sum(),
        lambda f: S.rolling("36h").apply(f),
        lambda f, **o: S.par(**o).rolling("36h").apply(f),
    ),
    "expanding.apply": (
        lambda window: window.sum(),
        lambda f: S.expanding().apply(f, raw=True),
        lambda f, **o: S.par(**o).expanding().apply(f, raw=True),
    ),
    "map of items": (
        lambda value: value * 2,
        lambda f: list(map(f, range(6))),
        lambda f, **o: pdparallel.map(f, range(6), **o),
    ),
    "imap": (
        lambda value: value * 2,
        lambda f: list(map(f, range(6))),
        lambda f, **o: list(pdparallel.imap(f, range(6), **o)),
    ),
    "iter_chunks": (
        lambda chunk: chunk["a"].sum(),
        lambda f: [f(NUMBERS[:3]), f(NUMBERS[3:6]), f(NUMBERS[6:])],
        lambda f, **o: list(NUMBERS.par(**o, chunk_size=3).iter_chunks(f)),
    ),
    "background": (
        lambda row: row["a"] * 2,
        lambda f: NUMBERS.apply(f, axis=1),
        _in_background,
    ),
    "accelerate": (
        lambda row: row["a"] * 2,
        lambda f: NUMBERS.apply(f, axis=1),
        _accelerated,
    ),
}
if not PANDAS_2:
    TABLE["pandas' engine="] = (
        lambda row: row["a"] * 2,
        lambda f: NUMBERS.apply(f, axis=1),
        lambda f, **o: NUMBERS.apply(f, axis=1, engine=pdparallel.engine(**o)),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    def new() -> Path:
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        path.mkdir()
        return path

    return new


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", TABLE)
def test_each_method_gives_the_result_of_a_function_that_does_not_fail(
    name: str, engine: str, folder: Callable[[], Path]
) -> None:
    func, in_pandas, here = TABLE[name]
    plain, flaky = Flaky(func, folder(), 0), Flaky(func, folder(), 2)
    expected = in_pandas(plain)
    got = here(flaky, engine=engine, n_workers=2, retry_on=ConnectionError, retry_wait=0)
    if isinstance(expected, list):
        assert got == expected
    else:
        (pd.testing.assert_frame_equal if expected.ndim == 2 else pd.testing.assert_series_equal)(got, expected)
    # Nothing runs again after it has succeeded.
    assert flaky.calls() == {unit: calls + 2 for unit, calls in plain.calls().items()}


# What is counted, raised and drawn


def flaky_values(folder: Path, fails: int = 2) -> Flaky:
    return Flaky(lambda value: value * 2, folder, fails)


@pytest.mark.parametrize("engine", ENGINES)
def test_repeated_calls_are_counted(engine: str, folder: Callable[[], Path]) -> None:
    with pdparallel.profile() as p:
        par = S.par(engine=engine, n_workers=2, chunk_size=2, retry_on=OSError, retry_wait=0)
        assert par.map(flaky_values(folder())).tolist() == (S * 2).tolist()
    assert p.calls["retried"].tolist() == [16]
    assert p.to_frame()["retried"].sum() == 16
    assert "16 calls ran again after an exception" in repr(p)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["map of a Series", "map of an empty category", "groupby.apply"])
def test_the_bar_shows_repeated_calls(
    name: str, engine: str, folder: Callable[[], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    func, in_pandas, here = TABLE[name]
    plain = Flaky(func, folder(), 0)
    in_pandas(plain)
    options = {"engine": engine, "n_workers": 2, "retry_on": OSError, "retry_wait": 0, "progress": "text"}
    here(Flaky(func, folder(), 1), **options)
    assert f", {len(plain.calls())} retried" in capfd.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_the_last_exception_counts(engine: str, folder: Callable[[], Path]) -> None:
    flaky = flaky_values(folder(), 9)
    with pytest.raises(ConnectionError, match="not yet") as caught:
        S.par(engine=engine, n_workers=2, chunk_size=8, retry_on=OSError, retries=3, retry_wait=0).map(flaky)
    tried, place = caught.value.__notes__
    assert tried.startswith("pdparallel: the function was called 4 times in ")
    assert tried.endswith(" s, and raised each time")
    assert place == "pdparallel: map, in value Timestamp('2026-01-01 00:00:00') (position 0)"
    assert caught.value.__context__ is None
    assert [*flaky.calls().values()] == [4]


@pytest.mark.parametrize("engine", ENGINES)
def test_units_that_fail_each_time(engine: str, folder: Callable[[], Path]) -> None:
    def func(value: float) -> float:
        if value == 4.0:
            raise ConnectionError(value)
        if value == 9.0:
            raise ValueError(value)
        return value

    plain = Flaky(func, folder(), 0)
    par = S.par(engine=engine, n_workers=2, retry_on=OSError, retry_wait=0, errors="return")
    got = par.map(plain)
    assert [type(one).__name__ for one in got if isinstance(one, Exception)] == ["ConnectionError", "ValueError"]
    assert got.iloc[2].__notes__[0].startswith("pdparallel: the function was called 3 times in ")
    assert len(got.iloc[4].__notes__) == 1
    assert sorted(plain.calls().values()) == [1] * 7 + [3]
    with pytest.warns(pdparallel.FailedCallsWarning, match="2 of 8"):
        assert par(errors="coerce").map(func).isna().sum() == 2


def test_a_function_decides(folder: Callable[[], Path]) -> None:
    for engine in ENGINES:
        par = S.par(engine=engine, n_workers=2, retry_on=lambda error: "not yet" in str(error), retry_wait=0)
        assert par.map(flaky_values(folder())).tolist() == (S * 2).tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_of_retry_on_ends_the_call(engine: str, folder: Callable[[], Path]) -> None:
    def status(error: Any) -> bool:
        return bool(error.status == 429)

    with pytest.raises(AttributeError, match="'ConnectionError' object has no attribute 'status'") as caught:
        S.par(engine=engine, n_workers=2, retry_on=status, retry_wait=0).map(flaky_values(folder()))
    assert "pdparallel: retry_on raised this when it got a ConnectionError" in caught.value.__notes__


@pytest.mark.parametrize("engine", ["serial", "thread", "process"])
@pytest.mark.parametrize("kind", [StopIteration, KeyboardInterrupt, SystemExit])
def test_what_never_runs_again(kind: type[BaseException], engine: str, folder: Callable[[], Path]) -> None:
    def func(value: float) -> float:
        raise kind

    plain = Flaky(func, folder(), 0)
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        S[:1].par(engine=engine, n_workers=1, retry_on=lambda error: True, retry_wait=0).map(plain)
    assert isinstance(caught.value, kind)
    assert [*plain.calls().values()] == [1]


@pytest.mark.parametrize("engine", ["serial", "thread", "process"])
def test_an_initializer_runs_once(engine: str, folder: Callable[[], Path]) -> None:
    path = folder() / "calls"

    def initialize() -> None:
        with path.open("ab") as file:
            file.write(b"x")
        raise ConnectionError("no model")

    with pytest.raises(ConnectionError, match="no model"):
        S.par(engine=engine, n_workers=1, chunk_size=8, retry_on=OSError, initializer=initialize).map(abs)
    assert path.stat().st_size == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["map of a Series", "apply_rows broadcast, labels twice", "groupby.apply", "imap"])
def test_each_try_draws_the_same_numbers(name: str, engine: str, folder: Callable[[], Path]) -> None:
    here = TABLE[name][2]

    class Draws(Flaky):
        def __call__(self, unit: Any) -> Any:
            self.func = lambda _: random.random() + np.random.normal()
            random.random(), np.random.normal()
            return super().__call__(unit)

    options = {"engine": engine, "n_workers": 2, "seed": 7, "retry_on": OSError, "retry_wait": 0}
    if name == "apply_rows broadcast, labels twice":  # one stream for all rows
        options["engine"] = "serial"
    before = random.getstate()
    results = [here(Draws(abs, folder(), fails), **options) for fails in (0, 2)]
    assert random.getstate() == before
    assert str(results[0]) == str(results[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_checkpoint_keeps_what_was_repeated(engine: str, folder: Callable[[], Path], tmp_path: Path) -> None:
    flaky, kept = flaky_values(folder(), 1), tmp_path / "night"
    for retry_on in (OSError, ()):
        par = S.par(engine=engine, n_workers=2, retry_on=retry_on, retry_wait=0, checkpoint=kept)
        assert par.map(flaky).tolist() == (S * 2).tolist()
    assert set(flaky.calls().values()) == {2}


class OwnError(Exception):
    """An exception class of the user's module."""


@pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
def test_classes_that_only_this_process_has(serializer: Any, folder: Callable[[], Path]) -> None:
    class InnerError(Exception):
        pass

    path = folder()
    for kind in (OwnError, InnerError):

        def func(value: float, kind: Any = kind) -> float:
            file = path / f"{kind.__name__}{value}"
            if not file.exists():
                file.touch()
                raise kind
            return value

        par = S.par(engine="process", n_workers=2, retry_on=kind, retry_wait=0, serializer=serializer)
        assert par.map(func).tolist() == S.tolist()


def test_what_cannot_be_sent_is_named() -> None:
    answers = (answer for answer in (True, False))
    par = S.par(engine="process", n_workers=2, retry_on=lambda error: next(answers))
    with pytest.raises(pdparallel.FunctionNotSerializableError, match="the option retry_on"):
        par.map(lambda value: value)


# Waits


def always_busy(value: float) -> float:
    error = ConnectionError("busy")
    error.retry_after = 600  # type: ignore[attr-defined]
    raise error


def assert_ended(threads: int) -> None:
    """Check that no more threads are left soon."""
    began = time.monotonic()
    while threading.active_count() > threads and time.monotonic() < began + 20:
        time.sleep(0.01)
    assert threading.active_count() <= threads


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wait_ends_with_a_cancelled_call(engine: str) -> None:
    par = S.par(engine=engine, n_workers=2, retry_on=OSError)
    before = threading.active_count()
    future = par.background.map(always_busy)
    time.sleep(0.3)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(20)
    if engine in ("serial", "thread"):
        assert_ended(before)


def test_a_wait_in_a_thread_ends_with_a_failure_elsewhere() -> None:
    waits = threading.Event()

    def func(value: int) -> int:
        if value:
            try:
                return int(always_busy(value))
            finally:
                waits.set()
        waits.wait(20)
        raise ValueError("the first row")

    before = threading.active_count()
    with pytest.raises(ValueError, match="the first row"):
        pdparallel.map(func, range(4), engine="thread", n_workers=2, chunk_size=1, retry_on=OSError)
    assert_ended(before)


@pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_ends_a_wait(engine: str) -> None:
    par = S.par(engine=engine, n_workers=2, retry_on=OSError)
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        par.map(always_busy)
    timer.join()
    assert engine != "serial" or caught.value.__context__ is None


def test_the_time_limit_is_for_each_try(folder: Callable[[], Path]) -> None:
    flaky = flaky_values(folder(), 1)

    def func(value: float) -> float:
        try:
            return float(flaky(value))
        except ConnectionError as error:
            error.retry_after = 3  # type: ignore[attr-defined]
            raise

    par = S[:2].par(engine="process", n_workers=2, chunk_size=1, timeout=2, retry_on=OSError, retry_wait=0)
    assert par.map(func).tolist() == (S[:2] * 2).tolist()


def test_a_try_that_takes_too_long_is_ended(folder: Callable[[], Path]) -> None:
    flaky = flaky_values(folder(), 1)

    def func(value: float) -> float:
        flaky(value)
        time.sleep(60)
        return value

    with pytest.raises(CallTimeoutError, match=r"timeout=0\.5"):
        S[:1].par(engine="process", n_workers=1, timeout=0.5, retry_on=OSError, retry_wait=0).map(func)


# Rates


@pytest.mark.parametrize("engine", ["auto", "process", "pathos"])
@pytest.mark.parametrize("name", TABLE)
def test_a_rate_needs_an_engine_in_this_process(name: str, engine: str, folder: Callable[[], Path]) -> None:
    func, _, here = TABLE[name]
    plain = Flaky(func, folder(), 0)
    with pytest.raises(InvalidOptionError) as caught:
        here(plain, engine=engine, rate_limit=10)
    assert str(caught.value) == (
        f"rate_limit=10.0 is not allowed: give None with engine={engine!r}. rate_limit= needs an engine in this "
        "process: engine='thread' for functions, engine='asyncio' for coroutine functions."
    )
    assert not plain.calls()


@pytest.mark.parametrize("engine", ["serial", "thread"])
@pytest.mark.parametrize("name", TABLE)
def test_each_call_takes_a_slot_of_one_rate(
    name: str, engine: str, folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    func, in_pandas, here = TABLE[name]
    plain, flaky = Flaky(func, folder(), 0), Flaky(func, folder(), 1)
    begun: list[RateLimit] = []
    begin = RateLimit.begin

    def noting(limit: RateLimit) -> float:
        seconds = begin(limit)
        if not seconds:
            begun.append(limit)
        return seconds

    monkeypatch.setattr(RateLimit, "begin", noting)
    in_pandas(plain)
    since = time.monotonic()
    here(flaky, engine=engine, n_workers=3, rate_limit=100, retry_on=OSError, retry_wait=0)
    took = time.monotonic() - since
    assert flaky.calls() == {unit: calls + 1 for unit, calls in plain.calls().items()}
    assert len(begun) == sum(flaky.calls().values())
    assert len(set(map(id, begun))) == 1
    assert took >= (len(begun) - 1) * 0.0101


def test_an_executor_holds_no_rate() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(InvalidOptionError, match="engine=ThreadPoolExecutor"):
        S.par(engine=pool, rate_limit=10).map(abs)


def test_a_wait_for_a_slot_ends_with_a_cancelled_call() -> None:
    before = threading.active_count()
    for engine in ("serial", "thread"):
        future = S.par(engine=engine, n_workers=2, rate_limit="1/hour").background.map(abs)
        time.sleep(0.2)
        assert future.cancel()
        assert_ended(before)
