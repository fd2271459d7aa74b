"""Explain: what it says is so: how often the function was called, what it read, who would do it, what is in the way."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.diagnostics import explain, measure
from pdparallel.execution import placement
from pdparallel.execution.placement import Reason
from pdparallel.testing._force import force
from tests.conftest import children

N = 400
DF = pd.DataFrame(
    {
        "a": np.arange(N),
        "b": 1.5,
        "key": np.arange(N) % 40,
        "text": [f"text {at}" for at in range(N)],
        "more": [f"more {at}" for at in range(N)],
    },
    index=[f"x{at}" for at in range(N)],
)
S = DF["a"]

FIELDS = {field.name for field in dataclasses.fields(pdparallel.Explanation)}


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, each place has its turn, with all that it has."""
    monkeypatch.setattr(measure, "BUDGET_SECONDS", 10.0)


def a_and_b(row: Any) -> float:
    return row["a"] * row["b"]


#: Each is given an accessor's maker and a function of any unit.
WAYS: dict[str, Callable[[Any, Any], pdparallel.Explanation]] = {
    "rows": lambda par, func: par(DF).explain(func),
    "rows, kept": lambda par, func: par(DF).explain(func, "apply_rows", result_type="expand"),
    "tuples": lambda par, func: par(DF).explain(func, rows="tuple"),
    "raw": lambda par, func: par(DF).explain(func, raw=True),
    "columns": lambda par, func: par(DF).explain(func, "apply_cols"),
    "chunks": lambda par, func: par(DF).explain(func, "apply_chunks"),
    "chunks, by": lambda par, func: par(DF).explain(func, "apply_chunks", by="key"),
    "chunks, overlap": lambda par, func: par(DF).explain(func, "apply_chunks", overlap=2),
    "values of a frame": lambda par, func: par(DF).explain(func, "map"),
    "values": lambda par, func: par(S).explain(func),
    "categories": lambda par, func: par(DF["key"].astype("category")).explain(func),
    "chunks of values": lambda par, func: par(S).explain(func, "apply_chunks"),
    "groups": lambda par, func: par(DF).groupby("key")[["a", "b"]].explain(func),
    "columns of groups": lambda par, func: par(DF).groupby("key")[["a", "b"]].explain(func, "agg"),
    "groups of values": lambda par, func: par(DF).groupby("key")["a"].explain(func, "transform"),
}

UNITS = {
    "rows": N, "rows, kept": N, "tuples": N, "raw": N, "columns": 5, "chunks": N, "chunks, by": N,
    "chunks, overlap": N, "values of a frame": 5 * N, "values": N, "categories": 40, "chunks of values": N,
    "groups": 40, "columns of groups": 80, "groups of values": 40,
}  # fmt: skip


class TestTheFunction:
    @pytest.mark.parametrize("engine", ["auto", "process", "thread", "serial"])
    @pytest.mark.parametrize("name", WAYS)
    def test_is_called_as_often_as_it_says(self, name: str, engine: str, no_rest_is_worth_it: None) -> None:
        calls: list[int] = []

        def counting(unit: Any) -> float:
            calls.append(1)
            return 1.0

        found = WAYS[name](lambda data: data.par(engine=engine, n_workers=2), counting)
        assert found.calls == len(calls) > 0
        assert found.units == UNITS[name]
        assert found.problem == ""
        assert math.isfinite(found.cost)
        assert math.isfinite(found.seconds)
        assert found.seconds_here == pytest.approx(found.units * found.cost)
        assert found.speed_up == pytest.approx(found.seconds_pandas / found.seconds)
        assert 0 <= found.waiting <= 1
        assert found.bytes_data == pytest.approx(found.bytes_unit * found.units)
        assert found.bytes_function is not None
        assert found.engine == ("here" if engine == "auto" else engine)
        positions = [at for start, stop in found.sampled for at in range(start, stop)]
        assert all(0 <= at < found.units for at in positions)
        if "chunks" not in name:
            assert len(set(positions)) == len(positions) <= found.calls

    @pytest.mark.usefixtures("unhurried")
    def test_is_called_with_rows_of_all_places(self) -> None:
        seen: list[Any] = []
        found = DF.par.explain(lambda row: seen.append(row.name))
        assert len(found.sampled) == 8
        assert {start // (N // 8) for start, _ in found.sampled} == set(range(8))
        assert len(seen) == found.calls
        assert {DF.index[at] for start, stop in found.sampled for at in range(start, stop)} == set(seen)

    def test_is_called_once_where_that_takes_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(measure, "BUDGET_SECONDS", 0.0)
        found = DF.par.explain(lambda row: time.sleep(0.002))
        assert found.calls == 1
        assert found.sampled == ((0, 1),)
        assert "was called once, with 1 row; the results are not kept" in " ".join(repr(found).split())

    @pytest.mark.usefixtures("unhurried")
    def test_may_raise(self) -> None:
        seen: list[int] = []
        found = DF.par.explain(lambda row: seen.append(row["a"]) or 1 // (row["a"] - 2))
        assert found.problem.startswith("the function raised ZeroDivisionError: ")
        assert found.problem.endswith(", in row 'x2' (position 2)")
        assert found.sampled == ((0, 3),)
        assert len(seen) == found.calls
        assert seen.count(2) == 1
        assert math.isfinite(found.cost)

    def test_may_always_raise(self) -> None:
        found = DF.par.explain(lambda row: row["absent"])
        assert "KeyError: 'absent', in row 'x0' (position 0)" in found.problem
        assert found.calls == 1
        assert math.isnan(found.cost)
        assert "KeyError" in repr(found)
        assert "KeyError" in found._repr_html_()

    def test_may_raise_of_a_chunk(self) -> None:
        found = DF.par.explain(lambda chunk: chunk["absent"], "apply_chunks")
        assert "KeyError: 'absent', in the chunk of rows 0 to 63" in found.problem
        assert found.calls == 1

    def test_may_write_into_its_rows(self) -> None:
        before = DF.copy()

        def writes(row: Any) -> Any:
            row["a"] = -1
            return row

        assert DF.par.explain(writes).lazy is False
        pd.testing.assert_frame_equal(DF, before)

    def test_may_draw_random_numbers(self) -> None:
        state, other = random.getstate(), np.random.get_state()
        DF.par.explain(lambda row: random.random() + np.random.normal())
        assert random.getstate() == state
        assert all(np.array_equal(one, two) for one, two in zip(np.random.get_state(), other, strict=True))

    def test_may_need_an_initializer(self) -> None:
        def load(text: str) -> None:
            global _model
            _model = text

        found = DF.par(initializer=load, initargs=("ready",)).explain(lambda row: len(_model))
        assert found.calls == 0
        assert "ask without initializer=" in found.problem
        assert found.bytes_function is not None
        assert "_model" not in globals()
        assert "was not called" in repr(found)

    def test_arguments_reach_it(self) -> None:
        got: set[Any] = set()
        DF.par.explain(lambda row, one, two: got.add((one, two)), args=(1,), two=2)
        S.par.explain(lambda value, two: got.add(two), two=3)
        assert got == {(1, 2), 3}


class TestWhatItSees:
    def test_that_a_function_waits(self) -> None:
        found = DF.par.explain(lambda row: time.sleep(0.01))
        assert found.waiting > 0.5
        assert any("engine='thread'" in one for one in found.advice)
        threads = DF.par(engine="thread", n_workers=8).explain(lambda row: time.sleep(0.01))
        assert threads.workers == 8
        assert threads.seconds < threads.seconds_here / 4
        assert "wait" in threads.limit
        assert "of it waiting" in repr(found)

    def test_what_helps_a_function_that_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        force(monkeypatch.setattr, waiting_share=0.94)
        for par, example in (
            (DF.par(n_workers=2), "df.par(engine='thread', n_workers=32).apply_rows(func) takes about "),
            (S.par(n_workers=2), "s.par(engine='thread', n_workers=32).map(func) takes about "),
            (
                DF.par(n_workers=2).groupby("key"),
                "df.par(engine='thread', n_workers=32).groupby(...).apply(func) takes",
            ),
            (
                DF.par(n_workers=40, engine="thread"),
                ". You can also make it a coroutine function (async def), with max_",
            ),
        ):
            found = par.explain(lambda unit: time.sleep(0.003))
            share = round(100 * found.waiting)
            advice = next(one for one in found.advice if "waits" in one)
            assert advice.startswith(f"the function waits {share} % of its time. "), advice
            assert example in advice
            assert "make it a coroutine function (async def), with max_concurrency=" in advice

    @pytest.mark.usefixtures("unhurried")
    def test_the_columns_that_are_read(self) -> None:
        found = DF.par.explain(a_and_b)
        assert found.columns_read == ("a", "b")
        assert found.columns_unread == ("key", "text", "more")
        assert found.lazy is True
        assert DF.par.explain(lambda row: row.a).columns_read == ("a",)

    def test_a_column_that_may_be_read_by_another_row(self) -> None:
        found = DF.par.explain(lambda row: row["more"] if row["a"] < 0 else row.b)
        assert found.columns_read == ("a", "b")
        assert found.columns_unread == ("key", "text")

    @pytest.mark.parametrize("func", [lambda row: sum(1 for _ in row), lambda row: row.to_dict(), lambda row: row.std])
    def test_that_whole_rows_are_read(self, func: Any) -> None:
        found = DF[["a", "b"]].par.explain(func)
        assert found.columns_read is found.columns_unread is None

    def test_that_columns_could_stay_at_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(explain, "LARGE_BYTES", 0)
        found = DF.par(engine="process").explain(a_and_b)
        said = next(one for one in found.advice if "columns=" in one)
        assert said.startswith("the function reads 'a', 'b' of 5 columns. df.par(columns=['a', 'b']) sends ")
        narrow = DF.par(engine="process", columns=["a", "b"]).explain(a_and_b)
        assert narrow.bytes_unit < found.bytes_unit
        assert not any("columns=" in one for one in narrow.advice)

    def test_that_rows_become_series(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(explain, "LARGE_SHARE", 0.0)
        found = DF[["a", "b"]].par.explain(lambda row: row.median())
        assert found.lazy is False
        assert found.handing == min(found.pandas_handing, found.cost)
        assert any(
            "because the function does more than reading it" in one and "rows='namedtuple'" in one
            for one in found.advice
        )
        odd = DF[["a", "b"]].set_axis([0, 1], axis=1).par.explain(lambda row: row[0])
        assert odd.lazy is False
        assert any("because this frame needs it" in one for one in odd.advice)

    def test_that_it_could_be_an_expression(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(explain, "LIGHT", math.inf)
        word = "An expression of whole columns"
        assert any(word in one for one in DF.par.explain(a_and_b).advice)
        assert any(word in one for one in S.par.explain(lambda value: value * 2).advice)
        assert not any(word in one for one in DF.par.explain(lambda row: len(row["text"])).advice)
        assert not any(word in one for one in DF.par.explain(lambda row: str(row["a"])).advice)
        assert not any(word in one for one in DF["text"].par.explain(len).advice)
        monkeypatch.setattr(explain, "LIGHT", 0.0)
        assert not any(word in one for one in DF.par.explain(a_and_b).advice)

    def test_what_cannot_travel(self) -> None:
        numbers = (at for at in range(10_000))

        def numbered(row: Any) -> float:
            return row["b"] + next(numbers)

        found = DF.par.explain(numbered)
        assert found.bytes_function is None
        assert "closure variable 'numbers'" in found.problem
        assert any("engine='thread'" in one for one in found.advice)
        assert found.calls > 0

    @pytest.mark.usefixtures("unhurried")
    def test_bytes(self) -> None:
        floats = pd.DataFrame(np.ones((1_000, 4)), columns=list("abcd"))
        found = floats.par.explain(lambda row: 1.0)
        assert found.bytes_unit == pytest.approx(32, abs=9)  # and perhaps a label
        assert found.bytes_return == pytest.approx(8, abs=1)
        wide = floats.par.explain(lambda row: "x" * 1_000 + row.name * "y")
        assert wide.bytes_return > 1_000


class TestWhatItExpects:
    def test_that_a_short_call_stays_here(self, no_rest_is_worth_it: None) -> None:
        found = DF.par(n_workers=2).explain(a_and_b)
        assert (found.engine, found.reason) == ("here", Reason.SHORT.value)
        assert found.seconds == found.seconds_here
        assert found.limit == "one core: this process does all the work"

    def test_what_auto_would_decide(self, any_rest_is_worth_it: None) -> None:
        found = DF.par(n_workers=2, chunk_size=100).explain(a_and_b)
        assert (found.engine, found.workers, found.reason) == ("process", 2, Reason.WORTH.value)
        assert DF.par(n_workers=1).explain(a_and_b).reason == Reason.ONE_WORKER.value
        assert placement.unpooled_seconds() >= 0

    def test_nothing_comes_of_it_for_other_calls(self, any_rest_is_worth_it: None) -> None:
        before = placement.unpooled_seconds()
        DF.par(n_workers=2).explain(a_and_b)
        assert placement.unpooled_seconds() == before

    def test_no_process_is_started(self, anew: None, any_rest_is_worth_it: None) -> None:
        for engine in ("auto", "process", "pathos"):
            assert not DF.par(n_workers=2, engine=engine).explain(a_and_b).warm
        assert not children()

    def test_that_the_pool_is_up(self, alone: None) -> None:
        par = DF.par(n_workers=2, engine="process")
        cold = par.explain(a_and_b)
        par.apply_rows(a_and_b)
        assert par.explain(a_and_b).warm > cold.warm

    def test_the_size_of_chunks(self) -> None:
        par = DF.par(n_workers=2, engine="process")
        assert par(chunk_size=7).explain(a_and_b).chunk_size == 7
        found = par.explain(lambda row: time.sleep(0.002))
        assert 1 <= found.chunk_size <= N
        assert par(chunk_size=30).explain(len, "apply_chunks").chunk_size == 30

    def test_that_chunks_are_too_light(self) -> None:
        found = DF.par(n_workers=2, engine="process", chunk_size=1).explain(lambda row: 1)
        assert any("Leave out chunk_size=, or give at least" in one for one in found.advice)

    def test_that_chunks_are_too_few(self) -> None:
        found = DF.par(n_workers=2, engine="process", chunk_size=N - 1).explain(lambda row: time.sleep(0.001))
        assert any("too few chunks" in one for one in found.advice)

    def test_that_engines_of_one_worker_gain_nothing(self) -> None:
        assert DF.par(engine="serial").explain(a_and_b).limit == "one worker"
        assert (
            "one thread computes at a time"
            in DF.par(engine="thread", n_workers=2, chunk_size=10).explain(a_and_b).limit
        )


class TestWhatIsRefused:
    @pytest.mark.parametrize("func", ["sum", ["sum", "max"], {"a": "sum"}, np.sqrt, 3])
    def test_what_is_no_function_of_python(self, func: Any) -> None:
        for ask in (DF.par.explain, S.par.explain, DF.par.groupby("key").explain):
            with pytest.raises(InvalidOptionError, match="func"):
                ask(func)

    def test_other_verbs(self) -> None:
        with pytest.raises(InvalidOptionError, match="one of 'apply_rows', 'apply_cols', 'apply_chunks', 'map'"):
            DF.par.explain(len, "iter_chunks")
        with pytest.raises(InvalidOptionError, match="one of 'map', 'apply_chunks'"):
            S.par.explain(len, "apply_rows")
        with pytest.raises(InvalidOptionError, match="method"):
            DF.par.groupby("key").explain(len, "rolling")
        with pytest.raises(InvalidOptionError, match="select a column"):
            DF.par.groupby("key").explain(len, "transform")

    def test_what_the_verb_refuses(self) -> None:
        with pytest.raises(InvalidOptionError, match="rows"):
            DF.par.explain(len, rows="lists")
        with pytest.raises(InvalidOptionError, match="timeout"):
            DF.par(engine="thread", timeout=1).explain(len)


class TestShown:
    @pytest.mark.usefixtures("unhurried")
    def test_as_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(explain, "LIGHT", math.inf)
        found = DF.par.explain(a_and_b)
        text = repr(found)
        title, *lines = text.splitlines()
        assert title == "apply_rows of 400 rows"
        words = " ".join(text.split())
        assert f"called {found.calls:,} times, with " in words
        assert "at 8 places, spread evenly; the results are not kept" in words
        for part in ("a row", "the function", "making it", "sending it", "bytes", "columns read", "runs in", "because",
                     "expected", "limited by", "advice"):  # fmt: skip
            assert any(line.strip().startswith(part) for line in lines), part
        assert "'a', 'b'" in text
        assert found.reason in words
        assert found.limit in words
        assert str(found) == text
        assert all(line == line.rstrip() for line in lines)

    def test_as_html(self) -> None:
        found = DF.par.explain(lambda row: row["text"] < "<b>")
        html = found._repr_html_()
        assert "<caption>apply_rows of 400 rows</caption>" in html
        assert html.count("<tr>") == len(list(found._lines())) > 8
        assert found.reason in html
        assert "<b>" not in html

    def test_as_a_dict(self) -> None:
        found = DF.par.explain(a_and_b)
        assert set(found.to_dict()) == FIELDS
        assert found.to_dict()["columns_read"] == ("a", "b")

    def test_is_not_to_be_changed(self) -> None:
        found = DF.par.explain(a_and_b)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.cost = 0.0

    @pytest.mark.parametrize("data", [DF.iloc[:0], DF[[]], S.iloc[:0]])
    def test_of_nothing(self, data: Any) -> None:
        found = data.par.explain(len)
        assert found.calls == found.units == 0
        assert found.reason == "pandas does it alone, in this process"
        assert "was not called" in repr(found)

    def test_of_what_only_pandas_can_do(self) -> None:
        twice = DF[["a", "b"]].set_axis(["same"] * N)
        called: list[int] = []
        found = twice.par.explain(lambda row: called.append(1), result_type="broadcast")
        assert found.reason == "pandas does it alone, in this process"
        assert not called

    def test_a_profile_sees_no_call(self) -> None:
        with pdparallel.profile() as p:
            DF.par.explain(a_and_b)
        assert len(p) == 0

    def test_nothing_is_written(self, tmp_path: Path) -> None:
        DF.par(checkpoint=tmp_path / "night", progress=True).explain(a_and_b)
        assert not (tmp_path / "night").exists()
