"""Big data travel by chunk: with the threshold at 0, every verb gives pandas' answer, and few bytes are under way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.data import values
from pdparallel.execution import encode
from pdparallel.testing.equality import assert_same
from pdparallel.transport import data

N = 600


@pytest.fixture(autouse=True)
def big(monkeypatch):
    monkeypatch.setattr(data, "BIG_BYTES", 0)
    monkeypatch.setattr(values, "CELLS_WORTH_A_LOOK", 0)


FRAMES = {
    "floats": lambda: pd.DataFrame(np.random.default_rng(1).normal(size=(N, 4)), columns=list("abcd")),
    "mixed": lambda: pd.DataFrame(
        {
            "a": np.arange(N) % 7,
            "b": np.linspace(0, 1, N),
            "c": pd.Categorical(np.array(["x", "y", "z"])[np.arange(N) % 3]),
            "d": pd.date_range("2026-01-01", periods=N, freq="min", tz="Europe/Berlin"),
        }
    ),
    "texts": lambda: pd.DataFrame({name: [f"{name}{i % 11}" for i in range(N)] for name in "abcd"}),
}

CALLS = {
    "rows": (lambda df, at: at(df).apply_rows(str_of_row), lambda df: df.apply(str_of_row, axis=1)),
    "columns": (lambda df, at: at(df).apply_cols(first), lambda df: df.apply(first)),
    "map": (lambda df, at: at(df["b"]).map(str), lambda df: df["b"].map(str)),
    "chunks": (lambda df, at: at(df).apply_chunks(same), lambda df: df),
    "groups": (lambda df, at: at(df).groupby("a")["b"].apply(size), lambda df: df.groupby("a")["b"].apply(size)),
    "agg": (lambda df, at: at(df).groupby("a")["b"].agg(first), lambda df: df.groupby("a")["b"].agg(first)),
}


def str_of_row(row):
    return str(row["a"])


def first(values):
    return values.iloc[0]


def same(chunk):
    return chunk


def size(group):
    return len(group)


@pytest.mark.parametrize("engine", ["process", "pathos"])
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("call", CALLS)
def test_the_answer_is_that_of_pandas(call, frame, engine):
    df = FRAMES[frame]()
    ours, theirs = CALLS[call]
    assert_same(ours(df, lambda data: data.par(engine=engine, n_workers=2)), theirs(df))


def fails_late(row):
    if row["a"] == 6:
        raise ValueError("six")
    return row["b"]


def test_errors_are_those_of_the_first_unit():
    df = FRAMES["mixed"]()
    with pytest.raises(ValueError, match="six"):
        df.par(engine="process", n_workers=2).apply_rows(fails_late)
    with pytest.warns(pdparallel.errors.FailedCallsWarning):
        found = df.par(engine="process", n_workers=2, errors="coerce").apply_rows(fails_late)
    assert found.isna().sum() == (df["a"] == 6).sum()


def test_a_lost_chunk_travels_again(tmp_path):
    flag = str(tmp_path / "died")

    def dies_once(row):
        if row["a"] == 5 and not os.path.exists(flag):
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return row["b"]

    df = FRAMES["mixed"]()
    found = df.par(engine="process", n_workers=2).apply_rows(dies_once)
    pd.testing.assert_series_equal(found, df["b"], check_names=False)


@pytest.mark.parametrize("chunk_size", [None, 20_000])
def test_few_bytes_are_under_way(monkeypatch, chunk_size):
    most = 1 << 20
    monkeypatch.setattr(encode, "CHUNK_BYTES", most // 4)
    monkeypatch.setattr(encode, "UNDER_WAY_BYTES", most)
    sizes = []
    task = encode._SharedMemoryEncoder.task

    def watched(self, *args, **kwargs):
        packed = task(self, *args, **kwargs)
        sizes.append(sum(piece.ref.size for piece in self._pieces.values()))
        return packed

    monkeypatch.setattr(encode._SharedMemoryEncoder, "task", watched)
    df = pd.DataFrame(np.zeros((100_000, 20)))
    found = df.par(engine="process", n_workers=2, chunk_size=chunk_size).apply_rows(sum, rows="tuple")
    assert len(found) == len(df)
    one = most // 4 if chunk_size is None else chunk_size * 20 * 8
    assert 0 < max(sizes) <= max(most + one, 2 * one) * 1.1
    pdparallel.shutdown()


@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_raw_rows_can_be_written_into_as_in_pandas(engine: str) -> None:
    frame = pd.DataFrame(np.arange(60.0).reshape(20, 3), columns=list("abc"))
    layout = lambda row: f"{row.flags.writeable} {row.strides}"
    got = frame.par(engine=engine, n_workers=2, chunk_size=7).apply_rows(layout, raw=True)
    assert got.str.split().str[0].tolist() == frame.apply(layout, axis=1, raw=True).str.split().str[0].tolist()


def scattered(index: pd.Index | None = None) -> pd.DataFrame:
    """Groups whose rows lie apart; some rows have no key, and some categories no row."""
    at = np.arange(90)
    return pd.DataFrame(
        {
            "k": np.where(at % 11 == 3, np.nan, at % 5),
            "c": pd.Categorical.from_codes(at % 3 + 1, ["none", "x", "y", "z", "never"]),
            "t": [f"text {i % 4}" for i in at],
            "x": at * 1.5,
            "n": at[::-1],
            "d": pd.date_range("2026-01-01", periods=90, freq="h", tz="Europe/Berlin"),
        },
        index=index,
    )


INDEXES = {
    "range": None,
    "range by 2": pd.RangeIndex(10, 190, 2),
    "times": pd.date_range("2026-03-01", periods=90, freq="D", name="when"),
    "texts twice": pd.Index([f"row {i // 2}" for i in range(90)], name="row"),
    "two levels": pd.MultiIndex.from_arrays([np.arange(90) % 4, np.arange(90)], names=["l", "m"]),
}

GROUPINGS = {
    "column": lambda df: {"by": "t"},
    "missing keys": lambda df: {"by": "k"},
    "missing keys kept": lambda df: {"by": "k", "dropna": False},
    "two columns": lambda df: {"by": ["k", "t"]},
    "unsorted": lambda df: {"by": "t", "sort": False},
    "no index": lambda df: {"by": "t", "as_index": False},
    "no group keys": lambda df: {"by": "t", "group_keys": False},
    "categories": lambda df: {"by": "c", "observed": True},
    "unseen categories": lambda df: {"by": "c", "observed": False},
    "level": lambda df: {"level": 0},
    "array": lambda df: {"by": np.arange(len(df)) % 6},
    "function": lambda df: {"by": lambda label: len(str(label)) % 2},
    "times": lambda df: {"by": pd.Grouper(key="d", freq="D")},
}

SELECTIONS = {
    "all": lambda grouped: grouped,
    "some": lambda grouped: grouped[["x", "n"]],
    "one": lambda grouped: grouped["x"],
    "each": lambda grouped: grouped[["k", "c", "t", "x", "n", "d"]],
}


def what(group):
    return f"{type(group).__name__} {getattr(group, 'columns', None)} {group.index!r} {group.name!r}"


def largest(group):
    return group.tail(2)


def doubled(group):
    return group["x"] * 2 if group.ndim == 2 else group * 2


METHODS = {
    "a text": lambda grouped: grouped.apply(what),
    "rows": lambda grouped: grouped.apply(largest),
    "a Series": lambda grouped: grouped.apply(doubled),
    "agg": lambda grouped: grouped.agg(first),
    "transform": lambda grouped: grouped.transform(first),
    "filter": lambda grouped: grouped.filter(lambda group: len(group) > 15),
}


def came_of(call):
    try:
        return call()
    except Exception as exception:
        return exception


def assert_as_pandas(ours, theirs):
    got, expected = came_of(ours), came_of(theirs)
    if isinstance(expected, Exception):
        assert type(got) is type(expected)
        assert str(got) == str(expected)
    else:
        assert_same(got, expected)


@pytest.mark.part(3)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize(
    ("index", "engine"), [("range", "process"), *((index, "serial") for index in INDEXES), ("range", "auto")]
)
def test_groups_are_those_of_pandas(index: str, engine: str, grouping: str, selection: str, method: str) -> None:
    df = scattered(INDEXES[index])
    how = GROUPINGS[grouping](df)
    assert_as_pandas(
        lambda: METHODS[method](SELECTIONS[selection](df.par(engine=engine, n_workers=2).groupby(**how))),
        lambda: METHODS[method](SELECTIONS[selection](df.groupby(**how))),
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("engine", ["process", "auto"])
@pytest.mark.parametrize("of", ["all", "some"])
def test_nobody_makes_a_copy_of_all_rows(monkeypatch: pytest.MonkeyPatch, engine: str, of: str) -> None:
    df = scattered()
    taken = []
    take = pd.DataFrame.take

    def noted(self: pd.DataFrame, indices: np.ndarray, *args: object, **kwargs: object) -> pd.DataFrame:
        taken.append(len(indices))
        return take(self, indices, *args, **kwargs)

    monkeypatch.setattr(pd.DataFrame, "take", noted)
    SELECTIONS[of](df.par(engine=engine, n_workers=2, chunk_size=1).groupby("t")).apply(size)
    assert 0 < max(taken) < 30
