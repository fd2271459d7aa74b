"""Review of typed code: what compiled code returns, and where it would differ from Python."""

from __future__ import annotations

import builtins
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import types
from numba.core import ir

from pdparallel.engines import numba_checked as checked

__all__ = [
    "OF_SERIES", "Kinds", "NotCompilableError", "all_whole", "called_by", "holds_whole", "is_extreme_of_array",
    "kinds_of", "review",
]  # fmt: skip


class NotCompilableError(Exception):
    """Error that a function cannot be compiled, with the reason and the line."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


@dataclass(frozen=True)
class Kinds:
    """What a compiled function returns: the type of each value, and whether Python may return an integer there."""

    dtypes: tuple[np.dtype, ...]
    #: Whether a float may be an integer in Python, because another line returns one.
    mixed: tuple[bool, ...]
    #: tuple or list, or None for a single number.
    container: type | None
    length: int | None = None
    #: For each value: whether it is a number of Python, of NumPy, or as in the unit. See :mod:`.numba_origins`.
    origins: tuple[frozenset[str], ...] = ()


#: Functions whose result is one of their arguments.
_EXTREMES = (builtins.min, builtins.max)


def _letter(kind: Any) -> Any:
    kind = kind.literal_type if isinstance(kind, types.Literal) else kind
    if isinstance(kind, types.BaseTuple):
        return tuple(map(_letter, kind.types))
    if isinstance(kind, types.Boolean):
        return "b"
    return {types.int64: "i", types.float64: "f"}.get(kind) or str(kind)


def _joins(annotation: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the letters of source and target, and the place, of each conversion in typed code."""
    kinds = annotation.typemap
    for block in annotation.blocks.values():
        for statement in block.body:
            if not isinstance(statement, ir.Assign):
                continue
            value, target = statement.value, kinds.get(statement.target.name)
            sources: list[Any] = []
            if isinstance(value, ir.Var):
                sources = [value]
            elif isinstance(value, ir.Expr) and value.op == "cast":
                sources = [value.value]
            elif isinstance(value, ir.Expr) and value.op == "phi":
                sources = [one for one in value.incoming_values if one is not ir.UNDEFINED]
            elif isinstance(value, ir.Expr) and value.op in ("build_list", "build_set"):
                inner = getattr(target, "dtype", None)
                for one in value.items:
                    if _letter(kinds[one.name]) != _letter(inner):
                        raise NotCompilableError("it makes a list of different types. Make a tuple", statement.loc.line)
                continue
            elif (
                isinstance(value, ir.Expr) and value.op == "call" and called_by(kinds.get(value.func.name)) in _EXTREMES
            ):
                sources = list(value.args)
            for source in sources:
                source_kind = kinds.get(source.name)
                if source_kind is not None and target is not None:
                    yield _letter(source_kind), _letter(target), statement


def called_by(kind: Any) -> Any:
    """Return the function that typed code calls."""
    return kind.dispatcher if isinstance(kind, types.Dispatcher) else getattr(kind, "typing_key", None)


def is_extreme_of_array(kind: Any) -> bool:
    if isinstance(kind, types.BoundFunction) and isinstance(kind.this, types.Array):
        return str(kind.typing_key[-1]) in ("min", "max")
    return called_by(kind) in (np.min, np.max)


def holds_whole(blocks: Any, kinds: Any) -> set[str]:
    """Return the variables of typed code that are, or contain, floats in the place of Python's integers."""
    found: set[str] = set()
    changed = True
    while changed:
        before = len(found)
        for block in blocks.values():
            for statement in block.find_insts(ir.Assign):
                target, value = statement.target.name, statement.value
                if target not in found and _becomes_whole(value, kinds.get(target), kinds, found):
                    found.add(target)
                called = kinds.get(value.func.name) if isinstance(value, ir.Expr) and value.op == "call" else None
                if isinstance(called, types.BoundFunction) and found & {one.name for one in value.args}:
                    found |= {
                        of.value.value.name  # the list that gets it
                        for of in block.find_insts(ir.Assign)
                        if of.target.name == value.func.name and isinstance(of.value, ir.Expr)
                    }
        changed = len(found) > before
    return found


def _becomes_whole(value: Any, target: Any, kinds: Any, found: set[str]) -> bool:
    letters = _flat(_letter(target))
    if isinstance(target, (types.Boolean, types.Integer, types.Array)):
        return False
    if isinstance(value, ir.Var) or (isinstance(value, ir.Expr) and value.op == "cast"):
        source = value if isinstance(value, ir.Var) else value.value
        pairs = _pairs(_letter(kinds.get(source.name)), _letter(target))
        return source.name in found or any(pair == ("i", "f") for pair in pairs)
    if not isinstance(value, ir.Expr):
        return False
    if value.op != "call":
        return any(one.name in found for one in value.list_vars())
    called = called_by(kinds.get(value.func.name))
    if called in checked.OF_ARITHMETIC:
        return called is not checked.ARITHMETIC[operator.truediv] and all_whole(value, kinds, found)
    if called in _EXTREMES and "f" in letters:
        return any(one.name in found or _letter(kinds[one.name]) == "i" for one in value.args)
    if isinstance(kinds.get(value.func.name), types.Dispatcher) and called not in checked.OF_FLOATS:
        return any(one.name in found for one in value.args) or _returns_whole(called)
    return called not in checked.OF_FLOATS and any(one.name in found for one in value.args)


def _flat(letter: Any) -> set[Any]:
    return set().union(*map(_flat, letter)) if isinstance(letter, tuple) else {letter}


def all_whole(call: Any, kinds: Any, found: set[str]) -> bool:
    """Return whether all operands of a call are integers in Python, and one is a float here."""
    names = [one.name for one in call.args]
    return any(one in found for one in names) and all(one in found or _letter(kinds[one]) in "bi" for one in names)


def _returns_whole(dispatcher: Any) -> bool:
    """Return whether a compiled function may return a float where Python returns an integer."""
    for made in dispatcher.overloads.values():
        annotation = made.type_annotation
        found = holds_whole(annotation.blocks, annotation.typemap)
        for block in annotation.blocks.values():
            found_here = [one.value.name for one in block.find_insts(ir.Return)]
            if found & set(found_here):
                return True
    return False


def review(compilation: Any) -> bool:
    """Return whether integers may become floats somewhere; refuse functions that mix bools and numbers."""
    mixed = False
    for dispatcher in compilation.dispatchers.values():
        for made in dispatcher.overloads.values():
            annotation = made.type_annotation
            _review_rows(compilation, annotation)
            for source, target, statement in _joins(annotation):
                for one, other in _pairs(source, target):
                    if one == other:
                        continue
                    if "b" in (one, other):
                        raise NotCompilableError(
                            "it gives True or False in one place and a number in another", statement.loc.line
                        )
                    narrow = next((name for name in (one, other) if _NARROW.match(name)), None)
                    if narrow is not None:
                        raise NotCompilableError(
                            f"it gives a {narrow} in one place and another number in another. Convert the {narrow} "
                            "first, as in float(row['x'])", statement.loc.line,
                        )  # fmt: skip
                    mixed = mixed or (one, other) == ("i", "f")
    return mixed


#: Names of types that are not Python's.
_NARROW = re.compile(r"(int|uint|float)\d+$")

#: Methods of lists that give the same in compiled code.
_OF_LISTS = frozenset(("append", "clear", "copy", "extend", "insert", "pop", "reverse"))


def _review_call(call: Any, kinds: Any, result: Any) -> None:
    """Refuse calls that give something else in Python."""
    called, line = kinds.get(call.func.name), call.loc.line
    operands = [kinds[one.name] for one in (*call.args, *(one for _, one in call.kws))]
    if call.func.name.startswith("$checked.inplace") and isinstance(operands[0], (types.Array, types.List, types.Set)):
        raise NotCompilableError("it changes an array or list in place. Write x = x + y, not x += y", line)
    if isinstance(called, types.BoundFunction) and isinstance(called.this, types.List):
        key = called.typing_key
        name = str(key[-1] if isinstance(key, tuple) else key).rpartition(".")[2]
        if name not in _OF_LISTS:
            raise NotCompilableError(f"it uses the method {name}() of a list", line)
        if any(_letter(getattr(one, "dtype", one)) != _letter(called.this.dtype) for one in operands) and name != "pop":
            raise NotCompilableError("it makes a list of different types. Make a tuple", line)
    function = called_by(called)
    if (
        isinstance(called, types.Dispatcher)
        or function in checked.OF_NARROW
        or function in checked.COMPARISONS.values()
    ):
        return
    _review_narrow(function, operands, result, line)


def _review_narrow(function: Any, operands: list[Any], result: Any, line: int) -> None:
    """Refuse functions for which NumPy has other types than compiled code."""
    name = getattr(function, "__name__", "")
    for kind in operands:
        own = _letter(kind.dtype if isinstance(kind, types.Array) else kind)
        found = _letter(result.dtype if isinstance(result, types.Array) else result)
        if not isinstance(own, str) or found in ("b", own) or name in ("len", "argmin", "argmax", "range"):
            continue
        is_ufunc = isinstance(function, np.ufunc)
        if _NARROW.match(own) or (own == "b" and is_ufunc):
            raise NotCompilableError(
                f"{name or 'a function'}() gets a {'bool' if own == 'b' else own}, for which NumPy has other types. "
                "Convert it first, as in float(row['x'])", line,
            )  # fmt: skip


def _pairs(source: Any, target: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(source, tuple) and isinstance(target, tuple) and len(source) == len(target):
        for one, other in zip(source, target, strict=True):
            yield from _pairs(one, other)
    else:
        yield source, target


#: Names that a Series has itself.
OF_SERIES = frozenset(dir(pd.Series))


def _review_rows(compilation: Any, annotation: Any) -> None:
    """Refuse access to a row that means something else in pandas."""
    for block in annotation.blocks.values():
        for statement in block.body:
            value = getattr(statement, "value", None)
            if isinstance(value, ir.Expr) and value.op == "call":
                _review_call(value, annotation.typemap, annotation.typemap.get(statement.target.name))
            if isinstance(value, ir.Expr) and value.op == "getiter":
                of = annotation.typemap.get(value.value.name)
                if isinstance(of, types.Set):
                    raise NotCompilableError("it goes through a set, whose order differs", statement.loc.line)
            if compilation.exact and isinstance(value, ir.Expr) and value.op == "call":
                called = annotation.typemap.get(value.func.name)
                if isinstance(called, types.BoundFunction) and isinstance(called.this, types.Array):
                    name = str(called.typing_key[-1])
                    if name not in checked.ALLOWED_METHODS:
                        raise NotCompilableError(
                            f"it uses the method {name}() of an array, whose result may differ in compiled code. "
                            "Allow small differences: df.par(engine='numba', check=1e-12)",
                            statement.loc.line,
                        )
            if not isinstance(value, ir.Expr) or value.op not in ("getattr", "static_getitem", "getitem"):
                continue
            kind = annotation.typemap.get(value.value.name)
            if not isinstance(kind, types.Record):
                continue
            if value.op == "getattr" and value.attr in OF_SERIES:
                raise NotCompilableError(
                    f"row.{value.attr} belongs to each Series. Write row[{value.attr!r}] for the column",
                    statement.loc.line,
                )
            if value.op == "static_getitem" and isinstance(value.index, int):
                raise NotCompilableError(f"row[{value.index}] is no label of a column", statement.loc.line)


def kinds_of(kind: Any, mixed: bool) -> Kinds:
    """Return the kinds of a return type."""
    if isinstance(kind, types.BaseTuple) and len(kind):
        each = tuple(_dtype_of(one) for one in kind.types)
        return Kinds(each, tuple(mixed and dtype.kind == "f" for dtype in each), tuple, len(each))
    if isinstance(kind, (types.List, types.ListType)):
        dtype = _dtype_of(kind.dtype)
        return Kinds((dtype,), (mixed and dtype.kind == "f",), list)
    dtype = _dtype_of(kind)
    return Kinds((dtype,), (mixed and dtype.kind == "f",), None)


def _dtype_of(kind: Any) -> np.dtype:
    kind = kind.literal_type if isinstance(kind, types.Literal) else kind
    if isinstance(kind, types.Boolean):
        return np.dtype(bool)
    if isinstance(kind, (types.Integer, types.Float)):
        return np.dtype(str(kind))
    if kind == types.none:
        raise NotCompilableError("it returns None. Return a number, or float('nan')")
    if isinstance(kind, types.Optional):
        raise NotCompilableError("it returns None in some places. Return a number, or float('nan')")
    what = "a row" if isinstance(kind, types.Record) else "an array" if isinstance(kind, types.Array) else str(kind)
    what = "a dict" if what.startswith("Dict") else what
    names = {"unicode_type": "a text", "complex128": "a complex number"}
    raise NotCompilableError(
        f"it returns {names.get(what, what)}. Compiled code can return numbers, bools, and tuples of them"
    )
