"""The hook: df.apply(..., engine=pdparallel) and s.map(..., engine=pdparallel) give what pandas gives without."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.compat import PANDAS_2
from pdparallel.testing import assert_same, assert_same_as_pandas

pytestmark = pytest.mark.skipif(PANDAS_2, reason="pandas 2 has no such hook")

FRAMES: dict[str, pd.DataFrame] = {
    "numbers": pd.DataFrame({"a": [1.5, 2.0, np.nan], "b": [4.0, 5.0, 6.0]}, index=["x", "y", "z"]),
    "mixed": pd.DataFrame({"a": [1, 2, 3], "b": ["p", "q", "r"], "c": pd.to_datetime(["2020-01-01"] * 3)}),
    "labels that repeat": pd.DataFrame([[1, 2], [3, 4], [5, 6]], columns=["a", "a"], index=[7, 7, 7]),
    "no rows": pd.DataFrame({"a": pd.Series(dtype=float), "b": pd.Series(dtype=float)}),
    "no columns": pd.DataFrame(index=["x", "y"]),
    "several levels": pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "a number": len,
    "the unit": lambda unit: unit,
    "a list": lambda unit: [1, 2],
    "a Series": lambda unit: pd.Series({"p": 1, "q": "two"}),
    "int or None": lambda unit: None if unit.iloc[0] == 1 else 1,
    "its name": lambda unit: unit.name,
}
ENGINES = [pdparallel, pdparallel.engine(engine="process", n_workers=2, chunk_size=1)]


@pytest.mark.parametrize("axis", [0, 1, "index", "columns"])
@pytest.mark.parametrize("func", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("df", FRAMES.values(), ids=FRAMES)
def test_apply(df: pd.DataFrame, func: Callable[..., Any], axis: Any) -> None:
    if 0 in df.shape and axis in ("index", "columns"):
        pytest.skip("pandas 3.1 compares the name of the axis with a number before it asks an engine")
    if 0 in df.shape:
        # pandas does these itself, before it asks an engine; in a few ways otherwise than without one.
        assert_same(df.apply(func, axis=axis, engine=pdparallel), df.apply(func, axis=axis, engine=_Never()))
        return
    for engine in ENGINES:
        assert_same_as_pandas(
            lambda engine=engine: df.apply(func, axis=axis, engine=engine), lambda: df.apply(func, axis=axis)
        )


class _Never:
    """An engine that is not asked."""

    __pandas_udf__ = None


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "func", [np.sum, lambda values: values * 2, lambda values: values[:1]], ids=["one", "as many", "fewer"]
)
def test_raw(func: Callable[..., Any], axis: Any) -> None:
    df = FRAMES["numbers"]
    for engine in ENGINES:
        assert_same_as_pandas(
            lambda engine=engine: df.apply(func, axis=axis, raw=True, engine=engine),
            lambda: df.apply(func, axis=axis, raw=True),
        )


def test_arguments_and_attrs() -> None:
    df = FRAMES["numbers"].copy()
    df.attrs = {"source": "here"}

    def func(row: pd.Series, plus: float, *, times: float) -> float:
        return row["b"] * times + plus

    for engine in ENGINES:
        got = df.apply(func, axis=1, args=(1,), times=2, engine=engine)
        assert_same(got, df.apply(func, axis=1, args=(1,), times=2))
        assert got.attrs == {"source": "here"}


@pytest.mark.parametrize("na_action", [None, "ignore"])
@pytest.mark.parametrize(
    "s",
    [
        pd.Series([1.0, np.nan, 3.0], name="n", index=list("xyz")),
        pd.Series(["a", None, "c"]),
        pd.Series(["a", "b", "a", None], dtype="category"),
        pd.Series(pd.to_datetime(["2020-01-01", None])),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([], dtype=float),
    ],
    ids=lambda s: str(s.dtype),
)
def test_map(s: pd.Series, na_action: Any) -> None:
    for engine in ENGINES:
        for func in (str, lambda value: value, lambda value: (value, 1)):
            assert_same_as_pandas(
                lambda engine=engine, func=func: s.map(func, na_action=na_action, engine=engine),
                lambda func=func: s.map(func, na_action=na_action),
            )
        assert_same(s.map(lambda value, k: str(value) + k, k="!", engine=engine), s.map(lambda value: str(value) + "!"))


def test_options_come_with_the_engine() -> None:
    df = FRAMES["numbers"]
    pids = df.apply(lambda row: os.getpid(), axis=1, engine=pdparallel.engine(engine="process", n_workers=2))
    assert os.getpid() not in set(pids)
    with pytest.warns(pdparallel.FailedCallsWarning):
        got = df.apply(lambda row: 1 // int(row["b"] != 5), axis=1, engine=pdparallel.engine(errors="coerce"))
    assert got.isna().tolist() == [False, True, False]
    with pytest.raises(InvalidOptionError, match="n_workers=0"):
        pdparallel.engine(n_workers=0)
    assert repr(pdparallel.engine(n_workers=3, engine="thread")) == "pdparallel.engine(n_workers=3, engine='thread')"


def test_an_error_names_the_row() -> None:
    with pytest.raises(KeyError) as caught:
        FRAMES["numbers"].apply(lambda row: row["none"], axis=1, engine=pdparallel)
    assert caught.value.__notes__ == ["pdparallel: apply, in row 'x' (position 0)"]


def test_what_pandas_refuses_with_an_engine() -> None:
    with pytest.raises(NotImplementedError, match="result_type"):
        FRAMES["numbers"].apply(len, axis=1, result_type="expand", engine=pdparallel)
    with pytest.raises(ValueError, match="engine"):
        FRAMES["numbers"]["a"].map({1.5: 2}, engine=pdparallel)
