"""Fitness: each thing that is wrong with a function is found, where it shows; and nothing in functions that are fit."""

from __future__ import annotations

import functools
import os
import random
import threading
import time
import uuid

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.errors import InvalidOptionError
from pdparallel.testing import assert_fit, check, serial
from pdparallel.testing.saboteurs import NotReadable, NotWritable, TwoArgumentsError, raises
from pdparallel.testing.variables import Variables, alike

DF = pd.DataFrame({"key": ["a", "b", "a", "b"], "x": [1.0, 2.0, 3.0, 4.0], "n": [1, 2, 3, 4]}, index=list("pqrs"))
S = DF["n"]

counted = 0
seen: list[object] = []
rate = {"x": 2.0}


def quick(func, data=DF, call=None, **more):
    """A check without a process."""
    return check(func, data, call, processes=False, **more)


def kinds(fitness):
    return [finding.kind for finding in fitness.findings]


# Functions that are fit


def plain(row):
    return row["x"] * 2


def from_a_table(row):
    return row["x"] * rate["x"]


def series(row):
    return pd.Series({"double": row["x"] * 2, "key": row["key"]})


def scaled(row, by, *, plus=0.0):
    return row["x"] * by + plus


def sometimes(row):
    if row["n"] == 3:
        raise KeyError(row.name)
    return row["n"]


def ranked(group):
    return group["x"].rank() if isinstance(group, pd.DataFrame) else group.rank()


FIT = {
    "a value": (plain, DF, None, {}),
    "a global that stays": (from_a_table, DF, None, {}),
    "a Series": (series, DF, None, {}),
    "arguments": (scaled, DF, None, {"args": (2.0,), "kwargs": {"plus": 1.0}}),
    "a partial": (functools.partial(scaled, by=3.0), DF, None, {}),
    "a builtin": (len, DF, None, {}),
    "an exception": (sometimes, DF, None, {}),
    "a missing value": (lambda row: None if row["n"] > 2 else row["n"], DF, None, {}),
    "an object": (lambda row: object(), DF, None, {}),
    "columns": (lambda column: column.iloc[0], DF, "apply_cols", {}),
    "values of a frame": (str, DF, "map", {}),
    "values": (str, S, None, {}),
    "items": (lambda item: item * 2, [1, 2, 3], None, {}),
    "a generator of items": (lambda item: item * 2, iter(range(3)), None, {}),
    "rows as tuples": (max, DF[["x", "n"]], lambda par, func: par.apply_rows(func, rows="tuple"), {}),
    "rows as namedtuples": (
        lambda row: (row.Index, row.x), DF, lambda par, func: par.apply_rows(func, rows="namedtuple"), {}
    ),
    "groups": (lambda group: group["x"].sum(), DF, lambda par, func: par.groupby("key")[["x"]].apply(func), {}),
    "groups by name": (lambda group: group.name, DF, lambda par, func: par.groupby("key")[["x"]].apply(func), {}),
    "transform": (ranked, DF, lambda par, func: par.groupby("key")["x"].transform(func), {}),
    "aggregation": (lambda column: column.max(), DF, lambda par, func: par.groupby("key").agg(func), {}),
    "filter": (lambda group: group["x"].sum() > 4, DF, lambda par, func: par.groupby("key").filter(func), {}),
    "windows": (lambda window: window.sum(), DF[["x"]], lambda par, func: par.rolling(2).apply(func), {}),
    "chunks": (lambda chunk: chunk["x"] * 2, DF, "apply_chunks", {}),
    "a number for each chunk": (lambda chunk: float(chunk["x"].sum()), DF, "apply_chunks", {}),
    "random numbers with a seed": (lambda row: row["x"] + np.random.normal() + random.random(), DF, None, {"seed": 3}),
    "no rows": (plain, DF.iloc[:0], None, {}),
    "no items": (len, [], None, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FIT)
def test_nothing_is_found_in(name):
    func, data, call, more = FIT[name]
    fitness = quick(func, data, call, **more)
    assert fitness.fit, str(fitness)
    assert "is fit to run in parallel" in str(fitness)


# Functions that are not


def counting(row):
    global counted
    counted += 1
    return counted


def collecting(row):
    seen.append(row["n"])
    return row["n"]


def with_default(row, before=[]):  # noqa: B006 - that is what is wrong
    before.append(row["n"])
    return len(before)


def with_attribute(row):
    with_attribute.calls = getattr(with_attribute, "calls", 0) + 1
    return row["n"]


def calls_a_helper(row):
    return counting(row)


def makes_a_global(row):
    global made_by_a_call
    made_by_a_call = row["n"]
    return row["n"]


class Counter:
    kept_by_the_class = 0

    def __init__(self):
        self.calls = 0

    def __call__(self, row):
        self.calls += 1
        return self.calls

    def method(self, row):
        return self(row)

    def by_the_class(self, row):
        Counter.kept_by_the_class += 1
        return Counter.kept_by_the_class


def closed_over():
    last = 0

    def difference(row):
        nonlocal last
        last, before = row["n"], last
        return row["n"] - before

    return difference


def holds_a_generator_of_numbers():
    numbers = np.random.default_rng(3)
    return lambda row: numbers.random()


def writes(row):
    row["x"] = 0.0
    return row["n"]


def writes_deep(item):
    item["list"].append(1)
    return len(item["list"])


UNFIT = {
    "it counts its calls": (counting, DF, None, ["state", "order"], "global variable 'counted'", 0),
    "it collects": (collecting, DF, None, ["state"], "global variable 'seen', first in row 'p' (position 0)", 0),
    "it keeps in a default value": (with_default, DF, None, ["state", "order"], "a default value", 0),
    "it keeps in an attribute": (with_attribute, DF, None, ["state"], "an attribute of the function", 0),
    "its helper counts": (calls_a_helper, DF, None, ["state", "order"], "global variable 'counted'", 0),
    "it makes a global": (makes_a_global, DF, None, ["state"], "global variable 'made_by_a_call'", 0),
    "it is an object that counts": (Counter(), DF, None, ["state", "order"], "what the Counter itself holds", 0),
    "it is a method that counts": (Counter().method, DF, None, ["state", "order"], "what the method itself holds", 0),
    "it looks at the row before": (closed_over(), DF, None, ["state", "order"], "closure variable 'last'", 0),
    "it holds a generator of numbers": (holds_a_generator_of_numbers(), DF, None, ["order"], "alone", 1),
    "it writes into its row": (writes, DF, None, ["input"], "in row 'p' (position 0)", 0),
    "it writes into its item": (writes_deep, [{"list": []}], None, ["input"], "in item", 0),
    "it draws by random": (lambda row: random.random(), DF, None, ["random"], "in row 'p'", 0),
    "it draws by numpy": (lambda row: np.random.normal(), DF, None, ["random"], "in row 'p'", 0),
    "it looks at the clock": (lambda row: time.perf_counter_ns(), DF, None, ["unsteady"], "in row 'p'", 0),
    "it makes ids": (lambda row: uuid.uuid4(), DF, None, ["unsteady"], "in row 'p'", 0),
    "its class counts": (Counter().by_the_class, DF, None, ["unsteady"], "and another", 0),
    "it holds what cannot travel": (
        functools.partial(lambda row, of: row["n"], of=(x for x in ())), DF, None, ["function"], "argument 'of'", None
    ),
    "it returns what cannot be written": (lambda row: NotWritable(), DF, None, ["result"], "NotWritable", 0),
    "it returns what cannot be read": (lambda row: NotReadable(), DF, None, ["result"], "in row 'p'", 0),
    "a chunk looks at the whole": (
        lambda chunk: chunk["x"] / chunk["x"].max(), DF, "apply_chunks", ["cut"], "first in row 'p' (position 0)", None
    ),
    "a chunk looks at its neighbours": (
        lambda chunk: chunk["x"].diff(), DF, "apply_chunks", ["cut"], "first in row 'q' (position 1)", None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_it_is_found_that(name):
    func, data, call, found, says, position = UNFIT[name]
    fitness = quick(func, data, call)
    assert kinds(fitness) == found, str(fitness)
    assert says in fitness.findings[0].message
    assert fitness.findings[0].position == position
    with pytest.raises(AssertionError, match="is not fit to run in parallel"):
        assert_fit(func, data, call, processes=False)
    assert_fit(func, data, call, processes=False, allow=found)


def test_all_that_was_found_is_told_with_what_to_do():
    def bad(row):
        row["x"] = 0.0
        seen.append(len(seen))
        return len(seen) + random.random()

    with pytest.raises(AssertionError) as caught:
        assert_fit(bad, DF, processes=False)
    text = str(caught.value)
    for part in ("'test_all_that_was_found_is_told_with_what_to_do.<locals>.bad'", "[input]", "[state]", "[random]",
                 "[order]", "seed=7", "4 rows", "calls here"):  # fmt: skip
        assert part in text, text


def test_an_exception_that_does_not_arrive_as_itself():
    class OfAnotherKindError(Exception):
        def __init__(self, lock):
            super().__init__("it is locked")
            self.lock = lock

        def __reduce__(self):
            raise TypeError("it cannot be written")

    def locked(row):
        raise OfAnotherKindError(threading.Lock())

    fitness = quick(locked)
    assert kinds(fitness) == ["result"]
    assert "RemoteError" in fitness.findings[0].message
    assert quick(raises(lambda: TwoArgumentsError(1, 2))).fit  # which does


def test_what_another_process_does_otherwise_is_found():
    made_in = os.getpid()
    fitness = check(lambda row: os.getpid() == made_in, DF)
    assert kinds(fitness) == ["process"]
    assert "it is True here, and False in a worker" in fitness.findings[0].message
    assert fitness.calls_in_a_worker == len(DF)


def test_what_works_in_this_process_alone_is_found():
    here = os.getpid()

    def alone(group):
        if os.getpid() != here:
            raise LookupError("no such thing here")
        return group.name

    fitness = check(alone, DF, lambda par, func: par.groupby("key")[["x"]].apply(func))
    assert kinds(fitness) == ["process"]
    assert "LookupError: no such thing here" in fitness.findings[0].message


def test_a_fit_function_is_fit_in_a_worker_too():
    for func, data, call in (
        (plain, DF, None),
        (lambda group: group.name, DF, lambda par, func: par.groupby("key")[["x"]].apply(func)),
        (lambda row: np.random.normal(), DF, None),
        (sometimes, DF, None),
    ):
        fitness = check(func, data, call, seed=1)
        assert fitness.fit, str(fitness)
        assert fitness.calls_in_a_worker == fitness.units > 0


def test_it_counts_the_calls():
    class Counting(list):  # which no copy is made of
        def __deepcopy__(self, memo):
            return self

    calls = Counting()

    def func(row):
        calls.append(row["n"])
        return row["n"]

    fitness = quick(func)
    assert fitness.calls == len(calls) == 5 * len(DF)
    assert fitness.units == len(DF)
    assert fitness.calls_in_a_worker == 0


def test_only_so_many_units_are_tried():
    fitness = quick(plain, pd.concat([DF] * 50), units=3)
    assert fitness.units == 3
    assert "3 rows" in str(fitness)


def test_nothing_has_changed_afterwards():
    random.seed(5)
    np.random.seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist(), counted, list(seen), DF.copy())
    for func in (counting, collecting, with_attribute, makes_a_global, writes, lambda row: random.random()):
        quick(func)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert (counted, seen) == before[2:4]
    assert vars(with_attribute) == {}
    assert "made_by_a_call" not in globals()
    pd.testing.assert_frame_equal(DF, before[4])


def test_what_the_call_raises_by_itself_goes_out():
    with pytest.raises(KeyError, match="no such"):
        quick(plain, DF, lambda par, func: par.groupby("no such").apply(func))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"call": "groupby"}, "call='groupby'"),
        ({"call": "apply_rows", "data": S}, "call='apply_rows'"),
        ({"call": "map", "data": [1]}, "call='map'"),
        ({"units": 0}, "units=0"),
        ({"units": True}, "units=True"),
        ({"seed": -1}, "seed=-1"),
        ({"func": 3}, "func=3"),
    ],
)
def test_arguments_that_are_not_allowed(given, says):
    given = {"func": plain, "data": DF, **given}
    with pytest.raises(InvalidOptionError, match=says):
        check(**given)


def test_it_is_the_same_inside_of_serial():
    with serial():
        assert check(plain, DF).fit
        assert kinds(check(counting, DF)) == ["state", "order"]


def test_variables_are_copies_inside_and_the_same_after():
    kept = seen
    with Variables(collecting) as variables:
        variables.fresh()({"n": 1})
        assert seen == [1]
        assert variables.changed() == ["global variable 'seen'"]
        variables.fresh()
        assert seen == []
        assert variables.changed() == []
    assert seen is kept
    assert seen == []


def test_what_cannot_be_compared_counts_as_alike():
    assert alike(object(), object())
    assert not alike(object(), 1)
    assert not alike([1], [True])
    assert alike(pdparallel, pdparallel)
