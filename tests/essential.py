"""The tests that show within minutes whether the package works on a Python or a platform.

Run it with the Python in question: ``python -m tests.essential``; what follows is handed to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = (
    "oracle", "faults", "checkpoint", "engines/test_engines.py", "project/test_frontends.py",
    "transport/test_functions.py", "project/test_stress.py", "execution/test_thread_safety.py",
)  # fmt: skip

#: Of the oracle a quarter.
ENVIRONMENT = {"ORACLE": "quarter"}


def arguments(*given: str) -> list[str]:
    """What Python is to be called with, in the folder of the sources."""
    return ["-m", "pytest", "-n", "2", "--dist", "loadfile", *given, *(f"tests/{name}" for name in TESTS)]


def main(*given: str) -> int:
    """Run the core with this Python; returns the exit code of pytest."""
    env = {**ENVIRONMENT, **os.environ}
    return subprocess.run([sys.executable, *arguments(*given)], cwd=Path(__file__).parents[1], env=env).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
