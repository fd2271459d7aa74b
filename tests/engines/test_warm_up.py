"""``warm_up`` starts the workers of the next call."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

import pdparallel
from pdparallel.core.options import resolve
from pdparallel.engines.registry import is_warm


@pytest.fixture(autouse=True)
def cold() -> Iterator[None]:
    pdparallel.shutdown()
    yield
    pdparallel.shutdown()


def is_up(**options: Any) -> bool:
    deadline = time.monotonic() + 60
    while not is_warm(resolve(options)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("engine", ["auto", "process"])
def test_the_workers_of_the_next_call_run(engine: Any) -> None:
    assert not is_warm(resolve({"n_workers": 2}))
    pdparallel.warm_up(engine=engine, n_workers=2)
    assert is_up(n_workers=2)
    pids = pdparallel.map(lambda _: os.getpid(), range(2), engine="process", n_workers=2)
    assert os.getpid() not in pids


def test_the_options_in_force_count() -> None:
    with pdparallel.option_context(n_workers=3):
        pdparallel.warm_up()
    assert is_up(n_workers=3)
    assert not is_warm(resolve({"n_workers": 2}))


@pytest.mark.parametrize("engine", ["thread", "serial", "asyncio"])
def test_engines_without_processes_need_no_start(engine: Any) -> None:
    pdparallel.warm_up(engine=engine, n_workers=2)
    assert not is_warm(resolve({"n_workers": 2}))


def test_in_a_worker_it_does_nothing() -> None:
    def inner(item: int) -> int:
        pdparallel.warm_up(n_workers=2)
        return item

    assert pdparallel.map(inner, [1, 2], engine="process", n_workers=2) == [1, 2]


def test_again_and_at_the_end() -> None:
    for _ in range(3):
        pdparallel.warm_up(n_workers=2)
    pdparallel.shutdown()
    assert pdparallel.map(abs, [-1], engine="process", n_workers=2) == [1]


def test_a_wrong_option() -> None:
    with pytest.raises(pdparallel.InvalidOptionError, match="n_workers"):
        pdparallel.warm_up(n_jobs=2)  # type: ignore[call-arg]
