"""Functions of numbers, compiled by numba: ``engine="numba"``.

Compiled code gives Python's result, or raises so that Python computes the row. See :mod:`.numba_checked`.
"""

from __future__ import annotations

import builtins
import collections
import dis
import functools
import inspect
import linecache
import operator
import re
import threading
import types as python_types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numba
import numpy as np
import pandas as pd
from numba import types
from numba.core import inline_closurecall, ir
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import BaseNativeLowering, NativeLowering
from numba.core.untyped_passes import InlineClosureLikes

from pdparallel.core.call import Work
from pdparallel.core.format import shortened
from pdparallel.data.numeric_units import Layout
from pdparallel.engines import numba_checked as checked
from pdparallel.engines.numba_origins import NUMPY, PYTHON, UNIT, returned_origins, without_whole
from pdparallel.errors import FunctionNotCompilableError

__all__ = ["Compiled", "compiled"]

#: Number of compiled functions that are kept.
MAX_KEPT = 64

#: Largest number of values in an array that a function uses as a constant.
MAX_CONSTANTS = 100_000

#: One compilation at a time; numba has such a lock, too.
_lock = threading.RLock()


class _NotCompilableError(Exception):
    """Error that a function cannot be compiled, with the reason and the line."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


class _Dependency(NamedTuple):
    """A value that compiled code contains: a global, a variable of an outer function, or an attribute of a module."""

    kind: str
    owner: Any  # the function, None for the user's function itself, or the module
    name: str
    value: Any


class _Compilation:
    """State of one compilation."""

    def __init__(self, func: python_types.FunctionType, exact: bool) -> None:
        self.func = func
        self.exact = exact
        self.dependencies: list[_Dependency] = []
        self.dispatchers: dict[Any, Any] = {}
        self._used: dict[Any, set[Any]] = {}

    def dispatcher(self, func: python_types.FunctionType) -> Any:
        """Return a function for compilation."""
        if func not in self.dispatchers:
            code = func.__code__
            if any(step.opname == "PUSH_EXC_INFO" for step in dis.get_instructions(code)):
                reason = "it has a 'try' or 'with' block. Compiled code cannot tell which exceptions that catches"
                raise _NotCompilableError(reason, code.co_firstlineno)
            if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
                raise _NotCompilableError("it is a generator or a coroutine function", code.co_firstlineno)
            copy = python_types.FunctionType(code, func.__globals__, func.__name__, func.__defaults__, func.__closure__)
            copy.__kwdefaults__ = func.__kwdefaults__
            self.dispatchers[func] = numba.njit(
                nogil=True, error_model="python", boundscheck=True, pipeline_class=_Pipeline,
                no_cpython_wrapper=True, no_cfunc_wrapper=True,  # only compiled code calls it
            )(copy)  # fmt: skip
        return self.dispatchers[func]

    def _helper(self, value: python_types.FunctionType, loc: Any, caller: Any) -> Any:
        """Return a function that another one uses; refuse recursion, because compiled code has no limit for it."""
        self._used.setdefault(caller, set()).add(value)
        found, left = {value}, [value]
        while left:
            more = self._used.get(left.pop(), set()) - found
            found |= more
            left += more
        if caller in found:
            raise _NotCompilableError(f"{value.__name__}() calls itself. Write a loop", loc.line)
        return self.dispatcher(value)

    def in_place_of(self, value: Any, name: str, loc: Any, caller: Any) -> Any:
        """Return what compiled code uses in place of a value; refuse a value that differs there."""
        if id(value) in checked.SUBSTITUTES:
            return checked.SUBSTITUTES[id(value)]
        if id(value) in checked.ALLOWED or _is_constant(value):
            return value
        if isinstance(value, python_types.FunctionType) and not _is_of_library(value):
            return self._helper(value, loc, caller)
        if isinstance(value, type) and issubclass(value, Exception):
            return value  # compiled code that raises it lets Python compute the row
        if _is_dispatcher(value) or not self.exact or str(getattr(value, "__module__", "")).startswith("numba."):
            return value
        if not callable(value):
            raise _NotCompilableError(
                f"it uses {name}, which is a {type(value).__name__}. Compiled code can use numbers, tuples and arrays "
                "of numbers, and functions of them", loc.line,
            )  # fmt: skip
        advice = checked.REFUSED.get(name.replace("numpy.", "np."), "")
        if not advice and not name.startswith(("np.", "numpy.", "math.")):
            raise _NotCompilableError(
                f"it uses {name}. Compiled code knows Python's operators, abs, min, max, round, int, float, bool, len "
                "and range, the functions of math, and some of NumPy", loc.line,
            )  # fmt: skip
        raise _NotCompilableError(
            f"it uses {name}, whose result may differ in compiled code. {advice or 'Use a function of math'}. Or allow "
            "small differences: df.par(engine='numba', check=1e-12)", loc.line,
        )  # fmt: skip


def _is_of_library(func: Any) -> bool:
    return str(func.__module__).partition(".")[0] in ("numpy", "math", "pandas", "scipy")


_current = threading.local()


def _is_dispatcher(value: Any) -> bool:
    return isinstance(value, numba.core.registry.CPUDispatcher)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf" and value.size <= MAX_CONSTANTS
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


@register_pass(mutates_CFG=False, analysis_only=False)
class _Checked(FunctionPass):
    """Pass that replaces operators, and functions of Python, by checked ones."""

    _name = "pdparallel_checked"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        compilation: _Compilation = _current.compilation
        code = state.func_ir.func_id
        func = next(
            (one for one, dispatcher in compilation.dispatchers.items() if dispatcher.py_func is code.func), code.func
        )
        _refuse_unassigned(state.func_ir)
        self._is_none = _names_of_none(state.func_ir)
        modules: dict[str, tuple[str, Any]] = {}
        self._methods: dict[str, tuple[Any, Any]] = {}
        for block in state.func_ir.blocks.values():
            body: list[Any] = []
            for statement in block.body:
                self._rewrite(compilation, func, statement, block, body, modules)
            block.body = body
        return True

    def _rewrite(
        self, compilation: _Compilation, func: Any, statement: Any, block: Any, body: list[Any],
        modules: dict[str, tuple[str, Any]],
    ) -> None:  # fmt: skip
        value, loc = getattr(statement, "value", None), statement.loc
        if isinstance(statement, (ir.SetItem, ir.StaticSetItem, ir.SetAttr, ir.DelItem)):
            raise _NotCompilableError("it writes into an object. Compute a new value instead", loc.line)
        if not isinstance(statement, ir.Assign):
            body.append(statement)
            return
        if isinstance(value, (ir.Global, ir.FreeVar)):
            kind = "global" if isinstance(value, ir.Global) else "free"
            owner = None if func is compilation.func else func
            compilation.dependencies.append(_Dependency(kind, owner, value.name, _frozen(value.value)))
            if isinstance(value.value, python_types.ModuleType):
                modules[statement.target.name] = (value.name, value.value)
            else:
                name = value.name
                if kind == "global" and getattr(value.value, "__module__", "") in ("math", "numpy"):
                    name = f"{value.value.__module__}.{name}"
                made = compilation.in_place_of(value.value, name, loc, func)
                statement = ir.Assign(ir.Global(value.name, made, loc), statement.target, loc)
        elif isinstance(value, ir.Expr) and value.op == "getattr" and value.value.name in modules:
            name, module = modules[value.value.name]
            found = getattr(module, value.attr, None)
            if "random" in (value.attr, module.__name__.rpartition(".")[2]):
                raise _NotCompilableError("it draws random numbers. Compiled code draws others", loc.line)
            if found is None:
                raise _NotCompilableError(f"{name}.{value.attr} does not exist", loc.line)
            if isinstance(found, python_types.ModuleType):
                modules[statement.target.name] = (f"{name}.{value.attr}", found)
            else:
                compilation.dependencies.append(_Dependency("attribute", module, value.attr, _frozen(found)))
                made = compilation.in_place_of(found, f"{name}.{value.attr}", loc, func)
                statement = ir.Assign(ir.Global(value.attr, made, loc), statement.target, loc)
        elif isinstance(value, ir.Expr) and value.op == "getattr" and value.attr in checked.METHODS:
            self._methods[statement.target.name] = value.value, checked.METHODS[value.attr]
        elif isinstance(value, ir.Expr) and value.op == "call" and value.func.name in self._methods:
            array, stands = self._methods[value.func.name]
            name = self._variable(block, body, "method", stands, loc)
            statement = ir.Assign(ir.Expr.call(name, [array, *value.args], value.kws, loc), statement.target, loc)
        elif isinstance(value, ir.Expr) and value.op == "build_map":
            raise _NotCompilableError("it makes a dict. Use a tuple or an array", loc.line)
        elif isinstance(value, ir.Expr) and value.op == "make_function":
            raise _NotCompilableError("it makes a function and does not just call it. Define it outside", loc.line)
        elif isinstance(value, ir.Expr) and value.op in ("binop", "inplace_binop", "unary"):
            op = value.fn if value.op != "inplace_binop" else value.immutable_fn
            if op in (operator.is_, operator.is_not) and not self._is_none & {value.lhs.name, value.rhs.name}:
                raise _NotCompilableError("it compares objects by 'is', which numbers do not have. Use ==", loc.line)
            stands = checked.ARITHMETIC.get(op) or checked.COMPARISONS.get(op)
            if stands is not None:
                operands = (value.value,) if value.op == "unary" else (value.lhs, value.rhs)
                is_inplace = value.op == "inplace_binop"
                name = self._variable(block, body, getattr(op, "__name__", "operator"), stands, loc, is_inplace)
                statement = ir.Assign(ir.Expr.call(name, operands, (), loc), statement.target, loc)
        body.append(statement)

    def _variable(self, block: Any, body: list[Any], shown: str, value: Any, loc: Any, is_inplace: bool = False) -> Any:
        """Assign a function to a new variable, and return the variable."""
        self._number = getattr(self, "_number", 0) + 1
        variable = ir.Var(block.scope, f"$checked.{'inplace.' if is_inplace else ''}{self._number}", loc)
        body.append(ir.Assign(ir.Global(shown, value, loc), variable, loc))
        return variable


def _names_of_none(func_ir: Any) -> set[str]:
    """Return the names of the variables that are the constant None."""
    values: dict[str, list[Any]] = {}
    for block in func_ir.blocks.values():
        for statement in block.find_insts(ir.Assign):
            values.setdefault(statement.target.name, []).append(statement.value)
    return {
        name for name, found in values.items() if all(isinstance(one, ir.Const) and one.value is None for one in found)
    }


def _refuse_unassigned(func_ir: Any) -> None:
    """Refuse a function that may use a variable before it has a value; compiled code would take any value then."""
    blocks = func_ir.blocks
    graph = compute_cfg_from_blocks(blocks)
    assigned: dict[int, set[str]] = {}
    order = graph.topo_order()
    changed = True
    while changed:
        changed = False
        for label in order:
            known = [assigned[before] for before, _ in graph.predecessors(label) if before in assigned]
            now = set.intersection(*known) if known else set()
            now |= {one.target.name for one in blocks[label].find_insts(ir.Assign)}
            if assigned.get(label) != now:
                assigned[label], changed = now, True
    for label in order:
        known = [assigned[before] for before, _ in graph.predecessors(label)]
        now = set.intersection(*known) if known else set()
        for statement in blocks[label].body:
            if isinstance(statement, ir.Del):
                continue
            target = statement.target.name if isinstance(statement, ir.Assign) else None
            for variable in statement.list_vars():
                name = variable.name
                if name not in now and name != target and not name.startswith("$"):
                    shown = variable.unversioned_name
                    raise _NotCompilableError(
                        f"the variable {shown} may have no value there. Give it one before the branch or loop",
                        statement.loc.line,
                    )
            if target is not None:
                now.add(target)


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_frozen, value)) if any(isinstance(one, (tuple, np.ndarray)) for one in value) else value
    return value.copy() if isinstance(value, np.ndarray) else value


@register_pass(mutates_CFG=True, analysis_only=False)
class _Inlining(InlineClosureLikes):
    """Pass of numba that puts inner functions where they are called; here it keeps unused code that may raise."""

    _name = "pdparallel_inlining"

    def run_pass(self, state: Any) -> bool:
        eliminate = inline_closurecall.dead_code_elimination
        inline_closurecall.dead_code_elimination = _eliminate  # numba's lock is held
        try:
            return bool(super().run_pass(state))
        finally:
            inline_closurecall.dead_code_elimination = eliminate


def _eliminate(func_ir: Any) -> None:
    """Remove unused variables whose values cannot raise."""
    unused: set[str] = {""}
    while unused:
        used: set[str] = set()
        made: set[str] = set()
        for block in func_ir.blocks.values():
            for statement in block.body:
                if isinstance(statement, ir.Assign):
                    used |= _variables_of(statement.value)
                    made |= {statement.target.name} if _is_pure(statement.value) else set()
                elif not isinstance(statement, ir.Del):
                    used |= {one.name for one in statement.list_vars()}
        unused = made - used
        for block in func_ir.blocks.values():
            block.body = [one for one in block.body if not (_is_assignment(one, unused) and _is_pure(one.value))]
            block.body = [one for one in block.body if not (isinstance(one, ir.Del) and one.value in unused)]


def _is_assignment(statement: Any, names: set[str]) -> bool:
    return isinstance(statement, ir.Assign) and statement.target.name in names


def _variables_of(value: Any) -> set[str]:
    if isinstance(value, ir.Var):
        return {value.name}
    return {one.name for one in value.list_vars()} if isinstance(value, (ir.Expr, ir.Yield)) else set()


def _is_pure(value: Any) -> bool:
    if isinstance(value, ir.Expr):
        return value.op in ("make_function", "build_tuple")
    return isinstance(value, (ir.Var, ir.Const, ir.Global, ir.FreeVar))


class _Pipeline(CompilerBase):
    """Compiler of numba with the pass that checks operators."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_Inlining, InlineClosureLikes)
        passes.add_pass_after(_Checked, _Inlining)  # so that the code of inner functions is there, too
        passes.add_pass_after(_Lowering, NativeLowering)
        passes.passes = [one for one in passes.passes if one[0] not in (NativeLowering, InlineClosureLikes)]
        passes.finalize()
        return [passes]


# Kinds of returns


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


def _letter(kind: Any) -> Any:
    kind = kind.literal_type if isinstance(kind, types.Literal) else kind
    if isinstance(kind, types.BaseTuple):
        return tuple(map(_letter, kind.types))
    if isinstance(kind, types.Boolean):
        return "b"
    return {types.int64: "i", types.float64: "f"}.get(kind) or str(kind)


def _joins(func: Any, annotation: Any) -> Iterator[tuple[Any, Any, Any]]:
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
                        raise _NotCompilableError(
                            "it makes a list of different types. Make a tuple", statement.loc.line
                        )
                continue
            elif isinstance(value, ir.Expr) and value.op == "call" and _is_extreme(kinds.get(value.func.name)):
                sources = list(value.args)
            for source in sources:
                source_kind = kinds.get(source.name)
                if source_kind is not None and target is not None:
                    yield _letter(source_kind), _letter(target), statement


def _called(kind: Any) -> Any:
    """Return the function that typed code calls."""
    return kind.dispatcher if isinstance(kind, types.Dispatcher) else getattr(kind, "typing_key", None)


def _is_extreme_of_array(kind: Any) -> bool:
    if isinstance(kind, types.BoundFunction) and isinstance(kind.this, types.Array):
        return str(kind.typing_key[-1]) in ("min", "max")
    return _called(kind) in (np.min, np.max)


def _holds_whole(blocks: Any, kinds: Any) -> set[str]:
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
    called = _called(kinds.get(value.func.name))
    if called in checked.OF_ARITHMETIC:
        return called is not checked.ARITHMETIC[operator.truediv] and _all_whole(value, kinds, found)
    if called in (builtins.min, builtins.max) and "f" in letters:
        return any(one.name in found or _letter(kinds[one.name]) == "i" for one in value.args)
    if isinstance(kinds.get(value.func.name), types.Dispatcher) and called not in checked.OF_FLOATS:
        return any(one.name in found for one in value.args) or _returns_whole(called)
    return called not in checked.OF_FLOATS and any(one.name in found for one in value.args)


def _flat(letter: Any) -> set[Any]:
    return set().union(*map(_flat, letter)) if isinstance(letter, tuple) else {letter}


def _all_whole(call: Any, kinds: Any, found: set[str]) -> bool:
    """Return whether all operands of a call are integers in Python, and one is a float here."""
    names = [one.name for one in call.args]
    return any(one in found for one in names) and all(one in found or _letter(kinds[one]) in "bi" for one in names)


def _returns_whole(dispatcher: Any) -> bool:
    """Return whether a compiled function may return a float where Python returns an integer."""
    for made in dispatcher.overloads.values():
        annotation = made.type_annotation
        found = _holds_whole(annotation.blocks, annotation.typemap)
        for block in annotation.blocks.values():
            found_here = [one.value.name for one in block.find_insts(ir.Return)]
            if found & set(found_here):
                return True
    return False


class _Lower(Lower):
    """Lowering that raises where an integer becomes a float, and that differs in Python."""

    def lower_assign(self, ty: Any, inst: Any) -> Any:
        value, kinds = inst.value, self.fndesc.typemap
        if isinstance(value, ir.Var) or (isinstance(value, ir.Expr) and value.op == "cast"):
            source = value if isinstance(value, ir.Var) else value.value
            if not isinstance(inst.target, ir.Var) or not self._is_returned(inst.target):
                self._refuse_large(source, ty)
        elif isinstance(value, ir.Expr) and value.op == "call":
            called = _called(kinds.get(value.func.name))
            if called in (builtins.min, builtins.max):
                for one in value.args:
                    self._refuse_large(one, ty)
            elif called is builtins.abs and kinds[value.args[0].name] == types.int64:
                checked.raise_if(self.context, self.builder, checked.is_least(self.builder, self._load(value.args[0])))
        result = super().lower_assign(ty, inst)
        if isinstance(value, ir.Expr) and value.op == "call":
            self._guard(value, ty, result)
        return result

    def _load(self, variable: Any) -> Any:
        return self.loadvar(variable.name)

    def _is_returned(self, target: Any) -> bool:
        if not hasattr(self, "_returned"):
            self._returned = {one.value.name for block in self.blocks.values() for one in block.find_insts(ir.Return)}
        return self._is_first and target.name in self._returned

    @property
    def _is_first(self) -> bool:
        """Return whether this is the user's function itself, whose whole results Python computes again."""
        compilation = getattr(_current, "compilation", None)
        return compilation is not None and self.func_ir.func_id.func.__code__ is compilation.func.__code__

    def _refuse_large(self, source: Any, target: Any) -> None:
        """Raise for integers that are no floats."""
        kind = self.fndesc.typemap[source.name]
        if kind == types.int64 and target == types.float64:
            checked.raise_if(self.context, self.builder, checked.is_large(self.builder, self._load(source)))
        elif isinstance(kind, types.BaseTuple) and isinstance(target, types.BaseTuple):
            for at, (one, other) in enumerate(zip(kind.types, target.types, strict=True)):
                if one == types.int64 and other == types.float64:
                    part = self.builder.extract_value(self._load(source), at)
                    checked.raise_if(self.context, self.builder, checked.is_large(self.builder, part))

    def _guard(self, call: Any, ty: Any, result: Any) -> None:
        """Raise if the result of a call may be another one for the integers that Python has there."""
        kinds = self.fndesc.typemap
        if isinstance(ty, types.Float) and _is_extreme_of_array(kinds.get(call.func.name)):
            # NumPy may return a zero of another sign
            zero = self.builder.fcmp_ordered("==", result, result.type(0.0))
            checked.raise_if(self.context, self.builder, zero)
        if not hasattr(self, "_whole"):
            self._whole = _holds_whole(self.blocks, kinds)
        names = [one.name for one in call.args] + [one.name for _, one in call.kws]
        whole = [one for one in names if one in self._whole]
        if not whole:
            return
        called = _called(kinds.get(call.func.name))
        if called in checked.COMPARISONS.values() or called in checked.OF_FLOATS or called in checked.OF_WHOLE:
            return
        if isinstance(kinds.get(call.func.name), types.BoundFunction):
            return  # of a list
        is_array = any(isinstance(kinds[one], types.Array) for one in names)
        if called in checked.OF_ARITHMETIC and not is_array:
            if called is checked.ARITHMETIC[operator.truediv] or not _all_whole(call, kinds, self._whole):
                return
            if called is not checked.ARITHMETIC[operator.pow]:
                checked.raise_if(self.context, self.builder, checked.is_unlike_integer(self.builder, result))
                return
        for one in whole:
            if kinds[one] != types.float64:
                raise _NotCompilableError(
                    "it gives a function a tuple or list of numbers that are integers in one place and floats in "
                    "another", call.loc.line,
                )  # fmt: skip
            checked.raise_if(self.context, self.builder, checked.is_integer(self.builder, self.loadvar(one)))


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(BaseNativeLowering):
    """Pass that makes machine code, with these checks."""

    _name = "pdparallel_lowering"

    @property
    def lowering_class(self) -> Any:
        return _Lower


def _is_extreme(kind: Any) -> bool:
    return getattr(kind, "typing_key", None) in (builtins.min, builtins.max)


def _review(compilation: _Compilation) -> bool:
    """Return whether integers may become floats somewhere; refuse functions that mix bools and numbers."""
    mixed = False
    for func, dispatcher in compilation.dispatchers.items():
        for made in dispatcher.overloads.values():
            annotation = made.type_annotation
            _review_rows(compilation, annotation)
            for source, target, statement in _joins(func, annotation):
                for one, other in _pairs(source, target):
                    if one == other:
                        continue
                    if "b" in (one, other):
                        raise _NotCompilableError(
                            "it gives True or False in one place and a number in another", statement.loc.line
                        )
                    narrow = next((name for name in (one, other) if _NARROW.match(name)), None)
                    if narrow is not None:
                        raise _NotCompilableError(
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
        raise _NotCompilableError("it changes an array or list in place. Write x = x + y, not x += y", line)
    if isinstance(called, types.BoundFunction) and isinstance(called.this, types.List):
        key = called.typing_key
        name = str(key[-1] if isinstance(key, tuple) else key).rpartition(".")[2]
        if name not in _OF_LISTS:
            raise _NotCompilableError(f"it uses the method {name}() of a list", line)
        if any(_letter(getattr(one, "dtype", one)) != _letter(called.this.dtype) for one in operands) and name != "pop":
            raise _NotCompilableError("it makes a list of different types. Make a tuple", line)
    function = _called(called)
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
            raise _NotCompilableError(
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
_OF_SERIES = frozenset(dir(pd.Series))


def _review_rows(compilation: _Compilation, annotation: Any) -> None:
    """Refuse access to a row that means something else in pandas."""
    for block in annotation.blocks.values():
        for statement in block.body:
            value = getattr(statement, "value", None)
            if isinstance(value, ir.Expr) and value.op == "call":
                _review_call(value, annotation.typemap, annotation.typemap.get(statement.target.name))
            if isinstance(value, ir.Expr) and value.op == "getiter":
                of = annotation.typemap.get(value.value.name)
                if isinstance(of, types.Set):
                    raise _NotCompilableError("it goes through a set, whose order differs", statement.loc.line)
            if compilation.exact and isinstance(value, ir.Expr) and value.op == "call":
                called = annotation.typemap.get(value.func.name)
                if isinstance(called, types.BoundFunction) and isinstance(called.this, types.Array):
                    name = str(called.typing_key[-1])
                    if name not in checked.ALLOWED_METHODS:
                        raise _NotCompilableError(
                            f"it uses the method {name}() of an array, whose result may differ in compiled code. "
                            "Allow small differences: df.par(engine='numba', check=1e-12)",
                            statement.loc.line,
                        )
            if not isinstance(value, ir.Expr) or value.op not in ("getattr", "static_getitem", "getitem"):
                continue
            kind = annotation.typemap.get(value.value.name)
            if not isinstance(kind, types.Record):
                continue
            if value.op == "getattr" and value.attr in _OF_SERIES:
                raise _NotCompilableError(
                    f"row.{value.attr} belongs to each Series. Write row[{value.attr!r}] for the column",
                    statement.loc.line,
                )
            if value.op == "static_getitem" and isinstance(value.index, int):
                raise _NotCompilableError(f"row[{value.index}] is no label of a column", statement.loc.line)


def _kinds_of(kind: Any, mixed: bool) -> Kinds:
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
        raise _NotCompilableError("it returns None. Return a number, or float('nan')")
    if isinstance(kind, types.Optional):
        raise _NotCompilableError("it returns None in some places. Return a number, or float('nan')")
    what = "a row" if isinstance(kind, types.Record) else "an array" if isinstance(kind, types.Array) else str(kind)
    what = "a dict" if what.startswith("Dict") else what
    names = {"unicode_type": "a text", "complex128": "a complex number"}
    raise _NotCompilableError(
        f"it returns {names.get(what, what)}. Compiled code can return numbers, bools, and tuples of them"
    )


# Compiled functions


@dataclass
class Compiled:
    """A function that is compiled for one layout of units."""

    layout: Layout
    arguments: tuple[Any, ...]
    kinds: Kinds
    seconds: float
    _function: Any
    _dependencies: list[_Dependency]
    _kernels: dict[int, Any] = field(default_factory=dict)

    def still_holds(self, func: Any) -> bool:
        """Return whether all values that the code contains are as they were."""
        return all(_same(_now(one, func), one.value) for one in self._dependencies)

    def run(self, units: Any, n: int, length: int | None) -> tuple[list[np.ndarray], list[int]]:
        """Compute units; return one array for each value of a return, and the positions that Python must compute."""
        width = length if self.kinds.container is list else len(self.kinds.dtypes)
        assert width is not None
        if width == 0:  # empty lists, or all rows that were tried have failed
            return [], list(range(n))
        dtypes = self.kinds.dtypes * width if self.kinds.container is list else self.kinds.dtypes
        outs = tuple(np.zeros(n, dtype) for dtype in dtypes)
        at, start, left = np.zeros(1, np.int64), 0, list[int]()
        kernel = self._kernel(width)
        while start < n:
            try:
                kernel(units, self.arguments, outs, at, start, n)
                break
            except Exception:
                left.append(int(at[0]))
                start = left[-1] + 1
                if len(left) > 100 and len(left) > start / 4:
                    left += range(start, n)
                    break
        return list(outs), left

    def _kernel(self, width: int) -> Any:
        with _lock:
            if width not in self._kernels:
                self._kernels[width] = _kernel(self, width)
            return self._kernels[width]


def _kernel(function: Compiled, width: int) -> Any:
    unit, names = _unit_source(function.layout), {"function": function._function}
    if function.layout.format == "namedtuple":
        names["Row"] = _row_class(function.layout)
    arguments = "".join(f", arguments[{at}]" for at in range(len(function.arguments)))
    lines = ["def kernel(units, arguments, outs, at, start, stop):", " for i in range(start, stop):", "  at[0] = i",
             f"  result = function({unit}{arguments})"]  # fmt: skip
    if function.kinds.container is list:
        lines.append(f"  if len(result) != {width}: raise ValueError")
    inner = "" if function.kinds.container is None else "[{at}]"
    lines += [f"  outs[{at}][i] = result{inner.format(at=at)}" for at in range(width)]
    exec("\n".join(lines), names)  # only names of this module
    return numba.njit(nogil=True, no_cfunc_wrapper=True)(names["kernel"])


def _unit_source(layout: Layout) -> str:
    if layout.format in ("record", "array", "value"):
        return "units[i]"
    if layout.format == "window":
        return "units[0][units[1][i]:units[2][i]]"
    values = ", ".join(f"units[{at}][i]" for at in range(len(layout.fields)))
    return f"Row({values})" if layout.format == "namedtuple" else f"({values},)"


@functools.cache
def _row_class(layout: Layout) -> Any:
    return collections.namedtuple("Pandas", [name for name, _ in layout.fields], rename=True)


def _unit_type(layout: Layout) -> Any:
    kinds = [numba.from_dtype(np.dtype(dtype)) for _, dtype in layout.fields]
    if layout.format == "record":
        return numba.typeof(np.zeros(1, layout.dtype)).dtype
    if layout.format in ("array", "window"):
        return types.Array(kinds[0], 1, "C", readonly=True)
    if layout.format == "value":
        return kinds[0]
    if layout.format == "namedtuple":
        return (
            types.NamedTuple(kinds, _row_class(layout))
            if len(set(kinds)) > 1
            else types.NamedUniTuple(kinds[0], len(kinds), _row_class(layout))
        )
    return types.Tuple(kinds)


_kept: collections.OrderedDict[Any, list[Compiled]] = collections.OrderedDict()


def compiled(work: Work, layout: Layout, exact: bool, clock: Callable[[], float]) -> Compiled:
    """Compile the function of a call for a layout of units, or return the compiled function of an earlier call.

    Raises
    ------
    FunctionNotCompilableError
        With the line of the function, and the reason.
    """
    func, given = _plain_function(work, layout)
    try:
        kinds = tuple(map(numba.typeof, given))
    except Exception:
        bad = next(number for number, one in enumerate(given) if not _has_type(one))
        what = "an integer of more than 64 bits" if isinstance(given[bad], int) else f"a {type(given[bad]).__name__}"
        reason = f"argument {bad + 2} is {what}. Give numbers, or tuples and arrays of numbers"
        raise _error(func, _NotCompilableError(reason)) from None
    with _lock:
        key = (func.__code__, id(func.__globals__), layout, kinds, exact)
        for one in _kept.get(key, ()):
            if one.still_holds(func):
                _kept.move_to_end(key)
                return Compiled(layout, given, one.kinds, 0.0, one._function, one._dependencies, one._kernels)
        began = clock()
        made = _compile(func, given, kinds, layout, exact)
        made.seconds = clock() - began
        _kept.setdefault(key, []).append(made)
        _kept[key] = _kept[key][-4:]
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
        return made


def _with_origins(kinds: Kinds, dispatcher: Any, given: tuple[Any, ...]) -> Kinds:
    arguments = [frozenset((UNIT,)), *(frozenset((_origin(one),)) for one in given)]
    return replace(kinds, origins=tuple(map(without_whole, returned_origins(dispatcher, arguments))))


def _origin(value: Any) -> str:
    return NUMPY if isinstance(value, (np.generic, np.ndarray)) else PYTHON


def _has_type(value: Any) -> bool:
    try:
        return numba.typeof(value) is not None
    except Exception:
        return False


def _compile(func: Any, given: tuple[Any, ...], kinds: tuple[Any, ...], layout: Layout, exact: bool) -> Compiled:
    compilation = _Compilation(func, exact)
    _current.compilation = compilation
    try:
        for setting, is_set in (
            ("NUMBA_DISABLE_JIT=1", numba.config.DISABLE_JIT), ("NUMBA_BOUNDSCHECK=0", numba.config.BOUNDSCHECK == 0),
        ):  # fmt: skip
            if is_set:
                raise _NotCompilableError(f"the environment variable {setting} turns off what it needs")
        if exact and not checked.is_exact_power():
            raise _NotCompilableError("the C library of this machine computes powers in another way than Python")
        dispatcher = compilation.dispatcher(func)
        unit = _unit_type(layout)
        dispatcher.compile((unit, *kinds))
        returned = dispatcher.overloads[unit, *kinds].signature.return_type
        mixed = _review(compilation)
        made = Compiled(
            layout,
            given,
            _with_origins(_kinds_of(returned, mixed), dispatcher, given),
            0.0,
            dispatcher,
            compilation.dependencies,
        )
        if made.kinds.container is not list:
            made._kernel(len(made.kinds.dtypes))
        return made
    except _NotCompilableError as error:
        raise _error(func, error) from None
    except numba.core.errors.NumbaError as error:
        raise _error(func, _explained(error)) from error
    except checked.UnsafeTypesError as error:
        raise _error(func, _NotCompilableError(str(error))) from None
    except KeyError as error:  # an attribute of a record
        name = error.args[0]
        what = (
            f"the attribute row.{name} of a Series"
            if name in _OF_SERIES
            else f"row.{name}, which is no column of numbers"
        )
        raise _error(func, _NotCompilableError(f"it uses {what}")) from error
    except Exception as error:  # numba raises many kinds
        raise _error(func, _of_other_error(error)) from error
    finally:
        _current.compilation = None


def _plain_function(work: Work, layout: Layout) -> tuple[python_types.FunctionType, tuple[Any, ...]]:
    """Return the function as a plain one, and its arguments after the unit."""
    func, args, kwargs = work.func, work.args, dict(work.kwargs)
    while isinstance(func, functools.partial):
        if func.args:
            break
        kwargs, func = {**func.keywords, **kwargs}, func.func
    is_made = _is_dispatcher(func) or isinstance(func, python_types.BuiltinFunctionType)
    if is_made and layout.format == "record":
        name = getattr(func, "__name__", "it")
        raise FunctionNotCompilableError(
            f"The function {name!r} cannot be compiled for rows of pandas: it takes numbers. Give a Python function "
            f"that reads the row: lambda row: {name}(row['a'])."
        )
    if _is_dispatcher(func):
        inner: Any = func
        func = inner.py_func
    if isinstance(func, (python_types.BuiltinFunctionType, type)):
        func = _of_builtin(func)
    if not isinstance(func, python_types.FunctionType):
        reason = f"it is a {type(func).__name__}. Give a function that is defined by def or lambda"
        raise FunctionNotCompilableError(f"numba cannot compile the function: {reason}.")
    try:
        bound = inspect.signature(func, follow_wrapped=False).bind(None, *args, **kwargs)
    except TypeError as error:
        raise _error(func, _NotCompilableError(str(error))) from None
    bound.apply_defaults()
    if bound.kwargs:
        raise _error(func, _NotCompilableError("it has parameters that are given by name only"))
    return func, tuple(bound.args[1:])


@functools.cache
def _of_builtin(func: Any) -> Any:
    return lambda value: func(value)


def _now(one: _Dependency, func: Any) -> Any:
    owner = func if one.owner is None else one.owner
    if one.kind == "attribute":
        return getattr(owner, one.name, None)
    if one.kind == "global":
        return owner.__globals__.get(one.name, getattr(builtins, one.name, None))
    names = owner.__code__.co_freevars
    try:
        return owner.__closure__[names.index(one.name)].cell_contents
    except (ValueError, IndexError, TypeError):
        return one


def _same(now: Any, then: Any) -> bool:
    if now is then:
        return True
    if isinstance(now, tuple) and isinstance(then, tuple):
        return len(now) == len(then) and all(map(_same, now, then))
    if type(now) is not type(then):
        return False
    if isinstance(now, np.ndarray):
        return bool(now.dtype == then.dtype and now.shape == then.shape and now.tobytes() == then.tobytes())
    return isinstance(now, (bool, int, float, str)) and repr(now) == repr(then)


# Errors

_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


#: Starts of lines of numba's messages that say nothing about the function.
_NOISE = (
    "Failed in", "During:", "File ", "^", "<source", "There are", "- Of which", "Overload", "with argument",
)  # fmt: skip


def _explained(error: Any) -> _NotCompilableError:
    """Return the reason of numba's error in one sentence, with the line."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, (_NotCompilableError, checked.UnsafeTypesError)):
            break
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    places = _PLACE.findall(text)
    line = int(places[-1][1]) if places else getattr(getattr(error, "loc", None), "line", None)
    if isinstance(cause, _NotCompilableError):
        return _NotCompilableError(cause.reason, cause.line or line)
    if isinstance(cause, checked.UnsafeTypesError):
        return _NotCompilableError(str(cause), line)
    unsafe = re.search(r"UnsafeTypesError: (.*)", text) or re.search(r"(The operator \S+ gets [^\n]*)", text)
    if unsafe:
        return _NotCompilableError(unsafe[1].strip(), line)
    lines = [one.strip() for one in text.splitlines() if one.strip()]
    useful = [one for one in lines if not one.startswith(_NOISE)]
    reason = useful[0] if useful else type(error).__name__
    if "f-string" in text:
        return _NotCompilableError("it makes a text. Compiled code computes with numbers", line)
    field_ = re.search(r"Field '([^']*)' was not found", text)
    if field_:
        return _NotCompilableError(f"it reads {field_[1]!r}, which is no column of numbers", line)
    unknown = re.search(r"No implementation of function Function\(<([^\n]*)>\) found", text)
    if unknown:
        given = re.search(r">>> .*?\(([^\n]*)\)", text)
        name = re.sub(r"^(built-in function|intrinsic|function|ufunc|class) | at 0x\w+$|'", "", unknown[1])
        name = {"getitem": "the index [...]", "eq": "operator ==", "ne": "operator !="}.get(name, name)
        kinds = f" for ({_plain_types(given[1])})" if given else ""
        return _NotCompilableError(f"compiled code does not know {name}{kinds}", line)
    known = re.search(r"Unknown attribute '(\w+)' of type (\w+)", text)
    if known:
        reason = f"numba does not know the attribute {known[1]!r}" + (" of a row" if known[2] == "Record" else "")
    return _NotCompilableError(f"numba says: {reason}" if not known else reason, line)


def _plain_types(text: str) -> str:
    """Return numba's names of types in plain words."""
    text = re.sub(r"Record\([^()]*(\([^()]*\)[^()]*)*\)", "row", text)
    text = re.sub(r"(Literal\[str\]\([^()]*\)|unicode_type)", "text", text)
    return shortened(re.sub(r"Literal\[(\w+)\]\([^()]*\)", r"\1", text))


def _of_other_error(error: Exception) -> _NotCompilableError:
    """Return the reason of an error that is none of numba's classes."""
    text = str(error) or type(error).__name__
    line = re.search(r"\((\d+)\)\s*$", text)
    opcode = re.search(r"opcode \((\w+)\)", text)
    lowering = re.search(r"No definition for lowering <[\w-]+ function (\w+)>\(([^\n]*)\) ->", text)
    if lowering is not None:
        name = {"eq": "==", "ne": "!="}.get(lowering[1], lowering[1])
        return _NotCompilableError(f"compiled code does not know operator {name} for ({_plain_types(lowering[2])})")
    reason = "it makes a text. Compiled code computes with numbers" if "f-string" in text else f"numba says: {text}"
    if opcode is not None:
        reason = f"it uses what numba does not know ({opcode[1]})"
        if opcode[1].startswith(("FORMAT", "BUILD_STRING", "CONVERT")):
            reason = "it makes a text. Compiled code computes with numbers"
        elif "GLOBAL" in opcode[1] or "DEREF" in opcode[1]:
            reason = "it assigns a global variable, or a variable of an outer function. Return the value instead"
    return _NotCompilableError(reason, int(line[1]) if line is not None else None)


def _error(func: Any, error: _NotCompilableError) -> FunctionNotCompilableError:
    code = func.__code__
    line = error.line or code.co_firstlineno
    source = linecache.getline(code.co_filename, line).strip()
    place = f"{code.co_filename}, line {line}" + (f": {shortened(source)}" if source else "")
    return FunctionNotCompilableError(
        f"The function {func.__name__!r} cannot be compiled: {error.reason.rstrip('.')}.\n{place}\n"
        "Without engine='numba' the call runs any function."
    )
