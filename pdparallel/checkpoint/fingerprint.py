"""Identity of a call: a digest for each part of it, so that an error can name the part that differs."""

from __future__ import annotations

import dataclasses
import sys
import types
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.checkpoint.hashing import Digester
from pdparallel.core.call import Call
from pdparallel.transport.functions import not_sent
from pdparallel.transport.modules import combine_digests
from pdparallel.transport.shared_classes import SharedTable

__all__ = ["Identity", "identity_of"]

#: Largest number of partials and other wrappers that are removed to find the function.
DEEPEST = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Digests that identify a call."""

    parts: dict[str, str]  # "function", "data" and so on
    details: dict[str, str]  # parts of the function, so that an error can name the one that changed
    table: SharedTable
    digests: tuple[str, ...]  # of the objects of the table

    @property
    def whole(self) -> str:
        """One digest for all parts."""
        return combine_digests(*(text.encode() for item in sorted(self.parts.items()) for text in item)).hex()


def identity_of(call: Call) -> Identity:
    """Return the identity of a call."""
    work = call.work
    digester = Digester(not_sent(work))
    innermost = _innermost(work.func)
    details = dict(digester.parts_of(innermost)) if isinstance(innermost, types.FunctionType) else {}
    # errors=, retries and rates do not change what succeeds, and each file names its errors=. ``views`` follows from
    # the data.
    known = (
        "func",
        "args",
        "kwargs",
        "unit_format",
        "initializer",
        "errors",
        "views",
        "retry",
        "rate",
        "max_concurrency",
        "timeout",
        "is_async",
    )
    rest = [(field.name, getattr(work, field.name)) for field in dataclasses.fields(work) if field.name not in known]
    parts = {
        "verb": digester.named("verb", (call.verb, work.unit_format, call.unit)),
        "function": digester.named("the function", work.func),
        "initializer": digester.named(
            "the initializer", work.initializer and (work.initializer.func, work.initializer.args)
        ),
        "arguments": digester.named("an argument", (work.args, work.kwargs)),
        "data": digester.named("the data", call.data),
        "chunks": digester.named("chunks", [dataclasses.astuple(chunk) for chunk in call.plan or ()]),
        "options": digester.named("an option", rest),
        "versions": digester.named("versions", (sys.version_info[:2], pd.__version__, np.__version__)),
    }
    objects, digests = digester.shared
    return Identity(
        {name: digest.hex() for name, digest in parts.items()},
        {name: digest.hex() for name, digest in details.items()},
        SharedTable(objects),
        digests,
    )


def _innermost(func: Any) -> Any:
    """Return the function inside a partial, a bound method or another wrapper."""
    for _ in range(DEEPEST):
        if isinstance(func, types.FunctionType):
            break
        func = getattr(func, "func", getattr(func, "__func__", None))
    return func
