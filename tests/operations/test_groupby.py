"""Groups: what surrounds their calls: options, notes of failures, which groups are called and how often."""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import os
import random
import re
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import (
    CallTimeoutError,
    CheckpointError,
    FailedCallsWarning,
    InvalidOptionError,
    ResultNotSerializableError,
    WorkerDiedError,
)
from pdparallel.checkpoint import store as folder_module
from pdparallel.compat import PANDAS_2
from pdparallel.data import grouped_frames
from pdparallel.testing import assert_same, assert_same_as_pandas
from tests.oracle.ways import SOME_WAYS, Locality, Way, running

# pandas 2 warns of what will change; it does so with us as often as without.
pytestmark = [
    pytest.mark.filterwarnings("ignore:DataFrameGroupBy.apply operated on the grouping columns:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:DataFrameGroupBy.apply operated on the grouping columns:FutureWarning"),
]

KEYS = list("abcdefg")
N = 42
FRAME = pd.DataFrame(
    {"k": [KEYS[at * at % 7] for at in range(N)], "x": np.arange(N) / 4, "y": range(N)},
    index=[f"r{at}" for at in range(N)],
)
#: Keys are squares modulo 7, so these are all groups there are, in order.
GROUPS = sorted(set(FRAME["k"]))
S = FRAME["x"]
TIMED = FRAME[["x", "y"]].set_axis(pd.date_range("2026-01-01", periods=N, freq="6h"))

ENGINES = [{"engine": "serial"}, {"engine": "thread"}, {"engine": "process"}, {"engine": "auto", "chunk_size": 1}]
engines = pytest.mark.parametrize("options", ENGINES, ids=str)


def _of(obj: Any, **options: Any) -> Any:
    return obj.par(n_workers=2, **options)


# Results of each engine

CALLS: dict[str, Callable[[Any], Any]] = {
    "apply": lambda obj: obj.groupby("k")[["x", "y"]].apply(lambda group: float(group["x"].sum() * group["y"].max())),
    "apply, frames": lambda obj: obj.groupby("k")[["x", "y"]].apply(lambda group: group.head(2)),
    "apply, names": lambda obj: obj.groupby(["k", "y"])["x"].apply(lambda group: repr(group.name)),
    "agg": lambda obj: obj.groupby("k").agg(lambda column: column.max() - column.min()),
    "transform": lambda obj: obj.groupby("k").transform(lambda column: column - column.mean()),
    "transform of a column": lambda obj: obj.groupby("k").x.transform(lambda column: column.rank()),
    "filter": lambda obj: obj.groupby("k").filter(lambda group: group["x"].max() > 10),
}
CALLS_IN_TIME: dict[str, Callable[[Any], Any]] = {
    "apply": lambda obj: obj.resample("D").apply(lambda column: column.max() - column.min()),
    "agg": lambda obj: obj.resample("36h")["x"].agg(lambda column: column.iloc[0] if len(column) else np.nan),
    "transform": lambda obj: obj.resample("D").transform(lambda column: column - column.mean()),
}


@engines
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_engines(call, options):
    assert_same_as_pandas(lambda: call(_of(FRAME, **options)), lambda: call(FRAME))


@engines
@pytest.mark.parametrize("call", CALLS_IN_TIME.values(), ids=CALLS_IN_TIME)
def test_engines_of_spans_of_time(call, options):
    assert_same_as_pandas(lambda: call(_of(TIMED, **options)), lambda: call(TIMED))


@pytest.mark.parametrize(
    "make",
    [
        lambda: concurrent.futures.ThreadPoolExecutor(2),
        lambda: concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")),
        lambda: multiprocessing.get_context("spawn").Pool(2),
    ],
    ids=["ThreadPoolExecutor", "ProcessPoolExecutor", "Pool"],
)
def test_pools_of_others(make):
    with make() as pool:
        for name in ("apply, frames", "agg", "transform"):
            assert_same(CALLS[name](FRAME.par(engine=pool, chunk_size=2)), CALLS[name](FRAME))


def test_options_of_the_block_and_of_the_accessor():
    with pdparallel.option_context(engine="process", n_workers=2, chunk_size=1):
        pids = FRAME.par.groupby("k")["x"].apply(lambda group: os.getpid())
        assert os.getpid() not in set(pids)
        here = FRAME.par(engine="serial").groupby("k")["x"].apply(lambda group: os.getpid())
        assert set(here) == {os.getpid()}


def test_as_many_workers_as_asked_for():
    both = threading.Barrier(2)

    def meets(group):
        both.wait(30)  # a single worker would wait for ever
        return threading.get_ident()

    two = FRAME[FRAME["k"].isin(GROUPS[:2])]
    idents = two.par(engine="thread", n_workers=2, chunk_size=1).groupby("k")["x"].apply(meets)
    assert idents.nunique() == 2


# Which groups, and how often


class Noted:
    """Notes each call in a file, from whatever process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def __call__(self, what: Any) -> None:
        with self.path.open("a") as file:
            file.write(f"{what}\n")

    def all(self) -> list[str]:
        return self.path.read_text().split("\n")[:-1]


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(tmp_path / "calls")


WAYS = [
    *SOME_WAYS,
    Way(2, Locality.ANYWHERE, takes_over=True),
    Way(None, Locality.ANYWHERE),
    Way(None, Locality.HOST, alone=True),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("method", ["apply", "agg", "transform", "filter"])
@pytest.mark.parametrize("of", ["frame", "column"])
def test_the_function_is_called_as_often_as_by_pandas_with_whole_groups(way, method, of, noted):
    def note(unit):
        noted(f"{type(unit).__name__} {getattr(unit, 'name', None)} {list(unit.index)}")
        return True if method == "filter" else unit if method == "transform" else len(unit)

    def call(obj):
        grouped = obj.groupby("k")[["x", "y"]] if of == "frame" else obj.groupby("k")["x"]
        return getattr(grouped, method)(note)

    expected_result = call(FRAME)
    expected, _ = noted.all(), noted.path.write_text("")
    with running(way):
        assert_same(call(FRAME.par(**way.options)), expected_result)
    assert noted.all() == expected


@pytest.mark.parametrize("options", [{"engine": "thread"}, {"engine": "process"}, {"engine": "auto"}], ids=str)
def test_each_group_is_whole_and_comes_once(options, noted):
    def note(group):
        noted(f"{group.name} {','.join(group.index)}")
        return len(group)

    counts = _of(FRAME, **options).groupby("k").apply(note)
    assert counts.sum() == N
    expected = [f"{name} {','.join(group.index)}" for name, group in FRAME.groupby("k")]
    assert sorted(noted.all()) == sorted(expected)


@pytest.mark.parametrize("method", ["apply", "agg"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_categories_without_rows_stand_where_pandas_has_them(way, method):
    """Whose groups ngroup() does not count, and apply and agg hand out."""
    key = pd.Categorical(list("ccdd"), categories=list("abcde"))
    df = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [5.0, 6.0, 7.0, 8.0]})
    total = lambda unit: float(np.asarray(unit).sum())
    expected = getattr(df.groupby(key, observed=False), method)(total)
    with running(way):
        assert_same(getattr(df.par(**way.options).groupby(key, observed=False), method)(total), expected)


def test_one_group_of_most_rows():
    uneven = pd.DataFrame({"k": [0] * 1_000 + list(range(1, 20)), "x": range(1_019)})
    call = lambda obj: obj.groupby("k")["x"].apply(len)
    for chunk_size in (1, 3, None):
        assert_same(call(_of(uneven, engine="process", chunk_size=chunk_size)), call(uneven))


@engines
def test_a_series_that_comes_late_is_no_other_one(options):
    """Of the group's own index, after many returns that were none."""
    late = lambda group: group["x"] if group["x"].iloc[0] >= 60 else float(group["x"].iloc[0])
    df = pd.DataFrame({"k": np.repeat(range(40), 2), "x": range(80)}, index=[f"r{at}" for at in range(80)])
    for call in (
        lambda obj: obj.groupby("k")[["x"]].apply(late),
        lambda obj: obj.groupby("k")[["x"]].apply(_first_two),
    ):
        assert_same(call(_of(df, **{**options, "chunk_size": 40})), call(df))


def _first_two(group):
    return group["x"] * 2


# Failures


def _fails(group: Any) -> Any:
    name = FRAME["k"][group.index[0]]
    if name == GROUPS[1]:
        raise KeyError("what is missing")
    return name


@engines
def test_the_failing_group_is_named(options):
    place = rf"in group '{GROUPS[1]}' \(position 1\)"
    for call in (
        lambda par: par.groupby("k").apply(_fails),
        lambda par: par.groupby("k")["x"].apply(_fails),
        lambda par: par.groupby("k").filter(_fails_or_true),
        lambda par: par.groupby("k")["x"].transform(_fails_or_one),
    ):
        with pytest.raises(KeyError, match="what is missing") as caught:
            call(_of(FRAME, **options))
        assert any(re.search(place, note) for note in caught.value.__notes__), caught.value


def _fails_or_true(group: Any) -> bool:
    return bool(_fails(group))


def _fails_or_one(group: Any) -> int:
    _fails(group)
    return 1


@engines
def test_the_failing_column_of_a_group_is_named(options):
    def fails(column):
        if column.name == "y" and "r3" in column.index:
            raise ZeroDivisionError("by zero")
        return 1

    with pytest.raises(ZeroDivisionError) as caught:
        _of(FRAME, **options).groupby("k").agg(fails)
    at = GROUPS.index(FRAME["k"]["r3"])
    assert any(f"group '{GROUPS[at]}' of column 'y'" in note for note in caught.value.__notes__), caught.value.__notes__


def test_an_end_of_iteration_in_one_column_ends_the_others(tmp_path):
    def ends(column):
        (tmp_path / f"{column.name}{column.index[0]}").touch()
        if column.name == "x" and column.index[0] == 2:
            raise StopIteration
        return 1

    df = pd.DataFrame({"k": [1, 1, 2, 2], "x": range(4), "y": range(4)})
    with pytest.raises(StopIteration) as caught:
        _of(df, engine="process", chunk_size=4).groupby("k").agg(ends)
    assert any("group 2 of column 'x'" in note for note in caught.value.__notes__)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x0", "x2"]


def test_the_stack_of_a_failing_column_begins_in_the_function():
    def fails(column):
        if isinstance(column, pd.DataFrame):
            raise TypeError("columns only")
        if 4 in set(column):
            raise ZeroDivisionError("by zero")
        return column

    df = pd.DataFrame({"k": [1, 1, 2, 2, 3, 3], "x": range(6), "y": range(6)})
    with pytest.raises(ZeroDivisionError) as caught:
        _of(df, engine="process", chunk_size=1).groupby("k").transform(fails)
    stack = str(caught.value.__cause__)
    assert re.findall(r", in (\w+)$", stack, re.MULTILINE) == ["fails"], stack


@engines
def test_the_failing_span_is_named(options):
    def fails(column):
        if 13.0 in set(column):
            raise ZeroDivisionError("by zero")
        return 1

    with pytest.raises(ZeroDivisionError) as caught:
        _of(TIMED[["y"]], **options).resample("D")["y"].apply(fails)
    assert any("2026-01-04" in note for note in caught.value.__notes__), caught.value.__notes__


@engines
def test_coerce_leaves_what_is_missing_and_warns_once(options):
    par = _of(FRAME, errors="coerce", **options)
    expected = pd.Series(GROUPS, index=pd.Index(GROUPS, name="k")).where(lambda s: s != GROUPS[1])
    with pytest.warns(
        FailedCallsWarning, match=f"(?s)1 of {len(GROUPS)} calls.*{GROUPS[1]}.*what is missing"
    ) as warned:
        got = par.groupby("k").apply(_fails)
    assert sum(issubclass(each.category, FailedCallsWarning) for each in warned) == 1
    assert warned[0].filename == __file__
    assert got.tolist()[0] == GROUPS[0]
    assert got.isna().tolist() == expected.isna().tolist()
    assert list(got.index) == GROUPS
    with pytest.warns(FailedCallsWarning):
        assert par.groupby("k")["x"].agg(_fails_or_one).isna().sum() == 1
    with pytest.warns(FailedCallsWarning):
        got = par.groupby("k").agg(_fails_or_one)
    assert got.isna().sum().to_dict() == {"x": 1, "y": 1}
    with pytest.warns(FailedCallsWarning):
        got = par.groupby("k")["x"].transform(_fails_or_one)
    assert got.isna().equals(FRAME["k"] == GROUPS[1])
    with pytest.warns(FailedCallsWarning):
        got = par.groupby("k").transform(_fails_or_one)
    assert got.isna().all(axis=1).equals(FRAME["k"] == GROUPS[1])
    with pytest.warns(FailedCallsWarning):
        got = par.groupby("k").filter(_fails_or_true)
    assert_same(got, FRAME[FRAME["k"] != GROUPS[1]])


@engines
def test_coerce_leaves_out_the_rows_where_others_gave_frames(options):
    def fails(group):
        _fails(group)
        return group.head(1)

    with pytest.warns(FailedCallsWarning):
        got = _of(FRAME, errors="coerce", **options).groupby("k")[["x"]].apply(fails)
    others = FRAME[FRAME["k"] != GROUPS[1]]
    expected = others.groupby("k")[["x"]].apply(lambda group: group.head(1))
    assert got.index.levels[0].tolist() == GROUPS  # pandas leaves out the rows, not the group
    assert_same(got.set_axis(got.index.remove_unused_levels()), expected)


@engines
def test_a_missing_name_is_none_among_others(options):
    df = pd.DataFrame(np.arange(12.0).reshape(6, 2), columns=[np.nan, "x"])
    for func in (lambda group: group.iloc[:, 0] * 2, lambda group: group.iloc[:1, 0]):
        got = _of(df, **options).groupby(np.arange(6) // 2).apply(func)
        assert_same(got, df.groupby(np.arange(6) // 2).apply(func))
        assert got.name is None


def test_a_frame_that_cannot_travel():
    def func(group):
        bad = (x for x in "a") if group["x"].iloc[0] == FRAME["x"][FRAME["k"] == GROUPS[1]].iloc[0] else None
        return group.assign(o=pd.Series([bad] * len(group), index=group.index, dtype=object))

    par = FRAME.par(engine="process", n_workers=2)
    with pytest.raises(ResultNotSerializableError, match=r"returned a pandas\..*DataFrame, which cannot") as caught:
        par.groupby("k")[["x"]].apply(func)
    assert f"in group {GROUPS[1]!r}" in caught.value.__notes__[0]
    with pytest.warns(FailedCallsWarning):
        got = par(errors="coerce").groupby("k")[["x"]].apply(func)
    assert len(got) == (FRAME["k"] != GROUPS[1]).sum()


@pytest.mark.parametrize("most", [0, 1, 10**9])
def test_big_frames_travel_by_themselves(most, monkeypatch):
    monkeypatch.setattr(grouped_frames, "MAX_VALUES", most)
    for func in (lambda group: group.assign(z=1), lambda group: group["x"].head(2)):
        got = FRAME.par(engine="serial", chunk_size=2).groupby("k")[["x"]].apply(func)
        assert_same(got, FRAME.groupby("k")[["x"]].apply(func))


@engines
@pytest.mark.parametrize("group_keys", [True, False])
@pytest.mark.parametrize("column", ["x", "y"])
@pytest.mark.parametrize("func", [lambda values: values + 1, lambda values: pd.to_timedelta(values, unit="h")])
def test_coerce_leaves_missing_values_where_others_gave_series(options, func, column, group_keys):
    """Over the rows of the group that failed, as the others are over theirs."""

    def fails(group):
        _fails(group)
        return func(group[column] if group.ndim == 2 else group)

    def missing(group):
        values = func(group[column] if group.ndim == 2 else group)
        return values.where(values.index.isin(FRAME.index[FRAME["k"] != GROUPS[1]]))

    for columns in ([column], column):
        with pytest.warns(FailedCallsWarning):
            got = _of(FRAME, errors="coerce", **options).groupby("k", group_keys=group_keys)[columns].apply(fails)
        assert_same(got, FRAME.groupby("k", group_keys=group_keys)[columns].apply(missing))
        assert got.isna().sum() == (FRAME["k"] == GROUPS[1]).sum()


#: What a function returns for a group, and what ``errors="return"`` has for one that failed, given its exception.
_AMONG = {
    "a row": (
        lambda group: pd.Series({"lo": group["x"].min(), "hi": group["x"].max()}),
        lambda group, error: pd.Series({"lo": error, "hi": error}),
    ),
    "a row for each": (
        lambda group: group["x"] + 1,
        lambda group, error: pd.Series(error, index=group.index, name="x"),
    ),
    "a frame": (
        lambda group: group.head(2),
        lambda group, error: pd.DataFrame({"x": error, "y": error}, index=group.index[:1]),
    ),
    "a whole frame": (
        lambda group: group * 2,
        lambda group, error: pd.DataFrame({"x": error, "y": error}, index=group.index[:1]),
    ),
    "a frame of new labels": (
        lambda group: group.reset_index(drop=True).rename("new {}".format),
        lambda group, error: pd.DataFrame({"x": error, "y": error}, index=["new 0"]),
    ),
}


@engines
@pytest.mark.parametrize("group_keys", [True, False])
@pytest.mark.parametrize("among", _AMONG)
def test_return_leaves_the_exception_among_series_and_frames(options, among, group_keys):
    """A group of which the function raised has what pandas makes of a function that returns the exception so."""
    returns, instead = _AMONG[among]

    def fails(group):
        _fails(group)
        return returns(group)

    def call(obj, func):
        return obj.groupby("k", group_keys=group_keys)[["x", "y"]].apply(func)

    got = call(_of(FRAME, errors="return", **options), fails)
    found = [value for value in got.to_numpy().ravel() if isinstance(value, BaseException)]
    assert found
    error = found[0]
    assert all(value is error for value in found)
    assert f"in group {GROUPS[1]!r}" in error.__notes__[0]
    # Compared with a text in the same places: an exception is no scalar to pandas' own constructors.
    instead_of_it = lambda group: instead(group, "no luck") if group.name == GROUPS[1] else returns(group)
    expected = call(FRAME, instead_of_it)
    told = got.map(lambda value: "no luck" if value is error else value)
    assert_same(told.astype(object), expected.astype(object))


@engines
@pytest.mark.parametrize("bad", [(1,), (0,), (0, 1), tuple(range(len(GROUPS)))], ids=str)
@pytest.mark.parametrize("of", ["x", ["x", "y"]], ids=str)
@pytest.mark.parametrize("errors", ["return", "coerce"])
def test_transform_keeps_all_groups_but_those_that_failed(options, errors, of, bad):
    failing = [GROUPS[at] for at in bad]
    rows = FRAME["k"].isin(failing)
    whole = FRAME[rows]["x"].tolist()

    def fails(unit):
        if np.isin(np.ravel(unit["x"] if unit.ndim == 2 else unit), whole).any():
            raise KeyError("no luck")
        return unit * 2

    frame = FRAME.assign(y=FRAME["x"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailedCallsWarning)
        got = _of(frame, errors=errors, **options).groupby("k")[of].transform(fails)
    assert len(got) == len(frame)
    values, told = got.to_numpy().reshape(len(frame), -1), rows.to_numpy()
    assert (values[~told].astype(float) == 2 * frame[of].to_numpy().reshape(len(frame), -1)[~told]).all()
    for value in values[told].ravel():
        assert isinstance(value, KeyError) if errors == "return" else np.isnan(value)


@engines
def test_return_leaves_the_exceptions(options):
    par = _of(FRAME, errors="return", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for got in (
            par.groupby("k")[["x", "y"]].apply(_fails),
            par.groupby("k")["x"].apply(_fails),
            par.groupby("k")["x"].agg(_fails),
            par.groupby("k").agg(_fails)["y"],
        ):
            assert isinstance(got[GROUPS[1]], KeyError)
            assert any(repr(GROUPS[1]) in note for note in got[GROUPS[1]].__notes__)
            assert got.drop(GROUPS[1]).tolist() == [name for name in GROUPS if name != GROUPS[1]]
        with pytest.raises(InvalidOptionError, match="filter"):
            par.groupby("k").filter(_fails_or_true)


def test_what_pandas_raises_for_a_wrong_key_comes_at_once():
    for call in (
        lambda obj: obj.groupby("none"),
        lambda obj: obj.groupby("k")["none"],
        lambda obj: obj.groupby("k").none,
        lambda obj: obj.groupby("k")[["x", "none"]],
        lambda obj: obj.groupby(np.arange(3)).apply(len),
        lambda obj: obj.groupby(),
        lambda obj: obj.groupby("k", none=1),
        lambda obj: obj.resample("D"),
        lambda obj: obj.groupby("k").apply(5),
    ):
        try:
            call(FRAME)
        except Exception as exception:
            with pytest.raises((type(exception), InvalidOptionError)):
                call(FRAME.par)
        else:
            raise AssertionError("pandas has no objection")
    for key, rule in (("none", "D"), ("x", "no rule")):
        with pytest.raises((KeyError, ValueError)):
            TIMED.par.resample(rule)[key]


def test_options_are_checked_before_the_function_is_called():
    with pytest.raises(InvalidOptionError):
        FRAME.par(errors="none").groupby("k").apply(pytest.fail)
    with pytest.raises(InvalidOptionError):
        FRAME.par(timeout=1, engine="thread").groupby("k").apply(pytest.fail)


def test_an_exit_ends_the_call(tmp_path):
    def leaves(group):
        raise SystemExit(3)

    for options in ENGINES:
        with pytest.raises(SystemExit):
            _of(FRAME, errors="coerce", **options).groupby("k")["x"].apply(leaves)


# Options


def _draws(unit: Any) -> float:
    return random.random() + float(np.random.rand())


@pytest.mark.parametrize("method", ["apply", "agg", "transform"])
@pytest.mark.parametrize("of", [["x", "y"], "x"], ids=str)
def test_a_seed_makes_the_same_for_all(method, of):
    def call(seed, **options):
        return getattr(_of(FRAME, seed=seed, **options).groupby("k")[of], method)(_draws)

    whole = call(7, engine="serial")
    for options in ENGINES:
        for chunk_size in (1, 3, 100) if options["engine"] != "process" else (3,):
            assert_same(call(7, **{**options, "chunk_size": chunk_size}), whole)
    assert not whole.equals(call(8, engine="serial"))
    values = whole if of == "x" else whole.iloc[:, 0] if whole.ndim == 2 else whole
    assert values.nunique() == len(GROUPS)


def test_a_group_that_takes_too_long_is_ended(alone):
    slow = GROUPS[2]

    def sleeps(group):
        if group.name == slow:
            time.sleep(300)
        return len(group)

    with pytest.raises(CallTimeoutError, match=f"Group '{slow}'"):
        _of(FRAME, engine="process", timeout=0.5).groupby("k").apply(sleeps)
    with pytest.warns(FailedCallsWarning):
        got = _of(FRAME, engine="process", timeout=0.5, errors="coerce").groupby("k").apply(sleeps)
    assert got.isna().to_dict() == {name: name == slow for name in GROUPS}


def test_a_group_that_kills_its_worker_once_is_done_again(alone, noted, tmp_path):
    died = tmp_path / "died"

    def dies_once(group):
        noted(group.name)
        if group.name == GROUPS[2] and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return len(group)

    got = _of(FRAME, engine="process", chunk_size=1).groupby("k").apply(dies_once)
    assert_same(got, FRAME.groupby("k").apply(len))
    assert Counter(noted.all())[GROUPS[2]] == 2


def test_a_group_that_kills_its_worker_each_time_is_named(alone, noted):
    def dies(column):
        noted(column.name)
        if column.iloc[0] == FRAME[FRAME["k"] == GROUPS[2]]["x"].iloc[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1

    with pytest.raises(WorkerDiedError, match=rf"Group '{GROUPS[2]}' \(position 2\) ended its worker \(SIGKILL\)"):
        _of(FRAME, engine="process", retries=1).groupby("k")["x"].agg(dies)
    assert len(noted.all()) >= len(GROUPS) + 1


@engines
def test_progress_counts_groups(options):
    seen = []
    _of(FRAME, progress=lambda done, n: seen.append((done, n)), **options).groupby("k")[["x"]].apply(len)
    assert seen[-1] == (len(GROUPS), len(GROUPS))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    seen.clear()
    _of(FRAME, progress=lambda done, n: seen.append((done, n)), **options).groupby("k").agg(len)
    assert seen[-1] == (2 * len(GROUPS), 2 * len(GROUPS))


_loaded: dict[str, Any] = {}


def _load(what: str) -> None:
    _loaded["model"] = what


def _uses_the_model(group: Any) -> str:
    return f"{_loaded['model']} {len(group)} {os.getpid()}"


def test_an_initializer_runs_in_the_workers():
    got = _of(FRAME, initializer=_load, initargs=("big",)).groupby("k")["x"].apply(_uses_the_model)
    assert got.str.startswith("big ").all()
    assert not got.str.endswith(f" {os.getpid()}").any()
    assert not _loaded


@pytest.fixture
def every_outcome_is_written(monkeypatch):
    monkeypatch.setattr(folder_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(folder_module, "SAVE_PART", 0.0)
    monkeypatch.setattr(folder_module, "WRITING_PART", 1e9)


class Counting:
    """Notes each call beside; fails for a group for as long as a file is there."""

    def __init__(self, folder: Path, bad: str) -> None:
        self.folder, self.bad = folder, bad

    def __call__(self, group: Any) -> Any:
        name = FRAME["k"][group.index[0]]
        with (self.folder / "calls").open("a") as file:
            file.write(f"{name}\n")
        if name == self.bad and (self.folder / "broken").exists():
            raise ZeroDivisionError(name)  # after a KeyError pandas 2 tries agg once more
        return len(group)


@pytest.mark.parametrize("engine", ["serial", "process", "auto"])
@pytest.mark.parametrize("method", ["apply", "agg", "transform"])
def test_a_checkpoint_takes_up(engine, method, tmp_path, every_outcome_is_written):
    (tmp_path / "broken").touch()
    (tmp_path / "calls").touch()
    func = Counting(tmp_path, GROUPS[-1])

    def call(func, **options):
        par = _of(FRAME, engine=engine, chunk_size=1, checkpoint=tmp_path / "night", **options)
        return getattr(par.groupby("k")["x"], method)(func)

    with pytest.raises(ZeroDivisionError):
        call(func)
    before = (tmp_path / "calls").read_text().split()
    assert before.count(GROUPS[0]) == 1
    (tmp_path / "broken").unlink()
    got = call(func)
    assert (tmp_path / "calls").read_text().split()[len(before) :] == [GROUPS[-1]]
    expected = getattr(FRAME.groupby("k")["x"], method)(len)
    assert_same(got, expected)
    with pytest.raises(CheckpointError):
        call(lambda group: 2 * len(group))


# Functions


@engines
def test_functions_of_all_sorts(options):
    numbers = (number for number in range(100))  # which no serialiser takes
    factor = 3

    class Callables:
        def __call__(self, group):
            return len(group) * factor

    expected = FRAME.groupby("k")["x"].apply(len) * factor
    for func in (lambda group: len(group) * factor, Callables()):
        assert_same(_of(FRAME, **options).groupby("k")["x"].apply(func), expected)

    def counts(group):
        next(numbers)
        return len(group) * factor

    if options["engine"] in ("serial", "thread"):
        assert_same(_of(FRAME, **options).groupby("k")["x"].apply(counts), expected)
    elif options["engine"] == "process":
        with pytest.raises(pdparallel.FunctionNotSerializableError, match="numbers"):
            _of(FRAME, **options).groupby("k")["x"].apply(counts)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_functions_that_write_into_their_group(way):
    def writes(group):
        group["x"] = group["x"] - group["x"].mean()
        group["new"] = group.name
        return group

    def call(obj):
        return obj.groupby("k", group_keys=False)[["x", "y"]].apply(writes)

    frame = FRAME.copy()
    expected = call(frame.copy())
    with running(way):
        assert_same(call(frame.par(**way.options)), expected)
    assert_same(frame, FRAME)


def _renames_labels(unit: Any) -> Any:
    unit.index = [f"new {at}" for at in range(len(unit))]
    return unit


def _renames_itself(unit: Any) -> Any:
    unit.name = "new"
    return unit


def _names_labels(unit: Any) -> Any:
    result = unit - 1
    result.index.name = "new"
    return result


def _names_labels_of_a_copy(unit: Any) -> Any:
    result = unit.copy(deep=False)
    result.index = result.index.view()
    result.index.name = "new"
    return result


def _names_by_a_column(group: Any) -> Any:
    group.index = group["y"]
    return group["y"]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(
    ("method", "func"),
    [
        ("apply", _renames_labels),  # transform looks at the group once more, which is not the one of the worker
        *itertools.product(["apply", "transform"], [_renames_itself, _names_labels, _names_labels_of_a_copy]),
    ],
)
def test_functions_that_change_labels_in_place(method, func, way):
    def call(obj):
        return getattr(obj.groupby(list(FRAME["k"]))["x"], method)(func)

    with running(way):
        frame = FRAME.copy(deep=True)
        frame.index = list(FRAME.index)
        other = FRAME.copy(deep=True)
        other.index = list(FRAME.index)
        assert_same_as_pandas(lambda: call(other.par(**way.options)), lambda: call(frame))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_functions_that_change_labels_of_frames_in_place(way):
    call = lambda obj: obj.groupby("k")[["x", "y"]].apply(_names_by_a_column)
    with running(way):
        assert_same_as_pandas(lambda: call(FRAME.copy().par(**way.options)), lambda: call(FRAME.copy()))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("of", [["x", "y"], ["x"], []], ids=str)
@pytest.mark.parametrize("by", ["k", ["k", "y"]], ids=str)
def test_agg_that_gives_whole_groups_to_the_function(by, of, way):
    call = lambda obj: obj.groupby(by)[of].agg(lambda group, more: len(group) + more, more=1)
    without = lambda obj: obj.groupby(by)[of].agg(len)
    with running(way):
        for each in (call, without):
            assert_same_as_pandas(lambda each=each: each(FRAME.par(**way.options)), lambda each=each: each(FRAME))


def test_names_of_functions_and_lists_are_for_pandas():
    for func in ("sum", ["sum", "max"], {"x": "sum"}):
        assert_same(FRAME.par.groupby("k").agg(func), FRAME.groupby("k").agg(func))
    assert_same(FRAME.par.groupby("k").agg(top=("x", "max")), FRAME.groupby("k").agg(top=("x", "max")))


# What it is


def test_what_pandas_has_there():
    grouped, ours = FRAME.groupby("k"), FRAME.par.groupby("k")
    assert len(ours) == len(grouped) == ours.ngroups
    assert [(name, len(group)) for name, group in ours] == [(name, len(group)) for name, group in grouped]
    assert_same(ours.sum(), grouped.sum())
    assert_same(ours.x.mean(), grouped.x.mean())
    assert_same(ours["x"].apply(len), grouped["x"].apply(len))
    assert_same(ours.get_group(GROUPS[0]), grouped.get_group(GROUPS[0]))
    assert "groups" in repr(ours)
    assert f"{len(GROUPS)}" in repr(ours)
    assert {"apply", "x", "sum"} <= set(dir(ours))
    assert not hasattr(ours, "none")
    assert not hasattr(ours, "__none__")
    spans, ours = TIMED.resample("D"), TIMED.par.resample("D")
    assert len(ours) == len(spans)
    assert [str(name) for name, _ in ours] == [str(name) for name, _ in spans]
    assert_same(ours.sum(), spans.sum())
    assert_same(ours.x.mean(), spans.x.mean())
    assert "Resampler" in repr(ours)


def test_only_some_columns():
    par = FRAME.par(columns=["x"], engine="serial")
    assert_same(par.groupby("k").agg(len), FRAME.groupby("k")[["x"]].agg(len))
    par = TIMED.par(columns=["x"], engine="serial")
    assert_same(par.resample("D").apply(len), TIMED.resample("D")[["x"]].apply(len))


def test_in_the_background():
    background = _of(FRAME, engine="process").background
    for got, expected in (
        (background.groupby("k")["x"].apply(len), FRAME.groupby("k")["x"].apply(len)),
        (background.groupby("k").x.agg(max_of), FRAME.groupby("k").x.agg(max_of)),
        (_of(TIMED).background.rolling(2).apply(max_of), TIMED.rolling(2).apply(max_of)),
        (_of(TIMED).background.resample("D").apply(max_of), TIMED.resample("D").apply(max_of)),
        (background.groupby("k")["x"].rolling(2).apply(max_of), FRAME.groupby("k")["x"].rolling(2).apply(max_of)),
    ):
        assert_same(got.result(60), expected)
    with pytest.raises(KeyError):
        background.groupby("none")


def max_of(column: Any) -> Any:
    return column.max()


@pytest.mark.skipif(not PANDAS_2, reason="pandas 3 never hands keys to the function")
def test_keys_in_groups_of_pandas_2():
    for include_groups in (True, False):
        call = lambda obj, which=include_groups: obj.groupby("k").apply(
            lambda group: ",".join(group.columns), include_groups=which
        )
        assert_same(call(_of(FRAME, engine="process")), call(FRAME))


#: Labels that no comparison tells apart by a truth value.
NO_TRUTH: list[Any] = [pd.NA, (pd.NA, 1), pd.NaT, np.nan]


@pytest.mark.parametrize("label", NO_TRUTH, ids=repr)
@pytest.mark.parametrize("engine", ["serial", "thread", "process"])
def test_labels_that_cannot_be_compared(label: Any, engine: str) -> None:
    df = pd.DataFrame({"k": [0, 0, 1, 1, 2], "x": range(5), "m": pd.array([1, 1, 1, None, None], dtype="Int64")})
    name = lambda group: label if group.iloc[0, 0] else "x"
    calls = {
        "frames": lambda obj: obj.groupby("k")[["x"]].apply(lambda g: pd.DataFrame({name(g): g["x"]})),
        "keys": lambda obj: obj.groupby("m", dropna=False)["x"].apply(lambda g: g.to_frame().assign(n=1)),
        "names": lambda obj: obj.groupby("k")[["x"]].apply(lambda g: g["x"].rename(name(g))),
        "labels": lambda obj: obj.groupby("k")[["x"]].apply(lambda g: pd.Series([1, 2], index=["a", name(g)])),
        "rows": lambda obj: obj.apply(lambda row: pd.Series([1, 2], index=["a", label if row["k"] else "x"]), axis=1),
        "dicts": lambda obj: obj.apply(lambda row: {"a": 1, (label if row["k"] else "x"): 2}, axis=1),
    }
    options = {"engine": engine, "chunk_size": 1} | ({} if engine == "serial" else {"n_workers": 2})
    for which, call in calls.items():
        try:
            expected = call(df)
        except Exception as error:
            with pytest.raises(type(error)):
                call(df.par(**options))
            continue
        try:
            assert_same(call(df.par(**options)), expected)
        except TypeError as error:  # not of the comparison of these labels themselves
            raise AssertionError(which) from error
