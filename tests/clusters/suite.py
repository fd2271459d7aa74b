"""Suite: what holds on whatever cluster, executor or pool; the module of each kind takes over what holds there.

Such a module names its clusters in ``CLUSTERS``, by the fixture that makes each; ``cluster`` is each of these in turn.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError, WorkerDiedError
from pdparallel.core.chunking import cut
from pdparallel.core.options import resolve
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import open_engine
from pdparallel.execution.encode import pack
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing.leaks import wait_until
from tests.engines.test_engines import _call
from tests.oracle.frames import FRAMES, NUMBERED, VALUES
from tests.oracle.functions import RETURNS, UNIT_FUNCTIONS, VALUE_FUNCTIONS

__all__ = [
    "MARKS",
    "ROOT",
    "Answers",
    "Contract",
    "Frames",
    "Options",
    "S",
    "Scripts",
    "Stores",
    "assert_tells_of_rows",
    "dies_once",
    "environment",
    "kills_at_seven",
    "par_on",
    "printed",
    "script",
]  # fmt: skip

ROOT = str(Path(__file__).parent.parent.parent)

#: What these libraries themselves warn of is theirs: ppft leaves its processes to the garbage collector, and loky tells
#: of a worker that it replaced.
MARKS = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings(
        "default", "ignore:subprocess .* is still running:ResourceWarning", "ignore:A worker stopped while:UserWarning"
    ),
]

#: Small, with labels.
S = pd.Series(range(12), index=[f"r{i}" for i in range(12)])


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, **more}


def script(folder: Path, text: str) -> list[str]:
    """The command of a program of its own, without a guard, which begins a cluster."""
    file = folder / "script.py"
    file.write_text("import os, pathlib, time, pandas as pd, pdparallel\n" + textwrap.dedent(text))
    return [sys.executable, str(file)]


def printed(folder: Path, text: str) -> str:
    """What such a program prints, if it ends well and says of no error."""
    (folder / "tmp").mkdir()
    done = subprocess.run(
        script(folder, text), capture_output=True, text=True, timeout=200, check=False, cwd=folder,
        env=environment(TMPDIR=str(folder / "tmp")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert wait_until(lambda: not list((folder / "tmp").iterdir())), list((folder / "tmp").iterdir())
    return done.stdout


def par_on(cluster: Any, obj: Any, **options: Any) -> Any:
    """The accessor of an object on a cluster, in chunks of three."""
    return obj.par(engine=cluster, chunk_size=3, n_workers=2, **options)


def dies_once(folder: Path) -> Callable[[int], int]:
    def func(x: int) -> int:
        if x == 17:
            with contextlib.suppress(FileExistsError):
                (folder / "died").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return x * 2

    return func


def kills_at_seven(x: int) -> int:
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def assert_tells_of_rows(call: Callable[[], object]) -> None:
    with pytest.raises(WorkerDiedError) as caught:
        call()
    [note] = caught.value.__notes__
    assert "in the chunk of values 'r6' to 'r8' (positions 6 to 8)" in note


# The contract of an engine


class Contract:
    @pytest.fixture
    def engine(self, cluster: Any) -> Iterator[Engine]:
        found = open_engine(resolve({"engine": cluster, "n_workers": 2}))
        yield found
        found.close()

    def test_outcomes_belong_to_their_chunks(self, engine: Engine) -> None:
        factor = 3
        encoder = pack(_call(lambda x: x * factor), engine.locality, "dill")
        futures = [(chunk, engine.submit(encoder.task(chunk))) for chunk in cut(0, 10, size=3)]
        for chunk, future in reversed(futures):
            outcome = encoder.outcome(future.result(timeout=200))  # the first one brings the cluster up
            assert outcome.chunk == chunk
            assert list(outcome.returns) == [x * 3 for x in range(chunk.start, chunk.stop)]
        encoder.close()

    def test_it_has_two_workers(self, engine: Engine) -> None:
        assert wait_until(lambda: engine.n_workers == 2, 60)  # they may be on their way

    def test_close_twice_and_kill_are_all_right(self, engine: Engine) -> None:
        engine.close()
        engine.close(kill=True)


# pandas' answer


class Frames:
    @pytest.mark.part(8)
    @pytest.mark.parametrize("frame", FRAMES)
    def test_frames(self, cluster: Any, frame: str) -> None:
        func = UNIT_FUNCTIONS["looks at everything"]
        assert_same_as_pandas(
            lambda: par_on(cluster, FRAMES[frame]()).apply_rows(func), lambda: FRAMES[frame]().apply(func, axis=1)
        )

    @pytest.mark.part(4)
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize(
        "returns",
        [
            "int then None", "list then scalar", "Series then scalar", "the unit", "Series of other labels", "dict",
            "raises at the sixth", "raises an error of one's own",
        ],
    )  # fmt: skip
    def test_returns(self, cluster: Any, returns: str, axis: int) -> None:
        value = RETURNS[returns]
        func = lambda unit: value(int(unit.iloc[0]), unit)
        assert_same_as_pandas(
            lambda: par_on(cluster, NUMBERED["repeating"](axis)).apply(func, axis=axis),
            lambda: NUMBERED["repeating"](axis).apply(func, axis=axis),
        )

    @pytest.mark.part(4)
    @pytest.mark.parametrize("dtype", ["int64", "str", "object", "category", "Int64", "datetime64[ns, tz]"])
    def test_map(self, cluster: Any, dtype: str) -> None:
        func = VALUE_FUNCTIONS["looks at everything"]
        assert_same_as_pandas(lambda: par_on(cluster, VALUES[dtype]()).map(func), lambda: VALUES[dtype]().map(func))


class Answers:
    @pytest.mark.part(2)
    @pytest.mark.parametrize("frame", ["plain", "everything", "a subclass", "aware times with a freq"])
    def test_chunks(self, cluster: Any, frame: str) -> None:
        func = lambda chunk: chunk.assign(total=chunk.isna().sum(axis=1))
        assert_same_as_pandas(
            lambda: par_on(cluster, FRAMES[frame]()).apply_chunks(func), lambda: func(FRAMES[frame]())
        )

    def test_columns_groups_windows_and_cells(self, cluster: Any) -> None:
        df = pd.DataFrame({"key": list("abca") * 5, "x": np.arange(20.0), "y": range(20)})
        for ours, pandas in (
            (lambda par: par.apply_cols(lambda column: column.iloc[::-1]), lambda df: df.apply(lambda c: c.iloc[::-1])),
            (lambda par: par.map(lambda cell: [cell]), lambda df: df.map(lambda cell: [cell])),
            (
                lambda par: par.groupby("key").apply(lambda group: group["x"].sum() + group.index[0]),
                lambda df: df.groupby("key").apply(lambda group: group["x"].sum() + group.index[0]),
            ),
            (
                lambda par: par.groupby("key")[["x"]].transform(lambda x: x - x.mean()),
                lambda df: df.groupby("key")[["x"]].transform(lambda x: x - x.mean()),
            ),
            (
                lambda par: par.rolling(4)[["x"]].apply(lambda window: window[-1] - window[0], raw=True),
                lambda df: df.rolling(4)[["x"]].apply(lambda window: window[-1] - window[0], raw=True),
            ),
        ):
            assert_same_as_pandas(
                lambda ours=ours: ours(par_on(cluster, df.copy())), lambda pandas=pandas: pandas(df.copy())
            )

    def test_items_as_they_come(self, cluster: Any) -> None:
        options: dict[str, Any] = {"engine": cluster, "n_workers": 2}
        assert pdparallel.map(lambda a, b: a * b, range(50), range(50), **options) == [x * x for x in range(50)]
        assert list(pdparallel.imap(lambda x: -x, range(50), **options)) == [-x for x in range(50)]

    def test_large_pieces_may_be_written_to(self, cluster: Any) -> None:
        df = pd.DataFrame(np.arange(60_000.0).reshape(-1, 2), columns=["a", "b"])

        def func(chunk: pd.DataFrame) -> pd.DataFrame:
            chunk.iloc[0, 0] = -1.0
            values = chunk["b"].to_numpy()
            return chunk.assign(c=values * 2, aligned=values.ctypes.data % 8 == 0)

        got = df.par(engine=cluster, chunk_size=10_000, n_workers=2).apply_chunks(func)
        pieces = [func(df.iloc[at : at + 10_000].copy()) for at in range(0, len(df), 10_000)]
        assert_same_as_pandas(lambda: got, lambda: pd.concat(pieces))
        assert df.iloc[0, 0] == 0.0


# Options


class Options:
    def test_errors(self, cluster: Any) -> None:
        func = lambda x: 6 // (x - 7)
        with pytest.raises(ZeroDivisionError) as caught:
            par_on(cluster, S).map(func)
        assert "in value 'r7' (position 7)" in caught.value.__notes__[0]
        with pytest.warns(pdparallel.FailedCallsWarning):
            got = par_on(cluster, S, errors="coerce").map(func)
        assert got.isna().tolist() == [x == 7 for x in range(12)]
        returned = par_on(cluster, S, errors="return").map(func)
        assert isinstance(returned["r7"], ZeroDivisionError)

    def test_retries(self, cluster: Any, tmp_path: Path) -> None:
        def func(x: int) -> int:
            file = tmp_path / str(x)
            file.write_text((file.read_text() if file.exists() else "") + "x")
            if file.stat().st_size < 3:
                raise ConnectionError
            return x * 2

        with pdparallel.profile() as p:
            par = par_on(cluster, S, retry_on=ConnectionError, retry_wait=0)
            assert_same_as_pandas(lambda: par.map(func), lambda: S.map(lambda x: x * 2))
        assert p.calls["retried"].tolist() == [24]
        assert [file.read_text() for file in tmp_path.iterdir()] == ["xxx"] * 12

    def test_no_rate(self, cluster: Any) -> None:
        with pytest.raises(pdparallel.InvalidOptionError, match=r"rate_limit=5\.0 is not allowed"):
            par_on(cluster, S, rate_limit=5).map(str)

    def test_seed(self, cluster: Any) -> None:
        draw = lambda x: np.random.random()
        assert_same_as_pandas(
            lambda: par_on(cluster, S, seed=5).map(draw),
            lambda: S.par(engine="serial", seed=5).map(draw),
        )

    def test_progress(self, cluster: Any) -> None:
        told: list[tuple[int, int]] = []
        par_on(cluster, S, progress=lambda done, total: told.append((done, total))).map(str)
        assert told[-1] == (12, 12)

    def test_checkpoint(self, cluster: Any, tmp_path: Path) -> None:
        seen = tmp_path / "seen"
        seen.touch()

        def func(x: int) -> int:
            with seen.open("a") as file:
                file.write(f"{x}\n")
            if x == 10 and not (tmp_path / "go on").exists():
                raise KeyError(x)
            return -x

        for _ in range(2):
            with contextlib.suppress(KeyError):
                got = par_on(cluster, S, checkpoint=tmp_path / "folder").map(func)
            (tmp_path / "go on").touch()
        assert got.tolist() == [-x for x in range(12)]
        assert seen.read_text().split().count("0") == 1

    def test_initializer_and_what_is_around(self, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: dict[str, int] = {}
        monkeypatch.setenv("PDPARALLEL_TEST_CLUSTER", "set")
        with pd.option_context("display.precision", 3):
            par = par_on(cluster, S, initializer=kept.update, initargs=({"a": 5},))
            func = lambda x: (kept["a"], os.environ["PDPARALLEL_TEST_CLUSTER"], pd.get_option("display.precision"))
            assert set(par.map(func)) == {(5, "set", 3)}

    def test_what_is_printed(self, cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
        par_on(cluster, S).map(lambda x: print("value", x))
        assert sorted(capsys.readouterr().out.split("\n")[:-1]) == sorted(f"value {x}" for x in range(12))

    def test_a_timeout_is_refused(self, cluster: Any) -> None:
        with pytest.raises(InvalidOptionError, match="timeout"):
            par_on(cluster, S, timeout=3).map(str)

    def test_a_call_within_a_call_is_serial(self, cluster: Any) -> None:
        def func(x: int) -> bool:
            return set(pdparallel.map(lambda _: os.getpid(), range(4), engine="process")) == {os.getpid()}

        assert par_on(cluster, S).map(func).all()


# Stores


class Stores:
    """Clusters with a store of their own, to which each piece of data goes once."""

    def test_the_frame_goes_once_and_so_does_the_function(self, cluster: Any) -> None:
        df = pd.DataFrame(np.random.default_rng(0).random((100_000, 4)), columns=list("abcd"))
        table = np.random.default_rng(1).random(100_000)
        with pdparallel.profile() as found:
            df.par(engine=cluster, chunk_size=5_000).apply_chunks(lambda chunk: chunk["a"].sum() + table[0])
        once = found.calls["bytes_once"].sum()
        sent = found.to_frame()["bytes_out"].sum()
        size = df.memory_usage(index=False).sum()
        assert size <= sent <= 1.05 * size
        assert table.nbytes <= once <= 1.05 * table.nbytes, (once, table.nbytes)

    def test_cancelling_reaches_the_cluster(self, cluster: Any, tmp_path: Path) -> None:
        beat = tmp_path / "beat"

        def func(x: int) -> int:
            for _ in range(3):
                beat.touch()
                time.sleep(0.02)
            return x

        future = pd.Series(range(100_000)).par(engine=cluster, chunk_size=10_000).background.map(func)
        assert wait_until(beat.exists, 60)
        assert future.cancel() or future.cancelled()

        def still() -> bool:
            before = beat.stat().st_mtime_ns
            time.sleep(0.5)
            return beat.stat().st_mtime_ns == before

        assert wait_until(still, 20)  # the chunks would take minutes
        assert S.par(engine=cluster).map(str).tolist() == S.map(str).tolist()

    def test_a_failure_ends_what_comes_behind_it(self, cluster: Any) -> None:
        def func(x: int) -> int:
            if x == 0:
                raise KeyError(x)
            for _ in range(3000):
                time.sleep(0.1)
            return x

        began = time.monotonic()
        with pytest.raises(KeyError):
            pd.Series([0, 1, 2, 3]).par(engine=cluster, chunk_size=1).map(func)
        assert time.monotonic() - began < 60  # not 300


# Programs


class Scripts:
    """What a program does that names an engine, and has no cluster."""

    name: str

    def test_a_script_without_a_guard(self, tmp_path: Path) -> None:
        """And without a cluster, which is begun, kept for the second call, and ended with the process."""
        text = f"""
            factor = 3
            s = pd.Series(range(40))
            par = s.par(engine={self.name!r}, n_workers=2, chunk_size=2)
            assert par.map(lambda x: x * factor).tolist() == (s * factor).tolist()
            first = set(par.map(lambda _: os.getpid()))
            second = set(par.map(lambda _: os.getpid()))
            print(os.getpid() in first, bool(first & second), len(first | second))
        """
        assert printed(tmp_path, text) == "False True 2\n"

    def test_ctrl_c_ends_the_call_and_not_the_cluster(self, tmp_path: Path) -> None:
        text = f"""
            s = pd.Series(range(10_000))
            par = s.par(engine={self.name!r}, n_workers=2, chunk_size=1000)
            par.map(abs)
            beat = pathlib.Path("beat")

            def slow(x):
                beat.touch()
                time.sleep(0.05)

            try:
                print("begins", flush=True)
                par.map(slow)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            assert par.map(abs).tolist() == s.tolist()  # two workers are free at once, not after a minute
            before = beat.stat().st_mtime_ns
            time.sleep(1)
            print("ended" if beat.stat().st_mtime_ns == before else "goes on", flush=True)
        """
        with subprocess.Popen(
            script(tmp_path, text), stdout=subprocess.PIPE, text=True, cwd=tmp_path,
            env=environment(), start_new_session=True,
        ) as program:  # fmt: skip
            try:
                assert program.stdout is not None
                assert program.stdout.readline() == "begins\n"
                assert wait_until((tmp_path / "beat").exists, 60)
                os.killpg(program.pid, signal.SIGINT)  # as a terminal does
                assert program.stdout.read() == "interrupted\nended\n"
                assert program.wait(60) == 0
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
