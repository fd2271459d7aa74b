"""Context variables: those of a function are in a worker what they are where the call is made."""

from __future__ import annotations

import contextvars
import textwrap
import threading
from typing import Any

import pandas as pd
import pytest

from pdparallel import FunctionNotSerializableError
from tests.test_output import options_of

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
