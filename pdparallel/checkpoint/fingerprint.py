"""Identity: which call a folder is of, as a digest for each part of it, so that an error can say what differs."""

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

#: So many partials and the like are looked through for the function inside.
DEEPEST = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What a call is."""

    parts: dict[str, str]
    details: dict[str, str]
    table: SharedTable
    digests: tuple[str, ...]

    @property
    def whole(self) -> str:
        """One digest for all parts."""
        return combine_digests(*(text.encode() for item in sorted(self.parts.items()) for text in item)).hex()


def identity_of(call: Call) -> Identity:
    """The digests of a call."""
    work = call.work
    digester = Digester(not_sent(work))
    innermost = _innermost(work.func)
    details = dict(digester.parts_of(innermost)) if isinstance(innermost, types.FunctionType) else {}
    # With another errors= what succeeded is the same; each file says by which one it was written.  The views
    # follow from the data.
    known = ("func", "args", "kwargs", "unit_format", "initializer", "errors", "views")
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
    """The function inside a partial, a bound method or what else holds one."""
    for _ in range(DEEPEST):
        if isinstance(func, types.FunctionType):
            break
        func = getattr(func, "func", getattr(func, "__func__", None))
    return func
