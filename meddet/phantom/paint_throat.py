"""Paint the organs in front of the column: gullet, windpipe, larynx, hyoid, epiglottis, thyroid, breastbone."""

import numpy as np

from meddet.phantom.habitus import Habitus
from meddet.phantom.raster import Canvas, Number, ellipse, ribbon, spline
from meddet.phantom.tissue import Tissue


def paint_gullet(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the oesophagus, flat, at times with air in it."""
    s = habitus.size
    gullet = habitus.line(habitus.column, 60 * s, 235, shift=-20 * s)
    wide = np.interp(gullet[:, 1], [60 * s, 75 * s, 235], [3, 6, 7]) * rng.uniform(0.8, 1.3)
    canvas.fill(ribbon(gullet, wide), tissue["muscle"] * 1.2, mottle=0.1, soft_mm=0.7)
    canvas.fill(ribbon(gullet, 1.6), tissue["mucosa"] * 0.8, soft_mm=0.5, opacity=0.7)
    if rng.random() < 0.2:
        y = rng.uniform(90, 150) * s
        place = (float(habitus.x(habitus.column, np.array([y]))[0]) - 20 * s, y)
        canvas.fill(ellipse(place, (1.8, rng.uniform(4, 9))), 0.0, soft_mm=0.4)


def paint_windpipe(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the trachea with its rings, and the isthmus of the thyroid before it."""
    s = habitus.size
    pipe = habitus.line(habitus.column, 58 * s, 240, shift=-31 * s)
    bore = np.interp(pipe[:, 1], [58 * s, 68 * s, 240], [8, 13 * s, 15 * s]) * rng.uniform(0.75, 1.15)
    canvas.fill(ribbon(pipe, bore + 4), tissue["gland"] * 0.8, mottle=0.15, soft_mm=0.6)
    canvas.fill(ribbon(pipe, bore + 1.4), tissue["muscle"] * 0.7, soft_mm=0.4)
    for y in np.arange(68, 170, 4.3) * s:
        x = float(habitus.x(habitus.column, np.array([y]))[0]) - 31 * s
        half = float(np.interp(y, pipe[:, 1], bore)) / 2 + 0.9
        canvas.fill(ellipse((x - half, y), (0.9, 1.5)), tissue["gland"] * 1.2, soft_mm=0.3, opacity=0.6)
    canvas.fill(ribbon(pipe, bore), 0.0, soft_mm=0.3)
    isthmus = habitus.line(habitus.column, 72 * s, 88 * s, shift=-41 * s)
    canvas.fill(ribbon(isthmus, np.sin(np.linspace(0.2, 2.9, len(isthmus))) * 4.5), tissue["gland"] * 1.3, soft_mm=0.6)


def paint_larynx(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint hypopharynx and larynx: hyoid, epiglottis, vocal folds, thyroid and cricoid cartilage."""
    s = habitus.size
    drop = rng.normal(0, 2.5)

    def at(x: Number, y: Number) -> tuple[float, float]:
        height = y * s + drop
        return float(habitus.x(habitus.column, np.array([height]))[0]) + (x + 3) * s, height

    open_mm = rng.uniform(0.6, 1.25)
    lumen = [(-18, 8), (-18, 22), (-18.5, 34), (-20, 44), (-26, 56), (-29, 66), (-38, 66), (-36, 52), (-32, 42),
             (-29, 28), (-25, 8)]  # fmt: skip
    middle = np.array([-25.0, 40.0])
    shaped = [tuple(middle + np.array([(x + 25) * open_mm, y - 40])) for x, y in lumen]
    canvas.fill(spline([at(float(x), float(y)) for x, y in shaped]), 0.0, soft_mm=0.5)
    behind = spline([at(-16.5, 30), at(-17, 44), at(-19.5, 58), at(-21, 68)], closed=False)
    canvas.fill(ribbon(behind, 3.0), tissue["mucosa"] * 0.6, soft_mm=0.8, opacity=0.6)
    fold = at(-33, 51)
    canvas.fill(ellipse(fold, (4.2, 1.5), angle=0.1), tissue["muscle"] * 1.2, soft_mm=0.4)
    canvas.fill(ellipse((fold[0], fold[1] - 3.8), (3.6, 1.3), angle=0.15), tissue["mucosa"] * 0.7, soft_mm=0.4)
    canvas.bone(
        ellipse(at(-19.5, 60), (2.8, 8.0), angle=-0.05, power=2.5), tissue["marrow"] * rng.uniform(0.4, 0.9),
        soft_mm=0.4,
    )  # fmt: skip
    canvas.bone(ellipse(at(-38, 66), (2.0, 3.4), angle=-0.1), tissue["marrow"] * 0.7, soft_mm=0.4)
    shield = habitus.line(habitus.throat, 38 * s + drop, 57 * s + drop, shift=7.5)
    canvas.fill(ribbon(shield, 4.0), tissue["ligament"], soft_mm=0.4)
    canvas.fill(ribbon(shield, 2.0), tissue["marrow"] * rng.uniform(0.4, 0.9), mottle=0.2, soft_mm=0.4)
    space = spline([at(-40, 28), at(-36, 26), at(-33, 36), at(-36, 44), at(-40, 38)])
    canvas.fill(space, tissue["fat"] * 0.7, mottle=0.15, soft_mm=0.8, opacity=0.85)
    canvas.bone(
        ellipse(at(-42, 23), (rng.uniform(2.2, 3), rng.uniform(4, 5.5)), angle=0.6), tissue["marrow"], wall_mm=1.0,
        soft_mm=0.3,
    )  # fmt: skip
    tip = rng.uniform(-2.5, 2.5)
    leaf = spline([at(-33, 42), at(-31.5, 32), at(-28, 20), at(-23.5 + tip, 9)], closed=False)
    canvas.fill(ribbon(leaf, np.linspace(2.6, 1.8, len(leaf))), tissue["gland"], soft_mm=0.4)


def paint_thorax(canvas: Canvas, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint vessels behind the breastbone and its upper end."""
    s = habitus.size
    for _ in range(3):
        y = rng.uniform(138, 185) * s
        column, throat = (float(habitus.x(curve, np.array([y]))[0]) for curve in (habitus.column, habitus.throat))
        centre = (max(column - rng.uniform(42, 54) * s, throat + 14), y)
        canvas.fill(
            ellipse(centre, (rng.uniform(3, 6), rng.uniform(5, 11)), angle=rng.uniform(0, 0.7)), 0.03, soft_mm=0.7
        )
    notch = rng.uniform(134, 146) * s
    x = float(habitus.x(habitus.throat, np.array([notch]))[0]) + rng.uniform(9, 13)
    shape = np.array([(-4.0, 1), (-0.5, -2.5), (5, 0.5), (7.5, 8), (3, 22), (-3, 36), (-8, 35), (-7, 18), (-5.5, 7)])
    turn = 0.25
    c, sn = np.cos(turn), np.sin(turn)
    bone = np.stack([c * shape[:, 0] - sn * shape[:, 1], sn * shape[:, 0] + c * shape[:, 1]], axis=1) * s
    canvas.bone(
        spline(bone + np.array([x, notch]) + rng.normal(0, 0.5, shape.shape)), tissue["marrow"], wall_mm=1.0,
        soft_mm=0.4, mottle=0.14,
    )  # fmt: skip
