"""Calls that start in this process: one that ends, stops or fails there is as if the runner had made it."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel.execution.inline
import pdparallel.execution.placement
from pdparallel.core.call import Call, Work
from pdparallel.core.options import resolve
from pdparallel.execution.pandas_driver import run_in_pandas
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing._force import force

SERIES = {
    "floats": pd.Series([1.5, np.nan, 2.5, -0.0], index=list("pqrs"), name="x"),
    "float32": pd.Series([1.5, np.nan, 2.5], dtype="float32"),
    "ints": pd.Series([1, 2, 3], dtype="int8"),
    "bools": pd.Series([True, False, True]),
    "complex": pd.Series([1 + 2j, 3j]),
    "objects": pd.Series([1, "a", None, (2,)], dtype=object),
    "texts": pd.Series(["a", None, "b"], dtype=pd.Series(["a"]).dtype),
    "texts with pd.NA": pd.Series(["a", None, "b"], dtype="string"),
    "times": pd.Series(pd.to_datetime(["2024-01-01", None, "2024-03-01"])),
    "times of a zone": pd.Series(pd.to_datetime(["2024-01-01", None])).dt.tz_localize("Europe/Rome"),
    "spans": pd.Series(pd.to_timedelta([1, None, 3], unit="h")),
    "nothing but what is missing": pd.Series([np.nan, np.nan]),
}
for _s in SERIES.values():
    _s.attrs["note"] = [1]


@pytest.fixture(params=["it ends", "it is stopped"])
def _ends(request, monkeypatch, no_rest_is_worth_it):
    if request.param == "it is stopped":
        force(monkeypatch.setattr, look_seconds=-1.0)


@pytest.mark.usefixtures("_ends")
class TestBeginning:
    @pytest.mark.parametrize("s", SERIES.values(), ids=SERIES.keys())
    @pytest.mark.parametrize("func", [lambda value: value, lambda value: (type(value), value), repr])
    def test_map_and_apply(self, s, func):
        for na_action in (None, "ignore"):
            assert_same_as_pandas(lambda: s.par.map(func, na_action), lambda: s.map(func, na_action))
        assert_same_as_pandas(lambda: s.par.apply(func), lambda: s.apply(func))

    def test_each_value_is_called_once(self):
        seen: list[int] = []
        assert pd.Series(range(50)).par.map(lambda value: seen.append(value) or value).tolist() == list(range(50))
        assert seen == list(range(50))

    @pytest.mark.parametrize("at", [0, 3])
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_what_the_function_raises(self, at, error):
        seen: list[int] = []

        def fail(value: int) -> int:
            seen.append(value)
            if value == at:
                raise error("no")
            return value

        with pytest.raises(error, match="no") as caught:
            pd.Series(range(5), index=list("abcde")).par.map(fail)
        assert seen == list(range(at + 1))
        assert caught.traceback[-1].name == "fail"
        assert f"pdparallel: map, in value {'abcde'[at]!r} (position {at})" in caught.value.__notes__


FRAMES = {
    "numbers": pd.DataFrame({"a": [1, 2, 3], "b": [0.5, np.nan, 2.5]}, index=list("pqr")),
    "one dtype": pd.DataFrame(np.arange(6).reshape(3, 2), columns=["a", "a"]),
    "mixed": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(["2024-01-01", None])}),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", None, "y"]), "b": [1, 2, 3]}),
    "nullable": pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None], dtype="boolean")}),
}
for _df in FRAMES.values():
    _df.attrs["note"] = [1]

FUNCTIONS = {
    "sizes": len,
    "the first value": lambda unit: unit.iloc[0],
    "the unit itself": lambda unit: unit,
    "some of the unit": lambda unit: unit.iloc[:1],
    "another Series": lambda unit: pd.Series({"p": unit.iloc[0], "q": len(unit)}),
    "lists": list,
    "None at times": lambda unit: None if unit.name in ("a", "p", 0) else str(unit.name),
    "names": lambda unit: unit.name,
}


@pytest.mark.usefixtures("_ends")
class TestBeginningOfFrames:
    @pytest.mark.parametrize("result_type", [None, "expand", "reduce"])
    @pytest.mark.parametrize("func", FUNCTIONS.values(), ids=FUNCTIONS.keys())
    @pytest.mark.parametrize("df", FRAMES.values(), ids=FRAMES.keys())
    def test_rows_and_columns(self, df, func, result_type):
        for axis in (0, 1):
            assert_same_as_pandas(
                lambda axis=axis: df.par.apply(func, axis=axis, result_type=result_type),
                lambda axis=axis: df.apply(func, axis=axis, result_type=result_type),
            )

    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("df", [FRAMES["numbers"], FRAMES["one dtype"]])
    def test_arrays(self, df, axis):
        for func in (lambda unit: unit.sum(), lambda unit: unit[:1], lambda unit: unit * 2):
            assert_same_as_pandas(
                lambda func=func: df.par.apply(func, axis=axis, raw=True),
                lambda func=func: df.apply(func, axis, raw=True),
            )

    @pytest.mark.parametrize("na_action", [None, "ignore"])
    @pytest.mark.parametrize("func", [str, lambda value: value, lambda value: None, lambda value: [value]])
    @pytest.mark.parametrize("df", FRAMES.values(), ids=FRAMES.keys())
    def test_values(self, df, func, na_action):
        assert_same_as_pandas(lambda: df.par.map(func, na_action), lambda: df.map(func, na_action))

    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("error", [ValueError, StopIteration, KeyboardInterrupt])
    def test_what_the_function_raises(self, axis, error):
        df, seen = pd.DataFrame(np.ones((3, 3)), index=list("xyz"), columns=list("abc")), []

        def fail(unit: pd.Series) -> int:
            seen.append(unit.name)
            if unit.name in ("c", "z"):
                raise error("no")
            return 1

        with pytest.raises(error, match="no") as caught:
            df.par.apply(fail, axis=axis)
        assert seen == [list("abc"), list("xyz")][axis]
        assert caught.traceback[-1].name == "fail"
        unit, label = [("column", "c"), ("row", "z")][axis]
        assert f"pdparallel: apply, in {unit} {label!r} (position 2)" in caught.value.__notes__

    def test_each_unit_is_called_once(self):
        df, seen = pd.DataFrame(np.ones((20, 20))), []
        for axis in (0, 1):
            df.par.apply(lambda unit: seen.append(unit.name), axis=axis)
            df.par.apply(lambda unit: seen.append(len(seen)) or 1.0, axis=axis, raw=True)
        assert seen == [*range(40), *range(20), *range(60, 80)]


@pytest.mark.parametrize("moment", [1, 2])  # after the first value, and after the last one
def test_an_interrupt_between_two_values_is_not_lost(moment, monkeypatch):
    looks = itertools.count()

    def clock() -> float:
        if next(looks) == moment:
            raise KeyboardInterrupt
        return 0.0

    s, df = pd.Series(range(5)), pd.DataFrame({"a": range(5)})
    for call in (s.par.map, df.par.map):
        looks = itertools.count()
        with monkeypatch.context() as patch:
            patch.setattr(pdparallel.execution.inline.time, "perf_counter", clock)
            with pytest.raises(KeyboardInterrupt):
                call(lambda value: value + 1)


def test_a_stop_iteration_is_the_functions_own():
    def fail(value: int) -> int:
        if value == 3:
            raise StopIteration("no")
        return value

    with pytest.raises(StopIteration, match="no") as caught:
        pd.Series(range(5)).par.map(fail)
    assert caught.traceback[-1].name == "fail"


def test_a_call_that_pandas_makes_keeps_no_units() -> None:
    """A million windows have room one after the other, not side by side."""
    work = Work(lambda unit: 1.0, (), {}, "unit")
    call = Call("rolling.apply", work, [], 0, "window", label=lambda position: position)
    units: list[weakref.ref[np.ndarray]] = []
    alive = 0

    def ask(func: Callable[[Any], Any]) -> list[Any]:
        nonlocal alive
        returns = []
        for _ in range(3):
            unit = np.zeros(4)
            units.append(weakref.ref(unit))
            returns.append(func(unit))
        alive = sum(one() is not None for one in units)
        return returns

    assert run_in_pandas(call, ask, resolve({}), lambda good, at, value: value, np.nan) == [1.0] * 3
    assert alive == 1  # the last one, which ``ask`` holds
