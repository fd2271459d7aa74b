"""Time line of a profile, with a lane for this process and for each worker. Only this module needs matplotlib."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pdparallel.execution.records import Record

__all__ = ["draw"]

#: Colour of each kind of work, in the order of the legend. People with colour blindness can distinguish them.
COLOURS = {"function": "#4477aa", "loading": "#aa3377", "transport": "#ee7733", "shaping": "#228833", "idle": "#e4e4e4"}

#: Height of a lane in inches, and height of a bar as a part of its lane.
LANE_INCHES, BAR = 0.45, 0.7

_Span = tuple[str, str, float, float]


def draw(records: Sequence[Record], names: Mapping[tuple[int, int], str], zero: float, ax: Any = None) -> Any:
    """Draw the time line of some calls, from the time ``zero`` on, and return the Axes."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "A profile needs matplotlib to draw: pip install matplotlib. p.calls and p.to_frame() work without it."
        ) from error
    spans = [span for record in records for span in _spans(record, names)]
    lanes = sorted({lane for lane, *_ in spans}, key=lambda lane: (lane != "parent", len(lane), lane))
    if ax is None:
        _, ax = pyplot.subplots(figsize=(10, 1.4 + LANE_INCHES * max(len(lanes), 1)), layout="constrained")
    bars: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for lane, kind, start, stop in spans:
        bars[lane, kind].append((start - zero, max(stop - start, 0.0)))
    # Idle first, because the other bars cover it.
    for kind in ("idle", "function", "loading", "transport", "shaping"):
        for number, lane in enumerate(lanes):
            if bars[lane, kind]:
                ax.broken_barh(bars[lane, kind], (number - BAR / 2, BAR), facecolors=COLOURS[kind], linewidth=0)
    _label(ax, records, lanes, zero)
    return ax


def _label(ax: Any, records: Sequence[Record], lanes: Sequence[str], zero: float) -> None:
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    ax.set_yticks(range(len(lanes)), [lane if lane == "parent" else f"worker {lane}" for lane in lanes])
    ax.set_ylim(max(len(lanes), 1) - 0.4, -0.6)  # the parent on top
    ax.set_xlabel("seconds from the beginning of the block")
    ax.legend(
        handles=[Patch(facecolor=colour, label=kind) for kind, colour in COLOURS.items()],
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(COLOURS), frameon=False, borderaxespad=0.0,
        # Above the names of the calls, for axes of any height.
        bbox_transform=ax.transAxes + ScaledTranslation(0, 16 / 72, ax.figure.dpi_scale_trans),
    )  # fmt: skip
    for number, record in enumerate(records, 1):
        ax.axvline(record.began - zero, color="0.4", linewidth=0.8, linestyle=":")
        ax.annotate(
            f"{number} {record.verb}", (record.began - zero, 1.0), xycoords=("data", "axes fraction"),
            xytext=(2, 2), textcoords="offset points", fontsize="small", va="bottom",
        )  # fmt: skip
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(left=False)


def _spans(record: Record, names: Mapping[tuple[int, int], str]) -> Iterator[_Span]:
    """Yield lane, kind, start and end of all work."""
    end = record.began + record.seconds
    pieces = list(record.pieces)
    if end == end:  # else it still runs
        lanes = {names[piece.pid, piece.thread] for piece in pieces if piece.pid}
        for lane in {"parent", *lanes}:
            yield lane, "idle", record.began, end
    for start, stop in record.packed:
        yield "parent", "transport", start, stop
    for start, stop in record.shaped:
        yield "parent", "shaping", start, stop
    for pid, thread, start, stop in record.loads:
        if (pid, thread) in names:  # else it had no chunk
            yield names[pid, thread], "loading", start, stop
    for piece in pieces:
        if not piece.pid:
            continue
        lane = names[piece.pid, piece.thread]
        yield lane, "function", piece.loaded, piece.called
        if not piece.here:
            yield "parent", "transport", piece.writing, piece.sent
            yield lane, "loading", piece.began, piece.ready
            yield lane, "transport", piece.ready, piece.loaded
            yield lane, "transport", piece.called, piece.written
            yield "parent", "transport", piece.received, piece.taken
