"""Progress: what is counted, where it is shown, that it never breaks a run or holds it up, and leaves nothing."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.api import rolling
from pdparallel.operations import groupby
from pdparallel.progress import displays, reporter
from pdparallel.progress.displays import Display, State
from pdparallel.progress.reporter import Bar, ProgressScope, bar
from tests.conftest import wait_until

N = 60
DF = pd.DataFrame({"k": np.arange(N) % 6, "a": np.arange(N), "b": np.linspace(0.0, 1.0, N)})

ENGINES: dict[str, dict[str, Any]] = {
    "auto": {"engine": "auto", "n_workers": 2},
    "serial": {"engine": "serial", "chunk_size": 7},
    "thread": {"engine": "thread", "n_workers": 2, "chunk_size": 7},
    "process": {"engine": "process", "n_workers": 2, "chunk_size": 7},
    "pathos": {"engine": "pathos", "n_workers": 2, "chunk_size": 7},
}
engines = pytest.mark.parametrize("engine", ENGINES)


class OutputCapture:
    """A callable that is told, and what it was told."""

    def __init__(self) -> None:
        self.all: list[tuple[int, Any]] = []

    def __call__(self, done: int, total: Any) -> None:
        self.all.append((done, total))

    @property
    def counts(self) -> list[int]:
        return [done for done, _ in self.all]

    def check(self, n: int, total: Any = ...) -> None:
        """It never went back, and ended with the exact number."""
        assert self.counts == sorted(set(self.counts))
        assert self.all[-1] == (n, n if total is ... else total)


# What is counted


VERBS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "apply_rows": (N, lambda par: par.apply_rows(lambda row: row["a"])),
    "apply_cols": (3, lambda par: par.apply_cols(lambda column: column.max())),
    "apply": (N, lambda par: par.apply(lambda row: row["a"], axis=1)),
    "apply, raw": (N, lambda par: par.apply_rows(lambda row: row[0], raw=True)),
    "apply, broadcast": (N, lambda par: par.apply_rows(lambda row: 1, result_type="broadcast")),
    "map": (3 * N, lambda par: par.map(str)),
    "apply_chunks": (N, lambda par: par.apply_chunks(lambda chunk: chunk)),
    "groupby.apply": (6, lambda par: par.groupby("k")[["a", "b"]].apply(len)),
    "groupby.agg": (12, lambda par: par.groupby("k").agg(lambda column: column.max())),
    "groupby.transform": (6, lambda par: par.groupby("k")["a"].transform(lambda column: column - column.min())),
    "groupby.transform of a frame": (6, lambda par: par.groupby("k").transform(lambda group: group - group.min())),
    "groupby.filter": (6, lambda par: par.groupby("k").filter(lambda group: len(group) > 1)),
    "rolling.apply": (3 * (N - 2), lambda par: par.rolling(3).apply(lambda window: window[0], raw=True)),
    "iter_chunks": (N, lambda par: list(par.iter_chunks(len))),
    "background": (N, lambda par: par.background.apply_rows(lambda row: row["a"]).result()),
}


@engines
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_counts_its_units(verb: str, engine: str) -> None:
    heard = OutputCapture()
    n, call = VERBS[verb]
    call(DF.par(**ENGINES[engine], progress=heard))
    heard.check(n)


@engines
def test_items(engine: str) -> None:
    heard, endless = OutputCapture(), OutputCapture()
    pdparallel.map(abs, range(N), **ENGINES[engine], progress=heard)
    assert sum(pdparallel.imap(abs, iter(range(N)), **ENGINES[engine], progress=endless)) == sum(range(N))
    heard.check(N)
    endless.check(N, None)


@pytest.mark.parametrize("engine", ["serial", "thread", "process"])
def test_a_checkpoint_goes_on_from_what_is_there(engine: str, tmp_path: Path) -> None:
    heard, again = OutputCapture(), OutputCapture()
    options: dict[str, Any] = {**ENGINES[engine], "chunk_size": 20, "checkpoint": tmp_path / "night"}

    def func(x: int) -> int:
        if x >= 40 and not (tmp_path / "mended").exists():
            raise ValueError(x)
        return x

    with pytest.raises(ValueError, match="4"):
        pdparallel.map(func, range(N), **options, progress=heard)
    (tmp_path / "mended").touch()
    pdparallel.map(func, range(N), **options, progress=again)
    assert heard.counts[-1] < N
    assert again.all[0][0] >= 20
    again.check(N)


def test_a_bar_says_how_many_units_are_from_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    par = DF["a"].par(engine="serial", checkpoint=tmp_path / "night", progress="log")
    with caplog.at_level("INFO", logger="pdparallel.progress"):
        par.map(abs)
        assert "checkpoint" not in caplog.text
        par.map(abs)
    assert f", {N} from checkpoint]" in caplog.text


def test_a_failure_is_counted_up_to_it(bars_are_told_of_chunks: None) -> None:
    heard = OutputCapture()
    with pytest.raises(ZeroDivisionError):
        DF["a"].par(engine="serial", chunk_size=10, progress=heard).map(lambda x: 1 // (x - 35))
    assert heard.counts == [10, 20, 30, 35]


@pytest.mark.parametrize("errors", ["coerce", "return"])
def test_calls_that_fail_count_where_the_others_go_on(errors: Any) -> None:
    heard = OutputCapture()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
        DF["a"].par(engine="serial", chunk_size=10, errors=errors, progress=heard).map(lambda x: 1 // (x - 35))
    heard.check(N)


def test_windows_that_pandas_finds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = OutputCapture()
    monkeypatch.setattr(rolling, "layout", lambda windowing, raw: None)
    DF["b"].par(progress=heard).rolling(3).apply(len)
    heard.check(N - 2, None)


def test_groups_that_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = OutputCapture()
    monkeypatch.setattr(groupby.GroupByPlan, "next_pass", lambda self, number, first: None)
    DF.par(progress=heard).groupby("k")["a"].agg(lambda column: column.max())
    heard.check(6, None)


def test_what_pandas_does_itself() -> None:
    heard = OutputCapture()
    df = pd.DataFrame([[1, 2], [3, 4], [5, 6]], columns=["a", "b"], index=["x", "x", "y"])
    df.par(progress=heard, errors="coerce").apply_rows(lambda row: 1, result_type="broadcast")
    assert heard.counts == sorted(set(heard.counts))
    assert heard.all[-1][1] is None


def test_nothing_is_counted_where_there_is_nothing() -> None:
    heard = OutputCapture()
    par = DF.iloc[:0].par(progress=heard)
    par.apply_rows(len)
    par.map(str)
    par.apply_chunks(len)
    pdparallel.map(abs, [], progress=heard)
    assert not heard.all


@pytest.mark.parametrize("engine", ["serial", "thread", "process", "auto"])
def test_calls_of_the_function_itself_are_not_shown(engine: str) -> None:
    heard, inner = OutputCapture(), OutputCapture()

    def func(x: int) -> int:
        pdparallel.map(abs, [x, x], engine="serial", progress=inner)
        list(pdparallel.imap(abs, [x, x], engine="serial", progress=inner))
        DF.par(engine="serial", progress=inner).groupby("k")["a"].agg(len)
        return x

    pdparallel.map(func, range(8), engine=engine, n_workers=2, progress=heard)
    assert list(pdparallel.imap(func, range(8), engine=engine, n_workers=2, progress=heard)) == list(range(8))
    assert heard.all[-1] == (8, 8)
    assert not inner.all


@pytest.mark.parametrize("engine", ["process", "pathos", "thread"])
def test_it_moves_within_a_chunk(engine: str, tmp_path: Path) -> None:
    """The function goes on only when the bar has moved, which chunks that come back would never make it."""
    heard = OutputCapture()

    def look(done: int, total: int) -> None:
        heard(done, total)
        if done >= 3:
            (tmp_path / "seen").touch()

    def func(x: int) -> int:
        until = time.monotonic() + 60
        while x >= 5 and not (tmp_path / "seen").exists() and time.monotonic() < until:
            time.sleep(0.01)
        return x

    # Each is noted by itself where a call may be ended.
    more: dict[str, Any] = {} if engine == "thread" else {"timeout": 100}
    pdparallel.map(func, range(12), engine=engine, n_workers=2, chunk_size=12, progress=look, **more)
    heard.check(12)
    assert any(0 < done < 12 for done in heard.counts)


@pytest.mark.parametrize("engine", ["serial", "auto"])
def test_it_moves_within_a_chunk_of_this_process(engine: str) -> None:
    heard = OutputCapture()
    pdparallel.map(lambda x: time.sleep(0.06), range(10), engine=engine, n_workers=1, chunk_size=10, progress=heard)
    heard.check(10)
    assert any(0 < done < 10 for done in heard.counts)


def test_it_does_not_go_back_where_a_worker_dies(tmp_path: Path) -> None:
    heard = OutputCapture()

    def look(done: int, total: int) -> None:
        heard(done, total)
        if done >= 6:
            (tmp_path / "seen").touch()

    def func(x: int) -> int:
        if x == 9 and not (tmp_path / "died").exists():
            while not (tmp_path / "seen").exists():
                time.sleep(0.01)
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    got = pdparallel.map(func, range(20), engine="process", n_workers=1, chunk_size=20, progress=look, timeout=100)
    assert got == list(range(20))
    heard.check(20)


# The bar itself


class Fake(Display):
    """Notes what is drawn, takes its time by the clock of the test, and fails where it is to."""

    def __init__(self, clock: list[float], cost: float = 0.0, error: BaseException | None = None) -> None:
        self.clock, self.cost, self.error = clock, cost, error
        self.drawn: list[int] = []
        self.closed: list[bool] = []

    def draw(self, state: State) -> None:
        self.clock[0] += self.cost
        if self.error is not None:
            raise self.error
        self.drawn.append(state.count)

    def close(self, state: State, failed: bool) -> None:
        self.drawn.append(state.count)
        self.closed.append(failed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(reporter, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def shown(display: Display, total: int | None = 1000, before: int = 0) -> Bar:
    return reporter._Shown(display, State("verb", "row", total, before, before))


def test_it_never_goes_back_nor_beyond_and_ends_exactly(clock: list[float]) -> None:
    display = Fake(clock)
    one = shown(display, 100)
    for units, under_way in [(0, 30), (10, 5), (10, 90), (0, 0), (70, 80), (10, 0)]:
        clock[0] += 1
        one.add(units)
        clock[0] += 1
        one.under_way(lambda under_way=under_way: under_way)  # type: ignore[misc]
    one.begin_phase("shaping")
    one.close(False)
    assert display.drawn == sorted(display.drawn)
    assert max(display.drawn) == display.drawn[-1] == 100
    assert {30, 40} & set(display.drawn)
    assert display.closed == [False]


def test_it_is_drawn_some_times_a_second(clock: list[float]) -> None:
    display = Fake(clock)
    one = shown(display, 10_000)
    for _ in range(10_000):
        clock[0] += 0.001
        one.add(1)
    assert 50 <= len(display.drawn) <= 101


def test_a_slow_display_takes_a_hundredth_of_the_time(clock: list[float]) -> None:
    display = Fake(clock, cost=0.5)
    one, began = shown(display, 100_000), clock[0]
    for _ in range(100_000):
        clock[0] += 0.01
        one.add(1)
    assert 10 <= len(display.drawn) <= 0.01 * (clock[0] - began) / 0.5 + 2


def test_a_display_that_was_held_up_once_is_drawn_again(clock: list[float]) -> None:
    display = Fake(clock, cost=3600.0)
    one = shown(display)
    clock[0] += 1
    one.add(1)
    display.cost = 0.0
    for _ in range(20):
        clock[0] += 10
        one.add(1)
    assert len(display.drawn) >= 20


def test_what_is_under_way_is_asked_only_when_it_is_shown(clock: list[float]) -> None:
    asked = []
    one = shown(Fake(clock))
    for _ in range(1000):
        clock[0] += 0.001
        one.under_way(lambda: asked.append(1) or 0)
    assert len(asked) <= 11
    clock[0] += 1
    one.under_way(lambda: 1 // 0)  # whatever it is, a call is not to end by it


@pytest.mark.parametrize("error", [RuntimeError("broken"), OSError("no space"), ValueError("closed file")])
@pytest.mark.parametrize("is_users", [True, False])
def test_a_display_that_fails_is_off(clock: list[float], error: Exception, is_users: bool) -> None:
    display = Fake(clock, error=error)
    display.is_users = is_users
    one = shown(display)
    clock[0] += 1
    told = is_users or isinstance(error, RuntimeError)
    with pytest.warns(UserWarning, match="is off") if told else contextlib.nullcontext():
        one.add(1)
    assert display.closed == [True]
    assert one.check_interval is None
    one.add(1)
    one.under_way(lambda: 1)
    one.begin_phase("shaping")
    one.close(False)
    assert display.closed == [True]


def test_warnings_that_are_errors_do_not_end_the_call(clock: list[float]) -> None:
    one = shown(Fake(clock, error=RuntimeError("broken")))
    clock[0] += 1
    one.add(1)  # in these tests they are
    assert one.check_interval is None


def test_an_interrupt_while_drawing_interrupts(clock: list[float]) -> None:
    display = Fake(clock, error=KeyboardInterrupt())
    one = shown(display)
    clock[0] += 1
    with pytest.raises(KeyboardInterrupt):
        one.add(1)
    one.close(True)
    assert display.closed == [True]


def test_more_units_follow(clock: list[float]) -> None:
    state = State("verb", "row", 10, 0, 0)
    one = reporter._Shown(Fake(clock), state)
    one.add(4)
    one.go_on(6)
    assert state.total == 10
    one.go_on(20)
    assert state.total == 24


def test_the_end_of_a_call() -> None:
    heard = OutputCapture()
    with ProgressScope() as whole:
        with bar(heard, 3, "verb", "row") as one:
            one.add(3)
        assert whole.bar is one
        assert one.check_interval is not None
        assert heard.all == [(3, 3)]
        with ProgressScope(), bar(heard, 5, "other", "row") as inner:
            assert inner.check_interval is None
        with bar(heard, 5, "imap", "row", alone=True) as inner:
            assert inner.check_interval is None
    assert one.check_interval is None
    with ProgressScope(), bar(heard, 5, "other", "row", alone=True) as inner:
        assert inner.check_interval is None
    with bar(heard, 5, "other", "row", alone=True) as outer:
        assert outer.check_interval is not None


def test_a_callable_that_is_slow_is_not_called_often(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, now = OutputCapture(), 0.0  # the clock goes on in the two functions, and at no other time
    monkeypatch.setattr(reporter, "time", types.SimpleNamespace(perf_counter=lambda: now))

    def slow(done: int, total: int) -> None:
        nonlocal now
        heard(done, total)
        now += 0.05

    def work(x: int) -> int:
        nonlocal now
        now += 0.0001
        return x

    pdparallel.map(work, range(300), engine="serial", chunk_size=1, progress=slow)
    heard.check(300)
    assert len(heard.all) < 30


def test_an_interrupt_of_a_callable_interrupts() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for engine in ("serial", "thread", "process"):
        with pytest.raises(KeyboardInterrupt):
            pdparallel.map(abs, range(N), **ENGINES[engine], progress=interrupt)
        assert pdparallel.map(abs, range(3), engine=engine, n_workers=2) == [0, 1, 2]


# Streams and logs


class Captured:
    """A file that is standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._read = ""

    def getvalue(self) -> str:
        self._read += self._capsys.readouterr().err
        return self._read


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Captured:
    return Captured(capsys)


@pytest.mark.parametrize("kind", [True, "text"])
@engines
def test_a_file_gets_a_line(stderr: Captured, kind: Any, engine: str) -> None:
    DF["a"].par(**ENGINES[engine], progress=kind).map(str)
    *_, line, end = stderr.getvalue().split("\n")  # more than one on a slow machine
    assert re.fullmatch(rf"map: 100% {N}/{N} \[00:\d\d<00:00, .*value/s\]", line)
    assert not end
    assert "\r" not in stderr.getvalue()


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [0.0], []
    monkeypatch.setattr(displays, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(reporter, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    display = displays._Lines(lines.append)
    state = State("apply_rows", "row", 36_000, 0, 0)
    one = reporter._Shown(display, state)
    for at in range(36_000):  # an hour
        now[0] = (at + 1) / 10
        one.add(1)
    one.begin_phase("shaping")
    one.close(False)
    assert 20 <= len(lines) <= 80
    assert lines[-1] == "apply_rows: 100% 36.0k/36.0k [1:00:00<00:00, 10.0row/s]"
    assert lines[-2] == "apply_rows: 100% 36.0k/36.0k [1:00:00<00:00, 10.0row/s, shaping]"
    assert lines[0].startswith("apply_rows:   0% 5")


def test_a_failure_ends_with_a_line(stderr: Captured) -> None:
    with pytest.raises(ZeroDivisionError):
        DF["a"].par(engine="serial", chunk_size=10, progress=True).map(lambda x: 1 // (x - 35))
    assert f"map:  58% 35/{N}" in stderr.getvalue()
    assert stderr.getvalue().endswith("\n")


# Failures, and the name of a bar


def fails_at_tens(x: int) -> int:
    if x % 10 == 3:
        raise ValueError(x)
    return x


@engines
@pytest.mark.parametrize("errors", ["coerce", "return"])
def test_a_line_says_how_many_failed(errors: str, engine: str, stderr: Captured) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
        DF["a"].par(**ENGINES[engine], errors=errors, progress=True).map(fails_at_tens)
    assert stderr.getvalue().splitlines()[-1].endswith("value/s, 6 failed]")


@engines
def test_without_a_failure_it_says_nothing(engine: str, stderr: Captured) -> None:
    DF["a"].par(**ENGINES[engine], errors="coerce", progress=True).map(str)
    assert "failed" not in stderr.getvalue()


@pytest.mark.parametrize("verb", ["apply_chunks", "groupby.apply", "groupby.agg", "rolling.apply", "iter_chunks"])
def test_each_verb_counts_what_failed(verb: str, stderr: Captured) -> None:
    def fails(unit: Any) -> Any:
        raise ValueError

    calls: dict[str, Callable[[Any], Any]] = {
        "apply_chunks": lambda par: par.apply_chunks(fails),
        "groupby.apply": lambda par: par.groupby("k")["a"].apply(fails),
        "groupby.agg": lambda par: par.groupby("k")["a"].agg(fails),
        "rolling.apply": lambda par: par.rolling(N - 1).apply(fails),
        "iter_chunks": lambda par: list(par.iter_chunks(fails)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
        calls[verb](DF.par(engine="serial", chunk_size=10, errors="coerce", progress=True))
    assert re.search(r"\b6 failed\]$", stderr.getvalue().strip())


def test_what_pandas_calls_by_itself_is_counted_too(stderr: Captured) -> None:
    values = pd.Series([], dtype="int64")
    frame = pd.DataFrame({"a": pd.Categorical(["x", "y", "x"])})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
        values.par(errors="coerce", progress=True).map(fails_at_tens)
        frame["a"].par(engine="serial", errors="coerce", progress=True).map(lambda value: 1 / 0)
    assert stderr.getvalue().strip().endswith("2 failed]")


@engines
def test_a_name_of_ones_own(engine: str, stderr: Captured) -> None:
    DF["a"].par(**ENGINES[engine], progress=True, desc="prices").map(str)
    assert stderr.getvalue().startswith("prices: ")
    assert "map" not in stderr.getvalue()


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_takes_a_name(verb: str, stderr: Captured) -> None:
    VERBS[verb][1](DF.par(progress="text", desc="prices"))
    lines = stderr.getvalue().splitlines()
    assert lines
    assert all(line.startswith("prices: ") for line in lines)


def test_items_take_a_name(stderr: Captured) -> None:
    pdparallel.map(abs, [1], progress=True, desc="one")
    assert list(pdparallel.imap(abs, [1], progress=True, desc="two")) == [1]
    assert [line.split(":")[0] for line in stderr.getvalue().splitlines()] == ["one", "two"]


def test_a_bar_without_an_end(stderr: Captured, bars_are_told_of_chunks: None) -> None:
    assert len(list(pdparallel.imap(str, iter(range(20)), progress=True, engine="serial"))) == 20
    assert re.match(r"imap: 20\.0item \[00:\d\d, ", stderr.getvalue())


@pytest.mark.parametrize("kind", ["log", "a logger", "an adapter"])
def test_a_log(kind: str, caplog: pytest.LogCaptureFixture, stderr: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(displays, "LINE_SECONDS", 3600.0)  # however slow the machine is, there is but the last line
    own = logging.getLogger("night.run")
    option: Any = {"log": "log", "a logger": own, "an adapter": logging.LoggerAdapter(own, {})}[kind]
    with caplog.at_level(logging.INFO):
        DF["a"].par(engine="serial", progress=option).map(str)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("pdparallel.progress" if kind == "log" else "night.run", "INFO")
    ]
    assert caplog.records[0].getMessage().startswith(f"map: 100% {N}/{N} [")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        DF["a"].par(engine="serial", progress=option).map(str)
    assert not caplog.records
    assert not stderr.getvalue()


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Odd:
    def isatty(self) -> bool:
        raise RuntimeError("what is that?")


@pytest.mark.parametrize("stream", ["none", "closed", "broken", "odd", "plain object"])
def test_odd_streams_change_nothing(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    odd: dict[str, Any] = {
        "none": None, "closed": closed, "broken": Broken(), "odd": Odd(), "plain object": object(),
    }  # fmt: skip
    monkeypatch.setattr(sys, "stderr", odd[stream])
    for kind in (True, "text"):
        assert DF["a"].par(engine="serial", chunk_size=7, progress=kind).map(str).tolist() == [*map(str, range(N))]


def test_the_notebook_kind_without_widgets(monkeypatch: pytest.MonkeyPatch, stderr: Captured) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.warns(UserWarning, match="ipywidgets is not installed") as caught:
        DF["a"].par(engine="serial", progress="notebook").map(str)
    assert caught[0].filename == __file__
    assert f"{N}/{N}" in stderr.getvalue()


def test_a_broken_tqdm(monkeypatch: pytest.MonkeyPatch, stderr: Captured) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.std", None)
    with pytest.warns(UserWarning, match="There is no progress display: "):
        got = DF["a"].par(engine="serial", progress=True).map(str)
    assert got.tolist() == [*map(str, range(N))]


# Terminals


def environment(**more: str) -> dict[str, str]:
    others = ("PDPARALLEL_", "TQDM_", "PYTEST_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    paths = [str(Path(pdparallel.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return env | {"PYTHONPATH": os.pathsep.join(paths), "TERM": "xterm"} | more


PROGRAM = """
import sys, time
import pandas as pd, pdparallel
got = pd.Series(range(60)).par(engine={engine!r}, n_workers=2, chunk_size=6, progress=True).map(lambda x: x + 1)
assert got.tolist() == list(range(1, 61))
"""


class Terminal:
    """A program whose standard error is a terminal, and what it shows there."""

    def __init__(self, code: str, columns: int = 100, **env: str) -> None:
        fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
        self._ours, theirs = pty.openpty()
        if columns:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=environment(**env),
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last who had it is gone
            while part := os.read(self._ours, 4096):
                self.shown += part.decode()

    def end(self) -> int:
        """Wait for the end; the exit code."""
        try:
            code = self.process.wait(100)
        finally:
            self.process.kill()
            self.process.communicate()
            self._reader.join(20)
            os.close(self._ours)
        return code

    @property
    def lines(self) -> list[str]:
        """What is to be read in the end: of a line that was written again and again, the last."""
        return [line.rstrip("\r").split("\r")[-1].rstrip() for line in self.shown.split("\n")]


@pytest.mark.parametrize("engine", ["serial", "process", "auto"])
def test_a_terminal(engine: str) -> None:
    terminal = Terminal(PROGRAM.format(engine=engine))
    assert terminal.end() == 0, terminal.shown
    line, end = terminal.lines
    assert re.fullmatch(r"map: 100%\|█+\| 60/60 \[00:\d\d<00:00, .*value/s\]", line)
    assert len(line) <= 100
    assert not end
    assert "shaping" in terminal.shown
    assert "\x1b" not in terminal.shown


FAILING = """
import warnings
import pandas as pd, pdparallel
warnings.simplefilter("ignore")
par = pd.Series(range(60)).par(engine="serial", chunk_size=6, progress=True, errors="coerce")
assert par.map(lambda x: 1 / (x - 50)).isna().sum() == 1
"""


def test_a_bar_turns_red_when_a_call_fails() -> None:
    terminal = Terminal(FAILING)
    assert terminal.end() == 0, terminal.shown
    assert "\x1b[31m" in terminal.lines[0]
    assert terminal.lines[0].removesuffix("\x1b[0m").endswith("1 failed]")


def test_it_has_no_colour_where_none_is_wanted() -> None:
    terminal = Terminal(FAILING, NO_COLOR="1")
    assert terminal.end() == 0, terminal.shown
    assert "\x1b" not in terminal.shown
    assert terminal.lines[0].endswith("1 failed]")


def test_a_terminal_whose_size_nobody_knows() -> None:
    terminal = Terminal(PROGRAM.format(engine="serial"), columns=0)
    assert terminal.end() == 0, terminal.shown
    assert "60/60" in terminal.lines[0]


@pytest.mark.parametrize("engine", ["process"])
def test_a_dumb_terminal_gets_lines(engine: str) -> None:
    terminal = Terminal(PROGRAM.format(engine=engine), TERM="dumb")
    assert terminal.end() == 0, terminal.shown
    assert "\r" not in terminal.shown.replace("\r\n", "\n")
    assert terminal.lines[-2].startswith("map: 100% 60/60")


def test_a_terminal_that_knows_no_unicode() -> None:
    terminal = Terminal(PROGRAM.format(engine="serial"), PYTHONIOENCODING="ascii")
    assert terminal.end() == 0, terminal.shown
    assert "##" in terminal.lines[0]


def test_an_exception_begins_on_a_line_of_its_own() -> None:
    code = "import pdparallel; pdparallel.map(lambda x: 1 // (x - 3), range(9), engine='serial', progress=True)"
    terminal = Terminal(code)
    assert terminal.end() == 1
    assert re.match(r"map:  33%\|.*\| 3/9 ", terminal.lines[0])
    assert terminal.lines[1].startswith("Traceback")


@pytest.mark.parametrize("engine", ["process", "serial"])
def test_ctrl_c_while_there_is_a_bar(engine: str) -> None:
    code = f"""
        import signal, time, pdparallel
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pdparallel.map(lambda x: time.sleep(0.05), range(9999), engine={engine!r}, n_workers=2, progress=True)
    """
    terminal = Terminal(code)
    seen = wait_until(lambda: re.search(r" [1-9]\d*/9999", terminal.shown), 60)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() in (1, 130, -signal.SIGINT)
    assert seen, terminal.shown
    at = next(number for number, line in enumerate(terminal.lines) if line.startswith("Traceback"))
    assert at == 1, terminal.lines
    assert "KeyboardInterrupt" in terminal.shown


def test_two_bars_at_once_and_one_around() -> None:
    code = """
        import pandas as pd, pdparallel, time
        from tqdm import tqdm
        s = pd.Series(range(40))
        for _ in tqdm(range(2), desc="around"):
            jobs = [s.par(engine="thread", n_workers=1, chunk_size=1, progress=True).background.map(
                lambda x: time.sleep(0.01)) for _ in range(2)]
            [job.result() for job in jobs]
        assert not tqdm._instances, list(tqdm._instances)
        print("all")
    """
    terminal = Terminal(code)
    assert terminal.end() == 0, terminal.shown
    assert any(re.match(r"around: 100%.*2/2", line) for line in terminal.lines)
    assert "40/40" in terminal.shown


# Standard error as it may be, for a whole process


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of POSIX")
@pytest.mark.parametrize(
    "redirected", ["2>&-", "2>/dev/full", "2>/dev/null", ">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"]
)
def test_wherever_standard_error_goes_the_process_ends_well(redirected: str, tmp_path: Path) -> None:
    if "/dev/full" in redirected and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    script, done = tmp_path / "script.py", tmp_path / "done"
    # Workers start badly where the lowest descriptors are something else, with a bar or without.
    engine = "thread" if "&-" in redirected else "process"
    script.write_text(PROGRAM.format(engine=engine) + f"open({str(done)!r}, 'w').write('all')\n")
    shell = f"{{ {sys.executable} {script}; echo $? > {tmp_path / 'code'}; }} {redirected}"
    subprocess.run(["sh", "-c", shell], env=environment(), timeout=100, check=False, stdin=subprocess.DEVNULL)
    assert done.read_text() == "all"
    assert (tmp_path / "code").read_text() == "0\n"


def test_nothing_is_left_and_nothing_is_decided() -> None:
    code = """
        import multiprocessing, sys, threading
        import pandas as pd, pdparallel
        before = threading.enumerate()
        for engine in ("serial", "thread", "auto"):
            pd.Series(range(40)).par(engine=engine, n_workers=2, chunk_size=5, progress=True).map(str)
        with pdparallel.imap(str, range(40), progress=True, engine="serial") as results:
            next(results)
        from tqdm import tqdm
        assert not tqdm._instances
        assert tqdm.monitor is None and not hasattr(tqdm, "_lock")
        assert threading.enumerate() == before, threading.enumerate()
        assert multiprocessing.get_start_method(allow_none=True) is None
        multiprocessing.set_start_method("spawn")
    """
    terminal = Terminal(code)
    assert terminal.end() == 0, terminal.shown


def test_the_end_of_the_interpreter() -> None:
    code = """
        import pandas as pd, pdparallel, time
        results = pdparallel.imap(str, range(40), progress=True, engine="serial")
        next(results)
        future = pd.Series(range(400)).par(
            engine="thread", n_workers=1, chunk_size=1, progress=True).background.map(lambda x: time.sleep(0.01))
    """
    terminal = Terminal(code)
    assert terminal.end() == 0, terminal.shown
    assert "Traceback" not in terminal.shown
    assert "Exception" not in terminal.shown


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_tqdm_that_is_switched_off(term: str) -> None:
    terminal = Terminal(PROGRAM.format(engine="serial"), TQDM_DISABLE="1", TERM=term)
    assert terminal.end() == 0, terminal.shown
    assert terminal.shown == ""


# Notebooks


class Kernel:
    """A kernel, and what a cell has shown."""

    def __init__(self, folder: Path) -> None:
        jupyter_client = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
        pytest.importorskip("ipykernel", reason="ipykernel is not installed")
        self.manager = jupyter_client.KernelManager(kernel_name="python3")
        env = environment(JUPYTER_RUNTIME_DIR=str(folder), IPYTHONDIR=str(folder / "ipython"))
        self.manager.start_kernel(env=env, cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> list[dict[str, Any]]:
        """What the cell shows, message by message."""
        messages: list[dict[str, Any]] = []
        self.client.execute_interactive(textwrap.dedent(code), output_hook=messages.append, timeout=100)
        return messages

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    one = Kernel(tmp_path_factory.mktemp("kernel"))
    try:
        one.run("""
            import sys, time
            import pandas as pd, pdparallel
            s = pd.Series(range(60))
        """)
        yield one
    finally:
        one.end()


def streams(messages: list[dict[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for message in messages:
        if message["msg_type"] == "stream":
            name = message["content"]["name"]
            found[name] = found.get(name, "") + message["content"]["text"]
        assert message["msg_type"] != "error", "\n".join(message["content"]["traceback"])
    return found


@pytest.mark.parametrize("engine", ["serial", "process"])
@pytest.mark.parametrize("verb", ["map", "background.map"])
def test_text_in_a_cell(kernel: Kernel, engine: str, verb: str) -> None:
    result = ".result()" if "background" in verb else ""
    shown = streams(
        kernel.run(f"""
            _ = s.par(engine={engine!r}, n_workers=2, chunk_size=6, progress="text").{verb}(lambda x: x + 1){result}
            assert _.tolist() == list(range(1, 61))
        """)
    )
    assert list(shown) == ["stdout"], shown
    assert "\r" in shown["stdout"]
    assert shown["stdout"].rstrip("\n").split("\r")[-1].startswith("map: 100%|")
    assert "60/60" in shown["stdout"]


def test_true_in_a_cell_without_widgets(kernel: Kernel) -> None:
    shown = streams(
        kernel.run("""
            from unittest import mock
            with mock.patch.dict(sys.modules, {"ipywidgets": None}):
                _ = s.par(engine="serial", progress=True).map(str)
        """)
    )
    assert list(shown) == ["stdout"], shown
    assert "60/60" in shown["stdout"]


@pytest.mark.parametrize("kind", [True, "notebook"])
@pytest.mark.parametrize("fails", [False, True])
def test_widgets(tmp_path: Path, kind: Any, fails: bool) -> None:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    kernel = Kernel(tmp_path)
    try:
        messages = kernel.run(f"""
            import pandas as pd, pdparallel
            par = pd.Series(range(60)).par(engine="process", n_workers=2, chunk_size=6, progress={kind!r})
            try:
                par.map(lambda x: 1 // (x - 50) if {fails} else x)
            except ZeroDivisionError:
                print("failed")
            from tqdm import tqdm
            assert not tqdm._instances and tqdm.monitor is None
        """)
    finally:
        kernel.end()
    assert streams(messages) == ({"stdout": "failed\n"} if fails else {})
    shown = [message for message in messages if message["msg_type"] == "display_data"]
    assert len(shown) == 1
    assert "application/vnd.jupyter.widget-view+json" in shown[0]["content"]["data"]
    states = [message["content"]["data"].get("state", {}) for message in messages if message["msg_type"] == "comm_msg"]
    styles = [state["bar_style"] for state in states if "bar_style" in state]
    assert styles[-1] == ("danger" if fails else "success")
    values = [state["value"] for state in states if isinstance(state.get("value"), float)]
    assert values == sorted(values)
    assert fails or values[-1] == 60


def test_widgets_turn_red_when_a_call_fails(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    kernel = Kernel(tmp_path)
    try:
        messages = kernel.run("""
            import warnings
            import pandas as pd, pdparallel
            warnings.simplefilter("ignore")
            par = pd.Series(range(60)).par(engine="serial", chunk_size=6, progress="notebook", errors="coerce")
            _ = par.map(lambda x: 1 / (x - 50))
        """)
    finally:
        kernel.end()
    states = [message["content"]["data"].get("state", {}) for message in messages if message["msg_type"] == "comm_msg"]
    assert "red" in [state["bar_color"] for state in states if "bar_color" in state]
    texts = [state["value"] for state in states if isinstance(state.get("value"), str)]
    assert texts[-1].replace("\u2007", " ").endswith(", 1 failed]")  # tqdm writes spaces of the width of a figure


def test_a_failed_call_in_the_background_shows_its_message(kernel: Kernel) -> None:
    messages = kernel.run("""
        future = s.par.background.map(lambda x: 1 / (x - 50))
        _ = future.exception()
        future
    """)
    (shown,) = [message["content"]["data"] for message in messages if message["msg_type"] == "execute_result"]
    assert "failed, ZeroDivisionError: division by zero" in shown["text/plain"]
    assert "failed, ZeroDivisionError: division by zero" in shown["text/html"]
    assert "position 50" in shown["text/html"]


def test_a_traceback_in_a_cell_is_short(kernel: Kernel) -> None:
    messages = kernel.run("""
        s.par(engine="process", n_workers=2).map(lambda x: 1 / (x - 50))
    """)
    (error,) = [message["content"] for message in messages if message["msg_type"] == "error"]
    shown = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(error["traceback"]))
    assert "pdparallel/" not in shown.replace(os.sep, "/")
    assert "pdparallel: map, in value 50 (position 50)" in shown


def test_what_else_is_written_stands_above_the_bar() -> None:
    code = """
        import sys, time
        import pdparallel
        from pdparallel.progress.displays import besides
        def func(x):
            if x == 3:
                with besides(sys.stderr):
                    print("a word", file=sys.stderr)
            return x
        pdparallel.map(func, range(9), engine="serial", progress=True)
        with besides(sys.stderr):
            print("another", file=sys.stderr)
    """
    terminal = Terminal(code)
    assert terminal.end() == 0, terminal.shown
    assert [line.split(":")[0] for line in terminal.lines] == ["a word", "map", "another", ""]
