"""Screenshots: what a user sees in JupyterLab and in a terminal, taken from a real one of each.

``make screenshots`` installs what it needs and runs this; Chromium must be there (Debian's ``chromium``, or any other
by ``CHROMIUM=path``).  The pictures are in the README: look at them after each change of what is shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

#: Seconds after which something has gone wrong.
LIMIT = 120

#: Columns and lines of the terminal.
TERMINAL = (110, 40)

DATA = """\
import time
import numpy as np
import pandas as pd
import pdparallel

rng = np.random.default_rng(0)
df = pd.DataFrame(rng.normal(size=(4_000, 3)), columns=["x", "y", "z"])"""


@dataclass(frozen=True)
class Shot:
    """A notebook of some cells, and when its picture is taken.

    Attributes
    ----------
    cells : tuple of str
        Source code; all are run.
    seen : str
        Text of the page from which on it can be taken.
    wait : float
        Seconds that pass then.
    """

    cells: tuple[str, ...]
    seen: str
    wait: float = 1.0


SHOTS: dict[str, Shot] = {
    "progress": Shot(
        (
            DATA,
            "def slow(row):\n    time.sleep(0.004)\n    return row.max()\n\ndf.par(progress=True).apply_rows(slow)",
        ),
        "apply_rows",
        4.0,
    ),
    "failure": Shot(
        (
            DATA,
            "orders = pd.DataFrame(\n"
            '    {"price": [4.5, 3.0, 8.0], "pieces": [2, 0, 1]}, index=["A-1", "A-2", "A-3"]\n)\n\n'
            'def each(order):\n    return round(order["price"]) // int(order["pieces"])\n\n'
            'orders.par(engine="process").apply_rows(each)',
        ),
        "A-2",
    ),
    "explain": Shot(
        (
            DATA,
            "many = pd.concat([df] * 50, ignore_index=True)\n\n"
            'def distance(row):\n    return (row["x"] ** 2 + row["y"] ** 2) ** 0.5\n\n'
            "many.par.explain(distance)",
        ),
        "workers",
    ),
    "profile": Shot(
        (
            DATA,
            "many = pd.concat([df] * 50, ignore_index=True)\n\n"
            "def spread(row):\n    values = sorted(row)\n    return values[-1] - values[0]\n\n"
            "with pdparallel.profile() as p:\n    many.par(engine='process').apply_rows(spread)\n"
            "    many.par(engine='process').apply_rows(spread)\np.plot();",
        ),
        "<img",
    ),
}

#: What is typed into Python in a terminal, line by line, and the name of the recording.
TYPED = [
    *DATA.splitlines(),
    "many = pd.concat([df] * 50, ignore_index=True)",
    'distance = lambda row: (row["x"] ** 2 + row["y"] ** 2) ** 0.5',
    "many.par.explain(distance)",
    "result = df.par(progress=True).apply_rows(lambda row: time.sleep(0.001) or row.max())",
    'df.par(engine="process").apply_rows(lambda row: 1 / 0 if row.name == 17 else 1.0)',
    "with pdparallel.profile() as p: _ = many.par.apply_rows(distance)",
    "",
    "p",
]


def main() -> None:
    """Take all of them."""
    with server() as (address, folder):
        for name, shot in SHOTS.items():
            write(folder / f"{name}.ipynb", shot.cells)
        take(address)
    record(HERE / "terminal.txt")


def write(path: Path, cells: tuple[str, ...]) -> None:
    """A notebook."""
    import nbformat.v4 as nb

    notebook = nb.new_notebook(cells=[nb.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps(notebook))


@contextlib.contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """A JupyterLab of this Python, on this machine alone: its address, and the folder that it shows."""
    with tempfile.TemporaryDirectory() as name:
        folder, runtime = Path(name) / "notebooks", Path(name) / "runtime"
        folder.mkdir()
        news = Path(name) / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        news.parent.mkdir(parents=True)
        news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        # With a home here, tracebacks name files of the package without the folders of this machine.
        own = {"HOME": str(HERE.parents[1]), "JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTERLAB_SETTINGS_DIR": name}
        kinds = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR", "NPM_CONFIG_CACHE")
        own |= dict.fromkeys(kinds, name)
        environment = {**os.environ, **own}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
                   "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]  # fmt: skip
        running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield until(lambda: next(map(_address, runtime.glob("jpserver-*.json")), "")), folder
        finally:
            running.terminate()
            running.wait(LIMIT)


def _address(path: Path) -> str:
    address: str = json.loads(path.read_text())["url"]
    return address


def until(found: Callable[[], str]) -> str:
    """What a function gives when it gives anything."""
    for _ in range(LIMIT * 10):
        with contextlib.suppress(OSError, ValueError):  # a file that is being written
            value = found()
            if value:
                return value
        time.sleep(0.1)
    raise TimeoutError("no JupyterLab came up")


def take(address: str) -> None:
    """Run each notebook in a browser."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        for name, shot in SHOTS.items():
            page = browser.new_page(viewport={"width": 1100, "height": 1700}, device_scale_factor=1.5)
            page.goto(f"{address}lab/tree/{name}.ipynb?reset", timeout=LIMIT * 1000)
            one(page, name, shot)
            page.close()
        browser.close()


def one(page: Any, name: str, shot: Shot) -> None:
    """Run the cells of a notebook that is open, and take its picture."""
    notebook = page.locator(".jp-NotebookPanel:visible .jp-Notebook").first
    notebook.wait_for(timeout=LIMIT * 1000)
    page.get_by_text("| Idle").wait_for(timeout=LIMIT * 1000)  # before, a cell that is run is not
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    outputs = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    for _ in range(LIMIT * 10):
        if any(shot.seen in outputs.nth(at).inner_html() for at in range(outputs.count())):
            break
        page.wait_for_timeout(100)
    else:
        page.screenshot(path=str(HERE / f"{name}-failed.png"))
        raise TimeoutError(f"{name}: {shot.seen!r} was not seen; {name}-failed.png shows what was")
    page.wait_for_timeout(shot.wait * 1000)
    around, last = notebook.bounding_box(), outputs.last.bounding_box()
    height = min(around["height"], last["y"] + last["height"] - around["y"] + 12)
    page.screenshot(path=str(HERE / f"{name}.png"), clip={**around, "height": height})


def record(path: Path) -> None:
    """Type into Python in a terminal, and keep what its screen shows in the end."""
    import pyte

    screen = pyte.HistoryScreen(*TERMINAL, history=1000)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm", "COLUMNS": str(TERMINAL[0]), "LINES": str(TERMINAL[1])}
        os.environ.pop("PYTHONSTARTUP", None)
        os.execv(sys.executable, [sys.executable, "-q"])
    for line in (*TYPED, "exit()"):
        read(terminal, stream)
        os.write(terminal, line.encode() + b"\n")
    read(terminal, stream)
    os.waitpid(child, 0)
    history = ["".join(line[column].data for column in range(TERMINAL[0])) for line in screen.history.top]
    text = "\n".join(line.rstrip() for line in (*history, *screen.display)).strip() + "\n"
    path.write_text(text.replace(str(HERE.parents[1]), "~"))


def read(terminal: int, stream: Any) -> None:
    """Read until the prompt stands at the end, or the terminal is closed."""
    last = b""
    ends = time.monotonic() + LIMIT
    while time.monotonic() < ends:
        ready, _, _ = select.select([terminal], [], [], 0.5)
        if ready:
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # closed
                return
            stream.feed(data)
            last = (last + data)[-8:]
        elif last.endswith((b">>> ", b"... ")):
            return


if __name__ == "__main__":
    main()
