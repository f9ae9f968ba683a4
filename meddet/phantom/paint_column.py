"""Paint vertebral bodies and discs, C3 to T6, with the marks of age."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.raster import CORTEX, Canvas, ellipse, ribbon
from meddet.phantom.spine import NUM_DISCS, Spine
from meddet.phantom.study import ENDPLATE_MM, Slice, disc_outline
from meddet.phantom.tissue import Tissue

_PHASE = np.arange(64) / 64 * 2 * np.pi


def vertebra_outline(
    spine: Spine, index: int, *, shrink_mm: float = 0.0, dents: Float[ndarray, " 3"] | None = None
) -> Float[ndarray, "n 2"]:
    """Give the outline of C3 (0) to T6 (10): the endplates of its discs, rounded corners, a waist.

    `dents` are amplitudes in mm of three waves along the wall, for no two bodies are alike.
    """
    power = 2 / 5.5
    u = np.sign(np.cos(_PHASE)) * np.abs(np.cos(_PHASE)) ** power
    v = np.sign(np.sin(_PHASE)) * np.abs(np.sin(_PHASE)) ** power
    half = np.sqrt(((spine.centres[index + 1] - spine.centres[index]) ** 2).sum()) / 2 - 2.3
    wave = 0.0 if dents is None else sum(a * np.sin((k + 3) * _PHASE + 9 * a) for k, a in enumerate(dents))
    u = u * (1 - (shrink_mm + wave) / (spine.depths[index] / 2))
    v = v * (1 - shrink_mm / half)
    waist = 1 - np.where(u < 0, 0.085, 0.055) * (1 - v**2)
    top, bottom = spine.edge(index, 1, u * waist), spine.edge(index + 1, -1, u * waist)
    return top * ((1 - v) / 2)[:, None] + bottom * ((1 + v) / 2)[:, None]


def paint_bodies(canvas: Canvas, spine: Spine, tissue: Tissue, rng: np.random.Generator, *, plate_mm: float) -> None:
    """Paint the vertebral bodies; a chemical shift makes one endplate of each thicker than the other."""
    mottle, island = rng.uniform(0.03, 0.1), rng.uniform(0.0, 1.5)
    shift = rng.uniform(-0.3, 0.3)
    for index in range(NUM_DISCS - 1):
        dents = rng.uniform(-0.2, 0.2, 3)
        along = spine.tangent(index)
        canvas.fill(vertebra_outline(spine, index, dents=dents), CORTEX, smooth=0)
        tone = tissue["marrow"] * rng.normal(1, 0.04)
        inner = vertebra_outline(spine, index, shrink_mm=plate_mm - 0.1, dents=dents) + shift * along
        canvas.fill(inner, tone, grain=0.06, smooth=0.07, mottle=mottle, soft_mm=0.15)
        centre = (spine.centres[index] + spine.centres[index + 1]) / 2
        for _ in range(int(rng.poisson(island))):
            place = centre + rng.uniform(-5, 5) * spine.normal(index) + rng.uniform(-3.5, 3.5) * along
            half = (rng.uniform(1, 3), rng.uniform(0.8, 2))
            canvas.fill(ellipse(place, half), tone * rng.uniform(0.8, 1.3), soft_mm=0.7, opacity=0.6)
        _vein(canvas, spine, index, tone * rng.uniform(0.75, 1.6), rng)
    if rng.random() < 0.04:
        index = int(rng.integers(0, NUM_DISCS - 1))
        _haemangioma(canvas, spine, index, tissue, rng)
    for disc in range(NUM_DISCS - 1):
        if rng.random() < 0.1 + 0.6 * spine.degeneration[disc]:
            _beak(canvas, spine, disc, tissue, rng)


def _vein(canvas: Canvas, spine: Spine, index: int, tone: float, rng: np.random.Generator) -> None:
    """Paint the notch of the basivertebral vein in the middle of the posterior wall."""
    root = (spine.back(index) + spine.back(index + 1)) / 2 - 0.5 * spine.normal(index)
    along = rng.uniform(-0.6, 0.6) * spine.tangent(index)
    notch = np.stack([root + along, root + along - rng.uniform(2, 6.5) * spine.normal(index)])
    canvas.fill(ribbon(notch, np.array([rng.uniform(1.8, 3.4), 0.4])), tone, soft_mm=0.35, opacity=0.75)


def _haemangioma(canvas: Canvas, spine: Spine, index: int, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint a bright round lesion with dark trabeculae."""
    centre = (spine.centres[index] + spine.centres[index + 1]) / 2 + rng.normal(0, 1.8, 2)
    half = (rng.uniform(2, 4.5), rng.uniform(2, 4))
    canvas.fill(ellipse(centre, half), min(1.7 * tissue["marrow"], 1.1), grain=0.15, mottle=0.15, soft_mm=0.4)
    for x in (-0.5, 0.0, 0.5):
        line = centre + np.stack([np.full(2, x * half[0]), np.array([-0.7, 0.7]) * half[1]], axis=1)
        canvas.fill(ribbon(line, 0.5), tissue["marrow"] * 0.7, soft_mm=0.15, opacity=0.7)


def modic_discs(spine: Spine, age: float, rng: np.random.Generator) -> list[int]:
    """Choose the discs with Modic changes: 10 % of patients at 50, more with age, the most degenerate disc."""
    worst = int(np.argmax(np.round(spine.degeneration[:6], 6)))
    return [worst] if rng.random() < 0.1 * age / 50 else []


def paint_modic(canvas: Canvas, spine: Spine, disc: int, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint bands in the marrow on both sides of a disc: bright (oedema, fat) or dark (sclerosis)."""
    tone = tissue["marrow"] * float(rng.choice([0.5, 1.4, 1.6]))
    u = np.linspace(-0.8, rng.uniform(0.1, 0.8), 9)
    for side in (-1, 1):
        thick = rng.uniform(1.8, 3.6)
        band = spine.edge(disc, side, u) + side * (ENDPLATE_MM + thick / 2) * spine.tangent(disc)
        canvas.fill(ribbon(band, thick), tone, mottle=0.08, soft_mm=0.5, opacity=0.75)


def _beak(canvas: Canvas, spine: Spine, disc: int, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint an osteophyte at the anterior corners above and below a disc."""
    for side in (-1, 1):
        corner = spine.edge(disc, side, np.array([-0.9]))[0] + side * 0.5 * spine.tangent(disc)
        length = rng.uniform(0.8, 3.0)
        tip = corner - length * spine.normal(disc) - side * rng.uniform(-0.3, 0.7) * spine.tangent(disc)
        root = corner + side * rng.uniform(2.2, 3.6) * spine.tangent(disc)
        back = corner + 1.5 * spine.normal(disc) + side * 1.2 * spine.tangent(disc)
        beak = np.stack([back, corner, tip, (tip + root) / 2 + 0.3 * spine.normal(disc), root])
        canvas.fill(beak, CORTEX, soft_mm=0.1)
        inner = beak.mean(axis=0)
        canvas.fill(inner + 0.55 * (beak - inner), tissue["marrow"] * 0.85, soft_mm=0.25)


def paint_discs(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator, *, plate_mm: float) -> None:
    """Paint the discs C2/3 to T6/7 without what protrudes behind the six labelled ones."""
    spine = picture.patient.spine
    for disc in range(NUM_DISCS):
        if disc == picture.patient.fused:
            canvas.fill(disc_outline(spine, disc, grow_mm=1.2), tissue["marrow"], grain=0.1, smooth=0.1)
        elif disc == spine.block:
            _rudiment(canvas, spine, disc, tissue)
        else:
            _disc(canvas, spine, disc, tissue, rng, plate_mm=plate_mm)


def _rudiment(canvas: Canvas, spine: Spine, disc: int, tissue: Tissue) -> None:
    """Paint the disc of a block vertebra: a thin dark remnant, marrow in front of and behind it."""
    canvas.fill(disc_outline(spine, disc, grow_mm=1.0), tissue["marrow"], grain=0.06, smooth=0.08)
    u = np.linspace(-0.55, 0.7, 9)
    middle = (spine.edge(disc, -1, u) + spine.edge(disc, 1, u)) / 2
    canvas.fill(ribbon(middle, 0.35 * spine.heights[disc]), tissue["annulus"], soft_mm=0.2)
    rim = spine.edge(disc, 0, np.linspace(-1, 1, 2))
    for end in rim:
        wall = end + np.linspace(-2, 2, 2)[:, None] * spine.tangent(disc)
        canvas.fill(ribbon(wall, 0.8), CORTEX)


def _disc(
    canvas: Canvas, spine: Spine, disc: int, tissue: Tissue, rng: np.random.Generator, *, plate_mm: float
) -> None:
    state = float(spine.degeneration[disc])
    height = float(spine.heights[disc])
    canvas.fill(disc_outline(spine, disc, grow_mm=plate_mm), CORTEX, smooth=0)
    canvas.fill(disc_outline(spine, disc, grow_mm=-0.05), tissue["annulus"] * rng.normal(1.1, 0.15), mottle=0.1)
    u = np.linspace(-rng.uniform(0.55, 0.78), rng.uniform(0.5, 0.72), 11)
    middle = (spine.edge(disc, -1, u) + spine.edge(disc, 1, u)) / 2
    shape = np.sqrt(1 - (np.linspace(-1, 1, 11) * 0.95) ** 2)
    tone = tissue.nucleus(state) * rng.normal(1.2, 0.12)
    canvas.fill(
        ribbon(middle, rng.uniform(0.6, 0.82) * height * shape), tone, grain=0.1, mottle=0.15, soft_mm=0.5,
        opacity=1 - 0.15 * state,
    )  # fmt: skip
    core = 1.25 if rng.random() < 0.5 else 0.8
    canvas.fill(ribbon(middle[2:-2], 0.22 * height), tone * core, soft_mm=0.35, opacity=0.6)
    chance = rng.random()
    if chance < 0.05:
        dark, soft = (CORTEX, 0.15) if state > 0.5 else (tissue["annulus"], 0.3)
        canvas.fill(ribbon(middle[1:-1], rng.uniform(0.6, 1.1)), dark, soft_mm=soft, opacity=0.8)
    elif chance > 0.92:
        spot = spine.edge(disc, 1, np.array([0.88]))[0] - 0.3 * height * spine.tangent(disc)
        canvas.fill(ellipse(spot, (0.9, 0.6)), 0.8, soft_mm=0.25)
