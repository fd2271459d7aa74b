"""What is a coroutine function, and what gives one."""

from __future__ import annotations

import functools
import types

import pytest

from pdparallel.core.awaitables import Substitute, is_awaitable, is_coroutine_function, then
from pdparallel.data.aligned_series import DetectAligned, DetectChanges
from pdparallel.data.groups import EachColumn
from pdparallel.operations.build_result import DetectNan


async def fetch(value, more=0):
    return value + more


def kept(func):
    @functools.wraps(func)
    async def wrapper(*args):
        return await func(*args)

    return wrapper


class Client:
    async def get(self, value):
        return value

    @staticmethod
    async def of_class(value):
        return value

    async def __call__(self, value):
        return value


COROUTINE_FUNCTIONS = {
    "async def": fetch,
    "partial": functools.partial(fetch, more=1),
    "partial of a partial": functools.partial(functools.partial(fetch), more=1),
    "bound method": Client().get,
    "partial of a method": functools.partial(Client().get),
    "static method": Client.of_class,
    "object with an async __call__": Client(),
    "partial of such an object": functools.partial(Client()),
    "decorated": kept(fetch),
    **{kind.__name__: kind(fetch) for kind in (DetectAligned, DetectChanges, DetectNan, EachColumn)},
}


@pytest.mark.parametrize("name", COROUTINE_FUNCTIONS)
def test_coroutine_functions(name):
    assert is_coroutine_function(COROUTINE_FUNCTIONS[name])


@pytest.mark.parametrize("func", [len, int, Client, lambda value: fetch(value), DetectNan(len), "sum", None, [fetch]])
def test_others(func):
    assert not is_coroutine_function(func)


def test_substitutes_of_the_package_are_known():
    assert {DetectAligned, DetectNan, EachColumn} <= set(Substitute.__subclasses__())


def test_awaitables():
    @types.coroutine
    def by_generator():
        yield

    coroutine = fetch(1)
    assert is_awaitable(coroutine)
    assert is_awaitable(by_generator())
    assert not is_awaitable(5)
    assert not is_awaitable(one for one in ())
    coroutine.close()


def test_then():
    with pytest.raises(StopIteration) as ended:
        then(fetch(1), str).send(None)
    assert ended.value.value == "1"
    assert then(2, str) == "2"
