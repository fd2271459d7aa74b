"""The runner: what auto does itself and what it hands over, each unit called once, first failing position first."""

from __future__ import annotations

import math
import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pandas as pd
import pytest

import pdparallel
from pdparallel.core.chunking import cut
from pdparallel.engines.serial import SerialEngine
from pdparallel.engines.thread import ThreadEngine
from pdparallel.execution import placement, runner, scheduler
from pdparallel.testing._force import force
from tests.conftest import children, wait_until

N = 50
SERIES = pd.Series(range(N), index=[f"r{i}" for i in range(N)])
NAMED = pd.DataFrame({"a": [1, 0]}, index=["x", "y"])
GAPPED = pd.Series([1, None, 0])


class Recording(SerialEngine):
    """Notes the tasks that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = 0
        self.closed: list[bool] = []

    def submit(self, task: bytes) -> Future[bytes]:
        self.tasks += 1
        return super().submit(task)

    def close(self, *, kill: bool = False) -> None:
        self.closed.append(kill)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    engine = Recording()
    force(monkeypatch.setattr, engine=engine)
    return engine


@pytest.mark.usefixtures("no_rest_is_worth_it")
def test_auto_stays_here_when_the_rest_costs_less_than_a_pool(recording: Recording) -> None:
    calls: list[int] = []
    assert SERIES.par(n_workers=2).map(lambda x: calls.append(x) or x).tolist() == list(range(N))
    assert calls == list(range(N))  # a list of this process: nothing ran elsewhere, each once, in order
    assert recording.tasks == 0


def test_calls_that_are_made_again_and_again_get_a_pool(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch.setattr, unpooled_seconds=0.0)
    force(monkeypatch.setattr, warm=False)  # whatever earlier tests left
    monkeypatch.setattr(
        placement, "transfer_seconds", lambda some, n: (0.0, 0.0)
    )  # of a busy machine it may be anything

    now = 0.0  # the clock goes on when the function is called, and at no other time
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def slow(x: int) -> int:
        nonlocal now
        now += 0.3 / N
        return x

    for worth, asked in ((60.0, False), (60.0, False), (0.4, True)):
        force(monkeypatch.setattr, cold_worth_seconds=worth)
        assert SERIES.par(n_workers=2).map(slow).tolist() == list(range(N))
        assert recording.closed == [False] * asked
        assert placement._unpooled_seconds > 0.1 or asked  # some 0.3 s of each call, that a pool could have shared
    assert placement._unpooled_seconds == 0.0  # from here on as at first
    pdparallel.map(slow, range(5), n_workers=2)
    assert placement._unpooled_seconds == 0.0  # too little for any pool


@pytest.mark.usefixtures("any_rest_is_worth_it")
def test_auto_hands_over_what_is_worth_it_and_keeps_what_it_did(recording: Recording) -> None:
    calls: list[int] = []
    assert SERIES.par(n_workers=2).map(lambda x: calls.append(x) or x).tolist() == list(range(N))
    assert sorted(calls) == list(range(N))  # each once, also those before the handing over
    assert recording.tasks > 0
    assert recording.closed == [False]


@pytest.mark.usefixtures("any_rest_is_worth_it")
def test_auto_keeps_what_costs_more_to_send_than_to_compute(recording: Recording) -> None:
    # A return that cannot travel: pandas' answer does not need it to.
    generators = SERIES.par(n_workers=2).map(lambda x: (y for y in [x]))
    assert [next(generator) for generator in generators] == list(range(N))
    assert recording.tasks == 0


def test_what_travelling_costs_is_seen_in_the_returns() -> None:
    def seconds(values: list[object]) -> tuple[float, float]:
        return placement.transfer_seconds(lambda size: values[:size], len(values))

    def least(values: list[object]) -> float:
        return min(sum(seconds(values)) for _ in range(20))  # a busy machine may hold up any one

    light, heavy = [1.0] * 1000, [pd.Series(range(100_000)) for _ in range(10)]
    assert least(light) < least(heavy)
    assert seconds([(y for y in [])]) == (math.inf, math.inf)
    assert math.inf in seconds([1.0, (y for y in [])])


@pytest.mark.usefixtures("any_rest_is_worth_it")
def test_auto_keeps_data_that_cannot_travel(recording: Recording) -> None:
    generators = pd.Series([(y for y in [x]) for x in range(N)])
    assert generators.par(n_workers=2).map(next).tolist() == list(range(N))
    assert recording.tasks == 0


@pytest.mark.usefixtures("any_rest_is_worth_it")
def test_auto_with_one_worker_never_hands_over(recording: Recording) -> None:
    assert SERIES.par(n_workers=1).map(str).tolist() == [str(x) for x in range(N)]
    assert recording.tasks == 0


@pytest.mark.parametrize("engine", ["serial", "thread"])
@pytest.mark.parametrize("chunk_size", [None, 1, 7, N, 10 * N])
def test_each_unit_is_called_once(engine: str, chunk_size: int | None) -> None:
    lock, calls = threading.Lock(), []

    def func(x: int) -> int:
        with lock:
            calls.append(x)
        return -x

    assert SERIES.par(engine=engine, n_workers=3, chunk_size=chunk_size).map(func).tolist() == [-x for x in range(N)]
    assert sorted(calls) == list(range(N))


def test_a_named_engine_is_always_used() -> None:
    here = os.getpid()
    assert here not in set(pdparallel.map(lambda _: os.getpid(), [1], engine="process"))
    assert here not in set(pdparallel.map(lambda _: os.getpid(), [1], engine="pathos"))


def test_small_calls_see_no_process(anew: None, no_rest_is_worth_it: None) -> None:
    pd.DataFrame({"a": range(100)}).par(n_workers=2).apply_rows(lambda row: row["a"] + 1)
    assert not children()


def test_inside_a_worker_everything_is_serial() -> None:
    def func(x: int) -> tuple[bool, list[int]]:
        pids = pdparallel.map(lambda _: os.getpid(), range(3), engine="process", n_workers=2)
        return set(pids) == {os.getpid()}, SERIES.head(3).par.map(lambda y: y + x).tolist()

    assert pdparallel.map(func, [1, 2], engine="process", n_workers=2) == [
        (True, [1, 2, 3]),
        (True, [2, 3, 4]),
    ]


class TestFailures:
    @pytest.mark.parametrize("engine", ["auto", "serial", "thread", "process", "pathos"])
    def test_the_first_failing_position_wins(self, engine: str) -> None:
        def func(x: int) -> int:
            if x == 11:
                time.sleep(0.2)  # later in time, earlier in position
                raise KeyError("eleven")
            if x in (12, 33):
                raise ValueError(str(x))
            return x

        with pytest.raises(KeyError, match="eleven") as caught:
            SERIES.par(engine=engine, n_workers=2, chunk_size=1).map(func)
        assert caught.value.__notes__ == ["pdparallel: map, in value 'r11' (position 11)"]

    def test_nothing_runs_behind_a_failure_in_serial(self) -> None:
        calls: list[int] = []

        def func(x: int) -> int:
            calls.append(x)
            if x == 5:
                raise KeyError(x)
            return x

        with pytest.raises(KeyError):
            SERIES.par(engine="serial", chunk_size=3).map(func)
        assert calls == [0, 1, 2, 3, 4, 5]

    def test_the_rest_is_cancelled(self, tmp_path: Path) -> None:
        def func(x: int) -> int:
            (tmp_path / str(x)).touch()
            if x == 0:
                raise KeyError(x)
            time.sleep(0.05)
            return x

        with pytest.raises(KeyError):
            pdparallel.map(func, range(1_000), engine="process", n_workers=2, chunk_size=1)
        assert len(list(tmp_path.iterdir())) < 50

    @pytest.mark.parametrize(
        ("call", "note"),
        [
            (lambda f: NAMED.par.apply_rows(f), "apply_rows, in row 'y' (position 1)"),
            (lambda f: pd.DataFrame({"a": [1], "b": [0]}).par.apply_cols(f), "apply_cols, in column 'b' (position 1)"),
            (lambda f: pd.DataFrame({"a": [1, 0]}).par.apply(f, axis=1), "apply, in row 1 (position 1)"),
            (lambda f: NAMED.par(chunk_size=1).apply_chunks(f), "apply_chunks, in the chunk of rows 1 to 1"),
            (lambda f: NAMED["a"].par.map(lambda x: 1 / f([x])), "map, in value 'y' (position 1)"),
            (lambda f: GAPPED.par.map(lambda x: 1 / f([x]), na_action="ignore"), "map, in value 2 (position 1)"),
            (lambda f: pdparallel.map(lambda x: 1 / f([x]), [1, 0]), "map, in item 0 (position 1)"),
        ],
    )
    def test_the_note_names_the_place(self, call, note: str) -> None:
        def func(unit) -> int:
            total = int(sum(unit) if not isinstance(unit, pd.DataFrame) else unit["a"].sum())
            if not isinstance(unit, list) and total == 0:
                raise ZeroDivisionError
            return total

        with pytest.raises(ZeroDivisionError) as caught:
            call(func)
        assert caught.value.__notes__ == [f"pdparallel: {note}"]

    def test_the_traceback_begins_at_the_users_function(self) -> None:
        def divide(x: int) -> float:
            return 1 / x

        for engine in ("serial", "process"):
            with pytest.raises(ZeroDivisionError) as caught:
                SERIES.par(engine=engine).map(divide)
            cause = caught.value.__cause__
            if engine == "process":
                assert "return 1 / x" in str(cause)
                assert "rows.py" not in str(cause)
            else:
                frames = [entry.name for entry in caught.traceback]
                assert frames[-1] == "divide"
                assert "feed" not in frames


def test_what_is_running_at_an_interrupt_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ThreadEngine(2)
    closed: list[bool] = []
    monkeypatch.setattr(engine, "close", lambda *, kill=False: closed.append(kill))
    force(monkeypatch.setattr, engine=engine)

    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pdparallel.map(abs, range(10), engine="thread")
    assert closed == [True]
    ThreadEngine.close(engine, kill=True)


def test_a_lost_return_is_never_silent(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_chunks", lambda *args: iter(cut(0, N - 1, size=10)))
    with pytest.raises(RuntimeError, match=r"49 returns for 50 values"):
        SERIES.par(engine="serial").map(str)


class TestProgress:
    def test_a_callable_hears_of_each_step_up_to_the_total(self) -> None:
        heard: list[tuple[int, int]] = []
        SERIES.par(
            engine="thread", n_workers=2, chunk_size=8, progress=lambda done, total: heard.append((done, total))
        ).map(str)
        assert [done for done, _ in heard] == sorted({done for done, _ in heard})
        assert heard[-1] == (N, N)
        assert {total for _, total in heard} == {N}

    def test_a_callable_that_raises_changes_nothing(self) -> None:
        def broken(done: int, total: int) -> None:
            raise OSError("closed")

        with pytest.warns(UserWarning, match="progress display failed and is off: OSError: closed"):
            got = SERIES.par(engine="serial", chunk_size=8, progress=broken).map(str)
        assert got.tolist() == [str(x) for x in range(N)]

    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        SERIES.par(engine="serial", progress="text").map(str)
        shown = capsys.readouterr().err
        assert "map" in shown
        assert f"{N}/{N}" in shown

    def test_nothing_is_shown_unless_asked(self, capsys: pytest.CaptureFixture[str]) -> None:
        SERIES.par(engine="process").map(str)
        assert capsys.readouterr() == ("", "")


class TestWhileThePoolStarts:
    """With a pool that is not up, the parent works on, and hands over what is left then."""

    @pytest.fixture
    def slow_start(
        self, recording: Recording, any_rest_is_worth_it: None, monkeypatch: pytest.MonkeyPatch
    ) -> threading.Event:
        up = threading.Event()
        self.answers: list[Future[bytes]] = []
        submit = recording.submit

        def answer(task: bytes) -> Future[bytes]:
            if task:
                return submit(task)
            answer: Future[bytes] = Future()
            self.answers.append(answer)

            def answer_when_up() -> None:
                up.wait(60)
                recording.tasks += 1
                answer.set_result(b"")

            threading.Thread(target=answer_when_up, daemon=True).start()
            return answer

        monkeypatch.setattr(recording, "submit", answer)
        return up

    def test_the_parent_hands_over_when_it_is_up(self, recording: Recording, slow_start: threading.Event) -> None:
        calls: list[int] = []

        def func(x: int) -> int:
            calls.append(x)
            if x == 20:
                slow_start.set()
                assert wait_until(lambda: all(answer.done() for answer in self.answers))
            return x

        assert SERIES.par(n_workers=2).map(func).tolist() == list(range(N))
        assert calls == list(range(N))
        assert recording.tasks > 1

    def test_the_parent_may_come_to_the_end_first(self, recording: Recording, slow_start: threading.Event) -> None:
        assert SERIES.par(n_workers=2).map(str).tolist() == [str(x) for x in range(N)]
        assert recording.tasks == 0
        assert recording.closed == [False]
        slow_start.set()

    def test_an_exception_in_the_parent_leaves_the_pool(
        self, recording: Recording, slow_start: threading.Event
    ) -> None:
        def func(x: int) -> float:
            return 1 / (x - 20)

        with pytest.raises(ZeroDivisionError) as caught:
            SERIES.par(n_workers=2).map(func)
        assert caught.value.__notes__ == ["pdparallel: map, in value 'r20' (position 20)"]
        assert recording.closed == [False]
        slow_start.set()

    def test_for_real(self, alone: None) -> None:
        def func(x: int) -> int:
            time.sleep(0.05)
            return os.getpid()

        pids = pd.Series(range(200)).par(n_workers=2).map(func)  # long enough for a pool to come up on a busy machine
        assert pids.iloc[0] == os.getpid()
        assert pids.iloc[-1] != os.getpid()
        assert SERIES.head(20).par(n_workers=2).map(func).nunique() >= 2


@pytest.mark.parametrize("engine", ["serial", "thread", "process", "auto"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_return_that_raw_cannot_take_comes_before_a_later_failure(engine: str, axis: int) -> None:
    frame = pd.DataFrame([[0.0, 1.0, 2.0, 3.0]] * 4)
    frame = (frame if axis == 0 else frame.T).copy()

    def func(values) -> object:
        if values[0] == 3:
            raise KeyError("later")
        return "not a number" if values[0] == 1 else 1.5

    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever this pandas raises
        frame.apply(func, axis=axis, raw=True)
    assert not isinstance(expected.value, KeyError)
    with pytest.raises(type(expected.value)) as caught:
        frame.par(engine=engine, n_workers=2, chunk_size=1).apply(func, axis=axis, raw=True)
    assert str(caught.value) == str(expected.value)
