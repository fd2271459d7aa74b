"""Columns: with ``columns=`` a call is that on ``df[columns]``, and nothing of the other columns leaves the parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
import pdparallel.execution.runner
from pdparallel import InvalidOptionError
from pdparallel.core.options import resolve
from pdparallel.engines.serial import SerialEngine
from pdparallel.execution import encode
from pdparallel.testing import assert_same
from pdparallel.testing._force import force
from pdparallel.transport.shared_memory import Arena
from pdparallel.transport.task import Locality
from tests.conftest import children
from tests.oracle.ways import Way, assert_same_on_all, running
from tests.transport.test_frames import Sub


def make() -> pd.DataFrame:
    df = pd.DataFrame(
        {
            "km": [5, 12, 9, 7, 1],
            "minutes": [10.0, 8.0, np.nan, 6.5, 2.0],
            "name": ["bus", "car", None, "bike", "van"],
            "group": ["v", "u", "v", "u", "w"],
            "tags": [["a"], [], ["b", "c"], None, [1]],
        },
        index=list("pqrst"),
    )
    df.attrs = {"source": "timetable"}
    return df


def levels() -> pd.DataFrame:
    labels = pd.MultiIndex.from_tuples([("km", "out"), ("km", "back"), ("minutes", "out")], names=["what", "way"])
    return pd.DataFrame(np.arange(12).reshape(4, 3), columns=labels)


def repeated() -> pd.DataFrame:
    return make()[["km", "minutes", "km", "group"]]


def times() -> pd.DataFrame:
    return pd.DataFrame(np.arange(6).reshape(2, 3), columns=pd.date_range("2024", periods=3, name="day"))


def subclass() -> pd.DataFrame:
    df = Sub(make())
    df.attrs = {"source": "timetable"}
    return df


#: What is given, and what pandas is given for it.
GIVEN: dict[str, tuple[Callable[[], pd.DataFrame], Callable[[pd.DataFrame], Any], Callable[[pd.DataFrame], Any]]] = {
    "a list": (make, lambda df: ["km", "minutes"], lambda df: ["km", "minutes"]),
    "one label": (make, lambda df: ["name"], lambda df: ["name"]),
    "another order": (make, lambda df: ["tags", "km"], lambda df: ["tags", "km"]),
    "a label twice": (make, lambda df: ["km", "name", "km"], lambda df: ["km", "name", "km"]),
    "none at all": (make, lambda df: [], lambda df: []),
    "all": (make, lambda df: list(df), lambda df: list(df)),
    "a tuple": (make, lambda df: ("km", "minutes"), lambda df: ["km", "minutes"]),
    "an Index with a name": (
        make,
        lambda df: pd.Index(["km", "group"], name="n"),
        lambda df: pd.Index(["km", "group"], name="n"),
    ),
    "an array": (make, lambda df: np.array(["km", "group"]), lambda df: ["km", "group"]),
    "a Series": (make, lambda df: pd.Series(["km", "group"]), lambda df: ["km", "group"]),
    "a generator": (make, lambda df: (label for label in df if label < "m"), lambda df: ["km", "group"]),
    "keys": (make, lambda df: {"km": 1, "group": 2}.keys(), lambda df: ["km", "group"]),
    "labels that the frame has twice": (repeated, lambda df: ["group", "km"], lambda df: ["group", "km"]),
    "a label of the first level": (levels, lambda df: ["km"], lambda df: ["km"]),
    "a label of two levels": (levels, lambda df: [("minutes", "out")], lambda df: [("minutes", "out")]),
    "an Index of two levels": (levels, lambda df: df.columns[::2], lambda df: df.columns[::2]),
    "no label of two levels": (levels, lambda df: [], lambda df: []),
    "a time as text": (times, lambda df: ["2024-01-02"], lambda df: ["2024-01-02"]),
    "times": (times, lambda df: df.columns[1:], lambda df: df.columns[1:]),
    "times as an array": (times, lambda df: df.columns.to_numpy()[1:], lambda df: df.columns.to_numpy()[1:]),
    "of a subclass": (subclass, lambda df: ["km", "name"], lambda df: ["km", "name"]),
    "of an empty frame": (lambda: make().iloc[:0], lambda df: ["km", "name"], lambda df: ["km", "name"]),
}


def seen_by_row(row: Any, sep: str = "|") -> str:
    return sep.join(f"{label}={value!r}" for label, value in row.items()) + type(row).__name__


def seen_by_chunk(chunk: pd.DataFrame) -> pd.DataFrame:
    return chunk.assign(seen=f"{type(chunk).__name__} {list(chunk.columns)}")


@pytest.mark.parametrize("name", GIVEN)
def test_rows_are_those_of_the_columns(name: str) -> None:
    whole, ours, theirs = GIVEN[name]
    assert_same_on_all(
        whole,
        lambda df: df[theirs(df)].apply(seen_by_row, axis=1, sep="/"),
        lambda par: par(columns=ours(whole())).apply_rows(seen_by_row, sep="/"),
    )


@pytest.mark.parametrize("name", GIVEN)
def test_columns_are_those_of_the_columns(name: str) -> None:
    whole, ours, theirs = GIVEN[name]
    assert_same_on_all(
        whole,
        lambda df: df[theirs(df)].apply(lambda column: f"{column.name} {column.tolist()}"),
        lambda par: par(columns=ours(whole())).apply_cols(lambda column: f"{column.name} {column.tolist()}"),
    )


@pytest.mark.parametrize("name", set(GIVEN) - {"of an empty frame"})
def test_chunks_are_those_of_the_columns(name: str) -> None:
    whole, ours, theirs = GIVEN[name]
    if whole is levels:
        func: Callable[[pd.DataFrame], Any] = lambda chunk: chunk * 2
    else:
        func = seen_by_chunk
    assert_same_on_all(
        whole, lambda df: func(df[theirs(df)]), lambda par: par(columns=ours(whole())).apply_chunks(func)
    )


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("how", [{}, {"raw": True}, {"result_type": "expand"}, {"result_type": "broadcast"}])
def test_apply_is_that_of_the_columns(axis: int, how: dict[str, Any]) -> None:
    assert_same_on_all(
        make,
        lambda df: df[["minutes", "km"]].apply(lambda part: part * 2, axis=axis, **how),
        lambda par: par(columns=["minutes", "km"]).apply(lambda part: part * 2, axis=axis, **how),
    )


@pytest.mark.parametrize("func", ["sum", ["min", "max"], np.sqrt, {"km": "sum"}])
def test_what_goes_to_pandas_goes_with_the_columns(func: Any) -> None:
    assert_same(make().par(columns=["km", "minutes"]).apply(func), make()[["km", "minutes"]].apply(func))


def test_a_dict_of_a_row_needs_labels_once_among_the_columns() -> None:
    df = repeated()
    assert df.par(columns=["group", "minutes"]).apply_rows(len, rows="dict").tolist() == [2] * 5
    with pytest.raises(InvalidOptionError, match="repeat"):
        df.par(columns=["km"]).apply_rows(len, rows="dict")
    with pytest.raises(InvalidOptionError, match="repeat"):
        make().par(columns=["name", "name"]).apply_rows(len, rows="dict")


def test_attrs_and_subclass_are_kept_as_pandas_keeps_them() -> None:
    got = subclass().par(columns=["km"], chunk_size=2, engine="serial").apply_chunks(lambda chunk: chunk * 2)
    assert type(got) is Sub
    assert got.attrs == {"source": "timetable"}
    assert_same(got, subclass()[["km"]] * 2)


def test_groups_by_a_column_that_the_function_does_not_get() -> None:
    sizes = {"v": 2, "u": 2, "w": 1}

    def func(chunk: pd.DataFrame) -> pd.DataFrame:
        return chunk.assign(rows=len(chunk))

    assert_same_on_all(
        make,
        lambda df: df[["km"]].assign(rows=df["group"].map(sizes)),
        lambda par: par(columns=["km"])(chunk_size=1).apply_chunks(func, by="group"),
    )
    got = make().par(columns=["km"], engine="serial", chunk_size=1).apply_chunks(
        lambda chunk: (list(chunk.columns), chunk["km"].tolist()), by=["group"]
    )  # fmt: skip
    assert got == [(["km"], [12, 7]), (["km"], [5, 9]), (["km"], [1])]


def test_neighbours_have_the_columns_too() -> None:
    assert_same_on_all(
        make,
        lambda df: df[["minutes", "km"]].diff(),
        lambda par: par(columns=["minutes", "km"]).apply_chunks(lambda chunk: chunk.diff(), overlap=(1, 0)),
    )


def test_the_last_columns_win_and_options_leave_them() -> None:
    par = make().par(columns=["km"])
    labels: Callable[[Any], list[str]] = lambda par: par(engine="serial").apply_cols(lambda column: 1).index.tolist()
    assert labels(par) == ["km"]
    assert labels(par(chunk_size=1)) == ["km"]
    assert labels(par(columns=["name", "tags"])) == ["name", "tags"]
    assert labels(par(columns=None)) == list(make())
    assert labels(par) == ["km"]
    assert labels(make().par(columns=None)) == list(make())


def test_what_was_given_may_change_and_the_frame_too() -> None:
    df = make()
    as_list, as_array = ["km"], np.array(["km"])
    pars = [df.par(columns=given, engine="serial") for given in (as_list, as_array)]
    as_list[0], as_array[0] = "name", "ab"
    df["km"] = 0
    for par in pars:
        assert par.apply_rows(lambda row: row["km"]).tolist() == [0] * 5


def test_the_accessor_shows_them() -> None:
    shown = repr(make().par(columns=("km", "name"), n_workers=2))
    assert shown == "<pdparallel accessor of a DataFrame of 5 rows; options: columns=['km', 'name'], n_workers=2>"
    many = pd.DataFrame(columns=range(1000))
    assert len(repr(many.par(columns=range(900)))) < 150
    assert "columns" not in repr(make().par(columns=["km"])(columns=None))


@pytest.mark.parametrize(
    ("whole", "given", "parts"),
    [
        (make, "km", ["columns='km'", "a list of column labels", "Put a single label into a list: columns=['km']"]),
        (make, "q", ["columns='q'", "a list of column labels"]),
        (make, 3, ["columns=3", "[3]"]),
        (make, b"km", ["columns=b'km'", "[b'km']"]),
        (make, True, ["columns=True", "list"]),
        (make, lambda df: ["km"], ["columns=<function", "list"]),
        (levels, ("km", "out"), ["columns=('km', 'out')", "tuple is one"]),
        (lambda: levels().set_axis(levels().columns.to_flat_index(), axis=1), ("km", "out"), ["tuple is one"]),
        (make, {"km", "name"}, ["columns={", "set"]),
        (make, {"km": "name"}, ["columns={'km': 'name'}", "dict"]),
        (make, pd.DataFrame({"km": [1]}), ["DataFrame"]),
        (make, [True, False, True, False, True], ["columns=[True", "mask", "df.columns[mask]"]),
        (make, np.array([True, False, True, False, True]), ["columns=array([ True", "mask"]),
        (make, pd.Series([True, None], dtype="boolean"), ["mask"]),
        (make, [np.True_], ["mask"]),
        (make, ["km", "mintes", "nme"], ["The frame has no 'mintes' (nearest: 'minutes'), 'nme' (nearest: 'name')."]),
        (make, ["KM"], ["'KM' (nearest: 'km')"]),
        (make, ["qqq", "km", "qqq"], ["The frame has no 'qqq'."]),
        (make, [0], ["The frame has no 0."]),
        (make, [None], ["The frame has no None."]),
        (make, [["km"]], ["The frame has no ['km']"]),
        (make, np.array([["km", "name"]]), ["The frame has no array("]),
        (make, list("hijlnop"), ["'h'", "'l'", "'n', and 2 more."]),
        (lambda: pd.DataFrame(columns=[3, 12]), ["3", 2], ["'3' (nearest: 3), 2."]),
        (levels, ["kms"], ["'kms' (nearest: 'km')"]),
        (levels, [("km", "outt")], ["('km', 'outt') (nearest: ('km', 'out'))"]),
        (levels, ["minutes", ("km", "out")], ["pandas says"]),
        (times, ["2025-01-01"], ["'2025-01-01'"]),
        (lambda: make()[["km"]].set_flags(allows_duplicate_labels=False), ["km", "km"], ["pandas says", "duplicates"]),
    ],
)
def test_what_is_refused_says_why_before_anything_starts(whole: Any, given: Any, parts: list[str]) -> None:
    before = len(children())
    with pytest.raises(InvalidOptionError) as caught:
        whole().par(columns=given, engine="process")
    for part in ["columns=", *parts]:
        assert part in str(caught.value)
    assert len(children()) == before


def _in_context() -> None:
    with pdparallel.option_context(columns=["km"]):
        raise AssertionError("not reached")


@pytest.mark.parametrize(
    "way",
    [
        lambda: pdparallel.set_options(columns=["km"]),
        _in_context,
        lambda: make()["km"].par(columns=["km"]),
        lambda: pdparallel.map(abs, [1], columns=["km"]),
    ],
)
def test_it_belongs_to_one_call_on_one_frame(way: Callable[[], Any]) -> None:
    before = resolve()
    with pytest.raises(InvalidOptionError, match=r"columns=\['km'\] is not allowed.*df\.par\(columns=.*one call"):
        way()
    assert resolve() == before


def test_there_is_none_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPARALLEL_COLUMNS", "km,name")
    with pytest.raises(InvalidOptionError, match=r"PDPARALLEL_COLUMNS='km,name'.*df\.par\(columns=.*one call"):
        make().par.apply_rows(lambda row: 1)
    assert "columns" not in pdparallel.Options.__dataclass_fields__


def test_a_column_that_cannot_travel_does_no_harm() -> None:
    df = make().assign(stream=[(letter for letter in "ab") for _ in range(5)])
    par = df.par(engine="process", n_workers=1)
    with pytest.raises(TypeError) as caught:
        par.apply_rows(lambda row: row["km"])
    assert "column 'stream' cannot be sent" in caught.value.__notes__[0]
    par = par(columns=["km", "name"])
    assert par.apply_rows(lambda row: row["km"] + len(row)).tolist() == [7, 14, 11, 9, 3]
    assert par.apply_cols(len).tolist() == [5, 5]
    assert_same(par.apply_chunks(lambda chunk: chunk), df[["km", "name"]])
    assert par.apply_chunks(lambda chunk: chunk["km"].sum(), by="group", combine=sum) == 34


class Weighed(SerialEngine):
    """Keeps the size of each task."""

    def __init__(self, locality: Locality, sizes: list[int]) -> None:
        super().__init__(locality)
        self.sizes = sizes

    def submit(self, task: bytes) -> Future[bytes]:
        self.sizes.append(len(task))
        return super().submit(task)


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], list[int]]]:
    """Gives the bytes of all tasks of a call, where everything travels in them."""
    sizes: list[int] = []
    force(monkeypatch.setattr, engine=Weighed(Locality.ANYWHERE, sizes))
    # The levels of loggers go with each task, and other tests import libraries that have hundreds.
    monkeypatch.setattr("pdparallel.execution.encode.capture_state", lambda: b"")

    def weigh(call: Callable[[], Any]) -> list[int]:
        sizes.clear()
        call()
        return list(sizes)

    return weigh


CALLS: dict[str, Callable[[Any], Any]] = {
    "apply_rows": lambda par: par.apply_rows(len),
    "raw": lambda par: par.apply_rows(len, raw=True),
    "apply_cols": lambda par: par.apply_cols(len),
    "apply_chunks": lambda par: par.apply_chunks(len),
    "overlap": lambda par: par.apply_chunks(lambda chunk: chunk, overlap=1),
}


def wide() -> pd.DataFrame:
    n = 400
    columns = {f"number {at}": np.arange(n) + at for at in range(10)}
    columns |= {f"float {at}": np.arange(n) / (at + 1) for at in range(10)}
    columns |= {f"text {at}": [f"text {row}" for row in range(n)] for at in range(5)}
    columns |= {f"object {at}": pd.Series([[row] for row in range(n)], dtype=object) for at in range(5)}
    return pd.DataFrame(columns)


@pytest.mark.parametrize("call", CALLS)
def test_tasks_are_as_small_as_of_the_columns_alone(call: str, weighed: Callable[..., list[int]]) -> None:
    needed = ["float 3", "number 7", "text 1", "object 2"] if call != "raw" else ["float 3", "number 7"]
    options = {"engine": "process", "n_workers": 2, "chunk_size": 100 if call != "apply_cols" else 1}
    df = wide()
    small = weighed(lambda: CALLS[call](df.par(columns=needed, **options)))
    assert len(small) >= 2
    assert small == weighed(lambda: CALLS[call](df[needed].par(**options)))
    assert sum(small) < sum(weighed(lambda: CALLS[call](df.par(**options)))) / 3


@pytest.mark.parametrize(
    "cut",
    [
        lambda df: df.par(columns=["float 3", "float 4", "text 1"]),
        lambda df: df[["float 3", "float 4", "text 1"]].par,
        lambda df: df.loc[:, "float 3":"float 5"].par,
        lambda df: df.iloc[:, 10:20:4].par,
        lambda df: df.drop(columns=[label for label in df if label not in ("float 3", "float 4", "number 2")]).par,
    ],
)
def test_the_arena_holds_no_more_than_the_columns(
    cut: Callable[[pd.DataFrame], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the frame is a view of a wider one."""
    sizes: list[int] = []

    class Measured(Arena):
        def __init__(self, buffers: Any) -> None:
            super().__init__(buffers)
            sizes.append(self.ref.size)

    monkeypatch.setattr(encode, "Arena", Measured)
    # Numbers of one dtype lie in one block, which a view of some columns refers to.
    n = 20_000
    df = pd.DataFrame({f"{kind} {at}": np.zeros(n) for kind in ("number", "float") for at in range(10)})
    df["text 1"] = pd.Series(["text"] * n, dtype=object if pd.__version__ < "3" else "str")
    with running(Way(None, Locality.HOST)):
        assert cut(df)(engine="process", chunk_size=10_000).apply_rows(lambda row: 1, rows="tuple").sum() == n
    assert len(sizes) == 1
    assert 2 * 8 * n <= sizes[0] <= 4 * 8 * n
