"""Paint what lies behind the canal near the midline: spinous processes or laminae, their ligaments and fat."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.raster import Canvas, ellipse, ribbon, spline
from meddet.phantom.study import Slice
from meddet.phantom.tissue import Tissue

_PROCESS = np.array([(-1, -0.35), (-0.8, -0.7), (-0.3, -0.7), (0.3, -0.75), (0.8, -0.95), (1, -0.4),
                     (0.98, 0.5), (0.75, 1.0), (0.2, 0.8), (-0.4, 0.8), (-0.85, 0.7), (-1, 0.3)])  # fmt: skip
"""A spinous process, root to the left: a waist, a tip that is thicker."""
_NUM = 11
_LENGTH = np.array([21, 11, 12, 13, 16, 22, 23.5, 23, 23, 23, 23.0])
_HALF_HEIGHT = np.array([7.4, 3.6, 3.6, 3.8, 4.4, 5.4, 5.4, 5.2, 5.0, 5.0, 5.0])
_SLOPE_DEG = np.array([8, 16, 20, 22, 24, 24, 28, 34, 42, 46, 50.0])
_LAMINA = (9.5, 3.7, 42.0)
"""Length, half height and further slope of a lamina, which a slice beside the midline shows instead."""


def _oriented(points: Float[ndarray, "n 2"], centre: Float[ndarray, " 2"], angle: float) -> Float[ndarray, "n 2"]:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]], axis=1) + centre


class _Frame:
    """Where each process leaves the canal, and the directions to the back and down there."""

    def __init__(self, picture: Slice):
        canal = picture.canal
        middles = (canal.disc_at[:-1] + canal.disc_at[1:]) / 2
        self.canal = canal
        self.arcs = np.concatenate([[canal.disc_at[0] - 8], middles]) + 3.0

    def root(self, arc: float) -> tuple[Float[ndarray, " 2"], Float[ndarray, " 2"], Float[ndarray, " 2"]]:
        """Give the point on the lamina at an arc length, and the unit vectors backwards and down."""
        lamina = float(np.interp(arc, self.canal.arc, self.canal.lamina))
        root = self.canal.at(arc, lamina)[0]
        across = self.canal.at(arc, lamina + 1)[0] - root
        return root, across, np.array([-across[1], across[0]])


def paint_posterior(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint processes C2 to T5 (laminae beside the midline), the tissue between them, yellow ligaments, fat."""
    beside = float(np.clip((abs(picture.z_mm) - 1.5) / 4.5, 0, 1))
    size = picture.patient.body.size
    lengths = _LENGTH * size * rng.normal(1, 0.09, _NUM)
    heights = _HALF_HEIGHT * rng.normal(1, 0.1, _NUM)
    slopes = _SLOPE_DEG + rng.normal(0, 5, _NUM)
    away = rng.random(_NUM)
    lengths = (1 - beside) * lengths + beside * _LAMINA[0]
    heights = (1 - beside) * heights + beside * _LAMINA[1]
    slopes = np.radians(slopes + beside * _LAMINA[2])
    frame = _Frame(picture)
    _interspinous(canvas, frame, lengths, slopes, tissue, rng)
    for k in range(_NUM):
        root, across, down = frame.root(float(frame.arcs[k]))
        axis = np.cos(slopes[k]) * across + np.sin(slopes[k]) * down
        centre = root + axis * (lengths[k] / 2 + 0.3)
        shape = spline(_PROCESS + rng.normal(0, 0.08, _PROCESS.shape)) * np.array([lengths[k] / 2, heights[k]])
        outline = _oriented(shape, centre, float(np.arctan2(axis[1], axis[0])))
        partial = 4 * beside * (1 - beside)
        seen = 1 - 0.45 * max(partial, away[k] if 1 <= k <= 4 else 0.3 * away[k])
        tone = tissue["marrow"] * rng.normal(0.82, 0.1)
        canvas.bone(outline, tone, wall_mm=0.9, soft_mm=0.3 + 0.3 * partial, opacity=seen, mottle=0.13)
        if k < _NUM - 1:
            _yellow_ligament(canvas, frame, k, tissue, rng)


def _interspinous(
    canvas: Canvas, frame: _Frame, lengths: ndarray, slopes: ndarray, tissue: Tissue, rng: np.random.Generator
) -> None:
    """Paint the ligaments between the processes with streaks of fat, brighter from C7 down."""
    bed = [frame.root(float(frame.arcs[0]) - 9)[0]]
    tips = [bed[0] + 14 * frame.root(float(frame.arcs[0]) - 9)[1]]
    for k in range(_NUM):
        root, across, down = frame.root(float(frame.arcs[k]))
        bed.append(root)
        tips.append(root + 1.0 * lengths[k] * (np.cos(slopes[k]) * across + np.sin(slopes[k]) * down))
    region = np.concatenate([spline(np.array(bed), closed=False), spline(np.array(tips), closed=False)[::-1]])
    canvas.fill(region, tissue["interspinous"], grain=0.08, smooth=0.2, mottle=0.15, soft_mm=1.0, opacity=0.85)
    for k in range(_NUM - 1):
        gap = frame.arcs[k + 1] - frame.arcs[k]
        for _ in range(int(rng.integers(2, 6))):
            part = rng.uniform(0.25, 0.75)
            root, across, down = frame.root(float(frame.arcs[k] + part * gap))
            slope = slopes[k] * (1 - part) + slopes[k + 1] * part + rng.normal(0, 0.12)
            axis = np.cos(slope) * across + np.sin(slope) * down
            reach = lengths[k] * (1 - part) + lengths[k + 1] * part
            start, stop = np.sort(rng.uniform(0.02, 1.05, 2)) * reach
            bend = rng.normal(0, 0.8) * np.array([-axis[1], axis[0]])
            path = root + np.stack([start * axis, (start + stop) / 2 * axis + bend, stop * axis])
            bright = rng.random() < (0.6 if k < 5 else 0.75)
            tone = tissue["fat"] * rng.uniform(0.4, 0.95) if bright else tissue["ligament"]
            width = rng.uniform(0.8, 2.0) * (1.0 if k < 5 else 1.5)
            canvas.fill(
                ribbon(spline(path, closed=False), width), tone, mottle=0.15, soft_mm=0.6,
                opacity=rng.uniform(0.4, 0.9),
            )  # fmt: skip


def _yellow_ligament(canvas: Canvas, frame: _Frame, k: int, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the yellow ligament between two laminae, and the fat between it and the dura."""
    between = float(frame.arcs[k] + 0.62 * (frame.arcs[k + 1] - frame.arcs[k]))
    offset = float(np.interp(between, frame.canal.arc, frame.canal.lamina))
    reach = rng.uniform(3.5, 5)
    line = np.concatenate([frame.canal.at(between - reach, offset), frame.canal.at(between + reach, offset - 0.2)])
    canvas.fill(ribbon(line, rng.uniform(1.2, 2.2)), tissue["ligament"], soft_mm=0.35)
    amount = rng.uniform(0.3, 1.0)
    fat = frame.canal.at(between - 4.5, offset - 0.6)[0]
    half = (0.7 + 0.5 * amount, 1.5 + 1.5 * amount)
    canvas.fill(ellipse(fat, half), tissue["fat"] * 0.8, soft_mm=0.4, opacity=amount)
