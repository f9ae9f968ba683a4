"""The newest studies beside the reference, feature by feature."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from meddet.drift.features import FEATURES, Values
from meddet.drift.monitor import Comparison
from meddet.drift.reference import Reference
from meddet.render import png

_INK, _FAINT, _USUAL, _NEWEST, _DRIFTED = "#1d2733", "#66717d", "#c8d0d9", "#0e7490", "#c2410c"
_COLUMNS = 6
_BINS = 16
_DPI = 100


def drift_png(
    reference: Reference, rows: Sequence[Values], comparisons: Sequence[Comparison], *, standing: bool, notice: str
) -> bytes:
    """Draw the distribution of each feature: the reference filled, the newest studies as a line, drifted ones red."""
    lines = -(-len(FEATURES) // _COLUMNS)
    figure = Figure(figsize=(2.5 * _COLUMNS, 2.1 * lines + 0.8), dpi=_DPI, facecolor="white")
    panels = figure.subplots(lines, _COLUMNS).ravel()
    recent = rows[-reference.rule.window :]
    for axes, each in zip(panels, comparisons, strict=False):
        newest = [value for row in recent if (value := row.get(each.name)) is not None]
        _panel(axes, each, reference.features[each.name].quantiles, newest)
    for axes in panels[len(comparisons) :]:
        axes.set_axis_off()
    verdict = "DRIFT" if standing else "no drift"
    heading = f"{verdict}: the newest {len(recent)} of {len(rows)} studies (line) and the reference (filled).\n{notice}"
    figure.suptitle(heading, color=_DRIFTED if standing else _INK, fontsize=10, x=0.01, ha="left")
    figure.tight_layout()
    return png(figure)


def _panel(axes: Axes, each: Comparison, usual: Sequence[float], newest: Sequence[float]) -> None:
    feature = FEATURES[each.name]
    shown = [*usual, *newest]
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    colour = _DRIFTED if each.drifted else _NEWEST
    for values, style in (
        (usual, {"color": _USUAL}),
        (newest, {"color": colour, "histtype": "step", "linewidth": 1.8}),
    ):
        if len(values):
            axes.hist(values, bins=edges.tolist(), weights=np.full(len(values), 1 / len(values)), **style)
    tests = each.note or f"PSI {each.psi:.2f}, p {each.p_value:.2g}"
    axes.set_title(f"{feature.title}\n{tests}", fontsize=8, loc="left", color=colour if each.drifted else _INK)
    axes.set_xlabel(feature.unit, fontsize=7, color=_FAINT)
    axes.set_yticks([])
    axes.tick_params(labelsize=7, colors=_FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
