"""Warnings of pandas itself, in calls made through us: as many as in pandas, and at the line of the user."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.compat import PANDAS_2

N = 30
DF = pd.DataFrame({"k": list("babca") * (N // 5), "a": range(N), "b": 0.5, "t": pd.date_range("2020", periods=N)})
TIMES = DF.set_index("t")
ENGINES: list[dict[str, Any]] = [
    {},
    {"engine": "serial"},
    {"engine": "thread", "n_workers": 2},
    {"engine": "process", "n_workers": 2},
    {"engine": "pathos", "n_workers": 2},
]


#: Of which pandas warns.
RULE: dict[str, Any] = {"rule": "M"} if PANDAS_2 else {"rule": "W", "origin": "start"}


def total(values: Any) -> Any:
    return values.sum()


def of_a(group: Any) -> Any:
    return group["a"].sum()


def row(row: Any) -> Any:
    return row["a"]


#: What is called, upon a frame or its ``par``: nothing in there knows which.
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "rows": lambda df, times: df.apply(row, axis=1),
    "a name": lambda df, times: df[["a"]].apply("sum") if isinstance(df, pd.DataFrame) else None,
    "groupby.apply": lambda df, times: df.groupby("k").apply(of_a),
    "groupby.apply of frames": lambda df, times: df.groupby("k").apply(lambda group: group.head(1)),
    "groupby.apply of columns": lambda df, times: df.groupby("k")[["a", "b"]].apply(of_a),
    "groupby.apply, no index": lambda df, times: df.groupby("k", as_index=False).apply(of_a),
    "groupby.apply by values": lambda df, times: df.groupby(DF["a"] > 2).apply(of_a),
    "groupby.agg": lambda df, times: df.groupby("k")["a"].agg(total),
    "groupby.agg of frame": lambda df, times: df.groupby("k")[["a", "b"]].agg(total),
    "groupby.agg by values, no index": lambda df, times: df.groupby(DF["a"] > 2, as_index=False)["b"].agg(total),
    "groupby.agg of sum": lambda df, times: df.groupby("k")["a"].agg(sum),
    "groupby.agg of np.sum": lambda df, times: df.groupby("k")["a"].agg(np.sum),
    "groupby.transform": lambda df, times: df.groupby("k")["b"].transform(total),
    "groupby.transform of frame": lambda df, times: df.groupby("k")[["a", "b"]].transform(lambda x: x - x.mean()),
    "groupby.transform, no index": lambda df, times: df.groupby(DF["a"] > 2, as_index=False)["b"].transform(total),
    "groupby.filter": lambda df, times: df.groupby("k").filter(lambda group: len(group) > 6),
    "groupby of categories": lambda df, times: df.groupby(DF["k"].astype("category"))["a"].agg(total),
    "groupby of times": lambda df, times: df.groupby(pd.Grouper(key="t", freq="W"))["a"].agg(total),
    "resample": lambda df, times: times.resample("W")["a"].apply(total),
    "resample M": lambda df, times: times.resample("M" if PANDAS_2 else "ME")["a"].apply(total),
    "resample H": lambda df, times: times.resample("72H" if PANDAS_2 else "72h")["a"].apply(total),
    "resample of frame": lambda df, times: times.resample("M" if PANDAS_2 else "ME")[["a", "b"]].apply(total),
    "resample W origin": lambda df, times: times.resample("W", origin="start")["a"].apply(total),
    "resample W offset": lambda df, times: times.resample("W", offset="2h")["a"].transform(total),
    "resample W origin twice": lambda df, times: [(r := times.resample("W", origin="end")["a"]).agg(total), r.sum()],
    "resample origin": lambda df, times: times.resample("36h", origin="start", offset="2h")["a"].apply(total),
    "rolling": lambda df, times: times[["a"]].rolling(3).apply(total) if isinstance(times, pd.DataFrame) else None,
    "rolling of time": lambda df, times: times.rolling("3D")[["a"]].apply(total),
    "rolling axis": lambda df, times: times.rolling(3, axis=0)["a"].apply(total) if PANDAS_2 else None,
}  # fmt: skip


def seen(call: Callable[[], Any]) -> list[tuple[str, str, bool]]:
    """The warnings: what of, and whether at a line of this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (TypeError, AttributeError) as error:
            return [("refused", str(error), True)]
    return [(w.category.__name__, str(w.message), w.filename == __file__) for w in caught]


class Par:
    """A frame by whose ``par`` all is called."""

    def __init__(self, df: pd.DataFrame, options: dict[str, Any]) -> None:
        self._df, self._options = df, options

    def apply(self, func: Any, axis: int) -> Any:
        return self._df.par(**self._options).apply(func, axis=axis)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._df.par(**self._options), name)

    def __getitem__(self, key: Any) -> Any:
        return Par(self._df[key], self._options)


@pytest.mark.parametrize("options", ENGINES, ids=repr)
def test_as_in_pandas(options: dict[str, Any]) -> None:
    differ = {}
    for name, call in CALLS.items():
        wanted = seen(lambda call=call: call(DF, TIMES))
        found = seen(lambda call=call: call(Par(DF, options), Par(TIMES, options)))
        if found != wanted:
            differ[name] = wanted, found
    assert not differ


@pytest.mark.parametrize("options", ENGINES, ids=repr)
def test_under_acceleration(options: dict[str, Any]) -> None:
    differ = {}
    for name, call in CALLS.items():
        wanted = seen(lambda call=call: call(DF, TIMES))
        with pdparallel.accelerate(**options):
            found = seen(lambda call=call: call(DF, TIMES))
        if found != wanted:
            differ[name] = wanted, found
    assert not differ


def test_at_that_very_line() -> None:
    for call in (
        lambda: TIMES.par.resample(**RULE)["a"].apply(total),
        lambda: TIMES.par(engine="serial").resample(**RULE).transform(total),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [(w.filename, w.lineno) for w in caught] == [(__file__, call.__code__.co_firstlineno)]


@pytest.mark.usefixtures("no_rest_is_worth_it")
def test_shown_once_by_default() -> None:
    space = {"__name__": "somebody", "TIMES": TIMES, "total": total, "RULE": RULE}
    code = compile("TIMES.par.resample(**RULE)['a'].apply(total)", "somebody.py", "exec")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            exec(code, space)
    assert [(w.filename, w.lineno) for w in caught] == [("somebody.py", 1)]


def test_pandas_own_search_for_the_line_is_there_and_is_ours() -> None:
    from pandas.util import _exceptions

    assert "pdparallel" in inspect.getfile(_exceptions.find_stack_level)
