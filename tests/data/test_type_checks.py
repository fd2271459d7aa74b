"""Asking for the type of a row, a group or a column: whatever way it is asked, the answer is pandas'."""

from __future__ import annotations

import builtins
import contextvars
import copy
import functools
import inspect
import operator
import pickle
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel  # noqa: F401 - the accessor
from pdparallel.data.fastpath import type_checks
from pdparallel.data.fastpath.type_checks import may_ask_for_types, only_reads, reads_by_texts
from pdparallel.testing import assert_same_as_pandas

FRAME = pd.DataFrame({"k": np.repeat(np.arange(20), 3), "x": np.arange(60.0), "y": np.arange(60.0) / 7})
TIMES = FRAME.set_index(pd.date_range("2024-01-01", periods=60, freq="h"))


def _told(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__} {kind is pd.Series} {kind is pd.DataFrame}"


KIND = type
HERE = sys.modules[__name__]


def _helper(unit: Any) -> str:
    return _told(type(unit))


def _two_deep(unit: Any) -> str:
    return _helper(unit)


def _by_itself(unit: Any, left: int = 3) -> str:
    return _by_itself(unit, left - 1) if left else _helper(unit)


HELPERS = {"first": _helper, "all": [_helper]}
SPACE = types.SimpleNamespace(helper=_helper)
IN_CONTEXT: contextvars.ContextVar[Any] = contextvars.ContextVar("IN_CONTEXT", default=None)


class Model:
    """With a way to ask in each kind of method."""

    kind = type

    def bound(self, unit: Any) -> str:
        return _told(type(unit))

    def by_attribute(self, unit: Any) -> str:
        return _told(self.kind(unit))

    @classmethod
    def of_class(cls, unit: Any) -> str:
        return _told(type(unit))

    @staticmethod
    def static(unit: Any) -> str:
        return _told(type(unit))

    @property
    def asker(self) -> Callable[[Any], str]:
        return lambda unit: _told(type(unit))

    def __call__(self, unit: Any) -> str:
        return _told(type(unit))


class Child(Model):
    """Asks by what it inherits."""


class Slotted:
    """Keeps the helper in a slot."""

    __slots__ = ("helper",)

    def __init__(self) -> None:
        self.helper = _helper


@dataclass
class Record:
    """Asks as it is made."""

    unit: Any

    def __post_init__(self) -> None:
        self.told = _told(type(self.unit))


class _Meta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return type(instance) in (pd.Series, pd.DataFrame)


class Checked(metaclass=_Meta):
    """Has an ``isinstance`` that asks."""


MODEL, CHILD, SLOTTED = Model(), Child(), Slotted()


def _decorator(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _told(type(args[0])), func(*args, **kwargs)

    return wrapper


def _takes_any(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


@_decorator
def _decorated(unit: Any) -> int:
    return len(unit)


@_takes_any
@_takes_any
def _decorated_twice(unit: Any) -> str:
    return _told(type(unit))


def _attributed(unit: Any) -> str:
    return _attributed.helper(unit)  # type: ignore[attr-defined]


_attributed.helper = _helper  # type: ignore[attr-defined]


@functools.singledispatch
def _dispatched(unit: Any) -> str:
    return "object"


@_dispatched.register
def _(unit: pd.Series) -> str:
    return _told(type(unit))


@_dispatched.register
def _(unit: pd.DataFrame) -> str:
    return _told(type(unit))


def _alias(unit: Any) -> str:
    other = unit
    return _told(type(other))


def _in_a_cell(unit: Any) -> str:
    get = lambda: len(unit)
    return _told(type(unit)) + str(get())


def _nested(unit: Any) -> str:
    def inner(one: Any) -> str:
        def innermost() -> str:
            return _told(type(one))

        return innermost()

    return inner(unit)


def _in_a_class(unit: Any) -> str:
    class Local:
        told = _told(type(unit))

    return Local.told


def _star(*args: Any) -> str:
    return _told(type(args[0]))


def _another_name(unit: Any) -> str:
    ask = type
    return _told(ask(unit))


def _default(unit: Any, ask: Any = type) -> str:
    return _told(ask(unit))


def _keyword_default(unit: Any, *, ask: Any = _helper) -> str:
    return str(ask(unit))


def _imports(unit: Any) -> str:
    from tests.data.test_type_checks import _helper as imported

    return imported(unit)


def _imports_builtins(unit: Any) -> str:
    import builtins as some

    return _told(some.type(unit))


def _in_context(unit: Any) -> str:
    return (IN_CONTEXT.get() or _helper)(unit)


def _matched(unit: Any) -> str:
    match unit:
        case pd.Series():
            return "series"
        case pd.DataFrame():
            return "frame"
    return "nothing"


def _caught(unit: Any) -> str:
    try:
        raise ValueError(unit)
    except ValueError as error:
        return _told(type(error.args[0]))


def _walrus(unit: Any) -> str:
    return _told(kind) if (kind := type(unit)) else ""


def _locals(unit: Any) -> str:
    return _told(next(map(KIND, locals().values())))


def _cell_of_type(ask: Any) -> Callable[[Any], str]:
    return lambda unit: _told(ask(unit))


def _names_in(unit: Any) -> list[str]:
    # pandas 2 keeps a reference to what a row was cut from in some of its ways, which nothing looks at here.
    return sorted(set(vars(unit)) - {"_is_copy", "_item_cache", "_cacher"})


def _made(unit: Any) -> Any:
    return unit.__class__({"q": [1, 2]})["q"]


#: Ways to ask, of a row, a group or a column.
WAYS: dict[str, Callable[[Any], Any]] = {
    "plainly": lambda unit: _told(type(unit)),
    "is": lambda unit: str(type(unit) in (pd.Series, pd.DataFrame)),
    "in a comprehension": lambda unit: [_told(type(one)) for one in [unit]][0],  # noqa: RUF015
    "in a set, of another name": lambda unit: next(iter({_told(KIND(unit)) for _ in "ab"})),
    "in a generator": lambda unit: next(_told(type(one)) for one in (unit,)),
    "any": lambda unit: str(any(type(unit) is kind for kind in (pd.Series, pd.DataFrame))),
    "in a lambda": lambda unit: (lambda: _told(type(unit)))(),
    "in a nested function": _nested,
    "in the body of a class": _in_a_class,
    "by an alias": _alias,
    "of a cell": _in_a_cell,
    "of *args": _star,
    "by another name of type": _another_name,
    "by a global that is type": lambda unit: _told(KIND(unit)),
    "by a default": _default,
    "by a keyword's default": _keyword_default,
    "by a closure that has type": _cell_of_type(type),
    "by a closure that has a helper": _cell_of_type(lambda unit: type(unit)),
    "map": lambda unit: _told(list(map(type, [unit]))[0]),  # noqa: RUF015
    "builtins": lambda unit: _told(builtins.type(unit)),
    "getattr of builtins": lambda unit: _told(getattr(builtins, "ty" + "pe")(unit)),
    "vars of builtins": lambda unit: _told(vars(builtins)["ty" + "pe"](unit)),
    "__builtins__": lambda unit: _told(dict(vars(sys.modules["builtins"]))["type"](unit)),
    "__import__": lambda unit: _told(__import__("builtins").type(unit)),
    "eval": lambda unit: _told(eval("type(unit)", {"unit": unit})),
    "locals": _locals,
    "an import inside": _imports,
    "an import of builtins inside": _imports_builtins,
    "a bound method": MODEL.bound,
    "a bound method, inherited": CHILD.bound,
    "a method that reads an attribute": MODEL.by_attribute,
    "a class method": Model.of_class,
    "a static method": Model.static,
    "an object that can be called": MODEL,
    "a method of a global object": lambda unit: CHILD.bound(unit),
    "a property of a global object": lambda unit: MODEL.asker(unit),
    "getattr of a global object": lambda unit: getattr(MODEL, "bo" + "und")(unit),
    "an object with slots": lambda unit: SLOTTED.helper(unit),
    "a class that is made inside": lambda unit: Model().bound(unit),
    "a dataclass": lambda unit: Record(unit).told,
    "a class as the function": lambda unit: operator.attrgetter("told")(Record(unit)),
    "isinstance of a class of the user's": lambda unit: str(isinstance(unit, Checked)),
    "a partial": functools.partial(lambda _, unit: _told(type(unit)), 1),
    "a partial of a helper": functools.partial(_default, ask=type),
    "a helper": lambda unit: _helper(unit),
    "a helper's helper": lambda unit: _two_deep(unit),
    "a function that calls itself": lambda unit: _by_itself(unit),
    "a helper in a dict": lambda unit: HELPERS["first"](unit),
    "a helper in a list in a dict": lambda unit: HELPERS["all"][0](unit),
    "a helper in a namespace": lambda unit: SPACE.helper(unit),
    "a helper of a module": lambda unit: HERE._helper(unit),
    "getattr of a module": lambda unit: getattr(HERE, "_hel" + "per")(unit),
    "a helper of a context variable": _in_context,
    "an attribute of a function": _attributed,
    "decorated": _decorated,
    "decorated twice": _decorated_twice,
    "dispatched": _dispatched,
    "pipe": lambda unit: unit.pipe(_helper),
    "pipe, its type": lambda unit: _told(unit.pipe(type)),
    "agg": lambda unit: str(unit.agg(lambda one: _told(type(one)))),
    "where": lambda unit: str(unit.where(lambda one: [print(type(one))] and one > 0).shape),
    "a caught exception": _caught,
    "an assignment inside": _walrus,
    "match": _matched,
    "__class__": lambda unit: _told(unit.__class__),
    "attrgetter of __class__": lambda unit: _told(operator.attrgetter("__class__")(unit)),
    "object's __getattribute__": lambda unit: _told(object.__getattribute__(unit, "__class__")),
    "the name": lambda unit: type(unit).__name__,
    "the module": lambda unit: type(unit).__module__ + unit.__module__,
    "the text": lambda unit: str(type(unit)) + object.__repr__(unit).partition(" at ")[0],
    "__doc__": lambda unit: str(unit.__doc__)[:80],
    "isinstance": lambda unit: str((isinstance(unit, pd.Series), isinstance(unit, pd.DataFrame))),
    "vars": lambda unit: str(_names_in(unit)),
    "vars, in place": lambda unit: str(sorted(set(vars(unit)) & {"_mgr", "_attrs", "_flags", "_lazy"})),
    "__dict__": lambda unit: str(sorted(set(unit.__dict__) & {"_mgr", "_attrs", "_flags", "_lazy"})),
    "attrgetter of __dict__": lambda unit: str("_mgr" in operator.attrgetter("__dict__")(unit)),
    "members": lambda unit: _told(dict(inspect.getmembers_static(unit)).get("_lazy", pd.Series)),
    "copy": lambda unit: _told(copy.copy(unit).__class__) + str(_names_in(copy.copy(unit))),
    "deep copy": lambda unit: _helper(copy.deepcopy(unit)),
    "pickled": lambda unit: _helper(pickle.loads(pickle.dumps(unit))),
    "reduced": lambda unit: _told(unit.__reduce_ex__(2)[1][0]),
    "reduced by copyreg": lambda unit: _told(unit.__reduce_ex__(1)[1][0]),
    "made by type": lambda unit: str(type(unit)({"q": [1, 2]})["q"]),
    "made by type, of values": lambda unit: str(type(unit)(unit.to_numpy(), index=unit.index).index),
    "made by type of a helper": lambda unit: str((lambda one: type(one)([1, 2]))(unit)),
    "made by __class__": lambda unit: str(_made(unit)),
    "made, of no row": lambda unit: str(type(unit)(dtype=float).shape),
    "type hints": lambda unit: str(typing.get_type_hints(_told).keys()) + _told(type(unit)),
    "returned": lambda unit: _told(KIND((lambda one: one)(unit))),
}

ENGINES: dict[str, dict[str, Any]] = {
    "auto": {},
    "serial": {"engine": "serial"},
    "thread": {"engine": "thread", "n_workers": 2},
    "process": {"engine": "process", "n_workers": 2},
}


def _first_of(way: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda unit: float(len(str(way(unit))))


def _is_pandas(way: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda unit: "True" in str(way(unit)) or len(unit) > 2


def _of_a_column(way: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda unit: str(way(unit["x"])) + str(way(unit["x"] * 2))


#: Takes what groups and the way; ``par`` is the frame itself or its accessor.
VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "groups": lambda obj, way: obj.groupby("k").apply(way),
    "columns of groups": lambda obj, way: obj.groupby("k").apply(_of_a_column(way)),
    "groups of a column": lambda obj, way: obj.groupby("k")["x"].apply(way),
    "agg": lambda obj, way: obj.groupby("k")["x"].agg(way),
    "transform": lambda obj, way: obj.groupby("k")["x"].transform(_first_of(way)),
    "filter": lambda obj, way: obj.groupby("k").filter(_is_pandas(way)),
    "resample": lambda obj, way: obj.resample("3h").apply(way),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("held", [_helper, MODEL.bound, MODEL, functools.partial(_default, ask=type)])
def test_what_is_asked_by_what_the_data_hold(held: Any, engine: str) -> None:
    frame = FRAME.assign(held=[held] * len(FRAME))
    par = frame.par(**ENGINES[engine])
    func = lambda row: row["held"](row)
    of_group = lambda group: group["held"].iloc[0](group) + group["held"].iloc[0](group["x"])
    pd.testing.assert_series_equal(par.apply_rows(func), frame.apply(func, axis=1))
    expected = frame.groupby("k")[["x", "held"]].apply(of_group)
    pd.testing.assert_series_equal(par.groupby("k")[["x", "held"]].apply(of_group), expected)
    objects = frame[["held"]].assign(other=None)
    pd.testing.assert_series_equal(objects.par(**ENGINES[engine]).apply_rows(func), objects.apply(func, axis=1))


@pytest.mark.usefixtures("no_rest_is_worth_it")  # workers have no such methods
@pytest.mark.parametrize("engine", ["auto", "serial", "thread"])
@pytest.mark.parametrize("late", [False, True])
def test_methods_and_accessors_of_the_users(engine: str, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Accessor:
        def __init__(self, unit: Any) -> None:
            self.told = _told(type(unit))

    par = FRAME.par(**ENGINES[engine])
    if late:
        par.apply_rows(lambda row: row["x"])
    for kind in (pd.Series, pd.DataFrame):
        monkeypatch.setattr(kind, "ask_me", lambda self: _told(type(self)), raising=False)
        monkeypatch.setattr(kind, "my_own", property(lambda self: _told(type(self))), raising=False)
        monkeypatch.setattr(kind, "_accessors", kind._accessors | {"my_asker"})
        monkeypatch.setattr(kind, "my_asker", _Descriptor(Accessor), raising=False)
    func = lambda unit: unit.ask_me() + unit.my_own + unit.my_asker.told
    of_column = lambda unit: func(unit) + func(unit["x"])
    pd.testing.assert_series_equal(par.apply_rows(func), FRAME.apply(func, axis=1))
    got = par.groupby("k")[["x", "y"]].apply(of_column)
    pd.testing.assert_series_equal(got, FRAME.groupby("k")[["x", "y"]].apply(of_column))


class _Descriptor:
    """An accessor as pandas makes it."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __get__(self, obj: Any, kind: Any = None) -> Any:
        return self._kind if obj is None else self._kind(obj)


@pytest.fixture(autouse=True)
def _quiet(capsys: pytest.CaptureFixture[str]) -> Any:
    yield
    capsys.readouterr()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore")
def test_a_row_is_asked(engine: str) -> None:
    _compare(lambda obj, way: obj.apply(way, axis=1), FRAME, engine, lambda obj, way: obj.apply_rows(way))


@pytest.mark.part(2)
@pytest.mark.parametrize("engine", ["serial", "process"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.filterwarnings("ignore")
def test_a_group_is_asked(verb: str, engine: str) -> None:
    _compare(VERBS[verb], TIMES[["x", "y"]] if verb == "resample" else FRAME, engine)


def _compare(
    verb: Callable[..., Any], frame: pd.DataFrame, engine: str, ours: Callable[..., Any] | None = None
) -> None:
    for way, func in WAYS.items():
        try:
            assert_same_as_pandas(
                lambda func=func: (ours or verb)(frame.par(**ENGINES[engine]), func),
                lambda func=func: verb(frame, func),
            )
        except AssertionError as error:
            raise AssertionError(f"asked in this way: {way}") from error


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("given", [_helper, type, functools.partial(_default, ask=type), MODEL.bound, MODEL])
def test_what_is_asked_by_an_argument(given: Any, engine: str) -> None:
    def func(unit: Any, ask: Any) -> str:
        return _told(ask(unit)) if ask is type else str(ask(unit))

    par = FRAME.par(**ENGINES[engine])
    expected = FRAME.apply(func, axis=1, args=(given,))
    pd.testing.assert_series_equal(par.apply_rows(func, args=(given,)), expected)
    pd.testing.assert_series_equal(par.apply_rows(func, ask=given), expected)
    groups = FRAME.groupby("k")[["x", "y"]].apply(func, given)
    pd.testing.assert_series_equal(par.groupby("k")[["x", "y"]].apply(func, given), groups)
    pd.testing.assert_series_equal(par.groupby("k")[["x", "y"]].apply(func, ask=given), groups)


def _reads(row: Any) -> Any:
    for value in row:
        if value > 3:
            return value, "x" in row
    row["x"] = row["y"]
    row.z = 3
    key = "x"
    return [type(row["x"]).__name__, f"{row.y:.2f}", row[key], row.sum(), type(row.x)]


def _asks_others(row: Any) -> Any:
    try:
        return _told(type(row["x"])), HELPERS.get(row["x"]), _helper(row["x"])
    except KeyError as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("func", "asks_rows", "asks_groups"),
    [
        (lambda unit: unit["x"], False, False),
        (lambda unit: np.average(unit["x"], weights=unit["y"]), False, False),
        (lambda unit: plain_helper(unit), False, False),
        (lambda unit: PLAIN_MODEL.score(unit) + LOOKUP.get(unit["x"], 0), False, False),
        (lambda unit: np.round(unit["x"]) + (unit["x"] if isinstance(unit, pd.Series) else len(unit)), False, False),
        (functools.partial(lambda scale, row: row["a"], 2), False, False),
        (lambda unit: unit.type, False, False),
        (lambda unit: unit["type"], False, False),
        (lambda unit: unit["x"] * FROZEN.scale, False, False),
        (len, False, False),
        (np.mean, False, False),
        (_takes_any(lambda unit: unit["x"]), False, False),
        (lambda unit: type(unit["x"]) is float, False, True),
        (lambda unit: _helper(unit["x"]), False, True),
        (functools.partial(_asks_others), False, True),
        (_asks_others, False, True),
        (_reads, False, True),
        (lambda unit: [unit[key] for key in "xy"], False, False),
        (lambda unit: type(unit) is pd.Series, True, True),
        (lambda unit, other=_helper: other(unit), True, True),
        (type, True, True),
        (lambda unit: sys.modules["tests"].test_asking._helper(unit), True, True),
        (lambda unit: globals()["_helper"](unit), True, True),
        (lambda unit: UNKNOWN(unit), False, False),  # noqa: F821
    ],
)
def test_who_may_ask(func: Callable[..., Any], asks_rows: bool, asks_groups: bool) -> None:
    assert (may_ask_for_types(func, rows=True), may_ask_for_types(func)) == (asks_rows, asks_groups)


def plain_helper(unit: Any) -> Any:
    return unit["x"] * 2 if len(unit) > 1 else plain_helper(unit)


class PlainModel:
    """Asks for no type."""

    def score(self, unit: Any) -> Any:
        return unit["x"] * 2


@dataclass(frozen=True)
class Frozen:
    """Has methods of ``dataclass`` that ask for the type of the instance."""

    scale: float = 2.0


PLAIN_MODEL, FROZEN = PlainModel(), Frozen()
LOOKUP = dict.fromkeys(range(100_000), 1)


def test_a_helper_that_is_replaced_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    func = lambda unit: plain_helper(unit)
    assert not may_ask_for_types(func, rows=True)
    monkeypatch.setitem(globals(), "plain_helper", _helper)
    assert may_ask_for_types(func, rows=True)
    expected = FRAME.apply(func, axis=1)
    pd.testing.assert_series_equal(FRAME.par(engine="process", n_workers=2).apply_rows(func), expected)
    monkeypatch.undo()
    assert not may_ask_for_types(func, rows=True)
    monkeypatch.setattr(plain_helper, "__code__", _helper.__code__)
    assert may_ask_for_types(func, rows=True)


def test_what_reaches_too_far_counts_as_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    func = lambda unit: _takes_any(plain_helper)(unit)
    assert not may_ask_for_types(func)
    monkeypatch.setattr(type_checks, "MAX_LOOKED_AT", 2)
    assert may_ask_for_types(func)


def test_who_does_not_like_to_be_looked_at_counts_as_asking() -> None:
    class Shy:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no")

    shy = Shy()
    assert may_ask_for_types(lambda unit: (shy, len(unit)))
    code = (lambda unit: shy(unit)).__code__
    assert may_ask_for_types(types.FunctionType(code, {}, "f", None, (types.CellType(),)))  # an empty cell


#: Code that only reads its row, and code that does more; each Python has its own steps for it.
READING = [
    "row['a']",
    "row.a + row.b * 2",
    "row[key]",
    "[row[one] for one in 'ab']" if sys.version_info >= (3, 12) else "row['a']",
    "max(row['a'], row.b)",
    "f'{row.a}'",
    "row.sum()",
    "row.get('a', key)",
    "'a' in row",
    "helper(row['a'], row.b)",
    "row[0]",
    "row[GLOBAL]",
]
MORE = [
    "row if row['a'] else 1",
    "helper(row)",
    "[row]",
    "(lambda: row)()",
    "{'a': row}",
    "row + 1",
    "key[row]",
    "row is key",
    "f'{row}'",
    "helper(*[row])",
    "helper(row=row)",
    "(other := row)",
    "locals()",
    "row.get.__self__",
    "row[row]",
    "row(key)",
]


@pytest.mark.parametrize(("text", "reads"), [(text, True) for text in READING] + [(text, False) for text in MORE])
def test_what_only_reads(text: str, reads: bool) -> None:
    func = eval(f"lambda row, key=None, value=None: {text}")
    assert only_reads(func.__code__, 0) is reads


@pytest.mark.parametrize(
    ("text", "by_texts"),
    [
        ("row['a']", True),
        ("row.a + row['b'] * 2", True),
        ("max(row['a'], row.b)", True),
        ("'a' in row", True),
        ("row.get('a', key)", True),
        ("row.sum() + row['a']", True),
        ("[one for one in row]", True),
        ("row[key]", False),
        ("row['a'] + row[key]", False),
        ("row[0]", False),
        ("row[None]", False),
        ("row[GLOBAL]", False),
        ("row['a', 'b']", False),
        ("row['a':'b']", False),
        ("row[['a']]", False),
        ("row['a' + key]", False),
        ("[row[one] for one in 'ab']", False),
        ("row.__getitem__('a')", False),
        ("map(row.__getitem__, 'ab')", False),
        ("row['a'] + frame.query('a > @row.b')", False),
        ("helper(row)", False),
    ],
)
def test_what_reads_by_texts(text: str, by_texts: bool) -> None:
    func = eval(f"lambda row, key=None: {text}")
    assert reads_by_texts(func) is by_texts
    assert reads_by_texts(functools.partial(eval(f"lambda other, row, key=None: {text}"), 1)) is by_texts
    assert not reads_by_texts(eval(f"lambda *row, key=None: {text}"))


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ("row['a'] = row['b']", True),
        ("row.a = key", True),
        ("del row['a']", True),
        ("a, b = row", True),
        ("for one in row: pass", True),
        ("key['a'] = row", False),
        ("key.a = row", False),
        ("return row", False),
        ("yield row", False),
        ("match row:\n  case {}: pass", False),
        ("with row: pass", False),
        ("key = row", False),
    ],
)
def test_which_statements_only_read(body: str, reads: bool) -> None:
    space: dict[str, Any] = {}
    exec(f"def func(row, key=None):\n {body}", space)
    assert only_reads(space["func"].__code__, 0) is reads
