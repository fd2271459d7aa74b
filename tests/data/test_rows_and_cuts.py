"""A row is as in pandas wherever the frame is cut: its dtype and values, what can be written, attrs and flags."""

from __future__ import annotations

import contextlib
import itertools
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.typing import RowKind

N = 12

PANDAS_2 = pd.__version__.startswith("2.")

WAYS: dict[str, dict[str, Any]] = {
    "auto": {},
    "serial": {"engine": "serial"},
    "serial, one row": {"engine": "serial", "chunk_size": 1},
    "thread, five rows": {"engine": "thread", "n_workers": 2, "chunk_size": 5},
    "process, one row": {"engine": "process", "n_workers": 2, "chunk_size": 1},
    "process, five rows": {"engine": "process", "n_workers": 2, "chunk_size": 5},
    "process": {"engine": "process", "n_workers": 2},
}


pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # pandas' own


def ways(*case: str) -> dict[str, dict[str, Any]]:
    """Two of the ways for a case, the same in each run."""
    first = "serial, one row"
    second = random.Random(repr(case)).choice([name for name in WAYS if name != first])
    return {name: WAYS[name] for name in (first, second)}


def outcome(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except Exception as error:
            return type(error), str(error)


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected), (found, expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(found, expected, check_exact=True)
        assert list(map(type, found)) == list(map(type, expected))
    else:
        assert found == expected


# What a function writes into its row


def _read_only() -> pd.DataFrame:
    values = np.arange(2.0 * N).reshape(N, 2)
    values.flags.writeable = False
    return pd.DataFrame(values, columns=["a", "b"], copy=False)


FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    "floats": lambda: pd.DataFrame({"a": np.arange(float(N)), "b": np.arange(float(N))}),
    "floats of one array": lambda: pd.DataFrame(np.arange(2.0 * N).reshape(N, 2), columns=["a", "b"]),
    "floats of an array that is read-only": _read_only,
    "floats in two blocks": lambda: pd.DataFrame({"a": np.arange(float(N))}).assign(b=np.arange(float(N))),
    "integers": lambda: pd.DataFrame({"a": np.arange(N), "b": np.arange(N)}),
    "one column": lambda: pd.DataFrame({"a": np.arange(float(N))}),
    "integers and floats": lambda: pd.DataFrame({"a": np.arange(float(N)), "b": np.arange(N)}),
    "objects": lambda: pd.DataFrame({"a": list("abcdefghijkl"), "b": [1, "x"] * (N // 2)}, dtype=object),
    "objects in two blocks": lambda: pd.DataFrame({"a": list("abcdefghijkl")}, dtype=object).assign(
        b=pd.Series([1, "x"] * (N // 2), dtype=object)
    ),
    "texts and numbers": lambda: pd.DataFrame({"a": list("abcdefghijkl"), "b": np.arange(N)}),
    "nullable": lambda: pd.DataFrame({"a": range(N), "b": range(N)}, dtype="Int64"),
    "times": lambda: pd.DataFrame(
        {"a": pd.date_range("2026", periods=N), "b": pd.date_range("2025", periods=N)}, columns=["a", "b"]
    ),
    "times with a zone": lambda: pd.DataFrame(
        {"a": pd.date_range("2026", periods=N, tz="UTC"), "b": pd.date_range("2025", periods=N, tz="UTC")}
    ),
    "categories with one missing": lambda: pd.DataFrame(
        {"a": np.arange(N), "b": pd.Categorical([1, None, 2] * (N // 3))}
    ),
}


def _set(row: Any) -> None:
    row["a"] = row.iloc[-1]


def _set_by_place(row: Any) -> None:
    row.iloc[0] = row.iloc[-1]


def _set_one(row: Any) -> None:
    row.iat[0] = row.iloc[-1]


def _set_in_array(row: Any) -> None:
    row.array[0] = row.array[-1]


def _set_in_values(row: Any) -> None:
    row.values[0] = row.values[-1]


def _set_in_numpy(row: Any) -> None:
    row.to_numpy()[0] = row.to_numpy()[-1]


def _set_in_asarray(row: Any) -> None:
    np.asarray(row)[0] = np.asarray(row)[-1]


def _in_place(row: Any) -> None:
    row.mask(row == row, row.iloc[-1], inplace=True)


def _fill(row: Any) -> None:
    row.fillna(row.iloc[-1], inplace=True)


def _update(row: Any) -> None:
    row.update(pd.Series({"a": row.iloc[-1]}))


def _add(row: Any) -> None:
    row["c"] = row.iloc[-1]


WRITES = [
    _set, _set_by_place, _set_one, _set_in_array, _set_in_values, _set_in_numpy, _set_in_asarray, _in_place, _fill,
    _update, _add,
]  # fmt: skip

#: Which rows are written into, and from which on an error stays in the function.
ROWS: dict[str, tuple[set[int], bool]] = {
    "each": (set(range(N)), False),
    "each, errors kept": (set(range(N)), True),
    "the first": ({0}, False),
    "a late one": ({7}, False),
    "two": ({3, 8}, False),
    "three, errors kept": ({1, 6, 11}, True),
}

GIVES: dict[str, Callable[[Any], Any]] = {
    "text": lambda row: repr(list(row)),
    "row": lambda row: row,
    "copy": lambda row: row.copy(),
    "part": lambda row: row.iloc[:1],
}


def _cases() -> list[Any]:
    """A part of all combinations: each frame and write with some rows and returns, the same in each run."""
    drawn = random.Random(17)
    cases = []
    for frame, write in itertools.product(FRAMES, WRITES):
        rows, gives = drawn.choice(list(ROWS)), drawn.choice(list(GIVES))
        cases.append(pytest.param(frame, write, rows, gives, id=f"{frame}-{write.__name__}-{rows}-{gives}"))
    for rows, gives in itertools.product(ROWS, GIVES):
        cases += [
            pytest.param(frame, _set, rows, gives, id=f"{frame}-all-{rows}-{gives}")
            for frame in ("floats", "objects", "objects in two blocks")
        ]
    return cases


@pytest.mark.part(2)
@pytest.mark.parametrize(("frame", "write", "rows", "gives"), _cases())
def test_rows_are_written_into_as_in_pandas(frame: str, write: Any, rows: str, gives: str) -> None:
    if PANDAS_2 and frame == "times" and write is _set_in_array:
        pytest.skip("pandas 2 keeps the array of an earlier row and writes into that")
    which, keeps = ROWS[rows]
    give = GIVES[gives]

    def func(row: Any) -> Any:
        if row.name in which:
            if keeps:
                try:
                    write(row)
                except (ValueError, TypeError) as error:
                    return f"{type(error).__name__}: {error}"
            else:
                write(row)
        return give(row)

    theirs = FRAMES[frame]()
    expected = outcome(lambda: theirs.apply(func, axis=1))
    for name, options in ways(frame, write.__name__, rows, gives).items():
        ours = FRAMES[frame]()
        found = outcome(lambda ours=ours, options=options: ours.par(**options).apply_rows(func))
        try:
            assert_same(found, expected)
            # In pandas 2 a row may be a view of the frame. Here it is one of a copy, unless pandas itself begins.
            unchanged = FRAMES[frame]()
            pd.testing.assert_frame_equal(ours, theirs if name == "auto" else unchanged)
        except AssertionError as error:
            error.add_note(name)
            raise


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("errors", ["return", "coerce"])
def test_rows_whose_errors_are_returned(frame: str, errors: Any) -> None:
    """What pandas would not have let through is a failure of its row, and of no other one."""

    def func(row: Any) -> str:
        _set(row)
        return repr(list(row))

    def kept(row: Any) -> str:
        try:
            return func(row)
        except ValueError:
            return "failed"

    expected = FRAMES[frame]().apply(kept, axis=1).tolist()
    for options in ways(frame, errors).values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = FRAMES[frame]().par(**options, errors=errors).apply_rows(func)
        assert [value if isinstance(value, str) else "failed" for value in found] == expected


# What a function of any verb may write into


def _writable(unit: Any) -> str:
    values = unit if isinstance(unit, np.ndarray) else unit.to_numpy()
    array = np.asarray(unit if isinstance(unit, np.ndarray) else unit.array)
    return f"{values.flags.writeable} {array.flags.writeable}"


VERBS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "rows": (lambda df: df.apply(_writable, axis=1), lambda par: par.apply_rows(_writable)),
    "rows as arrays": (
        lambda df: df.apply(_writable, axis=1, raw=True),
        lambda par: par.apply_rows(_writable, raw=True),
    ),
    "columns": (lambda df: df.apply(_writable), lambda par: par.apply_cols(_writable)),
    "columns as arrays": (
        lambda df: df.apply(_writable, raw=True),
        lambda par: par.apply_cols(_writable, raw=True),
    ),
    "groups of a column": (
        lambda df: df.groupby([0, 1] * (N // 2))["a"].apply(_writable),
        lambda par: par.groupby([0, 1] * (N // 2))["a"].apply(_writable),
    ),
    "groups": (
        lambda df: df.groupby([0, 1] * (N // 2)).apply(lambda group: _writable(group["a"])),
        lambda par: par.groupby([0, 1] * (N // 2)).apply(lambda group: _writable(group["a"])),
    ),
    "chunks": (
        lambda df: [_writable(df.iloc[:6]["a"])],
        lambda par: sorted(set(par.apply_chunks(lambda chunk: _writable(chunk["a"]), combine="list"))),
    ),
}


@pytest.mark.parametrize("frame", [name for name in FRAMES if "zone" not in name and "nullable" not in name])
@pytest.mark.parametrize("verb", VERBS)
def test_what_can_be_written_into_is_as_in_pandas(verb: str, frame: str) -> None:
    theirs, ours = VERBS[verb]
    expected = outcome(lambda: list(theirs(FRAMES[frame]())))
    for name, options in ways(verb, frame).items():
        assert outcome(lambda options=options: list(ours(FRAMES[frame]().par(**options)))) == expected, name


# Values that depend on the whole frame


def _category(values: list[Any], categories: Any) -> pd.Series:
    return pd.Series(pd.Categorical(values, categories=categories))


def _arrow(kind: str, values: list[Any]) -> pd.Series:
    pa = pytest.importorskip("pyarrow")
    kinds = {
        "list": lambda: pa.list_(pa.int64()),
        "large list": lambda: pa.large_list(pa.int32()),
        "fixed list": lambda: pa.list_(pa.int64(), 2),
        "list of lists": lambda: pa.list_(pa.list_(pa.int64())),
        "struct": lambda: pa.struct([("x", pa.int64())]),
        "map": lambda: pa.map_(pa.string(), pa.int64()),
        "integer": pa.int64,
    }
    return pd.Series(values, dtype=pd.ArrowDtype(kinds[kind]()))


COLUMNS: dict[str, Callable[[], pd.Series]] = {
    "integers": lambda: _category([1, None, 2, 1], [1, 2]),
    "integers, none missing": lambda: _category([1, 2, 2, 1], [1, 2]),
    "small integers": lambda: _category([1, None, 2, 1], np.array([1, 2], dtype=np.int8)),
    "unsigned integers": lambda: _category([1, None, 2, 1], np.array([1, 2], dtype=np.uint64)),
    "booleans": lambda: _category([True, None, False, True], [True, False]),
    "texts": lambda: _category(["x", None, "y", "x"], ["x", "y"]),
    "floats": lambda: _category([0.5, None, 1.5, 0.5], [0.5, 1.5]),
    "times": lambda: _category(list(pd.to_datetime(["2026", None, "2025", "2026"])), pd.to_datetime(["2026", "2025"])),
    "nullable integers": lambda: _category([1, None, 2, 1], pd.array([1, 2], dtype="Int64")),
    "intervals": lambda: pd.Series(pd.cut([0.5, np.nan, 1.5, 0.5], [0, 1, 2])),
    "sparse floats": lambda: pd.Series(pd.arrays.SparseArray([0.0, 1.0, np.nan, 0.0])),
    "sparse integers": lambda: pd.Series(pd.arrays.SparseArray([0, 1, 0, 2])),
    "nullable": lambda: pd.Series([1, None, 2, 1], dtype="Int64"),
    "lists": lambda: _arrow("list", [[1], [5, 6], [2, None], None]),
    "large lists": lambda: _arrow("large list", [[1], [5, 6], [2, None], [7]]),
    "fixed lists": lambda: _arrow("fixed list", [[1, 2], [5, 6], [2, None], [7, 8]]),
    "lists of lists": lambda: _arrow("list of lists", [[[1]], [[5]], [[2, None]], [[7]]]),
    "structs": lambda: _arrow("struct", [{"x": 1}, {"x": None}, None, {"x": 3}]),
    "maps": lambda: _arrow("map", [[("a", 1)], [("b", None)], [], [("c", 2)]]),
    "Arrow integers": lambda: _arrow("integer", [1, None, 2, 1]),
}

BESIDE: dict[str, Any] = {
    "nothing": None,
    "integers": np.arange(4),
    "small integers": np.arange(4, dtype=np.int8),
    "floats": np.arange(4.0),
    "booleans": np.array([True, False, True, False]),
    "objects": np.array(["p", 1, "r", 2], dtype=object),
    "texts": list("pqrs"),
    "itself": "itself",
}


def _look(row: Any) -> str:
    values = list(row.values()) if isinstance(row, dict) else list(row)
    dtype = str(row.dtype) if isinstance(row, pd.Series) else ""
    return f"{dtype} {[(type(value).__name__, repr(value)) for value in values]}"


CUTS: list[dict[str, Any]] = [
    {"engine": "serial", "chunk_size": 1},
    {"engine": "thread", "n_workers": 2, "chunk_size": 2},
    {"engine": "process", "n_workers": 2, "chunk_size": 1},
    {"engine": "process", "n_workers": 2, "chunk_size": 3},
]


def _frame(column: str, beside: str) -> pd.DataFrame:
    c = COLUMNS[column]()
    other = BESIDE[beside]
    if other is None:
        return pd.DataFrame({"c": c})
    return pd.DataFrame({"c": c, "k": c if isinstance(other, str) else other})


@pytest.mark.part(2)
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("column", COLUMNS)
def test_values_do_not_depend_on_the_cut(column: str, beside: str) -> None:
    df = _frame(column, beside)
    tuples = [_look(row) for row in df.itertuples(index=False, name=None)]
    for options in (CUTS[0], random.Random(column + beside).choice(CUTS[1:])):
        par = df.par(**options)
        assert_same(
            outcome(lambda par=par: par.apply_rows(_look).tolist()),
            outcome(lambda: df.apply(_look, axis=1).tolist()),
        )
        assert par.apply_rows(_look, rows="tuple").tolist() == tuples
        assert par.apply_rows(_look, rows="dict").tolist() == tuples


@pytest.mark.parametrize("beside", ["integers", "floats", "objects"])
@pytest.mark.parametrize("column", COLUMNS)
def test_values_of_broadcast_do_not_depend_on_the_cut(column: str, beside: str) -> None:
    df = _frame(column, beside)
    seen: list[str] = []

    def look(row: Any) -> list[Any]:
        seen.append(_look(row))
        return [0, 0]

    outcome(lambda: df.apply(look, axis=1, result_type="broadcast"))
    expected = list(seen)
    seen.clear()
    outcome(lambda: df.par(engine="serial", chunk_size=1).apply_rows(look, result_type="broadcast"))
    assert seen == expected


def _fails(row: Any) -> Any:
    raise LookupError(row.name)


@pytest.mark.parametrize("func", [len, _fails])
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("options", [{}, *CUTS[:3]], ids=str)
def test_numpy_warns_of_converted_rows_as_often_as_in_pandas(func: Any, unique: bool, options: dict[str, Any]) -> None:
    df = pd.DataFrame({"a": range(4), "c": pd.Categorical.from_codes([0, -1, 1, 0], [5, 7])})
    df = df.set_flags(allows_duplicate_labels=not unique)

    def warned(obj: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            with contextlib.suppress(LookupError, ValueError):
                obj.apply(func, axis=1)
        return [str(warning.message) for warning in noted]

    assert warned(df.par(**options)) == warned(df)


@pytest.mark.parametrize("rows", ["series", "tuple"])
def test_converted_rows_have_what_the_frame_has(rows: RowKind) -> None:
    df = _frame("integers", "integers")
    df.index = pd.Index(list("wxyz"), name="row")
    df.columns.name = "column"
    df.attrs["unit"] = "km"
    before = df.copy()
    look = lambda row: repr(row if rows == "tuple" else (row.name, row.index.name, row.attrs, list(row)))
    found = df.par(engine="serial", chunk_size=1).apply_rows(look, rows=rows)
    expected = (
        pd.Series(map(repr, df.itertuples(index=False, name=None)), index=df.index)
        if rows == "tuple"
        else df.apply(look, axis=1)
    )
    assert found.tolist() == expected.tolist()
    pd.testing.assert_frame_equal(df, before)


# What rows are told of their frame


TOLD: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "attrs": lambda df: _with_attrs(df),
    "flags": lambda df: df.set_flags(allows_duplicate_labels=False),
    "both": lambda df: _with_attrs(df).set_flags(allows_duplicate_labels=False),
    "nothing": lambda df: df,
}


def _with_attrs(df: pd.DataFrame) -> pd.DataFrame:
    df.attrs = {"unit": "km", "list": [1]}
    return df


@pytest.mark.part(2)
@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("size", [N, 40])
def test_rows_have_the_attrs_and_flags_of_their_frame(frame: str, told: str, size: int) -> None:
    df = FRAMES[frame]()
    df = TOLD[told](df.take(np.arange(size) % len(df)).reset_index(drop=True))
    before = repr(df.attrs)

    def look(row: Any) -> str:
        new = row.rename("new")
        return f"{row.attrs} {row.flags.allows_duplicate_labels} {new.attrs} {new.flags.allows_duplicate_labels}"

    def late(row: Any) -> Any:
        return look(row) if row.name % 3 == 1 else row["a"] is None

    for func in (look, late):
        expected = df.apply(func, axis=1).tolist()
        for name, options in ways(frame, told, str(size)).items():
            assert df.par(**options).apply_rows(func).tolist() == expected, name
    assert repr(df.attrs) == before


@pytest.mark.parametrize("engine", ["serial", "thread", "process"])
def test_attrs_that_a_row_changes_are_its_own(engine: Any) -> None:
    df = _with_attrs(FRAMES["texts and numbers"]())

    def func(row: Any) -> int:
        row.attrs["list"].append(row.name)
        return int(row["b"])

    assert df.par(engine=engine, n_workers=2, chunk_size=5).apply_rows(func).tolist() == list(range(N))
    assert df.attrs == {"unit": "km", "list": [1]}


def teardown_module() -> None:
    pdparallel.shutdown()
