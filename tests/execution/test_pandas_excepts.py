"""What pandas catches: of what a call of it raises inside, only what the function raised, and nothing of ours.

``transform`` takes an exception for the sign that it is to go another way, ``filter`` and ``resample`` make another one
of it.  A worker that died is to be told as it is, whatever pandas would make of it.
"""

from __future__ import annotations

import operator
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import CallTimeoutError, FailedCallsWarning, ResultNotSerializableError, WorkerDiedError
from pdparallel.execution.pandas_driver import LeavingError
from pdparallel.testing import assert_same

N = 60

#: What has a function in a call of pandas: verb of an accessor, or of pandas itself, and function.
VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "transform of frames": lambda df, f: df.groupby("k").transform(f),
    "transform of a column": lambda df, f: df.groupby("k")["x"].transform(f),
    "apply": lambda df, f: df.groupby("k")[["x", "y"]].apply(f),
    "apply of a column": lambda df, f: df.groupby("k")["x"].apply(f),
    "agg": lambda df, f: df.groupby("k").agg(f),
    "agg of a column": lambda df, f: df.groupby("k")["x"].agg(f),
    "filter": lambda df, f: df.groupby("k").filter(f),
    "filter of a column": lambda df, f: df.groupby("k")["x"].filter(f),
    "resample": lambda df, f: df.resample("D").apply(f),
    "resample of a column": lambda df, f: df.resample("D")["x"].transform(f),
}

#: The same for what calls the function with rows, values and windows.
OTHERS: dict[str, Callable[[Any, Any], Any]] = {
    "columns": lambda df, f: df[["x", "y"]].par.apply_cols(f),
    "broadcast": lambda df, f: df[["x", "y"]].par.apply_cols(f, result_type="broadcast"),
    "values": lambda df, f: df["x"].par.apply(f),
    "map": lambda df, f: df[["x", "y"]].par.map(f),
    "windows": lambda df, f: df["x"].par.rolling(2).apply(f),
}


def _frame() -> pd.DataFrame:
    index = pd.date_range("2026-01-01", periods=3 * N, freq="8h")
    return pd.DataFrame({"k": np.repeat(np.arange(N), 3), "x": np.arange(3.0 * N), "y": np.arange(3.0 * N) / 4}, index)


def _is_bad(verb: str, unit: Any) -> bool:
    """Whether a unit is the one with which the functions below fail: of two ways of pandas, in the second."""
    if isinstance(unit, pd.DataFrame):
        return bool(unit["x"].iloc[0] == 0)
    return verb != "transform of frames" and bool(np.ravel(unit)[0] == 0)


def _good(unit: Any) -> Any:
    return unit - unit.mean()


class Stays:
    """Cannot be written."""

    def __reduce__(self) -> Any:
        raise TypeError("it stays here")


def _dies(verb: str) -> Callable[[Any], Any]:
    return lambda unit: os._exit(3) if _is_bad(verb, unit) else _good(unit)


def _hangs(verb: str) -> Callable[[Any], Any]:
    return lambda unit: time.sleep(60) if _is_bad(verb, unit) else _good(unit)


def _stays(verb: str) -> Callable[[Any], Any]:
    return lambda unit: Stays() if _is_bad(verb, unit) else _good(unit)


def _fails(verb: str) -> Callable[[Any], Any]:
    def func(unit: Any) -> Any:
        if _is_bad(verb, unit):
            raise ValueError("no luck")
        return _good(unit)

    return func


#: Who makes the function, options, what is raised, and a part of its text.
FAULTS: dict[str, tuple[Callable[[str], Any], dict[str, Any], type[BaseException], str]] = {
    "a worker dies": (_dies, {"retries": 0}, WorkerDiedError, "exit code 3"),
    "a worker dies twice": (_dies, {"retries": 1}, WorkerDiedError, "in both attempts"),
    "a call takes too long": (_hangs, {"timeout": 0.3}, CallTimeoutError, "0.3"),
    "a return stays": (_stays, {}, ResultNotSerializableError, "it stays here"),
}


def _in_workers() -> list[Any]:
    cases = []
    for fault in FAULTS:
        for verb in VERBS:
            few = fault in ("a worker dies twice", "a call takes too long")
            if not few or verb in ("transform of frames", "filter of a column", "resample"):
                cases.append((fault, verb, "process"))
        cases.append((fault, "transform of frames", "pathos"))
    return [*cases, ("a call takes too long", "transform of frames", "auto")]


@pytest.mark.parametrize(("fault", "verb", "engine"), _in_workers())
def test_what_a_worker_cannot_do_is_told_as_it_is(fault: str, verb: str, engine: str) -> None:
    make, options, error, text = FAULTS[fault]
    with pytest.raises(error, match=text) as raised:
        VERBS[verb](_frame().par(engine=engine, n_workers=2, **options), make(verb))
    _is_as_users_see_it(raised.value)


def _is_as_users_see_it(error: BaseException) -> None:
    shown = "".join(traceback.format_exception(error))
    assert type(error).__name__ in shown
    assert LeavingError.__name__ not in shown
    assert "During handling of the above exception" not in shown
    assert traceback.extract_tb(error.__traceback__)[0].filename == __file__


@pytest.mark.parametrize("verb", OTHERS)
def test_a_worker_that_dies_with_values_and_windows(verb: str) -> None:
    with pdparallel.option_context(engine="process", n_workers=2, retries=0), pytest.raises(WorkerDiedError):
        OTHERS[verb](_frame(), lambda unit: os._exit(3) if _is_bad(verb, unit) else 1.0)


def test_a_worker_that_dies_while_pandas_is_accelerated() -> None:
    with (
        pdparallel.accelerate(engine="process", n_workers=2, retries=0),
        pytest.raises(WorkerDiedError, match="exit code 3"),
    ):
        VERBS["transform of frames"](_frame(), _dies("transform of frames"))


ENGINES = ["auto", "serial", "thread", "process"]


def _good_for(verb: str) -> Callable[[Any], Any]:
    if verb.startswith("filter"):
        return lambda unit: True
    return _good if "transform" in verb or verb == "resample of a column" else lambda unit: 1.0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_warning_that_is_an_error(verb: str, engine: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FailedCallsWarning)
        with pytest.raises(FailedCallsWarning, match="calls of the function failed") as raised:
            VERBS[verb](_frame().par(engine=engine, n_workers=2, errors="coerce"), _fails(verb))
    _is_as_users_see_it_but_for_its_cause(raised.value)


def _is_as_users_see_it_but_for_its_cause(error: BaseException) -> None:
    error.__cause__ = None
    _is_as_users_see_it(error)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupt_in_the_second_way_of_transform(engine: str) -> None:
    def func(unit: Any) -> Any:
        if isinstance(unit, pd.DataFrame):
            raise KeyboardInterrupt
        return _good(unit)

    with pytest.raises(KeyboardInterrupt):
        _frame().par(engine=engine, n_workers=2).groupby("k").transform(func)


@pytest.mark.parametrize("engine", ["auto", "serial", "thread"])
def test_a_call_is_ended_in_the_second_way_of_transform(engine: str) -> None:
    came, go_on = threading.Event(), threading.Event()

    def func(unit: Any) -> Any:
        if isinstance(unit, pd.DataFrame):
            came.set()
            go_on.wait(20)
        return _good(unit)

    future = _frame().par(engine=engine, n_workers=2, chunk_size=1).background.groupby("k").transform(func)
    assert came.wait(20)
    future.cancel()
    go_on.set()
    with pytest.raises(CancelledError):
        future.result(20)


class OwnError(Exception):
    """One that cannot travel."""

    def __init__(self) -> None:
        super().__init__("as the function says")

    def __reduce__(self) -> Any:
        raise TypeError("it stays here")


RAISES: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("as the function says"),
    "TypeError": lambda: TypeError("as the function says"),
    "KeyError": lambda: KeyError("as the function says"),
    "AttributeError": lambda: AttributeError("as the function says"),
    "AssertionError": lambda: AssertionError("as the function says"),
    "NotImplementedError": lambda: NotImplementedError("as the function says"),
    "StopIteration": lambda: StopIteration("as the function says"),
    "WorkerDiedError": lambda: WorkerDiedError("as the function says"),
    "CallTimeoutError": lambda: CallTimeoutError("as the function says"),
    "OwnError": OwnError,
}


@pytest.mark.part(2)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", RAISES)
def test_what_the_function_raises_is_for_pandas(kind: str, engine: str) -> None:
    for verb, call in VERBS.items():

        def func(unit: Any, verb: str = verb) -> Any:
            if _is_bad(verb, unit):
                raise RAISES[kind]()
            return _good_for(verb)(unit)

        expected, came = (
            _came(lambda: call(_frame(), func)),
            _came(lambda: call(_frame().par(engine=engine, n_workers=2), func)),
        )
        if isinstance(expected, BaseException):
            if kind == "OwnError" and engine == "process":
                assert isinstance(came, pdparallel.RemoteError), verb
            else:
                assert (type(came), str(came)) == (type(expected), str(expected)), verb
        else:
            assert_same(came, expected)


def _came(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return error


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_function_of_c_raises_is_for_pandas(engine: str) -> None:
    for func in (operator.itemgetter("y"), operator.attrgetter("nothing"), operator.methodcaller("nothing")):
        expected = _came(lambda: _frame().groupby("k").transform(func))
        came = _came(lambda: _frame().par(engine=engine, n_workers=2).groupby("k").transform(func))
        if isinstance(expected, BaseException):
            assert (type(came), str(came)) == (type(expected), str(expected))
        else:
            assert_same(came, expected)
