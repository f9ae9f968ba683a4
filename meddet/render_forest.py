"""Forest plots: differences of two models with their intervals, one row each, beside the line of no difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from meddet.render import png

_INK, _FAINT, _GRID = "#1d2733", "#66717d", "#dfe4ea"
_DPI = 120

State = Literal["better", "worse", "open", "failed", "reported"]
_LOOKS: dict[State, tuple[str, str, str]] = {
    "better": ("#0e7490", "o", "better: the whole interval"),
    "worse": ("#c2410c", "s", "worse: the whole interval"),
    "open": ("#475569", "D", "not told apart"),
    "failed": ("#b91c1c", "X", "beyond the tolerance"),
    "reported": ("#a7b2bf", "o", "reported, not judged"),
}


@dataclass(frozen=True)
class Row:
    """A difference and its interval; None where nothing was counted."""

    label: str
    difference: float | None
    low: float | None
    high: float | None
    limit: float | None
    """Where a loss becomes too large; None: not judged."""
    state: State


@dataclass(frozen=True)
class Panel:
    """Rows with one horizontal axis."""

    heading: str
    rows: Sequence[Row]


def forest_png(panels: Sequence[Panel], *, title: str, notes: str) -> bytes:
    """Draw the panels beside each other; row labels that a panel shares with the one before are left out."""
    most = max(len(panel.rows) for panel in panels)
    figure = Figure(figsize=(2.4 + 3.1 * len(panels), 0.34 * most + 2.1), dpi=_DPI, facecolor="white")
    for index, (axes, panel) in enumerate(zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)):
        _draw(axes, panel)
        labels = [row.label for row in panel.rows]
        if index and labels == [row.label for row in panels[index - 1].rows]:
            axes.set_yticks(range(len(labels)), [""] * len(labels))
        axes.set_ylim(most - 0.5, -0.7)
    states = {row.state for panel in panels for row in panel.rows if row.difference is not None}
    handles = [
        figure.axes[0].plot([], [], look[1], color=look[0], label=look[2], linestyle="none", markersize=6)[0]
        for state, look in _LOOKS.items()
        if state in states
    ]
    if any(row.limit is not None for panel in panels for row in panel.rows):
        (limit,) = figure.axes[0].plot([], [], "|", color=_INK, markersize=9, linestyle="none", label="tolerance")
        handles.append(limit)
    bottom = 0.75 / figure.get_figheight()
    figure.legend(
        handles=handles, loc="lower left", ncols=6, fontsize=8, frameon=False, bbox_to_anchor=(0, bottom / 2.6)
    )
    figure.suptitle(title, color=_INK, fontsize=10, x=0.01, ha="left")
    figure.text(0.01, 0.1 / figure.get_figheight(), notes, color=_FAINT, fontsize=7.5)
    figure.tight_layout(rect=(0, bottom, 1, 0.98))
    return png(figure)


def _draw(axes: Axes, panel: Panel) -> None:
    for y, row in enumerate(panel.rows):
        if row.difference is None:
            axes.annotate("undefined", (0, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7.5)
            continue
        colour, marker, _ = _LOOKS[row.state]
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot(row.difference, y, marker, color=colour, markersize=6)
        if row.limit is not None:
            axes.plot(row.limit, y, "|", color=_INK, markersize=9)
    axes.axvline(0, color=_FAINT, linewidth=1)
    axes.set_yticks(range(len(panel.rows)), [row.label for row in panel.rows], fontsize=8)
    axes.set_title(panel.heading, color=_INK, fontsize=9, loc="left")
    axes.grid(color=_GRID, linewidth=0.8, axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", colors=_FAINT, labelsize=8)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    widest = max(abs(side) for side in axes.get_xlim())
    axes.set_xlim(-widest, widest)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
