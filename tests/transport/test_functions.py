"""Functions: what can be written in a main script, a notebook or a closure travels, and does what it does in pandas.

Each case is a piece of a main script that defines ``func``. It is executed as ``__main__``, sent to real workers, and
the result is compared with that of pandas on the very same function; so instances must be of the *original* classes.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import operator
import os
import socket
import sqlite3
import sys
import textwrap
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dill
import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import FunctionNotSerializableError
from pdparallel.core.call import Work
from pdparallel.testing import assert_same
from pdparallel.transport import functions
from pdparallel.transport.functions import decode_work, encode_work
from pdparallel.transport.pickler import travels_by_value
from pdparallel.transport.shared_classes import SharedTable
from tests.conftest import children

SERIALIZERS = ("dill", "cloudpickle")

CASES = {
    "lambda": "func = lambda row: row['a'] * 2",
    "lambda with a global": "k = 3\nfunc = lambda row: row['a'] * k",
    "closure": """
        def make(k):
            def func(row):
                return row["a"] * k
            return func
        func = make(3)
    """,
    "closures that share a cell": """
        def make():
            count = 0
            def step():
                nonlocal count
                count += 1
            def read():
                return count
            return step, read
        step, read = make()
        def func(row):
            before = read()
            step()
            return read() - before
    """,
    "a cell that holds the function itself": """
        def make():
            def factorial(n):
                return 1 if n < 2 else n * factorial(n - 1)
            return lambda row: factorial(row["a"])
        func = make()
    """,
    "a cell that holds itself": """
        def make():
            def func(row):
                return type(cell).__name__, cell.cell_contents is cell
            cell = func.__closure__[0]
            cell.cell_contents = cell
            return func
        func = make()
    """,
    "an empty cell": """
        def make():
            def func(row):
                try:
                    return later
                except NameError:
                    return "not yet"
            if False:
                later = 1
            return func
        func = make()
    """,
    "nested": """
        def func(row):
            def inner(x):
                return [y * row["a"] for y in range(x)]
            return inner(2)
    """,
    "recursive": """
        def factorial(n):
            return 1 if n < 2 else n * factorial(n - 1)
        def func(row):
            return factorial(row["a"])
    """,
    "mutually recursive": """
        def even(n):
            return True if n == 0 else odd(n - 1)
        def odd(n):
            return False if n == 0 else even(n - 1)
        def func(row):
            return even(row["a"])
    """,
    "a hundred functions, each calling the next": """
        for number in range(100):
            exec(f"def step{number}(x): return step{number + 1}(x) + 1")
        def step100(x):
            return x
        def func(row):
            return step0(row["a"])
    """,
    "generator inside": """
        def squares(n):
            for i in range(n):
                yield i * i
        def func(row):
            return sum(squares(row["a"]))
    """,
    "partial": """
        from functools import partial
        def scaled(row, k, plus=0):
            return row["a"] * k + plus
        func = partial(scaled, k=3, plus=1)
    """,
    "a partial that the function names": """
        from functools import partial
        def power(n, base):
            return 1 if n == 0 else base * twice(n - 1)
        twice = partial(power, base=2)
        def func(row):
            return twice(row["a"])
    """,
    "partialmethod": """
        from functools import partialmethod
        class Scale:
            def by(self, row, k):
                return row["a"] * k
            by_three = partialmethod(by, k=3)
        func = Scale().by_three
    """,
    "bound method": """
        class Scale:
            def __init__(self, k):
                self.k = k
            def __call__(self, row):
                return self.by(row)
            def by(self, row):
                return row["a"] * self.k
        func = Scale(3).by
    """,
    "callable object": """
        class Scale:
            def __init__(self, k):
                self.k = k
            def __call__(self, row):
                return row["a"] * self.k
        func = Scale(3)
    """,
    "callable object with slots": """
        class Base:
            __slots__ = ("k", "__private")
            def __init__(self, k):
                self.k = k
                self.__private = 1
            def private(self):
                return self.__private
        class Scale(Base):
            __slots__ = "plus"
            def __init__(self, k):
                super().__init__(k)
                self.plus = 5
            def __call__(self, row):
                return row["a"] * self.k + self.plus + self.private(), hasattr(self, "__dict__")
        func = Scale(3)
    """,
    "classmethod": """
        class Scale:
            k = 3
            @classmethod
            def by(cls, row):
                return row["a"] * cls.k, cls
        func = Scale.by
    """,
    "staticmethod": """
        class Scale:
            @staticmethod
            def by(row):
                return row["a"] * 3
        func = Scale.by
    """,
    "name-mangled method": """
        class Scale:
            def __secret(self, row):
                return row["a"]
            def make(self):
                return self.__secret
        func = Scale().make()
    """,
    "wraps": """
        import functools
        def plus_one(f):
            @functools.wraps(f)
            def wrapper(*args, **kwargs):
                return f(*args, **kwargs) + 1
            return wrapper
        @plus_one
        def func(row):
            "Doc."
            return row["a"] + len(func.__doc__) + len(func.__name__) + (func.__wrapped__ is not func)
    """,
    "lru_cache on a recursive function": """
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def fibonacci(n):
            return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
        def func(row):
            return fibonacci(row["a"] + 20), fibonacci.cache_parameters()["maxsize"]
    """,
    "singledispatch": """
        from functools import singledispatch
        @singledispatch
        def kind(x):
            return "other"
        @kind.register
        def _(x: int):
            return "int"
        @kind.register(str)
        def _(x):
            return "str"
        def func(row):
            return kind(1) + kind("") + kind(1.5)
    """,
    "cached_property": """
        from functools import cached_property
        class Table:
            calls = 0
            @cached_property
            def rows(self):
                self.calls += 1
                return [1, 2, 3]
        table = Table()
        def func(row):
            return sum(table.rows) + table.calls
    """,
    "defaults, keyword defaults, annotations": """
        def func(row: "a row", k: int = 3, *, plus: float = 0.5) -> float:
            return row["a"] * k + plus + len(func.__annotations__), func.__kwdefaults__, func.__defaults__
    """,
    "function attributes": """
        def func(row):
            return row["a"] * func.k
        func.k = 3
        func.itself = func
    """,
    "globals of every kind": """
        import math, os.path, collections as c
        from math import sqrt as root
        NUMBERS = [1, 2, 3]
        def helper(x):
            return x + OFFSET
        OFFSET = 10
        class Thing:
            value = 7
        def func(row):
            return root(helper(row["a"])), math.pi, Thing().value, sum(NUMBERS), os.sep, c.Counter("aab")["a"]
    """,
    "submodule through its package": """
        import concurrent.futures, xml.etree.ElementTree, logging.handlers
        def func(row):
            return xml.etree.ElementTree.fromstring("<a>1</a>").text, logging.handlers.MemoryHandler.__name__
    """,
    "submodule through a package in a closure": """
        def make():
            import xml.dom.minidom
            return lambda row: xml.dom.minidom.parseString("<a/>").documentElement.tagName
        func = make()
    """,
    "globals written": """
        seen = 0
        def count():
            global seen
            seen += 1
        def func(row):
            count()
            return seen > 0
    """,
    "a global that is made by the function": """
        def read():
            return model
        def func(row):
            global model
            model = [row["a"]]
            return read()
    """,
    "a dict of classes": """
        class Cat:
            sound = "meow"
        class Dog:
            sound = "woof"
        KINDS = {"cat": Cat, "dog": Dog}
        def func(row):
            return KINDS["cat" if row["a"] % 2 else "dog"]
    """,
    "a class that names itself": """
        class Node:
            def clone(self):
                return Node()
            @classmethod
            def make(cls):
                return cls().clone()
        def func(row):
            return Node.make()
    """,
    "super": """
        class Base:
            def __init__(self, x):
                self.x = x
            def hello(self):
                return f"base {self.x}"
        class Middle(Base):
            def hello(self):
                return "middle " + super().hello()
        class Other(Base):
            def hello(self):
                return "other " + super().hello()
        class Last(Middle, Other):
            def __init__(self, x):
                super().__init__(x)
            def hello(self):
                return "last " + super(Last, self).hello()
        def func(row):
            return Last(row["a"]).hello()
    """,
    "two classes that name each other": """
        class Egg:
            def hatch(self):
                return Chicken()
        class Chicken:
            def lay(self):
                return Egg()
        Egg.mother = Chicken
        Chicken.child = Egg
        def func(row):
            return Egg().hatch().lay().mother
    """,
    "a class that holds an instance of itself": """
        class Point:
            def __init__(self, x):
                self.x = x
            def __hash__(self):
                return hash(self.x)
            def __eq__(self, other):
                return self.x == other.x
        Point.ORIGIN = Point(0)
        Point.ALL = {Point(1), Point(2)}
        def func(row):
            return Point.ORIGIN, Point(row["a"]) in Point.ALL
    """,
    "a registry of subclasses": """
        class Plugin:
            registry = {}
            order = []
            def __init_subclass__(cls, *, key, **kwargs):
                super().__init_subclass__(**kwargs)
                cls.registry[key] = cls
                cls.order.append(key)
        class One(Plugin, key=1):
            pass
        class Two(Plugin, key=2):
            pass
        def func(row):
            class Three(Plugin, key=3):
                pass
            last = Plugin.order.pop()
            return Plugin.registry[1], list(Plugin.order), last
    """,
    "subclasses of data types": """
        from collections import namedtuple
        from typing import TypedDict
        class Upper(str):
            def __new__(cls, text):
                return super().__new__(cls, text.upper())
        class Weighted(int):
            def __new__(cls, value, weight=0):
                self = super().__new__(cls, value)
                self.weight = weight
                return self
        class Doubling(dict):
            def __missing__(self, key):
                return key * 2
        class Pair(namedtuple("Base", "x y")):
            __slots__ = ()
            def __new__(cls, x, y=3):
                return super().__new__(cls, x, y)
        class Settings(TypedDict, total=False):
            size: int
        text, number, table, pair = Upper("abc"), Weighted(5, weight=2), Doubling(a=1), Pair(1)
        table.extra = 5
        def func(row):
            settings = Settings(size=1), Settings.__total__
            return text, type(number), number.weight, table[row["a"]], table.extra, pair.y, settings
    """,
    "decorated methods": """
        import functools, contextlib
        def times(n):
            def decorate(f):
                @functools.wraps(f)
                def wrapper(*args, **kwargs):
                    return f(*args, **kwargs) * n
                return wrapper
            return decorate
        @functools.total_ordering
        class Version:
            def __init__(self, x):
                self.x = x
            def __eq__(self, other):
                return self.x == other.x
            def __lt__(self, other):
                return self.x < other.x
            @times(3)
            def number(self):
                return self.x
            @functools.lru_cache
            def cached(self):
                return self.x
            __hash__ = object.__hash__
            @functools.singledispatchmethod
            def kind(self, x):
                return "other"
            @kind.register
            def _(self, x: int):
                return "int"
        @contextlib.contextmanager
        def opened(x):
            yield Version(x)
        def func(row):
            with opened(row["a"]) as version:
                return version >= Version(2), version.number(), version.cached(), version.kind(1), version.kind("")
    """,
    "an object graph with a way back": """
        class Node:
            def __init__(self, parent=None):
                self.parent = parent
                self.children = []
                if parent is not None:
                    parent.children.append(self)
        root = Node()
        child = Node(root)
        handlers = {}
        def handles(name):
            def decorate(f):
                handlers[name] = f
                return f
            return decorate
        @handles("a")
        def handle(x):
            return handlers["a"] is handle, x
        def func(row):
            return child.parent is root, root.children[0] is child, handlers["a"](row["a"])
    """,
    "a singleton": """
        class Config:
            _instance = None
            def __new__(cls):
                if cls._instance is None:
                    cls._instance = super().__new__(cls)
                return cls._instance
        config = Config()
        def func(row):
            return Config() is config
    """,
    "dataclass": """
        from dataclasses import dataclass, field, fields, replace, asdict, KW_ONLY
        @dataclass(order=True)
        class Point:
            x: int
            tags: list = field(default_factory=list, metadata={"unit": "m"})
            _: KW_ONLY
            y: float = 0.5
            def moved(self):
                return replace(self, x=self.x + 1)
        def func(row):
            return Point(row["a"]).moved(), asdict(Point(1)), Point(1) < Point(2), fields(Point)[1].metadata["unit"]
    """,
    "frozen dataclass with slots": """
        from dataclasses import dataclass
        @dataclass(frozen=True, slots=True)
        class Point:
            x: int
            y: int = 2
        origin = Point(0, 0)
        by_point = {origin: "origin", Point(1): "one"}
        def func(row):
            return by_point[Point(0, 0)], hash(Point(1)) == hash(Point(1)), Point(row["a"])
    """,
    "namedtuple": """
        from collections import namedtuple
        Point = namedtuple("Point", "x y", defaults=[5])
        def func(row):
            return [Point(row["a"])._replace(y=6)]
    """,
    "NamedTuple with methods": """
        from typing import NamedTuple
        class Point(NamedTuple):
            "Doc."
            x: int
            y: int = 5
            def norm(self):
                return abs(self.x) + abs(self.y)
            @property
            def swapped(self):
                return Point(self.y, self.x)
        def func(row):
            return [Point(row["a"]).swapped], Point(row["a"]).norm(), Point.__doc__
    """,
    "Enum": """
        from enum import Enum, auto
        class Color(Enum):
            RED = auto()
            GREEN = auto()
            CRIMSON = 1
            def paint(self):
                return f"painted {self.name.lower()}"
            @property
            def other(self):
                return Color.GREEN if self is Color.RED else Color.RED
            @classmethod
            def _missing_(cls, value):
                return cls.GREEN
            @staticmethod
            def count():
                return len(Color)
        def func(row):
            assert Color.CRIMSON is Color.RED
            return Color(row["a"]), Color.RED.paint(), Color.RED.other, Color["CRIMSON"], Color.count(), list(Color)
    """,
    "Enum with its own __new__ and __init__": """
        from enum import Enum
        class Planet(Enum):
            EARTH = (5.976e24, 6.37814e6)
            MARS = (6.421e23, 3.3972e6)
            def __init__(self, mass, radius):
                self.mass = mass
                self.radius = radius
        class Coordinate(bytes, Enum):
            def __new__(cls, value, label):
                obj = bytes.__new__(cls, [value])
                obj._value_ = value
                obj.label = label
                return obj
            X = (0, "x label")
            Y = (1, "y label")
        def func(row):
            return Planet.MARS, Planet.EARTH.radius, Coordinate(1).name, Coordinate.Y.label, bytes(Coordinate.Y)
    """,
    "IntEnum, StrEnum, mixins": """
        import datetime
        from enum import Enum, IntEnum, StrEnum, auto
        class Level(IntEnum):
            LOW = 1
            HIGH = 2
        class Name(StrEnum):
            ANNA = auto()
            BOB = "bobby"
            def __str__(self):
                return "<" + self.value + ">"
        class Text(str, Enum):
            A = "a"
        class Half(float, Enum):
            ONE = 0.5
        class Day(datetime.date, Enum):
            FIRST = 2020, 1, 1
        class Base(Enum):
            def hello(self):
                return "hello " + self.name
        class Sub(Base):
            X = []
        def func(row):
            return (Level(2), Level.LOW + 1, Name.ANNA, str(Name.BOB), Text("a"), Text.A + "b", Half.ONE * 2, Day.FIRST,
                    Day.FIRST.year, Sub.X.hello(), Sub([]))
    """,
    "Flag": """
        from enum import Flag, IntFlag, auto, CONFORM
        class Access(Flag):
            READ = auto()
            WRITE = auto()
            BOTH = READ | WRITE
        class Mode(IntFlag):
            X = 1
            W = 2
        class Soft(Flag, boundary=CONFORM):
            A = 1
        def func(row):
            both = Access.READ | Access.WRITE
            return both, Access.BOTH, Access.READ in Access.BOTH, ~Access.READ, Mode.X | Mode.W, Soft(9), Mode(0)
    """,
    "ABC": """
        from abc import ABC, abstractmethod
        class Shape(ABC):
            @abstractmethod
            def area(self): ...
            @property
            @abstractmethod
            def name(self): ...
        class Square(Shape):
            def __init__(self, side):
                self.side = side
            def area(self):
                return self.side ** 2
            name = "square"
        @Shape.register
        class Virtual:
            pass
        def func(row):
            try:
                Shape()
            except TypeError:
                refused = True
            return Square(row["a"]).area(), isinstance(Square(1), Shape), issubclass(Virtual, Shape), refused
    """,
    "generic classes": """
        from typing import Generic, TypeVar, NewType, Optional
        T = TypeVar("T", bound="int | str")
        Id = NewType("Id", int)
        class Box(Generic[T]):
            def __init__(self, item: T) -> None:
                self.item = item
            def get(self) -> Optional[T]:
                return self.item
        class IntBox(Box[int]):
            pass
        def func(row, kind: T = None):
            box = Box[int](row["a"])
            return box.get(), IntBox(Id(1)), T.__name__, Box.__parameters__ == (T,), func.__annotations__["kind"] is T
    """,
    "Protocol": """
        from typing import Protocol, runtime_checkable
        @runtime_checkable
        class Sized(Protocol):
            size: int
            def grow(self) -> int: ...
        class Thing:
            size = 1
            def grow(self):
                return 2
        def func(row):
            return isinstance(Thing(), Sized), isinstance(3, Sized)
    """,
    "metaclass": """
        made = []
        class Meta(type):
            def __new__(mcls, name, bases, namespace, *, tag=None):
                namespace["fields"] = [key for key in namespace if not key.startswith("_")]
                cls = super().__new__(mcls, name, bases, namespace)
                cls.tag = tag
                made.append(name)
                return cls
            def __init__(cls, name, bases, namespace, *, tag=None):
                super().__init__(name, bases, namespace)
            def __call__(cls, *args):
                instance = super().__call__(*args)
                instance.called = True
                return instance
            def __len__(cls):
                return len(cls.fields)
        class Thing(metaclass=Meta, tag="t"):
            x = 1
            y = 2
        def func(row):
            return Thing(), len(Thing), Thing.tag, list(made), type(Thing) is Meta
    """,
    "properties and descriptors": """
        class Positive:
            def __set_name__(self, owner, name):
                self.name = "_" + name
            def __get__(self, instance, owner):
                return self if instance is None else getattr(instance, self.name)
            def __set__(self, instance, value):
                setattr(instance, self.name, abs(value))
        class Thing:
            size = Positive()
            def __init__(self, size):
                self.size = size
            @property
            def double(self):
                return self.size * 2
            @double.setter
            def double(self, value):
                self.size = value / 2
            @double.deleter
            def double(self):
                self.size = 0
        def func(row):
            thing = Thing(-row["a"])
            before = thing.double
            del thing.double
            return before, thing.size, thing
    """,
    "a class inside a class": """
        class Outer:
            class Inner:
                def __init__(self):
                    self.x = 1
        def func(row):
            return Outer.Inner(), Outer.Inner.__qualname__
    """,
    "classes made by a function": """
        def make(k):
            class Local:
                factor = k
                def __init__(self, x):
                    self.x = x * k
            return Local
        Two, Three = make(2), make(3)
        def func(row):
            return Two(row["a"]) if row["a"] % 2 else Three(row["a"])
    """,
    "exception class caught inside": """
        class MyError(ValueError):
            def __init__(self, code, *, detail):
                super().__init__(f"{code}: {detail}")
                self.code = code
        def check(x):
            if x % 2:
                raise MyError(7, detail="odd")
            return x
        def func(row):
            try:
                return check(row["a"])
            except MyError as error:
                return error.code
    """,
    "comprehension scopes, match, walrus": """
        table = {1: "one", 2: "two"}
        def func(row):
            names = [table[key] for key in table if (doubled := key * 2) > 2]
            match {"kind": "point", "x": int(row["a"])}:
                case {"kind": "point", "x": 1}:
                    found = "first"
                case {"kind": "point", "x": x} if x > 1:
                    found = [y + x for y in range(2)]
            return names, doubled, found, {**{k: v for k, v in table.items()}}
    """,
    "async def": """
        import asyncio
        async def twice(x):
            return x * 2
        def func(row):
            loop = asyncio.new_event_loop()
            try:
                return loop.run_until_complete(twice(row["a"]))
            finally:
                loop.close()
    """,
    "regular expressions": """
        import re
        pattern = re.compile(r"(\\d+)", re.I)
        def func(row):
            return pattern.findall(f"x{row['a']}"), re.sub("x", "y", "axa")
    """,
    "logger": """
        import logging
        log = logging.getLogger("project.module")
        def func(row):
            log.debug("row %s", row)
            return log.name
    """,
    "slices": """
        import numpy as np
        table = np.arange(6).reshape(2, 3)
        def func(row):
            class Part:
                first = str(row["a"])[:2]
            return Part.first, (lambda text: text[::-1])(str(row["a"])), table[0:1, 1:3].tolist(), [t[1:] for t in "ab"]
    """,
    "numpy": """
        import numpy as np
        from numpy import log1p
        rng = np.random.default_rng(3)
        weights = np.arange(10.0)
        kind = np.dtype("int32")
        scalar = np.float32(2)
        def func(row):
            return log1p(row["a"]), weights[1:3].sum(), kind.itemsize, scalar, type(rng).__name__, np.add.reduce([1, 2])
    """,
    "pandas objects in a closure": """
        import pandas as pd
        def make():
            lookup = pd.Series({1: "one", 2: "two"})
            frame = pd.DataFrame({"x": pd.Categorical(["a", "b"])})
            stamp = pd.Timestamp("2020-01-01", tz="Europe/Berlin")
            return lambda row: (lookup.get(row["a"], "many"), frame["x"].iloc[0], stamp, pd.NA)
        func = make()
    """,
    "locks and events": """
        import threading
        lock = threading.Lock()
        again = threading.RLock()
        event = threading.Event()
        def func(row):
            with lock, again, again:
                return row["a"], event.is_set()
    """,
    "weak references": """
        import weakref
        class Thing:
            pass
        kept = Thing()
        cache = weakref.WeakValueDictionary(kept=kept)
        known = weakref.WeakSet([kept])
        def func(row):
            return len(cache), kept in known
    """,
    "returns a captured function": "def helper(x):\n    return x\nfunc = lambda row: helper",
    "returns a captured class": "class Thing:\n    pass\nfunc = lambda row: Thing",
    "returns itself": "def func(row):\n    return func",
    "standard streams": """
        import sys
        out = sys.stdout
        def func(row):
            return out is sys.stdout
    """,
    "a module made by hand": """
        import types
        tools = types.ModuleType("tools")
        exec("k = 3\\ndef scaled(x): return x * k", vars(tools))
        def func(row):
            return tools.scaled(row["a"])
    """,
    "operators and builtins": """
        import operator
        from functools import reduce
        steps = [operator.itemgetter("a"), abs, float, str, str.upper, "x{}".format]
        def func(row):
            return reduce(lambda value, step: step(value), steps, row)
    """,
    "generic aliases": """
        import typing
        Pair = tuple[int, str]
        Maybe = typing.Optional[int]
        Either = int | str
        def func(row):
            return Pair.__args__, typing.get_args(Maybe), isinstance(1, Either)
    """,
    "deep closure": """
        def compose(f, g):
            return lambda x: f(g(x))
        step = lambda x: x + 1
        for _ in range(60):
            step = compose(step, lambda x: x)
        func = lambda row: step(row["a"])
    """,
}

if sys.version_info >= (3, 12):
    CASES["type parameters"] = """
        type Pair[T] = tuple[T, T]
        class Box[T]:
            def __init__(self, item: T):
                self.item = item
            def get(self) -> T:
                return self.item
        def first[T](pair: Pair[T]) -> T:
            return pair[0]
        def func(row):
            names = Box.__type_params__[0].__name__, Pair.__name__, first.__type_params__[0].__name__
            return first((row["a"], 0)), Box(1).get(), names
    """


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2, 3, 4]}, index=list("wxyz"))


def main_script(source: str) -> dict[str, Any]:
    """The globals of a main script with that text."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(compile(textwrap.dedent(source), "<main script>", "exec", dont_inherit=True), namespace)
    return namespace


#: What cloudpickle itself does not take, or takes with another meaning.
ONLY_BY_DILL = {
    "closures that share a cell",
    "a cell that holds itself",
    "callable object with slots",
    "lru_cache on a recursive function",
    "singledispatch",
    "cached_property",
    "a class that holds an instance of itself",
    "subclasses of data types",
    "decorated methods",
    "Enum",
    "Enum with its own __new__ and __init__",
    "IntEnum, StrEnum, mixins",
    "generic classes",
    "metaclass",
    "a class inside a class",
    "locks and events",
    "weak references",
    "standard streams",
    "type parameters",
}

BOTH = [(case, "dill") for case in CASES] + [(case, "cloudpickle") for case in CASES if case not in ONLY_BY_DILL]


@pytest.mark.part(2)
@pytest.mark.parametrize(("case", "serializer"), BOTH)
def test_workers_do_what_pandas_does(case: str, serializer: str) -> None:
    func, df = main_script(CASES[case])["func"], frame()
    par = df.par(engine="process", n_workers=2, chunk_size=2, serializer=serializer)
    assert_same(par.apply_rows(func), df.apply(func, axis=1))


def sent(func: Any, *args: Any, serializer: Any = "dill") -> Any:
    """The function after a journey within this process."""
    data = encode_work(Work(func, args, {}, "row"), SharedTable(), serializer)
    return decode_work(data)[0].func


@pytest.mark.parametrize("case", CASES)
def test_a_copy_is_another_object_that_does_the_same(case: str) -> None:
    func, row = main_script(CASES[case])["func"], frame().iloc[0]
    copy = sent(func)
    assert copy is not func
    assert repr(copy(row)).split(" at 0x")[0] == repr(func(row)).split(" at 0x")[0]


def test_what_can_be_imported_is_named_not_copied() -> None:
    for func in (max, operator.add, np.mean, pd.isna, textwrap.dedent, str.upper, dict.fromkeys, frame, decode_work):
        assert sent(func) is func or sent(func) == func
        assert not travels_by_value(func)
    assert len(encode_work(Work(textwrap.dedent, (), {}, "row"), SharedTable(), "dill")) < 300


def test_all_functions_of_one_script_share_one_namespace() -> None:
    source = """
        state = {"n": 0}
        def first():
            global extra
            extra = 1
        def func(row):
            first()
            state["n"] += extra
            return state["n"], second()
        second = lambda: state["n"]
    """
    namespace = main_script(source)
    copy = sent(namespace["func"])
    assert [copy(None), copy(None)] == [(1, 1), (2, 2)]
    assert copy.__globals__ is copy.__globals__["first"].__globals__ is copy.__globals__["second"].__globals__
    assert namespace["state"] == {"n": 0}
    assert "extra" not in namespace


def test_only_the_globals_that_are_named_travel() -> None:
    namespace = main_script("import threading\nunused = threading.Thread()\nk = 2\nfunc = lambda row: k")
    assert set(sent(namespace["func"]).__globals__) == {"__name__", "__package__", "__builtins__", "k"}


def test_a_users_own_module_is_imported_not_copied(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_tools.py").write_text(
        "import threading\nthread = threading.Thread()\ndef twice(x): return x * 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace = main_script("import own_tools\nfunc = lambda row: own_tools.twice(row['a'])")
    try:
        assert sent(namespace["func"]).__globals__["own_tools"] is namespace["own_tools"]
    finally:
        del sys.modules["own_tools"]


def test_a_closure_of_a_module_whose_globals_cannot_travel_uses_the_module(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import threading\nthread = threading.Thread()\ndef make(k): return lambda x: (thread.is_alive(), k)\n"
    (tmp_path / "made_there.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import made_there  # type: ignore[import-not-found]

    try:
        copy = sent(made_there.make(5))
        assert copy(0) == (False, 5)
        assert copy.__globals__ is vars(made_there)
    finally:
        del sys.modules["made_there"]


def test_a_held_lock_arrives_free() -> None:
    namespace = main_script(
        """
        import threading
        lock, again = threading.Lock(), threading.RLock()
        lock.acquire(); again.acquire()
        func = lambda row: (lock.acquire(blocking=False), again.acquire(blocking=False))
        """
    )
    assert sent(namespace["func"])(None) == (True, True)


PARTS = """
    import collections, dataclasses, functools, types, weakref
    import numpy as np
    class Base:
        __slots__ = ("a", "__dict__", "__weakref__")
        def name(self):
            return "base"
    class Thing(Base):
        def name(self):
            return "thing"
    class Tagged(np.ndarray):
        pass
    @functools.lru_cache(maxsize=7)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
    thing, numbers, gone = Thing(), {"a": 1}, weakref.ref(Thing())
    ordered = collections.OrderedDict(a=1)
    tagged = np.arange(3).view(Tagged)
    tagged.tag = thing
    parts = {
        "super": super(Thing, thing),
        "proxy of a dict": types.MappingProxyType(numbers),
        "views": [numbers.keys(), numbers.values(), numbers.items(), ordered.keys(), ordered.items()],
        "reference": weakref.ref(thing),
        "weak proxy": weakref.proxy(thing),
        "methods": [thing.name, Thing.name, str.upper, int.__add__, dict.__dict__["fromkeys"]],
        "descriptors": [Base.a, type.__dict__["__mro__"], vars(Base)["__dict__"], vars(Base)["__weakref__"]],
        "sentinels": [dataclasses.MISSING, dataclasses.KW_ONLY],
        "types": [type(None), type(...), types.FunctionType, types.CellType, type({}.keys()), int, functools.partial],
    }
    def func(row):
        return parts, thing, Thing, numbers, gone, tagged, fibonacci
"""


def test_parts_that_pickle_refuses_arrive_and_keep_what_they_share() -> None:
    parts, thing, kind, numbers, gone, tagged, fibonacci = sent(main_script(PARTS)["func"])(None)
    assert parts["super"].name() == "base"
    assert parts["super"].__self__ is parts["reference"]() is tagged.tag is thing
    assert (parts["weak proxy"].name(), gone()) == ("thing", None)
    numbers["b"] = 2
    assert parts["proxy of a dict"] == {"a": 1, "b": 2}
    assert [len(view) for view in parts["views"]] == [2, 2, 2, 1, 1]
    bound, plain, upper, add, from_keys = parts["methods"]
    assert bound.__self__ is thing
    assert plain is kind.name is bound.__func__
    assert (upper, add, from_keys) == (str.upper, int.__add__, dict.__dict__["fromkeys"])
    base = vars(kind.__base__)
    assert parts["descriptors"] == [base["a"], type.__dict__["__mro__"], base["__dict__"], base["__weakref__"]]
    assert parts["sentinels"] == [dataclasses.MISSING, dataclasses.KW_ONLY]
    expected = [type(None), type(...), types.FunctionType, types.CellType, type({}.keys()), int, functools.partial]
    assert parts["types"] == expected
    assert (fibonacci(20), fibonacci.cache_parameters()["maxsize"], fibonacci.cache_info().hits) == (6765, 7, 18)


def test_what_only_dill_was_taught_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handle:
        number = 1

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("no handle travels")

    monkeypatch.setitem(dill.Pickler.dispatch, Handle, lambda pickler, handle: pickler.save_reduce(int, ("7",)))
    held = Handle()
    assert sent(lambda row: held)(None) == 7
    monkeypatch.delitem(dill.Pickler.dispatch, Handle)
    with pytest.raises(FunctionNotSerializableError, match=r"'held' is a .*Handle \(TypeError: no handle travels\)"):
        sent(lambda row: held)


# Objects of user's classes as data and as results

CLASSES = """
    import enum
    class Thing:
        def __init__(self, x):
            self.x = x
        def __eq__(self, other):
            return type(self) is type(other) and self.x == other.x
        __hash__ = None
    class Color(enum.Enum):
        RED = 1
        BLUE = 2
    def func(value):
        if isinstance(value, Thing):
            return Thing(value.x + 1)
        return Color.BLUE if value is Color.RED else (type(value) is type(lambda: 0) and value())
"""


@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_instances_in_the_frame_and_in_the_result_are_of_the_original_classes(engine: str) -> None:
    main = main_script(CLASSES)
    values = pd.Series([main["Thing"](1), main["Color"].RED, lambda: 5, main["Thing"](2)])
    result = values.par(engine=engine, n_workers=2, chunk_size=1).map(main["func"])
    assert type(result[0]) is main["Thing"]
    assert [result[0].x, result[3].x] == [2, 3]
    assert result[1] is main["Color"].BLUE
    assert result[2] == 5


def test_a_function_made_in_a_worker_reads_the_globals_of_the_parent() -> None:
    main = main_script("k = 2\ndef func(x):\n    return lambda: (k, x)")
    made = pd.Series([1, 2]).par(engine="process", n_workers=2).map(main["func"])
    main["k"] = 3
    assert [one() for one in made] == [(3, 1), (3, 2)]
    assert made[0].__globals__ is main


def test_a_class_made_in_a_worker_comes_back() -> None:
    main = main_script(
        """
        class Base:
            def hello(self):
                return "hello"
        def func(x):
            class Local(Base):
                value = x
            return Local()
        """
    )
    result = pd.Series([1, 2]).par(engine="process", n_workers=2).map(main["func"])
    assert [one.value for one in result] == [1, 2]
    assert all(isinstance(one, main["Base"]) for one in result)


def test_a_redefined_class_of_the_same_name_is_not_taken_for_the_old_one() -> None:
    main = main_script("class Thing:\n    pass\nfunc = lambda x: Thing()")
    old_func, old = main["func"], main["Thing"]
    namespace = dict(main)
    old_func = types.FunctionType(old_func.__code__, namespace)
    exec("class Thing:\n    new = True", main)
    result = pd.Series([1]).par(engine="process", n_workers=2).map(old_func)
    assert type(result[0]) is old
    assert type(pd.Series([1]).par(engine="process", n_workers=2).map(main["func"])[0]) is main["Thing"]


def test_a_redefined_function_takes_effect() -> None:
    main = main_script("def helper(x):\n    return x\ndef func(x):\n    return helper(x)")
    par = pd.Series([1, 2]).par(engine="process", n_workers=2)
    assert par.map(main["func"]).tolist() == [1, 2]
    exec("def helper(x):\n    return x * 10", main)
    assert par.map(main["func"]).tolist() == [10, 20]
    exec("def func(x):\n    return helper(x) + 1", main)
    assert par.map(main["func"]).tolist() == [11, 21]


# What cannot travel


class Refusing:
    """An object that does not let itself be pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("I stay here")


HINDRANCES: dict[str, Callable[[], Any]] = {
    "socket": socket.socket,
    "generator": lambda: (x for x in [1]),
    "open file": lambda: open(__file__),  # noqa: SIM115 - the fixture closes it
    "database": lambda: sqlite3.connect(":memory:"),
    "refusing object": Refusing,
    "thread": threading.Thread,
    "frame": sys._getframe,
    "memoryview": lambda: memoryview(b"x"),
    "iterator of a file": lambda: os.scandir("."),
}


@pytest.fixture(params=list(HINDRANCES))
def hindrance(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = HINDRANCES[request.param]()
    yield made
    if hasattr(made, "close"):
        made.close()


def as_closure_variable(bad: Any) -> tuple[Any, ...]:
    def func(x: Any) -> Any:
        return bad

    return func, "closure variable 'bad'"


def as_global(bad: Any) -> tuple[Any, ...]:
    main = main_script("def func(x): return connection")
    main["connection"] = bad
    return main["func"], "global variable 'connection'"


def as_global_of_another_function(bad: Any) -> tuple[Any, ...]:
    main = main_script("def helper(x): return connection\ndef func(x): return helper(x)")
    main["connection"] = bad
    return main["func"], "global variable 'connection' of global variable 'helper'"


def as_default(bad: Any) -> tuple[Any, ...]:
    return (lambda x, bad=bad: bad), "default value 0"


def as_keyword_default(bad: Any) -> tuple[Any, ...]:
    def func(x: Any, *, connection: Any = bad) -> Any:
        return connection

    return func, "default value 'connection'"


def as_bound_argument(bad: Any) -> tuple[Any, ...]:
    return functools.partial(lambda x, connection: x, connection=bad), "bound argument 'connection'"


def as_attribute_of_self(bad: Any) -> tuple[Any, ...]:
    main = main_script("class Model:\n    def predict(self, x): return x")
    model = main["Model"]()
    model.connection = bad
    return model.predict, "attribute 'connection'"


def as_attribute_of_a_callable(bad: Any) -> tuple[Any, ...]:
    main = main_script("class Model:\n    __slots__ = 'connection'\n    def __call__(self, x): return x")
    model = main["Model"]()
    model.connection = bad
    return model, "attribute 'connection'"


def as_attribute_of_a_class(bad: Any) -> tuple[Any, ...]:
    main = main_script("class Model:\n    pass\ndef func(x): return Model")
    main["Model"].connection = bad
    return main["func"], "attribute 'connection' of global variable 'Model'"


def as_item_of_a_dict(bad: Any) -> tuple[Any, ...]:
    settings = {"fine": 1, "connection": bad}
    return (lambda x: settings), "item 'connection' of closure variable 'settings'"


def as_item_of_a_list(bad: Any) -> tuple[Any, ...]:
    parts = [[1], [bad]]
    return (lambda x: parts), "item 0 of item 1 of closure variable 'parts'"


def as_argument(bad: Any) -> tuple[Any, ...]:
    return (lambda x, a, b: x), "argument args[1]", {"args": (1, bad)}


def as_keyword_argument(bad: Any) -> tuple[Any, ...]:
    return (lambda x, connection: x), "argument 'connection'", {"connection": bad}


PLACES = [value for name, value in sorted(globals().items()) if name.startswith("as_")]


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_what_cannot_travel_is_named(place: Any, serializer: str) -> None:
    with socket.socket() as bad:
        func, name, *arguments = place(bad)
        par = frame().par(engine="process", n_workers=2, serializer=serializer)
        with pytest.raises(FunctionNotSerializableError) as caught:
            par.apply_rows(func, **(arguments[0] if arguments else {}))
    assert f"{name} " in str(caught.value)
    assert "is a socket.socket (" in str(caught.value)
    assert "engine='thread'" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_each_kind_of_hindrance_is_named(hindrance: Any) -> None:
    func, name = as_closure_variable(hindrance)
    with pytest.raises(FunctionNotSerializableError) as caught:
        frame().par(engine="process", n_workers=2).apply_rows(func)
    assert f"{name} is a " in str(caught.value)
    assert type(hindrance).__name__ in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda df, func: df.par(engine="process").groupby("a").apply(func),
        lambda df, func: df.par(engine="process").groupby("a").transform(func),
        lambda df, func: df["a"].astype("category").par(engine="process").map(func),
        lambda df, func: df["a"].par(engine="process").rolling(2).apply(func),
    ],
    ids=["groups", "groups, transform", "categories", "windows"],
)
def test_it_is_the_function_of_the_user_that_is_named(call: Any) -> None:
    with socket.socket() as bad:

        def func(x: Any) -> Any:
            return bad is None

        with pytest.raises(FunctionNotSerializableError, match=r"^Function '.*func' cannot .*: closure variable 'bad'"):
            call(pd.DataFrame({"a": [1, 2, 1], "b": [1.0, 2.0, 3.0]}), func)


@pytest.mark.parametrize("options", [{"engine": "process"}, {"engine": "pathos"}, {"engine": "auto", "timeout": 60.0}])
def test_it_is_said_before_any_process_starts(
    options: dict[str, Any], anew: None, any_rest_is_worth_it: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", lambda process: started.append(process))
    with socket.socket() as bad:

        def func(x: Any) -> Any:
            return bad is None

        with pytest.raises(FunctionNotSerializableError, match="closure variable 'bad'"):
            pd.DataFrame({"a": range(200)}).par(n_workers=2, **options).apply_rows(func)
    assert started == []
    assert children() == []


def test_a_thread_needs_no_journey() -> None:
    with socket.socket() as bad:
        func, _ = as_closure_variable(bad)
        assert frame().par(engine="thread", n_workers=2).apply_rows(func).iloc[0] is bad


def test_an_object_that_cannot_be_loaded_in_the_worker_says_so() -> None:
    main = main_script(
        """
        def fails():
            raise ValueError("not here")
        class Bad:
            def __reduce__(self):
                return fails, ()
        bad = Bad()
        def func(row):
            return bad
        """
    )
    with pytest.raises(ValueError, match="not here") as caught:
        frame().par(engine="process", n_workers=2).apply_rows(main["func"])
    assert any("could not be loaded in the worker" in note for note in caught.value.__notes__)


def test_what_the_main_script_knows_only_by_name_is_said_here_not_in_the_worker() -> None:
    main = main_script(
        """
        class Sentinel:
            def __reduce__(self):
                return "MISSING"
        MISSING = Sentinel()
        def func(row):
            return MISSING
        """
    )
    with pytest.raises(FunctionNotSerializableError, match=r"global variable 'MISSING' is a __main__\.Sentinel"):
        frame().par(engine="process", n_workers=2).apply_rows(main["func"])


def test_nesting_that_is_too_deep_is_said() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(FunctionNotSerializableError, match="nested too deeply"):
        frame().par(engine="process", n_workers=2).apply_rows(lambda row: nested)


def test_a_large_closure_gives_a_warning_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "LARGE", 50_000)
    small, weights = np.zeros(10), np.zeros(10_000)
    with pytest.warns(
        UserWarning, match=r"take 8\d,\d{3} bytes; closure variable 'weights' takes 80,\d{3} of them"
    ) as caught:
        result = frame().par(engine="process", n_workers=2).apply_rows(lambda row: small[0] + weights[0] + row["a"])
    assert result.tolist() == [1, 2, 3, 4]
    assert [warning.filename for warning in caught] == [__file__]


def test_below_the_limit_there_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.zeros(1000)
    size = len(encode_work(Work(lambda row: weights, (), {}, "row"), SharedTable(), "dill"))
    monkeypatch.setattr(functions, "LARGE", size)
    encode_work(Work(lambda row: weights, (), {}, "row"), SharedTable(), "dill")


# Nothing else in the process changes


def test_nothing_global_changes() -> None:
    before = (dict(dill.settings), sys.stdout, sys.stderr, list(warnings.filters), sys.getrecursionlimit())
    main = main_script(CASES["Enum"])
    frame().par(engine="process", n_workers=2).apply_rows(main["func"])
    after = (dict(dill.settings), sys.stdout, sys.stderr, list(warnings.filters), sys.getrecursionlimit())
    assert after == before


@pytest.mark.parametrize("setting", [{"byref": True}, {"recurse": False}, {"fmode": dill.FILE_FMODE}, {"protocol": 0}])
def test_the_users_settings_of_dill_change_nothing(setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in setting.items():
        monkeypatch.setitem(dill.settings, key, value)
    main = main_script(CASES["a class that names itself"])
    assert type(sent(main["func"])(None)).__name__ == "Node"


def test_many_threads_at_once() -> None:
    filters = list(warnings.filters)
    failures = []

    def work(number: int) -> None:
        try:
            main = main_script(CASES["a registry of subclasses"] + f"\n        own = {number}")
            func = main["func"]
            for _ in range(5):
                assert sent(func)(None)[1:] == ([1, 2], 3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(warnings.filters) == filters


def test_names_of_sources_without_a_file_travel_for_the_traceback() -> None:
    import linecache

    source, name = "def func(row):\n    return int(row['a']) / 0  # typed in\n", "<typed in 17>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)
    try:
        with pytest.raises(ZeroDivisionError) as caught:
            frame().par(engine="process", n_workers=2).apply_rows(namespace["func"])
    finally:
        del linecache.cache[name]
    assert "return int(row['a']) / 0  # typed in" in str(caught.value.__cause__)


def test_a_function_with_a_constant_that_no_compiler_makes_travels() -> None:
    def func(x: int) -> object:
        return "here", x

    constants = tuple(Path("here") if each == "here" else each for each in func.__code__.co_consts)
    func.__code__ = func.__code__.replace(co_consts=constants)
    assert pdparallel.map(func, [1], engine="process", n_workers=1) == [(Path("here"), 1)]


class _Refuses:
    def __reduce__(self) -> Any:
        raise LookupError("no way")


@pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
def test_the_cause_shows_the_lines_of_the_user_only(serializer: Any) -> None:
    numbers = (number for number in range(3))
    held, refuses = {"numbers": [numbers]}, _Refuses()
    for func in (lambda value: held, lambda value: refuses):
        with pytest.raises(FunctionNotSerializableError) as caught:
            pdparallel.map(func, [1, 2], engine="process", n_workers=2, serializer=serializer)
        cause = caught.value.__cause__
        assert cause is not None
        frames = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
        assert frames == (["__reduce__"] if isinstance(cause, LookupError) else [])
        assert not getattr(cause, "__notes__", [])
