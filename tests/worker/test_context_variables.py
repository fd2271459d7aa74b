"""Context variables: those of a function are in a worker what they are where the call is made."""

from __future__ import annotations

import contextlib
import contextvars
import decimal
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pandas as pd
import pytest
from pathos.pools import ThreadPool as PathosPool

from pdparallel import FunctionNotSerializableError
from tests.worker.test_capture_output import options_of

S = pd.Series([0, 1, 2, 3])
LIBRARY = contextvars.ContextVar("of_a_library", default="default")

CASES = {
    "global": "func = lambda v: (var.name, var.get())",
    "closure": "def make(var):\n    return lambda v: (var.name, var.get())\nfunc = make(var)",
    "class": "class A:\n    held = var\nfunc = lambda v: (A.held.get(), A.held is var)",
    "shared": "def one(): return var.get()\ndef func(v):\n    var.set(v)\n    return one()",
    "unset": "other = contextvars.ContextVar('other')\nfunc = lambda v: (other.get(None), other.name)",
    "default": "other = contextvars.ContextVar('other', default=[5])\nfunc = lambda v: other.get()",
    "value of the script": "class B:\n    x = 3\nvar.set(B())\nfunc = lambda v: (var.get().x, type(var.get()) is B)",
    "by reference": "func = lambda v: (LIBRARY.get(), LIBRARY is __import__(LIBRARY_AT, fromlist=['x']).LIBRARY)",
}


@pytest.mark.parametrize("way", ["forkserver", "spawn", "fork", "pathos", "thread", "serial"])
@pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
def test_they_are_as_here(way: str, serializer: Any) -> None:
    def here() -> None:
        with options_of(way) as options:
            for code in CASES.values():
                for value in ("first", "second"):
                    main: dict[str, Any] = {"__name__": "__main__", "contextvars": contextvars}
                    main.update(LIBRARY=LIBRARY, LIBRARY_AT=__name__, var=contextvars.ContextVar("var"))
                    main["var"].set(value)
                    LIBRARY.set(value)
                    exec(textwrap.dedent(code), main)
                    par = S.par(**options, serializer=serializer, chunk_size=2)
                    assert par.map(main["func"]).tolist() == S.map(main["func"]).tolist(), code

    contextvars.Context().run(here)


def test_a_value_that_cannot_travel_is_said() -> None:
    var: contextvars.ContextVar[Any] = contextvars.ContextVar("var")
    token = var.set(threading.local())
    try:
        with pytest.raises(FunctionNotSerializableError, match=r"closure variable 'var' is a .*ContextVar"):
            S.par(engine="process", n_workers=1).map(lambda value: var.get())
    finally:
        var.reset(token)


def test_what_an_initializer_sets_holds_in_each_task_of_its_thread() -> None:
    var = contextvars.ContextVar("var", default=0)
    s = S.par(engine="thread", n_workers=2, chunk_size=1, initializer=lambda: var.set(7) and None)
    assert s.map(lambda value: var.get()).tolist() == [7] * 4
    assert var.get() == 0


@contextlib.contextmanager
def _threads(kind: str) -> Iterator[Any]:
    if kind == "executor":
        with ThreadPoolExecutor(2) as executor:
            yield executor
    elif kind == "pool":
        with ThreadPool(2) as pool:
            yield pool
    else:
        pathos = PathosPool(nodes=2)
        yield pathos
        pathos.close()
        pathos.join()
        pathos.clear()


@pytest.mark.parametrize("kind", ["executor", "pool", "pathos"])
def test_threads_of_the_user_have_the_context_of_the_call(kind: str) -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var")
    with _threads(kind) as threads:
        for value in (3, 4):  # the threads are the same
            token = var.set(value)
            with decimal.localcontext() as context:
                context.prec = value
                found = S.par(engine=threads, chunk_size=1).map(lambda _: (var.get(), decimal.getcontext().prec))
            var.reset(token)
            assert found.tolist() == [(value, value)] * 4
