"""Loading: functions whose modules take long to import, or that cannot leave this process, beside ``engine="auto"``."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel.engines import process
from pdparallel.execution import inline, placement
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing._force import force

N = 60
FRAME = pd.DataFrame({"k": [i % 6 for i in range(N)], "x": [float(i) for i in range(N)]})

#: Each verb, with what it gives to the function, as a float.
VERBS: dict[str, Callable[[Any, Callable[[Any], float]], Any]] = {
    "apply_rows": lambda frame, func: frame.apply(lambda row: func(row["x"]), axis=1),
    "map": lambda frame, func: frame["x"].map(func),
    "groupby.apply": lambda frame, func: frame.groupby("k").apply(lambda group: func(group["x"].iloc[0])),
    "groupby.agg": lambda frame, func: frame.groupby("k")["x"].agg(lambda group: func(group.iloc[0])),
    "rolling": lambda frame, func: frame["x"].rolling(2).apply(lambda window: func(window.iloc[0])),
}
OURS: dict[str, Callable[[Any, Callable[[Any], float]], Any]] = {
    "apply_rows": lambda frame, func: frame.par(n_workers=2, chunk_size=5).apply_rows(lambda row: func(row["x"])),
    "map": lambda frame, func: frame["x"].par(n_workers=2, chunk_size=5).map(func),
    "groupby.apply": lambda frame, func: (
        frame.par(n_workers=2, chunk_size=5).groupby("k").apply(lambda group: func(group["x"].iloc[0]))
    ),
    "groupby.agg": lambda frame, func: (
        frame.par(n_workers=2, chunk_size=5).groupby("k")["x"].agg(lambda group: func(group.iloc[0]))
    ),
    "rolling": lambda frame, func: (
        frame["x"].par(n_workers=2, chunk_size=5).rolling(2).apply(lambda window: func(window.iloc[0]))
    ),
}


def _local() -> Any:
    local = threading.local()
    local.rate = 2.0
    return local


def _generator() -> Any:
    return iter(i for i in range(10))


class _LoadsNowhere:
    """What can be written, and not be read in another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_refuse, ())


def _refuse() -> None:
    raise RuntimeError("only where it was made")


CANNOT_LEAVE: dict[str, tuple[Callable[[], Any], str]] = {
    "threading.local": (_local, "held"),
    "generator": (_generator, "held"),
    "loads nowhere": (_LoadsNowhere, "only where it was made"),
}


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Makes a module of the user's from a source."""
    made: list[str] = []

    def make(source: str) -> Any:
        name = f"slow_{tmp_path.name.replace('-', '_')}_{len(made)}"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        made.append(name)
        return __import__(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("alone", "any_rest_is_worth_it")
class TestWhatCannotLeave:
    @pytest.mark.parametrize("kind", CANNOT_LEAVE)
    @pytest.mark.parametrize("verb", VERBS)
    def test_auto_goes_on_here_and_says_so_once(self, verb: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        force(monkeypatch.setattr, answer_seconds=60.0)  # the workers load before this process is through
        make, named = CANNOT_LEAVE[kind]
        held = make()
        func = lambda value: value + (held is None)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            got = OURS[verb](FRAME, func)
        assert_same_as_pandas(lambda: got, lambda: VERBS[verb](FRAME, func))
        hints = [one for one in seen if issubclass(one.category, pdparallel.PerformanceHint)]
        assert len(hints) == 1
        assert named in str(hints[0].message)
        assert hints[0].filename == __file__

    def test_each_call_happens_once(self) -> None:
        held, calls = _local(), []
        with pytest.warns(pdparallel.PerformanceHint, match="'held'"):
            FRAME["x"].par(n_workers=2, chunk_size=5).map(lambda value: calls.append(value) or held.rate)
        assert calls == FRAME["x"].tolist()

    def test_an_error_of_the_function_is_its_own(self) -> None:
        held = _local()

        def func(value: float) -> float:
            return held.rate / (value - 40)

        with pytest.warns(pdparallel.PerformanceHint), pytest.raises(ZeroDivisionError) as caught:
            FRAME["x"].par(n_workers=2, chunk_size=5).map(func)
        assert "position 40" in caught.value.__notes__[0]

    @pytest.mark.parametrize("options", [{"engine": "process"}, {"engine": "pathos"}, {"timeout": 60.0}])
    def test_what_needs_workers_raises(self, options: dict[str, Any]) -> None:
        held = _local()
        with pytest.raises(pdparallel.FunctionNotSerializableError, match="'held'"):
            FRAME["x"].par(n_workers=2, chunk_size=5, **options).map(lambda value: held.rate)

    def test_a_profile_says_why(self) -> None:
        held = _local()
        with pdparallel.profile() as p, pytest.warns(pdparallel.PerformanceHint):
            FRAME["x"].par(n_workers=2, chunk_size=5).map(lambda value: held.rate)
        assert p.calls[["engine", "why"]].to_dict("records") == [
            {"engine": "here", "why": placement.Reason.CANNOT.value}
        ]  # fmt: skip


#: A module that takes as long to import in a worker as the test wants.
SLOW = """
import multiprocessing, os, time
if multiprocessing.parent_process() is not None:
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    print("imported")
def func(value):
    return value + 1
"""


@pytest.mark.usefixtures("alone", "any_rest_is_worth_it")
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
class TestSlowImports:
    @pytest.fixture
    def slow(self, own_module: Callable[[str], Any], tmp_path: Path) -> Iterator[tuple[Any, Path]]:
        gate = tmp_path / "gate"
        yield own_module(SLOW.format(gate=str(gate))), gate
        gate.touch()

    @pytest.mark.parametrize("warm", [False, True])
    def test_the_parent_goes_on_until_the_workers_have_loaded(
        self, slow: tuple[Any, Path], start_method: str, warm: bool
    ) -> None:
        module, _ = slow
        options: dict[str, Any] = {"n_workers": 2, "start_method": start_method}
        if warm:
            pdparallel.map(abs, [1, 2], engine="process", **options)
        with pdparallel.profile() as p:
            assert (
                FRAME["x"].par(chunk_size=5, **options).map(module.func).equals(FRAME["x"] + 1)
            )  # no worker comes so far
        assert set(p.to_frame()["worker"]) == {"parent"}

    def test_what_is_left_goes_to_workers_that_have_loaded(
        self, slow: tuple[Any, Path], start_method: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        module, gate = slow

        def func(value: float) -> float:
            if value == 5:
                gate.touch()
            time.sleep(0.02)
            return module.func(value)

        long = pd.Series([float(i) for i in range(300)])
        with pdparallel.profile() as p:
            assert long.par(n_workers=2, chunk_size=5, start_method=start_method).map(func).equals(long + 1)
        chunks = p.to_frame()
        assert {"parent", "1"} <= set(chunks["worker"])
        assert p.calls["loading"].iloc[0] > 0
        assert "imported" in capfd.readouterr().out  # what a module prints is not lost

    def test_a_bar_says_what_is_waited_for(
        self, slow: tuple[Any, Path], start_method: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        module, _ = slow
        monkeypatch.setattr(inline, "LOADING_SHOWN_SECONDS", 0.0)
        monkeypatch.setattr("pdparallel.progress.displays.LINE_SECONDS", 0.0)
        monkeypatch.setattr("pdparallel.progress.displays._Lines.beat", 0.0)

        def func(value: float) -> float:
            time.sleep(0.01)
            return module.func(value)

        with caplog.at_level(logging.INFO, "pdparallel.progress"):
            FRAME["x"].par(n_workers=2, chunk_size=5, start_method=start_method, progress="log").map(func)
        assert any(inline.LOADING in line for line in caplog.messages)
        assert inline.LOADING not in caplog.messages[-1]


@pytest.mark.usefixtures("alone", "any_rest_is_worth_it")
def test_a_pool_that_takes_no_task_while_it_loads_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = process.ProcessEngine.submit

    def refuse(self: Any, task: bytes) -> Future[bytes]:
        if refused:
            return submit(self, task)
        refused.append(task)
        raise RuntimeError("not now")

    refused: list[bytes] = []
    monkeypatch.setattr(process.ProcessEngine, "submit", refuse)
    assert FRAME["x"].par(n_workers=2, chunk_size=5).map(lambda value: value + 1).equals(FRAME["x"] + 1)
