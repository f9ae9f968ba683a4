"""The spinal canal of one slice: the posterior wall, and dura and cord as offsets behind it, with their indentation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from meddet.classes import LEVELS
from meddet.phantom.pathology import Protrusions, contour, half_width
from meddet.phantom.spine import NUM_DISCS, Spine

STEP_MM = 0.4
LIGAMENT_MM = 0.6
"""Thickness of the black line of posterior ligament and dura in front of the CSF."""
CORD_END_MM = 6.5
"""Half the cord's width: slices farther from the midline miss it."""
_MEDULLA_END_MM = 10.0
FORAMEN_MM = 41.0
"""Height of the foramen magnum above C2/3 in a mean adult, where brain stem and cord meet."""
_ABOVE_SAC = np.array([24.0, 13.0, 5.0, 1.5])
_ABOVE_GAP = np.array([4.0, 2.5, 1.8, 1.5])
"""What the dural sac has more, and the space in front of it, 56, 41, 30 and 12 mm above C2/3."""


@dataclass(frozen=True)
class CanalSize:
    """What a patient's canal measures, in mm."""

    canal: float
    """Bone to lamina behind a vertebral body."""
    cord: float
    narrowing: Float[ndarray, " 12"]
    """How much less the dural sac has at each disc."""
    epidural: Float[ndarray, " 11"]
    """Space between the vertebral body and the dura behind each vertebra."""


@dataclass(frozen=True)
class Canal:
    """Curves along the canal, one value every STEP_MM from the dens down."""

    wall: Float[ndarray, "n 2"]
    normal: Float[ndarray, "n 2"]
    disc_at: Float[ndarray, " 12"]
    """Arc length of each disc."""
    dura_front: Float[ndarray, " n"]
    dura_back: Float[ndarray, " n"]
    cord_front: Float[ndarray, " n"]
    cord_back: Float[ndarray, " n"]
    lamina: Float[ndarray, " n"]
    compression: Float[ndarray, " 6"]
    """Indentation of the cord at each labelled disc, relative to its depth."""

    @property
    def arc(self) -> Float[ndarray, " n"]:
        """Give the arc length of every sample."""
        return np.arange(len(self.wall)) * STEP_MM

    def at(self, arc: ndarray | float | int, offset: ndarray | float | int) -> Float[ndarray, "m 2"]:
        """Give the points that lie that far down and behind the wall."""
        where = np.atleast_1d(np.asarray(arc, dtype=float))
        point = [np.interp(where, self.arc, self.wall[:, k]) for k in range(2)]
        across = [np.interp(where, self.arc, self.normal[:, k]) for k in range(2)]
        return np.stack([point[k] + np.asarray(offset) * across[k] for k in range(2)], axis=1)

    def band(self, front: ndarray, back: ndarray, start_mm: float = 0.0, end_mm: float = 1e3) -> Float[ndarray, "m 2"]:
        """Give the outline between two offset curves."""
        keep = (self.arc >= start_mm) & (self.arc <= end_mm)
        wall, normal = self.wall[keep], self.normal[keep]
        return np.concatenate([wall + front[keep, None] * normal, (wall + back[keep, None] * normal)[::-1]])


def draw_canal(spine: Spine, rng: np.random.Generator) -> CanalSize:
    """Draw the sizes of a patient's canal."""
    return CanalSize(
        canal=float(np.clip(rng.normal(13.7, 1.2), 11, 17)),
        cord=float(rng.normal(7.0, 0.6)),
        narrowing=rng.uniform(0.5, 1.2, NUM_DISCS) + 0.6 * (rng.uniform(0, 1.5, NUM_DISCS) + spine.degeneration),
        epidural=rng.uniform(1.0, 1.9, NUM_DISCS - 1),
    )


def dens_frame(spine: Spine, along: ndarray, across: ndarray) -> Float[ndarray, "n 2"]:
    """Turn heights above C2/3 and offsets to the back of a mean adult's head and dens into the column's frame."""
    angle = 0.6 * spine.angles[0]
    up = spine.size * np.array([-np.sin(angle), -np.cos(angle)])
    back = spine.size * np.array([np.cos(angle), -np.sin(angle)])
    return np.asarray(along)[:, None] * up + np.asarray(across)[:, None] * back


def _wall(spine: Spine) -> tuple[ndarray, list[int]]:
    """Give the posterior wall from above the dens to below T6/7 as a polyline, and the indices of the discs in it."""
    points = list(
        dens_frame(spine, np.array([58.0, 50, 42, 36, 30, 24, 15, 8]), np.array([2.0, 3.0, 4.6, 6, 6.4, 6.6, 7.2, 7.6]))
    )
    discs = []
    for disc in range(NUM_DISCS):
        discs.append(len(points))
        points.append(spine.back(disc))
        if disc < NUM_DISCS - 1:
            middle = (spine.back(disc) + spine.back(disc + 1)) / 2
            points.append(middle - 0.5 * spine.normal(disc))
    points.append(spine.back(NUM_DISCS - 1) + 30 * spine.tangent(NUM_DISCS - 1))
    return np.array(points), discs


def build_canal(
    spine: Spine, size: CanalSize, pathology: Protrusions, depth: Float[ndarray, " 6"], z_mm: float
) -> Canal:
    """Lay out the canal of the slice z mm off the midline, where the six discs reach `depth` past the wall."""
    points, discs = _wall(spine)
    knots = np.concatenate([[0], np.cumsum(np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1)))])
    arc = np.arange(int(knots[-1] / STEP_MM)) * STEP_MM
    wall = np.stack(
        [gaussian_filter1d(np.interp(arc, knots, points[:, k]), 1.2 / STEP_MM, mode="nearest") for k in (0, 1)], 1
    )
    along = np.gradient(gaussian_filter1d(wall, 2.5 / STEP_MM, axis=0, mode="nearest"), axis=0)
    along /= np.sqrt((along**2).sum(axis=1, keepdims=True))
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    disc_at = knots[discs]
    bodies = (disc_at[:-1] + disc_at[1:]) / 2

    off_midline = np.sqrt(max(1 - (z_mm / 11) ** 2, 0.3))
    above = disc_at[0] - np.array([56.0, FORAMEN_MM, 30, 12]) * spine.size
    places = np.concatenate([above, np.stack([disc_at[:-1], bodies], 1).ravel(), disc_at[-1:]])
    sac = size.canal - 2.4
    at_discs = sac - size.narrowing
    sacs = np.concatenate(
        [sac + _ABOVE_SAC, np.stack([at_discs[:-1], np.full(NUM_DISCS - 1, sac)], 1).ravel(), at_discs[-1:]]
    )
    gaps = np.concatenate(
        [_ABOVE_GAP, np.stack([np.full(NUM_DISCS - 1, LIGAMENT_MM), size.epidural], 1).ravel(), [LIGAMENT_MM]]
    )
    epidural = gaussian_filter1d(np.interp(arc, places, gaps), 1.2 / STEP_MM, mode="nearest")
    sac_depth = gaussian_filter1d(np.interp(arc, places, sacs), 2.4 / STEP_MM, mode="nearest") * off_midline

    reach = np.zeros_like(arc)
    for disc in range(len(LEVELS)):
        half = half_width(pathology, disc, spine.posterior_height(disc), float(depth[disc]))
        offset = arc - disc_at[disc] - pathology.apex[disc]
        bump = contour(offset, depth=float(depth[disc]), half=half, skew=float(pathology.skew[disc]))
        if pathology.migration[disc]:
            head = contour(
                offset - pathology.migration[disc], depth=0.8 * float(depth[disc]), half=1.3 * half, skew=0.0
            )
            bump = np.maximum(bump, head)
        reach = np.maximum(reach, bump)
    pushed = gaussian_filter1d(np.maximum(epidural, reach + LIGAMENT_MM), 0.5 / STEP_MM, mode="nearest")
    dura_back = epidural + sac_depth
    dura_front = np.minimum(pushed, dura_back - 2.0)

    level_at = np.concatenate([above[:3], disc_at[[0, 2, 3, 4, 5]], arc[-1:]])
    level = np.interp(arc, level_at, [1.7, 1.5, 1.12, 1.0, 1.06, 1.06, 1.0, 0.95, 0.9])
    end = np.interp(arc, above, [_MEDULLA_END_MM, 9, 7.5, CORD_END_MM])
    thickness = size.cord * level * np.sqrt(np.maximum(1 - (z_mm / end) ** 2, 0.0))
    thickness = np.minimum(thickness, 0.86 * sac_depth)
    front = epidural + np.interp(arc, above, [0.12, 0.2, 0.4, 0.46]) * (sac_depth - thickness)
    indented = np.maximum(front, dura_front + 0.25)
    push = gaussian_filter1d(indented - front, 0.8 / STEP_MM, mode="nearest")
    cord_front = np.maximum(front + push, indented)
    cord_back = np.minimum(front + thickness + 0.5 * push, dura_back - 0.3)
    index = np.clip((disc_at[: len(LEVELS)] / STEP_MM).astype(int), 0, len(arc) - 1)
    lost = push[index] / np.maximum(thickness[index], 1.0)
    return Canal(wall, normal, disc_at, dura_front, dura_back, cord_front, np.maximum(cord_back, cord_front),
                 dura_back + 1.2, lost)  # fmt: skip
