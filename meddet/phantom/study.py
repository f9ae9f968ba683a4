"""What the data set consists of, without a pixel: patients, slices, boxes and labels."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.classes import LEVELS
from meddet.phantom.canal import Canal, CanalSize, build_canal, draw_canal
from meddet.phantom.pathology import Protrusions, contour, draw_protrusions, half_width, slice_depth
from meddet.phantom.presets import PROTRUSION_MM, Preset, stream
from meddet.phantom.spine import Body, Spine, draw_body, draw_spine

Exclusion = Literal["", "quality", "incomplete", "operated"]
ENDPLATE_MM = 0.85
"""The black line of each endplate belongs to the disc that a reader sees, so a box covers it."""
_EDGE_MM = 5.0


@dataclass(frozen=True)
class Frame:
    """How the column lies in the image."""

    fov_mm: float
    origin_mm: tuple[float, float]
    """Centre of C2/3 from the upper left corner."""
    rotation: float


@dataclass(frozen=True)
class Patient:
    """One scanned patient, before any slice."""

    number: int
    exclusion: Exclusion
    num_images: int
    body: Body
    spine: Spine
    canal_size: CanalSize
    pathology: Protrusions
    frame: Frame
    fused: int
    """The disc that surgery removed, -1 for none."""

    @property
    def name(self) -> str:
        """Give the id under which the files know the patient."""
        return f"P{self.number:04d}"


@dataclass(frozen=True)
class DiscBox:
    """One labelled disc in one slice."""

    level: int
    depth_mm: float
    protruded: bool
    corners: tuple[float, float, float, float]
    """x1, y1, x2, y2 in mm from the image's upper left corner."""


@dataclass(frozen=True)
class Slice:
    """One image of a patient."""

    patient: Patient
    number: int
    z_mm: float
    canal: Canal
    boxes: tuple[DiscBox, ...]


@lru_cache(maxsize=8)
def _roles(preset: Preset) -> tuple[dict[int, Exclusion], frozenset[int]]:
    """Choose who is excluded and why, and which enrolled patients have three images."""
    order = [int(v) + 1 for v in stream(preset.seed, 0, 0, "export").permutation(preset.scanned)]
    reasons: list[Exclusion] = ["quality"] * preset.excluded_quality
    reasons += ["incomplete"] * preset.excluded_incomplete
    reasons += ["operated"] * preset.excluded_operated
    excluded = dict(zip(order, reasons, strict=False))
    return excluded, frozenset(order[preset.excluded : preset.excluded + preset.patients_with_three])


def _turned(points: Float[ndarray, "n 2"], frame: Frame) -> Float[ndarray, "n 2"]:
    c, s = np.cos(frame.rotation), np.sin(frame.rotation)
    x, y = points[:, 0], points[:, 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=1)


def _draw_frame(spine: Spine, exclusion: Exclusion, rng: np.random.Generator) -> Frame:
    """Draw field of view and position; shift it as far as the six discs need to stay inside."""
    fov = float(np.clip(rng.normal(255, 12), 220, 290))
    rotation = float(np.radians(rng.normal(0, 4)))
    origin = fov * np.array([rng.normal(0.47, 0.05), rng.normal(0.37, 0.045)])
    cut_top = rng.random() < 0.5
    turned = _turned(spine.centres[: len(LEVELS)], Frame(fov, (0.0, 0.0), rotation))
    reach = spine.depths[: len(LEVELS)].max() / 2 + _EDGE_MM
    origin = np.maximum(origin, reach - turned.min(axis=0))
    origin = np.minimum(origin, fov - reach - turned.max(axis=0))
    if exclusion == "incomplete":
        last = turned[3, 1] if cut_top else turned[2, 1]
        origin[1] = -last + (_EDGE_MM * 2 if cut_top else fov - _EDGE_MM * 2)
    return Frame(fov, (float(origin[0]), float(origin[1])), rotation)


def draw_patient(preset: Preset, number: int) -> Patient:
    """Draw the patient with that number, 1 to `preset.scanned`."""
    roles, three = _roles(preset)
    exclusion = roles.get(number, "")
    rng = stream(preset.seed, number, 0, "geometry")
    body = draw_body(rng)
    spine = draw_spine(body, rng)
    canal_size = draw_canal(spine, rng)
    pathology = draw_protrusions(body.age, spine.degeneration, preset, stream(preset.seed, number, 0, "pathology"))
    frame_rng = stream(preset.seed, number, 0, "frame")
    frame = _draw_frame(spine, exclusion, frame_rng)
    fused = int(frame_rng.integers(1, 5)) if exclusion == "operated" else -1
    return Patient(number, exclusion, 3 if number in three else 2, body, spine, canal_size, pathology, frame, fused)


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


def _box(patient: Patient, level: int, depth: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    parts = [disc_outline(patient.spine, level, grow_mm=ENDPLATE_MM)]
    if depth > 0.05:
        parts.append(cap_outline(patient.spine, patient.pathology, level, depth))
    points = _turned(np.concatenate(parts), patient.frame) + np.array(patient.frame.origin_mm)
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    left, right = max(rng.normal(0.8, 0.5), 0), max(rng.normal(1.4, 0.6), 0)
    top, bottom = rng.normal(0, 0.5, 2)
    return float(x1 - left), float(y1 - top), float(x2 + right), float(y2 + bottom)


def draw_slice(preset: Preset, patient: Patient, number: int) -> Slice:
    """Draw the slice with that number, 1 to `patient.num_images`: its place, canal, labels and boxes."""
    rng = stream(preset.seed, patient.number, number, "slice")
    z_mm = float(np.clip(rng.normal(0, 3), -8, 8))
    hidden = patient.pathology
    depth = np.asarray(slice_depth(hidden.depth, hidden.apex_z, hidden.reach_z, z_mm, preset.mode))
    flips = rng.random(len(LEVELS)) < preset.label_noise
    boxes = []
    for level in range(len(LEVELS)):
        corners = _box(patient, level, float(depth[level]), rng)
        inside = min(corners) >= 0 and max(corners) <= patient.frame.fov_mm
        if not inside or level == patient.fused:
            continue
        protruded = bool(depth[level] >= PROTRUSION_MM)
        if flips[level] and abs(depth[level] - PROTRUSION_MM) < 0.4:
            protruded = not protruded
        boxes.append(DiscBox(level, float(depth[level]), protruded, corners))
    canal = build_canal(patient.spine, patient.canal_size, hidden, depth, z_mm)
    return Slice(patient, number, z_mm, canal, tuple(boxes))
