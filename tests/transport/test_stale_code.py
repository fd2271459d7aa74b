"""Workers run the code that this process has now: reloaded, edited, patched, assigned; not what they once imported."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.testing import assert_same
from pdparallel.transport import module_state
from pdparallel.transport.module_state import ModuleState, bring_up, split, state_of
from tests.conftest import wait_until

INNER = """
import abc, dataclasses, enum, functools, logging, re, threading, typing

FACTOR = 1
CONFIG = {"factor": 1, "deep": {"factor": [1, 2]}}
WORDS = [1]
MANY = list(range(5000))
NOTHING = None
ARRAY = None
LOG = logging.getLogger("inner")
LOCK = threading.Lock()
PATTERN = re.compile("a+")
MISSING = object()
HANDLE = (at for at in (1, 2))


def h(x, by=1):
    return x * by + FACTOR


def plain(x):
    return x + 1


def has_extra():
    try:
        return EXTRA
    except NameError:
        return 50


def wrapped(func):
    @functools.wraps(func)
    def wrapper(x):
        return func(x) + 1
    return wrapper


@wrapped
def decorated(x):
    return x + 1


@functools.lru_cache(maxsize=None)
def cached(x):
    return x + 1


@functools.lru_cache(maxsize=None)
def kept(x):
    return x + FACTOR


def adding(by):
    state = {"by": by}

    def add(x):
        return x + state["by"]

    return add


added = adding(1)
EXTRA = 1
TABLE = {"plain": plain}


class Base(abc.ABC):
    size = 1

    def base(self, x):
        return x + self.size


class Thing(Base):
    rate = 1
    registry = {}

    def __init__(self, x):
        self.x = x

    def method(self):
        return self.x + self.rate

    @staticmethod
    def static(x):
        return x + 1

    @classmethod
    def of_class(cls, x):
        return x + cls.rate

    @property
    def value(self):
        return self.x + 1

    def __eq__(self, other):
        return type(self) is type(other) and self.x == other.x

    def __hash__(self):
        return hash(self.x)


Thing.registry["itself"] = Thing


class Sub(Thing):
    def method(self):
        return super().method() + 1


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int = 1

    def far(self):
        return self.x + 1


class Pair(typing.NamedTuple):
    x: int = 1


SETTINGS = Point(1)
"""

OUTER = """
import {inner}
import {inner} as inner
from {inner} import Thing, h, plain


def by_module(x):
    return inner.h(x)


def by_name(x):
    return h(x)


def two_deep(x):
    return middle(x)


def middle(x):
    return inner.plain(x)


def imports_when_it_runs(x):
    from {inner} import plain
    import {inner} as again
    return plain(x) + again.h(x)


def config(x):
    return x + inner.CONFIG["factor"] + inner.CONFIG["deep"]["factor"][0] + inner.WORDS[0]


def table(x):
    return inner.TABLE["plain"](x)


def large(x):
    return x + inner.MANY[-1]


def nothing(x):
    return -1 if inner.NOTHING is None else x + inner.NOTHING


def array(x):
    return -1 if inner.ARRAY is None else int(x + inner.ARRAY[0])


def decorated(x):
    return inner.decorated(x) + inner.cached(x)


def methods(x):
    thing = inner.Thing(x)
    return thing.method() + thing.static(x) + thing.of_class(x) + thing.value + thing.base(x) + inner.Sub(x).method()


def made(x):
    return inner.Thing(x)


def deleted(x):
    return x + inner.has_extra()


def kept(x):
    return inner.kept(x)


def made_by_a_factory(x):
    return inner.added(x)


def sub(x):
    return isinstance(inner.Sub(x), Thing) + 2 * isinstance(inner.Sub(x), inner.Thing) + inner.Sub(x).method()


def kinds(x):
    return inner.Color.RED.value + inner.Point().far() + inner.Pair().x + inner.SETTINGS.x + x


def registered(x):
    return inner.Thing.registry["itself"](x).method()


def quiet(x):
    with inner.LOCK:
        inner.LOG.debug("called")
    return inner.plain(x)


class Callable:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return inner.plain(x) * self.by

    def method(self, x):
        return h(x) * self.by


FACTORED = lambda x: x + inner.FACTOR
"""

numbers = itertools.count()


class Modules:
    """Two modules of the user's own, of names that no other test has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        at = next(numbers)
        self.names = {"inner": f"stale_inner_{os.getpid()}_{at}", "outer": f"stale_outer_{os.getpid()}_{at}"}
        self.write("inner", INNER)
        self.write("outer", OUTER.replace("{inner}", self.names["inner"]))
        self.inner, self.outer = map(importlib.import_module, self.names.values())

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{self.names[name]}.py").write_text(text)
        importlib.invalidate_caches()

    def edit(self, *changes: tuple[str, str]) -> None:
        text = (self.folder / f"{self.names['inner']}.py").read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        self.write("inner", text)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a cache knows the time of a file in seconds only
    place = Modules(tmp_path)
    yield place
    for name in place.names.values():
        sys.modules.pop(name, None)


def reloads(*changes: tuple[str, str]) -> Callable[[Modules], Any]:
    def change(place: Modules) -> None:
        place.edit(*changes)
        importlib.reload(place.inner)

    return change


def reloads_all(*changes: tuple[str, str]) -> Callable[[Modules], Any]:
    def change(place: Modules) -> None:
        reloads(*changes)(place)
        importlib.reload(place.outer)

    return change


def imports_anew(*changes: tuple[str, str]) -> Callable[[Modules], Any]:
    def change(place: Modules) -> None:
        place.edit(*changes)
        for name in place.names.values():
            del sys.modules[name]
        place.inner, place.outer = map(importlib.import_module, place.names.values())

    return change


def assigns(path: str, value: Any) -> Callable[[Modules], Any]:
    def change(place: Modules) -> None:
        *owners, name = path.split(".")
        owner: Any = place.inner
        for one in owners:
            owner = getattr(owner, one)
        setattr(owner, name, value)

    return change


def runs(text: str) -> Callable[[Modules], Any]:
    """Something done in the inner module, by code that is not of it."""
    return lambda place: exec(text, {"inner": place.inner, "outer": place.outer, "np": np})


PLAIN = ("def plain(x):\n    return x + 1", "def plain(x):\n    return x + 1000")

CHANGES: dict[str, tuple[str, Callable[[Modules], Any]]] = {
    "reloaded": ("by_module", reloads(("x * by + FACTOR", "x * by * 50 + FACTOR"))),
    "reloaded, two deep": ("two_deep", reloads(PLAIN)),
    "reloaded, held by name": (
        "by_name",
        reloads(("x * by + FACTOR", "x * by * 50 + FACTOR"), ("FACTOR = 1", "FACTOR = 9")),
    ),
    "reloaded, all": ("by_name", reloads_all(("x * by + FACTOR", "x * by * 50 + FACTOR"))),
    "reloaded, imports when it runs": ("imports_when_it_runs", reloads(PLAIN, ("FACTOR = 1", "FACTOR = 9"))),
    "reloaded, decorated": ("decorated", reloads(("return func(x) + 1", "return func(x) + 50"))),
    "reloaded, wrapped": (
        "decorated",
        reloads(("def decorated(x):\n    return x", "def decorated(x):\n    return 5 * x")),
    ),
    "reloaded, cached": ("decorated", reloads(("def cached(x):\n    return x", "def cached(x):\n    return 5 * x"))),
    "reloaded, method": ("methods", reloads(("return self.x + self.rate", "return self.x + 50 * self.rate"))),
    "reloaded, base": ("methods", reloads(("return x + self.size", "return x + 50 * self.size"))),
    "reloaded, class held by name": ("sub", reloads(("super().method() + 1", "super().method() + 50"))),
    "reloaded, made": ("made", reloads(("rate = 1", "rate = 50"))),
    "reloaded, enum": ("kinds", reloads(("RED = 1", "RED = 50"))),
    "reloaded, dataclass": ("kinds", reloads(("x: int = 1\n\n    def far", "x: int = 70\n\n    def far"))),
    "reloaded, named tuple": (
        "kinds",
        reloads(("class Pair(typing.NamedTuple):\n    x: int = 1", "class Pair(typing.NamedTuple):\n    x: int = 90")),
    ),
    "reloaded, registered": ("registered", reloads(("return self.x + self.rate", "return self.x + 50 * self.rate"))),
    "reloaded, beside a lock": ("quiet", reloads(PLAIN)),
    "imported anew": ("two_deep", imports_anew(PLAIN)),
    "imported anew, held by name": ("by_name", imports_anew(("x * by + FACTOR", "x * by * 50 + FACTOR"))),
    "edited, not reloaded": ("two_deep", lambda place: place.edit(PLAIN, ("FACTOR = 1", "FACTOR = 9"))),
    "global assigned": ("by_module", assigns("FACTOR", 50)),
    "global assigned, held by name": ("by_name", assigns("FACTOR", 50)),
    "global assigned, lambda": ("FACTORED", assigns("FACTOR", 50)),
    "global assigned from None": ("nothing", assigns("NOTHING", 50)),
    "large global assigned": ("large", runs("inner.MANY = [50] * 5000")),
    "large global assigned, other length": ("large", runs("inner.MANY = [50] * 6000")),
    "array assigned": ("array", runs("inner.ARRAY = np.array([50.0])")),
    "large array assigned": ("array", runs("inner.ARRAY = np.full(200_000, 50.0)")),
    "dict changed": ("config", runs("inner.CONFIG['factor'] = 50")),
    "dict changed, deep": ("config", runs("inner.CONFIG['deep']['factor'][0] = 50")),
    "list changed": ("config", runs("inner.WORDS[0] = 50")),
    "function assigned": ("two_deep", runs("def other(x): return x + 50\ninner.plain = other")),
    "function assigned, lambda": ("two_deep", runs("inner.plain = lambda x, by=50: x + by")),
    "function of another module": ("two_deep", runs("inner.plain = outer.config")),
    "function in a table": ("table", runs("inner.TABLE['plain'] = lambda x: x + 50")),
    "code replaced": ("two_deep", runs("inner.plain.__code__ = (lambda x: x + 50).__code__")),
    "code replaced, by name": ("by_name", runs("inner.h.__code__ = (lambda x, by: x * by + 50).__code__")),
    "defaults replaced": ("by_module", runs("inner.h.__defaults__ = (50,)")),
    "class attribute assigned": ("methods", assigns("Thing.rate", 50)),
    "attribute of a base assigned": ("methods", assigns("Base.size", 50)),
    "method assigned": ("methods", runs("inner.Thing.method = lambda self: self.x + 50")),
    "method of a base assigned": ("methods", runs("inner.Base.base = lambda self, x: x + 50")),
    "static method assigned": ("methods", runs("inner.Thing.static = staticmethod(lambda x: x + 50)")),
    "class method assigned": ("methods", runs("inner.Thing.of_class = classmethod(lambda cls, x: x + 50)")),
    "property assigned": ("methods", runs("inner.Thing.value = property(lambda self: self.x + 50)")),
    "code of a method replaced": ("methods", runs("inner.Thing.method.__code__ = (lambda self: self.x + 50).__code__")),
    "class assigned": (
        "registered",
        runs("class Other(inner.Thing):\n    rate = 50\ninner.Thing.registry['itself'] = Other"),
    ),
    "global deleted": ("deleted", runs("del inner.EXTRA")),
    "patched by a test": (
        "two_deep",
        runs("from unittest import mock\nmock.patch.object(inner, 'plain', lambda x: 50).start()"),
    ),
    "module assigned": (
        "two_deep",
        runs("import types\nouter.inner = types.ModuleType('stub')\nouter.inner.plain = lambda x: 50"),
    ),
    "module of the same name assigned": (
        "two_deep",
        runs("import types\nouter.inner = types.ModuleType(inner.__name__)\nouter.inner.plain = lambda x: 50"),
    ),
    "results kept of what was": ("kept", runs("inner.FACTOR = 50\ninner.kept.cache_clear()")),
    "closure of a factory": ("made_by_a_factory", runs("inner.added = inner.adding(50)")),
    "what a closure holds": ("made_by_a_factory", runs("inner.added.__closure__[0].cell_contents['by'] = 50")),
    "attribute of an object assigned": ("kinds", runs("inner.SETTINGS.x = 50")),
    "object assigned": ("kinds", runs("inner.SETTINGS = inner.Point(50)")),
}  # fmt: skip

ENGINES: list[dict[str, Any]] = [
    {"engine": "process", "start_method": "forkserver"},
    {"engine": "process", "start_method": "spawn"},
    {"engine": "process", "start_method": "fork"},
    {"engine": "pathos"},
]

SERIES = pd.Series(range(40))


def compare(place: Modules, name: str, options: dict[str, Any]) -> None:
    func = getattr(place.outer, name)
    assert_same(SERIES.par(n_workers=2, **options).map(func), SERIES.map(func))


@pytest.mark.parametrize("options", ENGINES, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("change", CHANGES)
def test_workers_that_have_run_it_run_what_is_new(place: Modules, change: str, options: dict[str, Any]) -> None:
    name, do = CHANGES[change]
    before = SERIES.map(getattr(place.outer, name))
    compare(place, name, options)
    do(place)
    compare(place, name, options)
    compare(place, name, options)
    if change not in ("edited, not reloaded", "reloaded, made"):
        assert not SERIES.map(getattr(place.outer, name)).equals(before)


#: What the start method may make a difference to.
SOME = ["reloaded", "reloaded, method", "edited, not reloaded", "imported anew", "global assigned", "method assigned"]


@pytest.mark.parametrize(
    ("change", "options"),
    [(change, options) for change in CHANGES for options in (ENGINES if change in SOME else ENGINES[:1])],
    ids=lambda one: one if isinstance(one, str) else "-".join(one.values()),
)
def test_workers_that_import_it_now_run_what_this_process_has(
    place: Modules, change: str, options: dict[str, Any]
) -> None:
    name, do = CHANGES[change]
    do(place)
    compare(place, name, options)


@pytest.mark.usefixtures("any_rest_is_worth_it")
@pytest.mark.parametrize("change", [change for change in CHANGES if not change.startswith("large array")])
def test_with_default_options(place: Modules, change: str) -> None:
    name, do = CHANGES[change]
    compare(place, name, {})
    do(place)
    compare(place, name, {})


@pytest.mark.parametrize("change", ["reloaded", "method assigned", "global assigned"])
def test_accelerated_pandas(place: Modules, change: str) -> None:
    name, do = CHANGES[change]
    func = getattr(place.outer, name)
    for at in range(2):
        with pdparallel.accelerate(engine="process", n_workers=2):
            got = pd.DataFrame({"a": SERIES}).apply(lambda row: func(row["a"]), axis=1)
        assert_same(got, SERIES.map(func))
        if not at:
            do(place)


@pytest.mark.parametrize("change", ["reloaded", "method assigned", "global assigned"])
def test_an_executor_of_the_users(place: Modules, change: str) -> None:
    name, do = CHANGES[change]
    with ProcessPoolExecutor(2) as executor:
        compare(place, name, {"engine": executor})
        do(place)
        compare(place, name, {"engine": executor})


@pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
def test_callables_of_all_kinds(place: Modules, serializer: str) -> None:
    outer = place.outer
    mine = lambda x: outer.middle(x) + outer.inner.FACTOR
    several = [outer.Callable(3), outer.Callable(3).method, outer.FACTORED, mine]
    for _ in range(2):
        for func in several:
            got = SERIES.par(engine="process", n_workers=2, serializer=serializer).map(func)
            assert_same(got, SERIES.map(func))
        reloads(PLAIN)(place)
        place.inner.FACTOR = 50
        outer.Callable.method = lambda self, x: x + 90


def test_objects_in_the_data(place: Modules) -> None:
    things = pd.Series([place.inner.Thing(at) for at in range(40)])
    for _ in range(2):
        assert_same(things.par(engine="process", n_workers=2).map(method_of), things.map(method_of))
        place.inner.Thing.method = lambda self: self.x + 50


def method_of(thing: Any) -> Any:
    return thing.method()


def test_objects_come_back_as_what_they_are_here(place: Modules) -> None:
    for change in (lambda: None, lambda: reloads(("rate = 1", "rate = 50"))(place)):
        change()
        got = SERIES.par(engine="process", n_workers=2).map(place.outer.made)
        assert {type(one) for one in got} == {place.inner.Thing}


def test_it_comes_back_to_what_it_was(place: Modules) -> None:
    for value in (50, 1, 50, [50][0] + 300, 1):
        place.inner.FACTOR = value
        compare(place, "by_module", {"engine": "process"})
        compare(place, "two_deep", {"engine": "process"})


# What cannot be sent


UNSENDABLE = "\ndef holds(x):\n    return x + FACTOR + (HANDLE is None)\n"


@pytest.mark.parametrize("options", ENGINES, ids=lambda options: "-".join(options.values()))
def test_what_cannot_be_sent_stays_the_workers(place: Modules, options: dict[str, Any]) -> None:
    place.write("inner", INNER + UNSENDABLE)
    importlib.reload(place.inner)
    assert_same(SERIES.par(n_workers=2, **options).map(place.inner.holds), SERIES.map(place.inner.holds))
    place.edit(("FACTOR = 1", "FACTOR = 9"))
    importlib.reload(place.inner)  # which makes another one, as the worker's import did
    assert_same(SERIES.par(n_workers=2, **options).map(place.inner.holds), SERIES.map(place.inner.holds))


@pytest.mark.parametrize("options", ENGINES, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("value", ["(at for at in (3, 4))", "open(__file__)"])
def test_another_one_is_refused_by_name(place: Modules, tmp_path: Path, value: str, options: dict[str, Any]) -> None:
    place.write("inner", INNER + UNSENDABLE)
    importlib.reload(place.inner)
    par = SERIES.par(n_workers=2, **options)
    assert_same(par.map(place.inner.holds), SERIES.map(place.inner.holds))
    first, calls = place.inner.HANDLE, tmp_path / "calls"
    place.inner.HANDLE = eval(value, {"__file__": __file__})
    place.inner.plain = noting(calls)
    place.inner.holds.__code__ = (lambda x: plain(x) + FACTOR + (HANDLE is None)).__code__  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(FunctionNotSerializableError, match=f"'HANDLE' of module '{place.inner.__name__}'"):
        par.map(place.inner.holds)
    assert not calls.exists()
    if hasattr(place.inner.HANDLE, "close"):
        place.inner.HANDLE.close()
    place.inner.HANDLE = first
    assert_same(par.map(place.inner.holds), SERIES.map(place.inner.holds))


def noting(path: Path) -> Callable[[int], int]:
    def note(x: int) -> int:
        with open(path, "a") as file:
            file.write("called\n")
        return x

    return note


def test_what_a_function_makes_itself_is_each_process_s_own(place: Modules) -> None:
    text = """
import os, threading
client = None
cache = {}
def get():
    global client
    if client is None:
        client = (at for at in (1, 2)), os.getpid()
    return client
def uses(x):
    cache[x] = cache.get(x, 0) + 1
    return get()[1] == os.getpid()
"""
    place.write("inner", text)
    importlib.reload(place.inner)
    for _ in range(3):
        assert SERIES.par(engine="process", n_workers=2).map(place.inner.uses).all()
        assert SERIES.map(place.inner.uses).all()


# The price


def test_nothing_travels_while_nothing_changes(place: Modules) -> None:
    for name in ("methods", "kinds", "config", "decorated", "quiet", "registered", "array", "imports_when_it_runs"):
        for options in ENGINES:
            compare(place, name, options)
    states = module_state._states.values()
    held = [state for state in states if any(place.inner.__name__ in str(one) for one in state._told)]
    assert held
    assert [slot for state in held for slot in state._brought.values] == []


KINDS_OF_OBJECTS = """
# flags
import enum
class F(enum.IntFlag):
    A = 1
    B = 2
def f(x):
    return int(F.A | F.B)

# protocol
import typing
class P(typing.Protocol):
    pass
class C(P):
    x = 1
def f(x):
    return C().x

# generic
import typing
T = typing.TypeVar('T')
class C(typing.Generic[T]):
    x = 1
def f(x):
    return C().x

# dispatch
import functools
@functools.singledispatch
def g(x):
    return 1
@g.register
def _(x: int):
    return 2
def f(x):
    return g(x) + g('a')

# sets
A = {'a', 'b', 'c', 'd'}
class C:
    b = frozenset('xyz')
def f(x):
    return len(A | C.b) + ('p' in {'p', 'q'})

# pandas
import pandas as pd
DF = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']}, index=['p', 'q'])
T = pd.Timestamp('2020')
def f(x):
    return DF.a.sum() + T.year

# slots
import dataclasses
@dataclasses.dataclass(frozen=True, slots=True)
class P:
    x: int = 1
ONE = P()
def f(x):
    return ONE.x

# random
import random, numpy as np
R = random.Random()
G = np.random.default_rng()
def f(x):
    return R.random() + G.random() < 2

# locks
import logging, threading
L, K, TL = logging.getLogger('x'), threading.RLock(), threading.local()
class C:
    lock = K
    log = L
def f(x):
    with K, C.lock:
        return len([L, TL])

# metaclass
class Meta(type):
    known = {}
    def __new__(meta, name, bases, body):
        cls = meta.known[name] = super().__new__(meta, name, bases, body)
        return cls
class A(metaclass=Meta):
    pass
class B(A):
    pass
def f(x):
    return len(Meta.known) + len(B.__mro__)

# weak
import weakref
class K:
    pass
ONE = K()
R, W = weakref.ref(ONE), weakref.WeakValueDictionary(a=ONE)
def f(x):
    return (R() is ONE) + len(W)

# library objects
import collections, pathlib, re, uuid
P, R, U = pathlib.Path('x'), re.compile('a'), uuid.UUID(int=3)
D, C = collections.defaultdict(list), collections.Counter('aab')
def f(x):
    return len(P.parts) + bool(R.match('a')) + U.int + len(D) + C['a']
"""

KINDS = {part.split("\n")[0]: part for part in KINDS_OF_OBJECTS.removeprefix("\n# ").split("\n# ")}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_any_kind_differs_while_nothing_changes(place: Modules, kind: str) -> None:
    place.write("inner", "# " + KINDS[kind])
    importlib.reload(place.inner)
    for _ in range(2):
        for options in ENGINES[:2]:
            assert_same(SERIES.par(n_workers=2, **options).map(place.inner.f), SERIES.map(place.inner.f))
    states = module_state._states.values()
    assert [slot for state in states for slot in state._brought.values if slot[0] == place.inner.__name__] == []


def test_a_mock_that_cannot_be_rebuilt_is_refused_by_name(place: Modules) -> None:
    with mock.patch.object(place.inner, "plain", mock.Mock(return_value=50)) as mocked:
        mocked(1)
        with pytest.raises(FunctionNotSerializableError, match=place.outer.__name__):
            SERIES.par(engine="process").map(place.outer.two_deep)
        assert_same(SERIES.par.map(place.outer.two_deep), SERIES.map(place.outer.two_deep))
    compare(place, "two_deep", {"engine": "process"})


def test_a_package_with_relative_imports(place: Modules) -> None:
    name = place.names["inner"] + "_package"
    folder = place.folder / name
    folder.mkdir()
    (folder / "__init__.py").write_text("from .below import h as again\n")
    (folder / "below.py").write_text("def h(x):\n    return x + 1\n")
    (folder / "top.py").write_text(
        f"from . import below\nimport {name}\n"
        f"def by_name(x):\n    return below.h(x)\ndef by_package(x):\n    return {name}.below.h(x) + {name}.again(x)\n"
        "def later(x):\n    from .below import h\n    return h(x)\n"
        "def module_later(x):\n    from . import below as found\n    return found.h(x)\n"
    )
    top = importlib.import_module(f"{name}.top")

    def check() -> None:
        for func in (top.by_name, top.by_package, top.later, top.module_later):
            assert_same(SERIES.par(engine="process", n_workers=2).map(func), SERIES.map(func))

    check()
    (folder / "below.py").write_text("def h(x):\n    return x + 1000\n")
    importlib.reload(top.below)
    check()
    top.below.h = lambda x: x + 50
    check()


def test_a_state_is_found_once(place: Modules) -> None:
    first = [(place.outer.__name__, "methods")]
    state = state_of(first)
    assert state_of(first) is state
    place.inner.FACTOR = 3
    assert state_of(first) is state  # which does not reach it
    place.inner.Thing.rate = 3
    assert state_of(first) is not state


def test_a_function_of_no_module_of_the_users_costs_nothing() -> None:
    assert state_of([("pandas", "isna"), (None, "x"), ("__main__", "f")]).framed(b"work") == bytes(4) + b"work"


def test_a_worker_of_the_same_state_is_not_changed(place: Modules) -> None:
    state = state_of([(place.outer.__name__, name) for name in ("methods", "kinds", "table", "quiet", "sub")])
    head, work = split(state.framed(b"work"))
    assert bytes(work) == b"work"
    before = place.inner.Thing
    changes = bring_up(head)
    assert bring_up(head) == changes
    assert place.inner.Thing is before


def test_a_call_under_way_keeps_its_code(place: Modules, tmp_path: Path) -> None:
    go, chunk = tmp_path / "go", {"engine": "process", "n_workers": 2, "chunk_size": 1}
    place.write("inner", INNER + WAITS)
    importlib.reload(place.inner)
    frame = pd.DataFrame({"x": range(30), "file": str(go)})
    future = frame.par.background(**chunk).apply_rows(place.inner.waits)
    assert wait_until(go.with_suffix(".begun").exists)
    place.inner.FACTOR = 50
    place.inner.plain = lambda x: x + 1000
    go.touch()
    assert frame.par(**chunk).apply_rows(place.inner.waits).tolist() == [x + 1050 for x in range(30)]
    assert future.result().tolist() == [x + 2 for x in range(30)]


WAITS = """

def waits(row):
    import pathlib, time
    pathlib.Path(row["file"]).with_suffix(".begun").touch()
    while not pathlib.Path(row["file"]).exists():
        time.sleep(0.005)
    return plain(row["x"]) + FACTOR
"""


def test_code_that_is_changed_in_place_under_way_is_not_mixed(place: Modules) -> None:
    state = ModuleState([(place.outer.__name__, "by_module")])
    place.inner.h.__defaults__ = (3,)
    with pytest.raises(FunctionNotSerializableError, match="was changed during a call"):
        state.bring(((place.inner.__name__, "h"),))
