"""pandas' ``apply`` on all cores, with exactly the result of pandas.

>>> import pandas as pd
>>> import pdparallel                                # registers df.par and s.par
>>> df = pd.DataFrame({"a": [1, 2, 3]})
>>> df.par.apply_rows(lambda row: row["a"] * 2).tolist()
[2, 4, 6]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pandas as pd

from pdparallel.api.accelerate import accelerate, restore
from pdparallel.api.accessor import FramePar, SeriesPar, par
from pdparallel.api.imap import imap
from pdparallel.api.map import map
from pdparallel.api.pandas_engine import Hook, engine
from pdparallel.compat import skip_own_lines
from pdparallel.core.frozen import serve_if_a_copy
from pdparallel.core.mistakes import missing_name
from pdparallel.core.options import Options, get_options, option_context, set_options
from pdparallel.diagnostics.explanation import Explanation
from pdparallel.diagnostics.profile import Profile, profile
from pdparallel.engines.registry import shutdown, warm_up
from pdparallel.errors import (
    CallTimeoutError,
    CheckpointError,
    CompiledResultDiffersError,
    FailedCallsWarning,
    FunctionNotCompilableError,
    FunctionNotSerializableError,
    InvalidOptionError,
    PdParallelError,
    PerformanceHint,
    RemoteError,
    ResultNotSerializableError,
    WorkerDiedError,
    WorkerStartError,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "CallTimeoutError",
    "CheckpointError",
    "CompiledResultDiffersError",
    "Explanation",
    "FailedCallsWarning",
    "FunctionNotCompilableError",
    "FunctionNotSerializableError",
    "InvalidOptionError",
    "Options",
    "PdParallelError",
    "PerformanceHint",
    "Profile",
    "RemoteError",
    "ResultNotSerializableError",
    "WorkerDiedError",
    "WorkerStartError",
    "accelerate",
    "engine",
    "get_options",
    "imap",
    "map",
    "option_context",
    "par",
    "profile",
    "restore",
    "set_options",
    "shutdown",
    "warm_up",
]

if not TYPE_CHECKING:  # else a type checker would accept any name

    def __getattr__(name: str) -> Any:
        if name == "testing":  # few programs need it, and its import takes long
            return importlib.import_module("pdparallel.testing")
        if name.startswith("_"):
            raise AttributeError(f"module 'pdparallel' has no attribute {name!r}")
        verbs = [verb for verb in dir(FramePar) if not verb.startswith("_")]
        raise missing_name(name, __dir__(), verbs, pd.DataFrame())


def __dir__() -> list[str]:
    return sorted([*__all__, "testing"])


#: Attribute of an engine that pandas reads in ``df.apply(func, axis=1, engine=pdparallel)``.
__pandas_udf__ = Hook

pd.api.extensions.register_dataframe_accessor("par")(FramePar)
pd.api.extensions.register_series_accessor("par")(SeriesPar)

skip_own_lines()
serve_if_a_copy()
