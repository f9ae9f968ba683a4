"""Paint what the skull holds behind the face: skull base, occiput, cerebellum, tentorium, brain stem."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.canal import dens_frame
from meddet.phantom.head import Head
from meddet.phantom.paint_canal import stem_joint
from meddet.phantom.raster import CORTEX, Canvas, inset, ribbon, spline
from meddet.phantom.study import Slice
from meddet.phantom.tissue import Tissue

_FASTIGIUM = np.array([24.0, -73.0])
"""The roof of the fourth ventricle, from which the cerebellum's white matter spreads."""
_ANGLE_DEG = np.array([-102.0, -80, -60, -40, -20, 0, 20, 40, 60, 78, 96, 115])
_REACH = np.array([14.0, 24, 31, 38, 42.5, 43, 38, 32, 27, 24.5, 18, 11])
_STEM_FRONT = [(8.0, -49.0), (4.5, -56), (1, -62), (-1.5, -66), (-4, -69), (-9.5, -72), (-12.8, -77), (-13.2, -83),
               (-10.5, -90), (-5, -94), (-3, -99), (-2, -108), (0, -122)]  # fmt: skip
_STEM_BACK = [(11, -122), (13, -106), (18, -102), (17.5, -97), (14.5, -92), (13.2, -85), (14, -78), (15.5, -70),
              (17.5, -62), (20, -56), (20.6, -50)]  # fmt: skip
_FLUID = [(-21, -106), (-24, -86), (-14, -67), (-4, -52), (2, -42), (7, -34), (26, -33), (31, -41), (44, -45),
          (58, -50), (68, -58), (74, -70), (76, -85), (74, -116), (20, -118), (-8, -112)]  # fmt: skip
_OCCIPUT = [(34.5, -40.5), (43, -40.5), (56, -45), (68, -54), (77, -66), (80.5, -80), (81.5, -100), (80, -114)]
_VAULT = [(-89, -101), (-92, -122), (-78, -147), (-42, -165), (0, -169), (42, -160), (74, -140), (89, -114),
          (90.5, -97), (86, -80), (66, -68), (20, -72), (-30, -76), (-80, -80)]  # fmt: skip
_CLIVUS = [(0, -45.5), (-3.5, -43.5), (-9, -46), (-22, -60), (-31, -70), (-40, -76), (-47, -78), (-49, -88), (-40, -91),
           (-30, -91), (-24, -90), (-22, -84), (-16, -72), (-7, -56)]  # fmt: skip


def paint_skull(head: Head, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the fluid of the posterior fossa, clivus and sphenoid sinus, and the occipital bone with its diploe."""
    marrow = tissue["marrow"] * rng.uniform(0.95, 1.3)
    head.plate([(-83, -112), (-84, -104), (-84, -97)], np.array([6.0, 7, 8]), marrow, 1.3)
    head.line([(-84, -95), (-60, -92), (-40, -96)], 2.0, CORTEX, soft_mm=0.6, opacity=0.8)
    head.fill(spline(_FLUID), 0.97, smooth=0.06, mottle=0)
    tip = np.array([rng.normal(0, 0.8), rng.normal(0, 0.8)])
    head.bone(spline(np.array(_CLIVUS, dtype=float) + tip), marrow, 1.2)
    sinus = np.array([(-38, -80), (-44, -79), (-56, -80), (-60, -88), (-50, -92), (-40, -90)], dtype=float)
    middle = sinus.mean(axis=0)
    head.fill(spline(middle + (sinus - middle) * rng.uniform(0.6, 1.15, 2)), 0.01, soft_mm=0.5)
    head.fill(spline([(-36, -92), (-30, -95.5), (-25, -92), (-30, -89)]), tissue["grey"] * 0.9)
    width = np.array([3.0, 4.0, 5.0, 6.5, 10.0, 7.0, 6.5, 6.5]) * rng.uniform(0.85, 1.25)
    head.plate(_OCCIPUT, width, marrow, rng.uniform(1.1, 1.7))


def paint_vault(head: Head, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint scalp, skull and cerebrum, of which only a view far up shows much."""
    vault = spline(_VAULT)
    marrow = tissue["marrow"] * rng.uniform(0.95, 1.3)
    head.fill(vault, tissue["fat"], mottle=0.08)
    head.bone(inset(vault, rng.uniform(4, 7)), marrow, 1.6)
    head.fill(inset(vault, 12.5), CORTEX, smooth=0, mottle=0)
    head.fill(inset(vault, 15.0), tissue["grey"], mottle=0.12, smooth=0.1, soft_mm=0.8)
    for _ in range(12):
        start = np.array([rng.uniform(-70, 65), rng.uniform(-155, -115)])
        stop = start + rng.normal(0, 8, 2)
        head.line([start, (start + stop) / 2 + rng.normal(0, 2, 2), stop], 1.6, 0.85, opacity=0.7)


def _rim(angle_deg: Float[ndarray, " n"], scale: float) -> Float[ndarray, "n 2"]:
    reach = np.interp(angle_deg, _ANGLE_DEG, _REACH) * scale
    turn = np.radians(angle_deg)
    return _FASTIGIUM + np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)


def paint_cerebellum(head: Head, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint cortex with folia, the tree of white matter, and what lies above the tentorium."""
    lobe = [(18, -130), (22, -106), (40, -104), (60, -97), (73, -89), (76, -130)]
    head.fill(spline(lobe, steps=3), tissue["grey"], mottle=0.1, soft_mm=0.5)
    for _ in range(9):
        start = np.array([rng.uniform(22, 72), rng.uniform(-128, -97)])
        stop = start + rng.normal(0, 6, 2)
        head.line([start, (start + stop) / 2 + rng.normal(0, 2, 2), stop], 1.4, 0.85, opacity=0.7)
    head.line([(20, -107), (40, -104.5), (60, -97), (74, -86)], 1.1, CORTEX, soft_mm=0.3, opacity=0.8)
    head.line([(70, -87), (74, -79), (74.5, -70)], [2.0, 3.2, 1.5], CORTEX, soft_mm=0.5, opacity=0.8)
    scale = rng.uniform(0.93, 1.0)
    fine = np.linspace(-102, 115, 90)
    lobules = np.sort(rng.uniform(-9, 9, 8) + np.linspace(-85, 92, 8))
    notch = sum(np.exp(-(((fine - at) / 2.6) ** 2)) for at in lobules)
    outline = _FASTIGIUM + (_rim(fine, scale) - _FASTIGIUM) * (1 - 0.09 * notch)[:, None]
    head.fill(np.concatenate([outline, _FASTIGIUM[None]]), tissue["grey"], grain=0.05, mottle=0.06, soft_mm=0.35)
    _white_tree(head, lobules, scale, tissue, rng)
    _fissures(head, lobules, scale, rng)


def _white_tree(head: Head, lobules: ndarray, scale: float, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint a branch to each lobule, with twigs."""
    tone = tissue["white"] * 0.82
    trunk = _FASTIGIUM + np.array([3.0, 0])
    edges = np.concatenate([[-100], lobules, [112]])
    for low, high in pairwise(edges.tolist()):
        middle = (low + high) / 2
        end = _rim(np.array([middle]), 0.84 * scale)[0]
        bend = trunk + 0.5 * (end - trunk) + rng.normal(0, 1, 2)
        head.line([trunk, bend, end], [rng.uniform(2.4, 4), 1.6, 0.7], tone, soft_mm=0.5, opacity=0.85)
        for part, side in ((0.45, -1), (0.6, 1), (0.75, -1)):
            root = trunk + part * (end - trunk)
            twig = _rim(np.array([middle + side * (high - low) * rng.uniform(0.2, 0.38)]), scale * (part + 0.18))[0]
            head.line([root, twig], [1.2, 0.6], tone, soft_mm=0.45, opacity=0.7)


def _fissures(head: Head, lobules: ndarray, scale: float, rng: np.random.Generator) -> None:
    """Paint the bright clefts between lobules, deep, and between folia, shallow."""
    for at in lobules:
        deep = rng.uniform(0.4, 0.62)
        places = at + np.array([0, rng.normal(0, 2), rng.normal(0, 4)])
        path = [_rim(places[k : k + 1], scale * s)[0] for k, s in enumerate((1.0, (1 + deep) / 2, deep))]
        head.line(path, [1.3, 0.9, 0.6], 0.9, soft_mm=0.3, opacity=0.85)
    for at in np.linspace(-92, 102, 34) + rng.normal(0, 1.5, 34):
        path = [_rim(np.array([at]), scale * s)[0] for s in (1.0, rng.uniform(0.78, 0.9))]
        head.line(path, 0.7, 0.8, soft_mm=0.3, opacity=0.55)


def paint_stem(canvas: Canvas, picture: Slice, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint medulla, pons and midbrain onto the cord's upper end, and the arteries in front of them."""
    spine = picture.patient.spine
    front, back = stem_joint(picture)
    jitter = rng.normal(0, 0.4, (len(_STEM_FRONT), 2))
    ahead = np.array(_STEM_FRONT, dtype=float) + jitter
    bulge = np.clip((-66 - ahead[:, 1]) / 4, 0, 1) * np.clip((ahead[:, 1] + 94) / 4, 0, 1)
    ahead[:, 0] -= bulge * rng.uniform(-1.5, 1.0)
    behind = np.array(_STEM_BACK, dtype=float) + rng.normal(0, 0.3, (len(_STEM_BACK), 2))

    def placed(points: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
        return dens_frame(spine, -points[:, 1], points[:, 0])

    outline = spline(np.concatenate([front, placed(ahead), placed(behind), back[::-1]]))
    tone = tissue["cord"]
    canvas.fill(outline, tone, mottle=0.03, soft_mm=0.25)
    pons = spline(placed(np.array([(-10.0, -72), (-11, -82), (-7, -91), (3, -91), (6, -82), (3, -71)])))
    canvas.fill(pons, tone * rng.uniform(0.95, 1.15), mottle=0.06, soft_mm=1.5, opacity=0.7)
    tegmentum = spline(placed(np.array([(11.0, -92), (12, -80), (15, -66), (18, -54)])), closed=False)
    canvas.fill(ribbon(tegmentum, 3.0), tone * rng.uniform(1.02, 1.15), soft_mm=0.8, opacity=0.7)
    artery = placed(np.array([(-13.5, -92), (-17, -82), (-15, -74), (-8, -66), (-2.5, -60), (2, -52)]))
    artery = spline(artery + rng.normal(0, 0.6, artery.shape), closed=False)
    first, last = int(rng.integers(0, 8)), int(rng.integers(18, 31))
    canvas.fill(ribbon(artery[first:last], rng.uniform(1.2, 2.6)), 0.08, soft_mm=0.4, opacity=rng.uniform(0.4, 0.9))
