"""Frozen: a program that PyInstaller or the like made of a script is its own Python, and each worker a copy of it.

Such a copy runs the script from its first line, which would start workers again, and so on.  Its command line says what
it was started for::

    program --multiprocessing-fork tracker_fd=5 pipe_handle=7      a worker
    program -c "from multiprocessing.forkserver import main; ..."  the forkserver, or the tracker of resources

So the import of pdparallel, which comes before any call of it, turns a copy into that and does not return.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import sys
from multiprocessing import spawn

__all__ = ["serve_if_a_copy"]

#: What multiprocessing, and pathos' own edition of it, starts by its code.
_HELPER = re.compile(
    r"from multiprocess(ing)?\.(forkserver|resource_tracker|semaphore_tracker) import main; ?main\(", re.ASCII
)


def serve_if_a_copy() -> None:
    """In a copy of a frozen program: do what it was started for, and end; elsewhere nothing."""
    if not getattr(sys, "frozen", False):
        return
    helper = _helper(sys.argv)
    if helper or spawn.is_forking(sys.argv):
        _leave_imports()
        multiprocessing.freeze_support()  # knows what the maker of the program wants done first
        if helper:  # which does not know of all of them, nor on all systems
            exec(helper, {"__name__": "__main__"})
            sys.exit()
        spawn.freeze_support()


def _helper(argv: list[str]) -> str:
    """The code that a copy is to run, if any."""
    return argv[-1] if len(argv) > 2 and argv[-2] == "-c" and _HELPER.match(argv[-1]) else ""


def _leave_imports() -> None:
    """Forget the modules whose import led here, and does not end: a worker that needs one imports all of it again."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and getattr(spec, "_initializing", False):
            if name.partition(".")[0] == package:
                with contextlib.suppress(AttributeError):
                    spec._initializing = False
            else:
                del sys.modules[name]
