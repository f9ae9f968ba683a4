"""Paint what surrounds the column below the skull: skin, fat, muscle, airway, gullet, larynx, breastbone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from meddet.phantom.raster import Canvas, Number, ellipse, ribbon, spline, upsample
from meddet.phantom.spine import Spine
from meddet.phantom.tissue import Tissue

TOP_MM, BOTTOM_MM = -150.0, 260.0
_POINTS = 60


@dataclass(frozen=True)
class Habitus:
    """Outline of head and neck; x of each curve is read at the heights `y`."""

    y: Float[ndarray, " n"]
    column: Float[ndarray, " n"]
    """Middle of the vertebral column."""
    nape: Float[ndarray, " n"]
    """Skin of occiput, nape and back."""
    fascia: Float[ndarray, " n"]
    """Border between muscle and the fat under the skin."""
    throat: Float[ndarray, " n"]
    """Skin of the front of the neck and chest; of the face above the chin, see `paint_head`."""
    size: float

    def x(self, curve: Float[ndarray, " n"], y: ndarray) -> Float[ndarray, " m"]:
        """Read a curve at other heights."""
        return np.interp(y, self.y, curve)

    def line(
        self, curve: Float[ndarray, " n"], start: Number, end: Number, shift: Number | ndarray = 0.0
    ) -> Float[ndarray, "m 2"]:
        """Give a curve as points, from one height to another."""
        y = np.linspace(start, end, _POINTS)
        return np.stack([self.x(curve, y) + shift, y], axis=1)


def draw_habitus(spine: Spine, size: float, rng: np.random.Generator) -> Habitus:
    """Draw the outline: how fat the nape is, how far the throat stands out."""
    y = np.arange(TOP_MM, BOTTOM_MM, 1.0)
    below = spine.centres[-1] + 60 * spine.tangent(len(spine.centres) - 1)
    head = TOP_MM * np.tan(0.6 * spine.angles[0])
    knots = np.concatenate([[[head, TOP_MM]], spine.centres, below[None]])
    column = gaussian_filter1d(np.interp(y, knots[:, 1], knots[:, 0]), 10)
    fat = float(np.clip(rng.gamma(5, 3.0), 6, 35))
    muscle_y = np.array([TOP_MM, -80, -52, -20, 10, 45, 80, 110, 150, 200, 260.0]) * size
    muscle = np.array([84, 84, 74, 57, 49, 48, 53, 55, 54, 54, 54.0]) * size * rng.normal(1, 0.035)
    thick = np.interp(y, muscle_y, np.array([0.32, 0.32, 0.5, 0.62, 0.6, 0.7, 1.2, 1.35, 1.1, 0.9, 0.8]) * fat) + 2.5
    fascia = column + gaussian_filter1d(np.interp(y, muscle_y, muscle), 8)
    folds = sum(
        rng.uniform(0, 1.0 + 0.05 * fat) * np.exp(-(((y - where) / 9) ** 2)) for where in rng.uniform(-10, 45, 3)
    )
    nape = fascia + gaussian_filter1d(thick, 8) - folds
    throat_y = np.array([TOP_MM, -100, 10, 34, 50, 70, 100, 122, 150, 200, 260.0]) * size
    throat = np.array([80, 80, 60, 50, 49, 45, 42, 43, 54, 72, 90.0]) * size * rng.normal(1, 0.05) + rng.uniform(0, 5)
    front = column - gaussian_filter1d(np.interp(y, throat_y, throat), 6)
    return Habitus(y, column, nape, fascia, front, size)


def streaks(canvas: Canvas, habitus: Habitus, rng: np.random.Generator) -> Float[ndarray, "s s"]:
    """Draw a field of mean 1 whose fibres run along the column: fat between muscle bundles, septa in fat."""
    step = 2
    side = canvas.side // step
    pixel = canvas.pixel_mm * step
    coarse = gaussian_filter(rng.standard_normal((max(side // 8, 4), 2 * side)), (9 / pixel / 8, 0.7 / pixel))
    noise = upsample(coarse / coarse.std(), (side, 2 * side))
    rows = np.arange(side) * pixel
    points = np.stack([habitus.x(habitus.column, habitus.y), habitus.y], axis=1)
    curve = canvas.to_image(points)
    shift = np.interp(rows, curve[:, 1], curve[:, 0]) / pixel * 0.85
    index = np.clip(np.arange(side)[None] - shift[:, None] + side * 0.75, 0, 2 * side - 1).astype(np.int64)
    field = np.take_along_axis(noise, index, axis=1)
    return np.repeat(np.repeat(field, step, axis=0), step, axis=1)


def _fat(rng: np.random.Generator) -> Float[ndarray, " n"]:
    """Draw the thickness of the fat under the skin of the throat, from the chin down."""
    return rng.uniform(1.5, 4) + gaussian_filter1d(rng.uniform(0, 8, _POINTS), 3) * np.linspace(0.3, 1, _POINTS)


def paint_back(
    canvas: Canvas, habitus: Habitus, tissue: Tissue, fibres: Float[ndarray, "s s"], rng: np.random.Generator
) -> None:
    """Paint the trunk: fat under the skin, dorsal muscles with their fat, the nuchal ligament."""
    nape = habitus.line(habitus.nape, -128, BOTTOM_MM - 1)
    throat = habitus.line(habitus.throat, 14 * habitus.size, BOTTOM_MM - 1)
    head = habitus.line(habitus.column, -128, 14 * habitus.size, shift=-10)
    outline = np.concatenate([nape, throat[::-1], head[::-1]])
    canvas.fill(outline, tissue["fat"], grain=0.05, field=1 + 0.07 * fibres)
    canvas.fill(ribbon(nape, 1.6), tissue["fat"] * 0.35, soft_mm=0.2)
    fascia = habitus.line(habitus.fascia, -66 * habitus.size, BOTTOM_MM - 1)
    front = habitus.line(habitus.throat, 8 * habitus.size, BOTTOM_MM - 1, shift=_fat(rng))
    top = habitus.line(habitus.column, -66 * habitus.size, 8 * habitus.size)
    canvas.fill(np.concatenate([fascia, front[::-1], top[::-1]]), tissue["soft"], field=1 + 0.15 * fibres)
    muscle = np.concatenate([fascia, habitus.line(habitus.column, -66 * habitus.size, BOTTOM_MM - 1, shift=22)[::-1]])
    canvas.fill(muscle, tissue["muscle"], field=np.clip(1.1 + 0.25 * fibres + 0.2 * canvas.smooth, 0.4, 2.5))
    marbling = np.clip((fibres - rng.uniform(0.9, 1.5)) * 1.2, 0, 1)
    found = canvas.coverage(muscle)
    if found is not None:
        where, share = found
        part = canvas.signal[where]
        part += 0.65 * share * marbling[where] * (0.8 * tissue["fat"] - part)
    canvas.fill(ribbon(fascia, 0.9), tissue["ligament"], soft_mm=0.2)
    for _ in range(4):
        y = rng.uniform(-25, 60)
        start = float(habitus.x(habitus.column, np.array([y]))[0]) + rng.uniform(30, 38)
        end = float(habitus.x(habitus.fascia, np.array([y + 14]))[0])
        path = spline(
            [(start, y), ((start + end) / 2, y + rng.uniform(3, 9)), (end - 1, y + rng.uniform(12, 28))], closed=False
        )
        canvas.fill(
            ribbon(path, rng.uniform(0.7, 2.0)), tissue["fat"] * rng.uniform(0.4, 0.7), soft_mm=0.7, opacity=0.45
        )


def paint_front(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the front of the neck: prevertebral stripe, gullet, larynx, windpipe, thyroid, breastbone."""
    s = habitus.size
    stripe = habitus.line(habitus.column, -34 * s, 220, shift=-11.5 * s)
    width = np.interp(stripe[:, 1], [-30, 35 * s, 60 * s, 220], [3.5, 4, 9, 9])
    canvas.fill(ribbon(stripe - np.stack([width / 2, 0 * width], 1), width), tissue["muscle"] * 0.7, grain=0.06)
    gullet = habitus.line(habitus.column, 62 * s, 230, shift=-20.5 * s)
    canvas.fill(ribbon(gullet, 6.0), tissue["muscle"] * 1.1, soft_mm=0.5)
    canvas.fill(ribbon(gullet, 1.6), tissue["mucosa"] * 0.8, soft_mm=0.4, opacity=0.7)
    pipe = habitus.line(habitus.column, 56 * s, 240, shift=-31 * s)
    bore = np.interp(pipe[:, 1], [56 * s, 66 * s, 240], [9, 14 * s, 15 * s])
    canvas.fill(ribbon(pipe, bore + 3.5), tissue["gland"] * 0.8, grain=0.15)
    canvas.fill(ribbon(pipe, bore + 1.2), tissue["ligament"])
    canvas.fill(ribbon(pipe, bore), 0.0)
    neck = float(habitus.x(habitus.column, np.array([45 * s]))[0])
    larynx = spline(
        [
            (neck - 20, 24 * s),
            (neck - 19, 42 * s),
            (neck - 25, 60 * s),
            (neck - 37, 58 * s),
            (neck - 35, 50 * s),
            (neck - 31, 40 * s),
            (neck - 29, 26 * s),
        ]
    )
    canvas.fill(larynx, 0.0, soft_mm=0.3)
    fold = neck - 32, 50 * s
    canvas.fill(ellipse(fold, (5.5, 1.6), angle=0.1), tissue["muscle"], soft_mm=0.3)
    canvas.fill(ellipse((neck - 17.5, 58 * s), (2.6, 7.0), angle=0.05, power=2.5), tissue["marrow"] * 0.6, soft_mm=0.3)
    shield = habitus.line(habitus.throat, 36 * s, 54 * s, shift=7)
    canvas.fill(ribbon(shield, 3.2), tissue["marrow"] * 0.5, soft_mm=0.3)
    hyoid = (neck - 39, 24 * s + rng.normal(0, 2))
    canvas.fill(ellipse(hyoid, (2.6, 4.8), angle=0.6), tissue["cortex"])
    canvas.fill(ellipse(hyoid, (1.6, 3.7), angle=0.6), tissue["marrow"])
    leaf = spline([(neck - 33, 33 * s), (neck - 29, 22 * s), (neck - 22, 9 * s)], closed=False)
    canvas.fill(ribbon(leaf, 2.6), tissue["gland"], soft_mm=0.2)
    isthmus = habitus.line(habitus.column, 72 * s, 88 * s, shift=-41 * s)
    canvas.fill(ribbon(isthmus, 4.0), tissue["gland"], soft_mm=0.5)
    for _ in range(2):
        y = rng.uniform(128, 165) * s
        centre = (float(habitus.x(habitus.column, np.array([y]))[0]) - rng.uniform(42, 48) * s, y)
        canvas.fill(ellipse(centre, (rng.uniform(4, 6), rng.uniform(5, 9))), 0.02, soft_mm=0.4)
    notch = rng.uniform(136, 146) * s
    bone = (float(habitus.x(habitus.throat, np.array([notch]))[0]) + 11, notch + 14)
    canvas.fill(ellipse(bone, (5.2, 17), angle=0.5, power=3), tissue["cortex"])
    canvas.fill(ellipse(bone, (4.2, 16), angle=0.5, power=3), tissue["marrow"], grain=0.1)
