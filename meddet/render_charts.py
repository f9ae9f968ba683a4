"""Charts of numbers: precision and recall, and what each network costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from meddet.evaluate.pr import Curve, voc_area
from meddet.render import png

_INK, _FAINT, _GRID, _NEUTRAL = "#1d2733", "#66717d", "#dfe4ea", "#a7b2bf"
_COLOURS = ("#c2410c", "#0e7490", "#475569", "#7c3aed", "#15803d", "#b45309")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
_DPI = 120


@dataclass(frozen=True)
class Latency:
    """One bar: milliseconds at batch 1 in one engine, median and 95th percentile."""

    engine: str
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Contender:
    """One network of the benchmark."""

    name: str
    parameters: int
    gmac: float
    latencies: Sequence[Latency]
    """With all threads."""
    one_thread: Sequence[Latency]
    """In the same engines."""


def pr_png(curves: Mapping[str, Mapping[str, Curve]], *, title: str) -> bytes:
    """Draw precision against recall: one panel per class, one line per model.

    Args:
        curves: by class (a panel's heading) and model; the first model is drawn heavier.
        title: over all.
    """
    figure = Figure(figsize=(4.6 * len(curves), 4.9), dpi=_DPI, facecolor="white")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, (heading, by_model) in zip(panels, curves.items(), strict=True):
        for index, (name, curve) in enumerate(by_model.items()):
            area = voc_area(curve)
            text = f"{name}  undefined (n=0)" if curve.num_boxes == 0 else f"{name}  {area:.3f}"
            line = {"color": _COLOURS[index % 6], "linestyle": _STYLES[index % 6], "linewidth": 1.3 if index else 2.2}
            axes.plot(curve.recall, curve.precision, label=text, **line)
        _clean(axes)
        axes.set_title(heading, color=_INK, fontsize=10, loc="left")
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall")
        axes.legend(
            title="AP50 (VOC area)", fontsize=8, title_fontsize=8, loc="lower left", edgecolor="none", framealpha=0.8
        )
    panels[0].set_ylabel("precision")
    figure.suptitle(title, color=_INK, fontsize=10, x=0.01, ha="left")
    figure.tight_layout()
    return png(figure)


def benchmark_png(contenders: Sequence[Contender], *, title: str, headings: tuple[str, str], notes: str) -> bytes:
    """Draw latency by engine, with all threads and with one, parameters and operations; networks from top to bottom.

    Args:
        contenders: in the same engines.
        title: over all.
        headings: of the panels of all threads and of one.
        notes: lines below.
    """
    num_engines = len(contenders[0].latencies)
    figure = Figure(figsize=(13.5, (0.3 + 0.2 * num_engines) * len(contenders) + 1.9), dpi=_DPI, facecolor="white")
    every, one, parameters, operations = figure.subplots(1, 4, width_ratios=[2, 2, 0.9, 0.9], sharey=True)
    for row, contender in enumerate(contenders):
        _bars(every, row, contender.latencies)
        _bars(one, row, contender.one_thread)
        parameters.barh(row, contender.parameters / 1e6, 0.5, color=_NEUTRAL)
        _value(parameters, contender.parameters / 1e6, float(row), f"{contender.parameters / 1e6:.1f} M")
        operations.barh(row, contender.gmac, 0.5, color=_NEUTRAL)
        _value(operations, contender.gmac, float(row), f"{contender.gmac:.2f}")
    every.set_yticks(range(len(contenders)), [contender.name for contender in contenders], fontsize=9)
    every.invert_yaxis()
    for axes, heading in zip(
        (every, one, parameters, operations), (*headings, "parameters", "GMAC of the view"), strict=True
    ):
        _clean(axes)
        axes.grid(visible=False, axis="y")
        axes.set_title(heading, color=_INK, fontsize=9, loc="left")
        axes.set_xlim(0, axes.get_xlim()[1] * 1.2)
        axes.tick_params(axis="y", length=0)
    figure.legend(*every.get_legend_handles_labels(), loc="upper right", ncols=num_engines, fontsize=9, frameon=False)
    figure.suptitle(title, color=_INK, fontsize=10, x=0.01, ha="left")
    figure.text(0.01, 0.02, notes, color=_FAINT, fontsize=7.5)
    figure.tight_layout(rect=(0, 0.45 / figure.get_figheight(), 1, 0.98))
    return png(figure)


def _bars(axes: Axes, row: int, latencies: Sequence[Latency]) -> None:
    """Draw one network's latencies, an engine's bar below another's."""
    thickness = 0.8 / len(latencies)
    for index, latency in enumerate(latencies):
        y = row + (index - (len(latencies) - 1) / 2) * thickness
        label = latency.engine if row == 0 else None
        axes.barh(y, latency.p50_ms, thickness * 0.9, color=_COLOURS[index], label=label)
        axes.plot([latency.p50_ms, latency.p95_ms], [y, y], color=_INK, linewidth=1)
        _value(axes, latency.p95_ms, y, f"{latency.p50_ms:.1f}")


def _clean(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GRID)


def _value(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=_INK)
