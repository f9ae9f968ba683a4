"""Paint what surrounds the column below the skull: `paint_back` the trunk and the nape, `paint_front` the throat."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from meddet.phantom.habitus import BOTTOM_MM, POINTS, Habitus
from meddet.phantom.paint_throat import paint_gullet, paint_thorax, paint_windpipe
from meddet.phantom.raster import Canvas, ellipse, ribbon, spline
from meddet.phantom.tissue import Tissue


def _throat_fat(rng: np.random.Generator) -> Float[ndarray, " n"]:
    """Draw the thickness of the fat under the skin of the throat, from the chin down."""
    rough = gaussian_filter1d(rng.uniform(-1, 1, POINTS), 4) * 6
    slow = np.interp(np.arange(POINTS), np.linspace(0, POINTS, 5), rng.uniform(0.5, 1.6, 5))
    return np.maximum(rng.uniform(2, 6.5) * slow + rough, 1.6)


def paint_back(
    canvas: Canvas, habitus: Habitus, tissue: Tissue, fibres: Float[ndarray, "s s"], rng: np.random.Generator
) -> None:
    """Paint the trunk: fat under the skin, dorsal muscles with their fat, the nuchal ligament."""
    s = habitus.size
    nape = habitus.line(habitus.nape, habitus.crown, BOTTOM_MM - 1)
    throat = habitus.line(habitus.throat, 14 * s, BOTTOM_MM - 1)
    head = habitus.line(habitus.column, -60 * s, 14 * s, shift=-10)
    outline = np.concatenate([nape, throat[::-1], head[::-1]])
    canvas.fill(outline, tissue["fat"], grain=0.05, mottle=0.05, field=1 + 0.07 * fibres)
    canvas.fill(ribbon(nape, rng.uniform(1.4, 2.4)), tissue["fat"] * 0.35, soft_mm=0.3)
    fascia = habitus.line(habitus.fascia, float(habitus.inion[1]), BOTTOM_MM - 1)
    front = habitus.line(habitus.throat, 8 * s, BOTTOM_MM - 1, shift=_throat_fat(rng))
    top = habitus.line(habitus.column, -44 * s, 8 * s, shift=10)
    canvas.fill(
        np.concatenate([fascia, front[::-1], top[::-1]]), tissue["soft"], mottle=0.08, soft_mm=0.5,
        field=1 + 0.15 * fibres,
    )  # fmt: skip
    below_skull = habitus.line(habitus.column, -40 * s, BOTTOM_MM - 1, shift=22)
    muscle = np.concatenate([fascia, below_skull[::-1]])
    texture = np.clip(1.1 + 0.3 * fibres + 0.25 * canvas.smooth, 0.35, 2.5)
    canvas.fill(muscle, tissue["muscle"], mottle=0.12, soft_mm=0.4, field=texture)
    _marbling(canvas, muscle, tissue, fibres, rng)
    _suboccipital(canvas, habitus, tissue, rng)
    _nuchal(canvas, habitus, tissue, rng)
    canvas.fill(ribbon(fascia[4:], rng.uniform(0.7, 1.6)), tissue["ligament"], soft_mm=0.3, opacity=0.9)
    _septa(canvas, habitus, tissue, rng)


def _marbling(
    canvas: Canvas, muscle: Float[ndarray, "n 2"], tissue: Tissue, fibres: Float[ndarray, "s s"],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Lay fat between the bundles of the dorsal muscles, in patches."""
    level = rng.uniform(1.0, 1.7)
    for where, share in canvas.coverage(muscle):
        amount = fibres[where] + 0.5 * canvas.smooth[where] + 0.2 * canvas.mottle[where] - level
        part = canvas.signal[where]
        part += 0.7 * share * np.clip(amount * 1.1, 0, 1) * (0.8 * tissue["fat"] - part)


def _suboccipital(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the small muscles between occiput, C1 and C2 and the fat around them."""
    s = habitus.size
    x = float(habitus.x(habitus.column, np.array([-20 * s]))[0])
    pad = spline(
        [(x + 27 * s, -39 * s), (x + 46 * s, -40 * s), (x + 52 * s, -22 * s), (x + 40 * s, 2), (x + 30 * s, -8)]
    )
    canvas.fill(pad, tissue["fat"] * rng.uniform(0.35, 0.75), smooth=0.25, mottle=0.15, soft_mm=1.5, opacity=0.75)
    for dx, reach in ((35, 12), (43, 15)):
        path = [(x + (dx - 5) * s, -20 * s + rng.normal(0, 2)), (x + dx * s, -30 * s), (x + (dx + 6) * s, -44 * s)]
        canvas.fill(
            ribbon(spline(path, closed=False), reach * 0.45 * s), tissue["muscle"] * 1.1, mottle=0.15, soft_mm=0.9,
            opacity=0.9,
        )  # fmt: skip


def _nuchal(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the nuchal ligament from inion to C7, strands from the processes up to it, and fat along them."""
    s = habitus.size
    low = 78 * s
    end = np.array([float(habitus.x(habitus.fascia, np.array([low]))[0]) - 3, low])
    y = np.linspace(float(habitus.inion[1]) + 6, low, 8)
    path = np.stack([habitus.x(habitus.fascia, y) - np.interp(y, [y[0], 10 * s, low], [4, 7, 4]), y], axis=1)
    canvas.fill(ribbon(spline(path, closed=False), 1.2), tissue["ligament"], soft_mm=0.4, opacity=0.75)
    for _ in range(int(rng.integers(7, 14))):
        start_y = rng.uniform(-28, 58) * s
        start = np.array([float(habitus.x(habitus.column, np.array([start_y]))[0]) + rng.uniform(33, 42) * s, start_y])
        part = rng.uniform(0.3, 0.8)
        stop = start + part * (end - start) + np.array([rng.uniform(0, 6), 0])
        bend = (start + stop) / 2 + np.array([rng.uniform(-1, 4), rng.uniform(-3, 3)])
        bright = rng.random() < 0.65
        tone = tissue["fat"] * rng.uniform(0.45, 0.9) if bright else tissue["ligament"]
        canvas.fill(
            ribbon(spline([start, bend, stop], closed=False), rng.uniform(0.7, 2.2)), tone, mottle=0.15,
            soft_mm=rng.uniform(0.4, 0.9), opacity=rng.uniform(0.35, 0.8),
        )  # fmt: skip


def _septa(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint fibrous septa and small vessels in the fat under the skin of nape and back."""
    for _ in range(int(rng.integers(6, 16))):
        y = rng.uniform(-60, 170)
        inner, outer = (float(habitus.x(curve, np.array([y]))[0]) for curve in (habitus.fascia, habitus.nape))
        start = np.array([inner + rng.uniform(0.1, 0.7) * (outer - inner), y])
        low = y + rng.uniform(6, 20)
        end = float(habitus.x(habitus.fascia, np.array([low]))[0]), float(habitus.x(habitus.nape, np.array([low]))[0])
        stop = np.array([end[0] + rng.uniform(0.1, 0.8) * (end[1] - end[0]), low])
        path = spline([start, (start + stop) / 2 + rng.normal(0, 0.8, 2), stop], closed=False)
        canvas.fill(
            ribbon(path, rng.uniform(0.4, 0.9)), 0.4 * tissue["fat"], soft_mm=0.3, opacity=rng.uniform(0.2, 0.6)
        )


def paint_front(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the front of the neck: prevertebral stripe, gullet, windpipe, thyroid, breastbone."""
    s = habitus.size
    stripe = habitus.line(habitus.column, -30 * s, 220, shift=-10.5 * s)
    width = np.interp(stripe[:, 1], [-30 * s, 0, 35 * s, 60 * s, 220], [1.5, 3.5, 4, 7, 7]) * rng.uniform(0.85, 1.3)
    canvas.fill(
        ribbon(stripe - np.stack([width / 2, 0 * width], 1), width), tissue["muscle"] * 0.7, mottle=0.1, soft_mm=0.5
    )
    plane = stripe[:40] - np.stack([width[:40] + 0.6, np.zeros(40)], 1)
    canvas.fill(ribbon(plane, rng.uniform(0.6, 1.4)), tissue["fat"] * 0.6, soft_mm=0.5, opacity=rng.uniform(0.2, 0.8))
    for _ in range(4):
        y = rng.uniform(70, 130) * s
        column, throat = (float(habitus.x(curve, np.array([y]))[0]) for curve in (habitus.column, habitus.throat))
        place = (max(column - rng.uniform(34, 46) * s, throat + 9), y)
        canvas.fill(
            ellipse(place, (rng.uniform(2, 5), rng.uniform(6, 16))), tissue["fat"] * 0.5, soft_mm=2, opacity=0.4
        )
    paint_gullet(canvas, habitus, tissue, rng)
    paint_windpipe(canvas, habitus, tissue, rng)
    paint_thorax(canvas, habitus, tissue, rng)
