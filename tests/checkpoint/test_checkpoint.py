"""Checkpoints: the same call takes up where it stopped, another one is refused, and no damaged byte is trusted."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import errno
import functools
import hashlib
import importlib
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import warnings
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import CheckpointError, InvalidOptionError, WorkerDiedError
from pdparallel.checkpoint import store as folder_module
from pdparallel.checkpoint.atomic_write import fcntl
from pdparallel.checkpoint.file_format import DamagedError, ForeignError, _opened, _plain, decoded, encoded
from pdparallel.checkpoint.fingerprint import Identity
from pdparallel.core.chunking import Chunk
from pdparallel.core.columnar import Packed
from pdparallel.core.outcome import Outcome
from pdparallel.testing import assert_same, assert_same_as_pandas
from pdparallel.transport.shared_classes import SharedTable
from tests.conftest import wait_until

N = 60
DF = pd.DataFrame({"a": range(N), "b": [i / 7 for i in range(N)], "c": [f"t{i}" for i in range(N)]})
ENGINES = ["auto", "serial", "thread", "process"]
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")

#: A global variable that a function below uses.
FACTOR = 3


@pytest.fixture(autouse=True)
def every_outcome_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files come at once, whatever the clock says."""
    monkeypatch.setattr(folder_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(folder_module, "SAVE_PART", 0.0)
    monkeypatch.setattr(folder_module, "WRITING_PART", 1e9)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return tmp_path / "night"


class Counting:
    """A function that notes each call in a folder, and fails at one value for as long as a file is there.

    The folder is no part of its content, for the calls change what is in it and not what is returned.
    """

    def __init__(self, folder: Path, func: Callable[[Any], Any], bad: Any = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.func, self.bad = folder, func, bad

    def __call__(self, unit: Any) -> Any:
        key = _key(unit)
        with open(self.folder / f"{key}-{os.getpid()}-{threading.get_ident()}", "a") as file:
            file.write("x")
        if key == self.bad and (self.folder / "broken").exists():
            raise KeyError(self.bad)
        return self.func(unit)

    def calls(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path in self.folder.iterdir():
            if path.name != "broken":
                key = path.name.split("-")[0]
                found[key] = found.get(key, 0) + len(path.read_text())
        return found


def _key(unit: Any) -> str:
    if isinstance(unit, pd.DataFrame):
        return f"from {unit['a'].iloc[0]}"
    if isinstance(unit, pd.Series):
        return str(unit.name)
    return str(unit)


def files(night: Path) -> list[Path]:
    return sorted(night.glob("*.chunks"))


def positions(night: Path) -> list[tuple[int, int]]:
    found = []
    for path in files(night):
        data = path.read_bytes()
        length = int.from_bytes(data[24:32], "big")
        found += [(segment["start"], segment["stop"]) for segment in json.loads(data[32 : 32 + length])["segments"]]
    return sorted(found)


def with_head(path: Path, change: Callable[[Any], Any]) -> None:
    """Write a file anew with another head, and the checksum that it has then."""
    data = path.read_bytes()
    at = 32 + int.from_bytes(data[24:32], "big")
    head = json.dumps(change(json.loads(data[32:at]))).encode()
    padding = bytes(-(32 + len(head)) % 64)
    data = data[:24] + len(head).to_bytes(8, "big") + head + padding + data[at + -at % 64 : -32]
    path.write_bytes(data + hashlib.blake2b(data, digest_size=32).digest())


VERBS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[[Any], Any], str]] = {
    "apply_rows": (
        lambda f, **options: DF.par(**options).apply_rows(f),
        lambda f: DF.apply(f, axis=1),
        lambda row: row["b"] * 2,
        "41",
    ),
    "apply_cols": (
        lambda f, **options: DF.par(**{**options, "chunk_size": 1}).apply_cols(f),
        lambda f: DF.apply(f),
        lambda column: column.iloc[3],
        "b",
    ),
    "apply": (
        lambda f, **options: DF.par(**options).apply(f, axis=1, result_type="expand"),
        lambda f: DF.apply(f, axis=1, result_type="expand"),
        lambda row: [row["a"], row["c"]],
        "41",
    ),
    "apply_chunks": (
        lambda f, **options: DF.par(**options).apply_chunks(f),
        lambda f: pd.concat([f(DF.iloc[at : at + 7]) for at in range(0, N, 7)]),
        lambda chunk: chunk.assign(d=chunk["a"].cumsum()),
        "from 42",
    ),
    "map": (
        lambda f, **options: DF["c"].par(**options).map(f),
        lambda f: DF["c"].map(f),
        lambda text: text * 2,
        "t41",
    ),
    "items": (
        lambda f, **options: pdparallel.map(f, list(range(N)), **options),
        lambda f: [f(i) for i in range(N)],
        lambda item: (item, str(item)),
        "41",
    ),
}


class TestTakingUp:
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("verb", VERBS)
    def test_after_an_exception_only_the_rest_runs(self, tmp_path: Path, night: Path, verb: str, engine: str) -> None:
        ours, pandas, plain, bad = VERBS[verb]
        func = Counting(tmp_path / "calls", plain, bad)
        (func.folder / "broken").touch()
        options = {"engine": engine, "n_workers": 2, "chunk_size": 7, "checkpoint": night}
        with pytest.raises(KeyError) as caught:
            ours(func, **options)
        safe = sum(stop - start for start, stop in positions(night))
        assert safe > 0
        n, unit = (DF.shape[1], "column") if verb == "apply_cols" else (N, "row")
        unit = {"map": "value", "items": "item"}.get(verb, unit)
        assert f"pdparallel: {safe} of {n} {unit}s are safe in {str(night)!r}; the same call goes on from there" in (
            caught.value.__notes__
        )
        first = func.calls()
        (func.folder / "broken").unlink()

        assert_same(ours(func, **options), pandas(plain))
        again = {key for key, count in func.calls().items() if count > first.get(key, 0)}
        done = {key for key, count in func.calls().items() if count == first.get(key, 0)}
        assert max(func.calls().values()) <= 2
        assert bad in again
        # what was safe did not run again; all else did
        units = n if verb != "apply_chunks" else -(-N // 7)
        assert len(done) + len(again) == units
        assert len(done) == (safe if verb != "apply_chunks" else -(-safe // 7))

        before = func.calls()
        assert_same(ours(func, **options), pandas(plain))  # all is there
        assert func.calls() == before

    def test_rows_before_the_failing_one_of_a_chunk_are_kept(self, tmp_path: Path, night: Path) -> None:
        func = Counting(tmp_path / "calls", lambda x: x + 1, "41")
        (func.folder / "broken").touch()
        with pytest.raises(KeyError):
            DF["a"].par(engine="serial", chunk_size=20, checkpoint=night).map(func)
        assert positions(night)[-1][1] == 41
        (func.folder / "broken").unlink()
        assert DF["a"].par(engine="serial", chunk_size=20, checkpoint=night).map(func).tolist() == list(range(1, N + 1))
        assert func.calls() == {**{str(i): 1 for i in range(N)}, "41": 2}

    @pytest.mark.parametrize("engine", ENGINES)
    def test_gaps_in_any_place_are_filled(self, tmp_path: Path, night: Path, engine: str) -> None:
        options = {"engine": engine, "n_workers": 2, "checkpoint": night}
        func = Counting(tmp_path / "calls", lambda row: row["b"])
        DF.par(**{**options, "engine": "serial"}, chunk_size=5).apply_rows(func)
        gone = [0, 1, 5, 8, len(files(night)) - 1]
        kept = [path for at, path in enumerate(files(night)) if at not in gone]
        for path in set(files(night)).difference(kept):
            path.unlink()
        left = {str(at) for start, stop in _complement(positions(night)) for at in range(start, stop)}
        assert 10 < len(left) < N
        got = DF.par(**options, chunk_size=3).apply_rows(func)  # rows are cut freely: another size is the same call
        assert_same(got, DF.apply(lambda row: row["b"], axis=1))
        assert {key for key, count in func.calls().items() if count == 2} == left
        assert _complement(positions(night)) == []

    def test_another_engine_and_number_of_workers_are_the_same_call(self, tmp_path: Path, night: Path) -> None:
        func = Counting(tmp_path / "calls", lambda x: x, "41")
        (func.folder / "broken").touch()
        with pytest.raises(KeyError):
            DF["a"].par(engine="serial", chunk_size=4, checkpoint=night).map(func)
        (func.folder / "broken").unlink()
        assert_same(DF["a"].par(engine="process", n_workers=2, checkpoint=night).map(func), DF["a"].map(int))

    def test_an_interrupt_leaves_what_is_finished(self, night: Path, bars_are_told_of_chunks: None) -> None:
        def interrupt(done: int, total: int) -> None:
            if done >= 30:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as caught:
            DF["a"].par(engine="serial", chunk_size=10, checkpoint=night, progress=interrupt).map(float)
        assert positions(night) == [(0, 10), (10, 20), (20, 30)]
        assert caught.value.__notes__ == [
            f"pdparallel: 30 of 60 values are safe in {str(night)!r}; the same call goes on from there"
        ]

    def test_a_dead_worker_leaves_what_is_finished(self, tmp_path: Path, night: Path, alone: None) -> None:
        deadly = tmp_path / "deadly"
        deadly.touch()

        def func(x: int) -> int:
            if x == 50 and deadly.exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        options: dict[str, Any] = {"engine": "process", "n_workers": 2, "chunk_size": 5, "checkpoint": night}
        with pytest.raises(WorkerDiedError) as caught:
            pdparallel.map(func, range(N), **options)
        safe = sum(stop - start for start, stop in positions(night))
        assert 0 < safe < N
        assert caught.value.__notes__[-1].startswith(f"pdparallel: {safe} of {N} items are safe in ")
        deadly.unlink()
        assert pdparallel.map(func, range(N), **options) == list(range(N))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_calls_that_failed_are_done_where_errors_lets_the_others_go_on(
        self, tmp_path: Path, night: Path, engine: str
    ) -> None:
        def func(x: int) -> float:
            if x % 7 == 0:
                raise KeyError(x)
            return x / 2

        counting = Counting(tmp_path / "calls", func)
        options: dict[str, Any] = {"engine": engine, "n_workers": 2, "chunk_size": 9, "checkpoint": night}
        for _ in range(2):
            got = pdparallel.map(counting, range(N), **options, errors="return")
            assert [repr(value) for value in got] == [repr(KeyError(x) if x % 7 == 0 else x / 2) for x in range(N)]
        assert set(counting.calls().values()) == {1}
        with pytest.raises(CheckpointError, match="What differs: an option that changes the result") as caught:
            pdparallel.map(counting, range(N), **options, seed=1)
        assert caught.value.differs == ("options",)

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("first", ["raise", "coerce", "return"])
    def test_with_another_errors_only_what_failed_runs_again(
        self, tmp_path: Path, night: Path, engine: str, first: Any
    ) -> None:
        """After a row that fails in the night one says what is to become of such rows, and the others are there."""
        counting = Counting(tmp_path / "calls", lambda x: 6 / (x % 20 - 15))
        options: dict[str, Any] = {"engine": engine, "n_workers": 2, "chunk_size": 9, "checkpoint": night}
        with contextlib.suppress(ZeroDivisionError), warnings.catch_warnings():
            warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
            pdparallel.map(counting, range(N), **options, errors=first)
        safe = {at for start, stop in positions(night) for at in range(start, stop)} - {15, 35, 55}
        assert safe
        for errors in ("return", "coerce", "raise"):
            with (
                warnings.catch_warnings(),
                pytest.raises(ZeroDivisionError) if errors == "raise" else contextlib.nullcontext(),
            ):
                warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
                got = pdparallel.map(counting, range(N), **options, errors=errors)
            if errors == "return":
                assert [type(got[x]) for x in (15, 35, 55)] == [ZeroDivisionError] * 3
            assert [got[x] for x in range(N) if x % 20 != 15] == [6 / (x % 20 - 15) for x in range(N) if x % 20 != 15]
        calls = counting.calls()
        assert {calls[str(x)] for x in safe} == {1}
        assert calls["15"] >= 3

    def test_a_chunk_that_failed_runs_again_as_a_whole(self, tmp_path: Path, night: Path) -> None:
        counting = Counting(tmp_path / "calls", lambda chunk: 6 / (int(chunk.iloc[0]) - 20))
        par = functools.partial(DF["a"].par, engine="serial", chunk_size=10, checkpoint=night)
        got = par(errors="return").apply_chunks(counting, combine="list")
        with pytest.raises(ZeroDivisionError):
            par().apply_chunks(counting, combine="list")
        assert par(errors="return").apply_chunks(counting, combine="list")[:2] == got[:2]

    def test_the_bar_begins_with_what_is_there(self, night: Path, bars_are_told_of_chunks: None) -> None:
        heard: list[tuple[int, int]] = []
        options: dict[str, Any] = {"engine": "serial", "chunk_size": 20, "checkpoint": night}
        DF["a"].par(**options).map(float)
        files(night)[1].unlink()
        DF["a"].par(**options, progress=lambda done, total: heard.append((done, total))).map(float)
        assert heard == [(40, N), (60, N)]

    def test_many_small_pieces_make_few_files(self, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_module, "SAVE_SECONDS", 1e9)
        pdparallel.map(str, range(500), engine="serial", chunk_size=1, checkpoint=night)
        assert positions(night) == [(0, 500)]

    def test_the_first_chunks_are_small(self, night: Path) -> None:
        pdparallel.map(str, range(10_000), engine="serial", n_workers=1, checkpoint=night)
        assert positions(night)[0] == (0, 1)

    def test_a_chunk_that_took_long_is_written_at_once(self, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_module, "SAVE_SECONDS", 1e9)
        monkeypatch.setattr(folder_module, "LONG_SECONDS", 0.0)
        pdparallel.map(str, range(5), engine="serial", chunk_size=1, checkpoint=night)
        assert positions(night) == [(at, at + 1) for at in range(5)]

    def test_an_error_of_combine_does_not_cost_the_chunks(self, night: Path) -> None:
        def broken(pieces: list[int]) -> int:
            raise LookupError

        calls: list[int] = []
        func = lambda chunk: len(chunk)
        with pytest.raises(LookupError):
            DF.par(chunk_size=20, engine="serial", checkpoint=night).apply_chunks(func, combine=broken)
        assert DF.par(chunk_size=20, engine="serial", checkpoint=night).apply_chunks(func, combine=sum) == N
        assert calls == []


def _complement(done: list[tuple[int, int]]) -> list[tuple[int, int]]:
    edges = [0, *(edge for pair in done for edge in pair), N]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]


class Point:
    """A class of the user's, that returns may be of."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


RETURNS: dict[str, Callable[[int], Any]] = {
    "float": lambda i: i / 3,
    "nan and -0.0": lambda i: [float("nan"), -0.0, float("inf")][i % 3],
    "int": lambda i: i,
    "bool": lambda i: i % 2 == 0,
    "int or None": lambda i: None if i % 5 == 0 else i,
    "int or float": lambda i: i if i % 2 else float(i),
    "huge int": lambda i: 10**40 + i,
    "str": lambda i: f"ä{i}",
    "half a surrogate pair": lambda i: "\ud800" * (i % 3),
    "str or None": lambda i: None if i % 4 == 0 else str(i),
    "np.float32": lambda i: np.float32(i / 3),
    "np.float64": lambda i: np.float64(i / 3),
    "np.longlong": lambda i: np.longlong(i),
    "np.uint8": lambda i: np.uint8(i),
    "np.bool": lambda i: np.bool_(i % 2),
    "complex": lambda i: complex(i, 1),
    "bytes": lambda i: bytes([i]),
    "tuple": lambda i: (i, i / 2, str(i), None if i % 2 else 1),
    "list": lambda i: [i, i / 2],
    "ragged": lambda i: [i] * (i % 3),
    "dict": lambda i: {"x": i, "y": str(i)},
    "Timestamp": lambda i: pd.Timestamp("2024-01-31") + pd.Timedelta(i, "h"),
    "Timestamp or NaT": lambda i: pd.NaT if i % 3 == 0 else pd.Timestamp(2024, 1, 1, i % 24),
    "Timestamp of a zone": lambda i: pd.Timestamp(i * 3600 + 1_729_980_000, unit="s", tz=BERLIN),
    "Timestamp of UTC": lambda i: pd.Timestamp(2024, 10, 27, i % 24, tz=datetime.UTC),
    "Timestamp of an offset": lambda i: pd.Timestamp(f"2024-10-27T{i % 24:02d}:00:00+02:00"),
    "Timedelta": lambda i: pd.Timedelta(i, "min"),
    "tuple of times": lambda i: (pd.Timestamp(2024, 1, 1 + i % 28), pd.Timedelta(i, "s")),
    "date": lambda i: datetime.date(2024, 1, 1 + i % 28),
    "Decimal": lambda i: decimal.Decimal(i) / 3,
    "NA": lambda i: pd.NA if i % 2 else i,
    "Series": lambda i: pd.Series({"x": i, "y": i / 2}),
    "Series of other labels": lambda i: pd.Series({f"x{i % 3}": i}),
    "array": lambda i: np.arange(3) + i,
    "set": lambda i: {i, str(i)},
    "object": lambda i: Point(i),
}


class TestExactness:
    @pytest.mark.parametrize("kind", RETURNS)
    def test_what_is_read_back_is_what_pandas_gives(self, night: Path, kind: str) -> None:
        returned = RETURNS[kind]
        options: dict[str, Any] = {"engine": "serial", "chunk_size": 13, "checkpoint": night}
        for result_type in (None, "expand"):
            func = lambda row: returned(row["a"])
            for _ in range(2):
                assert_same_as_pandas(
                    lambda: DF.par(**options).apply_rows(func, result_type=result_type),
                    lambda: DF.apply(func, axis=1, result_type=result_type),
                )
        for path in files(night):
            path.unlink()
        (night / "call.json").unlink()
        for _ in range(2):
            got = pdparallel.map(returned, range(N), **options)
            assert_same(got, [returned(i) for i in range(N)])

    @pytest.mark.parametrize("engine", ["process", "auto"])
    def test_also_of_what_travelled(self, night: Path, tmp_path: Path, engine: str) -> None:
        for kind in sorted(RETURNS):
            returned = RETURNS[kind]
            options: dict[str, Any] = {"engine": engine, "n_workers": 2, "checkpoint": night / kind}
            for _ in range(2):
                assert_same(pdparallel.map(returned, range(N), **options), [returned(i) for i in range(N)])

    def test_a_result_can_be_written_into(self, night: Path) -> None:
        for _ in range(2):
            got = DF["a"].par(engine="serial", checkpoint=night).map(lambda x: x / 3)
            got.iloc[0] = 5.0
            assert got.iloc[0] == 5.0

    @pytest.mark.parametrize(
        "returned",
        [RETURNS[kind] for kind in ("float", "int or None", "str", "np.float32", "tuple", "Timestamp of a zone")],
    )
    def test_plain_returns_are_read_without_code(
        self, night: Path, returned: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options: dict[str, Any] = {"engine": "serial", "checkpoint": night}
        expected = pdparallel.map(returned, range(N), **options)

        def no_pickle(*_args: object, **_kwargs: object) -> None:
            raise AssertionError("a pickle was read")

        monkeypatch.setattr("pdparallel.checkpoint.file_format.load", no_pickle)
        assert_same(pdparallel.map(returned, range(N), **options), expected)
        assert all(b"pickle" not in path.read_bytes() for path in files(night))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_classes_that_only_the_function_has_stay_those(self, night: Path, engine: str) -> None:
        class Local:
            def __init__(self, x: int) -> None:
                self.x = x

        for _ in range(2):
            got = pdparallel.map(lambda x: Local(x), range(N), engine=engine, n_workers=2, checkpoint=night)
            assert {type(value) for value in got} == {Local}
            assert [value.x for value in got] == list(range(N))

    def test_a_pickle_finds_its_classes_wherever_they_stand(self) -> None:
        def made(number: int) -> type:
            class Made:
                there = number

            return Made

        kinds = [made(0), made(1), made(2)]
        outcome = Outcome(Chunk(0, 3), [kind() for kind in kinds])
        names = ("zero", "one", "two")

        def identity(*order: int) -> Identity:
            return Identity({}, {}, SharedTable(kinds[at] for at in order), tuple(names[at] for at in order))

        written = b"".join(map(bytes, encoded([outcome], identity(0, 1, 2), "raise", joins=True)))
        for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0, 0)):
            (read,) = decoded(bytearray(written), identity(*order), "raise", joins=True)
            assert [type(value) for value in read.returns] == kinds
        with pytest.raises(ForeignError, match="classes that the function does not have"):
            decoded(bytearray(written), identity(0, 1), "raise", joins=True)

    def test_categories_keep_their_nan(self, night: Path) -> None:
        s = pd.Series(["x", "y", None, "x"], dtype="category")
        func = lambda value: np.nan if value == "y" else value * 2
        for _ in range(2):
            assert_same(s.par(engine="serial", checkpoint=night).map(func), s.map(func))

    def test_raw_and_broadcast(self, night: Path, tmp_path: Path) -> None:
        numbers = DF[["a", "b"]]
        for _ in range(2):
            got = numbers.par(engine="serial", checkpoint=night).apply_rows(np.sum, raw=True)
            assert_same(got, numbers.apply(np.sum, axis=1, raw=True))
            func = lambda row: [1, 2]
            got = numbers.par(engine="serial", checkpoint=tmp_path / "b").apply_rows(func, result_type="broadcast")
            assert_same(got, numbers.apply(func, axis=1, result_type="broadcast"))

    def test_by_and_overlap(self, night: Path, tmp_path: Path) -> None:
        df = DF.assign(g=DF["a"] % 4)
        func = lambda chunk: chunk["b"] - chunk["b"].shift()
        for _ in range(2):
            got = df.par(chunk_size=13, engine="serial", checkpoint=night).apply_chunks(func, overlap=(1, 0))
            assert_same(got, df["b"] - df["b"].shift())
            got = df.par(chunk_size=13, engine="serial", checkpoint=tmp_path / "by").apply_chunks(
                lambda chunk: chunk["g"] * 2, by="g"
            )
            assert_same(got, df["g"] * 2)


class TestAnotherCall:
    """What is refused, and what the error says of it."""

    @pytest.fixture
    def filled(self, night: Path) -> Path:
        DF.par(engine="serial", checkpoint=night).apply_rows(_scaled)
        return night

    @pytest.mark.parametrize(
        ("call", "differs"),
        [
            (lambda par: par(DF).apply_rows(lambda row: row["b"]), ["function"]),
            (lambda par: par(DF).apply_rows(_scaled, power=2), ["arguments"]),
            (lambda par: par(DF).apply_rows(_scaled, args=(2,)), ["arguments"]),
            (lambda par: par(DF).apply_rows(_scaled, rows="dict"), ["verb"]),
            (lambda par: par(DF).apply(_scaled, axis=1), ["verb"]),
            (lambda par: par(DF.assign(b=0.0)).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF.head(N - 1)).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF[["b", "a", "c"]]).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF.rename(columns={"c": "d"})).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF.astype({"a": "int32"})).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF.set_axis(range(1, N + 1))).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF.apply(_attributed)).apply_rows(_scaled), ["data"]),
            (lambda par: par(DF).apply_chunks(_scaled), ["verb", "chunks"]),
        ],
    )
    def test_is_refused_before_anything_runs(self, filled: Path, call: Any, differs: list[str]) -> None:
        before = [(path.name, path.read_bytes()) for path in sorted(filled.iterdir())]
        with pytest.raises(CheckpointError, match="holds another call") as caught:
            call(lambda df: df.par(engine="serial", checkpoint=filled, progress=_never))
        assert list(caught.value.differs) == differs
        assert caught.value.folder == str(filled)
        for part in differs:
            assert {"verb": "the method", "chunks": "the cut"}.get(part, f"the {part}") in str(caught.value)
        assert "delete this one to start again" in str(caught.value)
        assert [(path.name, path.read_bytes()) for path in sorted(filled.iterdir())] == before

    def test_a_changed_global_is_named(self, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules[__name__], "FACTOR", 4)
        with pytest.raises(CheckpointError, match=r"the function \(global variable 'FACTOR'\)"):
            DF.par(engine="serial", checkpoint=filled).apply_rows(_scaled)

    def test_a_changed_closure_variable_is_named(self, night: Path) -> None:
        def made(rate: float) -> Callable[[Any], float]:
            return lambda x: x * rate

        DF["a"].par(engine="serial", checkpoint=night).map(made(1.5))
        DF["a"].par(engine="serial", checkpoint=night).map(made(1.5))
        with pytest.raises(CheckpointError, match=r"the function \(closure variable 'rate'\)"):
            DF["a"].par(engine="serial", checkpoint=night).map(made(2.5))

    def test_other_workers_cut_chunks_otherwise(self, night: Path) -> None:
        df = pd.DataFrame({"a": range(10_000)})
        df.par(engine="serial", n_workers=2, checkpoint=night).apply_chunks(len)
        with pytest.raises(CheckpointError, match="give the same n_workers= or chunk_size=") as caught:
            df.par(engine="serial", n_workers=3, checkpoint=night).apply_chunks(len)
        assert caught.value.differs == ("chunks",)

    def test_the_error_travels(self, filled: Path) -> None:
        with pytest.raises(CheckpointError) as caught:
            DF.par(engine="serial", checkpoint=filled).apply_rows(len)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.folder, copy.differs) == (str(caught.value), str(filled), ("function",))

    def test_a_shape_that_is_asked_of_the_same_returns_is_no_other_call(self, night: Path, tmp_path: Path) -> None:
        func = Counting(tmp_path / "calls", lambda row: [row["a"], 1])
        DF.par(engine="serial", checkpoint=night).apply_rows(func)
        DF.par(engine="serial", checkpoint=night).apply_rows(func, result_type="expand")
        assert set(func.calls().values()) == {1}


def _scaled(row: Any, power: int = 1) -> Any:
    return row["b"] ** power * FACTOR if not isinstance(row, pd.DataFrame) else row


def _attributed(column: pd.Series) -> pd.Series:
    return column.replace("t5", "t50")


def _never(done: int, total: int) -> None:
    raise AssertionError("it ran")


class TestDamage:
    @pytest.fixture
    def filled(self, night: Path) -> Path:
        DF["c"].par(engine="serial", chunk_size=15, checkpoint=night).map(_doubled)
        assert len(files(night)) == 4
        return night

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:10],
            lambda data: data[: len(data) // 2],
            lambda data: data[:-1],
            lambda data: data + b"\0",
            lambda data: b"PK" + data,
            lambda data: bytes(len(data)),
            lambda data: data.replace(b"checkpoint 2", b"checkpoint 1"),
        ],
    )
    def test_a_damaged_file_runs_again(self, filled: Path, damage: Callable[[bytes], bytes]) -> None:
        path = files(filled)[1]
        path.write_bytes(damage(path.read_bytes()))
        with pytest.warns(UserWarning, match=f"{path.name} .*Its part of the call runs again"):
            got = DF["c"].par(engine="serial", chunk_size=15, checkpoint=filled).map(_doubled)
        assert_same(got, DF["c"].map(_doubled))
        assert _complement(positions(filled)) == []
        assert_same(DF["c"].par(engine="serial", chunk_size=15, checkpoint=filled).map(_doubled), got)  # no warning

    def test_no_flipped_bit_is_trusted(self, filled: Path) -> None:
        data = files(filled)[0].read_bytes()
        _opened(bytearray(data))
        for at in range(len(data)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << at % 8
            with pytest.raises(DamagedError):
                _opened(flipped)

    @pytest.mark.parametrize(
        "change",
        [
            lambda head: [],
            lambda head: {},
            lambda head: {**head, "segments": 3},
            lambda head: {**head, "segments": [{**head["segments"][0], "start": "0"}]},
            lambda head: {**head, "segments": [{**head["segments"][0], "start": -1}]},
            lambda head: {**head, "segments": [{**head["segments"][0], "stop": 14}]},
            lambda head: {**head, "segments": [{**head["segments"][0], "start": 50, "stop": 65}]},
            lambda head: {**head, "segments": [{**head["segments"][0], "form": {"is": "numbers"}}]},
            lambda head: {**head, "buffers": [1]},
        ],
    )
    def test_a_head_that_somebody_else_wrote_is_not_trusted(self, filled: Path, change: Callable[[Any], Any]) -> None:
        path = files(filled)[0]
        with_head(path, lambda head: {**head, "more": "which says nothing"})
        got = DF["c"].par(engine="serial", chunk_size=15, checkpoint=filled).map(_doubled)  # no warning
        with_head(path, change)
        with pytest.warns(UserWarning, match=f"{path.name} .* is not used"):
            got = DF["c"].par(engine="serial", chunk_size=15, checkpoint=filled).map(_doubled)
        assert_same(got, DF["c"].map(_doubled))

    def test_a_file_of_another_call_is_not_used(self, filled: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        DF["c"].par(engine="serial", chunk_size=15, checkpoint=other).map(str.upper)
        for path in files(filled):
            path.write_bytes((other / path.name).read_bytes())
        with pytest.warns(UserWarning, match="it belongs to another call"):
            got = DF["c"].par(engine="serial", chunk_size=15, checkpoint=filled).map(_doubled)
        assert_same(got, DF["c"].map(_doubled))

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"parts": 1}', b"\xff"])
    def test_a_damaged_description_is_written_anew(self, filled: Path, content: bytes) -> None:
        whole = (filled / "call.json").read_bytes()
        (filled / "call.json").write_bytes(content)
        heard: list[int] = []
        progress = lambda done, total: heard.append(done)
        got = DF["c"].par(engine="serial", checkpoint=filled, progress=progress).map(_doubled)
        assert_same(got, DF["c"].map(_doubled))
        assert heard == [N]  # nothing ran
        assert (filled / "call.json").read_bytes() == whole

    def test_what_is_there_twice_counts_once(self, filled: Path) -> None:
        (filled / "00000009.chunks").write_bytes(files(filled)[1].read_bytes())
        got = DF["c"].par(engine="serial", checkpoint=filled).map(_doubled)
        assert_same(got, DF["c"].map(_doubled))

    def test_temporary_names_are_cleaned(self, filled: Path) -> None:
        (filled / ".pdparallel-abc.tmp").write_bytes(b"half")
        DF["c"].par(engine="serial", checkpoint=filled).map(_doubled)
        assert sorted(path.name for path in filled.iterdir()) == [
            *(f"{number:08d}.chunks" for number in range(1, 5)), "call.json", "lock",
        ]  # fmt: skip


def _doubled(text: str) -> str:
    return text * 2


class TestFolder:
    def test_modes(self, night: Path) -> None:
        DF["a"].par(engine="serial", checkpoint=night).map(float)
        assert stat.S_IMODE(night.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in night.iterdir()} == {0o600}

    @pytest.mark.skipif(os.name != "posix", reason="a folder is synced there alone")
    def test_a_file_has_its_name_not_before_it_is_on_the_disk(
        self, night: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        DF["a"].par(engine="serial", checkpoint=night).map(float)
        files(night)[0].unlink()
        steps: list[str] = []
        sync, replace = os.fsync, os.replace

        def fsync(fd: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size} bytes"
            steps.append(f"sync {kind}")
            sync(fd)

        def rename(old: str, new: Path) -> None:
            steps.append(f"rename to {new.name}")
            replace(old, new)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", rename)
        DF["a"].par(engine="serial", chunk_size=N, checkpoint=night).map(float)
        (path,) = [path for path in files(night) if f"rename to {path.name}" in steps]
        assert steps == [f"sync file of {path.stat().st_size} bytes", f"rename to {path.name}", "sync folder"]

    def test_what_it_may_be(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for path in ("one", Path("two"), "~/three", "deep/er/four"):
            DF["a"].par(engine="serial", checkpoint=path).map(float)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "one", "three", "two"]

    @pytest.mark.parametrize("value", ["", 3, b"night", True, ["night"]])
    def test_what_it_may_not_be(self, value: object) -> None:
        with pytest.raises(InvalidOptionError, match=r"checkpoint=.*path of a folder"):
            DF.par(checkpoint=value)

    def test_other_files_are_no_checkpoint(self, night: Path) -> None:
        night.mkdir()
        (night / "thesis.tex").write_text("mine")
        with pytest.raises(CheckpointError, match=r"holds another file: 'thesis\.tex'"):
            DF["a"].par(engine="serial", checkpoint=night, progress=_never).map(float)
        assert (night / "thesis.tex").read_text() == "mine"

    @pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
    def test_a_folder_that_everybody_can_write_into_is_refused(self, night: Path) -> None:
        night.mkdir()
        night.chmod(0o777)
        with pytest.raises(CheckpointError, match="written to by all users"):
            DF["a"].par(engine="serial", checkpoint=night, progress=_never).map(float)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "night"):
            with pytest.raises(CheckpointError, match="cannot be used"):
                DF["a"].par(engine="serial", checkpoint=path, progress=_never).map(float)

    def test_a_read_only_folder(self, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # as it is for everybody but root, whom no mode keeps out
        night.mkdir()

        def refuse(*args: object, **kwargs: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("pdparallel.checkpoint.atomic_write.tempfile.mkstemp", refuse)
        with pytest.raises(CheckpointError, match=r"cannot be used: .*Permission denied"):
            DF["a"].par(engine="serial", checkpoint=night, progress=_never).map(float)
        monkeypatch.undo()
        DF["a"].par(engine="serial", checkpoint=night).map(float)  # the lock was let go

    def test_a_full_disk_does_not_end_the_call(self, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        full = threading.Event()
        sync = os.fsync

        def fsync(fd: int) -> None:
            if full.is_set():
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(fd)

        def func(x: int) -> int:
            if x == 20:
                full.set()
            if x == 40:
                full.clear()
            return x

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.warns(UserWarning, match=r"No space left.*20 of 60 values are safe") as caught:
            got = DF["a"].par(engine="serial", chunk_size=10, checkpoint=night).map(_Hidden(func))
        assert len(caught) == 1
        assert got.tolist() == list(range(N))
        assert _complement(positions(night)) == []  # written later, when there was space
        assert not list(night.glob(".*"))

    def test_a_disk_that_stays_full(self, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_whole = folder_module.write_whole

        def write(folder: Path, name: str, parts: Any) -> None:
            if name.endswith(".chunks"):
                raise OSError(errno.ENOSPC, "No space left on device")
            write_whole(folder, name, parts)

        monkeypatch.setattr(folder_module, "write_whole", write)
        with pytest.warns(UserWarning, match="0 of 60 values are safe"):
            got = DF["a"].par(engine="serial", chunk_size=10, checkpoint=night).map(float)
        assert_same(got, DF["a"].map(float))

    @pytest.mark.parametrize("pause", [0.0, 1e9])
    def test_returns_that_cannot_be_written_run_again(
        self, night: Path, pause: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_module, "SAVE_SECONDS", pause)

        def func(x: int) -> Any:
            return threading.Event if x != 25 else (y for y in [x])

        for _ in range(2):
            with pytest.warns(UserWarning, match="Some results cannot be kept"):
                got = pdparallel.map(func, range(N), engine="serial", chunk_size=10, checkpoint=night)
            assert next(got[25]) == 25
            assert _complement(positions(night)) == [(20, 30)]

    def test_two_calls_at_once(self, night: Path) -> None:
        inside, go_on = threading.Event(), threading.Event()

        def slow(x: int) -> int:
            inside.set()
            assert go_on.wait(60)
            return x

        func, results = _Hidden(slow), []
        thread = threading.Thread(
            target=lambda: results.append(DF["a"].par(engine="serial", checkpoint=night).map(func))
        )
        thread.start()
        try:
            assert inside.wait(60)
            with pytest.raises(CheckpointError, match="in use by another call of this process"):
                DF["a"].par(engine="serial", checkpoint=night).map(func)
        finally:
            go_on.set()
            thread.join()
        assert results[0].tolist() == list(range(N))
        assert DF["a"].par(engine="serial", checkpoint=night).map(func).tolist() == list(range(N))

    def test_two_processes_at_once(self, night: Path) -> None:
        if fcntl is None:
            pytest.skip("locks as on Windows have a test of their own")
        DF["a"].par(engine="serial", checkpoint=night).map(float)
        code = (
            "import fcntl, sys\nf = open(sys.argv[1], 'r+')\nfcntl.lockf(f, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\ninput()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", code, str(night / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"):
                DF["a"].par(engine="serial", checkpoint=night).map(float)
            holder.communicate("\n")
        DF["a"].par(engine="serial", checkpoint=night).map(float)

    def test_what_has_no_content_to_compare_is_named(self, night: Path) -> None:
        local = threading.local()

        def func(x: int) -> int:
            local.x = x
            return x

        with pytest.raises(CheckpointError, match=r"closure variable 'local'.*_thread\._local"):
            DF["a"].par(engine="thread", checkpoint=night).map(func)
        assert not night.exists()

    def test_what_is_nested_too_deeply_is_named(self, night: Path) -> None:
        nested: list[Any] = []
        for _ in range(100_000):
            nested = [nested]
        with pytest.raises(CheckpointError, match=r"an argument.*RecursionError"):
            DF["a"].par(engine="serial", checkpoint=night).apply(lambda x, y: x, args=(nested,))
        assert not night.exists()

    def test_small_data_and_what_goes_to_pandas_need_no_folder(self, night: Path) -> None:
        assert DF.head(0).par(checkpoint=night).apply_rows(lambda row: 1).empty
        assert DF.par(checkpoint=night).apply("max")["a"] == N - 1
        assert not night.exists()


class _Hidden:
    """A function whose content is its name: what it closes over may change while it runs."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func_ = func

    def __call__(self, *args: Any) -> Any:
        return self.func_(*args)

    def __reduce__(self) -> Any:
        return _Hidden, (str,)


SCRIPT = """
    import os, signal, sys, time
    import numpy as np, pandas as pd, pdparallel
    from pdparallel.testing import assert_same

    class Place:
        def __init__(self, x, name):
            self.x, self.name = x, name
        def __eq__(self, other):
            return type(self) is type(other) and vars(self) == vars(other)
        def shifted(self):
            return Place(self.x + 1, self.name)

    WORDS = {"alpha", "beta", "gamma", "delta"}
    df = pd.DataFrame({"a": range(400), "place": [Place(i, f"p{i}") for i in range(400)]})

    def func(row):
        time.sleep(0.005)
        with open(os.path.join(sys.argv[1], "calls"), "a") as file:
            file.write(f"{row['a']}\\n")
        if row["a"] == 300 and len(WORDS) == 4 and os.path.exists(os.path.join(sys.argv[1], "hold")):
            time.sleep(600)
        return row["place"].shifted() if row["a"] % 2 else [len(WORDS), row["place"]]

    night = os.path.join(sys.argv[1], "night")
    got = df.par(n_workers=2, engine=sys.argv[2], chunk_size=10, checkpoint=night).apply_rows(func)
    expected = [Place(i + 1, f"p{i}") if i % 2 else [4, Place(i, f"p{i}")] for i in range(400)]
    assert all(type(value) in (Place, list) for value in got)
    assert got.tolist() == expected
    print("done")
"""


@pytest.mark.parametrize(
    ("engine", "end"),
    [("process", signal.SIGKILL), ("serial", signal.SIGKILL), ("auto", signal.SIGINT)]
    if os.environ.get("FAULTS") != "all"
    else [(engine, end) for engine in ENGINES for end in (signal.SIGKILL, signal.SIGINT)],
)
def test_a_script_that_is_ended_goes_on_when_it_is_started_again(
    tmp_path: Path, engine: str, end: signal.Signals
) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    calls, night = tmp_path / "calls", tmp_path / "night"
    (tmp_path / "hold").touch()
    command = [sys.executable, str(script), str(tmp_path), engine]
    environment = {**os.environ, "PYTHONPATH": str(Path(pdparallel.__file__).parent.parent)}
    first = subprocess.Popen(
        command, env={**environment, "PYTHONHASHSEED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with first:
        assert wait_until(lambda: first.poll() is not None or (calls.exists() and "300\n" in calls.read_text()), 60)
        assert wait_until(lambda: first.poll() is not None or len(files(night)) > 2, 60)
        first.send_signal(end)
        said = first.communicate()[1].decode()
    assert first.returncode == -end
    before = [int(line) for line in calls.read_text().split()]
    safe = {at for start, stop in positions(night) for at in range(start, stop)}
    assert len(safe) > 50
    if end == signal.SIGINT:
        assert f"pdparallel: {len(safe)} of 400 rows are safe in {str(night)!r}" in said
    assert sorted(before) == sorted(set(before))
    (tmp_path / "hold").unlink()

    done = subprocess.run(
        command, env={**environment, "PYTHONHASHSEED": "2"}, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    after = [int(line) for line in calls.read_text().split()][len(before) :]
    assert sorted(after) == sorted(set(range(400)) - safe)


class TestSameContent:
    """Digests in another process, under another hash seed, of a module at another line."""

    CODE = """
        import dataclasses, enum, functools, re, threading, collections, decimal, datetime, uuid, weakref
        import numpy as np, pandas as pd, pdparallel
        {padding}
        from pdparallel.checkpoint.hashing import Digester

        NAMES = {{"one", "two", "three", "four"}}
        TABLE = {{name: {{name, name * 2}} for name in sorted(NAMES)}}
        PATTERN = re.compile("a+b")
        lock = threading.Lock()

        class Color(enum.Enum):
            RED = 1
            BLUE = "b"

        @dataclasses.dataclass
        class Options:
            rate: float = 1.5
            names: frozenset = frozenset(NAMES)
            more: dict = dataclasses.field(default_factory=dict)

        Pair = collections.namedtuple("Pair", "x y")

        class Compiled:  # as numba does
            def __init__(self, func): self.py_func = func
            def __call__(self, x): return self.py_func(x)
            def __reduce__(self): return Compiled, (uuid.uuid4(),)

        @Compiled
        def compiled(x): return x + 17

        class Node:
            links, cache = [], weakref.WeakValueDictionary()
            def __init__(self, name):
                self.name, self.next = name, []
            @property
            def first(self): return self.next[0]
            @staticmethod
            def make(name): return Node(name)
            @functools.cached_property
            def size(self): return len(self.next)

        ring = [Node(str(i)) for i in range(40)]
        for node in ring:
            node.next = ring

        @functools.lru_cache
        def cached(x): return x in {{"a", "b", "c"}}

        def helper(x, *, scale=np.float64(2)): return func(x - 1) if x else cached(x) * scale

        def func(x):
            class Inner:
                y = 1
                def method(self):
                    self.z = self.w = self.v = 2
                    return lambda: {{"p", "q", "r"}}
            with lock:
                return helper(x), Color.RED, Options(), Pair(1, 2), PATTERN, TABLE, ring, np.sin(x), Inner, compiled

        data = pd.DataFrame({{
            "i": range(5), "s": ["a", "b", None, "d", "e"], "o": [1, "x", None, {{"k", "l", "m"}}, 2.5],
            "t": pd.date_range("2024", periods=5, tz="Europe/Berlin"), "c": pd.Categorical(list("abcab")),
            "n": pd.array([1, None, 3, 4, 5], dtype="Int64"), "p": pd.period_range("2024", periods=5, freq="M"),
            "d": [decimal.Decimal(i) for i in range(5)], "y": [datetime.date(2024, 1, 1 + i) for i in range(5)],
            "iv": pd.interval_range(0, 5), "sp": pd.arrays.SparseArray([0, 0, 1, 0, 2]),
            "st": pd.array(["a", None, "c", "d", "e"], dtype="string"), "z": pd.timedelta_range("1h", periods=5),
        }}).set_index(["i", "s"])
        digester = Digester()
        values = (func, data, [1, NAMES], functools.partial(func, 1), ring[0].make)
        parts = [digester.of(value).hex() for value in values]
        objects, digests = digester.shared
        print(*parts, *digests, sep="\\n")
    """

    EDITS = (
        ("a+b", "a+c"), ("rate: float = 1.5", "rate: float = 2.5"), ("links, cache = []", "links, cache = [1]"),
        ("return Node(name)", "return Node(name * 2)"), ("float64(2)", "float64(3)"), ('"b", "c"}', '"b"}'),
        ("y = 1", "y = 2"), ("RED = 1", "RED = 7"), ("np.sin", "np.cos"), ("return self.next[0]", "return 0"),
        ('"q", "r"', '"q"'), ("helper(x),", "helper(x), 1,"), ("x + 17", "x + 18"),
        ("= threading.Lock()", "= threading.RLock()"),
    )  # fmt: skip

    def digests(self, seed: str, *codes: str) -> list[list[str]]:
        """What each of the codes prints, all run by a process of that hash seed."""
        runs = (
            "import sys, json\nfor code in json.load(sys.stdin):\n    exec(code, {'__name__': '__main__'})\n    print()"
        )
        root = str(Path(pdparallel.__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", runs], input=json.dumps(codes), env=environment, capture_output=True, text=True,
            timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [part.splitlines() for part in done.stdout.split("\n\n") if part.strip()]

    def code(self, padding: str = "") -> str:
        return textwrap.dedent(self.CODE).format(padding=padding)

    def test_has_the_same_digests(self) -> None:
        (first,) = self.digests("1", self.code())
        assert len(first) > 8
        moved = self.code(padding="\n\n\nx = 1\n# a remark\n")
        assert self.digests("2", self.code(), moved) == [first, first]

    def test_an_edit_anywhere_is_noticed(self) -> None:
        edited = [self.code().replace(old, new) for old, new in self.EDITS]
        assert self.code() not in edited
        first, *others = self.digests("1", self.code(), *edited)
        for edit, other in zip(self.EDITS, others, strict=True):
            assert other[0] != first[0], edit
            assert other[1] == first[1], edit  # the data is the same


def test_an_edited_helper_module_is_noticed(tmp_path: Path, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = tmp_path / "helpers_of_mine.py"
    text = "UNUSED = 1\ndef scaled(x):\n    return _inner(x)\ndef _inner(x):\n    return x * 2\n"
    try:
        module.write_text(text)
        helpers = importlib.import_module("helpers_of_mine")
        func = lambda x: helpers.scaled(x)
        DF["a"].par(engine="serial", checkpoint=night).map(func)
        module.write_text(text.replace("UNUSED = 1", "UNUSED = 22"))
        importlib.reload(helpers)
        DF["a"].par(engine="serial", checkpoint=night).map(func)
        module.write_text(text.replace("x * 2", "x * 300"))
        importlib.reload(helpers)
        with pytest.raises(CheckpointError, match="'helpers'"):
            DF["a"].par(engine="serial", checkpoint=night).map(func)
        with pytest.raises(CheckpointError, match="the function"):
            DF["a"].par(engine="serial", checkpoint=night).map(helpers.scaled)
    finally:
        sys.modules.pop("helpers_of_mine", None)


def test_forms_do_not_change_the_returns_that_they_write() -> None:
    for returned in RETURNS.values():
        values = [returned(i) for i in range(N)]
        copy = list(values)
        packed = pdparallel.core.returns.pack(values)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _plain(packed or values, [])
        assert all(one is other for one, other in zip(values, copy, strict=True))
        assert packed is None or isinstance(packed, Packed)


class _Msvcrt:
    """As Windows locks files, by what this system has."""

    LK_NBLCK = 2

    @staticmethod
    def locking(fd: int, mode: int, size: int) -> None:
        import fcntl

        assert mode == _Msvcrt.LK_NBLCK
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, size, os.lseek(fd, 0, os.SEEK_CUR))


@pytest.mark.skipif(os.name == "nt", reason="it has the real one")
def test_two_processes_do_not_share_a_folder_on_windows(tmp_path: Path) -> None:
    holds = """
        import sys
        from pathlib import Path
        from pdparallel.checkpoint import atomic_write
        from tests.checkpoint.test_checkpoint import _Msvcrt
        atomic_write.fcntl, atomic_write.msvcrt = None, _Msvcrt
        try:
            lock = atomic_write.Lock(Path(sys.argv[1]))
        except atomic_write.InUseError as error:
            print("in use", error, flush=True)
        else:
            print("taken", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(holds), str(tmp_path / "lock")]
    how: dict[str, Any] = {"cwd": Path(__file__).parents[2], "text": True}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **how) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "taken\n"
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **how)
        assert second.stdout == f"in use  by process {first.pid}\n", second.stderr
        first.communicate("")
    third = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **how)
    assert third.stdout == "taken\n", third.stderr
