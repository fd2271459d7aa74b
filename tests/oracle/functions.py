"""Functions: what a user's function may do with a row, a column or a value, and everything that it may return.

Each takes nothing from outside and keeps nothing, so that the order of the calls cannot matter.
"""

from __future__ import annotations

import datetime
import decimal
import zlib
import zoneinfo
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = [
    "CONTAINERS",
    "MODES",
    "PLACES",
    "RETURNS",
    "ROW_FUNCTIONS",
    "UNIT_FUNCTIONS",
    "VALUE_FUNCTIONS",
    "ByNumber",
    "OfNumber",
    "OfPlaces",
    "OfRow",
    "OfUnit",
    "OfValue",
    "arguments",
]

#: axis, result_type and raw of DataFrame.apply, by a name for the test.
MODES: dict[str, dict[str, Any]] = {
    f"{verb}{'' if how is None else ' ' + how}{' raw' if raw else ''}": {"axis": axis, "result_type": how, "raw": raw}
    for verb, axis in (("rows", 1), ("cols", 0))
    for how, raw in ((None, False), ("expand", False), ("reduce", False), ("broadcast", False), (None, True))
}


def arguments(mode: dict[str, Any]) -> dict[str, Any]:
    """The arguments of apply_rows and apply_cols."""
    return {name: value for name, value in mode.items() if name != "axis"}


def _nth(n: int, *values: Any) -> Any:
    """The value at n, and the last one from there on."""
    return values[min(n, len(values) - 1)]


_STAMP = pd.Timestamp("2024-05-06 07:08", tz="UTC")
_NAIVE = pd.Timestamp("2024-10-26 12:00")
_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
_SHARED = {"k": 1, "l": 0.5}
_COLUMNS = pd.Index(["p", "q"], name="shared")
_REPEATED = pd.Index(["p", "p"])

#: What is returned for the unit at position n; x is the unit.
RETURNS: dict[str, Callable[[int, Any], Any]] = {
    # one type
    "int": lambda n, x: n,
    "large int": lambda n, x: 2**70 + n,
    "float": lambda n, x: n / 4,
    "bool": lambda n, x: n % 3 == 0,
    "complex": lambda n, x: complex(n, 1),
    "str": lambda n, x: "ab" * n,
    "bytes": lambda n, x: b"ab" * n,
    "None": lambda n, x: None,
    "nan": lambda n, x: np.nan,
    "NaT": lambda n, x: pd.NaT,
    "NA": lambda n, x: pd.NA,
    "np.int8": lambda n, x: np.int8(n),
    "np.uint64": lambda n, x: np.uint64(2**64 - 1 - n),
    "np.float32": lambda n, x: np.float32(n / 3),
    "np.bool": lambda n, x: np.bool_(n % 2),
    "np.str": lambda n, x: np.str_("s" * n),
    "np.datetime64": lambda n, x: np.datetime64("2024-01-01") + n,
    "Timestamp": lambda n, x: pd.Timestamp("2024-01-01") + pd.Timedelta(days=n),
    "Timestamp with tz": lambda n, x: _STAMP + pd.Timedelta(hours=n),
    "Timestamps of two zones": lambda n, x: _STAMP.tz_convert("Asia/Tokyo") if n >= 4 else _STAMP,
    "Timestamp of seconds": lambda n, x: (_NAIVE + pd.Timedelta(days=n)).as_unit("s"),
    "Timestamp of nanoseconds": lambda n, x: _NAIVE.as_unit("ns") + pd.Timedelta(n, "ns"),
    "Timestamps of two units": lambda n, x: _NAIVE.as_unit("ns" if n % 2 else "s"),
    "Timestamp beyond nanoseconds": lambda n, x: _NAIVE.as_unit("us").replace(year=2024 + 300 * n),
    "Timestamp over the end of summer": lambda n, x: _NAIVE.tz_localize(_BERLIN) + pd.Timedelta(hours=2 * n),
    "Timestamp of a text with an offset": lambda n, x: pd.Timestamp(f"2024-05-0{n + 1} 07:08+02:00"),
    "Timestamps of two offsets": lambda n, x: pd.Timestamp(f"2024-05-06 07:08+0{n % 2}:00"),
    "Timestamp or NaT": lambda n, x: _NAIVE + pd.Timedelta(days=n) if n % 2 else pd.NaT,
    "Timestamp with tz or NaT": lambda n, x: _STAMP + pd.Timedelta(days=n) if n % 3 else pd.NaT,
    "Timedelta": lambda n, x: pd.Timedelta(minutes=n),
    "Timedelta of seconds": lambda n, x: pd.Timedelta(minutes=n).as_unit("s"),
    "Timedelta or NaT": lambda n, x: pd.Timedelta(minutes=n) if n % 2 else pd.NaT,
    "timedelta": lambda n, x: datetime.timedelta(minutes=n),
    "Period": lambda n, x: pd.Period("2024-01", "M") + n,
    "Interval": lambda n, x: pd.Interval(n, n + 1),
    "date": lambda n, x: datetime.date(2024, 1, n + 1),
    "datetime": lambda n, x: datetime.datetime(2024, 1, n + 1, 12),
    "Decimal": lambda n, x: decimal.Decimal(n) / 10,
    "type": lambda n, x: type(n),
    "the unit's name": lambda n, x: getattr(x, "name", "none"),
    # of more than one value
    "list": lambda n, x: [n, n * 1.5],
    "list of one": lambda n, x: [n],
    "list as long as the unit": lambda n, x: list(range(len(x))),
    "list of strings": lambda n, x: ["a", str(n)],
    "lists, ragged": lambda n, x: list(range(n % 4 + 1)),
    "lists, ragged from the fourth": lambda n, x: [n, n, n] if n < 3 else [n],
    "list, empty": lambda n, x: [],
    "lists, the first empty": lambda n, x: [n] * n,
    "list of lists": lambda n, x: [[n], [n, n]],
    "tuple": lambda n, x: (n, "t"),
    "tuples, ragged": lambda n, x: (n,) * (n % 3 + 1),
    "set": lambda n, x: {n},
    "frozenset": lambda n, x: frozenset({n}),
    "dict": lambda n, x: {"k": n, "l": str(n)},
    "dict of floats": lambda n, x: {"k": n / 4, "l": -0.0},
    "dict of one": lambda n, x: {"k": n},
    "dict of numbers": lambda n, x: {1: n, 2: n / 4},
    "dict of tuples": lambda n, x: {("k", 1): n, ("k", 2): n / 4},
    "dict of keys of several types": lambda n, x: {"k": n, 1: "v", None: 0.5},
    "dicts of keys that are equal": lambda n, x: {_nth(n, 1, 1, True, 1.0): n},
    "dicts in another order": lambda n, x: {"k": n, "l": 1} if n % 2 else {"l": n, "k": 2},
    "dicts of as many keys": lambda n, x: {"a": n} if n == 2 else {"b": n, "c": n} if n == 3 else {"a": n, "b": 2},
    "dict, empty": lambda n, x: {},
    "one dict": lambda n, x: _SHARED,
    "dict of lists": lambda n, x: {"k": [n], "l": n},
    "OrderedDict": lambda n, x: OrderedDict(k=n, l=0.5),
    "dict then OrderedDict": lambda n, x: (dict if n < 4 else OrderedDict)(k=n, l=0.5),
    "dicts of other keys": lambda n, x: {"k": n} if n % 2 else {"l": n, "m": None},
    "range": lambda n, x: range(n, n + 2),
    "ndarray": lambda n, x: np.array([n, n + 1]),
    "ndarray as long as the unit": lambda n, x: np.arange(len(x)) * n,
    "ndarray of strings": lambda n, x: np.array(["a", "bcd" * n]),
    "ndarrays, ragged": lambda n, x: np.arange(n % 3 + 1),
    "ndarray of no dimension": lambda n, x: np.array(n),
    "ndarray of two dimensions": lambda n, x: np.full((2, 2), n),
    "nullable array": lambda n, x: pd.array([n, None], dtype="Int64"),
    "Categorical": lambda n, x: pd.Categorical(["a", "b"]),
    "Index": lambda n, x: pd.Index([n, n + 1], name="i"),
    "DataFrame": lambda n, x: pd.DataFrame({"a": [n]}),
    "the unit": lambda n, x: x,
    "the unit as a list": lambda n, x: list(x),
    "the unit times 2": lambda n, x: x * 2,
    "a part of the unit": lambda n, x: x[1:],
    "a growing part of the unit": lambda n, x: x[: n % 3 + 1],
    "a function of numpy": lambda n, x: np.sqrt(x),
    # Series
    "Series": lambda n, x: pd.Series([n, n / 2], index=["p", "q"]),
    "Series without labels": lambda n, x: pd.Series([n, n * 2]),
    "Series upon one index": lambda n, x: pd.Series([n, n / 2], index=_COLUMNS),
    "Series upon an index that repeats": lambda n, x: pd.Series([n, -n], index=["p", "p"]),
    "Series upon one index that repeats": lambda n, x: pd.Series([n, -n], index=_REPEATED),
    "Series upon times": lambda n, x: pd.Series([n, n], index=pd.date_range("2024-01-01", periods=2, freq="D")),
    "Series upon moving times": lambda n, x: pd.Series(
        [n, n], index=pd.date_range(f"2024-01-{n + 1:02}", periods=2, freq="D", tz="UTC")
    ),
    "Series upon two levels": lambda n, x: pd.Series(
        [n, n], index=pd.MultiIndex.from_tuples([("a", 1), ("b", n)], names=["s", "t"])
    ),
    "Series with a name": lambda n, x: pd.Series([n, n], index=["p", "q"], name="named"),
    "Series with names of indexes": lambda n, x: pd.Series([n], index=pd.Index(["p"], name="i" if n % 2 else "j")),
    "Series of other labels": lambda n, x: pd.Series({"p": n, "q": 1} if n % 2 else {"q": n, "r": 1.5}),
    "Series in another order": lambda n, x: pd.Series({"p": n, "q": 1} if n % 2 else {"q": n, "p": 2}),
    "Series, ragged": lambda n, x: pd.Series(range(n % 3 + 1)),
    "Series, the first empty": lambda n, x: pd.Series([n] * n, dtype="int64"),
    "Series, empty": lambda n, x: pd.Series([], dtype="float64"),
    "Series of objects": lambda n, x: pd.Series({"p": n, "q": "a", "r": None}),
    "Series of strings": lambda n, x: pd.Series(["a", "b" * n]),
    "Series of a category": lambda n, x: pd.Series(["a", "b"], dtype="category"),
    "Series of nullable": lambda n, x: pd.Series([n, None], dtype="Int64"),
    "Series of times": lambda n, x: pd.Series([_STAMP, pd.NaT]),
    "Series of times without tz": lambda n, x: pd.Series({"p": _NAIVE, "q": _NAIVE + pd.Timedelta(days=n)}),
    "Series of times that may miss": lambda n, x: pd.Series([_NAIVE, _NAIVE if n % 3 else pd.NaT]),
    "Series of times of seconds": lambda n, x: pd.Series([_NAIVE, _NAIVE + pd.Timedelta(days=n)]).dt.as_unit("s"),
    "Series of missing times": lambda n, x: pd.Series([pd.NaT, pd.NaT]),
    "Series of timedeltas": lambda n, x: pd.Series({"p": pd.Timedelta(hours=1), "q": pd.Timedelta(hours=n)}),
    "Series of a time and a number": lambda n, x: pd.Series({"p": _NAIVE, "q": n}),
    "Series with attrs": lambda n, x: _with_attrs(pd.Series([n, n]), n),
    # other from chunk to chunk
    "int then None": lambda n, x: n if n < 3 else None,
    "None then int": lambda n, x: None if n < 3 else n,
    "int then float": lambda n, x: _nth(n, 1, 2, 2.5),
    "int then nan": lambda n, x: _nth(n, 1, 2, 3, np.nan),
    "int then str": lambda n, x: _nth(n, 1, 2, "three"),
    "int then bool": lambda n, x: _nth(n, 1, 0, True),
    "bool then None": lambda n, x: _nth(n, True, False, None),
    "bool then float": lambda n, x: _nth(n, True, False, 0.5),
    "int then NA": lambda n, x: _nth(n, 1, 2, pd.NA),
    "int then large int": lambda n, x: _nth(n, 1, 2**63, -1),
    "int then complex": lambda n, x: _nth(n, 1, 2, 1j),
    "float then numpy float": lambda n, x: _nth(n, 0.5, np.float32(0.1), np.float64(0.2)),
    "str then None": lambda n, x: _nth(n, "a", "b", None, "c", np.nan),
    "Timestamp then NaN": lambda n, x: _nth(n, _STAMP, _STAMP, np.nan),
    "Timestamp then NaT": lambda n, x: _nth(n, _STAMP, _STAMP, pd.NaT),
    "Timestamp then None": lambda n, x: _nth(n, _STAMP, None),
    "Timestamp then aware": lambda n, x: _nth(n, pd.Timestamp("2024-01-01"), _STAMP),
    "Timestamp then date": lambda n, x: _nth(n, pd.Timestamp("2024-01-01"), datetime.date(2024, 1, 2)),
    "NaT then Timedelta": lambda n, x: _nth(n, pd.NaT, pd.NaT, pd.Timedelta(1, "h")),
    "list then scalar": lambda n, x: [n, n] if n < 4 else n,
    "list then None": lambda n, x: [n, n] if n < 4 else None,
    "scalar then list": lambda n, x: n if n < 4 else [n, n],
    "list then tuple": lambda n, x: [n, n] if n < 4 else (n, n),
    "list then dict": lambda n, x: [n, n] if n < 4 else {"k": n},
    "dict then list": lambda n, x: {"k": n} if n < 4 else [n],
    "dict then None": lambda n, x: {"k": n} if n < 4 else None,
    "list then ndarray": lambda n, x: [n, n] if n < 4 else np.array([n, n]),
    "list then Series": lambda n, x: [n, n] if n < 4 else pd.Series([n, n], index=["p", "q"]),
    "Series then scalar": lambda n, x: pd.Series([n, n]) if n < 4 else n,
    "Series then None": lambda n, x: pd.Series([n, n]) if n < 4 else None,
    "Series then list": lambda n, x: pd.Series([n, n]) if n < 4 else [n, n],
    "Series then dict": lambda n, x: pd.Series({"p": n}) if n < 4 else {"p": n},
    "scalar then Series": lambda n, x: n if n < 4 else pd.Series([n, n]),
    "None then Series": lambda n, x: None if n < 4 else pd.Series([n, n]),
    "str then list": lambda n, x: "ab" if n < 4 else ["a", "b"],
    "the unit then a Series": lambda n, x: x if n < 4 else pd.Series([n, n], index=["p", "q"]),
    "the unit then its copy": lambda n, x: x if n < 4 else x.copy(),
    # errors
    "raises at once": lambda n, x: 1 // 0,
    "raises at the sixth": lambda n, x: 1 // (5 - n),
    "raises from the third on, ever another error": lambda n, x: n if n < 2 else [].pop() if n % 2 else {}[n],
    "raises an error of one's own": lambda n, x: _refuse(n),
    "takes a part that is not there": lambda n, x: x["no such label"],
}


#: What is returned at one place of a return of several values, for the unit at position n.
PLACES: dict[str, Callable[[int], Any]] = {
    "float": lambda n: n / 4,
    "float or nan": lambda n: n / 4 if n % 3 else np.nan,
    "nan": lambda n: np.nan,
    "int": lambda n: n,
    "bool": lambda n: n % 3 == 0,
    "str": lambda n: "ab" * n,
    "None": lambda n: None,
    "None or float": lambda n: n / 4 if n % 3 else None,
    "None or str": lambda n: str(n) if n % 3 else None,
    "int or str": lambda n: str(n) if n % 3 else n,
    "None from the fourth": lambda n: n / 4 if n < 4 else None,
    "numpy float": lambda n: np.float64(n) / 4,
    "small numpy float": lambda n: np.float32(n) / 4,
    "large int": lambda n: 2**63 + n,
    "Timestamp": lambda n: _NAIVE + pd.Timedelta(days=n),
    "Timestamp of seconds": lambda n: (_NAIVE + pd.Timedelta(days=n)).as_unit("s"),
    "Timestamp with tz": lambda n: _STAMP + pd.Timedelta(hours=n),
    "Timestamp or NaT": lambda n: _NAIVE + pd.Timedelta(days=n) if n % 3 else pd.NaT,
    "NaT": lambda n: pd.NaT,
    "Timedelta": lambda n: pd.Timedelta(hours=n),
    "date": lambda n: datetime.date(2024, 1, n + 1),
    "datetime": lambda n: datetime.datetime(2024, 1, n + 1, 12),
    "list": lambda n: [n],
}

#: What holds the values of a return.
CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "list": list,
    "dict": lambda values: dict(zip(["p", "q", "r", "s"], values, strict=False)),
}


class RefusedError(ValueError):
    """An exception whose init takes other arguments than it passes on."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"{number}: {why}")
        self.number = number


def _refuse(n: int) -> int:
    if n == 7:
        raise RefusedError(n, "not seven")
    return n


def _with_attrs(series: pd.Series, n: int) -> pd.Series:
    series.attrs = {"n": n}
    return series


@dataclass(frozen=True)
class ByNumber:
    """A function of a unit that begins with the number of its position; travels by its name, which is quick."""

    returns: str

    def __call__(self, unit: Any) -> Any:
        return RETURNS[self.returns](int(unit[0] if isinstance(unit, np.ndarray) else unit.iloc[0]), unit)


@dataclass(frozen=True)
class OfNumber:
    """A function of the number of a position."""

    returns: str

    def __call__(self, number: int) -> Any:
        return RETURNS[self.returns](number, [number, 7])


@dataclass(frozen=True)
class OfPlaces:
    """A function of a unit that begins with the number of its position, which returns several values."""

    places: tuple[str, ...]
    container: str

    def __call__(self, unit: Any) -> Any:
        n = int(unit.iloc[0])
        return CONTAINERS[self.container]([PLACES[place](n) for place in self.places])


@dataclass(frozen=True)
class OfUnit:
    """A function of a row or column, by name."""

    name: str

    def __call__(self, unit: Any) -> Any:
        return UNIT_FUNCTIONS[self.name](unit)


@dataclass(frozen=True)
class OfRow:
    """A function of a row of any kind, by name."""

    name: str

    def __call__(self, row: Any) -> Any:
        return ROW_FUNCTIONS[self.name](row)


@dataclass(frozen=True)
class OfValue:
    """A function of a value, by name."""

    name: str

    def __call__(self, value: Any) -> Any:
        return VALUE_FUNCTIONS[self.name](value)


def number_of(unit: Any) -> int:
    """A small number that depends on what a unit holds, and on nothing else."""
    return zlib.crc32(repr([str(value) for value in unit]).encode()) % 5


def look(unit: Any) -> str:
    """Everything that a function can see of a unit, as text."""
    parts = [type(unit).__name__, str(unit.dtype), str([f"{type(v).__name__} {v!r}" for v in unit])]
    if isinstance(unit, np.ndarray):
        return " | ".join([*parts, str(unit.shape)])
    parts += [repr(unit.name), type(unit.name).__name__, repr(unit.index), str(getattr(unit.index, "freq", None))]
    parts += [repr(unit.attrs), repr(unit.flags), repr(getattr(unit, "unit", None)), type(unit.array).__name__]
    return " | ".join(parts)


def write_and_return(unit: Any) -> Any:
    """Write into the unit, as far as pandas lets it, and return it."""
    if isinstance(unit, np.ndarray):
        unit[0] = unit[-1]
    else:
        unit.iloc[0] = unit.iloc[-1]
    return unit


def write_and_sum(unit: Any) -> Any:
    """Write into the unit and return something else: the write must not show in other units."""
    if isinstance(unit, np.ndarray):
        unit[-1] = unit[0]
    else:
        unit.iloc[-1] = unit.iloc[0]
    return str(list(unit))


def raise_for_some(unit: Any) -> int:
    """Raise for about one unit of five."""
    number = number_of(unit)
    if number == 3:
        raise LookupError("three", list(map(str, unit)))
    return number


#: Functions of a unit of any frame.
UNIT_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "looks at everything": look,
    "itself": lambda x: x,
    "a list": list,
    "a tuple": tuple,
    "a dict": dict,
    "its values": lambda x: getattr(x, "array", x),
    "its ndarray": lambda x: np.asarray(x),
    "its first value": lambda x: x[0] if isinstance(x, np.ndarray) else x.iloc[0],
    "its last value": lambda x: x[-1] if isinstance(x, np.ndarray) else x.iloc[-1],
    "any of its values": lambda x: list(x)[number_of(x) % len(x)],
    "its greatest value": max,
    "its sum": lambda x: x.sum(),
    "its name": lambda x: x.name,
    "its index": lambda x: x.index,
    "doubled": lambda x: x + x,
    "what is missing": lambda x: pd.isna(x),
    "as str": lambda x: x.astype(str),
    "backwards": lambda x: x[::-1],
    "a first part": lambda x: x[: number_of(x) % 3 + 1],
    "renamed": lambda x: x.rename("other"),
    "without labels": lambda x: x.reset_index(drop=True),
    "a frame": lambda x: x.to_frame(),
    "a Series of its own": lambda x: pd.Series({"p": number_of(x), "q": "text"}),
    "Series of other labels": lambda x: pd.Series({str(number_of(x)): 1}),
    "a number": number_of,
    "a number or nothing": lambda x: number_of(x) or None,
    "a list or a number": lambda x: [1, 2] if number_of(x) % 2 else 0,
    "written into": write_and_return,
    "written into and left": write_and_sum,
    "raises for some": raise_for_some,
}


def look_at_row(row: Any) -> str:
    """What a function can see of a row that is no Series."""
    items = row.items() if isinstance(row, dict) else enumerate(row)
    named = str(getattr(row, "_fields", None))
    return " | ".join([type(row).__name__, named, *(f"{at!r} {type(value).__name__} {value!r}" for at, value in items)])


def values_of_row(row: Any) -> list[Any]:
    """The values of a row of any kind."""
    return list(row.values()) if isinstance(row, dict) else list(row)


#: Functions of a row as a namedtuple, tuple, dict or array.
ROW_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "looks at everything": look_at_row,
    "itself": lambda row: row,
    "a list": values_of_row,
    "its last value": lambda row: values_of_row(row)[-1],
    "a number or nothing": lambda row: number_of(values_of_row(row)) or None,
    "a Series of its own": lambda row: pd.Series({"p": number_of(values_of_row(row)), "q": "text"}),
    "raises for some": lambda row: raise_for_some(values_of_row(row)),
}


def raise_for_some_values(value: Any) -> str:
    """Raise for about one value of five."""
    text = str(value)
    if zlib.crc32(text.encode()) % 5 == 3:
        raise LookupError("three", text)
    return text


#: Functions of a value of any Series.
VALUE_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "looks at everything": lambda v: f"{type(v).__name__} {v!r}",
    "itself": lambda v: v,
    "str": str,
    "None": lambda v: None,
    "missing or not": pd.isna,
    "a number or nothing": lambda v: zlib.crc32(str(v).encode()) % 5 or None,
    "an int": lambda v: zlib.crc32(str(v).encode()) % 5,
    "an int or a float": lambda v: zlib.crc32(str(v).encode()) % 5 or 0.5,
    "a list": lambda v: [v],
    "a tuple": lambda v: (v, 1),
    "a dict": lambda v: {"v": v},
    "a Series": lambda v: pd.Series({"v": v, "one": 1}),
    "Series of other labels": lambda v: pd.Series({str(v): 1}),
    "a time": lambda v: _STAMP + pd.Timedelta(hours=len(str(v))),
    "a time or NaT": lambda v: _STAMP if len(str(v)) % 2 else pd.NaT,
    "doubled": lambda v: v + v,
    "an attribute": lambda v: v.year,
    "raises": lambda v: 1 // 0,
    "raises for some": raise_for_some_values,
}
