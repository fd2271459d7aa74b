"""Workers of a frozen program (PyInstaller and similar): the program is its own Python, and each worker a copy of it.

A copy runs the script from its first line, and would start workers again without end. Its command line shows its role::

    program --multiprocessing-fork tracker_fd=5 pipe_handle=7      a worker
    program -c "from multiprocessing.forkserver import main; ..."  the forkserver, or the tracker of resources

The import of pdparallel comes before any call. In a copy it runs the worker or helper, and does not return.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import sys
from multiprocessing import spawn

__all__ = ["serve_if_a_copy"]

#: Code with which multiprocessing, and pathos' edition of it, start their helper processes.
_HELPER = re.compile(
    r"from multiprocess(ing)?\.(forkserver|resource_tracker|semaphore_tracker) import main; ?main\(", re.ASCII
)


def serve_if_a_copy() -> None:
    """Run the worker or helper in a copy of a frozen program, and exit; elsewhere do nothing."""
    if not getattr(sys, "frozen", False):
        return
    helper = _helper(sys.argv)
    if helper or spawn.is_forking(sys.argv):
        _leave_imports()
        multiprocessing.freeze_support()  # PyInstaller and others put their own version here
        if helper:  # freeze_support does not know all helpers, nor on all systems
            exec(helper, {"__name__": "__main__"})
            sys.exit()
        spawn.freeze_support()


def _helper(argv: list[str]) -> str:
    """Return the code that a copy must run as a helper, or an empty text."""
    return argv[-1] if len(argv) > 2 and argv[-2] == "-c" and _HELPER.match(argv[-1]) else ""


def _leave_imports() -> None:
    """Forget the modules whose import led here and never ends, so that a worker can import them completely."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and getattr(spec, "_initializing", False):
            # This package is complete here. No thread may wait for the end of its import.
            if name.partition(".")[0] == package:
                with contextlib.suppress(AttributeError):
                    spec._initializing = False
            else:
                del sys.modules[name]
