"""Imports go one way: each module imports only from rooms below it, engines never each other; all exports exist."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import pdparallel
import pdparallel.testing

ROOT = Path(pdparallel.__file__).parent

#: From the bottom to the top; a module may import from lines above its own, and within its own line only where it
#: is said so below.
LAYERS: list[set[str]] = [
    {"codes", "cores", "displays", "ending", "errors", "filters", "frozen", "idle", "places", "settings", "showing"}
    | {"stopping", "streams", "typing", "versions"},
    {"lean.asking", "lean.becoming", "lean.cuts", "leaving", "mistakes", "tracebacks"},
    {"lean.columns", "lean.rows"},
    {"lean.groups"},
    {"arguments", "options", "plan", "units", "values"},
    {"cells", "holding", "packing"},
    {"pieces"},
    {"call", "likeness", "outcome", "rows", "source", "spans"},
    {"records", "thread_safety"},
    {"observing"},
    {"timeline"},
    {"profiling"},
    {"windowing"},
    {"transport.reductions", "transport.arena"},
    {"transport.blob", "transport.byvalue", "transport.task"},
    {"transport.assigned", "transport.modules", "transport.objects"},
    {"transport.functions", "transport.frames", "transport.outcomes"},
    {"surroundings", "transport.cargo"},
    {"groups"},
    {"output.said"},
    {"output.hooks", "output.shown"},
    {"transport.parcel", "transport.opening", "recording"},
    {"worker"},
    {"serving"},
    {"preload"},
    {"engines.base", "engines.launch", "engines.warm"},
    {"engines.cluster", "engines.dask_here", "engines.watched", "engines.pool"},
    {"engines.serial", "engines.thread", "engines.process", "engines.pathos", "engines.executor"}
    | {"engines.dask", "engines.ray", "engines.ray_driver"},
    {"engines.registry"},
    {"checkpoint.digest", "checkpoint.files"},
    {"checkpoint.identity"},
    {"checkpoint.chunkfile"},
    {"ledger", "stacking"},
    {"missing", "progress"},
    {"assemble", "joining", "testing.same"},
    {"auto", "checkpoint.folder", "delivery"},
    {"beginning", "runner"},
    {"explanation", "sampling"},
    {"advising"},
    {"explaining"},
    {"watching"},
    {"standin", "verbs", "windows"},
    {"grouped"},
    {"groupby"},
    {"resampling"},
    {"background", "hook", "items", "iterating", "views"},
    {"chunkwise", "frame_verbs", "series_verbs"},
    {"futures"},
    {"accessor"},
    {"acceleration"},
    {""},
    {
        "testing.findings",
        "testing.handed",
        "testing.leaving",
        "testing.running",
        "testing.saboteurs",
        "testing.variables",
    },
    {"testing.same_as_pandas", "testing.trial"},
    {"testing.fitness"},
    {"testing"},
    {"doctor", "demo"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules() -> list[str]:
    paths = [path.relative_to(ROOT).with_suffix("") for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    return sorted([".".join(path.parts) for path in paths] + ["testing"])  # a package with names of its own


def path_of(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(name: str) -> set[str]:
    path = path_of(name)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pdparallel":
            base = node.module.removeprefix("pdparallel").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in RANK else base)
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("pdparallel").lstrip(".")
                for alias in node.names
                if alias.name.split(".")[0] == "pdparallel"
            }
    return found


def test_each_module_has_its_place() -> None:
    assert set(modules()) | {""} == set(RANK)


@pytest.mark.parametrize("name", sorted(RANK))
def test_imports_go_one_way(name: str) -> None:
    wrong = {other for other in imports_of(name) if RANK[other] >= RANK[name]}
    assert not wrong, f"{name or '__init__'} imports {wrong} from its own layer or from above"


@pytest.mark.parametrize("name", sorted(RANK))
def test_each_module_says_why_it_exists(name: str) -> None:
    path = path_of(name)
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
    assert len(first) > 30


def test_only_public_pandas_names() -> None:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pandas":
                assert not node.module.startswith(("pandas.core", "pandas._")), f"{path}: {node.module}"


@pytest.mark.parametrize("name", ["pdparallel", *(f"pdparallel.{name}" for name in modules() if name != "__main__")])
def test_exports_exist_and_are_sorted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # what the forkserver imports changes it, and the filters
    with warnings.catch_warnings():
        module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{name} has no __all__"
    assert list(exported) == sorted(exported)
    for export in exported:
        assert hasattr(module, export), f"{name}.{export}"


def test_the_public_names() -> None:
    assert set(pdparallel.__all__) == {
        "CallTimeoutError", "CheckpointError", "FailedCallsWarning", "FunctionNotSerializableError",
        "InvalidOptionError", "Options",
        "PdParallelError", "PerformanceHint",
        "RemoteError", "ResultNotSerializableError", "WorkerDiedError", "WorkerStartError",
        "Explanation", "Profile",
        "accelerate", "engine", "get_options", "imap", "map", "option_context", "par", "profile", "restore",
        "set_options", "shutdown",
    }  # fmt: skip


def test_the_public_names_for_tests() -> None:
    assert set(pdparallel.testing.__all__) == {
        "Finding", "Fitness", "assert_fit", "assert_same", "assert_same_as_pandas", "check", "leaves_nothing",
        "saboteurs", "serial",
    }  # fmt: skip


def test_import_starts_nothing_and_loads_no_engine() -> None:
    """Importing is what every notebook does first: it must not cost a process, a thread or a pool's library."""
    code = (
        "import sys, threading, pandas\n"
        "before = set(sys.modules)\n"
        "import pdparallel\n"
        "new = {name for name in set(sys.modules) - before}\n"
        "engines = [n for n in new if n.startswith('pdparallel.engines.') and n.split('.')[-1] not in\n"
        "           ('base', 'registry')]\n"
        "assert not engines, engines\n"
        "heavy = {n.split('.')[0] for n in new} & {'pathos', 'tqdm', 'dask', 'ray', 'distributed', 'cloudpickle'}\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
