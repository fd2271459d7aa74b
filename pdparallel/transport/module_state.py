"""Synchronization of the user's modules: those of a worker get the state that the parent's have at a call.

A worker imports a module by itself, perhaps long before a call or after an edit.  Since then, the parent may have
reloaded it, assigned one of its globals, or replaced a method.  So each call sends the state of what its function
reaches, and a worker in another state answers so before any unit runs::

    parent   digests of the globals of the user's modules that the function reaches   -- stamp, digests -->
    worker   digests of its own globals                                               <-- "these differ" --
    parent   the values of these globals, in one pickle                               -- the same, values -->
    worker   assigns them in its modules, and remembers the stamp

While nothing changes, the parent only checks that every object is the same, and a worker that it knows the stamp.
Functions and classes are still pickled by name, because both processes find the same object under it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import itertools
import os
import pickle
import sys
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pdparallel.core.format import type_name
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.transport.modules import BY_CONTENT, MISSING, Digester, Slot, is_users, same_array
from pdparallel.transport.pickler import ByValuePickler, travels_by_value
from pdparallel.transport.reducers import PROTOCOL

__all__ = ["DifferentCodeError", "ModuleState", "bring_up", "split", "state_of"]

#: Largest number of bytes of values that are sent with each call, so that a worker need not ask for them.
MAX_UNASKED_BYTES = 1 << 20

#: Number of states that the parent caches, and of stamps that a worker remembers.
KEPT_STATES, VERIFIED_STATES = 16, 1000

_HEAD = 4  # bytes of the length in front of a head


class DifferentCodeError(Exception):
    """Error of a worker with globals that differ from the parent's."""

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        super().__init__(slots)
        self.slots = slots


# The parent's side


def _same_module(module: Any, name: str) -> bool:
    return sys.modules.get(name) is module


class _Survey(Digester):
    """Search for all globals that some globals lead to, with their digests, and checks for changes."""

    def __init__(self, first: Iterable[Slot]) -> None:
        super().__init__()
        self.slots: dict[Slot, tuple[str, bytes, Any]] = {}
        self._queue: dict[Slot, None] = dict.fromkeys(first)
        self._assigned: set[Slot] = set()
        self._written: set[Slot] = set()
        self.watched: dict[tuple[Any, int], tuple[Callable[..., bool], tuple[Any, ...]]] = {}
        self.modules: dict[str, Any] = {}

    def run(self) -> None:
        """Find all globals."""
        while self._queue:
            module, name = slot = next(iter(self._queue))
            del self._queue[slot]
            if module not in self.modules:
                self.modules[module] = sys.modules[module]
                self.watches(_same_module, sys.modules[module], module)
            value = vars(sys.modules[module]).get(name, MISSING)
            self.slots[slot] = (*self.whole(value), value)
        for slot, (how, digest, value) in self.slots.items():
            if self._is_its_own(slot, value):
                how, digest = "own", b""
            self.slots[slot] = how, digest, value

    def _is_its_own(self, slot: Slot, value: Any) -> bool:
        """Return whether the function changes a global itself, so that each process has its own."""
        if isinstance(value, (type, types.FunctionType, types.ModuleType)):
            return False
        if value is None or value is MISSING:
            return slot in self._assigned
        return type(value) not in BY_CONTENT and (slot in self._assigned or slot in self._written)

    def reaches(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot not in self.slots:
                self._queue[slot] = None

    def watches(self, how: Callable[..., bool], *what: Any) -> None:
        if not self._made_for_this or how is same_array:
            self.watched.setdefault((how, id(what[0])), (how, what))

    def changes(self, module: str, assigned: frozenset[str], written: frozenset[str]) -> None:
        self._assigned.update((module, name) for name in assigned)
        self._written.update((module, name) for name in written)


def _identity(value: Any) -> Callable[[Any], bool]:
    """Return a check that an object is this one; it holds a weak reference if the object allows that."""
    try:
        reference = weakref.ref(value)
    except TypeError:
        key = id(value), type(value)
        return lambda other: (id(other), type(other)) == key
    return lambda other: reference() is other


class _Known:
    """The first object in a global since its module was imported or reloaded, and the current one."""

    def __init__(self, value: Any, spec: Any) -> None:
        self.spec = spec
        self._is_first = self._is_current = _identity(value)
        self._version = 0

    def version(self, value: Any) -> int:
        """Return the number of the current assignment; 0 for the object that the import made."""
        if not self._is_current(value):
            self._is_current = _identity(value)
            self._version = 0 if self._is_first(value) else next(_assignments)
        return self._version


_assignments = itertools.count(1)

_known: dict[Slot, _Known] = {}

#: Versions of the globals that this process assigned, or took over from its parent.
_versions: dict[Slot, int] = {}


def _version(slot: Slot, value: Any) -> int:
    spec = getattr(sys.modules[slot[0]], "__spec__", None)
    if slot not in _known or _known[slot].spec is not spec:
        _known[slot] = _Known(value, spec)
    version = _known[slot].version(value)
    if version or slot in _versions:
        _versions[slot] = version
    return version


@dataclass(slots=True)
class _Brought:
    """Values of globals that are sent to workers, and the heads with and without them."""

    values: dict[Slot, Any]
    patch: bytes
    heads: dict[bool, bytes] = field(default_factory=dict)


class ModuleState:
    """State of the globals that a function reaches in the user's modules; workers know it by its stamp."""

    def __init__(self, first: Iterable[Slot]) -> None:
        survey = _Survey(first)
        survey.run()
        self._watched = list(survey.watched.values())
        self._globals = [(vars(survey.modules[slot[0]]), slot[1], found[2]) for slot, found in survey.slots.items()]
        self._told = tuple(
            (slot, how, digest, 0 if how == "value" else _version(slot, value))
            for slot, (how, digest, value) in survey.slots.items()
        )
        self.stamp = survey.of(repr(self._told))
        self._brought = _Brought({}, b"")
        self._lock = threading.Lock()
        # If an object cannot be compared and another one was assigned, workers surely do not have that one.
        self.bring(tuple(slot for slot, _, _, version in self._told if version))

    def is_current(self) -> bool:
        """Return whether all globals are still as they were found."""
        return self._is_assigned() and self._is_unchanged()

    def _is_assigned(self) -> bool:
        """Return whether each global is still the same object."""
        for space, name, value in self._globals:  # noqa: SIM110 - all() takes three times as long
            if space.get(name, MISSING) is not value:
                return False
        return True

    def _is_unchanged(self) -> bool:
        """Return whether these objects have the same content."""
        try:
            return all(how(*what) for how, what in self._watched)
        except Exception:  # another thread changes one now
            return False

    def bring(self, slots: tuple[Slot, ...]) -> bool:
        """Send the values of some globals from now on; return False if they are already sent."""
        with self._lock:
            return self._bring(slots)

    def _bring(self, slots: tuple[Slot, ...]) -> bool:
        told = {slot: how for slot, how, _, _ in self._told}
        before = self._brought.values
        fresh = [slot for slot in slots if slot in told and slot not in before]
        if not fresh:
            return False
        if not self._is_assigned():
            # Globals were assigned since. Send all together: a class name may mean another class now.
            fresh = [slot for slot in told if slot not in before]
        if not self._is_unchanged():
            raise FunctionNotSerializableError(
                f"Module {fresh[0][0]!r} was changed during a call that uses it, so workers cannot get the code with "
                "which the call began. Change the module after the call."
            )
        found = {(space["__name__"], name): value for space, name, value in self._globals}
        values = before | {slot: found[slot] for slot in fresh}
        for slot in fresh:
            try:
                _patched({slot: values[slot]}, frozenset(values))
            except Exception as error:
                if told[slot] == "own" or slot not in slots:
                    values[slot] = _KEPT
                    continue
                kind = type_name(type(found[slot]))
                raise FunctionNotSerializableError(
                    f"Global variable {slot[1]!r} of module {slot[0]!r} is a {kind}, which cannot be "
                    f"sent to another process ({type(error).__name__}: {error}). Workers that import the module have "
                    "another value. Create such an object inside the function or with initializer=. Or give an "
                    "engine that sends nothing: engine='thread' or engine='serial'."
                ) from error
        sent = {slot: value for slot, value in values.items() if value is not _KEPT}
        self._brought = _Brought(values, _patched(sent, frozenset(sent)))
        return True

    def framed(self, work: bytes, asked: bool = False) -> bytes:
        """Put the head in front of a serialized function; large values only if a worker asked for them."""
        head = b""
        if self._told:
            brought = self._brought  # read once: another call may replace it
            along = asked or len(brought.patch) <= MAX_UNASKED_BYTES
            if along not in brought.heads:
                values = (tuple(brought.values), brought.patch) if along else ((), b"")
                brought.heads[along] = self.stamp + pickle.dumps((self._told, *values), protocol=PROTOCOL)
            head = brought.heads[along]
        return b"".join((len(head).to_bytes(_HEAD, "little"), head, work))


_KEPT: Any = object()


_states: OrderedDict[frozenset[tuple[Any, str]], ModuleState] = OrderedDict()
_states_lock = threading.RLock()


def state_of(reached: Iterable[tuple[Any, str]]) -> ModuleState:
    """Return the current state of all that some globals lead to."""
    first = frozenset(reached)
    with _states_lock:
        state = _states.get(first)
        if state is None or not state.is_current():
            state = _states[first] = ModuleState(sorted(slot for slot in first if is_users(slot[0])))
        _states.move_to_end(first)
        while len(_states) > KEPT_STATES:
            _states.popitem(last=False)
        return state


class _PatchPickler(ByValuePickler):
    """Pickler of values for a worker's modules, which writes by name what these modules have already."""

    dispatch = type(ByValuePickler.dispatch)(ByValuePickler.dispatch)
    modules_by_reference = True
    sent: frozenset[Slot] = frozenset()

    def by_value(self, obj: Any) -> bool:
        if travels_by_value(obj):
            return True
        return isinstance(obj, (type, types.FunctionType)) and (
            (obj.__module__, obj.__qualname__.partition(".")[0]) in self.sent
        )


def _patched(values: dict[Slot, Any], sent: frozenset[Slot]) -> bytes:
    stream = io.BytesIO()
    pickler = _PatchPickler(stream, protocol=PROTOCOL)
    pickler.sent = sent
    pickler.dump(list(values.items()))
    return stream.getvalue()


# The worker's side

_lock = threading.RLock()

#: Stamps of the states that this process is known to have.
_verified: set[bytes] = set()

#: Number of times that this process changed its modules.
_generation = 0


def _begin_after_fork() -> None:
    global _lock, _states_lock
    _lock, _states_lock = threading.RLock(), threading.RLock()
    _verified.clear()
    _states.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


def split(data: bytes | memoryview) -> tuple[memoryview, memoryview]:
    """Split a framed function into its head and the rest."""
    view = memoryview(data)
    end = _HEAD + int.from_bytes(view[:_HEAD], "little")
    return view[_HEAD:end], view[end:]


def bring_up(head: memoryview) -> int:
    """Bring this process's modules into the state of a call; return how many times they were changed."""
    global _generation
    stamp = bytes(head[:16])
    with _lock:
        if not stamp or stamp in _verified:
            return _generation
        told, brought, patch = pickle.loads(head[16:])
        there = set()
        for module in dict.fromkeys(slot[0] for slot, *_ in told):
            with contextlib.suppress(Exception):  # if the function needs this module, its error is raised there
                importlib.import_module(module)
                there.add(module)
        told = [one for one in told if one[0][0] in there]
        different = _different(told)
        if not different.keys() <= set(brought):
            raise DifferentCodeError(tuple(different))
        if different:
            _apply(patch, told)
            _versions.update(different)
            _generation += 1
        if different or len(_verified) >= VERIFIED_STATES:
            _verified.clear()
        _verified.add(stamp)
        return _generation


def _different(told: list[tuple[Slot, str, bytes, int]]) -> dict[Slot, int]:
    digester, different = Digester(), {}
    for slot, how, digest, version in told:
        module, name = slot
        value = vars(sys.modules[module]).get(name, MISSING)
        same = version == (0 if how == "value" else _versions.get(slot, 0))
        if how != "own":
            same = same and (how, digest) == digester.whole(value)
        if not same:
            different[slot] = version
    return different


def _apply(patch: bytes, told: list[tuple[Slot, str, bytes, int]]) -> None:
    """Assign values in the modules; objects that stay become instances of the new classes."""
    try:
        values = dict(pickle.loads(patch))
    except Exception as error:  # for example of a mock that was called
        names = ", ".join(sorted({f"{module}.{name}" for (module, name), *_ in told})[:4])
        raise FunctionNotSerializableError(
            f"A worker process cannot rebuild the globals that this process assigned ({type(error).__name__}: "
            f"{error}). The function uses {names}. Give an engine that sends nothing: engine='thread' or "
            "engine='serial'."
        ) from error
    replaced: dict[Any, Any] = {}
    for (module, name), value in values.items():
        if module not in sys.modules:
            continue
        space = vars(sys.modules[module])
        if isinstance(value, type) and isinstance(space.get(name), type):
            replaced[space[name]] = value
        if value is MISSING:
            space.pop(name, None)
        else:
            space[name] = value
    for (module, name), *_ in told:
        kept = vars(sys.modules[module]).get(name)
        _forget_results(kept)
        if (module, name) not in values and type(kept) in replaced:
            with contextlib.suppress(TypeError):  # the new class has another layout
                kept.__class__ = replaced[type(kept)]


def _forget_results(value: Any) -> None:
    """Clear functools caches, whose results may be of older code."""
    for one in (value, *(vars(value).values() if isinstance(value, type) else ())):
        if type(one) is _CACHE:
            one.cache_clear()


_CACHE: Any = type(functools.lru_cache(maxsize=1)(abs))
