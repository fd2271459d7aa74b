"""Plots: the figures as pictures, where matplotlib is installed (extra ``bench``).

Colours are those of Okabe and Ito, which colour-blind readers tell apart; lines have markers of their own as well.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"

#: A look for each way of doing a work, the same in all pictures.
LOOKS: dict[str, tuple[str, str]] = {
    "pandas": ("#000000", "s"),
    "pdparallel": (BLUE, "o"),
    "multiprocessing.Pool": (ORANGE, "^"),
    "pathos": ("#009E73", "v"),
    "joblib": ("#CC79A7", "D"),
    "dask": ("#E69F00", "P"),
    "pandarallel": (ORANGE, "^"),
    "mapply": ("#009E73", "v"),
    "parallel-pandas": ("#CC79A7", "D"),
    "swifter": ("#E69F00", "P"),
}

Lines = Mapping[str, Sequence[tuple[float, float]]]


def _pyplot() -> Any:
    if importlib.util.find_spec("matplotlib") is None:
        print("no picture without matplotlib: pip install 'pdparallel[bench]'", file=sys.stderr)
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 120})
    return pyplot


def _ratio_axis(axis: Any, least: float, most: float) -> None:
    """A scale of factors: twice as quick is as far from 1 as half as quick."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    step = 1 if most / least < 500 else 2  # no more labels than there is room for
    ticks = [2.0**power for power in range(-12, 13, step) if least * 0.7 <= 2.0**power <= most * 1.4]
    axis.set_major_locator(_fixed(ticks))
    axis.set_major_formatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
    axis.set_minor_locator(_fixed([]))


def _fixed(ticks: Sequence[float]) -> Any:
    from matplotlib.ticker import FixedLocator

    return FixedLocator(ticks)


def _save(pyplot: Any, figure: Any, path: Path) -> None:
    figure.savefig(path)
    pyplot.close(figure)


def bars(path: Path, title: str, rows: Sequence[tuple[str, float, float, float]]) -> None:
    """A bar for each work: (label, speed-up, to reach, limit)."""
    pyplot = _pyplot()
    if pyplot is None:
        return
    from matplotlib.patches import Patch

    figure, axes = pyplot.subplots(figsize=(10, 0.4 * len(rows) + 1.6), layout="constrained")
    places = range(len(rows))
    colours = [BLUE if row[1] >= row[2] else ORANGE for row in rows]
    axes.barh(places, [row[1] - 1 for row in rows], left=1, color=colours, height=0.62)
    axes.scatter([row[2] for row in rows], places, marker="|", s=260, color="black", linewidths=2.2, zorder=3)
    axes.scatter([row[3] for row in rows], places, marker="d", s=34, facecolor="white", edgecolor=GREY, zorder=3)
    for place, row in enumerate(rows):
        axes.annotate(f"{row[1]:.2f}", (1.01, place), xycoords=("axes fraction", "data"), va="center")
    axes.axvline(1, color="black", linewidth=0.8)
    numbers = [number for row in rows for number in row[1:]] + [1.0]
    _ratio_axis(axes.xaxis, min(numbers), max(numbers))
    axes.set_xlim(min(numbers) * 0.85, max(numbers) * 1.2)
    axes.set_yticks(list(places), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set(xlabel="speed-up over plain pandas", title=title)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    mark = functools.partial(pyplot.Line2D, [], [], linestyle="")
    marks = [
        Patch(color=BLUE, label="reached"),
        Patch(color=ORANGE, label="not reached"),
        mark(color="black", marker="|", markersize=13, markeredgewidth=2.2, label="to reach"),
        mark(color=GREY, marker="d", markerfacecolor="white", label="limit: the bare function, shared by the workers"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    _save(pyplot, figure, path)


def dots(path: Path, title: str, panels: Mapping[str, Sequence[tuple[str, Mapping[str, float], str]]]) -> None:
    """A panel for each pandas, in it a line for each work, on that a dot for each way: (label, speed-ups, note)."""
    pyplot = _pyplot()
    if pyplot is None:
        return
    height = 0.5 * max(len(works) for works in panels.values()) + 2.2
    figure, all_axes = pyplot.subplots(1, len(panels), figsize=(11, height), squeeze=False, layout="constrained")
    for number, (axes, (name, works)) in enumerate(zip(all_axes[0], panels.items(), strict=True)):
        numbers = [value for _, values, _ in works for value in values.values()] + [1.0]
        for way in dict.fromkeys(way for _, values, _ in works for way in values):
            colour, marker = LOOKS[way]
            there = [(values[way], place) for place, (_, values, _) in enumerate(works) if way in values]
            size, order = (110, 3) if way == "pdparallel" else (46, 4)
            axes.scatter(*zip(*there, strict=True), color=colour, marker=marker, s=size, label=way, zorder=order)
        for place, (_, _, note) in enumerate(works):
            axes.annotate(note, (0.01, place + 0.3), xycoords=("axes fraction", "data"), fontsize=7, color=GREY)
        axes.axvline(1, color="black", linewidth=0.8)
        _ratio_axis(axes.xaxis, min(numbers), max(numbers))
        axes.set_yticks(range(len(works)), [label for label, _, _ in works] if number == 0 else [])
        axes.set_ylim(len(works) - 0.5, -0.5)
        axes.set(xlabel="speed-up over plain pandas in the same process", title=name)
        axes.grid(color="#dddddd", linewidth=0.6)
        for place in range(len(works)):
            axes.axhline(place, color="#dddddd", linewidth=0.6, zorder=0)
        axes.set_axisbelow(True)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=9)
    figure.suptitle(title)
    _save(pyplot, figure, path)


def lines(path: Path, title: str, x: str, y: str, found: Lines, ratios: bool = False) -> None:
    """A line for each way, both scales logarithmic; ``ratios`` where y is a speed-up."""
    pyplot = _pyplot()
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    styles = [(BLUE, "o"), (ORANGE, "^"), ("#009E73", "v")]
    for number, (way, values) in enumerate(found.items()):
        colour, marker = LOOKS.get(way, styles[number % len(styles)])
        width, order = (2.4, 4) if way == "pdparallel" else (1.4, 3)
        axes.plot(
            *zip(*values, strict=True),
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=width,
            label=way,
            zorder=order,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.7g}")
    if ratios:
        numbers = [number for values in found.values() for _, number in values] + [1.0]
        _ratio_axis(axes.yaxis, min(numbers), max(numbers))
        axes.axhline(1, color="black", linewidth=0.8)
    else:
        axes.set_yscale("log")
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(found) > 1:
        figure.legend(loc="outside right upper", frameon=False)
    _save(pyplot, figure, path)
