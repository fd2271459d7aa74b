"""Windows: what surrounds their calls: options, notes of failures, chunks that carry what they need, small calls."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
import pdparallel.api.rolling
import pdparallel.operations.rolling
from pdparallel import FailedCallsWarning, InvalidOptionError
from pdparallel.core.chunking import Chunk
from pdparallel.core.options import resolve
from pdparallel.data.windows import ColumnWindows, IrregularBounds, RegularBounds, WindowUnits, bounds_of
from pdparallel.execution import placement
from pdparallel.operations.rolling import Windowing, layout
from pdparallel.testing import assert_same
from pdparallel.testing._force import force
from pdparallel.transport.data import take


def numbers(n: int = 40) -> pd.Series:
    return pd.Series(np.arange(n, dtype=float), index=[f"r{at}" for at in range(n)], name="s")


class _Taker:
    """Takes units as they are."""

    def __init__(self) -> None:
        self.units: list[Any] = []

    def call_each(self, units: Any) -> None:
        self.units += [np.array(unit) for unit in units]

    one = block = in_block = None  # nobody asks


def taken(spans: WindowUnits) -> list[str]:
    sink = _Taker()
    spans.feed(sink)  # type: ignore[arg-type]
    return [repr(unit.tolist()) for unit in sink.units]


def spans_of(obj: Any, raw: bool = True, **given: Any) -> WindowUnits:
    found = layout(Windowing(obj, "rolling", given), raw)
    assert found is not None
    return found.spans


# Cuts


@pytest.mark.parametrize(
    "given", [{"window": 3}, {"window": 3, "step": 2}, {"window": 4, "min_periods": 0, "center": True}]
)
@pytest.mark.parametrize("raw", [True, False])
def test_cuts_together_are_the_whole(given, raw):
    df = pd.DataFrame({"a": [1.0, np.nan, 2.0, 3.0, 4.0, 5.0, 6.0], "b": range(7)})
    spans = spans_of(df, raw, **given)
    whole = taken(spans)
    assert len(whole) == len(spans)
    for start in range(len(spans)):
        for stop in range(start + 1, len(spans) + 1):
            cut = spans.cut(start, stop)
            assert taken(cut) == whole[start:stop]
            assert len(cut) == stop - start


def test_a_chunk_carries_what_its_windows_need():
    spans = spans_of(numbers(1_000), window=10)
    cut = spans.cut(500, 510)
    (column,) = cut.columns
    assert column.values.tolist() == list(range(500, 519))
    assert len(pickle.dumps(cut)) < 1_000 < len(pickle.dumps(spans))


def test_values_are_nobody_elses():
    s = numbers()
    spans_of(s, window=3).columns[0].values[:] = 0
    assert s.sum() > 0


@pytest.mark.parametrize("least", [None, 1, 2, 3])
@pytest.mark.parametrize("step", [None, 1, 2, 3, 5, 50])
@pytest.mark.parametrize("window", [1, 2, 3, 39, 40, 41])
def test_even_windows_are_said_by_numbers_as_by_arrays(window, step, least, monkeypatch):
    given = {"window": window, "step": step, "min_periods": None if least is None else min(least, window)}
    found = layout(Windowing(numbers(), "rolling", given), raw=True)
    monkeypatch.setattr(pdparallel.operations.rolling, "_even", lambda *args: None)
    by_arrays = layout(Windowing(numbers(), "rolling", given), raw=True)
    assert found is not None
    assert by_arrays is not None
    assert taken(found.spans) == taken(by_arrays.spans)
    returns = [float(at) for at in range(len(found.spans))]
    assert_same(found.filled(returns), by_arrays.filled(returns))
    assert [found.label(at) for at in range(len(returns))] == [by_arrays.label(at) for at in range(len(returns))]


def test_windows_at_one_distance_are_rows():
    even = spans_of(numbers(), window=3).columns[0]
    assert even.bounds == RegularBounds(0, 3, 1, 38)
    assert isinstance(even.windows(), np.ndarray)
    uneven = spans_of(numbers(), window=3, min_periods=1).columns[0]
    assert not isinstance(uneven.windows(), np.ndarray)
    assert spans_of(numbers(), window=3, center=True).columns[0].bounds == RegularBounds(0, 3, 1, 38)
    with_missing = numbers().where(numbers() != 5)
    assert isinstance(spans_of(with_missing, window=3).columns[0].bounds, IrregularBounds)


def test_bounds_that_are_not_even():
    for starts, stops in (([0], [2]), ([0, 1], [2, 2]), ([0, 0], [1, 1]), ([0, 1, 3], [1, 2, 4]), ([1, 0], [2, 1])):
        bounds = bounds_of(np.array(starts), np.array(stops))
        assert isinstance(bounds, IrregularBounds)
        assert [array.tolist() for array in bounds.arrays()] == [starts, stops]


def test_apart_in_memory():
    span = ColumnWindows(
        np.arange(6.0), IrregularBounds(np.array([0, 2]), np.array([3, 6])), pd.RangeIndex(6), apart=-1
    )
    assert [window.to_numpy().strides for window in span.windows()] == [(-8,), (-8,)]
    assert [window.tolist() for window in span.windows()] == [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0, 5.0]]


# Options

ENGINES = [{"engine": "serial"}, {"engine": "thread"}, {"engine": "process"}, {"engine": "auto", "chunk_size": 4}]


def fails_at_seven(window: Any) -> float:
    if window[-1] == 7:
        raise KeyError("seven")
    return float(window.sum())


@pytest.mark.parametrize("options", ENGINES, ids=str)
def test_engines(options):
    s = numbers()
    expected = s.rolling(3).apply(np.sum, raw=True)
    assert_same(s.par(n_workers=2, **options).rolling(3).apply(np.sum, raw=True), expected)
    grouped = numbers().to_frame("a").assign(k=[0, 1] * 20)
    expected = grouped.groupby("k").expanding().apply(len)
    windows = pdparallel.api.rolling.WindowPar(
        Windowing(grouped.groupby("k"), "expanding", {}), {"n_workers": 2, **options}
    )
    assert_same(windows.apply(len), expected)


@pytest.mark.parametrize("options", [*ENGINES, {}], ids=str)
def test_failures_name_the_window(options):
    with pytest.raises(KeyError, match="seven") as raised:
        numbers().par(n_workers=2, **options).rolling(3).apply(fails_at_seven, raw=True)
    assert raised.value.__notes__ == ["pdparallel: rolling.apply, in window 'r7' (position 5)"]


def test_failures_inside_pandas_name_the_window():
    s = numbers().set_axis(pd.date_range("2024", periods=40))
    with pytest.raises(KeyError, match="seven") as raised:
        s.par.rolling("3D").apply(fails_at_seven, raw=True)
    (note,) = raised.value.__notes__
    assert note.startswith("pdparallel: rolling.apply, in window Timestamp('2024-01-08 00:00:00'")
    assert note.endswith("(position 7)")


@pytest.mark.parametrize("options", ENGINES, ids=str)
def test_what_is_no_number_names_the_window(options):
    with pytest.raises(TypeError, match="must be real number, not str") as raised:
        numbers().par(n_workers=2, **options).rolling(3).apply(lambda w: "x" if w[-1] == 7 else 1.0, raw=True)
    assert raised.value.__notes__ == ["pdparallel: the function returned no number for window 'r7' (position 5)"]


@pytest.mark.parametrize("options", ENGINES, ids=str)
def test_coerced(options):
    s = numbers()
    with pytest.warns(FailedCallsWarning, match=r"1 of 38 calls .*\n.* in window 'r7' \(position 5\)"):
        result = s.par(n_workers=2, errors="coerce", **options).rolling(3).apply(fails_at_seven, raw=True)
    expected = s.rolling(3).sum()
    expected["r7"] = np.nan
    assert_same(result, expected)


def test_coerced_where_only_pandas_knows_the_windows():
    class Odd(pd.api.indexers.BaseIndexer):
        def get_window_bounds(self, num_values=0, min_periods=None, center=None, closed=None, step=None):
            stops = np.arange(1, num_values + 1, dtype=np.int32)
            return np.maximum(stops - 3, 0).astype(np.int32), stops

    indexer = Odd(window_size=3)
    with pytest.raises(ValueError, match="dtype"):
        numbers().rolling(indexer).apply(np.sum, raw=True)
    with pytest.raises(ValueError, match="dtype"):
        numbers().par(errors="coerce").rolling(indexer).apply(np.sum, raw=True)


def test_exceptions_have_no_room():
    with pytest.raises(InvalidOptionError, match="errors"):
        numbers().par(errors="return").rolling(3).apply(np.sum)


def test_progress():
    seen: list[tuple[int, int]] = []
    numbers().par(engine="serial", chunk_size=10, progress=lambda done, of: seen.append((done, of))).rolling(3).apply(
        len
    )
    assert seen[-1] == (38, 38)


def test_seed():
    def draw(window: Any) -> float:
        return float(np.random.random())

    one, two = (numbers().par(engine="serial", seed=5, chunk_size=n).rolling(2).apply(draw) for n in (3, 40))
    assert_same(one, two)
    assert one.dropna().nunique() == 39


def test_checkpoint(tmp_path):
    calls: list[int] = []

    def count(window: Any) -> float:
        calls.append(1)
        return float(len(window))

    par = numbers().par(engine="serial", checkpoint=str(tmp_path / "folder"), chunk_size=10)
    first = par.rolling(3).apply(count)
    n = len(calls)
    calls.clear()
    again = par.rolling(3).apply(count)
    assert_same(first, again)
    assert (n, len(calls)) == (38, 0)


def test_timeout():
    s = numbers(12)
    with pytest.raises(pdparallel.CallTimeoutError, match=r"Window 'r5' \(position 4\)"):
        s.par(engine="process", n_workers=1, timeout=0.5).rolling(2).apply(stops_at_five, raw=True)


def stops_at_five(window: Any) -> float:
    import threading

    if window[-1] == 5:
        threading.Event().wait()
    return 1.0


# Small calls


@pytest.mark.parametrize("time", [True, False])
def test_small_calls_need_no_runner(time, monkeypatch):
    def nobody(*args: Any) -> Any:
        raise AssertionError("a small call needs none")

    monkeypatch.setattr(pdparallel.api.rolling, "run", nobody)
    force(monkeypatch.setattr, look_seconds=60.0)
    s = numbers().set_axis(pd.date_range("2024", periods=40))
    window = "3D" if time else 3
    assert_same(s.par.rolling(window).apply(np.sum, raw=True), s.rolling(window).apply(np.sum, raw=True))


@pytest.mark.usefixtures("no_rest_is_worth_it")
@pytest.mark.parametrize("worth", [True, False])
@pytest.mark.parametrize("time", [True, False])
def test_each_window_is_called_once(time, worth, monkeypatch):
    """Also where the beginning is stopped, after the first call."""
    force(monkeypatch.setattr, look_seconds=-1.0, restart_pays=worth)
    seen: list[float] = []

    def see(window: np.ndarray) -> float:
        seen.append(window[-1])
        return float(window.sum())

    s = numbers().set_axis(pd.date_range("2024", periods=40))
    result = s.par(n_workers=2).rolling("3D" if time else 3, min_periods=1).apply(see, raw=True)
    assert_same(result, s.rolling(3, min_periods=1).sum())
    assert seen == s.tolist()


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818 - as users write them
    """One that refuses attributes, those of its traceback and notes too."""

    at: float


def test_what_a_small_call_raises_may_refuse_attributes():
    def fail(window: np.ndarray) -> float:
        raise Frozen(window[-1])

    with pytest.raises(Frozen) as caught:
        numbers().par.rolling(3).apply(fail, raw=True)
    assert caught.value.at == 2.0
    assert caught.traceback[-1].name == "fail"


def test_a_start_is_stopped_if_enough_is_left():
    # 0.9 seconds of work remain. Two workers save half of that.
    two, one = resolve({"n_workers": 2}), resolve({"n_workers": 1})
    assert placement.restart_pays(0.9, 0.0, two)
    assert not placement.restart_pays(0.9, 0.25, two)
    assert not placement.restart_pays(0.9, 0.0, one)


# The object


def test_all_else_is_pandas_own():
    df = numbers().to_frame("a").assign(b=1.0)
    windows = df.par.rolling(3)
    assert_same(windows.mean(), df.rolling(3).mean())
    assert_same(windows.a.apply(len), df.rolling(3).a.apply(len))
    assert_same(windows[["b"]].apply(len), df.rolling(3)[["b"]].apply(len))
    assert windows.min_periods is None
    assert "apply" in dir(windows)
    assert "mean" in dir(windows)
    assert repr(windows).startswith("<pdparallel windows: Rolling [window=3")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = windows.nothing_like_it
    with pytest.raises(KeyError):
        _ = windows["z"]


def test_columns_option():
    df = numbers().to_frame("a").assign(text="x")
    assert_same(df.par(columns=["a"]).rolling(2).apply(len), df[["a"]].rolling(2).apply(len))


def test_divisions_by_nothing_are_silent():
    """As pandas does around its own loop."""
    for options in ({}, {"engine": "thread"}, {"engine": "serial"}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = numbers(3).par(**options).rolling(1).apply(lambda w: 1 / w[0], raw=True)
        assert result.tolist() == [np.inf, 1.0, 0.5]


def test_a_chunk_is_cut_once():
    spans = spans_of(numbers(), window=3)
    assert take(spans, "unit", Chunk(0, len(spans))) is spans


@pytest.mark.usefixtures("no_rest_is_worth_it")
@pytest.mark.parametrize("options", [{}, {"chunk_size": 3}, {"engine": "process", "n_workers": 2, "chunk_size": 3}])
@pytest.mark.parametrize("raw", [False, True])
def test_pandas_warns_of_what_is_returned_as_often_as_by_itself(options: dict[str, Any], raw: bool) -> None:
    def one(window: Any) -> Any:
        return _Warns(window[-1:].sum())

    def warned(obj: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            obj.rolling(3, min_periods=1).apply(one, raw=raw)
        return [str(warning.message) for warning in noted]

    assert warned(numbers(8).par(**options)) == warned(numbers(8))


class _Warns:
    """A number that warns when it becomes a float, as a Series of one does in pandas 2."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __float__(self) -> float:
        warnings.warn("a float", UserWarning, stacklevel=2)
        return float(self._value)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 1}])
@pytest.mark.parametrize("how", ["rolling", "expanding"])
def test_pandas_warns_once_of_complex_numbers(options: dict[str, Any], how: str) -> None:
    s = pd.Series([], dtype=complex)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        getattr(s.par(**options), how)(2).apply(len)
    assert len(noted) == 1
