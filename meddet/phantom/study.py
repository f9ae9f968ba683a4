"""What the data set consists of, without a pixel: patients, slices, boxes and labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.classes import LEVELS
from meddet.phantom.canal import Canal, CanalSize, build_canal, draw_canal
from meddet.phantom.frame import Frame, draw_diverse_frame, draw_frame
from meddet.phantom.pathology import Protrusions, contour, draw_protrusions, half_width, slice_depth
from meddet.phantom.presets import PROTRUSION_MM, Preset, stream
from meddet.phantom.protocol import Protocol
from meddet.phantom.roles import Exclusion, Role, roles
from meddet.phantom.scanner import draw_protocol
from meddet.phantom.spine import Body, Spine, draw_body, draw_spine

Corners = tuple[float, float, float, float]
ENDPLATE_MM = 0.85
"""The black line of each endplate belongs to the disc that a reader sees, so a box covers it."""


@dataclass(frozen=True)
class Patient:
    """One scanned patient, before any slice."""

    number: int
    role: Role
    body: Body
    spine: Spine
    canal_size: CanalSize
    pathology: Protrusions
    protocol: Protocol
    frame: Frame
    fused: int
    """The disc that surgery removed, -1 for none."""

    @property
    def name(self) -> str:
        """Give the id under which the files know the patient."""
        return f"P{self.number:04d}"

    @property
    def exclusion(self) -> Exclusion:
        """Give why enrolment drops the patient, empty if it doesn't."""
        return self.role.exclusion

    @property
    def num_images(self) -> int:
        """Give how many slices there are."""
        return self.role.num_images


@dataclass(frozen=True)
class DiscBox:
    """One labelled disc in one slice."""

    level: int
    depth_mm: float
    protruded: bool
    corners: Corners
    """x1, y1, x2, y2 in mm from the image's upper left corner."""


@dataclass(frozen=True)
class Slice:
    """One image of a patient."""

    patient: Patient
    number: int
    z_mm: float
    canal: Canal
    boxes: tuple[DiscBox, ...]


def draw_patient(preset: Preset, number: int) -> Patient:
    """Draw the patient with that number, 1 to `preset.scanned`."""
    role = roles(preset)[number - 1]
    rng = stream(preset.seed, number, 0, "geometry")
    body = draw_body(rng)
    spine = draw_spine(body, rng)
    canal_size = draw_canal(spine, rng)
    pathology = draw_protrusions(
        body.age, spine.degeneration, stream(preset.seed, number, 0, "pathology"),
        prevalence=preset.prevalence, mode=role.mode,
    )  # fmt: skip
    protocol = draw_protocol(role.mode, stream(preset.seed, number, 0, "protocol"), side=preset.side, linear=role.dicom)
    frame_rng = stream(preset.seed, number, 0, "frame")
    if role.mode == "diverse":
        frame = draw_diverse_frame(
            spine, body.size, role.exclusion, frame_rng,
            extent=protocol.extent, bars=protocol.look.bars, may_flip=not role.dicom,
        )  # fmt: skip
    else:
        frame = draw_frame(spine, role.exclusion, frame_rng)
    fused = int(frame_rng.integers(1, 5)) if role.exclusion == "operated" else -1
    return Patient(number, role, body, spine, canal_size, pathology, protocol, frame, fused)


def disc_outline(spine: Spine, disc: int, *, grow_mm: float = 0.0) -> Float[ndarray, "n 2"]:
    """Give the outline of a disc without its protrusion; `grow_mm` widens it towards both vertebrae."""
    u = np.linspace(-1, 1, 15)
    upper = spine.edge(disc, -1, u) - grow_mm * spine.tangent(disc)
    lower = spine.edge(disc, 1, u) + grow_mm * spine.tangent(disc)
    v = np.linspace(-1, 1, 9)[1:-1]
    front = lower[0] + (upper[0] - lower[0]) * (v[:, None] + 1) / 2
    front = front - (spine.bulge[disc] * np.cos(np.pi / 2 * v) ** 0.7)[:, None] * spine.normal(disc)
    return np.concatenate([upper, lower[::-1], front])


def cap_outline(spine: Spine, pathology: Protrusions, disc: int, depth: float) -> Float[ndarray, "n 2"]:
    """Give the outline of what stands out behind a labelled disc, with the head of an extrusion."""
    half = half_width(pathology, disc, spine.posterior_height(disc), depth)
    span = 3 * half + abs(float(pathology.migration[disc])) + 2
    along = np.linspace(-span, span, 61)
    bump = contour(along, depth=depth, half=half, skew=float(pathology.skew[disc]))
    if pathology.migration[disc]:
        moved = along - pathology.migration[disc]
        bump = np.maximum(bump, contour(moved, depth=0.8 * depth, half=1.3 * half, skew=0.0))
    keep = bump > 0.02
    along, bump = along[keep] + pathology.apex[disc], bump[keep]
    foot = spine.back(disc) + along[:, None] * spine.tangent(disc)
    return np.concatenate([foot + bump[:, None] * spine.normal(disc), (foot - 0.8 * spine.normal(disc))[::-1]])


def _box(patient: Patient, level: int, depth: float, rng: np.random.Generator) -> Corners | None:
    """Draw the box of a disc, cut at the edges of the image; None if the disc itself isn't whole in it."""
    parts = [disc_outline(patient.spine, level, grow_mm=ENDPLATE_MM)]
    if depth > 0.05:
        parts.append(cap_outline(patient.spine, patient.pathology, level, depth))
    frame, look = patient.frame, patient.protocol.look
    points = frame.to_image(np.concatenate(parts))
    low, high = points.min(axis=0), points.max(axis=0)
    front, behind = max(rng.normal(0.8, 0.5), 0), max(rng.normal(1.4, 0.6), 0)
    top, bottom = rng.normal(0, 0.5, 2)
    wide = patient.protocol.margins_mm
    sides = (behind + wide[1], front + wide[0]) if frame.flipped else (front + wide[0], behind + wide[1])
    size = np.array(frame.size_mm)
    first, last = size * np.array(look.bars), size * (1 - np.array(look.bars))
    if (low < first).any() or (high > last).any():
        return None
    x1, y1 = np.maximum(low - np.array([sides[0], top + wide[2]]), first)
    x2, y2 = np.minimum(high + np.array([sides[1], bottom + wide[3]]), last)
    return float(x1), float(y1), float(x2), float(y2)


def draw_slice(preset: Preset, patient: Patient, number: int) -> Slice:
    """Draw the slice with that number, 1 to `patient.num_images`: its place, canal, labels and boxes."""
    rng = stream(preset.seed, patient.number, number, "slice")
    z_mm = float(np.clip(rng.normal(0, 3), -8, 8))
    hidden = patient.pathology
    depth = np.asarray(slice_depth(hidden.depth, hidden.apex_z, hidden.reach_z, z_mm, patient.role.mode))
    flips = rng.random(len(LEVELS)) < preset.label_noise
    boxes = []
    for level in range(len(LEVELS)):
        corners = _box(patient, level, float(depth[level]), rng)
        if corners is None or level == patient.fused:
            continue
        protruded = bool(depth[level] >= PROTRUSION_MM)
        if flips[level] and abs(depth[level] - PROTRUSION_MM) < 0.4:
            protruded = not protruded
        boxes.append(DiscBox(level, float(depth[level]), protruded, corners))
    canal = build_canal(patient.spine, patient.canal_size, hidden, depth, z_mm)
    return Slice(patient, number, z_mm, canal, tuple(boxes))
