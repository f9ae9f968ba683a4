"""Paint vertebrae, discs, canal and spinous processes of one slice."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.classes import LEVELS
from meddet.phantom.canal import LIGAMENT_MM, dens_frame
from meddet.phantom.raster import Canvas, ellipse, ribbon, spline
from meddet.phantom.spine import NUM_DISCS, Spine
from meddet.phantom.study import ENDPLATE_MM, Slice, cap_outline, disc_outline
from meddet.phantom.tissue import Tissue


def vertebra_outline(spine: Spine, index: int, *, shrink_mm: float = 0.0) -> Float[ndarray, "n 2"]:
    """Give the outline of C3 (0) to T6 (10): the endplates of its discs, rounded corners, a waist."""
    phase = np.arange(64) / 64 * 2 * np.pi
    power = 2 / 7.0
    u = np.sign(np.cos(phase)) * np.abs(np.cos(phase)) ** power
    v = np.sign(np.sin(phase)) * np.abs(np.sin(phase)) ** power
    u = u * (1 - shrink_mm / (spine.depths[index] / 2))
    half = np.sqrt(((spine.centres[index + 1] - spine.centres[index]) ** 2).sum()) / 2 - 2.3
    v = v * (1 - shrink_mm / half)
    waist = 1 - np.where(u < 0, 0.075, 0.06) * (1 - v**2)
    top, bottom = spine.edge(index, 1, u * waist), spine.edge(index + 1, -1, u * waist)
    return top * ((1 - v) / 2)[:, None] + bottom * ((1 + v) / 2)[:, None]


def _vertebrae(canvas: Canvas, spine: Spine, tissue: Tissue, rng: np.random.Generator) -> None:
    marrow_fat = rng.uniform(0.05, 0.1)
    for index in range(NUM_DISCS - 1):
        canvas.fill(vertebra_outline(spine, index), tissue["cortex"])
        tone = tissue["marrow"] * rng.normal(1, 0.04)
        canvas.fill(vertebra_outline(spine, index, shrink_mm=0.75), tone, grain=marrow_fat, smooth=0.07)
        middle = (spine.back(index) + spine.back(index + 1)) / 2
        normal = spine.normal(index)
        notch = np.stack([middle - 0.2 * normal, middle - rng.uniform(3, 6.5) * normal])
        vein = tissue["marrow"] * rng.uniform(1.1, 1.5)
        canvas.fill(ribbon(notch, np.array([2.4, 0.5])), vein, soft_mm=0.3, opacity=0.6)
        if rng.random() < 0.008:
            centre = (spine.centres[index] + spine.centres[index + 1]) / 2 + rng.normal(0, 2, 2)
            canvas.fill(ellipse(centre, (rng.uniform(2, 4), rng.uniform(2, 4))), 1.05, grain=0.12, soft_mm=0.4)
        age = spine.degeneration[index]
        if rng.random() < 0.25 * age:
            u = np.linspace(-0.85, 0.85, 9)
            band = ribbon(spine.edge(index, 1, u) + 1.8 * spine.tangent(index), 2.2)
            canvas.fill(band, tissue["marrow"] * rng.choice([0.55, 1.45]), soft_mm=0.5, opacity=0.7)
        if rng.random() < 0.1 + 0.6 * age:
            _beak(canvas, spine, index, tissue, rng)


def _beak(canvas: Canvas, spine: Spine, index: int, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint an osteophyte at the anterior corner above and below a disc."""
    for side in (-1, 1):
        corner = spine.edge(index, side, np.array([-0.93]))[0] + side * 0.6 * spine.tangent(index)
        length = rng.uniform(1.0, 3.0)
        tip = corner - length * spine.normal(index) - side * 0.4 * spine.tangent(index)
        root = corner + side * 2.8 * spine.tangent(index)
        canvas.fill(np.stack([corner, tip, root]), tissue["cortex"])
        inner = (corner + tip + root) / 3
        canvas.fill(inner + 0.5 * (np.stack([corner, tip, root]) - inner), tissue["marrow"], soft_mm=0.2)


def _axis(canvas: Canvas, spine: Spine, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint C2 with its dens and the dark line below it, and the arches of C1."""
    half = spine.depths[0] / 2
    dens = rng.uniform(34.5, 38.5)
    low = 0.65 * spine.heights[0]
    height = np.array([low - 0.8, low, 7, 13, 18, 24, 30, dens - 2.2, dens, dens - 2.2, 30, 24, 18, 13, 7, low])
    across = np.array(
        [
            -0.2,
            -half - 0.6,
            -half + 0.9,
            -half + 1.6,
            -6.2,
            -5.2,
            -5.6,
            -3.8,
            0.3,
            4.2,
            5.6,
            5.0,
            5.6,
            6.4,
            6.9,
            half - 0.2,
        ]
    )
    centre_height, centre_across = 18.0, -0.2
    outer = dens_frame(spine, height, across)
    canvas.fill(spline(outer), tissue["cortex"])
    inner = dens_frame(
        spine, centre_height + 0.95 * (height - centre_height), centre_across + 0.885 * (across - centre_across)
    )
    canvas.fill(spline(inner), tissue["marrow"], grain=0.08, smooth=0.08)
    if rng.random() < 0.5:
        line_height, share = rng.uniform(13, 17), rng.uniform(0.4, 0.9)
        shift = rng.uniform(-1, 1)
        x = shift + share * 6.2 * np.linspace(-1, 1, 7)
        curve = dens_frame(spine, line_height + 0.4 * np.cos(np.linspace(-2, 2, 7)), x)
        canvas.fill(ribbon(curve, rng.uniform(0.8, 1.5)), rng.uniform(0.04, 0.15), soft_mm=0.12)
    arch = rng.uniform(-0.15, 0.15)
    front = dens_frame(spine, np.array([29.0]), np.array([-10.2]))[0]
    canvas.fill(ellipse(front, (3.4, 5.6), angle=arch), tissue["cortex"])
    canvas.fill(ellipse(front, (2.3, 4.4), angle=arch), tissue["marrow"], grain=0.1)
    behind = dens_frame(spine, np.array([25.5]), np.array([30.5]))[0]
    canvas.fill(ellipse(behind, (4.4, 3.6), angle=0.3), tissue["cortex"])
    canvas.fill(ellipse(behind, (3.2, 2.4), angle=0.3), tissue["marrow"], grain=0.1)


def _discs(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    spine = picture.patient.spine
    for disc in range(NUM_DISCS):
        state = float(spine.degeneration[disc])
        if disc == picture.patient.fused:
            outline = disc_outline(spine, disc, grow_mm=1.2)
            canvas.fill(outline, tissue["marrow"], grain=0.1, smooth=0.1)
            continue
        canvas.fill(disc_outline(spine, disc, grow_mm=ENDPLATE_MM), tissue["cortex"])
        canvas.fill(disc_outline(spine, disc, grow_mm=-0.1), tissue["annulus"], grain=0.08)
        u = np.linspace(-0.62, 0.6, 9)
        middle = (spine.edge(disc, -1, u) + spine.edge(disc, 1, u)) / 2
        thick = (0.62 * spine.heights[disc]) * np.sqrt(1 - (np.linspace(-1, 1, 9) * 0.93) ** 2)
        canvas.fill(ribbon(middle, thick), tissue.nucleus(state) * rng.normal(1.05, 0.08), grain=0.1, soft_mm=0.55)
        chance = rng.random()
        if chance < 0.06 + 0.5 * max(0.35 - state, 0):
            canvas.fill(ribbon(middle[1:-1], 0.8), tissue["annulus"], soft_mm=0.3, opacity=0.5)
        elif chance > 0.92:
            spot = spine.edge(disc, 1, np.array([0.88]))[0] - 0.3 * spine.heights[disc] * spine.tangent(disc)
            canvas.fill(ellipse(spot, (0.9, 0.6)), 0.8, soft_mm=0.25)


def _protrusions(canvas: Canvas, picture: Slice, tissue: Tissue) -> None:
    patient = picture.patient
    for box in picture.boxes:
        if box.depth_mm < 0.1:
            continue
        outline = cap_outline(patient.spine, patient.pathology, box.level, box.depth_mm)
        spur = bool(patient.pathology.osteophyte[box.level])
        canvas.fill(outline, 0.05 if spur else tissue["cap"], grain=0.08)
        if picture.patient.pathology.migration[box.level]:
            canvas.fill(outline, tissue.nucleus(0.4), soft_mm=0.8, opacity=0.5)


def _canal(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    canal = picture.canal
    zero = np.zeros_like(canal.arc)
    top = float(canal.disc_at[0]) - 30.0
    canvas.fill(canal.band(zero, canal.lamina, top), tissue["soft"] * 1.2, grain=0.1)
    _protrusions(canvas, picture, tissue)
    for index in range(NUM_DISCS - 1):
        if rng.random() < 0.35:
            arc = (canal.disc_at[index] + canal.disc_at[index + 1]) / 2 + rng.normal(0, 1.5)
            canvas.fill(ellipse(canal.at(arc, 0.45)[0], (0.5, rng.uniform(0.8, 2))), rng.uniform(0.6, 1.2), soft_mm=0.2)
    canvas.fill(canal.band(canal.dura_front - LIGAMENT_MM, canal.dura_front + 0.1, top), tissue["ligament"])
    canvas.fill(canal.band(canal.dura_back - 0.1, canal.dura_back + LIGAMENT_MM, top), tissue["ligament"])
    canvas.fill(canal.band(canal.dura_front, canal.dura_back, top), 1.0, grain=0.03, smooth=0.05)
    if rng.random() < 0.3:
        arc = canal.disc_at[0] + rng.uniform(-15, 60)
        low, high = canal.cord_back + 0.4, canal.dura_back - 0.4
        canvas.scale(canal.band(low, high, arc, arc + rng.uniform(10, 45)), float(rng.uniform(0.5, 0.9)))
    if canal.cord_back.max() - canal.cord_front.max() > 0.5:
        _cord(canvas, picture, tissue, rng)


def _cord(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    canal = picture.canal
    canvas.fill(
        canal.band(canal.cord_front, canal.cord_back, float(canal.disc_at[0]) - 31.0),
        tissue["cord"],
        grain=0.03,
        smooth=0.04,
        soft_mm=0.15,
    )
    middle = (canal.cord_front + canal.cord_back) / 2
    canvas.fill(
        canal.band(middle - 0.9, middle + 0.9, float(canal.disc_at[0]) - 25.0),
        tissue["cord"] * 1.12,
        soft_mm=0.5,
        opacity=0.5,
    )
    for level in range(len(LEVELS)):
        if canal.compression[level] > 0.15 and rng.random() < 0.15:
            arc = canal.disc_at[level]
            spot = canal.at(arc, float(np.interp(arc, canal.arc, middle)))[0]
            canvas.fill(ellipse(spot, (1.2, 3.5)), 0.85, soft_mm=0.6, opacity=0.8)


_PROCESS = np.array([(-1, -0.35), (-0.8, -0.75), (-0.3, -0.7), (0.3, -0.75), (0.8, -0.95), (1, -0.4),
                     (0.98, 0.5), (0.75, 1.0), (0.2, 0.8), (-0.4, 0.95), (-0.85, 0.8), (-1, 0.3)])  # fmt: skip
"""A spinous process, root to the left: a waist, a tip that is thicker."""


def _oriented(points: Float[ndarray, "n 2"], centre: Float[ndarray, " 2"], angle: float) -> Float[ndarray, "n 2"]:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]], axis=1) + centre


def _processes(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the spinous processes of C2 to T5 behind the canal, and yellow ligaments between them."""
    canal = picture.canal
    arcs = np.concatenate([[canal.disc_at[0] - 8], (canal.disc_at[:-1] + canal.disc_at[1:]) / 2])
    lengths = (
        np.array([19, 13, 14, 15, 20, 29, 31, 30, 29, 29, 29]) * picture.patient.body.size * rng.normal(1, 0.08, 11)
    )
    heights = np.array([6.5, 3.8, 3.8, 4.0, 4.6, 5.4, 5.6, 5.4, 5.2, 5.2, 5.2]) * rng.normal(1, 0.08, 11)
    slopes = np.radians(np.array([10, 18, 20, 22, 24, 26, 32, 38, 42, 46, 50]) + rng.normal(0, 5, 11))
    seen = float(np.clip(1.3 - abs(picture.z_mm) / 7, 0.25, 1))
    for k in range(11):
        arc = arcs[k] + 3.0
        lamina = float(np.interp(arc, canal.arc, canal.lamina))
        root = canal.at(arc, lamina)[0]
        across = canal.at(arc, lamina + 1)[0] - root
        down = np.array([-across[1], across[0]])
        axis = np.cos(slopes[k]) * across + np.sin(slopes[k]) * down
        centre = root + axis * (lengths[k] / 2 + 0.5)
        angle = float(np.arctan2(axis[1], axis[0]))
        half = (lengths[k] / 2, heights[k])
        shape = _PROCESS + rng.normal(0, 0.06, _PROCESS.shape)
        outline = _oriented(spline(shape) * np.array(half), centre, angle)
        canvas.fill(outline, tissue["cortex"], opacity=seen, soft_mm=0.15)
        inner = _oriented(spline(shape) * (np.array(half) - 0.8), centre, angle)
        tone = tissue["marrow"] * rng.normal(0.92, 0.08)
        canvas.fill(inner, tone, grain=0.1, smooth=0.16, opacity=seen, soft_mm=0.25)
        if k < 10:
            between = arcs[k] + 0.62 * (arcs[k + 1] - arcs[k]) + 3
            offset = float(np.interp(between, canal.arc, canal.lamina))
            flavum = np.concatenate([canal.at(between - 4.5, offset - 0.2), canal.at(between + 4.5, offset - 0.2)])
            canvas.fill(ribbon(flavum, 1.8), tissue["ligament"], soft_mm=0.3)
            fat = canal.at(between - 4.5, offset - 0.5)[0] + 0.8 * across
            canvas.fill(ellipse(fat, (1.0, 2.4)), tissue["fat"] * 0.8, soft_mm=0.3, opacity=0.8)


def paint_spine(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the column over whatever the canvas holds."""
    spine = picture.patient.spine
    _processes(canvas, picture, tissue, rng)
    normals = np.stack([np.cos(spine.angles), -np.sin(spine.angles)], axis=1)
    below = spine.centres - (spine.depths / 2 + 0.6)[:, None] * normals
    front = np.concatenate([dens_frame(spine, np.array([36.0, 20, 8]), np.array([-6.5, -8, -9])), below])
    canvas.fill(ribbon(spline(front, closed=False), 1.6), tissue["ligament"])
    _vertebrae(canvas, spine, tissue, rng)
    _axis(canvas, spine, tissue, rng)
    _discs(canvas, picture, tissue, rng)
    _canal(canvas, picture, tissue, rng)
