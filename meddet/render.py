"""Drawings on images: overlays of predictions, and galleries beside the ground truth. Nothing is shown on a screen."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from meddet.classes import CLASSES
from meddet.structures import Detections, Region, Target

PAPER, INK, FAINT = "#101418", "#e8edf2", "#8b97a3"
_COLOURS = ("#ff9f1c", "#56cfe1")
_STYLES: tuple[Any, Any] = ("-", (0, (4, 2)))
_OUTLINE = [withStroke(linewidth=2, foreground="black")]
_DPI = 120


@dataclass(frozen=True)
class Panel:
    """One image of a gallery: what is annotated on it and what was called there."""

    pixels: Float[np.ndarray, "h w"]
    region: Region
    target: Target
    called: Detections
    caption: str


def overlay_png(
    pixels: Float[np.ndarray, "h w"],
    detections: Detections,
    region: Region,
    *,
    texts: Sequence[str],
    title: str,
    notice: str,
) -> bytes:
    """Draw the whole image with the region that was looked at, and beside it the region enlarged, with the boxes.

    Args:
        pixels: upright, in [0, 1].
        detections: to be drawn.
        region: that was looked at.
        texts: what stands beside each box.
        title: over the picture.
        notice: below it.
    """
    height, width = pixels.shape
    panel_height = 7.0
    widths = [panel_height * min(width / height, 1.0), panel_height * region.width / region.height]
    figure = Figure(figsize=(sum(widths) + 0.5, panel_height + 1.0), dpi=_DPI, facecolor=PAPER)
    whole, near = figure.subplots(1, 2, width_ratios=widths)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.09, top=0.93, wspace=0.02)
    _show(whole, pixels, white=_white(pixels, region))
    whole.add_patch(_rectangle(region.x1, region.y1, region.x2, region.y2, colour=FAINT, style=":", width=1.2))
    _zoom(near, pixels, region)
    _draw_detections(near, detections, texts)
    if len(detections.boxes) == 0:
        near.set_title("no box above the threshold", color=FAINT, fontsize=9, y=0.01)
    figure.suptitle(title, color=INK, fontsize=11, x=0.01, ha="left")
    figure.text(0.01, 0.015, notice, color=FAINT, fontsize=8)
    _class_legend(figure)
    return png(figure)


def gallery_png(rows: Sequence[tuple[str, Sequence[Panel]]], *, title: str) -> bytes:
    """Draw rows of images, each as a pair: annotated on the left, called on the right.

    Args:
        rows: a heading and its images; rows may differ in length.
        title: over all.
    """
    columns = max((len(panels) for _, panels in rows), default=0) or 1
    shapes = [panel.region.height / panel.region.width for _, panels in rows for panel in panels]
    width, height, head = 2.2, 2.2 * max(shapes, default=1.0), 0.35
    figure = Figure(figsize=(2 * columns * width, max(len(rows), 1) * (height + head) + 1.1), dpi=_DPI, facecolor=PAPER)
    inch = 1 / figure.get_figheight()
    grid = figure.add_gridspec(
        max(len(rows), 1),
        2 * columns,
        left=0.005,
        right=0.995,
        top=1 - (0.7 + head) * inch,
        bottom=0.4 * inch,
        wspace=0.03,
        hspace=head / height,
    )
    for row, (heading, panels) in enumerate(rows):
        for column, panel in enumerate(panels):
            annotated = figure.add_subplot(grid[row, 2 * column])
            called = figure.add_subplot(grid[row, 2 * column + 1])
            _zoom(annotated, panel.pixels, panel.region)
            for box, label in zip(panel.target.boxes.tolist(), panel.target.labels.tolist(), strict=True):
                annotated.add_patch(_rectangle(*box, colour=_COLOURS[label], style=_STYLES[label]))
            _zoom(called, panel.pixels, panel.region)
            scores = [f"{score:.2f}" for score in panel.called.scores.tolist()]
            _draw_detections(called, panel.called, scores, fontsize=6.5)
            annotated.set_title(f"{heading} {column + 1}: annotated", color=INK, fontsize=8, loc="left", pad=3)
            called.set_title(panel.caption, color=FAINT, fontsize=8, loc="left", pad=3)
    figure.suptitle(title, color=INK, fontsize=11, x=0.005, y=1 - 0.12 * inch, ha="left", va="top")
    _class_legend(figure)
    return png(figure)


def png(figure: Figure) -> bytes:
    """Encode a figure; the same figure is the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _show(axes: Axes, pixels: Float[np.ndarray, "h w"], *, white: float) -> None:
    """Show an image in continuous coordinates: pixel (0, 0) covers 0..1, as boxes do. `white` and above are white."""
    height, width = pixels.shape
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=white, extent=(0, width, height, 0), interpolation="bilinear")
    axes.set_axis_off()


def _zoom(axes: Axes, pixels: Float[np.ndarray, "h w"], region: Region) -> None:
    _show(axes, pixels, white=_white(pixels, region))
    axes.set_xlim(region.x1, region.x2)
    axes.set_ylim(region.y2, region.y1)
    axes.add_patch(_rectangle(region.x1, region.y1, region.x2, region.y2, colour="black", style="-", fill=True))


def _white(pixels: Float[np.ndarray, "h w"], region: Region) -> float:
    """Choose what is shown as white, so that the region is neither dark nor flat: its 99th percentile."""
    rows = slice(max(int(region.y1), 0), max(int(region.y2), 1))
    columns = slice(max(int(region.x1), 0), max(int(region.x2), 1))
    shown = pixels[rows, columns]
    return max(float(np.percentile(shown, 99)), 0.05) if shown.size else 1.0


def _draw_detections(axes: Axes, detections: Detections, texts: Sequence[str], *, fontsize: float = 8.5) -> None:
    """Draw boxes, and a text right of each in its class's colour."""
    rows = zip(detections.boxes.tolist(), detections.labels.tolist(), texts, strict=True)
    for (x1, y1, x2, y2), label, text in rows:
        axes.add_patch(_rectangle(x1, y1, x2, y2, colour=_COLOURS[label], style=_STYLES[label]))
        axes.annotate(
            text,
            (x2, (y1 + y2) / 2),
            xytext=(3, 0),
            textcoords="offset points",
            color=_COLOURS[label],
            fontsize=fontsize,
            va="center",
            path_effects=_OUTLINE,
            annotation_clip=True,
        )


def _rectangle(
    x1: float, y1: float, x2: float, y2: float, *, colour: str, style: Any, width: float = 1.1, fill: bool = False
) -> Rectangle:
    return Rectangle(
        (x1, y1),
        x2 - x1,
        y2 - y1,
        fill=fill,
        edgecolor=colour,
        facecolor=colour,
        linestyle=style,
        linewidth=width,
        zorder=-1 if fill else 2,
    )


def _class_legend(figure: Figure) -> None:
    lines = [
        Line2D([], [], color=_COLOURS[label], linestyle=_STYLES[label], linewidth=1.6, label=name)
        for label, name in enumerate(CLASSES)
    ]
    figure.legend(handles=lines, loc="lower right", ncols=2, frameon=False, labelcolor=INK, fontsize=9)
