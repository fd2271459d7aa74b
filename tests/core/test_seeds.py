"""Seeds: with one, the same numbers whoever computes a row; without one, no two workers draw the same numbers."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.pool
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pathos.pools
import pytest

import pdparallel
from pdparallel.core import random_state
from pdparallel.testing import assert_same

N = 60
FRAME = pd.DataFrame({"a": range(N), "b": 1.5}, index=[f"r{i}" for i in range(N)])


def _drawn(at: Any) -> tuple[float, ...]:
    """Draws by both modules, a number of times that depends on the row, and by what keeps half of a pair for later."""
    return (
        *(random.random() for _ in range(int(at) % 3)),
        *np.random.rand(int(at) % 4).tolist(),
        random.gauss(0, 1),
        float(np.random.normal()),
        random.random(),
        float(np.random.rand()),
    )


#: Each way in which a function gets units.
VERBS: dict[str, Callable[..., Any]] = {
    "rows": lambda **options: FRAME.par(**options).apply_rows(lambda row: _drawn(row["a"])),
    "rows that need a Series": lambda **options: FRAME.par(**options).apply_rows(lambda row: _drawn(row.mode()[0])),
    "rows, raw": lambda **options: FRAME.par(**options).apply_rows(lambda row: _drawn(row[0])[-1], raw=True),
    "tuples": lambda **options: FRAME.par(**options).apply_rows(lambda row: _drawn(row[0]), rows="tuple"),
    "dicts": lambda **options: FRAME.par(**options).apply_rows(lambda row: _drawn(row["a"]), rows="dict"),
    "columns": lambda **options: FRAME.T.par(**options).apply_cols(lambda column: _drawn(column["a"])),
    "values": lambda **options: FRAME["a"].par(**options).map(_drawn),
    "not missing": lambda **options: FRAME["a"].where(FRAME["a"] % 2 == 0).par(**options).map(_drawn, "ignore"),
    "categories": lambda **options: FRAME["a"].astype("category").par(**options).map(lambda x: _drawn(x)[-1]),
    "items": lambda **options: pdparallel.map(_drawn, range(N), **options),
    "several iterables": lambda **options: pdparallel.map(lambda x, y: _drawn(x), range(N), range(N), **options),
    "arguments": lambda **options: FRAME["a"].par(**options).apply(lambda x, k: (k, _drawn(x)), k=3),
}


class _Remote:
    """An executor of a kind that nobody knows, with threads of this process behind it."""

    def __init__(self, inner: ThreadPoolExecutor) -> None:
        self.inner = inner

    def submit(self, func: Callable[[bytes], bytes], task: bytes) -> Future[bytes]:
        return self.inner.submit(func, bytes(task))


ENGINES = [
    "auto", "serial", "thread", "process", "pathos",
    "ThreadPoolExecutor", "ThreadPool", "ProcessPoolExecutor", "Pool", "unknown executor",
]  # fmt: skip
THREADS = ["thread", "ThreadPoolExecutor", "ThreadPool", "unknown executor"]
OURS = ["process forkserver", "process spawn", "process fork", "pathos"]
PROCESSES = [*OURS, "ProcessPoolExecutor", "Pool", "pathos pool"]


@contextlib.contextmanager
def opened(name: str) -> Iterator[dict[str, Any]]:
    """The options for an engine by its name."""
    fork = multiprocessing.get_context("fork")
    with contextlib.ExitStack() as stack:
        kind, _, method = name.partition(" ")
        if name == "ThreadPoolExecutor":
            found: dict[str, Any] = {"engine": stack.enter_context(ThreadPoolExecutor(2))}
        elif name == "ThreadPool":
            found = {"engine": stack.enter_context(multiprocessing.pool.ThreadPool(2))}
        elif name == "ProcessPoolExecutor":
            found = {"engine": stack.enter_context(ProcessPoolExecutor(2, mp_context=fork))}
        elif name == "Pool":
            found = {"engine": stack.enter_context(fork.Pool(2))}
        elif name == "unknown executor":
            found = {"engine": _Remote(stack.enter_context(ThreadPoolExecutor(2)))}
        elif name == "pathos pool":
            pool = pathos.pools.ProcessPool(nodes=2, id="seeds")
            stack.callback(pool.clear)
            stack.callback(pool.join)
            stack.callback(pool.terminate)
            found = {"engine": pool}
        else:
            found = {"engine": kind, **({"start_method": method} if method else {})}
        yield {**found, "n_workers": 2}


@pytest.fixture
def states() -> Iterator[Callable[[], Any]]:
    """What both modules' states are, each with a number kept for later, in a form that can be compared."""
    random.gauss(0, 1)
    np.random.normal()

    def now() -> Any:
        name, words, *rest = np.random.get_state()
        return random.getstate(), (name, words.tolist(), *rest), id(np.random.get_bit_generator())

    assert now()[1][3] == 1
    return now


class TestTheSameFor:
    """What a seed promises."""

    @pytest.mark.parametrize("verb", VERBS)
    def test_every_verb_and_size_of_chunks(self, verb: str) -> None:
        call = VERBS[verb]
        expected = call(engine="serial", seed=7)
        for options in ({"chunk_size": 1}, {"chunk_size": 7}, {"chunk_size": 1000}, {"engine": "auto"}):
            assert_same(call(**{"engine": "serial", "seed": 7, **options}), expected)
        for options in ({"n_workers": 2}, {"n_workers": 2, "chunk_size": 7}):
            assert_same(call(engine="process", seed=7, **options), expected)

    @pytest.mark.parametrize("name", ENGINES)
    def test_every_engine(self, name: str) -> None:
        expected = VERBS["rows"](engine="serial", seed=7)
        with opened(name) as options:
            for size in (None, 1, 7):
                assert_same(VERBS["rows"](**options, chunk_size=size, seed=7), expected)

    def test_every_number_of_workers(self) -> None:
        expected = VERBS["values"](engine="serial", seed=7)
        for number in (1, 3):
            assert_same(VERBS["values"](engine="process", n_workers=number, seed=7), expected)

    def test_rows_of_which_the_parent_does_some(self, any_rest_is_worth_it: None, tmp_path: Path) -> None:
        pdparallel.map(abs, range(4), engine="process", n_workers=2)  # so that the pool is up
        parent, begun = os.getpid(), tmp_path / "a worker has begun"

        def func(x: int) -> tuple[int, Any]:
            if os.getpid() != parent:
                begun.touch()
            elif not begun.exists():  # the workers need time before the last units
                time.sleep(0.002)
            return os.getpid(), _drawn(x)

        got = pdparallel.map(func, range(4_000), n_workers=2, seed=7)
        pids = {pid for pid, _ in got}
        assert os.getpid() in pids
        assert len(pids) > 1
        assert [drawn for _, drawn in got] == pdparallel.map(_drawn, range(4_000), engine="serial", seed=7)

    def test_chunks_of_one_cut(self) -> None:
        def noisy(chunk: pd.DataFrame) -> pd.DataFrame:
            return chunk.assign(c=np.random.rand(len(chunk)), d=[random.random() for _ in range(len(chunk))])

        expected = FRAME.par(engine="serial", chunk_size=7, seed=7).apply_chunks(noisy)
        assert expected["c"].is_unique
        for name in ("auto", "thread", "process"):
            for number in (1, 2):
                got = FRAME.par(engine=name, n_workers=number, chunk_size=7, seed=7).apply_chunks(noisy)
                assert_same(got, expected)

    @pytest.mark.parametrize(
        "call",
        [
            lambda par: par(FRAME.head(0)).apply_rows(lambda row: np.random.rand(2), result_type="reduce"),
            lambda par: par(FRAME.head(0)).apply_chunks(lambda chunk: (random.random(), np.random.rand())),
            lambda par: par(pd.Series([1.0, 0.0], dtype="Sparse[float]")).map(lambda x: random.random()),
            lambda par: par(pd.Series(["a"], dtype="category").head(0)).map(lambda x: np.random.rand()),
            lambda par: par(FRAME[["b"]].set_axis([0] * N)).apply_rows(
                lambda row: np.random.rand(1), result_type="broadcast"
            ),
        ],
    )
    def test_what_pandas_calls_by_itself(self, call: Callable[..., Any], states: Callable[[], Any]) -> None:
        before = states()
        first, second, other = (call(lambda obj, seed=seed: pdparallel.par(obj)(seed=seed)) for seed in (7, 7, 8))
        assert states() == before
        assert_same(second, first)
        if len(other):
            assert repr(other) != repr(first)

    def test_another_version_another_machine(self) -> None:
        """Whoever gave a seed in a paper wants the same numbers in ten years."""
        got = pdparallel.map(lambda _: (random.getrandbits(32), np.random.randint(0, 2**31)), range(3), seed=0)
        assert got == PINNED
        got = pdparallel.map(lambda _: (random.getrandbits(32), np.random.randint(0, 2**31)), range(2_000), seed=0)
        assert got[:3] == PINNED
        assert len(set(got)) == 2_000

    def test_another_bit_generator_of_numpy(self) -> None:
        expected = VERBS["values"](engine="serial", seed=7)
        before = np.random.get_bit_generator()
        mine = np.random.PCG64(1)
        np.random.set_bit_generator(mine)
        try:
            state = mine.state
            for engine in ("serial", "thread"):
                assert_same(VERBS["values"](engine=engine, n_workers=2, seed=7), expected)
                assert np.random.get_bit_generator() is mine
                assert mine.state == state
        finally:
            np.random.set_bit_generator(before)

    @pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
    def test_functions_that_hold_the_drawing_method_itself(self, serializer: str) -> None:
        """As ``from random import random`` makes them in a script or a notebook."""
        plain, uniform, module, pick = random.random, np.random.rand, np.random, np.random.choice
        generator: Any = np.random.rand.__self__  # what SciPy's distributions hold

        def func(x: int) -> tuple[float, ...]:
            return plain(), float(uniform()), module.random(), int(pick([1, 2, 3])), generator.normal()

        expected = pdparallel.map(func, range(20), engine="serial", seed=7)
        assert pdparallel.map(func, range(20), engine="process", n_workers=2, serializer=serializer, seed=7) == expected


PINNED = [(3138097140, 1088339850), (4245896796, 2084997710), (2815465545, 1305906044)]


def test_seeds_differ_and_so_do_positions() -> None:
    one, other = (pdparallel.map(lambda _: random.random(), range(1_000), seed=seed) for seed in (0, 1))
    assert len({*one, *other}) == 2_000
    assert pdparallel.map(lambda _: random.random(), range(4), seed=2**200) != one[:4]


def test_no_two_positions_have_the_same_number() -> None:
    blocks = 200
    numbers = {number for block in range(blocks) for number in random_state._numbers_of_block(3, block)}
    assert len(numbers) == blocks * random_state.BLOCK
    assert 0 <= min(numbers) < max(numbers) < 2**32


@pytest.mark.parametrize("draw", [random.random, np.random.random], ids=["random", "numpy"])
def test_first_numbers_of_neighbours_are_as_if_of_one_stream(draw: Callable[[], float]) -> None:
    n = 20_000
    drawn = np.array(pdparallel.map(lambda _: draw(), range(n), engine="serial", seed=5))
    assert abs(drawn.mean() - 0.5) < 5 / np.sqrt(12 * n)
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 99 + 5 * np.sqrt(2 * 99)  # chi-squared of 99 degrees
    for lag in (1, 2, 16, 1024):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 5 / np.sqrt(n)


class TestThisProcess:
    """Keeps the states that it had."""

    @pytest.mark.parametrize("name", ENGINES)
    def test_with_a_seed(self, name: str, states: Callable[[], Any]) -> None:
        before = states()
        with opened(name) as options:
            for verb in ("rows", "items"):
                VERBS[verb](**options, seed=7)
                assert states() == before

    @pytest.mark.parametrize("name", ["auto", "serial", "thread"])
    def test_after_an_exception(self, name: str, states: Callable[[], Any], no_rest_is_worth_it: None) -> None:
        def func(x: int) -> float:
            if x == 30:
                raise KeyError(x, random.random(), np.random.rand())
            return random.random() + np.random.rand()

        before = states()
        with pytest.raises(KeyError) as caught:
            pdparallel.map(func, range(N), engine=name, n_workers=2, seed=7)
        assert states() == before
        names = [entry.name for entry in caught.traceback]
        assert names[-1] == "func"
        assert "one" not in names  # no frame of ours between the call and the function

    def test_after_a_function_that_replaces_the_generator(self, states: Callable[[], Any]) -> None:
        def func(x: int) -> float:
            np.random.set_bit_generator(np.random.MT19937(x))
            return float(np.random.rand())

        before = states()
        pdparallel.map(func, range(4), engine="serial", seed=7)
        assert states() == before

    @pytest.mark.parametrize("name", ["process", "pathos"])
    def test_without_a_seed_where_workers_draw(self, name: str, states: Callable[[], Any]) -> None:
        before = states()
        VERBS["rows"](engine=name, n_workers=2)
        assert states() == before

    @pytest.mark.parametrize("name", ENGINES)
    def test_without_a_seed_where_nothing_is_drawn(self, name: str, states: Callable[[], Any]) -> None:
        before = states()
        with opened(name) as options:
            FRAME.par(**options).apply_rows(lambda row: row["a"])
        assert states() == before

    @pytest.mark.parametrize("engine", ["serial", "auto"])
    def test_without_a_seed_rows_that_it_computes_draw_as_in_pandas(self, engine: str) -> None:
        def func(row: Any) -> tuple[float, ...]:
            return _drawn(row["a"])

        def seeded(call: Callable[[], Any]) -> Any:
            random.seed(3)
            np.random.seed(3)
            return call(), random.random(), np.random.rand()

        got = seeded(lambda: FRAME.par(engine=engine, n_workers=1).apply_rows(func))
        expected = seeded(lambda: FRAME.apply(func, axis=1))
        assert_same(got[0], expected[0])
        assert got[1:] == expected[1:]


def _meet(folder: Path, n: int) -> None:
    """Wait until ``n`` processes are here."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(os.listdir(folder)) < n and time.monotonic() < end:
        time.sleep(0.001)


class TestWorkersWithoutASeed:
    """Never draw the same numbers, whatever they were forked from."""

    @pytest.mark.parametrize("name", PROCESSES)
    @pytest.mark.usefixtures("alone")
    def test_share_no_stream(self, name: str, tmp_path: Path) -> None:
        def func(_: int) -> tuple[int, float, float]:
            _meet(tmp_path, 2)
            return os.getpid(), random.random(), float(np.random.rand())

        random.seed(1)
        np.random.seed(1)
        with opened(name) as options:
            got = pdparallel.map(func, range(40), **options, chunk_size=1)
            again = pdparallel.map(func, range(40), **options, chunk_size=1)
        assert len({pid for pid, _, _ in got}) == 2
        mine = [(random.random(), float(np.random.rand())) for _ in range(80)]
        assert len({plain for _, plain, _ in got + again} | {plain for plain, _ in mine}) == 160
        assert len({other for _, _, other in got + again} | {other for _, other in mine}) == 160

    @pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
    def test_share_none_by_a_method_that_travels(self, serializer: str, tmp_path: Path) -> None:
        plain, uniform = random.random, np.random.rand

        def func(_: int) -> tuple[int, float, float]:
            _meet(tmp_path, 2)
            return os.getpid(), plain(), float(uniform())

        options = {"engine": "process", "n_workers": 2, "chunk_size": 1, "serializer": serializer}
        got = pdparallel.map(func, range(40), **options) + pdparallel.map(func, range(40), **options)
        assert len({pid for pid, _, _ in got}) == 2
        assert len({drawn for _, drawn, _ in got}) == len({drawn for _, _, drawn in got}) == 80

    def test_have_their_own_again_after_a_call_with_a_seed(self) -> None:
        def twice() -> tuple[list[float], list[float]]:
            options: dict[str, Any] = {"engine": "process", "n_workers": 1}
            with_seed = pdparallel.map(lambda _: random.random() + np.random.rand(), range(4), **options, seed=7)
            return with_seed, pdparallel.map(lambda _: random.random() + np.random.rand(), range(4), **options)

        (seeded, free), (seeded_again, free_again) = twice(), twice()
        assert seeded == seeded_again
        assert not set(free) & set(free_again)

    def test_get_a_generator_of_the_user_as_it_is(self) -> None:
        """A copy in each worker, which is why such a generator is not the way to noise; see the README."""
        mine, other = random.Random(3), np.random.RandomState(3)
        got = pdparallel.map(lambda _: (mine.random(), other.rand()), [0], engine="process", n_workers=1)
        assert got == [(mine.random(), other.rand())]


class TestNested:
    """A call inside the function of a call with a seed ends, and draws from the stream of its row."""

    @pytest.mark.part(2)
    @pytest.mark.parametrize(
        ("outer", "inner"),
        [
            *itertools.product(["auto", "serial", "thread", "ThreadPoolExecutor", "ThreadPool"], [*THREADS, "process"]),
            # A pool object cannot travel with the function.
            *itertools.product(["process", "pathos", "ProcessPoolExecutor", "Pool", "unknown executor"], ["thread"]),
        ],
    )
    def test_engines_in_engines(self, outer: str, inner: str, no_rest_is_worth_it: None) -> None:
        with opened(outer) as options, opened(inner) as within:
            done: list[Any] = []

            def func(x: int) -> Any:
                with_seed = pdparallel.map(lambda y: random.random(), range(3), **within, seed=x)
                return with_seed, pdparallel.map(lambda y: random.random(), range(3), **within), random.random()

            expected = pdparallel.map(func, range(4), engine="serial", seed=7)
            thread = threading.Thread(
                target=lambda: done.append(pdparallel.map(func, range(4), **options, chunk_size=1, seed=7)), daemon=True
            )
            thread.start()
            thread.join(60)
            assert done == [expected]

    def test_a_seed_inside_changes_nothing_outside(self) -> None:
        def func(x: int) -> tuple[float, Any, float]:
            before = random.random() + np.random.rand()
            if x % 2:
                pdparallel.map(lambda _: random.random() + np.random.rand(), range(3), seed=1)
            return before, None, random.random() + np.random.rand()

        def plain(x: int) -> tuple[float, Any, float]:
            return random.random() + np.random.rand(), None, random.random() + np.random.rand()

        assert pdparallel.map(func, range(10), seed=7) == pdparallel.map(plain, range(10), seed=7)


def test_a_fork_while_another_thread_draws() -> None:
    """The child has the lock as that thread left it, but not the thread."""
    begun, go = threading.Event(), threading.Event()

    def func(x: int) -> int:
        begun.set()
        go.wait(100)
        return x

    expected = pdparallel.map(_drawn, range(4), engine="serial", seed=7)
    thread = threading.Thread(target=lambda: pdparallel.map(func, [1], engine="serial", seed=1), daemon=True)
    thread.start()
    assert begun.wait(60)
    try:
        assert pdparallel.map(_drawn, range(4), **_FORK, seed=7) == expected
    finally:
        go.set()
        thread.join(60)


_FORK: dict[str, Any] = {"engine": "process", "start_method": "fork", "n_workers": 2}


def test_two_threads_with_a_seed_each_at_once() -> None:
    expected = {seed: VERBS["items"](engine="serial", seed=seed) for seed in range(4)}
    got: dict[int, Any] = {}

    def call(seed: int) -> None:
        got[seed] = VERBS["items"](engine="thread" if seed % 2 else "auto", n_workers=2, chunk_size=5, seed=seed)

    threads = [threading.Thread(target=call, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == expected
