"""Words of other packages and of pandas, and the name that pdparallel has for each."""

from __future__ import annotations

from typing import get_args

from pdparallel.typing import EngineName, OptionsDict

__all__ = [
    "COUNTS_OF_CHUNKS",
    "EFFECTS",
    "ENGINE_NAMES",
    "ENGINE_OF",
    "ENGINE_WORDS",
    "FRAME_METHODS",
    "GROUP_METHODS",
    "GUARDED",
    "OPTIONS",
    "OPTION_OF",
    "OPTION_WORDS",
    "PACKAGE_WORDS",
    "PREFIXES",
    "SERIES_METHODS",
    "VALUE_WORDS",
    "WRITTEN",
]

#: Names of all options that a call can take.
OPTIONS = frozenset(OptionsDict.__optional_keys__)

#: Names of all engines.
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)

#: Names of our options in other packages.
OPTION_WORDS: dict[str, tuple[str, ...]] = {
    "engine": ("backend", "client", "cluster", "executor", "parallel_backend", "pool", "scheduler"),
    "n_workers": (
        "cores", "cpu_count", "cpus", "jobs", "max_workers", "n_core", "n_cores", "n_cpu", "n_cpus", "n_jobs", "n_proc",
        "n_processes", "n_procs", "nb_workers", "ncores", "ncpu", "ncpus", "njobs", "nodes", "nproc", "nprocs",
        "num_cores", "num_cpus", "num_processes", "num_workers", "nworkers", "processes", "workers",
    ),
    "chunk_size": (
        "batch_size", "batchsize", "chunk_len", "chunklen", "chunks", "chunksize", "max_chunks_per_worker",
        "n_chunks", "n_splits", "num_chunks", "rows_per_chunk", "split_factor",
    ),
    "max_concurrency": (
        "concurrency", "concurrency_limit", "concurrent", "limit_concurrency", "max_concurrent", "max_in_flight",
        "max_parallel", "n_concurrent", "num_concurrent", "semaphore",
    ),
    "start_method": ("context", "mp_context", "mp_start_method", "multiprocessing_context"),
    "progress": (
        "bar", "disable_pr_bar", "disable_progress", "pbar", "progress_bar", "progressbar", "show_bar",
        "show_progress", "show_progress_bar", "tqdm", "use_tqdm", "verbose",
    ),
    "errors": ("error", "handle_errors", "ignore_errors", "on_error", "raise_errors", "return_exceptions"),
    "retries": ("attempts", "max_attempts", "max_retries", "n_retries", "num_retries", "retry", "tries"),
    "retry_on": (
        "retry_exceptions", "retry_for", "retry_if", "retry_on_exception", "retry_on_exceptions", "retryable",
        "retryable_exceptions",
    ),
    "retry_wait": ("backoff", "backoff_factor", "delay", "retry_backoff", "retry_delay", "sleep", "wait"),
    "rate_limit": (
        "calls_per_second", "max_rate", "qps", "rate", "ratelimit", "requests_per_second", "rps", "throttle",
    ),
    "timeout": ("call_timeout", "max_seconds", "max_time", "task_timeout", "time_limit", "time_out"),
    "threads_per_worker": ("inner_max_num_threads", "nthreads"),
    "serializer": ("pickler", "serialization", "use_cloudpickle", "use_dill"),
    "checkpoint": ("cache", "cache_dir", "cachedir", "checkpoint_dir", "checkpoint_path", "resume"),
    "seed": ("random_seed", "random_state", "rng"),
    "initializer": ("init", "init_func", "worker_init"),
    "initargs": ("init_args", "initializer_args"),
    "capture_output": ("capture", "redirect_output"),
    "check": ("atol", "rtol", "tolerance", "verify"),
    "columns": ("cols", "column", "subset", "usecols"),
}  # fmt: skip


OPTION_OF: dict[str, tuple[str, ...]] = {
    **{word: (option,) for option, words in OPTION_WORDS.items() for word in words},
    "n_threads": ("n_workers", "threads_per_worker"),
    "npartitions": ("n_workers", "chunk_size"),
    "num_threads": ("n_workers", "threads_per_worker"),
    "threads": ("n_workers", "threads_per_worker"),
}

#: Names that count chunks, unlike our ``chunk_size``.
COUNTS_OF_CHUNKS = frozenset(
    ("chunks", "max_chunks_per_worker", "n_chunks", "n_splits", "npartitions", "num_chunks", "split_factor")
)

#: Keyword arguments that few functions have, so that they are probably for our method.
GUARDED = (
    OPTIONS
    | {word for option in ("n_workers", "chunk_size", "progress") for word in OPTION_WORDS[option]}
    | {"axis", "columns", "npartitions"}
)

#: Names of our engines in other packages.
ENGINE_WORDS: dict[str, tuple[str, ...]] = {
    "process": (
        "concurrent.futures", "fork", "forkserver", "joblib", "loky", "mapply", "mp", "mpire", "multiprocess",
        "multiprocessing", "pandarallel", "parallel", "pool", "processpool", "processpoolexecutor", "spawn",
    ),
    "thread": ("multithread", "multithreading", "threading", "threadpool", "threadpoolexecutor"),
    "serial": ("none", "pandas", "sequential", "single", "single-threaded", "sync", "synchronous"),
    "asyncio": (
        "aio", "aiometer", "aiopandas", "anyio", "async", "coroutine", "coroutines", "event_loop", "eventloop",
        "gather", "loop", "trio", "uvloop",
    ),
    "numba": ("bodo", "compiled", "cython", "jit", "llvm", "njit", "numexpr", "pythran"),
    "dask": ("distributed", "swifter"),
}  # fmt: skip


ENGINE_OF = {word: engine for engine, words in ENGINE_WORDS.items() for word in words}

#: Values of our options in other packages, with our value for each.
VALUE_WORDS: dict[str, dict[str, str]] = {
    "errors": {
        **dict.fromkeys(("continue", "ignore", "nan", "none", "null", "skip", "suppress", "warn"), "coerce"),
        **dict.fromkeys(("collect", "keep", "object", "store"), "return"),
        **dict.fromkeys(("fail", "strict", "stop"), "raise"),
    },
    "combine": dict.fromkeys(("concatenate", "join", "stack", "vstack"), "concat"),
    "na_action": dict.fromkeys(("drop", "keep", "omit", "skip"), "ignore"),
    "result_type": dict.fromkeys(("columns", "dataframe", "frame"), "expand"),
    "rows": {
        "itertuples": "namedtuple",
        "list": "tuple",
        "named_tuple": "namedtuple",
        **dict.fromkeys(("ndarray", "numpy", "np", "raw"), "array"),
        **dict.fromkeys(("pandas", "row"), "series"),
    },
    "serializer": dict.fromkeys(("marshal", "pickle", "pickle5"), "dill"),
    "start_method": {"fork_server": "forkserver"},
}


EFFECTS = {
    ("errors", "coerce"): " It leaves a missing value for each failed call.",
    ("errors", "return"): " It leaves the exception of each failed call.",
}

#: Prefixes of methods in other packages.
PREFIXES = ("parallel_", "progress_", "par_", "swift_", "p_")

#: Calls of our methods that take no function.
WRITTEN = {
    "background": "background", "expanding": "expanding()", "groupby": "groupby(by)", "resample": "resample(rule)",
    "rolling": "rolling(window)",
}  # fmt: skip

#: Methods of other packages, with our method for each: of frames, Series and groups.
FRAME_METHODS: dict[str, str] = {
    **dict.fromkeys(("apply_axis1", "apply_row", "apply_rowwise", "iterrows", "itertuples", "map_rows", "row_apply",
                     "rowwise", "rows_apply"), "apply_rows(func)"),
    **dict.fromkeys(("apply_col", "apply_column", "apply_columns", "column_apply", "map_columns"), "apply_cols(func)"),
    **dict.fromkeys(("applymap", "apply_map", "elementwise", "map_elements"), "map(func)"),
    **dict.fromkeys(("apply_batch", "apply_batches", "apply_chunk", "apply_partitions", "chunk_apply", "map_batches",
                     "map_blocks", "map_chunks", "map_partitions", "map_in_pandas", "mapInPandas", "pipe"),
                    "apply_chunks(func)"),
    **dict.fromkeys(("chunks", "imap_chunks", "iter_batches", "iter_rows"), "iter_chunks(func)"),
    **dict.fromkeys(("apply_async", "apply_background", "async_apply", "submit"), "background.apply_rows(func)"),
    **dict.fromkeys(("apply_parallel", "apply_p", "mapply", "papply", "swifter"), "apply(func, axis=1)"),
    **dict.fromkeys(("pmap", "starmap"), "map(func)"),
    "apply": "apply(func, axis=1)",
    "group_by": "groupby(by)",
}  # fmt: skip


SERIES_METHODS: dict[str, str] = {
    **FRAME_METHODS,
    **{word: "map(func)" for word, verb in FRAME_METHODS.items() if verb.startswith(("apply_rows", "apply_cols"))},
    **dict.fromkeys(("apply_async", "apply_background", "async_apply", "submit"), "background.map(func)"),
    **dict.fromkeys(("apply_cols", "apply_rows"), "map(func)"),
    **dict.fromkeys(("apply", "apply_parallel", "apply_p", "mapply", "papply", "swifter"), "apply(func)"),
}


GROUP_METHODS: dict[str, str] = {
    **dict.fromkeys(("apply_chunks", "apply_cols", "apply_groups", "apply_rows", "applyInPandas", "map", "map_groups",
                     "map_partitions", "applymap"), "apply(func)"),
    "apply": "apply(func)",
}  # fmt: skip

#: Other names of other packages, with the text that says what to do here.
PACKAGE_WORDS: dict[str, str] = {
    **dict.fromkeys(("ParallelPandas", "init", "initialize", "pandarallel"),
                    "There is nothing to initialize. Call df.par.apply_rows(func). "
                    "For options: pdparallel.set_options(n_workers=4)."),
    **dict.fromkeys(("Parallel", "Pool", "ProcessPool", "ThreadPool", "delayed"),
                    "Workers start by themselves. Call df.par.apply_rows(func) or pdparallel.map(func, items)."),
    **dict.fromkeys(("imap_unordered", "uimap"), "Did you mean pdparallel.imap(func, items, ordered=False)?"),
    **dict.fromkeys(("option", "set_npartitions"), "Did you mean pdparallel.set_options(n_workers=4)?"),
    "starmap": "Did you mean pdparallel.map(func, firsts, seconds)?",
}  # fmt: skip
