"""Pickler that writes functions and classes of the main script by value.

A function or class that a worker cannot import is sent as its parts, which may lead back to it: a function names
itself, a class holds instances of itself or a registry of its subclasses. So each is written in two halves::

    first   parts that do not lead back: code, name, bases, empty cells  -> the object, which the pickle now knows
    second  parts that may: globals, cells, defaults, attributes         -> put into the object

All functions of one module get *one* namespace in the worker, with only the globals that they name, so that they share
what they write. A user's metaclass and ``__init_subclass__`` ran in the parent. They do not run again: the class is
sent with their effects.
"""

from __future__ import annotations

import abc
import builtins
import copyreg
import dataclasses
import dis
import enum
import functools
import gc
import importlib
import importlib.util
import io
import linecache
import operator
import os
import pickle
import sys
import threading
import types
import typing
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Set
from typing import Any, TypeAlias

import numpy as np

from pdparallel.core.code_objects import codes, from_bytes, is_empty, names_of, to_bytes
from pdparallel.transport.reducers import HEAP_TYPE, PROTOCOL, reduced

__all__ = [
    "ATTRIBUTES_OF_ENUMS", "ByValuePickler", "CannotBeRebuiltError", "Global", "global_names", "is_importable_module",
    "parts_of", "places_of", "travels_by_value", "variables_of",
]  # fmt: skip

#: A variable: the id of its namespace and its name, or the id of a closure cell and an empty name.
Global: TypeAlias = tuple[int, str]

#: Largest number of second halves written inside one another. Deeper ones wait, so that a long chain of functions
#: raises no RecursionError.
DEPTH = 20

_GLOBAL_NAMES = frozenset(
    name for name in dis.opmap if name.endswith("_GLOBAL") or name in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
)


class CannotBeRebuiltError(pickle.PicklingError):
    """An object that only its own statement can make: a worker has to import it."""


def travels_by_value(obj: object) -> bool:
    """Return whether a process that does not run the same main script cannot import a class or function."""
    if isinstance(obj, type):
        if not obj.__flags__ & HEAP_TYPE:
            return False
    elif not isinstance(obj, types.FunctionType):
        return False
    return not _importable(obj, obj.__qualname__)


def _importable(obj: object, path: str) -> bool:
    name = getattr(obj, "__module__", None)
    if not isinstance(name, str) or name == "__main__" or "<locals>" in path:
        return False
    module: Any = sys.modules.get(name)
    if module is None or not is_importable_module(module):
        return False
    found = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is obj


def is_importable_module(module: types.ModuleType) -> bool:
    """Return whether another process can import this very module."""
    name = module.__name__
    if name == "__main__" or sys.modules.get(name) is not module:
        return False
    # A module made by hand has no spec. Nor has a part of an extension module, but it comes with its package.
    return getattr(module, "__spec__", None) is not None or "." in name or name in sys.builtin_module_names


def _are_globals_of(space: dict[str, Any], module: types.ModuleType | None) -> bool:
    """Return whether these are the globals of the module, and not of one from before it was imported again."""
    return module is not None and is_importable_module(module) and vars(module) is space


#: pickle's implementation in Python, the only one that a subclass can teach to write a function in two halves.
_Pickler: Any = pickle._Pickler


class _Dispatch(dict[type, Any]):
    """Table of savers by type; all other types as pickle writes them."""

    def get(self, kind: type, default: Any = None) -> Any:
        if kind in self:
            return self[kind]
        if issubclass(kind, enum.EnumMeta):
            return _save_enum
        if issubclass(kind, type):
            return _save_class
        if kind.__module__.startswith(_KNOWN_LIBRARIES):
            return _SAVERS_OF_LIBRARIES.get((kind.__module__, kind.__qualname__), _save_reduced)
        return _save_reduced


class ByValuePickler(_Pickler):  # type: ignore[misc]  # pickle's types do not say what one can override
    """Pickler that writes functions and classes by value if they cannot be imported."""

    # Of pickle's own table only what pickle has put there: to import dill replaces some of it, as for dictionaries.
    dispatch = _Dispatch(
        {kind: save for kind, save in _Pickler.dispatch.items() if save.__module__ == "pickle"}
        | {dict: _Pickler.save_dict}
    )

    #: Whether functions of an importable module use the globals of the module that the worker imports.
    modules_by_reference = False

    #: Variables that a worker sets by itself.
    left_out: frozenset[Global] = frozenset()

    def __init__(self, file: io.BytesIO, **kwargs: Any) -> None:
        super().__init__(file, **kwargs)
        self._later: list[tuple[Any, ...]] = []
        self._depth = 0
        self._seconds: set[int] = set()  # ids of the objects whose second half is begun
        self._named: set[tuple[int, str]] = set()  # globals that their namespace already has
        self._sources: dict[str, list[str]] = {}

    # Hooks for subclasses

    def reference(self, obj: Any) -> Any:
        """Return how the other process finds an object that it has already; NotImplemented for others."""
        return NotImplemented

    def met(self, obj: Any) -> None:
        """Take note of a class, function or namespace that is written by value."""

    def met_sink(self, function: Any) -> None:
        """Take note of a function that receives the messages of loguru."""

    def by_value(self, obj: Any) -> bool:
        """Return whether a class or function is written by value."""
        return travels_by_value(obj)

    # Pickling

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType, dict)):
            return self.reference(obj)
        for stream in ("stdin", "stdout", "stderr"):
            if obj is getattr(sys, stream, None) and obj is not None:
                return getattr, (sys, stream)
        if isinstance(obj, (threading.Thread, io.IOBase)) and not isinstance(obj, (io.StringIO, io.BytesIO)):
            # A copy would be no thread, and reopening a file truncates one that is open for writing.
            raise pickle.PicklingError(f"cannot pickle {type(obj).__name__!r} object")
        return reduced(obj)

    def dump(self, obj: Any) -> None:
        super().dump(_Whole(obj))

    def save_global(self, obj: Any, name: str | None = None) -> None:
        path = name or getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
        module = pickle.whichmodule(obj, path)  # type: ignore[attr-defined]  # as pickle itself does
        if module == "__main__":
            raise pickle.PicklingError(f"a worker cannot import {path} from the main script")
        super().save_global(obj, name)

    def write_aside(self, *reduction: Any, obj: Any = None) -> None:
        """Write a call whose result is dropped; ``obj`` is the object that it makes, for later references."""
        self.save_reduce(*reduction, obj=obj)
        self.write(pickle.POP)

    def second_half(self, *reduction: Any) -> None:
        """Write the call that completes an object, or let it wait if it is nested too deeply."""
        if self._depth >= DEPTH:
            self._later.append(reduction)
            return
        self._depth += 1
        self.write_aside(*reduction)
        self._depth -= 1

    def settle(self) -> None:
        """Write the waiting second halves."""
        while self._later:
            self.second_half(*self._later.pop(0))

    def finish(self) -> None:
        """Write what must come last."""
        self.settle()
        if self._sources:
            self.write_aside(_add_sources, (self._sources,))

    def open_namespace(self, real: dict[str, Any], module: str | None = None) -> None:
        """Write the namespace for these globals, before anything refers to it."""
        if id(real) in self.memo:
            return
        reference = self.reference(real)
        if reference is NotImplemented:
            self.met(real)
            name = real.get("__name__", module)
            owner = sys.modules.get(name) if isinstance(name, str) else None
            if self.modules_by_reference and _are_globals_of(real, owner):
                reference = (_globals_of, (name,))
            else:
                reference = (_make_namespace, (name, real.get("__package__")))
        self.write_aside(*reference, obj=real)

    def globals_to_send(self, func: types.FunctionType) -> dict[str, Any]:
        """Return the globals that a function names and that its namespace does not have yet."""
        real = func.__globals__
        if self.reference(real) is not NotImplemented:
            return {}
        owner = sys.modules.get(real.get("__name__", ""))
        if self.modules_by_reference and _are_globals_of(real, owner):
            return {}
        fresh = {}
        for name in global_names(func.__code__):
            which = id(real), name
            if name in real and which not in self._named and which not in self.left_out:
                self._named.add(which)
                fresh[name] = real[name]
        return fresh

    def has_content(self, cell: types.CellType) -> bool:
        """Return whether a cell has a value to send."""
        return (id(cell), "") not in self.left_out and not is_empty(cell)

    def note_source(self, filename: str) -> None:
        """Send the source lines of a notebook cell or of typed-in code along, for tracebacks."""
        if filename not in self._sources and filename in linecache.cache and not os.path.exists(filename):
            lines = linecache.getlines(filename)
            if lines:
                self._sources[filename] = lines


class _Whole:
    """The outermost object of a pickle, after which the waiting second halves are written."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _save_whole(pickler: ByValuePickler, whole: _Whole) -> None:
    pickler.save(whole.value)
    pickler.finish()


ByValuePickler.dispatch[_Whole] = _save_whole

# Functions


def _save_function(pickler: ByValuePickler, func: types.FunctionType) -> None:
    if not pickler.by_value(func):
        pickler.save_global(func, name=func.__qualname__)
        return
    pickler.met(func)
    pickler.note_source(func.__code__.co_filename)
    pickler.open_namespace(func.__globals__, func.__module__)
    cells = func.__closure__ or ()
    new_cells = [cell for cell in cells if id(cell) not in pickler.memo]
    for cell in new_cells:
        pickler.write_aside(_make_cell, (), obj=cell)
    pickler.save_reduce(
        _make_function, (func.__code__, func.__globals__, func.__name__, func.__closure__), obj=func
    )  # fmt: skip
    if id(func) in pickler._seconds:
        return
    pickler._seconds.add(id(func))
    fresh = pickler.globals_to_send(func)
    contents = [(cell, cell.cell_contents) for cell in new_cells if pickler.has_content(cell)]
    named = {}
    for name in ("__doc__", "__kwdefaults__", "__annotations__", "__qualname__", "__module__", "__type_params__"):
        value = getattr(func, name, None)
        if value:
            named[name] = value
    submodules = _submodules_in_use(func)
    pickler.second_half(
        _finish_function,
        (func, func.__defaults__, named, dict(func.__dict__), contents, func.__globals__, fresh, submodules),
    )


ByValuePickler.dispatch[types.FunctionType] = _save_function


def _make_code(magic: bytes, data: bytes, left_out: list[Any]) -> types.CodeType:
    if magic != importlib.util.MAGIC_NUMBER:
        raise ImportError(f"the worker has another Python, {sys.version.split()[0]}, than the function")
    return from_bytes(data, left_out)


def _make_namespace(name: str | None, package: str | None) -> dict[str, Any]:
    return {"__name__": name, "__package__": package, "__builtins__": builtins}


def _globals_of(name: str) -> dict[str, Any]:
    return vars(importlib.import_module(name))


def _make_function(code: Any, namespace: Any, name: str, closure: Any) -> types.FunctionType:
    return types.FunctionType(code, namespace, name, None, closure)


def _finish_function(
    func: Any,
    defaults: Any,
    named: dict[str, Any],
    attributes: dict[str, Any],
    contents: list[tuple[Any, Any]],
    namespace: dict[str, Any],
    fresh: dict[str, Any],
    submodules: list[str],
) -> None:
    func.__defaults__ = defaults
    for name, value in named.items():
        setattr(func, name, value)
    func.__dict__.update(attributes)
    for cell, content in contents:
        cell.cell_contents = content
    namespace.update(fresh)
    for name in submodules:
        importlib.import_module(name)


def _make_cell() -> Any:
    return types.CellType()


def _fill_cell(cell: Any, content: Any) -> None:
    cell.cell_contents = content


def _save_cell(pickler: ByValuePickler, cell: Any) -> None:
    pickler.save_reduce(_make_cell, (), obj=cell)
    if pickler.has_content(cell):
        pickler.second_half(_fill_cell, (cell, cell.cell_contents))


ByValuePickler.dispatch[types.CellType] = _save_cell


@functools.lru_cache(maxsize=1024)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the globals that a code object names, also in the functions and classes defined inside it."""
    names = {step.argval: None for inner in codes(code) for step in _instructions(inner)}
    return tuple(names)


def _instructions(code: types.CodeType) -> Iterator[Any]:
    return (step for step in dis.get_instructions(code) if step.opname in _GLOBAL_NAMES)


def places_of(func: types.FunctionType) -> Iterator[tuple[str, Any, str]]:
    """Yield the variables that a function names: description, then cell and "", or namespace and name."""
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        yield f"closure variable {name!r}", cell, ""
    for name in global_names(func.__code__):
        yield f"global variable {name!r}", func.__globals__, name


def variables_of(func: types.FunctionType, left_out: Set[Global] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yield the values of the closure variables and globals that a function names."""
    for what, place, name in places_of(func):
        if (id(place), name) not in left_out:
            if name and name in place:
                yield what, place[name]
            elif not name and not is_empty(place):
                yield what, place.cell_contents


def parts_of(func: types.FunctionType, left_out: Set[Global] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a function besides its code, each with its name in errors."""
    yield from variables_of(func, left_out)
    for key, default in (*enumerate(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).items()):
        yield f"default value {key!r}", default
    for name, attribute in vars(func).items():
        yield f"attribute {name!r}", attribute


def _submodules_in_use(func: types.FunctionType) -> list[str]:
    """Return the submodules that a function reaches through their package: ``xml.etree`` of ``import xml.etree``."""
    # They are attributes of the package only after somebody has imported them.
    reached = [value for _, value in variables_of(func)]
    packages = [found.__name__ + "." for found in reached if isinstance(found, types.ModuleType) and _has_parts(found)]
    if not packages:
        return []
    named = names_of(func.__code__).all
    return [
        name
        for name, module in list(sys.modules.items())
        for prefix in packages
        if module is not None and name.startswith(prefix) and named.issuperset(name[len(prefix) :].split("."))
    ]


def _has_parts(module: types.ModuleType) -> bool:
    return getattr(module, "__path__", None) is not None


def _add_sources(sources: dict[str, list[str]]) -> None:
    for filename, lines in sources.items():
        if not os.path.exists(filename):
            linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)


# Classes

#: Types of the interpreter that have no name among the builtins.
_NAMES_IN_TYPES = {
    kind: name
    for name, kind in vars(types).items()
    if isinstance(kind, type) and kind.__module__ == "builtins" and not hasattr(builtins, kind.__qualname__)
}


def _save_class(pickler: ByValuePickler, cls: Any) -> None:
    if cls in _NAMES_IN_TYPES:
        pickler.save_reduce(getattr, (types, _NAMES_IN_TYPES[cls]), obj=cls)
    elif not pickler.by_value(cls):
        try:
            pickler.save_global(cls, name=cls.__qualname__)
        except pickle.PicklingError as error:  # of the interpreter, as those of iterators
            pickler.save_reduce(*_by_dill(cls, error), obj=cls)
    else:
        pickler.met(cls)
        maker = _importable_metaclass(pickler, cls)
        if maker.__module__.startswith("msgspec"):
            raise CannotBeRebuiltError(f"class {cls.__qualname__!r} is a msgspec.Struct")
        body = {name: vars(cls)[name] for name in ("__slots__", "__orig_bases__") if name in vars(cls)}
        arguments = (maker, type(cls), cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__, body)
        pickler.save_reduce(_make_class, arguments, obj=cls)
        _save_rest_of_class(pickler, cls, maker, set(), [])


ByValuePickler.dispatch[type] = _save_class


def _save_rest_of_class(pickler: ByValuePickler, cls: Any, maker: Any, skipped: set[str], members: list[Any]) -> None:
    if id(cls) in pickler._seconds:
        return
    pickler._seconds.add(id(cls))
    methods, others, last = {}, {}, {}
    for name, value in vars(cls).items():
        if name in skipped or name in _MADE_WITH_THE_CLASS or isinstance(value, _MADE_DESCRIPTORS):
            continue
        if name == "__init_subclass__":
            last[name] = value
        elif name == "__new__" and not hasattr(cls, "__getnewargs__"):
            others[name] = value  # pickle makes the instances among the attributes without it
        elif isinstance(value, (types.FunctionType, staticmethod, classmethod, property)):
            methods[name] = value
        else:
            others[name] = value
    # Methods first: an attribute may be a set of instances, which needs their __hash__.
    pickler.second_half(_finish_class, (cls, maker, methods))
    pickler.second_half(_finish_class, (cls, maker, others))
    if last:
        # After all subclasses are made, so that it does not run for them again.
        pickler._later.append((_finish_class, (cls, maker, last)))
    if isinstance(cls, abc.ABCMeta):
        registered = [found for reference in abc._get_dump(cls)[0] if (found := reference()) is not None]  # type: ignore[attr-defined]
        if registered:
            pickler.second_half(_register, (cls, registered))
    if members:
        pickler.second_half(_finish_members, (members,))


_MADE_WITH_THE_CLASS = frozenset(
    ("__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "__orig_bases__", "_abc_impl",
     "__firstlineno__", "__annotate_func__", "__annotations_cache__")
)  # fmt: skip
_MADE_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)


def _importable_metaclass(pickler: ByValuePickler, cls: type) -> type:
    """Return the nearest importable metaclass. It makes the class, because a user's metaclass ran in the parent."""
    if typing.is_typeddict(cls):
        return type  # its metaclass requires the bases as they were written
    lineage: tuple[Any, ...] = type.__dict__["__mro__"].__get__(type(cls))
    maker: type = next(meta for meta in lineage if not pickler.by_value(meta))
    return maker


def _make_class(
    maker: Any, meta: Any, name: str, qualname: str, module: str, bases: tuple[type, ...], body: dict[str, Any]
) -> Any:
    namespace = {**body, "__module__": module, "__qualname__": qualname}
    cls = maker.__new__(meta, name, bases, namespace)
    maker.__init__(cls, name, bases, namespace)
    return cls


def _finish_class(cls: Any, maker: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        maker.__setattr__(cls, name, value)


def _register(cls: Any, registered: list[Any]) -> None:
    for other in registered:
        cls.register(other)


# Enumerations

ATTRIBUTES_OF_ENUMS = frozenset(
    ("_generate_next_value_", "_member_names_", "_member_map_", "_value2member_map_", "_unhashable_values_",
     "_unhashable_values_map_", "_hashable_values_", "_member_type_", "_value_repr_", "_new_member_", "__new__",
     "_use_args_", "_flag_mask_", "_singles_mask_", "_all_bits_", "_boundary_", "_inverted_", "_sort_order_")
)  # fmt: skip


def _save_enum(pickler: ByValuePickler, cls: Any) -> None:
    if not pickler.by_value(cls):
        pickler.save_global(cls, name=cls.__qualname__)
        return
    pickler.met(cls)
    maker = _importable_metaclass(pickler, cls)
    members: dict[str, Any] = dict(cls.__members__)
    # A __new__ that takes other arguments than the value cannot run again: the data of the members replace it.
    kind, new = cls._member_type_, cls._new_member_
    own_new = isinstance(new, types.FunctionType) and new.__globals__ is not vars(enum)
    by_data = own_new or kind not in (object, int, str)
    values = {
        name: (_data_of(pickler, kind, member) if by_data else (), member.value) for name, member in members.items()
    }
    boundary = getattr(cls, "_boundary_", None)
    arguments = (
        maker, type(cls), cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__,
        kind, by_data, values, boundary,
    )  # fmt: skip
    pickler.save_reduce(_make_enum, arguments, obj=cls)
    generated = set(members) | set(ATTRIBUTES_OF_ENUMS)
    if "_generate_next_value_" in vars(cls) and pickler.by_value(_function_of(vars(cls)["_generate_next_value_"])):
        generated.discard("_generate_next_value_")
    if by_data:
        generated.discard("_new_member_")
    states = [
        (member, extra)
        for member in members.values()
        if (extra := {key: value for key, value in vars(member).items() if key not in _MADE_WITH_THE_MEMBER})
    ]
    _save_rest_of_class(pickler, cls, type, generated, states)


_MADE_WITH_THE_MEMBER = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"))


def _function_of(value: Any) -> Any:
    return getattr(value, "__func__", value)


def _data_of(pickler: ByValuePickler, kind: Any, member: Any) -> tuple[Any, ...]:
    """Return the arguments of ``kind.__new__`` for a member, as pickle finds them."""
    if kind is object or pickler.by_value(kind):
        return ()
    arguments: tuple[Any, ...] = (
        kind.__getnewargs__(member) if hasattr(kind, "__getnewargs__") else kind.__reduce__(member)[1]
    )
    return arguments


def _make_enum(
    maker: Any,
    meta: Any,
    name: str,
    qualname: str,
    module: str,
    bases: Any,
    kind: Any,
    by_data: bool,
    values: dict[str, tuple[tuple[Any, ...], Any]],
    boundary: Any,
) -> Any:
    def new(cls: Any, data: tuple[Any, ...], value: Any) -> Any:
        member = kind.__new__(cls, *data)
        member._value_ = value
        return member

    def no_init(self: Any, *args: Any) -> None:
        """Do nothing: its effects are sent as attributes of the members."""

    body = maker.__prepare__(name, bases)
    body["__module__"], body["__qualname__"], body["__init__"] = module, qualname, no_init
    if by_data:
        body["__new__"] = new
    for member, (data, value) in values.items():
        body[member] = (data, value) if by_data else value
    cls = maker.__new__(meta, name, bases, body, **({} if boundary is None else {"boundary": boundary}))
    type.__delattr__(cls, "__init__")
    return cls


def _finish_members(states: list[tuple[Any, dict[str, Any]]]) -> None:
    for member, state in states:
        vars(member).update(state)


# Objects of libraries that a worker could not rebuild, or would use in another way

#: Starts of the names of the modules in ``_SAVERS_OF_LIBRARIES``.
_KNOWN_LIBRARIES = ("pydantic.", "loguru.")


def _save_validated_function(pickler: ByValuePickler, wrapper: Any) -> None:
    # Its schema holds the function, and the function holds the schema: loading would never end.
    function = _function_of(getattr(wrapper, "function", None))
    name = getattr(function, "__qualname__", type(wrapper).__name__)
    raise CannotBeRebuiltError(f"function {name!r} is decorated with pydantic.validate_call")


def _save_sink(pickler: ByValuePickler, sink: Any) -> None:
    pickler.met_sink(getattr(sink, "_function", None))
    pickler.save_reduce(*sink.__reduce_ex__(4), obj=sink)


_SAVERS_OF_LIBRARIES = {
    ("pydantic._internal._validate_call", "ValidateCallWrapper"): _save_validated_function,
    ("loguru._simple_sinks", "CallableSink"): _save_sink,
}

# Modules, and objects of typing that pickle knows by name only


def _save_module(pickler: ByValuePickler, module: types.ModuleType) -> None:
    # Only a module that no other process can import is written with its content.
    if is_importable_module(module) or module.__name__ == "__main__":
        if module.__name__ == "loguru":
            for handler in getattr(getattr(module.logger, "_core", None), "handlers", {}).values():
                pickler.met_sink(getattr(getattr(handler, "_sink", None), "_function", None))
        pickler.save_reduce(importlib.import_module, (module.__name__,), obj=module)
        return
    pickler.save_reduce(types.ModuleType, (module.__name__, module.__doc__), obj=module)
    left_out = {name for space, name in pickler.left_out if space == id(vars(module))} | {"__builtins__", "__loader__"}
    content = {key: value for key, value in vars(module).items() if key not in left_out}
    pickler.second_half(_finish_module, (module, content))


def _finish_module(module: types.ModuleType, content: dict[str, Any]) -> None:
    vars(module).update(content)


ByValuePickler.dispatch[types.ModuleType] = _save_module


def _reduced_type_variable(variable: Any) -> Any:
    if _importable(variable, variable.__name__):
        return variable.__name__
    kind = type(variable)
    options: dict[str, Any] = {}
    constraints: tuple[Any, ...] = ()
    if kind is not typing.TypeVarTuple:
        options = {"bound": variable.__bound__, "covariant": variable.__covariant__}
        options["contravariant"] = variable.__contravariant__
        if kind is typing.TypeVar:
            constraints = variable.__constraints__
        if getattr(variable, "__infer_variance__", False):
            options["infer_variance"] = True
    return _make_type_variable, (kind, variable.__name__, constraints, options, variable.__module__)


def _make_type_variable(kind: Any, name: str, constraints: Any, options: dict[str, Any], module: str) -> Any:
    variable = kind(name, *constraints, **options)
    variable.__module__ = module
    return variable


def _reduced_new_type(new_type: Any) -> Any:
    if _importable(new_type, new_type.__qualname__):
        return new_type.__qualname__
    return typing.NewType, (new_type.__name__, new_type.__supertype__)


def _reduced_type_alias(alias: Any) -> Any:
    if _importable(alias, alias.__name__):
        return alias.__name__
    kind: Any = type(alias)
    return functools.partial(kind, type_params=alias.__type_params__), (alias.__name__, alias.__value__)


# Everything else, by a call that makes it: first what pickle refuses, or copies wrongly


def _save_reduced(pickler: ByValuePickler, obj: Any) -> None:
    kind = type(obj)
    reducer = _REDUCERS.get(kind) or copyreg.dispatch_table.get(kind)
    if issubclass(kind, np.ndarray) and kind is not np.ndarray and kind.__reduce__ is np.ndarray.__reduce__:
        reducer = _reduced_array
    try:
        reduction = obj.__reduce_ex__(PROTOCOL) if reducer is None else reducer(obj)
    except TypeError as error:
        reduction = _by_dill(obj, error)
    if isinstance(reduction, str):
        pickler.save_global(obj, reduction)
    else:
        pickler.save_reduce(*reduction, obj=obj)


def _by_dill(obj: Any, error: Exception) -> tuple[Any, ...]:
    """Reduce an object that pickle cannot write to the bytes that dill writes."""
    import dill

    try:  # explicit, so that the user's settings of dill have no effect
        return _from_dill, (dill.dumps(obj, PROTOCOL, byref=False, recurse=True, fmode=dill.HANDLE_FMODE),)
    except Exception:  # whatever dill may raise
        raise error from None


def _from_dill(data: bytes) -> Any:
    import dill

    return dill.loads(data, ignore=True)


def _reduced_reference(reference: Any) -> Any:
    held = reference()
    return weakref.ref, (set() if held is None else held,)  # of the set nothing is left after loading


def _reduced_property(prop: Any) -> Any:
    return type(prop), (prop.fget, prop.fset, prop.fdel, prop.__doc__)


def _reduced_array(array: Any) -> Any:
    """Reduce an array of a subclass with its attributes, which numpy leaves out."""
    make, arguments, state = array.__reduce__()
    return make, arguments, (state, getattr(array, "__dict__", {})), None, None, _set_state_of_array


def _set_state_of_array(array: Any, state: tuple[Any, dict[str, Any]]) -> None:
    array.__setstate__(state[0])
    if state[1]:
        vars(array).update(state[1])


def _make_cache(parameters: dict[str, Any], func: Any) -> Any:
    return functools.lru_cache(**parameters)(func)


def _reduced_descriptor(descriptor: Any) -> Any:
    return _descriptor_of, (descriptor.__objclass__, descriptor.__name__)


def _descriptor_of(cls: type, name: str) -> Any:
    # From Python 3.15 on all classes have the same ones for __dict__ and __weakref__, which object itself has not.
    return vars(cls if name in vars(cls) else _Whole)[name]


def _reduced_view(view: Any) -> Any:
    return operator.methodcaller(type(view).__name__.partition("_")[2]), (gc.get_referents(view)[0],)


def _name_of_sentinel(sentinel: Any) -> str:
    return next(name for name, value in vars(dataclasses).items() if value is sentinel)


_VIEWS = ("keys", "values", "items")

_REDUCERS: dict[Any, Callable[[Any], Any]] = {
    types.CodeType: lambda code: (_make_code, (importlib.util.MAGIC_NUMBER, *to_bytes(code))),
    types.MethodType: lambda method: (types.MethodType, (method.__func__, method.__self__)),
    types.MappingProxyType: lambda proxy: (types.MappingProxyType, (gc.get_referents(proxy)[0],)),
    functools._lru_cache_wrapper: lambda cache: (_make_cache, (cache.cache_parameters(), cache.__wrapped__)),
    super: lambda bound: (super, (bound.__thisclass__, bound.__self__)),
    # A copy of a lock that is held would never be free again, as nobody over there would release it.
    type(threading.Lock()): lambda _: (threading.Lock, ()),
    type(threading.RLock()): lambda _: (threading.RLock, ()),
    # What weak collections hold, and what a weak reference leads to, as long as something else in the pickle holds it.
    weakref.WeakSet: lambda weak: (weakref.WeakSet, (set(weak),)),
    **dict.fromkeys((weakref.WeakKeyDictionary, weakref.WeakValueDictionary), lambda weak: (type(weak), (dict(weak),))),
    weakref.ref: _reduced_reference,
    **dict.fromkeys(
        (weakref.ProxyType, weakref.CallableProxyType), lambda proxy: (weakref.proxy, (proxy.__repr__.__self__,))
    ),
    **dict.fromkeys((property, abc.abstractproperty), _reduced_property),
    **dict.fromkeys(
        (staticmethod, classmethod, abc.abstractstaticmethod, abc.abstractclassmethod),
        lambda wrapper: (type(wrapper), (wrapper.__func__,)),
    ),
    **dict.fromkeys(
        (*_MADE_DESCRIPTORS, types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType),
        _reduced_descriptor,
    ),
    **{type(getattr(kind(), name)()): _reduced_view for kind in (dict, OrderedDict) for name in _VIEWS},
    **{type(one): _name_of_sentinel for one in vars(dataclasses).values() if type(one).__module__ == "dataclasses"},
    **dict.fromkeys((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple), _reduced_type_variable),
    typing.NewType: _reduced_new_type,
}
if sys.version_info >= (3, 12):
    _REDUCERS[typing.TypeAliasType] = _reduced_type_alias
