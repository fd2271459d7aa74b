"""``engine="numba"``: the results of pandas, or one of two errors. pandas itself is the oracle."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import CompiledResultDiffersError, FunctionNotCompilableError, InvalidOptionError
from pdparallel.compat import PANDAS_2
from pdparallel.testing import assert_same

pytest.importorskip("numba")

N = 3000
RANDOM = np.random.default_rng(0)

FLOATS = pd.DataFrame({name: RANDOM.normal(size=N) for name in "abc"})
FLOATS.iloc[[5, 700, 2999], 0] = np.nan, np.inf, -0.0
INTEGERS = pd.DataFrame({name: RANDOM.integers(-50, 50, N) for name in "abc"})
BOTH = FLOATS.assign(b=INTEGERS["b"])
#: Rows of Python's own numbers, because a column holds texts.
MIXED = INTEGERS.assign(a=FLOATS["a"], yes=RANDOM.random(N) > 0.5, name="x")
NULLABLE = pd.DataFrame({"a": pd.array(FLOATS["c"], "Float64"), "b": pd.array(INTEGERS["b"], "Int64"), "c": 1.5})
CATEGORIES = pd.DataFrame({"a": pd.Categorical(INTEGERS["a"]), "b": FLOATS["b"], "c": 2})
FRAMES = {
    "floats": FLOATS, "integers": INTEGERS, "both": BOTH, "mixed": MIXED, "nullable": NULLABLE,
    "categories": CATEGORIES,
}  # fmt: skip

SCALE = 3
TABLE = np.array([1.0, 2.5, -4.0])
LABEL = "b"


def helper(value: float) -> float:
    return value * SCALE


def with_loop(row: Any) -> Any:
    total = 0.0
    for power in range(1, 5):
        total += row["b"] * power
        if total > 100:
            break
    return total


def branches(row: Any) -> Any:
    if row["b"] > 10:
        return row["c"]
    if row.b < -10:
        return 0
    return row["c"] * 2


def haversine(row: Any) -> Any:
    lat, lon = math.radians(row["b"]), math.radians(row["c"])
    square = math.sin(lat / 2) ** 2 + math.cos(lat) * math.sin(lon / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(min(square, 1.0)))


ROWS: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda row: row["a"] * 2 + row.b - row["c"],
    "integer division": lambda row: row["b"] // 7,
    "remainder": lambda row: row["b"] % 7,
    "division by zero": lambda row: 1 / (row["b"] - row["b"]),
    "square": lambda row: row["b"] ** 2,
    "cube": lambda row: row["c"] ** 3,
    "root": lambda row: abs(row["c"]) ** 0.5,
    "root of a negative number": lambda row: row["c"] ** 0.5,
    "power of two": lambda row: 2 ** row["b"],
    "domain": lambda row: math.sqrt(row["c"]),
    "logarithm": lambda row: math.log(abs(row["b"]) + 1, 10),
    "rounded": lambda row: round(row["c"] * 100) + round(row["b"] / 8, 2),
    "whole": lambda row: int(row["c"] * 10) - math.floor(row["c"]),
    "of NaN": lambda row: int(row["a"]),
    "comparison": lambda row: row["a"] > row["b"],
    "chain": lambda row: 0 < row["b"] < 20,
    "constant": lambda row: 1,
    "extremes": lambda row: max(row["b"], 0) + min(row["c"], row["b"], 5),
    "an integer among floats": lambda row: 0 if row["b"] > 0 else row["c"] / 3,
    "only the integers": lambda row: 0 if row["b"] < 1000 else 0.5,
    "truth": lambda row: row["b"] or row["c"],
    "loop": with_loop,
    "branches": branches,
    "haversine": haversine,
    "helper": lambda row: helper(row["b"]) + SCALE,
    "table": lambda row: TABLE[int(row["b"]) % 3] * 2,
    "label in a variable": lambda row: row[LABEL] + 1,
    "pair": lambda row: (row["b"] + 1, row["c"] > 0),
    "pair with integers": lambda row: (0 if row["b"] > 0 else row["c"], 1),
    "list": lambda row: [row["c"], row["c"] * 2],
    "NumPy": lambda row: np.sqrt(abs(row["c"])) + np.floor(row["b"]),
}


def same(ask: Callable[[Any], Any], data: Any, **options: Any) -> None:
    """Compare with pandas: the result, or the exception and its text."""

    def result_of(what: Callable[[], Any]) -> Any:
        try:
            with np.errstate(all="ignore"):
                return what()
        except Exception as error:
            return error

    expected = result_of(lambda: ask(data))
    found = result_of(lambda: ask(data.par(engine="numba", **options)))
    if isinstance(expected, Exception):
        assert (type(found), str(found)) == (type(expected), str(expected))
        return
    if isinstance(found, Exception):
        raise found
    assert_same(found, expected)


def apply(func: Any, **how: Any) -> Callable[[Any], Any]:
    def ask(data: Any) -> Any:
        return data.apply(func, axis=1, **how)

    return ask


# Rows


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, frame: str) -> None:
    if (name, frame) == ("pair with integers", "integers"):
        with pytest.raises(FunctionNotCompilableError, match=r"value 0 of the tuple is int or int64, .* int\(\.\.\.\)"):
            FRAMES[frame].par(engine="numba").apply_rows(ROWS[name])
    else:
        same(apply(ROWS[name]), FRAMES[frame])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["pair", "pair with integers", "list"])
def test_expanded(name: str) -> None:
    for frame in (BOTH, INTEGERS, MIXED):
        same(apply(ROWS[name], result_type="expand"), frame)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ROWS)
def test_if_few_rows_are_checked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    same(apply(ROWS[name]), BOTH)
    same(apply(ROWS[name]), MIXED, chunk_size=100)


RAW: dict[str, Callable[[Any], Any]] = {
    "sum": lambda values: values.sum(),
    "mean": lambda values: np.mean(values) - values[0],
    "deviation": lambda values: values.std(ddof=1) + np.std(values) + np.var(values),
    "range": lambda values: values.max() - values.min(),
    "arithmetic": lambda values: (values * 2 - values[0]).sum(),
    "an integer first": lambda values: 0 if values[0] > -9 else values[1],
    "loop": lambda values: max([value for value in values if value == value]),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", RAW)
def test_raw_rows_and_columns(name: str) -> None:
    wide = pd.DataFrame(RANDOM.normal(size=(200, 150)))
    same(apply(RAW[name], raw=True), FLOATS)
    same(apply(RAW[name], raw=True), wide)
    same(lambda data: data.apply(RAW[name], raw=True), wide)


def test_other_forms_of_rows() -> None:
    par = BOTH.par(engine="numba")
    assert_same(par.apply_rows(lambda row: row[0] + row[2], rows="tuple"), BOTH["a"] + BOTH["c"])
    assert_same(par.apply_rows(lambda row: row.b * row.Index, rows="namedtuple"), (BOTH["b"] * BOTH.index).rename(None))
    assert_same(
        MIXED.par(engine="numba").apply_rows(lambda row: row.b + 1, rows="namedtuple"), (MIXED["b"] + 1).rename(None)
    )
    assert_same(par.apply_rows(lambda row: row[0] + row[2], rows="array"), BOTH["a"] + BOTH["c"])


def test_arguments() -> None:
    def func(row: Any, factor: float, plus: int = 1, *, of: Any = None) -> Any:
        return row["c"] * factor + plus

    def plain(row: Any, factor: float, plus: int = 1) -> Any:
        return row["c"] * factor + plus

    same(lambda data: data.apply(plain, axis=1, args=(2.5,), plus=4), BOTH)
    with pytest.raises(FunctionNotCompilableError, match="by name only"):
        BOTH.par(engine="numba").apply_rows(func, args=(2.0,), of=3)
    with pytest.raises(FunctionNotCompilableError, match="argument 2 is a dict"):
        BOTH.par(engine="numba").apply_rows(plain, args=({},))


def test_what_changes_between_calls() -> None:
    scope: dict[str, Any] = {"np": np, "factor": 2, "table": np.array([1.0, 2.0])}
    exec("def func(row): return inner(row['c']) * factor + table[0]\ndef inner(x): return x + 1", scope)
    func = scope["func"]
    same(apply(func), BOTH)
    scope["factor"] = 2.0
    same(apply(func), BOTH)
    scope["table"][0] = 50
    same(apply(func), BOTH)
    exec("def inner(x): return x + 5", scope)
    same(apply(func), BOTH)
    for shift in (1, 2, True):
        same(apply(lambda row, shift=shift: row["c"] + shift), BOTH)
        same(apply(_shifted(shift)), BOTH)


def _shifted(shift: Any) -> Callable[[Any], Any]:
    return lambda row: row["c"] * 2 + shift


# Values and windows

VALUES: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda value: value * 2 + 1,
    "square": lambda value: value**2,
    "half": lambda value: value / 2,
    "branches": lambda value: 1 if value > 0 else value,
    "builtin": abs,
    "whole": lambda value: int(value) if abs(value) < 1e9 else -1,
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    for series in (FLOATS["b"], INTEGERS["b"], MIXED["a"], FLOATS["a"].astype("float32"), INTEGERS["b"].astype("int8")):
        same(lambda data: data.map(VALUES[name]), series)
        same(lambda data: data.apply(VALUES[name]), series)
    same(lambda data: data.map(VALUES[name], na_action="ignore"), FLOATS["a"])
    same(lambda data: data.map(VALUES[name]), MIXED[["a", "b", "c"]])
    same(lambda data: data.map(VALUES[name]), NULLABLE["b"])


def test_items() -> None:
    assert pdparallel.map(lambda item: item * 0.5, list(range(50)), engine="numba") == [at * 0.5 for at in range(50)]
    assert pdparallel.map(math.sqrt, [1.0, 4.0], engine="numba") == [1.0, 2.0]


@pytest.mark.parametrize("name", ["sum", "mean", "deviation", "range", "arithmetic"])
def test_windows(name: str) -> None:
    frame = FLOATS.iloc[:400]
    same(lambda data: data.rolling(20).apply(RAW[name], raw=True), frame)
    same(lambda data: data.rolling(7, min_periods=2, center=True).apply(RAW[name], raw=True), frame["a"])
    same(lambda data: data.expanding(3).apply(RAW[name], raw=True), frame["b"])


# Refusals


def assigns_a_global(row: Any) -> Any:
    global LABEL
    LABEL = "b"
    return row["a"]


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "text": (lambda row: str(row["a"]), "uses str"),
    "text returned": (lambda row: "x" if row["a"] > 0 else "y", "returns a text"),
    "None": (lambda row: None, "returns None"),
    "None sometimes": (lambda row: row["a"] if row["a"] > 0 else None, "None in some places"),
    "dict": (lambda row: {"x": row["a"]}, "Compiled code can return"),
    "the row": (lambda row: row, "returns a row"),
    "method of the row": (lambda row: row.sum(), r"row\.sum of a Series"),
    "name of the row": (lambda row: row.name, r"row\.name of a Series"),
    "position": (lambda row: row[0], "is no label of a column"),
    "unknown column": (lambda row: row["z"], "'z', which is no column of numbers"),
    "texts": (lambda row: row["name"], "column 'name' holds str objects"),
    "last digits": (lambda row: np.exp(row["a"]), "Use math.exp"),
    "sum": (lambda row: sum((row["a"], 1)), r"x \+ y \+ z"),
    "hypot": (lambda row: math.hypot(row["a"], 1), "math.sqrt"),
    "made text": (lambda row: float(f"{row['a']:.2f}"), "makes a text"),
    "global": (assigns_a_global, "assigns a global variable"),
    "signs of zeros": (lambda row: np.maximum(row["a"], 0.0), "Use max"),
    "random": (lambda row: np.random.rand() + row["a"], "random numbers"),
    "print": (lambda row: print(row["a"]), "print"),
    "frame": (lambda row: MIXED["a"][0] + row["a"], "MIXED, which is a DataFrame"),
    "bools": (lambda row: row["yes"] + row["yes"], "gets only bools"),
    "bools among numbers": (lambda row: True if row["a"] > 0 else 1, "True or False in one place"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled(name: str) -> None:
    func, text = REFUSED[name]
    calls: list[int] = []
    with pytest.raises(FunctionNotCompilableError, match=text) as caught:
        MIXED.par(engine="numba").apply_rows(func)
    assert not calls
    first = func.__code__.co_firstlineno
    assert any(f"line {first + more}:" in str(caught.value) for more in range(3))


def test_a_function_that_catches_exceptions() -> None:
    def func(row: Any) -> Any:
        try:
            return 1 / row["b"]
        except Exception:
            return 0.0

    with pytest.raises(FunctionNotCompilableError, match="'try' or 'with' block"):
        BOTH.par(engine="numba").apply_rows(func)


def test_a_function_that_writes() -> None:
    def func(row: Any) -> Any:
        row["a"] = 5.0
        return row["a"]

    before = BOTH.copy()
    with pytest.raises(FunctionNotCompilableError, match="writes into an object"):
        BOTH.par(engine="numba").apply_rows(func)
    assert_same(BOTH, before)


@pytest.mark.parametrize(("dtype", "text"), [("int8", "int8"), ("uint64", "uint64"), ("float32", "float32")])
def test_narrow_numbers(dtype: str, text: str) -> None:
    frame = abs(INTEGERS).astype(dtype)
    with pytest.raises(FunctionNotCompilableError, match=f"gets a {text}"):
        frame.par(engine="numba").apply_rows(lambda row: row["a"] + 1)
    same(apply(lambda row: row["a"]), frame)
    same(apply(lambda row: float(row["a"]) * 2), frame)


def test_missing_values_of_nullable_columns() -> None:
    frame = NULLABLE.assign(b=NULLABLE["b"].where(NULLABLE["b"] > 0))
    with pytest.raises(FunctionNotCompilableError, match="missing values"):
        frame.par(engine="numba").apply_rows(lambda row: row["b"] + 1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda par: par.apply_cols(lambda column: 1),
        lambda par: par.rolling(3).apply(lambda window: 1.0),
        lambda par: par.groupby("b").apply(lambda group: 1.0),
        lambda par: par.apply_chunks(lambda chunk: chunk),
        lambda par: par.apply_rows(lambda row: 1, rows="dict"),
    ],
)
def test_calls_that_are_not_of_numbers(ask: Callable[[Any], Any]) -> None:
    with pytest.raises(FunctionNotCompilableError, match="engine="):
        ask(BOTH.par(engine="numba"))


def test_options_that_it_refuses() -> None:
    for options in ({"timeout": 5}, {"initializer": print}):
        with pytest.raises(InvalidOptionError, match="engine='numba'"):
            BOTH.par(engine="numba", **options).apply_rows(lambda row: 1)
    for check in ("equal", -1, 0, 2, True):
        with pytest.raises(InvalidOptionError, match="check="):
            BOTH.par(engine="numba", check=check)


# The check


def test_a_difference_names_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.engines import numba_checked

    monkeypatch.setattr(numba_checked, "ALLOWED", numba_checked.ALLOWED | {id(math.gamma)})
    frame = FLOATS.abs()[["b"]] + 0.5
    with pytest.raises(
        CompiledResultDiffersError, match=r"in row \d+ \(position \d+\): Python gives .* compiled code gives"
    ):
        frame.par(engine="numba").apply_rows(lambda row: math.gamma(row["b"]))


def test_small_differences_can_be_allowed() -> None:
    func = ROWS["haversine"]

    def sums(row: Any) -> Any:
        return np.exp(row["c"]) + math.hypot(row["b"], 2)

    found = FLOATS.par(engine="numba", check=1e-12).apply_rows(sums)
    np.testing.assert_allclose(found, FLOATS.apply(sums, axis=1), rtol=1e-12)
    assert_same(FLOATS.par(engine="numba", check=None).apply_rows(func), FLOATS.apply(func, axis=1))


def test_integers_that_do_not_fit() -> None:
    frame = pd.DataFrame({"a": [1, 2**62, -(2**63), 7] * 2000, "name": "x"})
    for func in (lambda row: row["a"] * 4, lambda row: row["a"] - 1, lambda row: row["a"] ** 3, lambda row: -row["a"]):
        same(apply(func), frame)


# Everything else that a call can do


def test_rows_that_fail() -> None:
    frame = pd.DataFrame({"a": [1.0, 4.0, -1.0, 9.0] * 500, "name": "x"}, index=[f"r{at}" for at in range(2000)])

    def root(row: Any) -> Any:
        return math.sqrt(row["a"])

    with pytest.raises(ValueError, match=r"math domain|nonnegative") as caught:
        frame.par(engine="numba").apply_rows(root)
    assert any("'r2' (position 2)" in note for note in caught.value.__notes__)
    with pytest.warns(pdparallel.FailedCallsWarning, match="500 of 2,000"):
        found = frame.par(engine="numba", errors="coerce").apply_rows(root)
    assert found.isna().sum() == 500
    found = frame.par(engine="numba", errors="return").apply_rows(root)
    assert [type(value) for value in found[:4]] == [float, float, ValueError, float]


def test_checkpoint_progress_background_and_profile(tmp_path: Path) -> None:
    seen: list[Any] = []
    func = ROWS["arithmetic"]
    expected = BOTH.apply(func, axis=1)
    options: dict[str, Any] = {"engine": "numba", "checkpoint": tmp_path / "kept", "chunk_size": 500}
    assert_same(BOTH.par(**options, progress=lambda done, total: seen.append((done, total))).apply_rows(func), expected)
    assert seen[-1] == (N, N)
    assert_same(BOTH.par(**options).apply_rows(func), expected)
    assert_same(BOTH.par(engine="numba").background.apply_rows(func).result(), expected)
    with pdparallel.profile() as profile:
        BOTH.par(engine="numba").apply_rows(func)
    assert "numba" in str(profile)
    if not PANDAS_2:
        assert_same(BOTH.apply(func, axis=1, engine=pdparallel.engine(engine="numba")), expected)


def test_accelerate() -> None:
    expected = BOTH.apply(ROWS["haversine"], axis=1)
    with pdparallel.accelerate(engine="numba"):
        found = BOTH.apply(ROWS["haversine"], axis=1)
    assert_same(found, expected)


def test_threads_that_call_at_once() -> None:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = BOTH.par(engine="numba").apply_rows(_shifted(number % 3))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, result in found.items():
        assert_same(result, (BOTH["c"] * 2 + number % 3).rename(None))


def test_in_workers() -> None:
    def inner(chunk: pd.DataFrame) -> Any:
        return chunk.par(engine="numba").apply_rows(lambda row: row["c"] * 2)

    assert_same(BOTH.par(engine="process", n_workers=2).apply_chunks(inner), (BOTH["c"] * 2).rename(None))


def test_frames_without_rows_or_columns() -> None:
    for frame in (BOTH.iloc[:0], BOTH[[]], BOTH.iloc[:1]):
        same(apply(lambda row: 1), frame)


def test_explain() -> None:
    many = pd.concat([BOTH] * 100)
    found = many.par.explain(ROWS["arithmetic"])
    assert "df.par(engine='numba') takes about" in found.compiled
    assert "is not faster for so few rows" in BOTH.iloc[:20].par.explain(ROWS["arithmetic"]).compiled
    assert "makes a text" in BOTH.par.explain(lambda row: float(f"{row['b']:.2f}")).compiled
    assert "with numba" in str(found)
    found = BOTH.par(engine="numba").explain(ROWS["branches"])
    assert (found.engine, found.reason) == ("numba", "engine= names it")
    assert found.limit.endswith("of compiled code")
    found = BOTH.par(engine="numba").explain(lambda row: math.hypot(row["b"], 1))
    assert "math.hypot" in found.compiled
    assert not MIXED.par.explain(lambda row: row["name"]).compiled


# What compiled code would do in another way

#: Rows with nasty values behind those that are checked if ``MAX_CHECKED`` is 3.
RARE = pd.DataFrame({"a": RANDOM.normal(size=N), "i": RANDOM.integers(-5, 5, N), "name": "x"})
RARE.loc[1000:1008, "i"] = [2**53 + 1, 2**62, -(2**63), 2**63 - 1, 100, -100, 2**53, -(2**53) - 1, 9]
RARE.loc[1000:1002, "a"] = -0.0, np.inf, np.nan


def same_or_refused(func: Any, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with pandas while few rows are checked; the errors of ``engine="numba"`` are fine, too."""
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    try:
        same(apply(func), frame)
    except (FunctionNotCompilableError, CompiledResultDiffersError):
        pass


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_index_beyond_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    same(apply(lambda row: TABLE[int(row["i"]) % 3 + (5 if row["i"] == 9 else 0)]), RARE)
    same(apply(lambda row: TABLE[-4 if row["i"] == 9 else -3]), RARE)
    same(apply(lambda values: values[5 if values[0] > 2 else 0], raw=True), FLOATS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_inner_functions_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(row: Any) -> Any:
        times = lambda value: value * 4
        return times(row["i"])

    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    same(apply(nested), RARE)
    same(apply(lambda row: max([value * 2 for value in (row["i"], 1)])), RARE)


def unassigned(row: Any) -> Any:
    if row["a"] > -2:
        x = row["a"]
    return x  # pyright: ignore


def after_loop(row: Any) -> Any:
    for number in range(max(row["i"], 1) % 7):
        x = number * 2.5
    return x


def factorial(n: int) -> int:
    return 1 if n <= 1 else n * factorial(n - 1)


def even(n: int) -> bool:
    return True if n == 0 else odd(n - 1)


def odd(n: int) -> bool:
    return False if n == 0 else even(n - 1)


UNLIKE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no value": (unassigned, "variable x may have no value"),
    "no value after a loop": (after_loop, "variable x may have no value"),
    "recursion": (lambda row: factorial(abs(row["i"])), "calls itself"),
    "recursion of two": (lambda row: even(abs(row["i"])), "calls itself"),
    "identity": (lambda row: 1 if row["i"] is row["i"] else 0, "'is'"),
    "text and number": (lambda row: 1 if row["i"] == "x" else 0, "cannot be compiled"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLIKE)
def test_what_compiled_code_would_do_in_another_way(name: str) -> None:
    func, text = UNLIKE[name]
    with pytest.raises(FunctionNotCompilableError, match=text):
        RARE.par(engine="numba").apply_rows(func)


def test_functions_that_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    def checks(row: Any) -> Any:
        if not row["i"] != 100:
            raise AssertionError("hundred")  # as assert does, which pytest rewrites
        if row["i"] == -100:
            raise KeyError("minus", 100)
        return row["i"]

    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    same(apply(checks), RARE)
    same(apply(checks), RARE.iloc[1005:])
    same(apply(checks), RARE.iloc[1006:])


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(FunctionNotCompilableError, match="integer of more than 64 bits"):
        RARE.par(engine="numba").apply_rows(lambda row, by: row["i"] + by, args=(2**70,))
    halves = pd.DataFrame({"a": np.arange(5).astype("float16")})
    with pytest.raises(FunctionNotCompilableError, match="float16"):
        halves.par(engine="numba").apply_rows(lambda row: row["a"])


def test_wrappers_have_their_own_defaults() -> None:
    def inner(row: Any, by: int = 1) -> Any:
        return row["i"] * by

    @functools.wraps(inner)
    def wrapper(row: Any, by: int = 10) -> Any:
        return inner(row, by)

    same(apply(wrapper), INTEGERS.rename(columns={"a": "i"}))


def negated(value: float) -> float:
    return math.atan2(value * -1, -1)


def whole_below_zero(value: float) -> float:
    return 0 if value < 0 else value


#: Functions of integers that compiled code makes floats, because another line gives a float.
WHOLE: dict[str, Callable[[Any], Any]] = {
    "maximum": lambda row: max(row["i"], 0.5) / 3,
    "sum": lambda row: (max(row["i"], 0.5) + 1) * 0.1,
    "branch": lambda row: (0.5 if row["a"] > 9 else row["i"]) / 3,
    "sign of zero": lambda row: math.atan2((0 if row["a"] > -9 else row["a"]) * -1, -1),
    "negative": lambda row: math.copysign(1, -(0 if row["a"] < 9 else row["a"])),
    "to a helper": lambda row: negated(0 if row["a"] > -9 else row["a"]),
    "from a helper": lambda row: math.atan2(whole_below_zero(row["a"]) * -1, -1),
    "in a tuple": lambda row: math.atan2(((0, 1) if row["a"] > -9 else (0.5, row["a"]))[0] * -1, -1),
    "power": lambda row: abs((2 if row["a"] > 0 else 0.5) ** row["i"]) ** 0.5,
    "NumPy": lambda row: np.square(0.5 if row["a"] > 9 else row["i"]) * 0.3,
    "magnitude": lambda row: abs(row["i"]),
    "rounded": lambda row: round(row["i"]) + math.floor(row["i"]) - int(row["i"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", WHOLE)
def test_integers_that_become_floats(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    same(apply(WHOLE[name]), RARE if name != "power" else RARE[(RARE["i"] > 0) & (RARE["i"] < 50)])
    same_or_refused(WHOLE[name], RARE[["i"]].assign(a=1), monkeypatch)


def test_functions_that_are_compiled_already() -> None:
    import numba

    double = numba.njit(lambda value: value * 2)
    same(lambda data: data.map(double), FLOATS["b"])
    for func in (double, math.sqrt):
        with pytest.raises(FunctionNotCompilableError, match="Give a Python function that reads the row"):
            FLOATS.par(engine="numba").apply_rows(func)
    with pytest.raises(FunctionNotCompilableError, match=r"pdparallel\.map"):
        list(pdparallel.imap(abs, [1.0], engine="numba"))


ENDLESS = """
import signal, threading, time
import pandas as pd, pdparallel

def endless(row):
    value = row["a"]
    while value > 5:
        value = value + 1 - 1
    return value

df = pd.DataFrame({"a": [1.0] * 2000 + [9.0] + [1.0] * 5000})
with pdparallel.option_context(engine="numba", check=None):
    df[:2000].par.apply_rows(endless)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    try:
        df.par.apply_rows(endless)
    except KeyboardInterrupt:
        print("interrupted", df[:50].par.apply_rows(endless).sum())
"""


def test_a_loop_without_end_can_be_interrupted() -> None:
    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted 50.0\n"), done.stderr


def test_lists_if_all_rows_fail() -> None:
    same(apply(lambda row: [math.sqrt(row["a"]), 1.0]), pd.DataFrame({"a": [-1.0] * 5, "name": "x"}))


def appended(row: Any) -> Any:
    values = [0.5]
    if row["a"] > 2:
        values.append(row["i"])
    return values[-1]


def sorted_list(row: Any) -> Any:
    values = [row["a"], 2.0, 1.0]
    values.sort()
    return values[0]


def through_a_set(row: Any) -> Any:
    total = 0.0
    for value in {3.5, 1.25, row["a"]}:
        total = total * 2 + value
    return total


def in_place(values: Any) -> Any:
    other = values
    if values[0] > 2:
        other *= 2
    return values.sum()


def makes_a_dict(row: Any) -> Any:
    found = {1: 10, 2: 0.5}
    return found[1 if row["a"] < 1 else 2]


def narrow_branches(row: Any) -> Any:
    value = row["u1"] if row["u1"] == row["u1"] else 5
    return int(value + 1)


NARROW = pd.DataFrame({"u1": RANDOM.integers(0, 256, N).astype("u1"), "i2": np.int16(3)})
SINGLE = pd.DataFrame({"f4": RANDOM.normal(size=N).astype("f4")})
TRUTH = pd.DataFrame({"b": RANDOM.random(N) > 0.5, "d": True})

OTHER_TYPES: dict[str, tuple[pd.DataFrame, Callable[[Any], Any], str]] = {
    "append": (RARE, appended, "list of different types"),
    "sort": (RARE, sorted_list, r"method sort\(\) of a list"),
    "set": (RARE, through_a_set, "goes through a set"),
    "dict": (RARE, makes_a_dict, "makes a dict"),
    "maximum": (NARROW, lambda row: int(max(row["u1"], 5) + 1), r"max\(\) gets a int16"),
    "branches": (NARROW[["u1"]], narrow_branches, "gives a uint8 in one place"),
    "bits": (NARROW[["u1"]], lambda row: int((row["u1"] | 1) + 1), "uint8"),
    "rounded": (SINGLE, lambda row: float(round(row["f4"], 2)), r"round\(\) gets a float32"),
    "root of integers": (NARROW[["u1"]], lambda row: float(np.sqrt(row["u1"])), r"sqrt\(\) gets a uint8"),
    "root of bools": (TRUTH, lambda row: float(np.sqrt(row["b"])), r"sqrt\(\) gets a bool"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_other_types_in_numpy(name: str) -> None:
    frame, func, text = OTHER_TYPES[name]
    with pytest.raises(FunctionNotCompilableError, match=text):
        frame.par(engine="numba").apply_rows(func)


def test_other_rules_for_arrays() -> None:
    for frame, func, text in (
        (FLOATS, in_place, "in place"), (INTEGERS, lambda values: (values << 1).sum(), "<< gets an array"),
        (FLOATS, lambda values: (values // values[0]).sum(), "// gets an array"),
        (INTEGERS, lambda values: (values % 0.3).sum(), "% gets an array"),
        (TRUTH, lambda values: (values + values).sum(), "only bools"),
    ):  # fmt: skip
        with pytest.raises(FunctionNotCompilableError, match=text):
            frame.par(engine="numba").apply_rows(func, rows="array")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_membership(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    for func in (
        lambda row: row["i"] in (2.0**53, 1.0), lambda row: row["i"] not in (1, 2.5), lambda row: row["a"] in [1, 2],
        lambda row: 1 if row["i"] in {1, 2, 9} else 0,
    ):  # fmt: skip
        same(apply(func), RARE)
        same(apply(func), RARE[["a", "i"]])
    same(apply(lambda values: values[1:].sum() + len(values[:-1]), raw=True), FLOATS)


def unused(row: Any) -> Any:
    unused = 1 / row["i"]
    unused = TABLE[row["i"]]  # noqa: F841

    def inner(value: Any) -> Any:
        unused = 1 // (value - 2)  # noqa: F841
        return value + 1

    return inner(row["i"])


def test_unused_code_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    for values in ([1, 1, 1, 0], [1, 1, 1, 3], [1, 1, 1, 2], [1, 1, 1, 1]):
        same(apply(unused), pd.DataFrame({"i": values * 2, "name": "x"}))


def rare_append(row: Any) -> Any:
    values = [0.5]
    if row["a"] > 2:
        values.append(row["i"] * 1.0)
    return values[-1], 1.0


#: Functions whose tuples have numbers of Python in some rows and of NumPy in others.
VARYING: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "branch": (lambda row: (0.5 if row["a"] > 2 else row["a"], 1), True),
    "minimum": (lambda row: (min(row["a"], 2.5), 1), True),
    "helper": (lambda row: (whole_below_zero(row["a"]) * 2, 1), True),
    "list": (rare_append, True),
    "operators": (lambda row: (row["a"] * 2 + 1, row["a"] > 1, math.sin(row["i"]), round(row["a"], 2)), False),
    "converted": (lambda row: (float(0.5 if row["a"] > 2 else row["a"]), 1), False),
    "integers": (lambda row: (0 if row["a"] > 2 else row["a"], 1), False),
    "arrays": (lambda row: (TABLE[0], np.abs(row["a"]), abs(row["a"]), -row["i"]), False),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", VARYING)
def test_numbers_of_python_and_of_numpy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    func, is_varying = VARYING[name]
    of_numpy = RARE[["a", "i"]].iloc[:900]
    if is_varying:
        with pytest.raises(FunctionNotCompilableError, match=r"value 0 of the tuple is float or float64"):
            of_numpy.par(engine="numba").apply_rows(func)
    else:
        same(apply(func), of_numpy)
    if name != "arrays":
        same(apply(func), RARE.iloc[:900])


PAIR_OF_TABLES = (np.array([1.0, 2.0]), (np.array([3.0, 4.0]), 5.0))


def test_arrays_in_tuples_that_change() -> None:
    func = lambda row: row["a"] + PAIR_OF_TABLES[1][0][1]
    same(apply(func), BOTH)
    PAIR_OF_TABLES[1][0][1] = 50
    same(apply(func), BOTH)


def test_exceptions_for_floating_point_errors() -> None:
    with np.errstate(over="raise"), pytest.raises(FunctionNotCompilableError, match=r"np\.errstate"):
        FLOATS.par(engine="numba").apply_rows(lambda row: row["b"] * 1e308 * 10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extremes_of_zeros(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    values = RANDOM.choice([0.0, -0.0], (200, 21)).astype(dtype)
    values[:10] = 1
    for func in (lambda row: row.max(), lambda row: np.min(row), lambda row: np.max(row[1:])):
        same(apply(func, raw=True), pd.DataFrame(values))
        same(apply(func, raw=True), pd.DataFrame(np.asfortranarray(values)))
        same(lambda data: data.apply(func, raw=True), pd.DataFrame(np.ascontiguousarray(values.T)))


@pytest.mark.parametrize(
    ("func", "text"),
    [
        (lambda row: row["a"] + "x", r"does not know operator \+ for \(float64, text\)"),
        (lambda row: 1 if row["a"] == "x" else 2, r"does not know operator == for \(float64, text\)"),
        (lambda row: int("5"), r"does not know int\(\) for \(text\)"),
        (lambda row: len(row), r"does not know len for \(row\)"),
        (lambda row: row[["a", "i"]], r"does not know the index \[\.\.\.\] for \(row, list\(text\)"),
        (lambda row: row["a"] in "text", r"does not know operator in for \(text, float64\)"),
    ],
)
def test_short_texts_for_types(func: Any, text: str) -> None:
    with pytest.raises(FunctionNotCompilableError, match=text):
        RARE.par(engine="numba").apply_rows(func)


def test_types_if_python_computes_the_rows_that_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    frame = pd.DataFrame({"i": [0, 0, *range(1, 30), 0]})
    same(apply(lambda row: (row["i"] > 1, 1 / row["i"], 1 / (row["i"] * 1.0))), frame)


def test_large_integers_among_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    frame = pd.DataFrame({"i": [1, 2, 3, 62, 4, 80, 5, 6, 7]})
    with pytest.raises(CompiledResultDiffersError, match=r"in row 5 .* too large"):
        frame.par(engine="numba").apply_rows(lambda row: row["i"] + 1 if row["i"] < 6 else 1 << int(row["i"]))
    same(apply(lambda row: 1 << int(row["i"])), frame)


@pytest.mark.parametrize(("name", "value"), [("DISABLE_JIT", 1), ("BOUNDSCHECK", 0)])
def test_settings_of_numba(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    monkeypatch.setattr(numba.config, name, value)
    with pytest.raises(FunctionNotCompilableError, match=f"NUMBA_{name}={value}"):
        BOTH.par(engine="numba").apply_rows(lambda row: row["a"] * 2 + 17)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_powers_of_integers_and_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    frame = pd.DataFrame({"i": np.arange(1, 60).repeat(40), "j": np.tile(np.arange(-20, 20), 59)})
    for func in (
        lambda row: 3 ** float(row["j"]), lambda row: float(row["i"]) ** 2,  # constants first
        lambda row: row["i"] ** float(row["j"]), lambda row: float(row["i"]) ** row["j"],
        lambda row: (0.5 if row["i"] > 58 else row["i"]) ** float(row["j"]),
    ):  # fmt: skip
        same(apply(func), frame)
        same(apply(func), frame.assign(name="x"))


def test_values_of_a_frame_are_numbers_of_python() -> None:
    def func(value: Any) -> Any:
        return value if value > 0 else math.sqrt(-value)

    frame = FLOATS[["b", "c"]]
    assert_same(frame.par(engine="numba", errors="return").map(func), frame.map(func))
