"""Options: where they come from, in which order, and what is said when one is wrong, before anything runs."""

from __future__ import annotations

import datetime
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.core.options import Options, checked, resolve
from tests.conftest import children

RATES = "a number of calls per second above 0, or a text such as '5/s', '600/min' or '1000/hour'"

DF = pd.DataFrame({"a": [1, 2, 3], "b": [4.0, 5.0, 6.0]})


async def _asks_a_service(exception: Exception) -> bool:
    return True


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PDPARALLEL_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    options = resolve()
    assert options == Options()
    assert options.engine == "auto"
    assert options.workers >= 1
    assert options.threads >= 1
    assert options.method in ("forkserver", "spawn")


def test_call_beats_context_beats_process_beats_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPARALLEL_N_WORKERS", "5")
    assert resolve().n_workers == 5
    pdparallel.set_options(n_workers=4)
    assert resolve().n_workers == 4
    with pdparallel.option_context(n_workers=3):
        assert resolve().n_workers == 3
        with pdparallel.option_context(chunk_size=7):
            assert resolve() == Options(n_workers=3, chunk_size=7)
        assert resolve({"n_workers": 2}).n_workers == 2
    assert resolve().n_workers == 4


def test_none_in_a_call_beats_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPARALLEL_CHUNK_SIZE", "5")
    with pdparallel.option_context(chunk_size=None):
        assert resolve().chunk_size is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ENGINE", "thread", "thread"),
        ("N_WORKERS", "3", 3),
        ("CHUNK_SIZE", "100", 100),
        ("START_METHOD", "spawn", "spawn"),
        ("PROGRESS", "true", True),
        ("PROGRESS", "0", False),
        ("PROGRESS", "text", "text"),
        ("THREADS_PER_WORKER", "2", 2),
        ("SERIALIZER", "cloudpickle", "cloudpickle"),
        ("CHECKPOINT", "night", "night"),
        ("ERRORS", "coerce", "coerce"),
        ("SEED", "0", 0),
        ("MAX_CONCURRENCY", "100", 100),
        ("RETRIES", "5", 5),
        ("RETRY_WAIT", "0", 0.0),
        ("RETRY_WAIT", "2.5", 2.5),
        ("RATE_LIMIT", "10", 10.0),
        ("RATE_LIMIT", "600/min", 10.0),
        ("CAPTURE_OUTPUT", "no", False),
        ("CAPTURE_OUTPUT", "True", True),
    ],
)
def test_environment(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(f"PDPARALLEL_{name}", text)
    assert getattr(resolve(), name.lower()) == value


def test_a_wrong_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPARALLEL_N_WORKERS", "many")
    with pytest.raises(InvalidOptionError, match=r"PDPARALLEL_N_WORKERS='many'.*whole number"):
        DF.par.apply_rows(lambda row: 1)


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("N_WORKERS", "None", "a whole number of at least 1"),
        ("TIMEOUT", "long", "a number of seconds above 0"),
        ("CAPTURE_OUTPUT", "None", "True or False"),
        ("PROGRESS", "perhaps", "one of True, False, 'text', 'notebook', 'log'"),
        ("INITIALIZER", "load", "initializer= in the program. A variable cannot hold a function."),
        ("MAX_CONCURRENCY", "None", "a whole number of at least 1"),
        ("RETRY_ON", "ValueError", "retry_on= in the program. A variable cannot hold a class."),
        ("RETRY_WAIT", "-1", "a number of seconds of at least 0"),
        ("RATE_LIMIT", "fast", f"{RATES}"),
        ("INITARGS", "1", "initargs= in the program. A variable cannot hold a tuple."),
    ],
)
def test_a_wrong_environment_offers_only_texts(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, allowed: str
) -> None:
    monkeypatch.setenv(f"PDPARALLEL_{name}", text)
    with pytest.raises(InvalidOptionError) as caught:
        DF.par.apply_rows(lambda row: 1)
    shown = float(text) if name == "RETRY_WAIT" else text
    assert str(caught.value) == f"PDPARALLEL_{name}={shown!r} is not allowed: give {allowed}"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"n_worker": 2}, ["Unknown option 'n_worker'", "'n_workers'"]),
        ({"engine": "multiprocessing"}, ["Unknown engine 'multiprocessing'", "'process'"]),
        ({"engine": 3}, ["engine=3", "'auto'", "submit()"]),
        ({"n_workers": 0}, ["n_workers=0", "at least 1"]),
        ({"n_workers": -1}, ["n_workers=-1", "at least 1"]),
        ({"n_workers": 2.5}, ["n_workers=2.5", "whole number"]),
        ({"n_workers": True}, ["n_workers=True", "whole number"]),
        ({"n_workers": "2"}, ["n_workers='2'", "whole number"]),
        ({"chunk_size": 0}, ["chunk_size=0", "at least 1"]),
        ({"chunk_size": None, "threads_per_worker": 0}, ["threads_per_worker=0"]),
        ({"start_method": "thread"}, ["start_method='thread'", "'spawn'"]),
        ({"progress": "loud"}, ["progress='loud'", "'notebook'"]),
        ({"progress": 3}, ["progress=3"]),
        ({"desc": ""}, ["desc=''", "one line"]),
        ({"desc": "two\nlines"}, ["desc=", "one line"]),
        ({"desc": 3}, ["desc=3"]),
        ({"serializer": "json"}, ["serializer='json'", "'dill'", "'cloudpickle'"]),
        ({"errors": "ignore"}, ["errors='ignore'", "'coerce'"]),
        ({"errors": None}, ["errors=None"]),
        ({"seed": -1}, ["seed=-1", "at least 0"]),
        ({"seed": 1.0}, ["seed=1.0", "whole number"]),
        ({"seed": True}, ["seed=True", "whole number"]),
        ({"seed": np.bool_(True)}, ["seed=", "whole number"]),
        ({"seed": "7"}, ["seed='7'", "whole number"]),
        ({"max_concurrency": 0}, ["max_concurrency=0", "at least 1"]),
        ({"max_concurrency": None}, ["max_concurrency=None", "at least 1"]),
        ({"retry_on": "ValueError"}, ["retry_on='ValueError'", "without quotes: retry_on=ValueError."]),
        ({"retry_on": (KeyError, "OSError")}, ["'OSError')", "retry_on=OSError."]),
        ({"retry_on": KeyboardInterrupt}, ["KeyboardInterrupt", "ends the call in any case", "retry_on=Exception"]),
        ({"retry_on": BaseException}, ["BaseException ends the call", "retry_on=Exception"]),
        ({"retry_on": (OSError, int)}, ["int is no exception class"]),
        ({"retry_on": OSError("x")}, ["Give the class itself: retry_on=OSError."]),
        ({"retry_on": 3}, ["retry_on=3", "an exception class, a tuple of them, or a function"]),
        ({"retry_on": None}, ["retry_on=None"]),
        ({"retry_on": _asks_a_service}, ["retry_on=", "not a coroutine function"]),
        ({"retry_wait": -1}, ["retry_wait=-1", "at least 0"]),
        ({"retry_wait": None}, ["retry_wait=None"]),
        ({"retry_wait": float("nan")}, ["retry_wait=nan"]),
        ({"retry_wait": True}, ["retry_wait=True"]),
        ({"rate_limit": "fast"}, ["rate_limit='fast'", RATES]),
        ({"rate_limit": "10/fortnight"}, ["rate_limit='10/fortnight'", RATES]),
        ({"rate_limit": "0/s"}, ["rate_limit='0/s'", RATES]),
        ({"rate_limit": 0}, ["rate_limit=0", RATES]),
        ({"rate_limit": -5}, ["rate_limit=-5"]),
        ({"rate_limit": True}, ["rate_limit=True"]),
        ({"rate_limit": float("inf")}, ["rate_limit=inf"]),
        ({"rate_limit": datetime.timedelta(seconds=1)}, ["rate_limit="]),
        ({"capture_output": "loud"}, ["capture_output='loud'", "True, False, or None"]),
        ({"capture_output": 1}, ["capture_output=1"]),
    ],
)
def test_a_wrong_option_names_itself_its_value_and_what_is_allowed(options: dict, parts: list[str]) -> None:
    before = len(children())
    ways = [
        lambda: DF.par(**options),
        lambda: pdparallel.set_options(**options),
        lambda: pdparallel.map(abs, [1], **options),
    ]
    for way in ways:
        with pytest.raises(InvalidOptionError) as caught:
            way()
        for part in parts:
            assert part in str(caught.value)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(InvalidOptionError), pdparallel.option_context(**options):
        raise AssertionError("not reached")
    assert len(children()) == before
    assert resolve() == Options()


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: DF.par.apply_rows(5), ["func=5", "called"]),
        (lambda: DF.par.apply_rows("sum"), ["func='sum'"]),
        (lambda: DF.par.apply_cols(None), ["func=None"]),
        (lambda: DF.par.apply_chunks([len]), ["func="]),
        (lambda: DF.par.apply(5), ["func=5"]),
        (lambda: DF["a"].par.map(5), ["func=5", "dict"]),
        (lambda: DF["a"].par.apply(5), ["func=5"]),
        (lambda: pdparallel.map(5, [1]), ["func=5"]),
        (lambda: pdparallel.map(abs), ["no items", "pdparallel.map(abs, items)"]),
        (lambda: DF.par.apply_rows(len, rows="list"), ["rows='list'", "'tuple'"]),
        (lambda: DF.par.apply_rows(len, rows="tuple", raw=True), ["rows='tuple'", "raw"]),
        (lambda: DF.par.apply_rows(len, rows="tuple", result_type="broadcast"), ["rows='tuple'", "broadcast"]),
        (lambda: DF[["a", "a"]].par.apply_rows(len, rows="dict"), ["rows='dict'", "repeat"]),
        (lambda: DF.par.apply_rows(len, result_type="series"), ["result_type='series'", "'expand'"]),
        (lambda: DF.par.apply(len, axis=2), ["axis=2", "'columns'"]),
        (lambda: DF["a"].par.map(str, na_action="skip"), ["na_action='skip'", "'ignore'"]),
        (lambda: DF.par.apply_chunks(len, combine="join"), ["combine='join'", "'concat'"]),
        (lambda: DF.par.apply_chunks(len, overlap=-1), ["overlap=-1"]),
        (lambda: DF.par.apply_chunks(len, overlap=(1, 2, 3)), ["overlap=(1, 2, 3)", "before"]),
        (lambda: DF.par.apply_chunks(len, overlap=1.5), ["overlap=1.5"]),
        (lambda: DF.par.apply_chunks(len, overlap=1, by="a"), ["overlap=1", "by"]),
        (lambda: pdparallel.par([1]), ["obj=[1]", "DataFrame"]),
    ],
)
def test_a_wrong_argument_names_itself_too(call, parts: list[str]) -> None:
    before = len(children())
    with pytest.raises(InvalidOptionError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    assert len(children()) == before


def test_an_unknown_option_says_where_arguments_of_the_function_go() -> None:
    with pytest.raises(InvalidOptionError, match=r"df\.par\.apply_rows\(func, key=1\)"):
        DF.par(key=1)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert checked({"n_workers": np.int64(3)}) == {"n_workers": 3}
    assert type(checked({"n_workers": np.int64(3)})["n_workers"]) is int
    assert checked({"seed": np.uint64(0)}) == {"seed": 0}
    assert checked({"seed": 2**200}) == {"seed": 2**200}


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        (10, 10.0), (np.float64(0.5), 0.5), ("5/s", 5.0), ("10/second", 10.0), ("600/min", 10.0),
        (" 90 / Minute ", 1.5), ("1800/hour", 0.5), ("2.5/s", 2.5), ("86400/day", 1.0),
        ("30 per min", 0.5), (None, None),
    ],
)  # fmt: skip
def test_rates_are_calls_per_second(value: object, rate: float | None) -> None:
    assert checked({"rate_limit": value}) == {"rate_limit": rate}


def test_exceptions_to_retry_are_a_tuple_or_a_function() -> None:
    assert checked({"retry_on": OSError}) == {"retry_on": (OSError,)}
    assert checked({"retry_on": [OSError, KeyError]}) == {"retry_on": (OSError, KeyError)}
    assert checked({"retry_on": ()}) == {"retry_on": ()}
    assert checked({"retry_on": callable}) == {"retry_on": callable}
    assert repr(resolve({"retry_on": (OSError,)})) == "Options(retry_on=(<class 'OSError'>,))"
    assert repr(resolve({"retry_on": (), "retry_wait": 1.0})) == "Options()"


def test_a_wait_may_be_a_timedelta() -> None:
    assert checked({"retry_wait": datetime.timedelta(milliseconds=500)}) == {"retry_wait": 0.5}
    assert checked({"retry_wait": 0}) == {"retry_wait": 0.0}


def test_options_of_a_call_stay_with_the_call() -> None:
    par = DF.par(n_workers=2)
    par(chunk_size=1)
    assert par._options() == Options(n_workers=2)
    assert DF.par._options() == Options()
    assert "n_workers=2" in repr(par)
    assert "3 rows" in repr(par)


def test_a_context_is_of_its_thread() -> None:
    inside, checked_there = threading.Event(), threading.Event()

    def other() -> int | None:
        inside.wait(10)
        found = resolve().n_workers
        checked_there.set()
        return found

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(other)
        with pdparallel.option_context(n_workers=3):
            inside.set()
            assert checked_there.wait(10)
        assert future.result() is None


def test_a_context_ends_with_an_error() -> None:
    with pytest.raises(KeyError), pdparallel.option_context(n_workers=3):
        raise KeyError
    assert resolve().n_workers is None


def test_a_function_keeps_its_keyword_arguments() -> None:
    got = DF.par(engine="serial").apply_rows(
        lambda row, n_workers, engine: (n_workers, engine), n_workers=9, engine="x"
    )
    assert got.tolist() == [(9, "x")] * 3


def test_cloudpickle_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidOptionError, match="pip install cloudpickle"):
        DF.par(serializer="cloudpickle")


@pytest.mark.parametrize(("platform", "method"), [("linux", "forkserver"), ("darwin", "spawn"), ("win32", "spawn")])
def test_how_workers_start_by_default(platform: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", platform)
    if platform == "win32":
        monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    assert Options().method == method
    if platform != "win32":
        assert Options(start_method="forkserver").method == "forkserver"
