"""Core: the tests that show within minutes whether the package works on a Python or a platform.

Run it with the Python in question: ``python -m tests.core``; what follows is handed to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = ("oracle", "faults", "test_checkpoint.py", "test_engines.py", "test_frontends.py", "test_functions.py")


def main(*given: str) -> int:
    """Run the core with this Python; returns the exit code of pytest."""
    folder = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *given]
    env = {"ORACLE": "quarter", **os.environ}
    return subprocess.run([*command, *(str(folder / name) for name in TESTS)], cwd=folder.parent, env=env).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
