"""Rows go to workers with the columns that the function reads; their values have the types of whole rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.core.call import Call, work_of
from pdparallel.core.options import Options
from pdparallel.testing import assert_same
from pdparallel.transport import narrow

N = 300
INTEGERS = np.arange(N) % 7
KINDS: dict[str, Any] = {
    "f8": INTEGERS / 3, "i8": INTEGERS, "i4": INTEGERS.astype("int32"), "f4": INTEGERS.astype("float32"),
    "?": INTEGERS > 3, "text": ["x"] * N, "object": [None, 1, "x"] * (N // 3),
    "time": pd.date_range("2024", periods=N), "zone": pd.date_range("2024", periods=N, tz="UTC"),
    "category": pd.Categorical(INTEGERS), "Int64": pd.array(INTEGERS, "Int64"),
    "missing": pd.array([1, None, 3] * (N // 3), "Int64"), "Float64": pd.array(INTEGERS / 2, "Float64"),
    "complex": INTEGERS * 1j, "delta": pd.to_timedelta(INTEGERS, unit="s"), "u8": INTEGERS.astype("uint64"),
}  # fmt: skip
LABEL = "a"


def types(row: Any) -> Any:
    return type(row["a"]).__name__, repr(row["a"]), type(row.b).__name__, repr(row.b), repr(row.name)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "MIN_UNREAD", 1)


def call_of(df: pd.DataFrame, func: Any, unit_format: Any = "row") -> Call:
    work = work_of(func, (), {}, unit_format, Options())
    return Call("apply_rows", work, df, len(df), "row", df.index.__getitem__)


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("read", KINDS)
def test_the_types_are_those_of_whole_rows(read: str, other: str) -> None:
    df = pd.DataFrame({"z": KINDS[other], "a": KINDS[read], "y": KINDS[other], "b": INTEGERS})
    call = call_of(df, types)
    sent = narrow.narrowed(call).data
    assert isinstance(sent, pd.DataFrame)
    assert_same(sent.apply(types, axis=1), df.apply(types, axis=1))


@pytest.mark.parametrize("engine", ["process", "pathos", "auto"])
def test_calls(engine: Any) -> None:
    df = pd.DataFrame({**{f"c{at}": INTEGERS / 2 for at in range(20)}, "a": INTEGERS, "b": INTEGERS, "s": "text"})
    assert_same(df.par(engine=engine, n_workers=2).apply_rows(types), df.apply(types, axis=1))


def with_condition(row: Any) -> Any:
    if row["a"] > 3:
        return row.b
    return row["a"]


READS: dict[str, tuple[Any, set[str]]] = {
    "item": (lambda row: row["a"] + 1, {"a"}),
    "attribute": (lambda row: row.a + row["b"], {"a", "b"}),
    "branch": (with_condition, {"a", "b"}),
    "name": (lambda row: (row.name, row["a"]), {"a"}),
    "partial": (functools.partial(lambda factor, row: row["a"] * factor, 2), {"a"}),
}


@pytest.mark.parametrize("name", READS)
def test_columns_that_travel(name: str) -> None:
    func, read = READS[name]
    df = pd.DataFrame(dict.fromkeys("abcdef", INTEGERS))
    sent = narrow.narrowed(call_of(df, func)).data
    assert isinstance(sent, pd.DataFrame)
    assert set(sent.columns) == read


def passes_on(row: Any) -> Any:
    return with_condition(row)


def in_a_variable(row: Any) -> Any:
    other = row
    return other["c"]


def in_an_inner_function(row: Any) -> Any:
    return (lambda: row["c"])()


def writes(row: Any) -> Any:
    row["a"] = 1
    return row["a"]


ALL: dict[str, Callable[[Any], Any]] = {
    "sum": lambda row: row["a"] + row.sum(),
    "part": lambda row: row[["a", "b"]].sum(),
    "passed on": passes_on,
    "another variable": in_a_variable,
    "inner function": in_an_inner_function,
    "loop": lambda row: sum(value for value in row),
    "a global": lambda row: row[LABEL],
    "get": lambda row: row.get("a"),
    "slice": lambda row: row["a":"b"].sum(),
    "contains": lambda row: "c" in row,
    "index": lambda row: len(row.index) + row["a"],
    "writes": writes,
    "locals": lambda row: len(locals()["row"]),
    "returned": lambda row: row,
}


@pytest.mark.parametrize("name", ALL)
def test_functions_that_may_need_all(name: str) -> None:
    df = pd.DataFrame(dict.fromkeys("abcdef", INTEGERS))
    call = call_of(df, ALL[name])
    assert narrow.narrowed(call) is call


def test_frames_that_go_as_they_are() -> None:
    func = READS["item"][0]
    df = pd.DataFrame(dict.fromkeys("abcdef", INTEGERS))
    for frame in (
        df.set_axis(["a", "a", "b", "c", "d", "e"], axis=1),
        df.set_axis(pd.MultiIndex.from_product([["a"], range(6)]), axis=1),
        df[["a"]],
    ):
        call = call_of(frame, func)
        assert narrow.narrowed(call) is call
    call = call_of(df, func, "row-tuple")
    assert narrow.narrowed(call) is call


def test_few_values_go_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    call = call_of(pd.DataFrame(dict.fromkeys("abcdef", INTEGERS)), READS["item"][0])
    assert narrow.narrowed(call) is call


def test_explain_counts_what_travels() -> None:
    df = pd.DataFrame({f"c{at}": np.zeros(20_000) for at in range(40)})
    found = df.par(engine="process").explain(lambda row: row["c1"] + row["c2"])
    assert found.bytes_unit < 40
    assert not any("columns=" in one for one in found.advice)
    found = df.par(engine="process").explain(lambda row: row.sum())
    assert found.bytes_unit > 300


def test_errors_are_the_same() -> None:
    df = pd.DataFrame({**dict.fromkeys("abcdef", INTEGERS), "s": "x"})
    with pytest.raises(ZeroDivisionError) as caught:
        df.par(engine="process", n_workers=2).apply_rows(lambda row: 1 / row["a"])
    assert "in row 0 (position 0)" in caught.value.__notes__[0]
    with pytest.raises(KeyError, match="missing"):
        df.par(engine="process", n_workers=2).apply_rows(lambda row: row["missing"])
    assert pdparallel.get_options()["engine"] == "auto"
