"""One slice of the study as an image."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.acquisition import Scan, acquire, coil_gain, window
from meddet.phantom.paint_head import paint_head
from meddet.phantom.paint_neck import draw_habitus, paint_back, paint_front, streaks
from meddet.phantom.paint_spine import paint_spine
from meddet.phantom.presets import Preset, stream
from meddet.phantom.raster import Canvas, ellipse
from meddet.phantom.study import Slice
from meddet.phantom.tissue import Tissue, draw_tissue


@dataclass(frozen=True)
class Picture:
    """A rendered slice."""

    grey: Float[ndarray, "n n"]
    """Grey values for a window of 0..255, unclipped."""
    scan: Scan
    tissue: Tissue


def paint(preset: Preset, item: Slice) -> tuple[Canvas, Float[ndarray, "s s"], Tissue]:
    """Paint the object of a slice; give it with the coil's gain and the tissue signals."""
    patient = item.patient
    shared = stream(preset.seed, patient.number, 0, "tissue")
    tissue = draw_tissue(shared)
    grain = stream(preset.seed, patient.number, item.number, "tissue")
    frame = patient.frame
    canvas = Canvas(
        side=preset.side, fov_mm=frame.fov_mm, rotation=frame.rotation, origin_mm=frame.origin_mm, rng=grain
    )
    around = stream(preset.seed, patient.number, 0, "surroundings")
    habitus = draw_habitus(patient.spine, patient.body.size, around)
    fibres = streaks(canvas, habitus, grain)
    paint_back(canvas, habitus, tissue, fibres, around)
    paint_front(canvas, habitus, tissue, around)
    paint_head(canvas, patient.spine, habitus, tissue, around)
    paint_spine(canvas, item, tissue, shared)
    if patient.fused >= 0:
        spine = patient.spine
        plate = spine.centres[patient.fused] - (spine.depths[patient.fused] / 2 + 3) * spine.normal(patient.fused)
        canvas.scale(ellipse(plate, (7, 13), angle=-float(spine.angles[patient.fused])), 0.03, soft_mm=1.5)
    gain = coil_gain(canvas, habitus, stream(preset.seed, patient.number, 0, "coil"))
    return canvas, gain, tissue


def render(preset: Preset, item: Slice, *, linear: bool) -> Picture:
    """Render a slice; `linear` for files whose window is a line (DICOM)."""
    canvas, gain, tissue = paint(preset, item)
    seed, patient, number = preset.seed, item.patient.number, item.number
    scan = acquire(
        canvas, gain, side=preset.side, mode=preset.mode, ruined=item.patient.exclusion == "quality",
        noise=stream(seed, patient, number, "noise"), artefact=stream(seed, patient, number, "artefact"),
    )  # fmt: skip
    grey = window(scan.magnitude, stream(seed, patient, number, "export"), linear=linear)
    return Picture(grey, scan, tissue)


def to_uint8(grey: Float[ndarray, "n n"]) -> ndarray:
    """Clip and round to 8 bits."""
    return np.floor(np.clip(grey, 0, 255) + 0.5).astype(np.uint8)
