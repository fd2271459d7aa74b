"""A StopIteration of the function, as of ``next()`` with nothing left: its arguments and its lines reach the caller.

Whatever goes through what it iterates over by C or in a generator takes it for an end of its own.
"""

from __future__ import annotations

import asyncio
import functools
import operator
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel

ENGINES = ["auto", "serial", "thread", "process"]
N = 9


def _frame() -> pd.DataFrame:
    index = pd.date_range("2026-01-01", periods=N, name="day")
    return pd.DataFrame({"a": np.arange(N), "b": np.arange(N) * 2, "k": np.arange(N) // 2}, index)


#: What is called with a function of a value, which is at last called with a 4.
VERBS: dict[str, Callable[[Any], Any]] = {
    "values": lambda f: _frame()["a"].par.map(f),
    "values by apply": lambda f: _frame()["a"].par.apply(f),
    "objects": lambda f: _frame()["a"].astype(object).par.map(f),
    "categories": lambda f: _frame()["a"].astype("category").par.map(f),
    "frame": lambda f: _frame()[["a"]].par.map(f),
    "rows": lambda f: _frame().par.apply_rows(lambda row: f(row["a"])),
    "mixed rows": lambda f: _frame().assign(c="x").par.apply_rows(lambda row: f(row["a"])),
    "whole rows": lambda f: _frame().par.apply_rows(lambda row: f(row.iloc[0])),
    "arrays": lambda f: _frame().par.apply_rows(lambda row: f(row[0]), raw=True),
    "tuples": lambda f: _frame().par.apply_rows(lambda row: f(row[0]), rows="tuple"),
    "named tuples": lambda f: _frame().par.apply_rows(lambda row: f(row.a), rows="namedtuple"),
    "dicts": lambda f: _frame().par.apply_rows(lambda row: f(row["a"]), rows="dict"),
    "broadcast": lambda f: _frame().par.apply_rows(lambda row: f(row.iloc[0]), result_type="broadcast"),
    "columns": lambda f: _frame()[["a"]].par.apply_cols(lambda column: f(column.iloc[4])),
    "columns as arrays": lambda f: _frame()[["a"]].par.apply_cols(lambda column: f(column[4]), raw=True),
    "chunks": lambda f: _frame().par.apply_chunks(lambda chunk: chunk["a"].map(f)),
    "groups": lambda f: _frame().par.groupby("k").apply(lambda group: f(group["a"].iloc[0])),
    "groups of a column": lambda f: _frame().par.groupby("k")["a"].apply(lambda group: f(group.iloc[0])),
    "agg": lambda f: _frame()[["a", "k"]].par.groupby("k").agg(lambda group: f(group.iloc[0])),
    "agg of a column": lambda f: _frame().par.groupby("k")["a"].agg(lambda group: f(group.iloc[0])),
    "transform": lambda f: _frame()[["a", "k"]].par.groupby("k").transform(lambda group: f(np.ravel(group)[0])),
    "transform of a column": lambda f: _frame().par.groupby("k")["a"].transform(lambda group: f(group.iloc[0])),
    "filter": lambda f: _frame().par.groupby("k").filter(lambda group: f(group["a"].iloc[0]) > 4),
    "filter of a column": lambda f: _frame().par.groupby("k")["a"].filter(lambda group: f(group.iloc[0]) > 4),
    "spans of time": lambda f: _frame()["a"].par.resample("2D").apply(lambda span: f(span.iloc[0])),
    "windows": lambda f: _frame()["a"].par.rolling(1).apply(lambda window: f(window.iloc[0])),
    "windows as arrays": lambda f: _frame()["a"].par.rolling(1).apply(lambda window: f(window[0]), raw=True),
    "growing windows": lambda f: _frame()["a"].par.expanding().apply(lambda window: f(window[-1]), raw=True),
    "windows of groups": lambda f: _frame().par.groupby("k")["a"].rolling(1).apply(lambda window: f(window.iloc[-1])),
    "items": lambda f: pdparallel.map(f, list(range(N))),
    "several items": lambda f: pdparallel.map(lambda one, other: f(one), range(N), range(N)),
    "in the background": lambda f: _frame()["a"].par.background.map(f).result(),
}

#: Those of them that give what is iterated over.
LAZY: dict[str, Callable[[Any], Any]] = {
    "imap": lambda f: list(pdparallel.imap(f, range(N))),
    "imap as they come": lambda f: list(pdparallel.imap(f, range(N), ordered=False)),
    "iter_chunks": lambda f: list(_frame().par.iter_chunks(lambda chunk: chunk["a"].map(f))),
}


def _raises(value: Any) -> Any:
    if value == 4:
        raise StopIteration("no such value", 4)
    return value


def _has_nothing_left(value: Any) -> Any:
    return next(one for one in (0, 1, 2, 3, 5, 6, 7, 8, 10, 12, 14, 16) if one == value)


FUNCTIONS = {"raises": (_raises, ("no such value", 4)), "has nothing left": (_has_nothing_left, ())}

OPTIONS: list[dict[str, Any]] = [{}, {"chunk_size": 2}, {"progress": lambda done, total: None}, {"seed": 1}]


def _as_the_function_raised_it(error: BaseException, func: Any, args: tuple[Any, ...]) -> None:
    assert type(error) is StopIteration
    assert error.args == args
    shown = "".join(traceback.format_exception(error))
    assert f"in {func.__name__}" in shown
    assert "generator raised" not in shown
    assert "RuntimeError" not in shown
    assert "pdparallel: " in shown  # the note of the place


def _cases() -> list[Any]:
    cases = [(verb, "raises", engine) for verb in VERBS for engine in ("auto", "serial", "process")]
    cases += [(verb, "has nothing left", "serial") for verb in VERBS]
    cases += [
        (verb, "has nothing left", engine)
        for verb in ("values", "tuples", "rows", "groups", "transform", "windows", "items")
        for engine in ("thread", "process", "pathos")
    ]
    return cases


@pytest.mark.parametrize(("verb", "which", "engine"), _cases())
def test_it_comes_as_it_was_raised(verb: str, which: str, engine: str) -> None:
    func, args = FUNCTIONS[which]
    for options in OPTIONS if engine == "auto" else OPTIONS[:1]:
        with (
            pdparallel.option_context(engine=engine, n_workers=2, **options),
            pytest.raises(StopIteration) as raised,
        ):
            VERBS[verb](func)
        _as_the_function_raised_it(raised.value, func, args)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("verb", LAZY)
def test_an_iterator_tells_it_as_python_does(verb: str, engine: str) -> None:
    """One that passed it on would end there, and nobody would know."""
    with (
        pdparallel.option_context(engine=engine, n_workers=2),
        pytest.raises(RuntimeError, match="StopIteration") as raised,
    ):
        LAZY[verb](_raises)
    assert raised.value.__cause__ is not None
    _as_the_function_raised_it(raised.value.__cause__, _raises, ("no such value", 4))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("verb", ["values", "rows", "tuples", "groups of a column", "items"])
def test_it_is_one_failure_among_others(verb: str, engine: str) -> None:
    with pdparallel.option_context(engine=engine, n_workers=2, errors="return"):
        came = list(VERBS[verb](_raises))
    failed = [value for value in came if isinstance(value, BaseException)]
    assert len(failed) == 1
    assert len(came) == (N if verb != "groups of a column" else 5)
    _as_the_function_raised_it(failed[0], _raises, ("no such value", 4))


class Bound:
    def raises(self, value: Any) -> Any:
        return _raises(value)


def _nothing_left(value: Any) -> Any:
    return next(iter(()), value) if value != 4 else next(iter(()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "func",
    [functools.partial(operator.call, _raises), _nothing_left, Bound().raises, _raises.__call__],
    ids=["a partial", "another function", "a method", "a wrapper of a slot"],
)
@pytest.mark.parametrize("rows", ["tuple", "array"])
def test_functions_of_all_sorts(rows: Any, func: Any, engine: str) -> None:
    with pytest.raises(StopIteration) as raised:
        _frame().par(engine=engine, n_workers=2).apply_rows(lambda row: func(row[0]), rows=rows)
    with pytest.raises(StopIteration):
        _frame()["a"].par(engine=engine, n_workers=2).map(func)
    assert "position 4" in "".join(raised.value.__notes__)


@pytest.mark.parametrize("engine", ENGINES)
def test_next_itself(engine: str) -> None:
    iterators = pd.Series([iter("a"), iter("b"), iter(()), iter("c")])
    with pytest.raises(StopIteration) as raised:
        iterators.par(engine=engine, n_workers=2).map(next)
    assert "position 2" in "".join(raised.value.__notes__)


class Odd:
    """One whose length is a mistake."""

    def __len__(self) -> int:
        raise StopIteration("no length")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_method_that_a_function_of_c_calls(engine: str) -> None:
    s = pd.Series(["a", "b", Odd(), "c"], dtype=object)
    with pytest.raises(StopIteration) as raised:
        s.par(engine=engine, n_workers=2).map(len)
    assert "position 2" in "".join(raised.value.__notes__)


@pytest.mark.parametrize("engine", ["auto", "serial", "thread"])
def test_who_awaits_it_is_told(engine: str) -> None:
    async def called() -> Any:
        future = _frame()["a"].par(engine=engine, n_workers=2).background.map(_raises)
        return await asyncio.wait_for(_awaited(future), 10)

    async def _awaited(future: Any) -> Any:
        return await future

    with pytest.raises(RuntimeError, match="StopIteration") as raised:
        asyncio.run(called())
    assert raised.value.__cause__ is not None
    _as_the_function_raised_it(raised.value.__cause__, _raises, ("no such value", 4))
