"""Coroutine functions and awaitables: how to recognise them, and what to do with what they give."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any

from pdparallel.typing import Func

__all__ = [
    "Substitute", "gives_coroutine", "is_async_generator_function", "is_awaitable", "is_coroutine_function", "then",
]  # fmt: skip


class Substitute:
    """Base of callable objects that call ``func`` in the place of the user's function, and change its return."""

    __slots__ = ()

    func: Func


def is_coroutine_function(func: Any) -> bool:
    """Return whether a call gives a coroutine: also of a partial, a method, or an object with an async ``__call__``.

    >>> async def wait(seconds): ...
    ...
    >>> is_coroutine_function(functools.partial(wait, 1)), is_coroutine_function(len)
    (True, False)
    """
    return _is_kind(func, inspect.iscoroutinefunction)


def is_async_generator_function(func: Any) -> bool:
    """Return whether a call gives an async generator, which cannot be awaited.

    >>> async def numbers(): yield 1
    ...
    >>> is_async_generator_function(numbers), is_coroutine_function(numbers)
    (True, False)
    """
    return _is_kind(func, inspect.isasyncgenfunction)


def _is_kind(func: Any, is_kind: Callable[[Any], bool]) -> bool:
    while isinstance(func, (functools.partial, Substitute)):
        func = func.func
    if is_kind(func):
        return True
    if isinstance(func, type) or inspect.isroutine(func):
        return False
    return is_kind(getattr(type(func), "__call__", None))  # noqa: B004 - its kind matters


def gives_coroutine(value: object) -> bool:
    """Return whether a plain function has returned the coroutine of an ``async def`` function."""
    return type(value) is CoroutineType


def is_awaitable(value: object) -> bool:
    """Return whether ``await`` takes a value."""
    return type(value) is CoroutineType or inspect.isawaitable(value)


def then(value: Any, step: Callable[[Any], Any]) -> Any:
    """Return ``step`` of a value, or a coroutine that gives ``step`` of what a coroutine gives.

    >>> then(2, str)
    '2'
    """
    return _awaited(value, step) if type(value) is CoroutineType else step(value)


async def _awaited(value: Awaitable[Any], step: Callable[[Any], Any]) -> Any:
    return step(await value)
