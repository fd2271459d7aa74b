"""Groups that pandas starts: this process continues with lazy groups if a trial shows that they save enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.data.fastpath.group import LOOK_AFTER
from pdparallel.execution.group_driver import First
from pdparallel.testing import assert_same
from pdparallel.testing._force import force

N = 60
FRAME = pd.DataFrame({"k": np.repeat(range(N), 3), "x": np.arange(3.0 * N), "y": range(3 * N)})
#: The first is pandas' own, and upon the second it is seen that something is left to save.
TRIED = range(1, 1 + LOOK_AFTER)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One process, which looks upon each group, and finds that what is tried saves enough."""
    force(
        monkeypatch.setattr,
        look_seconds=-1.0,
        trial_worth_seconds=-1.0,
        lazy_worth_seconds=-1e9,
        lazy_seconds=-1e9,
    )
    with pdparallel.option_context(n_workers=1):
        yield


class Noting:
    """A function that notes whether what it gets is lazy, and what it is called."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.lazy: list[bool] = []
        self.names: list[Any] = []
        self._func = func

    def __call__(self, unit: Any) -> Any:
        self.lazy.append(hasattr(unit, "_lazy"))
        self.names.append(unit.name)
        return self._func(unit)


def frames(obj: Any) -> Any:
    return obj.groupby("k")[["x", "y"]]


def columns(obj: Any) -> Any:
    return obj.groupby("k")["x"]


@pytest.mark.parametrize(
    ("grouped", "method", "func"),
    [
        (frames, "apply", lambda group: float(group["x"].to_numpy().sum())),
        (frames, "apply", lambda group: group["x"].iloc[0]),
        (frames, "apply", lambda group: group["x"] - group["x"].mean()),
        (columns, "apply", lambda column: column.max() - column.min()),
        (columns, "apply", lambda column: "a text"),
        (columns, "agg", lambda column: column.mean()),
        (columns, "transform", lambda column: column.mean()),
    ],
)
def test_lazy_groups_follow_where_they_pay(grouped, method, func):
    noting = Noting(func)
    expected = getattr(grouped(FRAME), method)(func)
    assert_same(getattr(grouped(FRAME.par), method)(noting), expected)
    assert noting.lazy == [False] + [True] * (N - 1)
    if method != "agg":  # whose columns are called what they are
        assert noting.names == list(range(N))


@pytest.mark.parametrize(
    ("grouped", "method", "func", "why"),
    [
        (frames, "apply", lambda group: len(group.head(1)), "frames are needed"),
        (columns, "apply", lambda column: column.nunique(), "Series are needed"),
        (frames, "apply", lambda group: {"x": group["x"].iloc[0]}, "only pandas knows what becomes of it"),
        (columns, "filter", lambda column: column.max() > 3, "only pandas knows what becomes of it"),
    ],
)
def test_pandas_goes_on_where_they_do_not(grouped, method, func, why):
    noting = Noting(func)
    expected = getattr(grouped(FRAME), method)(func)
    assert_same(getattr(grouped(FRAME.par), method)(noting), expected)
    assert [at for at, lazy in enumerate(noting.lazy) if lazy] == list(TRIED)


def test_pandas_goes_on_where_they_save_too_little(monkeypatch):
    force(monkeypatch.setattr, lazy_worth_seconds=1e18)
    noting = Noting(lambda group: group["x"].max())
    frames(FRAME.par).apply(noting)
    assert [at for at, lazy in enumerate(noting.lazy) if lazy] == list(TRIED)


def test_nothing_is_tried_where_little_is_left(monkeypatch):
    force(monkeypatch.setattr, trial_worth_seconds=1e9)
    noting = Noting(lambda group: group["x"].max())
    frames(FRAME.par).apply(noting)
    assert not any(noting.lazy)
    few = Noting(lambda group: group["x"].max())
    force(monkeypatch.setattr, trial_worth_seconds=-1.0)
    frames(FRAME.iloc[: 3 * LOOK_AFTER].par).apply(few)
    assert not any(few.lazy)


def test_who_asks_for_types_gets_pandas_own():
    seen: list[Any] = []
    frames(FRAME.par).apply(lambda group: seen.append(type(group)))
    assert seen == [pd.DataFrame] * N


@pytest.mark.parametrize("at", [0, 5, LOOK_AFTER + 5])
def test_what_the_function_raises(at):
    def fail(group: Any) -> float:
        if group["y"].iloc[0] == 3 * at:
            raise ZeroDivisionError("no")
        return 1.0

    noting = Noting(fail)
    with pytest.raises(ZeroDivisionError, match="no") as caught:
        frames(FRAME.par).apply(noting)
    assert noting.names == list(range(at + 1))
    assert f"pdparallel: groupby.apply, in group {at} (position {at})" in caught.value.__notes__
    assert caught.traceback[-1].name == "fail"


def test_what_is_returned_and_kept_is_pandas_own():
    kept: list[Any] = []

    def keep(group: Any) -> Any:
        kept.extend([group, group["x"]])
        return group["x"]

    assert_same(frames(FRAME.par).apply(keep), frames(FRAME).apply(lambda group: group["x"]))
    assert not any(hasattr(one, "_lazy") for one in kept)
    assert {type(one) for one in kept} == {pd.DataFrame, pd.Series}


def test_a_first_group_that_is_written_into():
    def write(group: Any) -> float:
        group["new"] = 1.0
        group.index = range(len(group))
        return group["new"].sum()

    assert_same(frames(FRAME.par).apply(write), frames(FRAME).apply(write))
    first = next(iter(frames(FRAME)))[1]
    facts = First.of(first)
    write(first)
    assert list(facts.columns) == ["x", "y"]
    assert list(facts.index) == [0, 1, 2]
    assert not facts.is_named


@pytest.mark.parametrize("series", [True, False])
def test_series_over_the_groups_own_index(series):
    """The first tells whether any are looked for; others travel as they are."""

    def func(column: Any) -> Any:
        return column - 1.0 if series or column.iloc[0] > 6 else pd.Series([0.0, 0.0, 0.0], index=column.index[::-1])

    assert_same(columns(FRAME.par).apply(func), columns(FRAME).apply(func))
    assert_same(columns(FRAME.par).transform(lambda x: x - x.mean()), columns(FRAME).transform(lambda x: x - x.mean()))
