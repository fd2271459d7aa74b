"""df.par.map: its arguments, its messages, and that each option of a call works through it."""

from __future__ import annotations

import itertools
import os
import pickle
import random

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.data.values import CONCAT_MIN_COLUMNS, FrameValues, cells_of
from pdparallel.errors import FailedCallsWarning, InvalidOptionError
from pdparallel.testing import assert_same

WORKERS = {"engine": "process", "n_workers": 2, "chunk_size": 3}


def numbers() -> pd.DataFrame:
    return pd.DataFrame(np.arange(12).reshape(4, 3), index=list("wxyz"), columns=list("abc"))


def _not_five(value):
    if value == 5:
        raise LookupError("five")
    return value * 2


def _next(value, numbers, but=-1):
    number = next(numbers)
    if number == but:
        raise LookupError("zero")
    return number


class TestArguments:
    @pytest.mark.parametrize("func", ["sum", {1: 2}, None, pd.Series([1])])
    def test_what_cannot_be_called(self, func):
        with pytest.raises(InvalidOptionError, match="func="):
            numbers().par.map(func)

    def test_na_action(self):
        with pytest.raises(InvalidOptionError, match="na_action='drop'"):
            numbers().par.map(str, na_action="drop")

    def test_nothing_is_called_for_an_empty_frame(self):
        assert_same(numbers().iloc[:0].par(engine="process").map(_not_five), numbers().iloc[:0])


class TestMessages:
    @pytest.mark.parametrize("options", [{}, WORKERS], ids=["here", "in workers"])
    def test_row_and_column_are_named(self, options):
        with pytest.raises(LookupError) as caught:
            numbers().par(**options).map(_not_five)
        assert caught.value.__notes__[0] == "pdparallel: map, in value ('x', 'c') (position 9)"

    def test_of_several_failures_the_first_in_the_order_of_pandas(self):
        with pytest.raises(ValueError, match="10") as caught:
            numbers().par(**WORKERS).map(lambda value: int(f"{value}!") if value in (8, 10) else 0)
        assert "('z', 'b') (position 7)" in caught.value.__notes__[0]

    def test_missing_values_that_are_not_passed_are_not_counted(self):
        df = pd.DataFrame({"a": [np.nan, 1.0], "b": [np.nan, 5.0]}, index=[np.int64(7), np.int64(9)])
        with pytest.raises(LookupError) as caught:
            df.par.map(_not_five, na_action="ignore")
        assert caught.value.__notes__ == ["pdparallel: map, in value (9, 'b') (position 1)"]

    def test_of_a_categorical_column_the_category_is_named(self):
        df = pd.DataFrame({"a": [1, 2], "b": pd.Categorical([5, 3])})
        with pytest.raises(LookupError) as caught:
            df.par.map(_not_five)
        assert caught.value.__notes__ == ["pdparallel: map, in value (5, 'b') (position 3)"]

    def test_what_only_pandas_can_pass(self):
        array = pd.arrays.SparseArray([5, 0, 2], fill_value=0)
        array.fill_value = 5  # which the array holds as a value, too
        df = numbers().iloc[:3].assign(a=array)

        assert_same(df.par.map(_next, numbers=itertools.count()), df.map(_next, numbers=itertools.count()))
        with pytest.warns(FailedCallsWarning, match=r"map, in value 5 \(position 0\): LookupError: zero"):
            got = df.par(errors="coerce").map(_next, numbers=itertools.count(), but=0)
        assert_same(got[["b", "c"]], df.map(_next, numbers=itertools.count())[["b", "c"]])


class TestOptions:
    def test_errors_coerce(self):
        with pytest.warns(FailedCallsWarning, match=r"1 of 12 calls .*\n.* in value \('x', 'c'\)"):
            got = numbers().par(errors="coerce", **WORKERS).map(_not_five)
        want = numbers() * 2
        want["c"] = want["c"].where(want["c"] != 10)
        assert_same(got, want)

    def test_errors_return(self):
        got = numbers().par(errors="return", **WORKERS).map(_not_five)
        assert type(got.at["x", "c"]) is LookupError
        assert_same(got[["a", "b"]], numbers()[["a", "b"]] * 2)

    def test_seed(self):
        results = [
            numbers().par(seed=3, **options).map(lambda _: (random.random(), float(np.random.random())))
            for options in ({}, WORKERS, {**WORKERS, "chunk_size": 5})
        ]
        assert results[0].equals(results[1])
        assert results[0].equals(results[2])
        assert len(set(results[0].stack())) == 12

    def test_progress_counts_values(self):
        seen = []
        numbers().par(progress=lambda done, n: seen.append((done, n)), **WORKERS).map(str)
        assert seen[-1] == (12, 12)

    def test_many_columns_are_one_call(self):
        seen = []
        df = pd.DataFrame(np.arange(200).reshape(2, 100))
        df.par(progress=lambda done, n: seen.append((done, n)), **{**WORKERS, "chunk_size": 150}).map(str)
        assert seen[-1] == (200, 200)
        assert {n for _, n in seen} == {200}

    def test_checkpoint(self, tmp_path):
        folder, log = tmp_path / "folder", tmp_path / "log"

        def func(value):
            with log.open("a") as file:
                file.write("x")
            if value == 11 and log.stat().st_size == 12:
                raise LookupError("at first")
            return value

        df = numbers().assign(b=list("pqrs"))
        options = {"checkpoint": folder, "engine": "serial", "chunk_size": 4}
        with pytest.raises(LookupError):
            df.par(**options).map(func)
        assert_same(df.par(**options).map(func), df)
        assert log.stat().st_size == 13  # what failed, again

    def test_another_frame_is_another_call(self, tmp_path):
        numbers().par(checkpoint=tmp_path).map(str)
        with pytest.raises(pdparallel.CheckpointError, match="data"):
            (numbers() + 1).par(checkpoint=tmp_path).map(str)

    def test_columns(self):
        got = numbers().par(columns=["c", "a"], **WORKERS).map(lambda value: (value, os.getpid()))
        assert list(got.columns) == ["c", "a"]
        assert os.getpid() not in {pid for _, pid in got.stack()}
        assert_same(got.map(lambda pair: pair[0]), numbers()[["c", "a"]])


def _cells(df: pd.DataFrame, na_action: str | None) -> FrameValues:
    cells = cells_of(df, list(df.dtypes), na_action)
    assert cells is not None
    return cells


class TestCells:
    def frame(self, width: int) -> pd.DataFrame:
        kinds = [[1, 2], [0.5, np.nan], ["x", None], pd.to_datetime(["2024-01-01", None]), [True, False]]
        return pd.DataFrame({at: kinds[at % len(kinds)] for at in range(width)})

    @pytest.mark.parametrize("width", [5, CONCAT_MIN_COLUMNS, 3 * CONCAT_MIN_COLUMNS])
    def test_they_travel(self, width):
        cells = _cells(self.frame(width), None)
        back = pickle.loads(pickle.dumps(cells, protocol=5))
        assert list(map(repr, units(back))) == list(map(repr, units(cells)))

    def test_numbers_of_many_columns_travel_in_few_buffers(self):
        buffers = []
        pickle.dumps(_cells(self.frame(200)[range(0, 200, 5)], None), protocol=5, buffer_callback=buffers.append)
        few = len(buffers)
        pickle.dumps(_cells(pd.DataFrame(np.zeros((2, 500))), None), protocol=5, buffer_callback=(joined := []).append)
        assert (few, len(joined)) == (40, 1)

    @pytest.mark.parametrize("action", [None, "ignore"])
    def test_each_cut_has_its_values(self, action):
        cells = _cells(self.frame(7), action)
        whole = list(map(repr, units(cells)))
        assert len(cells) == len(whole)
        for start in range(len(whole) + 1):
            for stop in range(start, len(whole) + 1):
                part = cells.cut(start, stop)
                assert len(part) == stop - start
                assert list(map(repr, units(part))) == whole[start:stop]

    def test_places(self):
        cells = FrameValues([np.arange(2), np.arange(0), np.arange(3)])
        assert [cells.place(position) for position in range(5)] == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
        assert cells.place(5) == (3, 0)

    def test_objects_go_by_chunk_and_numbers_once(self):
        assert not _cells(pd.DataFrame({"a": [1], "b": [0.5]}), None).by_chunk
        assert _cells(pd.DataFrame({"a": [1], "b": pd.Series([[1]])}), None).by_chunk
        assert _cells(pd.DataFrame({"a": [1], "b": pd.Categorical(["x"])}), None).by_chunk


def units(cells: FrameValues) -> list:
    class UnitSink:
        def call_each(self, values):
            self.taken = list(values)

    sink = UnitSink()
    cells.feed(sink)
    return sink.taken


def _fills_then_raises(value: float) -> float:
    if value == 3:
        raise LookupError("three")
    return 7 if value < 2 else value


@pytest.mark.parametrize("verb", ["map", "apply"])
@pytest.mark.parametrize("options", [{}, {"chunk_size": 1}, {"engine": "thread", "n_workers": 2}, WORKERS])
@pytest.mark.parametrize("values", [[0, 1, 2, 3], [0, 3, 1, 2], [2, 3, 1, 0]], ids=str)
def test_what_pandas_refuses_before_a_failure_is_refused(verb: str, options: dict[str, object], values: list[int]):
    # pandas refuses a sparse value that becomes the fill value, at once.
    s = pd.Series(pd.arrays.SparseArray(values, fill_value=0))
    with pytest.raises((LookupError, ValueError)) as expected:
        getattr(s, verb)(_fills_then_raises)
    with pytest.raises(expected.type, match=str(expected.value)):
        getattr(s.par(**options), verb)(_fills_then_raises)
