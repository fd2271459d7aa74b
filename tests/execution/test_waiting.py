"""The hint that a function mostly waits: for whom it is, what it says, where, and how often."""

from __future__ import annotations

import asyncio
import functools
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel.core.options import Options
from pdparallel.errors import InvalidOptionError, PerformanceHint
from pdparallel.execution import waiting
from pdparallel.execution.waiting import Advice, advice_for
from pdparallel.testing._force import force

N = 40
DF = pd.DataFrame({"a": range(N), "k": range(N)}, index=[f"x{at}" for at in range(N)])
S = DF["a"]

#: Seconds of a call of the function, by a clock that nothing else lets go on.
EACH = 0.2


class Now:
    def __init__(self) -> None:
        self.seconds = 100.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    told = Now()
    monkeypatch.setattr(time, "perf_counter", lambda: told.seconds)
    return told


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine: functions that wait for nearly all their time, in a call of two workers."""
    force(monkeypatch.setattr, hint_seconds=5.0, waiting_share=0.94, cold_worth_seconds=1e9, warm=False)
    monkeypatch.setattr(waiting, "gil_is_off", lambda: False)
    monkeypatch.setattr(waiting, "usable_cores", lambda: type("Cores", (), {"number": 2}))
    monkeypatch.setattr(Options, "workers", property(lambda self: self.n_workers or 2))


def waits(now: Now, returns: Any = None) -> Callable[..., Any]:
    """Return a function with code of its own, which had no hint yet."""

    def func(unit: Any) -> Any:
        now.seconds += EACH
        return unit if returns is None else returns

    func.__code__ = func.__code__.replace(co_name=f"waits_{next(_numbers)}")
    return func


_numbers = iter(range(1_000_000))


def hints(call: Callable[[], Any]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [one for one in caught if issubclass(one.category, PerformanceHint)]


THREADS = "engine='thread', n_workers=32"

#: Each way to call, and how the hint writes it.
VERBS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "rows": (lambda f: DF.par.apply_rows(f), f"df.par({THREADS}).apply_rows(func)"),
    "tuples": (lambda f: DF.par.apply_rows(f, rows="tuple"), f"df.par({THREADS}).apply_rows(func)"),
    "columns": (lambda f: DF.T.par.apply_cols(f), f"df.par({THREADS}).apply_cols(func)"),
    "apply": (lambda f: DF.par.apply(f, axis=1), f"df.par({THREADS}).apply(func)"),
    "map": (lambda f: DF.par.map(f), f"df.par({THREADS}).map(func)"),
    "Series.map": (lambda f: S.par.map(f), f"s.par({THREADS}).map(func)"),
    "apply_chunks": (lambda f: DF.par(chunk_size=1).apply_chunks(f), f"df.par({THREADS}).apply_chunks(func)"),
    "iter_chunks": (
        lambda f: list(DF.par(chunk_size=1).iter_chunks(f)), f"df.par({THREADS}).iter_chunks(func)"
    ),
    "groupby.apply": (
        lambda f: DF.par.groupby("k")["a"].apply(f), f"df.par({THREADS}).groupby(...).apply(func)"
    ),
    "groupby.transform": (
        lambda f: DF.par.groupby("k")["a"].transform(f), f"df.par({THREADS}).groupby(...).transform(func)"
    ),
    "rolling": (lambda f: S.par.rolling(3).apply(f), f"df.par({THREADS}).rolling(...).apply(func)"),
    "pdparallel.map": (lambda f: pdparallel.map(f, range(N)), f"pdparallel.map(func, items, {THREADS})"),
    "imap": (lambda f: list(pdparallel.imap(f, iter(range(N)))), f"pdparallel.imap(func, items, {THREADS})"),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_each_verb(name: str, now: Now) -> None:
    call, example = VERBS[name]
    func = waits(now, 1.0 if name == "rolling" else None)
    found = hints(lambda: call(func))
    assert [(one.filename, example in str(one.message)) for one in found] == [(__file__, True)], found
    assert not hints(lambda: call(func))


def test_its_words_and_its_line(now: Now) -> None:
    func = waits(now)
    call = lambda: DF.par.apply_rows(func)
    (hint,) = hints(call)
    assert str(hint.message) == (
        "The function waited 94 % of its time in this call of 8 s, probably for a network, disk or database. More "
        f"workers at once help: df.par({THREADS}).apply_rows(func), or make it a coroutine function (async def)."
    )
    assert (hint.filename, hint.lineno) == (__file__, call.__code__.co_firstlineno)


def test_groups_that_pandas_calls_to_the_end(now: Now) -> None:
    par = DF.par(n_workers=None)
    func = waits(now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Options, "workers", property(lambda self: 1))  # so that nothing else takes over
        (hint,) = hints(lambda: par.groupby("k")["a"].agg(lambda group: func(1)))
    assert "groupby(...).agg(func)" in str(hint.message)


@pytest.mark.parametrize("make", [lambda f: functools.partial(f), lambda f: functools.wraps(f)(lambda x: f(x))])
def test_once_for_a_function(now: Now, make: Any) -> None:
    func = waits(now)
    assert len(hints(lambda: DF.par.apply_rows(make(func)))) == 1
    assert not hints(lambda: S.par.map(make(func)))
    assert len(hints(lambda: S.par.map(waits(now)))) == 1


def test_of_threads_as_many_as_cores(now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    assert len(hints(lambda: DF.par(engine="thread").apply_rows(waits(now)))) == 1


def test_threads_that_wait_for_the_gil(now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 0.9 * now.seconds)
    assert not hints(lambda: DF.par(engine="thread").apply_rows(waits(now)))


@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_what_workers_measure(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch.setattr, hint_seconds=0.0)
    monkeypatch.setattr(waiting, "HINT_SHARE", 0.01)
    monkeypatch.setattr(waiting, "MEASURED_SHARE", 0.0)

    def func(row: Any) -> None:
        time.sleep(0.02)

    func.__code__ = func.__code__.replace(co_name=f"waits_in_{engine}")
    (hint,) = hints(lambda: DF.par(engine=engine, n_workers=2).apply_rows(func))
    assert "apply_rows(func)" in str(hint.message)


#: Options with which a hint is useless, because the user decided how many calls there are at once.
CHOSEN: list[dict[str, Any]] = [
    {"n_workers": 1},
    {"engine": "serial"},
    {"engine": "thread", "n_workers": 4},
    {"n_workers": 64},
    {"chunk_size": N // 2},
]


@pytest.mark.parametrize("options", CHOSEN, ids=repr)
def test_where_it_would_not_help(options: dict[str, Any], now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    assert not hints(lambda: DF.par(**options).apply_rows(waits(now)))


def test_an_executor_is_chosen_too(now: Now) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert not hints(lambda: DF.par(engine=pool).apply_rows(waits(now)))


def test_where_nothing_is_to_be_said(now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    func = waits(now)
    assert not hints(lambda: DF.head(20).par.apply_rows(func))  # 4 s
    assert not hints(lambda: pd.Series([1, 2]).par.map(lambda value: [func(1) for _ in range(N)]))  # nothing to share
    with pytest.MonkeyPatch.context() as patch:
        force(patch.setattr, waiting_share=0.79)
        assert not hints(lambda: DF.par.apply_rows(func))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "inside_worker", lambda: True)
        assert not hints(lambda: DF.par.apply_rows(func))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "knows_delay", lambda: False)
        assert not hints(lambda: DF.par(n_workers=3).apply_rows(func))  # they share two cores
    assert len(hints(lambda: DF.par.apply_rows(func))) == 1  # none of these was counted as its hint


def test_a_coroutine_function_waits_as_it_should() -> None:
    async def func(row: Any) -> None:
        await asyncio.sleep(0)

    assert not waiting._is_new(func)
    assert not waiting._is_new(functools.partial(func))


@pytest.mark.parametrize(
    ("share", "options", "advice"),
    [
        (0.97, {"n_workers": 2}, Advice("thread", 32)),
        (0.8, {"n_workers": 2}, Advice("thread", 32)),
        (0.8, {"n_workers": 4}, Advice("process", 8)),  # one interpreter makes five calls at once
        (0.97, {"n_workers": 2, "timeout": 5.0}, Advice("process", 8)),
        (0.97, {"n_workers": 2, "seed": 1}, Advice("process", 8)),
        (0.8, {"n_workers": 8}, None),
        (1.0, {"n_workers": 32}, None),
    ],
)
def test_what_is_advised(share: float, options: dict[str, Any], advice: Advice | None) -> None:
    assert advice_for(share, Options(**options)) == advice


def test_without_the_gil_threads_compute_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "gil_is_off", lambda: True)
    assert advice_for(0.8, Options(n_workers=8)) == Advice("thread", 32)


def test_a_time_limit_of_a_thread_names_two_ways_out() -> None:
    with pytest.raises(InvalidOptionError, match=r"A thread cannot be ended. Give engine='process', or make it a cor"):
        DF.par(engine="thread", timeout=1).apply_rows(len)
