"""errors=: a call that failed leaves a missing value or its exception in its place, and the others go on.

The oracle is pandas with a function that returns the missing value, or the exception, in these places itself.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import pickle
import signal
import threading
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import (
    CallTimeoutError,
    FailedCallsWarning,
    InvalidOptionError,
    RemoteError,
    ResultNotSerializableError,
    WorkerDiedError,
)
from pdparallel.api import imap
from pdparallel.core.outcome import Failed
from pdparallel.core.returns import Returns, pack
from pdparallel.testing import assert_same, saboteurs
from pdparallel.transport import outcomes
from tests.oracle.frames import DTYPES, LABELS, VALUES
from tests.oracle.ways import assert_same_on_all, drawn, ways_for

ENGINES = ["auto", "serial", "thread", "process"]

N = 9

#: Positions at which the function fails.
FAILING = {
    "none": (),
    "first": (0,),
    "middle": (4,),
    "last": (N - 1,),
    "two of a chunk": (2, 3),
    "all but one": tuple(range(N - 1)),
    "all": tuple(range(N)),
}


class OddError(Exception):
    """Its text is not what it was made of, as with many a library's own; like values, two are equal."""

    def __init__(self, one: Any, two: str) -> None:
        super().__init__(f"{two} at {one}")
        self.one = one

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OddError) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


class Failing:
    """A function that fails with some units, which are known by what they hold.

    Parameters
    ----------
    func : callable
        What it does with the others.
    bad : collection
        What ``key`` gives of the units with which it fails.
    key : callable
        Takes a unit.
    """

    def __init__(self, func: Callable[[Any], Any], bad: Any, key: Callable[[Any], Any]) -> None:
        self.func, self.bad, self.key = func, frozenset(bad), key

    def __call__(self, unit: Any) -> Any:
        if self.key(unit) in self.bad:
            raise OddError(self.key(unit), "no luck")
        return self.func(unit)

    def instead(self, value: Any) -> Callable[[Any], Any]:
        """A function that returns a value where this one fails."""
        return lambda unit: value if self.key(unit) in self.bad else self.func(unit)

    def returning(self) -> Callable[[Any], Any]:
        """A function that returns the exception where this one raises it."""
        return lambda unit: OddError(self.key(unit), "no luck") if self.key(unit) in self.bad else self.func(unit)


def _drawn(unit: Any) -> int:
    """The same of three numbers for the same unit."""
    values = unit.tolist() if isinstance(unit, pd.Series) else unit
    return zlib.crc32(f"{type(unit).__name__} {values!r}".encode()) % 3


def _number(unit: Any) -> int:
    return int(unit["a"]) if isinstance(unit, pd.Series) else int(unit)


def _frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"a": range(N), "b": np.arange(N) / 4, "c": list("abcdefghi")}, index=pd.Index(list("rstuvwxyz"), name="row")
    )


@pytest.fixture
def quiet() -> Iterator[None]:
    """For tests that look at the result alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailedCallsWarning)
        yield


def nan_over(*labels: Any) -> pd.Series:
    return pd.Series(np.nan, index=range(len(labels)) if labels[0] == 0 else list(labels))


#: What a row function returns, and what is missing among that: by result_type where it depends on it.
ROWS: dict[str, tuple[Callable[[Any], Any], dict[Any, Any]]] = {
    "float": (lambda row: row["b"] * 2, {None: np.nan}),
    "int": (lambda row: int(row["a"]), {None: np.nan}),
    "bool": (lambda row: row["a"] > 3, {None: np.nan}),
    "text": (lambda row: row["c"] * 2, {None: np.nan}),
    "None": (lambda row: None, {None: np.nan}),
    "int or text": (lambda row: row["a"] if row["a"] % 2 else row["c"], {None: np.nan}),
    "Timestamp": (lambda row: pd.Timestamp("2024-01-01") + pd.Timedelta(days=row["a"]), {None: np.nan}),
    "Timestamp with a zone": (lambda row: pd.Timestamp("2024-01-01", tz="Asia/Tokyo"), {None: np.nan}),
    "Timedelta": (lambda row: pd.Timedelta(hours=row["a"]), {None: np.nan}),
    "tuple": (lambda row: (row["a"], row["c"]), {None: np.nan, "reduce": np.nan, "expand": [np.nan, np.nan]}),
    "list": (lambda row: [row["a"], row["b"]], {None: np.nan, "reduce": np.nan, "expand": [np.nan, np.nan]}),
    "dict": (
        lambda row: {"x": row["a"], "y": row["c"]},
        {None: np.nan, "reduce": np.nan, "expand": {"x": np.nan, "y": np.nan}},
    ),
    "array": (lambda row: np.array([row["a"], 1, 2]), {None: np.nan, "expand": np.full(3, np.nan)}),
    "Series": (
        lambda row: pd.Series({"x": row["a"], "y": row["b"]}),
        dict.fromkeys([None, "reduce", "expand"], nan_over("x", "y")),
    ),
    "Series of texts": (lambda row: pd.Series({"x": row["c"], "y": "k"}), {None: nan_over("x", "y")}),
    "Series of several types": (lambda row: pd.Series({"x": row["a"], "y": row["c"]}), {None: nan_over("x", "y")}),
    "the row": (lambda row: row, {None: nan_over("a", "b", "c")}),
    "text for broadcast": (lambda row: "k", {"broadcast": np.nan}),
    "list for broadcast": (lambda row: [row["a"], 2, "z"], {"broadcast": np.nan}),
}

ROW_CASES = [
    pytest.param(name, result_type, missing, failing, id=f"{name}-{result_type}-{failing}")
    for name, (_, by_type) in ROWS.items()
    for result_type, missing in by_type.items()
    for failing in FAILING
    if drawn(2, name, result_type, failing)
]

RETURNED_CASES = [
    pytest.param(name, result_type, failing, id=f"{name}-{result_type}-{failing}")
    for name in ROWS
    for result_type in (None, "expand", "reduce")
    for failing in FAILING
    if drawn(5, name, result_type, failing)
]


@pytest.mark.usefixtures("quiet")
class TestOracle:
    """The same as pandas with a function that returns it."""

    @pytest.mark.part(2)
    @pytest.mark.parametrize(("name", "result_type", "missing", "failing"), ROW_CASES)
    def test_coerced_rows(self, name: str, result_type: Any, missing: Any, failing: str) -> None:
        func = Failing(ROWS[name][0], FAILING[failing], _number)
        if failing == "all":
            missing = np.nan
        assert_same_on_all(
            _frame,
            lambda df: df.apply(func.instead(missing), axis=1, result_type=result_type),
            lambda par: par(errors="coerce").apply_rows(func, result_type=result_type),
            ways_for("coerce", name, result_type, failing),
        )

    @pytest.mark.part(2)
    @pytest.mark.parametrize("failing", ["none", "first", "middle", "all"])
    @pytest.mark.parametrize(
        ("func", "by_type"),
        [
            (lambda column: column.sum(), {None: np.nan, "reduce": np.nan, "expand": np.nan, "broadcast": np.nan}),
            (lambda column: column * 2, {None: nan_over(*range(4)), "expand": nan_over(*range(4)), "reduce": np.nan}),
            (lambda column: column.head(2), {None: nan_over(0, 1)}),
            (lambda column: [1, 2], {None: [np.nan, np.nan], "expand": [np.nan, np.nan], "reduce": np.nan}),
            (lambda column: column.to_numpy(), {None: [np.nan] * 4, "expand": [np.nan] * 4}),
            (lambda column: {"x": 1}, {None: {"x": np.nan}, "expand": {"x": np.nan}, "reduce": np.nan}),
        ],
    )
    def test_coerced_columns(self, func: Any, by_type: dict[Any, Any], failing: str) -> None:
        labels = [f"c{at}" for at in range(N)]
        failing_func = Failing(func, [labels[at] for at in FAILING[failing]], lambda column: column.name)
        for result_type, missing in by_type.items():
            instead = np.nan if failing == "all" else missing
            assert_same_on_all(
                lambda: pd.DataFrame(np.arange(4.0 * N).reshape(4, N), columns=labels),
                lambda df, result_type=result_type, instead=instead: df.apply(
                    failing_func.instead(instead), result_type=result_type
                ),
                lambda par, result_type=result_type: par(errors="coerce").apply_cols(
                    failing_func, result_type=result_type
                ),
                ways_for(sorted(map(str, by_type)), result_type, failing),
            )

    @pytest.mark.part(2)
    @pytest.mark.parametrize("errors", ["coerce", "return"])
    @pytest.mark.parametrize(("axis", "failing"), [(at % 2, failing) for at, failing in enumerate(FAILING)])
    @pytest.mark.parametrize(
        ("func", "dtype", "shape"),
        [
            (lambda values: values.sum(), float, ()),
            (lambda values: values * 2, float, (3,)),
            (lambda values: int(values[0]), float, ()),
            (lambda values: values.astype(int), float, (3,)),
            (lambda values: values[0] > 2, object, ()),
            (lambda values: "text", object, ()),
            (lambda values: pd.Timestamp("2024-01-01"), object, ()),
            (lambda values: np.array(values, dtype="M8[s]"), "M8[s]", (3,)),
        ],
    )
    def test_raw(self, func: Any, dtype: Any, shape: tuple[int, ...], axis: int, failing: str, errors: str) -> None:
        # As by a function whose returns all have the dtype that what is missing needs.
        failing_func = Failing(func, FAILING[failing], lambda values: int(values[0]))
        if errors == "return":
            dtype = object
        if failing == "all":
            shape, dtype = (), float if errors == "coerce" else object

        def instead(values: Any) -> Any:
            if failing == "none":
                return func(values)
            array = np.empty(shape, dtype)
            if failing_func.key(values) not in failing_func.bad:
                return np.asarray(func(values)).astype(dtype)
            missing = np.datetime64("NaT") if dtype == "M8[s]" else np.nan
            array.fill(missing if errors == "coerce" else OddError(failing_func.key(values), "no luck"))
            return array

        numbers = pd.DataFrame({"a": np.arange(float(N)), "b": 0.5, "c": 1.5})
        assert_same_on_all(
            lambda: numbers if axis else numbers.T.copy(),
            lambda df: df.apply(instead, axis=axis, raw=True),
            lambda par: par(errors=errors).apply(failing_func, axis=axis, raw=True),
            ways_for(dtype, shape, axis, failing, errors),
        )

    @pytest.mark.part(2)
    @pytest.mark.parametrize(("name", "result_type", "failing"), RETURNED_CASES)
    def test_returned_rows(self, name: str, result_type: Any, failing: str) -> None:
        func = Failing(ROWS[name][0], FAILING[failing], _number)
        assert_same_on_all(
            _frame,
            lambda df: df.apply(func.returning(), axis=1, result_type=result_type),
            lambda par: par(errors="return").apply_rows(func, result_type=result_type),
            ways_for("return", name, result_type, failing),
        )

    @pytest.mark.part(2)
    @pytest.mark.parametrize(("verb", "errors"), [("map", "coerce"), ("apply", "coerce"), ("map", "return")])
    @pytest.mark.parametrize("kind", VALUES)
    def test_values(self, kind: str, verb: str, errors: str) -> None:
        func = Failing(str, {0}, _drawn)
        assert_same_on_all(
            VALUES[kind],
            lambda s: getattr(s, verb)(func.instead(np.nan) if errors == "coerce" else func.returning()),
            lambda par: getattr(par(errors=errors), verb)(func),
            ways_for(kind, verb, errors),
        )

    @pytest.mark.parametrize("kind", ["category", "str", "float64", "object", "Int64", "Sparse[float64]"])
    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_values_with_na_action(self, kind: str, errors: str) -> None:
        func = Failing(str, {0}, _drawn)
        assert_same_on_all(
            VALUES[kind],
            lambda s: s.map(func.instead(np.nan) if errors == "coerce" else func.returning(), na_action="ignore"),
            lambda par: par(errors=errors).map(func, na_action="ignore"),
        )

    @pytest.mark.parametrize("failing", FAILING)
    def test_a_series_of_series(self, failing: str) -> None:
        func = Failing(lambda x: pd.Series([x, 2 * x], index=["x", "y"]), FAILING[failing], int)
        for verb, missing in (("apply", nan_over("x", "y")), ("map", np.nan)):
            instead = func.instead(np.nan if failing == "all" else missing)
            assert_same_on_all(
                lambda: pd.Series(range(N)),
                lambda s, verb=verb, instead=instead: getattr(s, verb)(instead),
                lambda par, verb=verb: getattr(par(errors="coerce"), verb)(func),
                ways_for(verb, failing),
            )

    @pytest.mark.part(2)
    @pytest.mark.parametrize(
        ("frame", "errors"),
        [(frame, ("coerce", "return")[at % 2]) for at, frame in enumerate([*DTYPES, *LABELS])],
    )
    def test_frames_of_all_kinds(self, frame: str, errors: str) -> None:
        func = Failing(lambda row: f"{row.iloc[0]}", {0}, _drawn)
        assert_same_on_all(
            {**DTYPES, **LABELS}[frame],
            lambda df: df.apply(func.instead(np.nan) if errors == "coerce" else func.returning(), axis=1),
            lambda par: par(errors=errors).apply_rows(func),
            ways_for(frame, errors),
        )


@pytest.mark.usefixtures("quiet")
class TestBroadcast:
    """Here pandas itself would refuse what is missing, where the dtype of the frame has no place for it."""

    @pytest.mark.parametrize("failing", ["none", "first", "two of a chunk", "all"])
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("values", ["float", "int", "bool", "text", "time"])
    @pytest.mark.parametrize("errors", ["coerce", "return"])
    @pytest.mark.parametrize("labels_repeat", [False, True])
    def test_a_row_or_column_of_it(
        self, labels_repeat: bool, errors: str, values: str, axis: int, failing: str
    ) -> None:
        make: Callable[[Any], Any] = {
            "float": lambda array: array / 2,
            "int": lambda array: array,
            "bool": lambda array: array > 5,
            "text": lambda array: array.astype(str).astype(object),
            "time": lambda array: array.astype("datetime64[s]"),
        }[values]
        df = pd.DataFrame(make(np.arange(2 * N).reshape(N, 2)))
        if labels_repeat:
            df.index = [0] * N
        if axis == 0:
            df = df.T.copy()
        calls: list[int] = []

        def func(unit: Any) -> Any:
            calls.append(1)
            if len(calls) - 1 in FAILING[failing]:
                raise OddError(len(calls) - 1, "no luck")
            first = unit.iloc[0]
            return first if isinstance(unit, pd.Series) else first.iloc[0]

        got = df.par(errors=errors, engine="serial").apply(func, axis=axis, result_type="broadcast")
        assert len(calls) == N
        assert got.index.equals(df.index)
        assert got.columns.equals(df.columns)
        units = got.to_numpy() if axis else got.to_numpy().T
        for at in range(N):
            if at in FAILING[failing]:
                assert all(
                    pd.isna(value) if errors == "coerce" else value == OddError(at, "no luck") for value in units[at]
                )
            else:
                assert not pd.isna(units[at]).any()
                assert len(set(units[at])) == 1
        kinds = {"float": "f", "int": "f", "bool": "O", "text": "O", "time": "M"}
        if failing == "none":
            assert units.dtype == df.to_numpy().dtype
        elif errors == "coerce":
            assert units.dtype.kind == kinds[values]
        else:
            assert units.dtype == object


@pytest.mark.usefixtures("quiet")
class TestWithoutUnits:
    """Where there is nothing to call the function with, pandas tries it, or calls it once for all."""

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("result_type", [None, "expand", "reduce", "broadcast"])
    def test_empty_frames(self, result_type: Any, axis: int, shape: tuple[int, int]) -> None:
        def fails(unit: Any) -> Any:
            raise OddError(0, "nothing")

        df = pd.DataFrame(np.empty(shape), columns=list("abc")[: shape[1]])
        tried = fails if result_type in (None, "expand") else (lambda unit: np.nan)
        expected = df.apply(tried, axis=axis, result_type=result_type)
        assert_same(df.par(errors="coerce").apply(fails, axis=axis, result_type=result_type), expected)

    @pytest.mark.parametrize("na_action", [None, "ignore"])
    @pytest.mark.parametrize("values", [pd.Categorical([], categories=["x", "y"]), np.array([]), pd.array([], "Int64")])
    def test_empty_series(self, values: Any, na_action: str | None) -> None:
        func = Failing(str.upper, {"y"}, lambda value: value)
        expected = pd.Series(values).map(func.instead(np.nan), na_action=na_action)
        assert_same(pd.Series(values).par(errors="coerce").map(func, na_action=na_action), expected)

    def test_pandas_calls_the_function_itself_and_the_first_is_named(self) -> None:
        s = pd.Series(pd.Categorical([], categories=["x", "y"]))
        with pytest.warns(FailedCallsWarning, match=r"1 of 2 calls .*\n.*in value 'y' \(position 1\): KeyError: 'y'"):
            s.par(errors="coerce").map(lambda value: {"x": 1}[value])

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_an_empty_chunk(self, errors: str) -> None:
        def fails(chunk: Any) -> Any:
            raise OddError(len(chunk), "nothing")

        (got,) = _frame().head(0).par(errors=errors).apply_chunks(fails)
        assert got == (None if errors == "coerce" else OddError(0, "nothing"))
        if errors == "return":
            assert got.__notes__ == ["pdparallel: apply_chunks, in the chunk of no rows"]


def _fails_at_three(x: int) -> float:
    if x % 10 == 3:
        raise OddError(x, "no luck")
    return x / 2


class TestEngines:
    """All engines, auto's own part and what it hands over."""

    @pytest.fixture(params=[*ENGINES, "pathos", "auto that hands over"])
    def options(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        if request.param == "auto that hands over":
            request.getfixturevalue("any_rest_is_worth_it")
            return {"engine": "auto", "n_workers": 2, "chunk_size": 7}
        return {"engine": request.param, "n_workers": 2, "chunk_size": 7}

    def test_coerce(self, options: dict[str, Any]) -> None:
        s = pd.Series(range(40), index=[f"r{at}" for at in range(40)])
        with pytest.warns(FailedCallsWarning) as caught:
            got = s.par(errors="coerce", **options).map(_fails_at_three)
        assert_same(got, pd.Series([np.nan if x % 10 == 3 else x / 2 for x in range(40)], index=s.index))
        (one,) = caught
        assert str(one.message) == (
            "4 of 40 calls of the function failed, and their results are missing:\n"
            "  map, in value 'r3' (position 3): OddError: no luck at 3\n"
            "  map, in value 'r13' (position 13): OddError: no luck at 13\n"
            "  map, in value 'r23' (position 23): OddError: no luck at 23\n"
            "  and 1 more\n"
            "The attribute 'failures' of this warning is a frame of all failures. "
            "errors='return' puts each exception in the place of its result."
        )
        assert one.filename == __file__
        assert isinstance(one.message.__cause__, OddError)
        failures = one.message.failures
        assert failures["label"].tolist() == ["r3", "r13", "r23", "r33"]
        assert failures["position"].tolist() == [3, 13, 23, 33]
        assert [type(error) for error in failures["exception"]] == [OddError] * 4
        assert [str(error) for error in failures["exception"]] == [f"no luck at {at}" for at in (3, 13, 23, 33)]

    def test_return(self, options: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = pdparallel.map(_fails_at_three, range(40), errors="return", **options)
        for x, value in enumerate(got):
            if x % 10 != 3:
                assert value == x / 2
                continue
            assert type(value) is OddError
            assert value.one == x
            assert value.__notes__ == [f"pdparallel: map, in item {x} (position {x})"]
            assert value.__traceback__ is None
            assert "in _fails_at_three" in str(value.__cause__)
            assert "loop.py" not in str(value.__cause__)

    def test_the_default_raises(self, options: dict[str, Any]) -> None:
        with pytest.raises(OddError, match="no luck at 3"):
            pdparallel.map(_fails_at_three, range(40), **options)

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    @pytest.mark.parametrize("exception", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("all")])
    def test_what_is_to_end_a_program_ends_the_call(
        self, exception: BaseException, errors: str, options: dict[str, Any]
    ) -> None:
        def func(x: int) -> int:
            if x == 2:
                raise OddError(x, "first")
            if x == 20:
                raise exception
            return x

        with pytest.raises(type(exception)) as caught:
            pdparallel.map(func, range(40), errors=errors, **options)
        assert caught.value.args == exception.args
        # and the pool is as good as before
        assert pdparallel.map(abs, range(40), **options) == list(range(40))

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_all_verbs(self, errors: str, options: dict[str, Any]) -> None:
        df = pd.DataFrame(np.arange(36.0).reshape(12, 3), columns=list("abc"))

        def fails(unit: Any) -> Any:
            raise KeyError("never")

        par = df.par(errors=errors, **options)
        calls: dict[str, tuple[Callable[[], Any], int]] = {
            "apply_rows": (lambda: par.apply_rows(fails), 12),
            "apply_rows tuple": (lambda: par.apply_rows(fails, rows="tuple"), 12),
            "apply_rows namedtuple": (lambda: par.apply_rows(fails, rows="namedtuple"), 12),
            "apply_rows dict": (lambda: par.apply_rows(fails, rows="dict"), 12),
            "apply_rows array": (lambda: par.apply_rows(fails, rows="array"), 12),
            "apply_cols": (lambda: par.apply_cols(fails), 3),
            "apply": (lambda: par.apply(fails, axis=1, raw=True), 12),
            "map": (lambda: df["a"].par(errors=errors, **options).map(fails), 12),
            "apply_chunks": (lambda: par.apply_chunks(fails), 2),
            "items": (lambda: pdparallel.map(fails, range(12), errors=errors, **options), 12),
            "star": (lambda: pdparallel.map(lambda x, y: fails(x), range(12), range(12), errors=errors, **options), 12),
        }
        for name, (call, n) in calls.items():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                got = list(call())
            assert len(got) == n, name
            if errors == "coerce":
                assert pd.isna(np.array(got, dtype=object)).all(), name
                assert [str(each.message).startswith(f"{n} of {n} calls") for each in caught] == [True], name
                assert caught[0].filename == __file__
            else:
                assert {type(each) for each in got} == {KeyError}, name
                assert all("(position " in each.__notes__[0] or "in the chunk of" in each.__notes__[0] for each in got)
                assert not caught


class StubbornError(Exception):
    """Cannot travel."""

    def __init__(self) -> None:
        super().__init__("stubborn")
        self.items = (item for item in [])


class MuteError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise LookupError("no text")


class UntrueError(Exception):
    """Says neither yes nor no, and looks like a sequence."""

    def __init__(self) -> None:
        super().__init__("untrue")

    def __bool__(self) -> bool:
        raise LookupError("neither")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at: int) -> int:
        return range(2)[at]


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses attributes."""

    code: int


def _recursive(x: int) -> int:
    return _recursive(x) + 1


def _of_a_cause(x: int) -> int:
    try:
        return {}[x]
    except KeyError as error:
        raise OddError(x, "no key") from error


def _raise(exception: Exception) -> Any:
    raise exception


#: What func raises, what comes back, and its text: (function, class in this process, class from another).
ODD: dict[str, tuple[Callable[[int], Any], type, type, str]] = {
    "two arguments": (lambda x: _raise(OddError(x, "no luck")), OddError, OddError, "no luck at 1"),
    "cannot travel": (lambda x: _raise(StubbornError()), StubbornError, RemoteError, "stubborn"),
    "has no text": (lambda x: _raise(MuteError("a", "b")), MuteError, MuteError, ""),
    "frozen": (lambda x: _raise(FrozenError(3)), FrozenError, RemoteError, ""),
    "a group": (
        lambda x: _raise(ExceptionGroup("several", [KeyError(x), OddError(x, "y")])),
        ExceptionGroup,
        ExceptionGroup,
        "several (2 sub-exceptions)",
    ),
    "a group with what cannot travel": (
        lambda x: _raise(ExceptionGroup("several", [StubbornError()])),
        ExceptionGroup,
        RemoteError,
        "several (1 sub-exception)",
    ),
    "recursion": (_recursive, RecursionError, RecursionError, "maximum recursion depth exceeded"),
    "a cause": (_of_a_cause, OddError, OddError, "no key at 1"),
    "an end of iteration": (lambda x: next(iter([])), StopIteration, StopIteration, ""),
    "no memory": (lambda x: _raise(MemoryError()), MemoryError, MemoryError, ""),
    "untrue": (lambda x: _raise(UntrueError()), UntrueError, UntrueError, "untrue"),
    "from C": (lambda x: int("x"), ValueError, ValueError, "invalid literal for int()"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", ODD)
@pytest.mark.usefixtures("no_rest_is_worth_it")
class TestOddExceptions:
    def test_returned(self, case: str, engine: str) -> None:
        func, here, elsewhere, text = ODD[case]
        kind = elsewhere if engine == "process" else here
        for _ in range(2):
            got = pdparallel.map(lambda x: func(x) if x else 7, [0, 1], errors="return", engine=engine, n_workers=2)
            assert got[0] == 7
            assert type(got[1]) is kind
            if case == "has no text":
                assert got[1].args == ("a", "b")
            else:
                assert text in str(got[1])
            if kind is RemoteError:
                assert here.__name__ in got[1].type_name
            if kind is not FrozenError:  # which refuses notes as well
                assert got[1].__notes__ == ["pdparallel: map, in item 1 (position 1)"]

    def test_coerced(self, case: str, engine: str) -> None:
        func, _, _, text = ODD[case]
        with pytest.warns(FailedCallsWarning) as caught:
            got = pdparallel.map(lambda x: func(x) if x else 7, [0, 1], errors="coerce", engine=engine, n_workers=2)
        assert got == [7, None]
        (one,) = caught
        assert text[:20] in str(one.message)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", [{}, {"raw": True}, {"result_type": "broadcast"}, {"result_type": "expand"}], ids=str)
def test_an_exception_that_looks_like_a_sequence_is_one_object(how: dict[str, Any], engine: str) -> None:
    df = pd.DataFrame({"a": [1.0, 2.0, 3.0]})

    def func(row: Any) -> float:
        return _raise(UntrueError()) if float(next(iter(row))) == 2 else 0.0

    got = df.par(errors="return", engine=engine, n_workers=2).apply(func, axis=1, **how)
    assert type(np.asarray(got, dtype=object).ravel()[1]) is UntrueError


class TestReturnsThatCannotTravel:
    """A return that stays behind is a failure of its call alone."""

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    @pytest.mark.parametrize("make", [lambda: (item for item in []), lambda: FrozenError(3)], ids=["dumped", "loaded"])
    def test_only_that_one_is_lost(self, make: Callable[[], Any], errors: str) -> None:
        def func(x: int) -> Any:
            if x == 2:
                raise OddError(x, "raised")
            return make() if x == 4 else x

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = pdparallel.map(func, range(6), errors=errors, engine="process", n_workers=2, chunk_size=6)
        assert [got[at] for at in (0, 1, 3, 5)] == [0, 1, 3, 5]
        if errors == "coerce":
            assert got[2] is got[4] is None
            assert str(caught[0].message).startswith("2 of 6 calls")
        else:
            assert type(got[2]) is OddError
            assert type(got[4]) is ResultNotSerializableError
            assert got[4].__notes__ == ["pdparallel: map, in item 4 (position 4)"]
            assert "cannot be sent to another process" in str(got[4])


class TestFailures:
    """``FailedCallsWarning.failures``."""

    def failures(self, call: Callable[[], Any]) -> pd.DataFrame:
        with pytest.warns(FailedCallsWarning) as caught:
            call()
        (one,) = caught
        assert list(one.message.failures.columns) == ["label", "position", "exception"]
        assert one.message.failures.dtypes.astype(str).tolist() == ["object", "int64", "object"]
        return one.message.failures

    @pytest.mark.parametrize("engine", ENGINES)
    def test_rows_and_groups_and_windows(self, engine: str) -> None:
        df = pd.DataFrame({"k": ["x", "y", "x"], "a": [1, 2, 3]}, index=["p", "q", "r"])
        par = df.par(errors="coerce", engine=engine, n_workers=2)
        calls: dict[str, tuple[Callable[[], Any], list[Any], list[int]]] = {
            "rows": (lambda: par.apply_rows(lambda row: 1 // (row["a"] % 2 and 0)), ["p", "q", "r"], [0, 1, 2]),
            "columns": (lambda: par.apply_cols(lambda column: _raise(KeyError())), ["k", "a"], [0, 1]),
            "values": (lambda: par.map(lambda value: _raise(KeyError()) if value == 2 else 0), [("q", "a")], [4]),
            "groups": (lambda: par.groupby("k")["a"].apply(lambda group: _raise(KeyError())), ["x", "y"], [0, 1]),
            "windows": (lambda: df["a"].par(errors="coerce", engine=engine).rolling(3).apply(lambda window: 1 / 0),
                        ["r"], [0]),
        }  # fmt: skip
        for name, (call, labels, positions) in calls.items():
            failures = self.failures(call)
            assert failures["label"].tolist() == labels, name
            assert failures["position"].tolist() == positions, name
            assert all(isinstance(error, Exception) for error in failures["exception"]), name

    def test_chunks_have_the_label_of_their_first_row(self) -> None:
        par = pd.DataFrame({"a": range(6)}, index=[*"uvwxyz"]).par(errors="coerce", chunk_size=2)

        def fails(chunk: pd.DataFrame) -> pd.DataFrame:
            return chunk if chunk["a"].iloc[0] == 2 else _raise(KeyError())

        for call in (lambda: par.apply_chunks(fails), lambda: list(par.iter_chunks(fails))):
            failures = self.failures(call)
            assert failures["label"].tolist() == ["u", "y"]
            assert failures["position"].tolist() == [0, 4]

    @pytest.mark.parametrize("ordered", [True, False])
    def test_items_of_an_iterator(self, ordered: bool) -> None:
        items = (f"item {at}" for at in range(40))
        results = pdparallel.imap(int, items, errors="coerce", ordered=ordered, engine="thread", n_workers=2)
        failures = self.failures(lambda: list(results))
        assert failures["position"].tolist() == [*range(40)]
        assert failures["label"].tolist() == [f"item {at}" for at in range(40)]

    def test_an_iterator_keeps_no_large_items(self) -> None:
        class OddError(Exception):
            def __repr__(self) -> str:
                raise RuntimeError

        items = [b"x" * 10_000, [1, 2], np.zeros(1_000_000), 2.5, None, OddError()]
        results = pdparallel.imap(lambda item: 1 / 0, items, errors="coerce", engine="serial")
        labels = self.failures(lambda: list(results))["label"].tolist()
        assert labels[0] == b"x" * imap.MAX_LABEL_LETTERS
        assert labels[1] == "[1, 2]"
        assert isinstance(labels[2], str)
        assert labels[3:5] == [2.5, None]
        assert labels[5].startswith("<OddError instance at ")

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_the_bar_counts_rows_whose_worker_died(self, errors: str) -> None:
        lines: list[str] = []

        class Logger(logging.Logger):
            def info(self, text: object, *args: object, **kwargs: Any) -> None:
                lines.append(str(text) % args)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pd.Series([*"abc"]).par(
                engine="process", n_workers=2, retries=0, errors=errors, progress=Logger("bar", logging.INFO)
            ).map(saboteurs.when("b", saboteurs.ends(code=3)))
        assert lines[-1].endswith("1 failed]")

    def test_an_iterator_keeps_the_first_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imap, "MAX_KEPT_FAILURES", 5)
        results = pdparallel.imap(int, ["x"] * 12, errors="coerce", engine="serial")
        with pytest.warns(FailedCallsWarning, match="12 of 12 calls") as caught:
            list(results)
        assert "and 9 more" in str(caught[0].message)
        assert caught[0].message.failures["position"].tolist() == [*range(5)]

    @pytest.mark.parametrize("engine", ["serial", "thread", "process"])
    def test_of_very_many_all_places_are_told(self, engine: str) -> None:
        n = 3 * outcomes.MAX_KEPT
        failures = self.failures(
            lambda: pd.Series(["x"] * n).par(errors="coerce", engine=engine, n_workers=2, chunk_size=n).map(int)
        )
        assert failures["position"].tolist() == [*range(n)]
        kept = failures["exception"].notna().to_numpy()
        assert kept[: outcomes.MAX_KEPT].all()
        assert not kept[outcomes.MAX_KEPT :].any()

    def test_a_warning_travels(self) -> None:
        with pytest.warns(FailedCallsWarning) as caught:
            pd.Series(["x"], index=["p"]).par(errors="coerce").map(int)
        back = pickle.loads(pickle.dumps(caught[0].message))
        assert str(back) == str(caught[0].message)
        assert back.failures["label"].tolist() == ["p"]
        assert type(back.failures["exception"][0]) is ValueError

    def test_one_that_somebody_makes(self) -> None:
        assert len(FailedCallsWarning("text").failures) == 0


class TestWarning:
    def test_none_without_a_failure(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert pdparallel.map(abs, [-1], errors="coerce") == [1]

    def test_it_names_only_options_that_the_call_can_take(self) -> None:
        df = pd.DataFrame({"k": [1, 2], "a": [1.0, 2.0]})
        par = df.par(errors="coerce")
        calls: dict[str, tuple[Callable[[], Any], bool]] = {
            "rows": (lambda: par.apply_rows(lambda row: _raise(KeyError())), True),
            "groups": (lambda: par.groupby("k")["a"].apply(lambda group: _raise(KeyError())), True),
            "filter": (lambda: par.groupby("k").filter(lambda group: _raise(KeyError())), False),
            "windows": (lambda: par.rolling(1).apply(lambda window: _raise(KeyError())), False),
            "windows of groups": (lambda: par.groupby("k")["a"].rolling(1).apply(lambda _: _raise(KeyError())), False),
        }
        for name, (call, can_return) in calls.items():
            with pytest.warns(FailedCallsWarning) as caught:
                call()
            assert ("errors='return'" in str(caught[0].message)) == can_return, name

    @pytest.mark.parametrize("call", ["apply_rows", "apply_cols", "apply", "apply_chunks", "map", "map of items"])
    def test_it_points_to_the_line_of_the_call(self, call: str) -> None:
        def fails(unit: Any) -> Any:
            raise KeyError("k")

        par = pd.DataFrame({"a": [1, 2]}).par(errors="coerce")
        calls: dict[str, Callable[[], Any]] = {
            "map": lambda: pd.Series([1, 2]).par(errors="coerce").map(fails),
            "map of items": lambda: pdparallel.map(fails, [1], errors="coerce"),
        }
        made = calls.get(call, lambda: getattr(par, call)(fails))
        with pytest.warns(FailedCallsWarning) as caught:
            made()
        assert [(one.filename, one.lineno) for one in caught] == [(__file__, made.__code__.co_firstlineno)]

    def test_a_long_message_is_cut(self) -> None:
        with pytest.warns(FailedCallsWarning) as caught:
            pdparallel.map(lambda x: _raise(ValueError("z" * 10_000)), [1], errors="coerce")
        assert 300 < len(str(caught[0].message)) < 700

    def test_as_an_error_it_shows_the_first(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(FailedCallsWarning, match="2 of 2") as caught:
                pdparallel.map(lambda x: 1 / (x - x), [1, 2], errors="coerce")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def test_the_first_is_that_of_the_first_position(self) -> None:
        last = threading.Event()

        def func(x: int) -> int:
            if x == 0:
                assert last.wait(60)
            elif x == 3:
                last.set()
            raise KeyError(x)

        with pytest.warns(FailedCallsWarning, match=r"4 of 4 .*\n.*position 0\): KeyError: 0"):
            pdparallel.map(func, range(4), errors="coerce", engine="thread", n_workers=4, chunk_size=1)


class TestChunks:
    """What stands for a chunk that failed, so that the result is of the kind that it would have been."""

    DF = pd.DataFrame(
        {
            "a": range(12),
            "b": np.arange(12) / 4,
            "c": list("abcabcabcabc"),
            "d": pd.date_range("2024-01-01", periods=12),
            "e": [True] * 12,
            "f": pd.array(range(12), "Int64"),
            "g": pd.Categorical(list("xyzxyzxyzxyz")),
        },
        index=pd.Index([f"r{at}" for at in range(12)], name="row"),
    )

    def _got(self, func: Callable[[Any], Any], at: Any = (4,), errors: str = "coerce", **how: Any) -> Any:
        def failing(chunk: Any) -> Any:
            if chunk["a"].iloc[0] in at:
                raise OddError(int(chunk["a"].iloc[0]), "no luck")
            return func(chunk)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FailedCallsWarning)
            return self.DF.par(errors=errors, chunk_size=4).apply_chunks(failing, **how)

    # pandas 2 on a NumPy newer than itself, in concat
    @pytest.mark.filterwarnings("ignore:The 'generic' unit:DeprecationWarning")
    @pytest.mark.parametrize("at", [0, 4, 8])
    def test_frames_with_a_row_for_each_row(self, at: int) -> None:
        got = self._got(lambda chunk: chunk, (at,))
        expected = self.DF.copy()
        for column in expected:
            kept = expected[column].drop(expected.index[at : at + 4])
            expected[column] = kept.reindex(expected.index)
        assert_same(got, expected)

    def test_series_and_two_failures(self) -> None:
        got = self._got(lambda chunk: chunk["a"] * 2, (0, 8))
        assert_same(got, (self.DF["a"] * 2).iloc[4:8].reindex(self.DF.index))

    def test_all_but_none(self) -> None:
        assert_same(self._got(lambda chunk: chunk, ()), self.DF)

    def test_by_groups_in_the_order_of_the_frame(self) -> None:
        got = self._got(lambda chunk: chunk[["b"]] * 2, (1,), by="c")
        assert_same(got, (self.DF[["b"]] * 2).where(self.DF["c"] != "b"))

    def test_overlap(self) -> None:
        got = self._got(lambda chunk: chunk["b"].diff(), (3,), overlap=(1, 0))
        expected = self.DF["b"].diff()
        expected.iloc[4:8] = np.nan
        assert_same(got, expected)

    @pytest.mark.parametrize(
        ("make", "dtype"),
        [
            (lambda chunk: chunk[["a", "b"]].to_numpy(), np.float64),
            (lambda chunk: chunk["a"].to_numpy(), np.float64),
            (lambda chunk: chunk["e"].to_numpy(), object),
            (lambda chunk: chunk["c"].to_numpy(dtype="U1"), object),
            (lambda chunk: chunk["d"].to_numpy(dtype="M8[s]"), np.dtype("M8[s]")),
        ],
    )
    def test_arrays_with_a_row_for_each_row(self, make: Callable[[Any], Any], dtype: Any) -> None:
        got = self._got(make)
        whole = make(self.DF).astype(dtype)
        assert got.dtype == dtype
        assert pd.isna(got[4:8]).all()
        assert np.array_equal(np.delete(got, slice(4, 8), axis=0), np.delete(whole, slice(4, 8), axis=0))

    @pytest.mark.parametrize("combine", ["auto", "concat"])
    def test_frames_with_other_rows_leave_out_those_of_the_failed_one(self, combine: Any) -> None:
        def make(chunk: pd.DataFrame) -> pd.DataFrame:
            return chunk[["a"]][chunk["a"] % 2 == 0]

        assert_same(self._got(make, combine=combine), make(self.DF.drop(self.DF.index[4:8])))
        assert self._got(lambda chunk: chunk["b"].to_numpy()[:1], combine=combine).tolist() == [0.0, 2.0]

    def test_lists_have_none(self) -> None:
        assert self._got(lambda chunk: int(chunk["a"].sum())) == [6, None, 38]
        assert self._got(lambda chunk: chunk["a"], combine="list")[1] is None
        assert self._got(lambda chunk: chunk["a"], combine=lambda pieces: [piece is None for piece in pieces]) == [
            False, True, False,
        ]  # fmt: skip

    @pytest.mark.parametrize("combine", ["auto", "concat", "list"])
    def test_all_failed(self, combine: Any) -> None:
        assert self._got(lambda chunk: chunk, (0, 4, 8), combine=combine) == [None] * 3

    @pytest.mark.parametrize("combine", ["auto", "concat", "list"])
    def test_exceptions_come_in_a_list(self, combine: Any) -> None:
        one, two, three = self._got(lambda chunk: chunk, errors="return", combine=combine)
        assert_same(one, self.DF.iloc[:4])
        assert two == OddError(4, "no luck")
        assert two.__notes__ == ["pdparallel: apply_chunks, in the chunk of rows 4 to 7"]
        assert_same(three, self.DF.iloc[8:])

    def test_a_frame_without_a_failure_is_joined(self) -> None:
        assert_same(self._got(lambda chunk: chunk, (), errors="return", combine="concat"), self.DF)

    def test_series_as_data(self) -> None:
        s = self.DF["a"]
        func = Failing(lambda chunk: chunk * 2, {4}, lambda chunk: int(chunk.iloc[0]))
        with pytest.warns(FailedCallsWarning, match=r"1 of 3 calls .*\n.*in the chunk of rows 4 to 7: OddError"):
            got = s.par(errors="coerce", chunk_size=4).apply_chunks(func)
        assert_same(got, (s * 2).drop(s.index[4:8]).reindex(s.index))


class TestKept:
    """What is kept of a failure, and what is not."""

    @pytest.mark.usefixtures("no_rest_is_worth_it")  # the objects are in this process
    @pytest.mark.parametrize("engine", ["serial", "thread", "auto"])
    def test_no_frame_lives_on_in_an_exception(self, engine: str) -> None:
        class Big:
            pass

        alive: list[weakref.ref[Big]] = []

        def func(row: Any) -> int:
            big = Big()
            alive.append(weakref.ref(big))
            raise KeyError(row["a"])

        got = pd.DataFrame({"a": range(5)}).par(errors="return", engine=engine).apply_rows(func)
        gc.collect()
        assert len(got) == len(alive) == 5
        assert [ref() for ref in alive] == [None] * 5

    def test_each_unit_is_called_once(self) -> None:
        calls: list[int] = []

        def func(x: int) -> int:
            calls.append(x)
            if x % 2:
                raise KeyError(x)
            return x

        pdparallel.map(func, range(20), errors="return", engine="serial", chunk_size=3)
        assert calls == list(range(20))

    def test_one_exception_object_may_be_raised_again_and_again(self) -> None:
        error = KeyError("always the same")
        got = pdparallel.map(lambda x: _raise(error), range(2), errors="return", engine="serial")
        assert got[0] is got[1] is error
        assert error.__notes__ == [f"pdparallel: map, in item {at} (position {at})" for at in range(2)]

    def test_the_traceback_is_that_of_a_raised_one(self) -> None:
        def noted(x: int) -> None:
            error = ValueError(x)
            error.add_note("a note")
            raise error

        functions: list[Callable[[int], Any]] = [
            _fails_at_three, _of_a_cause, noted, lambda x: _raise(SyntaxError(f"line {x}")),
            lambda x: undefined_name,  # noqa: F821
            lambda x: _raise(ExceptionGroup("g", [KeyError(x), ValueError()])),
            lambda x: x.reall,
        ]  # fmt: skip
        for func in functions:
            got = pdparallel.map(func, [3, 13, 3], errors="return", engine="process", n_workers=1, chunk_size=3)
            for x, one in zip([3, 13, 3], got, strict=True):
                with pytest.raises(type(one)) as caught:
                    pdparallel.map(func, [x], engine="process", n_workers=1)
                assert str(one.__cause__) == str(caught.value.__cause__)

    def test_a_failure_in_a_frame_of_several_parts_keeps_the_packed_ones(self) -> None:
        returns = Returns([pack([1.0, 2.0]), [3.0, Failed(KeyError("k"))], pack([4.0])])
        assert list(returns.places_of(Failed)) == [3]
        assert returns.first_but(Failed) == [1.0]
        returns.put({3: np.nan})
        packed = returns.packed()
        assert packed is not None
        assert np.array_equal(packed.array, [1.0, 2.0, 3.0, np.nan, 4.0], equal_nan=True)

    def test_put_reaches_packed_parts(self) -> None:
        returns = Returns([pack([1.0, 2.0]), pack([3.0]), [4, 5]])
        returns.put({4: "e", 0: "a", 2: "c"})
        assert returns.values() == ["a", 2.0, "c", 4, "e"]


class TestFailuresThatTheParentKnowsOf:
    """A row that kills its worker, or takes too long: no worker can say so."""

    DF = pd.DataFrame({"a": np.arange(20.0)}, index=[f"r{at}" for at in range(20)])

    @staticmethod
    def _dies(row: Any) -> float:
        if row["a"] == 7:
            raise KeyError("only raised")
        if row["a"] in (8, 13):
            os.kill(os.getpid(), signal.SIGKILL)
        return float(row["a"])

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_rows_that_kill(self, errors: str, alone: None) -> None:
        par = self.DF.par(errors=errors, engine="process", n_workers=2, chunk_size=5, retries=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = par.apply_rows(self._dies)
        good = got.drop(["r7", "r8", "r13"])
        assert good.tolist() == self.DF["a"].drop(["r7", "r8", "r13"]).tolist()
        if errors == "coerce":
            assert got.isna().sum() == 3
            (one,) = caught
            assert "3 of 20 calls" in str(one.message)
            assert "in row 'r7' (position 7): KeyError: 'only raised'" in str(one.message)
        else:
            assert not caught
            assert [type(got[label]) for label in ("r7", "r8", "r13")] == [KeyError, WorkerDiedError, WorkerDiedError]
            assert got["r13"].exitcode == -signal.SIGKILL
            assert str(got["r13"]).startswith("Row 'r13' (position 13) ended its worker (SIGKILL)")

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_a_row_that_takes_too_long(self, errors: str, alone: None) -> None:
        def waits(row: Any) -> float:
            if row["a"] == 13:
                threading.Event().wait(300)
            return float(row["a"])

        par = self.DF.par(errors=errors, engine="process", n_workers=2, chunk_size=5, timeout=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FailedCallsWarning)
            got = par.apply_rows(waits)
        assert got.drop("r13").tolist() == self.DF["a"].drop("r13").tolist()
        assert pd.isna(got["r13"]) if errors == "coerce" else type(got["r13"]) is CallTimeoutError

    @pytest.mark.parametrize("errors", ["coerce", "return"])
    def test_a_chunk_that_kills(self, errors: str, alone: None) -> None:
        def dies(chunk: pd.DataFrame) -> pd.Series:
            if chunk["a"].iloc[0] == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return chunk["a"] * 2

        par = self.DF.par(errors=errors, engine="process", n_workers=2, chunk_size=5, retries=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FailedCallsWarning)
            got = par.apply_chunks(dies)
        if errors == "coerce":
            assert_same(got, (self.DF["a"] * 2).drop(self.DF.index[5:10]).reindex(self.DF.index))
        else:
            assert [type(piece) for piece in got] == [pd.Series, WorkerDiedError, pd.Series, pd.Series]


def test_the_option_is_checked() -> None:
    for wrong in ("ignore", None, True):
        with pytest.raises(InvalidOptionError, match=r"errors=.*'coerce'"):
            pdparallel.map(abs, [1], errors=wrong)


def test_functions_of_pandas_are_its_own_business() -> None:
    with pytest.raises(AttributeError):
        pd.DataFrame({"a": [1]}).par(errors="coerce").apply("no such function")
