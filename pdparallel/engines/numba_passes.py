"""Passes of numba's compiler: they replace operators and functions by checked ones, and lower code with checks."""

from __future__ import annotations

import builtins
import dis
import inspect
import operator
import threading
import types as python_types
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core import inline_closurecall, ir
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import BaseNativeLowering, NativeLowering
from numba.core.untyped_passes import InlineClosureLikes

from pdparallel.engines import numba_checked as checked
from pdparallel.engines.numba_review import NotCompilableError, all_whole, called_by, holds_whole, is_extreme_of_array

__all__ = ["Compilation", "Dependency", "current", "is_dispatcher"]


#: Largest number of values in an array that a function uses as a constant.
MAX_CONSTANTS = 100_000


class Dependency(NamedTuple):
    """A value that compiled code contains: a global, a variable of an outer function, or an attribute of a module."""

    kind: str
    owner: Any  # the function, None for the user's function itself, or the module
    name: str
    value: Any


class Compilation:
    """State of one compilation."""

    def __init__(self, func: python_types.FunctionType, exact: bool) -> None:
        self.func = func
        self.exact = exact
        self.dependencies: list[Dependency] = []
        self.dispatchers: dict[Any, Any] = {}
        self._used: dict[Any, set[Any]] = {}

    def dispatcher(self, func: python_types.FunctionType) -> Any:
        """Return a function for compilation."""
        if func not in self.dispatchers:
            code = func.__code__
            if any(step.opname == "PUSH_EXC_INFO" for step in dis.get_instructions(code)):
                reason = "it has a 'try' or 'with' block. Compiled code cannot tell which exceptions that catches"
                raise NotCompilableError(reason, code.co_firstlineno)
            if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
                raise NotCompilableError("it is a generator or a coroutine function", code.co_firstlineno)
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
            raise NotCompilableError(f"{value.__name__}() calls itself. Write a loop", loc.line)
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
        if is_dispatcher(value) or not self.exact or str(getattr(value, "__module__", "")).startswith("numba."):
            return value
        if not callable(value):
            raise NotCompilableError(
                f"it uses {name}, which is a {type(value).__name__}. Compiled code can use numbers, tuples and arrays "
                "of numbers, and functions of them", loc.line,
            )  # fmt: skip
        advice = checked.REFUSED.get(name.replace("numpy.", "np."), "")
        if not advice and not name.startswith(("np.", "numpy.", "math.")):
            raise NotCompilableError(
                f"it uses {name}. Compiled code knows Python's operators, abs, min, max, round, int, float, bool, len "
                "and range, the functions of math, and some of NumPy", loc.line,
            )  # fmt: skip
        raise NotCompilableError(
            f"it uses {name}, whose result may differ in compiled code. {advice or 'Use a function of math'}. Or allow "
            "small differences: df.par(engine='numba', check=1e-12)", loc.line,
        )  # fmt: skip


def _is_of_library(func: Any) -> bool:
    return str(func.__module__).partition(".")[0] in ("numpy", "math", "pandas", "scipy")


current = threading.local()


def is_dispatcher(value: Any) -> bool:
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
        compilation: Compilation = current.compilation
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
        self, compilation: Compilation, func: Any, statement: Any, block: Any, body: list[Any],
        modules: dict[str, tuple[str, Any]],
    ) -> None:  # fmt: skip
        value, loc = getattr(statement, "value", None), statement.loc
        if isinstance(statement, (ir.SetItem, ir.StaticSetItem, ir.SetAttr, ir.DelItem)):
            raise NotCompilableError("it writes into an object. Compute a new value instead", loc.line)
        if not isinstance(statement, ir.Assign):
            body.append(statement)
            return
        if isinstance(value, (ir.Global, ir.FreeVar)):
            kind = "global" if isinstance(value, ir.Global) else "free"
            owner = None if func is compilation.func else func
            compilation.dependencies.append(Dependency(kind, owner, value.name, _frozen(value.value)))
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
                raise NotCompilableError("it draws random numbers. Compiled code draws others", loc.line)
            if found is None:
                raise NotCompilableError(f"{name}.{value.attr} does not exist", loc.line)
            if isinstance(found, python_types.ModuleType):
                modules[statement.target.name] = (f"{name}.{value.attr}", found)
            else:
                compilation.dependencies.append(Dependency("attribute", module, value.attr, _frozen(found)))
                made = compilation.in_place_of(found, f"{name}.{value.attr}", loc, func)
                statement = ir.Assign(ir.Global(value.attr, made, loc), statement.target, loc)
        elif isinstance(value, ir.Expr) and value.op == "getattr" and value.attr in checked.METHODS:
            self._methods[statement.target.name] = value.value, checked.METHODS[value.attr]
        elif isinstance(value, ir.Expr) and value.op == "call" and value.func.name in self._methods:
            array, stands = self._methods[value.func.name]
            name = self._variable(block, body, "method", stands, loc)
            statement = ir.Assign(ir.Expr.call(name, [array, *value.args], value.kws, loc), statement.target, loc)
        elif isinstance(value, ir.Expr) and value.op == "build_map":
            raise NotCompilableError("it makes a dict. Use a tuple or an array", loc.line)
        elif isinstance(value, ir.Expr) and value.op == "make_function":
            raise NotCompilableError("it makes a function and does not just call it. Define it outside", loc.line)
        elif isinstance(value, ir.Expr) and value.op in ("binop", "inplace_binop", "unary"):
            op = value.fn if value.op != "inplace_binop" else value.immutable_fn
            if op in (operator.is_, operator.is_not) and not self._is_none & {value.lhs.name, value.rhs.name}:
                raise NotCompilableError("it compares objects by 'is', which numbers do not have. Use ==", loc.line)
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
                    raise NotCompilableError(
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


class _Lower(Lower):
    """Lowering that raises where an integer becomes a float, and that differs in Python."""

    def lower_assign(self, ty: Any, inst: Any) -> Any:
        value, kinds = inst.value, self.fndesc.typemap
        if isinstance(value, ir.Var) or (isinstance(value, ir.Expr) and value.op == "cast"):
            source = value if isinstance(value, ir.Var) else value.value
            if not isinstance(inst.target, ir.Var) or not self._is_returned(inst.target):
                self._refuse_large(source, ty)
        elif isinstance(value, ir.Expr) and value.op == "call":
            called = called_by(kinds.get(value.func.name))
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
        compilation = getattr(current, "compilation", None)
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
        if isinstance(ty, types.Float) and is_extreme_of_array(kinds.get(call.func.name)):
            # NumPy may return a zero of another sign
            zero = self.builder.fcmp_ordered("==", result, result.type(0.0))
            checked.raise_if(self.context, self.builder, zero)
        if not hasattr(self, "_whole"):
            self._whole = holds_whole(self.blocks, kinds)
        names = [one.name for one in call.args] + [one.name for _, one in call.kws]
        whole = [one for one in names if one in self._whole]
        if not whole:
            return
        called = called_by(kinds.get(call.func.name))
        if called in checked.COMPARISONS.values() or called in checked.OF_FLOATS or called in checked.OF_WHOLE:
            return
        if isinstance(kinds.get(call.func.name), types.BoundFunction):
            return  # of a list
        is_array = any(isinstance(kinds[one], types.Array) for one in names)
        if called in checked.OF_ARITHMETIC and not is_array and called is not checked.ARITHMETIC[operator.pow]:
            if called is not checked.ARITHMETIC[operator.truediv] and all_whole(call, kinds, self._whole):
                checked.raise_if(self.context, self.builder, checked.is_unlike_integer(self.builder, result))
            return
        for one in whole:
            if kinds[one] != types.float64:
                raise NotCompilableError(
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
