"""Draw a scanner, a viewer and an annotator that no one hospital has: what a detector must not depend on."""

import numpy as np

from meddet.phantom.protocol import Coil, Look, Protocol, Readout, Sequence, Weighting, WindowKind

_LONGER = (320, 384, 448, 512, 512, 512, 640)
"""Longer sides of images of a preset whose side is 512."""
_MATRICES = (192, 224, 256, 320, 384, 448, 512)
_LOCAL_SIGMA = 0.05
"""Nobody evens out local contrast where that leaves nothing but noise."""
_ECHO_MS: dict[Weighting, tuple[float, float]] = {
    "t2": (60, 140), "stir": (60, 140), "intermediate": (38, 62), "heavy": (140, 260),
}  # fmt: skip
"""Heavy as in 3-D fast spin echo, where marrow is nearly as dark as discs."""
_FIELDS_T = (1.0, 1.5, 1.5, 3.0, 3.0)


def draw_diverse(scanner: str, rng: np.random.Generator, *, side: int, linear: bool) -> Protocol:
    """Draw all of it; `linear` leaves out what a DICOM file and its window cannot hold."""
    rows, columns = _shape(rng, side)
    longer = max(rows, columns)
    coil, look = _coil(rng), _look(rng, linear=linear)
    readout = Readout(
        matrix=min(int(rng.choice(_MATRICES)), longer),
        phase_share=float(rng.uniform(0.7, 1.0)),
        phase_axis=0 if rng.random() < 0.6 else 1,
        taper=float(rng.uniform(0.0, 0.9)),
        enhance=(0.0, float(rng.uniform(-0.6, -0.1)), float(rng.uniform(0.1, 0.8)))[
            int(rng.choice(3, p=[0.5, 0.25, 0.25]))
        ],
        thickness_mm=int(rng.choice([0, 0, 3, 4, 5])),
        sigma=min(
            float(np.exp(rng.uniform(np.log(0.01), np.log(0.12)))), _LOCAL_SIGMA if look.window == "local" else 1
        ),
    )
    wide = rng.uniform(0, 2, 4) if rng.random() < 0.7 else np.zeros(4)
    margins = (float(wide[0]), float(wide[1]), float(wide[2]), float(wide[3]))
    return Protocol("diverse", scanner, rows, columns, _sequence(rng), coil, readout, look, margins)


def _shape(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """Draw rows and columns: a third square, the others upright or lying down to 1 : 2, in steps of side / 32."""
    longer = max(int(rng.choice(_LONGER)) * side // 512, min(side, 256))
    step = side // 32
    shorter = max(int(rng.uniform(0.5, 0.95) * longer) // step * step, side // 2)
    kind = int(rng.integers(3))
    return ((longer, longer), (longer, shorter), (shorter, longer))[kind]


def _sequence(rng: np.random.Generator) -> Sequence:
    weightings: tuple[Weighting, ...] = tuple(_ECHO_MS)
    weighting = weightings[int(rng.choice(4, p=[0.62, 0.1, 0.1, 0.18]))]
    echo = rng.uniform(*_ECHO_MS[weighting])
    return Sequence(float(rng.choice(_FIELDS_T)), weighting, float(rng.uniform(1500, 6000)), float(echo), 0.12)


def _coil(rng: np.random.Generator) -> Coil:
    kind = int(rng.choice(4, p=[0.35, 0.2, 0.2, 0.25]))
    back = ((1.0, 8.0), (0.0, 0.3), (0.5, 3.0), (1.0, 6.0))[kind]
    front = (rng.uniform(0.5, 3.0) if kind == 2 else 0.0, rng.uniform(25, 60))
    amplitude = rng.uniform(0.08, 0.3) if kind == 3 else 0.0
    saturation = (float(rng.uniform(16, 45)), float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.03, 0.35)))
    c = rng.uniform(-0.15, 0.15, 5).tolist()
    return Coil(
        back=(float(rng.uniform(*back)), float(rng.uniform(30, 90))),
        front=(float(front[0]), float(front[1])),
        front_loss=float(rng.uniform(0.0, 0.6)),
        polynomial=(c[0], c[1], c[2], c[3], c[4]),
        edge_loss=float(rng.uniform(0.0, 0.7)),
        bands=(float(amplitude), float(rng.uniform(45, 90)), float(rng.uniform(0, 2 * np.pi))),
        evened=float(rng.uniform(0.5, 0.95)) if rng.random() < 0.35 else 0.0,
        saturation=saturation if rng.random() < 0.35 else None,
        ends=True,
    )


def _look(rng: np.random.Generator, *, linear: bool) -> Look:
    kinds: tuple[WindowKind, ...] = ("dark", "csf", "gamma", "local", "lifted", "inverted")
    window = kinds[int(rng.choice(6, p=[0.3, 0.33, 0.13, 0.12, 0.1, 0.02]))]
    level, csf, gamma, lift = rng.uniform(140, 300), rng.uniform(150, 260), rng.uniform(0.5, 0.9), rng.uniform(4, 40)
    shrink = float(rng.uniform(0.55, 0.9)) if rng.random() < 0.3 else 1.0
    tones = int(rng.choice([32, 48, 64, 96])) if rng.random() < 0.08 and window != "local" and shrink == 1 else 0
    width = float(rng.uniform(0.02, 0.12))
    bars = ((0.0, 0.0), (width, 0.0), (0.0, width))[int(rng.choice(3, p=[0.82, 0.12, 0.06]))]
    tone = int(rng.integers(20, 140)) if rng.random() < 0.3 else 0
    jpeg = int(rng.integers(50, 96)) if rng.random() < 0.3 else 0
    if linear:
        kind: WindowKind = "csf" if window == "csf" else "dark"
        return Look(kind, float(csf if kind == "csf" else level), 1.0, 0.0, 0, shrink, (0.0, 0.0), 0, 0)
    value = csf if window in ("csf", "inverted") else level
    return Look(
        window, float(value), float(gamma) if window == "gamma" else 1.0, float(lift) if window == "lifted" else 0.0,
        tones, shrink, bars, tone, jpeg,
    )  # fmt: skip
