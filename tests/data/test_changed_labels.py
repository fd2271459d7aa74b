"""Functions that change the labels of their group in place: grow it, sort it, number it anew.

``transform`` looks at the labels of the group when the function has returned, so that these count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.testing import assert_same
from pdparallel.testing._force import force

N = 30


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    labels = [f"r{at}" for at in range(N)]
    return pd.DataFrame({"k": rng.integers(0, 9, N), "x": rng.random(N), "y": rng.random(N)}, labels)


def _grows(unit: Any) -> None:
    unit.loc["extra"] = 0


def _shrinks(unit: Any) -> None:
    unit.drop(unit.index[:1], inplace=True)


def _sorts(unit: Any) -> None:
    unit.sort_values(ascending=False, inplace=True, **({"by": "x"} if unit.ndim == 2 else {}))


def _numbers(unit: Any) -> None:
    unit.reset_index(drop=True, inplace=True)


def _labels(unit: Any) -> None:
    unit.index = [f"new {at}" for at in range(len(unit))]


def _adds_a_column(unit: Any) -> None:
    if unit.ndim == 2:
        unit["new"] = 1


def _drops_a_column(unit: Any) -> None:
    if unit.ndim == 2:
        unit.drop(columns="x", inplace=True)


CHANGES = [_grows, _shrinks, _sorts, _numbers, _labels, _adds_a_column, _drops_a_column]

#: What is returned, before or after the unit is changed.
RETURNS: dict[str, Callable[[Any, Callable[[Any], None]], Any]] = {
    "the unit": lambda unit, change: (change(unit), unit)[1],
    "another": lambda unit, change: (unit * 2, change(unit))[0],
    "a number": lambda unit, change: (1.0, change(unit))[0],
    "a row": lambda unit, change: (unit.iloc[0], change(unit))[0],
}

OPTIONS: list[dict[str, Any]] = [
    {},
    {"engine": "serial"},
    {"engine": "process", "n_workers": 2, "chunk_size": 2},
]


def _came(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return error


@pytest.mark.part(2)
@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__.strip("_"))
@pytest.mark.parametrize("method", ["transform", "apply", "agg"])
@pytest.mark.parametrize("of", ["column", "frame", "frame, in one way of two"])
def test_labels_that_change(of: str, method: str, change: Callable[[Any], None]) -> None:
    for name, returns in RETURNS.items():

        def func(unit: Any, returns: Any = returns) -> Any:
            if of == "frame, in one way of two" and unit.ndim == 1:
                return unit
            return returns(unit, change)

        def call(obj: Any, func: Any = func) -> Any:
            grouped = obj.groupby("k")
            return getattr(grouped["x"] if of == "column" else grouped[["x", "y"]], method)(func)

        expected = _came(lambda: call(_frame()))
        for options in OPTIONS:
            came = _came(lambda: call(_frame().par(**options)))
            if isinstance(expected, Exception):
                assert (type(came), str(came)) == (type(expected), str(expected)), (name, options)
            else:
                assert not isinstance(came, Exception), (name, options, came)
                assert_same(came, expected)


def test_a_long_call_whose_groups_change_stays_with_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch.setattr, warm_worth_seconds=0.0)
    force(monkeypatch.setattr, cold_worth_seconds=0.0)
    force(monkeypatch.setattr, look_seconds=0.0)
    for change in (_grows, _sorts, _labels):
        func = lambda unit, change=change: RETURNS["another"](unit, change)
        expected = _came(lambda: _frame().groupby("k")["x"].transform(func))
        came = _came(lambda: _frame().par(n_workers=2).groupby("k")["x"].transform(func))
        if isinstance(expected, Exception):
            assert (type(came), str(came)) == (type(expected), str(expected))
        else:
            assert_same(came, expected)
