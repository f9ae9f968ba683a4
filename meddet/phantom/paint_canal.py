"""Paint the spinal canal: protrusions, dura, CSF, nerve roots and the cord of one slice."""

import numpy as np

from meddet.classes import LEVELS
from meddet.phantom.canal import FORAMEN_MM, LIGAMENT_MM, dens_frame
from meddet.phantom.raster import CORTEX, Canvas, ellipse, ribbon
from meddet.phantom.spine import NUM_DISCS
from meddet.phantom.study import DiscBox, Patient, Slice, cap_outline
from meddet.phantom.tissue import Tissue

SPOT_COMPRESSION = 0.25
"""Indentation, relative to the cord's depth, from which the cord itself may be bright."""


def paint_canal(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint everything between the vertebral bodies and the laminae."""
    canal, patient = picture.canal, picture.patient
    zero = np.zeros_like(canal.arc)
    foramen = float(canal.disc_at[0]) - FORAMEN_MM * patient.spine.size
    canvas.fill(canal.band(zero, canal.lamina, foramen + 7), tissue["soft"] * 1.1, mottle=0.12, soft_mm=0.3)
    transverse = dens_frame(patient.spine, np.linspace(17, 33, 5), np.array([7.2, 7.1, 7.2, 7.2, 6.6]))
    canvas.fill(ribbon(transverse, np.array([0.8, 1.6, 2.2, 1.8, 0.8])), tissue["ligament"], soft_mm=0.2)
    for box in picture.boxes:
        if box.depth_mm >= 0.1:
            paint_protrusion(canvas, patient, box, tissue)
    _veins(canvas, picture, rng)
    canvas.fill(canal.band(canal.dura_front - LIGAMENT_MM, canal.dura_front + 0.1, foramen), tissue["ligament"])
    canvas.fill(canal.band(canal.dura_back - 0.1, canal.dura_back + LIGAMENT_MM, foramen + 3), tissue["ligament"])
    canvas.fill(canal.band(canal.dura_front, canal.dura_back, foramen - 1), 1.0, smooth=0.05, soft_mm=0.12)
    _flow(canvas, picture, rng)
    _roots(canvas, picture, tissue, rng)
    paint_cord(canvas, picture, tissue, rng)


def paint_protrusion(canvas: Canvas, patient: Patient, box: DiscBox, tissue: Tissue) -> None:
    """Paint what stands out behind a disc: plain, with spurs of bone, or an extrusion with its head."""
    spine, hidden, level, depth = patient.spine, patient.pathology, box.level, box.depth_mm
    outline = cap_outline(spine, hidden, level, depth)
    spur = bool(hidden.osteophyte[level])
    canvas.fill(outline, 0.05 if spur else tissue["cap"], mottle=0.08)
    along, across = spine.tangent(level), spine.normal(level)
    if spur:
        for side in (-1, 1):
            corner = spine.edge(level, side, np.array([0.93]))[0]
            tip = corner + (0.5 + 0.55 * depth) * across
            wedge = np.stack([corner, tip, corner + side * 2.6 * along, corner - 1.5 * across])
            canvas.fill(wedge, CORTEX, soft_mm=0.1)
            centre = wedge.mean(axis=0)
            canvas.fill(centre + 0.5 * (wedge - centre), tissue["marrow"] * 0.8, soft_mm=0.25)
    moved = float(hidden.migration[level])
    if moved:
        root = spine.back(level) + hidden.apex[level] * along
        head = root + moved * along + 0.42 * depth * across
        canvas.fill(
            ellipse(head, (0.3 * depth + 0.3, 1.6 + 0.3 * depth), angle=-float(spine.angles[level])),
            tissue.nucleus(0.3), soft_mm=0.4, opacity=0.7,
        )  # fmt: skip
        gap = root + np.array([[0.55], [1.6]]) * moved * along + 0.15 * across
        canvas.fill(ribbon(gap, 0.6), tissue["ligament"], soft_mm=0.15)


def _veins(canvas: Canvas, picture: Slice, rng: np.random.Generator) -> None:
    """Paint bright dots of the ventral epidural plexus behind the middles of the bodies."""
    canal = picture.canal
    for index in range(NUM_DISCS - 1):
        if rng.random() < 0.4:
            arc = (canal.disc_at[index] + canal.disc_at[index + 1]) / 2 + rng.normal(0, 1.5)
            half = (rng.uniform(0.4, 0.8), rng.uniform(0.7, 2.2))
            canvas.fill(ellipse(canal.at(arc, 0.35)[0], half), rng.uniform(0.6, 1.3), soft_mm=0.2)


def _flow(canvas: Canvas, picture: Slice, rng: np.random.Generator) -> None:
    """Darken stretches of the CSF where it moves, before or behind the cord."""
    canal = picture.canal
    if rng.random() < 0.3:
        arc = canal.disc_at[0] + rng.uniform(-25, 70)
        behind = rng.random() < 0.7
        low = canal.cord_back + 0.4 if behind else canal.dura_front + 0.3
        high = canal.dura_back - 0.4 if behind else np.maximum(canal.cord_front - 0.3, low)
        middle, half = (low + high) / 2, (high - low) / 2 * rng.uniform(0.4, 0.9)
        streak = canal.band(middle - half, middle + half, arc, arc + rng.uniform(10, 45))
        if len(streak):
            canvas.scale(streak, float(rng.uniform(0.5, 0.9)), soft_mm=0.6)


def _roots(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint rootlets that slant through the CSF where the slice runs beside the cord's middle."""
    canal = picture.canal
    seen = float(np.clip((abs(picture.z_mm) - 3.5) / 3, 0, 1))
    for disc in range(NUM_DISCS):
        slant = 4.0 + 0.9 * disc
        for place in (0.28, 0.72):
            for _ in range(2):
                end = canal.disc_at[disc] - 4 + rng.uniform(-2.5, 2.5)
                arcs = end - slant * np.linspace(1, 0, 4)
                lateral = 0.5 + (place - 0.5) * np.linspace(0.8, 1.3, 4)
                front = np.interp(arcs, canal.arc, canal.dura_front)
                depth = np.interp(arcs, canal.arc, canal.dura_back) - front
                path = canal.at(arcs, front + lateral * depth)
                width = rng.uniform(0.4, 0.8)
                if seen > 0:
                    canvas.fill(ribbon(path, width), tissue["cord"], soft_mm=0.25, opacity=0.65 * seen)


def paint_cord(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the cord from the foramen magnum down, with its grey matter and what pressure did to it."""
    canal = picture.canal
    top = float(canal.disc_at[0]) - (FORAMEN_MM + 1) * picture.patient.spine.size
    canvas.fill(canal.band(canal.cord_front, canal.cord_back, top), tissue["cord"], smooth=0.04, soft_mm=0.25)
    middle = 0.52 * canal.cord_front + 0.48 * canal.cord_back
    half = np.clip(0.13 * (canal.cord_back - canal.cord_front) * (1 + 0.25 * picture.z_mm**2 / 4), 0, 1.6)
    grey = canal.band(middle - half, middle + half, top + 14)
    canvas.fill(grey, tissue["cord"] * rng.uniform(1.05, 1.16), soft_mm=0.5, opacity=0.6)
    bright, long = rng.random(len(LEVELS)) < 0.15, rng.uniform(2.5, 5, len(LEVELS))
    for level in range(len(LEVELS)):
        if bright[level] and round(float(canal.compression[level]), 6) > SPOT_COMPRESSION:
            arc = canal.disc_at[level]
            spot = canal.at(arc, float(np.interp(arc, canal.arc, middle)))[0]
            canvas.fill(ellipse(spot, (1.3, long[level])), 0.85, soft_mm=0.6, opacity=0.8)


def stem_joint(picture: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Give points of the front and the back of the cord at the foramen magnum, from below upwards."""
    canal = picture.canal
    arcs = canal.disc_at[0] - picture.patient.spine.size * np.array([36.0, 39.0, 42.0])
    front = canal.at(arcs, np.interp(arcs, canal.arc, canal.cord_front))
    return front, canal.at(arcs, np.interp(arcs, canal.arc, canal.cord_back))
