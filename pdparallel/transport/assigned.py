"""Globals and closure variables that an initializer assigns, found in its bytecode.

Each worker runs the initializer, so the parent need not send them.  *Surely* assigned means that every path assigns
the variable before it reads it: the parent's value has no effect.  *Perhaps* assigned means all others: the parent's
value may matter, so it is sent if possible.  Assignments are ``global X; X = ...``, ``nonlocal``, ``module.X = ...``
and ``globals()["X"] = ...``.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from pdparallel.core.code_objects import is_empty
from pdparallel.transport.pickler import Global, travels_by_value

__all__ = ["Assigned", "assigned_by"]


class Assigned(NamedTuple):
    """Variables that an initializer assigns."""

    surely: frozenset[Global]
    perhaps: dict[Global, Any]


def assigned_by(initializer: Any) -> Assigned:
    """Return the variables that an initializer assigns, itself or in the functions that it calls."""
    walk = _Walk()
    walk.visit(initializer, True, is_awaited=True)
    surely = walk.surely - walk.read_first
    others = (walk.perhaps | walk.surely) - surely
    return Assigned(frozenset(surely), {one: walk.values[one] for one in others if one in walk.values})


class _Walk:
    """Collector of reads and assignments, in the order in which the code would run."""

    def __init__(self) -> None:
        self.surely: set[Global] = set()
        self.perhaps: set[Global] = set()
        self.read_first: set[Global] = set()
        self.values: dict[Global, Any] = {}
        self._seen: set[int] = set()

    def visit(self, value: Any, always: bool, is_awaited: bool = False) -> None:
        """Read the functions that a call of the value runs; ``always`` if the call surely happens.

        Coroutine functions count as called only if the coroutine is awaited for sure.
        """
        for func, is_called in _functions_of(value):
            if id(func) not in self._seen:
                self._seen.add(id(func))
                runs = is_awaited or not func.__code__.co_flags & inspect.CO_COROUTINE
                self._go_through(func, func.__code__, always and is_called and runs)

    def _go_through(self, func: types.FunctionType, code: types.CodeType, always: bool) -> None:
        own = func.__globals__
        cells = dict(zip(func.__code__.co_freevars, func.__closure__ or (), strict=False))
        found: Any = None  # what the instruction before pushed on the stack, if known
        imported: dict[str, Any] = {}
        for step, is_sure in _steps(code, always):
            name, before, found = step.argval, found, None
            if step.opname == "STORE_GLOBAL":
                self._store_global(own, name, is_sure)
            elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                self._read((id(own), name))
                found = own.get(name)
                self._look_into(found, own, is_sure)
            elif step.opname == "STORE_DEREF" and name in cells:
                self._store((id(cells[name]), ""), is_sure, _content(cells[name]))
            elif step.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF") and name in cells:
                self._read((id(cells[name]), ""))
                found = _content(cells[name])
                self._look_into(found, own, is_sure)
            elif step.opname == "IMPORT_NAME":
                found = sys.modules.get(name)
            elif step.opname.startswith("STORE_FAST") and isinstance(before, types.ModuleType):
                imported[name] = before
            elif step.opname.startswith("LOAD_FAST"):
                found = imported.get(name)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM") and isinstance(before, types.ModuleType):
                self._read((id(vars(before)), name))
                found = vars(before).get(name)
                self._look_into(found, own, is_sure)
            elif step.opname == "STORE_ATTR" and isinstance(before, types.ModuleType) and before.__name__ != "__main__":
                # A worker's ``__main__`` is another module: functions of this one get a namespace of their own there.
                self._store_global(vars(before), name, is_sure)
        if not _NAMES_BY_TEXT.isdisjoint(code.co_names):
            for text in code.co_consts:
                if isinstance(text, str) and text in own:
                    self._store_global(own, text, False)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                self._go_through(func, inner, False)

    def _look_into(self, value: Any, own: dict[str, Any], always: bool) -> None:
        # The globals of other functions are not sent, and a library has much code.
        if callable(value) and not isinstance(value, types.BuiltinFunctionType):
            functions = [func for func, _ in _functions_of(value)]
            if any(func.__globals__ is own or travels_by_value(func) for func in functions):
                self.visit(value, always)

    def _store_global(self, space: dict[str, Any], name: str, is_sure: bool) -> None:
        if name in space:
            self._store((id(space), name), is_sure, space[name])

    def _store(self, which: Global, is_sure: bool, value: Any) -> None:
        self.values[which] = value
        (self.surely if is_sure else self.perhaps).add(which)

    def _read(self, which: Global) -> None:
        if which not in self.surely:
            self.read_first.add(which)


#: Names in code that can assign a global whose name is a string constant.
_NAMES_BY_TEXT = frozenset(("globals", "setattr", "vars", "__dict__"))


def _steps(code: types.CodeType, always: bool) -> Iterator[tuple[dis.Instruction, bool]]:
    """Yield the instructions, and whether each runs whenever the code does."""
    steps = list(dis.get_instructions(code))
    # The entries of a coroutine for its own end, and for each await, catch nothing.
    own = {step.offset for step in steps if step.opname in ("CLEANUP_THROW", "CALL_INTRINSIC_1")}
    protected = [
        (entry.start, entry.end)
        for entry in dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
        if entry.target not in own
    ]
    withs = _ranges_of_with(code)
    jumped_over, is_left = -1, not always or bool(code.co_flags & _STARTS_LATER)
    for step in steps:
        if step.opname.startswith(("CACHE", "EXTENDED_ARG", "PUSH_NULL", "NOP", "RESUME", "RETURN_GENERATOR")):
            continue
        is_tried = any(start <= step.offset < end for start, end in protected if (start, end) not in withs)
        yield step, not is_left and step.offset >= jumped_over and not is_tried
        if step.opcode in _JUMPS and isinstance(step.argval, int):
            jumped_over = max(jumped_over, step.argval)
        if step.opname.startswith("RETURN_"):  # not RAISE: an exception ends the call
            is_left = True


#: Flags of code that only runs when its result is requested.
_STARTS_LATER = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR

_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))


def _ranges_of_with(code: types.CodeType) -> set[tuple[int, int]]:
    """Return the protected ranges of ``with`` blocks. Hardly any of them suppresses an exception."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG")]
    ends = {steps[at].offset for at in range(len(steps) - 1) if steps[at + 1].opname == "WITH_EXCEPT_START"}
    entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    cleanups = {entry.target for entry in entries if entry.target in ends}
    return {(entry.start, entry.end) for entry in entries if entry.target in cleanups}


def _functions_of(value: Any) -> Iterator[tuple[types.FunctionType, bool]]:
    """Yield the Python functions that a call of the value runs, and whether each surely runs."""
    is_called = True
    while isinstance(value, (functools.partial, types.MethodType, staticmethod, classmethod)):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    if isinstance(value, types.FunctionType):
        yield value, is_called
        wrapped = getattr(value, "__wrapped__", None)
    elif isinstance(value, type):
        for member in list(vars(value).values()) if travels_by_value(value) else ():
            member = getattr(member, "__func__", member)
            if isinstance(member, types.FunctionType):
                yield member, False
        return
    else:
        call = getattr(type(value), "__call__", None)  # noqa: B004 - its code is needed
        if isinstance(call, types.FunctionType):
            yield call, is_called
            yield from ((func, False) for func, _ in _functions_of(type(value)) if func is not call)
        wrapped = getattr(value, "__wrapped__", None)
    if wrapped is not None and wrapped is not value:
        yield from ((func, False) for func, _ in _functions_of(wrapped))


def _content(cell: types.CellType) -> Any:
    return None if is_empty(cell) else cell.cell_contents
