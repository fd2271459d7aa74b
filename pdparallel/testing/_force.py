"""Force where calls run and when that is decided: the one seam for the tests of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdparallel.execution import group_driver, placement, runner, waiting
from pdparallel.worker.waiting import WaitClock

__all__ = ["force"]


def force(
    patch: Callable[[Any, str, Any], Any],
    *,
    engine: Any = None,
    warm: bool | None = None,
    seconds_saved: float | None = None,
    unpooled_seconds: float | None = None,
    groups_tried: int | None = None,
    restart_pays: bool | None = None,
    waiting_share: float | None = None,
    hint_seconds: float | None = None,
    **thresholds: float,
) -> None:
    """Patch the decision where calls run; ``patch`` is ``monkeypatch.setattr`` or works like it.

    ``waiting_share`` is the part of its time that each function waits in this process. A hint on that follows calls
    of more than ``hint_seconds``. ``thresholds`` are the constants of :mod:`pdparallel.execution.placement`, in lower
    case: ``look_seconds=-1.0``.
    """
    for name, value in thresholds.items():
        assert name.upper() in vars(placement), f"placement has no threshold {name.upper()}"
        patch(placement, name.upper(), value)
    if engine is not None:
        patch(runner, "open_engine", engine if callable(engine) else lambda options: engine)
    if warm is not None:
        for module in (runner, group_driver):
            patch(module, "is_warm", lambda options: warm)
    if seconds_saved is not None:
        patch(placement.PoolDecision, "_saved_by_workers", lambda *args: seconds_saved)
    if unpooled_seconds is not None:
        patch(placement, "_unpooled_seconds", unpooled_seconds)
    if groups_tried is not None:
        patch(group_driver, "LOOK_AFTER", groups_tried)
    if restart_pays is not None:
        patch(placement, "restart_pays", lambda *args: restart_pays)
    if waiting_share is not None:
        patch(WaitClock, "waited", lambda self, seconds: waiting_share * seconds)
    if hint_seconds is not None:
        patch(waiting, "HINT_SECONDS", hint_seconds)
