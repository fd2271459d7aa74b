"""Program that runs a Dask cluster on this machine until its standard input closes.

``python -m pdparallel.engines.dask_local 4 1 folder`` prints the address of its scheduler. It is a separate process,
so that neither Ctrl-C nor a script without a guard reaches it.
"""

from __future__ import annotations

import logging
import sys

import dask
import distributed

from pdparallel.worker.settings import THREAD_VARIABLES

__all__ = ["main"]


def main(n_workers: int, threads: int, folder: str) -> None:
    """Run a cluster until standard input closes; Dask writes its files to ``folder``."""
    dask.config.set({"distributed.nanny.pre-spawn-environ": dict.fromkeys(THREAD_VARIABLES, str(threads))})
    with distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0",
        worker_dashboard_address=None, local_directory=folder, silence_logs=logging.ERROR,
    ) as cluster:  # fmt: skip
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
