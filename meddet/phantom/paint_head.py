"""Paint the head: face, mouth, airway, skull base, brain stem and cerebellum, in mm from C2/3 of a mean adult."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.paint_neck import Habitus
from meddet.phantom.raster import Canvas, Number, Outline, ellipse, ribbon, spline
from meddet.phantom.spine import Spine
from meddet.phantom.tissue import Tissue

_FACE = [
    (-86, -128), (-92, -92), (-96, -80), (-104, -62), (-112, -50), (-109, -43), (-98, -40), (-99, -34), (-103, -27),
    (-97, -20), (-101, -13), (-95, -6), (-97, 4), (-97, 13), (-88, 23), (-72, 25), (-56, 28), (-44, 40),
]  # fmt: skip
_TONGUE = [
    (-76, -12), (-70, -24), (-54, -30), (-38, -26), (-27, -12), (-25, 4), (-31, 15), (-46, 17), (-62, 14), (-76, 8),
]  # fmt: skip
_CEREBELLUM = [
    (20, -80), (28, -92), (48, -98), (64, -88), (70, -74), (64, -58), (50, -48), (36, -47), (27, -54), (23, -66),
]  # fmt: skip
_STEM = [
    (-8, -100), (-9, -86), (-12, -80), (-13, -70), (-9, -61), (0, -58), (4, -48), (9, -38), (12.5, -28), (20.5, -26),
    (19, -38), (16, -48), (15, -58), (17, -66), (16, -78), (12, -90), (10, -100),
]  # fmt: skip


def _placed(points: Outline, spine: Spine, size: float) -> Float[ndarray, "n 2"]:
    """Turn head coordinates by the slope of C2 about the dens."""
    angle = -0.6 * float(spine.angles[0])
    p = (np.asarray(points, dtype=float) - [0, -30]) * size
    c, s = np.cos(angle), np.sin(angle)
    pivot = np.array([-np.sin(-angle), -np.cos(angle)]) * 30 * size
    return np.stack([c * p[:, 0] - s * p[:, 1], s * p[:, 0] + c * p[:, 1]], axis=1) + pivot


class _Head:
    """A canvas that takes head coordinates."""

    def __init__(self, canvas: Canvas, spine: Spine, size: float):
        self._canvas, self._spine, self._size = canvas, spine, size

    def fill(
        self,
        points: Outline,
        value: float,
        *,
        grain: Number = 0.03,
        smooth: Number = 0.04,
        soft_mm: Number = 0.0,
        opacity: Number = 1.0,
    ) -> None:
        """Paint a polygon as `Canvas.fill` does."""
        self._canvas.fill(
            _placed(points, self._spine, self._size),
            value,
            grain=grain,
            smooth=smooth,
            soft_mm=soft_mm,
            opacity=opacity,
        )

    def bone(self, points: ndarray, marrow: float, wall: float) -> None:
        """Paint a bone with a black wall."""
        self.fill(points, 0.02)
        centre = points.mean(axis=0)
        away = points - centre
        length = np.sqrt((away**2).sum(axis=1, keepdims=True))
        self.fill(centre + away * np.maximum(1 - wall / length, 0.2), marrow, grain=0.1, smooth=0.08)

    def plate(self, path: Outline, width: float, marrow: float, wall: float = 1.2) -> None:
        """Paint a flat bone with two black walls."""
        curve = spline(path, closed=False)
        self.fill(ribbon(curve, width), 0.02)
        self.fill(ribbon(curve, max(width - 2 * wall, 0.4)), marrow, grain=0.1)


def _face(head: _Head, tissue: Tissue, rng: np.random.Generator) -> None:
    skin = spline([(x + rng.normal(0, 0.8), y + rng.normal(0, 0.8)) for x, y in _FACE], closed=False)
    inner = np.concatenate([skin, [(-12.0, 40.0), (-4.0, 12.0), (4.0, -128.0)]])
    head.fill(inner, tissue["soft"] * 0.9, grain=0.08, smooth=0.15)
    lips = spline(_FACE[6:16], closed=False) + np.array([4.5, -1.0])
    head.fill(ribbon(lips, 6.0), tissue["fat"] * 0.75, soft_mm=1.2, opacity=0.8, grain=0.1)
    under_chin = spline([(-84, 19), (-70, 20), (-56, 23), (-47, 31), (-44, 42)], closed=False)
    head.fill(ribbon(under_chin, rng.uniform(5, 10)), tissue["fat"] * 0.9, soft_mm=1.0, opacity=0.9)


def _mouth(head: _Head, tissue: Tissue, rng: np.random.Generator) -> None:
    nose = spline([(-100, -50), (-84, -78), (-55, -84), (-36, -70), (-30, -50), (-40, -39), (-70, -38), (-96, -42)])
    head.fill(nose, tissue["soft"] * 0.35, soft_mm=1.0, smooth=0.3)
    for y in (-46, -56, -67):
        path = spline([(-80, y + 1), (-60, y - 1 + rng.normal(0, 1)), (-40, y + 3)], closed=False)
        head.fill(ribbon(path, rng.uniform(3, 5.5)), tissue["mucosa"] * 0.55, soft_mm=1.6, opacity=0.4)
    tongue = spline([(x + rng.normal(0, 1), y + rng.normal(0, 1)) for x, y in _TONGUE])
    head.fill(spline([(-78, -14), (-66, -29), (-46, -34), (-30, -26), (-22, -8), (-24, 6), (-60, 0)]), 0.0, soft_mm=0.3)
    head.fill(tongue, tissue["tongue"], grain=0.1, smooth=0.12)
    for k in range(9):
        turn = np.radians(200 + 13 * k + rng.normal(0, 3))
        far = (-66 + 34 * np.cos(turn + np.pi), 9 + 34 * np.sin(turn + np.pi) * 0.9)
        fibre = spline([(-68, 8), ((-68 + far[0]) / 2 - 1, (8 + far[1]) / 2 - 2), far], closed=False)
        head.fill(
            ribbon(fibre, rng.uniform(0.6, 1.4)), tissue["tongue"] * rng.uniform(1.3, 1.9), soft_mm=0.5, opacity=0.45
        )
    head.plate([(-90, -30), (-84, -36), (-66, -37), (-44, -36)], 4.4, tissue["marrow"] * 0.8)
    palate = spline([(-46, -36), (-34, -33), (-24, -24), (-20, -13)], closed=False)
    head.fill(
        ribbon(
            palate, np.linspace(5, 8, len(palate)) * np.interp(np.linspace(0, 1, len(palate)), [0, 0.8, 1], [1, 1, 0.4])
        ),
        tissue["gland"],
        grain=0.1,
    )
    head.bone(ellipse((-86, 7), (4.8, 12.5), angle=0.18, power=2.6), tissue["marrow"] * 1.05, 1.3)
    for y, lean in ((-24, 0.2), (-11, -0.15)):
        head.fill(ellipse((-91, y), (2.4, 6.5), angle=lean), 0.01)
    head.fill(ribbon(spline([(-84, 17), (-66, 18), (-42, 20)], closed=False), 4.0), tissue["muscle"], soft_mm=0.5)


def _airway(head: _Head, tissue: Tissue) -> None:
    pharynx = spline(
        [
            (-32, -62),
            (-20, -52),
            (-14.5, -38),
            (-15, -18),
            (-14.5, 4),
            (-15, 26),
            (-23, 30),
            (-24, 6),
            (-20, -14),
            (-24, -30),
            (-36, -44),
        ]
    )
    head.fill(pharynx, 0.0, soft_mm=0.3)
    roof = spline([(-30, -64), (-19, -56), (-12.5, -40), (-12.5, -24)], closed=False)
    head.fill(ribbon(roof, 3.4), tissue["mucosa"], soft_mm=0.5, opacity=0.8)


def _skull(head: _Head, tissue: Tissue, rng: np.random.Generator) -> None:
    marrow = tissue["marrow"] * rng.uniform(1.0, 1.25)
    fluid = spline(
        [
            (-22, -128),
            (-24, -84),
            (-4, -50),
            (6, -40),
            (8, -24),
            (26, -20),
            (31, -40),
            (44, -44),
            (66, -54),
            (75, -70),
            (73, -128),
        ]
    )
    head.fill(fluid, 0.95, smooth=0.06, soft_mm=0.5)
    occiput = [(33, -40), (42, -41), (56, -46), (68, -55), (77, -67), (80, -82), (81, -105), (79, -128)]
    head.plate(occiput, rng.uniform(5.5, 8), marrow, 1.4)
    clivus = np.array(
        [(-1, -45), (-7, -43), (-24, -62), (-40, -78), (-40, -90), (-27, -90), (-22, -80), (-10, -60)], dtype=float
    )
    head.bone(spline(clivus), marrow, 1.6)
    head.fill(ellipse((-42, -88), (11, 8), power=2.5), 0.01)


def _brain(head: _Head, tissue: Tissue, rng: np.random.Generator) -> None:
    head.fill(
        spline([(12, -128), (16, -102), (40, -104), (62, -98), (72, -88), (74, -128)]), tissue["grey"], smooth=0.1
    )
    head.fill(spline(_CEREBELLUM), tissue["grey"], grain=0.05, soft_mm=0.3)
    root = np.array([24.0, -72.0])
    for k in range(15):
        turn = np.radians(-92 + 14.5 * k + rng.normal(0, 2))
        reach = np.array([47, 27]) * rng.uniform(0.8, 0.97)
        far = root + np.array([18 * np.cos(turn) + (reach[0] - 18) * max(np.cos(turn), 0), reach[1] * np.sin(turn)])
        path = spline(
            [tuple(root + 0.45 * (far - root)), tuple(root + 0.8 * (far - root) + rng.normal(0, 1, 2)), tuple(far)],
            closed=False,
        )
        head.fill(ribbon(path, rng.uniform(0.7, 1.1)), 0.8, soft_mm=0.35, opacity=0.6)
    for k in range(7):
        turn = np.radians(-75 + 25 * k + rng.normal(0, 4))
        far = root + np.array([27 * np.cos(turn), 19 * np.sin(turn)])
        path = spline([tuple(root), tuple((root + far) / 2 + rng.normal(0, 1, 2)), tuple(far)], closed=False)
        head.fill(ribbon(path, np.linspace(4, 1.2, len(path))), tissue["white"] * 0.8, soft_mm=0.6, opacity=0.8)
    head.fill(spline(_STEM), tissue["white"] * 1.12, grain=0.04, soft_mm=0.4)
    head.fill(ellipse((-2, -72), (8, 10)), tissue["white"] * 1.25, soft_mm=2, opacity=0.6, smooth=0.08)
    head.fill(spline([(16, -84), (24, -71), (18, -56), (15.5, -66)]), 1.05, soft_mm=0.4)
    head.fill(
        ribbon(spline([(-11, -84), (-15, -72), (-9, -62), (2, -52)], closed=False), 1.3), 0.1, soft_mm=0.3, opacity=0.6
    )


def paint_head(canvas: Canvas, spine: Spine, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the head over the trunk; the column comes after it."""
    head = _Head(canvas, spine, habitus.size)
    _face(head, tissue, rng)
    _mouth(head, tissue, rng)
    _airway(head, tissue)
    _skull(head, tissue, rng)
    _brain(head, tissue, rng)
