"""Lazy rows: whatever a function does with its row is as with pandas' own."""

from __future__ import annotations

import copy
import functools
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.compat import PANDAS_2
from pdparallel.data.fastpath import group as lazy_groups
from pdparallel.data.fastpath import row as lazy_rows
from pdparallel.data.fastpath.row import LazyRows
from pdparallel.data.fastpath.type_checks import reads_by_texts
from pdparallel.errors import PerformanceHint
from pdparallel.testing import assert_same_as_pandas

FRAMES: dict[str, pd.DataFrame] = {
    "floats": pd.DataFrame({"a": [1.5, np.nan, -0.0], "b": [2.5, 3.5, np.inf], "c": [1e300, 0.1, 7.0]}),
    "integers": pd.DataFrame({"a": [1, 2, 2**62], "b": [3, -4, 5], "c": [0, 0, 0]}, index=[10, 20, 30]),
    "bools": pd.DataFrame({"a": [True, False, True], "b": [True, True, False], "c": [False, False, False]}),
    "float32": pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": [0.1, 0.2, 0.3], "c": [1, 2, 3]}, dtype=np.float32),
    "integers and floats": pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, np.nan], "c": [1, 2, 3]}),
    "bools and integers": pd.DataFrame({"a": [True, False, True], "b": [1, 2, 3], "c": [1, 2, 3]}),
    "mixed": pd.DataFrame(
        {"a": [1, 2, 3], "b": ["x", None, "z"], "c": [0.5, np.nan, 1.5]}, index=pd.Index(["p", "q", "q"], name="key")
    ),
    "times": pd.DataFrame(
        {"a": pd.date_range("2024", periods=3, tz="Europe/Berlin"), "b": [1, 2, 3], "c": pd.to_timedelta([1, 2, 3])}
    ),
    "naive times": pd.DataFrame({"a": pd.date_range("2024", periods=3), "b": pd.date_range("2025", periods=3), "c": 1}),
    "categories": pd.DataFrame({"a": pd.Categorical(["u", None, "v"]), "b": [1, 2, 3], "c": [1.5, 2.5, 3.5]}),
    "objects": pd.DataFrame({"a": [1, "x", None], "b": [[1], {}, (2,)], "c": [1.5, np.nan, pd.NaT]}, dtype=object),
    "texts": pd.DataFrame({"a": ["x", None, "z"], "b": ["1", "2", "3"], "c": ["", "é", "\x00"]}),
    "nullable": pd.DataFrame({"a": [1, None, 3], "b": [1, 2, 3], "c": [1, 2, 3]}, dtype="Int64"),
    "names of attributes": pd.DataFrame(
        {"a": [1, 2, 3], "b": [4, 5, 6], "c": [1.5, 2.5, 3.5], "sum": 1, "name": 2, "index": 3, "iloc": 4, "_name": 5}
    ),
    "an own name": pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": [5, 6], "_lazy": [7, 8], "_lazy_at": [7, 8]}),
    "labels that repeat": pd.DataFrame([[1, 2, 3, 4], [5, 6, 7, 8]], columns=["a", "b", "c", "a"]),
    "labels of numbers": pd.DataFrame([[1.0, 2.0, 3.0]] * 3),
    "labels of texts and numbers": pd.DataFrame([[1.0, 2.0, 3.0, 4.0]] * 3, columns=["a", "b", "c", 1]),
    "labels of two levels": pd.DataFrame([[1, 2, 3]] * 2, columns=pd.MultiIndex.from_product([["a"], ["b", "c", "d"]])),
    "dates as labels of rows": pd.DataFrame(
        {"a": [1.0, 2], "b": [3.0, 4], "c": [5.0, 6]}, index=pd.date_range("2024", periods=2, tz="UTC")
    ),
}


def _write(row: Any) -> Any:
    row["a"] = row["b"]
    return [*row.tolist(), row["a"]]


def _add(row: Any) -> Any:
    row["new"] = 5
    return row


def _set_attribute(row: Any) -> Any:
    row.a = row.b
    return row.a, row["a"]


def _delete(row: Any) -> Any:
    del row["a"]
    return list(row.index)


def _delete_attribute(row: Any) -> Any:
    del row.a
    return row["a"]


def _write_after_reads(row: Any) -> Any:
    before = row["a"], row.a
    row["a"] = row["b"]
    return *before, row["a"], row.a, row.loc["a"]


def _own_attribute(row: Any) -> Any:
    row.attrs["seen"] = 1
    row.flags.allows_duplicate_labels = True
    return row.attrs


def _kind(row: Any) -> Any:
    return type(row).__name__, type(row).__module__, isinstance(row, pd.Series), row.__class__ is pd.Series


def _match(row: Any) -> Any:
    match row:
        case pd.Series(a=value):
            return value
    return None


@functools.singledispatch
def _dispatched(unit: Any) -> str:
    return "object"


@_dispatched.register
def _(unit: pd.Series) -> str:
    return "series"


def _typed(value: Any) -> Any:
    return type(value).__name__, repr(value)


USES: dict[str, Callable[[Any], Any]] = {
    "by label": lambda row: _typed(row["a"]),
    "by label, all": lambda row: [_typed(row[label]) for label in ("a", "b", "c")],
    "by attribute": lambda row: (_typed(row.a), _typed(row.c), _typed(row.a)),
    "by get": lambda row: (_typed(row.get("a")), row.get("missing"), row.get("missing", 3), _typed(row.get(0, "no"))),
    "by position": lambda row: (_typed(row.iloc[0]), _typed(row.iloc[-1]), _typed(row.iat[1])),
    "by position, NumPy's integer": lambda row: _typed(row.iloc[np.int64(1)]),
    "by position, out of range": lambda row: row.iloc[99],
    "by loc": lambda row: (_typed(row.loc["a"]), _typed(row.at["b"])),
    "by loc, missing": lambda row: row.loc["missing"],
    "by loc, several": lambda row: row.loc[["a", "b"]].tolist(),
    "by loc, a slice": lambda row: row.loc["a":"b"].tolist(),
    "by iloc, a slice": lambda row: row.iloc[:2].tolist(),
    "by iloc, a call": lambda row: row.iloc(axis=0)[0],
    "by several labels": lambda row: row[["a", "b"]].tolist(),
    "by a slice": lambda row: row[:2].tolist(),
    "by a mask": lambda row: row[[True] + [False] * (len(row) - 1)].tolist(),
    "by a number": lambda row: _typed(row[0]),
    "by a label that is missing": lambda row: row["missing"],
    "by an attribute that is missing": lambda row: row.missing,
    "by a tuple": lambda row: row["a", "b"],
    "by None": lambda row: row[None],
    "by True": lambda row: _typed(row[True]),
    "by 1.0": lambda row: _typed(row[1.0]),
    "by NaN": lambda row: row[float("nan")],
    "by a Series": lambda row: row[row == row].tolist(),
    "by a slice of labels": lambda row: row["a":"b"].tolist(),
    "by an ellipsis": lambda row: row[...].tolist(),
    "by a dict": lambda row: row[{}],
    "by its own getter": lambda row: (_typed(row.__getitem__("a")), row.__getitem__(["a"]).tolist()),
    "by label, without calls": lambda row: [row["a"], row.a, row["b"], row["a"]],
    "by a missing label, without calls": lambda row: [row["a"], row["missing"]],
    "by a missing attribute, without calls": lambda row: [row.a, row.missing],
    "by label and method": lambda row: [row["a"], row.a, row.size, row["a"], row.a, row.name],
    "by get, several": lambda row: row.get(["a", "b"]).tolist(),
    "a label and its method": lambda row: [row["sum"], row["name"], row.name, row.sum(), row.count()],
    "by a list as key": lambda row: row[[]].tolist(),
    "by NumPy's text": lambda row: _typed(row[np.str_("a")]),
    "asking for attributes": lambda row: (hasattr(row, "a"), hasattr(row, "missing"), getattr(row, "missing", 1)),
    "name": lambda row: _typed(row.name),
    "name after a method": lambda row: (row.isna().any(), _typed(row.name)),
    "index": lambda row: (list(row.index), row.index.name, list(row.keys())),
    "length and shape": lambda row: (len(row), row.shape, row.size, row.ndim, row.empty),
    "dtype": lambda row: (str(row.dtype), str(row.dtypes)),
    "iterate": lambda row: [_typed(value) for value in row],
    "unpack": lambda row: (lambda first, *rest: (_typed(first), len(rest)))(*row),
    "keywords": lambda row: (lambda **kwargs: sorted(map(str, kwargs)))(**row),
    "contains": lambda row: ("a" in row, "missing" in row, 0 in row, 1.5 in row),
    "contains a list": lambda row: [] in row,
    "items": lambda row: [(label, _typed(value)) for label, value in row.items()],
    "items of type": lambda row: str(type(row.items())),
    "tolist": lambda row: list(map(_typed, row.tolist())) + list(map(_typed, row.to_list())),
    "to_dict": lambda row: {label: _typed(value) for label, value in row.to_dict().items()},
    "to_dict into": lambda row: str(type(row.to_dict(into=__import__("collections").OrderedDict))),
    "values": lambda row: (str(row.values.dtype), list(map(_typed, row.values))),
    "array": lambda row: str(np.asarray(row).dtype),
    "sum": lambda row: _typed(row.sum()),
    "sum of numbers": lambda row: _typed(row.sum(numeric_only=True)),
    "sum with missing": lambda row: _typed(row.sum(skipna=False)),
    "sum of at least": lambda row: _typed(row.sum(min_count=5)),
    "max and min": lambda row: (_typed(row.max()), _typed(row.min())),
    "max builtin": lambda row: _typed(max(row)),
    "mean": lambda row: _typed(row.mean()),
    "std": lambda row: _typed(row.std()),
    "std and var, otherwise": lambda row: (_typed(row.var()), _typed(row.std(ddof=0)), _typed(np.std(row))),
    "median": lambda row: _typed(row.median()),
    "sum builtin": lambda row: _typed(sum(row)),
    "arithmetic": lambda row: (row + row).tolist(),
    "compare": lambda row: (row == row).tolist(),
    "negate": lambda row: (-row).tolist(),
    "truth": lambda row: bool(row),
    "hash": lambda row: hash(row),
    "text": lambda row: (str(row), repr(row), f"{row}"),
    "html": lambda row: row.to_frame()._repr_html_(),
    "methods of texts": lambda row: row.str.upper().tolist(),
    "methods of times": lambda row: row.dt.year.tolist(),
    "NumPy's mean": lambda row: (_typed(np.mean(row)), _typed(np.sum(row))),
    "isna": lambda row: row.isna().tolist(),
    "map": lambda row: row.map(str).tolist(),
    "equals": lambda row: row.equals(row.copy()),
    "a method by name": lambda row: operator.methodcaller("count")(row),
    "an attribute by getter": lambda row: _typed(operator.attrgetter("a")(row)),
    "an item by getter": lambda row: _typed(operator.itemgetter("a")(row)),
    "written": _write,
    "a label added": _add,
    "an attribute set": _set_attribute,
    "a label deleted": _delete,
    "an attribute deleted": _delete_attribute,
    "written after reads": _write_after_reads,
    "written by loc": lambda row: (row.loc.__setitem__("a", row["b"]), row.tolist())[1],
    "written by iloc": lambda row: (row.iloc.__setitem__(0, row.iloc[1]), row.tolist())[1],
    "attrs and flags": _own_attribute,
    "returned": lambda row: row,
    "a part returned": lambda row: row[["a", "b"]],
    "a copy returned": lambda row: row.copy(),
    "a shallow copy returned": lambda row: copy.copy(row),
    "a deep copy returned": lambda row: copy.deepcopy(row),
    "returned in a list": lambda row: [row["a"], row],
    "pickled": lambda row: pickle.loads(pickle.dumps(row)),
    "pickled in the old way": lambda row: pickle.loads(pickle.dumps(row, 2)).tolist(),
    "its kind": _kind,
    "its class": lambda row: (row.__class__.__name__, row.__class__ is pd.Series, isinstance(row, (list, pd.Series))),
    "dispatched": _dispatched,
    "matched": _match,
    "dir": lambda row: [name for name in dir(row) if name in ("a", "sum", "_lazy")],
    "vars": lambda row: sorted(name for name in vars(row.copy()) if "lazy" in name),
    "as an argument of pandas": lambda row: pd.concat([row, row]).tolist(),
    "as an argument of NumPy": lambda row: np.asarray(np.array([row], dtype=object)).shape,
    "in a frame": lambda row: pd.DataFrame([row]).shape,
    "a dict of it": lambda row: {label: _typed(value) for label, value in dict(row).items()},
    "a Series of it": lambda row: pd.Series(row).tolist(),
    "kept iloc": lambda row: (lambda by: (_typed(by[0]), row.isna().sum(), _typed(by[0])))(row.iloc),
    "two ways at once": lambda row: (_typed(row["a"]), row.isna().sum(), _typed(row["a"]), _typed(row.a)),
}


#: What a function does to the one Series that pandas hands out again and again shows in the next rows, where it is no
#: more than an accident (and an error, for a block that is read-only from the second row on).
CHANGE_THE_NEXT = {
    "written", "written by loc", "written by iloc", "a label added", "an attribute set", "a label deleted",
    "written after reads", "attrs and flags", "returned in a list", "methods of texts",
}  # fmt: skip


def _rows(func: Callable[[Any], Any]) -> Callable[[pd.DataFrame], list[Any]]:
    def answers(frame: pd.DataFrame) -> list[Any]:
        kept: list[Any] = []

        def one(row: Any) -> None:
            value = func(row)
            kept.append(value.copy(deep=False) if isinstance(value, pd.Series) else value)

        frame.apply(one, axis=1)
        return kept

    return answers


class _Taker:
    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.kept: list[Any] = []
        self._func = func

    def call_shared(self, row: Any) -> None:
        value = self._func(row)
        self.kept.append(value.copy(deep=False) if isinstance(value, pd.Series) else value)

    call_in_block = call_shared

    def start_block(self, most: int) -> int:
        return min(most, 3)  # fewer than are listed together

    def call_each(self, units: Any) -> None:
        raise AssertionError("rows come one by one")


def _lazy(func: Callable[[Any], Any]) -> Callable[[pd.DataFrame], list[Any]]:
    def answers(frame: pd.DataFrame) -> list[Any]:
        sink = _Taker(func)
        LazyRows(len).feed(frame, sink)  # which does not ask for types, as tests do
        return sink.kept

    return answers


#: What is known of the function when it gets the rows: nothing, as for the first ones; its code; also what it reads.
KNOWN = ["nothing", "its code", "what it reads"]


def _know(known: str, func: Callable[[Any], Any], frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    if known == "nothing":
        return
    items = {label for label in frame if type(label) is str} if known == "what it reads" else set()
    attributes = {label for label in items if not hasattr(pd.Series, label) and not label.startswith("_")}

    def visit(columns: Any, rows: range, call: Any) -> None:
        lazy_rows._visit(columns, rows, items, attributes, reads_by_texts(func), call)

    monkeypatch.setattr(lazy_rows, "_visit_few", visit)


@pytest.mark.part(4)
@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_row_is_as_pandas_own(kind: str, use: str, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _know(known, USES[use], FRAMES[kind], monkeypatch)
    one, other = FRAMES[kind].copy(), FRAMES[kind].copy()
    if use in CHANGE_THE_NEXT:
        one, other = one.iloc[:1], other.iloc[:1]
    assert_same_as_pandas(lambda: _lazy(USES[use])(one), lambda: _rows(USES[use])(other))


@pytest.mark.parametrize("listed", [1, 2, 3])
@pytest.mark.parametrize("use", ["by label, all", "by attribute", "name", "iterate", "two ways at once", "returned"])
@pytest.mark.parametrize("kind", ["floats", "mixed", "times"])
def test_many_rows_by_blocks(kind: str, use: str, listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_rows, "ROWS_LISTED", listed)
    monkeypatch.setattr(lazy_rows, "LOOK_AFTER", listed)
    frame = pd.concat([FRAMES[kind]] * 7)
    assert_same_as_pandas(lambda: _lazy(USES[use])(frame), lambda: _rows(USES[use])(frame))


def test_a_function_that_needs_series_gets_pandas_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": np.arange(100.0), "b": 1.0})
    rows: list[Any] = []
    _lazy(lambda row: (rows.append(row), row.median())[1])(frame)
    assert len({id(row) for row in rows[lazy_rows.LOOK_AFTER :]}) == 1  # pandas hands out one object again and again
    rows.clear()
    _lazy(lambda row: (rows.append(row), row["a"])[1])(frame)
    assert len({id(row) for row in rows}) == 100


def _kept_generator(row: Any) -> Any:
    yield row["a"]


def _rarely(row: Any) -> Any:
    return [row["a"], row["b"], row.b] if row["a"] % 50 == 7 else row["a"]


def _plain_now_and_then(row: Any) -> Any:
    return [row["a"], row.median() if row["a"] % 9 == 0 else 0, row["a"], row.b]


def _several_now_and_then(row: Any) -> Any:
    keys: Any = ["a", "b"] if row["a"] % 9 == 0 else "b"
    return np.asarray(row[keys]).tolist()


def _written_now_and_then(row: Any) -> Any:
    row = row.copy() if row["a"] % 9 == 0 else row
    return [row["a"], row.b]


def _nested(row: Any) -> Any:
    if row["a"] % 50 != 7:
        return row["b"]
    inner = pd.DataFrame({"a": [row["a"], 1.0], "b": [2.0, row.b]})
    return [inner.par(engine="serial").apply_rows(_rarely).tolist(), row["a"], row.b]


def _recursive(row: Any) -> Any:
    return row["a"] if row["a"] < 1 else [_recursive({"a": 0}), row["a"]]


def _fails_late(row: Any) -> Any:
    return row["missing"] if row["a"] == 290 else row["a"]


def _fails_later(row: Any) -> Any:
    return row.missing if row["a"] == 290 else row["a"]


MANY = [
    _rarely, _plain_now_and_then, _several_now_and_then, _written_now_and_then, _nested, _recursive, _fails_late,
    _fails_later, USES["by label, without calls"], USES["by label and method"], USES["returned"],
]  # fmt: skip


def _many() -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(300.0), "b": np.arange(300.0) * 2, "c": 1.0})


@pytest.mark.parametrize("engine", ["serial", "thread", "process"])
@pytest.mark.parametrize("func", MANY)
def test_many_rows_are_as_pandas_own(func: Any, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_rows, "ROWS_LISTED", 64)
    how: dict[str, Any] = {"engine": engine} if engine == "serial" else {"engine": engine, "n_workers": 2}
    assert_same_as_pandas(lambda: _many().par(**how).apply_rows(func), lambda: _many().apply(func, axis=1))


@pytest.mark.parametrize("rows", [20, 300])
@pytest.mark.parametrize("key", ["w", ("w", 1), ["w"], slice("w", "b", 0)], ids=repr)
def test_an_error_has_the_context_that_pandas_gives_it(key: Any, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback shows each context, so one of ours would be a second error above pandas' own."""
    monkeypatch.setattr(lazy_rows, "ROWS_LISTED", 64)

    def fails(row: Any) -> Any:
        return row[key]

    def shown(call: Callable[[], Any]) -> list[type[BaseException]]:
        with pytest.raises((LookupError, ValueError)) as caught:
            call()
        found: list[type[BaseException]] = []
        error: BaseException | None = caught.value
        while error is not None:
            found.append(type(error))
            error = error.__cause__ or error.__context__
        return found

    frame = _many().head(rows)
    assert shown(lambda: frame.par(engine="serial").apply_rows(fails)) == shown(lambda: frame.apply(fails, axis=1))


def test_a_row_that_is_kept_has_its_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a generator, a frame of a traceback, a list or a loop that ended early."""
    monkeypatch.setattr(lazy_rows, "ROWS_LISTED", 64)
    found = _many().par(engine="serial").apply_rows(_kept_generator)
    assert [list(one) for one in found] == [[value] for value in range(300)]
    before: list[Any] = []

    def with_the_last(row: Any) -> Any:
        before.append(row)
        return row["a"] - before[-2]["a"] if len(before) > 1 else 1.0

    assert _many().par(engine="serial").apply_rows(with_the_last).tolist() == [1.0] * 300
    assert [row["b"] for row in before] == [2.0 * at for at in range(300)]
    for fails in (_fails_late, _fails_later):
        with pytest.raises((KeyError, AttributeError)) as error:
            LazyRows(fails).feed(_many(), _Taker(fails))
        rows = [entry.frame.f_locals["row"] for entry in error.traceback if entry.name == fails.__name__]
        _many().par(engine="serial").apply_rows(_rarely)  # by the same class
        assert [(row["a"], row.b, row.c) for row in rows] == [(290.0, 580.0, 1.0)]
    stopped: list[Any] = []

    def stops(row: Any) -> Any:
        if row["a"] == 290:
            raise ZeroDivisionError
        return row.b

    try:
        LazyRows(stops).feed(_many(), _Taker(stops))
    except ZeroDivisionError as error:
        stopped.append(error.__traceback__)
    while stopped[-1].tb_next is not None:
        stopped.append(stopped[-1].tb_next)
    row = stopped[-1].tb_frame.f_locals["row"]
    LazyRows(_rarely).feed(_many(), _Taker(_rarely))
    assert (type(row["a"]), row["a"], row.b, row[["b", "c"]].tolist()) == (np.float64, 290.0, 580.0, [580.0, 1.0])


def test_classes_of_rows_are_made_once_and_keep_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_rows, "ROWS_LISTED", 64)
    for _ in range(3):
        _many().par(engine="serial").apply_rows(_nested)
        made = [*lazy_rows._free[0], *lazy_rows._free[1]]
    assert len({one.kind for one in made}) == len(made) <= 8
    assert all(not one and one.columns is None and one.row is None for one in made)


def test_kept_rows_stay_as_they_are() -> None:
    frame = pd.DataFrame({"a": np.arange(50.0), "b": np.arange(50.0) * 2})
    rows = _lazy(lambda row: [row])(frame)
    assert [row["b"] for (row,) in rows] == frame["b"].tolist()
    assert [float(row.sum()) for (row,) in rows] == (frame["a"] + frame["b"]).tolist()


def test_every_public_name_of_a_series_is_answered() -> None:
    """No attribute breaks upon a row that has no parts yet."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})

    def names(row: Any) -> list[str]:
        found = []
        for name in dir(pd.Series):
            if name.startswith("__") and name.endswith("__"):
                continue
            try:
                kind = type(getattr(row, name)).__name__
            except Exception as error:
                kind = type(error).__name__
            found.append(f"{name}: {kind.replace('Locator', '_Indexer')}")
        return [text for text in found if not text.startswith(("iloc:", "loc:", "at:", "iat:"))]

    def lazy_names(row: Any) -> list[list[str]]:
        return [names(row)]

    for name in ("sum", "to_dict", "items"):
        assert callable(getattr(pd.Series, name))
    assert _lazy(lazy_names)(frame.iloc[:1]) == _rows(lazy_names)(frame.iloc[:1])


# A pandas that is different inside


def _numbers() -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(60.0), "b": 1.0, "k": np.arange(60) % 4})


#: What a future pandas may do in another way: the module, a name in it, and what stands there then.
OTHER_INSIDE: dict[str, tuple[Any, str, Any]] = {
    "row, no blocks": (lazy_rows, "blocks_of", lambda row: None),
    "row, labels": (lazy_rows._Columns, "series_at", lambda self, at: pd.Series([1.5, 3.5], index=["b", "a"])),
    "row, an error": (lazy_rows, "materialize_in_place", lambda *args, **own: operator.index(None)),
    "group, other values": (
        lazy_groups.GroupSlice,
        "frame",
        lambda self: pd.DataFrame({"a": [1.5, 0.0], "b": ["t", "u"]}),
    ),
    "group, an error": (lazy_groups, "materialize_in_place", lambda *args, **own: operator.index(None)),
}


@pytest.mark.parametrize("inside", OTHER_INSIDE)
def test_with_a_pandas_that_is_different_inside_pandas_makes_the_units(
    inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if inside == "row, no blocks" and PANDAS_2:
        pytest.skip("pandas 2 writes into the rows themselves")
    module: Any = lazy_rows if inside.startswith("row") else lazy_groups
    target, name, other = OTHER_INSIDE[inside]
    monkeypatch.setattr(module._may_be_lazy, "_works", None)
    monkeypatch.setattr(target, name, other)
    df = _numbers()

    def call(obj: Any) -> Any:
        if module is lazy_rows:
            return obj.apply(lambda row: row["a"] + row.sum(), axis=1)
        return obj.groupby("k")[["a", "b"]].apply(lambda group: group["a"].sum() + len(group))

    with pytest.warns(PerformanceHint, match=f"pandas {pd.__version__} is newer than this pdparallel knows"):
        found = call(df.par(engine="serial"))
    pd.testing.assert_series_equal(found, call(df))
    pd.testing.assert_series_equal(call(df.par(engine="serial")), call(df))  # it is said once
