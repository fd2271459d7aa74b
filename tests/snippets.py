"""Run the commands that a Markdown text shows, and compare what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "run", "without_bars"]

ROOT = Path(__file__).parent.parent


def run(command: str, folder: Path, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    """Run a command with this Python, with both streams in one."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command, comments=True)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "RAY_DEDUP_LOGS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)  # options of this run would change what a command prints
    return subprocess.run(
        words,
        cwd=folder,
        env=environment,
        timeout=timeout,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def without_bars(text: str) -> str:
    """Keep only the counts of a bar's last line: the number of lines and the rate depend on the machine."""
    text = re.sub(r"^apply_rows: [^\n]*\n(?=apply_rows: )", "", text, flags=re.MULTILINE)
    return re.sub(r"^(apply_rows: +\d+%)[^\n]*? (\d+/\d+) [^\n]*", r"\1 \2", text, flags=re.MULTILINE)
