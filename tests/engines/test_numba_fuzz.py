"""``engine="numba"`` on random functions and frames: the result of pandas, or one of two errors.

For many more of them: ``python -m tests.engines.test_numba_fuzz FUNCTIONS SEED``.
"""

from __future__ import annotations

import collections
import math
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from pdparallel import CompiledResultDiffersError, FunctionNotCompilableError

pytest.importorskip("numba")

#: Number of frames for each function, because compiling takes most of the time.
FRAMES_OF_EACH = 12

TABLE = np.array([1.0, 2.5, -4.0, 0.0])
WHOLE = np.array([3, -1, 7])
CONSTANT = 2.5


def helper(value: Any, by: Any = 2) -> Any:
    return value * by + 1


def clipped(value: Any, low: Any, high: Any) -> Any:
    if value < low:
        return low
    return high if value > high else value


SCOPE = {"math": math, "np": np, "TABLE": TABLE, "WHOLE": WHOLE, "CONSTANT": CONSTANT, "helper": helper,
         "clipped": clipped}  # fmt: skip

NUMPY_KINDS = ("f8", "f8", "f8", "i8", "i8", "i8", "?", "i4", "i1", "u1", "u8", "f4")
OTHER_KINDS = (*NUMPY_KINDS, "Int64", "Float64", "Int64-NA", "category", "text", "date")


def column(kind: str, n: int, of: np.random.Generator) -> Any:
    """Return a random column of one kind."""
    if kind in ("f8", "f4", "Float64"):
        values = of.normal(size=n) * 10.0 ** of.integers(-3, 4)
        if of.random() < 0.3:
            values = np.round(values, int(of.integers(0, 3)))
        for nasty in (0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.5, 2.5, 1e308, 2.0**53, 0.1, 5e-324):
            if of.random() < 0.2:
                values[of.integers(0, n)] = nasty
        if kind == "Float64":
            return pd.array(np.where(np.isfinite(values), values, 0.5), "Float64")
        with np.errstate(all="ignore"):
            return values.astype(kind)
    if kind == "?":
        return of.random(n) > 0.5
    if kind in ("text", "date"):
        return ["x"] * n if kind == "text" else pd.date_range("2024", periods=n)
    if kind == "category":
        return pd.Categorical(of.integers(0, 4, n))
    values = of.integers(-10, 10, n)
    if kind in ("Int64", "Int64-NA"):
        return pd.array([None if kind == "Int64-NA" and at == 0 else one for at, one in enumerate(values)], "Int64")
    limits = np.iinfo(kind)
    values = values.astype(kind) if limits.min < 0 else np.abs(values).astype(kind)
    for nasty in (limits.min, limits.max, limits.max // 2, 2**53 + 1, -(2**53) - 1, 2**62, 2**31, 100):
        if of.random() < 0.1 and limits.min <= nasty <= limits.max:
            values[of.integers(0, n)] = nasty
    return values


class Grammar:
    """Random functions of a row, a value or an array of numbers."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers: list[str] = []
        self.array = ""

    def one(self, *these: str) -> str:
        return self.random.choice(these)

    def constant(self) -> str:
        return self.one("0", "1", "2", "3", "-1", "0.5", "2.0", "1e-3", "10", "100", "-0.0", "CONSTANT", "True", "7")

    def number(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.12:
            return self.constant() if self.random.random() < 0.2 else self.random.choice(self.numbers)
        inner = depth - 1
        kind = self.random.random()
        if self.array and kind < 0.25:
            return self.of_array(inner)
        if kind < 0.45:
            op = self.one(*"+-*/+-*/", "//", "%", "**")
            if op == "**":  # Python would take long for large integers
                by = self.one("2", "0.5", "3", "-1", "2.0", f"({self.number(0)} % 5)", f"float({self.number(0)})")
                return f"({self.number(inner)} ** {by})"
            return f"({self.number(inner)} {op} {self.number(inner)})"
        if kind < 0.49:
            op = self.one("&", "|", "^", "<<", ">>")
            by = self.number(0) if len(op) == 1 else f"(int({self.number(0)}) % 70)"
            return f"(int({self.number(inner)}) {op} {by})"
        if kind < 0.64:
            return f"({self.function()}({self.number(inner)}))"
        if kind < 0.71:
            more = f", {self.number(inner)}" if self.random.random() < 0.2 else ""
            return f"{self.one('min', 'max')}({self.number(inner)}, {self.number(inner)}{more})"
        if kind < 0.74:
            return f"round({self.number(inner)}, {self.one('0', '1', '2', '3', '-1')})"
        if kind < 0.83:
            return f"({self.number(inner)} if {self.condition(inner)} else {self.number(inner)})"
        if kind < 0.87:
            return f"({self.number(inner)} {self.one('and', 'or')} {self.number(inner)})"
        if kind < 0.90:
            return self.condition(inner)
        if kind < 0.93:
            return f"{self.one('TABLE', 'WHOLE', '(1.5, 2.0, -3.0)', '(4, 5)')}[int({self.number(inner)})]"
        if kind < 0.96:
            given = f"{self.number(inner)}, {self.number(inner)}, {self.number(inner)}"
            return self.one(f"helper({self.number(inner)})", f"helper({self.number(inner)}, by={self.number(0)})",
                            f"clipped({given})", f"(lambda x: x * {self.number(0)})({self.number(inner)})")  # fmt: skip
        two = self.one("math.atan2", "math.pow", "math.copysign", "np.minimum", "np.maximum", "np.fmin", "math.log")
        return f"{two}({self.number(inner)}, {self.number(inner)})"

    def function(self) -> str:
        return self.one("math.sqrt", "math.sin", "math.exp", "math.log", "math.log10", "math.log2", "abs", "abs", "int",
                        "int", "float", "round", "round", "math.floor", "math.ceil", "math.trunc", "math.atan", "-",
                        "-", "+", "~", "not ", "math.log1p", "np.sqrt", "np.floor", "math.isnan", "bool", "np.abs",
                        "np.isnan", "np.square", "np.rint", "math.fabs", "math.degrees", "np.float64")  # fmt: skip

    def of_array(self, depth: int) -> str:
        kind = self.random.random()
        made = self.some_array(depth)
        if kind < 0.5:
            return f"{made}.{self.one('sum', 'mean', 'min', 'max', 'std', 'var', 'any', 'all', 'argmin', 'argmax')}()"
        if kind < 0.7:
            return f"np.{self.one('sum', 'mean', 'min', 'max', 'std', 'var', 'argmax')}({made})"
        if kind < 0.75:
            return f"{made}.{self.one('std', 'var')}(ddof=1)"
        if kind < 0.8:
            return self.one(f"min({made})", f"max({made})", f"len({made})", f"max([v for v in {made} if v == v])")
        return f"{made}[{self.one('0', '-1', '1', '2', 'len(values) // 2', 'int(values[0])')}]"

    def some_array(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.4:
            cuts = (
                "",
                "",
                "",
                "[1:]",
                "[:-1]",
                "[::2]",
                "[::-1]",
                "[1:3]",
                "[-5:]",
                "[values > 0]",
                "[values == values]",
            )
            return "values" + self.random.choice(cuts)
        made = self.some_array(depth - 1)
        other = self.one(self.constant(), "values", "values[0]", "values.mean()", self.some_array(0))
        if self.random.random() < 0.15:
            return f"np.{self.one('abs', 'sqrt', 'floor', 'square', 'isnan', 'rint')}({made})"
        op = self.one(*"+-*/+-*/", "//", "%", "<", ">=", "==", "&")
        return f"({made} {op} {other})" if self.random.random() < 0.8 else f"({other} {op} {made})"

    def condition(self, depth: int) -> str:
        kind, inner = self.random.random(), depth - 1
        if kind < 0.6:
            op = self.one("<", "<=", ">", ">=", "==", "!=")
            return f"({self.number(inner)} {op} {self.number(inner)})"
        if kind < 0.68:
            return f"({self.number(inner)} < {self.number(inner)} <= {self.number(inner)})"
        if kind < 0.74:
            return f"(not {self.number(inner)})"
        if kind < 0.80:
            return f"({self.number(inner)} {self.one('in', 'not in')} {self.one('(1, 2, 3)', '(0.0, 2.5)', '[1, 2]')})"
        if kind < 0.83:
            return f"({self.number(inner)} {self.one('is', 'is not')} {self.one('None', 'True', self.number(0))})"
        if depth <= 0:
            return f"({self.number(0)} > {self.constant()})"
        return f"({self.condition(inner)} {self.one('and', 'or', '&', '|', '^')} {self.condition(inner)})"

    def returned(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.12:
            return f"({self.number(depth)}, {self.number(2)})"
        return f"[{self.number(2)}, {self.number(2)}]" if kind < 0.15 else self.number(depth)

    def statements(self) -> Iterator[str]:
        """Yield the lines of a body."""
        before = list(self.numbers)
        yield f"x = {self.number(2)}"
        self.numbers = [*before, "x", "x"]
        for _ in range(self.random.randint(0, 3)):
            kind = self.random.random()
            if kind < 0.2:
                yield f"if {self.condition(2)}:"
                yield f"    return {self.returned(2)}"
            elif kind < 0.35:
                yield f"if {self.condition(2)}:"
                yield f"    x = {self.number(2)}"
                yield "else:"
                yield f"    y = {self.number(1)}"
                if self.random.random() < 0.3:
                    self.numbers.append("y")
            elif kind < 0.6:
                yield f"for k in {self.one('range(3)', f'range(int({self.number(1)}) % 5)', 'range(4, 0, -1)')}:"
                yield f"    x {self.one('=', '+=', '*=', '-=', '//=')} {self.number(2)}"
                if self.random.random() < 0.3:
                    yield f"    if {self.condition(1)}:"
                    yield f"        {self.one('break', 'continue', 'x = k')}"
                if self.random.random() < 0.2:
                    self.numbers.append("k")
            elif kind < 0.65:
                yield "n = 0"
                yield f"while n < 5 and {self.condition(1)}:"
                yield f"    n += {self.one('1', '2', '0.5 + 1')}"
                self.numbers.append("n")
            elif kind < 0.72:
                yield f"if {self.condition(1)}:"
                yield "    raise ValueError('no')"
            elif kind < 0.77:
                yield f"assert {self.condition(1)}"
            elif kind < 0.83:
                yield f"xs = [{self.number(1)}, {self.number(1)}]"
                yield self.one(f"xs.append({self.number(1)})", "xs.reverse()", "xs.sort()", f"xs += [{self.number(1)}]")
                self.numbers.append("xs[0]")
            elif kind < 0.88 and self.array:
                yield f"other = {self.some_array(2)}"
                yield f"other {self.one('+=', '*=', '-=')} {self.number(1)}"
                self.numbers += ["other[0]", "other.max()"]
            else:
                yield f"def inner(x, by={self.constant()}):"
                yield f"    return x {self.one(*'+-*/')} {self.one('by', 'x', 'x * x')}"
                yield f"x = inner({self.number(1)})"
        yield f"return {self.returned(3)}"

    def source(self, parameter: str) -> str:
        if self.random.random() < 0.6:
            return f"def func({parameter}):\n    return {self.returned(self.random.randint(1, 4))}"
        return f"def func({parameter}):\n    " + "\n    ".join(self.statements())


class Case(NamedTuple):
    """One random function and how it is called."""

    source: str
    form: str
    kinds: tuple[str, ...]
    options: dict[str, Any]
    call: dict[str, Any]


def case(seed: int) -> Case:
    """Return a random function, kinds of columns and a form of call."""
    made = Grammar(seed)
    draw = made.random
    form = draw.choice(["rows"] * 7 + ["map", "cells", "raw", "raw", "raw", "rolling"])
    options = {"n_workers": draw.choice([1, 2]), "chunk_size": draw.choice([None, None, None, 7, 1])}
    call: dict[str, Any] = {}
    if form == "rows":
        pool = NUMPY_KINDS[:6] if draw.random() < 0.5 else NUMPY_KINDS if draw.random() < 0.4 else OTHER_KINDS
        kinds = tuple(draw.choice(pool) for _ in range(draw.randint(1, 4)))
        made.numbers = [f"row['c{at}']" for at in range(len(kinds))]
        call = {"result_type": "expand"} if draw.random() < 0.07 else {}
        return Case(made.source("row"), form, kinds, options, call)
    if form in ("map", "cells"):
        kind = draw.choice(NUMPY_KINDS[:7] if draw.random() < 0.7 else OTHER_KINDS)
        made.numbers = ["value"]
        return Case(made.source("value"), form, (kind,) * (1 if form == "map" else 2), options, call)
    kind = draw.choice(["f8"] * 6 + ["i8"] * 2 + ["?", "f4", "i1", "u1"]) if form == "raw" else "f8"
    width = draw.choice([1, 2, 3, 5, 8, 9, 17, 130, 300]) if form == "raw" else 2
    made.numbers, made.array = ["values[0]", "values[-1]"], "values"
    return Case(made.source("values"), form, (kind,) * width, options, call)


def frame_of(one: Case, seed: int) -> pd.DataFrame:
    of = np.random.default_rng(seed)
    n = int(of.integers(1, 40 if len(one.kinds) < 20 else 8))
    return pd.DataFrame({f"c{at}": column(kind, n, of) for at, kind in enumerate(one.kinds)})


def asked(one: Case, func: Any, frame: Any, options: dict[str, Any] | None) -> Any:
    """Call with pandas, or with options in compiled code; return the result or the exception."""

    def of(data: Any) -> Any:
        return data if options is None else data.par(**{"engine": "numba", **options})

    try:
        if one.form == "rows":
            return of(frame).apply(func, axis=1, **one.call)
        if one.form == "map":
            return of(frame["c0"]).map(func)
        if one.form == "cells":
            return of(frame).map(func)
        if one.form == "raw":
            return of(frame).apply(func, axis=1, raw=True)
        return of(frame).rolling(4, min_periods=1).apply(func, raw=True)
    except Exception as error:
        return error


def shown(value: Any) -> Any:
    """Return all of a result: types, values, the signs of zeros and the labels."""
    if isinstance(value, pd.DataFrame):
        return [(label, *shown(value.iloc[:, at])) for at, label in enumerate(value.columns)], list(value.index)
    if isinstance(value, pd.Series):
        return str(value.dtype), value.name, list(map(repr, value)), list(value.index)
    return type(value).__name__, str(value)


def outcome_of(one: Case, func: Any, frame: pd.DataFrame) -> tuple[str, str]:
    """Return the kind of outcome for a function and a frame, and a text."""
    before = frame.copy()
    expected = asked(one, func, frame, None)
    if not frame.equals(before):
        return "writes", ""
    found = asked(one, func, frame, one.options)
    if isinstance(found, FunctionNotCompilableError):
        return "refused", str(found).partition("\n")[0].partition("compiled: ")[2]
    if isinstance(found, CompiledResultDiffersError):
        return "differs", str(found)
    if isinstance(expected, Exception) and one.form == "raw" and shown(found) != shown(expected):
        expected = asked(one, func, frame, {**one.options, "engine": "serial"})  # pandas may raise another one first
    if shown(found) == shown(expected):
        return ("same error" if isinstance(expected, Exception) else "equal"), ""
    pairs = (repr(expected), repr(found))
    if isinstance(found, pd.Series) and isinstance(expected, pd.Series) and len(found) == len(expected):
        bad = [at for at in range(len(found)) if repr(found.iloc[at]) != repr(expected.iloc[at])]
        pairs = tuple(f"{of.dtype} {[(at, of.iloc[at]) for at in bad[:4]]}" for of in (expected, found))  # type: ignore[assignment]
        pairs = (*pairs, str([tuple(frame.iloc[at]) for at in bad[:4]])[:300])  # type: ignore[assignment]
    return "WRONG", " | ".join(one[:400] for one in pairs)


def function_of(one: Case) -> Any:
    scope = dict(SCOPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(one.source, "<random>", "exec"), scope)
    return scope["func"]


def run(seed: int, say: Callable[[str], None]) -> collections.Counter[str]:
    """Compare one random function on several frames; say what is wrong."""
    one = case(seed)
    func = function_of(one)
    counts: collections.Counter[str] = collections.Counter()
    for number in range(FRAMES_OF_EACH):
        kind, text = outcome_of(one, func, frame_of(one, 1000 * seed + number))
        counts[kind] += 1
        if kind == "WRONG":
            where = f"seed {seed}, frame {number}: {one.form} {one.kinds[:5]} {one.call} {one.options}"
            say(f"{where}\n{one.source}\n{text}")
            break
        if kind == "refused":
            counts[f"refused: {text}"] += 1
            break
        if kind == "differs" and not counts["differs"] > 1:
            counts[f"differs: {one.kinds[:3]} {one.source}: {text[:200]}"] += 1
    return counts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_random_functions(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdparallel.execution import compiled

    monkeypatch.setattr(compiled, "MAX_CHECKED", 3)
    wrong: list[str] = []
    counts: collections.Counter[str] = collections.Counter()
    with np.errstate(all="ignore"):
        for seed in range(12 * part, 12 * part + 12):
            counts += run(seed, wrong.append)
    assert not wrong, "\n\n".join(wrong)
    assert counts["equal"] > 20, counts


def main(n: int, first: int) -> None:
    """Run many random functions, and print what differs."""
    from pdparallel.execution import compiled

    compiled.MAX_CHECKED = 3
    warnings.simplefilter("ignore")
    counts: collections.Counter[str] = collections.Counter()
    with np.errstate(all="ignore"):
        for seed in range(first, first + n):
            print(seed, file=sys.stderr, flush=True)  # for a crash
            counts += run(seed, lambda text: print(text, "\n", flush=True))
            if seed % 200 == 0:
                outcomes = {kind: count for kind, count in counts.items() if ":" not in kind}
                print(f"{sum(outcomes.values())} pairs: {outcomes}", flush=True)
    for kind, count in counts.most_common():
        print(count, kind)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
