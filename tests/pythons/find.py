"""Find: the Pythons of this machine, wherever they were installed: on the PATH, by pyenv, by uv.

``python -m tests.pythons.find oldest`` prints the path of the oldest one that the package supports, ``newest`` that of
the newest one, of those for which everything that ``make test`` installs has wheels, if there is one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)

#: Ray and Numba are the last to have wheels for a new Python.
NEWEST_WITH_ALL_WHEELS = (3, 13)

_ASK = """
import sys, sysconfig, ensurepip
assert sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
assert sys.prefix == sys.base_prefix  # make may replace an environment
print(*sys.version_info[:3])
"""


def found() -> dict[tuple[int, int], str]:
    """For each version of CPython that is here the path of its latest patch that can make environments."""
    latest: dict[tuple[int, int], tuple[int, str]] = {}
    for path in _candidates():
        try:
            # In a folder without modules, so that none of them is imported instead of Python's own.
            asked = subprocess.run([path, "-I", "-c", _ASK], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.returncode == 0:  # else a shim of a version that is not active, PyPy, or one without ensurepip
            major, minor, patch = map(int, asked.stdout.split())
            if patch > latest.get((major, minor), (-1, ""))[0]:
                latest[major, minor] = patch, path
    return {version: path for version, (_, path) in sorted(latest.items())}


def _candidates() -> list[str]:
    names = ["python3", "python", *(f"python3.{minor}" for minor in range(OLDEST[1], 20))]
    folders = [
        Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python")).expanduser(),
    ]
    kept = [str(path) for folder in folders for path in sorted(folder.glob("*/bin/python3"))]
    return [str(Path(sys.base_prefix, "bin", "python3")), *filter(None, map(shutil.which, names)), *kept]


def main(which: str) -> None:
    """Print the path."""
    here = {version: path for version, path in found().items() if version >= OLDEST}
    if not here:
        sys.exit(f"There is no Python from {'.'.join(map(str, OLDEST))} on among {', '.join(_candidates())}.")
    usual = [version for version in here if version <= NEWEST_WITH_ALL_WHEELS]
    print(here[max(usual) if which == "newest" and usual else min(here)])


if __name__ == "__main__":
    main(sys.argv[1])
