"""Profile and log: what they say of calls adds up, whoever did them, and costs nothing where nobody looks."""

from __future__ import annotations

import gc
import itertools
import logging
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.core.call import Call, work_of
from pdparallel.core.chunking import Chunk
from pdparallel.core.options import Options
from pdparallel.core.outcome import Timing
from pdparallel.engines.serial import SerialEngine
from pdparallel.execution import events, placement
from pdparallel.execution.encode import pack
from pdparallel.execution.events import _between
from pdparallel.execution.records import ChunkRecord, Record
from pdparallel.testing import assert_same
from pdparallel.testing._force import force
from pdparallel.transport.task import Locality

N = 40
DF = pd.DataFrame(
    {"a": range(N), "b": 1.5, "key": [at % 4 for at in range(N)], "text": [f"t{at}" for at in range(N)]},
    index=[f"x{at}" for at in range(N)],
)
NUMBERS = DF[["a", "b"]]
S = DF["a"]

ENGINES = ["auto", "serial", "thread", "process", "pathos"]

#: Each verb, the units that it has, and what a call of it is.
VERBS: dict[str, tuple[int, Callable[[Any, Any, Any], Any]]] = {
    "apply_rows": (N, lambda df, s, numbers: df.apply_rows(lambda row: row["a"] + row["b"])),
    "apply_rows, tuples": (N, lambda df, s, numbers: df.apply_rows(lambda row: row[0], rows="tuple")),
    "apply_rows, expand": (N, lambda df, s, numbers: df.apply_rows(lambda row: [1, "x"], result_type="expand")),
    "apply_cols": (4, lambda df, s, numbers: df.apply_cols(lambda column: column.iloc[0])),
    "apply_chunks": (N, lambda df, s, numbers: df.apply_chunks(lambda chunk: chunk[["a"]] * 2)),
    "apply_chunks, by": (N, lambda df, s, numbers: df.apply_chunks(lambda chunk: chunk, by="key")),
    "map": (2 * N, lambda df, s, numbers: numbers.map(lambda value: -value)),
    "Series.map": (N, lambda df, s, numbers: s.map(lambda value: -value)),
    "Series.apply": (N, lambda df, s, numbers: s.apply(lambda value: value + 1)),
    "iter_chunks": (N, lambda df, s, numbers: list(df.iter_chunks(len))),
    "groupby.apply": (4, lambda df, s, numbers: df.groupby("key")[["a"]].apply(lambda group: len(group))),
    "groupby.agg": (4, lambda df, s, numbers: df.groupby("key")["a"].agg(lambda column: column.max())),
    "rolling": (N - 2, lambda df, s, numbers: s.rolling(3).apply(lambda window: window.max())),
    "background": (N, lambda df, s, numbers: s.background.map(lambda value: -value).result(60)),
}


def call(name: str, **options: Any) -> Any:
    return VERBS[name][1](DF.par(**options), S.par(**options), NUMBERS.par(**options))


def assert_adds_up(p: pdparallel.Profile, units: int) -> pd.DataFrame:
    """Each unit once, times in order, and both frames of one mind."""
    frame, calls = p.to_frame(), p.calls
    assert len(calls) == len(p) == 1
    one = calls.loc[1]
    positions = sorted(zip(frame["start"], frame["stop"], strict=True))
    assert positions[0][0] == 0
    assert positions[-1][1] == units == one["units"] == frame["units"].sum()
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(positions))
    for earlier, later in (("sent", "began"), ("began", "ended"), ("ended", "received")):
        assert (frame[earlier] <= frame[later]).all(), (earlier, later)
    assert one["began"] >= 0
    assert (frame["sent"] >= one["began"] - 1e-6).all()
    assert (frame["received"] <= one["began"] + one["seconds"]).all()
    assert (frame["function"] <= frame["ended"] - frame["began"] + 1e-6).all()
    for part in ("load", "pack", "write", "read"):
        assert (frame[part] >= 0).all(), part
    assert one["chunks"] == len(frame)
    assert one["function"] == pytest.approx(frame["function"].sum())
    assert one["cores_busy"] == pytest.approx(one["function"] / one["seconds"])
    assert math.isnan(one["speed_up"])  # nobody has said what pandas takes
    assert 0 <= one["idle"] <= 1
    assert one["why"]
    assert one["error"] == ""
    assert not frame["failed"].any()
    return frame


class TestAProfile:
    @pytest.mark.part(2)
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("name", VERBS)
    def test_adds_up_and_leaves_the_result_alone(self, name: str, engine: str, no_rest_is_worth_it: None) -> None:
        options = {"engine": engine, "n_workers": 2, "chunk_size": 7}
        with pdparallel.profile() as p:
            got = call(name, **options)
        assert_same(got, call(name, **options))
        frame = assert_adds_up(p, VERBS[name][0])
        one = p.calls.loc[1]
        if engine == "auto":
            assert one["engine"] == "here"
        else:
            assert one["engine"] == engine
            assert one["why"] == "engine= names it"
        if engine in ("process", "pathos"):
            assert os.getpid() not in set(frame["pid"])
            assert set(frame["worker"]) <= {"1", "2"}
            assert (frame["bytes_out"] > 0).all()
            assert (frame["bytes_back"] > 0).all()
            assert one["bytes_once"] > 0
            assert one["bytes_out"] == frame["bytes_out"].sum()
            assert one["transport"] > 0
        else:
            assert set(frame["pid"]) == {os.getpid()}
            assert not frame[["bytes_out", "bytes_back"]].any(axis=None)
            assert ("parent" in set(frame["worker"])) == (engine != "thread")

    @pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
    def test_of_an_executor(self, kind: Any) -> None:
        with kind(2) as executor, pdparallel.profile() as p:
            DF.par(engine=executor, chunk_size=7).apply_rows(lambda row: row["a"])
        frame = assert_adds_up(p, N)
        assert p.calls.loc[1, "engine"] == "executor"
        assert (os.getpid() in set(frame["pid"])) == (kind is ThreadPoolExecutor)

    def test_shows_what_the_parent_did_itself(self, any_rest_is_worth_it: None) -> None:
        parent = os.getpid()
        with pdparallel.profile() as p:  # the parent is slow, so that it is not done before a worker is up
            DF.par(n_workers=2).apply_rows(lambda row: time.sleep(0.25 * (os.getpid() == parent)))
        frame = assert_adds_up(p, N)
        assert frame["worker"].iloc[0] == "parent"
        assert set(frame["worker"]) - {"parent"}
        assert p.calls.loc[1, ["engine", "why"]].tolist() == ["process", placement.Reason.WORTH.value]

    def test_says_why_it_stays_here(self, no_rest_is_worth_it: None, monkeypatch: pytest.MonkeyPatch) -> None:
        force(monkeypatch.setattr, look_seconds=0.0)
        whys = []
        for workers in (1, 2):
            with pdparallel.profile() as p:
                S.par(n_workers=workers).map(lambda value: value)
            whys.append(p.calls.loc[1, "why"])
        assert whys == [placement.Reason.ONE_WORKER.value, placement.Reason.SHORT.value]

    def test_has_the_shaping_of_the_result(self) -> None:
        with pdparallel.profile() as p:
            DF.par.apply_rows(lambda row: row["a"])
            list(DF.par.iter_chunks(len))
        assert p.calls["shaping"].gt(0).tolist() == [True, False]

    def test_numbers_the_calls(self) -> None:
        with pdparallel.profile() as p:
            S.par.map(str)
            pdparallel.map(str, [1, 2, 3])
            list(pdparallel.imap(str, (at for at in range(5))))
        assert p.calls.index.tolist() == [1, 2, 3]
        assert p.calls["units"].tolist() == [N, 3, 5]
        assert p.to_frame().groupby("call")["units"].sum().tolist() == [N, 3, 5]
        assert p.calls["verb"].tolist() == ["map", "map", "imap"]
        assert p.calls["began"].is_monotonic_increasing

    def test_of_groups_whose_columns_pandas_tries_one_after_the_other(self) -> None:
        with pdparallel.profile() as p:
            got = DF.par.groupby("key")[["a", "b"]].transform(lambda column: column - column.min())
        assert_same(got, DF.groupby("key")[["a", "b"]].transform(lambda column: column - column.min()))
        frame = p.to_frame()
        assert (frame["received"] <= frame["call"].map(p.calls["began"] + p.calls["seconds"])).all()
        # One call after the other: what the first one's result took is not counted with the second.
        ends = (p.calls["began"] + p.calls["seconds"]).tolist()
        assert all(end <= began + 1e-6 for end, began in zip(ends, p.calls["began"].tolist()[1:], strict=False))

    def test_blocks_in_blocks(self) -> None:
        with pdparallel.profile() as outer:
            S.par.map(str)
            with pdparallel.profile() as inner:
                S.par.apply_chunks(len)
            DF.par.apply_rows(len)
        S.par.map(str)
        assert inner.calls["verb"].tolist() == ["apply_chunks"]
        assert outer.calls["verb"].tolist() == ["map", "apply_chunks", "apply_rows"]
        assert inner.calls.loc[1, "function"] == outer.calls.loc[2, "function"]

    def test_is_of_one_thread_and_of_what_it_begins_in_the_background(self) -> None:
        with pdparallel.profile() as p:
            other = threading.Thread(target=S.par.map, args=(str,))
            other.start()
            other.join()
            S.par.background.apply_chunks(len).result(60)
        assert p.calls["verb"].tolist() == ["apply_chunks"]

    def test_can_be_looked_at_while_a_call_runs(self) -> None:
        with pdparallel.profile() as p:
            results = DF.par(engine="serial", chunk_size=10).iter_chunks(len)
            assert next(results) == 10
            assert math.isnan(p.calls.loc[1, "seconds"])
            assert "1 call" in repr(p)
            results.close()
        assert p.calls.loc[1, "error"] == "given up"
        assert p.calls.loc[1, "seconds"] > 0

    @pytest.mark.parametrize("engine", ["auto", "serial", "process"])
    def test_of_a_call_that_fails(self, engine: str) -> None:
        with pdparallel.profile() as p, pytest.raises(ZeroDivisionError):
            S.par(engine=engine, chunk_size=10, n_workers=2).map(lambda value: 1 // (value - 15))
        assert p.calls.loc[1, "error"] == "ZeroDivisionError"
        frame = p.to_frame()
        [(start, stop)] = frame.loc[frame["failed"], ["start", "stop"]].to_numpy().tolist()
        assert start <= 15 < stop
        assert start == 10 or engine == "auto"  # which may have done some units here before the first chunk was cut
        assert "ended by ZeroDivisionError" in repr(p)

    @pytest.mark.parametrize("retries", [0, 1])
    def test_of_a_worker_that_dies(self, retries: int, tmp_path: Path) -> None:
        flag = tmp_path / "flag"

        def dies_once(value: int) -> int:
            if value == 13 and not flag.exists():
                flag.touch()
                os._exit(3)
            return value

        par = S.par(engine="process", chunk_size=10, n_workers=2, retries=retries, errors="return")
        with pdparallel.profile() as p:
            got = par.map(dies_once)
        assert (got.iloc[13] == 13) == (retries > 0)
        frame = p.to_frame()
        assert p.calls.loc[1, "lost"] == 1
        # Around it in pieces, but each unit once.
        positions = sorted(zip(frame["start"], frame["stop"], strict=True))
        assert [at for start, stop in positions for at in range(start, stop)] == list(range(N))
        assert "lost their worker" in repr(p)

    def test_of_what_is_in_a_checkpoint(self, tmp_path: Path) -> None:
        par = S.par(checkpoint=tmp_path / "night", engine="serial", chunk_size=10)

        def fails(value: int) -> int:
            return 1 // (value - 25) if not (tmp_path / "mended").exists() else value

        with pytest.raises(ZeroDivisionError):
            par.map(fails)
        (tmp_path / "mended").touch()
        with pdparallel.profile() as p:
            par.map(fails)
        kept, frame = p.calls.loc[1, "kept"], p.to_frame()
        assert kept >= 20
        assert kept + frame["units"].sum() == N
        assert f"{kept} values were in the checkpoint" in repr(p)

    def test_keeps_nothing_of_the_users(self) -> None:
        class Item:
            pass

        item = Item()
        gone = weakref.ref(item)
        with pdparallel.profile() as p:
            pdparallel.map(lambda one: 1, [item])
        del item
        gc.collect()
        assert gone() is None
        assert len(p) == 1

    def test_a_clock_of_another_machine(self) -> None:
        there = Timing(7, 8, 1000.0, 1000.25, 1000.5, 1002.0, 1002.5)
        assert _between(3.0, there, 6.0) == (7, 8, 3.5, 3.75, 4.0, 5.5, 6.0)
        assert _between(5.0, there, 6.0) == (7, 8, 5.0, 5.0, 5.0, 5.5, 6.0)
        assert _between(999.0, there, 1003.0) is not None
        assert _between(999.0, there, 1003.0) == there


class TestWhereNobodyLooks:
    def test_nothing_is_written_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any) -> None:
            raise AssertionError("somebody looks")

        monkeypatch.setattr(events, "CallRecorder", refuse)
        for name in ("apply_rows", "Series.map", "groupby.apply", "rolling"):
            call(name)
            call(name, engine="serial")

    @pytest.mark.parametrize("locality", Locality)
    def test_no_worker_measures(self, locality: Locality) -> None:
        work = work_of(str, (), {}, "value", Options())
        engine = SerialEngine(locality)
        timings = []
        for timed in (False, True):
            encoder = pack(Call("map", work, S, N, "value", S.index.__getitem__), locality, "dill")
            encoder.timed = timed
            answer = engine.submit(encoder.task(Chunk(0, 3))).result()
            timings.append(encoder.outcome(answer).timing)
            encoder.close()
        engine.close()
        assert timings[0] is None
        assert timings[1] is not None
        assert timings[1].pid == os.getpid()


class TestWaiting:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_the_part_of_the_function(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if engine not in ("process", "pathos"):  # their workers measure it, by the clock of the machine
            force(monkeypatch.setattr, waiting_share=0.75)
        with pdparallel.profile() as p:
            DF.par(engine=engine, n_workers=1).apply_rows(lambda row: time.sleep(0.002))
        frame, waiting = p.to_frame(), p.calls.loc[1, "waiting"]
        assert ((frame["waited"] >= 0) & (frame["waited"] <= frame["function"])).all()
        if engine not in ("process", "pathos"):
            assert waiting == pytest.approx(0.75)
            assert "the function waited 75 % of its time" in repr(p)


class TestShown:
    @pytest.fixture
    def p(self, no_rest_is_worth_it: None, monkeypatch: pytest.MonkeyPatch) -> pdparallel.Profile:
        force(monkeypatch.setattr, look_seconds=60.0)
        with pdparallel.profile() as p:
            DF.par(engine="process", n_workers=2, chunk_size=10).apply_rows(lambda row: row["a"])
            S.par.map(str)
        return p

    def test_as_text(self, p: pdparallel.Profile) -> None:
        title, head, *lines = repr(p).splitlines()
        assert title == "pdparallel profile: 2 calls"
        assert head.split() == [
            "call", "verb", "units", "engine", "workers", "chunks", "time", "function", "transport", "shaping", "idle",
            "cores", "kept", "busy",
        ]  # fmt: skip
        assert lines[0].split()[:7] == ["1", "apply_rows", "40", "rows", "process", "2", "4"]
        assert lines[1].split()[:7] == ["2", "map", "40", "values", "here", "1", "1"]
        assert lines[2].startswith("1: process, because engine= names it; ")
        assert "went out" in lines[2]
        assert lines[3] == f"2: here, because {placement.Reason.NOT_ASKED.value}"
        assert all(line == line.rstrip() for line in lines)

    def test_as_html(self, p: pdparallel.Profile) -> None:
        html, meanings = p._repr_html_().split("<details>")
        assert html.count("<tr>") == 3
        assert "What the columns mean" in meanings
        for text in (
            "2 calls",
            ">apply_rows</td>",
            ">40 rows</td>",
            ">cores kept busy</th>",
            "because engine= names it",
        ):
            assert text in html

    def test_a_worker_that_loads_is_not_idle(self) -> None:
        record = Record("map", "value", 2, "process", 0.0, workers=1, ended=4.0)
        record.pieces.append(
            ChunkRecord(0, 2, 7, 7, began=0.0, ready=3.0, loaded=3.0, called=4.0, written=4.0, seconds=1.0)
        )
        assert record.loading == 3.0
        assert record.idle == 0.0

    def test_of_no_call(self) -> None:
        with pdparallel.profile() as p:
            pass
        assert repr(p) == "pdparallel profile: 0 calls"
        assert p.calls.shape == (0, 24)
        assert p.to_frame().empty
        assert "0 calls" in p._repr_html_()

    def test_as_a_picture(self, p: pdparallel.Profile) -> None:
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        from matplotlib import pyplot

        try:
            ax = p.plot()
            lanes = [label.get_text() for label in ax.get_yticklabels()]
            workers = sorted(set(p.to_frame()["worker"]) - {"parent"})
            assert lanes == ["parent", *(f"worker {worker}" for worker in workers)]
            legend = [text.get_text() for text in ax.get_legend().get_texts()]
            assert legend == ["function", "loading", "transport", "shaping", "idle"]
            texts = [text.get_text() for text in ax.texts]
            assert texts == ["1 apply_rows", "2 map"]
            bars = sum(len(collection.get_paths()) for collection in ax.collections)
            # A chunk that travelled is five bars, one of the parent's own one.
            assert bars >= 4 * 5 + 1
            ax.figure.canvas.draw()
            other = pyplot.figure().add_subplot()
            assert p.plot(other) is other
        finally:
            pyplot.close("all")

    def test_as_a_picture_without_matplotlib(self, p: pdparallel.Profile, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=r"pip install matplotlib.*p\.calls and p\.to_frame"):
            p.plot()


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, logger="pdparallel"):
        yield caplog


class TestTheLog:
    def test_tells_of_each_call_and_chunk(self, debug: pytest.LogCaptureFixture) -> None:
        got = DF.par(engine="process", n_workers=2, chunk_size=10).apply_rows(lambda row: row["a"])
        assert_same(got, DF.apply(lambda row: row["a"], axis=1))
        lines = [record.getMessage() for record in debug.records if record.name == "pdparallel"]
        assert lines[0] == "apply_rows of 40 rows begins: engine='process', 2 workers, chunk_size=10"
        assert lines[1] == "apply_rows: process with 2 at work, because engine= names it"
        assert sorted(line.partition(" done")[0] for line in lines[2:6]) == [
            "apply_rows: rows 0 to 9", "apply_rows: rows 10 to 19", "apply_rows: rows 20 to 29",
            "apply_rows: rows 30 to 39",
        ]  # fmt: skip
        assert lines[6].startswith("apply_rows is done after ")
        assert lines[7].startswith("apply_rows: shaped in ")
        assert len(lines) == 8

    def test_tells_of_a_failure(self, debug: pytest.LogCaptureFixture) -> None:
        with pytest.raises(ZeroDivisionError):
            S.par.map(lambda value: 1 // (value - 15))
        assert any("ends with ZeroDivisionError" in record.getMessage() for record in debug.records)

    def test_is_quiet_in_normal_use(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="pdparallel"):
            call("apply_rows", engine="process", n_workers=2)
            call("map")
        assert not [record for record in caplog.records if record.name == "pdparallel"]

    def test_has_a_handler_that_does_nothing(self) -> None:
        logger = logging.getLogger("pdparallel")
        assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
        assert logger.level == logging.NOTSET

    def test_beside_a_profile(self, debug: pytest.LogCaptureFixture) -> None:
        with pdparallel.profile() as p:
            S.par.map(str)
        assert_adds_up(p, N)
        assert any("map is done after" in record.getMessage() for record in debug.records)


def test_what_travels_is_counted_wherever_it_lies() -> None:
    """A large piece and a large answer go by a file, of which the message only says the place."""
    texts = pd.Series(["x" * 1_000] * 400, dtype=object)
    with pdparallel.profile() as p:
        texts.par(engine="process", n_workers=2, chunk_size=200).map(lambda text: np.zeros(100))
    frame = p.to_frame()
    assert (frame["bytes_out"] < 200 * 1_000).all()  # one text, which pickle writes once
    assert (frame["bytes_back"] > 200 * 800).all()
