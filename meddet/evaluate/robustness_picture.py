"""Pictures of robustness: a curve per corruption, and one image under all of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from meddet.evaluate.robustness import Withstood
from meddet.render import png
from meddet.structures import Region

_INK, _FAINT, _GRID = "#1d2733", "#66717d", "#dfe4ea"
_COLOURS = ("#c2410c", "#0e7490", "#475569", "#7c3aed", "#15803d", "#b45309")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
_DPI, _EXAMPLES_DPI = 110, 95
_COLUMNS = 4


def curves_png(models: Mapping[str, Withstood], *, metric: str, title: str) -> bytes:
    """Draw one number against severity: a panel per corruption, a line per model, the first one heavier.

    A severity without a number leaves a gap.
    """
    first = next(iter(models.values()))
    corruptions = list(dict.fromkeys(corruption for corruption, _ in first.cells))
    severities = [0, *sorted({severity for _, severity in first.cells})]
    rows = -(-len(corruptions) // _COLUMNS)
    figure = Figure(figsize=(11, 2.35 * rows + 1.2), dpi=_DPI, facecolor="white")
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, corruption in zip(panels, corruptions, strict=False):
        for index, (name, model) in enumerate(models.items()):
            values = [model.cells[corruption, each] if each else model.clean for each in severities]
            line = {"color": _COLOURS[index % 6], "linestyle": _STYLES[index % 6], "linewidth": 1.2 if index else 2.2}
            axes.plot(severities, [value[metric][0] for value in values], label=name, marker="o", markersize=3, **line)
        axes.set_title(corruption.replace("_", " "), color=_INK, fontsize=9, loc="left")
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_FAINT, labelsize=8)
        axes.set(xlim=(-0.2, 5.2), ylim=(0, 1.02), xticks=range(6))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(_GRID)
    for axes in panels[len(corruptions) :]:
        axes.set_axis_off()
    figure.supxlabel("severity; 0 is the clean image", fontsize=9, color=_FAINT, x=0.01, ha="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right", ncols=6, fontsize=9, frameon=False)
    figure.suptitle(title, color=_INK, fontsize=10, x=0.01, ha="left")
    figure.tight_layout()
    return png(figure)


def examples_png(
    clean: Float[np.ndarray, "h w"],
    spoilt: Mapping[str, Sequence[tuple[int, Float[np.ndarray, "h w"]]]],
    region: Region,
    *,
    title: str,
) -> bytes:
    """Draw an image, clean and under each corruption, in the window of the clean one: two corruptions in a row.

    Args:
        clean: the image.
        spoilt: severity and image, by corruption; equally many of each.
        region: what is shown, with a margin.
        title: over all.
    """
    shown = 1 + max(len(images) for images in spoilt.values())
    rows = -(-len(spoilt) // 2)
    margin = 0.15 * region.height
    top, bottom = max(region.y1 - margin, 0), min(region.y2 + margin, clean.shape[0])
    left, right = max(region.x1 - margin, 0), min(region.x2 + margin, clean.shape[1])
    crop = slice(int(top), int(bottom)), slice(int(left), int(right))
    tall = clean[crop].shape[0] / max(clean[crop].shape[1], 1)
    width = 1.45
    figure = Figure(
        figsize=(2 * shown * width, rows * (width * tall + 0.22) + 0.5), dpi=_EXAMPLES_DPI, facecolor="white"
    )
    grid = figure.subplots(rows, 2 * shown, squeeze=False)
    figure.subplots_adjust(
        left=0.004, right=0.996, bottom=0.004, top=1 - 0.55 / figure.get_figheight(), wspace=0.02, hspace=0.1
    )
    white = max(float(np.percentile(clean[crop], 98)), 0.05)
    for place, (name, images) in enumerate(spoilt.items()):
        for column, (severity, image) in enumerate([(0, clean), *images]):
            axes = grid[place // 2, place % 2 * shown + column]
            axes.imshow(image[crop], cmap="gray", vmin=0, vmax=white, interpolation="bilinear")
            heading = f"{name.replace('_', ' ')}: clean" if severity == 0 else f"severity {severity}"
            axes.set_title(heading, color=_INK if severity == 0 else _FAINT, fontsize=7, loc="left", pad=2)
    for axes in grid.ravel():
        axes.set_axis_off()
    figure.suptitle(title, color=_INK, fontsize=9, x=0.004, ha="left")
    return png(figure)
