"""Copy measured figures into the README: ``python -m benchmarks.quote``.

The README shows some rows of a table of ``benchmarks/results``, between two comments. Each row is found again by its
first two cells, and gets the figures of the newest measurement.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

_ROWS = re.compile(r"(<!-- rows of: (\S+) -->\n)(.*?)(\n<!-- end of rows -->)", re.DOTALL)


def renewed(text: str, root: Path = ROOT) -> str:
    """Return a text with the figures of the tables that it names.

    Raises
    ------
    LookupError
        If a row is no longer in its table.
    """

    def rows(found: re.Match[str]) -> str:
        machine, *measured = (root / found[2]).read_text(encoding="utf-8").strip().splitlines()
        by_name = {_name(line): line for line in measured}
        _, *quoted = found[3].splitlines()
        gone = [line for line in quoted if _name(line) not in by_name]
        if gone:
            raise LookupError(f"{found[2]} has no such row: {gone[0]}")
        return "\n".join([found[1] + machine, *(by_name[_name(line)] for line in quoted)]) + found[4]

    return _ROWS.sub(rows, text)


def _name(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.split("|")[1:3])


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(renewed(readme.read_text(encoding="utf-8")), encoding="utf-8")
