"""Surroundings: options, filters, environment, folder and the like hold in workers as where the call is made."""

from __future__ import annotations

import contextlib
import decimal
import functools
import importlib
import locale
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import pdparallel
from pdparallel.worker import replicate_state, settings
from tests.conftest import children
from tests.worker.test_capture_output import NOT_HANDLED, _pool, options_of, told

VARIABLE = "PDPARALLEL_TEST_VARIABLE"
S = pd.Series([0, 1, 2])


def seen(_: Any = None) -> dict[str, Any]:
    """What a function finds around it."""
    context = decimal.getcontext()
    with contextlib.suppress(OSError):
        folder = os.getcwd()
    return {
        "folder": folder,
        "path": list(sys.path),
        "variable": os.environ.get(VARIABLE),
        "locale": locale.setlocale(locale.LC_ALL),
        "zone": (time.tzname, time.localtime(0).tm_hour),
        "rows": pd.get_option("display.max_rows"),
        "precision": pd.get_option("display.precision"),
        "written": str(pd.Series([1 / 3])),
        "errors": np.geterr(),
        "printed": str(np.array([1 / 3])),
        "decimal": (context.prec, context.rounding, context.traps[decimal.Inexact]),
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "levels": [logging.getLogger(name).getEffectiveLevel() for name in (None, "some", "some.where")],
        "disabled": logging.root.manager.disable,
        "filters": [entry for entry in replicate_state.current_filters() if entry[0] != "default"],
    }


@contextlib.contextmanager
def other(folder: Path) -> Iterator[None]:
    """Other surroundings."""
    zone = os.environ.get("TZ")
    before = locale.setlocale(locale.LC_ALL), sys.getrecursionlimit(), sys.get_int_max_str_digits()
    with (
        pd.option_context("display.max_rows", 7, "display.precision", 2, "display.float_format", lambda x: f"<{x}>"),
        np.errstate(divide="raise", under="warn"),
        np.printoptions(precision=3, formatter={"float": lambda x: f"[{x:.3f}]"}),
        decimal.localcontext() as context,
        warnings.catch_warnings(),
        pytest.MonkeyPatch.context() as patch,
    ):
        context.prec, context.rounding, context.traps[decimal.Inexact] = 5, decimal.ROUND_UP, True
        warnings.simplefilter("error", RuntimeWarning)
        warnings.filterwarnings("ignore", message="some (words|text)", module="any.where", lineno=3)
        patch.chdir(folder)
        patch.setenv(VARIABLE, "set")
        patch.syspath_prepend(str(folder / "modules"))
        patch.setenv("TZ", "JST-9")  # which needs no database of zones
        try:
            time.tzset()
            locale.setlocale(locale.LC_ALL, "C")
            sys.setrecursionlimit(before[1] + 234)
            sys.set_int_max_str_digits(5_000)
            logging.getLogger("some").setLevel(logging.DEBUG)
            logging.disable(3)
            yield
        finally:
            logging.disable(0)
            logging.getLogger("some").setLevel(logging.NOTSET)
            sys.setrecursionlimit(before[1])
            sys.set_int_max_str_digits(before[2])
            locale.setlocale(locale.LC_ALL, before[0])
    assert os.environ.get("TZ") == zone
    time.tzset()


@pytest.mark.parametrize("kind", [*NOT_HANDLED, "thread", "serial"])
def test_as_here_before_meanwhile_and_after(kind: str, tmp_path: Path) -> None:
    plain = seen()
    with options_of(kind, 2) as options:
        par = S.par(**options, chunk_size=1)

        def assert_as_here() -> None:
            here = seen()
            for there in par.map(seen):
                if kind == "thread" and np.__version__ < "2":  # which keeps these for each thread
                    for name in ("errors", "printed"):
                        del there[name]
                if (kind not in ("thread", "serial") and "executor" in kind) or kind == "unknown":
                    there["path"] = there["path"][: len(here["path"])]  # its own come behind
                assert there == {name: here[name] for name in there}

        assert_as_here()
        with other(tmp_path):
            assert seen() != plain
            assert_as_here()
            with other(tmp_path.parent):
                assert_as_here()
            assert_as_here()
        assert seen() == plain
        assert_as_here()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_of_others_has_its_own_again(method: str, tmp_path: Path) -> None:
    with _pool(method, 1) as executor:
        par = S.par(engine=executor)
        before = executor.submit(seen).result()
        with other(tmp_path):
            assert par.map(seen)[0]["variable"] == "set"
            assert executor.submit(seen).result() == before
        executor.submit(set_variable, "OF_THE_WORKER", "its own").result()
        assert par.map(functools.partial(variable, "OF_THE_WORKER")).tolist() == ["its own"] * 3


def set_variable(name: str, value: str) -> None:
    os.environ[name] = value


def variable(name: str, _: Any = None) -> str | None:
    return os.environ.get(name)


@pytest.mark.parametrize("kind", ["forkserver", "spawn", "fork", "pathos"])
def test_variables_that_come_change_and_go(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pdparallel.shutdown()
    monkeypatch.setenv(VARIABLE, "when the pool began")
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    found = functools.partial(variable, VARIABLE)
    with options_of(kind) as options:
        par = S.par(**options)
        assert par.map(found)[0] == "when the pool began"
        monkeypatch.setenv(VARIABLE, "later")
        assert par.map(found)[0] == "later"
        monkeypatch.delenv(VARIABLE)
        assert par.map(found)[0] is None
        assert par.map(functools.partial(variable, "OMP_NUM_THREADS"))[0] != "77"


def set_up(folder: Path) -> None:
    os.chdir(folder)
    os.environ[VARIABLE] = "by the initializer"
    pd.set_option("display.precision", 3)


@pytest.mark.parametrize("kind", ["forkserver", "fork", "pathos"])
def test_what_an_initializer_sets_stays(kind: str, tmp_path: Path) -> None:
    expected = {"folder": str(tmp_path), "variable": "by the initializer", "precision": 3}
    with options_of(kind) as options:
        par = S.par(**options, chunk_size=1, initializer=set_up, initargs=(tmp_path,))
        for rows in (10, 11):
            with pd.option_context("display.max_rows", rows):
                for there in par.map(seen):
                    assert {name: there[name] for name in expected} == expected
                    assert there["rows"] == rows
        assert S.par(**options).map(seen)[0]["precision"] == pd.get_option("display.precision")
    pdparallel.shutdown()


def test_an_initializer_of_another_call_begins_where_that_is(tmp_path: Path) -> None:
    par = functools.partial(S.par, engine="process", n_workers=1, chunk_size=1)
    assert {there["folder"] for there in par(initializer=set_up, initargs=(tmp_path,)).map(seen)} == {str(tmp_path)}
    found: list[str] = []
    other = par(initializer=lambda: found.append(os.getcwd()))
    assert other.map(lambda value: [*found, os.getcwd()])[2] == [os.getcwd()] * 2


def test_an_initializer_finds_them_too(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    def initializer() -> None:
        found.update(folder=os.getcwd(), variable=os.environ[VARIABLE], precision=pd.get_option("display.precision"))

    pdparallel.map(abs, [1], engine="process", n_workers=1)
    with other(tmp_path):
        there = S.par(engine="process", n_workers=1, initializer=initializer).map(lambda value: dict(found))[0]
    assert there == {"folder": str(tmp_path), "variable": "set", "precision": 2}


def test_what_a_function_sets_ends_with_its_call(tmp_path: Path) -> None:
    def func(value: int) -> int:
        before = pd.get_option("display.max_rows")
        pd.set_option("display.max_rows", before + 1)
        os.chdir(tmp_path)
        np.seterr(all="raise")
        return before

    par = S.par(engine="process", n_workers=1)
    here = seen()
    rows = here["rows"]
    assert par.map(func).tolist() == [rows, rows + 1, rows + 2]
    assert par.map(func).tolist() == [rows, rows + 1, rows + 2]
    assert par.map(seen)[0] == here == seen()


@pytest.mark.parametrize("kind", NOT_HANDLED)
def test_modules_that_a_new_entry_of_the_path_leads_to(kind: str, tmp_path: Path) -> None:
    name = f"beside_{kind.replace(' ', '_')}"
    (tmp_path / f"{name}.py").write_text("def minus(value):\n    return -value\n")
    (tmp_path / "data.txt").write_text("7")
    with options_of(kind) as options, pytest.MonkeyPatch.context() as patch:
        par = S.par(**options)
        assert par.map(abs).tolist() == [0, 1, 2]
        patch.syspath_prepend(str(tmp_path))
        patch.chdir(tmp_path)
        minus = importlib.import_module(name).minus
        assert par.map(minus).tolist() == [0, -1, -2]
        assert par.map(lambda value: value + int(Path("data.txt").read_text())).tolist() == [7, 8, 9]


def test_what_goes_wrong_here_goes_wrong_there() -> None:
    s = pd.Series([1.0, 0.0])
    par = s.par(engine="process", n_workers=1, chunk_size=1)
    with np.errstate(divide="raise"):
        for each in (s.map, par.map):
            with pytest.raises(FloatingPointError):
                each(lambda value: np.float64(1) / value)
    with np.errstate(divide="ignore"):
        assert par.map(lambda value: np.float64(1) / value).tolist() == [1.0, np.inf]
    with decimal.localcontext() as context:
        context.traps[decimal.Inexact] = True
        for each in (s.map, par.map):
            with pytest.raises(decimal.Inexact):
                each(lambda value: decimal.Decimal(1) / decimal.Decimal(3))


def test_no_worker_stays_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    par = S.par(engine="process", n_workers=2, chunk_size=1)
    par.map(abs)  # who begins in a folder is at home there
    monkeypatch.chdir(tmp_path)
    assert set(par.map(lambda value: os.getcwd())) == {str(tmp_path)}
    workers = [process for process in children() if process.pid != os.getpid()]
    assert workers
    assert str(tmp_path) not in {psutil.Process(process.pid).cwd() for process in workers}


# What cannot be had does not hinder


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    par = S.par(engine="process", n_workers=2, chunk_size=1)
    par.map(abs)  # no process can be started there
    folder = tmp_path / "to be removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert par.map(abs).tolist() == [0, 1, 2]


@pytest.mark.parametrize("capture", [None, False])
def test_a_folder_that_workers_cannot_enter_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, capture: Any) -> None:
    monkeypatch.setattr(settings, "folder", lambda: "/no/such/folder")
    par = S.par(engine="process", n_workers=1, chunk_size=1, capture_output=capture)
    with pytest.warns(RuntimeWarning, match="current folder.*FileNotFoundError.*/no/such/folder") as caught:
        assert par.map(abs).tolist() == [0, 1, 2]
    assert [one.filename for one in caught] == [__file__]


@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_an_option_that_cannot_travel_is_named_and_left_out(engine: Any) -> None:
    numbers = (number for number in range(3))

    def shown(value: float) -> str:
        return f"<{value}, {next(numbers)}>"

    with (
        pd.option_context("display.float_format", shown, "display.max_rows", 9),
        np.printoptions(formatter={"float": shown}),
        pytest.warns(RuntimeWarning, match="the function runs without") as caught,
    ):
        rows = S.par(engine=engine, n_workers=1).map(lambda value: pd.get_option("display.max_rows"))
    assert rows.tolist() == [9] * 3
    (first, second) = sorted(str(warning.message) for warning in caught)
    assert first.startswith("'float' of the print options of NumPy cannot be sent to workers (TypeError: ")
    assert second.startswith("'float_format' of the options of pandas cannot be sent to workers (TypeError: ")


class OddWarning(UserWarning):
    pass


def test_filters_name_classes_that_workers_may_not_have() -> None:
    class OwnWarning(UserWarning):
        pass

    def func(value: int) -> None:
        warnings.warn("own", OwnWarning, stacklevel=1)
        warnings.warn("odd", OddWarning, stacklevel=1)

    par = S.par(engine="process", n_workers=1, chunk_size=1)
    for category in (OwnWarning, OddWarning):

        def call(map: Any, category: Any = category) -> Any:
            warnings.simplefilter("error", category)
            return map(func)

        expected = told(functools.partial(call, S.map))
        assert told(functools.partial(call, par.map)) == expected
        assert expected.result is category
    gone = type("Gone", (UserWarning,), {"__module__": "no.such.module"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", gone)
        assert par.map(abs).tolist() == [0, 1, 2]


# What is sent


def test_the_same_bytes_until_something_changes(tmp_path: Path) -> None:
    first = replicate_state.capture_state()
    assert replicate_state.capture_state() is first
    with pd.option_context("display.max_rows", 17):
        second = replicate_state.capture_state()
        assert second != first
        assert replicate_state.capture_state() is second
    assert replicate_state.capture_state() == first
    with other(tmp_path):
        assert replicate_state.capture_state() != first


def test_little_is_sent_and_all_of_it_can_be_read(tmp_path: Path) -> None:
    with other(tmp_path):
        data = replicate_state.capture_state()
    assert len(data) < 20_000
    assert set(pickle.loads(data)) == {*settings.PARTS, "folder", "path", "filters", "machine", "carried", "lost"}


def test_a_call_that_stays_here_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr("pdparallel.execution.encode.capture_state", fails)
    assert S.par.map(abs).tolist() == [0, 1, 2]
    assert S.par(engine="thread", n_workers=2, chunk_size=1).map(abs).tolist() == [0, 1, 2]
    with pytest.raises(AssertionError, match="it was read"):
        S.par(engine="process", n_workers=1).map(abs)


def test_another_machine_keeps_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {name: seen()[name] for name in ("folder", "path", "variable", "locale", "zone")}
    with other(tmp_path):
        data = replicate_state.capture_state()
    monkeypatch.setattr("platform.node", lambda: "another machine")
    with replicate_state.within(data, "1-1-x", stays=False, lasting=False) as place:
        there = seen()
        with place.judging([]):
            assert ("error", None, RuntimeWarning, None, 0) in replicate_state.current_filters()
    assert place.problems == []
    assert {name: there[name] for name in own} == own
    assert (there["rows"], there["decimal"][0]) == (7, 5)
    assert seen()["rows"] != 7


def test_threads_of_one_process_agree(tmp_path: Path) -> None:
    with other(tmp_path):
        data = replicate_state.capture_state()
    before = seen()
    with replicate_state.within(data, "1-1-x", stays=False, lasting=False) as first:
        with replicate_state.within(data, "1-1-x", stays=False, lasting=False) as second, second.judging([]):
            assert os.environ[VARIABLE] == "set"
        assert os.environ[VARIABLE] == "set"
        assert first.problems == second.problems == []
    assert seen() == before


def test_a_script_that_changes_its_surroundings_first(tmp_path: Path) -> None:
    script = """
        import os, sys, time
        os.environ["SET_BEFORE"] = "1"
        import pandas as pd
        pd.set_option("display.precision", 4)
        import pdparallel
        os.chdir(sys.argv[1])
        os.environ["SET_AFTER"] = "2"
        par = pd.Series([0]).par(engine="process", n_workers=1)
        print(par.map(lambda value: (
            os.environ.get("SET_BEFORE"), os.environ.get("SET_AFTER"), os.getcwd(), pd.get_option("display.precision"),
        ))[0])
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "elsewhere")], capture_output=True, text=True,
        timeout=100, check=False, env={**os.environ, "PYTHONPATH": str(Path(pdparallel.__file__).parents[1])},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{('1', '2', str(tmp_path / 'elsewhere'), 4)}\n", "")
