"""Run notebooks from the first cell to the last, and store their outputs: ``python notebooks/store.py 07``."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def store(path: Path) -> None:
    """Run a notebook, and keep nothing of this machine beside its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(FOLDER)}}).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
    path.write_text(nbformat.writes(notebook).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    for prefix in sys.argv[1:]:
        (found,) = FOLDER.glob(f"{prefix}*.ipynb")
        store(found)
        print(found.name)
