"""The command ``python -m pdparallel``: a check of this machine (doctor), then a comparison with pandas (demo).

``doctor`` or ``demo`` as argument runs one part only. The exit code is 0 if all is well, and 2 for wrong arguments.
It is 1 if a pool does not work or a result differs from pandas.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import pdparallel
from pdparallel.cli import demo, doctor
from pdparallel.core.options import option_context, resolve
from pdparallel.errors import InvalidOptionError, PdParallelError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    options = {} if given.workers is None else {"n_workers": given.workers}
    try:
        with option_context(**options):
            resolve()  # so that an error of an environment variable comes before any output
            return 0 if _run(given.command, given.rows) else 1
    except InvalidOptionError as error:
        parser.error(str(error))
    except PdParallelError as error:
        lines = [f"\npdparallel: {type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        print(*lines, sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\npdparallel: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) is gone. Without this Python complains again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(command: str, rows: int | None) -> bool:
    if command != "demo" and not doctor.run():
        return False
    if command == "doctor":
        return True
    if command == "all":
        print()
    return demo.run(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pdparallel",
        description="What pdparallel finds on this machine (doctor), and the main job on 336,776 flights beside plain "
        "pandas (demo).",
    )
    parser.add_argument(
        "command", nargs="?", choices=["all", "doctor", "demo"], default="all", help="what to show (default: all)"
    )
    parser.add_argument("--rows", type=_positive, metavar="N", help="the demo's first N flights only")
    parser.add_argument("--workers", type=_positive, metavar="N", help="workers (default: the usable cores)")
    parser.add_argument("--version", action="version", version=f"pdparallel {pdparallel.__version__}")
    return parser


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")


if __name__ == "__main__":
    sys.exit(main())
