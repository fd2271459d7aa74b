"""Names, imports and bytes of a function's code, with the code that is defined inside it."""

from __future__ import annotations

import dis
import functools
import marshal
import types
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Import", "Names", "codes", "from_bytes", "is_empty", "names_of", "steps_of", "to_bytes"]

#: Format version of marshal. Later ones may write equal code in other bytes, but workers identify code by its bytes.
_MARSHAL = 2

#: Mark of a placeholder for a constant that is kept beside the bytes.
_ELSEWHERE = "pdparallel: a constant that marshal does not write"

_IMPORT_NAME = dis.opmap["IMPORT_NAME"]

_HELPERS = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"})


class Import(NamedTuple):
    """An import inside a function: ``from ..name import parts``."""

    name: str
    level: int
    parts: tuple[str, ...]


class Names(NamedTuple):
    """Names in code, with the code inside it."""

    #: Globals, attributes and modules.
    all: frozenset[str]
    imports: tuple[Import, ...]


@functools.lru_cache(maxsize=4096)
def names_of(code: types.CodeType) -> Names:
    found: set[str] = set()
    imports: list[Import] = []
    for inner in codes(code):
        found.update(inner.co_names)
        if _IMPORT_NAME in inner.co_code[::2]:
            imports += _imports(inner)
    return Names(frozenset(found), tuple(imports))


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield code, and the code of the functions and classes inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def steps_of(code: types.CodeType) -> list[dis.Instruction]:
    """Return the instructions of code, without those that only help the interpreter."""
    return [step for step in dis.get_instructions(code) if step.opname not in _HELPERS]


def to_bytes(code: types.CodeType) -> tuple[bytes, list[Any]]:
    """Return code as bytes, and the constants that marshal cannot write: slices, and objects that tools put there."""
    left_out: list[Any] = []
    try:
        data = marshal.dumps(code, _MARSHAL)
    except ValueError:
        data = marshal.dumps(_without(code, left_out), _MARSHAL)
    return data, left_out


def from_bytes(data: bytes, left_out: list[Any]) -> types.CodeType:
    code: types.CodeType = marshal.loads(data)
    return _with(code, left_out) if left_out else code


def _without(code: types.CodeType, left_out: list[Any]) -> types.CodeType:
    constants: list[Any] = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            constants.append(_without(constant, left_out))
            continue
        try:
            marshal.dumps(constant, _MARSHAL)
        except ValueError:
            constants.append((_ELSEWHERE, len(left_out)))
            left_out.append(constant)
        else:
            constants.append(constant)
    return code.replace(co_consts=tuple(constants))


def _with(code: types.CodeType, left_out: list[Any]) -> types.CodeType:
    constants: list[Any] = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            constants.append(_with(constant, left_out))
        elif type(constant) is tuple and constant[:1] == (_ELSEWHERE,):
            constants.append(left_out[constant[1]])
        else:
            constants.append(constant)
    return code.replace(co_consts=tuple(constants))


def _imports(code: types.CodeType) -> Iterator[Import]:
    before: deque[Any] = deque((None, None), maxlen=2)
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            level, parts = before
            yield Import(step.argval, level if type(level) is int else 0, parts if type(parts) is tuple else ())
        if step.opname not in ("EXTENDED_ARG", "CACHE"):
            before.append(step.argval)


def is_empty(cell: types.CellType) -> bool:
    """Return True if a closure variable has no value yet, or no longer has one."""
    try:
        cell.cell_contents  # noqa: B018 - it raises
    except ValueError:
        return True
    return False
