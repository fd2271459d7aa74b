"""One sentence for each option, for signatures, help and tables."""

from __future__ import annotations

__all__ = ["MEANINGS"]

#: Each option in one sentence, for help and tables. :class:`Options` has the full text.
MEANINGS: dict[str, str] = {
    "engine": "Who does the work: this process, threads, processes, or a cluster.",
    "n_workers": "How many workers share the work. None: the cores that this process may use.",
    "max_concurrency": "How many calls of a coroutine function are under way at once.",
    "chunk_size": "Rows, columns or items of a chunk. None: pdparallel chooses.",
    "start_method": "How worker processes start. None: forkserver on Linux, spawn on macOS and Windows.",
    "progress": "Whether and where a progress bar is shown.",
    "desc": "The text before the progress bar. None: the name of the method.",
    "errors": "After a call raises: raise it, leave a missing value, or return the exception.",
    "retry_on": "Exception classes, or a function of the exception, after which a call runs again.",
    "retries": "How often a unit runs again: after its worker died, or after an exception of retry_on.",
    "retry_wait": "Seconds before the first retry. They double each time, at random, up to 60.",
    "rate_limit": "How many calls may begin per second: 10 or '600/min'. None: no limit.",
    "timeout": "Seconds that one call of the function may take. None: no limit.",
    "threads_per_worker": "Threads of BLAS, OpenMP and Arrow in each worker. None: cores // workers.",
    "serializer": "The package that writes the function for other processes.",
    "checkpoint": "A folder that keeps finished results, so that the same call can continue later.",
    "seed": "A number that makes random and np.random repeatable.",
    "initializer": "A function that each worker calls once, before the first row.",
    "initargs": "Arguments of the initializer.",
    "capture_output": "Whether output of workers is shown where you made the call. None: yes.",
    "check": "With engine='numba': how equal compiled results must be to Python's. None: no check.",
}
