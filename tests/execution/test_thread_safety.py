"""Threads instead of processes where there is no GIL: for which functions, and that nothing else changes by it."""

from __future__ import annotations

import calendar
import collections
import datetime
import functools
import importlib
import json
import math
import random
import re
import statistics
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.core.call import Call, work_of
from pdparallel.core.cpu_count import gil_is_off
from pdparallel.core.options import Options
from pdparallel.data.fastpath.type_checks import is_trusted
from pdparallel.diagnostics import explain
from pdparallel.engines.thread import ThreadEngine
from pdparallel.errors import FailedCallsWarning
from pdparallel.execution import placement
from pdparallel.execution.thread_safety import is_thread_safe
from pdparallel.testing import assert_same
from pdparallel.testing._force import force

DF = pd.DataFrame({"a": [1.5, 2.5, -1.0], "n": [1, 2, 3], "t": ["p", "q", "r"]})

RATE = 2.5
TABLE = {"p": 1, "q": 2, "r": 3}
LISTED = [10.0, 20.0, 30.0, 40.0]
WORDS = re.compile(r"\w")
BY_DAY = collections.defaultdict(int)
SEEN: list[Any] = []
COUNT = 0
LOCK = threading.Lock()
ONE = random.Random(1)
NAMES = ["a", "n"]
FRAME = DF.copy()
ARRAY = np.arange(5.0)


class Model:
    def predict(self, value: float) -> float:
        return value * 2


MODEL = Model()


def helper(value: float, by: float = 2.0) -> float:
    return math.sqrt(abs(value)) * by


def helper_that_counts(value: float) -> float:
    global COUNT
    COUNT += 1
    return value


@functools.lru_cache
def kept(value: float) -> float:
    return value * 2


def reads(row):
    return row["a"] * 2 + row.n


def goes_through(row):
    known = 0
    for value in row:
        known += value == value
    return known


def of_a_constant(row):
    return row["a"] * RATE


def of_a_table(row):
    return TABLE.get(row["t"], 0) + TABLE[row["t"]] + (row["t"] in TABLE) + LISTED[row["n"]]


def of_helpers(row):
    return helper(row["a"]) + helper(row["n"], by=3.0)


def of_numpy(row):
    return np.sqrt(np.float64(abs(row["a"]))) + np.where(row["n"] > 1, 1.0, 0.0).item() + np.pi


def of_the_library(row):
    return WORDS.sub("x", row["t"]) + re.sub("a", "b", row["t"]) + datetime.date(2026, 1, row["n"]).isoformat()


def of_locals(row):
    found = {}
    for number in range(row["n"]):
        found[number] = number * row["a"]
    parts = [value for value in found.values() if value > 0]
    parts.append(1.0)
    parts.sort()
    return sorted(parts, key=lambda value: -value)[0]


def with_a_try(row):
    try:
        return 1 / (row["n"] - 1)
    except ZeroDivisionError as error:
        return len(str(error))


def raises(row):
    if row["n"] == 3:
        raise ValueError(f"no {row['n']}")
    return row["n"]


def of_a_closure(by=2.0):
    factors = (1.0, by)
    return lambda row: row["a"] * factors[1]


def writes_into_its_row(row):
    row["a"] = 1.0
    return row["a"] + row["n"]


def of_json(row):
    return json.loads(f"[{row['n']}, 2]")[0] + len(json.dumps({"a": row["a"]}))


SAFE: dict[str, Any] = {
    func.__name__: func
    for func in (
        reads, goes_through, of_a_constant, of_helpers, of_numpy, of_the_library, of_locals, of_json, with_a_try,
        raises,
    )
} | {"of_a_closure": of_a_closure(), "a partial": functools.partial(lambda by, row: row["a"] * by, 3.0)}  # fmt: skip


class Counting(float):
    def bump(self):
        SEEN.append(1)
        return len(SEEN)


COUNTING = Counting(2.0)
PUSH = list.append
UNIVERSAL = np.frompyfunc(lambda value: SEEN.append(value) or len(SEEN), 1, 1)
RECORD = np.zeros(1, dtype=[("x", "f8")])[0]
PARTIAL = functools.partial(helper, by=2.0)


def counted(value):
    return value


counted.seen = []


def inserts(row):
    return SEEN.insert(0, row["n"]) or len(SEEN)


def pushes(row):
    PUSH(SEEN, row["n"])
    return len(SEEN)


def of_a_universal_function(row):
    return UNIVERSAL(row["n"])


def of_a_record(row):
    RECORD["x"] += 1.0
    return RECORD["x"]


def of_a_subclass_of_float(row):
    return COUNTING.bump()


def of_an_attribute_of_a_function(row, func=counted):
    func.seen.append(row["n"])
    return len(func.seen)


def of_a_partial(row):
    PARTIAL.keywords["by"] = row["a"]
    return PARTIAL(row["n"])


def of_chance_of_statistics(row):
    return statistics.NormalDist(0, 1).samples(1)[0]


def adds_a_label(row):
    row["z"] = 1
    return row["a"]


def deletes_a_label(row):
    del row["a"]
    return row["n"]


def asks_for_a_label_that_is_not_there(row):
    try:
        return row["zz"]
    except KeyError:
        return row["a"]


def looks_inside_the_row(row):
    return len(row._mgr.blocks)


def writes_a_file(row):
    return np.float64(row["a"]).tofile("file")


def of_a_frame_of_the_interpreter(row):
    return (one for one in ()).gi_frame.f_globals["RATE"] + row["a"]


def of_a_calendar(row):
    return calendar.LocaleTextCalendar(0, "C").formatweekday(row["n"], 9)


def appends(row):
    SEEN.append(row["a"])
    return row["a"]


def assigns_an_element(row):
    TABLE["z"] = row["n"]
    return TABLE["z"]


def adds_in_place(row):
    mine = LISTED
    mine += [row["a"]]
    return len(mine)


def hands_on_a_table(row):
    def put(where, value):
        where[0] = value

    put(LISTED, row["a"])
    return LISTED[0]


def counts(row):
    global COUNT
    COUNT += 1
    return row["a"]


def counts_by_a_helper(row):
    return helper_that_counts(row["a"])


def counts_at_the_function(row):
    counts_at_the_function.times = 1
    return row["a"]


def counts_by_day(row):
    return BY_DAY[row["n"]]


def of_a_module_of_the_user(row):
    return pdparallel.__version__ + row["t"]


def of_pandas(row):
    return pd.Series([row["a"]]).sum()


def asks_pandas_of_the_row(row):
    return row.sum()


def takes_a_part_of_the_row(row):
    return len(row[NAMES])


def takes_a_slice_of_the_row(row):
    return len(row[:2])


def takes_what_it_likes_of_the_row(row):
    return sum(row[name] for name in ("a", "n"))


def hands_on_the_row(row):
    return helper_of_rows(row)


def helper_of_rows(row):
    return row["a"]


def of_a_model(row):
    return MODEL.predict(row["a"])


def of_a_lock(row):
    with LOCK:
        return row["a"]


def of_chance(row):
    return random.random() + row["a"]


def of_chance_of_numpy(row):
    return np.random.rand() + row["a"]


def of_an_own_chance(row):
    return ONE.random()


def of_a_frame(row):
    return FRAME["a"].iloc[row["n"] - 1]


def of_an_array(row):
    ARRAY[0] = row["a"]
    return ARRAY[0]


def prints(row):
    print(row["a"])
    return row["a"]


def imports(row):
    import math

    return math.sqrt(abs(row["a"]))


def sets_how_numpy_errs(row):
    np.seterr(all="ignore")
    return row["a"]


def sets_options(row):
    with pd.option_context("display.width", 20):
        return str(row["a"])


def writes_out(row):
    return np.add(row["a"], 1, out=LISTED)


def gets_at_globals(row):
    return globals()["RATE"] * row["a"]


def gets_at_a_class(row):
    return row["t"].__class__.__name__


def defines_a_class(row):
    class Own:
        value = row["a"]

    return Own.value


def of_a_cache(row):
    return kept(row["a"])


def counts_around() -> Callable[[Any], Any]:
    times = 0

    def func(row):
        nonlocal times
        times += 1
        return row["a"]

    return func


def _numbers() -> Iterator[int]:
    yield from range(10)


def of_a_generator() -> Callable[[Any], Any]:
    numbers = _numbers()
    return lambda row: next(numbers) + row["a"]


class Called:
    def __call__(self, row):
        return row["a"]


UNSAFE: dict[str, Any] = {
    func.__name__: func
    for func in (
        appends, assigns_an_element, adds_in_place, hands_on_a_table, counts, counts_by_a_helper,
        counts_at_the_function, counts_by_day, of_a_module_of_the_user, of_pandas, asks_pandas_of_the_row,
        takes_a_part_of_the_row, takes_a_slice_of_the_row, takes_what_it_likes_of_the_row,
        hands_on_the_row, of_a_model, of_a_lock, of_chance, of_chance_of_numpy, of_an_own_chance, of_a_frame,
        of_an_array, prints, imports, sets_how_numpy_errs, sets_options, writes_out, gets_at_globals,
        gets_at_a_class, defines_a_class, of_a_cache, of_a_table, writes_into_its_row, inserts, pushes,
        of_a_universal_function, of_a_record, of_a_subclass_of_float, of_an_attribute_of_a_function, of_a_partial,
        of_chance_of_statistics, adds_a_label, deletes_a_label, asks_for_a_label_that_is_not_there,
        looks_inside_the_row, writes_a_file, of_a_frame_of_the_interpreter, of_a_calendar,
    )
} | {
    "counts_around": counts_around(), "of_a_generator": of_a_generator(), "an object": Called(),
    "a method": Called().__call__, "a class": Model,
}  # fmt: skip


def call_of(func: Any, data: Any = DF, unit_format: str = "row", args: tuple[Any, ...] = (), **options: Any) -> Call:
    work = work_of(func, args, {}, unit_format, Options(**options))
    return Call("apply_rows", work, data, len(data), "row", str)


@pytest.mark.parametrize("name", SAFE)
def test_functions_that_threads_may_run_side_by_side(name: str) -> None:
    assert is_thread_safe(call_of(SAFE[name]))


@pytest.mark.parametrize("name", UNSAFE)
def test_functions_that_they_may_not(name: str) -> None:
    assert not is_thread_safe(call_of(UNSAFE[name]))


@pytest.mark.parametrize(
    ("func", "safe"),
    [(math.sqrt, True), (str.upper, True), (np.sqrt, True), (float, True), (len, True), (print, False), (input, False),
     (np.random.rand, False), (random.random, False), (SEEN.append, False), (Model, False), (np.save, False),
     (lambda value: value.strip(), True), (lambda value: SEEN.append(value), False), (list.append, False),
     (functools.partial(list.append, SEEN), False), (functools.partial(dict.setdefault, TABLE), False),
     (UNIVERSAL, False), (WORDS.findall, True), (datetime.date.fromisoformat, True), (COUNTING.bump, False)],
)  # fmt: skip
def test_functions_of_values(func: Any, safe: bool) -> None:
    assert is_thread_safe(call_of(func, DF["a"], "value")) is safe


@pytest.mark.parametrize("unit_format", ["column", "unit", "chunk", "item", "star", "row-array", "row-broadcast"])
def test_what_is_pandas_or_can_be_written_into_goes_to_processes(unit_format: str) -> None:
    assert not is_thread_safe(call_of(reads, unit_format=unit_format))


@pytest.mark.parametrize(
    ("values", "safe"),
    [(["a", None, "b"], True), ([1, 2.5, None], True), ([datetime.date(2026, 1, 1)] * 2, True), ([[1], [2]], False),
     ([MODEL, MODEL], False), ([{}, {}], False), ([Counting(1.0)] * 2, False)],
)  # fmt: skip
def test_a_value_that_may_be_changed_may_stand_in_several_rows(values: list[Any], safe: bool) -> None:
    data = pd.DataFrame({"a": range(len(values)), "o": pd.Series(values, dtype=object)})
    assert is_thread_safe(call_of(lambda row: row["a"], data)) is safe
    assert is_thread_safe(call_of(len, data["o"], "value")) is safe


def test_a_label_that_stands_twice_is_a_part_of_the_row() -> None:
    assert not is_thread_safe(call_of(lambda row: row["a"], pd.concat([DF, DF], axis=1)))
    assert not is_thread_safe(call_of(lambda row: row["a"], pd.concat({"a": DF}, axis=1)))


def test_arguments_count() -> None:
    assert is_thread_safe(call_of(lambda row, by: row["a"] * by, args=(2.0,)))
    assert not is_thread_safe(call_of(lambda row, table: table[row["t"]], args=(TABLE,)))
    assert not is_thread_safe(call_of(lambda row, seen: seen.append(row["a"]), args=([],)))
    assert not is_thread_safe(call_of(lambda row, model: model.predict(row["a"]), args=(MODEL,)))


def test_a_label_of_the_index_may_be_changed() -> None:
    labels = pd.Index([MODEL] * 3, dtype=object)
    assert not is_thread_safe(call_of(lambda row: row.name.predict(1.0), DF.set_axis(labels)))


@pytest.mark.parametrize("data", [DF.set_axis([0, 1, 2], axis=1), DF.set_axis(["a", "a", "t"], axis=1)])
def test_labels_that_are_no_names_may_be_parts(data: pd.DataFrame) -> None:
    assert not is_thread_safe(call_of(lambda row: row["a"], data))


def test_a_module_of_the_user_with_a_listed_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "html.py").write_text("SEEN = []\ndef escape(value):\n    SEEN.append(value)\n    return len(SEEN)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "html", raising=False)
    is_trusted.cache_clear()
    html = importlib.import_module("html")
    assert not is_thread_safe(call_of(lambda row: html.escape(row["t"])))
    monkeypatch.delitem(sys.modules, "html")
    is_trusted.cache_clear()


def test_a_seed_is_for_processes() -> None:
    assert not is_thread_safe(call_of(reads, seed=1))


# The way of a call

LONG = pd.DataFrame({"a": np.arange(3000.0), "n": np.arange(3000), "t": ["p", "q", "r"] * 1000})


@pytest.fixture
def no_gil(monkeypatch: pytest.MonkeyPatch, any_rest_is_worth_it: None) -> list[int]:
    """Calls take the way that they take without the GIL, even where nothing is gained; counts tasks of threads."""
    tasks: list[int] = []
    submit = ThreadEngine.submit

    def counting(self: ThreadEngine, task: bytes) -> Any:
        tasks.append(1)
        return submit(self, task)

    for module in (placement, explain):
        monkeypatch.setattr(module, "gil_is_off", lambda: True)
    force(monkeypatch.setattr, threads_gain=1e-9)
    force(monkeypatch.setattr, max_thread_seconds=math.inf)
    monkeypatch.setattr(ThreadEngine, "submit", counting)
    return tasks


@pytest.mark.parametrize("name", [name for name in SAFE if name not in ("raises", "of_the_library")])
def test_threads_give_what_pandas_gives(name: str, no_gil: list[int]) -> None:
    data = LONG.assign(n=LONG["n"] % 4)
    assert_same(data.par(n_workers=2).apply_rows(SAFE[name]), data.apply(SAFE[name], axis=1))
    assert no_gil


@pytest.mark.parametrize("rows", ["tuple", "namedtuple", "dict"])
def test_rows_of_other_kinds(rows: str, no_gil: list[int]) -> None:
    took = LONG.par(n_workers=2).apply_rows(lambda row: len(row) * 2, rows=rows)
    assert took.tolist() == [8 if rows == "namedtuple" else 6] * len(LONG)
    assert no_gil


def test_values(no_gil: list[int]) -> None:
    assert_same(LONG["a"].par(n_workers=2).map(helper), LONG["a"].map(helper))
    assert_same(LONG[["a", "n"]].par(n_workers=2).map(helper), LONG[["a", "n"]].map(helper))
    assert no_gil


def test_others_go_to_processes_as_ever(no_gil: list[int]) -> None:
    assert_same(LONG.par(n_workers=2).apply_rows(asks_pandas_of_a_part), LONG.apply(asks_pandas_of_a_part, axis=1))
    assert not no_gil


def asks_pandas_of_a_part(row):
    return row.iloc[:2].sum()


@pytest.mark.parametrize("options", [{"timeout": 100.0}, {"initializer": len, "initargs": ("a",)}, {"n_workers": 1}])
def test_what_only_processes_can_do_goes_there(options: dict[str, Any], no_gil: list[int]) -> None:
    assert_same(LONG.par(**{"n_workers": 2, **options}).apply_rows(reads), LONG.apply(reads, axis=1))
    assert not no_gil


def test_a_failure_is_that_of_pandas(no_gil: list[int]) -> None:
    with pytest.raises(ValueError, match="no 3") as caught:
        LONG.par(n_workers=2, chunk_size=1).apply_rows(raises)
    assert "row 3" in "".join(caught.value.__notes__)
    with pytest.warns(FailedCallsWarning):
        got = LONG.par(n_workers=2, errors="coerce").apply_rows(raises)
    assert got.isna().sum() == 1
    assert no_gil


def test_what_gains_nothing_is_left_to_others(no_gil: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch.setattr, threads_gain=1e9)
    for _ in range(2):  # the second time the pool is up
        with pdparallel.profile() as profile:
            assert_same(LONG.par(n_workers=2, chunk_size=50).apply_rows(reads), LONG.apply(reads, axis=1))
        assert profile.calls.at[1, "engine"] == "process"
    assert 0 < len(no_gil) < 2 * len(LONG) / 50


def test_it_is_told(no_gil: list[int]) -> None:
    with pdparallel.profile() as profile:
        LONG.par(n_workers=2).apply_rows(reads)
    assert (profile.calls.at[1, "engine"], profile.calls.at[1, "why"]) == ("thread", placement.Reason.THREADS.value)
    found = LONG.par(n_workers=2).explain(reads)
    assert (found.engine, found.reason) == ("thread", placement.Reason.THREADS.value)


def test_a_checkpoint_is_kept(no_gil: list[int], tmp_path: Any) -> None:
    options = {"n_workers": 2, "checkpoint": str(tmp_path / "kept")}
    want = LONG.apply(reads, axis=1)
    assert_same(LONG.par(**options).apply_rows(reads), want)
    done = len(no_gil)
    assert_same(LONG.par(**options).apply_rows(reads), want)
    assert done == len(no_gil) > 0


def test_an_interrupt_ends_the_call(no_gil: list[int]) -> None:
    future = LONG["a"].par(n_workers=2, chunk_size=1).background.map(sleeps)
    time.sleep(0.2)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(30)


def sleeps(value: float) -> float:
    time.sleep(0.01)
    return value


@pytest.mark.skipif(not gil_is_off(), reason="this Python has a GIL, or was told to take it")
def test_the_gil_stays_off_and_threads_are_taken(any_rest_is_worth_it: None) -> None:
    def long(row):
        return sum(math.sin(row["a"] * number) for number in range(50))

    data = pd.concat([LONG] * 10, ignore_index=True)
    with pdparallel.profile() as profile:
        got = data.par(n_workers=2).apply_rows(long)
    assert not sys._is_gil_enabled()
    assert profile.calls.at[1, "engine"] in ("thread", "process")
    assert_same(got.iloc[:300], data.iloc[:300].apply(long, axis=1))


def test_threads_never_overlap_where_pandas_changes_the_filters_of_warnings(
    no_gil: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    overlaps: list[str] = []
    within: list[int] = []
    enter, leave = warnings.catch_warnings.__enter__, warnings.catch_warnings.__exit__

    def entering(self: Any) -> Any:
        if any(other != threading.get_ident() for other in within):
            overlaps.append("".join(traceback.format_stack(limit=8)))
        within.append(threading.get_ident())
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.002)  # else the others come too late
        return enter(self)

    def leaving(self: Any, *details: Any) -> None:
        leave(self, *details)
        within.remove(threading.get_ident())

    filters = list(warnings.filters)
    monkeypatch.setattr(warnings.catch_warnings, "__enter__", entering)
    monkeypatch.setattr(warnings.catch_warnings, "__exit__", leaving)
    for rows in ("series", "tuple", "namedtuple", "dict"):
        LONG.par(n_workers=4, chunk_size=300).apply_rows(lambda row: 1.0, rows=rows)
    LONG.par(n_workers=4, chunk_size=300).apply_rows(reads)
    LONG.par(n_workers=4, chunk_size=300).apply_rows(goes_through)
    LONG["t"].par(n_workers=4, chunk_size=300).map(len)
    LONG["t"].astype("category").par(n_workers=4, chunk_size=300).map(len)
    monkeypatch.undo()
    assert len(no_gil) > 40
    assert not overlaps, overlaps[0]
    assert warnings.filters == filters
