"""Paint the two uppermost vertebrae: C2 with its dens and the dark line below it, and the arches of C1."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.canal import dens_frame
from meddet.phantom.raster import Canvas, ellipse, ribbon, spline
from meddet.phantom.spine import Spine
from meddet.phantom.tissue import Tissue


def axis_outline(spine: Spine, tip_mm: float, lean: float) -> Float[ndarray, "n 2"]:
    """Give the outline of C2; heights are mm above C2/3 in a mean adult, `lean` tilts the dens (mm at its tip)."""
    half = spine.depths[0] / 2 / spine.size
    low = spine.edge(0, -1, np.array([0.95, 0.5, 0.0, -0.5, -0.9, -1.04]))
    height = np.array([3.6, 8.5, 13, 18, 23, 28, tip_mm - 4, tip_mm - 0.8])
    front = np.array([0.4 - half, 2.0 - half, -6.6, -6.0, -5.4, -5.7, -5.0, -2.4])
    back = np.array([half - 0.3, half - 0.9, 6.6, 6.0, 5.3, 5.7, 4.9, 2.6])
    shift = lean * np.clip((height - 12) / 24, 0, 1)
    return spline(
        np.concatenate([low, dens_frame(spine, height, front + shift), dens_frame(spine, height, back + shift)[::-1]])
    )


def synchondrosis(spine: Spine, rng: np.random.Generator) -> Float[ndarray, "n 2"]:
    """Draw the course of the remnant of the disc between dens and body: 13-17 mm above C2/3, 40-90 % of the depth."""
    height, share = rng.uniform(13, 17), rng.uniform(0.4, 0.9)
    across = rng.uniform(-0.8, 0.8) + share * 6.2 * np.linspace(-1, 1, 9)
    sag = rng.uniform(-0.5, 0.5) * np.cos(np.linspace(-2, 2, 9)) + rng.normal(0, 0.12, 9)
    return dens_frame(spine, (height + sag) / spine.size, across)


def paint_axis(canvas: Canvas, spine: Spine, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint C2 and the arches of C1, with the ligament and the fat at the tip of the dens."""
    tip, lean = rng.uniform(35.5, 39.5), rng.normal(0, 1.2)
    pad = spline(dens_frame(spine, np.array([36.0, 44, 45, 38, 33]), np.array([-9.0, -8, 0, 1, -4])))
    canvas.fill(pad, tissue["fat"] * rng.uniform(0.3, 0.7), mottle=0.15, soft_mm=0.6, opacity=0.8)
    band = dens_frame(spine, np.array([tip - 1, 44.5]), np.array([lean, -1.5]))
    canvas.fill(ribbon(band, 1.4), tissue["ligament"], soft_mm=0.3)
    canvas.bone(
        axis_outline(spine, tip, lean), tissue["marrow"] * rng.normal(0.97, 0.05), wall_mm=0.85, mottle=0.08,
        soft_mm=0.15,
    )  # fmt: skip
    if rng.random() < 0.5:
        line = ribbon(synchondrosis(spine, rng), rng.uniform(0.6, 1.2))
        canvas.fill(line, rng.uniform(0.03, 0.12), soft_mm=0.1)
    elif rng.random() < 0.5:
        scar = ribbon(synchondrosis(spine, rng), rng.uniform(1.5, 3))
        canvas.fill(scar, tissue["marrow"] * rng.uniform(0.6, 0.8), soft_mm=0.7, opacity=0.7)
    arch = dens_frame(spine, np.array([rng.uniform(29, 32)]), np.array([rng.uniform(-11, -10)]))[0]
    half = (rng.uniform(2.6, 3.4), rng.uniform(4.4, 5.8))
    canvas.bone(ellipse(arch, half, angle=rng.uniform(-0.25, 0.15), power=2.3), tissue["marrow"], wall_mm=1.0)


def paint_posterior_arch(canvas: Canvas, spine: Spine, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the posterior arch of C1 behind the dura, in the fat below the occiput."""
    place = dens_frame(spine, np.array([rng.uniform(25, 28)]), np.array([rng.uniform(30, 33)]))[0]
    half = (rng.uniform(3.2, 4.6), rng.uniform(2.6, 3.6))
    outline = ellipse(place, half, angle=rng.uniform(0.0, 0.5), power=2.2)
    canvas.bone(outline, tissue["marrow"] * 0.9, wall_mm=1.1, soft_mm=0.3)
