"""Accuracy against latency, in the manner of the paper's figure 1, beside the paper's own points."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from meddet.pages.charts_bubbles import Bubble
from meddet.render import png

_INK, _FAINT, _GRID = "#1d2733", "#66717d", "#dfe4ea"
_COLOURS = ("#b83a08", "#0f7285", "#3f4d5c", "#7c3aed", "#15803d", "#8a6d1a")
_DPI = 120
_AREA_POINTS = 900


def pareto_png(measured: Sequence[Bubble], paper: Sequence[Bubble], *, engine: str, notes: str) -> bytes:
    """Draw both panels.

    Args:
        measured: median latency in ms and AP50 of any class.
        paper: frames per second and mAP in per cent, as the paper states them.
        engine: that the latencies were measured in.
        notes: below.
    """
    figure = Figure(figsize=(10.5, 5), dpi=_DPI, facecolor="white")
    ours, theirs = figure.subplots(1, 2, width_ratios=[1.5, 1])
    _draw(ours, measured, f"Measured here, {engine}")
    ours.set(xlabel="median latency, ms", ylabel="AP50, any class")
    ours.set_xlim(0, max((each.x for each in measured), default=1.0) * 1.25)
    _draw(theirs, paper, "The paper's own points, not measured here")
    theirs.set(xlabel="frames per second", ylabel="mAP, %", xlim=(0, 24), ylim=(85.2, 86.5))
    figure.text(0.01, 0.02, notes, color=_FAINT, fontsize=7.5)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return png(figure)


def _draw(axes: Axes, bubbles: Sequence[Bubble], heading: str) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelsize=8)
    axes.set_title(heading, color=_INK, fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GRID)
    for each in bubbles:
        colour = _COLOURS[each.series % len(_COLOURS)]
        if each.ends:
            axes.plot([each.x, each.x], each.ends, color=colour, linewidth=1.5)
        face = "none" if each.hollow else colour
        axes.scatter(each.x, each.y, s=each.area * _AREA_POINTS, facecolor=face, alpha=0.45)
        axes.scatter(each.x, each.y, s=each.area * _AREA_POINTS, facecolor="none", edgecolor=colour, linewidth=1.3)
        reach = 4 + (each.area * _AREA_POINTS / 3.14) ** 0.5
        axes.annotate(
            each.name,
            (each.x, each.y),
            xytext=(reach * 0.75, reach * 0.75),
            textcoords="offset points",
            va="bottom",
            fontsize=8.5,
            color=_INK,
        )
