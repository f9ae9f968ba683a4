"""Paint the face in the midline: skin and lips, nose, palate, tongue, mandible, teeth, and the air behind them."""

import numpy as np

from meddet.phantom.habitus import Habitus
from meddet.phantom.head import Head
from meddet.phantom.raster import CORTEX, Canvas, ellipse, ribbon, spline
from meddet.phantom.tissue import Tissue

_PROFILE = [
    (-90, -99), (-91, -92), (-96, -80), (-104, -64), (-111, -53), (-112, -49), (-108, -44), (-99, -41),
    (-98, -36), (-101, -29), (-102, -25), (-97, -21), (-100, -16), (-100, -12), (-95, -7), (-96, 0), (-98, 7),
    (-96, 15), (-89, 22), (-80, 24), (-68, 25), (-57, 29),
]  # fmt: skip
_TONGUE = [
    (-79, -11), (-75, -20), (-66, -27), (-54, -31), (-41, -29), (-31, -20), (-26, -8), (-25, 4), (-29, 14), (-38, 18),
    (-54, 15), (-68, 12), (-77, 6), (-78, -3),
]  # fmt: skip
_CHIN = (-79.0, 5.0)
"""The spine behind the chin from which the tongue's fibres fan out."""


def paint_profile(canvas: Canvas, head: Head, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the soft tissue of the face with the fat of lips, chin and floor, down to the skin of the throat."""
    points = np.array(_PROFILE, dtype=float)
    lips = np.exp(-(((points[:, 1] + 21) / 12) ** 2))
    nose = np.exp(-(((points[:, 1] + 52) / 11) ** 2))
    points[:, 0] -= lips * rng.normal(0, 1.5) + nose * rng.normal(1, 2)
    s = habitus.size
    throat = habitus.line(habitus.throat, 44 * s, 62 * s)[::20]
    skin = spline(np.concatenate([head.place(points + rng.normal(0, 0.5, points.shape)), throat]), closed=False)
    back = head.place([(-14.0, 40.0), (-2.0, 12.0), (-8.0, -80.0), (-30.0, -95.0)])
    canvas.fill(np.concatenate([skin, back]), tissue["soft"] * 0.85, grain=0.08, smooth=0.15, mottle=0.12, soft_mm=0.3)
    fat = tissue["fat"]
    canvas.fill(
        ribbon(skin[39:109] + np.array([3.6 * s, -0.8]), rng.uniform(4, 7)),
        fat * 0.75,
        mottle=0.15,
        soft_mm=1.2,
        opacity=0.8,
    )
    floor = head.place([(-90, 17), (-78, 20), (-66, 21), (-56, 24)])
    floor = spline(np.concatenate([floor, throat + np.array([3.0, 0])]), closed=False)
    thick = np.interp(
        np.linspace(0, 1, len(floor)), [0, 0.2, 0.5, 0.7, 1], rng.uniform(3, 8) * np.array([0.5, 1, 1.2, 1, 0.7])
    )
    canvas.fill(ribbon(floor, thick), fat * 0.9, mottle=0.1, soft_mm=0.9, opacity=0.9)
    canvas.fill(ribbon(skin, 1.2), fat * 0.35, soft_mm=0.3)


def paint_nose(head: Head, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the nasal cavity as septum or turbinates, as the slice happens to lie, and the hard palate."""
    cavity = spline([(-101, -47), (-94, -66), (-82, -80), (-58, -83), (-38, -74), (-31, -58), (-38, -41), (-68, -40)])
    septum = rng.random() < 0.5
    head.fill(cavity, tissue["soft"] * (0.75 if septum else 0.15), smooth=0.3, mottle=0.2, soft_mm=1.2)
    for y in (-46, -55, -66):
        path = [(-84, y + 2), (-62, y - 1 + rng.normal(0, 1)), (-40, y + 3)]
        tone, seen = (0.1, 0.35) if septum else (tissue["mucosa"] * 0.8, 0.85)
        head.line(path, [2, rng.uniform(4, 7), 2], tone, soft_mm=1.0, opacity=seen)
    head.plate([(-92, -32), (-85, -37), (-66, -38), (-45, -37)], np.array([6, 4.5, 3.6, 3.0]), tissue["marrow"], 1.0)
    head.line([(-90, -30), (-80, -34), (-60, -34.5), (-46, -33.5)], 1.8, tissue["mucosa"] * 0.7, soft_mm=0.5)


def paint_mouth(head: Head, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the oral cavity, the tongue with its fibres, the muscles of the floor, teeth and mandible."""
    gap = rng.uniform(0.0, 4.0)
    tongue = np.array(_TONGUE, dtype=float) + rng.normal(0, 0.6, (len(_TONGUE), 2))
    head.fill(spline(tongue + np.array([1.0, -1.0]) * gap * (tongue[:, 1:] < 5)), 0.01)
    outline = spline(tongue)
    head.fill(outline, tissue["tongue"], grain=0.08, smooth=0.12, mottle=0.16)
    for k in range(16):
        turn = np.radians(-95 + 7.3 * k + rng.normal(0, 2.5))
        far = np.array(_CHIN) + np.array([49 * np.cos(turn), 40 * np.sin(turn)]) * rng.uniform(0.7, 0.9)
        near = np.array(_CHIN) + 0.18 * (far - np.array(_CHIN))
        bend = (near + far) / 2 + rng.normal(0, 1.0, 2)
        tone = tissue["tongue"] * (rng.uniform(1.2, 1.8) if k % 2 else rng.uniform(0.6, 0.9))
        head.line([near, bend, far], [0.8, rng.uniform(1, 2.2), 1.2], tone, soft_mm=0.7, opacity=0.4)
    rim = spline([(-73, -20), (-62, -27), (-48, -29), (-36, -23), (-30, -12)], closed=False)
    head.fill(ribbon(rim, 2.2), tissue["tongue"] * rng.uniform(1.1, 1.7), soft_mm=0.8, opacity=0.6)
    tonsil = [(-29, -14), (-27.5, -4), (-27.5, 5), (-31, 13)]
    head.line(tonsil, [2, 4, 4.5, 2], tissue["mucosa"] * 0.8, soft_mm=0.8, opacity=0.7)
    head.line([(-76, 4), (-62, 8), (-50, 9)], [2, 4, 2], tissue["fat"] * 0.6, soft_mm=1.2, opacity=0.5)
    head.line([(-78, 13), (-62, 15), (-46, 18)], [3, 4.5, 3], tissue["muscle"], soft_mm=0.7, opacity=0.9)
    head.line([(-80, 17), (-64, 19.5), (-48, 22)], 1.8, tissue["muscle"] * 0.7, soft_mm=0.6, opacity=0.8)
    for y, lean, x in ((-25.5, 0.3, -90), (-11, -0.2, -88.5)):
        head.fill(ellipse((x, y), (2.5, 6.5), angle=lean, power=2.4), CORTEX, soft_mm=0.4)
    jaw = np.array([(-89.5, -7), (-84.5, -7), (-82.5, 0), (-79.5, 6), (-80, 14), (-84, 19), (-90, 18), (-92.5, 11),
                    (-91, 2)])  # fmt: skip
    head.bone(
        spline(jaw + rng.normal(0, 0.4, jaw.shape)), tissue["marrow"] * rng.uniform(1.0, 1.6), rng.uniform(1.3, 2)
    )


def paint_airway(head: Head, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint nasopharynx and oropharynx with the soft palate hanging between them, and their mucosa."""
    wide = rng.uniform(0.55, 1.25)
    wall = np.array(
        [(-28, -63), (-19, -53), (-15, -42), (-14.5, -28), (-14.5, -12), (-14.5, 4), (-15, 18), (-15.5, 32)]
    )
    depth = np.array([7, 15, 15, 9, 9, 9, 11, 8]) * wide
    adenoid = rng.uniform(0, 1) ** 2
    wall = wall - np.array([1.0, 0]) * (np.array([4, 7, 3, 0, 0, 0, 0, 0]) * adenoid)[:, None]
    lumen = np.concatenate([wall, (wall - np.stack([depth, 0 * depth], axis=1))[::-1]])
    roof = [(-32, -66), (-22, -59), (-13, -47), (-11.8, -34), (-12.2, -10), (-12.8, 20)]
    head.line(roof, [3, 6, 6, 3.2, 3, 3], tissue["mucosa"] * rng.uniform(0.6, 1.0), soft_mm=0.7, opacity=0.8)
    head.fill(spline(lumen), 0.0, soft_mm=0.4)
    drop = rng.uniform(-3, 5)
    palate = [(-47, -36), (-36, -35), (-27, -28), (-22.5, -18 + 0.5 * drop), (-22, -10 + drop)]
    head.line(
        palate, (np.array([4, 6.5, 8, 6.5, 2.5]) * rng.uniform(0.85, 1.2)).tolist(), tissue["gland"] * 1.1, opacity=0.95
    )
    head.line(palate[:4], 1.2, tissue["fat"] * 0.6, soft_mm=0.8, opacity=0.4)
