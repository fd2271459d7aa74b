"""What libraries make that a worker cannot rebuild, or uses in another way: refused before any work, or said."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.transport import functions

S = pd.Series([1, 2, 3])
ENGINES: list[dict[str, Any]] = [
    {"engine": "process"},
    {"engine": "process", "start_method": "fork"},
    {"engine": "pathos"},
]


def defined(source: str, **given: Any) -> Any:
    """What a main script defines."""
    namespace: dict[str, Any] = {"__name__": "__main__", "called": [], **given}
    exec(source, namespace)
    return namespace


def refused(func: Any, says: str) -> None:
    """With each engine of processes; with the others it runs."""
    for options in ENGINES:
        with pytest.raises(FunctionNotSerializableError, match=says) as caught:
            S.par(**options, n_workers=2, timeout=60).map(func)
        assert "Put it into a module of its own" in str(caught.value)
    for engine in ("thread", "serial", "auto"):
        assert S.par(engine=engine).map(func).tolist() == [1, 2, 3]


# pydantic

#: How pydantic's own one holds the function and, in a schema, itself.
VALIDATED = """
class ValidateCallWrapper:
    __slots__ = ("function", "schema")

    def __init__(self, function):
        self.function = function
        self.schema = [self]

    def __call__(self, value):
        return self.function(int(value))

ValidateCallWrapper.__module__ = "pydantic._internal._validate_call"

def validate_call(function):
    made = ValidateCallWrapper(function)
    def wrapper(*args):
        return made(*args)
    return wrapper
"""

USES = {
    "itself": ("@validate_call\ndef use(x: int) -> int:\n    return x\n", "function 'use'"),
    "a global": (
        "@validate_call\ndef check(x: int) -> int:\n    return x\ndef use(x):\n    return check(x)\n",
        "'check'",
    ),
    "a method": (
        "class Model:\n    def check(x: int):\n        return x\n    check = staticmethod(validate_call(check))\n"
        "use = Model.check\n",
        "'Model.check'",
    ),
    "a closure": (
        "def made():\n    @validate_call\n    def check(x: int):\n        return x\n    return lambda x: check(x)\n"
        "use = made()\n",
        "'made.<locals>.check'",
    ),
}


@pytest.mark.parametrize(("source", "name"), USES.values(), ids=list(USES))
def test_a_validated_function_is_refused_by_name(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    main = defined(VALIDATED)
    module = types.ModuleType("pydantic._internal._validate_call")
    module.ValidateCallWrapper = main["ValidateCallWrapper"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    refused(defined(source, validate_call=main["validate_call"])["use"], f"{name} is decorated with pydantic.validate")


@pytest.mark.parametrize(("source", "name"), USES.values(), ids=list(USES))
def test_with_pydantic(source: str, name: str) -> None:
    pydantic = pytest.importorskip("pydantic")
    main = defined(source, validate_call=pydantic.validate_call)
    refused(main["use"], f"{name} is decorated with pydantic.validate_call")


def test_models_of_pydantic_travel() -> None:
    pydantic = pytest.importorskip("pydantic")
    main = defined(
        "class Model(BaseModel):\n    x: int\ndef use(x):\n    return Model(x=x)\n", BaseModel=pydantic.BaseModel
    )
    assert S.par(engine="process").map(main["use"]).map(lambda model: model.x).tolist() == [1, 2, 3]


# msgspec

STRUCT = """
class Point(Struct):
    x: int

def use(x):
    return Point(x).x
"""


def test_a_struct_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class StructMeta(type):
        pass

    StructMeta.__module__, StructMeta.__qualname__ = "msgspec._core", "StructMeta"
    core = types.ModuleType("msgspec._core")
    core.__spec__ = pd.__spec__
    core.StructMeta = StructMeta  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msgspec._core", core)

    class Struct(metaclass=StructMeta):
        def __init__(self, x: int) -> None:
            self.x = x

    Struct.__module__ = "msgspec._core"
    Struct.__qualname__ = "Struct"
    core.Struct = Struct  # type: ignore[attr-defined]
    refused(defined(STRUCT, Struct=Struct)["use"], "class 'Point' is a msgspec.Struct")


def test_with_msgspec() -> None:
    msgspec = pytest.importorskip("msgspec")
    main = defined(STRUCT, Struct=msgspec.Struct)
    refused(main["use"], "class 'Point' is a msgspec.Struct")
    points = pd.Series([main["Point"](1), main["Point"](2)])
    with pytest.raises(FunctionNotSerializableError, match="class 'Point'"):
        points.par(engine="process").map(lambda point: point.x)


# loguru


def said(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert {w.filename for w in caught} <= {__file__}
    return [str(w.message) for w in caught]


class Keeper:
    """A sink with something to keep."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def take(self, message: str) -> None:
        self.kept.append(message)

    def __call__(self, message: str) -> None:
        self.kept.append(message)


KEPT: list[str] = []

#: Sinks, and by which name they are told of; those that keep nothing need no word.
SINKS: dict[str, tuple[Any, str]] = {
    "a function with a global": (lambda message: KEPT.append(message), "<lambda>"),
    "a method of a list": (KEPT.append, "list.append"),
    "a method": (Keeper().take, "Keeper.take"),
    "an object": (Keeper(), "Keeper object"),
    "print": (print, ""),
    "a function of print": (lambda message: print(message, end=""), ""),
    "a module": (lambda message: sys.stderr.write(message), ""),
}


class CallableSink:
    """As loguru has it."""

    def __init__(self, function: Any) -> None:
        self._function = function


class Logger:
    """With one sink."""

    def __init__(self, function: Any) -> None:
        self.sink = CallableSink(function)

    def info(self, message: str) -> None:
        self.sink._function(message)


@pytest.mark.parametrize(("sink", "name"), SINKS.values(), ids=list(SINKS))
def test_a_sink_of_this_process_is_named_once(sink: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("loguru._simple_sinks")
    module.__spec__ = pd.__spec__
    monkeypatch.setattr(CallableSink, "__module__", "loguru._simple_sinks")
    monkeypatch.setattr(functions, "_told_sinks", [])
    module.CallableSink = CallableSink  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "loguru", types.ModuleType("loguru"))
    monkeypatch.setitem(sys.modules, "loguru._simple_sinks", module)
    main = defined("def use(x):\n    logger\n    return x\n", logger=Logger(sink))
    encode = main["use"]

    def call() -> None:
        from pdparallel.core.call import Work
        from pdparallel.transport.shared_classes import SharedTable

        functions.encode_work(Work(encode, (), {}, "value"), SharedTable(), "dill")

    first, second = said(call), said(call)
    assert len(first) == (1 if name else 0)
    assert not second
    for text in first:
        assert name in text
        assert "sink" in text


@pytest.mark.parametrize(("sink", "name"), SINKS.values(), ids=list(SINKS))
@pytest.mark.parametrize("way", ["from loguru import logger", "import loguru"])
def test_with_loguru(sink: Any, name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loguru = pytest.importorskip("loguru")
    monkeypatch.setattr(functions, "_told_sinks", [])
    loguru.logger.remove()
    added = loguru.logger.add(sink)
    logger = "logger" if way.startswith("from") else "loguru.logger"
    main = defined(f"{way}\ndef use(x):\n    {logger}.info('x')\n    return x\n")
    try:
        first, second = (said(lambda: S.par(engine="process", n_workers=2).map(main["use"])) for _ in range(2))
    finally:
        loguru.logger.remove(added)
    assert len(first) == (1 if name else 0)
    assert not second


# Data that cannot be opened


class Gone(pd.DataFrame):
    """One of whose rows nothing can be had."""

    @property
    def _constructor(self) -> Any:
        return Gone

    @property
    def iloc(self) -> Any:
        raise OSError("the file is gone")


def one(unit: Any) -> int:
    return 1


@pytest.mark.parametrize("engine", ["thread", "serial", "process", "pathos", "auto"])
def test_data_that_cannot_be_opened(engine: str) -> None:
    df = Gone({"a": range(30), "b": 0.5})
    par = df.par(engine=engine, n_workers=2, chunk_size=4)
    calls: dict[str, Any] = {
        "rows": lambda: par.apply_rows(one),
        "tuples": lambda: par.apply_rows(one, rows="tuple"),
        "dicts": lambda: par.apply_rows(one, rows="dict"),
        "chunks": lambda: par.apply_chunks(one),
        "coerce": lambda: par(errors="coerce").apply_rows(one),
        "imap": lambda: list(par.iter_chunks(one)),
    }
    for call in calls.values():
        with pytest.raises(OSError, match="the file is gone"):
            call()
    assert pdparallel.map(one, [1, 2], engine=engine) == [1, 1]
