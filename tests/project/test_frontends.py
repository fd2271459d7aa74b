"""Front ends: the same small program gives the same answer wherever it is written, and leaves nothing behind.

A script without a guard, ``python -m``, standard input, ``-c``, the interactive interpreter (by a pipe and by a
terminal) and a Jupyter kernel; each runs the program with every start method and with pathos.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import pdparallel
from tests.conftest import wait_until

MARK = "PDPARALLEL_TEST_MARK"

#: Written so that it can be typed into an interpreter too: a blank line after each block, none inside.
PROGRAM = """
import math, os
import pandas as pd, pdparallel
from collections import namedtuple
if os.environ.get("SIDE_EFFECT"):
    print("once", file=open(os.environ["SIDE_EFFECT"], "a"))

k = 3
df = pd.DataFrame({"a": [1, 2, 3]})
def helper(x):
    return int(math.sqrt(x * x)) * k

def nested(row):
    def inner(x):
        return helper(x)
    return inner(row["a"])

class Thing:
    factor = 10
    def __init__(self, x):
        self.x = x
    def made(self):
        return Thing(self.x * self.factor)

class MyError(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code

def fails(row):
    if row["a"] >= 2:
        raise MyError(row["a"], "too much")

def show(engine, method):
    par = df.par(engine=engine, start_method=method, n_workers=2, chunk_size=1)
    things = par.apply_rows(lambda row: Thing(row["a"]).made())
    try:
        par.apply_rows(fails)
    except MyError as error:
        caught = int(error.code), "too much" in str(error.__cause__)
    doubled = [x * 2 for x in par.apply_rows(nested).tolist()]
    same = all(type(thing) is Thing for thing in things)
    tripled = par.apply_rows(lambda row: row["a"] * k).tolist()
    print(engine, method, tripled, doubled, [int(thing.x) for thing in things], same, caught)

show("process", "forkserver")
show("process", "spawn")
show("process", "fork")
show("pathos", None)
helper = lambda x: -x
print(df.par(engine="process", n_workers=2).apply_rows(nested).tolist())
"""

EXPECTED = [
    *(
        f"{kind} [3, 6, 9] [6, 12, 18] [10, 20, 30] True (2, True)"
        for kind in ("process forkserver", "process spawn", "process fork", "pathos None")
    ),
    "[-1, -2, -3]",
]


def living(mark: str) -> list[psutil.Process]:
    """Processes that have the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass
class Place:
    """A folder for a program, and the environment that it runs in."""

    folder: Path
    mark: str
    env: dict[str, str]

    @property
    def temporary(self) -> Path:
        return Path(self.env["TMPDIR"])

    def run(self, *arguments: str, text: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=100,
            cwd=self.folder,
            env=self.env | env,
            check=False,
        )

    def nothing_is_left(self) -> None:
        assert wait_until(lambda: not living(self.mark)), living(self.mark)
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    mark = uuid.uuid4().hex
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PDPARALLEL_", "PYTEST_", "COV_"))}
    root = str(Path(pdparallel.__file__).parents[1])
    env |= {MARK: mark, "TMPDIR": str(temporary), "PYTHONPATH": root, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    (tmp_path / "work").mkdir()
    yield Place(tmp_path / "work", mark, env)
    for process in living(mark):
        process.kill()


def without_prompts(text: str) -> list[str]:
    lines = text.replace(">>> ", "").replace("... ", "").splitlines()
    return [line.strip() for line in lines if line.strip()]


def test_script_without_a_guard(place: Place) -> None:
    script = place.folder / "script.py"
    script.write_text(PROGRAM)
    done = place.run("script.py", SIDE_EFFECT="effect")
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (EXPECTED, "", 0)
    assert (place.folder / "effect").read_text() == "once\n"
    place.nothing_is_left()


def test_module_of_a_package(place: Place) -> None:
    package = place.folder / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tools.py").write_text("def minus(x):\n    return -x\n")
    own = """
        from . import tools
        from .tools import minus
        def relative(row):
            from .tools import minus as again
            return tools.minus(row["a"]) + minus(row["a"]) + again(row["a"])

        print(df.par(engine="process", n_workers=2).apply_rows(relative).tolist())
    """
    (package / "module.py").write_text(PROGRAM + textwrap.dedent(own))
    done = place.run("-m", "package.module", SIDE_EFFECT="effect")
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == ([*EXPECTED, "[-3, -6, -9]"], "", 0)
    assert (place.folder / "effect").read_text() == "once\n"
    place.nothing_is_left()


def test_standard_input(place: Place) -> None:
    done = place.run("-", text=PROGRAM, SIDE_EFFECT="effect")
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (EXPECTED, "", 0)
    assert (place.folder / "effect").read_text() == "once\n"
    place.nothing_is_left()


def test_command(place: Place) -> None:
    done = place.run("-c", PROGRAM, SIDE_EFFECT="effect")
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (EXPECTED, "", 0)
    assert (place.folder / "effect").read_text() == "once\n"
    place.nothing_is_left()


def test_with_a_multiprocessing_that_is_different_inside(place: Place) -> None:
    text = """
        import sys, warnings
        from pathlib import Path
        with open("effect", "a") as effect:
            effect.write("once")
        import pandas as pd, pdparallel
        from pdparallel.engines import process_start

        def refuses(function, **replaced):
            raise RuntimeError("other names")

        process_start._with_globals = refuses
        s = pd.Series(range(9))
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            for how in ({}, {"start_method": "forkserver"}, {"start_method": "spawn"}, {"engine": "pathos"}):
                par = s.par(**{"engine": "process", "n_workers": 2, **how})
                print(par.map(lambda value: value + 1).sum(), par.map(lambda value: Path(__file__).name)[0])
        print(len(noted), noted[0].category.__name__, "RuntimeError: other names" in str(noted[0].message))
        print(__spec__, Path(__file__).name)
    """
    (place.folder / "script.py").write_text(textwrap.dedent(text))
    done = place.run("script.py")
    expected = ["45 script.py"] * 4 + ["1 PerformanceHint True", "None script.py"]
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (expected, "", 0)
    assert (place.folder / "effect").read_text() == "once"
    place.nothing_is_left()


@pytest.mark.part(2)
@pytest.mark.skipif(os.name == "nt", reason="closes descriptors by a shell")
@pytest.mark.parametrize("closed", [">&- 2>&-", "<&- >&- 2>&-", "2>&-"])
@pytest.mark.parametrize("streams", ["", "sys.stdin = sys.stdout = sys.stderr = None"])
def test_without_standard_streams(place: Place, closed: str, streams: str) -> None:
    code = f"""
        import pathlib, sys
        {streams}
        import pandas as pd, pdparallel
        def func(value):
            print("said", value)
            return value + 1
        s, sums = pd.Series(range(9)), []
        for how in ({{}}, {{"start_method": "spawn"}}, {{"start_method": "fork"}}, {{"engine": "pathos"}}):
            sums.append(int(s.par(**{{"engine": "process", "n_workers": 2, **how}}).map(func).sum()))
        pathlib.Path("sums").write_text(str(sums))
    """
    (place.folder / "script.py").write_text(textwrap.dedent(code))
    command = f"{shlex.quote(sys.executable)} script.py {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=place.folder, env=place.env, capture_output=True, check=False)
    assert (place.folder / "sums").read_text() == "[45, 45, 45, 45]"
    assert done.returncode == 0
    place.nothing_is_left()


def test_standard_output_of_ascii_only(place: Place) -> None:
    call = (
        "import pandas as pd, pdparallel; print(pd.Series(range(99)).to_frame('a').par.explain(lambda row: row['a']))"
    )
    done = place.run("-c", call, PYTHONIOENCODING="ascii")
    assert (done.stderr, done.returncode) == ("", 0)
    assert " us" in done.stdout
    assert " \u00b5s" in place.run("-c", call, PYTHONIOENCODING="utf-8").stdout


def test_the_forkserver_is_quiet_about_a_parent_that_ends(place: Place) -> None:
    raising = "import pdparallel.worker.preload; raise {}('by the parent')"
    done = place.run("-c", raising.format("ConnectionResetError"))
    assert (done.stderr, done.returncode) == ("", 1)
    assert "LookupError: by the parent" in place.run("-c", raising.format("LookupError")).stderr
    hook = "import pandas as pd, pdparallel, sys; s = pd.Series([1]).par(engine='process', n_workers=1)"
    done = place.run("-c", f"{hook}; print(s.map(lambda value: sys.excepthook is sys.__excepthook__)[0])")
    assert (done.stdout, done.stderr) == ("True\n", "")
    place.nothing_is_left()


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("engine", ["process", "pathos"])
def test_warnings_as_errors(place: Place, engine: str, method: str) -> None:
    call = f"""
        import pandas as pd, pdparallel
        s = pd.Series(range(9)).par(engine="{engine}", n_workers=2, start_method="{method}")
        print(s.map(lambda value: value + 1).sum())
    """
    done = place.run("-W", "error", "-c", textwrap.dedent(call))
    assert (done.stdout, done.stderr, done.returncode) == ("45\n", "", 0)
    place.nothing_is_left()


def test_interactive_interpreter_by_a_pipe(place: Place) -> None:
    done = place.run("-q", "-i", text=PROGRAM)
    assert without_prompts(done.stdout) == EXPECTED
    assert without_prompts(done.stderr) == []
    assert done.returncode == 0
    place.nothing_is_left()


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_interactive_interpreter_by_a_terminal(place: Place) -> None:
    import pty
    import termios

    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    process = subprocess.Popen(
        [sys.executable, "-q"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=place.folder, env=place.env
    )
    os.close(theirs)
    shown = b""
    try:
        for line in [*PROGRAM.splitlines(), "exit()"]:
            os.write(ours, line.encode() + b"\n")
            while True:  # the prompt that follows, so that the terminal's buffer never overflows
                try:
                    part = os.read(ours, 4096)
                except OSError:  # the terminal was closed: the interpreter ended
                    part = b""
                shown += part
                if not part or shown.endswith((b">>> ", b"... ")):
                    break
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert without_prompts(shown.decode()) == EXPECTED
    place.nothing_is_left()


@dataclass
class Kernel:
    """A Jupyter kernel, and what its latest cell has shown."""

    manager: Any
    client: Any
    shown: dict[str, str]

    def run(self, code: str) -> None:
        self.shown.clear()

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                self.shown[content["name"]] = self.shown.get(content["name"], "") + content["text"]
            elif message["msg_type"] == "error":
                self.shown["error"] = "\n".join(content["traceback"])

        self.client.execute_interactive(textwrap.dedent(code), output_hook=keep, timeout=100)


@pytest.fixture
def kernel(place: Place) -> Iterator[Kernel]:
    jupyter_client = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    manager = jupyter_client.KernelManager(kernel_name="python3")
    # Jupyter's own files are not ours to count.
    env = place.env | {"JUPYTER_RUNTIME_DIR": str(place.folder), "IPYTHONDIR": str(place.folder / "ipython")}
    manager.start_kernel(env=env, cwd=str(place.folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(manager, client, {})
        client.stop_channels()
        # A kernel waits long for multiprocessing's resource tracker, which does not listen to it; a notebook server
        # gives it some seconds and then kills it.
        manager.shutdown_wait_time = 1.0
        manager.shutdown_kernel()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert wait_until(lambda: not living(place.mark)), living(place.mark)
    assert [path.name for path in place.temporary.iterdir() if path.name.startswith("pdparallel")] == []


def test_jupyter_kernel(kernel: Kernel) -> None:
    run, shown = kernel.run, kernel.shown
    first, second = PROGRAM.split("def show(", 1)
    run(first)
    assert shown == {}
    run("def show(" + second)
    assert shown == {"stdout": "\n".join(EXPECTED) + "\n"}
    run("def helper(x):\n    return x + 1000")
    run("print(df.par(engine='process', n_workers=2).apply_rows(nested).tolist())")
    assert shown == {"stdout": "[1001, 1002, 1003]\n"}
    run("df.par(engine='process', n_workers=2).apply_rows(lambda row: 1 // 0)  # the failing line")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.pop("error"))
    assert shown == {}
    assert "ZeroDivisionError" in plain
    assert "pdparallel: apply_rows, in row 0 (position 0)" in plain
    assert "# the failing line" in plain.split("The above exception was the direct cause")[0]
    for engine in ("process", "auto"):
        par = f"pd.Series(range(4000)).par(engine={engine!r}, n_workers=2)"
        # As the manager does it, which in another thread than its own leaves an event loop open.
        stop = threading.Timer(1.5, os.killpg, (os.getpgid(kernel.manager.provisioner.pid), signal.SIGINT))
        stop.start()
        run(f"import time; {par}.map(lambda x: time.sleep(0.05))")  # longer than the limit of a cell here
        assert "KeyboardInterrupt" in shown.pop("error")
        assert shown == {}
        run(f"print({par}.map(lambda x: x + 1).sum())")
        assert shown == {"stdout": "8002000\n"}


COROUTINES = """
import asyncio, pandas as pd, pdparallel

frame, left = pd.DataFrame({"a": range(40)}), []

class Client:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
    async def get(self, value):
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0.001)
        return value * 2

async def read(row):
    await asyncio.sleep(0.001)
    return row["a"] * 2

async def hangs(row):
    try:
        await asyncio.sleep(600)
    finally:
        left.append(row["a"])
"""


def test_coroutines_in_a_jupyter_kernel(kernel: Kernel) -> None:
    run, shown = kernel.run, kernel.shown
    run(COROUTINES)
    for engine in ("auto", "process"):
        run(f"print(frame.par(engine={engine!r}).apply_rows(read).sum())")
        assert shown == {"stdout": "1560\n"}
    run("client = Client()\nprint((await frame.par.background.apply_rows(lambda row: client.get(row['a']))).sum())")
    assert shown == {"stdout": "1560\n"}
    run("future = frame.par.background.apply_rows(lambda row: client.get(row['a']))")
    assert shown == {}
    run("print((await future).sum())")
    assert shown == {"stdout": "1560\n"}
    run("frame.par.background.apply_rows(hangs).result()")
    assert "Write: result = await future" in shown.pop("error")
    run("left.clear()")
    stop = threading.Timer(1.5, os.killpg, (os.getpgid(kernel.manager.provisioner.pid), signal.SIGINT))
    stop.start()
    run("frame.par(max_concurrency=4).apply_rows(hangs)")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.pop("error"))
    assert "KeyboardInterrupt" in plain
    assert "threading.py" not in plain
    run("print(len(left), frame.par.apply_rows(read).sum())")
    assert shown == {"stdout": "4 1560\n"}


HELPERS = """
import deeper

FACTOR = 1

class Scale:
    by = 1
    def method(self, x):
        return x * self.by + deeper.deep(x)

def helper(x):
    return deeper.deep(x) + FACTOR
"""

ALL_WAYS = """
for options in (
    {"start_method": "forkserver"}, {"start_method": "spawn"}, {"start_method": "fork"}, {"engine": "pathos"},
):
    par = s.par(**({"engine": "process", "n_workers": 2} | options))
    got = [par.map(one).sum() for one in (helper, helpers.helper, lambda x: helper(x), scale.method, Scale().method)]
    print(*dict.fromkeys(got))
    print(par.map(lambda x: Scale()).map(type).eq(Scale).all())
"""


def test_autoreload_in_a_jupyter_kernel(kernel: Kernel, place: Place) -> None:
    times = itertools.count(int(time.time()), 10)

    def write(name: str, text: str) -> None:
        (place.folder / name).write_text(text)
        # Autoreload and the cache of compiled modules know the time of a file by seconds.
        os.utime(place.folder / name, (at := next(times), at))

    def check(*numbers: int) -> None:
        kernel.run(ALL_WAYS)
        assert kernel.shown == {"stdout": (" ".join(map(str, dict.fromkeys(numbers))) + "\nTrue\n") * 4}

    write("deeper.py", "def deep(x):\n    return x\n")
    write("helpers.py", HELPERS)
    kernel.run("%load_ext autoreload\n%autoreload 2")
    kernel.run("import pandas as pd, pdparallel, helpers\nfrom helpers import Scale, helper")
    kernel.run("s, scale = pd.Series(range(10)), Scale()")
    assert kernel.shown == {}
    check(55, 90)
    write("deeper.py", "def deep(x):\n    return x + 100\n")  # two modules deep
    check(1055, 1090)
    write("helpers.py", HELPERS.replace("FACTOR = 1", "FACTOR = 3").replace("by = 1", "by = 2"))
    check(1075, 1135)
    kernel.run("helpers.FACTOR, Scale.by = 5, 4")
    check(1095, 1225)
    kernel.run("Scale.method = lambda self, x: 7")
    check(1095, 70)


LINE = (
    "import pandas as pd, pdparallel; k=3; "
    'print(pd.DataFrame({"a":[1,2,3]}).par(engine="process"%s).apply_rows(lambda r: r["a"]*k).tolist())'
)


@pytest.mark.parametrize(
    ("way", "option"),
    [
        ("stdin", ""),
        ("script", ""),
        ("-c", ""),
        ("script", ', start_method="spawn"'),
        ("stdin", ', start_method="spawn"'),
    ],
)
def test_one_line(place: Place, way: str, option: str) -> None:
    line = LINE % option
    if way == "stdin":
        done = place.run(text=line)
    elif way == "script":
        (place.folder / "line.py").write_text(line)
        done = place.run("line.py")
    else:
        done = place.run("-c", line)
    assert (done.stdout, done.stderr, done.returncode) == ("[3, 6, 9]\n", "", 0)
    place.nothing_is_left()


KINDS = [("process", "forkserver"), ("process", "spawn"), ("process", "fork"), ("pathos", "forkserver")]


def options(kind: tuple[str, str]) -> dict[str, str]:
    return {"PDPARALLEL_ENGINE": kind[0], "PDPARALLEL_START_METHOD": kind[1], "PDPARALLEL_N_WORKERS": "2"}


@pytest.mark.parametrize(
    ("how", "kind"), [("exit", KINDS[0]), ("exit", KINDS[3]), ("raise", KINDS[0]), ("raise", KINDS[2])]
)
def test_end_by_exit_and_by_an_exception(place: Place, how: str, kind: tuple[str, str]) -> None:
    text = """
        import sys, pandas as pd, pdparallel
        print(pd.Series([1, 2]).par.map(lambda x: x + 1).tolist())
        if sys.argv[1] == "exit":
            sys.exit(3)
        raise ValueError("at the end")
    """
    (place.folder / "script.py").write_text(textwrap.dedent(text))
    done = place.run("script.py", how, **options(kind))
    assert done.stdout == "[2, 3]\n"
    if how == "exit":
        assert (done.stderr, done.returncode) == ("", 3)
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback")
        assert done.stderr.endswith('    raise ValueError("at the end")\nValueError: at the end\n')
        assert "resource_tracker" not in done.stderr
    place.nothing_is_left()


@pytest.mark.part(2)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("by_file", [False, True])
def test_workers_of_a_killed_script_are_gone(place: Place, kind: tuple[str, str], by_file: bool) -> None:
    by = "shared_memory._memfd_can_be_shared = lambda: False" if by_file else ""
    text = f"""
        import pathlib, threading, pandas as pd, pdparallel
        from pdparallel.transport import shared_memory
        {by}
        def func(x):
            pathlib.Path(f"running-{{x}}").touch()
            threading.Event().wait(300)

        pd.Series([1, 2]).par(chunk_size=1).map(func)
    """
    (place.folder / "script.py").write_text(textwrap.dedent(text))
    process = subprocess.Popen([sys.executable, "script.py"], cwd=place.folder, env=place.env | options(kind))
    try:
        assert wait_until(lambda: len(list(place.folder.glob("running-*"))) == 2, 60)
        assert any(place.temporary.glob("pdparallel-*")) == by_file
        assert len(living(place.mark)) >= 3
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert wait_until(lambda: not living(place.mark), 15), living(place.mark)
    assert wait_until(lambda: not list(place.temporary.iterdir())), list(place.temporary.iterdir())


def test_a_script_in_another_folder_imports_what_lies_beside_it(place: Place) -> None:
    other = place.folder / "other"
    other.mkdir()
    (other / "beside.py").write_text("def minus(x):\n    return -x\n")
    text = """
        import beside, os, pandas as pd, pdparallel
        for method in ("forkserver", "spawn", "fork"):
            par = pd.Series([1, 2]).par(engine="process", start_method=method, n_workers=2)
            print(par.map(beside.minus).tolist(), par.map(lambda x: beside.minus(x) * 2).tolist())
    """
    (other / "script.py").write_text(textwrap.dedent(text))
    done = place.run("other/script.py")
    assert (done.stdout, done.stderr, done.returncode) == ("[-1, -2] [-2, -4]\n" * 3, "", 0)
    place.nothing_is_left()


def test_a_temporary_folder_with_a_path_too_long_for_a_socket(place: Place) -> None:
    deep = place.temporary / ("deep" * 20) / ("deeper" * 10)
    deep.mkdir(parents=True)
    code = """
import pandas as pd, pdparallel
df = pd.DataFrame({"a": [1, 2]})
for engine in ("process", "pathos"):
    print(df.par(engine=engine, n_workers=2).apply_rows(lambda row: row["a"] * 3).tolist())
"""
    before = set(Path("/tmp").glob("pymp-*"))
    done = place.run("-", text=code, TMPDIR=str(deep))
    assert (done.stdout.split("\n"), done.stderr) == (["[3, 6]", "[3, 6]", ""], "")
    assert wait_until(lambda: not living(place.mark)), living(place.mark)
    assert list(deep.iterdir()) == []
    assert set(Path("/tmp").glob("pymp-*")) <= before
