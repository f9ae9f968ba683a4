"""Paint the column of one slice over whatever the canvas holds: from behind the canal to the front of the bodies."""

import numpy as np

from meddet.phantom.canal import dens_frame
from meddet.phantom.paint_axis import paint_axis, paint_posterior_arch
from meddet.phantom.paint_brain import paint_stem
from meddet.phantom.paint_canal import paint_canal
from meddet.phantom.paint_column import modic_discs, paint_bodies, paint_discs, paint_modic
from meddet.phantom.paint_posterior import paint_posterior
from meddet.phantom.raster import Canvas, ribbon, spline
from meddet.phantom.spine import Spine
from meddet.phantom.study import ENDPLATE_MM, Slice
from meddet.phantom.tissue import Tissue


def _anterior_ligament(canvas: Canvas, spine: Spine, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the black line in front of the bodies, and the fat that lies before it in patches."""
    normals = np.stack([np.cos(spine.angles), -np.sin(spine.angles)], axis=1)
    below = spine.centres - (spine.depths / 2 + 0.7)[:, None] * normals
    front = np.concatenate([dens_frame(spine, np.array([26.0, 20, 13, 6]), np.array([-7.2, -7.6, -8, -9])), below])
    curve = spline(front, closed=False)
    fat = curve - np.array([2.4, 0.0]) * rng.uniform(0.7, 1.3)
    start = int(rng.integers(0, 12))
    stop = start + int(rng.integers(18, 50))
    canvas.fill(
        ribbon(fat[start:stop], rng.uniform(0.8, 1.8)), tissue["fat"] * rng.uniform(0.3, 0.8), mottle=0.15,
        soft_mm=0.4, opacity=0.7,
    )  # fmt: skip
    canvas.fill(ribbon(curve, 1.5), tissue["ligament"], soft_mm=0.15)


def paint_spine(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the column, its canal and the brain stem."""
    patient = picture.patient
    spine = patient.spine
    paint_posterior(canvas, picture, tissue, rng)
    paint_posterior_arch(canvas, spine, tissue, rng)
    _anterior_ligament(canvas, spine, tissue, rng)
    plate_mm = rng.uniform(0.5, ENDPLATE_MM)
    paint_bodies(canvas, spine, tissue, rng, plate_mm=plate_mm)
    for disc in modic_discs(spine, patient.body.age, rng):
        paint_modic(canvas, spine, disc, tissue, rng)
    paint_axis(canvas, spine, tissue, rng)
    paint_discs(canvas, picture, tissue, rng, plate_mm=plate_mm)
    paint_canal(canvas, picture, tissue, rng)
    paint_stem(canvas, picture, tissue, rng)
