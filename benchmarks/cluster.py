"""What a chunk costs on a cluster, and what travels there: it decides ``INLINE_BYTES`` of ``pdparallel.engines.dask``.

Three tables: the seconds that a chunk with next to nothing to do adds to a call, by engine; the same for chunks of
several sizes that go with their task, by Dask's scheduler, or straight to a worker; and the bytes that are sent for
frames of several sizes, beside what the loopback interface of this machine counted meanwhile.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import psutil

import pdparallel
from benchmarks.measure import seconds, table, write

WORKERS = 2
ROUNDS = 5
CHUNKS = 200
INLINE_SIZES = (1 << 10, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 24)
FRAME_SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


@contextlib.contextmanager
def dask_cluster() -> Iterator[Any]:
    """A scheduler and two worker processes on this machine."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", silence_logs=40
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def ray_here() -> Iterator[Any]:
    """Ray with two cores of this machine."""
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        yield "ray"
    finally:
        ray.shutdown()


@contextlib.contextmanager
def loky_here() -> Iterator[Any]:
    """Loky's reusable executor."""
    from loky import get_reusable_executor

    executor = get_reusable_executor(WORKERS)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True)


ENGINES: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "process": lambda: contextlib.nullcontext("process"),
    "loky": loky_here,
    "Dask": dask_cluster,
    "Ray": ray_here,
}


def per_chunk(engine: Any, chunks: int) -> float:
    """Seconds that a chunk adds to a call, whose function does nothing, upon one value."""
    par = pd.Series(range(chunks)).par(engine=engine, n_workers=WORKERS, chunk_size=1)
    par.map(str)
    return statistics.median(seconds(lambda: par.map(str))[0] for _ in range(ROUNDS)) / chunks


def bare(client: Any, tasks: int) -> float:
    """Seconds that Dask itself takes for a task that does nothing, of many that are there at once."""

    def round_trip() -> None:
        client.gather(client.map(str, range(tasks), pure=False))

    round_trip()
    return statistics.median(seconds(round_trip)[0] for _ in range(ROUNDS)) / tasks


def by_size(client: Any, size: int, inline: bool) -> float:
    """Seconds a chunk of so many bytes, which goes with its task or by itself."""
    from pdparallel.engines import dask

    chunks = min(32, max(4, (1 << 26) // size))
    data = pd.DataFrame({"x": np.zeros(chunks * size // 8)})
    par = data.par(engine=client, chunk_size=size // 8)
    before, dask.INLINE_BYTES = dask.INLINE_BYTES, 1 << 60 if inline else 0
    try:
        par.apply_chunks(len)
        return statistics.median(seconds(lambda: par.apply_chunks(len))[0] for _ in range(ROUNDS)) / chunks
    finally:
        dask.INLINE_BYTES = before


def sent(engine: Any, size: int) -> dict[str, float]:
    """What travels for a frame of so many bytes, in 50 chunks."""
    frame = pd.DataFrame(np.zeros((size // 32, 4)), columns=list("abcd"))
    lookup = np.zeros(125_000)  # a function that carries a megabyte along
    par = frame.par(engine=engine, chunk_size=-(-len(frame) // 50))
    before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
    with pdparallel.profile() as found:
        took, _ = seconds(lambda: par.apply_chunks(lambda chunk: chunk["a"].sum() + lookup[0]))
    network = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
    call = found.calls.iloc[0]
    return {
        "frame": frame.memory_usage(index=False).sum() / 1e6,
        "function": call["bytes_once"] / 1e6,
        "chunks": call["bytes_out"] / 1e6,
        "network": network / 1e6,
        "seconds": took,
    }


def main(quick: bool = False) -> dict[str, list[dict[str, Any]]]:
    chunks = 20 if quick else CHUNKS
    overhead: list[dict[str, Any]] = []
    inline: list[dict[str, Any]] = []
    traffic: list[dict[str, Any]] = []
    for name, make in ENGINES.items():
        with make() as engine:
            overhead.append({"engine": name, "seconds": per_chunk(engine, chunks)})
            if name == "Dask":
                overhead.append({"engine": "Dask's own client.map", "seconds": bare(engine, chunks * 25)})
                for size in INLINE_SIZES[:2] if quick else INLINE_SIZES:
                    row = {"bytes": size, "with_its_task": by_size(engine, size, True)}
                    inline.append({**row, "by_itself": by_size(engine, size, False)})
            if name in ("Dask", "Ray"):
                traffic += [{"engine": name, **sent(engine, size)} for size in FRAME_SIZES[: 1 if quick else None]]
        pdparallel.shutdown()
    kinds = ("frame", "function", "chunks", "network", "seconds")
    tables = [
        table("engine | ms that a chunk adds", "lr", ([row["engine"], _ms(row["seconds"])] for row in overhead)),
        table(
            "bytes of a chunk | ms with its task | ms by itself", "rrr",
            ([f"{row['bytes']:,}", _ms(row["with_its_task"]), _ms(row["by_itself"])] for row in inline),
        ),
        table(
            "engine | frame, MB | function, MB | chunks, MB | loopback counted, MB | seconds", "lrrrrr",
            ([row["engine"], *(f"{row[kind]:,.2f}" for kind in kinds)] for row in traffic),
        ),
    ]  # fmt: skip
    text = "\n\n".join(tables)
    write("cluster", overhead, text, quick, inline=inline, traffic=traffic)
    return {"overhead": overhead, "inline": inline, "traffic": traffic}


def _ms(value: float) -> str:
    return f"{value * 1e3:.2f}"


if __name__ == "__main__":
    main()
