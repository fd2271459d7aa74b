"""Fuzz: calls drawn at random, each made by pandas and by pdparallel, and compared in all that a user can see.

Run it by hand for an hour with ``python -m tests.fuzz 3600``; :mod:`tests.project.test_fuzz` runs it for 20 s.  A case
is a few words, so that what is printed of it can be read; hypothesis looks for the smallest case that still differs.

Compared are values, dtypes, labels, names, attrs, flags, what can be written into, what shares memory with the input,
the input itself after the call, warnings with their place, and errors.  Six differences are meant:

* a result may share less memory with the input: what comes from a worker is new;
* a function that writes into a column of pandas' own frame may get a copy: the column then stays as it was;
* pandas repeats some warnings for each block of a frame, and forgets what it has shown wherever it changes the filters:
  those of values, and all under the filter "default", count once;
* where the machine stalls in the middle of a small call, workers take over, and pandas is asked a second time to put
  the returns together: what it warns of them comes twice.  So a case that differs is tried once more;
* with warnings as errors pandas 2 may end a call by a RuntimeWarning of NumPy before it refuses the same values;
* rows of whole numbers beside a category of whole numbers of which one is missing: pandas hands out a Series that
  holds whole numbers and says that its dtype is float64 (and fails where it is written into); here it says int64.

One is known and not mended: a function that writes into spans of time with a sparse column fails by another error.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
from hypothesis import strategies as st

import pdparallel
from pdparallel.testing import assert_same
from tests.conftest import temporary_folder_of_its_own

# Frames

#: Columns by their dtype: so many values, every one drawn from few.
COLUMNS: dict[str, Callable[[int], Any]] = {
    "int": lambda n: np.arange(n) % 5 - 2,
    "int8": lambda n: (np.arange(n) % 3).astype("int8"),
    "uint64": lambda n: (np.arange(n) % 4).astype("uint64"),
    "float": lambda n: np.where(np.arange(n) % 7 == 3, np.nan, np.arange(n) / 4),
    "float32": lambda n: (np.arange(n) / 3).astype("float32"),
    "bool": lambda n: np.arange(n) % 2 == 0,
    "complex": lambda n: np.arange(n) * 1j,
    "text": lambda n: pd.array([f"t{i % 3}" for i in range(n)], dtype="str"),
    "object": lambda n: pd.Series([("x", 1, None, 2.5, (1, 2))[i % 5] for i in range(n)], dtype=object),
    "times": lambda n: pd.date_range("2026-01-01", periods=n, freq="h"),
    "zoned": lambda n: pd.date_range("2026-03-28", periods=n, freq="h", tz="Europe/Berlin"),
    "spans": lambda n: pd.to_timedelta(np.arange(n), unit="min"),
    "Int64": lambda n: pd.array([None if i % 4 == 1 else i for i in range(n)], dtype="Int64"),
    "Float32": lambda n: pd.array([None if i % 4 == 2 else i / 2 for i in range(n)], dtype="Float32"),
    "boolean": lambda n: pd.array([(True, None, False)[i % 3] for i in range(n)], dtype="boolean"),
    "category": lambda n: pd.Categorical.from_codes(np.arange(n) % 3 - 1, ["b", "a", "c"]),
    "int category": lambda n: pd.Categorical.from_codes(np.arange(n) % 3 - 1, [5, 7, 9], ordered=True),
    "period": lambda n: pd.period_range("2026-01", periods=n, freq="M"),
    "interval": lambda n: pd.interval_range(0, n) if n else pd.array([], dtype="interval[int64]"),
    "sparse": lambda n: pd.arrays.SparseArray(np.arange(n) % 3),
}  # fmt: skip

INDEXES: dict[str, Callable[[int], Any]] = {
    "range": lambda n: pd.RangeIndex(n),
    "texts": lambda n: pd.Index([f"r{i}" for i in range(n)], name="label"),
    "twice": lambda n: pd.Index(np.arange(n) // 2),
    "times": lambda n: pd.date_range("2026-01-01", periods=n, freq="D"),
    "levels": lambda n: pd.MultiIndex.from_arrays([np.arange(n) % 2, np.arange(n)], names=["p", None]),
}

# Functions: of a row or column, of a value, of a group.  Each is what somebody may write.


def _raises(at: Any) -> Any:
    raise ValueError(f"not {at}")


def _tried(func: Callable[[], Any]) -> Any:
    try:
        return func()
    except Exception as error:
        return type(error).__name__


def _writes(series: Any, value: Any) -> Any:
    series.iloc[0] = value
    return series


def _writes_values(series: Any) -> Any:
    series.values[0] = series.values[-1]
    return str(series.tolist())


SERIES: dict[str, Callable[[Any], Any]] = {
    "first": lambda s: s.iloc[0],
    "sum": lambda s: s.sum(),
    "text": lambda s: f"{s.iloc[0]} {s.iloc[-1]} {s.name}",
    "types": lambda s: " ".join(type(value).__name__ for value in s),
    "dtype": lambda s: str(s.dtype),
    "kind": lambda s: type(s).__name__,
    "labels": lambda s: f"{type(s.index).__name__} {s.index.tolist()} {s.index.names}",
    "attrs": lambda s: f"{s.attrs} {s.flags.allows_duplicate_labels}",
    "writable": lambda s: getattr(s.to_numpy(), "flags", {})["WRITEABLE"],
    "by label": lambda s: s["a"] if "a" in s else s.iloc[0],
    "by attribute": lambda s: s.a if hasattr(s, "a") else s.name,
    "sum of two": lambda s: s.iloc[0] + s.iloc[-1],
    "twice": lambda s: s.iloc[-1] * 2,
    "is small": lambda s: bool(pd.notna(s.iloc[0])) and str(s.iloc[0]) < "1",
    "items": lambda s: "; ".join(f"{label}={value!r}" for label, value in s.items()),
    "known labels": lambda s: [s.get(label) for label in ("a", "d", 0, "r1")],
    "tried": lambda s: _tried(lambda: s["a"] / s["b"]),
    "by mask": lambda s: len(s[s.notna()]),
    "sorted": lambda s: s.sort_values(key=lambda values: values.map(str)),
    "mapped": lambda s: s.map(str),
    "two": lambda s: (s.iloc[0], s.iloc[-1]),
    "itself": lambda s: s,
    "copy": lambda s: s.copy(),
    "head": lambda s: s.head(2),
    "turned": lambda s: s[::-1],
    "is missing": lambda s: s.isna(),
    "Series": lambda s: pd.Series({"n": len(s), "first": s.iloc[0]}, name=s.name),
    "dict": lambda s: s.to_dict(),
    "list": lambda s: s.tolist(),
    "tuple": lambda s: (s.name, len(s)),
    "array": lambda s: s.to_numpy(),
    "a time": lambda s: pd.Timestamp("2026-05-01") + pd.Timedelta(len(s), "h"),
    "none": lambda s: None,
    "some none": lambda s: None if str(s.iloc[0]) < "1" else len(s),
    "some float": lambda s: 1 if str(s.iloc[0]) < "1" else 0.5,
    "raises": lambda s: _raises(s.name) if str(s.iloc[0]) > "1" else 1,
    "writes": lambda s: _writes(s, s.iloc[-1]),
    "writes None": lambda s: _writes(s, None),
    "writes values": _writes_values,
    "warns": lambda s: warnings.warn(f"mind {len(s)}", UserWarning, stacklevel=1),
}  # fmt: skip

VALUES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda v: v,
    "text": lambda v: f"<{v}>",
    "type": lambda v: type(v).__name__,
    "twice": lambda v: v * 2,
    "missing": lambda v: pd.isna(v),
    "none": lambda v: None,
    "a time": lambda v: pd.Timestamp("2026-05-01", tz="UTC"),
    "a list": lambda v: [v],
    "raises": lambda v: _raises(v) if str(v) > "1" else 1,
    "some float": lambda v: 1 if str(v) < "1" else 0.5,
    "NA": lambda v: pd.NA if str(v) < "1" else 3,
}  # fmt: skip

GROUPS: dict[str, Callable[[Any], Any]] = {
    "length": len,
    "name": lambda g: str(g.name),
    "kind": lambda g: type(g).__name__,
    "labels": lambda g: f"{type(g.index).__name__} {g.index.tolist()} {getattr(g, 'columns', None)}",
    "dtypes": lambda g: str(g.dtypes),
    "attrs": lambda g: f"{g.attrs} {g.flags.allows_duplicate_labels}",
    "itself": lambda g: g,
    "first rows": lambda g: g.head(1),
    "turned": lambda g: g.iloc[::-1],
    "first row": lambda g: g.iloc[0],
    "min": lambda g: g.min(),
    "counts": lambda g: g.count(),
    "a Series": lambda g: pd.Series([len(g), 1.5], index=["n", "half"]),
    "a time": lambda g: pd.Timestamp("2026-05-01"),
    "none": lambda g: None if len(g) > 2 else len(g),
    "raises": lambda g: _raises(len(g)) if len(g) > 2 else len(g),
    "writes": lambda g: _writes(g, g.iloc[-1]),
    "is large": lambda g: len(g) > 2,
    "by label": lambda g: g["a"].iloc[0] if "a" in g else g.iloc[-1],
    "without mean": lambda g: _tried(lambda: g - g.mean()),
    "spread": lambda g: _tried(lambda: float(g.max() - g.min())),
    "summary": lambda g: pd.Series({"n": len(g), "missing": g.isna().to_numpy().sum()}, name=len(g)),
    "numbered": lambda g: g.assign(number=range(len(g))) if g.ndim == 2 else g.to_frame().assign(number=range(len(g))),
    "two": lambda g: (len(g), g.size),
    "float": lambda g: float(len(g)),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """A call: a frame, a verb, a function, and the options; all by name."""

    columns: tuple[str, ...]
    rows: int
    index: str
    verb: str
    func: str
    options: tuple[tuple[str, Any], ...]
    attrs: bool = False
    unique: bool = False
    joined: bool = False
    filter: str = "always"

    def frame(self) -> pd.DataFrame:
        """A new one, whose columns are called a, b, c ...; joined, its columns of one dtype are one array."""
        frame = pd.DataFrame(
            {"abcdefgh"[at]: COLUMNS[kind](self.rows) for at, kind in enumerate(self.columns)},
        )
        frame.index = INDEXES[self.index](self.rows)
        if self.joined:
            frame = frame.copy()
        if self.attrs:
            frame.attrs["unit"] = "km"
        return frame.set_flags(allows_duplicate_labels=False) if self.unique and self.index != "twice" else frame


def _of(data: Any, options: dict[str, Any] | None) -> Any:
    return data if options is None else data.par(**options)


# Each call is on one line, because a warning must name that line.
VERBS: dict[str, tuple[dict[str, Callable[..., Any]], Callable[..., Any]]] = {
    "rows": (SERIES, lambda df, f, o: _of(df, o).apply(f, axis=1)),
    "rows, expanded": (SERIES, lambda df, f, o: _of(df, o).apply(f, axis=1, result_type="expand")),
    "columns": (SERIES, lambda df, f, o: _of(df, o).apply(f)),
    "values": (VALUES, lambda df, f, o: _of(df["a"], o).map(f)),
    "Series.apply": (VALUES, lambda df, f, o: _of(df["a"], o).apply(f)),
    "frame of values": (VALUES, lambda df, f, o: _of(df, o).map(f)),
    "groups": (GROUPS, lambda df, f, o: _of(df, o).groupby("a").apply(f)),
    "groups of some": (GROUPS, lambda df, f, o: _of(df, o).groupby("a", sort=False)[list(df.columns[1:])].apply(f)),
    "groups of one": (GROUPS, lambda df, f, o: _of(df, o).groupby("a", dropna=False)[df.columns[-1]].apply(f)),
    "groups, observed": (GROUPS, lambda df, f, o: _of(df, o).groupby("a", observed=False, group_keys=False).apply(f)),
    "agg": (GROUPS, lambda df, f, o: _of(df, o).groupby("a").agg(f)),
    "agg of one": (GROUPS, lambda df, f, o: _of(df, o).groupby("a", as_index=False)[df.columns[-1]].agg(f)),
    "agg of lists": (GROUPS, lambda df, f, o: _of(df, o).groupby("a").agg({df.columns[-1]: ["count", f]})),
    "agg by name": (GROUPS, lambda df, f, o: _of(df, o).groupby("a", sort=False).agg(n=(df.columns[-1], f))),
    "groups of a Series": (GROUPS, lambda df, f, o: _of(df.iloc[:, -1], o).groupby(df["a"]).apply(f)),
    "groups by level": (GROUPS, lambda df, f, o: _of(df, o).groupby(level=0).apply(f)),
    "groups, a column": (GROUPS, lambda df, f, o: _of(df, o).groupby("a", as_index=False)[["b"]].apply(f)),
    "transform": (GROUPS, lambda df, f, o: _of(df, o).groupby("a").transform(f)),
    "transform of one": (GROUPS, lambda df, f, o: _of(df, o).groupby("a")[df.columns[-1]].transform(f)),
    "filter": (GROUPS, lambda df, f, o: _of(df, o).groupby("a").filter(f)),
    "windows": (GROUPS, lambda df, f, o: _of(df["a"], o).rolling(3, min_periods=1).apply(f)),
    "expanding": (GROUPS, lambda df, f, o: _of(df["a"], o).expanding().apply(f, raw=True)),
    "resample": (GROUPS, lambda df, f, o: _of(df, o).resample("2D").apply(f)),
    "resample, agg": (GROUPS, lambda df, f, o: _of(df, o).resample("2D").agg({df.columns[-1]: f})),
    "resample, transform": (GROUPS, lambda df, f, o: _of(df, o).resample("3D")[df.columns[-1]].transform(f)),
    "resample of one": (GROUPS, lambda df, f, o: _of(df, o).resample("3D")[df.columns[-1]].agg(f)),
}  # fmt: skip

ENGINES = ("auto", "serial", "thread", "process")


def cases() -> st.SearchStrategy[Case]:
    """Cases of up to eleven rows and five columns."""

    @st.composite
    def draw_case(draw: Any) -> Case:
        verb = draw(st.sampled_from(list(VERBS)))
        options: dict[str, Any] = {"engine": draw(st.sampled_from(ENGINES))}
        size = draw(st.sampled_from([None, 1, 2, 4]))
        if size is not None:
            options["chunk_size"] = size
        if options["engine"] in ("thread", "process"):
            options["n_workers"] = 2
        kinds = st.sampled_from(list(COLUMNS))
        columns = draw(st.one_of(
            st.lists(kinds, min_size=2, max_size=5),
            kinds.flatmap(lambda kind: st.integers(2, 4).map(lambda n: [kind] * n)),
        ))  # fmt: skip
        index = "times" if verb.startswith("resample") else draw(st.sampled_from(list(INDEXES)))
        return Case(
            tuple(columns), draw(st.integers(0, 11)), index, verb, draw(st.sampled_from(list(VERBS[verb][0]))),
            tuple(options.items()), draw(st.booleans()), draw(st.booleans()), draw(st.booleans()),
            draw(st.sampled_from(["always", "default", "ignore", "error"])),
        )  # fmt: skip

    return draw_case()


# Comparing


@dataclasses.dataclass
class Seen:
    """What a user can see of a call."""

    value: Any
    error: BaseException | None
    warned: list[tuple[str, str, str, int]]
    frame: pd.DataFrame


def made(case: Case, options: dict[str, Any] | None) -> Seen:
    """Make the call, by pandas where there are no options."""
    functions, call = VERBS[case.verb]
    frame, value, error = case.frame(), None, None
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter(case.filter)  # type: ignore[arg-type]
        try:
            value = call(frame, functions[case.func], options)
        except Exception as exception:
            error = exception
    warned = [(w.category.__name__, str(w.message), w.filename, w.lineno) for w in noted]
    once = {warning for warning in warned if case.filter == "default" or warning[0] in _OF_BLOCKS}
    warned = [warning for at, warning in enumerate(warned) if warning not in once or warning not in warned[:at]]
    return Seen(value, error, warned, frame)


#: Warnings that pandas repeats for each block of a frame, which may have others here.
_OF_BLOCKS = ("PerformanceWarning", "ComplexWarning")


def _contradicts_itself(case: Case) -> bool:
    """Whether pandas hands out rows of a dtype that is not that of their values."""
    frame = case.frame()
    if not (case.verb.startswith("rows") and "int category" in case.columns and len(frame)):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(frame.iloc[0].dtype != frame.to_numpy().dtype)
        except ValueError:  # pandas 2 refuses the row
            return False


def _arrays(value: Any) -> list[np.ndarray]:
    """The arrays of a result, column by column, where they are NumPy's."""
    if isinstance(value, pd.DataFrame):
        return [array for at in range(value.shape[1]) for array in _arrays(value.iloc[:, at])]
    if isinstance(value, pd.Series):
        values = value.array
        values = getattr(values, "_ndarray", values)  # of times, and of NumPy's own
        return [values] if isinstance(values, np.ndarray) else []
    return []


def compare(case: Case) -> None:
    """Assert that the call gives what pandas gives."""
    if _contradicts_itself(case) or (case.verb == "resample" and case.func == "writes" and "sparse" in case.columns):
        return
    expected, got = made(case, None), made(case, dict(case.options))
    if expected.error is not None or got.error is not None:
        refused = isinstance(expected.error, RuntimeWarning) and isinstance(got.error, ValueError)
        same = type(got.error) is type(expected.error) and str(got.error) == str(expected.error)
        if not (same or refused):
            raise AssertionError(f"{got.error!r} instead of {expected.error!r}") from got.error
    else:
        assert_same(got.value, expected.value)
        ours, theirs = _arrays(got.value), _arrays(expected.value)
        _equal("writable", [a.flags.writeable for a in ours], [a.flags.writeable for a in theirs])
        shared = [any(np.shares_memory(a, b) for b in _arrays(got.frame)) for a in ours if a.size]
        allowed = [any(np.shares_memory(a, b) for b in _arrays(expected.frame)) for a in theirs if a.size]
        allowed = [left and right for left, right in zip(shared, allowed, strict=True)]
        _equal("shares memory with the input", shared, allowed)
    before = case.frame()
    assert_same(got.frame.columns, before.columns)
    for at in range(before.shape[1]):
        try:
            assert_same(got.frame.iloc[:, at], before.iloc[:, at])
        except AssertionError:
            assert_same(got.frame.iloc[:, at], expected.frame.iloc[:, at])
    assert_same(got.frame.flags, expected.frame.flags)
    assert_same(got.frame.attrs, expected.frame.attrs)
    if expected.error is None:
        _equal("warnings", got.warned, expected.warned)


def _equal(what: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise AssertionError(f"{what}: {got} instead of {expected}")


def _kind(case: Case, error: AssertionError) -> tuple[str, str]:
    """What differs, roughly: the verb, and the words of the message up to the first figure or name."""
    return case.verb, re.split(r"[\d\[('\"{]", str(error), maxsplit=1)[0][:60]


def run(seconds: float, seed: int) -> int:
    """Compare until the time is over; returns how many kinds of differences there are, and prints a case of each."""
    until, number, differing = time.monotonic() + seconds, 0, set[tuple[str, str]]()
    once: list[Case] = []
    while time.monotonic() < until:
        seed += 1

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=100, deadline=None, database=None, report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(cases())
        def hundred(case: Case) -> None:
            nonlocal number
            number += 1
            try:
                compare(case)
            except AssertionError:
                try:
                    compare(case)
                except AssertionError as error:
                    if _kind(case, error) not in differing:  # one case of a kind is enough
                        failing[:] = [(case, error)]
                        raise
                else:
                    once.append(case)

        failing: list[tuple[Case, AssertionError]] = []
        try:
            hundred()
        except AssertionError:
            ((case, error),) = failing
            differing.add(_kind(case, error))
            print(f"{case}\n    {str(error)[:600]}\n", flush=True)
    print(
        f"{number} cases, the last seed {seed}: {len(differing)} kinds differ, {len(once)} cases differed once: {once}"
    )
    return len(differing)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=3600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    temporary_folder_of_its_own("fuzz-")
    found = run(given.seconds, given.seed)
    pdparallel.shutdown()
    sys.exit(found > 0)
