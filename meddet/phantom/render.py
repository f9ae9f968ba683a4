"""One slice of the study as an image."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.acquisition import DECIMALS, Scan, acquire
from meddet.phantom.artefacts import draw_artefacts, paint_metal, severity_of
from meddet.phantom.coil import coil_gain, losses, places
from meddet.phantom.habitus import Habitus, draw_habitus, streaks
from meddet.phantom.look import export, jpeg_severity, window
from meddet.phantom.paint_head import paint_head
from meddet.phantom.paint_neck import paint_back, paint_front
from meddet.phantom.paint_spine import paint_spine
from meddet.phantom.presets import Preset, stream
from meddet.phantom.raster import Canvas, ellipse, upsample
from meddet.phantom.study import Slice
from meddet.phantom.tissue import draw_tissue

RUINED_SIGMA = 0.3
_LEAST_GAIN = 0.25
"""Evening out a sensitivity below this would lift the noise of air above the image; scanners stop there, too."""


@dataclass(frozen=True)
class Picture:
    """A rendered slice."""

    grey: Float[ndarray, "h w"]
    """Grey values for a window of 0..255, unclipped."""
    scan: Scan


def paint(preset: Preset, item: Slice) -> tuple[Canvas, Habitus]:
    """Paint the object of a slice on a square canvas whose upper left part is the image."""
    patient = item.patient
    shared = stream(preset.seed, patient.number, 0, "tissue")
    tissue = draw_tissue(patient.protocol.sequence, shared)
    grain = stream(preset.seed, patient.number, item.number, "tissue")
    frame = patient.frame
    canvas = Canvas(
        side=patient.protocol.canvas, fov_mm=frame.fov_mm, rotation=frame.rotation, origin_mm=frame.origin_mm, rng=grain
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
    return canvas, habitus


def render(preset: Preset, item: Slice) -> Picture:
    """Render a slice."""
    patient = item.patient
    protocol, frame, ruined = patient.protocol, patient.frame, patient.exclusion == "quality"
    noise, rng = (stream(preset.seed, patient.number, item.number, name) for name in ("noise", "artefact"))
    artefacts = draw_artefacts(protocol.mode, ruined=ruined, rng=rng)
    canvas, habitus = paint(preset, item)
    paint_metal(canvas, patient.spine, artefacts, rng)
    place = places(canvas, frame.size_mm)
    bias = severity_of(artefacts, "bias")
    gain = coil_gain(place, habitus, protocol.coil, bias=bias)
    height, width = (round(canvas.side * share) for share in protocol.extent[::-1])
    field = upsample(gain * losses(place, habitus, patient.spine, protocol.coil), (height, width))
    look = protocol.look
    scan = acquire(
        canvas.signal[:height, :width] * field,
        readout=replace(protocol.readout, sigma=RUINED_SIGMA) if ruined else protocol.readout,
        shape=(round(protocol.rows * look.shrink), round(protocol.columns * look.shrink)),
        size_mm=frame.size_mm, artefacts=artefacts, noise=noise, rng=rng,
    )  # fmt: skip
    if protocol.coil.evened:
        known = np.maximum(upsample(gain, scan.magnitude.shape), _LEAST_GAIN) ** protocol.coil.evened
        scan = replace(scan, magnitude=np.round(scan.magnitude / known, DECIMALS))
    more = {"blur": max(protocol.readout.thickness_mm - 2, 0), "jpeg": jpeg_severity(look.jpeg)}
    names = scan.artefacts + tuple(f"{name}:{severity}" for name, severity in more.items() if severity)
    grey = export(window(scan.magnitude, look), look, (protocol.rows, protocol.columns), flipped=frame.flipped)
    return Picture(grey, replace(scan, artefacts=names))
