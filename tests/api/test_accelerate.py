"""accelerate(): pandas' own methods go through us, with the same answers, and come back as they were."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.compat import PANDAS_2
from pdparallel.testing import assert_same, assert_same_as_pandas

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

KINDS: tuple[Any, ...] = (
    pd.DataFrame, pd.Series, pd.api.typing.DataFrameGroupBy, pd.api.typing.SeriesGroupBy, pd.api.typing.Rolling,
    pd.api.typing.Expanding, type(pd.Series([1]).groupby([1]).rolling(1)),
    type(pd.Series([1]).groupby([1]).expanding()),
)  # fmt: skip
NAMES = ("apply", "map", "agg", "aggregate", "transform", "filter", "rolling", "expanding", "__getitem__")


def _methods() -> dict[tuple[Any, str], Any]:
    return {(kind, name): vars(kind).get(name) for kind in KINDS for name in NAMES}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = _methods()
    yield
    assert _methods() == before, "pandas is not as it was"


@pytest.fixture
def df() -> pd.DataFrame:
    return pd.DataFrame({"k": [1, 2, 1, 3], "x": [1.5, np.nan, 3.0, 4.0], "t": list("abca")}, index=list("wxyz"))


def pid(*_: Any, **__: Any) -> int:
    return os.getpid()


CALLS: dict[str, Callable[[pd.DataFrame, Any], Any]] = {
    "df.apply": lambda df, f: df.apply(f),
    "df.apply by rows": lambda df, f: df.apply(f, axis=1),
    "df.apply by place": lambda df, f: df.apply(f, 1),
    "df.map": lambda df, f: df.map(f),
    "s.apply": lambda df, f: df["x"].apply(f),
    "s.map": lambda df, f: df["x"].map(f),
    "groupby.apply": lambda df, f: df.groupby("k").apply(f),
    "groupby.agg": lambda df, f: df.groupby("k")[["x"]].agg(f),
    "groupby.aggregate": lambda df, f: df.groupby("k")["x"].aggregate(f),
    "groupby.transform": lambda df, f: df.groupby("k")["x"].transform(f),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_it_runs_in_workers_and_only_there(call: Callable[..., Any], df: pd.DataFrame) -> None:
    with pdparallel.accelerate(engine="process", n_workers=2):
        inside = {int(value) for value in np.ravel(call(df, pid))}
    assert os.getpid() not in inside
    assert {int(value) for value in np.ravel(call(df, pid))} == {os.getpid()}


WINDOWS: dict[str, Callable[[pd.DataFrame, Any], Any]] = {
    "rolling": lambda df, f: df["x"].rolling(2, min_periods=1).apply(f),
    "rolling by name": lambda df, f: df[["x", "k"]].rolling(window=2, min_periods=0).apply(f, raw=True),
    "a column": lambda df, f: df[["x", "k"]].rolling(2, min_periods=0)["k"].apply(f),
    "an attribute": lambda df, f: df[["x", "k"]].rolling(2, min_periods=0).k.apply(f, True),
    "expanding": lambda df, f: df["k"].expanding().apply(f),
    "rolling of groups": lambda df, f: df.groupby("k")["x"].rolling(2, min_periods=0).apply(f),
    "rolling of groups, a column": lambda df, f: df.groupby("k").rolling(2, min_periods=0)["x"].apply(f),
    "expanding of groups": lambda df, f: df.groupby("k")[["x"]].expanding(0).apply(f),
}


@pytest.mark.parametrize("call", WINDOWS.values(), ids=WINDOWS)
def test_windows(call: Callable[..., Any], df: pd.DataFrame) -> None:
    expected = call(df, len)
    with pdparallel.accelerate(engine="process", n_workers=2):
        assert_same(call(df, len), expected)
        inside = np.ravel(call(df, pid))
    assert os.getpid() not in inside
    assert np.isin(np.ravel(call(df, pid)), [os.getpid(), np.nan]).any()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "text": str,
    "itself": lambda unit: unit,
    "type": lambda unit: type(unit).__name__,
    "a list": lambda unit: [1, 2],
    "an exception": lambda unit: 1 // 0,
    "None": lambda unit: None,
}


@pytest.mark.parametrize("func", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_answer_is_that_of_pandas(call: Callable[..., Any], func: Callable[..., Any], df: pd.DataFrame) -> None:
    def ours() -> Any:
        with pdparallel.accelerate(engine="process", n_workers=2, chunk_size=1):
            return call(df, func)

    assert_same_as_pandas(ours, lambda: call(df, func))


def test_filter(df: pd.DataFrame) -> None:
    expected = df.groupby("k").filter(lambda group: len(group) > 1)
    with pdparallel.accelerate(engine="process", n_workers=2):
        assert_same(df.groupby("k").filter(lambda group: len(group) > 1), expected)


OF_PANDAS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "names": lambda df: df[["x"]].apply("sum"),
    "lists": lambda df: df[["x"]].apply(["sum", "max"]),
    "a ufunc": lambda df: df[["x"]].apply(np.sqrt),
    "a dict": lambda df: df["x"].map({1.5: "a"}),
    "a Series": lambda df: df["t"].map(pd.Series({"a": 1})),
    "whole columns": lambda df: df["x"].apply(lambda s: s, by_row=False),
    "a wrong axis": lambda df: df.apply(len, axis=3),
    "a wrong kind": lambda df: df.apply(len, result_type="none"),
    "no function": lambda df: df.apply(3),
    "nothing at all": lambda df: df.apply(),
    "nothing to map": lambda df: df["x"].map(3, na_action="none"),
    "an unknown argument": lambda df: df["x"].map(str, na_action="none"),
    "groups by name": lambda df: df.groupby("k")["x"].agg("sum"),
    "named aggregations": lambda df: df.groupby("k").agg(largest=("x", "max"), least=("x", lambda x: x.min())),
    "several functions": lambda df: df.groupby("k")[["x"]].agg(["min", lambda x: x.max()]),
    "describe": lambda df: df.describe(),
}


@pytest.mark.parametrize("call", OF_PANDAS.values(), ids=OF_PANDAS)
def test_what_is_for_pandas_stays_there(call: Callable[[pd.DataFrame], Any], df: pd.DataFrame) -> None:
    def ours() -> Any:
        with pdparallel.accelerate(engine="process", n_workers=2):
            return call(df)

    assert_same_as_pandas(ours, lambda: call(df))


def test_an_error_takes_it_back(df: pd.DataFrame) -> None:
    before = _methods()
    with pytest.raises(ZeroDivisionError), pdparallel.accelerate():
        df.apply(lambda row: 1 // 0, axis=1)
    assert _methods() == before
    with pytest.raises(InvalidOptionError, match="n_workers=0"):
        pdparallel.accelerate(n_workers=0)
    with pytest.raises(InvalidOptionError, match="checkpoint"):
        pdparallel.accelerate(checkpoint="folder")
    assert _methods() == before


def test_without_a_block(df: pd.DataFrame) -> None:
    before = _methods()
    first, second = pdparallel.accelerate(engine="process", n_workers=2), pdparallel.accelerate()
    first.restore()
    first.restore()
    assert _methods() != before
    second.restore()
    assert _methods() == before
    pdparallel.accelerate()
    handle = pdparallel.accelerate(n_workers=2)
    assert repr(handle) == "<pdparallel.accelerate(n_workers=2), in force>"
    pdparallel.restore()
    pdparallel.restore()
    assert repr(handle) == "<pdparallel.accelerate(n_workers=2), ended>"
    assert _methods() == before


def test_blocks_inside_blocks(df: pd.DataFrame) -> None:
    with pdparallel.accelerate(engine="process", n_workers=2):
        with pdparallel.accelerate(engine="serial"):
            assert set(df["x"].map(pid)) == {os.getpid()}
        assert os.getpid() not in set(df["x"].map(pid))
    assert set(df["x"].map(pid)) == {os.getpid()}


def test_who_holds_a_method_afterwards_has_pandas_own(df: pd.DataFrame) -> None:
    with pdparallel.accelerate(engine="process", n_workers=2):
        method = df["x"].map
        kind = pd.DataFrame.apply
        assert kind.__name__ == "apply"
    assert set(method(pid)) == {os.getpid()}
    assert set(kind(df, pid)) == {os.getpid()}


def test_what_others_put_there_stays(df: pd.DataFrame) -> None:
    original = pd.DataFrame.apply

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        return "theirs"

    try:
        with pdparallel.accelerate():
            pd.DataFrame.apply = theirs  # type: ignore[method-assign, assignment]
        assert df.apply(len) == "theirs"
    finally:
        pd.DataFrame.apply = original  # type: ignore[method-assign]


def test_threads(df: pd.DataFrame) -> None:
    """Blocks that begin and end in several threads at once, each with its own options."""
    wrong: list[Any] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for _ in range(15):
            with pdparallel.accelerate(engine="serial" if number % 2 else "thread", n_workers=2):
                threads = df["x"].map(lambda _: threading.get_ident())
            if (set(threads) == {threading.get_ident()}) is not bool(number % 2):
                wrong.append(number)

    before = _methods()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert _methods() == before


def test_calls_inside_calls(df: pd.DataFrame) -> None:
    expected = df.apply(lambda row: row.map(str).str.len().sum(), axis=1)
    for options in ({}, {"engine": "process", "n_workers": 2}, {"engine": "thread", "n_workers": 2}):
        with pdparallel.accelerate(**options):
            assert_same(df.apply(lambda row: row.map(str).str.len().sum(), axis=1), expected)
            assert_same(df.par.apply_rows(lambda row: row.map(str).str.len().sum()), expected)


def test_a_subclass_with_an_apply_of_its_own(df: pd.DataFrame) -> None:
    class Louder(pd.DataFrame):
        @property
        def _constructor(self) -> Any:
            return Louder

        def apply(self, func: Any, *args: Any, **kwargs: Any) -> Any:
            return super().apply(func, *args, **kwargs)

    expected = Louder(df).apply(lambda row: row["k"], axis=1)
    with pdparallel.accelerate(engine="process", n_workers=2):
        assert_same(Louder(df).apply(lambda row: row["k"], axis=1), expected)
        assert_same(Louder(df).par.apply_rows(lambda row: row["k"]), expected)


def test_frames_pickle_meanwhile(df: pd.DataFrame) -> None:
    with pdparallel.accelerate():
        assert_same(pickle.loads(pickle.dumps(df)), df)


@pytest.mark.skipif(not PANDAS_2, reason="pandas 3 has no applymap")
def test_applymap(df: pd.DataFrame) -> None:
    expected = df.map(str)
    with pdparallel.accelerate(engine="process", n_workers=2):
        assert_same(df.applymap(str), expected)
