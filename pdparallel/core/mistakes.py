"""Errors for wrong names of options, engines, values and methods, each with the name that the user probably meant.

Tables map the words of other packages to ours, and ``difflib`` finds misspelt ones. This code runs after a mistake.
A correct call only compares the names of its keyword arguments (:func:`refuse_options`).
"""

from __future__ import annotations

import functools
import reprlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from pdparallel.core.words import (
    COUNTS_OF_CHUNKS,
    EFFECTS,
    ENGINE_NAMES,
    ENGINE_OF,
    FRAME_METHODS,
    GROUP_METHODS,
    GUARDED,
    OPTION_OF,
    OPTIONS,
    PACKAGE_WORDS,
    PREFIXES,
    SERIES_METHODS,
    VALUE_WORDS,
    WRITTEN,
)
from pdparallel.errors import InvalidOptionError

__all__ = [
    "attribute_of_pandas",
    "by_name",
    "closest",
    "format_value",
    "hint_for_row",
    "missing_attribute",
    "missing_name",
    "nearest",
    "not_selected",
    "place_of",
    "refuse_calls_without_items",
    "refuse_engine",
    "refuse_options",
    "refuse_options_of_hook",
    "refuse_options_of_view",
    "refuse_options_of_windows",
    "unknown_engine",
    "unknown_option",
    "unknown_value",
    "warn_of_variable",
]

P = ParamSpec("P")
R = TypeVar("R")


def closest(text: str, known: Iterable[str], cutoff: float) -> str | None:
    """Return the known text that is most similar to another one, or None if none is similar."""
    import difflib  # takes 1 ms, and few calls need it

    near = difflib.get_close_matches(text, list(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def nearest(word: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the most similar known word, or None; case, underscores and hyphens do not matter."""
    plain = {_plain(each): each for each in known}
    near = closest(_plain(word), plain, cutoff)
    return None if near is None else plain[near]


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").casefold()


# Options


def _meant(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the options that a name may mean."""
    known = list(known)
    near = nearest(name, known)
    of_others = nearest(name, OPTION_OF, cutoff=0.9)
    # A misspelt option of ours comes before the word of another package.
    if near is not None and _plain(near) == _plain(name):
        return (near,)
    if name in OPTION_OF:
        return tuple(one for one in OPTION_OF[name] if one in known)
    if near is not None:
        return (near,)
    return () if of_others is None else tuple(one for one in OPTION_OF[of_others] if one in known)


def unknown_option(name: str, value: Any, known: Iterable[str], to_func: str = "") -> InvalidOptionError:
    known = list(known)
    allowed = "one of the options " + ", ".join(known)
    meant = _meant(name, known)
    if meant:
        text = f"Unknown option {name!r}. Did you mean {' or '.join(map(repr, meant))}?"
        text += " chunk_size is the number of rows in a chunk." if name in COUNTS_OF_CHUNKS else ""
    else:
        to_func = to_func or f"the method: df.par.apply_rows(func, {name}={format_value(value)})"
        text = f"Unknown option {name!r}. The options are {', '.join(known)}. "
        text += f"Give an argument of your function to {to_func}."
    return InvalidOptionError(name, value, allowed, message=text)


#: Options that no variable can hold: functions, classes and tuples.
_IN_PROGRAM = {"initializer", "initargs", "retry_on"}


@functools.cache  # once for each variable
def warn_of_variable(variable: str) -> None:
    """Warn of an environment variable that is similar to one of ours; any other may belong to another program."""
    prefix, name = variable[: len("PDPARALLEL_")].upper(), variable[len("PDPARALLEL_") :].lower()
    known = sorted(OPTIONS - _IN_PROGRAM | {"full_tracebacks"})
    meant = " or ".join(prefix + option.upper() for option in _meant(name, known))
    if meant:
        text = f"{variable} has no effect. Did you mean {meant}?"
        warnings.warn_explicit(text, UserWarning, "<environment>", 1)  # no line of code causes it


def unknown_engine(name: str, value: str, allowed: str) -> InvalidOptionError:
    meant = _engine_meant(value)
    text = f"Unknown {name} {value!r}."
    text += f" Did you mean {meant!r}?" if meant is not None else f" Give {allowed}."
    return InvalidOptionError(name, value, allowed, message=text)


def _engine_meant(value: str) -> str | None:
    return ENGINE_OF.get(value.casefold()) or ENGINE_OF.get(_plain(value)) or nearest(value, ENGINE_NAMES)


def unknown_value(name: str, value: Any, choices: Iterable[str], more: str = "") -> InvalidOptionError:
    """Return the error for a value that is not one of ``choices``; ``more`` names other allowed values."""
    choices = list(choices)
    allowed = ("one of " if len(choices) > 1 else "") + ", ".join(map(repr, choices)) + more
    meant = None
    if isinstance(value, str):
        option = name.removeprefix("PDPARALLEL_").lower()
        meant = VALUE_WORDS.get(option, {}).get(value.casefold()) or nearest(value, choices)
        if meant in choices:
            hint = f"Did you mean {meant!r}?{EFFECTS.get((option, meant), '')}"
            return InvalidOptionError(
                name, value, allowed, message=f"{name}={format_value(value)} is not allowed. {hint}"
            )
    return InvalidOptionError(name, value, allowed)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


def format_value(value: Any) -> str:
    """Return a value as in code, shortened if it is long."""
    return _repr.repr(value)


# Options given to a method


def refuse_options(func: Any, kwargs: Mapping[str, Any], call: str, of: Any, axis: str = "", more: str = "") -> None:
    """Refuse keyword arguments of the function that are options of the call."""
    if GUARDED.isdisjoint(kwargs) or not callable(func):
        return
    taken = _takes(func)
    if taken is None:
        return
    names, takes_any = taken
    place = place_of(of)
    known = OPTIONS | {"columns"} if place == "df.par" else OPTIONS
    for name, value in kwargs.items():
        if name in names:  # the function's own argument
            continue
        if name in known:
            raise _is_an_option(name, value, func, call, place, takes_any, more)
        if name == "axis" and axis and not takes_any:
            raise InvalidOptionError(name, value, "no axis", message=f"{call} has no axis=. {axis}")
        if name in GUARDED and name in OPTION_OF and not takes_any:
            option = OPTION_OF[name][0]
            text = (
                f"{_name_of(func)} takes no argument {name!r}. Did you mean the option "
                f"{place}({option}={format_value(value)}).{call}({_name_of(func)}{more})?"
            )
            raise InvalidOptionError(name, value, "an option to the accessor", message=text)


def place_of(data: Any) -> str:
    """Return how users write the accessor of a frame or Series."""
    return "df.par" if data.ndim == 2 else "s.par"


def _takes(func: Callable[..., Any]) -> tuple[frozenset[str], bool] | None:
    """Return the keyword names of a function, and whether it takes any name; None if Python cannot tell."""
    import inspect

    try:
        parameters = inspect.signature(func).parameters.values()
    except Exception:  # some functions of C; an object may raise anything here
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    return frozenset(parameter.name for parameter in parameters if parameter.kind in by_name), takes_any


def _is_an_option(
    option: str, value: Any, func: Any, call: str, place: str, takes_any: bool = False, more: str = ""
) -> InvalidOptionError:
    given, name = f"{option}={format_value(value)}", _name_of(func)
    text = f"{option} is an option: {place}({given}).{call}({name}{more})"
    if takes_any:
        text += f". If it is for the function: {place}.{call}(functools.partial({name}, {given}){more})"
    return InvalidOptionError(option, value, "an option to the accessor", message=text)


def _name_of(func: Any) -> str:
    name = getattr(func, "__name__", "")
    return name if isinstance(name, str) and name.isidentifier() else "func"


def refuse_options_of_view(kwargs: Mapping[str, Any], view: str, of: Any) -> None:
    """Refuse options among the arguments of ``groupby``, ``rolling``, ``expanding`` and ``resample``."""
    for name in kwargs:
        if name in OPTIONS:
            text = f"{name} is an option: {place_of(of)}({name}={format_value(kwargs[name])}).{view}"
            raise InvalidOptionError(name, kwargs[name], "an option to the accessor", message=text)


def refuse_engine(engine: Any, func: Any, call: str, of: Any, more: str = "") -> None:
    """Refuse one of our engines in a method that has pandas' own ``engine=``."""
    if isinstance(engine, str) and engine not in ("python", "cython", "numba"):
        meant = _engine_meant(engine)
        if meant is not None:
            raise _is_an_option("engine", meant, func, call, place_of(of), more=more)


#: For each row format: exceptions of a function that expects another format, and how to read a row.
_READING: dict[str, tuple[tuple[tuple[type[Exception], str], ...], str]] = {
    "row-namedtuple": (
        ((TypeError, "tuple indices must be integers"),),
        "rows='namedtuple' gives named tuples. Write row.a, not row['a'].",
    ),
    "row-tuple": (
        ((TypeError, "tuple indices must be integers"), (AttributeError, "'tuple' object has no attribute")),
        "rows='tuple' gives tuples. Write row[0], or give rows='namedtuple' and write row.a.",
    ),
    "row-dict": (
        ((AttributeError, "'dict' object has no attribute"),),
        "rows='dict' gives dicts. Write row['a'], not row.a.",
    ),
    "row-array": (
        ((IndexError, "only integers, slices"), (AttributeError, "'numpy.ndarray' object has no attribute")),
        "The function gets an array, which has no labels. Write row[0], not row['a'].",
    ),
}


def hint_for_row(exception: BaseException, unit_format: str) -> str | None:
    """Return how to read a row of this format, if the exception shows that the function expects another one."""
    signs, hint = _READING.get(unit_format, ((), ""))
    fits = any(isinstance(exception, kind) and str(exception).startswith(text) for kind, text in signs)
    return hint if fits else None


def by_name(place: str = "", skip: int = 0, after: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that it refuses options without a name, and suggests the one that was meant."""

    def decorate(call: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(call)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if len(args) > skip:
                raise _unnamed(args[skip:], place or place_of(args[0]._obj) + after)  # type: ignore[attr-defined]
            return call(*args, **kwargs)

        return wrapper

    return decorate


def _unnamed(given: tuple[Any, ...], place: str) -> InvalidOptionError:
    first = given[0]
    name, example = "n_workers", "n_workers=4"
    meant: str | None = None
    if isinstance(first, int) and not isinstance(first, bool):
        meant = f"{place}(n_workers={first})"
    elif isinstance(first, str) and first in OPTIONS:  # like pandas.set_option("display.width", 80)
        name = first
        meant = f"{place}({first}={format_value(given[1]) if len(given) > 1 else '...'})"
    elif isinstance(first, str) and _engine_meant(first) is not None:
        name, meant = "engine", f"{place}(engine={_engine_meant(first)!r})"
    elif isinstance(first, list) and place == "df.par":
        name, meant = "columns", f"{place}(columns={format_value(first)})"
    elif callable(first) and place.startswith(("df.par", "s.par")):
        name, meant = "func", f"{place}.{'apply_rows' if place.startswith('df') else 'map'}({_name_of(first)})"
    text = f"{place} takes options by name"
    text += f". Did you mean {meant}?" if meant is not None else f", as in {place}({example})."
    return InvalidOptionError(name, first, "options by name", message=text)


def refuse_options_of_windows(func: Any, engine: Any, unexpected: Mapping[str, Any], of: Any, view: str) -> None:
    """Refuse arguments that ``rolling(...).apply`` does not take."""
    call = f"{view}(...).apply"
    of = getattr(of, "obj", of)  # the data of a groupby
    refuse_engine(engine, func, call, of)
    for name, value in unexpected.items():
        if name in OPTIONS:
            raise _is_an_option(name, value, func, call, place_of(of))
        given = f"kwargs={{{name!r}: {format_value(value)}}}"
        raise TypeError(
            f"{call} takes no argument {name!r}. Give it to the function: {call}({_name_of(func)}, {given})."
        )


def refuse_options_of_hook(func: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse options of ``df.apply(func, engine=pdparallel, ...)`` that the function does not take."""
    # pandas passes all keyword arguments to the function, so one with ``**kwargs`` gets them.
    taken = None if OPTIONS.isdisjoint(kwargs) else _takes(func)
    if taken is None or taken[1]:
        return
    for name in OPTIONS.intersection(kwargs).difference(taken[0]):
        value = kwargs[name]
        text = f"{name} is an option: engine=pdparallel.engine({name}={format_value(value)})"
        raise InvalidOptionError(name, value, "an option to the engine", message=text)


def refuse_calls_without_items(func: Any, iterables: tuple[Any, ...], place: str) -> None:
    """Refuse a call of ``pdparallel.map`` without items that it can take."""
    if not callable(func) and iterables and callable(iterables[0]):
        text = f"The function comes first: {place}({_name_of(iterables[0])}, items)."
        raise InvalidOptionError("func", func, "a function", message=text)
    if callable(func) and not iterables:
        text = f"There are no items. Give them after the function: {place}({_name_of(func)}, items)."
        raise InvalidOptionError("iterables", iterables, "at least one iterable", message=text)
    for given in iterables:
        if isinstance(given, int) and len(iterables) > 1:
            text = f"{place} takes options by name. Did you mean {place}({_name_of(func)}, items, n_workers={given})?"
            raise InvalidOptionError("n_workers", given, "options by name", message=text)
        if not (hasattr(given, "__iter__") or hasattr(given, "__getitem__")):
            raise InvalidOptionError("items", given, "something to iterate over, such as a list")


# Methods


def missing_attribute(name: str, place: str, verbs: Iterable[str], data: Any = None) -> AttributeError | None:
    """Return the error for an unknown name of an accessor, or of its groups or windows (``data`` is None)."""
    meant = _group_verb(name, place, list(verbs)) if data is None else _verb(name, place, list(verbs), data)
    if meant is None and data is None:  # groups and windows have all methods of pandas, which raises for others
        return None
    text = f"{place} has no {name!r}. " + (meant or f"It has {', '.join(verbs)}.")
    # With obj= Python would add a suggestion of its own.
    return AttributeError(text, name=name, obj=None)


def missing_name(name: str, names: Iterable[str], verbs: Iterable[str], data: Any) -> AttributeError:
    """Return the error for an unknown name of the package; ``verbs`` and ``data`` belong to a frame's accessor."""
    near = nearest(name, names)
    meant = PACKAGE_WORDS.get(name) or (near and f"Did you mean pdparallel.{near}?")
    meant = meant or _verb(name, "df.par", list(verbs), data) or f"It has {', '.join(names)}."
    return AttributeError(f"pdparallel has no {name!r}. {meant}", name=name, obj=None)


def attribute_of_pandas(obj: Any, name: str, verbs: Iterable[str], place: Callable[[], str]) -> Any:
    """Return an attribute of a groupby, resample or window object of pandas, or raise an error with the fix."""
    try:
        return getattr(obj, name)
    except AttributeError:
        better = missing_attribute(name, place(), verbs)
        if better is None:
            raise
        raise better from None


def not_selected(key: Any, data: Any) -> TypeError:
    """Return the error for ``df.par["a"]``."""
    part = "..." if isinstance(key, slice) else format_value(key)
    if data.ndim == 1:
        return TypeError(f"Select the values before .par: s[{part}].par.map(func).")
    if isinstance(key, slice):
        return TypeError("Select the rows before .par: df[...].par.apply_rows(func).")
    verb = "apply_rows" if isinstance(key, list) else "map"
    return TypeError(f"Select the columns before .par: df[{part}].par.{verb}(func).")


def _group_verb(name: str, place: str, verbs: list[str]) -> str | None:
    known = {**{verb: f"{verb}(func)" for verb in verbs}, **GROUP_METHODS}
    meant = known.get(name) or known.get(_bare(name)) or known.get(nearest(name, verbs) or "")
    return f"Did you mean {place}.{meant}?" if meant is not None else None


def _verb(name: str, place: str, verbs: list[str], data: Any) -> str | None:
    of_frame = place == "df.par"
    known = {verb: WRITTEN.get(verb, f"{verb}(func)") for verb in verbs} | (
        FRAME_METHODS if of_frame else SERIES_METHODS
    )
    if of_frame and name in data.columns:
        return f"Select the column first: df[{name!r}].par.map(func)."
    meant = known.get(name) or known.get(_bare(name))
    option = name if name in OPTIONS else OPTION_OF.get(name, (None,))[0]
    if meant is None and option is not None:
        verb = "apply_rows" if of_frame else "map"
        return f"Give the option before the method: {place}({option}=...).{verb}(func)."
    if meant is None:
        own = next((each for each in (name, _bare(name)) if hasattr(type(data), each)), None)
        if own is not None:
            found = f"{place.removesuffix('.par')}.{own}"
            is_method = isinstance(getattr(type(data), own), FunctionType)
            return f"It is a method of pandas: {found}(...)." if is_method else f"pandas has it: {found}"
        meant = known.get(nearest(name, known) or "")
    return f"Did you mean {place}.{meant}?" if meant is not None else None


def _bare(name: str) -> str:
    """Return a method's name without the prefixes of other packages: ``parallel_apply`` is ``apply``."""
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
    return name.removeprefix(prefix)
