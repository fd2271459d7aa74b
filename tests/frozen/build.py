"""Makes programs of ``program.py`` with PyInstaller, a folder and a single file, and runs each in all ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WAYS = ["serial", "forkserver", "spawn", "fork", "pathos forkserver", "pathos spawn", "pathos fork"]
SECONDS = 120


def built(kind: str, folder: Path) -> Path:
    """The program."""
    command = [
        sys.executable, "-m", "PyInstaller", f"--{kind}", "--noconfirm", "--log-level", "ERROR", "--name", "program",
        "--distpath", folder / kind, "--workpath", folder / f"{kind}-work", "--specpath", folder,
        "--paths", HERE, "--paths", HERE.parent.parent, HERE / "program.py",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    program = folder / kind / "program"
    return program / "program" if program.is_dir() else program


def run(program: Path, way: str) -> str:
    """What is wrong, if anything."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([program, way], stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | str = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = f"not within {SECONDS} s"
        if code:
            os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        text = said.read()
    return "" if (code, text) == (0, "begins\nends\n") else f"ended with {code}\n{text[-2000:]}"


def main() -> int:
    """The number of programs that failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        for kind in ("onedir", "onefile"):
            program = built(kind, Path(place))
            for way in WAYS:
                began = time.perf_counter()
                wrong = run(program, way)
                print(f"{kind:8} {way:18} {time.perf_counter() - began:5.1f} s  {wrong or 'as pandas'}", flush=True)
                failed += bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main())
